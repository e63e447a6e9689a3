//! Many things at once: readers beside a writer, and random groups beside a model.

use super::NewPlace;
use super::bench::{Bench, End, Entry, assert_found, day, expect, get, number};
use crate::order::{Day, OrderNumber};
use crate::replica::{Group, Kind, Lookup, RangeDigest, Record, Replica, ScanLimit, Scanned, Version, Write};
use bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

/// Groups written while others read.
const ROUNDS: u64 = 60;
/// Numbers that every group writes anew: 0, 10, 20 ...
const HOT: u64 = 6;
/// Fresh numbers that every group brings.
const FRESH: u64 = 5;
const FRESH_FROM: u64 = 1_000;

/// What the writer has begun and what it has finished; both only go up.
#[derive(Default)]
struct Progress {
    begun: AtomicU64,
    finished: AtomicU64,
    over: AtomicBool,
    /// How often each reader has read.
    turns: [AtomicU64; READERS.len()],
    reader_failed: AtomicBool,
}

impl Progress {
    /// Until every reader has read once more: else a quick writer is done before the readers begin. Ends when one has failed.
    fn wait_for_readers(&self) {
        for turns in &self.turns {
            let before = turns.load(Ordering::SeqCst);
            while turns.load(Ordering::SeqCst) == before && !self.reader_failed.load(Ordering::SeqCst) {
                std::thread::yield_now();
            }
        }
    }
}

/// Reads once and checks the answer.
type Read = fn(&dyn Replica, &Progress, &mut Seen);

const READERS: [Read; 5] = [gets, gets, scans, digests, others];

/// Counts a turn, also when it ends by a panic: the writer would wait for ever.
struct Turn<'a>(&'a Progress, usize);

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.0.turns[self.1].fetch_add(1, Ordering::SeqCst);
        self.0.reader_failed.fetch_or(std::thread::panicking(), Ordering::SeqCst);
    }
}

/// Says that it is over, also when the writer ends by a panic: the readers would wait for ever.
struct Over<'a>(&'a Progress);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.over.store(true, Ordering::SeqCst);
    }
}

/// Clauses 1 and 5: at any time a reader sees what was synced before it asked, or something newer that was written by then.
pub(super) fn readers_beside_a_writer_see_whole_versions_that_never_go_back(new_place: &NewPlace<'_>) {
    let mut bench = Bench::formed(new_place);
    let replica = bench.share();
    let progress = Progress::default();
    expect(replica.apply(&round_of(0)), "apply");
    let panics: Vec<_> = std::thread::scope(|scope| {
        let writer = scope.spawn(|| {
            let _over = Over(&progress);
            for round in 1..=ROUNDS {
                if round % 10 == 1 {
                    progress.wait_for_readers();
                }
                progress.begun.store(round, Ordering::SeqCst);
                let applied = expect(replica.apply(&round_of(round)), "apply");
                assert!(applied.refused.is_empty(), "{applied:?} in round {round}");
                progress.finished.store(round, Ordering::SeqCst);
            }
        });
        let readers = READERS.iter().enumerate().map(|(reader, read)| {
            let (replica, progress) = (&*replica, &progress);
            scope.spawn(move || {
                let mut seen = Seen::default();
                // The last turn begins after the writer's end.
                let mut last = false;
                while !last {
                    last = progress.over.load(Ordering::SeqCst);
                    let _turn = Turn(progress, reader);
                    read(replica, progress, &mut seen);
                }
            })
        });
        // All are started before one is waited for.
        let threads: Vec<_> = [writer].into_iter().chain(readers).collect();
        threads.into_iter().filter_map(|thread| thread.join().err()).collect()
    });
    if let Some(panic) = panics.into_iter().next() {
        std::panic::resume_unwind(panic);
    }
    drop(replica);
    for round in 0..=ROUNDS {
        for (number, record, fresh) in records_of(round) {
            bench.model.apply(&[Entry { number, record, fresh }]);
        }
    }
    bench.check_and_reopen();
}

/// The newest version of each number that one reader has seen.
#[derive(Default)]
struct Seen(BTreeMap<OrderNumber, Version>);

impl Seen {
    /// `first` and `last`: the rounds of which one must have written this.
    fn check(&mut self, number: OrderNumber, record: &Record, (first, last): (u64, u64)) {
        let round = record.version.counter;
        assert!(*record == hot_or_fresh(number, round), "{number} of round {round} is not as it was written");
        assert!(first <= round && round <= last, "{number} of round {round}, while rounds {first} to {last} are possible");
        let before = self.0.insert(number, record.version);
        assert!(before <= Some(record.version), "{number} was at {before:?} and went back to {}", record.version);
    }
}

fn hot_or_fresh(number: OrderNumber, round: u64) -> Record {
    // Of many lengths, so that a value put together of two would show.
    let length = (round as usize * 37 + number.sequence() as usize) % 600;
    let value = Bytes::from(vec![(round % 251) as u8; length]);
    Record { kind: Kind::Order, version: Version { epoch: 1, counter: round }, generation: 0, value, origin: None }
}

fn records_of(round: u64) -> Vec<(OrderNumber, Record, bool)> {
    let hot = (0..HOT).map(|at| (number(day(0), at * 10), round == 0));
    let fresh = (0..FRESH).map(|at| (number(day(0), FRESH_FROM + round * FRESH + at), true));
    hot.chain(fresh).map(|(number, fresh)| (number, hot_or_fresh(number, round), fresh)).collect()
}

fn round_of(round: u64) -> Group {
    let mut group = Group::new(1);
    for (number, record, fresh) in records_of(round) {
        group.push(Write::new(number, &record, fresh)).expect("a small group");
    }
    group.push_meta("round", Bytes::from(round.to_be_bytes().to_vec())).expect("a small group");
    group
}

/// Reads, and says between which rounds the answer must lie.
fn between<T>(progress: &Progress, read: impl FnOnce() -> T) -> (T, (u64, u64)) {
    let first = progress.finished.load(Ordering::SeqCst);
    let answer = read();
    (answer, (first, progress.begun.load(Ordering::SeqCst)))
}

fn gets(replica: &dyn Replica, progress: &Progress, seen: &mut Seen) {
    for at in 0..HOT {
        let asked = number(day(0), at * 10);
        let (answer, rounds) = between(progress, || get(replica, asked));
        let Lookup::Found(record) = answer else { panic!("{asked} was written before, and a get says {answer:?}") };
        seen.check(asked, &record, rounds);
    }
    let newest = progress.finished.load(Ordering::SeqCst);
    for round in [newest, newest + 1, newest + 5] {
        let asked = number(day(0), FRESH_FROM + round * FRESH + round % FRESH);
        match between(progress, || get(replica, asked)) {
            (Lookup::Found(record), (_, last)) => seen.check(asked, &record, (round, last)),
            (Lookup::Absent, (first, _)) => assert!(first < round, "{asked} of round {round} is absent after round {first}"),
            (damaged, _) => panic!("{asked} is {damaged:?}"),
        }
    }
}

fn scans(replica: &dyn Replica, progress: &Progress, seen: &mut Seen) {
    let mut after = None;
    loop {
        let limit = ScanLimit { records: 70, bytes: 1 << 20 };
        let (chunk, rounds) = between(progress, || expect(replica.scan(day(0), after, limit), "scan"));
        let mut found = Vec::new();
        for item in chunk.items {
            let Scanned::Found(number, record) = item else { panic!("a scan says {item:?}") };
            assert!(found.last() < Some(&number) && after < Some(number), "{number} is out of order");
            let of_round = number.sequence().checked_sub(FRESH_FROM).map(|at| at / FRESH);
            seen.check(number, &record, (of_round.unwrap_or(rounds.0), rounds.1));
            found.push(number);
        }
        // All that was there before the scan began is in it, as far as the chunk goes.
        for round in 0..=rounds.0 {
            for (number, ..) in records_of(round) {
                let within = Some(number) > after && chunk.upto.is_none_or(|upto| number <= upto);
                assert!(!within || found.binary_search(&number).is_ok(), "a scan after round {} misses {number}", rounds.0);
            }
        }
        let Some(upto) = chunk.upto else { return };
        after = Some(upto);
    }
}

fn digests(replica: &dyn Replica, progress: &Progress, _: &mut Seen) {
    let (digest, (first, last)) = between(progress, || expect(replica.digest(day(0), 0, u32::MAX), "digest"));
    let count = |rounds: u64| HOT + FRESH * (rounds + 1);
    assert_eq!(digest.damaged, 0);
    assert!((count(first)..=count(last)).contains(&digest.records), "{} records after round {first} of {last}", digest.records);
    let (digest, _) = between(progress, || expect(replica.digest(day(0), 0, 1), "digest"));
    assert_eq!(digest, RangeDigest::default());
}

fn others(replica: &dyn Replica, progress: &Progress, _: &mut Seen) {
    let (value, (first, last)) = between(progress, || expect(replica.meta("round"), "meta"));
    let value = value.and_then(|value| value[..].try_into().ok()).map(u64::from_be_bytes);
    assert!(value >= Some(first) && value <= Some(last), "meta value of round {value:?}, rounds {first} to {last} are possible");
    let (listed, (first, last)) = between(progress, || expect(replica.meta_with_prefix("rou"), "meta_with_prefix"));
    assert!(
        matches!(&listed[..], [(key, value)] if key == "round"
        && (first..=last).any(|round| value[..] == round.to_be_bytes())),
        "{listed:?}, rounds {first} to {last} are possible"
    );
    assert_eq!(expect(replica.days(), "days"), [day(0)]);
    assert_eq!(get(replica, number(day(1), 0)), Lookup::Absent);
    assert_eq!(replica.epoch(), 1);
    let _ = (replica.standing(), replica.marks());
}

/// Clauses 2, 3, 5, 8 and 9, wherever random groups lead.
pub(super) fn random_groups_agree_with_a_model(new_place: &NewPlace<'_>) {
    for seed in 1..=3 {
        random_world(new_place, seed);
    }
}

pub(super) fn random_world(new_place: &NewPlace<'_>, seed: u64) {
    // Told again by the panic, which does not say it itself.
    struct Telling(u64);
    impl Drop for Telling {
        fn drop(&mut self) {
            if std::thread::panicking() {
                eprintln!("in the world of seed {}", self.0);
            }
        }
    }
    let _telling = Telling(seed);
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut bench = Bench::formed(new_place);
    // Minted in turn on each day, and not yet handed in.
    let mut next: BTreeMap<Day, u64> = (0..3).map(|after| (day(after), rng.u64(0..40_000))).collect();
    let mut minted: Vec<OrderNumber> = Vec::new();
    for _ in 0..120 {
        let mut entries = Vec::new();
        for _ in 0..rng.usize(1..40) {
            let entry = match rng.u32(0..10) {
                0..5 => random_fresh(&mut bench, &mut rng, &mut next, &mut minted),
                _ => random_rewrite(&mut bench, &mut rng, &entries),
            };
            entries.extend(entry);
        }
        bench.apply(&entries);
        for _ in 0..20 {
            if let Some((number, record)) = pick(&bench.model, &mut rng) {
                assert_found(bench.replica(), number, &record);
            }
        }
        match rng.u32(0..30) {
            0 => bench.reopen(End::Closed),
            1 => bench.reopen(End::Dropped),
            2 => bench.claim(bench.epoch + rng.u32(1..4)),
            3 => bench.check(),
            _ => {}
        }
    }
    bench.check_and_reopen();
}

/// The next number of a day, or one minted before and handed in late. Always its first write.
fn random_fresh(
    bench: &mut Bench,
    rng: &mut fastrand::Rng,
    next: &mut BTreeMap<Day, u64>,
    minted: &mut Vec<OrderNumber>,
) -> Option<Entry> {
    let late = rng.u32(0..8);
    if late == 0 && !minted.is_empty() {
        let number = minted.swap_remove(rng.usize(0..minted.len()));
        return Some(random_value(bench.fresh(number), rng));
    }
    let day = day(rng.i64(0..3));
    let sequence = next.get_mut(&day).expect("a day of this world");
    // A lease that was not used up leaves a gap.
    *sequence += if rng.u32(0..50) == 0 { rng.u64(1..20_000) } else { 1 };
    let number = number(day, *sequence);
    if late == 1 {
        minted.push(number);
        return None;
    }
    Some(random_value(bench.fresh(number), rng))
}

/// An update, a void, a repair, a late write or the same write again, of a number that was written before this group or within it.
fn random_rewrite(bench: &mut Bench, rng: &mut fastrand::Rng, entries: &[Entry]) -> Option<Entry> {
    let within = (!entries.is_empty() && rng.bool()).then(|| entries[rng.usize(0..entries.len())].clone());
    let (number, record) = match within {
        Some(entry) => (entry.number, entry.record),
        None => pick(&bench.model, rng)?,
    };
    let version = record.version;
    let again = Entry { number, record, fresh: false };
    Some(match rng.u32(0..8) {
        0 => bench.void(number),
        1 => again,
        2 => {
            let generation = again.record.generation;
            again.generation(generation.saturating_add(rng.u16(0..3)))
        }
        3 => again.generation(0),
        4 => random_value(again, rng).version(version.epoch, version.counter.saturating_sub(rng.u64(1..50))),
        5 => random_value(again, rng).version(version.epoch.saturating_sub(1), u64::MAX),
        _ => random_value(bench.update(number), rng),
    })
}

fn random_value(entry: Entry, rng: &mut fastrand::Rng) -> Entry {
    let length = match rng.u32(0..20) {
        0 => 0,
        1 => rng.usize(4_000..=crate::config::defaults::VALUE_BYTES_MAX),
        _ => rng.usize(1..200),
    };
    entry.value(std::iter::repeat_with(|| rng.u8(..)).take(length).collect::<Vec<u8>>())
}

fn pick(model: &super::bench::Model, rng: &mut fastrand::Rng) -> Option<(OrderNumber, Record)> {
    if model.held.is_empty() {
        return None;
    }
    model.held.iter().nth(rng.usize(0..model.held.len())).map(|(number, record)| (*number, record.clone()))
}
