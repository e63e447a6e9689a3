//! Minting alone: numbers of one SET, without a store behind them.
//!
//! Two threads stand behind a [`Minter`]. The *keeper* asks the [`LeaseBook`] what to do at each event and does it; it never blocks, so
//! that midnight, a jump of the clock and the operator's word are acted upon whatever the lease store does. The *fetcher* owns the
//! lease store, whose calls may block, fail, hang or panic. Callers take numbers from the [`MintCore`] and wait at the *desk* when
//! there are none.

use super::lease::{LeaseAction, LeaseBook, LeaseEvent, MintState};
use super::mint::MintCore;
use super::{Block, Day, LeaseStore, OrderNumber, SetId};
use crate::time::{Clock, Now};
use parking_lot::{Condvar, Mutex};
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

/// How long a caller waits for a block.
const PATIENCE: Duration = Duration::from_secs(5);
/// The keeper looks at the clock at least this often.
const POLL: Duration = Duration::from_millis(50);
/// How long `drop` waits for a lease under way.
const FAREWELL: Duration = Duration::from_secs(2);

/// Mints the numbers of one SET from leased blocks; the lease is durable before its first number is out.
///
/// [`mint`](Minter::mint) may be called from any number of threads. It costs an atomic add: blocks are fetched ahead by a thread of
/// the minter's own, and the day changes at midnight by that thread's clock. So a number may carry the day before for as long as that
/// thread takes to wake up after midnight; after a jump of the wall clock, or a sleep of the machine, that is up to 50 ms more.
///
/// A process that ends, in whatever way, loses at most one lease: about one second of traffic, from 1,000 to 1,000,000 sequences.
/// Within a process numbers are taken in order, and days only go up: when the clock is put back, over midnight or by days, the later
/// day stays. Over processes the order is that of the clock.
///
/// Dropping it ends its threads and drops the lease store. It waits up to two seconds for a lease under way; a lease store that
/// hangs longer is left behind with its thread.
///
/// # Examples
/// A lease store in one file, with one process at a time and one SET. Each lease is an entry of its own, so that a torn write, which
/// was never answered, takes nothing else with it.
/// ```
/// use ordermint::{Block, Day, LeaseError, LeaseStore, Minter, SetId, SystemClock};
/// use std::fs::{File, OpenOptions};
/// use std::io::Write;
///
/// struct Leases {
///     file: File,
///     marks: std::collections::BTreeMap<Day, u64>,
/// }
///
/// impl Leases {
///     fn open(path: &std::path::Path) -> std::io::Result<Leases> {
///         let mut marks = std::collections::BTreeMap::new();
///         // A line is `2026-11-22 1000;`, and counts from its semicolon on.
///         let text = std::fs::read_to_string(path).unwrap_or_default();
///         for line in text.lines().filter_map(|line| line.strip_suffix(';')) {
///             let (day, mark) = line.split_once(' ').ok_or(std::io::ErrorKind::InvalidData)?;
///             let day = day.parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
///             marks.insert(day, mark.parse().map_err(|_| std::io::ErrorKind::InvalidData)?);
///         }
///         let mut file = OpenOptions::new().create(true).append(true).open(path)?;
///         file.write_all(b"\n")?; // Ends a line that was torn.
///         Ok(Leases { file, marks })
///     }
/// }
///
/// impl LeaseStore for Leases {
///     fn lease(&mut self, _set: SetId, day: Day, count: u64) -> Result<Block, LeaseError> {
///         let first = self.marks.get(&day).copied().unwrap_or(0);
///         let end = first + count;
///         self.marks.insert(day, end); // Before the outcome is known: what may have been leased is never leased again.
///         writeln!(self.file, "{day} {end};")
///             .and_then(|()| self.file.sync_data())
///             .map_err(|error| LeaseError { reason: error.to_string() })?;
///         Ok(Block { day, first, end })
///     }
///
///     fn newest_day(&mut self, _set: SetId) -> Result<Option<Day>, LeaseError> {
///         Ok(self.marks.keys().next_back().copied())
///     }
/// }
///
/// # let dir = tempfile::tempdir()?;
/// # let path = dir.path().join("leases");
/// let set = SetId::new(7)?;
/// let minter = Minter::new(set, Leases::open(&path)?, SystemClock)?;
/// let (first, second) = (minter.mint()?, minter.mint()?);
/// assert!(first < second && first.set_id() == set);
///
/// drop(minter); // A new process, say.
/// let minter = Minter::new(set, Leases::open(&path)?, SystemClock)?;
/// assert!(minter.mint()? > second);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Minter {
    shared: Arc<Shared>,
    keeper: Sender<Message>,
}

/// Why no number was minted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The clock and the record of days are more than a day apart. Nothing is minted until the clock comes back, or the caller says
    /// that it is right: [`Minter::accept_clock`].
    #[error("the clock shows {clock}, the newest day on record is {known}: more than a day apart")]
    ClockJump {
        /// The newest day on record.
        known: Day,
        /// The day by the clock.
        clock: Day,
    },
    /// All 10^10 sequences of the day are used. Wait for tomorrow, or use another SET.
    #[error("SET {set} has no number left on {day}")]
    DayFull {
        /// The SET.
        set: SetId,
        /// The day.
        day: Day,
    },
    /// The clock shows no day between 2000-01-01 and 3023-12-31. Minting goes on when it does.
    #[error("the clock is outside 2000-01-01 to 3023-12-31: {wall_ms} ms since 1970")]
    ClockOutOfRange {
        /// What it shows.
        wall_ms: i64,
    },
    /// No block could be leased in time. A later call may succeed.
    #[error("SET {set} got no block of sequences in time: {reason}")]
    NoLease {
        /// The SET.
        set: SetId,
        /// The last failure.
        reason: String,
    },
    /// An offset of midnight of a day or more.
    #[error("midnight is at most 1,439 minutes from that of UTC, got {minutes}")]
    UtcOffset {
        /// What was given.
        minutes: i32,
    },
}

impl Minter {
    /// Leases a first block and starts the threads that fetch the next ones. Midnight is that of UTC.
    ///
    /// A clock that is not believed and a full day are no errors here, but of [`mint`](Minter::mint): they may pass, and
    /// [`accept_clock`](Minter::accept_clock) needs somebody to be said to.
    ///
    /// # Errors
    /// [`MintError::NoLease`] when the lease store did not say what is on record, or leased nothing, within five seconds.
    pub fn new(set: SetId, leases: impl LeaseStore, clock: impl Clock) -> Result<Minter, MintError> {
        Minter::with_utc_offset(set, leases, clock, 0)
    }

    /// As [`Minter::new`], with midnight `minutes` east of UTC, from -1,439 to 1,439: 480 in Shenzhen. A fixed offset, all the year.
    ///
    /// # Errors
    /// As [`Minter::new`], and [`MintError::UtcOffset`] for an offset of a day or more.
    pub fn with_utc_offset(set: SetId, leases: impl LeaseStore, clock: impl Clock, minutes: i32) -> Result<Minter, MintError> {
        if !(-1_439..=1_439).contains(&minutes) {
            return Err(MintError::UtcOffset { minutes });
        }
        let (keeper, inbox) = channel();
        let alarm = keeper.clone();
        let shared = Arc::new(Shared {
            // A keeper that has ended fetches nothing more, and says so at the desk.
            core: MintCore::with_alarm(set, move || drop(alarm.send(Message::Look))),
            desk: Mutex::new(Desk::default()),
            changed: Condvar::new(),
        });
        let (asks, asked) = channel();
        let answers = keeper.clone();
        let minter = Minter { shared: Arc::clone(&shared), keeper };
        start("mint-fetch", &shared, move |_| fetch(set, leases, &asked, &answers))?;
        start("mint-keep", &shared, move |shared| {
            let _stopped = Keeper { shared, clock, asks, paused: false }.run(minutes, &inbox);
        })?;
        match minter.wait_until(|core| (core.left() > 0).then_some(())) {
            Ok(()) | Err(MintError::ClockJump { .. } | MintError::DayFull { .. } | MintError::ClockOutOfRange { .. }) => {
                Ok(minter)
            }
            Err(error) => Err(error),
        }
    }

    /// The next number. Waits, for at most five seconds, only while no block is leased.
    ///
    /// # Errors
    /// See [`MintError`]. No number was used.
    #[inline]
    pub fn mint(&self) -> Result<OrderNumber, MintError> {
        match self.shared.core.try_mint(i64::MIN) {
            Some(number) => Ok(number),
            None => self.mint_later(),
        }
    }

    /// Says that the clock is right, which ends a [`MintError::ClockJump`]; numbers carry the clock's day from now on. Without such a jump
    /// it changes nothing. Once this has returned, `mint` knows.
    ///
    /// When the minter was opened with a day on record far ahead of the clock, that later day's sequences stay where they are, and are
    /// continued when that day comes.
    pub fn accept_clock(&self) {
        let mut desk = self.shared.desk.lock();
        let before = desk.clocks_accepted;
        if self.keeper.send(Message::AcceptClock).is_err() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        while desk.clocks_accepted == before && desk.threads == 2 {
            // The keeper never blocks; the bound is for a clock of the caller's that does.
            if self.shared.changed.wait_until(&mut desk, until).timed_out() {
                return;
            }
        }
    }

    #[cold]
    #[inline(never)]
    fn mint_later(&self) -> Result<OrderNumber, MintError> {
        self.wait_until(|core| core.try_mint(i64::MIN))
    }

    /// Waits at the desk until `done`, a trouble, or the end of patience.
    fn wait_until<T>(&self, done: impl Fn(&MintCore) -> Option<T>) -> Result<T, MintError> {
        let shared = &*self.shared;
        let until = Instant::now() + PATIENCE;
        let mut desk = shared.desk.lock();
        let mut told = None;
        loop {
            // Under the lock: a block installed from here on is announced after this thread waits.
            if let Some(value) = done(&shared.core) {
                return Ok(value);
            }
            if let Some(trouble) = &desk.trouble {
                return Err(trouble.clone());
            }
            if Instant::now() >= until {
                let reason = desk.last_failure.clone().unwrap_or_else(|| "the lease store has not answered".into());
                return Err(MintError::NoLease { set: shared.core.set(), reason });
            }
            // The keeper may not know yet that nothing is left. Once per block: more would keep it and the callers waking each other.
            if told != Some(desk.installs) {
                told = Some(desk.installs);
                drop(self.keeper.send(Message::Look));
            }
            shared.changed.wait_until(&mut desk, until);
        }
    }
}

impl Drop for Minter {
    fn drop(&mut self) {
        // When the keeper has ended already, there is nobody to be told.
        drop(self.keeper.send(Message::Stop));
        let until = Instant::now() + FAREWELL;
        let mut desk = self.shared.desk.lock();
        while desk.threads > 0 {
            if self.shared.changed.wait_until(&mut desk, until).timed_out() {
                return;
            }
        }
    }
}

/// What the callers and the two threads share.
#[derive(Debug)]
struct Shared {
    core: MintCore,
    desk: Mutex<Desk>,
    /// Something at the desk, or the installed block, changed.
    changed: Condvar,
}

/// Where callers wait, and are told why.
#[derive(Default, Debug)]
struct Desk {
    /// Why waiting is of no use.
    trouble: Option<MintError>,
    /// Of the lease store, since it last succeeded.
    last_failure: Option<String>,
    /// Blocks installed.
    installs: u64,
    /// How often the keeper passed on the operator's word.
    clocks_accepted: u64,
    /// Threads still running.
    threads: u8,
}

/// To the keeper.
enum Message {
    /// Half of a block is used, or nothing is left, or both may be.
    Look,
    /// The fetcher has opened its lease store: the newest day on record.
    Opened(Result<Option<Day>, String>),
    /// The fetcher's answer, one to each ask.
    Answer(Day, Result<Block, String>),
    AcceptClock,
    Stop,
}

/// To the fetcher.
struct Ask {
    day: Day,
    count: u64,
}

/// Runs `body` on a thread of its own. However it ends, the desk is told.
fn start(name: &str, shared: &Arc<Shared>, body: impl FnOnce(Arc<Shared>) + Send + 'static) -> Result<(), MintError> {
    struct Leaving(Arc<Shared>);
    impl Drop for Leaving {
        fn drop(&mut self) {
            let mut desk = self.0.desk.lock();
            desk.threads -= 1;
            // The end of either is the end of minting: stale days and blocks that never come would follow.
            let reason = desk.last_failure.clone().unwrap_or_else(|| "a thread of the minter has ended".into());
            desk.trouble.get_or_insert(MintError::NoLease { set: self.0.core.set(), reason });
            self.0.changed.notify_all();
        }
    }
    let set = shared.core.set();
    shared.desk.lock().threads += 1;
    let leaving = Leaving(Arc::clone(shared));
    let shared = Arc::clone(shared);
    let run = move || {
        let _leaving = leaving;
        body(shared);
    };
    // Where it cannot be started `run` is dropped, and with it what counts the thread.
    let started = std::thread::Builder::new().name(name.into()).spawn(run);
    started.map(drop).map_err(|error| MintError::NoLease { set, reason: format!("no thread could be started: {error}") })
}

/// The fetcher: asks the lease store, one call at a time, until the keeper has gone.
fn fetch(set: SetId, mut leases: impl LeaseStore, asked: &Receiver<Ask>, keeper: &Sender<Message>) {
    // A lease store that panicked is asked again later, as one that failed: its blocks are checked against those before.
    let newest = guarded(|| leases.newest_day(set));
    drop(keeper.send(Message::Opened(newest)));
    for Ask { day, count } in asked {
        let leased = guarded(|| leases.lease(set, day, count)).and_then(|block| match block.day == day {
            true => Ok(block),
            false => Err(format!("asked for {day}, the lease store leased for {}", block.day)),
        });
        drop(keeper.send(Message::Answer(day, leased)));
    }
}

fn guarded<T>(call: impl FnOnce() -> Result<T, super::LeaseError>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(error.reason),
        Err(panic) => Err(format!("the lease store panicked: {}", panic_text(&*panic))),
    }
}

fn panic_text(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no reason given")
}

struct Keeper<C> {
    shared: Arc<Shared>,
    clock: C,
    asks: Sender<Ask>,
    paused: bool,
}

/// However the keeper ends, no number is minted on a day that nobody watches.
impl<C> Drop for Keeper<C> {
    fn drop(&mut self) {
        self.shared.core.pause();
    }
}

impl<C: Clock> Keeper<C> {
    /// Ends with `None`, when the minter is dropped or there is nothing more to keep.
    fn run(mut self, offset_minutes: i32, inbox: &Receiver<Message>) -> Option<()> {
        let mut book = self.open(offset_minutes, inbox)?;
        let mut event = None;
        loop {
            let now = Now::read(&self.clock);
            let accepted = event == Some(LeaseEvent::ClockAccepted);
            if let Some(event) = event.take() {
                self.carry_out(book.step(event, now), &book)?;
            }
            // Callers took numbers meanwhile, whatever else happened.
            self.carry_out(book.step(LeaseEvent::Tick { left: self.shared.core.left() }, now), &book)?;
            self.tell(&book, accepted);
            let rest = Duration::from_millis(book.next_tick_ms(now).saturating_sub(now.boot_ms)).min(POLL);
            event = match inbox.recv_timeout(rest) {
                Ok(Message::Answer(_, Ok(block))) => {
                    self.shared.desk.lock().last_failure = None;
                    Some(LeaseEvent::Granted(block))
                }
                Ok(Message::Answer(day, Err(reason))) => {
                    self.shared.desk.lock().last_failure = Some(reason);
                    Some(LeaseEvent::FetchFailed { day })
                }
                Ok(Message::AcceptClock) => Some(LeaseEvent::ClockAccepted),
                Ok(Message::Look | Message::Opened(_)) | Err(RecvTimeoutError::Timeout) => None,
                Ok(Message::Stop) | Err(RecvTimeoutError::Disconnected) => return None,
            };
        }
    }

    /// Waits for what is on record. `None` when the minter is dropped before, or the record cannot be read.
    fn open(&self, offset_minutes: i32, inbox: &Receiver<Message>) -> Option<LeaseBook> {
        loop {
            match inbox.recv().ok()? {
                Message::Opened(Ok(newest)) => {
                    // The lease store keeps the marks; of the newest day the book needs only that there is one.
                    let marks: Vec<(Day, u64)> = newest.into_iter().map(|day| (day, 0)).collect();
                    return Some(LeaseBook::new(self.shared.core.set(), offset_minutes, &marks, None, Now::read(&self.clock)));
                }
                Message::Opened(Err(reason)) => {
                    self.shared.desk.lock().last_failure = Some(reason);
                    return None;
                }
                Message::Stop => return None,
                Message::Look | Message::Answer(..) | Message::AcceptClock => {}
            }
        }
    }

    /// `None` when the fetcher has ended.
    fn carry_out(&mut self, actions: Vec<LeaseAction>, book: &LeaseBook) -> Option<()> {
        for action in actions {
            match action {
                LeaseAction::Fetch { block } => self.asks.send(Ask { day: block.day, count: block.end - block.first }).ok()?,
                LeaseAction::Install(block) => {
                    self.shared.core.install(block, book.midnight_ms());
                    self.paused = false;
                    self.shared.desk.lock().installs += 1;
                    self.shared.changed.notify_all();
                }
            }
        }
        Some(())
    }

    /// Brings core and desk in line with the book.
    fn tell(&mut self, book: &LeaseBook, accepted: bool) {
        let set = self.shared.core.set();
        let trouble = match book.state() {
            MintState::Ready => None,
            MintState::ClockJump { known, clock } => Some(MintError::ClockJump { known, clock }),
            MintState::DayFull { day } => Some(MintError::DayFull { set, day }),
            MintState::ClockOutOfRange { wall_ms } => Some(MintError::ClockOutOfRange { wall_ms }),
            // A minter by itself gives up no days.
            MintState::BelowFloor { .. } => None,
        };
        let mut desk = self.shared.desk.lock();
        // Under the lock, so that nobody finds the core paused and the reason not there yet.
        let resumes = self.paused && book.can_mint();
        if resumes {
            self.shared.core.resume();
        } else if !self.paused && !book.can_mint() {
            self.shared.core.pause();
        }
        self.paused = !book.can_mint();
        desk.clocks_accepted += u64::from(accepted);
        if resumes || accepted || desk.trouble != trouble {
            desk.trouble = trouble;
            self.shared.changed.notify_all();
        }
    }
}
