//! Describing a store.

use super::verify::{Finding, Verified};
use super::{OrderStore, find, open, verify};
use crate::config::{self, BreakerSettings, ConfigError, Quorum, SetConfig, Settings};
use crate::error::Error;
use crate::time::{Clock, SystemClock};
use crate::topology::Zone;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Describes a store. Nothing is checked or touched before [`Builder::open`].
#[must_use = "a builder does nothing before `open`"]
pub struct Builder {
    pub(super) home: Option<PathBuf>,
    pub(super) quorum: Option<Quorum>,
    pub(super) sets: Vec<SetConfig>,
    pub(super) local_zone: Result<Option<Zone>, ConfigError>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) settings: Settings,
}

impl Builder {
    pub(super) fn new() -> Builder {
        let clock = Arc::new(SystemClock);
        Builder { home: None, quorum: None, sets: Vec::new(), local_zone: Ok(None), clock, settings: Settings::default() }
    }

    /// The directory below which relative paths are taken. Default: the working directory. With a home and no SET added, the
    /// SETs found in it are opened: a store remembers its SETs and its quorum.
    pub fn home(mut self, dir: impl Into<PathBuf>) -> Builder {
        self.home = Some(dir.into());
        self
    }

    /// N, R and W of every SET. Default: what the store remembers; for a new store the majority of the replicas given.
    pub fn quorum(mut self, quorum: Quorum) -> Builder {
        self.quorum = Some(quorum);
        self
    }

    /// Adds a SET.
    pub fn add_set(mut self, set: SetConfig) -> Builder {
        self.sets.push(set);
        self
    }

    /// Where this process runs, as a [`Zone`] is written: `city/campus` or a city alone. New orders go to SETs of the same campus, then of the same city, then to the rest, as far as they
    /// are well. Default: not said; all SETs are equally near then.
    pub fn local_zone(mut self, zone: impl AsRef<str>) -> Builder {
        self.local_zone = zone.as_ref().parse().map(Some);
        self
    }

    /// Where the time comes from. Default: [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Builder {
        self.clock = Arc::new(clock);
        self
    }

    /// Where midnight is, in minutes east of UTC, from -1,439 to 1,439. Default 0.
    pub fn utc_offset_minutes(mut self, minutes: i32) -> Builder {
        self.settings.utc_offset_minutes = minutes;
        self
    }

    /// The deadline of operations that name none. Default 5 s, from 1 ms to 1 h. Longer: more patience with slow disks;
    /// shorter: callers hear sooner that it is not known whether an order was stored.
    pub fn deadline(mut self, deadline: Duration) -> Builder {
        self.settings.deadline = deadline;
        self
    }

    /// How long one attempt to place a new order may take while another SET could take it. Default 1 s, from 1 ms to 1 h, and never
    /// more than an even share of the deadline. Shorter: callers of a SET that hangs wait less; longer: fewer numbers are given up
    /// because a disk was slow.
    pub fn attempt_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.attempt_timeout = timeout;
        self
    }

    /// How many attempts to place a new order may end in doubt before the caller is told. Default 2, from 1 to 3; 1 never places an
    /// order a second time. Attempts that were not sent do not count.
    pub fn attempts(mut self, attempts: u32) -> Builder {
        self.settings.attempts = attempts;
        self
    }

    /// When nothing is sent to a SET for a while because it is not well. See [`BreakerSettings`] for the defaults.
    pub fn breaker(mut self, breaker: BreakerSettings) -> Builder {
        self.settings.breaker = breaker;
        self
    }

    /// The largest payload in bytes. Default and most 7,168.
    pub fn value_bytes_max(mut self, bytes: usize) -> Builder {
        self.settings.value_bytes_max = bytes;
        self
    }

    /// What may be under way in one SET. Default 65,536 operations and 64 MiB. More: larger groups and more throughput on slow
    /// disks; fewer: less memory, and `Busy` sooner.
    pub fn max_in_flight(mut self, operations: usize, bytes: usize) -> Builder {
        self.settings.in_flight_max = operations;
        self.settings.in_flight_bytes_max = bytes;
        self
    }

    /// How long a replica may take to open before the store goes on without it. Default 60 s.
    pub fn open_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.open_timeout = timeout;
        self
    }

    /// How long `close` waits for what is under way. Default 10 s.
    pub fn close_timeout(mut self, timeout: Duration) -> Builder {
        self.settings.close_timeout = timeout;
        self
    }

    /// sled's page cache for each open day of each replica, in bytes; a hint to sled, no cap. Default 64 MiB.
    pub fn cache_bytes(mut self, bytes: u64) -> Builder {
        self.settings.cache_bytes = bytes;
        self
    }

    /// Recent orders that each SET keeps in memory, in bytes: the newest versions of what was created, written and read last. A
    /// read of one of them, strong or not, asks no replica and runs on the caller's thread. Default 16 MiB, at most 64 GiB; 0 keeps none.
    pub fn recent_bytes(mut self, bytes: usize) -> Builder {
        self.settings.recent_bytes = bytes;
        self
    }

    /// For how many days a request key is looked for, today included: a key used again within them gives the first order. Default 2,
    /// from 2 to 31. So a key is good for the day of its first use and the next one, at least, whatever this says; after that it may be
    /// used for another order. More: keys are good for longer, and each create with a key looks into more days.
    ///
    /// It may be raised on a store whose clients use keys again: an order that was placed while a SET could not be asked says how far back
    /// was looked then, and ends nothing that is older.
    pub fn request_key_days(mut self, days: u32) -> Builder {
        self.settings.request_key_days = days;
        self
    }

    /// How many threads of each SET run the closures given to [`OrderStore::modify`]. Default 2, from 1 to 64; started when they
    /// are needed. More: closures that take long hold up fewer others of the same SET.
    pub fn modify_threads(mut self, threads: usize) -> Builder {
        self.settings.modify_threads = threads;
        self
    }

    /// How long a SET that is added to a running store takes from a tenth of its share of new orders to all of it; see
    /// [`OrderStore::add_set`]. Default 60 s, at most a day; 0: at once. Longer: a new SET shows its faults on fewer orders.
    pub fn ramp(mut self, ramp: Duration) -> Builder {
        self.settings.ramp = ramp;
        self
    }

    /// Opens the store, making what is not there yet. Blocks.
    ///
    /// # Errors
    /// * [`Error::Config`]: a setting, a SET or a directory makes no sense; nothing was touched.
    /// * [`Error::NoStore`]: no SET was added and none is found in the home.
    /// * [`Error::InUse`]: another process has a replica open.
    /// * [`Error::ForeignReplica`]: a directory holds a replica of another store, SET or place.
    /// * [`Error::MapMismatch`]: the store remembers other SETs, weights or zones or another quorum. A SET that is draining must be named, one that
    ///   is retired must not.
    /// * [`Error::CannotForm`]: a new SET cannot be made on all of its replicas.
    /// * [`Error::System`]: the system gave no threads.
    ///
    /// A replica of an existing SET that is gone, damaged or slow is no error: the store opens without it, and
    /// [`OrderStore::status`] says so.
    pub fn open(self) -> Result<OrderStore, Error> {
        open::open(self)
    }

    /// Reads every record of every replica of a closed store and tells `report` what is wrong. Writes no record and heals
    /// nothing. Blocks. The store is opened exclusively.
    ///
    /// # Errors
    /// As for [`Builder::open`]; a store that is not there is [`Error::NoStore`] and is not made.
    pub fn verify(self, report: impl FnMut(Finding)) -> Result<Verified, Error> {
        verify::verify(self, report)
    }

    /// Checks settings and SETs against each other and against the file system's names, without touching anything.
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.settings.check()?;
        self.local_zone.clone()?;
        let mut dirs: Vec<PathBuf> = Vec::new();
        for (at, set) in self.sets.iter().enumerate() {
            if self.sets[..at].iter().any(|other| other.id == set.id) {
                return Err(ConfigError::DuplicateSet { set: set.id });
            }
            // Where no quorum is given, whatever it will be: all SETs share it.
            let n = self.quorum.map_or(self.sets[0].replicas.len(), |quorum| usize::from(quorum.n()));
            check_set(set, n, self.home.as_deref(), &mut dirs)?;
        }
        Ok(())
    }
}

/// Checks a SET against the N of the others and against the directories that are taken, to which it adds its own.
pub(super) fn check_set(set: &SetConfig, n: usize, home: Option<&Path>, taken: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    config::check_weight(set.weight)?;
    set.zone.clone()?;
    if set.replicas.is_empty() || set.replicas.len() > usize::from(Quorum::N_MAX) {
        let (given, n) = (set.replicas.len() as u64, Quorum::N_MAX);
        return Err(ConfigError::OutOfRange { name: "replicas of a SET", given, min: 1, max: n.into() });
    }
    if set.replicas.len() != n {
        let n = u8::try_from(n).unwrap_or(u8::MAX);
        return Err(ConfigError::ReplicaCount { set: set.id, given: set.replicas.len(), n });
    }
    for dir in set.replicas.iter().filter_map(|replica| replica.dir.as_ref()) {
        let dir = find::real_path(&find::below(home, dir));
        if taken.iter().any(|other| dir.starts_with(other) || other.starts_with(&dir)) {
            return Err(ConfigError::DuplicateDirectory { dir });
        }
        taken.push(dir);
    }
    Ok(())
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("home", &self.home)
            .field("quorum", &self.quorum)
            .field("sets", &self.sets)
            .finish_non_exhaustive()
    }
}
