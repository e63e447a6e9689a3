//! For tests of programs that use this crate, and of replicas written for it.

pub mod conformance;
mod faulty;

pub use faulty::{Faults as FaultControl, Faulty};
