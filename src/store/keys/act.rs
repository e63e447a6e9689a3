//! Does what was decided about a create with a key: places an order, tells the one that stands, ends those that gave way to it.

use super::decide::{Verdict, decide};
use super::{Doubtful, Purpose, Request, View, Wanted};
use crate::error::Error;
use crate::order::{OrderNumber, SetId};
use crate::pending::Promise;
use crate::replica::{Origin, SUPERSEDES_MAX, Version};
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
        let (key, strict) = match &request.purpose {
            Purpose::Create(wanted) => (Some(&wanted.key), wanted.strict),
            // Nobody has said that one may stand where another SET cannot be asked.
            Purpose::Settle(_) => (None, true),
        };
        let verdict = decide(&view.finds, &view.unasked, key, strict, self.settings.request_key_days);
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
                // No other order is placed in its stead: it is settled, as its caller might.
                _ if key.is_none() => None,
                Ok(shard) => shard.give_up(doubtful.number, doubtful.version),
                // Its SET is gone, and nobody is shown anything of it.
                Err(_) => Some(doubtful.version),
            };
            match given_up {
                Some(version) => {
                    request.given_up = Some((doubtful.number, version));
                    request.earlier = doubtful.earlier;
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
            Verdict::Place => self.place_keyed(request, view.unasked),
            Verdict::Stands { number, version, unverified, missing, voids } => {
                self.repeat(request, Placed::again(number, version, unverified), missing, voids);
            }
            Verdict::Reused(number) => self.end(request, Err(Error::KeyReused { number })),
            Verdict::Unverified(sets) => self.end(request, Err(Error::KeyUnverified { sets })),
            Verdict::Conflict(numbers) => self.end(request, Err(Error::KeyConflict { numbers })),
        }
    }

    /// There is none: places a new one, if one is wanted. The turn ends with it.
    fn place_keyed(self: &Arc<Inner>, request: Box<Request>, unverified: Vec<SetId>) {
        let Request { key, purpose, until, doubtful, given_up, mut earlier, .. } = *request;
        let Wanted { key, payload, promise, room, .. } = match purpose {
            Purpose::Create(wanted) => wanted,
            Purpose::Settle(promise) => return self.end_turn(&key, doubtful, None, promise, Ok(())),
        };
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

    /// Has an order made void that gave way to `stands`.
    fn end_earlier(self: &Arc<Inner>, number: OrderNumber, version: Version, stands: OrderNumber) {
        self.disown(number, stands);
        self.make_void(number, version);
    }
}
