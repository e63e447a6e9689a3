//! A replica that misbehaves on command.

use crate::replica::Replica;
use std::sync::Arc;
use std::time::Duration;

/// Wraps a replica and does to it what [`Faults`] says.
pub struct Faulty {
    _inner: Arc<dyn Replica>,
}

/// The switches of a [`Faulty`] replica; shared by all clones, and by replicas opened later with the same ones.
#[derive(Clone, Debug, Default)]
pub struct Faults {}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl Faults {
    /// No faults.
    #[must_use]
    pub fn new() -> Faults {
        Faults {}
    }

    /// The next `apply` calls fail, before anything is written.
    pub fn fail_applies(&self, count: usize) {
        todo!()
    }

    /// The next `apply` calls write and sync, and then report failure.
    pub fn fail_after_apply(&self, count: usize) {
        todo!()
    }

    /// Each `apply` takes this much longer.
    pub fn delay_applies(&self, delay: Duration) {
        todo!()
    }

    /// Each `get`, `scan` and `digest` takes this much longer.
    pub fn delay_reads(&self, delay: Duration) {
        todo!()
    }

    /// `apply` does not return until [`Faults::release`].
    pub fn hang_applies(&self) {
        todo!()
    }

    /// `get`, `scan` and `digest` do not return until [`Faults::release`].
    pub fn hang_reads(&self) {
        todo!()
    }

    /// Ends hanging and delays.
    pub fn release(&self) {
        todo!()
    }

    /// The next `apply` calls panic.
    pub fn panic_applies(&self, count: usize) {
        todo!()
    }

    /// The next `get`, `scan` and `digest` calls panic.
    pub fn panic_reads(&self, count: usize) {
        todo!()
    }

    /// The next `get`, `scan` and `digest` calls fail.
    pub fn fail_reads(&self, count: usize) {
        todo!()
    }

    /// The next `apply` call reports that the disk is full.
    pub fn fill_disk(&self) {
        todo!()
    }

    /// How often `apply` was called.
    #[must_use]
    pub fn applies(&self) -> usize {
        todo!()
    }
}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl Faulty {
    /// Wraps `inner`.
    #[must_use]
    pub fn new(inner: Arc<dyn Replica>, faults: Faults) -> Arc<dyn Replica> {
        todo!()
    }
}
