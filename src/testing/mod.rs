//! For tests of programs that use this crate, and of replicas written for it.

mod clock;
pub mod conformance;
mod faulty;

pub use clock::ManualClock;
pub use faulty::{Faults as FaultControl, Faulty};
