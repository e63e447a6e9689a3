//! Reading a day in ascending order: singles merged into the chain of runs, with every place told where something may be missing.

use super::day::DayStore;
use super::engine::{Cursor, Slice};
use super::flight::Flight;
use super::runs::Run;
use crate::order::OrderNumber;
use crate::replica::record::Header;
use crate::replica::{Chunk, Damage, Origin, RangeDigest, ReplicaError, ScanLimit, Scanned};
use std::sync::Arc;

/// How many damaged places a scan tells of beyond its limit of records, so that one answer stays small.
const DAMAGED_MAX: usize = 1024;

/// What comes next in a walk.
enum Visit<'a> {
    Record(OrderNumber, Header, &'a [u8]),
    /// Sequences from one to another, both included, of which nothing can be said but for the singles that follow.
    Damaged(u64, u64, Damage),
}

/// Records of one range without their entries in the index.
pub(super) type Unindexed = Vec<(OrderNumber, Arc<Origin>)>;

/// Whether to walk on.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Then {
    Go,
    Stop,
}

type Visited = Result<Then, ReplicaError>;

impl DayStore {
    /// The records with a sequence from `from` on, as far as `limit` goes.
    pub(super) fn scan(&self, from: u64, limit: ScanLimit, flight: &Flight) -> Result<Chunk, ReplicaError> {
        let (mut items, mut records, mut bytes, mut upto) = (Vec::new(), 0, 0, None);
        self.walk(from, OrderNumber::SEQUENCE_MAX, &mut |visit| {
            let (sequence, size) = match &visit {
                Visit::Record(number, header, bytes) => (number.sequence(), bytes.len() - header.payload_at),
                Visit::Damaged(from, ..) => (*from, 0),
            };
            let is_full = records >= limit.records || bytes + size > limit.bytes;
            if (records > 0 && is_full) || items.len() >= limit.records.saturating_add(DAMAGED_MAX) {
                // Something lies here, so all that was said reaches to just below it. It is above the first item: there is progress.
                upto = Some(self.number(sequence - 1));
                return Ok(Then::Stop);
            }
            match visit {
                Visit::Record(number, header, found) => {
                    flight.settle(number, header.version)?;
                    (records, bytes) = (records + 1, bytes + size);
                    items.push(Scanned::Found(number, header.into_record(found)));
                }
                Visit::Damaged(from, to, damage) => {
                    items.push(Scanned::Damaged { from: self.number(from), to: self.number(to), damage });
                }
            }
            Ok(Then::Go)
        })?;
        Ok(Chunk { items, upto })
    }

    /// The digest of the records with a sequence from `from` to `to` and an epoch below `below_epoch`. Where the index of that range is
    /// in doubt, also the origins of all records there that it lacks.
    pub(super) fn digest(
        &self,
        from: u64,
        to: u64,
        below_epoch: u32,
        doubts_index: bool,
        flight: &Flight,
    ) -> Result<(RangeDigest, Unindexed), ReplicaError> {
        let (mut digest, mut unindexed) = (RangeDigest::default(), Unindexed::new());
        self.walk(from, to, &mut |visit| {
            match visit {
                Visit::Record(number, header, bytes) => {
                    if doubts_index
                        && let Some(origin) = header.origin
                        && !self.index.holds(number, &origin)?
                    {
                        unindexed.push((number, origin));
                    }
                    if header.version.epoch < below_epoch {
                        flight.settle(number, header.version)?;
                        digest.add(number, header.version, bytes);
                    }
                }
                Visit::Damaged(..) => digest.damaged += 1,
            }
            Ok(Then::Go)
        })?;
        Ok((digest, unindexed))
    }

    fn walk(&self, from: u64, to: u64, visit: &mut dyn FnMut(Visit<'_>) -> Visited) -> Visited {
        // Before any run is read: runs that come later may be unsynced, and missing ones are no damage.
        let tail = self.synced_tail();
        let mut walk = Walk { day: self, to, singles: self.singles_from(from), single: None, visit };
        walk.next_single()?;

        let start = self.runs.at_or_below(&self.number(from).to_be_bytes())?;
        let mut runs = match &start {
            Some((key, _)) => self.runs.from(key),
            None => self.runs.from(&self.number(from).to_be_bytes()),
        };
        // Of the first run only the part from `from` on matters; what lies before it does not.
        let mut is_start = start.is_some();
        let mut previous = 0;
        // Nothing was said yet of the sequences from here on.
        let mut open_from = from;
        // Why nothing can be said of them, as far as is known.
        let mut pending: Option<Damage> = None;
        let mut looked_for = 0;
        while let Some((key, value)) = runs.next()? {
            let first = self.sound_number_of(&key)?;
            let run = match Run::open(first, &value) {
                Ok(run) => run,
                Err(error) => {
                    // Its link cannot be read either, so that a run before it may be missing as well.
                    pending.get_or_insert(Damage::Run { reason: error.to_string() });
                    if first.sequence() > to {
                        break;
                    }
                    (previous, is_start) = (first.to_u64(), false);
                    continue;
                }
            };
            if !is_start && pending.is_none() && run.previous() != previous {
                // A group under way may have put it in while we walked; whoever saw the upper run finds the lower one now.
                let lower = run.previous();
                if lower > previous
                    && lower < first.to_u64()
                    && looked_for != lower
                    && self.runs.get(&lower.to_be_bytes())?.is_some()
                {
                    looked_for = lower;
                    runs = self.runs.from(&(previous + 1).max(self.number(from).to_u64()).to_be_bytes());
                    continue;
                }
                pending = Some(Damage::RunMissing);
            }
            if first.sequence() > open_from && walk.doubt(open_from, first.sequence() - 1, pending.take())? == Then::Stop {
                return Ok(Then::Stop);
            }
            if first.sequence() > to {
                return walk.end(Then::Go);
            }
            (previous, is_start, pending) = (first.to_u64(), false, None);
            for place in run.lower_bound(open_from)..run.len() {
                let sequence = run.sequence(place);
                if sequence > to {
                    return walk.end(Then::Go);
                }
                if walk.record(sequence, run.record(place))? == Then::Stop {
                    return Ok(Then::Stop);
                }
            }
            open_from = open_from.max(run.last_sequence() + 1);
        }
        if pending.is_none() && tail.run > previous {
            pending = Some(Damage::RunMissing);
        }
        // The mark knows how far the last run went, also where that cannot be read or is gone.
        let doubtful_to = if tail.run >= previous { tail.last.min(to) } else { to };
        walk.doubt(open_from, doubtful_to, pending).and_then(|then| walk.end(then))
    }
}

/// The merging half of a walk.
struct Walk<'a> {
    day: &'a DayStore,
    to: u64,
    singles: Option<Cursor>,
    /// The next one, not visited yet.
    single: Option<(OrderNumber, Slice)>,
    visit: &'a mut dyn FnMut(Visit<'_>) -> Visited,
}

impl Walk<'_> {
    fn next_single(&mut self) -> Result<(), ReplicaError> {
        self.single = match self.singles.as_mut().map_or(Ok(None), Cursor::next)? {
            None => None,
            Some((key, value)) => {
                let number = self.day.sound_number_of(&key)?;
                (number.sequence() <= self.to).then_some((number, value))
            }
        };
        Ok(())
    }

    /// Visits the singles below `sequence`.
    fn singles_below(&mut self, sequence: u64) -> Visited {
        while let Some((number, bytes)) = self.single.take_if(|(number, _)| number.sequence() < sequence) {
            if self.show(number, &bytes)? == Then::Stop {
                return Ok(Then::Stop);
            }
            self.next_single()?;
        }
        Ok(Then::Go)
    }

    /// Visits a record of a run, or the single that stands for it.
    fn record(&mut self, sequence: u64, bytes: &[u8]) -> Visited {
        if self.single.is_none() {
            return self.show(self.day.number(sequence), bytes);
        }
        if self.singles_below(sequence)? == Then::Stop {
            return Ok(Then::Stop);
        }
        match self.single.take_if(|(number, _)| number.sequence() == sequence) {
            None => self.show(self.day.number(sequence), bytes),
            Some((number, single)) => {
                let then = self.show(number, &single)?;
                self.next_single()?;
                Ok(then)
            }
        }
    }

    /// Tells of damage, if there is any, from one sequence to another.
    fn doubt(&mut self, from: u64, to: u64, damage: Option<Damage>) -> Visited {
        let (mut from, to) = (from, to.min(self.to));
        let Some(damage) = damage else { return Ok(Then::Go) };
        // Singles on its edge are spoken for, so that what comes after this lies above its beginning.
        loop {
            if self.singles_below(from)? == Then::Stop {
                return Ok(Then::Stop);
            }
            match &self.single {
                Some((number, _)) if number.sequence() == from && from <= to => from += 1,
                _ => break,
            }
        }
        if from <= to { (self.visit)(Visit::Damaged(from, to, damage)) } else { Ok(Then::Go) }
    }

    /// Visits the singles that are left.
    fn end(&mut self, then: Then) -> Visited {
        if then == Then::Stop { Ok(then) } else { self.singles_below(u64::MAX) }
    }

    fn show(&mut self, number: OrderNumber, bytes: &[u8]) -> Visited {
        let sequence = number.sequence();
        match Header::check(number, bytes) {
            Ok(header) => (self.visit)(Visit::Record(number, header, bytes)),
            Err(error) => (self.visit)(Visit::Damaged(sequence, sequence, Damage::Record { reason: error.to_string() })),
        }
    }
}
