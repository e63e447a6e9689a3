//! Finding out where replicas differ. Pure; the threads of a SET fetch the digests.

mod ranges;

pub(crate) use ranges::{DaySpan, RangeBook, RangeKey, odd_ones};
