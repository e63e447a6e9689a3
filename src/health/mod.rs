//! Whether a SET is well enough to be given work, and how much may be risked on finding out.
//!
//! A [`Breaker`] is a pure value that decides; a [`Gate`] is what threads share of it; a [`Board`] has the gates and the retry
//! budget of all SETs. Nothing that one SET's calls write to is shared with another SET.

mod board;
mod breaker;
mod budget;
mod gate;
mod permit;
mod window;

pub(crate) use board::{Board, SetHealth, Side};
pub(crate) use gate::{Gate, GateStatus};
pub use permit::{BreakerState, Forced};
pub(crate) use permit::{Outcome, Permit};
// For tests, and for the bench beside other crates.
#[cfg(any(test, feature = "testing"))]
pub(crate) use {board::Budget, breaker::Breaker, budget::Terms};
