//! Creating an order in this SET: admit, mint, seal, hand to every voting replica; done when W have synced it.

use crate::error::{Error, Faults, NotAttempted, WriteToken};
use crate::order::{MintState, OrderNumber};
use crate::quorum::{Mask, Tally, Verdict};
use crate::replica::record::parts;
use crate::replica::{Kind, Version, Write};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::Job;
use crate::set::replicated::reads::recent::Changes;
use crate::set::replicated::upkeep::coordinator::Event;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::replicated::writes::doubts::{Doubt, Known};
use crate::set::{Caller, Creation, FailedCreate};
use parking_lot::Mutex;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// What a create costs beside its payload, counted against the bytes in flight.
pub(crate) const OVERHEAD: usize = 64;

/// A create that was sent.
pub(crate) struct CreateOp {
    write: Write,
    /// When it is asked whether to try elsewhere.
    deadline: Instant,
    /// When the caller must have an answer.
    until: Instant,
    began: Instant,
    permit: u64,
    /// There was nowhere else to try: it is looked at again so long after it began; 0 where it was not late yet.
    postponed_ms: AtomicU64,
    held: Held,
    /// What the recent orders had seen when it was sent.
    sent: Changes,
    /// Where it stands, to be looked at without its lock.
    stands: AtomicU8,
    state: Mutex<State>,
}

/// How often it is looked whether a create that is late could be tried elsewhere.
const LOOK_AGAIN: Duration = Duration::from_millis(200);

const OPEN: u8 = 0;
/// Answered with success.
const STORED: u8 = 1;
/// Answered, and it is not known whether it is stored.
const DOUBTFUL: u8 = 2;

struct State {
    tally: Tally,
    caller: Option<Caller>,
}

/// What the submit lock guards: the order in which creates get their numbers, their versions and their places in the queues.
#[derive(Default)]
pub(crate) struct Submit {
    /// The counter of the last version given out.
    pub(crate) counter: u64,
    /// Sent and perhaps not answered yet, in order; answered ones are removed from the front, and by the sweep.
    open: VecDeque<Arc<CreateOp>>,
    /// Admitted, waiting for a number.
    parked: VecDeque<Parked>,
    /// When the earliest deadline among them passes.
    sweep_at: Option<Instant>,
    closing: bool,
}

struct Parked {
    creation: Creation,
    held: Held,
}

impl CreateOp {
    pub(crate) fn write(&self) -> &Write {
        &self.write
    }

    pub(crate) fn sent(&self) -> Changes {
        self.sent
    }

    /// When this attempt began, and under which permit.
    pub(crate) fn began(&self) -> (Instant, u64) {
        (self.began, self.permit)
    }

    /// The answer of one replica; returns the completion when it decides the outcome.
    pub(crate) fn answer(&self, index: u8, good: bool) -> Option<Completion> {
        let mut state = self.state.lock();
        match state.tally.record(index, good) {
            Verdict::Pending => None,
            Verdict::Reached => self.finish(&mut state, true),
            Verdict::Lost => self.finish(&mut state, false),
        }
    }

    /// The deadline passed.
    fn expire(&self) -> Option<Completion> {
        self.finish(&mut self.state.lock(), false)
    }

    /// A read found it on W replicas.
    fn confirm(&self) -> Option<Completion> {
        self.finish(&mut self.state.lock(), true)
    }

    /// When to look at it again.
    fn ends(&self) -> Instant {
        match self.postponed_ms.load(Ordering::Relaxed) {
            0 => self.deadline,
            ms => self.until.min(self.began + Duration::from_millis(ms)),
        }
    }

    fn postpone(&self, now: Instant) {
        let since = (now + LOOK_AGAIN).saturating_duration_since(self.began);
        self.postponed_ms.store(u64::try_from(since.as_millis()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn finish(&self, state: &mut State, stored: bool) -> Option<Completion> {
        let caller = state.caller.take()?;
        self.stands.store(if stored { STORED } else { DOUBTFUL }, Ordering::Release);
        let (number, version) = (self.write.number(), self.write.version());
        let deliver = if stored {
            Deliver::Created(caller, number, version)
        } else {
            let (acked, failed, in_flight) = (state.tally.acked(), state.tally.failed(), state.tally.in_flight());
            let token = WriteToken { number, version };
            let error = Error::Ambiguous { token, acked, failed, in_flight, need: state.tally.need() };
            Deliver::Failed(Box::new(FailedCreate { caller, payload: parts(self.write.bytes()).0, error }))
        };
        Some(Completion { held: self.held, deliver })
    }

    fn stands(&self) -> u8 {
        self.stands.load(Ordering::Acquire)
    }

    fn is_finished(&self) -> bool {
        self.stands() != OPEN
    }
}

impl Core {
    /// See [`Shard::create`](crate::set::Shard::create).
    pub(crate) fn create(&self, creation: Creation) -> Result<(), Box<FailedCreate>> {
        let bytes = creation.draft.payload_len();
        let max = self.settings.value_bytes_max;
        if bytes > max {
            return Err(creation.fail(Error::ValueTooLarge { bytes, max }));
        }
        if self.doubts.lock().are_too_many() {
            return Err(creation.fail(self.too_busy()));
        }
        let held = match self.in_flight.admit(bytes + OVERHEAD) {
            Ok(held) => held,
            Err(_) if self.is_closing() => return Err(creation.fail(Error::Closed)),
            Err(now) => return Err(creation.fail(not_attempted(self.busy(now)))),
        };
        let wall_ms = self.clock.wall_ms();
        let deadline = creation.deadline;
        let mut submit = self.submit.lock();
        if submit.closing {
            drop(submit);
            return self.refuse(Parked { creation, held }, Error::Closed);
        }
        let parked = Parked { creation, held };
        match self.can_send(parked.held.bytes) {
            Err(reason) => {
                drop(submit);
                return self.refuse(parked, not_attempted(reason));
            }
            // Nobody overtakes those who wait for numbers: creates are numbered in the order in which they came.
            Ok(takers) => match submit.parked.is_empty().then(|| self.mint.try_mint(wall_ms)).flatten() {
                Some(number) => self.send(&mut submit, number, parked, takers),
                None => {
                    if let Some(reason) = self.cannot_mint() {
                        drop(submit);
                        return self.refuse(parked, not_attempted(reason));
                    }
                    submit.parked.push_back(parked);
                    self.post(Event::NumbersWanted);
                }
            },
        }
        self.sweep_by(&mut submit, deadline);
        // Amortised: each create removes up to two, so answered ones do not pile up behind the sweep.
        for _ in 0..2 {
            if !submit.open.front().is_some_and(|op| op.is_finished()) {
                break;
            }
            if let Some(op) = submit.open.pop_front() {
                self.let_go(&op);
            }
        }
        // Behind one that hangs until a far deadline they would pile up. Twice what can be in flight, so that it is rare.
        if submit.open.len() > self.settings.in_flight_max.saturating_mul(2).saturating_add(1_024) {
            self.clear_answered(&mut submit);
        }
        Ok(())
    }

    fn refuse(&self, parked: Parked, error: Error) -> Result<(), Box<FailedCreate>> {
        self.in_flight.release(parked.held);
        Err(parked.creation.fail(error))
    }

    /// The voting replicas that can take a write of `bytes` bytes now: at least W.
    pub(crate) fn can_send(&self, bytes: usize) -> Result<Mask, NotAttempted> {
        let voters = self.voters();
        let need = self.quorum.w();
        if self.epoch() == 0 || voters.count() < need {
            let need = if self.epoch() == 0 { need.max(self.quorum.claim()) } else { need };
            return Err(self.no_quorum(need));
        }
        let room: Mask = voters.iter().filter(|index| self.lane(*index).has_room_for(bytes)).collect();
        if room.count() < need { Err(self.busy(self.in_flight.now())) } else { Ok(room) }
    }

    fn busy(&self, now: Held) -> NotAttempted {
        NotAttempted::Busy { set: self.id, operations: now.operations, bytes: now.bytes }
    }

    pub(crate) fn no_quorum(&self, need: u8) -> NotAttempted {
        let have = self.voters().count();
        NotAttempted::NoQuorum { set: self.id, need, of: self.quorum.n(), have, missing: Faults(self.faults()) }
    }

    /// Why no number will come, where waiting is in vain.
    fn cannot_mint(&self) -> Option<NotAttempted> {
        let majority = self.quorum.majority_of_n();
        if self.voters().count() < majority {
            return Some(self.no_quorum(majority));
        }
        match *self.mint_state.lock() {
            MintState::Ready => None,
            MintState::ClockJump { known, clock } => Some(NotAttempted::ClockJump { set: self.id, known, clock }),
            MintState::DayFull { day } => Some(NotAttempted::DayFull { set: self.id, day }),
            MintState::ClockOutOfRange { wall_ms } => Some(NotAttempted::ClockOutOfRange { wall_ms }),
            MintState::BelowFloor { floor, clock } => Some(NotAttempted::BelowFloor { set: self.id, floor, clock }),
        }
    }

    /// Hands the order to every replica of `takers`. Under the submit lock, so that all queues see creates in order of version and
    /// of number, and runs can be packed without stragglers.
    fn send(&self, submit: &mut Submit, number: OrderNumber, parked: Parked, takers: Mask) {
        let Parked { creation: Creation { mut draft, deadline, caller }, held } = parked;
        submit.counter += 1;
        let version = Version { epoch: self.epoch(), counter: submit.counter };
        draft.seal(number, Kind::Order, version, 0);
        let write = Write::encoded(number, version, draft.into_bytes().into(), true);
        let tally = Tally::new(self.quorum.w(), takers);
        let (until, began, permit) = (caller.until, caller.began, caller.permit);
        let state = Mutex::new(State { tally, caller: Some(caller) });
        let (sent, stands, postponed_ms) = (self.recent.changes(number), AtomicU8::new(OPEN), AtomicU64::new(0));
        let op = Arc::new(CreateOp { write, deadline, until, began, permit, postponed_ms, held, sent, stands, state });
        self.miss_beside(takers, number, version);
        for index in takers.iter() {
            if self.lane(index).push(Job::Create(Arc::clone(&op))).is_err()
                && let Some(completion) = op.answer(index, false)
            {
                self.notifier.push(completion);
            }
        }
        submit.open.push_back(op);
    }

    fn sweep_by(&self, submit: &mut Submit, deadline: Instant) {
        if submit.sweep_at.is_none_or(|at| deadline < at) {
            submit.sweep_at = Some(deadline);
            self.post(Event::Wake);
        }
    }

    /// Sends what waited for numbers, as far as they reach.
    pub(crate) fn send_parked(&self) {
        let wall_ms = self.clock.wall_ms();
        let mut submit = self.submit.lock();
        while let Some(parked) = submit.parked.pop_front() {
            let takers = match self.can_send(parked.held.bytes) {
                Ok(takers) => takers,
                // Busy queues pass; the sweep ends the wait if they do not.
                Err(NotAttempted::Busy { .. }) => {
                    submit.parked.push_front(parked);
                    break;
                }
                Err(reason) => {
                    self.notifier.push(parked.fail(not_attempted(reason)));
                    continue;
                }
            };
            match self.mint.try_mint(wall_ms) {
                Some(number) => self.send(&mut submit, number, parked, takers),
                None => {
                    if let Some(reason) = self.cannot_mint() {
                        self.notifier.push(parked.fail(not_attempted(reason)));
                        continue;
                    }
                    submit.parked.push_front(parked);
                    break;
                }
            }
        }
    }

    /// Whether anything waits for a number.
    pub(crate) fn has_parked(&self) -> bool {
        !self.submit.lock().parked.is_empty()
    }

    /// Ends what is past its deadline; returns when to come again.
    pub(crate) fn sweep_creates(&self, now: Instant) -> Option<Instant> {
        let mut completions = Vec::new();
        let mut submit = self.submit.lock();
        if submit.sweep_at.is_none_or(|at| now < at) {
            return submit.sweep_at;
        }
        let late = || submit.open.iter().filter(|op| op.ends() <= now && !op.is_finished());
        let has_time = |until: Instant| until > now;
        let asks =
            late().any(|op| has_time(op.until)) || submit.parked.iter().any(|parked| has_time(parked.creation.caller.until));
        let mut elsewhere = if asks { self.listener.alternatives() } else { 0 };
        for op in late() {
            if has_time(op.until) && elsewhere == 0 {
                // Nobody else could take it: it stays, and is looked at again, until its caller's deadline.
                op.postpone(now);
                continue;
            }
            elsewhere = elsewhere.saturating_sub(u64::from(has_time(op.until)));
            completions.extend(op.expire());
        }
        self.clear_answered(&mut submit);
        let mut next: Option<Instant> = submit.open.iter().map(|op| op.ends()).min();
        let mut later = |deadline: Instant| next = Some(next.map_or(deadline, |next| next.min(deadline)));
        for parked in std::mem::take(&mut submit.parked) {
            let (deadline, until) = (parked.creation.deadline, parked.creation.caller.until);
            let ends = if elsewhere == 0 && deadline <= now { until.min(now + LOOK_AGAIN) } else { deadline };
            if ends <= now {
                completions.push(parked.fail(not_attempted(NotAttempted::NoLease { set: self.id })));
            } else {
                later(ends);
                submit.parked.push_back(parked);
            }
        }
        submit.sweep_at = next;
        drop(submit);
        self.notifier.push_all(&mut completions);
        next
    }

    /// Lets go of an answered create. All that were sent, are not open and not in doubt are on W replicas.
    fn let_go(&self, op: &CreateOp) {
        if op.stands() == DOUBTFUL {
            let doubt = Doubt::of(op.write.version(), None, op.write.origin().as_deref());
            self.doubts.lock().add(op.write.number(), doubt);
        }
    }

    /// Lets go of all that are answered.
    fn clear_answered(&self, submit: &mut Submit) {
        let (answered, open) = std::mem::take(&mut submit.open).into_iter().partition::<VecDeque<_>, _>(|op| op.is_finished());
        submit.open = open;
        answered.iter().for_each(|op| self.let_go(op));
    }

    /// Puts a create that ended in doubt on the list of doubts, if it is not there yet.
    pub(crate) fn enlist_doubtful_create(&self, number: OrderNumber) {
        let mut submit = self.submit.lock();
        if let Ok(place) = submit.open.binary_search_by_key(&number, |op| op.write.number())
            && submit.open[place].stands() == DOUBTFUL
            && let Some(op) = submit.open.remove(place)
        {
            self.let_go(&op);
        }
    }

    /// Whether a find may be shown. What is in doubt and was shown takes effect: it is not given up any more. Asked for every
    /// find before anybody is told.
    pub(crate) fn may_show(&self, number: OrderNumber, version: Version) -> bool {
        if self.is_ours(version.epoch) {
            let mut submit = self.submit.lock();
            let completion = match submit.open.binary_search_by_key(&number, |op| op.write.number()) {
                Ok(place) if submit.open[place].stands() != STORED && submit.open[place].write.version() == version => {
                    self.shown_while_open(&mut submit, place)
                }
                _ => None,
            };
            drop(submit);
            self.tell_confirmed(&mut completion.into_iter().collect());
        }
        self.doubts.lock().show(number, version)
    }

    /// Creates that were found stored before their replicas had said so.
    fn tell_confirmed(&self, completions: &mut Vec<Completion>) {
        for completion in &*completions {
            if let Deliver::Created(caller, ..) = &completion.deliver {
                self.listener.stored(caller.permit, 1, 0);
            }
        }
        self.notifier.push_all(completions);
    }

    /// As [`Core::may_show`], for finds in ascending order that are on W replicas. Answers with those that may not be shown.
    pub(crate) fn confirm_open(&self, found: impl Iterator<Item = (OrderNumber, Version)> + Clone) -> Vec<OrderNumber> {
        let mut submit = self.submit.lock();
        let mut completions = Vec::new();
        for (number, version) in found.clone() {
            if submit.open.front().is_none_or(|op| number < op.write.number()) {
                continue;
            }
            if let Ok(place) = submit.open.binary_search_by_key(&number, |op| op.write.number())
                && submit.open[place].stands() != STORED
                && submit.open[place].write.version() == version
            {
                completions.extend(self.shown_while_open(&mut submit, place));
            }
        }
        drop(submit);
        self.tell_confirmed(&mut completions);
        let mut doubts = self.doubts.lock();
        if doubts.is_empty() {
            return Vec::new();
        }
        found.filter(|(number, version)| !doubts.show(*number, *version)).map(|(number, _)| number).collect()
    }

    /// It was found on W replicas before its caller was told anything.
    fn shown_while_open(&self, submit: &mut Submit, place: usize) -> Option<Completion> {
        let completion = submit.open[place].confirm();
        if submit.open[place].stands() == DOUBTFUL
            && let Some(op) = submit.open.remove(place)
        {
            self.let_go(&op);
        }
        completion
    }

    /// Whether the outcome of a write of this process is still open.
    pub(crate) fn is_under_way(&self, number: OrderNumber, version: Version) -> bool {
        let is_open = |submit: &Submit| match submit.open.binary_search_by_key(&number, |op| op.write.number()) {
            Ok(place) => submit.open[place].stands() == OPEN,
            Err(_) => false,
        };
        self.is_in_flight(number, version) || is_open(&self.submit.lock())
    }

    /// Whether this coordinator knows that W replicas have synced this version: it was sent by it, and its caller was told.
    pub(crate) fn is_committed(&self, number: OrderNumber, version: Version) -> bool {
        // In this order: what lands in doubt is entered as such before it stops being in flight.
        if !self.is_ours(version.epoch) || self.is_in_flight(number, version) {
            return false;
        }
        let submit = self.submit.lock();
        // What was settled may have been written over with what stood before.
        let token = WriteToken { number, version };
        let doubts = self.doubts.lock();
        if doubts.concerns(number) || doubts.known(token) != Known::Never {
            return false;
        }
        drop(doubts);
        // In order of number, as they were minted under this lock.
        match submit.open.binary_search_by_key(&number, |op| op.write.number()) {
            Ok(place) => submit.open[place].stands() == STORED,
            Err(_) => true,
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closed_to_new.load(Ordering::Acquire)
    }

    /// Why no new order is taken, if none is.
    pub(crate) fn closed_for_creates(&self) -> Option<String> {
        let mints = || self.mint.left() > 0 && *self.mint_state.lock() == MintState::Ready;
        let reason = match self.can_send(0) {
            Err(NotAttempted::Busy { .. }) | Ok(_) if mints() => None,
            Err(NotAttempted::Busy { .. }) | Ok(_) => self.cannot_mint(),
            Err(reason) => Some(reason),
        };
        reason.map(|reason| reason.to_string())
    }

    /// Lets no more creates in. Those that were sent are answered; those that wait for a number are not.
    pub(crate) fn close_creates(&self) {
        let mut submit = self.submit.lock();
        submit.closing = true;
        self.closed_to_new.store(true, Ordering::Release);
        let parked = std::mem::take(&mut submit.parked);
        drop(submit);
        for parked in parked {
            self.notifier.push(parked.fail(Error::Closed));
        }
    }

    /// The close timeout passed: whatever was sent and is not answered stays in doubt.
    pub(crate) fn abandon_creates(&self) {
        let mut completions = Vec::new();
        let mut submit = self.submit.lock();
        // Under the lock: a read must not find one of them neither open nor in doubt.
        for op in std::mem::take(&mut submit.open) {
            completions.extend(op.expire());
            self.let_go(&op);
        }
        drop(submit);
        self.notifier.push_all(&mut completions);
    }
}

impl Parked {
    fn fail(self, error: Error) -> Completion {
        Completion { held: self.held, deliver: Deliver::Failed(self.creation.fail(error)) }
    }
}

impl Creation {
    fn fail(self, error: Error) -> Box<FailedCreate> {
        Box::new(FailedCreate { caller: self.caller, payload: self.draft.into_payload(), error })
    }
}

fn not_attempted(reason: NotAttempted) -> Error {
    Error::NotAttempted { reason }
}
