//! Compare and set: in its turn, an order that stands at the expected version gets a new payload, or its record says more of how
//! it came to be.

use super::settle::Stands;
use super::turns::{Turn, TurnEnd};
use super::write::{Content, Written};
use crate::error::{Error, NotAttempted};
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::replica::{Draft, Kind, Origin, Record, Version};
use crate::set::replicated::Core;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::replicated::writes::create::OVERHEAD;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// An update under way.
struct UpdateOp {
    number: OrderNumber,
    expected: Version,
    deadline: Instant,
    held: Held,
    state: Mutex<State>,
}

struct State {
    /// Until it is sent.
    change: Option<Change>,
    promise: Option<Promise<Version>>,
}

/// What is to become of the order.
enum Change {
    /// A new payload.
    Payload(Draft),
    /// The same payload, and more to be said of how it came to be.
    Origin(Origin),
}

impl Core {
    /// See [`OrderStore::update`](crate::OrderStore::update).
    pub(crate) fn update(
        self: &Arc<Core>,
        number: OrderNumber,
        expected: Version,
        payload: &[u8],
        deadline: Instant,
        promise: Promise<Version>,
    ) {
        match self.admit_write(number, payload.len()) {
            Ok(held) => self.begin_update(number, expected, Change::Payload(Draft::new(payload)), held, deadline, promise),
            Err(error) => promise.complete(Err(error)),
        }
    }

    /// See [`Shard::confirm`](crate::set::Shard::confirm).
    pub(crate) fn confirm(
        self: &Arc<Core>,
        number: OrderNumber,
        expected: Version,
        more: Origin,
        deadline: Instant,
        promise: Promise<Version>,
    ) {
        // How long its payload is shows later.
        match self.admit_write(number, 0) {
            Ok(held) => self.begin_update(number, expected, Change::Origin(more), held, deadline, promise),
            Err(error) => promise.complete(Err(error)),
        }
    }

    fn begin_update(
        self: &Arc<Core>,
        number: OrderNumber,
        expected: Version,
        change: Change,
        held: Held,
        deadline: Instant,
        promise: Promise<Version>,
    ) {
        let state = State { change: Some(change), promise: Some(promise) };
        let op = Arc::new(UpdateOp { number, expected, deadline, held, state: Mutex::new(state) });
        let timed: Weak<UpdateOp> = Arc::downgrade(&op);
        self.watch_until(deadline, timed);
        if !self.take_turn(number, Arc::clone(&op) as Arc<dyn Turn>) {
            op.answer(self, Err(self.too_busy()));
        }
    }

    /// Room for a write of an order that exists, among what may be in flight.
    pub(crate) fn admit_write(&self, number: OrderNumber, bytes: usize) -> Result<Held, Error> {
        let max = self.settings.value_bytes_max;
        if bytes > max {
            return Err(Error::ValueTooLarge { bytes, max });
        }
        self.check_floor(number.day())?;
        if self.doubts.lock().are_too_many() {
            return Err(self.too_busy());
        }
        // Counted before it is asked whether the SET is open, so that one that is let in is waited for at the end.
        let admitted = self.in_flight.admit(bytes + OVERHEAD);
        if self.is_closing() {
            admitted.into_iter().for_each(|held| self.in_flight.release(held));
            return Err(Error::Closed);
        }
        admitted.map_err(|_| self.too_busy())
    }
}

impl UpdateOp {
    fn answer(&self, core: &Core, result: Result<Version, Error>) {
        let promise = self.state.lock().promise.take();
        if let Some(promise) = promise {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }

    fn end(&self, core: &Arc<Core>, result: Result<Version, Error>, end: TurnEnd) {
        self.answer(core, result);
        core.pass_on(self.number, end);
    }

    /// What stands is known: compare, and set.
    fn compare(self: Arc<Self>, core: &Arc<Core>, stands: Result<Option<Record>, Error>) {
        let (number, expected) = (self.number, self.expected);
        let record = match stands {
            Err(error) => return self.end(core, Err(error), TurnEnd::Unknown),
            Ok(None) => return self.end(core, Err(Error::NoSuchOrder { number }), TurnEnd::Unchanged),
            Ok(Some(record)) => record,
        };
        if record.kind == Kind::Void {
            return self.end(core, Err(Error::NoSuchOrder { number }), TurnEnd::Stands(record));
        }
        if record.version != expected {
            let error = Error::VersionMismatch { number, expected, actual: record.version };
            return self.end(core, Err(error), TurnEnd::Stands(record));
        }
        // From here on the deadline finds it sent.
        let mut state = self.state.lock();
        let Some(change) = state.change.take().filter(|_| state.promise.is_some()) else {
            drop(state);
            return core.pass_on(number, TurnEnd::Stands(record));
        };
        drop(state);
        let op = Arc::clone(&self);
        let (draft, origin) = match change {
            Change::Payload(draft) => (draft, record.origin.clone()),
            Change::Origin(more) => {
                let origin = record.origin.as_deref().map_or_else(|| more.clone(), |origin| origin.extended(&more));
                (Draft::new(&record.value), Some(Arc::new(origin)))
            }
        };
        let then = move |core: &Arc<Core>, written| match written {
            Written::Stored(record) => op.end(core, Ok(record.version), TurnEnd::Stands(record)),
            Written::InDoubt(error) => op.end(core, Err(error), TurnEnd::Unknown),
            Written::NotSent(error) => op.end(core, Err(error), TurnEnd::Stands(record)),
        };
        let content = Content { kind: Kind::Order, draft, origin, version: None, copies: None };
        core.write(number, content, self.deadline, Box::new(then));
    }
}

impl Turn for UpdateOp {
    fn begin(self: Arc<Self>, core: &Arc<Core>, latest: Option<Record>) {
        if self.state.lock().promise.is_none() {
            return core.pass_on(self.number, TurnEnd::Unchanged);
        }
        let (number, deadline) = (self.number, self.deadline);
        let then: Stands = Box::new(move |core, stands| self.compare(core, stands));
        core.stands(number, latest, deadline, then);
    }
}

impl Timed for UpdateOp {
    fn tick(self: Arc<UpdateOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        state.promise.as_ref()?;
        // Once it is sent the write keeps the deadline itself.
        if now < self.deadline || state.change.is_none() {
            return (now < self.deadline).then(|| again(self.deadline, now));
        }
        drop(state);
        let reason = NotAttempted::NoTurn { number: self.number };
        self.answer(core, Err(Error::NotAttempted { reason }));
        None
    }
}
