//! The coordinator of a SET: the thread that keeps deadlines, leases sequences, compares replicas after open and closes.

use super::compare::Compare;
use super::leases::Leases;
use super::notify::{Completion, Deliver, Held};
use super::regroup::{News, Regroup};
use crate::error::Error;
use crate::order::{Day, OrderNumber};
use crate::pending::{Pending, Promise};
use crate::replica::{RangeDigest, Record, ReplicaError, Version, Write};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane, Role};
use parking_lot::{Condvar, Mutex};
use std::collections::{BinaryHeap, VecDeque};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// News for the coordinator.
pub(crate) enum Event {
    /// Something changed: look around.
    Wake,
    /// A create waits for a number.
    NumbersWanted,
    /// The operator says that the clock is right.
    ClockAccepted,
    /// A replica answered the write of a lease mark.
    LeaseWritten { fetch: u64, index: u8, good: bool },
    /// A replica told its days, for the comparison.
    Days { turn: u64, index: u8, result: Result<Vec<Day>, ReplicaError> },
    /// A replica told a digest, for the comparison.
    Digest { turn: u64, index: u8, result: Result<RangeDigest, ReplicaError> },
    /// A replica has applied all that was queued for it before the comparison.
    Settled { turn: u64, index: u8 },
    /// Of replicas that return.
    Regroup(News),
    /// A replica was closed by its worker.
    LaneClosed { index: u8, life: u32, error: Option<ReplicaError> },
    /// Close the SET.
    Close,
}

/// What has a deadline and perhaps something to do before it.
pub(crate) trait Timed: Send + Sync {
    /// Called when its time has come; returns the next one, or `None` when it is over.
    fn tick(self: Arc<Self>, core: &Arc<Core>, now: Instant) -> Option<Instant>;
}

/// The coordinator's letter box.
#[derive(Default)]
pub(crate) struct Mail {
    state: Mutex<MailState>,
    filled: Condvar,
}

#[derive(Default)]
struct MailState {
    events: VecDeque<Event>,
    wake: bool,
    /// Nobody reads it any more.
    ended: bool,
}

/// What waits for its time.
#[derive(Default)]
pub(crate) struct Timers {
    heap: BinaryHeap<Timer>,
    count: u64,
    /// Nobody will come to tick any more.
    ended: bool,
}

struct Timer {
    at: Instant,
    order: u64,
    timed: Weak<dyn Timed>,
}

impl Ord for Timer {
    /// The earliest is the greatest, as the heap gives out the greatest first.
    fn cmp(&self, other: &Timer) -> std::cmp::Ordering {
        (other.at, other.order).cmp(&(self.at, self.order))
    }
}

impl PartialOrd for Timer {
    fn partial_cmp(&self, other: &Timer) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Timer {
    fn eq(&self, other: &Timer) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for Timer {}

/// Whether the SET is open, and who waits for its end.
#[derive(Default)]
pub(crate) struct Closing {
    begun: bool,
    ended: Option<Result<(), Error>>,
    waiting: Vec<Promise<()>>,
}

impl Core {
    pub(crate) fn post(&self, event: Event) {
        let mut state = self.mail.state.lock();
        match event {
            // These two say nothing but "look around", so one of them is enough, however many creates wait.
            Event::Wake | Event::NumbersWanted if state.wake => return,
            Event::Wake | Event::NumbersWanted => state.wake = true,
            // A replica that was opened too late must not lie here with its lock for as long as anybody holds a handle.
            Event::Regroup(news) if state.ended => {
                drop(state);
                return news.come_to_nothing(self);
            }
            event => state.events.push_back(event),
        }
        drop(state);
        self.mail.filled.notify_one();
    }

    /// Has `timed` ticked at `at`.
    pub(crate) fn watch(self: &Arc<Core>, at: Instant, timed: Weak<dyn Timed>) {
        let mut timers = self.timers.lock();
        if timers.ended {
            drop(timers);
            return end_now(self, &timed);
        }
        timers.count += 1;
        let first = timers.heap.peek().is_none_or(|timer| at < timer.at);
        let order = timers.count;
        timers.heap.push(Timer { at, order, timed });
        drop(timers);
        if first {
            self.post(Event::Wake);
        }
    }

    /// Lets nothing more in; answers when all has ended or the close timeout has passed.
    pub(crate) fn close(&self) -> Pending<()> {
        let mut closing = self.closing.lock();
        if let Some(result) = &closing.ended {
            return Pending::ready(result.clone());
        }
        let (promise, pending) = Pending::new();
        closing.waiting.push(promise);
        if !std::mem::replace(&mut closing.begun, true) {
            drop(closing);
            self.close_creates();
            self.post(Event::Close);
        }
        pending
    }

    /// Has `timed` ticked at its deadline. Most are over long before: so it is first looked at soon, and what is over by then
    /// does not pile up until the deadline.
    pub(crate) fn watch_until(self: &Arc<Core>, deadline: Instant, timed: Weak<dyn Timed>) {
        self.watch(deadline.min(Instant::now() + FIRST_LOOK), timed);
    }

    fn tick_timers(self: &Arc<Core>, now: Instant) -> Option<Instant> {
        loop {
            let mut timers = self.timers.lock();
            let due = timers.heap.peek()?;
            // What has been dropped meanwhile costs nothing to remove early.
            if due.at > now && due.timed.strong_count() > 0 {
                return Some(due.at);
            }
            let timer = timers.heap.pop()?;
            drop(timers);
            if let Some(timed) = timer.timed.upgrade()
                && let Some(at) = Arc::clone(&timed).tick(self, now)
            {
                self.watch(at.max(now + Duration::from_millis(1)), Arc::downgrade(&timed));
            }
        }
    }

    fn wait_for_mail(&self, until: Instant) {
        let mut state = self.mail.state.lock();
        if state.events.is_empty() && !state.wake {
            let _ = self.mail.filled.wait_until(&mut state, until);
        }
    }
}

/// Ends what waits for its time, because the SET ends.
fn end_now(core: &Arc<Core>, timed: &Weak<dyn Timed>) {
    let far = Instant::now() + Duration::from_secs(365 * 24 * 3_600);
    if let Some(timed) = timed.upgrade() {
        let _ = timed.tick(core, far);
    }
}

/// When to look again at what has a deadline: what is over by then need not be kept in mind until the deadline.
pub(crate) fn again(deadline: Instant, now: Instant) -> Instant {
    deadline.min(now + LOOK_AGAIN)
}

/// See [`again`].
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// See [`Core::watch_until`].
const FIRST_LOOK: Duration = Duration::from_millis(50);
/// Even with nothing to do it looks at the clocks this often: a wall clock that jumps wakes nobody.
const LOOK_AROUND: Duration = Duration::from_secs(1);
/// How often missed writes are delivered: some 10,000 a second, beside the traffic.
const DELIVER_EVERY: Duration = Duration::from_millis(25);
/// Missed writes delivered to a replica in one go.
const DELIVER_MAX: usize = 256;

/// Runs until the SET is closed.
pub(crate) fn run(core: &Arc<Core>, mut leases: Leases, mut compare: Compare, mut regroup: Regroup) {
    let mut deliver_at = Instant::now();
    let mut lagging = false;
    let mut shutdown: Option<Shutdown> = None;
    leases.begin(core);
    compare.begin(core);
    loop {
        let (events, _) = {
            let mut state = core.mail.state.lock();
            (std::mem::take(&mut state.events), std::mem::take(&mut state.wake))
        };
        for event in events {
            match event {
                Event::Wake | Event::NumbersWanted => {}
                Event::ClockAccepted => leases.accept_clock(core),
                Event::LeaseWritten { fetch, index, good } => leases.written(core, fetch, index, good),
                // At the end there is no time for it.
                Event::Days { .. } | Event::Digest { .. } | Event::Settled { .. } if shutdown.is_some() => {}
                Event::Regroup(news) if shutdown.is_some() => news.come_to_nothing(core),
                Event::Regroup(news) => regroup.hear(core, news, &mut leases, &mut compare),
                Event::Settled { turn, index } => compare.settled(core, turn, index),
                Event::Days { turn, index, result } => compare.days(core, turn, index, result),
                Event::Digest { turn, index, result } => compare.digest(core, turn, index, result),
                Event::LaneClosed { index, life, error } => {
                    if let Some(shutdown) = &mut shutdown {
                        shutdown.closed(index, life, error);
                    }
                }
                Event::Close => shutdown = Some(Shutdown::begin(core)),
            }
        }
        let now = Instant::now();
        let mut next = now + LOOK_AROUND;
        for at in [core.sweep_creates(now), core.tick_timers(now)].into_iter().flatten() {
            next = next.min(at);
        }
        if let Some(shutdown) = &mut shutdown {
            if !shutdown.is_drained(core, now) {
                next = next.min(now + DRAIN_POLL);
            }
            if shutdown.waiting.is_empty() || now >= shutdown.deadline {
                shutdown.finish(core);
                let left = {
                    let mut state = core.mail.state.lock();
                    state.ended = true;
                    std::mem::take(&mut state.events)
                };
                for event in left {
                    if let Event::Regroup(news) = event {
                        news.come_to_nothing(core);
                    }
                }
                return;
            }
            next = next.min(shutdown.deadline);
        } else {
            next = next.min(leases.step(core, now));
            if core.has_parked() {
                core.send_parked();
                if core.has_parked() {
                    next = next.min(now + Duration::from_millis(20));
                }
            }
            next = next.min(regroup.step(core, now, &mut leases, &mut compare));
            next = next.min(compare.step(core, now));
            if now >= deliver_at {
                deliver_at = now + DELIVER_EVERY;
                if core.deliver_missed(now) {
                    next = next.min(deliver_at);
                }
                let lagged = std::mem::replace(&mut lagging, core.voters().iter().any(|index| core.lane(index).missed().0 > 0));
                if lagged && !lagging {
                    compare.hasten(now);
                }
            }
        }
        core.wait_for_mail(next);
    }
}

impl Core {
    /// Ends the threads of a SET that has no coordinator.
    pub(crate) fn abandon(&self) {
        self.close_creates();
        self.lanes().for_each(|lane| lane.close());
        self.closures.close();
        self.notifier.close();
    }

    /// Reads some of what replicas missed and hands it to them; says whether there was any.
    fn deliver_missed(self: &Arc<Core>, now: Instant) -> bool {
        let mut any = false;
        for index in self.voters().iter() {
            let lane = self.lane(index);
            if !lane.has_missed() {
                continue;
            }
            any = true;
            // A replica that still lags is not helped by more.
            if lane.queued() > DELIVER_MAX {
                continue;
            }
            for (number, version) in lane.take_missed(DELIVER_MAX) {
                let core = Arc::clone(self);
                let finish = Box::new(move |result| core.deliver(index, number, version, result));
                self.read(number, now + self.settings.deadline, Held::default(), finish);
            }
        }
        any
    }

    /// Hands a write that a replica missed to it, now that it was read. Should it fail again, it is missed again.
    fn deliver(&self, index: u8, number: OrderNumber, version: Version, result: Result<Option<Record>, Error>) {
        let lane = self.lane(index);
        let is_newest = matches!(&result, Ok(Some(record)) if record.version >= version);
        if !is_newest && self.is_under_way(number, version) {
            lane.miss(number, version);
            return lane.delivered();
        }
        // An order that is nowhere was never acknowledged: there is nothing to deliver.
        let Ok(Some(record)) = result else {
            if result.is_err() {
                lane.miss(number, version);
            }
            return lane.delivered();
        };
        let write = Write::new(number, &record, false);
        let core = Weak::clone(&self.me);
        // Whether it failed, and is missed again, or is held in a newer version: it is not under way any more.
        let done = Box::new(move |index, _: Result<(), ReplicaError>| {
            core.upgrade().into_iter().for_each(|core| core.lane(index).delivered());
        });
        if lane.push(Job::Write { write, done }).is_err() {
            lane.delivered();
        }
    }
}

/// How often it is looked whether what is under way at the end has ended.
const DRAIN_POLL: Duration = Duration::from_millis(2);
/// What wakers get at the end, even where replicas have used up the close timeout.
const LAST_WORDS: Duration = Duration::from_millis(200);

/// The end of a SET: what is under way is answered, then the replicas are closed, then whoever still waits is told.
struct Shutdown {
    /// Replicas not closed yet.
    waiting: Vec<Ending>,
    draining: bool,
    /// Until then for what is under way: half of the time, so that replicas have the other half.
    drain_until: Instant,
    deadline: Instant,
    failed: Option<String>,
}

/// A replica that is to be closed.
struct Ending {
    index: u8,
    life: u32,
    /// One that is out has been told of: that it does not end cleanly is no news.
    in_use: bool,
}

impl Shutdown {
    fn begin(core: &Core) -> Shutdown {
        let ending = |lane: Arc<Lane>| Ending {
            index: lane.index,
            life: lane.life,
            in_use: !matches!(lane.role(), Role::Out(_) | Role::Missing(_)),
        };
        let waiting = core.lanes().filter(|lane| lane.is_open()).map(ending).collect();
        let (now, timeout) = (Instant::now(), core.settings.close_timeout);
        Shutdown { waiting, draining: true, drain_until: now + timeout / 2, deadline: now + timeout, failed: None }
    }

    /// Whether nothing is under way any more, or the time for it is up; then the replicas are told to close.
    ///
    /// Whoever was let in has been counted in flight before the submit lock said that the SET is open, so none is overlooked.
    fn is_drained(&mut self, core: &Core, now: Instant) -> bool {
        if self.draining && (core.in_flight.now().operations == 0 || now >= self.drain_until) {
            self.draining = false;
            core.lanes().for_each(|lane| lane.close_writes());
        }
        !self.draining
    }

    fn closed(&mut self, index: u8, life: u32, error: Option<ReplicaError>) {
        let Some(place) = self.waiting.iter().position(|ending| (ending.index, ending.life) == (index, life)) else { return };
        let ending = self.waiting.swap_remove(place);
        if let Some(error) = error.filter(|_| ending.in_use) {
            self.failed.get_or_insert(format!("replica {index}: {error}"));
        }
    }

    /// A replica that hangs is left behind, with its threads: nothing can end them.
    fn finish(&self, core: &Arc<Core>) {
        core.lanes().for_each(|lane| lane.close_reads());
        core.closures.close();
        core.abandon_creates();
        let timers = {
            let mut timers = core.timers.lock();
            timers.ended = true;
            std::mem::take(&mut timers.heap)
        };
        for timer in timers {
            end_now(core, &timer.timed);
        }
        let hung = self.waiting.iter().filter(|ending| ending.in_use).map(|ending| ending.index).min();
        let hung = hung.map(|index| format!("replica {index} did not end within the close timeout"));
        let result = match self.failed.clone().or(hung) {
            Some(message) => Err(Error::System { action: format!("close SET {}", core.id), message }),
            None => Ok(()),
        };
        let uncompared = core.awaiting_comparison.lock().take();
        for promise in uncompared.unwrap_or_default() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(Err(Error::Closed))));
            core.notifier.push(Completion { held: Held::default(), deliver });
        }
        core.notifier.close();
        core.notifier.wait_for_end(self.deadline.max(Instant::now() + LAST_WORDS));
        let waiting = {
            let mut closing = core.closing.lock();
            closing.ended = Some(result.clone());
            std::mem::take(&mut closing.waiting)
        };
        // On this thread, which has nothing else to do any more: a waker that blocks the notifier must not hold up the end.
        for promise in waiting {
            let result = result.clone();
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            Completion { held: Held::default(), deliver }.deliver(&core.in_flight, &*core.listener);
        }
    }
}
