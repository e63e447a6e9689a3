//! Many callers, each of which creates one order after the other; and the book of what they were told.

use crate::pulse::Pulse;
use ordermint::{CreateOptions, Error, OrderNumber, OrderStore, Placed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What each create may take.
const DEADLINE: Duration = Duration::from_secs(2);
const PAYLOAD: usize = 100;

/// Callers under way.
pub(crate) struct Callers {
    runtime: Runtime,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

struct Shared {
    pulse: Pulse,
    stop: AtomicBool,
    /// Payloads given out.
    sent: AtomicU64,
    told: parking_lot::Mutex<Told>,
}

/// What callers were told.
#[derive(Default)]
pub(crate) struct Told {
    /// Each with its payload.
    pub(crate) placed: Vec<(OrderNumber, u64)>,
    /// Numbers that were given up, and when their creates were called.
    pub(crate) superseded: Vec<(OrderNumber, Instant)>,
    /// Errors, each with its payload.
    pub(crate) failed: Vec<(u64, String)>,
    /// The payloads of those that failed when the machine stood still: they may have been placed or not.
    pub(crate) excused: Vec<u64>,
}

/// What the payload `nr` looks like.
pub(crate) fn payload(nr: u64) -> String {
    format!("{nr:0PAYLOAD$}")
}

impl Callers {
    pub(crate) fn start(store: &OrderStore, count: usize) -> Callers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let (pulse, stop, sent, told) =
            (Pulse::start(), AtomicBool::new(false), AtomicU64::new(0), parking_lot::Mutex::default());
        let shared = Arc::new(Shared { pulse, stop, sent, told });
        let one = |_| runtime.spawn(call_until_stopped(store.clone(), Arc::clone(&shared)));
        let tasks = (0..count).map(one).collect();
        Callers { runtime, shared, tasks }
    }

    /// Each has one order under way at most.
    pub(crate) fn count(&self) -> usize {
        self.tasks.len()
    }

    /// Looks into the book.
    pub(crate) fn told<T>(&self, look: impl FnOnce(&Told) -> T) -> T {
        look(&self.shared.told.lock())
    }

    /// Lets all of them end what they are at, and hands over the book.
    pub(crate) fn stop(self) -> Told {
        self.shared.stop.store(true, Ordering::SeqCst);
        for task in self.tasks {
            self.runtime.block_on(task).expect("a caller does not panic");
        }
        std::mem::take(&mut *self.shared.told.lock())
    }
}

async fn call_until_stopped(store: OrderStore, shared: Arc<Shared>) {
    while !shared.stop.load(Ordering::Relaxed) {
        let (nr, began) = (shared.sent.fetch_add(1, Ordering::Relaxed), Instant::now());
        let answer = store.create_with(payload(nr), CreateOptions::new().deadline(DEADLINE)).await;
        let mut told = shared.told.lock();
        match answer {
            Ok(Placed { number, superseded, .. }) => {
                told.placed.push((number, nr));
                told.superseded.extend(superseded.into_iter().map(|number| (number, began)));
            }
            Err(Error::Ambiguous { .. } | Error::NotAttempted { .. }) if shared.pulse.stood_still_since(began) => {
                told.excused.push(nr);
            }
            Err(error) => told.failed.push((nr, error.to_string())),
        }
    }
}
