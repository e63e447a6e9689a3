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

use super::day::DayStore;
use super::engine::{Database, Tree};
use crate::order::OrderNumber;
use crate::replica::origin::REQUEST_KEY_BYTES_MAX;
use crate::replica::{Origin, RangeDigest, ReplicaError};
use parking_lot::Mutex;
use std::collections::HashSet;
use std::sync::OnceLock;

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
