//! All settings and their defaults, in one table; checked once, when a store is opened.

use crate::order::{InvalidDay, InvalidSetId, SetId};
use crate::replica::{Replica, ReplicaError};
use crate::topology::Zone;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

mod breaker;

pub use breaker::BreakerSettings;
pub(crate) use breaker::{PROBES_MAX, ms};

/// The defaults, used by code and docs alike.
pub(crate) mod defaults {
    use super::Duration;

    /// From the call on, for every operation.
    pub(crate) const DEADLINE: Duration = Duration::from_secs(5);
    /// The largest payload. Above it sled puts values into files of their own that are never synced.
    pub(crate) const VALUE_BYTES_MAX: usize = 7 * 1024;
    /// Operations under way in one SET.
    pub(crate) const IN_FLIGHT_MAX: usize = 65_536;
    /// Bytes under way in one SET.
    pub(crate) const IN_FLIGHT_BYTES_MAX: usize = 64 << 20;
    /// For one attempt to place a new order, while another SET could take it.
    pub(crate) const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);
    /// Attempts that may leave a number behind.
    pub(crate) const ATTEMPTS: u32 = 2;
    /// For each replica to open. A replica that takes longer is out.
    pub(crate) const OPEN_TIMEOUT: Duration = Duration::from_secs(60);
    /// For `close`, over all SETs.
    pub(crate) const CLOSE_TIMEOUT: Duration = Duration::from_secs(10);
    /// sled's page cache for each open day of each replica. sled treats it as a hint.
    pub(crate) const CACHE_BYTES: u64 = 64 << 20;
    /// Recent orders kept in memory by each SET, in bytes.
    pub(crate) const RECENT_BYTES: usize = 16 << 20;
    /// Threads of each SET on which closures given to `modify` run; started when they are needed.
    pub(crate) const MODIFY_THREADS: usize = 2;
    /// For a SET that is added to a running store, from a tenth of its share of new orders to all of it.
    pub(crate) const JOIN_RAMP: Duration = Duration::from_secs(60);

    /// Failures in a row that open a breaker.
    pub(crate) const FAILURES_IN_A_ROW: u32 = 5;
    /// The share of failed calls that opens a breaker, in percent.
    pub(crate) const FAILED_PERCENT: u32 = 50;
    /// The share of slow calls that opens a breaker, in percent.
    pub(crate) const SLOW_PERCENT: u32 = 80;
    /// A call that took so long, or longer, was slow.
    pub(crate) const SLOW_AFTER: Duration = Duration::from_millis(500);
    /// Below so many calls in the window their shares say nothing.
    pub(crate) const CALLS_MIN: u32 = 20;
    /// The stretch of time over which shares are taken.
    pub(crate) const BREAKER_WINDOW: Duration = Duration::from_secs(10);
    /// How long a breaker stays open the first time.
    pub(crate) const OPEN_TIME: Duration = Duration::from_secs(1);
    /// What doubling ends at.
    pub(crate) const OPEN_TIME_MAX: Duration = Duration::from_secs(60);
    /// After so long without opening, the next time is a first time again.
    pub(crate) const FORGET_AFTER: Duration = Duration::from_secs(300);
    /// Probes under way at once.
    pub(crate) const PROBES_AT_ONCE: u32 = 3;
    /// Good probes that close a breaker.
    pub(crate) const PROBES_TO_CLOSE: u32 = 2;
    /// A probe that is not back by then has failed.
    pub(crate) const PROBE_TIMEOUT: Duration = Duration::from_secs(5);
    /// From the share below to the whole, after closing.
    pub(crate) const RAMP: Duration = Duration::from_secs(10);
    /// Where the ramp begins, in percent.
    pub(crate) const RAMP_FROM_PERCENT: u32 = 10;
    /// The share of a SET's creates that may be tried once more elsewhere, in percent, when it goes on like that.
    pub(crate) const BUDGET_PERCENT: u32 = 20;
    /// How many days a request key is looked for, today included.
    pub(crate) const REQUEST_KEY_DAYS: u32 = 2;
}

/// How many replicas hold an order (N), how many a read asks (R), how many must have synced a write (W).
///
/// With R + W > N strong reads see every acknowledged write. Printed and parsed as `N,R,W`.
///
/// ```
/// use ordermint::Quorum;
/// let quorum = Quorum::new(3, 2, 2)?;
/// assert_eq!(quorum, Quorum::majority(3)?);
/// assert_eq!("3,2,2".parse::<Quorum>()?, quorum);
/// assert!(Quorum::new(3, 2, 4).is_err());
/// # Ok::<(), ordermint::ConfigError>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Quorum {
    n: u8,
    r: u8,
    w: u8,
}

impl Quorum {
    /// The largest N: 9.
    pub const N_MAX: u8 = 9;

    /// # Errors
    /// [`ConfigError::Quorum`] unless 1 <= R <= N, 1 <= W <= N and N <= 9.
    pub const fn new(n: u8, r: u8, w: u8) -> Result<Quorum, ConfigError> {
        if n == 0 || n > Self::N_MAX || r == 0 || r > n || w == 0 || w > n {
            return Err(ConfigError::Quorum { n: n as u64, r: r as u64, w: w as u64 });
        }
        Ok(Quorum { n, r, w })
    }

    /// R and W the smallest majority of `n`.
    ///
    /// # Errors
    /// [`ConfigError::Quorum`] unless 1 <= N <= 9.
    pub const fn majority(n: u8) -> Result<Quorum, ConfigError> {
        Quorum::new(n, n / 2 + 1, n / 2 + 1)
    }

    /// Replicas of a SET.
    #[must_use]
    pub const fn n(self) -> u8 {
        self.n
    }

    /// Replicas that a read asks.
    #[must_use]
    pub const fn r(self) -> u8 {
        self.r
    }

    /// Replicas that must have synced a write before it is acknowledged.
    #[must_use]
    pub const fn w(self) -> u8 {
        self.w
    }

    /// Whether every read set meets every write set, R + W > N; without it no read is linearizable.
    #[must_use]
    pub const fn is_strict(self) -> bool {
        self.r + self.w > self.n
    }

    /// A majority of N.
    #[must_use]
    pub(crate) const fn majority_of_n(self) -> u8 {
        self.n / 2 + 1
    }

    /// Replicas on which an epoch must be claimed: every write set and every other claim must meet it.
    #[must_use]
    pub(crate) const fn claim(self) -> u8 {
        let meets_writes = self.n - self.w + 1;
        if meets_writes > self.majority_of_n() { meets_writes } else { self.majority_of_n() }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{},{},{}", self.n, self.r, self.w)
    }
}

impl FromStr for Quorum {
    type Err = ConfigError;

    fn from_str(text: &str) -> Result<Quorum, ConfigError> {
        let malformed = || ConfigError::QuorumText { given: text.chars().take(32).collect() };
        let parts: Vec<&str> = text.split(',').collect();
        let [n, r, w] = parts[..] else { return Err(malformed()) };
        let number = |part: &str| match part.bytes().all(|b| b.is_ascii_digit()) {
            true => part.parse::<u64>().map_err(|_| malformed()),
            false => Err(malformed()),
        };
        let (n, r, w) = (number(n)?, number(r)?, number(w)?);
        let small = |value: u64| u8::try_from(value).map_err(|_| ConfigError::Quorum { n, r, w });
        Quorum::new(small(n)?, small(r)?, small(w)?)
    }
}

/// What a replica is opened with.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct OpenReplica {
    /// The SET.
    pub set: SetId,
    /// The place in the SET, from 0.
    pub index: u8,
    /// The directory, below the store's home where it was given as a relative path; `None` for replicas without one.
    pub dir: Option<PathBuf>,
    /// Whether to make the replica where there is none.
    pub create: bool,
    /// sled's page cache for each open day, in bytes.
    pub cache_bytes: u64,
}

impl OpenReplica {
    /// The replica of `set` at `index` in `dir`, which must be there; the default cache.
    #[must_use]
    pub fn new(set: SetId, index: u8, dir: impl Into<PathBuf>) -> OpenReplica {
        OpenReplica { set, index, dir: Some(dir.into()), create: false, cache_bytes: defaults::CACHE_BYTES }
    }
}

/// Opens a replica.
pub(crate) type OpenFn = Arc<dyn Fn(&OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> + Send + Sync>;

/// One SET: its id, its weight, its zone and where its replicas are.
#[derive(Clone)]
pub struct SetConfig {
    pub(crate) id: SetId,
    pub(crate) weight: u32,
    /// Looked at when the store is opened, as all else.
    pub(crate) zone: Result<Option<Zone>, ConfigError>,
    pub(crate) replicas: Vec<ReplicaConfig>,
}

#[derive(Clone)]
pub(crate) struct ReplicaConfig {
    pub(crate) dir: Option<PathBuf>,
    pub(crate) open: OpenFn,
}

impl fmt::Debug for ReplicaConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ReplicaConfig").field("dir", &self.dir).finish_non_exhaustive()
    }
}

impl fmt::Debug for SetConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SetConfig").field("id", &self.id).field("replicas", &self.replicas).finish_non_exhaustive()
    }
}

impl SetConfig {
    /// A SET without replicas yet; it needs N of them.
    #[must_use]
    pub fn new(id: SetId) -> SetConfig {
        SetConfig { id, weight: 1, zone: Ok(None), replicas: Vec::new() }
    }

    /// Adds replicas on sled, one for each directory. Relative paths are taken from the store's home.
    #[must_use]
    pub fn replicas<P: Into<PathBuf>>(mut self, dirs: impl IntoIterator<Item = P>) -> SetConfig {
        for dir in dirs {
            let open: OpenFn = Arc::new(crate::replica::open_sled);
            self.replicas.push(ReplicaConfig { dir: Some(dir.into()), open });
        }
        self
    }

    /// Adds a replica of your own. `open` is called at every open of the store, and when the replica is brought back,
    /// on a thread of its own.
    #[must_use]
    pub fn replica_with<F>(mut self, open: F) -> SetConfig
    where
        F: Fn(&OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> + Send + Sync + 'static,
    {
        self.replicas.push(ReplicaConfig { dir: None, open: Arc::new(open) });
        self
    }

    /// Adds `n` replicas in memory: for tests; they end with the store, or when they are taken out: then they cannot be brought back.
    #[must_use]
    pub fn in_memory(mut self, n: usize) -> SetConfig {
        for _ in 0..n {
            let open: OpenFn = Arc::new(crate::replica::open_memory);
            self.replicas.push(ReplicaConfig { dir: None, open });
        }
        self
    }

    /// The SET's share of new orders beside the others'. Default 1, from 1 to 1,000.
    #[must_use]
    pub fn weight(mut self, weight: u32) -> SetConfig {
        self.weight = weight;
        self
    }

    /// Where its replicas are, as a [`Zone`] is written: `city/campus` or a city alone. Default: not said. New orders go to near SETs first, where
    /// [`Builder::local_zone`](crate::Builder::local_zone) says what is near.
    #[must_use]
    pub fn zone(mut self, zone: impl AsRef<str>) -> SetConfig {
        self.zone = zone.as_ref().parse().map(Some);
        self
    }
}

/// # Errors
/// [`ConfigError::OutOfRange`] for what is no weight.
pub(crate) fn check_weight(weight: u32) -> Result<(), ConfigError> {
    if (1..=1_000).contains(&weight) {
        return Ok(());
    }
    Err(ConfigError::OutOfRange { name: "weight", given: weight.into(), min: 1, max: 1_000 })
}

/// A setting that makes no sense.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// N, R and W do not fit together.
    #[error("a quorum needs 1 <= R <= N, 1 <= W <= N and N <= 9, got N={n} R={r} W={w}")]
    Quorum {
        /// N as given.
        n: u64,
        /// R as given.
        r: u64,
        /// W as given.
        w: u64,
    },
    /// Not of the form `N,R,W`.
    #[error("a quorum is written N,R,W, got {given:?}")]
    QuorumText {
        /// What was given, at most 32 characters of it.
        given: String,
    },
    /// No SET id.
    #[error(transparent)]
    SetId(#[from] InvalidSetId),
    /// No day.
    #[error(transparent)]
    Day(#[from] InvalidDay),
    /// No zone.
    #[error("a zone is city/campus or a city, 1 to {max} bytes of printable ASCII, got {given:?}", max = Zone::BYTES_MAX)]
    Zone {
        /// What was given, at most 65 characters of it.
        given: String,
    },
    /// A store needs at least one SET, or a home in which one is found.
    #[error("a store needs at least one SET")]
    NoSets,
    /// One SET was added twice.
    #[error("SET {set} was added twice")]
    DuplicateSet {
        /// The SET.
        set: SetId,
    },
    /// One directory was given to two replicas, or to one and the inside of it to another.
    #[error("{dir} was given to two replicas", dir = dir.display())]
    DuplicateDirectory {
        /// The directory.
        dir: PathBuf,
    },
    /// A SET has not N replicas.
    #[error("SET {set} has {given} replicas, the quorum asks for {n}")]
    ReplicaCount {
        /// The SET.
        set: SetId,
        /// How many were given.
        given: usize,
        /// N.
        n: u8,
    },
    /// The SETs with the names of their zones are more than a replica can keep. 1,000 SETs without zones fit, and about 370 with
    /// names of 14 characters; retired ones count.
    #[error("the SETs and the names of their zones take {bytes} bytes, at most {max} can be kept")]
    MapTooLong {
        /// What they take.
        bytes: usize,
        /// The most.
        max: usize,
    },
    /// The retention floor must stay below every day on which a SET mints.
    #[error("the floor {given} is not below {minting_on}, on which SET {set} mints")]
    FloorTooHigh {
        /// The SET.
        set: SetId,
        /// The floor asked for.
        given: crate::order::Day,
        /// The day in use; 2000-01-01 where the SET mints nothing.
        minting_on: crate::order::Day,
    },
    /// A number is outside its range.
    #[error("{name} must be from {min} to {max}, got {given}")]
    OutOfRange {
        /// The setting.
        name: &'static str,
        /// What was given.
        given: u64,
        /// The least allowed.
        min: u64,
        /// The most allowed.
        max: u64,
    },
}

/// All settings of a store, checked.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Settings {
    pub(crate) deadline: Duration,
    pub(crate) attempt_timeout: Duration,
    pub(crate) attempts: u32,
    pub(crate) breaker: BreakerSettings,
    pub(crate) value_bytes_max: usize,
    pub(crate) in_flight_max: usize,
    pub(crate) in_flight_bytes_max: usize,
    pub(crate) open_timeout: Duration,
    pub(crate) close_timeout: Duration,
    pub(crate) cache_bytes: u64,
    pub(crate) recent_bytes: usize,
    pub(crate) modify_threads: usize,
    pub(crate) ramp: Duration,
    pub(crate) request_key_days: u32,
    pub(crate) utc_offset_minutes: i32,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            deadline: defaults::DEADLINE,
            attempt_timeout: defaults::ATTEMPT_TIMEOUT,
            attempts: defaults::ATTEMPTS,
            breaker: BreakerSettings::new(),
            value_bytes_max: defaults::VALUE_BYTES_MAX,
            in_flight_max: defaults::IN_FLIGHT_MAX,
            in_flight_bytes_max: defaults::IN_FLIGHT_BYTES_MAX,
            open_timeout: defaults::OPEN_TIMEOUT,
            close_timeout: defaults::CLOSE_TIMEOUT,
            cache_bytes: defaults::CACHE_BYTES,
            recent_bytes: defaults::RECENT_BYTES,
            modify_threads: defaults::MODIFY_THREADS,
            ramp: defaults::JOIN_RAMP,
            request_key_days: defaults::REQUEST_KEY_DAYS,
            utc_offset_minutes: 0,
        }
    }
}

impl Settings {
    /// # Errors
    /// [`ConfigError::OutOfRange`] for the first setting outside its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let hour_ms = 3_600_000;
        let value_max = defaults::VALUE_BYTES_MAX as u64;
        // 2^40 stands for "no limit but memory" and keeps sums far from overflow.
        let table = [
            ("deadline in ms", ms(self.deadline), 1, hour_ms),
            ("attempt_timeout in ms", ms(self.attempt_timeout), 1, hour_ms),
            ("attempts", self.attempts.into(), 1, 3),
            ("value_bytes_max", self.value_bytes_max as u64, 1, value_max),
            ("max_in_flight operations", self.in_flight_max as u64, 1, 1 << 24),
            ("max_in_flight bytes", self.in_flight_bytes_max as u64, 16 << 10, 1 << 40),
            ("open_timeout in ms", ms(self.open_timeout), 1, hour_ms),
            ("close_timeout in ms", ms(self.close_timeout), 1, hour_ms),
            ("cache_bytes", self.cache_bytes, 1 << 20, 1 << 40),
            ("recent_bytes", self.recent_bytes as u64, 0, 1 << 36),
            ("ramp in ms", ms(self.ramp), 0, 24 * hour_ms),
            ("modify_threads", self.modify_threads as u64, 1, 64),
            ("request_key_days", self.request_key_days.into(), 2, 31),
            ("utc_offset_minutes (its absolute value)", u64::from(self.utc_offset_minutes.unsigned_abs()), 0, 1_439),
        ];
        for (name, given, min, max) in table {
            if given < min || given > max {
                return Err(ConfigError::OutOfRange { name, given, min, max });
            }
        }
        self.breaker.check()
    }
}
