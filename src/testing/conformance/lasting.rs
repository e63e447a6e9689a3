//! What outlasts reopening, after a close and after a drop without one.

use super::NewPlace;
use super::bench::{Bench, End, Entry, assert_voting, day, expect, get, identity, number};
use crate::replica::{Group, Identity, Lookup, ReplicaError, Standing};
use bytes::Bytes;

const ENDS: [End; 2] = [End::Closed, End::Dropped];

pub(super) fn a_fresh_replica_knows_nothing(new_place: &NewPlace<'_>) {
    let mut bench = Bench::untouched(new_place);
    for end in ENDS {
        let replica = bench.replica();
        assert_eq!(replica.standing(), Standing::Fresh);
        assert_eq!(replica.epoch(), 0);
        let marks = replica.marks();
        assert!(marks.own == 0 && marks.peers.iter().all(|mark| *mark == 0), "{marks:?} before the first group");
        assert_eq!(expect(replica.days(), "days"), []);
        assert_eq!(expect(replica.meta("map"), "meta"), None);
        assert_eq!(expect(replica.meta_with_prefix(""), "meta_with_prefix"), []);
        bench.reopen(end);
    }
}

/// A SET is made in two steps, so that one that was made by half is told from one that lost a replica.
pub(super) fn an_identity_outlasts_reopening(new_place: &NewPlace<'_>) {
    for end in ENDS {
        let mut bench = Bench::untouched(new_place);
        for formed in [false, true] {
            let identity = Identity { formed, ..identity() };
            expect(bench.replica().form(&identity), "form");
            // Once more, as a store does it that was stopped between the replicas of a SET.
            expect(bench.replica().form(&identity), "form");
            bench.reopen(end);
            assert_voting(bench.replica(), &identity);
        }
        bench.claim(1);
        bench.apply_fresh(day(0), 0..10);
        for _ in 0..3 {
            bench.reopen(end);
            assert_voting(bench.replica(), &identity());
        }
        let other = Identity { store: u128::MAX, index: 8, quorum: (9, 1, 9), replicas: vec!["x".repeat(200); 9], ..identity() };
        let mut bench = Bench::untouched(new_place);
        expect(bench.replica().form(&other), "form");
        bench.reopen(end);
        assert_voting(bench.replica(), &other);
    }
}

pub(super) fn a_banished_replica_stays_in_limbo_and_gives_values(new_place: &NewPlace<'_>) {
    const REASON: &str = "group 41 is missing, a peer saw it synced";
    for end in ENDS {
        let mut bench = Bench::formed(new_place);
        bench.apply_fresh(day(0), 0..10);
        expect(bench.replica().banish(REASON), "banish");
        for reopened in 0..3 {
            match bench.replica().standing() {
                Standing::Limbo { identity: of, reason } => {
                    assert_eq!(of, Some(identity()));
                    assert!(reason.contains(REASON), "the reason became {reason:?}");
                }
                other => panic!("banished and reopened {reopened} times, and its standing is {other:?}"),
            }
            bench.check();
            bench.reopen(end);
        }
    }
}

/// Counted otherwise, its peers would know of later groups than it has, and the next open would put it into limbo again.
pub(super) fn a_readmitted_replica_votes_and_counts_on_above_what_was_seen(new_place: &NewPlace<'_>) {
    for end in ENDS {
        let mut bench = Bench::formed(new_place);
        bench.apply_fresh(day(0), 0..10);
        let mut own = 0;
        for (round, seen) in [(1, 41), (2, 3), (3, 1_000)] {
            bench.reopen(end);
            own = bench.replica().marks().own.max(own);
            expect(bench.replica().banish("it came back with less"), "banish");
            if round == 1 {
                bench.reopen(end);
            }
            expect(bench.replica().readmit(seen), "readmit");
            own = own.max(seen) + 1;
            assert_voting(bench.replica(), &identity());
            bench.check();
            bench.reopen(end);
            assert_voting(bench.replica(), &identity());
            assert_eq!(bench.replica().marks().own, own, "own mark after it was readmitted above {seen}");
            bench.apply_fresh(day(0), [round * 100]);
            own += 1;
            bench.claim(bench.epoch + 1);
            bench.apply_fresh(day(1), [round * 100]);
            own += 1;
            bench.reopen(end);
            assert_voting(bench.replica(), &identity());
            assert_eq!(bench.replica().marks().own, own, "own mark after two more groups");
            bench.check();
        }
    }
}

pub(super) fn a_replica_that_nobody_named_is_not_readmitted(new_place: &NewPlace<'_>) {
    let mut bench = Bench::untouched(new_place);
    for end in ENDS {
        assert!(bench.replica().readmit(5).is_err(), "whose is it?");
        bench.reopen(end);
        assert_eq!(bench.replica().standing(), Standing::Fresh);
    }
}

pub(super) fn an_epoch_only_rises_and_outlasts_reopening(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let refused = |bench: &Bench, claimed: u32| {
        for given in [0, 1, claimed - 1, claimed] {
            assert_eq!(bench.replica().claim(given), Err(ReplicaError::Fenced { given, claimed }), "claimed again");
            assert_eq!(bench.replica().epoch(), claimed);
        }
    };
    refused(&bench, 1);
    for (epoch, end) in [(2, End::Closed), (7, End::Dropped), (1_000_000, End::Closed), (u32::MAX, End::Dropped)] {
        bench.claim(epoch);
        refused(&bench, epoch);
        bench.reopen(end);
        refused(&bench, epoch);
    }
    bench.apply_fresh(day(0), 0..3);
    bench.check_and_reopen();
}

fn meta_group(bench: &Bench, values: &[(&str, &[u8])]) -> Group {
    let mut group = Group::new(bench.epoch);
    for (key, value) in values {
        group.push_meta(*key, Bytes::copy_from_slice(value)).expect("a small value");
    }
    group
}

/// Keys of which some begin alike.
const VALUES: &[(&str, &[u8])] = &[
    ("lease/2026-11-22", b"\0\0\0\0\0\0\x03\xe8"),
    ("lease/2026-11-23", b"\0\0\0\0\0\0\0\x01"),
    ("lease/", b"the prefix itself"),
    ("lease", b""),
    ("lease0", b"just above"),
    ("lease.", b"just below"),
    ("map", &[7; 7_000]),
    ("订单", b"not ASCII"),
    ("\u{10ffff}", b"the last one"),
];

pub(super) fn meta_values_are_replaced_and_listed_by_prefix(new_place: &NewPlace<'_>) {
    let bench = Bench::formed(new_place);
    let replica = bench.replica();
    expect(replica.apply(&meta_group(&bench, VALUES)), "apply");
    let all = |prefix: &str| expect(replica.meta_with_prefix(prefix), "meta_with_prefix");
    let keys = |prefix: &str| all(prefix).into_iter().map(|(key, _)| key).collect::<Vec<_>>();
    for (key, value) in VALUES {
        assert_eq!(expect(replica.meta(key), "meta").as_deref(), Some(*value), "{key}");
    }
    for absent in ["lea", "lease/2026-11-2", "lease/2026-11-222", "map/", "MAP"] {
        assert_eq!(expect(replica.meta(absent), "meta"), None, "{absent}");
    }
    assert_eq!(keys("lease/"), ["lease/", "lease/2026-11-22", "lease/2026-11-23"]);
    assert_eq!(keys("lease"), ["lease", "lease.", "lease/", "lease/2026-11-22", "lease/2026-11-23", "lease0"]);
    assert_eq!(keys("map"), ["map"]);
    assert_eq!(keys("订"), ["订单"]);
    assert_eq!(keys("\u{10ffff}"), ["\u{10ffff}"]);
    assert!(keys("none").is_empty() && keys("lease/3").is_empty() && keys("mapp").is_empty());
    assert_eq!(all("").len(), VALUES.len(), "the empty prefix lists everything, and nothing of the replica's own");
    for (key, value) in all("") {
        assert!(VALUES.contains(&(key.as_str(), &*value)), "{key} came out with another value");
    }

    // Longer, shorter, the same, and back to what it was.
    let writes: [&[u8]; 5] = [b"longer than it was before", b"s", b"s", b"", b"\0\0\0\0\0\0\x03\xe8"];
    for value in writes {
        expect(replica.apply(&meta_group(&bench, &[("lease/2026-11-22", value)])), "apply");
        assert_eq!(expect(replica.meta("lease/2026-11-22"), "meta").as_deref(), Some(value));
    }
    assert_eq!(all("").len(), VALUES.len());
}

pub(super) fn meta_values_outlast_reopening(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    expect(bench.replica().apply(&meta_group(&bench, VALUES)), "apply");
    for (round, end) in [(1, End::Dropped), (2, End::Closed), (3, End::Dropped), (4, End::Dropped)] {
        // With orders in the same group, and alone.
        let entries: Vec<Entry> = (0..round % 2 * 3).map(|at| bench.fresh(number(day(0), round * 10 + at))).collect();
        let mut group = bench.group(&entries);
        group.push_meta("round", Bytes::from(format!("{round}"))).expect("a small value");
        expect(bench.replica().apply(&group), "apply");
        bench.model.apply(&entries);
        bench.reopen(end);
        assert_eq!(expect(bench.replica().meta("round"), "meta").as_deref(), Some(format!("{round}").as_bytes()));
        for (key, value) in VALUES {
            assert_eq!(expect(bench.replica().meta(key), "meta").as_deref(), Some(*value), "{key} in round {round}");
        }
        bench.check();
    }
}

fn outlasts(new_place: &NewPlace<'_>, end: End) {
    let mut bench = Bench::formed(new_place);
    for round in 0..6 {
        // The last thing before the end is of another kind each time.
        bench.apply_fresh(day(0), round * 100..round * 100 + 40);
        let straggler = bench.fresh(number(day(0), round * 100 + 90));
        bench.apply(&[straggler]);
        if round % 3 > 0 {
            let update = bench.update(number(day(0), round * 50));
            let late = bench.update(number(day(0), 3)).version(0, round);
            bench.apply(&[update, late]);
        }
        if round % 3 > 1 {
            let void = bench.void(number(day(0), round));
            bench.apply(&[void]);
            bench.apply_fresh(day(1), [round]);
        }
        bench.reopen(end);
        bench.check();
    }
    // Reopening alone changes nothing.
    for _ in 0..3 {
        bench.reopen(end);
    }
    bench.check();
    assert_eq!(get(bench.replica(), number(day(0), 99)), Lookup::Absent);
}

/// Clause 2; and a clean close loses nothing.
pub(super) fn what_was_applied_outlasts_a_close(new_place: &NewPlace<'_>) {
    outlasts(new_place, End::Closed);
}

/// Clause 2.
pub(super) fn what_was_applied_outlasts_a_drop_without_close(new_place: &NewPlace<'_>) {
    outlasts(new_place, End::Dropped);
}

/// The coordinator counts groups on from [`Marks::own`](crate::replica::Marks::own), and tells peers how far this one got: counted
/// otherwise, a replica is put into limbo for nothing, or a roll-back is not noticed.
pub(super) fn marks_count_the_groups_and_remember_the_peers(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let mut own = bench.replica().marks().own;
    let mut groups = 0;
    for (round, end) in [(1, End::Closed), (2, End::Dropped), (3, End::Dropped), (4, End::Closed), (5, End::Dropped)] {
        let peers = vec![round * 10, 0, u64::MAX - round];
        for at in 0..round {
            // Orders, meta values, or both: each is a group.
            let entries: Vec<Entry> =
                (0..at.min(2)).map(|order| bench.fresh(number(day(0), round * 100 + at * 10 + order))).collect();
            let mut group = bench.group(&entries);
            if at != 1 {
                group.push_meta("round", Bytes::from(format!("{round}.{at}"))).expect("a small value");
            }
            group.set_peer_marks(peers.clone());
            expect(bench.replica().apply(&group), "apply");
            bench.model.apply(&entries);
            groups += 1;
        }
        bench.reopen(end);
        let marks = bench.replica().marks();
        assert_eq!(marks.own, own + groups, "own mark after {groups} groups from {own} on, in round {round}");
        assert_eq!(marks.peers, peers, "marks of the peers in round {round}");
        (own, groups) = (marks.own, 0);
    }
    bench.check();
}
