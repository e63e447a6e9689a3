//! Counting answers. Pure: rounds are values with steps, driven by the threads of a SET or by a test.

mod mask;
mod merge;
mod read;
mod tally;
mod weak;

pub(crate) use mask::Mask;
pub(crate) use merge::{Merged, merge};
pub(crate) use read::{Answer, Outcome, ReadRound, Step, keeps};
pub(crate) use tally::{Tally, Verdict};
pub(crate) use weak::{WeakOutcome, WeakRound, WeakStep};
