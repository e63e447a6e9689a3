//! Where the orders of a day are that a request key names, and which of them have to be looked at again: two trees beside the records,
//! derived from their origins.
//!
//! ```text
//! tree    key                                                          value
//! keys    u8 length of the request key | the key | u64 number          u32 CRC-32 of the key
//! notes   u64 number                                                   u32 CRC-32 of the key
//! ```
//! The length comes first, so that what begins with it and with the request key belongs to that request key alone. Nothing is ever
//! removed: an entry leads to a record, and the record is what counts.
//!
//! A day whose records say nothing of an origin has neither tree, and pays nothing. Entries go in before their records, of the same
//! group, and under the same sync; of what was acknowledged none is missing. But a power cut may leave a record that was never
//! acknowledged without its entries, and sled may lose one without the other. So after an end that was not clean every range of the
//! day is in doubt until its digest was computed once: then each record is held against the trees.
//!
//! Entries do not count against what a group may carry. An entry is never longer than the record it comes from, so that a group at
//! its cap writes twice that at most, which is half of what was seen to be safe with these segments.

use super::SledReplica;
use super::day::DayStore;
use super::engine::{Cursor, Database, Tree};
use crate::order::{Day, OrderNumber};
use crate::replica::origin::REQUEST_KEY_BYTES_MAX;
use crate::replica::{KeyUse, Noted, Origin, RangeDigest, ReplicaError};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::{Arc, OnceLock};

const KEYS: &str = "keys";
const NOTES: &str = "notes";

/// The index of a day.
pub(super) struct Index {
    /// Made with the first entry.
    trees: OnceLock<Trees>,
    /// Ranges in which entries may be missing.
    in_doubt: Mutex<HashSet<u32>>,
}

struct Trees {
    keys: Tree,
    notes: Tree,
}

impl Index {
    /// The index in `database`, if one was ever made there.
    pub(super) fn open(database: &Database) -> Result<Index, ReplicaError> {
        let index = Index { trees: OnceLock::new(), in_doubt: Mutex::default() };
        if database.has_tree(KEYS) || database.has_tree(NOTES) {
            index.trees(database)?;
        }
        Ok(index)
    }

    /// Makes the trees where there are none. One thread at a time may call this, as it may call whatever writes.
    fn trees(&self, database: &Database) -> Result<&Trees, ReplicaError> {
        if let Some(trees) = self.trees.get() {
            return Ok(trees);
        }
        let trees = Trees { keys: database.tree(KEYS)?, notes: database.tree(NOTES)? };
        Ok(self.trees.get_or_init(|| trees))
    }

    /// From now on entries may be missing up to the highest sequence that is held.
    pub(super) fn doubt(&self, highest: u64) {
        let last = highest.min(OrderNumber::SEQUENCE_MAX) / RangeDigest::SEQUENCES;
        self.in_doubt.lock().extend(0..=last as u32);
    }

    pub(super) fn is_in_doubt(&self) -> bool {
        !self.in_doubt.lock().is_empty()
    }

    pub(super) fn doubts(&self, range: u32) -> bool {
        self.in_doubt.lock().contains(&range)
    }

    /// Every record of `range` has its entries.
    pub(super) fn is_sound(&self, range: u32) {
        self.in_doubt.lock().remove(&range);
    }

    /// Enters what `origin` says of `number`; returns how many bytes that took. Nothing is durable yet.
    pub(super) fn put(&self, database: &Database, number: OrderNumber, origin: &Origin) -> Result<usize, ReplicaError> {
        let trees = self.trees(database)?;
        let mut bytes = 0;
        let mut put = |tree: &Tree, key: &[u8]| {
            bytes += key.len() + 4;
            tree.insert(key, &checksum(key))
        };
        if let Some(request) = &origin.request_key {
            put(&trees.keys, &key_of(&request.key, number))?;
        }
        if origin.is_noted() {
            put(&trees.notes, &number.to_be_bytes())?;
        }
        Ok(bytes)
    }

    /// Whether all that `origin` says of `number` is entered.
    pub(super) fn holds(&self, number: OrderNumber, origin: &Origin) -> Result<bool, ReplicaError> {
        let Some(trees) = self.trees.get() else { return Ok(origin.is_empty()) };
        let holds = |tree: &Tree, key: &[u8]| Ok(tree.get(key)?.is_some_and(|value| *value == checksum(key)));
        let has_key = match &origin.request_key {
            None => true,
            Some(request) => holds(&trees.keys, &key_of(&request.key, number))?,
        };
        Ok(has_key && (!origin.is_noted() || holds(&trees.notes, &number.to_be_bytes())?))
    }

    /// Appends the numbers entered for a request key, ascending.
    pub(super) fn keyed(&self, day: &DayStore, key: &[u8], found: &mut Vec<OrderNumber>) -> Result<(), ReplicaError> {
        let Some(trees) = self.trees.get() else { return Ok(()) };
        if !(1..=REQUEST_KEY_BYTES_MAX).contains(&key.len()) {
            return Ok(());
        }
        let prefix = prefix_of(key);
        let mut entries = trees.keys.from(&prefix);
        // There is one for each create that was tried with the key: more than a few only where retries failed for hours.
        while let Some((entry, value)) = entries.next()? {
            let Some(number) = entry.strip_prefix(&prefix[..]) else { break };
            check(day, &entry, &value)?;
            found.push(day.sound_number_of(number)?);
        }
        Ok(())
    }

    /// What was used above `after`, which may be of another day.
    fn keys(&self, day: &Arc<DayStore>, after: Option<&KeyUse>) -> Result<Option<Uses>, ReplicaError> {
        let Some(trees) = self.trees.get() else { return Ok(None) };
        let from = after.map_or_else(Vec::new, |after| key_of(&after.key, after.number));
        let mut uses = Uses { day: Arc::clone(day), entries: trees.keys.from(&from), next: None };
        uses.step()?;
        if after.is_some() && uses.next.as_ref() == after {
            uses.step()?;
        }
        Ok(Some(uses))
    }

    /// Calls `visit` with the numbers that have a note, ascending from `from` on, until it says no.
    pub(super) fn noted(
        &self,
        day: &DayStore,
        from: OrderNumber,
        mut visit: impl FnMut(OrderNumber) -> Result<bool, ReplicaError>,
    ) -> Result<(), ReplicaError> {
        let Some(trees) = self.trees.get() else { return Ok(()) };
        let mut entries = trees.notes.from(&from.to_be_bytes());
        while let Some((entry, value)) = entries.next()? {
            check(day, &entry, &value)?;
            if !visit(day.sound_number_of(&entry)?)? {
                break;
            }
        }
        Ok(())
    }
}

/// The uses of request keys on one day, in their order.
struct Uses {
    day: Arc<DayStore>,
    entries: Cursor,
    next: Option<KeyUse>,
}

impl Uses {
    fn step(&mut self) -> Result<Option<KeyUse>, ReplicaError> {
        let next = match self.entries.next()? {
            None => None,
            Some((entry, value)) => Some(used(&self.day, &entry, &value)?),
        };
        Ok(std::mem::replace(&mut self.next, next))
    }
}

impl SledReplica {
    /// See [`Replica::keyed`](crate::replica::Replica::keyed).
    pub(super) fn keyed_since(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        let mut numbers = Vec::new();
        for store in self.days_from(since)? {
            store.index.keyed(&store, key, &mut numbers)?;
        }
        Ok(numbers)
    }

    /// See [`Replica::keys`](crate::replica::Replica::keys).
    pub(super) fn keys_above(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        let mut days = Vec::new();
        for store in self.days_from(since)? {
            days.extend(store.index.keys(&store, after)?);
        }
        let mut found = Vec::new();
        while found.len() < limit {
            // There are as many days as are kept: a few.
            let first = days.iter_mut().filter(|day| day.next.is_some()).min_by(|one, other| one.next.cmp(&other.next));
            let Some(first) = first else { break };
            found.extend(first.step()?);
        }
        Ok(found)
    }

    /// See [`Replica::noted`](crate::replica::Replica::noted).
    pub(super) fn noted_above(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        let mut noted = Vec::new();
        for store in self.days_from(after.map_or(Day::MIN, |after| after.day()))? {
            let from = match after.filter(|after| after.day() == store.day) {
                None => 0,
                Some(after) if after.sequence() == OrderNumber::SEQUENCE_MAX => continue,
                Some(after) => after.sequence() + 1,
            };
            store.noted(store.number(from), limit, &self.flight, &mut noted)?;
            if noted.len() >= limit {
                break;
            }
        }
        Ok(noted)
    }

    /// `since` and all days after it that are here; an error when one of them is gone.
    fn days_from(&self, since: Day) -> Result<Vec<Arc<DayStore>>, ReplicaError> {
        let days = match &*self.databases.read() {
            None => return Err(ReplicaError::Closed),
            Some(databases) => databases.days.range(since..).map(|(_, store)| Arc::clone(store)).collect(),
        };
        match self.lost_days.lock().range(since..).next() {
            None => Ok(days),
            Some(day) => Err(ReplicaError::Day { day: *day, reason: "its database is missing".into() }),
        }
    }
}

/// What an entry of the tree of keys says.
fn used(day: &DayStore, entry: &[u8], value: &[u8]) -> Result<KeyUse, ReplicaError> {
    check(day, entry, value)?;
    let key_and_number = entry.split_first().and_then(|(length, rest)| rest.split_at_checked(usize::from(*length)));
    let Some((key, number)) = key_and_number else {
        return Err(ReplicaError::Day { day: day.day, reason: "an entry of its index is too short".into() });
    };
    Ok(KeyUse { key: Bytes::copy_from_slice(key), number: day.sound_number_of(number)? })
}

fn prefix_of(key: &[u8]) -> Vec<u8> {
    [&[key.len() as u8], key].concat()
}

fn key_of(key: &[u8], number: OrderNumber) -> Vec<u8> {
    [&[key.len() as u8], key, &number.to_be_bytes()].concat()
}

fn checksum(key: &[u8]) -> [u8; 4] {
    crc32fast::hash(key).to_be_bytes()
}

fn check(day: &DayStore, key: &[u8], value: &[u8]) -> Result<(), ReplicaError> {
    if value == checksum(key) {
        return Ok(());
    }
    Err(ReplicaError::Day { day: day.day, reason: "an entry of its index fails its checksum".into() })
}
