//! Few replicas of one device are inside sled's write or flush at a time, and fewer still where the device is slow.
//!
//! sled has one pool of I/O threads for the whole process, and it stays at seven: it starts no more once all of them are busy.
//! A writer can hold two of them at once, because the end of one segment and the beginning of the next are written side by
//! side, and replicas that share a load evenly come to the end of their segments together. With four writers on a slow disk all
//! seven were seen to hang there for a second at such moments, and every healthy disk with them. A replica that waits here
//! waits for its own device only.

use parking_lot::{Condvar, Mutex};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Replicas of one device that may write at the same time. Twice as many threads are fewer than sled has.
const PERMITS: usize = 3;

/// The same where the device is slow: the others keep three threads even when all who are inside hold two.
const PERMITS_SLOW: usize = 2;

/// A device is slow while somebody has been inside for so long, and then until somebody is out again sooner.
const SLOW: Duration = Duration::from_millis(100);

/// By device number. Never shrinks: there are as many entries as the process ever saw devices.
static GATES: Mutex<BTreeMap<u64, Arc<Gate>>> = Mutex::new(BTreeMap::new());

/// The gate of one device.
#[derive(Debug, Default)]
pub(super) struct Gate {
    state: Mutex<State>,
    left: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Since when, the earliest first. At most [`PERMITS`].
    inside: Vec<Instant>,
    /// Whoever left last had been inside for long.
    was_slow: bool,
}

/// The right to be inside. Given back when dropped, also by a panic.
#[derive(Debug)]
pub(super) struct Permit<'a> {
    gate: &'a Gate,
    since: Instant,
}

impl State {
    fn has_room(&self, now: Instant) -> bool {
        let is_slow = self.was_slow || self.inside.first().is_some_and(|since| now.saturating_duration_since(*since) >= SLOW);
        self.inside.len() < if is_slow { PERMITS_SLOW } else { PERMITS }
    }

    fn leave(&mut self, since: Instant, now: Instant) {
        self.was_slow = now.saturating_duration_since(since) >= SLOW;
        if let Some(place) = self.inside.iter().position(|other| *other == since) {
            self.inside.remove(place);
        }
    }
}

impl Gate {
    /// The gate that all replicas of `device` share.
    pub(super) fn of(device: u64) -> Arc<Gate> {
        Arc::clone(GATES.lock().entry(device).or_default())
    }

    /// Waits for its turn, for as long as it takes: who hangs inside holds up its own device alone.
    pub(super) fn enter(&self) -> Permit<'_> {
        let mut state = self.state.lock();
        loop {
            let now = Instant::now();
            if state.has_room(now) {
                state.inside.push(now);
                return Permit { gate: self, since: now };
            }
            self.left.wait(&mut state);
        }
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.gate.state.lock().leave(self.since, Instant::now());
        // All of them: once the device is no longer slow there may be room for two.
        self.gate.left.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn three_of_a_device_are_inside_and_another_device_does_not_wait() {
        let gate = Gate::of(u64::MAX);
        let held: Vec<_> = (0..PERMITS).map(|_| gate.enter()).collect();
        let other_device = Gate::of(u64::MAX - 1);
        let _permit = other_device.enter();
        std::thread::scope(|scope| {
            let fourth = scope.spawn(|| drop(Gate::of(u64::MAX).enter()));
            std::thread::yield_now();
            assert!(!fourth.is_finished());
            drop(held);
        });
    }

    #[test]
    fn a_slow_device_lets_in_two_until_somebody_gets_through_quickly() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut state = State::default();
        for since in [0, 1] {
            assert!(state.has_room(at(since)));
            state.inside.push(at(since));
        }
        assert!(state.has_room(at(99)), "nobody has been inside for long yet");
        assert!(!state.has_room(at(100)), "somebody hangs");
        state.leave(at(1), at(150));
        state.leave(at(0), at(160));
        state.inside.extend([at(200), at(201)]);
        assert!(!state.has_room(at(202)), "it was slow the last time");
        state.leave(at(200), at(299));
        state.inside.push(at(299));
        assert!(state.has_room(at(300)), "the last one was quick");
        state.inside.push(at(300));
        assert!(!state.has_room(at(300)), "three are inside");
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
        assert_eq!(gate.state.lock().inside, []);
    }

    #[test]
    fn there_are_never_more_than_three() {
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
