//! Out of limbo: what was lost is accepted as lost, so every place that remembers it has to forget it, or the next opening would
//! miss it again.
//!
//! First the databases: each gets the claimed epoch or the end of its chain as they are, and the mark of a group above all that
//! anybody ever saw here; then they are synced. The superblock comes last, in both copies. A kill before that leaves the replica in
//! limbo, with nothing changed that it could vote with; a kill between the two copies leaves the newer one, which has it vote, and
//! finds in the databases what it names.

use super::SledReplica;
use super::engine::Database;
use super::meta::MetaStore;
use crate::replica::ReplicaError;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

impl SledReplica {
    /// See [`Replica::readmit`](crate::replica::Replica::readmit). `number` is that of the group that this counts as.
    pub(super) fn write_readmission(&self, number: u64, peers: &[u64]) -> Result<(), ReplicaError> {
        let incarnation = self.book.lock().superblock.incarnation;
        let permit = self.gate.enter();
        let meta = match self.meta_store()? {
            Some(meta) => meta,
            None => self.new_meta()?,
        };
        meta.write_epoch(self.epoch.load(SeqCst))?;
        meta.write_mark(number, incarnation, peers)?;
        let days: Vec<_> = match &*self.databases.read() {
            None => return Err(ReplicaError::Closed),
            Some(databases) => databases.days.values().cloned().collect(),
        };
        for day in &days {
            day.forget_lost_tail()?;
            day.write_mark(number, incarnation, peers)?;
        }
        for database in days.iter().map(|day| &day.database).chain([&meta.database]) {
            self.sync(database)?;
        }
        drop(permit);

        let mut book = self.book.lock();
        book.superblock.limbo = None;
        book.superblock.synced = days.iter().map(|day| Some(day.day)).chain([None]).map(|day| (day, number)).collect();
        book.write_both()?;
        self.lost_days.lock().clear();
        *self.standing.lock() = book.standing(false);
        Ok(())
    }

    /// A database of meta data in the place of one that is gone.
    fn new_meta(&self) -> Result<Arc<MetaStore>, ReplicaError> {
        let path = MetaStore::dir(&self.dir);
        let database = Database::open(&path, self.cache_bytes).map_err(|failure| failure.error)?;
        let (meta, _) = MetaStore::open(database, path, Arc::clone(&self.lock))?;
        let meta = Arc::new(meta);
        match &mut *self.databases.write() {
            None => return Err(ReplicaError::Closed),
            Some(databases) => databases.meta = Some(Arc::clone(&meta)),
        }
        Ok(meta)
    }
}
