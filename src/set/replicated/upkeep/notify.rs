//! The notifier of a SET: the one thread on which callers' wakers run, so that no user code runs on a replica's thread.

use crate::order::OrderNumber;
use crate::pending::{Refused, mark_as_ours, refusing};
use crate::replica::Version;
use crate::set::replicated::panics::contained;
use crate::set::{Caller, FailedCreate, Listener, Placed};
use parking_lot::{Condvar, Mutex};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// An answer on its way to its caller.
pub(crate) struct Completion {
    /// What it held of the SET's operations and bytes in flight; given back when it is delivered.
    pub(crate) held: Held,
    pub(crate) deliver: Deliver,
}

pub(crate) enum Deliver {
    /// Apart from the rest, because there are so many.
    Created(Caller, OrderNumber, Version),
    Failed(Box<FailedCreate>),
    Other(Box<dyn FnOnce() + Send>),
}

impl Completion {
    pub(crate) fn deliver(self, in_flight: &InFlight, listener: &dyn Listener) {
        in_flight.release(self.held);
        // A waker is the caller's code. If it panics, that is its trouble alone.
        // Should it wait for the store, it would wait for this thread.
        let _ = contained(|| {
            refusing(Refused::Waits, || match self.deliver {
                Deliver::Created(caller, number, version) => match caller.trail {
                    None => caller.promise.complete(Ok(Placed::at_once(number, version))),
                    Some(_) => listener.placed(caller, number, version),
                },
                Deliver::Failed(failed) => listener.failed(*failed),
                Deliver::Other(deliver) => deliver(),
            })
        });
    }
}

/// A share of what may be in flight.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Held {
    pub(crate) operations: usize,
    pub(crate) bytes: usize,
}

/// What is in flight, with its bounds.
#[derive(Debug)]
pub(crate) struct InFlight {
    operations: AtomicUsize,
    bytes: AtomicUsize,
    operations_max: usize,
    bytes_max: usize,
}

impl InFlight {
    pub(crate) fn new(operations_max: usize, bytes_max: usize) -> InFlight {
        InFlight { operations: AtomicUsize::new(0), bytes: AtomicUsize::new(0), operations_max, bytes_max }
    }

    /// Takes room for one operation of `bytes` bytes, or says how much is in flight.
    pub(crate) fn admit(&self, bytes: usize) -> Result<Held, Held> {
        let held = Held { operations: 1, bytes };
        let operations = self.operations.fetch_add(1, Ordering::Relaxed);
        let in_flight = self.bytes.fetch_add(bytes, Ordering::Relaxed);
        // One operation alone is always let in, so that a small bound on bytes cannot shut out a large value for ever.
        if operations >= self.operations_max || (operations > 0 && in_flight.saturating_add(bytes) > self.bytes_max) {
            self.release(held);
            return Err(Held { operations, bytes: in_flight });
        }
        Ok(held)
    }

    pub(crate) fn release(&self, held: Held) {
        self.operations.fetch_sub(held.operations, Ordering::Relaxed);
        self.bytes.fetch_sub(held.bytes, Ordering::Relaxed);
    }

    /// How full, in thousandths.
    pub(crate) fn load(&self) -> u32 {
        let now = self.now();
        let share = |now: usize, max: usize| (now as u64).saturating_mul(1_000) / (max as u64).max(1);
        share(now.operations, self.operations_max).max(share(now.bytes, self.bytes_max)).min(1_000) as u32
    }

    pub(crate) fn now(&self) -> Held {
        Held { operations: self.operations.load(Ordering::Relaxed), bytes: self.bytes.load(Ordering::Relaxed) }
    }
}

/// The queue of answers. Bounded by what may be in flight, since each answer holds its share until it is delivered.
pub(crate) struct Notifier {
    state: Mutex<State>,
    filled: Condvar,
    ended: Condvar,
    in_flight: Arc<InFlight>,
    listener: Arc<dyn Listener>,
}

#[derive(Default)]
struct State {
    waiting: Vec<Completion>,
    closed: bool,
    /// `run` is over.
    ended: bool,
    idle: bool,
}

impl Notifier {
    pub(crate) fn new(in_flight: Arc<InFlight>, listener: Arc<dyn Listener>) -> Notifier {
        Notifier { state: Mutex::new(State::default()), filled: Condvar::new(), ended: Condvar::new(), in_flight, listener }
    }

    pub(crate) fn push(&self, completion: Completion) {
        self.push_all(&mut vec![completion]);
    }

    /// Takes all of `completions`, leaving the vector empty for the next time.
    pub(crate) fn push_all(&self, completions: &mut Vec<Completion>) {
        if completions.is_empty() {
            return;
        }
        let mut state = self.state.lock();
        if state.ended {
            // A call that slipped in while the SET ended. Not answered here, where locks may be held; should there be no
            // thread for it, dropping the answer says that the store is closed.
            let (late, in_flight) = (std::mem::take(completions), Arc::clone(&self.in_flight));
            // Dropping them runs their wakers.
            drop(state);
            let listener = Arc::clone(&self.listener);
            let run = move || {
                mark_as_ours();
                late.into_iter().for_each(|completion| completion.deliver(&in_flight, &*listener));
            };
            return drop(std::thread::Builder::new().name("om-late".to_owned()).spawn(run));
        }
        state.waiting.append(completions);
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.filled.notify_one();
        }
    }

    /// Delivers until closed and empty.
    pub(crate) fn run(&self) {
        let mut batch = Vec::new();
        loop {
            {
                let mut state = self.state.lock();
                while state.waiting.is_empty() {
                    if state.closed {
                        state.ended = true;
                        self.ended.notify_all();
                        return;
                    }
                    state.idle = true;
                    self.filled.wait(&mut state);
                }
                std::mem::swap(&mut state.waiting, &mut batch);
            }
            for completion in batch.drain(..) {
                completion.deliver(&self.in_flight, &*self.listener);
            }
        }
    }

    /// Ends `run` once all is delivered.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }

    /// Waits for the end of `run`, which a waker that blocks can delay for ever.
    pub(crate) fn wait_for_end(&self, until: Instant) {
        let mut state = self.state.lock();
        while !state.ended && !self.ended.wait_until(&mut state, until).timed_out() {}
    }
}
