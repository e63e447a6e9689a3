//! A replica on sled: one database for each day, one for meta data, a superblock beside them.
//!
//! ```text
//! lock                  held for the life of the replica
//! superblock.a, .b      who this is and how far it surely got    superblock.rs, superblock_file.rs
//! meta/                 a sled database: values, epoch, mark     meta.rs, marks.rs
//! days/2026-11-22/      a sled database: runs, singles, mark, index    day.rs, walk.rs, runs.rs, marks.rs, index.rs
//! quarantine            only after sled failed to open something: says why    open.rs
//! ```
//!
//! Which of sled's hazards is met where:
//!
//! | hazard | answer |
//! |---|---|
//! | `flush()` is not durable; a descriptor opened late misses errors | `engine.rs`: own `fdatasync` after each flush, on a descriptor opened once |
//! | it loses data without a word | a checksum on everything; marks held against the superblock in `open.rs`; the chain of runs; digests |
//! | opening panics | `open.rs`: `catch_unwind`, then quarantine; refused where panics abort |
//! | leftover `snap.*.generating` | `engine.rs`: removed under our lock before sled looks |
//! | one lock for the process in batches, transactions, `checksum()` | `engine.rs` calls none of them |
//! | one pool of I/O threads for the process | `gate.rs`: few replicas of a device inside, fewer on a slow one; one thread applies |
//! | large values and large groups | `engine.rs`: segments of 2 MiB; `runs.rs`: values up to 8 KiB; `Group`: 256 KiB; `blobs/` is checked |
//! | errors are sticky, a failed sync must not be tried again | `apply.rs`: the first failure puts the replica out |
//! | a full disk | `apply.rs`: refuses while there is still room to close and to open again |
//! | an identical value is not written again | repairs raise the generation in the record, so their bytes differ |
//! | removing gives no space back | nothing is removed; a day is a directory |
//! | the flusher thread, `generate_id`, subscribers, the default cache | `engine.rs` uses none of them and sets the cache |
//! | a hung disk hangs `flush()` | nothing here can end that; the store's deadlines leave the replica behind |

mod apply;
mod day;
mod engine;
mod files;
mod flight;
mod gate;
mod index;
mod marks;
mod meta;
mod open;
mod readmit;
mod runs;
mod superblock;
mod superblock_file;
mod walk;

use self::day::DayStore;
use self::flight::Flight;
use self::gate::Gate;
use self::meta::MetaStore;
use self::open::Opened;
use self::superblock::Superblock;
use self::superblock_file::SuperblockFile;
use crate::config::OpenReplica;
use crate::order::{Day, OrderNumber, SetId};
use crate::replica::{
    Applied, Chunk, Damage, Group, Identity, KeyUse, Lookup, Marks, Noted, RangeDigest, Replica, ReplicaError, ScanLimit,
    Scanned, Standing,
};
use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::File;
use std::panic::AssertUnwindSafe;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// How long `close` waits for readers to let go of the databases.
const READERS_WAIT: Duration = Duration::from_secs(1);

/// A replica in a directory, on sled 0.34.7.
///
/// The directory belongs to it alone and is locked while it is open. Dropping it without [`Replica::close`] is like a crash:
/// nothing that was acknowledged is lost.
pub struct SledReplica {
    dir: PathBuf,
    set: SetId,
    cache_bytes: u64,
    marks: Marks,
    /// Days whose databases are gone: nothing can be said of their numbers.
    lost_days: Mutex<BTreeSet<Day>>,
    standing: Mutex<Standing>,
    epoch: AtomicU32,
    out: Mutex<Option<String>>,
    flight: Flight,
    gate: Arc<Gate>,
    /// Held by whoever changes the databases; taken before all other locks.
    last: Mutex<LastGroup>,
    /// Taken after `last` and never held while sled is called, so that `banish` does not hang with it.
    book: Mutex<Book>,
    /// `None` after `close`.
    databases: RwLock<Option<Databases>>,
    lock: Arc<File>,
}

/// The open databases.
struct Databases {
    /// Missing in a replica that lost it, which is then in limbo.
    meta: Option<Arc<MetaStore>>,
    days: BTreeMap<Day, Arc<DayStore>>,
}

/// What the next group goes on from.
struct LastGroup {
    number: u64,
    /// What its coordinator knew of the peers; a group that knows nothing takes it over.
    peers: Vec<u64>,
}

/// The superblock and its files.
struct Book {
    superblock: Superblock,
    file: SuperblockFile,
    written: Instant,
}

impl Book {
    fn new(superblock: Superblock, file: SuperblockFile) -> Book {
        Book { superblock, file, written: Instant::now() }
    }

    fn write(&mut self) -> Result<(), ReplicaError> {
        self.written = Instant::now();
        if self.is_evidence() { Ok(()) } else { self.file.write(&mut self.superblock) }
    }

    fn write_both(&mut self) -> Result<(), ReplicaError> {
        self.written = Instant::now();
        if self.is_evidence() { Ok(()) } else { self.file.write_both(&mut self.superblock) }
    }

    /// Neither copy could be read when the replica was opened. What is left of them may still tell somebody who it was, and is
    /// not written over; nothing is ever applied to such a replica.
    fn is_evidence(&self) -> bool {
        self.superblock.identity.is_none() && self.superblock.limbo.is_some()
    }

    fn standing(&self, is_empty: bool) -> Standing {
        let identity = self.superblock.identity.clone();
        match (&self.superblock.limbo, identity) {
            (Some(reason), identity) => Standing::Limbo { identity, reason: reason.clone() },
            (None, Some(identity)) => Standing::Voting(identity),
            (None, None) if is_empty => Standing::Fresh,
            (None, None) => Standing::Limbo { identity: None, reason: "it holds groups and nobody's name".into() },
        }
    }
}

impl SledReplica {
    /// Opens, or makes where `options.create` says so, the replica in `options.dir`.
    ///
    /// # Errors
    /// * [`ReplicaError::Missing`]: there is no such directory or nothing in it, and `options.create` is not set.
    /// * [`ReplicaError::InUse`]: another process, or another replica of this one, has it open.
    /// * [`ReplicaError::Damaged`]: somebody else's files lie there and no superblock; nothing was written. Or sled finds its
    ///   files damaged. Or it did so, or panicked, at an earlier opening: the file `quarantine` in the directory says why.
    ///   Such a directory is never opened again; an operator moves it away.
    /// * [`ReplicaError::Panicked`]: sled panicked on what is there. The directory is in quarantine from now on.
    /// * [`ReplicaError::DiskFull`], [`ReplicaError::Io`]: what the system said. Also [`std::io::ErrorKind::Unsupported`] in a
    ///   program built with `panic = "abort"`, where a damaged file would end the whole program, and
    ///   [`std::io::ErrorKind::InvalidInput`] without a directory.
    pub fn open(options: &OpenReplica) -> Result<SledReplica, ReplicaError> {
        open::open(options)
    }

    #[expect(clippy::too_many_arguments, reason = "called once, with what `open` has put together step by step")]
    fn assemble(
        dir: PathBuf,
        set: SetId,
        cache_bytes: u64,
        lock: Arc<File>,
        gate: Arc<Gate>,
        book: Book,
        opened: Opened,
        last_group: u64,
    ) -> SledReplica {
        let epoch = book.superblock.epoch;
        let standing = book.standing(last_group == 0 && epoch == 0);
        let last = LastGroup { number: last_group, peers: opened.marks.peers.clone() };
        SledReplica {
            dir,
            set,
            cache_bytes,
            marks: opened.marks,
            lost_days: Mutex::new(opened.lost_days),
            standing: Mutex::new(standing),
            epoch: AtomicU32::new(epoch),
            out: Mutex::new(None),
            flight: Flight::new(),
            gate,
            last: Mutex::new(last),
            book: Mutex::new(book),
            databases: RwLock::new(Some(opened.databases)),
            lock,
        }
    }

    /// Runs a read. sled may panic on a damaged page; then nothing it says can be trusted any more.
    fn reading<T>(&self, read: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
        let result = caught(read);
        if let Err(error @ ReplicaError::Panicked { .. }) = &result {
            self.put_out(error);
        }
        result
    }

    fn day(&self, day: Day) -> Result<Option<Arc<DayStore>>, ReplicaError> {
        match &*self.databases.read() {
            None => Err(ReplicaError::Closed),
            Some(databases) => Ok(databases.days.get(&day).cloned()),
        }
    }

    fn meta_store(&self) -> Result<Option<Arc<MetaStore>>, ReplicaError> {
        match &*self.databases.read() {
            None => Err(ReplicaError::Closed),
            Some(databases) => Ok(databases.meta.clone()),
        }
    }

    fn readable_meta(&self) -> Result<Arc<MetaStore>, ReplicaError> {
        let lost =
            || ReplicaError::Damaged { path: MetaStore::dir(&self.dir), what: "the database of meta data is missing".into() };
        self.meta_store()?.ok_or_else(lost)
    }

    fn check_set(&self, number: OrderNumber) -> Result<(), ReplicaError> {
        if number.set_id() == self.set { Ok(()) } else { Err(ReplicaError::WrongSet { number, set: self.set }) }
    }

    fn check_open(&self) -> Result<(), ReplicaError> {
        if self.databases.read().is_some() { Ok(()) } else { Err(ReplicaError::Closed) }
    }

    fn check_not_out(&self) -> Result<(), ReplicaError> {
        match &*self.out.lock() {
            None => Ok(()),
            Some(reason) => Err(ReplicaError::Out { reason: reason.clone() }),
        }
    }

    /// From now on nothing is applied. The first reason counts.
    fn put_out(&self, error: &ReplicaError) {
        self.out.lock().get_or_insert_with(|| error.to_string());
    }

    /// Records that this replica may not vote. The first reason counts.
    fn go_into_limbo(&self, reason: &str) -> Result<(), ReplicaError> {
        let mut book = self.book.lock();
        book.superblock.limbo.get_or_insert_with(|| reason.to_owned());
        *self.standing.lock() = book.standing(false);
        book.write_both()
    }

    fn is_lost(&self, day: Day) -> bool {
        self.lost_days.lock().contains(&day)
    }

    /// The whole of a day, for which one answer holds.
    fn whole_day(&self, day: Day) -> (OrderNumber, OrderNumber) {
        let number = |sequence| OrderNumber::new(day, sequence, self.set).expect("both ends of a day are sequences");
        (number(0), number(OrderNumber::SEQUENCE_MAX))
    }
}

impl Replica for SledReplica {
    fn standing(&self) -> Standing {
        self.standing.lock().clone()
    }

    fn marks(&self) -> Marks {
        self.marks.clone()
    }

    fn form(&self, identity: &Identity) -> Result<(), ReplicaError> {
        let _applying = self.last.lock();
        self.check_open()?;
        self.check_not_out()?;
        let refused = |what: &str| Err(ReplicaError::Damaged { path: self.dir.clone(), what: what.to_owned() });
        if identity.set != self.set {
            return refused("it was opened for another SET");
        }
        let mut book = self.book.lock();
        if book.superblock.limbo.is_some() {
            return refused("it is in limbo");
        }
        let is_same = |held: &Identity| (held.store, held.set, held.index) == (identity.store, identity.set, identity.index);
        if let Some(held) = &book.superblock.identity
            && (!is_same(held) || held.formed && !identity.formed)
        {
            return refused("it has another identity");
        }
        book.superblock.identity = Some(identity.clone());
        if let Err(error) = book.write_both() {
            self.put_out(&error);
            return Err(error);
        }
        *self.standing.lock() = book.standing(false);
        Ok(())
    }

    fn claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        let _applying = self.last.lock();
        self.check_open()?;
        self.check_not_out()?;
        let claimed = self.epoch.load(SeqCst);
        if epoch <= claimed {
            return Err(ReplicaError::Fenced { given: epoch, claimed });
        }
        let result = caught(|| self.write_claim(epoch));
        match &result {
            Ok(()) => self.epoch.store(epoch, SeqCst),
            Err(error) => self.put_out(error),
        }
        result
    }

    fn epoch(&self) -> u32 {
        self.epoch.load(SeqCst)
    }

    fn banish(&self, reason: &str) -> Result<(), ReplicaError> {
        self.check_open()?;
        self.go_into_limbo(reason)
    }

    fn readmit(&self, group: u64) -> Result<(), ReplicaError> {
        let mut last = self.last.lock();
        self.check_open()?;
        self.check_not_out()?;
        if self.book.lock().superblock.identity.is_none() {
            return Err(ReplicaError::Damaged { path: self.dir.clone(), what: "who it is cannot be read".to_owned() });
        }
        let number = last.number.max(group) + 1;
        match caught(|| self.write_readmission(number, &last.peers)) {
            Ok(()) => last.number = number,
            Err(error) => {
                self.put_out(&error);
                return Err(error);
            }
        }
        Ok(())
    }

    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError> {
        self.apply_group(group)
    }

    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError> {
        self.check_set(number)?;
        self.reading(|| match self.day(number.day())? {
            Some(day) => day.get(number, &self.flight),
            None if self.is_lost(number.day()) => Ok(Lookup::Damaged(Damage::RunMissing)),
            None => Ok(Lookup::Absent),
        })
    }

    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError> {
        after.map_or(Ok(()), |after| self.check_set(after))?;
        let from = match after {
            None => Some(0),
            Some(after) if after.day() < day => Some(0),
            Some(after) if after.day() > day || after.sequence() == OrderNumber::SEQUENCE_MAX => None,
            Some(after) => Some(after.sequence() + 1),
        };
        self.reading(|| {
            let (store, Some(from)) = (self.day(day)?, from) else { return Ok(Chunk { items: Vec::new(), upto: None }) };
            match store {
                Some(store) => store.scan(from, limit, &self.flight),
                None if self.is_lost(day) => {
                    let (first, to) = self.whole_day(day);
                    let from = OrderNumber::new(day, from, self.set).unwrap_or(first);
                    Ok(Chunk { items: vec![Scanned::Damaged { from, to, damage: Damage::RunMissing }], upto: None })
                }
                None => Ok(Chunk { items: Vec::new(), upto: None }),
            }
        })
    }

    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError> {
        let from = u64::from(range) * RangeDigest::SEQUENCES;
        let to = (from + RangeDigest::SEQUENCES - 1).min(OrderNumber::SEQUENCE_MAX);
        self.reading(|| match self.day(day)? {
            _ if from > to => Ok(RangeDigest::default()),
            Some(day) => {
                let doubts_index = day.index.doubts(range);
                let (digest, unindexed) = day.digest(from, to, below_epoch, doubts_index, &self.flight)?;
                if doubts_index {
                    self.mend_index(&day, range, &unindexed)?;
                }
                Ok(digest)
            }
            None if self.is_lost(day) => Ok(RangeDigest { damaged: 1, ..RangeDigest::default() }),
            None => Ok(RangeDigest::default()),
        })
    }

    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        self.reading(|| self.keyed_since(key, since))
    }

    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        after.map_or(Ok(()), |after| self.check_set(after.number))?;
        self.reading(|| self.keys_above(since, after, limit))
    }

    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        after.map_or(Ok(()), |after| self.check_set(after))?;
        self.reading(|| self.noted_above(after, limit))
    }

    fn days(&self) -> Result<Vec<Day>, ReplicaError> {
        let stores: Vec<_> = match &*self.databases.read() {
            None => return Err(ReplicaError::Closed),
            Some(databases) => databases.days.values().cloned().collect(),
        };
        self.reading(|| {
            let mut days = self.lost_days.lock().clone();
            for store in stores {
                if store.holds_anything()? {
                    days.insert(store.day);
                }
            }
            Ok(days.into_iter().collect())
        })
    }

    fn meta(&self, key: &str) -> Result<Option<Bytes>, ReplicaError> {
        self.reading(|| {
            let value = self.readable_meta()?.get(key)?;
            self.flight.settle_meta().map(|()| value)
        })
    }

    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, Bytes)>, ReplicaError> {
        self.reading(|| {
            let values = self.readable_meta()?.with_prefix(prefix)?;
            self.flight.settle_meta().map(|()| values)
        })
    }

    fn close(&self) -> Result<(), ReplicaError> {
        let _applying = self.last.lock();
        let databases = self.databases.write().take().ok_or(ReplicaError::Closed)?;
        let was_out = self.check_not_out();
        let index_in_doubt = databases.days.values().any(|day| day.index.is_in_doubt());
        let result = was_out.and_then(|()| caught(|| self.sync_for_close(&databases)));
        let drained = caught(|| {
            let _permit = self.gate.enter();
            let_go(databases);
            Ok(())
        });
        let has_drained = drained.is_ok();
        let closed = result.and(drained).and_then(|()| {
            let mut book = self.book.lock();
            book.superblock.clean = true;
            book.superblock.index_in_doubt = index_in_doubt;
            book.write_both()
        });
        // A reader that is still at it keeps the directory locked, until the replica itself is dropped. Otherwise one that had failed
        // gives it back here like any other: whoever is told that the store is closed may open it again.
        if !has_drained || Arc::strong_count(&self.lock) > 1 {
            return closed;
        }
        let unlocked = self.lock.unlock().map_err(|error| files::io_error("unlock", &self.dir, &error));
        closed.and(unlocked)
    }
}

/// Drops the databases, once nobody reads them any more or the time is up.
fn let_go(databases: Databases) {
    let Databases { meta, days } = databases;
    let until = Instant::now() + READERS_WAIT;
    let is_read =
        || days.values().any(|day| Arc::strong_count(day) > 1) || meta.as_ref().is_some_and(|meta| Arc::strong_count(meta) > 1);
    while is_read() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(1));
    }
}

impl Drop for SledReplica {
    fn drop(&mut self) {
        let databases = self.databases.get_mut().take();
        // sled flushes when it is dropped, and may panic on what it finds; a drop must not.
        let _ = caught(|| {
            drop(databases);
            Ok(())
        });
    }
}

impl fmt::Debug for SledReplica {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SledReplica").field("dir", &self.dir).field("standing", &*self.standing.lock()).finish_non_exhaustive()
    }
}

/// Turns a panic into an error.
fn caught<T>(work: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
    std::panic::catch_unwind(AssertUnwindSafe(work)).unwrap_or_else(|payload| {
        let text = payload.downcast_ref::<&str>().copied().or_else(|| payload.downcast_ref::<String>().map(String::as_str));
        Err(ReplicaError::Panicked { message: text.unwrap_or("no message").chars().take(1000).collect() })
    })
}

/// [`SledReplica::open`] as an [`OpenFn`](crate::config::OpenFn).
pub(crate) fn open_sled(options: &OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> {
    SledReplica::open(options).map(|replica| Arc::new(replica) as Arc<dyn Replica>)
}

/// Who the replica in `dir` is, as far as its superblock can be read; nothing is opened or changed.
pub(crate) fn peek_identity(dir: &Path) -> Option<Identity> {
    superblock_file::read(dir).ok()?.newest?.0.identity
}
