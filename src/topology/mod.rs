//! Which SETs there are and which of them a new order goes to. Pure.

mod change;
mod choice;
mod map;
mod mask;
mod ramp;
mod state;
mod zone;

pub(crate) use change::MapChange;
pub(crate) use choice::{Candidate, Choice, FULL_SHARE};
pub(crate) use map::{MapEntry, SetMap};
pub(crate) use mask::SetMask;
pub(crate) use ramp::Ramp;
pub use state::{Retire, SetState};
pub use zone::Zone;
