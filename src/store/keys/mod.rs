//! Creates with a request key: at most one live order comes of a key, over retries, crashes and fail-over.
//!
//! In its turn on the key (`turns.rs`) a create asks every SET which orders the key names, each in a share of its time (`ask.rs`): a SET
//! that hangs makes only itself *unverified*. What is found decides (`decide.rs`, pure), and is acted upon (`act.rs`): the order that
//! stands is the answer, or a new one is placed whose record holds the key, and the SETs that could not be asked, or only in part. The turn ends when
//! the caller is answered. A create that ended in doubt is remembered: the next one with its key finds its order, or gives its number
//! up and stands in for it.
//!
//! The walk over request keys (`store/reconcile/keys.rs`) takes its turn in the same way, and places nothing.

mod act;
mod ask;
mod decide;
mod turns;

pub(super) use self::turns::Keys;

use self::decide::Find;
use self::turns::{Room, busy};
use super::Inner;
use super::keeper::{self, in_background};
use crate::config::ConfigError;
use crate::error::{Error, NotAttempted};
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::{Pending, Promise, Refused, refusing};
use crate::replica::{REQUEST_KEY_BYTES_MAX, RequestKey, Version};
use crate::set::{Asker, Placed, Resolved};
use bytes::Bytes;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Instant;

/// Who wants the turn on a key.
pub(super) struct Request {
    key: Bytes,
    purpose: Purpose,
    until: Instant,
    /// How often the SETs were asked.
    rounds: u8,
    /// What an earlier create with that key left in doubt.
    doubtful: Option<Doubtful>,
    /// The same, once it is given up.
    given_up: Option<(OrderNumber, Version)>,
    /// What that gave up itself.
    earlier: Vec<(OrderNumber, Version)>,
    told: Option<Told>,
}

/// What a turn is for.
enum Purpose {
    /// An order is to be created, or the one that stands told.
    Create(Wanted),
    /// What the key names is to come to rest; if it is given, from that day on and as far as it has to do with that order.
    Settle(Option<(Day, OrderNumber)>, Promise<Settled>),
}

/// What a key names has come to rest.
pub(in crate::store) struct Settled {
    /// The order that stands, where there is one.
    pub(in crate::store) stands: Option<OrderNumber>,
    /// SETs that could not be asked; that order says so itself.
    pub(in crate::store) unasked: Vec<SetId>,
}

struct Wanted {
    key: RequestKey,
    payload: Bytes,
    strict: bool,
    promise: Promise<Placed>,
    room: Room,
}

/// The order that was told for a key last.
#[derive(Clone)]
pub(super) struct Told {
    number: OrderNumber,
    version: Version,
    request_key: RequestKey,
    unverified: Vec<SetId>,
}

/// A create that ended in doubt.
pub(super) struct Doubtful {
    number: OrderNumber,
    version: Version,
    /// What its caller was told.
    error: Error,
    /// What was given up before it: only this process knows where none of those attempts is on record.
    earlier: Vec<(OrderNumber, Version)>,
    is_being_settled: bool,
}

/// What the SETs have told.
#[derive(Default)]
struct View {
    finds: Vec<Find>,
    /// They could not be asked, or not be believed.
    unasked: Vec<SetId>,
    /// Not all of their replicas were heard, in this epoch.
    partly_asked: Vec<(SetId, u32)>,
    /// Numbers that end, as voids say that hold the key, and up to which version.
    ended: Vec<(OrderNumber, Version)>,
    /// From that day on.
    since: Option<Day>,
}

/// Begins a create with a key.
pub(super) fn create(
    inner: &Arc<Inner>,
    payload: &[u8],
    key: &Result<Bytes, usize>,
    strict: bool,
    until: Instant,
    promise: Promise<Placed>,
) {
    let (bytes, max) = (payload.len(), inner.settings.value_bytes_max);
    if bytes > max {
        return promise.complete(Err(Error::ValueTooLarge { bytes, max }));
    }
    let key = match key {
        Ok(key) => RequestKey::new(key, payload).ok_or(key.len()),
        Err(length) => Err(*length),
    };
    let key = match key {
        Ok(key) => key,
        Err(length) => {
            let (name, max) = ("a request key in bytes", REQUEST_KEY_BYTES_MAX as u64);
            return promise.complete(Err(ConfigError::OutOfRange { name, given: length as u64, min: 1, max }.into()));
        }
    };
    let room = match inner.keys.admit(&key.key, bytes, &inner.settings) {
        Ok(room) => room,
        Err(error) => return promise.complete(Err(error)),
    };
    let (named, payload) = (key.key.clone(), Bytes::copy_from_slice(payload));
    inner.enter(named, Purpose::Create(Wanted { key, payload, strict, promise, room }), until);
}

/// Ends the wait of those whose deadline has passed; says when to come again.
pub(super) fn expire(inner: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let (expired, next) = inner.keys.take_expired(now);
    if !expired.is_empty() {
        // Their wakers are the callers' code: not on the thread that looks after all SETs. Without one, dropping them answers.
        let _ = in_background("om-expired", move || expired.into_iter().for_each(|request| request.answer(Err(no_turn()))));
    }
    next
}

/// Settles what ended in doubt where there is much of it, so that it need not be remembered: from then on the records tell. A chore
/// of the keeper.
pub(super) fn settle(inner: &Arc<Inner>, now: Instant) -> Option<Instant> {
    for (key, token) in inner.keys.take_doubtful(SETTLED_AT_ONCE, |set| inner.may_end(set)) {
        let store = Arc::downgrade(inner);
        let settled = move |result: Result<Resolved, Error>| {
            if let Some(store) = store.upgrade() {
                store.keys.settled(&key, token.number, result.is_ok());
            }
        };
        let promise = Promise::calling(settled);
        match inner.shard(token.number.set_id()) {
            Ok(shard) => shard.resolve(token, Asker::Store, now + inner.settings.deadline, promise),
            Err(error) => promise.complete(Err(error)),
        }
    }
    Some(now + keeper::EVERY)
}

/// So many are begun at one look.
const SETTLED_AT_ONCE: usize = 64;

impl Inner {
    /// Has what `key` names come to rest, as a create would look, or `about` one order from some day on: of several orders those become void
    /// that one of them stands in for. Where a SET cannot be asked, and that order does not say so, nothing is changed.
    ///
    /// # Errors
    /// Through the pending: [`Error::KeyConflict`] when it cannot be told which one stands; others when it cannot be told now.
    pub(super) fn settle_key(
        self: &Arc<Inner>,
        key: Bytes,
        about: Option<(Day, OrderNumber)>,
        until: Instant,
    ) -> Pending<Settled> {
        let (promise, pending) = Pending::new();
        self.enter(key, Purpose::Settle(about, promise), until);
        pending
    }

    fn enter(self: &Arc<Inner>, key: Bytes, purpose: Purpose, until: Instant) {
        let named = key.clone();
        let (doubtful, given_up, told) = (None, None, None);
        let request = Request { key, purpose, until, rounds: 0, doubtful, given_up, earlier: Vec::new(), told };
        match self.keys.enter(Box::new(request)) {
            Ok(true) => self.hand_out_turns(&named),
            Ok(false) => {}
            Err(request) => request.answer(Err(busy(8_192))),
        }
    }

    /// Hands out turns on a key until one is kept or nobody waits. Each ends its wait, so this ends.
    fn hand_out_turns(self: &Arc<Inner>, key: &Bytes) {
        while let Some(request) = self.keys.next(key) {
            if request.until <= Instant::now() {
                self.end(request, Err(no_turn()));
            } else {
                self.ask(request);
            }
        }
    }

    /// Answers whoever has the turn, and ends the turn.
    fn end(self: &Arc<Inner>, request: Box<Request>, result: Result<Placed, Error>) {
        let Request { key, purpose, doubtful, given_up, .. } = *request;
        match purpose {
            Purpose::Create(Wanted { key, promise, room, .. }) => {
                drop(room);
                self.end_create(&key, doubtful, given_up, promise, result);
            }
            Purpose::Settle(_, promise) => {
                let settled = result.map(|placed| Settled { stands: Some(placed.number), unasked: Vec::new() });
                self.end_turn(&key, doubtful, None, promise, settled);
            }
        }
    }

    fn end_create(
        self: &Arc<Inner>,
        key: &RequestKey,
        doubtful: Option<Doubtful>,
        given_up: Option<(OrderNumber, Version)>,
        promise: Promise<Placed>,
        result: Result<Placed, Error>,
    ) {
        // Nobody is shown it any more, whether another was placed for it or not.
        if let Some((number, version)) = given_up {
            self.make_void(number, version);
        }
        let told = result.as_ref().ok().map(|placed| Told {
            number: placed.number,
            version: placed.version,
            request_key: key.clone(),
            unverified: placed.unverified.clone(),
        });
        self.end_turn(&key.key, doubtful, told, promise, result);
    }

    fn end_turn<T>(
        self: &Arc<Inner>,
        key: &Bytes,
        doubtful: Option<Doubtful>,
        told: Option<Told>,
        promise: Promise<T>,
        result: Result<T, Error>,
    ) {
        let hands_out = self.keys.pass_on(key, doubtful, told);
        answer(promise, result);
        if hands_out {
            self.hand_out_turns(key);
        }
    }

    /// Has an earlier order made void: at once, and where that does not succeed until it has.
    fn make_void(self: &Arc<Inner>, number: OrderNumber, version: Version) {
        self.owe_void(number, version);
        if let Ok(shard) = self.shard(number.set_id()) {
            shard.end(number, version, self.deadline(None), self.ended(number));
        }
    }
}

impl Request {
    /// Answers one that never had the turn.
    fn answer(self: Box<Request>, result: Result<Placed, Error>) {
        match self.purpose {
            Purpose::Create(Wanted { promise, room, .. }) => {
                drop(room);
                answer(promise, result);
            }
            Purpose::Settle(_, promise) => answer(promise, Err(result.map_or_else(|error| error, |_| no_turn()))),
        }
    }
}

/// Wakers are the callers' code: one that panics must not keep the turn from the next, and one that waits would hold up a thread of
/// ours, or of another caller.
fn answer<T>(promise: Promise<T>, result: Result<T, Error>) {
    let answered = catch_unwind(AssertUnwindSafe(|| refusing(Refused::Waits, || promise.complete(result))));
    if let Err(panicked) = answered {
        // What it panicked with may panic in turn when it is dropped.
        std::mem::forget(panicked);
    }
}

fn no_turn() -> Error {
    Error::NotAttempted { reason: NotAttempted::NoKeyTurn }
}

#[cfg(test)]
mod tests;
