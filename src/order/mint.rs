//! Minting: one atomic add gives the finished number.

use super::{Block, Day, LeaseStore, OrderNumber, SetId};
use crate::time::Clock;

/// Mints the numbers of one SET from leased blocks; the lease is durable before its first number is out.
#[derive(Debug)]
pub struct Minter {
    _core: MintCore,
}

/// Why no number was minted.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MintError {
    /// The clock and the record of days are more than a day apart. Nothing is minted until the caller says that the clock is right.
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
    /// The clock shows no day between 2000-01-01 and 3023-12-31.
    #[error("the clock is outside 2000-01-01 to 3023-12-31: {wall_ms} ms since 1970")]
    ClockOutOfRange {
        /// What it shows.
        wall_ms: i64,
    },
    /// No block could be leased in time.
    #[error("SET {set} got no block of sequences in time: {reason}")]
    NoLease {
        /// The SET.
        set: SetId,
        /// The last failure.
        reason: String,
    },
}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl Minter {
    /// Leases a first block and starts the thread that fetches the next ones.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn new(set: SetId, leases: impl LeaseStore, clock: impl Clock) -> Result<Minter, MintError> {
        todo!()
    }

    /// The next number. Waits, for at most five seconds, only while no block is leased.
    ///
    /// # Errors
    /// See [`MintError`].
    pub fn mint(&self) -> Result<OrderNumber, MintError> {
        todo!()
    }
}

/// The installed block as atomics.
#[derive(Debug)]
pub(crate) struct MintCore {
    set: SetId,
}

#[expect(dead_code, unused_variables, clippy::todo, reason = "signatures first")]
impl MintCore {
    pub(crate) fn new(set: SetId) -> MintCore {
        MintCore { set }
    }

    /// The next number; `None` when the block is used up or `wall_ms` is past the installed day.
    pub(crate) fn try_mint(&self, wall_ms: i64) -> Option<OrderNumber> {
        todo!()
    }

    /// Called by one thread at a time. `midnight_ms`: from then on by the wall clock the day of `block` is over.
    pub(crate) fn install(&self, block: Block, midnight_ms: i64) {
        todo!()
    }

    /// Sequences left in the installed block.
    pub(crate) fn left(&self) -> u64 {
        todo!()
    }
}
