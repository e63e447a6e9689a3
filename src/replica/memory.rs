//! A replica in memory: the contract in its shortest form.

use super::record::{Header, Record, Version};
use super::{
    Applied, Chunk, Damage, Group, Identity, KeyUse, Lookup, Marks, Noted, RangeDigest, Replica, ReplicaError, ScanLimit,
    Scanned, Standing,
};
use crate::config::OpenReplica;
use crate::order::{Day, OrderNumber, SetId};
use bytes::Bytes;
use parking_lot::RwLock;
use std::collections::BTreeSet;
use std::collections::btree_map::{BTreeMap, Entry};
use std::ops::Bound::{Excluded, Included, Unbounded};
use std::ops::{Bound, RangeInclusive};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// A replica that lives and dies with the process.
///
/// A clone is what a reopened directory is to a replica on disk: a new replica, not closed, with the same memory. Nothing keeps
/// two of them from being used at once; claims fence them off from each other as they do elsewhere.
///
/// ```
/// use ordermint::{MemoryReplica, Replica, Standing};
/// let replica = MemoryReplica::new();
/// replica.claim(3)?;
/// replica.close()?;
/// let reopened = replica.clone();
/// assert_eq!(reopened.epoch(), 3);
/// assert_eq!(reopened.standing(), Standing::Fresh);
/// # Ok::<(), ordermint::ReplicaError>(())
/// ```
#[derive(Debug, Default)]
pub struct MemoryReplica {
    memory: Arc<RwLock<Memory>>,
    /// As they were when this clone was made.
    marks: Marks,
    closed: AtomicBool,
}

/// What would be on disk. One lock over all of it, held for a whole group: a reader sees all of a group or nothing.
#[derive(Debug, Default)]
struct Memory {
    identity: Option<Identity>,
    banished: Option<String>,
    epoch: u32,
    marks: Marks,
    meta: BTreeMap<String, Bytes>,
    records: BTreeMap<OrderNumber, Held>,
    /// Which numbers were written with a request key.
    keys: BTreeSet<KeyUse>,
    /// Numbers whose records came with something to look at again.
    notes: BTreeSet<OrderNumber>,
}

#[derive(Debug)]
struct Held {
    /// Version, then repair generation: of two records the one with the greater rank counts.
    rank: (Version, u16),
    bytes: Bytes,
}

impl MemoryReplica {
    /// An empty one.
    #[must_use]
    pub fn new() -> MemoryReplica {
        MemoryReplica::default()
    }

    fn opened(&self) -> Result<(), ReplicaError> {
        // Relaxed: a call that runs beside `close` may come before or after it.
        if self.closed.load(Ordering::Relaxed) { Err(ReplicaError::Closed) } else { Ok(()) }
    }
}

impl Clone for MemoryReplica {
    fn clone(&self) -> MemoryReplica {
        let marks = self.memory.read().marks.clone();
        MemoryReplica { memory: Arc::clone(&self.memory), marks, closed: AtomicBool::new(false) }
    }
}

impl Replica for MemoryReplica {
    fn standing(&self) -> Standing {
        let memory = self.memory.read();
        match (&memory.banished, &memory.identity) {
            (Some(reason), identity) => Standing::Limbo { identity: identity.clone(), reason: reason.clone() },
            (None, Some(identity)) => Standing::Voting(identity.clone()),
            (None, None) => Standing::Fresh,
        }
    }

    fn marks(&self) -> Marks {
        self.marks.clone()
    }

    fn form(&self, identity: &Identity) -> Result<(), ReplicaError> {
        self.opened()?;
        self.memory.write().identity = Some(identity.clone());
        Ok(())
    }

    fn claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        self.opened()?;
        let mut memory = self.memory.write();
        if epoch <= memory.epoch {
            return Err(ReplicaError::Fenced { given: epoch, claimed: memory.epoch });
        }
        memory.epoch = epoch;
        Ok(())
    }

    fn epoch(&self) -> u32 {
        self.memory.read().epoch
    }

    fn banish(&self, reason: &str) -> Result<(), ReplicaError> {
        self.opened()?;
        self.memory.write().banished = Some(reason.to_owned());
        Ok(())
    }

    fn readmit(&self, group: u64) -> Result<(), ReplicaError> {
        self.opened()?;
        let mut memory = self.memory.write();
        if memory.identity.is_none() {
            return Err(ReplicaError::Damaged { path: here(), what: "it has no identity".to_owned() });
        }
        memory.banished = None;
        memory.marks.own = memory.marks.own.max(group) + 1;
        Ok(())
    }

    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError> {
        self.opened()?;
        self.memory.write().apply(group)
    }

    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        memory.check_set(number)?;
        Ok(memory.get(number))
    }

    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        let mut chunk = Chunk { items: Vec::new(), upto: None };
        let mut bytes = 0;
        let Some(page) = span_after(day, after) else { return Ok(chunk) };
        for (&number, held) in memory.records.range(page) {
            let found = decode(number, held);
            let value_bytes = found.as_ref().map_or(0, |record| record.value.len());
            let full = chunk.items.len() >= limit.records || bytes + value_bytes > limit.bytes;
            if full && let Some(last) = chunk.items.last() {
                chunk.upto = Some(last.first());
                break;
            }
            bytes += value_bytes;
            chunk.items.push(match found {
                Ok(record) => Scanned::Found(number, record),
                Err(damage) => Scanned::Damaged { from: number, to: number, damage },
            });
        }
        Ok(chunk)
    }

    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError> {
        self.opened()?;
        let mut digest = RangeDigest::default();
        let first = u64::from(range) * RangeDigest::SEQUENCES;
        if first > OrderNumber::SEQUENCE_MAX {
            return Ok(digest);
        }
        let last = (first + RangeDigest::SEQUENCES - 1).min(OrderNumber::SEQUENCE_MAX);
        for (&number, held) in self.memory.read().records.range(span(day, first, last)) {
            match Header::check(number, &held.bytes) {
                Ok(header) if header.version.epoch < below_epoch => digest.add(number, header.version, &held.bytes),
                Ok(_) => {}
                Err(_) => digest.damaged += 1,
            }
        }
        Ok(digest)
    }

    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        self.opened()?;
        let from = KeyUse { key: Bytes::copy_from_slice(key), number: *whole(since).start() };
        let memory = self.memory.read();
        Ok(memory.keys.range(from..).take_while(|used| used.key == key).map(|used| used.number).collect())
    }

    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        let above = memory.keys.range((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(above.filter(|used| used.number.day() >= since).take(limit).cloned().collect())
    }

    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        let above = memory.notes.range((after.map_or(Unbounded, Excluded), Unbounded));
        Ok(above.filter_map(|number| Noted::of(*number, memory.get(*number))).take(limit).collect())
    }

    fn days(&self) -> Result<Vec<Day>, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        let mut days = Vec::new();
        let mut next = memory.records.keys().next();
        // Each turn jumps over one day, so this ends after as many turns as there are days.
        while let Some(number) = next {
            let day = number.day();
            days.push(day);
            next = memory.records.range((Excluded(*whole(day).end()), Unbounded)).next().map(|(number, _)| number);
        }
        Ok(days)
    }

    fn meta(&self, key: &str) -> Result<Option<Bytes>, ReplicaError> {
        self.opened()?;
        Ok(self.memory.read().meta.get(key).cloned())
    }

    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError> {
        self.opened()?;
        let memory = self.memory.read();
        let from = memory.meta.range(prefix.to_owned()..).take_while(|(key, _)| key.starts_with(prefix));
        Ok(from.map(|(key, value)| (key.clone(), value.clone())).collect())
    }

    fn close(&self) -> Result<(), ReplicaError> {
        if self.closed.swap(true, Ordering::Relaxed) { Err(ReplicaError::Closed) } else { Ok(()) }
    }
}

impl Memory {
    /// All checks come before the first change, so that an error leaves everything as it was.
    fn apply(&mut self, group: &Group) -> Result<Applied, ReplicaError> {
        if group.epoch() < self.epoch {
            return Err(ReplicaError::Fenced { given: group.epoch(), claimed: self.epoch });
        }
        let mut ranks = Vec::with_capacity(group.writes().len());
        for write in group.writes() {
            let number = write.number();
            self.check_set(number)?;
            let header = Header::check(number, write.bytes())
                .map_err(|error| ReplicaError::Damaged { path: here(), what: format!("{number} on its way in: {error}") })?;
            ranks.push((header.version, header.generation));
        }
        for write in group.writes() {
            let Some(origin) = write.origin() else { continue };
            if let Some(request) = &origin.request_key {
                self.keys.insert(KeyUse { key: request.key.clone(), number: write.number() });
            }
            if origin.is_noted() {
                self.notes.insert(write.number());
            }
        }
        let mut applied = Applied::default();
        for (place, (write, rank)) in group.writes().iter().zip(ranks).enumerate() {
            let bytes = || write.bytes().clone();
            match self.records.entry(write.number()) {
                Entry::Occupied(held) if held.get().rank.0 > rank.0 => applied.refused.push((place, held.get().rank.0)),
                Entry::Occupied(held) if held.get().rank >= rank => {}
                Entry::Occupied(mut held) => *held.get_mut() = Held { rank, bytes: bytes() },
                Entry::Vacant(place) => _ = place.insert(Held { rank, bytes: bytes() }),
            }
        }
        self.meta.extend(group.meta().iter().cloned());
        self.marks.own += 1;
        if !group.peer_marks().is_empty() {
            self.marks.peers = group.peer_marks().to_vec();
        }
        Ok(applied)
    }

    fn get(&self, number: OrderNumber) -> Lookup {
        match self.records.get(&number).map(|held| decode(number, held)) {
            None => Lookup::Absent,
            Some(Ok(record)) => Lookup::Found(record),
            Some(Err(damage)) => Lookup::Damaged(damage),
        }
    }

    fn check_set(&self, number: OrderNumber) -> Result<(), ReplicaError> {
        match &self.identity {
            Some(identity) if identity.set != number.set_id() => Err(ReplicaError::WrongSet { number, set: identity.set }),
            _ => Ok(()),
        }
    }
}

fn decode(number: OrderNumber, held: &Held) -> Result<Record, Damage> {
    Record::decode(number, &held.bytes).map_err(|error| Damage::Record { reason: error.to_string() })
}

/// What stands where other replicas name a file.
fn here() -> PathBuf {
    PathBuf::from("(memory)")
}

/// All numbers of `day` with a sequence from `first` to `last`, in whatever SET.
fn span(day: Day, first: u64, last: u64) -> RangeInclusive<OrderNumber> {
    let number = |sequence, set| OrderNumber::new(day, sequence, set).expect("the caller bounds the sequence");
    number(first, SetId::from_checked(0))..=number(last, SetId::MAX)
}

fn whole(day: Day) -> RangeInclusive<OrderNumber> {
    span(day, 0, OrderNumber::SEQUENCE_MAX)
}

/// The numbers of `day` above `after`; `None` when there are none.
fn span_after(day: Day, after: Option<OrderNumber>) -> Option<(Bound<OrderNumber>, Bound<OrderNumber>)> {
    let (first, last) = whole(day).into_inner();
    match after {
        // A range that ends before it begins would panic.
        Some(after) if after >= last => None,
        Some(after) if after >= first => Some((Excluded(after), Included(last))),
        _ => Some((Included(first), Included(last))),
    }
}

/// [`MemoryReplica::new`] as an [`OpenFn`](crate::config::OpenFn).
pub(crate) fn open_memory(options: &OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> {
    // Memory is always new; to a caller who wants what was there before, it is missing.
    if !options.create {
        return Err(ReplicaError::Missing { dir: options.dir.clone().unwrap_or_else(here) });
    }
    Ok(Arc::new(MemoryReplica::new()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Kind, Write};

    #[test]
    fn a_clone_is_a_reopened_replica_with_the_same_memory() {
        let number = OrderNumber::new(Day::MIN, 1, SetId::from_checked(7)).expect("a number");
        let version = Version { epoch: 1, counter: 1 };
        let record = Record { kind: Kind::Order, version, generation: 0, value: Bytes::from_static(b"one"), origin: None };
        let replica = MemoryReplica::new();
        let mut group = Group::new(1);
        group.push(Write::new(number, &record, true)).expect("room");
        group.set_peer_marks(vec![0, 5, 6]);
        assert_eq!(replica.apply(&group), Ok(Applied::default()));
        replica.close().expect("the first close");
        assert_eq!(replica.get(number), Err(ReplicaError::Closed));
        assert_eq!(replica.marks(), Marks::default(), "marks are as they were at open");

        let reopened = replica.clone();
        assert_eq!(reopened.get(number), Ok(Lookup::Found(record)));
        assert_eq!(reopened.marks(), Marks { own: 1, peers: vec![0, 5, 6] });
    }

    #[test]
    fn memory_that_must_not_be_made_is_missing() {
        let mut options = OpenReplica { set: SetId::from_checked(7), index: 0, dir: None, create: false, cache_bytes: 0 };
        assert!(matches!(open_memory(&options).map(drop), Err(ReplicaError::Missing { .. })));
        options.create = true;
        assert!(matches!(open_memory(&options).map(|replica| replica.standing()), Ok(Standing::Fresh)));
    }
}
