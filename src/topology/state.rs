//! The life of a SET.
//!
//! ```text
//! Joining --its ramp is over--> Active --drain--> Draining --retire--> Retired, for ever
//!    |                                               ^                    ^
//!    +-----------------------drain-------------------+                    |
//!    any, when it is lost-------------------------------------------------+
//! ```

use std::fmt;

/// Where a SET is in its life. All but a retired one serve the orders they hold.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[non_exhaustive]
pub enum SetState {
    /// Added to a running store a short while ago: takes a share of new orders that grows from 10 % to all of its own.
    Joining,
    /// Takes its share of new orders.
    Active,
    /// Takes no new orders.
    Draining,
    /// Gone. Its id is remembered, so that it is never given to another SET: numbers may carry it.
    Retired,
}

impl SetState {
    /// Whether new orders go there.
    #[must_use]
    pub fn takes_orders(self) -> bool {
        match self {
            SetState::Joining | SetState::Active => true,
            SetState::Draining | SetState::Retired => false,
        }
    }
}

impl fmt::Display for SetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            SetState::Joining => "joining",
            SetState::Active => "active",
            SetState::Draining => "draining",
            SetState::Retired => "retired",
        })
    }
}

/// Why a SET is retired, and with that what is asked of it first.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Retire {
    /// Its orders are not needed any more, or were moved away: only a SET that is draining can be retired so.
    Drained,
    /// It is lost for good, in whatever state it was.
    Lost,
}
