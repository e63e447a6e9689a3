//! Applying a group: inserts, marks, one flush and one `fdatasync` for each database it touches, and only then an answer.
//!
//! The first failure puts the replica out for good: sled's errors are sticky, a sync that failed once may falsely succeed when
//! asked again, and what the group left behind is not known. Reads go on, and never show what the failed group wrote.

use super::day::DayStore;
use super::engine::{Database, SyncFailure};
use super::files::free_bytes;
use super::runs::{RECORD_BYTES_MAX, VALUE_BYTES_MAX};
use super::walk::Unindexed;
use super::{Databases, SledReplica, caught};
use crate::order::Day;
use crate::replica::record::Header;
use crate::replica::{Applied, Group, ReplicaError, Standing, Write};
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

/// Groups are refused while less than this is free. sled takes space in segments of 2 MiB and cannot go on after a write that
/// found no room; and a later opening needs some for its snapshots.
const FREE_BYTES_MIN: u64 = 8 << 20;

/// The superblock is written no more often than this, unless a database is new.
const SUPERBLOCK_PERIOD: Duration = Duration::from_secs(1);

/// How much of an index is mended under one sync: what is unsynced with it stays within what a group may be.
const INDEX_PART_BYTES: usize = Group::BYTES_MAX / 2;

impl SledReplica {
    /// See [`Replica::apply`](crate::replica::Replica::apply).
    pub(super) fn apply_group(&self, group: &Group) -> Result<Applied, ReplicaError> {
        let mut last = self.last.lock();
        self.check_group(group)?;
        if !group.peer_marks().is_empty() {
            last.peers = group.peer_marks().to_vec();
        }
        let result = caught(|| self.write_group(group, last.number + 1, &last.peers));
        match &result {
            Ok(_) => last.number += 1,
            Err(error) => {
                self.put_out(error);
                self.flight.fail(&error.to_string());
            }
        }
        result
    }

    /// What is refused before anything is written, and does no harm.
    fn check_group(&self, group: &Group) -> Result<(), ReplicaError> {
        self.check_open()?;
        self.check_not_out()?;
        if let Standing::Limbo { reason, .. } = &*self.standing.lock() {
            return Err(ReplicaError::Out { reason: format!("in limbo: {reason}") });
        }
        let claimed = self.epoch.load(SeqCst);
        if group.epoch() < claimed {
            return Err(ReplicaError::Fenced { given: group.epoch(), claimed });
        }
        for write in group.writes() {
            self.check_set(write.number())?;
            // The same truth from two sides: what is garbled on its way in would cost a packed neighbourhood later.
            if let Err(error) = Header::check(write.number(), write.bytes()) {
                let what = format!("{} on its way in: {error}", write.number());
                return Err(ReplicaError::Damaged { path: self.dir.clone(), what });
            }
        }
        let record_bytes = group.writes().iter().map(|write| write.bytes().len()).max().unwrap_or_default();
        let meta_bytes = group.meta().iter().map(|(key, value)| key.len() + value.len() + 4).max().unwrap_or_default();
        if record_bytes > RECORD_BYTES_MAX || meta_bytes > VALUE_BYTES_MAX {
            // sled would put it into a file that is never synced.
            return Err(ReplicaError::Io {
                action: "write",
                path: self.dir.clone(),
                kind: io::ErrorKind::InvalidInput,
                message: format!("records may have {RECORD_BYTES_MAX} bytes and meta values {VALUE_BYTES_MAX}"),
            });
        }
        Ok(())
    }

    fn write_group(&self, group: &Group, number: u64, peers: &[u64]) -> Result<Applied, ReplicaError> {
        if free_bytes(&self.dir)? < FREE_BYTES_MIN {
            return Err(ReplicaError::DiskFull { path: self.dir.clone() });
        }
        let mut writes: BTreeMap<Day, Vec<(usize, &Write)>> = BTreeMap::new();
        for (place, write) in group.writes().iter().enumerate() {
            writes.entry(write.number().day()).or_default().push((place, write));
        }
        let incarnation = self.book.lock().superblock.incarnation;
        let permit = self.gate.enter();
        let mut has_new_day = false;
        let mut days = Vec::with_capacity(writes.len());
        for (day, writes) in writes {
            let (store, is_new) = self.day_to_write(day)?;
            has_new_day |= is_new;
            days.push((store, writes));
        }
        // A group of nothing leaves its mark too: the coordinator counts them.
        let meta = if group.meta().is_empty() && !days.is_empty() { None } else { Some(self.readable_meta()?) };

        let mut applied = Applied::default();
        self.flight.begin(group);
        for (day, writes) in &days {
            day.write(writes, &mut applied)?;
            day.write_mark(number, incarnation, peers)?;
        }
        if let Some(meta) = &meta {
            meta.write(group.meta())?;
            meta.write_mark(number, incarnation, peers)?;
        }
        for (day, _) in &days {
            self.sync(&day.database)?;
        }
        if let Some(meta) = &meta {
            self.sync(&meta.database)?;
        }
        drop(permit);

        for (day, _) in &days {
            day.settle_tail();
        }
        self.flight.end();
        applied.refused.sort_unstable_by_key(|(place, _)| *place);

        let mut book = self.book.lock();
        for (day, _) in &days {
            book.superblock.synced.insert(Some(day.day), number);
        }
        if meta.is_some() {
            book.superblock.synced.insert(None, number);
        }
        if has_new_day || book.written.elapsed() >= SUPERBLOCK_PERIOD {
            for database in days.iter().map(|(day, _)| &day.database).chain(meta.iter().map(|meta| &meta.database)) {
                database.check_no_blobs()?;
            }
            // That a day exists is not to be forgotten: a database that no superblock names may be put aside when it does not open.
            if has_new_day { book.write_both()? } else { book.write()? }
        }
        Ok(applied)
    }

    /// The day's database, made where there is none yet.
    fn day_to_write(&self, day: Day) -> Result<(Arc<DayStore>, bool), ReplicaError> {
        if let Some(store) = self.day(day)? {
            return Ok((store, false));
        }
        // A failure of any kind puts the replica out; nothing of an empty database can be lost.
        let database = Database::open(&DayStore::dir(&self.dir, day), self.cache_bytes).map_err(|failure| failure.error)?;
        let (store, _) = DayStore::open(database, day, self.set, Arc::clone(&self.lock))?;
        let store = Arc::new(store);
        match &mut *self.databases.write() {
            None => return Err(ReplicaError::Closed),
            Some(databases) => databases.days.insert(day, Arc::clone(&store)),
        };
        Ok((store, true))
    }

    /// Enters into the index of a day what it was found to lack of the records of `range`.
    ///
    /// # Errors
    /// As for a group: the replica is out then.
    pub(super) fn mend_index(&self, day: &DayStore, range: u32, unindexed: &Unindexed) -> Result<(), ReplicaError> {
        let mut rest = unindexed.iter();
        while !rest.as_slice().is_empty() {
            // One thread at a time writes into sled; groups get their turn between the parts.
            let _applying = self.last.lock();
            let may_write = self.check_open().and_then(|()| self.check_not_out()).is_ok();
            if !may_write || matches!(*self.standing.lock(), Standing::Limbo { .. }) {
                return Ok(());
            }
            let mended = caught(|| {
                let _permit = self.gate.enter();
                let mut bytes = 0;
                while bytes < INDEX_PART_BYTES
                    && let Some((number, origin)) = rest.next()
                {
                    bytes += day.index.put(&day.database, *number, origin)?;
                }
                self.sync(&day.database)
            });
            if let Err(error) = mended {
                self.put_out(&error);
                return Err(error);
            }
        }
        day.index.is_sound(range);
        Ok(())
    }

    /// Makes a claim durable, in the database and beside it.
    pub(super) fn write_claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        // A replica in limbo may have lost its meta data; its superblock can still be claimed.
        if let Some(meta) = self.meta_store()? {
            let _permit = self.gate.enter();
            meta.write_epoch(epoch)?;
            self.sync(&meta.database)?;
        }
        let mut book = self.book.lock();
        book.superblock.epoch = epoch;
        book.write_both()
    }

    /// Syncs all databases once more, for what sled itself may have written.
    pub(super) fn sync_for_close(&self, databases: &Databases) -> Result<(), ReplicaError> {
        let _permit = self.gate.enter();
        let days = databases.days.values().map(|day| &day.database);
        for database in days.chain(databases.meta.iter().map(|meta| &meta.database)) {
            self.sync(database)?;
            database.check_no_blobs()?;
        }
        Ok(())
    }

    pub(super) fn sync(&self, database: &Database) -> Result<(), ReplicaError> {
        database.sync().map_err(|SyncFailure { error, lost_pages }| {
            if lost_pages {
                // Reopening would read from the system's cache what no disk holds, and vote for it. The note of that is tried once;
                // if the disk refuses it too, the marks that peers keep are what is left.
                let _ = self.go_into_limbo(&format!("a sync failed: {error}"));
            }
            error
        })
    }
}
