//! Orders at an even rate, however the store fares: who places them does not wait for those before.

use ordermint::{Error, OrderNumber, OrderStore, Pending, Placed, SetId};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// All threads send what is due at the same moments, and look at what was answered: so few that each replica writes a hundred
/// groups a second and not thousands. One disk carries all nine replicas.
const TICK: Duration = Duration::from_millis(10);
/// Of the failures so many are told.
const ERRORS_MAX: usize = 10;

/// An order that was acknowledged.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Entry {
    pub(crate) number: OrderNumber,
    pub(crate) payload: String,
    /// The numbers that it was tried under before.
    pub(crate) superseded: Vec<OrderNumber>,
}

/// What callers were told, all in all.
#[derive(Default, Debug)]
pub(crate) struct Taken {
    pub(crate) placed: Vec<Entry>,
    pub(crate) failed: u64,
    /// Numbers of which callers were told that they may be orders or not.
    pub(crate) doubtful: Vec<OrderNumber>,
    /// The first of the failures.
    pub(crate) errors: Vec<String>,
}

/// What is counted while it happens. Counts go up only.
#[derive(Default, Debug)]
pub(crate) struct Tally {
    pub(crate) sent: AtomicU64,
    pub(crate) failed: AtomicU64,
    /// Orders that stand under another number than the one that they were first tried under.
    pub(crate) reminted: AtomicU64,
    /// The longest that a caller waited since it was last asked, in microseconds.
    pub(crate) slowest_us: AtomicU64,
    by_set: Mutex<BTreeMap<SetId, u64>>,
}

impl Tally {
    /// Orders acknowledged so far, by SET.
    pub(crate) fn by_set(&self) -> BTreeMap<SetId, u64> {
        self.by_set.lock().clone()
    }
}

/// Threads that place orders until they are stopped.
pub(crate) struct Load {
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<Taken>>,
}

impl Load {
    pub(crate) fn start(store: &OrderStore, threads: u64, rate: u64, deadline: Duration) -> io::Result<Load> {
        let mut load = Load { tally: Arc::default(), stop: Arc::default(), threads: Vec::new() };
        let started = Instant::now();
        for thread in 0..threads {
            let (store, tally, stop) = (store.clone(), Arc::clone(&load.tally), Arc::clone(&load.stop));
            let caller = Caller { store, tally, stop, thread, rate: rate / threads, deadline, started };
            load.threads.push(std::thread::Builder::new().name(format!("load-{thread}")).spawn(move || caller.run())?);
        }
        Ok(load)
    }

    pub(crate) fn tally(&self) -> Arc<Tally> {
        Arc::clone(&self.tally)
    }

    /// Waits for what is under way.
    pub(crate) fn stop(self) -> Taken {
        self.stop.store(true, Relaxed);
        let mut all = Taken::default();
        for thread in self.threads {
            match thread.join() {
                Ok(taken) => {
                    all.placed.extend(taken.placed);
                    all.failed += taken.failed;
                    all.doubtful.extend(taken.doubtful);
                    all.errors.extend(taken.errors);
                }
                Err(_) => {
                    all.failed += 1;
                    all.errors.push("a thread of the load panicked".into());
                }
            }
        }
        all.errors.truncate(ERRORS_MAX);
        all
    }
}

struct Caller {
    store: OrderStore,
    tally: Arc<Tally>,
    stop: Arc<AtomicBool>,
    thread: u64,
    /// Orders a second.
    rate: u64,
    deadline: Duration,
    started: Instant,
}

struct UnderWay {
    since: Instant,
    payload: String,
    pending: Pending<Placed>,
}

impl Caller {
    fn run(self) -> Taken {
        let (mut taken, mut under_way, mut sent, mut tick) = (Taken::default(), Vec::new(), 0, 0);
        // Ends because nothing is sent once it is stopped, and everything under way has a deadline.
        loop {
            let stopped = self.stop.load(Relaxed);
            let due = self.started.elapsed().as_micros() as u64 * self.rate / 1_000_000;
            while !stopped && sent < due {
                let payload = format!("order {sent} of thread {}", self.thread);
                let pending = self.store.create(&payload);
                under_way.push(UnderWay { since: Instant::now(), payload, pending });
                sent += 1;
                self.tally.sent.fetch_add(1, Relaxed);
            }
            under_way = self.sweep(under_way, &mut taken);
            if stopped && under_way.is_empty() {
                return taken;
            }
            tick += 1;
            let next = self.started + TICK * tick;
            match next.checked_duration_since(Instant::now()) {
                Some(rest) => std::thread::sleep(rest),
                // Late: the moments in between are left out.
                None => tick = (self.started.elapsed().as_millis() / TICK.as_millis()) as u32,
            }
        }
    }

    /// Enters what was answered; the rest is still under way.
    fn sweep(&self, under_way: Vec<UnderWay>, taken: &mut Taken) -> Vec<UnderWay> {
        let mut left = Vec::with_capacity(under_way.len());
        let mut by_set: BTreeMap<SetId, u64> = BTreeMap::new();
        for UnderWay { since, payload, pending } in under_way {
            match pending.wait_timeout(Duration::ZERO) {
                Err(pending) => left.push(UnderWay { since, payload, pending }),
                Ok(answer) => {
                    let took = since.elapsed();
                    self.tally.slowest_us.fetch_max(took.as_micros() as u64, Relaxed);
                    match answer {
                        Ok(placed) => {
                            *by_set.entry(placed.number.set_id()).or_default() += 1;
                            let Placed { number, superseded, .. } = placed;
                            self.tally.reminted.fetch_add(u64::from(!superseded.is_empty()), Relaxed);
                            taken.placed.push(Entry { number, payload, superseded });
                        }
                        Err(error) => self.failed(&error, took, taken),
                    }
                }
            }
        }
        let mut total = self.tally.by_set.lock();
        for (set, count) in by_set {
            *total.entry(set).or_default() += count;
        }
        left
    }

    fn failed(&self, error: &Error, took: Duration, taken: &mut Taken) {
        self.tally.failed.fetch_add(1, Relaxed);
        taken.failed += 1;
        if let Error::Ambiguous { token, .. } = error {
            taken.doubtful.push(token.number);
        }
        if taken.errors.len() < ERRORS_MAX {
            taken.errors.push(format!("after {} ms of {}: {error}", took.as_millis(), self.deadline.as_millis()));
        }
    }
}
