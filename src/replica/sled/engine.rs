//! sled, and nothing but sled: the only file that names it, so that the engine stays replaceable.
//!
//! What is called here, and with which settings, follows from what sled 0.34.7 was seen to do:
//! * `flush()` calls `sync_file_range` only and is not durable. [`Database::sync`] is `flush()` and an `fdatasync` of a descriptor
//!   of our own, opened once when the database is opened: one opened after a failed write-back may not see the failure.
//! * `apply_batch`, transactions and `checksum()` take one lock for the whole process; `generate_id` jumps; subscribers block writers.
//!   None of them is called. What must be atomic is one value under one key.
//! * Segments of 2 MiB: with the default, values of 7.5 KB go to `blobs/`, which is never synced, and a power cut within a
//!   group may destroy what was synced before.
//! * No flusher thread: it competes with our commits, and its garbage collection matters little with one database for each day.
//! * Removing keys gives no space back; nothing is removed.
//! * sled has one pool of I/O threads for the process; if one of them panics, `flush()` waits for ever. The store's deadlines live with that.

use super::files::{io_error, make_dirs, names_in, sync_dir};
use crate::replica::ReplicaError;
use std::fs::File;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

const SEGMENT_BYTES: usize = 2 << 20;

/// How long to wait for sled's lock on the file. Ours is held already; it is a thread of sled that still lets go of a database
/// closed before in this process.
const SLED_LOCK_WAIT: Duration = Duration::from_secs(2);

/// The file that holds the data.
const DATA_FILE: &str = "db";

/// The settings that a database was made with, checksummed; written before the data file.
const SETTINGS: &str = "conf";

/// Where sled puts values that are too large for a segment.
const BLOBS: &str = "blobs";

/// An open database. Neither this nor a tree is `Debug`: sled would print all that is in it.
pub(super) struct Database {
    db: sled::Db,
    /// Our own descriptor of the data file.
    data: File,
    dir: Arc<Path>,
}

/// A tree of a database.
pub(super) struct Tree {
    tree: sled::Tree,
    dir: Arc<Path>,
}

/// A key or a value.
#[derive(Clone, Debug)]
pub(super) struct Slice(sled::IVec);

/// Entries in ascending order of keys.
pub(super) struct Cursor {
    iter: sled::Iter,
    dir: Arc<Path>,
}

/// Why a database did not open.
#[derive(Debug)]
pub(super) struct OpenFailure {
    pub(super) error: ReplicaError,
    /// The bytes are to blame: recovery may already have cut something off, and must not be trusted a second time.
    pub(super) is_damage: bool,
}

/// A sync that failed.
#[derive(Debug)]
pub(super) struct SyncFailure {
    pub(super) error: ReplicaError,
    /// The system may have dropped what it could not write: its cache then shows bytes that are on no disk, also after
    /// reopening.
    pub(super) lost_pages: bool,
}

impl Database {
    /// Whether there is a database in `dir`.
    pub(super) fn exists(dir: &Path) -> bool {
        dir.join(DATA_FILE).exists()
    }

    /// Opens the database in `dir`, or makes it.
    pub(super) fn open(dir: &Path, cache_bytes: u64) -> Result<Database, OpenFailure> {
        let sound = |error| OpenFailure { error, is_damage: false };
        let data_path = dir.join(DATA_FILE);
        let found = Database::exists(dir);
        if found {
            remove_unfinished_snapshots(dir).map_err(sound)?;
            // After a kill the page cache may hold what is on no disk yet. Recovery reads it, we show it, and sled writes a synced
            // snapshot that points to it: so it has to be on disk first.
            open_data(&data_path).and_then(|data| sync_data(&data, dir)).map_err(sound)?;
        } else {
            remove_unfinished_settings(dir).map_err(sound)?;
            // Also the one that sled would make, readable by everybody.
            make_dirs(&dir.join(BLOBS)).map_err(sound)?;
        }
        let config = sled::Config::new()
            .path(dir)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(cache_bytes)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(None);
        let db = open_sled(&config, dir)?;
        let data = open_data(&data_path).map_err(sound)?;
        let database = Database { db, data, dir: dir.into() };
        if !found {
            database.make_durable().map_err(sound)?;
        }
        Ok(database)
    }

    /// What sled does not sync by itself in a new database: its settings, and the names.
    fn make_durable(&self) -> Result<(), ReplicaError> {
        self.sync().map_err(|failure| failure.error)?;
        let settings = self.dir.join(SETTINGS);
        File::open(&settings).and_then(|file| file.sync_all()).map_err(|error| io_error("sync", &settings, &error))?;
        sync_dir(&self.dir)?;
        self.dir.parent().map_or(Ok(()), sync_dir)
    }

    /// The tree `name`, made where it is missing.
    pub(super) fn tree(&self, name: &str) -> Result<Tree, ReplicaError> {
        let tree = self.db.open_tree(name).map_err(|error| engine_error("open", &self.dir, error))?;
        Ok(Tree { tree, dir: Arc::clone(&self.dir) })
    }

    /// Whether the tree `name` was ever made.
    pub(super) fn has_tree(&self, name: &str) -> bool {
        self.db.tree_names().iter().any(|made| made == name.as_bytes())
    }

    /// Makes all that was inserted so far durable. After an error the state of the file is unknown, and asking again may
    /// falsely succeed: the replica is out.
    pub(super) fn sync(&self) -> Result<(), SyncFailure> {
        if let Err(error) = self.db.flush() {
            // Our descriptor tells of any write-back that failed since it was opened, whoever else was told of it.
            let lost_pages = self.data.sync_data().is_err();
            return Err(SyncFailure { error: engine_error("flush", &self.dir, error), lost_pages });
        }
        // The planted bug shows that the power-cut test can see a sync that is missing.
        if cfg!(ordermint_planted = "no_fdatasync") {
            return Ok(());
        }
        sync_data(&self.data, &self.dir).map_err(|error| SyncFailure { error, lost_pages: true })
    }

    /// sled puts large values into files of their own, which are never synced. There must be none.
    pub(super) fn check_no_blobs(&self) -> Result<(), ReplicaError> {
        let blobs = self.dir.join(BLOBS);
        match names_in(&blobs)?.first() {
            None => Ok(()),
            Some(name) => {
                let what = format!("a value went to {name}, which is never synced");
                Err(ReplicaError::Damaged { path: blobs, what })
            }
        }
    }
}

impl Tree {
    pub(super) fn insert(&self, key: &[u8], value: &[u8]) -> Result<(), ReplicaError> {
        self.tree.insert(key, value).map(|_| ()).map_err(|error| engine_error("write", &self.dir, error))
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Slice>, ReplicaError> {
        self.tree.get(key).map(|found| found.map(Slice)).map_err(|error| engine_error("read", &self.dir, error))
    }

    /// The entry with the highest key at or below `key`.
    pub(super) fn at_or_below(&self, key: &[u8]) -> Result<Option<(Slice, Slice)>, ReplicaError> {
        self.entry(self.tree.range(..=key).next_back())
    }

    /// The entry with the lowest key above `key`.
    pub(super) fn above(&self, key: &[u8]) -> Result<Option<(Slice, Slice)>, ReplicaError> {
        self.entry(self.tree.get_gt(key).transpose())
    }

    /// The entry with the highest key.
    pub(super) fn last(&self) -> Result<Option<(Slice, Slice)>, ReplicaError> {
        self.entry(self.tree.iter().next_back())
    }

    /// All entries from `key` on.
    pub(super) fn from(&self, key: &[u8]) -> Cursor {
        Cursor { iter: self.tree.range(key..), dir: Arc::clone(&self.dir) }
    }

    fn entry(&self, found: Option<sled::Result<(sled::IVec, sled::IVec)>>) -> Result<Option<(Slice, Slice)>, ReplicaError> {
        match found.transpose() {
            Ok(entry) => Ok(entry.map(|(key, value)| (Slice(key), Slice(value)))),
            Err(error) => Err(engine_error("read", &self.dir, error)),
        }
    }
}

impl Cursor {
    pub(super) fn next(&mut self) -> Result<Option<(Slice, Slice)>, ReplicaError> {
        match self.iter.next().transpose() {
            Ok(entry) => Ok(entry.map(|(key, value)| (Slice(key), Slice(value)))),
            Err(error) => Err(engine_error("read", &self.dir, error)),
        }
    }
}

impl Deref for Slice {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

fn open_data(path: &Path) -> Result<File, ReplicaError> {
    File::options().read(true).write(true).open(path).map_err(|error| io_error("open", path, &error))
}

fn sync_data(data: &File, dir: &Path) -> Result<(), ReplicaError> {
    data.sync_data().map_err(|error| io_error("sync", &dir.join(DATA_FILE), &error))
}

/// A kill while sled writes a snapshot leaves a half-written file that makes every later open fail.
fn remove_unfinished_snapshots(dir: &Path) -> Result<(), ReplicaError> {
    for name in names_in(dir)? {
        if name.starts_with("snap.") && name.ends_with(".generating") {
            let path: PathBuf = dir.join(name);
            std::fs::remove_file(&path).map_err(|error| io_error("remove", &path, &error))?;
        }
    }
    Ok(())
}

/// sled writes its settings before it makes the data file. A kill between the two may leave half of them, which no open
/// accepts; without a data file they are about nothing.
fn remove_unfinished_settings(dir: &Path) -> Result<(), ReplicaError> {
    let path = dir.join(SETTINGS);
    match std::fs::remove_file(&path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", &path, &error)),
        _ => Ok(()),
    }
}

fn open_sled(config: &sled::Config, dir: &Path) -> Result<sled::Db, OpenFailure> {
    let started = Instant::now();
    loop {
        let error = match config.open() {
            Ok(db) => return Ok(db),
            Err(error) => error,
        };
        let is_locked = error.to_string().contains("could not acquire lock");
        if is_locked && started.elapsed() >= SLED_LOCK_WAIT {
            return Err(OpenFailure { error: ReplicaError::InUse { dir: dir.to_owned() }, is_damage: false });
        }
        if !is_locked {
            let is_damage = is_damage(&error);
            return Err(OpenFailure { error: engine_error("open", dir, error), is_damage });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn is_damage(error: &sled::Error) -> bool {
    use std::io::ErrorKind::{InvalidData, InvalidInput, UnexpectedEof};
    match error {
        sled::Error::Io(error) => matches!(error.kind(), InvalidData | InvalidInput | UnexpectedEof),
        sled::Error::Corruption { .. }
        | sled::Error::CollectionNotFound(_)
        | sled::Error::Unsupported(_)
        | sled::Error::ReportableBug(_) => true,
    }
}

fn engine_error(action: &'static str, dir: &Path, error: sled::Error) -> ReplicaError {
    match error {
        sled::Error::Io(error) => io_error(action, dir, &error),
        error => ReplicaError::Damaged { path: dir.to_owned(), what: format!("{action}: {error}") },
    }
}
