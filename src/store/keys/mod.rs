//! Creates with a request key: at most one live order comes of a key, over retries, crashes and fail-over.
//!
//! In its turn on the key a create asks every SET which orders the key names, each in a share of its time: a SET that hangs makes
//! only itself *unverified*. What is found decides (`decide.rs`, pure): the order that stands is the answer, or a new one is placed
//! whose record holds the key, and the SETs that could not be asked. The turn ends when the caller is answered. A create that ended
//! in doubt is remembered: the next one with its key finds its order, or gives its number up and stands in for it.

mod decide;
mod turns;

pub(super) use self::turns::Keys;

use self::decide::{Find, Verdict, decide};
use self::turns::{Room, busy};
use super::Inner;
use super::keeper::{self, in_background};
use crate::config::ConfigError;
use crate::error::{Error, NotAttempted, WriteToken};
use crate::health::Side;
use crate::order::{OrderNumber, SetId};
use crate::pending::{Promise, Refused, refusing};
use crate::replica::{Origin, REQUEST_KEY_BYTES_MAX, RequestKey, SUPERSEDES_MAX, Version};
use crate::set::{Caller, Keyed, Placed, Resolved, Trail};
use bytes::Bytes;
use parking_lot::Mutex;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Weak};
use std::time::Instant;

/// How often the SETs are asked at most, where what they tell changes meanwhile.
const ROUNDS_MAX: u8 = 4;

/// A create with a key.
pub(super) struct Request {
    key: RequestKey,
    payload: Bytes,
    strict: bool,
    until: Instant,
    promise: Promise<Placed>,
    /// How often the SETs were asked.
    rounds: u8,
    /// What an earlier create with that key left in doubt.
    doubtful: Option<Doubtful>,
    /// The same, once it is given up.
    given_up: Option<(OrderNumber, Version)>,
    /// What that gave up itself.
    earlier: Vec<(OrderNumber, Version)>,
    told: Option<Told>,
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

/// The most numbers that one create hands on to the next. What is beyond is still ended by this process.
const EARLIER_MAX: usize = 12;
// With the attempts of one create, three at most, they fit into its record.
const _: () = assert!(EARLIER_MAX + 3 <= SUPERSEDES_MAX);

/// What the SETs have told.
#[derive(Default)]
struct View {
    finds: Vec<Find>,
    /// They could not be asked, or not be believed.
    unasked: Vec<SetId>,
}

/// What is asked of several SETs at once. Whoever brings the last answer goes on.
struct Gather<T> {
    store: Weak<Inner>,
    state: Mutex<Gathering<T>>,
    /// With the request, what was known before, and all answers.
    then: fn(&Arc<Inner>, Box<Request>, View, Vec<T>),
}

struct Gathering<T> {
    missing: usize,
    answers: Vec<T>,
    request: Option<(Box<Request>, View)>,
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
    let request = Request {
        key,
        payload,
        strict,
        until,
        promise,
        rounds: 0,
        doubtful: None,
        given_up: None,
        earlier: Vec::new(),
        told: None,
        room,
    };
    match inner.keys.enter(Box::new(request)) {
        Ok(true) => inner.hand_out_turns(&named),
        Ok(false) => {}
        Err(request) => request.answer(Err(busy(8_192))),
    }
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
            Ok(shard) => shard.resolve(token, now + inner.settings.deadline, promise),
            Err(error) => promise.complete(Err(error)),
        }
    }
    Some(now + keeper::EVERY)
}

/// So many are begun at one look.
const SETTLED_AT_ONCE: usize = 64;

impl Inner {
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

    /// The end of one step of a create: half of what is left, so that a SET that hangs leaves enough to go elsewhere.
    fn step_deadline(&self, until: Instant) -> Instant {
        let now = Instant::now();
        now + (until.saturating_duration_since(now) / 2).min(self.settings.attempt_timeout)
    }

    /// Asks every SET which orders the key names.
    fn ask(self: &Arc<Inner>, mut request: Box<Request>) {
        request.rounds += 1;
        // What it finds changes all the time: others are at the same orders.
        if request.rounds > ROUNDS_MAX || request.until <= Instant::now() {
            return self.end(request, Err(no_turn()));
        }
        let since = match self.keys.since(&self.settings) {
            Ok(since) => since,
            Err(reason) => return self.end(request, Err(Error::NotAttempted { reason })),
        };
        let (key, deadline) = (request.key.key.clone(), self.step_deadline(request.until));
        let topology = self.topology.load_full();
        let (mut asked, mut unasked) = (Vec::new(), Vec::new());
        for shard in &topology.shards {
            // One that is known not to answer is not asked.
            match self.links.get(shard.id()).map(|link| (link, link.admit(Side::Reads))) {
                Some((link, Ok(permit))) => asked.push((shard, link, permit)),
                _ => unasked.push(shard.id()),
            }
        }
        let view = View { finds: Vec::new(), unasked };
        let gather = Gather::new(self, asked.len(), request, view, Inner::told);
        for (shard, link, permit) in asked {
            let (set, gather) = (shard.id(), Arc::clone(&gather));
            let promise = link.watched(Side::Reads, permit, Promise::calling(move |result| gather.told((set, result))));
            shard.keyed(key.clone(), since, deadline, promise);
        }
        gather.begun();
    }

    /// All that were asked have answered, or have not in time.
    fn told(self: &Arc<Inner>, mut request: Box<Request>, mut view: View, answers: Vec<(SetId, Result<Vec<Keyed>, Error>)>) {
        let is_closed = |(_, answer): &(SetId, Result<Vec<Keyed>, Error>)| matches!(answer, Err(Error::Closed));
        if !answers.is_empty() && answers.iter().all(is_closed) {
            return self.end(request, Err(Error::Closed));
        }
        for (set, answer) in answers {
            match answer {
                Ok(found) => view.finds.extend(found.into_iter().map(|keyed| Find::of(keyed, false))),
                Err(_) => view.unasked.push(set),
            }
        }
        view.unasked.sort_unstable();
        // Forgotten with its day.
        let since = self.keys.since(&self.settings);
        request.told.take_if(|told| since.as_ref().is_ok_and(|since| told.number.day() < *since));
        if let Some(told) = &request.told {
            view.recall(told);
        }
        self.judge(request, view);
    }

    /// Decides what to do, and begins it.
    fn judge(self: &Arc<Inner>, mut request: Box<Request>, view: View) {
        let Request { key, strict, .. } = &*request;
        let verdict = decide(&view.finds, &view.unasked, key, *strict, self.settings.request_key_days);
        if !matches!(verdict, Verdict::Look(_)) {
            // What is found is not in doubt any more: it was read strongly, or gives way to what was.
            let finds = &view.finds;
            request.doubtful.take_if(|doubtful| finds.iter().any(|find| find.number == doubtful.number));
        }
        // No answer, and no other order, before it is certain that this one never comes to life.
        if matches!(verdict, Verdict::Place | Verdict::Stands { .. })
            && let Some(doubtful) = request.doubtful.take()
        {
            let given_up = match self.shard(doubtful.number.set_id()) {
                Ok(shard) => shard.give_up(doubtful.number, doubtful.version),
                // Its SET is gone, and nobody is shown anything of it.
                Err(_) => Some(doubtful.version),
            };
            match given_up {
                Some(version) => {
                    request.given_up = Some((doubtful.number, version));
                    request.earlier = doubtful.earlier;
                }
                // Somebody was shown it, or is settling it.
                None => {
                    let numbers = vec![doubtful.number];
                    request.doubtful = Some(doubtful);
                    return self.look(request, view, numbers);
                }
            }
        }
        match verdict {
            Verdict::Look(numbers) => self.look(request, view, numbers),
            Verdict::Place => self.place_keyed(request, view.unasked),
            Verdict::Stands { number, version, unverified, missing, voids } => {
                self.repeat(request, Placed::again(number, version, unverified), missing, voids);
            }
            Verdict::Reused(number) => self.end(request, Err(Error::KeyReused { number })),
            Verdict::Unverified(sets) => self.end(request, Err(Error::KeyUnverified { sets })),
            Verdict::Conflict(numbers) => self.end(request, Err(Error::KeyConflict { numbers })),
        }
    }

    /// Reads strongly what may be the order that stands, and settles what is in doubt: that it is not found on enough replicas to read
    /// does not say that it never comes to life. Each turn of this makes one number sure or takes it, or its SET, out of what is
    /// looked at: so it ends.
    fn look(self: &Arc<Inner>, request: Box<Request>, view: View, numbers: Vec<OrderNumber>) {
        if request.until <= Instant::now() {
            return self.end(request, Err(no_turn()));
        }
        let deadline = self.step_deadline(request.until);
        let doubtful = request.doubtful.as_ref();
        let doubtful = doubtful.map(|doubtful| WriteToken { number: doubtful.number, version: doubtful.version });
        let gather = Gather::new(self, numbers.len(), request, view, Inner::looked);
        for number in numbers {
            let promise = {
                let gather = Arc::clone(&gather);
                Promise::calling(move |result| gather.told((number, result)))
            };
            match doubtful.filter(|token| token.number == number) {
                Some(token) => self.settle_and_look(token, deadline, promise),
                None => self.look_at(number, deadline, promise),
            }
        }
        gather.begun();
    }

    fn look_at(&self, number: OrderNumber, deadline: Instant, promise: Promise<Option<Keyed>>) {
        match self.shard(number.set_id()) {
            Ok(shard) => shard.keyed_at(number, deadline, promise),
            Err(error) => promise.complete(Err(error)),
        }
    }

    /// What comes of a create in doubt: there is an order now, or there never will be one.
    fn settle_and_look(self: &Arc<Inner>, token: WriteToken, deadline: Instant, promise: Promise<Option<Keyed>>) {
        let store = Arc::downgrade(self);
        let resolved = move |result: Result<Resolved, Error>| match (result, store.upgrade()) {
            (Ok(Resolved::NotApplied), _) => promise.complete(Ok(None)),
            // Superseded: somebody wrote it since.
            (Ok(Resolved::Applied) | Err(Error::Superseded { .. }), Some(store)) => {
                store.look_at(token.number, deadline, promise)
            }
            (Err(error), Some(_)) => promise.complete(Err(error)),
            (_, None) => promise.complete(Err(Error::Closed)),
        };
        match self.shard(token.number.set_id()) {
            Ok(shard) => shard.resolve(token, deadline, Promise::calling(resolved)),
            Err(error) => resolved(Err(error)),
        }
    }

    fn looked(
        self: &Arc<Inner>,
        mut request: Box<Request>,
        mut view: View,
        answers: Vec<(OrderNumber, Result<Option<Keyed>, Error>)>,
    ) {
        for (number, answer) in answers {
            let is_doubtful = request.doubtful.as_ref().is_some_and(|doubtful| doubtful.number == number);
            let was_found = view.finds.iter().any(|find| find.number == number);
            view.finds.retain(|find| find.number != number);
            match answer {
                Ok(found) => {
                    // It is settled, and in doubt no more.
                    request.doubtful.take_if(|_| is_doubtful);
                    let is_told = request.told.as_ref().is_some_and(|told| told.number == number);
                    view.finds.extend(found.map(|keyed| Find { is_told, ..Find::of(keyed, true) }));
                }
                // It may be an order, and cannot be given up. Somebody is settling it, perhaps: that ends.
                Err(_) if is_doubtful && !was_found && request.rounds < ROUNDS_MAX => request.rounds += 1,
                Err(_) if is_doubtful && !was_found => {
                    let told = request.doubtful.as_ref().map_or(Error::Closed, |doubtful| doubtful.error.clone());
                    return self.end(request, Err(told));
                }
                Err(_) => {
                    let set = number.set_id();
                    view.finds.retain(|find| find.number.set_id() != set);
                    if let Err(place) = view.unasked.binary_search(&set) {
                        view.unasked.insert(place, set);
                    }
                    if let Some(told) = &request.told {
                        view.recall(told);
                    }
                }
            }
        }
        self.judge(request, view);
    }

    /// There is none: places a new one. The turn ends with it.
    fn place_keyed(self: &Arc<Inner>, request: Box<Request>, unverified: Vec<SetId>) {
        let Request { key, payload, until, promise, given_up, mut earlier, room, .. } = *request;
        earlier.extend(given_up);
        earlier.drain(..earlier.len().saturating_sub(EARLIER_MAX));
        let log = Arc::new(Mutex::new(earlier.clone()));
        let (request_key, given_up_log) = (Some(key.clone()), Some(Arc::clone(&log)));
        let trail = Trail { request_key, unverified, earlier, given_up_log, ..Trail::default() };
        let store = Arc::downgrade(self);
        let then = move |result: Result<Placed, Error>| {
            let Some(store) = store.upgrade() else { return promise.complete(result) };
            let doubtful = match &result {
                Err(error @ Error::Ambiguous { token, .. }) => {
                    let (number, version) = (token.number, token.version);
                    let earlier = log.lock().iter().filter(|(given_up, _)| *given_up != number).copied().collect();
                    Some(Doubtful { number, version, error: error.clone(), earlier, is_being_settled: false })
                }
                _ => None,
            };
            drop(room);
            store.end_turn(&key, doubtful, given_up, promise, result);
        };
        let promise = Promise::calling(then);
        self.place(&payload, Caller { promise, until, began: Instant::now(), permit: 0, trail: Some(Box::new(trail)) });
    }

    /// There is one: that is the answer, once its record says what must be said.
    fn repeat(
        self: &Arc<Inner>,
        request: Box<Request>,
        mut placed: Placed,
        missing: Vec<SetId>,
        voids: Vec<(OrderNumber, Version)>,
    ) {
        let supersedes: Vec<_> = request.earlier.iter().copied().chain(request.given_up).collect();
        let supersedes = supersedes[supersedes.len().saturating_sub(EARLIER_MAX)..].to_vec();
        if missing.is_empty() && supersedes.is_empty() {
            voids.into_iter().for_each(|(earlier, version)| self.end_earlier(earlier, version, placed.number));
            return self.end(request, Ok(placed));
        }
        let number = placed.number;
        let shard = match self.shard(number.set_id()) {
            Ok(shard) => shard,
            Err(error) => return self.end(request, Err(error)),
        };
        let (expected, until, store) = (placed.version, request.until, Arc::downgrade(self));
        placed.unverified.extend(&missing);
        placed.unverified.sort_unstable();
        let more = Origin { supersedes, unverified: missing, ..Origin::default() };
        let confirmed = move |result: Result<Version, Error>| {
            let Some(store) = store.upgrade() else { return };
            match result {
                Ok(version) => {
                    placed.version = version;
                    voids.into_iter().for_each(|(earlier, version)| store.end_earlier(earlier, version, number));
                    store.end(request, Ok(placed));
                }
                // Changed or void meanwhile.
                Err(Error::VersionMismatch { .. } | Error::NoSuchOrder { .. }) => store.ask(request),
                Err(error) => store.end(request, Err(error)),
            }
        };
        shard.confirm(number, expected, more, until, Promise::calling(confirmed));
    }

    /// Answers a create that has the turn, and ends its turn.
    fn end(self: &Arc<Inner>, request: Box<Request>, result: Result<Placed, Error>) {
        let Request { key, promise, doubtful, given_up, room, .. } = *request;
        drop(room);
        self.end_turn(&key, doubtful, given_up, promise, result);
    }

    fn end_turn(
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
        let hands_out = self.keys.pass_on(&key.key, doubtful, told);
        answer(promise, result);
        if hands_out {
            self.hand_out_turns(&key.key);
        }
    }

    /// Has an order made void that gave way to `stands`.
    fn end_earlier(self: &Arc<Inner>, number: OrderNumber, version: Version, stands: OrderNumber) {
        self.disown(number, stands);
        self.make_void(number, version);
    }

    /// Has an earlier order made void: at once, and where that does not succeed until it has.
    fn make_void(self: &Arc<Inner>, number: OrderNumber, version: Version) {
        self.owe_void(number, version);
        if let Ok(shard) = self.shard(number.set_id()) {
            shard.end(number, version, self.deadline(None), self.ended(number));
        }
    }
}

impl<T> Gather<T> {
    /// `missing` answers are waited for, and the end of asking.
    fn new(
        store: &Arc<Inner>,
        missing: usize,
        request: Box<Request>,
        view: View,
        then: fn(&Arc<Inner>, Box<Request>, View, Vec<T>),
    ) -> Arc<Gather<T>> {
        let state = Gathering { missing: missing + 1, answers: Vec::with_capacity(missing), request: Some((request, view)) };
        Arc::new(Gather { store: Arc::downgrade(store), state: Mutex::new(state), then })
    }

    fn told(&self, answer: T) {
        let mut state = self.state.lock();
        state.answers.push(answer);
        self.count(state);
    }

    /// All were asked.
    fn begun(&self) {
        self.count(self.state.lock());
    }

    fn count(&self, mut state: parking_lot::MutexGuard<'_, Gathering<T>>) {
        state.missing -= 1;
        if state.missing > 0 {
            return;
        }
        let Some((request, view)) = state.request.take() else { return };
        let answers = std::mem::take(&mut state.answers);
        drop(state);
        // Without a store the request is dropped, which says that it is closed.
        if let Some(store) = self.store.upgrade() {
            (self.then)(&store, request, view, answers);
        }
    }
}

impl Find {
    fn of(keyed: Keyed, is_sure: bool) -> Find {
        let Keyed { number, version, origin } = keyed;
        Find { number, version, origin, is_sure, is_told: false }
    }
}

impl View {
    /// What was told for the key last still stands where it was found again; and where its SET cannot be asked, since nobody else
    /// has placed another since.
    fn recall(&mut self, told: &Told) {
        let set = told.number.set_id();
        if let Some(find) = self.finds.iter_mut().find(|find| find.number == told.number) {
            find.is_told = true;
        } else if self.unasked.contains(&set) {
            let Told { number, version, request_key, unverified } = told.clone();
            let origin = Origin { request_key: Some(request_key), unverified, ..Origin::default() };
            self.finds.push(Find { number, version, origin: Arc::new(origin), is_sure: true, is_told: true });
        }
    }
}

impl Request {
    /// Answers one that never had the turn.
    fn answer(self: Box<Request>, result: Result<Placed, Error>) {
        let Request { promise, room, .. } = *self;
        drop(room);
        answer(promise, result);
    }
}

/// Wakers are the callers' code: one that panics must not keep the turn from the next, and one that waits would hold up a thread of
/// ours, or of another caller.
fn answer(promise: Promise<Placed>, result: Result<Placed, Error>) {
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
