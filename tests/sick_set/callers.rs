//! Many callers, each of which creates one order after the other; and the book of what they were told.

use ordermint::{CreateOptions, OrderNumber, OrderStore, Placed};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

/// What each create may take: far more than its first attempt, so that a busy machine has time for the second.
const DEADLINE: Duration = Duration::from_secs(10);
const PAYLOAD: usize = 100;

/// Callers under way.
pub(crate) struct Callers {
    runtime: Runtime,
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
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
}

/// What the payload `nr` looks like.
pub(crate) fn payload(nr: u64) -> String {
    format!("{nr:0PAYLOAD$}")
}

impl Callers {
    pub(crate) fn start(store: &OrderStore, count: usize) -> Callers {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().expect("a runtime");
        let shared = Arc::<Shared>::default();
        let one = |_| runtime.spawn(call_until_stopped(store.clone(), Arc::clone(&shared)));
        let tasks = (0..count).map(one).collect();
        Callers { runtime, shared, tasks }
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
            Err(error) => told.failed.push((nr, error.to_string())),
        }
    }
}
