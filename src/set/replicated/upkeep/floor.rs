//! The retention floor: days up to it were given up. Durable on a majority before anything of such a day may be dropped, so
//! that no coordinator that comes later mints on it or reads it.

use super::coordinator::Timed;
use super::notify::{Completion, Deliver, Held};
use crate::config::ConfigError;
use crate::error::Error;
use crate::order::Day;
use crate::pending::{Pending, Promise};
use crate::quorum::{Tally, Verdict};
use crate::replica::ReplicaError;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The key under which replicas keep the last day given up, as text.
pub(crate) const FLOOR_KEY: &str = "floor";

struct FloorOp {
    day: Day,
    held: Held,
    deadline: Instant,
    state: Mutex<State>,
}

struct State {
    tally: Tally,
    faults: Vec<(u8, ReplicaError)>,
    promise: Option<Promise<()>>,
}

impl Core {
    /// Whether orders of `day` can be asked for.
    pub(crate) fn check_floor(&self, day: Day) -> Result<(), Error> {
        match *self.floor.lock() {
            Some(floor) if day <= floor => Err(Error::DayDropped { set: self.id, day, floor }),
            _ => Ok(()),
        }
    }

    /// Hands the floor to a replica that was not given it while it was away.
    pub(crate) fn hand_over_floor(&self, lane: &Lane) {
        // Held while it is queued, as below: what is raised at the same time comes after it.
        let highest = self.floor_asked.lock();
        if let Some(day) = *highest {
            let (key, value) = (FLOOR_KEY.to_owned(), Bytes::from(day.to_string()));
            let _ = lane.push(Job::Meta { key, value, done: Box::new(|_, _| ()) });
        }
    }

    /// What a returning majority knows of days given up.
    pub(crate) fn take_over_floor(&self, found: Option<Day>) {
        for floor in [&self.floor_asked, &self.floor] {
            let mut floor = floor.lock();
            *floor = found.max(*floor);
        }
    }

    pub(crate) fn raise_floor(self: &Arc<Core>, day: Day, deadline: Instant) -> Pending<()> {
        // The day in use never goes down, so what is below it now stays below it.
        let minting_on = self.minting_on.lock().unwrap_or(Day::MIN);
        if day >= minting_on {
            return Pending::ready(Err(ConfigError::FloorTooHigh { set: self.id, given: day, minting_on }.into()));
        }
        if self.check_floor(day).is_err() {
            return Pending::ready(Ok(()));
        }
        let held = match self.admit_read() {
            Ok(held) => held,
            Err(error) => return Pending::ready(Err(error)),
        };
        let (promise, pending) = Pending::new();
        // Held until the writes are queued: replicas see floors in the order in which they rise, so a lower one that is raised at
        // the same time cannot be what stays on disk.
        let mut highest = self.floor_asked.lock();
        let day = highest.map_or(day, |highest| highest.max(day));
        *highest = Some(day);
        let voters = self.voters();
        let tally = Tally::new(self.quorum.majority_of_n(), voters);
        let state = Mutex::new(State { tally, faults: Vec::new(), promise: Some(promise) });
        let op = Arc::new(FloorOp { day, held, deadline, state });
        for index in voters.iter() {
            let (answering, core) = (Arc::clone(&op), Arc::downgrade(self));
            let done = Box::new(move |index, result| {
                if let Some(core) = core.upgrade() {
                    answering.answered(&core, index, result);
                }
            });
            let value = Bytes::from(day.to_string());
            if self.lane(index).push(Job::Meta { key: FLOOR_KEY.to_owned(), value, done }).is_err() {
                op.answered(self, index, Err(ReplicaError::Out { reason: "too much waits for it".to_owned() }));
            }
        }
        drop(highest);
        op.settle(self, &mut op.state.lock());
        let weak: Weak<FloorOp> = Arc::downgrade(&op);
        self.watch(deadline, weak);
        pending
    }
}

impl FloorOp {
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
                let mut floor = core.floor.lock();
                *floor = (*floor).max(Some(self.day));
                drop(floor);
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

impl Timed for FloorOp {
    fn tick(self: Arc<FloorOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
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
