//! Of several writes of one number the newest counts, whatever the order in which they come.

use super::NewPlace;
use super::bench::{Bench, Entry, day, expect, get, number};
use crate::config::defaults::VALUE_BYTES_MAX;
use crate::replica::{Applied, Group, Lookup, Version};
use bytes::Bytes;

/// A fresh order may come after ones with higher numbers: the threads that mint do not hand in their orders in turn.
pub(super) fn a_straggler_is_found_beside_the_numbers_above_it(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), (100..200).filter(|sequence| sequence % 10 != 5));
    bench.apply_fresh(day(0), 300..320);
    bench.apply_fresh(day(0), [105, 50, 299, 250]);
    bench.check();
    // Beside fresh ones that are no stragglers, and after a reopening.
    bench.apply_fresh(day(0), [115, 400, 401, 320, 49, 402]);
    bench.check_and_reopen();
    bench.apply_fresh(day(0), [125, 0, 403]);
    bench.check_and_reopen();
}

/// Clause 3.
pub(super) fn a_newer_version_replaces_an_older_one(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..50);
    for sequence in [0, 7, 49, 7] {
        let update = bench.update(number(day(0), sequence));
        bench.apply(&[update]);
        bench.check();
    }
    // A later epoch is newer, whatever its counter; and shorter and longer values take each other's place.
    bench.claim(2);
    for (sequence, value) in [(7, vec![1; 7_000]), (8, Vec::new()), (60, vec![2; 10])] {
        let update = bench.update(number(day(0), sequence)).version(2, 1).value(value);
        bench.apply(&[update]);
    }
    bench.check_and_reopen();
}

/// Clause 3, the other way round.
pub(super) fn an_older_version_is_refused_and_named(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.claim(3);
    bench.apply_fresh(day(0), 0..20);
    let newest = bench.update(number(day(0), 7)).version(3, 500);
    bench.apply(&[newest]);
    for (epoch, counter) in [(3, 499), (3, 1), (2, 501), (1, u64::MAX), (0, 0)] {
        let older = bench.update(number(day(0), 7)).version(epoch, counter).generation(u16::MAX);
        let applied = expect(bench.replica().apply(&bench.group(&[older])), "apply");
        assert_eq!(applied, Applied { refused: vec![(0, Version { epoch: 3, counter: 500 })] });
        let older = bench.update(number(day(0), 8)).version(epoch.min(2), counter);
        bench.apply(&[older]);
    }
    bench.check_and_reopen();
}

pub(super) fn the_refused_are_named_by_their_place_in_the_group(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.claim(2);
    for after in [0, 1] {
        bench.apply_fresh(day(after), 0..10);
    }
    let update = bench.update(number(day(1), 4));
    bench.apply(&[update]);
    // Fresh ones, updates and late ones of two days side by side: places count in the group, not in a day or a tree.
    let late = |bench: &mut Bench, day, sequence| bench.update(number(day, sequence)).version(1, 1);
    let entries = [
        bench.fresh(number(day(1), 20)),
        late(&mut bench, day(1), 4),
        bench.update(number(day(0), 3)),
        late(&mut bench, day(0), 3),
        bench.fresh(number(day(0), 20)),
        late(&mut bench, day(0), 21),
        late(&mut bench, day(1), 9),
        bench.fresh(number(day(0), 19)),
        late(&mut bench, day(0), 0),
    ];
    let mut model = bench.model.clone();
    let places: Vec<usize> = model.apply(&entries).refused.into_iter().map(|(place, _)| place).collect();
    assert_eq!(places, [1, 3, 6, 8], "the suite knows what it asks for");
    bench.apply(&entries);
    bench.check_and_reopen();
}

/// Clause 3: how a repair writes the same version over bytes gone bad.
pub(super) fn at_equal_versions_the_higher_generation_counts(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..20);
    for sequence in [3, 30] {
        let written = bench.update(number(day(0), sequence));
        bench.apply(std::slice::from_ref(&written));
        for generation in [2, 1, 0, 3, 256, u16::MAX, 255] {
            bench.apply(&[written.clone().generation(generation)]);
            bench.check();
        }
    }
    // The same on a record that came as a fresh one.
    let held = bench.model.held[&number(day(0), 4)].clone();
    let mut repaired = bench.update(number(day(0), 4)).value(held.value).version(held.version.epoch, held.version.counter);
    repaired.record.generation = 1;
    bench.apply(&[repaired]);
    bench.check_and_reopen();
}

pub(super) fn what_is_held_already_counts_as_applied(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let entries: Vec<Entry> = (0..20).map(|sequence| bench.fresh(number(day(0), sequence))).collect();
    bench.apply(&entries);
    let again: Vec<Entry> = entries.into_iter().map(|entry| Entry { fresh: false, ..entry }).collect();
    bench.apply(&again);
    bench.apply(&again[4..5]);
    bench.check_and_reopen();
    bench.apply(&again);
    bench.check_and_reopen();
}

/// A void ends a number for good, also when it comes before the order does.
pub(super) fn a_void_replaces_an_order_and_refuses_a_late_one(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..10);
    let void = bench.void(number(day(0), 3));
    bench.apply(&[void]);
    let late = bench.update(number(day(0), 50));
    let late_and_fresh = bench.fresh(number(day(0), 51));
    let voids = [bench.void(number(day(0), 50)), bench.void(number(day(0), 51))];
    bench.apply(&voids);
    bench.apply(&[late]);
    bench.check();
    // Of a fresh one the replica may believe that there is nothing to look for: whether it names it is its own affair.
    // The void is what is read all the same.
    expect(bench.replica().apply(&bench.group(std::slice::from_ref(&late_and_fresh))), "apply");
    bench.model.apply(&[late_and_fresh]);
    bench.check_and_reopen();
    // A void can be followed by what is newer still.
    let newer = bench.update(number(day(0), 50));
    bench.apply(&[newer]);
    bench.check_and_reopen();
}

pub(super) fn several_versions_of_one_number_in_one_group_end_at_the_newest(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    // An order that is changed as soon as it is made: both wait for the same group.
    let entries = [
        bench.fresh(number(day(0), 1)),
        bench.fresh(number(day(0), 2)),
        bench.update(number(day(0), 1)),
        bench.update(number(day(0), 1)),
        bench.void(number(day(0), 2)),
        bench.fresh(number(day(0), 3)),
    ];
    bench.apply(&entries);
    bench.check_and_reopen();
    let (older, newer) = (bench.update(number(day(0), 3)), bench.update(number(day(0), 3)));
    let (first, second) = (bench.update(number(day(0), 9)), bench.update(number(day(0), 9)));
    bench.apply(&[newer, older, second, first]);
    bench.check_and_reopen();
}

/// A group is bounded by bytes, and all that fits must go in.
pub(super) fn a_group_at_the_cap_is_applied_whole(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let filled = |bench: &mut Bench, first: u64, size: usize, fresh: bool| {
        let mut entries: Vec<Entry> = Vec::new();
        let mut group = Group::new(bench.epoch);
        for sequence in first.. {
            let entry = bench.update(number(day(0), sequence)).value(Bytes::from(vec![sequence as u8; size]));
            let entry = Entry { fresh, ..entry };
            if group.push(entry.to_write()).is_err() {
                return (group, entries);
            }
            entries.push(entry);
        }
        unreachable!("a group ends at its cap")
    };
    for (first, size) in [(0, VALUE_BYTES_MAX), (10_000, 100)] {
        let (fresh, entries) = filled(&mut bench, first, size, true);
        assert!(fresh.bytes() <= Group::BYTES_MAX && fresh.bytes() + size + 100 > Group::BYTES_MAX, "filled to the cap");
        assert_eq!(expect(bench.replica().apply(&fresh), "apply"), bench.model.apply(&entries));
        let (updates, entries) = filled(&mut bench, first, size, false);
        assert_eq!(expect(bench.replica().apply(&updates), "apply"), bench.model.apply(&entries));
    }
    bench.check_and_reopen();
}

pub(super) fn many_days_are_held_side_by_side(new_place: &NewPlace<'_>) {
    const DAYS: i64 = 30;
    let mut bench = Bench::formed(new_place);
    let one_each: Vec<Entry> = (0..DAYS).rev().map(|after| bench.fresh(number(day(after * 40), 7))).collect();
    bench.apply(&one_each);
    for after in 0..DAYS {
        bench.apply_fresh(day(after * 40), 8..12);
    }
    bench.check_and_reopen();
    for after in (0..DAYS).step_by(7) {
        let update = bench.update(number(day(after * 40), 7));
        bench.apply(&[update]);
    }
    bench.check_and_reopen();
    assert_eq!(get(bench.replica(), number(day(1), 7)), Lookup::Absent);
}
