//! The orders of one day: packed runs of fresh records, single records for everything else, and the mark of the last group.
//!
//! A number's records are found like this. A single is looked for first: it is never older than what a run holds, because a
//! run takes only numbers that have no single, and a single is written only over what it is newer than (or over what cannot be
//! read, which is what a repair does; a run holds the first version of a number, so nothing is older). Without a single,
//! the run with the highest first number at or below it has the record, or nobody has: a run starts above the last number inside
//! the run before.
//!
//! Each run names the one before it, and the mark names the last. A number in a gap between two runs is absent only if the
//! upper one names the lower one; else a run may be missing there, and nothing can be said.

use super::engine::{Cursor, Database, Slice, Tree};
use super::flight::Flight;
use super::index::Index;
use super::marks::{Mark, Tail};
use super::runs::{Run, RunBuilder};
use crate::order::{Day, OrderNumber, SetId};
use crate::replica::record::Header;
use crate::replica::{Applied, Damage, Lookup, Noted, ReplicaError, Write};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

pub(super) const MARK_KEY: &[u8] = b"own";

/// An open day.
pub(super) struct DayStore {
    pub(super) day: Day,
    set: SetId,
    /// Dropped before `database`, in the order of declaration: a tree flushes when it goes.
    pub(super) runs: Tree,
    pub(super) singles: Tree,
    marks: Tree,
    pub(super) index: Index,
    pub(super) database: Database,
    /// One past the highest sequence that has a single, 0 while there is none: most look-ups end here.
    singles_end: AtomicU64,
    tails: Mutex<Tails>,
    /// The directory stays locked until the last reader has let go of the database.
    _lock: Arc<File>,
}

#[derive(Clone, Copy, Debug)]
struct Tails {
    /// As of the last group that was synced: what readers may rely on.
    synced: Tail,
    /// With the group under way.
    written: Tail,
}

/// What was found when a day was opened.
#[derive(Debug)]
pub(super) struct Recovered {
    pub(super) mark: Option<Mark>,
    /// The run that the mark names is the last one, or an unsynced one follows it.
    pub(super) tail_is_there: bool,
}

/// What is held under a number, as far as applying a write is concerned.
enum Held {
    Nothing,
    Record(Header),
    Unreadable,
}

impl DayStore {
    /// Opens the trees in `database` and finds the ends.
    pub(super) fn open(database: Database, day: Day, set: SetId, lock: Arc<File>) -> Result<(DayStore, Recovered), ReplicaError> {
        let (runs, singles, marks) = (database.tree("runs")?, database.tree("singles")?, database.tree("marks")?);
        let mark = marks.get(MARK_KEY)?.and_then(|bytes| Mark::decode(&bytes)).filter(|mark| mark.day == Some(day));
        let marked = mark.as_ref().map_or(Tail::default(), |mark| mark.tail);
        let index = Index::open(&database)?;
        let store = DayStore {
            day,
            set,
            runs,
            singles,
            marks,
            index,
            database,
            singles_end: AtomicU64::new(0),
            tails: Mutex::new(Tails { synced: marked, written: marked }),
            _lock: lock,
        };
        if let Some((key, _)) = store.singles.last()? {
            // A key that is no number of this day can only be damage; then every look-up asks the tree.
            let end = store.number_of(&key).map_or(u64::MAX, |number| number.sequence() + 1);
            store.singles_end.store(end, SeqCst);
        }
        let (tail, tail_is_there) = store.tail_after(marked)?;
        *store.tails.lock() = Tails { synced: tail, written: tail };
        Ok((store, Recovered { mark, tail_is_there }))
    }

    /// Entries of the index may be missing: the day was not closed cleanly, or was in doubt then.
    pub(super) fn doubt_index(&self) {
        let singles_end = self.singles_end.load(SeqCst);
        let tail = self.synced_tail();
        if tail.run != 0 || singles_end != 0 {
            self.index.doubt(tail.last.max(singles_end.saturating_sub(1)));
        }
    }

    /// The end of the chain. Runs of a group that was never synced may lie above the one that the mark names.
    fn tail_after(&self, marked: Tail) -> Result<(Tail, bool), ReplicaError> {
        let Some((key, value)) = self.runs.last()? else { return Ok((marked, marked.run == 0)) };
        let Some(first) = self.number_of(&key) else { return Ok((Tail { run: marked.run, last: u64::MAX }, false)) };
        if first.to_u64() <= marked.run {
            return Ok((marked, first.to_u64() == marked.run));
        }
        let is_there = marked.run == 0 || self.runs.get(&marked.run.to_be_bytes())?.is_some();
        // Where that run cannot be read nobody knows how far it goes: from then on this day takes singles only.
        let last = Run::open(first, &value).map_or(u64::MAX, |run| run.last_sequence());
        Ok((Tail { run: first.to_u64(), last }, is_there))
    }

    /// The number that a key stands for, if it is one of this day and SET.
    pub(super) fn number_of(&self, key: &[u8]) -> Option<OrderNumber> {
        let number = OrderNumber::try_from(u64::from_be_bytes(key.try_into().ok()?)).ok()?;
        (number.day() == self.day && number.set_id() == self.set).then_some(number)
    }

    /// The same where nothing more can be said once a key is damaged.
    pub(super) fn sound_number_of(&self, key: &[u8]) -> Result<OrderNumber, ReplicaError> {
        self.number_of(key)
            .ok_or_else(|| ReplicaError::Day { day: self.day, reason: "it holds a key that is no number of it".into() })
    }

    /// The number of this day and SET with `sequence`.
    pub(super) fn number(&self, sequence: u64) -> OrderNumber {
        OrderNumber::new(self.day, sequence, self.set).expect("callers stay within the sequences of a day")
    }

    /// Up to where readers may expect runs. To be read *before* the trees.
    pub(super) fn synced_tail(&self) -> Tail {
        self.tails.lock().synced
    }

    /// Singles from `sequence` on; `None` where there is surely none.
    pub(super) fn singles_from(&self, sequence: u64) -> Option<Cursor> {
        let may_be = sequence < self.singles_end.load(SeqCst);
        may_be.then(|| self.singles.from(&self.number(sequence).to_be_bytes()))
    }

    fn single(&self, number: OrderNumber) -> Result<Option<Slice>, ReplicaError> {
        let may_be = number.sequence() < self.singles_end.load(SeqCst);
        if may_be { self.singles.get(&number.to_be_bytes()) } else { Ok(None) }
    }

    /// What is held under `number`, which is of this day and SET.
    pub(super) fn get(&self, number: OrderNumber, flight: &Flight) -> Result<Lookup, ReplicaError> {
        if let Some(bytes) = self.single(number)? {
            return read_record(number, &bytes, flight);
        }
        let mut seen = None;
        loop {
            let tail = self.synced_tail();
            let lower = self.runs.at_or_below(&number.to_be_bytes())?;
            let mut lower_first = 0;
            if let Some((key, value)) = &lower {
                let first = self.sound_number_of(key)?;
                let run = match Run::open(first, value) {
                    Ok(run) => run,
                    // It may well be that the run ended below; only the mark of a last run could tell.
                    Err(_) if first.to_u64() == tail.run && number.sequence() > tail.last => return Ok(Lookup::Absent),
                    Err(error) => return Ok(damaged_run(&error.to_string())),
                };
                let place = run.lower_bound(number.sequence());
                if place < run.len() {
                    let is_it = run.sequence(place) == number.sequence();
                    return if is_it { read_record(number, run.record(place), flight) } else { Ok(Lookup::Absent) };
                }
                lower_first = first.to_u64();
            }
            let lost = match self.runs.above(&number.to_be_bytes())? {
                None => tail.run > lower_first && number.sequence() <= tail.last,
                Some((key, value)) => {
                    let first = self.sound_number_of(&key)?;
                    match Run::open(first, &value) {
                        Ok(run) => run.previous() != lower_first,
                        Err(error) => return Ok(damaged_run(&error.to_string())),
                    }
                }
            };
            if !lost {
                return Ok(Lookup::Absent);
            }
            // A group under way may have put runs between the two looks. They come in ascending order, so whoever saw the upper
            // one finds the lower one now; this ends because each turn needs a run that was not there before.
            if seen == Some(lower_first) {
                return Ok(Lookup::Damaged(Damage::RunMissing));
            }
            seen = Some(lower_first);
        }
    }

    /// Appends the orders from `from` on that have a note, as far as `limit` goes.
    pub(super) fn noted(
        &self,
        from: OrderNumber,
        limit: usize,
        flight: &Flight,
        noted: &mut Vec<Noted>,
    ) -> Result<(), ReplicaError> {
        self.index.noted(self, from, |number| {
            if noted.len() < limit {
                noted.extend(Noted::of(number, self.get(number, flight)?));
            }
            Ok(noted.len() < limit)
        })
    }

    /// Puts the writes of a group, each with its place in it, into the trees. Nothing is durable yet.
    pub(super) fn write(&self, writes: &[(usize, &Write)], applied: &mut Applied) -> Result<(), ReplicaError> {
        // Before the records: whoever finds one finds its entries. Also of what is refused below, and of what is held already: a
        // power cut may have left it without them, and from now on it counts.
        for (_, write) in writes {
            if let Some(origin) = write.origin() {
                self.index.put(&self.database, write.number(), &origin)?;
            }
        }
        let mut for_runs = self.fit_for_runs(writes)?;
        for_runs.sort_by_key(|(_, write)| write.number());
        // Of two fresh writes of one number, which no coordinator sends, the first goes into a run and the other is looked up.
        for_runs.dedup_by_key(|(_, write)| write.number());
        self.write_runs(&for_runs)?;
        if for_runs.len() < writes.len() {
            let in_runs: HashSet<usize> = for_runs.iter().map(|(place, _)| *place).collect();
            for (place, write) in writes.iter().filter(|(place, _)| !in_runs.contains(place)) {
                self.write_single(*place, write, applied)?;
            }
        }
        Ok(())
    }

    /// Fresh writes above all runs whose numbers are not written otherwise, neither earlier nor in this group.
    fn fit_for_runs<'a>(&self, writes: &[(usize, &'a Write)]) -> Result<Vec<(usize, &'a Write)>, ReplicaError> {
        let tail = self.tails.lock().written;
        let others: HashSet<OrderNumber> =
            writes.iter().map(|(_, write)| write).filter(|write| !write.is_fresh()).map(|write| write.number()).collect();
        let is_above = |number: OrderNumber| tail.run == 0 || number.sequence() > tail.last;
        let mut fit: Vec<_> = writes.iter().copied().filter(|(_, write)| write.is_fresh() && is_above(write.number())).collect();
        if !others.is_empty() {
            fit.retain(|(_, write)| !others.contains(&write.number()));
        }
        // A void may have come first. One look at the range of the group spares a look-up for each.
        if let (Some(low), Some(high)) =
            (fit.iter().map(|(_, write)| write.number()).min(), fit.iter().map(|(_, write)| write.number()).max())
            && let Some(mut cursor) = self.singles_from(low.sequence())
        {
            let mut taken = HashSet::new();
            while let Some((key, _)) = cursor.next()? {
                match self.number_of(&key) {
                    Some(number) if number <= high => taken.insert(number),
                    _ => break,
                };
            }
            fit.retain(|(_, write)| !taken.contains(&write.number()));
        }
        Ok(fit)
    }

    fn write_runs(&self, writes: &[(usize, &Write)]) -> Result<(), ReplicaError> {
        let mut open: Option<RunBuilder> = None;
        for (_, write) in writes {
            if let Some(run) = &mut open
                && run.push(write.number(), write.bytes())
            {
                continue;
            }
            let full = open.replace(RunBuilder::new(write.number(), write.bytes()));
            full.map_or(Ok(()), |run| self.write_run(&run))?;
        }
        open.map_or(Ok(()), |run| self.write_run(&run))
    }

    /// Runs are inserted in ascending order: readers rely on it.
    fn write_run(&self, run: &RunBuilder) -> Result<(), ReplicaError> {
        let mut tails = self.tails.lock();
        let before = tails.written;
        assert!(
            before.run == 0 || run.first().sequence() > before.last,
            "a run starts above the last number inside the last run"
        );
        tails.written = Tail { run: run.first().to_u64(), last: run.last().sequence() };
        drop(tails);
        self.runs.insert(&run.first().to_be_bytes(), &run.finish(before.run))
    }

    fn write_single(&self, place: usize, write: &Write, applied: &mut Applied) -> Result<(), ReplicaError> {
        let (number, version) = (write.number(), write.version());
        let is_newer = match self.held(number)? {
            Held::Nothing | Held::Unreadable => true,
            Held::Record(held) if held.version > version => {
                applied.refused.push((place, held.version));
                false
            }
            Held::Record(held) => held.version < version || held.generation < generation_of(write),
        };
        if is_newer {
            self.singles_end.fetch_max(number.sequence() + 1, SeqCst);
            self.singles.insert(&number.to_be_bytes(), write.bytes())?;
        }
        Ok(())
    }

    fn held(&self, number: OrderNumber) -> Result<Held, ReplicaError> {
        let held = |bytes: &[u8]| Header::check(number, bytes).map_or(Held::Unreadable, Held::Record);
        if let Some(bytes) = self.single(number)? {
            return Ok(held(&bytes));
        }
        let Some((key, value)) = self.runs.at_or_below(&number.to_be_bytes())? else { return Ok(Held::Nothing) };
        let Some(Ok(run)) = self.number_of(&key).map(|first| Run::open(first, &value)) else { return Ok(Held::Unreadable) };
        let place = run.lower_bound(number.sequence());
        let is_it = place < run.len() && run.sequence(place) == number.sequence();
        Ok(if is_it { held(run.record(place)) } else { Held::Nothing })
    }

    /// Whether anything is held.
    pub(super) fn holds_anything(&self) -> Result<bool, ReplicaError> {
        Ok(self.singles_end.load(SeqCst) > 0 || self.synced_tail().run != 0 || self.runs.last()?.is_some())
    }

    /// Leaves the mark of a group whose writes are in the trees.
    pub(super) fn write_mark(&self, group: u64, incarnation: u64, peers: &[u64]) -> Result<(), ReplicaError> {
        let tail = self.tails.lock().written;
        let mark = Mark { day: Some(self.day), incarnation, group, tail, peers: peers.to_vec() };
        self.marks.insert(MARK_KEY, &mark.encode())
    }

    /// The chain ends with the last run that is there: what the mark names beyond it is absent from now on.
    pub(super) fn forget_lost_tail(&self) -> Result<(), ReplicaError> {
        let tail = match self.runs.last()? {
            None => Tail::default(),
            Some(_) => self.tail_after(Tail::default())?.0,
        };
        *self.tails.lock() = Tails { synced: tail, written: tail };
        Ok(())
    }

    /// The group is synced.
    pub(super) fn settle_tail(&self) {
        let mut tails = self.tails.lock();
        tails.synced = tails.written;
    }

    /// The directory of a day below that of the replica.
    pub(super) fn dir(replica: &Path, day: Day) -> PathBuf {
        replica.join("days").join(day.to_string())
    }
}

/// The generation in a record's bytes, which were encoded in this process.
fn generation_of(write: &Write) -> u16 {
    write.bytes().get(2..4).map_or(0, |bytes| u16::from_be_bytes([bytes[0], bytes[1]]))
}

fn read_record(number: OrderNumber, bytes: &[u8], flight: &Flight) -> Result<Lookup, ReplicaError> {
    match Header::check(number, bytes) {
        Err(error) => Ok(Lookup::Damaged(Damage::Record { reason: error.to_string() })),
        Ok(header) => {
            flight.settle(number, header.version)?;
            Ok(Lookup::Found(header.into_record(bytes)))
        }
    }
}

fn damaged_run(reason: &str) -> Lookup {
    Lookup::Damaged(Damage::Run { reason: reason.to_owned() })
}
