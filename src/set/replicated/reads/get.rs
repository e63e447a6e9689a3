//! Reading one number: carries out the steps of a [`ReadRound`] on the readers and workers of the replicas.

use crate::error::{Error, Faults, NotAttempted};
use crate::heal::RangeKey;
use crate::order::OrderNumber;
use crate::pending::Pending;
use crate::quorum::{Answer, Mask, Outcome, ReadRound, Step};
use crate::replica::{Kind, Record, ReplicaError, Write};
use crate::set::Order;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, ReadJob};
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// When those asked first are slow, the others are asked.
const HURRY_AFTER: Duration = Duration::from_millis(50);
/// From then on, how often it is looked who is silent.
const LOOK_AFTER: Duration = Duration::from_millis(200);

/// Called on the notifier's thread.
type Finish = Box<dyn FnOnce(Result<Option<Record>, Error>) + Send>;

/// A strong read under way.
pub(crate) struct GetOp {
    core: Weak<Core>,
    number: OrderNumber,
    /// The epoch in which it began.
    epoch: u32,
    deadline: Instant,
    held: Held,
    state: Mutex<State>,
}

struct State {
    round: ReadRound,
    finish: Option<Finish>,
    hurried: bool,
}

impl Core {
    /// A strong read for a caller.
    pub(crate) fn get(self: &Arc<Core>, number: OrderNumber, deadline: Instant) -> Pending<Option<Order>> {
        let held = match self.check_floor(number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return Pending::ready(Err(error)),
        };
        let (promise, pending) = Pending::new();
        self.read(
            number,
            deadline,
            held,
            Box::new(move |result| promise.complete(result.map(|record| as_order(number, record)))),
        );
        pending
    }

    /// Room for a read among what may be in flight.
    pub(crate) fn admit_read(&self) -> Result<Held, Error> {
        // Counted before it is asked whether the SET is open, so that one that is let in is waited for at the end.
        let admitted = self.in_flight.admit(0);
        if self.is_closing() {
            admitted.into_iter().for_each(|held| self.in_flight.release(held));
            return Err(Error::Closed);
        }
        admitted.map_err(|now| {
            let reason = NotAttempted::Busy { set: self.id, operations: now.operations, bytes: now.bytes };
            Error::NotAttempted { reason }
        })
    }

    /// A strong read; `finish` is called on the notifier's thread.
    pub(crate) fn read(self: &Arc<Core>, number: OrderNumber, deadline: Instant, held: Held, finish: Finish) {
        // Before all else: a replica may return meanwhile, and with it a newer epoch. Then every range is dirty, so a range that
        // is found clean below was clean as regards what epochs before this one wrote, and nothing is taken for settled that
        // this epoch wrote. `checked` refuses the newcomer's word: this read may be asking R only, and it may have lost a write
        // that those R know from it alone.
        let epoch = self.epoch();
        // Without a claimed epoch another coordinator may be writing: no strong read.
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let dirty = self.ranges.lock().is_dirty(RangeKey::of(number));
        let silent = self.silent();
        let (mut round, step) = ReadRound::new(self.quorum, voters, dirty, epoch, self.next_start(voters, silent));
        round.pass_by(silent);
        let state = Mutex::new(State { round, finish: Some(finish), hurried: false });
        let op = Arc::new(GetOp { core: Arc::downgrade(self), number, epoch, deadline, held, state });
        op.act(self, step);
        if !op.is_finished() {
            let weak: Weak<GetOp> = Arc::downgrade(&op);
            self.watch(deadline.min(Instant::now() + HURRY_AFTER), weak);
        }
    }
}

impl GetOp {
    fn is_finished(&self) -> bool {
        self.state.lock().finish.is_none()
    }

    fn act(self: &Arc<GetOp>, core: &Arc<Core>, step: Step) {
        match step {
            Step::Wait => {}
            Step::Ask(mask) => {
                for index in mask.iter() {
                    self.ask(core, index);
                }
            }
            // W had it when its caller was told so: there is nothing to confirm.
            Step::WriteBack(record, _) if core.is_committed(self.number, record.version) => {
                self.end(core, Outcome::Value(record));
            }
            Step::WriteBack(record, mask) => {
                let write = Write::new(self.number, &record, false);
                for index in mask.iter() {
                    let op = Arc::clone(self);
                    let done = Box::new(move |index, result: Result<(), ReplicaError>| op.written(index, result.is_ok()));
                    if core.lane(index).push(Job::Write { write: write.clone(), done }).is_err() {
                        self.written(index, false);
                    }
                }
            }
            Step::Done(outcome) => self.end(core, outcome),
        }
    }

    fn ask(self: &Arc<GetOp>, core: &Arc<Core>, index: u8) {
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

    fn answered(self: &Arc<GetOp>, index: u8, result: Result<crate::replica::Lookup, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let result = core.checked(index, self.epoch, result);
        let step = self.state.lock().round.answer(index, Answer::from(result));
        self.act(&core, step);
    }

    fn written(self: &Arc<GetOp>, index: u8, good: bool) {
        let Some(core) = self.core.upgrade() else { return };
        let step = self.state.lock().round.written(index, good);
        self.act(&core, step);
    }

    fn end(&self, core: &Core, outcome: Outcome) {
        let faults = || self.state.lock().round.faults();
        let result = match outcome {
            Outcome::Value(record) => Ok(Some(record)),
            Outcome::Absent => Ok(None),
            Outcome::Lost { good } => Err(core.quorum_lost(good, faults())),
            Outcome::Corrupt => Err(Error::Corrupt { set: core.id, number: self.number, faults: Faults(faults()) }),
            Outcome::Diverged(version) => Err(Error::Diverged { number: self.number, version }),
            Outcome::Unconfirmed(record) if core.is_committed(self.number, record.version) => Ok(Some(record)),
            Outcome::Unconfirmed(_) => Err(Error::Unconfirmed { number: self.number, need: core.quorum.w() }),
        };
        self.finish(core, &mut self.state.lock(), result);
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<Option<Record>, Error>) {
        if let Some(finish) = state.finish.take() {
            // A silent replica may keep the operation for long; it need not keep what the others answered.
            state.round.forget();
            core.notifier.push(Completion { held: self.held, deliver: Deliver::Other(Box::new(move || finish(result))) });
        }
    }
}

impl Timed for GetOp {
    fn tick(self: Arc<GetOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.finish.as_ref()?;
        if now >= self.deadline {
            let (good, asked) = (state.round.good(), state.round.asked());
            let error = Error::DeadlineExceeded { set: core.id, need: core.quorum.r(), asked, good };
            self.finish(core, &mut state, Err(error));
            return None;
        }
        let mut steps = Vec::new();
        if !std::mem::replace(&mut state.hurried, true) {
            steps.push(state.round.hurry());
        }
        state.round.pass_by(core.silent());
        steps.push(state.round.decide());
        drop(state);
        for step in steps {
            self.act(core, step);
        }
        Some(self.deadline.min(now + LOOK_AFTER))
    }
}

impl Core {
    /// A read that could not be answered by enough replicas, with what is wrong with each.
    pub(crate) fn quorum_lost(&self, good: u8, mut faults: Vec<(u8, ReplicaError)>) -> Error {
        for (index, fault) in self.faults() {
            if !faults.iter().any(|(known, _)| *known == index) {
                faults.push((index, fault));
            }
        }
        faults.sort_by_key(|(index, _)| *index);
        let need = if self.epoch() == 0 { self.quorum.r().max(self.quorum.claim()) } else { self.quorum.r() };
        Error::QuorumLost { set: self.id, need, of: self.quorum.n(), good, missing: Faults(faults) }
    }

    /// What a replica answered to a question of epoch `since`, unless it was put out meanwhile: then its word counts for nothing,
    /// also when it has returned since. A panic puts it out.
    pub(crate) fn checked<T>(&self, index: u8, since: u32, result: Result<T, ReplicaError>) -> Result<T, ReplicaError> {
        let lane = self.lane(index);
        if lane.joined.load(Ordering::Acquire) > since {
            return Err(ReplicaError::Out { reason: "it has returned since it was asked".to_owned() });
        }
        if let Err(error @ ReplicaError::Panicked { .. }) = &result
            && lane.put_out(error.clone())
        {
            self.refresh_voters();
        }
        match lane.role().fault() {
            Some(fault) => Err(fault),
            None => result,
        }
    }
}

/// A record as callers see it: a void reads as absent.
pub(crate) fn as_order(number: OrderNumber, record: Option<Record>) -> Option<Order> {
    let record = record.filter(|record| record.kind == Kind::Order)?;
    Some(Order { number, version: record.version, value: record.value, stale: false })
}
