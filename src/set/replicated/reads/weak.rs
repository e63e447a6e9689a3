//! Reads that promise less than a strong one, and reads that want a version: carries out the steps of a [`WeakRound`] on the
//! readers of the replicas.

use super::get::{HURRY_AFTER, LOOK_AFTER, as_order};
use crate::error::{Error, Faults};
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::quorum::{Answer, Mask, WeakOutcome, WeakRound, WeakStep};
use crate::replica::{Lookup, Record, ReplicaError, Version};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::{Order, Reading, Strength};
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// A weak or degraded read under way.
struct WeakOp {
    core: Weak<Core>,
    number: OrderNumber,
    /// The epoch in which it began.
    epoch: u32,
    reading: Reading,
    deadline: Instant,
    held: Held,
    state: Mutex<State>,
}

struct State {
    round: WeakRound,
    promise: Option<Promise<Option<Order>>>,
}

impl Core {
    /// A read for a caller, as strong as `reading` says.
    pub(crate) fn get_as(
        self: &Arc<Core>,
        number: OrderNumber,
        reading: Reading,
        deadline: Instant,
        promise: Promise<Option<Order>>,
    ) {
        match (reading.strength, reading.at_least) {
            (Strength::Strong, None) => self.get(number, deadline, promise),
            (Strength::Strong, Some(wanted)) => self.get_at_least(number, wanted, deadline, promise),
            (Strength::Weak | Strength::Degraded, _) => self.get_weakly(number, reading, deadline, promise),
        }
    }

    /// A strong read, whose answer is none if it is older than `wanted`.
    fn get_at_least(self: &Arc<Core>, number: OrderNumber, wanted: Version, deadline: Instant, promise: Promise<Option<Order>>) {
        let held = match self.check_floor(number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        // Compared before it is made an order: a void reads as absent, and is a version all the same.
        let finish = move |result: Result<Option<Record>, Error>| {
            promise.complete(result.and_then(|record| {
                let found = record.as_ref().map(|record| record.version);
                match found >= Some(wanted) {
                    true => Ok(as_order(number, record)),
                    false => Err(Error::Stale { number, found, wanted }),
                }
            }));
        };
        self.read(number, deadline, held, Box::new(finish));
    }

    fn get_weakly(self: &Arc<Core>, number: OrderNumber, reading: Reading, deadline: Instant, promise: Promise<Option<Order>>) {
        let held = match self.check_floor(number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        let op = self.begin_weakly(number, reading, deadline, held, promise);
        if !op.is_finished() {
            let weak: Weak<WeakOp> = Arc::downgrade(&op);
            self.watch(deadline.min(Instant::now() + HURRY_AFTER), weak);
        }
    }

    /// Asks the first; the time is not watched yet.
    fn begin_weakly(
        self: &Arc<Core>,
        number: OrderNumber,
        reading: Reading,
        deadline: Instant,
        held: Held,
        promise: Promise<Option<Order>>,
    ) -> Arc<WeakOp> {
        let at_least = reading.at_least;
        // Before all else, as for a strong read: a replica that returns meanwhile has no say here.
        let epoch = self.epoch();
        let (mut round, step) = if reading.strength == Strength::Degraded {
            let live = self.lanes().filter(|lane| lane.role().gives_values()).map(|lane| lane.index).collect();
            WeakRound::degraded(self.quorum, live, at_least)
        } else {
            // Without a claimed epoch voters may be behind another coordinator, and how far nobody here knows.
            let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
            WeakRound::weak(self.quorum, voters, self.next_start(voters, self.silent()), at_least)
        };
        round.pass_by(self.silent_lanes());
        let state = Mutex::new(State { round, promise: Some(promise) });
        let op = Arc::new(WeakOp { core: Arc::downgrade(self), number, epoch, reading, deadline, held, state });
        op.act(self, step);
        op
    }

    /// The replicas, voters or not, that have been inside one read for so long that they are not waited for.
    fn silent_lanes(&self) -> Mask {
        self.lanes().filter(|lane| lane.is_silent()).map(|lane| lane.index).collect()
    }

    /// What a replica's answer comes to in a degraded read, by the role that it has now.
    fn heard(&self, index: u8, since: u32, result: Result<Lookup, ReplicaError>) -> Answer {
        match (self.checked(index, since, result.clone()), result) {
            (Err(fault), Ok(lookup)) if self.lane(index).role().gives_values() => Answer::from(Ok(lookup)).in_limbo(fault),
            (checked, _) => Answer::from(checked),
        }
    }
}

impl WeakOp {
    fn is_finished(&self) -> bool {
        self.state.lock().promise.is_none()
    }

    fn is_degraded(&self) -> bool {
        self.reading.strength == Strength::Degraded
    }

    fn act(self: &Arc<WeakOp>, core: &Arc<Core>, step: WeakStep) {
        match step {
            WeakStep::Wait => {}
            WeakStep::Ask(mask) => {
                for index in mask.iter() {
                    self.ask(core, index);
                }
            }
            WeakStep::Done(outcome) => self.end(core, outcome),
        }
    }

    fn ask(self: &Arc<WeakOp>, core: &Arc<Core>, index: u8) {
        let (op, number) = (Arc::clone(self), self.number);
        let job: ReadJob = Box::new(move |replica| {
            // It waited too long: a replica that comes back need not work off what nobody waits for.
            if op.is_finished() {
                return;
            }
            let result = replica.and_then(|replica| guarded(|| replica.get(number)));
            op.answered(index, result);
        });
        if core.lane(index).read(job).is_err() {
            self.answered(index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
        }
    }

    fn answered(self: &Arc<WeakOp>, index: u8, result: Result<Lookup, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let answer = match self.is_degraded() {
            true => core.heard(index, self.epoch, result),
            false => Answer::from(core.checked(index, self.epoch, result)),
        };
        let step = self.state.lock().round.answer(index, answer);
        self.act(&core, step);
    }

    /// No lock of the read is held here: what is known of newer versions lies behind others.
    fn end(&self, core: &Core, outcome: WeakOutcome) {
        let faults = || self.state.lock().round.faults();
        let number = self.number;
        let result = match outcome {
            WeakOutcome::Value(record) if core.doubts.lock().is_given_up(number, record.version) => Ok(None),
            WeakOutcome::Value(record) => Ok(shown(number, record, core.newest_known(number))),
            WeakOutcome::Absent => Ok(None),
            WeakOutcome::Stale { found, wanted } => Err(Error::Stale { number, found, wanted }),
            WeakOutcome::Diverged(version) => Err(Error::Diverged { number, version }),
            WeakOutcome::Corrupt => Err(Error::Corrupt { set: core.id, number, faults: Faults(faults()) }),
            WeakOutcome::Lost { good } => Err(self.lost(core, good, faults())),
        };
        self.finish(core, result);
    }

    fn lost(&self, core: &Core, good: u8, faults: Vec<(u8, ReplicaError)>) -> Error {
        let mut error = core.quorum_lost(core.quorum.r(), good, faults);
        if let Error::QuorumLost { need, .. } = &mut error
            && self.is_degraded()
        {
            // It needs no claim, as a strong read does: R who say that there is nothing, or one who has something.
            *need = core.quorum.r();
        }
        error
    }

    fn finish(&self, core: &Core, result: Result<Option<Order>, Error>) {
        let mut state = self.state.lock();
        if let Some(promise) = state.promise.take() {
            // A silent replica may keep the operation for long; it need not keep what the others answered.
            state.round.forget();
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }
}

impl Timed for WeakOp {
    fn tick(self: Arc<WeakOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.promise.as_ref()?;
        if now >= self.deadline {
            let (verdict, good, asked) = (state.round.verdict(), state.round.good(), state.round.asked());
            drop(state);
            match verdict {
                // Less than could have come, and better than nothing.
                Some(outcome) => self.end(core, outcome),
                None => {
                    let error = Error::DeadlineExceeded { set: core.id, need: core.quorum.r(), asked, good };
                    self.finish(core, Err(error));
                }
            }
            return None;
        }
        state.round.pass_by(core.silent_lanes());
        let step = state.round.look();
        drop(state);
        self.act(core, step);
        Some(self.deadline.min(now + LOOK_AFTER))
    }
}

/// A record as callers see it; `known` is the newest version known to exist.
fn shown(number: OrderNumber, record: Record, known: Option<Version>) -> Option<Order> {
    let order = as_order(number, Some(record))?;
    let stale = known > Some(order.version);
    Some(Order { stale, ..order })
}

#[cfg(test)]
mod tests;
