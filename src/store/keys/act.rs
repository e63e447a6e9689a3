//! Does what was decided about a create with a key: places an order, tells the one that stands, ends those that gave way to it.

use super::decide::{Verdict, decide};
use super::{Doubtful, Purpose, Request, Settled, View, Wanted, no_turn};
use crate::error::{Error, NotAttempted};
use crate::heal::Alarm;
use crate::order::{Day, OrderNumber};
use crate::pending::Promise;
use crate::replica::{Origin, PARTLY_ASKED_MAX, SUPERSEDES_MAX, Version};
use crate::set::{Caller, Placed, Trail};
use crate::store::Inner;
use parking_lot::Mutex;
use std::sync::Arc;
use std::time::Instant;

/// The most numbers that one create hands on to the next. What is beyond is still ended by this process.
const EARLIER_MAX: usize = 12;
// With the attempts of one create, three at most, they fit into its record.
const _: () = assert!(EARLIER_MAX + 3 <= SUPERSEDES_MAX);

impl Inner {
    /// Decides what to do, and begins it.
    pub(super) fn judge(self: &Arc<Inner>, mut request: Box<Request>, view: View) {
        let Purpose::Create(Wanted { key, strict, .. }) = &request.purpose else { return self.rest(request, view) };
        let verdict = decide(&view.finds, &view.unasked, Some(key), *strict);
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
                    request.earlier.extend(doubtful.earlier);
                }
                // It was shown to somebody, or somebody is settling it.
                None => {
                    let numbers = vec![doubtful.number];
                    request.doubtful = Some(doubtful);
                    return self.look(request, view, numbers);
                }
            }
        }
        match verdict {
            Verdict::Look(numbers) => self.look(request, view, numbers),
            Verdict::Place => self.place_keyed(request, view),
            Verdict::Stands { number, version, unverified, missing, voids, changed } => {
                self.name_changed(number, &changed);
                let origin = view.finds.iter().find(|find| find.number == number && !find.is_told).map(|find| &find.origin);
                let partly_asked = origin.map_or_else(Vec::new, |origin| origin.not_partly_asked(&view.partly_asked));
                // How far back its creator looked is not on record; so far everybody looks.
                let looked_from = view.since.map(|since| since.max(number.day().previous().unwrap_or(Day::MIN)));
                let looked_from = looked_from.filter(|_| !missing.is_empty() || !partly_asked.is_empty());
                let more = Origin { unverified: missing, partly_asked, looked_from, ..Origin::default() };
                self.repeat(request, Placed::again(number, version, unverified), more, voids);
            }
            Verdict::Reused(number) => self.end(request, Err(Error::KeyReused { number })),
            Verdict::Unverified(sets) => self.end(request, Err(Error::KeyUnverified { sets })),
            Verdict::Conflict(numbers) => self.end(request, Err(Error::KeyConflict { numbers })),
        }
    }

    /// A walk has looked: what gave way ends, and nothing else is changed. What is in doubt is left to the next create, as before.
    fn rest(self: &Arc<Inner>, request: Box<Request>, mut view: View) {
        if let Purpose::Settle(Some((_, number)), _) = request.purpose {
            view.forget_after(number);
        }
        // Nobody has said that an order may stand where another SET cannot be asked.
        let settled = match decide(&view.finds, &view.unasked, None, true) {
            // A SET that cannot be asked may hold what stands over all of them.
            Verdict::Look(_) | Verdict::Conflict(_) if !view.unasked.is_empty() => {
                Err(Error::KeyUnverified { sets: view.unasked })
            }
            Verdict::Look(numbers) => return self.look(request, view, numbers),
            Verdict::Conflict(numbers) => Err(Error::KeyConflict { numbers }),
            Verdict::Unverified(sets) => Err(Error::KeyUnverified { sets }),
            Verdict::Place | Verdict::Reused(_) => Ok(Settled { stands: None, unasked: view.unasked }),
            Verdict::Stands { number, voids, changed, .. } => {
                self.name_changed(number, &changed);
                for (earlier, version) in voids {
                    self.disown(earlier, number);
                    self.owe_void(earlier, version);
                }
                self.bell.ring();
                Ok(Settled { stands: Some(number), unasked: view.unasked })
            }
        };
        let Request { key, purpose, doubtful, .. } = *request;
        if let Purpose::Settle(_, promise) = purpose {
            self.end_turn(&key, doubtful, None, promise, settled);
        }
    }

    /// They gave way to the order that stands, and somebody changed them all the same: that is for the operator to look into.
    fn name_changed(&self, stands: OrderNumber, changed: &[OrderNumber]) {
        for other in changed {
            let mut numbers = [*other, stands];
            numbers.sort_unstable();
            self.voids.lock().alarm(Alarm::KeyTwice { numbers });
        }
    }

    /// There is none: places a new one. The turn ends with it.
    fn place_keyed(self: &Arc<Inner>, request: Box<Request>, view: View) {
        let Request { purpose, until, given_up, mut earlier, .. } = *request;
        // A walk never comes here.
        let Purpose::Create(Wanted { key, payload, promise, room, .. }) = purpose else { return };
        earlier.extend(given_up);
        earlier.drain(..earlier.len().saturating_sub(EARLIER_MAX));
        let log = Arc::new(Mutex::new(earlier.clone()));
        let (request_key, given_up_log) = (Some(key.clone()), Some(Arc::clone(&log)));
        let View { unasked: unverified, mut partly_asked, since, .. } = view;
        partly_asked.truncate(PARTLY_ASKED_MAX);
        let looked_from = since.filter(|_| !unverified.is_empty() || !partly_asked.is_empty());
        let trail = Trail { request_key, unverified, partly_asked, looked_from, earlier, given_up_log, ..Trail::default() };
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
            store.end_create(&key, doubtful, given_up, promise, result);
        };
        let promise = Promise::calling(then);
        self.place(&payload, Caller { promise, until, began: Instant::now(), permit: 0, trail: Some(Box::new(trail)) });
    }

    /// There is one: that is the answer, once its record says what must be said.
    fn repeat(
        self: &Arc<Inner>,
        request: Box<Request>,
        mut placed: Placed,
        mut more: Origin,
        voids: Vec<(OrderNumber, Version)>,
    ) {
        let supersedes: Vec<_> = request.earlier.iter().copied().chain(request.given_up).collect();
        more.supersedes = supersedes[supersedes.len().saturating_sub(EARLIER_MAX)..].to_vec();
        if more.is_empty() {
            voids.into_iter().for_each(|(earlier, version)| self.end_earlier(earlier, version, placed.number));
            return self.end(request, Ok(placed));
        }
        let number = placed.number;
        let shard = match self.shard(number.set_id()) {
            Ok(shard) => shard,
            Err(error) => return self.end(request, Err(error)),
        };
        let (expected, until, store) = (placed.version, request.until, Arc::downgrade(self));
        // Where nothing can be written this process remembers what it told.
        let may_be_left_out = more.unverified.is_empty() && more.supersedes.is_empty();
        placed.unverified.extend(&more.unverified);
        placed.unverified.sort_unstable();
        let confirmed = move |result: Result<Version, Error>| {
            let Some(store) = store.upgrade() else { return };
            match result {
                Ok(version) => {
                    placed.version = version;
                    voids.into_iter().for_each(|(earlier, version)| store.end_earlier(earlier, version, number));
                    store.end(request, Ok(placed));
                }
                Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } }) if may_be_left_out => {
                    voids.into_iter().for_each(|(earlier, version)| store.end_earlier(earlier, version, number));
                    store.end(request, Ok(placed));
                }
                // Changed or void meanwhile.
                Err(Error::VersionMismatch { .. } | Error::NoSuchOrder { .. }) => store.ask(request),
                // The order is there, whatever becomes of that write: a token of it would say that there is none.
                Err(Error::Ambiguous { .. }) => store.end(request, Err(no_turn())),
                Err(error) => store.end(request, Err(error)),
            }
        };
        shard.confirm(number, expected, more, until, Promise::calling(confirmed));
    }

    /// Has an order made void that gave way to `stands`.
    fn end_earlier(self: &Arc<Inner>, number: OrderNumber, version: Version, stands: OrderNumber) {
        self.disown(number, stands);
        self.make_void(number, version);
    }
}
