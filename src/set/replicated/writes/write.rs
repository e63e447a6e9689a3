//! A write of an order that exists already: one version to every voting replica, on behalf of whoever has the turn.

use crate::error::{Error, NotAttempted, WriteToken};
use crate::order::OrderNumber;
use crate::quorum::{Tally, Verdict};
use crate::replica::{Draft, Kind, Origin, Record, ReplicaError, Version, Write};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::Job;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::writes::doubts::Doubt;
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// What is to be written.
pub(crate) struct Content {
    pub(crate) kind: Kind,
    pub(crate) draft: Draft,
    /// That of the record it takes the place of: an order keeps it for life.
    pub(crate) origin: Option<Arc<Origin>>,
    /// The version, where it was drawn before: that one or none, as somebody may have been told of it.
    pub(crate) version: Option<Version>,
    /// For a write that settles others, see [`Doubt::copies`].
    pub(crate) copies: Option<Version>,
}

/// How a write ended.
pub(crate) enum Written {
    /// W replicas have synced it.
    Stored(Record),
    /// It may be there or not; the error is [`Error::Ambiguous`].
    InDoubt(Error),
    /// Nothing was sent.
    NotSent(Error),
}

/// Called once, on any thread of ours; must not block.
type Then = Box<dyn FnOnce(&Arc<Core>, Written) + Send>;

/// A write under way.
pub(crate) struct WriteOp {
    core: Weak<Core>,
    record: Record,
    number: OrderNumber,
    copies: Option<Version>,
    deadline: Instant,
    state: Mutex<State>,
}

struct State {
    tally: Tally,
    then: Option<Then>,
}

/// The origin of an order that is written anew: one that nobody asked for is marked as a copy, and all others are not.
fn marked(origin: Option<Arc<Origin>>, copies: Option<Version>) -> Option<Arc<Origin>> {
    let copy_of = copies.map(|version| origin.as_ref().map_or(version, |origin| origin.asked_for(version)));
    if origin.as_ref().and_then(|origin| origin.copy_of) == copy_of {
        return origin;
    }
    let origin = Origin { copy_of, ..origin.map(Arc::unwrap_or_clone).unwrap_or_default() };
    (!origin.is_empty()).then(|| Arc::new(origin))
}

impl Core {
    /// Draws the next version.
    pub(crate) fn draw_version(&self) -> Version {
        let mut submit = self.submit.lock();
        submit.counter += 1;
        Version { epoch: self.epoch(), counter: submit.counter }
    }

    /// Sends a write to all voters. The caller has the turn, and keeps it until `then` was called.
    pub(crate) fn write(
        self: &Arc<Core>,
        number: OrderNumber,
        content: Content,
        deadline: Instant,
        then: Then,
    ) -> Option<Arc<WriteOp>> {
        let Content { kind, draft, origin, version, copies } = content;
        let origin = marked(origin, copies.filter(|_| kind == Kind::Order));
        let mut draft = draft.carrying(origin.as_deref());
        // Under the submit lock, as creates are: no version of an epoch comes into a queue after a newer epoch was begun.
        let mut submit = self.submit.lock();
        let takers = match self.can_send(draft.len()) {
            Ok(takers) => takers,
            Err(reason) => {
                drop(submit);
                then(self, Written::NotSent(Error::NotAttempted { reason }));
                return None;
            }
        };
        let epoch = self.epoch();
        let version = match version {
            Some(version) if version.epoch == epoch => version,
            // Too late: what older epochs wrote must not grow any more.
            Some(_) => {
                drop(submit);
                let reason = NotAttempted::NoTurn { number };
                then(self, Written::NotSent(Error::NotAttempted { reason }));
                return None;
            }
            None => {
                submit.counter += 1;
                Version { epoch, counter: submit.counter }
            }
        };
        draft.seal(number, kind, version, 0);
        let write = Write::encoded(number, version, draft.into_bytes().into(), false);
        let record = Record { kind, version, generation: 0, value: write.parts().0, origin };
        let state = Mutex::new(State { tally: Tally::new(self.quorum.w(), takers), then: Some(then) });
        let op = Arc::new(WriteOp { core: Arc::downgrade(self), record, number, copies, deadline, state });
        self.take_off(number, version);
        self.miss_beside(takers, number, version);
        let mut failed = Vec::new();
        for index in takers.iter() {
            let answer = Arc::clone(&op);
            let done = Box::new(move |index, result: Result<(), ReplicaError>| answer.answer(index, result.is_ok()));
            if self.lane(index).push(Job::Write { write: write.clone(), done }).is_err() {
                failed.push(index);
            }
        }
        drop(submit);
        // All lanes were closed meanwhile: nothing was sent.
        if failed.len() == usize::from(takers.count()) {
            let then = op.state.lock().then.take();
            self.land(number, None);
            let error = match self.is_closing() {
                true => Error::Closed,
                false => Error::NotAttempted { reason: self.no_quorum(self.quorum.w()) },
            };
            if let Some(then) = then {
                then(self, Written::NotSent(error));
            }
            return None;
        }
        for index in failed {
            op.answer(index, false);
        }
        let weak: Weak<WriteOp> = Arc::downgrade(&op);
        self.watch_until(deadline, weak);
        Some(op)
    }
}

impl WriteOp {
    /// The answer of one replica.
    fn answer(&self, index: u8, good: bool) {
        let mut state = self.state.lock();
        match state.tally.record(index, good) {
            Verdict::Pending => {}
            Verdict::Reached => self.end(state, true),
            Verdict::Lost => self.end(state, false),
        }
    }

    /// What is known now, as an error for a caller who waits no longer.
    pub(crate) fn in_doubt(&self) -> Error {
        self.ambiguous(&self.state.lock())
    }

    fn ambiguous(&self, state: &State) -> Error {
        let token = WriteToken { number: self.number, version: self.record.version };
        let (acked, failed, in_flight) = (state.tally.acked(), state.tally.failed(), state.tally.in_flight());
        Error::Ambiguous { token, acked, failed, in_flight, need: state.tally.need() }
    }

    fn end(&self, mut state: parking_lot::MutexGuard<'_, State>, stored: bool) {
        let Some(then) = state.then.take() else { return };
        let error = self.ambiguous(&state);
        drop(state);
        // Nobody is left to tell when the SET is gone.
        let Some(core) = self.core.upgrade() else { return };
        let (number, version) = (self.number, self.record.version);
        if stored {
            // First what later reads find, then whoever waits: nobody may read what was before after being told of this.
            if let Some(copied) = self.copies {
                // What it was written over is known to nobody from here on: reads that began meanwhile look again, in their turn.
                core.copies.fetch_add(1, Ordering::AcqRel);
                core.copied(number, version, copied);
            }
            core.recent.written(number, &self.record);
            core.land(number, Some(&self.record));
            then(&core, Written::Stored(self.record.clone()));
        } else {
            core.doubts.lock().add(number, Doubt::of(version, self.copies, self.record.origin.as_deref()));
            core.recent.forget(number);
            core.land(number, None);
            then(&core, Written::InDoubt(error));
        }
    }
}

impl Timed for WriteOp {
    fn tick(self: Arc<WriteOp>, _core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        state.then.as_ref()?;
        if now < self.deadline {
            return Some(again(self.deadline, now));
        }
        self.end(state, false);
        None
    }
}
