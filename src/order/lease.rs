//! How the sequence of a (SET, day) is leased in blocks: the rules, as a value with time as an argument.
//!
//! **What makes numbers unique.** Each (SET, day) has a counter of its own, the *mark*: one past the last sequence ever leased. A
//! block is leased by making a higher mark durable, and its numbers are used only afterwards. Who starts again begins at the mark. The
//! clock chooses which counter is counted on, and no more: set to any day, right or wrong, it cannot make two numbers equal.
//!
//! **How far ahead.** A *lease* is what is leased and not used yet: about one second of traffic, from 1,000 to 1,000,000. When half
//! of it is used it is filled up again, to twice as much at the most. So a crash loses at most one lease, and the refill has half a
//! second before anybody waits for it. Tomorrow's first block is fetched in the last minutes before midnight, and not earlier: no day
//! on record is ever more than one ahead of a right clock.
//!
//! **What failed is not used.** A fetch that failed, or of which nobody knows, may be durable somewhere. The next one starts above it.
//!
//! **Which day.** Midnight is at a fixed offset from UTC. While running, the day only goes up: when the clock goes back, over midnight
//! or by days, the later day stays, and nothing is leased for the earlier one. When the clock goes ahead by more than a day and the
//! boot-time clock does not bear that out, nothing is minted ([`MintState::ClockJump`]) until the clock comes back or the operator
//! accepts it. At open, a clock ahead of the newest day on record is natural: the service was off. A day on record more than one ahead
//! of the clock is a `ClockJump` too; once accepted, the clock's own day is used, above that day's own mark, because acceptance means
//! that the clock is right and the record is what a wrong clock left behind. A day on record that is one ahead stays in use, except
//! in the last minutes before midnight, when it is there because it was fetched ahead.

use super::{Day, OrderNumber, SetId};
use std::collections::BTreeMap;

pub(crate) use crate::time::Now;

#[cfg(test)]
mod model;
#[cfg(test)]
mod tests;

/// A block of sequences of one day: `first` to `end - 1` belong to who leased it, and to nobody else, ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Block {
    /// The day whose sequence this is.
    pub day: Day,
    /// The first sequence of the block.
    pub first: u64,
    /// One past the last; at most 10^10.
    pub end: u64,
}

/// Where a [`Minter`](super::Minter) leases its blocks. The store's own SETs lease by majority of their replicas.
///
/// The promise that no number is given out twice stands and falls with this: two leases of one (SET, day) must never overlap, not over
/// restarts, and not over power cuts.
pub trait LeaseStore: Send + 'static {
    /// Moves the durable mark of (`set`, `day`) up by `count` and returns the sequences passed over; a day without a mark begins at 0.
    /// The new mark must be durable before this returns; a mark never goes down. May block; called on one thread only.
    ///
    /// What lies above 10^10 is cut off by the caller; a block that begins there says that the day is full.
    ///
    /// # Errors
    /// Nothing was leased, or it is not known whether; what may have been leased is never handed out again. It is tried again after
    /// 100 ms, then after longer and longer, up to some seconds. A panic counts as an error.
    fn lease(&mut self, set: SetId, day: Day, count: u64) -> Result<Block, LeaseError>;

    /// The newest day with a mark, if there is one. Called once, before anything is leased.
    ///
    /// # Errors
    /// When the marks cannot be read.
    fn newest_day(&mut self, set: SetId) -> Result<Option<Day>, LeaseError>;
}

/// Why a [`LeaseStore`] gave no block.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no sequences could be leased: {reason}")]
pub struct LeaseError {
    /// In words.
    pub reason: String,
}

/// Sequences of a day: 0 to this, exclusive.
pub(crate) const SEQUENCES: u64 = OrderNumber::SEQUENCE_MAX + 1;
/// The smallest lease, and that of a SET of which nothing is known yet.
pub(crate) const LEASE_MIN: u64 = 1_000;
/// The largest lease: what a crash may cost, of the 10^10 that a day has.
pub(crate) const LEASE_MAX: u64 = 1_000_000;
/// How long before midnight tomorrow's first block is fetched.
pub(crate) const AHEAD_MS: i64 = 5 * 60_000;
/// In how much of the end of a day a record of tomorrow is taken for fetched ahead; more than [`AHEAD_MS`], for clocks set back a little.
const AHEAD_SEEN_MS: i64 = 2 * AHEAD_MS;
/// The pause after a failed fetch, doubled with each failure in a row ...
const BACKOFF_MS: u64 = 100;
/// ... up to 3.2 s, so that who waits for five seconds sees at least one more try.
const BACKOFF_DOUBLINGS_MAX: u32 = 5;
/// How often the clock is looked at while it is the reason why nothing is minted.
const TROUBLE_POLL_MS: u64 = 50;
const DAY_MS: i64 = 86_400_000;

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LeaseEvent {
    /// Time passed, or numbers were used; `left` sequences are still in the installed block.
    Tick { left: u64 },
    /// A fetch asked for before is durable, exactly as asked. Any other block is late news of a fetch that was given up, and is dropped.
    Fetched(Block),
    /// A [`LeaseStore`], which keeps the marks itself and is asked for one block at a time, leased this block.
    Granted(Block),
    /// A fetch asked for before failed, or nobody knows; its sequences are never used.
    FetchFailed { day: Day },
    /// Replicas came back: a fetch that failed without them may be tried again at once.
    ReplicasBack,
    /// The operator says that the clock is right.
    ClockAccepted,
}

/// What to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum LeaseAction {
    /// Make the mark `block.end` durable for `block.day` on a majority; then report `Fetched(block)`, or `FetchFailed`, surely one of them.
    Fetch { block: Block },
    /// Mint from this block from now on, until [`LeaseBook::midnight_ms`]. It continues the one before, or the one before is used up
    /// or of an earlier day.
    Install(Block),
}

/// Whether numbers can be minted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum MintState {
    /// They can, or will as soon as a fetch under way returns.
    Ready,
    /// The clock jumped ahead by more than a day, or the newest day on record lies far ahead of the clock.
    ClockJump { known: Day, clock: Day },
    /// All 10^10 sequences of the day are leased, and all that could be used are used.
    DayFull { day: Day },
    /// The clock shows a day outside 2000-01-01 to 3023-12-31.
    ClockOutOfRange { wall_ms: i64 },
    /// The clock shows a day at or below the retention floor.
    BelowFloor { floor: Day, clock: Day },
}

/// The rules of leasing for one SET: which day to mint on, when to fetch how much. Pure.
///
/// What always holds: the day never goes down; per day at most one fetch is in flight, and each begins where the one before ended or
/// above; what is installed was reported durable, begins at or above every mark known at open, and overlaps nothing installed before.
#[derive(Debug)]
pub(crate) struct LeaseBook {
    set: SetId,
    offset_ms: i64,
    /// The newest day on record at open.
    newest: Option<Day>,
    /// The days from `day` on that have a mark: few, because those of the past are dropped.
    counters: BTreeMap<Day, Counter>,
    /// The day to mint on; `None` until the clock was believed for the first time.
    day: Option<Day>,
    /// Why nothing is minted: any state but `Ready` and `DayFull`.
    trouble: Option<MintState>,
    /// Days up to this one were given up: nothing is minted on them ever again.
    floor: Option<Day>,
    /// The largest [`Now::lead_ms`] that was believed. Not the last one: a clock that was put back and is put right again has not jumped.
    lead_ms: i64,
    installed: Option<Block>,
    /// Sequences left in what is installed, as far as was told; 0 while that is of another day.
    left: u64,
    /// Filled up again when so many are left.
    refill_at: u64,
    /// The lease: what to have in hand after a fetch.
    size: u64,
    /// When `size` was last looked at, and how many sequences have been in hand since.
    measured: Option<Measure>,
}

/// One day's sequence.
#[derive(Clone, Copy, Default, Debug)]
struct Counter {
    /// Nothing below is ever asked for: it is leased, or a failed fetch may have leased it.
    mark: u64,
    /// One past the last sequence surely leased.
    leased: u64,
    in_flight: Option<Block>,
    /// Fetched, and to be installed once its day has come or the block before is used up.
    ready: Option<Block>,
    failures: u32,
    retry_at_ms: u64,
}

#[derive(Clone, Copy, Debug)]
struct Measure {
    since_ms: u64,
    in_hand: u64,
}

impl LeaseBook {
    /// `marks`: for each day on record, one past the last sequence ever leased. `floor`: nothing is minted on this day or before.
    /// `offset_minutes`: where midnight is, in minutes east of UTC.
    pub(crate) fn new(set: SetId, offset_minutes: i32, marks: &[(Day, u64)], floor: Option<Day>, now: Now) -> LeaseBook {
        let mut counters = BTreeMap::<Day, Counter>::new();
        for &(day, mark) in marks {
            let counter = counters.entry(day).or_default();
            counter.mark = counter.mark.max(mark);
            counter.leased = counter.mark;
        }
        let mut book = LeaseBook {
            set,
            offset_ms: i64::from(offset_minutes) * 60_000,
            newest: counters.keys().next_back().copied(),
            counters,
            day: None,
            trouble: None,
            floor,
            lead_ms: now.lead_ms(),
            installed: None,
            left: 0,
            refill_at: 0,
            size: LEASE_MIN,
            measured: None,
        };
        book.look_at_clock(now);
        book
    }

    /// What to do after `event`. The first call, with `Tick { left: 0 }`, asks for the first block.
    pub(crate) fn step(&mut self, event: LeaseEvent, now: Now) -> Vec<LeaseAction> {
        match event {
            LeaseEvent::Tick { left } if self.can_mint() => self.left = left,
            // What is left of another day's block is no concern of this day.
            LeaseEvent::Tick { .. } => {}
            LeaseEvent::Fetched(block) => {
                let asked = self.counters.get(&block.day).and_then(|counter| counter.in_flight);
                if asked == Some(block) {
                    self.leased(block, now);
                }
            }
            LeaseEvent::Granted(block) => self.leased(block, now),
            LeaseEvent::FetchFailed { day } => self.fetch_failed(day, now),
            LeaseEvent::ReplicasBack => self.counters.values_mut().for_each(|counter| counter.retry_at_ms = 0),
            LeaseEvent::ClockAccepted => self.accept_clock(now),
        }
        self.look_at_clock(now);
        let mut actions = Vec::new();
        if let (None, Some(day)) = (self.trouble, self.day) {
            actions.extend(self.install(day));
            actions.extend(self.fetch_today(day, now));
            actions.extend(self.fetch_tomorrow(day, now));
        }
        actions
    }

    /// Whether numbers can be minted, or why not.
    pub(crate) fn state(&self) -> MintState {
        if let Some(trouble) = self.trouble {
            return trouble;
        }
        let day = self.day.expect("a clock that is in no trouble has said which day it is");
        let counter = self.counters.get(&day).copied().unwrap_or_default();
        let nothing_comes = counter.mark >= SEQUENCES && counter.in_flight.is_none() && counter.ready.is_none();
        if nothing_comes && self.left == 0 { MintState::DayFull { day } } else { MintState::Ready }
    }

    /// Whether what is installed may be minted from: the clock is believed, and it is of today. When not, minting has to pause.
    pub(crate) fn can_mint(&self) -> bool {
        self.trouble.is_none() && self.installed.is_some_and(|block| Some(block.day) == self.day)
    }

    /// When `step` must be called with a `Tick` at the latest, on the boot-time clock. Besides, it is called whenever half of the
    /// installed block is used, whenever nothing is left, and when the wall clock was found past [`LeaseBook::midnight_ms`].
    pub(crate) fn next_tick_ms(&self, now: Now) -> u64 {
        let (None, Some(day)) = (self.trouble, self.day) else { return now.boot_ms.saturating_add(TROUBLE_POLL_MS) };
        let midnight_ms = self.midnight_of(day);
        let until = |wall_ms: i64| now.boot_ms.saturating_add(u64::try_from(wall_ms.saturating_sub(now.wall_ms)).unwrap_or(0));
        let fetching_ahead = now.wall_ms >= midnight_ms.saturating_sub(AHEAD_MS);
        let mut next_ms = until(if fetching_ahead { midnight_ms } else { midnight_ms.saturating_sub(AHEAD_MS) });
        for counter in self.counters.values() {
            // A pause that is over has been acted upon by the last step, if there was anything to do.
            if counter.retry_at_ms > now.boot_ms {
                next_ms = next_ms.min(counter.retry_at_ms);
            }
        }
        next_ms
    }

    /// The wall-clock time from which on the day is over; `i64::MIN` while no day is known.
    pub(crate) fn midnight_ms(&self) -> i64 {
        self.day.map_or(i64::MIN, |day| self.midnight_of(day))
    }

    fn midnight_of(&self, day: Day) -> i64 {
        (day.to_unix_days() + 1) * DAY_MS - self.offset_ms
    }

    fn day_at(&self, wall_ms: i64) -> Option<Day> {
        Day::from_unix_days(wall_ms.checked_add(self.offset_ms)?.div_euclid(DAY_MS))
    }

    /// Decides which day it is, or that the clock is not to be believed.
    fn look_at_clock(&mut self, now: Now) {
        let Some(clock) = self.day_at(now.wall_ms) else {
            self.trouble = Some(MintState::ClockOutOfRange { wall_ms: now.wall_ms });
            return;
        };
        let known = match self.day {
            Some(day) => {
                let jumped = now.lead_ms().saturating_sub(self.lead_ms) > DAY_MS;
                (clock > day && jumped).then_some(day)
            }
            None => self.newest.filter(|newest| newest.to_unix_days() > clock.to_unix_days() + 1),
        };
        if let Some(known) = known {
            self.trouble = Some(MintState::ClockJump { known, clock });
            return;
        }
        if let Some(floor) = self.below_floor(clock) {
            self.trouble = Some(MintState::BelowFloor { floor, clock });
            return;
        }
        let first_look = self.day.is_none();
        let fetched_ahead = now.wall_ms >= self.midnight_of(clock) - AHEAD_SEEN_MS;
        let at_least = if first_look { self.newest.filter(|_| !fetched_ahead) } else { self.day };
        self.believe(at_least.map_or(clock, |day| day.max(clock)), now);
        self.lead_ms = if first_look { now.lead_ms() } else { self.lead_ms.max(now.lead_ms()) };
    }

    /// The operator looked at the clock. Before the first day was chosen its day is taken as it is, whatever is on record; later the
    /// day does not go down for that either, because a process that counts on two days in turn would mint in no order at all.
    fn accept_clock(&mut self, now: Now) {
        let Some(clock) = self.day_at(now.wall_ms) else { return };
        // No operator can vouch for a day whose numbers may have been dropped.
        if self.below_floor(clock).is_some() {
            return;
        }
        self.believe(self.day.map_or(clock, |day| day.max(clock)), now);
        self.lead_ms = now.lead_ms();
    }

    /// The floor, when no day above it is in use and the clock shows none. A running SET stays on the later day.
    fn below_floor(&self, clock: Day) -> Option<Day> {
        self.floor.filter(|floor| self.day.is_none() && clock <= *floor)
    }

    fn believe(&mut self, day: Day, now: Now) {
        self.trouble = None;
        if self.day == Some(day) {
            return;
        }
        assert!(self.day.is_none_or(|before| before < day), "SET {}: the day of a running SET never goes down", self.set);
        // Before `left` is forgotten: what the last hours looked like is what the new day begins with.
        self.size = self.fitting_size(now);
        self.measured = None;
        self.day = Some(day);
        // Nothing is ever leased or installed for the past again.
        self.counters = self.counters.split_off(&day);
        self.left = 0;
    }

    fn leased(&mut self, block: Block, now: Now) {
        let Some(counter) = self.counters.get_mut(&block.day) else { return };
        if counter.in_flight.is_none() {
            return;
        }
        let block = Block { first: block.first.min(SEQUENCES), end: block.end.min(SEQUENCES), ..block };
        let full = block.first == SEQUENCES && block.end == SEQUENCES;
        // An empty block, one turned around, or one that was leased before: whoever keeps the marks broke the contract. Not used.
        if !full && (block.first >= block.end || block.first < counter.leased) {
            return self.fetch_failed(block.day, now);
        }
        *counter = Counter {
            mark: counter.mark.max(block.end),
            leased: block.end,
            in_flight: None,
            ready: (!full).then_some(block),
            failures: 0,
            retry_at_ms: 0,
        };
    }

    fn fetch_failed(&mut self, day: Day, now: Now) {
        let Some(counter) = self.counters.get_mut(&day) else { return };
        if counter.in_flight.take().is_some() {
            counter.retry_at_ms = now.boot_ms.saturating_add(BACKOFF_MS << counter.failures.min(BACKOFF_DOUBLINGS_MAX));
            counter.failures = counter.failures.saturating_add(1);
        }
    }

    fn install(&mut self, day: Day) -> Option<LeaseAction> {
        let counter = self.counters.get_mut(&day)?;
        let block = counter.ready?;
        let before = self.installed.filter(|before| before.day == day);
        let continues = before.is_some_and(|before| before.end == block.first);
        // A block above a gap would cut off what is left of the one before; it waits until nothing is left.
        if before.is_some() && !continues && self.left > 0 {
            return None;
        }
        assert!(
            self.installed.is_none_or(|before| before.day < day || before.day == day && before.end <= block.first),
            "SET {}: a block begins at or above the end of every block installed before",
            self.set
        );
        counter.ready = None;
        let length = block.end - block.first;
        self.left = if continues { self.left + length } else { length };
        self.refill_at = self.left / 2;
        if let Some(measure) = &mut self.measured {
            measure.in_hand += length;
        }
        self.installed = Some(block);
        Some(LeaseAction::Install(block))
    }

    fn fetch_today(&mut self, day: Day, now: Now) -> Option<LeaseAction> {
        if self.left > self.refill_at || !self.may_fetch(day, now) {
            return None;
        }
        let failures = self.counters.get(&day).map_or(0, |counter| counter.failures);
        if failures == 0 {
            self.size = self.fitting_size(now);
            self.measured = Some(Measure { since_ms: now.boot_ms, in_hand: self.left });
        }
        // Filling up, and not a whole lease on top of what is left: that is why a crash loses one lease and not one and a half.
        let size = patient_size(self.size, failures);
        Some(self.fetch(day, size.saturating_sub(self.left).max(size / 2)))
    }

    fn fetch_tomorrow(&mut self, day: Day, now: Now) -> Option<LeaseAction> {
        let midnight_ms = self.midnight_of(day);
        // Never true of a clock that was put back, while the later day stays.
        if now.wall_ms < midnight_ms - AHEAD_MS {
            return None;
        }
        let tomorrow = day.next()?;
        if !self.may_fetch(tomorrow, now) {
            return None;
        }
        let failures = self.counters.get(&tomorrow).map_or(0, |counter| counter.failures);
        Some(self.fetch(tomorrow, patient_size(self.fitting_size(now), failures)))
    }

    fn may_fetch(&self, day: Day, now: Now) -> bool {
        let counter = self.counters.get(&day).copied().unwrap_or_default();
        let idle = counter.in_flight.is_none() && counter.ready.is_none();
        idle && counter.mark < SEQUENCES && now.boot_ms >= counter.retry_at_ms
    }

    fn fetch(&mut self, day: Day, count: u64) -> LeaseAction {
        let counter = self.counters.entry(day).or_default();
        let block = Block { day, first: counter.mark, end: SEQUENCES.min(counter.mark + count) };
        assert!(block.first < block.end && counter.in_flight.is_none(), "one fetch at a time, and never an empty one");
        // From here on the block may be durable somewhere, whatever is heard of it.
        counter.mark = block.end;
        counter.in_flight = Some(block);
        LeaseAction::Fetch { block }
    }

    /// About one second of the traffic seen since the last look, and at most twice what it was.
    fn fitting_size(&self, now: Now) -> u64 {
        let Some(measure) = self.measured else { return self.size };
        let elapsed_ms = now.boot_ms.saturating_sub(measure.since_ms).max(1);
        let per_second = measure.in_hand.saturating_sub(self.left).saturating_mul(1_000) / elapsed_ms;
        per_second.clamp(LEASE_MIN, LEASE_MAX.min(self.size * 2))
    }
}

/// Each failed fetch costs its sequences, so less is asked for with each failure in a row: a day of failures at one try every 3.2 s
/// costs 27 million of the day's 10^10, and not more than there are.
fn patient_size(size: u64, failures: u32) -> u64 {
    size.checked_shr(failures).unwrap_or(0).max(LEASE_MIN)
}
