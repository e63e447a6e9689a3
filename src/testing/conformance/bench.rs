//! What the clauses work with: a replica in its place, and beside it the obvious slow version that it must agree with.

use super::{NewPlace, Place};
use crate::order::{Day, OrderNumber, SetId};
use crate::replica::{
    Applied, Group, Identity, Kind, Lookup, Origin, RangeDigest, Record, Replica, ReplicaError, ScanLimit, Scanned, Standing,
    Version, Write,
};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The SET of all clauses.
pub(super) const SET: SetId = SetId::from_checked(7);

/// More than any clause holds.
pub(super) const ALL: ScanLimit = ScanLimit { records: 100_000, bytes: 256 << 20 };

/// 2026-11-22 and the days after it.
pub(super) fn day(after: i64) -> Day {
    let first = Day::new(2026, 11, 22).expect("a day of the calendar");
    Day::from_unix_days(first.to_unix_days() + after).expect("a day of the calendar")
}

/// A number of [`SET`].
pub(super) fn number(day: Day, sequence: u64) -> OrderNumber {
    OrderNumber::new(day, sequence, SET).expect("the clauses keep to the sequences there are")
}

pub(super) fn identity() -> Identity {
    Identity {
        store: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
        set: SET,
        index: 1,
        quorum: (3, 2, 2),
        replicas: vec!["a/007".to_owned(), String::new(), "c/订单 007".to_owned()],
        formed: true,
    }
}

/// A write that a clause is going to make.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) number: OrderNumber,
    pub(super) record: Record,
    pub(super) fresh: bool,
}

impl Entry {
    pub(super) fn to_write(&self) -> Write {
        Write::new(self.number, &self.record, self.fresh)
    }

    pub(super) fn value(mut self, value: impl Into<Bytes>) -> Entry {
        self.record.value = value.into();
        self
    }

    pub(super) fn version(mut self, epoch: u32, counter: u64) -> Entry {
        self.record.version = Version { epoch, counter };
        self
    }

    pub(super) fn origin(mut self, origin: Origin) -> Entry {
        self.record.origin = Some(Arc::new(origin));
        self
    }

    pub(super) fn generation(mut self, generation: u16) -> Entry {
        self.record.generation = generation;
        self
    }
}

/// What a replica must hold. Merging is one comparison here, and everything else follows from the map.
#[derive(Clone, Default, Debug)]
pub(super) struct Model {
    pub(super) held: BTreeMap<OrderNumber, Record>,
}

impl Model {
    /// What [`Replica::apply`] must answer.
    pub(super) fn apply(&mut self, entries: &[Entry]) -> Applied {
        let mut applied = Applied::default();
        for (place, entry) in entries.iter().enumerate() {
            let rank = |record: &Record| (record.version, record.generation);
            match self.held.get(&entry.number) {
                Some(held) if held.version > entry.record.version => applied.refused.push((place, held.version)),
                Some(held) if rank(held) >= rank(&entry.record) => {}
                _ => {
                    self.held.insert(entry.number, entry.record.clone());
                }
            }
        }
        applied
    }

    pub(super) fn days(&self) -> Vec<Day> {
        self.held.keys().map(|number| number.day()).collect::<BTreeSet<Day>>().into_iter().collect()
    }

    pub(super) fn on(&self, day: Day) -> Vec<Scanned> {
        let on_day = self.held.iter().filter(|(number, _)| number.day() == day);
        on_day.map(|(number, record)| Scanned::Found(*number, record.clone())).collect()
    }

    pub(super) fn digest(&self, day: Day, range: u32, below_epoch: u32) -> RangeDigest {
        let mut digest = RangeDigest::default();
        for (&number, record) in &self.held {
            if number.day() == day && RangeDigest::range_of(number) == range && record.version.epoch < below_epoch {
                digest.add(number, record.version, &record.encode(number));
            }
        }
        digest
    }
}

/// How a replica ends.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum End {
    Closed,
    /// As when the process is killed, as far as one process can show it.
    Dropped,
}

/// A replica, the place it lives in, and what it must hold.
pub(super) struct Bench {
    place: Box<dyn Place>,
    /// `None` only while it is being opened again.
    replica: Option<Arc<dyn Replica>>,
    pub(super) model: Model,
    pub(super) epoch: u32,
    counter: u64,
}

impl Bench {
    /// Opened for the first time, and nothing more.
    pub(super) fn untouched(new_place: &NewPlace<'_>) -> Bench {
        let place = new_place();
        let replica = Some(open(&*place));
        Bench { place, replica, model: Model::default(), epoch: 0, counter: 0 }
    }

    /// Made and claimed as a store does it before it takes orders.
    pub(super) fn formed(new_place: &NewPlace<'_>) -> Bench {
        let mut bench = Bench::untouched(new_place);
        for formed in [false, true] {
            expect(bench.replica().form(&Identity { formed, ..identity() }), "form");
        }
        bench.claim(1);
        bench
    }

    pub(super) fn replica(&self) -> &dyn Replica {
        &**self.replica.as_ref().expect("a replica is open between two reopenings")
    }

    /// For threads. Must be dropped before the replica is reopened.
    pub(super) fn share(&self) -> Arc<dyn Replica> {
        Arc::clone(self.replica.as_ref().expect("a replica is open between two reopenings"))
    }

    pub(super) fn place(&self) -> &dyn Place {
        &*self.place
    }

    pub(super) fn claim(&mut self, epoch: u32) {
        expect(self.replica().claim(epoch), "claim");
        self.epoch = epoch;
    }

    pub(super) fn end(&mut self, end: End) {
        let replica = self.replica.take().expect("a replica is open between two reopenings");
        if end == End::Closed || !self.place.keeps_what_was_dropped() {
            expect(replica.close(), "close");
        }
        assert_eq!(Arc::strong_count(&replica), 1, "the suite lets go of a replica before it opens the place again");
    }

    /// For a closed replica that others still hold.
    pub(super) fn let_go(&mut self) {
        self.replica = None;
    }

    pub(super) fn open(&mut self) {
        self.replica = Some(open(&*self.place));
    }

    pub(super) fn reopen(&mut self, end: End) {
        self.end(end);
        self.open();
    }

    /// Under the next version, with a value that tells number and version.
    pub(super) fn update(&mut self, number: OrderNumber) -> Entry {
        self.counter += 1;
        let version = Version { epoch: self.epoch, counter: self.counter };
        let value = Bytes::from(format!("{number}@{version}"));
        Entry { number, record: Record { kind: Kind::Order, version, generation: 0, value, origin: None }, fresh: false }
    }

    /// As [`Bench::update`], of a number minted just now.
    pub(super) fn fresh(&mut self, number: OrderNumber) -> Entry {
        Entry { fresh: true, ..self.update(number) }
    }

    pub(super) fn void(&mut self, number: OrderNumber) -> Entry {
        let mut entry = self.update(number).value(Bytes::new());
        entry.record.kind = Kind::Void;
        entry
    }

    /// Fresh orders of one day in one group.
    pub(super) fn apply_fresh(&mut self, day: Day, sequences: impl IntoIterator<Item = u64>) {
        let entries: Vec<Entry> = sequences.into_iter().map(|sequence| self.fresh(number(day, sequence))).collect();
        self.apply(&entries);
    }

    pub(super) fn group(&self, entries: &[Entry]) -> Group {
        let mut group = Group::new(self.epoch);
        for entry in entries {
            group.push(entry.to_write()).expect("the clauses keep their groups below the cap");
        }
        group
    }

    /// Applies one group here and in the model; they must agree on what is refused.
    #[track_caller]
    pub(super) fn apply(&mut self, entries: &[Entry]) {
        let mut applied = expect(self.replica().apply(&self.group(entries)), "apply");
        applied.refused.sort_unstable();
        assert_eq!(applied, self.model.apply(entries), "refused by the replica, and by the contract");
    }

    /// Compares all that can be read with the model.
    #[track_caller]
    pub(super) fn check(&self) {
        let (replica, model) = (self.replica(), &self.model);
        assert_eq!(expect(replica.days(), "days"), model.days(), "the days held, and those written");
        for day in model.days() {
            assert_same(&scan_all(replica, day, ALL), &model.on(day), &format!("a scan of {day}"));
        }
        let mut ranges = BTreeSet::new();
        for (&number, record) in &model.held {
            assert_found(replica, number, record);
            for beside in beside(number).into_iter().filter(|beside| !model.held.contains_key(beside)) {
                assert_eq!(get(replica, beside), Lookup::Absent, "{beside} was never written");
            }
            ranges.insert((number.day(), RangeDigest::range_of(number)));
        }
        for (day, range) in ranges {
            for below_epoch in [self.epoch, u32::MAX] {
                let found = expect(replica.digest(day, range, below_epoch), "digest");
                let expected = model.digest(day, range, below_epoch);
                assert_eq!(found, expected, "the digest of range {range} of {day} below epoch {below_epoch}");
            }
        }
    }

    /// As [`Bench::check`], now and after both ways to end.
    #[track_caller]
    pub(super) fn check_and_reopen(&mut self) {
        self.check();
        for end in [End::Closed, End::Dropped] {
            self.reopen(end);
            self.check();
        }
    }
}

#[track_caller]
fn open(place: &dyn Place) -> Arc<dyn Replica> {
    expect(place.open(), "open")
}

/// The numbers just below and above.
fn beside(middle: OrderNumber) -> Vec<OrderNumber> {
    let (day, sequence) = (middle.day(), middle.sequence());
    let below = sequence.checked_sub(1).map(|below| number(day, below));
    let above = (sequence < OrderNumber::SEQUENCE_MAX).then(|| number(day, sequence + 1));
    below.into_iter().chain(above).collect()
}

#[track_caller]
pub(super) fn expect<T>(result: Result<T, ReplicaError>, call: &str) -> T {
    match result {
        Ok(value) => value,
        Err(error) => panic!("{call} failed: {error}"),
    }
}

#[track_caller]
pub(super) fn get(replica: &dyn Replica, number: OrderNumber) -> Lookup {
    expect(replica.get(number), "get")
}

#[track_caller]
pub(super) fn assert_found(replica: &dyn Replica, number: OrderNumber, record: &Record) {
    let found = get(replica, number);
    // Compared before the words are made for it: most of the time of a clause would go there. And in few words: a value may
    // be long.
    if !matches!(&found, Lookup::Found(found) if found == record) {
        let found = match found {
            Lookup::Found(found) => words(&found),
            other => format!("{other:?}"),
        };
        panic!("{number} was written as {}, and a get says {found}", words(record));
    }
}

/// Compares two scans; of all that differs the first is told.
#[track_caller]
pub(super) fn assert_same(found: &[Scanned], expected: &[Scanned], what: &str) {
    if found != expected {
        let words = |item: &Scanned| match item {
            Scanned::Found(number, record) => format!("{number} {}", words(record)),
            damaged => format!("{damaged:?}"),
        };
        let at = found.iter().zip(expected).position(|(found, expected)| found != expected);
        let at = at.unwrap_or(found.len().min(expected.len()));
        let [there, here] = [found, expected].map(|items| items.get(at).map_or("nothing".to_owned(), words));
        let (all, of) = (found.len(), expected.len());
        panic!("{what} found {all} where {of} belong; the first that differs, at {at}, is {there} in the place of {here}");
    }
}

fn words(record: &Record) -> String {
    let Record { kind, version, generation, value, origin } = record;
    let start = value.slice(..value.len().min(40));
    let origin = origin.as_ref().map_or(String::new(), |origin| format!(", from {origin:?}"));
    format!("{kind:?} of version {version}, generation {generation}, {} bytes {start:?}{origin}", value.len())
}

/// All of a day, page by page; each page must keep the rules.
#[track_caller]
pub(super) fn scan_all(replica: &dyn Replica, day: Day, limit: ScanLimit) -> Vec<Scanned> {
    scan_above(replica, day, None, limit)
}

/// As [`scan_all`], above a number.
#[track_caller]
pub(super) fn scan_above(replica: &dyn Replica, day: Day, mut after: Option<OrderNumber>, limit: ScanLimit) -> Vec<Scanned> {
    let mut all: Vec<Scanned> = Vec::new();
    let mut said_empty = false;
    // Each turn moves `after` up, and no clause holds more than it could step over one by one.
    loop {
        let chunk = expect(replica.scan(day, after, limit), "scan");
        let values: usize = chunk.items.iter().map(|item| if let Scanned::Found(_, r) = item { r.value.len() } else { 0 }).sum();
        assert!(chunk.items.len() <= limit.records.max(1), "{} records, asked for {}", chunk.items.len(), limit.records);
        assert!(values <= limit.bytes || chunk.items.len() == 1, "{values} bytes of values, asked for {}", limit.bytes);
        assert!(chunk.items.is_empty() || !said_empty, "a chunk without records came before one with records");
        said_empty = chunk.items.is_empty();
        for item in &chunk.items {
            let first = item.first();
            assert_eq!(first.day(), day, "a scan of {day} found {first}");
            assert!(Some(first) > after, "a scan above {after:?} found {first}");
            assert!(all.last().is_none_or(|last| last.first() < first), "a scan found {first} not in ascending order");
            assert!(chunk.upto.is_none_or(|upto| first <= upto), "{first} is above the end of its chunk, {:?}", chunk.upto);
            all.push(item.clone());
        }
        let Some(upto) = chunk.upto else { return all };
        assert!(Some(upto) > after, "a scan above {after:?} got no further than {upto}");
        after = Some(upto);
    }
}

/// Whether `standing` is that of a replica with this identity.
#[track_caller]
pub(super) fn assert_voting(replica: &dyn Replica, identity: &Identity) {
    assert_eq!(replica.standing(), Standing::Voting(identity.clone()), "the standing");
}
