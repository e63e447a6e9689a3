//! What a replica must not do, and what it must not show.

use super::NewPlace;
use super::bench::{ALL, Bench, End, Entry, SET, assert_same, day, expect, get, identity, number, scan_all};
use crate::order::{OrderNumber, SetId};
use crate::replica::{Group, Lookup, ReplicaError, Scanned, Write};
use bytes::Bytes;

/// Clause 7.
pub(super) fn a_group_below_the_claimed_epoch_is_fenced_before_anything_is_written(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.claim(4);
    bench.apply_fresh(day(0), 0..10);
    for end in [End::Closed, End::Dropped] {
        for given in [0, 1, 3] {
            // The versions would win: it is the epoch of the group that tells a coordinator that was replaced.
            let entries = [bench.update(number(day(0), 3)), bench.fresh(number(day(0), 20)), bench.fresh(number(day(1), 0))];
            let mut group = Group::new(given);
            for entry in &entries {
                group.push(entry.to_write()).expect("a small group");
            }
            group.push_meta("lease/2026-11-22", "late").expect("a small group");
            assert_eq!(bench.replica().apply(&group), Err(ReplicaError::Fenced { given, claimed: 4 }));
            bench.check();
            assert_eq!(expect(bench.replica().meta("lease/2026-11-22"), "meta"), None);
            // After an error a replica takes no more groups before it is opened again.
            bench.reopen(end);
            bench.check();
            assert_eq!(expect(bench.replica().meta("lease/2026-11-22"), "meta"), None);
        }
        bench.apply_fresh(day(0), [30 + u64::from(end == End::Closed)]);
    }
    bench.check_and_reopen();
}

fn of_another_set(entry: &Entry) -> Write {
    let other = SetId::from_checked(SET.get() + 1);
    let number = OrderNumber::new(entry.number.day(), entry.number.sequence(), other).expect("a number");
    Write::new(number, &entry.record, entry.fresh)
}

/// Once it knows who it is, a replica takes no order of somebody else.
pub(super) fn a_number_of_another_set_is_refused(new_place: &NewPlace<'_>) {
    for fresh in [true, false] {
        let mut bench = Bench::formed(new_place);
        bench.apply_fresh(day(0), 0..10);
        let write = of_another_set(&Entry { fresh, ..bench.update(number(day(0), 5)) });
        let mut group = Group::new(bench.epoch);
        group.push(write.clone()).expect("a small group");
        assert_eq!(bench.replica().apply(&group), Err(ReplicaError::WrongSet { number: write.number(), set: identity().set }));
        let answer = bench.replica().get(write.number());
        assert!(!matches!(answer, Ok(Lookup::Found(_))), "an order of another SET was found: {answer:?}");
        bench.reopen(End::Dropped);
        bench.check();
        bench.apply_fresh(day(0), [20]);
        bench.check();
    }
}

/// Clauses 4 and 5. After a failure reads may fail too; those that do not tell the truth.
pub(super) fn nothing_of_a_failed_group_is_shown(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..10);
    let good = [bench.update(number(day(0), 3)), bench.fresh(number(day(0), 20)), bench.fresh(number(day(1), 0))];
    let bad = of_another_set(&bench.fresh(number(day(0), 30)));
    let mut group = bench.group(&good);
    group.push(bad).expect("a small group");
    assert!(bench.replica().apply(&group).is_err(), "a group with a number of another SET");

    for entry in &good {
        if let Ok(Lookup::Found(record)) = bench.replica().get(entry.number) {
            assert_ne!(record, entry.record, "{} was read, and its group failed", entry.number);
            assert_eq!(Some(&record), bench.model.held.get(&entry.number));
        }
    }
    for after in [0, 1] {
        if let Ok(chunk) = bench.replica().scan(day(after), None, ALL) {
            for item in chunk.items {
                if let Scanned::Found(number, record) = item {
                    assert_eq!(Some(&record), bench.model.held.get(&number), "{number} was scanned, and its group failed");
                }
            }
        }
    }

    // Opened again it may hold any part of the group, each write whole or not at all, and all from before.
    bench.reopen(End::Dropped);
    for entry in &good {
        match get(bench.replica(), entry.number) {
            Lookup::Found(record) if record == entry.record => drop(bench.model.apply(std::slice::from_ref(entry))),
            _ => {}
        }
    }
    bench.check();
}

/// Clauses 6 and 10. Such a group may be refused.
pub(super) fn bytes_garbled_on_their_way_never_become_a_value(new_place: &NewPlace<'_>) {
    for fresh in [true, false] {
        for garble in [cut_short, flip, empty, foreign] {
            let mut bench = Bench::formed(new_place);
            bench.apply_fresh(day(0), [5]);
            let entry = Entry { fresh, ..bench.update(number(day(0), 10)) };
            let garbled = garble(&entry);
            let [below, above] = [9, 11].map(|sequence| Entry { fresh, ..bench.update(number(day(0), sequence)) });
            let mut group = bench.group(&[below]);
            group.push(Write::encoded(entry.number, entry.record.version, garbled, fresh)).expect("a small group");
            group.push(above.to_write()).expect("a small group");
            let taken = bench.replica().apply(&group).is_ok();
            for reopened in [false, true] {
                if taken {
                    assert_damaged(&bench, entry.number);
                } else if let Ok(Lookup::Found(record)) = bench.replica().get(entry.number) {
                    panic!("garbled bytes became {record:?}");
                }
                if !reopened {
                    bench.reopen(End::Dropped);
                }
            }
        }
    }
}

fn cut_short(entry: &Entry) -> Bytes {
    let whole = entry.to_write().bytes().clone();
    whole.slice(..whole.len() - 1)
}

fn flip(entry: &Entry) -> Bytes {
    let mut bytes = entry.to_write().bytes().to_vec();
    *bytes.last_mut().expect("a record is never empty") ^= 1;
    bytes.into()
}

fn empty(_: &Entry) -> Bytes {
    Bytes::new()
}

/// Good bytes, under another number.
fn foreign(entry: &Entry) -> Bytes {
    entry.record.encode(number(day(0), 999)).into()
}

/// Clause 6.
pub(super) fn rotten_bytes_are_damaged_and_neither_a_value_nor_absent(new_place: &NewPlace<'_>) {
    // A record that came packed with others, one that came alone, and one that was replaced.
    for rotten in [120, 200, 105] {
        let mut bench = Bench::formed(new_place);
        bench.apply_fresh(day(0), 100..140);
        let singles = [bench.update(number(day(0), 200)), bench.update(number(day(0), 105))];
        bench.apply(&singles);
        bench.apply_fresh(day(1), 0..3);
        bench.end(End::Closed);
        let rotted = bench.place().rot(number(day(0), rotten));
        bench.open();
        if !rotted {
            // This place cannot do it.
            return bench.check();
        }
        assert_damaged(&bench, number(day(0), rotten));
        // The rest may be damaged with it where it shared its bytes, and the other day may not.
        for (&number, record) in &bench.model.held {
            match get(bench.replica(), number) {
                Lookup::Found(found) => assert_eq!(found, *record),
                Lookup::Damaged(_) if number.day() == day(0) => {}
                other => panic!("{number} is {other:?}, and another number rotted"),
            }
        }
        assert_same(&scan_all(bench.replica(), day(1), ALL), &bench.model.on(day(1)), "a scan of the next day");
        let digest = expect(bench.replica().digest(day(0), 0, u32::MAX), "digest");
        assert!(!digest.agrees_with(&digest), "a digest over damage agrees with nothing, itself included");
    }
}

#[track_caller]
fn assert_damaged(bench: &Bench, number: OrderNumber) {
    let answer = get(bench.replica(), number);
    assert!(matches!(answer, Lookup::Damaged(_)), "{number} is garbled, and a get says {answer:?}");
    let covers = |item: &Scanned| match item {
        Scanned::Damaged { from, to, .. } => (*from..=*to).contains(&number),
        Scanned::Found(found, _) => {
            assert_ne!(*found, number, "garbled, and a scan found it");
            false
        }
    };
    let scanned = scan_all(bench.replica(), number.day(), ALL);
    assert!(scanned.iter().any(covers), "{number} is garbled, and a scan passes over it");
    let range = crate::replica::RangeDigest::range_of(number);
    let digest = expect(bench.replica().digest(number.day(), range, u32::MAX), "digest");
    assert!(digest.damaged > 0, "{number} is garbled, and the digest counts no damage");
}

pub(super) fn after_a_close_every_call_says_closed(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..10);
    let more = bench.group(&[bench.model.held[&number(day(0), 3)].clone()].map(|record| Entry {
        number: number(day(0), 3),
        record,
        fresh: false,
    }));
    let replica = bench.replica();
    expect(replica.close(), "close");
    assert_eq!(replica.form(&identity()), Err(ReplicaError::Closed), "form");
    assert_eq!(replica.claim(100), Err(ReplicaError::Closed), "claim");
    assert_eq!(replica.banish("late"), Err(ReplicaError::Closed), "banish");
    assert_eq!(replica.apply(&more), Err(ReplicaError::Closed), "apply");
    assert_eq!(replica.get(number(day(0), 3)), Err(ReplicaError::Closed), "get");
    assert_eq!(replica.scan(day(0), None, ALL), Err(ReplicaError::Closed), "scan");
    assert_eq!(replica.digest(day(0), 0, 9), Err(ReplicaError::Closed), "digest");
    assert_eq!(replica.keyed(b"key", day(0)), Err(ReplicaError::Closed), "keyed");
    assert_eq!(replica.keys(day(0), None, 9), Err(ReplicaError::Closed), "keys");
    assert_eq!(replica.noted(None, 9), Err(ReplicaError::Closed), "noted");
    assert_eq!(replica.days(), Err(ReplicaError::Closed), "days");
    assert_eq!(replica.meta("map"), Err(ReplicaError::Closed), "meta");
    assert_eq!(replica.meta_with_prefix(""), Err(ReplicaError::Closed), "meta_with_prefix");
    // These cannot fail, so they go on answering; closing twice is nobody's fault.
    let _ = (replica.standing(), replica.marks(), replica.epoch());
    assert!(matches!(replica.close(), Ok(()) | Err(ReplicaError::Closed)), "a second close");

    // The place was given back while the closed one was still there: another can be opened beside it.
    let closed = bench.share();
    bench.let_go();
    bench.open();
    bench.check();
    assert_eq!(closed.get(number(day(0), 3)), Err(ReplicaError::Closed), "get, with the place opened again");
    drop(closed);
    bench.check_and_reopen();
    assert_eq!(bench.replica().epoch(), 1, "a claim after the close claims nothing");
}
