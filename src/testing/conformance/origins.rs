//! Where orders came from is held with them, and leads back to them. Clause 10.

use super::NewPlace;
use super::bench::{ALL, Bench, End, Entry, day, expect, number, scan_all};
use crate::order::{Day, OrderNumber, SetId};
use crate::replica::{KeyUse, Noted, Origin, Replica, RequestKey, Scanned, Version};
use bytes::Bytes;

pub(super) fn an_origin_is_held_with_its_record(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..10);
    let full = Origin {
        request_key: RequestKey::new(&[0xff; 255], b"payload"),
        supersedes: (0..16).map(|at| (number(day(0), 1_000 + at), Version { epoch: 1, counter: at })).collect(),
        unverified: (0..1_000).map(SetId::from_checked).collect(),
        copy_of: Some(Version { epoch: u32::MAX, counter: u64::MAX }),
        partly_asked: (0..40).map(|id| (SetId::from_checked(id), u32::MAX)).collect(),
        looked_from: Some(day(0)),
    };
    // Fresh and packed with others, fresh and alone, not fresh, and beside the largest payload.
    let mut entries: Vec<Entry> = (10..20).map(|at| bench.fresh(number(day(0), at))).collect();
    for at in [0, 3, 9] {
        entries[at] = entries[at].clone().origin(keyed(b"a key"));
    }
    bench.apply(&entries);
    let entry = bench.fresh(number(day(0), 30)).origin(full.clone()).value(vec![7; 7_168]);
    bench.apply(&[entry]);
    let changed = [bench.update(number(day(0), 5)).origin(full), bench.update(number(day(0), 10)).origin(keyed(b"a key"))];
    bench.apply(&changed);
    bench.check_and_reopen();
    let held = scan_all(bench.replica(), day(0), ALL);
    let with_origin = held.iter().filter(|item| matches!(item, Scanned::Found(_, record) if record.origin.is_some()));
    assert_eq!(with_origin.count(), 5, "records with an origin");
}

pub(super) fn a_request_key_leads_to_all_its_numbers_and_to_no_others(new_place: &NewPlace<'_>) {
    let keys: [&[u8]; 9] = [b"a", b"ab", b"a\0", b"\x01a", b"b", b"\0", &[0xff; 254], &[0xff; 255], b"pay-8841"];
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..20);
    for (at, key) in (0u64..).zip(keys) {
        // In a group of many and alone, on two days, fresh and not, the later number first.
        let fresh: Vec<Entry> = (0..3).map(|beside| bench.fresh(number(day(0), 100 + 10 * at + beside))).collect();
        let [first, second, third] = <[Entry; 3]>::try_from(fresh).expect("three");
        bench.apply(&[first, second.origin(keyed(key)), third]);
        let alone = bench.update(number(day(1), at)).origin(keyed(key));
        bench.apply(&[alone]);
        let straggler = bench.fresh(number(day(0), 50 + at)).origin(keyed(key));
        bench.apply(&[straggler]);
    }
    for end in [None, Some(End::Dropped), Some(End::Closed)] {
        end.into_iter().for_each(|end| bench.reopen(end));
        for (at, key) in (0u64..).zip(keys) {
            let expected = [number(day(0), 50 + at), number(day(0), 101 + 10 * at), number(day(1), at)];
            assert_eq!(keyed_numbers(bench.replica(), key, Day::MIN), expected, "the numbers of {key:?}");
        }
        for key in [&b"c"[..], b"abc", b"", &[0xff; 253], &[0xff; 256], b"pay-884", b"pay-88410"] {
            assert_eq!(keyed_numbers(bench.replica(), key, Day::MIN), [], "nobody used {key:?}");
        }
    }
}

pub(super) fn a_request_key_is_looked_up_from_a_day_on(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    for after in [0, 1, 3] {
        let entry = bench.fresh(number(day(after), 7)).origin(keyed(b"key"));
        bench.apply(&[entry]);
    }
    for (since, expected) in [(-1, &[0, 1, 3][..]), (0, &[0, 1, 3]), (1, &[1, 3]), (2, &[3]), (3, &[3]), (4, &[])] {
        let expected: Vec<OrderNumber> = expected.iter().map(|after| number(day(*after), 7)).collect();
        assert_eq!(keyed_numbers(bench.replica(), b"key", day(since)), expected, "from day {since} on");
    }
}

/// Shorter keys first, then by their bytes, then by number.
pub(super) fn request_keys_are_told_page_by_page_over_all_days(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let mut expected = Vec::new();
    let keys: [&[u8]; 6] = [b"b", b"a\0", b"ab", b"b\xff", b"aaa", &[0xff; 255]];
    for (at, key) in (0u64..).zip(keys) {
        // The later number first.
        for (after, sequence) in [(4, 10 + at), (0, OrderNumber::SEQUENCE_MAX - at), (0, 20 + at)] {
            let entry = bench.fresh(number(day(after), sequence)).origin(keyed(key));
            bench.apply(&[entry]);
        }
        let place = expected.len();
        expected.extend(
            [(4, 10 + at), (0, 20 + at), (0, OrderNumber::SEQUENCE_MAX - at)]
                .map(|(after, sequence)| KeyUse { key: Bytes::copy_from_slice(key), number: number(day(after), sequence) }),
        );
        expected[place..].rotate_left(1);
    }
    // Neither counts: one has no key, the other is there already.
    bench.apply_fresh(day(4), 100..110);
    let update = bench.update(number(day(4), 12)).origin(keyed(keys[2]));
    bench.apply(&[update]);
    for end in [None, Some(End::Closed)] {
        end.into_iter().for_each(|end| bench.reopen(end));
        for limit in [1, 2, 3, 17, 18, 19, usize::MAX] {
            assert_eq!(all_uses(bench.replica(), Day::MIN, limit, expected.len()), expected, "in pages of {limit}");
        }
        let later: Vec<KeyUse> = expected.iter().filter(|used| used.number.day() > day(0)).cloned().collect();
        for since in [1, 4] {
            assert_eq!(all_uses(bench.replica(), day(since), 2, 6), later, "from day {since} on");
        }
    }
    assert_eq!(expect(bench.replica().keys(day(5), None, 9), "keys"), []);
    assert_eq!(expect(bench.replica().keys(day(0), None, 0), "keys"), []);
    // Nothing was ever there: a place to go on from all the same.
    let nowhere = KeyUse { key: Bytes::from_static(b"aa"), number: number(day(2), 5) };
    assert_eq!(expect(bench.replica().keys(Day::MIN, Some(&nowhere), 2), "keys"), expected[6..8], "above {nowhere:?}");
}

fn all_uses(replica: &dyn Replica, since: Day, limit: usize, most: usize) -> Vec<KeyUse> {
    let mut all: Vec<KeyUse> = Vec::new();
    // Each turn but the last brings at least one.
    loop {
        let page = expect(replica.keys(since, all.last(), limit), "keys");
        assert!(page.len() <= limit, "{} uses, asked for {limit}", page.len());
        let is_last = page.len() < limit;
        all.extend(page);
        if is_last {
            return all;
        }
        assert!(all.len() <= most, "{all:?}");
    }
}

/// Of whatever was answered with `Ok`.
pub(super) fn a_key_of_a_write_that_is_refused_or_held_already_is_known(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let held = bench.fresh(number(day(0), 1)).origin(keyed(b"held"));
    bench.apply(std::slice::from_ref(&held));
    let late = bench.fresh(number(day(0), 2)).origin(keyed(b"late"));
    let void = bench.void(number(day(0), 2));
    bench.apply(&[void]);
    // What is there already comes again as a write-back does; what comes too late is refused and named.
    bench.apply(&[Entry { fresh: false, ..held }, Entry { fresh: false, ..late }]);
    let update = bench.update(number(day(0), 1)).origin(keyed(b"held"));
    bench.apply(&[update]);
    for end in [None, Some(End::Closed), Some(End::Dropped)] {
        end.into_iter().for_each(|end| bench.reopen(end));
        assert_eq!(keyed_numbers(bench.replica(), b"held", day(0)), [number(day(0), 1)], "of what was written three times");
        assert_eq!(keyed_numbers(bench.replica(), b"late", day(0)), [number(day(0), 2)], "of what was refused");
        let uses = expect(bench.replica().keys(day(0), None, 9), "keys");
        assert_eq!(uses.iter().map(|used| used.number.sequence()).collect::<Vec<_>>(), [1, 2], "each once");
    }
    bench.check();
}

pub(super) fn notes_are_told_as_their_records_stand(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..10);
    let superseding = Origin { supersedes: vec![(number(day(0), 400), Version { epoch: 1, counter: 77 })], ..Origin::default() };
    let unverified = Origin { unverified: [8, 9].map(SetId::from_checked).to_vec(), ..keyed(b"key") };
    let entries = [
        bench.fresh(number(day(0), 10)).origin(superseding.clone()),
        bench.fresh(number(day(0), 11)).origin(keyed(b"only a key")),
        bench.fresh(number(day(0), 12)).origin(unverified.clone()),
        bench.fresh(number(day(0), 13)).origin(superseding.clone()),
        bench.fresh(number(day(0), 14)).origin(superseding.clone()),
        bench.fresh(number(day(0), 15)),
    ];
    bench.apply(&entries);
    // The order changes and its origin stays; a void that says nothing; one that goes on where the order was; a note that comes later;
    // a void where there never was an order, and one where the order said nothing.
    let keyed_too = Origin { request_key: keyed(b"key").request_key, ..superseding.clone() };
    let changes = [
        bench.update(number(day(0), 10)).origin(superseding.clone()),
        bench.void(number(day(0), 13)),
        bench.void(number(day(0), 14)).origin(superseding.clone()),
        bench.update(number(day(0), 3)).origin(unverified.clone()),
        bench.void(number(day(0), 16)).origin(superseding.clone()),
        bench.void(number(day(0), 15)).origin(keyed_too.clone()),
    ];
    bench.apply(&changes);
    let notes =
        [(3, &unverified), (10, &superseding), (12, &unverified), (14, &superseding), (15, &keyed_too), (16, &superseding)];
    let expected = notes.map(|(at, origin)| note(number(day(0), at), origin));
    for end in [None, Some(End::Dropped), Some(End::Closed)] {
        end.into_iter().for_each(|end| bench.reopen(end));
        assert_eq!(expect(bench.replica().noted(None, 100), "noted"), expected);
        assert_eq!(keyed_numbers(bench.replica(), b"key", day(0)), [3, 12, 15].map(|at| number(day(0), at)));
    }
}

pub(super) fn notes_are_told_page_by_page_over_all_days(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let mut expected = Vec::new();
    for after in [0, 2, 5] {
        for at in [0, 1, 7, 40_000, OrderNumber::SEQUENCE_MAX] {
            let origin = Origin { unverified: vec![SetId::from_checked(after as u16)], ..Origin::default() };
            expected.push(note(number(day(after), at), &origin));
            let entry = bench.fresh(number(day(after), at)).origin(origin);
            bench.apply(&[entry]);
        }
        bench.apply_fresh(day(after), 100..110);
    }
    for limit in [1, 2, 3, 5, 14, 15, 16, usize::MAX] {
        let (mut all, mut after) = (Vec::new(), None);
        // Each turn but the last brings at least one.
        loop {
            let page = expect(bench.replica().noted(after, limit), "noted");
            assert!(page.len() <= limit, "{} notes, asked for {limit}", page.len());
            let is_last = page.len() < limit;
            after = page.last().map(|noted| noted.number).or(after);
            all.extend(page);
            if is_last {
                break;
            }
            assert!(all.len() <= expected.len(), "{all:?}");
        }
        assert_eq!(all, expected, "in pages of {limit}");
    }
    assert_eq!(expect(bench.replica().noted(None, 0), "noted"), []);
    for (at, rest) in [(number(day(0), 2), 13), (number(day(1), 0), 10), (number(day(9), 0), 0)] {
        assert_eq!(expect(bench.replica().noted(Some(at), 100), "noted"), expected[expected.len() - rest..], "above {at}");
    }
}

fn keyed(key: &[u8]) -> Origin {
    Origin { request_key: RequestKey::new(key, b"payload"), ..Origin::default() }
}

fn note(number: OrderNumber, origin: &Origin) -> Noted {
    let Origin { request_key, supersedes, unverified, .. } = origin.clone();
    Noted { number, supersedes, unverified, request_key }
}

#[track_caller]
fn keyed_numbers(replica: &dyn Replica, key: &[u8], since: Day) -> Vec<OrderNumber> {
    expect(replica.keyed(key, since), "keyed")
}
