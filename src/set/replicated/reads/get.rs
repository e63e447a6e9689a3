//! Reading one number strongly: carries out the steps of a [`ReadRound`] on the readers and workers of the replicas.
//!
//! Writing back is writing: it waits for its turn. A read that meets a version on its way waits for the outcome.

use crate::error::{Error, Faults, NotAttempted};
use crate::heal::RangeKey;
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::quorum::{Answer, Mask, Outcome, ReadRound, Step};
use crate::replica::Version;
use crate::replica::{Kind, Record, ReplicaError, Write};
use crate::set::Order;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, ReadJob};
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::reads::recent::Changes;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::replicated::writes::settle::Stands;
use crate::set::replicated::writes::turns::{Turn, TurnEnd};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// When those asked first are slow, the others are asked.
pub(super) const HURRY_AFTER: Duration = Duration::from_millis(50);
/// From then on, how often it is looked who is silent.
pub(in crate::set::replicated) const LOOK_AFTER: Duration = Duration::from_millis(200);

/// Called on the notifier's thread.
type Finish = Box<dyn FnOnce(Result<Option<Record>, Error>) + Send>;

/// To whom the result goes.
enum To {
    Caller(Finish),
    /// Our own code, which does not block: at once, on whatever thread.
    Us(Stands),
    /// The same, for who settles doubts.
    Settler(Settle),
}

/// Called with what was found, and whether it is on W replicas.
pub(crate) type Settle = Box<dyn FnOnce(&Arc<Core>, Result<(Option<Record>, bool), Error>) + Send>;

/// On whose behalf it is read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Mode {
    /// Of somebody without a turn on the order.
    Free,
    /// Of whoever has the turn.
    Turn,
    /// Of whoever has the turn and settles doubts, the newest of which is named: all voters are asked, and what must be written
    /// under a newer version is found but not written back.
    Settle(Option<Version>),
}

/// A strong read under way.
pub(crate) struct GetOp {
    core: Weak<Core>,
    number: OrderNumber,
    /// The epoch in which it began.
    epoch: u32,
    deadline: Instant,
    held: Held,
    mode: Mode,
    began: Changes,
    /// How often doubts had begun, and ended, to be settled when it began.
    copies: u64,
    state: Mutex<State>,
}

struct State {
    round: ReadRound,
    to: Option<To>,
    hurried: bool,
    /// It waits for its turn, or for the outcome of a write; from then on answers change nothing.
    is_parked: bool,
    /// What was found is not on W replicas, and is left to who settles doubts.
    is_unconfirmed: bool,
}

impl Core {
    /// A strong read for a caller.
    pub(crate) fn get(self: &Arc<Core>, number: OrderNumber, deadline: Instant, promise: Promise<Option<Order>>) {
        let held = match self.check_floor(number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        self.read(
            number,
            deadline,
            held,
            Box::new(move |result| promise.complete(result.map(|record| as_order(number, record)))),
        );
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
        self.begin_read(number, deadline, held, Mode::Free, To::Caller(finish));
    }

    /// A strong read for whoever has the turn; `then` is called on any thread of ours.
    pub(crate) fn read_in_turn(self: &Arc<Core>, number: OrderNumber, deadline: Instant, then: Stands) {
        self.begin_read(number, deadline, Held::default(), Mode::Turn, To::Us(then));
    }

    /// A strong read of all voters for whoever settles doubts, the newest of which is named.
    pub(crate) fn read_to_settle(
        self: &Arc<Core>,
        number: OrderNumber,
        deadline: Instant,
        newest: Option<Version>,
        then: Settle,
    ) {
        self.begin_read(number, deadline, Held::default(), Mode::Settle(newest), To::Settler(then));
    }

    fn begin_read(self: &Arc<Core>, number: OrderNumber, deadline: Instant, held: Held, mode: Mode, to: To) {
        let began = self.recent.changes(number);
        let copies = self.copies.load(Ordering::Acquire);
        // Before all else: a replica may return meanwhile, and with it a newer epoch. Then every range is dirty, so a range that
        // is found clean below was clean as regards what epochs before this one wrote, and nothing is taken for settled that
        // this epoch wrote. `checked` refuses the newcomer's word: this read may be asking R only, and it may have lost a write
        // that those R know from it alone.
        let epoch = self.epoch();
        // Without a claimed epoch another coordinator may be writing: no strong read.
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let asks_all = matches!(mode, Mode::Settle(_)) || self.ranges.lock().is_dirty(RangeKey::of(number));
        let silent = self.silent();
        let (mut round, step) = ReadRound::new(self.quorum, voters, asks_all, epoch, self.next_start(voters, silent));
        round.pass_by(silent);
        let state = State { round, to: Some(to), hurried: false, is_parked: false, is_unconfirmed: false };
        let core = Arc::downgrade(self);
        let op = Arc::new(GetOp { core, number, epoch, deadline, held, mode, began, copies, state: Mutex::new(state) });
        op.act(self, step);
        if !op.is_finished() {
            let weak: Weak<GetOp> = Arc::downgrade(&op);
            self.watch(deadline.min(Instant::now() + HURRY_AFTER), weak);
        }
    }
}

impl GetOp {
    fn is_finished(&self) -> bool {
        self.state.lock().to.is_none()
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
            Step::WriteBack(record, mask) => match self.mode {
                Mode::Free => {
                    self.park();
                    if !core.await_landing(self.number, record.version, self) {
                        self.wait_for_turn(core);
                    }
                }
                Mode::Settle(newest)
                    if newest.is_some_and(|newest| record.version < newest) || self.has_rivals(core, &record) =>
                {
                    self.state.lock().is_unconfirmed = true;
                    self.end(core, Outcome::Value(record));
                }
                Mode::Turn if self.has_rivals(core, &record) => {
                    let to = self.state.lock().to.take();
                    if let Some(To::Us(then)) = to {
                        core.settle(self.number, self.deadline, then);
                    }
                }
                Mode::Turn | Mode::Settle(_) => self.write_back(core, &record, mask),
            },
            Step::Done(outcome) => self.end(core, outcome),
        }
    }

    /// Whether there may be something newer than what was found on too few replicas, on one that is away: what an earlier process
    /// left unfinished may have a rival that a later one left. Written back as it is, it would be shown now and give way to the
    /// rival when that replica returns. So it gets a version of this process, above all of theirs; unless every replica was heard.
    fn has_rivals(&self, core: &Core, record: &Record) -> bool {
        !core.is_ours(record.version.epoch) && !self.state.lock().round.heard_all()
    }

    fn write_back(self: &Arc<GetOp>, core: &Arc<Core>, record: &Record, mask: Mask) {
        let write = Write::new(self.number, record, false);
        for index in mask.iter() {
            let op = Arc::clone(self);
            let done = Box::new(move |index, result: Result<(), ReplicaError>| op.written(index, result.is_ok()));
            if core.lane(index).push(Job::Write { write: write.clone(), done }).is_err() {
                self.written(index, false);
            }
        }
    }

    /// It goes on in its turn, or when it is told of an outcome.
    fn park(&self) {
        self.state.lock().is_parked = true;
    }

    fn wait_for_turn(self: &Arc<GetOp>, core: &Arc<Core>) {
        if !core.take_turn(self.number, Arc::clone(self) as Arc<dyn Turn>) {
            self.finish(core, Err(core.too_busy()));
        }
    }

    /// What it waited for has an outcome: this stands, or nobody knows.
    pub(crate) fn landed(self: &Arc<GetOp>, core: &Arc<Core>, stands: Option<Record>) {
        match stands {
            Some(record) => self.finish(core, Ok(Some(record))),
            None if self.is_finished() => {}
            None => self.wait_for_turn(core),
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
        let mut state = self.state.lock();
        let step = state.round.answer(index, Answer::from(result));
        let is_parked = state.is_parked;
        drop(state);
        if !is_parked {
            self.act(&core, step);
        }
    }

    fn written(self: &Arc<GetOp>, index: u8, good: bool) {
        let Some(core) = self.core.upgrade() else { return };
        let step = self.state.lock().round.written(index, good);
        self.act(&core, step);
    }

    fn end(self: &Arc<GetOp>, core: &Arc<Core>, outcome: Outcome) {
        let faults = || self.state.lock().round.faults();
        let result = match outcome {
            Outcome::Value(record) => Ok(Some(record)),
            Outcome::Absent => Ok(None),
            Outcome::Lost { good } => {
                let (faults, need) = (faults(), self.state.lock().round.need());
                Err(core.quorum_lost(need, good, faults))
            }
            Outcome::Corrupt => Err(Error::Corrupt { set: core.id, number: self.number, faults: Faults(faults()) }),
            Outcome::Diverged(version) => Err(Error::Diverged { number: self.number, version }),
            Outcome::Unconfirmed(record) if core.is_committed(self.number, record.version) => Ok(Some(record)),
            Outcome::Unconfirmed(_) => Err(Error::Unconfirmed { number: self.number, need: core.quorum.w() }),
        };
        if let (Ok(Some(record)), Mode::Free | Mode::Turn) = (&result, self.mode)
            && self.is_hidden(core, record)
        {
            return;
        }
        self.finish(core, result);
    }

    /// What was found may be, or may just have been, written over with older content: then it is not shown, and the read goes on
    /// in its turn.
    fn is_hidden(self: &Arc<GetOp>, core: &Arc<Core>, record: &Record) -> bool {
        // Once parked it waits for its turn already.
        if self.state.lock().is_parked {
            return true;
        }
        if self.mode == Mode::Turn {
            let is_hidden = !core.may_show(self.number, record.version);
            let to = if is_hidden { self.state.lock().to.take() } else { None };
            if let Some(To::Us(then)) = to {
                core.settle(self.number, self.deadline, then);
            }
            return is_hidden;
        }
        // In this order. Settling that began later than this look finds what was found here, as it is on W replicas.
        let is_settling = core.is_settling(self.number);
        let below = core.doubts.lock().hides_below(self.number);
        let is_copied = is_settling || self.is_outrun(core) || below.is_some_and(|below| record.version < below);
        // Late, as what may be shown is taken for shown. What was given up and made void since the first look is not known to be
        // given up any more, so there is a last one.
        let is_hidden = is_copied || !core.may_show(self.number, record.version) || self.is_outrun(core);
        if is_hidden {
            self.park();
            if !core.await_settling(self.number, self) {
                self.wait_for_turn(core);
            }
        }
        is_hidden
    }

    /// Whether doubts were settled, of whatever order, since it began: what replicas told it may have been written over since.
    fn is_outrun(&self, core: &Core) -> bool {
        core.copies.load(Ordering::Acquire) != self.copies
    }

    fn finish(self: &Arc<GetOp>, core: &Arc<Core>, result: Result<Option<Record>, Error>) {
        let (to, is_confirmed) = {
            let mut state = self.state.lock();
            // A silent replica may keep the operation for long; it need not keep what the others answered.
            state.round.forget();
            (state.to.take(), !state.is_unconfirmed)
        };
        if let (Some(_), Ok(Some(record))) = (&to, &result)
            && !matches!(self.mode, Mode::Settle(_))
        {
            // Before anybody is told: nothing older may be shown from then on.
            core.recent.read(self.number, record, self.began);
        }
        match to {
            Some(To::Caller(finish)) => {
                let deliver = Deliver::Other(Box::new(move || finish(result)));
                core.notifier.push(Completion { held: self.held, deliver });
            }
            Some(To::Us(then)) => then(core, result),
            Some(To::Settler(then)) => then(core, result.map(|record| (record, is_confirmed))),
            None => {}
        }
    }
}

impl Turn for GetOp {
    /// In its turn it looks again: what was found before may have been written over while it waited.
    fn begin(self: Arc<GetOp>, core: &Arc<Core>, latest: Option<Record>) {
        let (number, deadline) = (self.number, self.deadline);
        if self.is_finished() {
            return core.pass_on(number, TurnEnd::Unchanged);
        }
        let then = move |core: &Arc<Core>, stands: Result<Option<Record>, Error>| {
            let end = match &stands {
                Ok(Some(record)) => TurnEnd::Stands(record.clone()),
                Ok(None) => TurnEnd::Unchanged,
                Err(_) => TurnEnd::Unknown,
            };
            self.finish(core, stands);
            core.pass_on(number, end);
        };
        core.stands(number, latest, deadline, Box::new(then));
    }
}

impl Timed for GetOp {
    fn tick(self: Arc<GetOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.to.as_ref()?;
        if now >= self.deadline {
            let (good, asked, need) = (state.round.good(), state.round.asked(), state.round.need());
            drop(state);
            let error = Error::DeadlineExceeded { set: core.id, need, asked, good };
            self.finish(core, Err(error));
            return None;
        }
        if state.is_parked {
            return Some(again(self.deadline, now));
        }
        let mut steps = Vec::new();
        if !std::mem::replace(&mut state.hurried, true) {
            steps.push(state.round.hurry());
        }
        state.round.pass_by(core.passed_by());
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
    pub(crate) fn quorum_lost(&self, need: u8, good: u8, mut faults: Vec<(u8, ReplicaError)>) -> Error {
        for (index, fault) in self.faults() {
            if !faults.iter().any(|(known, _)| *known == index) {
                faults.push((index, fault));
            }
        }
        faults.sort_by_key(|(index, _)| *index);
        let need = if self.epoch() == 0 { need.max(self.quorum.claim()) } else { need };
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
