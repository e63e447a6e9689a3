//! The keeper: the one thread of a store that does what is nobody's request, a little at a time.
//!
//! It holds no handle, so a store whose last handle is dropped closes as if there were no keeper. What it does never waits: what
//! must, is sent on a thread of its own.

use super::{Inner, grow, health, keys, reconcile, voids};
use crate::error::Error;
use crate::pending::mark_as_ours;
use parking_lot::{Condvar, Mutex};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// How often it looks while there is something to do.
pub(super) const EVERY: Duration = Duration::from_millis(100);

/// What it does in each round. Each says when it wants to be called again; `None` when only a ring of the bell brings it more to do.
const CHORES: &[fn(&Arc<Inner>, Instant) -> Option<Instant>] =
    &[grow::tend_ramps, voids::deliver, health::look_after, reconcile::tend, keys::expire, keys::settle];

/// Wakes the keeper, and ends it.
#[derive(Default)]
pub(super) struct Bell {
    state: Mutex<BellState>,
    rung: Condvar,
}

#[derive(Default)]
struct BellState {
    rung: bool,
    ended: bool,
}

impl Bell {
    /// There is something to do.
    pub(super) fn ring(&self) {
        self.state.lock().rung = true;
        self.rung.notify_one();
    }

    /// There is nothing to do any more, ever.
    pub(super) fn end(&self) {
        self.state.lock().ended = true;
        self.rung.notify_one();
    }

    /// Waits for a ring, or until the time has come; says whether the keeper goes on.
    fn wait(&self, until: Option<Instant>) -> bool {
        let mut state = self.state.lock();
        while !state.rung && !state.ended {
            let Some(until) = until else {
                self.rung.wait(&mut state);
                continue;
            };
            if self.rung.wait_until(&mut state, until).timed_out() {
                break;
            }
        }
        state.rung = false;
        !state.ended
    }
}

/// # Errors
/// [`Error::System`] when the system gives no thread.
pub(super) fn start(inner: &Arc<Inner>) -> Result<(), Error> {
    let (bell, store) = (Arc::clone(&inner.bell), Arc::downgrade(inner));
    in_background("om-keeper", move || run(&bell, &store))
}

fn run(bell: &Bell, store: &Weak<Inner>) {
    loop {
        let Some(store) = store.upgrade() else { return };
        let now = Instant::now();
        let next = CHORES.iter().filter_map(|chore| survived(now, || chore(&store, now))).min();
        drop(store);
        // However soon a chore wants to be called again, the keeper takes no core for itself.
        if !bell.wait(next.map(|next| next.max(now + EVERY))) {
            return;
        }
    }
}

/// A chore may have to drop what a caller waits with, whose waker may panic: that must not be the end of all chores.
fn survived(now: Instant, chore: impl FnOnce() -> Option<Instant>) -> Option<Instant> {
    catch_unwind(AssertUnwindSafe(chore)).unwrap_or_else(|panicked| {
        // What it panicked with may panic in turn when it is dropped.
        std::mem::forget(panicked);
        Some(now + EVERY)
    })
}

/// Runs what may wait, on a thread of its own.
///
/// # Errors
/// [`Error::System`] when the system gives no thread.
pub(super) fn in_background(name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), Error> {
    let thread = std::thread::Builder::new().name(name.to_owned()).spawn(move || {
        mark_as_ours();
        run();
    });
    thread.map(drop).map_err(|error| Error::System { action: format!("start thread {name}"), message: error.to_string() })
}
