//! At most four replicas of one device are inside sled's write or flush at a time.
//!
//! sled has one pool of I/O threads for the whole process. Up to four writers that hang on one slow disk leave the others
//! their threads; with seven, healthy disks were seen to wait half a second, with sixteen more than one. A replica that
//! waits here waits for its own device only.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;

/// Replicas of one device that may write at the same time.
const PERMITS: usize = 4;

/// By device number. Never shrinks: there are as many entries as the process ever saw devices.
static GATES: Mutex<BTreeMap<u64, Arc<Gate>>> = Mutex::new(BTreeMap::new());

/// The gate of one device.
#[derive(Debug, Default)]
pub(super) struct Gate {
    inside: Mutex<usize>,
    left: Condvar,
}

/// The right to be inside. Given back when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Permit<'a>(&'a Gate);

impl Gate {
    /// The gate that all replicas of `device` share.
    pub(super) fn of(device: u64) -> Arc<Gate> {
        Arc::clone(GATES.lock().entry(device).or_default())
    }

    /// Waits for its turn, for as long as it takes: who hangs inside holds up its own device alone.
    pub(super) fn enter(&self) -> Permit<'_> {
        let mut inside = self.inside.lock();
        while *inside >= PERMITS {
            self.left.wait(&mut inside);
        }
        *inside += 1;
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        *self.0.inside.lock() -= 1;
        self.0.left.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn four_of_a_device_are_inside_and_another_device_does_not_wait() {
        let gate = Gate::of(u64::MAX);
        let held: Vec<_> = (0..PERMITS).map(|_| gate.enter()).collect();
        let other_device = Gate::of(u64::MAX - 1);
        let _permit = other_device.enter();
        std::thread::scope(|scope| {
            let fifth = scope.spawn(|| drop(Gate::of(u64::MAX).enter()));
            std::thread::yield_now();
            assert!(!fifth.is_finished());
            drop(held);
        });
    }

    #[test]
    fn a_panic_inside_gives_the_permit_back() {
        let gate = Gate::default();
        for _ in 0..2 * PERMITS {
            let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                let _permit = gate.enter();
                std::panic::resume_unwind(Box::new("inside"));
            }));
            assert!(result.is_err());
        }
        assert_eq!(*gate.inside.lock(), 0);
    }

    #[test]
    fn there_are_never_more_than_four() {
        let (gate, inside, most) = (Gate::default(), AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..12 {
                scope.spawn(|| {
                    for _ in 0..200 {
                        let _permit = gate.enter();
                        most.fetch_max(inside.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
                        std::thread::yield_now();
                        inside.fetch_sub(1, Ordering::SeqCst);
                    }
                });
            }
        });
        assert!(most.into_inner() <= PERMITS);
    }
}
