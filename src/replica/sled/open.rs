//! Opening a directory: whose it is, whether anything was lost, and whether sled survives looking at it.
//!
//! Nothing is written into a directory that is not ours. Under our lock, and before sled sees a file: a directory in
//! quarantine is refused, leftovers of a kill are removed, what the page cache alone holds is synced. sled itself runs under
//! `catch_unwind`; a panic, or an error that speaks of damaged bytes, puts the directory in quarantine, because recovery may
//! have cut off what it did not understand and a second opening might look well.
//!
//! Recovery may also lose its tail, or more, without a word. So each database is held against what the superblock says of it:
//! one that is missing, or came back behind, is ground for limbo, which is made durable at once.
//!
//! A power cut while a database is made may leave one that does not open. Both copies of the superblock name a database before
//! its first group is acknowledged; so one that neither names holds nothing that counts, and is put aside.

use super::day::{DayStore, Recovered};
use super::engine::{Database, OpenFailure};
use super::files::{device_of, io_error, make_dirs, names_in, sync_dir, write_note};
use super::gate::Gate;
use super::marks::Mark;
use super::meta::MetaStore;
use super::superblock::Superblock;
use super::superblock_file::{self, SuperblockFile};
use super::{Book, Databases, SledReplica, caught};
use crate::config::OpenReplica;
use crate::order::{Day, SetId};
use crate::replica::{Marks, ReplicaError};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const LOCK: &str = "lock";
const QUARANTINE: &str = "quarantine";

/// What lies in a directory, by its names alone.
struct Survey {
    superblock: bool,
    databases: bool,
    quarantine: bool,
}

impl Survey {
    /// # Errors
    /// [`ReplicaError::Damaged`] for somebody else's directory.
    fn of(dir: &Path) -> Result<Survey, ReplicaError> {
        let mut survey = Survey { superblock: false, databases: false, quarantine: false };
        let mut foreign = None;
        for name in names_in(dir)? {
            match name.as_str() {
                // A file system of its own comes with the last.
                LOCK | "lost+found" => (),
                "meta" | "days" => survey.databases = true,
                QUARANTINE => survey.quarantine = true,
                name if superblock_file::NAMES.contains(&name) => survey.superblock = true,
                _ => foreign = Some(name),
            }
        }
        match foreign {
            Some(name) if !survey.superblock => {
                let what = format!("no replica: {name} lies there and no superblock");
                Err(ReplicaError::Damaged { path: dir.to_owned(), what })
            }
            _ => Ok(survey),
        }
    }

    fn is_empty(&self) -> bool {
        !self.superblock && !self.databases && !self.quarantine
    }
}

/// See [`SledReplica::open`].
pub(super) fn open(options: &OpenReplica) -> Result<SledReplica, ReplicaError> {
    let dir = directory_of(options)?;
    if Survey::of(&dir)?.is_empty() {
        if !options.create {
            return Err(ReplicaError::Missing { dir });
        }
        make_dirs(&dir)?;
    }
    let lock = lock(&dir)?;
    // Another process may have been at it until the lock was ours.
    let survey = Survey::of(&dir)?;
    if survey.quarantine {
        let path = dir.join(QUARANTINE);
        let what = std::fs::read(&path).map_err(|error| io_error("read", &path, &error))?;
        return Err(ReplicaError::Damaged { path, what: String::from_utf8_lossy(&what).trim().chars().take(1000).collect() });
    }

    let found = superblock_file::read(&dir)?;
    let slot = found.newest.as_ref().map(|(_, slot)| *slot);
    // Databases are made only after a superblock is durable: without both, nothing was ever kept here.
    let is_new = found.newest.is_none() && !survey.databases;
    if is_new && !options.create {
        return Err(ReplicaError::Missing { dir });
    }
    let is_readable = found.newest.is_some() || is_new;
    let mut superblock = match found.newest {
        Some((superblock, _)) => superblock,
        None => Superblock::new(fastrand::u64(1..)),
    };
    if !is_readable {
        let reason = if found.unreadable.is_empty() { "the superblock is gone".into() } else { found.unreadable.join("; ") };
        superblock.limbo = Some(reason);
    }
    let mut file = SuperblockFile::open(&dir, slot)?;
    if is_new {
        file.write_both(&mut superblock)?;
        sync_dir(&dir)?;
    }

    let set = superblock.identity.as_ref().map_or(options.set, |identity| identity.set);
    let gate = Gate::of(device_of(&dir)?);
    let opener = Opener {
        dir: &dir,
        set,
        cache_bytes: options.cache_bytes,
        lock: &lock,
        superblock: &superblock,
        is_readable,
        knows_all: is_new || found.readable == 2,
    };
    let permit = gate.enter();
    let opened = match opener.databases() {
        Ok(opened) => opened,
        Err(failure) => {
            if failure.is_damage {
                // The error itself is told below, whether or not the note can be written.
                let note = format!("opening failed, and what sled's recovery may have cut off is not known: {}\n", failure.error);
                let _ = write_note(&dir, QUARANTINE, &note);
            }
            return Err(failure.error);
        }
    };
    drop(permit);

    if superblock.limbo.is_none() && !opened.losses.is_empty() {
        superblock.limbo = Some(opened.losses.join("; "));
    }
    superblock.epoch = superblock.epoch.max(opened.epoch);
    superblock.clean = false;
    for (day, group) in &opened.groups {
        // What was recovered is on disk: it was synced before sled looked at it.
        let synced = superblock.synced.entry(*day).or_default();
        *synced = (*synced).max(*group);
    }
    if is_readable {
        file.write_both(&mut superblock)?;
    }
    let group = superblock.synced.values().copied().max().unwrap_or_default();
    let book = Book::new(superblock, file);
    Ok(SledReplica::assemble(dir, set, options.cache_bytes, lock, gate, book, opened, group))
}

fn directory_of(options: &OpenReplica) -> Result<PathBuf, ReplicaError> {
    let refused = |path: &Path, kind: io::ErrorKind, message: &str| ReplicaError::Io {
        action: "open",
        path: path.to_owned(),
        kind,
        message: message.to_owned(),
    };
    let Some(dir) = &options.dir else {
        return Err(refused(Path::new(""), io::ErrorKind::InvalidInput, "a replica on sled needs a directory"));
    };
    if cfg!(panic = "abort") {
        let message = "sled panics on damaged files, and this program is built with panic = \"abort\"";
        return Err(refused(dir, io::ErrorKind::Unsupported, message));
    }
    std::path::absolute(dir).map_err(|error| io_error("open", dir, &error))
}

fn lock(dir: &Path) -> Result<Arc<File>, ReplicaError> {
    let path = dir.join(LOCK);
    let file = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let file = file.map_err(|error| io_error("open", &path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Arc::new(file)),
        Err(TryLockError::WouldBlock) => Err(ReplicaError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(io_error("lock", &path, &error)),
    }
}

/// All databases of a replica, and what they say.
pub(super) struct Opened {
    pub(super) databases: Databases,
    /// Days that are gone as a whole.
    pub(super) lost_days: BTreeSet<Day>,
    pub(super) marks: Marks,
    /// Why the replica may not vote; empty where all is well.
    losses: Vec<String>,
    /// By database, the last group that is there.
    groups: BTreeMap<Option<Day>, u64>,
    epoch: u32,
}

struct Opener<'a> {
    dir: &'a Path,
    set: SetId,
    cache_bytes: u64,
    lock: &'a Arc<File>,
    superblock: &'a Superblock,
    is_readable: bool,
    /// A database that the superblock does not name holds nothing that counts.
    knows_all: bool,
}

impl Opener<'_> {
    fn databases(&self) -> Result<Opened, OpenFailure> {
        let mut opened = Opened {
            databases: Databases { meta: None, days: BTreeMap::new() },
            lost_days: BTreeSet::new(),
            marks: Marks::default(),
            losses: Vec::new(),
            groups: BTreeMap::new(),
            epoch: 0,
        };
        self.open_meta(&mut opened)?;
        let days_dir = self.dir.join("days");
        let present = names_in(&days_dir).map_err(|error| OpenFailure { error, is_damage: false })?;
        let present = present.iter().filter_map(|name| name.parse().ok());
        let listed = self.superblock.synced.keys().copied().flatten();
        // In the order of days, so that trouble is told in the same words each time.
        for day in present.chain(listed).collect::<BTreeSet<Day>>() {
            self.open_day(day, &mut opened)?;
        }
        Ok(opened)
    }

    fn open_meta(&self, opened: &mut Opened) -> Result<(), OpenFailure> {
        let path = MetaStore::dir(self.dir);
        let is_there = Database::exists(&path);
        if !is_there && (!self.is_readable || self.superblock.synced.contains_key(&None)) {
            opened.losses.push("the database of meta data is missing".into());
            return Ok(());
        }
        let open = || self.guarded(&path, |database| MetaStore::open(database, path.clone(), Arc::clone(self.lock)));
        let (meta, recovered) = match open() {
            Err(failure) if self.is_unborn(None, &failure) => self.put_aside(&path).and_then(|()| open())?,
            other => other?,
        };
        if recovered.epoch < self.superblock.epoch {
            let loss = format!("epoch {} came back where {} was claimed", recovered.epoch, self.superblock.epoch);
            opened.losses.push(loss);
        }
        opened.epoch = recovered.epoch;
        self.compare(None, recovered.mark.as_ref(), opened);
        opened.databases.meta = Some(Arc::new(meta));
        Ok(())
    }

    fn open_day(&self, day: Day, opened: &mut Opened) -> Result<(), OpenFailure> {
        let path = DayStore::dir(self.dir, day);
        if !Database::exists(&path) {
            // A kill while it was made leaves a day that nobody lists; it is made again when it is needed.
            if self.superblock.synced.contains_key(&Some(day)) {
                opened.losses.push(format!("the database of {day} is missing"));
                opened.lost_days.insert(day);
            }
            return Ok(());
        }
        let open = || self.guarded(&path, |database| DayStore::open(database, day, self.set, Arc::clone(self.lock)));
        let (store, Recovered { mark, tail_is_there }) = match open() {
            // It is made again when it is needed.
            Err(failure) if self.is_unborn(Some(day), &failure) => return self.put_aside(&path),
            other => other?,
        };
        self.compare(Some(day), mark.as_ref(), opened);
        let synced = self.superblock.synced.get(&Some(day)).copied().unwrap_or_default();
        // A power cut within a group may leave its mark and not its runs. Only where that group is known to be synced has
        // something been lost; else the gap at the end reads as damaged, and that is enough.
        if !tail_is_there && mark.is_some_and(|mark| mark.group <= synced) {
            opened.losses.push(format!("{day} came back without its last run"));
        }
        if !self.superblock.clean || self.superblock.index_in_doubt {
            store.doubt_index();
        }
        opened.databases.days.insert(day, Arc::new(store));
        Ok(())
    }

    /// Holds a database's own mark against the superblock.
    fn compare(&self, day: Option<Day>, mark: Option<&Mark>, opened: &mut Opened) {
        let name = day.map_or("meta data".to_owned(), |day| day.to_string());
        let synced = self.superblock.synced.get(&day).copied().unwrap_or_default();
        let group = mark.map_or(0, |mark| mark.group);
        if group < synced {
            opened.losses.push(format!("{name} came back at group {group} where {synced} was synced"));
        }
        if self.is_readable && mark.is_some_and(|mark| mark.incarnation != self.superblock.incarnation) {
            opened.losses.push(format!("{name} belongs to another replica"));
        }
        opened.groups.insert(day, group);
        if let Some(mark) = mark.filter(|mark| mark.group > opened.marks.own) {
            opened.marks = Marks { own: mark.group, peers: mark.peers.clone() };
        }
    }

    fn is_unborn(&self, day: Option<Day>, failure: &OpenFailure) -> bool {
        failure.is_damage && self.knows_all && !self.superblock.synced.contains_key(&day)
    }

    /// Gives the directory of a database another name, under which nobody looks for it.
    fn put_aside(&self, path: &Path) -> Result<(), OpenFailure> {
        let sound = |error| OpenFailure { error, is_damage: false };
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".unborn-{:016x}", fastrand::u64(..)));
        std::fs::rename(path, &name).map_err(|error| sound(io_error("rename", path, &error)))?;
        path.parent().map_or(Ok(()), sync_dir).map_err(sound)
    }

    /// Opens the database in `path` and runs `then` on it. A panic unwinds through this one database only.
    fn guarded<T>(&self, path: &Path, then: impl FnOnce(Database) -> Result<T, ReplicaError>) -> Result<T, OpenFailure> {
        let opened = caught(|| match Database::open(path, self.cache_bytes) {
            Err(failure) => Ok(Err(failure)),
            Ok(database) => then(database).map(Ok),
        });
        opened.unwrap_or_else(|error| {
            let is_damage = matches!(error, ReplicaError::Panicked { .. } | ReplicaError::Damaged { .. });
            let error = match error {
                ReplicaError::Panicked { message } => {
                    ReplicaError::Panicked { message: format!("{}: {message}", path.display()) }
                }
                other => other,
            };
            Err(OpenFailure { error, is_damage })
        })
    }
}
