//! What the SETs know under a key: all of them are asked at once, each in a share of the time, and what is not sure is looked at again.

use super::decide::Find;
use super::{Purpose, Request, Told, View, no_turn};
use crate::error::{Error, WriteToken};
use crate::health::Side;
use crate::order::{OrderNumber, SetId};
use crate::pending::Promise;
use crate::replica::{Origin, Version};
use crate::set::{Asker, KeyFound, Keyed, Resolved};
use crate::store::Inner;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// How often the SETs are asked at most, where what they tell changes meanwhile.
const ROUNDS_MAX: u8 = 4;

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

impl Inner {
    /// The end of one step of a create: half of what is left, so that a SET that hangs leaves enough to go elsewhere.
    fn step_deadline(&self, until: Instant) -> Instant {
        let now = Instant::now();
        now + (until.saturating_duration_since(now) / 2).min(self.settings.attempt_timeout)
    }

    /// Asks every SET which orders the key names.
    pub(super) fn ask(self: &Arc<Inner>, mut request: Box<Request>) {
        request.rounds += 1;
        // What it finds changes all the time: others are at the same orders.
        if request.rounds > ROUNDS_MAX || request.until <= Instant::now() {
            return self.end(request, Err(no_turn()));
        }
        let since = match (&request.purpose, self.keys.since(&self.settings)) {
            (Purpose::Settle(Some((since, _)), _), _) => *since,
            (_, Ok(since)) => since,
            (_, Err(reason)) => return self.end(request, Err(Error::NotAttempted { reason })),
        };
        let (key, deadline) = (request.key.clone(), self.step_deadline(request.until));
        let topology = self.topology.load_full();
        let (mut asked, mut unasked) = (Vec::new(), Vec::new());
        for shard in &topology.shards {
            // One that is known not to answer is not asked.
            match self.links.get(shard.id()).map(|link| (link, link.admit(Side::Reads))) {
                Some((link, Ok(permit))) => asked.push((shard, link, permit)),
                _ => unasked.push(shard.id()),
            }
        }
        let view = View { unasked, since: Some(since), ..View::default() };
        let gather = Gather::new(self, asked.len(), request, view, Inner::told);
        for (shard, link, permit) in asked {
            let (set, gather) = (shard.id(), Arc::clone(&gather));
            let promise = link.watched(Side::Reads, permit, Promise::calling(move |result| gather.told((set, result))));
            shard.keyed(key.clone(), since, deadline, promise);
        }
        gather.begun();
    }

    /// All that were asked have answered, or have not in time.
    fn told(self: &Arc<Inner>, mut request: Box<Request>, mut view: View, answers: Vec<(SetId, Result<KeyFound, Error>)>) {
        let is_closed = |(_, answer): &(SetId, Result<KeyFound, Error>)| matches!(answer, Err(Error::Closed));
        if !answers.is_empty() && answers.iter().all(is_closed) {
            return self.end(request, Err(Error::Closed));
        }
        for (set, answer) in answers {
            match answer {
                Ok(KeyFound { orders, ended, partly_in }) => {
                    view.ended.extend(ended);
                    view.finds.extend(orders.into_iter().map(|keyed| Find::of(keyed, false)));
                    view.partly_asked.extend(partly_in.map(|epoch| (set, epoch)));
                }
                Err(_) => view.unasked.push(set),
            }
        }
        view.unasked.sort_unstable();
        view.partly_asked.sort_unstable();
        // Forgotten with its day.
        let since = self.keys.since(&self.settings);
        request.told.take_if(|told| since.as_ref().is_ok_and(|since| told.number.day() < *since));
        if let Some(told) = &request.told {
            view.recall(told);
        }
        for (number, version) in view.said_to_end() {
            if self.doom(number, version) {
                view.finds.retain(|find| find.number != number);
            }
        }
        self.judge(request, view);
    }

    /// Reads strongly what may be the order that stands, and settles what is in doubt: that it is not found on enough replicas to read
    /// does not say that it never comes to life. Each turn of this makes one number sure or takes it, or its SET, out of what is
    /// looked at: so it ends.
    pub(super) fn look(self: &Arc<Inner>, request: Box<Request>, view: View, numbers: Vec<OrderNumber>) {
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
            Ok(shard) => shard.resolve(token, Asker::Store, deadline, Promise::calling(resolved)),
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
                    // It is settled, and in doubt no more. What it gave up is still to be named.
                    let settled = request.doubtful.take_if(|_| is_doubtful);
                    request.earlier.extend(settled.into_iter().flat_map(|doubtful| doubtful.earlier));
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
                    view.partly_asked.retain(|(partly, _)| *partly != set);
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
        let Keyed { number, version, origin, is_changed } = keyed;
        Find { number, version, origin, is_sure, is_told: false, is_changed }
    }
}

impl View {
    /// Those of which a void says that they end, and up to which version, as the walk over notes would when it came to that void; but for
    /// the one that was told.
    fn said_to_end(&self) -> Vec<(OrderNumber, Version)> {
        let ends = |find: &Find| {
            let asked_for = find.origin.asked_for(find.version);
            let said = self.ended.iter().copied().find(|(number, version)| *number == find.number && asked_for <= *version);
            said.filter(|_| !find.is_told)
        };
        self.finds.iter().filter_map(ends).collect()
    }

    /// Keeps what has to do with that order: not those that used its key again after it was forgotten.
    pub(super) fn forget_after(&mut self, number: OrderNumber) {
        let Some(about) = self.finds.iter().find(|find| find.number == number).cloned() else { return };
        self.finds.retain(|find| !about.was_forgotten_before(find));
    }

    /// What was told for the key last still stands where it was found again; and where its SET cannot be asked, since nobody else
    /// has placed another since.
    fn recall(&mut self, told: &Told) {
        let set = told.number.set_id();
        if let Some(find) = self.finds.iter_mut().find(|find| find.number == told.number) {
            find.is_told = true;
        } else if self.unasked.contains(&set) {
            let Told { number, version, request_key, unverified } = told.clone();
            let origin = Origin { request_key: Some(request_key), unverified, ..Origin::default() };
            let origin = Arc::new(origin);
            self.finds.push(Find { number, version, origin, is_sure: true, is_told: true, is_changed: false });
        }
    }
}
