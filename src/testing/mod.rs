//! For tests of programs that use this crate, and of replicas written for it.

mod clock;
pub mod conformance;
mod faulty;
#[doc(hidden)]
pub mod health;
mod history;
mod recorder;

pub use clock::ManualClock;
pub use faulty::{Faults as FaultControl, Faulty};
pub use history::{Answer, Asked, History, Operation, Outcome, Ran};
pub use recorder::{Call, Recordable, Recorder};
