//! What is to be mended: where replicas differ, and which numbers must still become void. Pure; others fetch and carry out.

mod notes;
mod ranges;

pub use notes::Alarm;
pub(crate) use notes::{Notes, Tried};
pub(crate) use ranges::{DaySpan, RangeBook, RangeKey, odd_ones};
