//! Which SETs there are and which of them a new order goes to. Pure.

mod choice;
mod map;

pub(crate) use choice::Choice;
pub(crate) use map::{MapEntry, SetMap};
