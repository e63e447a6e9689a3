//! Digests agree where the records do, and nowhere else.

use super::NewPlace;
use super::bench::{Bench, Entry, day, expect, number};
use crate::order::OrderNumber;
use crate::replica::{Kind, RangeDigest};

/// Replicas of different makes stand side by side in one SET: the sum itself is part of the contract, [`RangeDigest::add`].
pub(super) fn a_digest_is_that_of_the_records_held(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 100..150);
    bench.apply_fresh(day(0), [99, 160]);
    let updates = [bench.update(number(day(0), 120)), bench.void(number(day(0), 121)), bench.update(number(day(0), 155))];
    bench.apply(&updates);
    bench.check_and_reopen();
    let digest = expect(bench.replica().digest(day(0), 0, u32::MAX), "digest");
    assert_eq!((digest.records, digest.damaged), (53, 0));
}

/// Clause 9.
pub(super) fn equal_content_has_equal_digests_however_it_came(new_place: &NewPlace<'_>) {
    let mut planner = Bench::formed(new_place);
    let mut writes: Vec<Entry> = (0..60).map(|sequence| planner.fresh(number(day(0), sequence))).collect();
    let updates: Vec<Entry> = (0..60).step_by(9).map(|sequence| planner.update(number(day(0), sequence))).collect();
    let in_time = {
        planner.apply(&writes);
        planner.apply(&updates);
        digest_of(&planner)
    };

    let mut one_by_one = Bench::formed(new_place);
    for entry in writes.iter().rev() {
        one_by_one.apply(std::slice::from_ref(entry));
    }
    updates.iter().for_each(|entry| one_by_one.apply(std::slice::from_ref(entry)));
    assert_eq!(digest_of(&one_by_one), in_time, "one by one and from the last to the first");

    // What was missed comes later, and is nothing fresh any more; some of it is older than what is there.
    let mut missed = Bench::formed(new_place);
    missed.apply(&writes[40..]);
    missed.apply(&updates);
    writes.iter_mut().for_each(|entry| entry.fresh = false);
    fastrand::Rng::with_seed(1).shuffle(&mut writes);
    for part in writes.chunks(7) {
        missed.apply(part);
    }
    assert_eq!(digest_of(&missed), in_time, "missed at first");
    missed.check_and_reopen();
    assert_eq!(digest_of(&missed), in_time, "missed at first, and opened again");
}

/// Clause 9, the other way round.
pub(super) fn every_difference_shows_in_the_digest(new_place: &NewPlace<'_>) {
    let mut planner = Bench::formed(new_place);
    let base: Vec<Entry> = (0..12).map(|sequence| planner.fresh(number(day(0), sequence))).collect();
    planner.apply(&base);
    let same = digest_of(&planner);

    let counter = base[5].record.version.counter;
    let differs = |what: &str, change: &dyn Fn(&mut Vec<Entry>)| {
        let mut entries = base.clone();
        change(&mut entries);
        let mut bench = Bench::formed(new_place);
        bench.apply(&entries);
        let digest = digest_of(&bench);
        assert!(!digest.agrees_with(&same) && !same.agrees_with(&digest), "{what} does not show in the digest");
        assert_ne!((digest.records, digest.sum), (same.records, same.sum), "{what} does not show in count or sum");
    };
    differs("a record too few", &|entries| drop(entries.remove(5)));
    differs("a record too many", &|entries| entries.push(Entry { number: number(day(0), 12), ..entries[5].clone() }));
    differs("another number", &|entries| entries[11].number = number(day(0), 12));
    differs("another epoch", &|entries| entries[5].record.version.epoch = 2);
    differs("another counter", &|entries| entries[5].record.version.counter = counter + 100);
    differs("another generation", &|entries| entries[5].record.generation = 1);
    differs("another kind", &|entries| entries[5].record.kind = Kind::Void);
    differs("one bit of a value", &|entries| {
        let mut value = entries[5].record.value.to_vec();
        value[3] ^= 1;
        entries[5].record.value = value.into();
    });
    differs("a shorter value", &|entries| entries[5].record.value.truncate(5));
    differs("values exchanged", &|entries| {
        let kept = entries[5].record.value.clone();
        entries[5].record.value = std::mem::replace(&mut entries[6].record.value, kept);
    });
}

/// What is written while digests are compared must not disturb them.
pub(super) fn a_digest_below_an_epoch_leaves_newer_versions_out(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    bench.apply_fresh(day(0), 0..40);
    bench.claim(2);
    bench.apply_fresh(day(0), 40..60);
    let updates = [bench.update(number(day(0), 3)), bench.update(number(day(0), 41)), bench.update(number(day(0), 70))];
    bench.apply(&updates);
    bench.claim(5);
    bench.apply_fresh(day(0), [80, 39_999]);
    let void = bench.void(number(day(0), 4));
    bench.apply(&[void]);
    let expected = [(0, 0), (1, 0), (2, 38), (3, 60), (5, 60), (6, 62), (u32::MAX, 62)];
    for (below_epoch, records) in expected {
        let digest = expect(bench.replica().digest(day(0), 0, below_epoch), "digest");
        assert_eq!(digest, bench.model.digest(day(0), 0, below_epoch), "below epoch {below_epoch}");
        // A number whose newest version is left out is left out whole: its older one is held no more.
        assert_eq!(digest.records, records, "records below epoch {below_epoch}");
    }
    bench.check_and_reopen();
}

pub(super) fn a_digest_keeps_to_its_range(new_place: &NewPlace<'_>) {
    const RANGE: u64 = RangeDigest::SEQUENCES;
    let mut bench = Bench::formed(new_place);
    // One group over several ranges, so that a packed one lies across their borders, and single records beside them.
    bench.apply_fresh(day(0), [0, 1, RANGE - 2, RANGE - 1, RANGE, RANGE + 1, 2 * RANGE - 1, 2 * RANGE, 5 * RANGE + 3]);
    bench.apply_fresh(day(0), [RANGE - 3, 2 * RANGE - 2, OrderNumber::SEQUENCE_MAX]);
    bench.apply_fresh(day(1), [RANGE]);
    let update = bench.update(number(day(0), RANGE));
    bench.apply(&[update]);
    bench.check_and_reopen();
    let last = RangeDigest::range_of(number(day(0), OrderNumber::SEQUENCE_MAX));
    let expected =
        [(0, 5), (1, 4), (2, 1), (3, 0), (4, 0), (5, 1), (6, 0), (last - 1, 0), (last, 1), (last + 1, 0), (u32::MAX, 0)];
    for (range, records) in expected {
        let digest = expect(bench.replica().digest(day(0), range, u32::MAX), "digest");
        assert_eq!(digest.records, records, "records of range {range}");
    }
}

#[track_caller]
fn digest_of(bench: &Bench) -> RangeDigest {
    expect(bench.replica().digest(day(0), 0, u32::MAX), "digest")
}
