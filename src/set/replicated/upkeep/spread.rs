//! Meta values that all replicas of a SET keep: handed to all who vote, durable once enough have synced them, and handed to
//! whoever begins to vote later.

use super::coordinator::Timed;
use super::notify::{Completion, Deliver, Held};
use crate::error::Error;
use crate::pending::{Pending, Promise};
use crate::quorum::{Tally, Verdict};
use crate::replica::ReplicaError;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A value and how it is to be kept.
pub(crate) struct Spread {
    pub(crate) key: String,
    pub(crate) value: Bytes,
    /// Replicas that must have synced it.
    pub(crate) need: u8,
    /// What it holds of the SET's operations in flight.
    pub(crate) held: Held,
    pub(crate) deadline: Instant,
    /// Called once it is durable, before the caller is told. Our own code only, and short.
    pub(crate) reached: Box<dyn FnOnce(&Core) + Send>,
}

struct SpreadOp {
    held: Held,
    deadline: Instant,
    state: Mutex<State>,
}

struct State {
    tally: Tally,
    faults: Vec<(u8, ReplicaError)>,
    reached: Option<Box<dyn FnOnce(&Core) + Send>>,
    promise: Option<Promise<()>>,
}

impl Core {
    /// The SET map as it is now becomes `map`, for all replicas: those that vote are given it now, and it is durable once an epoch
    /// cannot be claimed without one of them; others are given it when they return.
    pub(crate) fn spread_map(self: &Arc<Core>, value: Bytes, deadline: Instant) -> Pending<()> {
        let (key, map) = &self.map;
        // Held until the writes are queued, so that replicas see maps in the order in which they were made.
        let mut current = map.lock();
        *current = Some(value.clone());
        let (key, need, reached) = (key.clone(), self.quorum.claim(), Box::new(|_: &Core| ()));
        self.spread(Spread { key, value, need, held: Held::default(), deadline, reached })
    }

    /// Hands the SET map to a replica that begins to vote: it may have changed while an epoch was claimed there.
    pub(crate) fn hand_over_map(&self, lane: &Lane) {
        if self.map_yields {
            return;
        }
        let (key, map) = &self.map;
        // Held while it is queued, as above: a newer one comes after it.
        let current = map.lock();
        if let Some(value) = current.clone() {
            let _ = lane.push(Job::Meta { key: key.clone(), value, done: Box::new(|_, _| ()) });
        }
    }

    /// Hands a value to all who vote. Does not block; called under the lock that keeps values of one key in order.
    pub(crate) fn spread(self: &Arc<Core>, spread: Spread) -> Pending<()> {
        let Spread { key, value, need, held, deadline, reached } = spread;
        let (promise, pending) = Pending::new();
        let voters = self.voters();
        let tally = Tally::new(need, voters);
        let state = State { tally, faults: Vec::new(), reached: Some(reached), promise: Some(promise) };
        let op = Arc::new(SpreadOp { held, deadline, state: Mutex::new(state) });
        for index in voters.iter() {
            let (answering, core) = (Arc::clone(&op), Arc::downgrade(self));
            let done = Box::new(move |index, result| {
                if let Some(core) = core.upgrade() {
                    answering.answered(&core, index, result);
                }
            });
            if self.lane(index).push(Job::Meta { key: key.clone(), value: value.clone(), done }).is_err() {
                op.answered(self, index, Err(ReplicaError::Out { reason: "too much waits for it".to_owned() }));
            }
        }
        op.settle(self, &mut op.state.lock());
        let weak: Weak<SpreadOp> = Arc::downgrade(&op);
        self.watch(deadline, weak);
        pending
    }
}

impl SpreadOp {
    fn answered(&self, core: &Core, index: u8, result: Result<(), ReplicaError>) {
        let mut state = self.state.lock();
        state.tally.record(index, result.is_ok());
        if let Err(error) = result {
            state.faults.push((index, error));
        }
        self.settle(core, &mut state);
    }

    fn settle(&self, core: &Core, state: &mut State) {
        match state.tally.verdict() {
            Verdict::Pending => {}
            Verdict::Reached => {
                if let Some(reached) = state.reached.take() {
                    reached(core);
                }
                self.finish(core, state, Ok(()));
            }
            Verdict::Lost => {
                let mut error = core.quorum_lost(core.quorum.r(), state.tally.acked(), state.faults.clone());
                if let Error::QuorumLost { need, .. } = &mut error {
                    *need = state.tally.need();
                }
                self.finish(core, state, Err(error));
            }
        }
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<(), Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }
}

impl Timed for SpreadOp {
    fn tick(self: Arc<SpreadOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        if now < self.deadline {
            return state.promise.as_ref().map(|_| self.deadline);
        }
        let (need, good) = (state.tally.need(), state.tally.acked());
        let asked = good + state.tally.failed() + state.tally.in_flight();
        self.finish(core, &mut state, Err(Error::DeadlineExceeded { set: core.id, need, asked, good }));
        None
    }
}
