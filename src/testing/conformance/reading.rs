//! What is written is found, at every way to read; what is not, is absent.

use super::NewPlace;
use super::bench::{ALL, Bench, End, Entry, assert_same, day, expect, get, number, scan_above, scan_all};
use crate::order::{Day, OrderNumber};
use crate::replica::{Chunk, Lookup, RangeDigest, ScanLimit, Scanned};

/// Clause 5: absence is an answer, and asking leaves no trace.
pub(super) fn nothing_is_found_where_nothing_was_written(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let empty = |bench: &Bench, day: Day| {
        let replica = bench.replica();
        assert_eq!(get(replica, number(day, 5)), Lookup::Absent);
        assert_eq!(expect(replica.scan(day, None, ALL), "scan"), Chunk { items: Vec::new(), upto: None });
        assert_eq!(expect(replica.digest(day, 0, u32::MAX), "digest"), RangeDigest::default());
    };
    for asked in [Day::MIN, day(0), day(1), Day::MAX] {
        empty(&bench, asked);
    }
    bench.check_and_reopen();
    bench.apply_fresh(day(0), [5]);
    for asked in [Day::MIN, day(-1), day(1), Day::MAX] {
        empty(&bench, asked);
    }
    bench.check_and_reopen();
}

/// Clauses 2 and 8.
pub(super) fn fresh_orders_of_many_groups_and_days_are_found(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    // Groups of one, of many, with gaps between them, and of several days at once, as around midnight.
    bench.apply_fresh(day(0), [0]);
    bench.apply_fresh(day(0), 1..400);
    bench.apply_fresh(day(0), 1_000..1_100);
    bench.apply_fresh(day(0), (2_000..3_000).step_by(7));
    bench.apply_fresh(day(1), [10, 20, 30]);
    bench.check();
    for round in 0..5 {
        let mut entries = Vec::new();
        for sequence in 0..30 {
            entries.push(bench.fresh(number(day(0), 5_000 + round * 100 + sequence)));
            entries.push(bench.fresh(number(day(1), 40 + round * 100 + sequence)));
        }
        // The threads that mint hand in their orders in no particular order.
        fastrand::Rng::with_seed(round).shuffle(&mut entries);
        bench.apply(&entries);
    }
    bench.check_and_reopen();
    bench.apply_fresh(day(0), 9_000..9_010);
    bench.check_and_reopen();
}

pub(super) fn payloads_may_be_empty_and_as_large_as_the_cap(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let cap = crate::config::defaults::VALUE_BYTES_MAX;
    // Around the ends, and around what engines and packers of runs take for small: 4 KiB.
    let sizes = [0, 1, 99, 4_000, 4_071, 4_072, 4_073, 4_096, cap - 1, cap];
    let payload = |size: usize| (0..size).map(|at| (at * 31 + size) as u8).collect::<Vec<u8>>();
    for (first, fresh) in [(100, true), (200, false)] {
        let together: Vec<Entry> =
            (first..).zip(sizes).map(|(at, size)| bench.update(number(day(0), at)).value(payload(size))).collect();
        bench.apply(&together.into_iter().map(|entry| Entry { fresh, ..entry }).collect::<Vec<_>>());
        for (at, size) in (first + 50..).zip(sizes) {
            let alone = bench.update(number(day(0), at)).value(payload(size));
            bench.apply(&[Entry { fresh, ..alone }]);
        }
    }
    bench.check_and_reopen();
}

pub(super) fn the_first_and_the_last_number_of_all_days_can_be_held(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    for day in [Day::MAX, Day::MIN] {
        bench.apply_fresh(day, [OrderNumber::SEQUENCE_MAX]);
        let first = bench.update(number(day, 0));
        bench.apply(&[first]);
        bench.apply_fresh(day, [1, OrderNumber::SEQUENCE_MAX - 1]);
    }
    bench.check_and_reopen();
}

/// Clause 6, second half: a replica that packs records must not take its neighbours' place for a loss.
pub(super) fn numbers_below_between_and_above_others_are_absent(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), (1_000..1_400).step_by(4));
    bench.apply_fresh(day(0), (2_000..2_040).step_by(2));
    let single = bench.update(number(day(0), 1_500));
    bench.apply(&[single]);
    let mut ended = None;
    loop {
        for sequence in (990..1_410).chain(1_490..1_510).chain(1_990..2_050).chain([0, 16_384, OrderNumber::SEQUENCE_MAX]) {
            let asked = number(day(0), sequence);
            let expected = bench.model.held.get(&asked).cloned().map_or(Lookup::Absent, Lookup::Found);
            assert_eq!(get(bench.replica(), asked), expected, "{asked} {ended:?}");
        }
        if ended.is_some() {
            return;
        }
        ended = Some(End::Dropped);
        bench.reopen(End::Dropped);
    }
}

/// Packed groups, stragglers between them, updates of packed records and single records in between.
fn mixed(new_place: &NewPlace<'_>) -> Bench {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 100..130);
    bench.apply_fresh(day(0), (140..170).step_by(3));
    bench.apply_fresh(day(0), [135, 141, 20]);
    for sequence in [100, 115, 129, 135, 146, 200] {
        let update = bench.update(number(day(0), sequence));
        bench.apply(&[update]);
    }
    let void = bench.void(number(day(0), 116));
    bench.apply(&[void]);
    bench.apply_fresh(day(0), 210..220);
    bench.apply_fresh(day(1), [0]);
    bench.apply_fresh(day(-1), [OrderNumber::SEQUENCE_MAX]);
    bench
}

/// Clause 8.
pub(super) fn a_scan_is_the_same_at_every_page_size(new_place: &NewPlace<'_>) {
    let bench = mixed(new_place);
    let expected = bench.model.on(day(0));
    for records in 0..expected.len() + 2 {
        let pages = scan_all(bench.replica(), day(0), ScanLimit { records, ..ALL });
        assert_same(&pages, &expected, &format!("a scan with {records} records a page"));
    }
    let longest = expected.iter().map(value_bytes).max().unwrap_or(0);
    for bytes in [0, 1, longest - 1, longest, longest + 1, 3 * longest, 10 * longest] {
        let pages = scan_all(bench.replica(), day(0), ScanLimit { bytes, ..ALL });
        assert_same(&pages, &expected, &format!("a scan with {bytes} bytes a page"));
    }
}

pub(super) fn a_scan_begins_above_the_given_number(new_place: &NewPlace<'_>) {
    let bench = mixed(new_place);
    let expected = bench.model.on(day(0));
    for sequence in (0..225).chain([OrderNumber::SEQUENCE_MAX]) {
        let after = number(day(0), sequence);
        let above: Vec<Scanned> = expected.iter().filter(|item| item.first() > after).cloned().collect();
        for records in [1, 4, ALL.records] {
            let found = scan_above(bench.replica(), day(0), Some(after), ScanLimit { records, ..ALL });
            assert_same(&found, &above, &format!("a scan above {after} with {records} records a page"));
        }
    }
    let of_another_day = |after| scan_above(bench.replica(), day(0), Some(after), ALL);
    assert_same(
        &of_another_day(number(day(-1), OrderNumber::SEQUENCE_MAX)),
        &expected,
        "a scan above a number of the day before",
    );
    assert_same(&of_another_day(number(Day::MIN, 0)), &expected, "a scan above the first number there is");
    assert_same(&of_another_day(number(day(1), 0)), &[], "a scan above a number of the next day");
    assert_same(&of_another_day(number(Day::MAX, OrderNumber::SEQUENCE_MAX)), &[], "a scan above the last number there is");
}

pub(super) fn a_scan_keeps_to_its_limits(new_place: &NewPlace<'_>) {
    let bench = mixed(new_place);
    let held = bench.model.on(day(0));
    let scan = |records, bytes| expect(bench.replica().scan(day(0), None, ScanLimit { records, bytes }), "scan");
    for limit in [(0, 0), (1, 0), (0, 1 << 20), (1, 1 << 20), (ALL.records, 0)] {
        let chunk = scan(limit.0, limit.1);
        assert_same(&chunk.items, &held[..1], &format!("a scan with the limit {limit:?}"));
        assert!(chunk.upto.is_some_and(|upto| upto < held[1].first()), "more is to come, but {:?}", chunk.upto);
    }
    // What a page holds, no page may leave out without saying so.
    for records in 1..held.len() {
        let chunk = scan(records, ALL.bytes);
        let upto = chunk.upto.expect("the day goes on");
        let said: Vec<Scanned> = held.iter().filter(|item| item.first() <= upto).cloned().collect();
        assert_same(&chunk.items, &said, &format!("a chunk up to {upto}"));
    }
}

fn value_bytes(item: &Scanned) -> usize {
    match item {
        Scanned::Found(_, record) => record.value.len(),
        Scanned::Damaged { .. } => 0,
    }
}
