//! Which orders of this SET say that something is still to be done about others: numbers that they stand in for, SETs that could not
//! be asked. Every voter tells a page of its notes; what any of them says counts, as a note must not be overlooked.

use crate::error::Error;
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::quorum::Mask;
use crate::replica::{Noted, ReplicaError};
use crate::set::NotedPage;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::reads::get::LOOK_AFTER;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A page under way. It holds no room among what is in flight: one walk asks for one page at a time.
struct NotedOp {
    core: Weak<Core>,
    limit: usize,
    /// The epoch in which it began; see `Core::read`.
    epoch: u32,
    deadline: Instant,
    state: Mutex<State>,
}

struct State {
    waiting: Mask,
    /// Not waited for where enough others have answered.
    silent: Mask,
    good: u8,
    notes: BTreeMap<OrderNumber, Noted>,
    /// The page says all there is to say up to here; `None`: up to the end.
    upto: Option<OrderNumber>,
    faults: Vec<(u8, ReplicaError)>,
    promise: Option<Promise<NotedPage>>,
}

impl Core {
    /// See [`Shard::noted`](crate::set::Shard::noted).
    pub(crate) fn noted(
        self: &Arc<Core>,
        after: Option<OrderNumber>,
        limit: usize,
        deadline: Instant,
        promise: Promise<NotedPage>,
    ) {
        if self.is_closing() {
            return promise.complete(Err(Error::Closed));
        }
        let epoch = self.epoch();
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let state = State {
            waiting: voters,
            silent: self.silent(),
            good: 0,
            notes: BTreeMap::new(),
            upto: None,
            faults: Vec::new(),
            promise: Some(promise),
        };
        let op = Arc::new(NotedOp { core: Arc::downgrade(self), limit, epoch, deadline, state: Mutex::new(state) });
        for index in voters.iter() {
            let asked = Arc::clone(&op);
            let job: ReadJob = Box::new(move |replica| {
                asked.answered(index, replica.and_then(|replica| guarded(|| replica.noted(after, limit))));
            });
            if self.lane(index).read(job).is_err() {
                op.answered(index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
            }
        }
        op.proceed(self, &mut op.state.lock());
        let weak: Weak<NotedOp> = Arc::downgrade(&op);
        self.watch(deadline.min(Instant::now() + LOOK_AFTER), weak);
    }
}

impl NotedOp {
    fn answered(&self, index: u8, result: Result<Vec<Noted>, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        state.waiting = state.waiting.without(index);
        match core.checked(index, self.epoch, result) {
            Ok(notes) => {
                state.good += 1;
                if notes.len() >= self.limit
                    && let Some(last) = notes.last().map(|note| note.number)
                {
                    state.upto = Some(state.upto.map_or(last, |upto| upto.min(last)));
                }
                for note in notes {
                    join(&mut state.notes, note);
                }
            }
            Err(error) => state.faults.push((index, error)),
        }
        self.proceed(&core, &mut state);
    }

    fn proceed(&self, core: &Core, state: &mut State) {
        let need = core.quorum.r().max(core.quorum.claim());
        if state.good >= need && state.waiting.minus(state.silent).is_empty() {
            let (upto, notes) = (state.upto, std::mem::take(&mut state.notes));
            let notes = notes.into_values().filter(|note| upto.is_none_or(|upto| note.number <= upto)).collect();
            self.finish(core, state, Ok(NotedPage { notes, next: upto }));
        } else if state.waiting.is_empty() {
            let error = core.quorum_lost(need, state.good, state.faults.clone());
            self.finish(core, state, Err(error));
        }
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<NotedPage, Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: Held::default(), deliver });
        }
    }
}

/// What replicas say of one order, together: one may hold an older version of it.
fn join(notes: &mut BTreeMap<OrderNumber, Noted>, note: Noted) {
    let Some(held) = notes.get_mut(&note.number) else {
        notes.insert(note.number, note);
        return;
    };
    for superseded in note.supersedes {
        if !held.supersedes.contains(&superseded) {
            held.supersedes.push(superseded);
        }
    }
    for set in note.unverified {
        if !held.unverified.contains(&set) {
            held.unverified.push(set);
        }
    }
    held.request_key = held.request_key.take().or(note.request_key);
}

impl Timed for NotedOp {
    fn tick(self: Arc<NotedOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.promise.as_ref()?;
        if now >= self.deadline {
            let (need, asked, good) = (core.quorum.r().max(core.quorum.claim()), core.quorum.n(), state.good);
            self.finish(core, &mut state, Err(Error::DeadlineExceeded { set: core.id, need, asked, good }));
            return None;
        }
        state.silent = core.passed_by();
        self.proceed(core, &mut state);
        Some(self.deadline.min(now + LOOK_AFTER))
    }
}
