//! Reading a stretch of a day: R voters are asked for the same stretch, or all while the day is dirty or any of them is
//! damaged there. Where they differ, the number is read by itself.

use super::get::as_order;
use crate::error::{Error, Faults};
use crate::order::{Day, OrderNumber};
use crate::pending::Promise;
use crate::quorum::{Mask, Merged, merge};
use crate::replica::{Chunk, ReplicaError, ScanLimit, Scanned};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::{Order, Page};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// When those asked first are slow, the others are asked. Longer than for a get: a page is more work.
const HURRY_AFTER: Duration = Duration::from_millis(200);
/// The most records of a page.
pub(crate) const PAGE_RECORDS_MAX: usize = 4_096;
/// The most bytes that a replica puts into a chunk.
const CHUNK_BYTES_MAX: usize = 4 << 20;

/// A page under way. Ends because each replica is asked at most once and each number read at most once.
pub(crate) struct PageOp {
    core: Weak<Core>,
    day: Day,
    after: Option<OrderNumber>,
    limit: usize,
    /// The epoch in which it began; see `Core::read`.
    epoch: u32,
    deadline: Instant,
    held: Held,
    dirty: bool,
    /// How often doubts had begun, and ended, to be settled when it began.
    copies: u64,
    voters: Mask,
    state: Mutex<State>,
}

struct State {
    asked: Mask,
    answered: Mask,
    /// Not waited for where R others have answered.
    silent: Mask,
    chunks: Vec<(u8, Chunk)>,
    faults: Vec<(u8, ReplicaError)>,
    hurried: bool,
    /// Set once the chunks are merged.
    assembling: Option<Assembly>,
    promise: Option<Promise<Page>>,
}

/// A merged page whose doubtful numbers are being read.
struct Assembly {
    orders: BTreeMap<OrderNumber, Result<Order, Error>>,
    reading: usize,
    next: Option<OrderNumber>,
}

impl Core {
    pub(crate) fn scan_page(
        self: &Arc<Core>,
        day: Day,
        after: Option<OrderNumber>,
        limit: usize,
        deadline: Instant,
        promise: Promise<Page>,
    ) {
        let held = match self.check_floor(day).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        let (epoch, copies) = (self.epoch(), self.copies.load(Ordering::Acquire));
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let state = State {
            asked: Mask::NONE,
            answered: Mask::NONE,
            silent: self.silent(),
            chunks: Vec::new(),
            faults: Vec::new(),
            hurried: false,
            assembling: None,
            promise: Some(promise),
        };
        let dirty = self.ranges.lock().is_day_dirty(day);
        let limit = limit.clamp(1, PAGE_RECORDS_MAX);
        let core = Arc::downgrade(self);
        let op =
            Arc::new(PageOp { core, day, after, limit, epoch, deadline, held, dirty, copies, voters, state: Mutex::new(state) });
        let first = if dirty { voters } else { voters.take(self.quorum.r(), self.next_start(voters, self.silent())) };
        op.ask(self, first);
        op.proceed(self);
        let weak: Weak<PageOp> = Arc::downgrade(&op);
        self.watch(deadline.min(Instant::now() + HURRY_AFTER), weak);
    }
}

impl PageOp {
    /// How many must answer, as for a read of one order.
    fn need(&self, core: &Core) -> u8 {
        if self.dirty { core.quorum.r().max(core.quorum.claim()) } else { core.quorum.r() }
    }

    fn ask(self: &Arc<PageOp>, core: &Arc<Core>, wanted: Mask) {
        let mut state = self.state.lock();
        let more = wanted.minus(state.asked);
        state.asked = state.asked.or(more);
        drop(state);
        for index in more.iter() {
            let (op, day, after, limit) = (Arc::clone(self), self.day, self.after, self.limit);
            let job: ReadJob = Box::new(move |replica| {
                let limit = ScanLimit { records: limit, bytes: CHUNK_BYTES_MAX };
                let result = replica.and_then(|replica| guarded(|| replica.scan(day, after, limit)));
                op.answered(index, result);
            });
            if core.lane(index).read(job).is_err() {
                self.answered(index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
            }
        }
    }

    fn answered(self: &Arc<PageOp>, index: u8, result: Result<Chunk, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        state.answered = state.answered.with(index);
        match core.checked(index, self.epoch, result) {
            Ok(chunk) => state.chunks.push((index, chunk)),
            Err(error) => state.faults.push((index, error)),
        }
        drop(state);
        self.proceed(&core);
    }

    /// Looks at what is in and does what comes next.
    fn proceed(self: &Arc<PageOp>, core: &Arc<Core>) {
        let mut state = self.state.lock();
        if state.assembling.is_some() || state.promise.is_none() {
            return;
        }
        let r = usize::from(self.need(core));
        let waiting = state.asked.minus(state.answered).count();
        let damaged =
            state.chunks.iter().any(|(_, chunk)| chunk.items.iter().any(|item| matches!(item, Scanned::Damaged { .. })));
        let all_asked = state.asked == self.voters;
        if state.chunks.len() + usize::from(waiting) < r || (damaged && !all_asked) {
            if !all_asked {
                drop(state);
                self.ask(core, self.voters);
                return self.proceed(core);
            }
            if waiting == 0 {
                let good = state.chunks.len() as u8;
                let error = core.quorum_lost(self.need(core), good, state.faults.clone());
                return self.finish(core, &mut state, Err(error));
            }
        }
        // While the day is dirty every voter must be heard; so must they where some are damaged, unless they are slow.
        let patient = self.dirty || (damaged && !state.hurried);
        let expected = state.asked.minus(state.answered).minus(state.silent).count();
        if state.chunks.len() < r || (patient && expected > 0) {
            return;
        }
        self.assemble(core, &mut state);
    }

    fn assemble(self: &Arc<PageOp>, core: &Arc<Core>, state: &mut State) {
        let clean_below = if self.dirty { 0 } else { self.epoch };
        let (mut merged, mut upto) = merge(core.quorum, self.need(core), self.voters, clean_below, &state.chunks);
        // Replicas that hold different orders come to more than any of them was asked for.
        let mut distinct = merged.iter().map(Merged::first).collect::<Vec<_>>();
        distinct.dedup();
        if distinct.len() > self.limit {
            let last = distinct[self.limit - 1];
            merged.retain(|item| item.first() <= last);
            upto = Some(last);
        }
        let mut orders = BTreeMap::new();
        let mut doubtful = Vec::new();
        core.recent.outdate(merged.iter().filter_map(|item| match item {
            Merged::Agreed(number, record) => Some((*number, record)),
            Merged::Read(_) | Merged::Unknown(..) => None,
        }));
        // What replicas told may have been written over since.
        let is_outrun = core.copies.load(Ordering::Acquire) != self.copies;
        // What is in doubt may have to be settled first: each is read by itself.
        let doubts = core.doubts.lock();
        let doubts = (!doubts.is_empty()).then_some(doubts);
        for item in merged {
            match item {
                Merged::Agreed(number, _) if is_outrun => doubtful.push(number),
                Merged::Agreed(number, _) if doubts.as_ref().is_some_and(|doubts| doubts.concerns(number)) => {
                    doubtful.push(number);
                }
                Merged::Agreed(number, record) => {
                    if let Some(order) = as_order(number, Some(record)) {
                        orders.insert(number, Ok(order));
                    }
                }
                Merged::Read(number) => doubtful.push(number),
                Merged::Unknown(number, _) => {
                    let faults = damage(&state.chunks);
                    orders.insert(number, Err(Error::Corrupt { set: core.id, number, faults: Faults(faults) }));
                }
            }
        }
        drop(doubts);
        // What is shown here takes effect, also where its caller was not told yet. What was given up since the look above is read by
        // itself; and all of it is where something may have been made void since, for then nobody knows of it any more.
        let shown = orders.iter().filter_map(|(number, order)| Some((*number, order.as_ref().ok()?.version)));
        let mut hidden = core.confirm_open(shown.clone());
        if core.copies.load(Ordering::Acquire) != self.copies {
            hidden = shown.map(|(number, _)| number).collect();
        }
        for number in hidden {
            orders.remove(&number);
            doubtful.push(number);
        }
        state.assembling = Some(Assembly { orders, reading: doubtful.len(), next: upto });
        if doubtful.is_empty() {
            return self.complete(core, state);
        }
        for number in doubtful {
            let op = Arc::clone(self);
            let finish = Box::new(move |result| op.read(number, result));
            // The reads of a page are part of it and hold no room of their own.
            core.read(number, self.deadline, Held::default(), finish);
        }
    }

    /// A doubtful number was read. On the notifier's thread.
    fn read(self: &Arc<PageOp>, number: OrderNumber, result: Result<Option<crate::replica::Record>, Error>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        let Some(assembly) = &mut state.assembling else { return };
        assembly.reading -= 1;
        match result {
            Ok(record) => {
                if let Some(order) = as_order(number, record) {
                    assembly.orders.insert(number, Ok(order));
                }
            }
            Err(error) => {
                assembly.orders.insert(number, Err(error));
            }
        }
        if assembly.reading == 0 {
            self.complete(&core, &mut state);
        }
    }

    fn complete(&self, core: &Core, state: &mut State) {
        let Some(assembly) = state.assembling.take() else { return };
        let page = Page { orders: assembly.orders.into_values().collect(), next: assembly.next };
        self.finish(core, state, Ok(page));
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<Page, Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }
}

impl Timed for PageOp {
    fn tick(self: Arc<PageOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.promise.as_ref()?;
        if now >= self.deadline {
            let (need, good, asked) = (self.need(core), state.chunks.len() as u8, state.asked.count());
            self.finish(core, &mut state, Err(Error::DeadlineExceeded { set: core.id, need, asked, good }));
            return None;
        }
        state.hurried = true;
        state.silent = core.passed_by();
        drop(state);
        self.ask(core, self.voters);
        self.proceed(core);
        Some(self.deadline.min(now + HURRY_AFTER))
    }
}

fn damage(chunks: &[(u8, Chunk)]) -> Vec<(u8, ReplicaError)> {
    let mut faults = Vec::new();
    for (index, chunk) in chunks {
        for item in &chunk.items {
            if let Scanned::Damaged { damage, .. } = item {
                faults.push((*index, ReplicaError::Damaged { path: Default::default(), what: damage.to_string() }));
                break;
            }
        }
    }
    faults
}
