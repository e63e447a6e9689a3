//! How the sequence of a (SET, day) is leased in blocks: the rules, as a value with time as an argument.

use super::{Day, SetId};

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
pub trait LeaseStore: Send + 'static {
    /// Moves the durable mark of (`set`, `day`) up by at most `count` and returns the sequences passed over.
    /// The new mark must be durable before this returns; a mark never goes down. May block; called on one thread only.
    ///
    /// # Errors
    /// Nothing was leased, or it is not known whether; what may have been leased is never handed out again.
    fn lease(&mut self, set: SetId, day: Day, count: u64) -> Result<Block, LeaseError>;

    /// The newest day with a mark, if there is one.
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

/// What the clocks say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "signatures first")]
pub(crate) struct Now {
    pub(crate) wall_ms: i64,
    pub(crate) boot_ms: u64,
}

/// The rules of leasing for one SET: which day to mint on, when to fetch how much. Pure.
#[derive(Debug)]
#[expect(dead_code, reason = "signatures first")]
pub(crate) struct LeaseBook {
    set: SetId,
}

/// What happened.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "signatures first")]
pub(crate) enum LeaseEvent {
    /// Time passed, or numbers were used; `left` sequences are still in the installed block.
    Tick { left: u64 },
    /// A fetch asked for before is durable.
    Fetched(Block),
    /// A fetch asked for before failed, or nobody knows; its sequences are never used.
    FetchFailed { day: Day },
    /// The operator says that the clock is right.
    ClockAccepted,
}

/// What to do about it.
#[derive(Clone, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "signatures first")]
pub(crate) enum LeaseAction {
    /// Make `mark` durable for `day` on a majority; then report `Fetched(block)` with `block.end == mark`.
    Fetch { block: Block },
    /// Mint from this block from now on.
    Install(Block),
}

/// Whether numbers can be minted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[expect(dead_code, reason = "signatures first")]
pub(crate) enum MintState {
    /// They can, or will as soon as a fetch under way returns.
    Ready,
    /// The clock jumped ahead by more than a day, or the newest day on record lies far ahead of the clock.
    ClockJump { known: Day, clock: Day },
    /// All 10^10 sequences of the day are leased.
    DayFull { day: Day },
    /// The clock shows a day outside 2000-01-01 to 3023-12-31.
    ClockOutOfRange { wall_ms: i64 },
}

#[expect(dead_code, unused_variables, clippy::todo, reason = "signatures first")]
impl LeaseBook {
    /// `marks`: for each day on record, one past the last sequence ever leased. `offset_minutes`: where midnight is, from UTC.
    pub(crate) fn new(set: SetId, offset_minutes: i32, marks: &[(Day, u64)], now: Now) -> LeaseBook {
        LeaseBook { set }
    }

    pub(crate) fn step(&mut self, event: LeaseEvent, now: Now) -> Vec<LeaseAction> {
        todo!()
    }

    pub(crate) fn state(&self) -> MintState {
        todo!()
    }

    /// When `step` must be called with a `Tick` at the latest, on the boot-time clock.
    pub(crate) fn next_tick_ms(&self, now: Now) -> u64 {
        todo!()
    }

    /// The wall-clock time from which on the installed day is over.
    pub(crate) fn midnight_ms(&self) -> i64 {
        todo!()
    }
}
