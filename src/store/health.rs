//! What becomes of calls tells how a SET is: outcomes are reported to its breakers, and the breakers have a say in where calls go.

use super::Inner;
use crate::error::{Error, NotAttempted};
use crate::health::{Board, Outcome, Permit, SetHealth, Side};
use crate::order::SetId;
use crate::pending::Promise;
use crate::set::{Order, Shard};
use crate::topology::{SetMask, Zone};
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// What joins one SET to its store.
pub(super) struct Link {
    set: SetId,
    board: Arc<Board>,
    /// Where the board's clock began.
    origin: Instant,
    store: OnceLock<Weak<Inner>>,
}

/// A SET that an order is sent to.
pub(super) struct Chosen {
    pub(super) shard: Arc<dyn Shard>,
    pub(super) link: Arc<Link>,
    pub(super) permit: u64,
}

impl Link {
    /// `origin`: where the store's clock begins.
    pub(super) fn new(set: SetId, board: Arc<Board>, origin: Instant) -> Link {
        board.add(set, millis_since(origin));
        Link { set, board, origin, store: OnceLock::new() }
    }

    /// Tells it the store, once there is one.
    pub(super) fn join(&self, store: Weak<Inner>) {
        let _ = self.store.set(store);
    }

    /// `None` before the store is open, and when it is gone.
    pub(super) fn store(&self) -> Option<Arc<Inner>> {
        self.store.get()?.upgrade()
    }

    pub(super) fn set(&self) -> SetId {
        self.set
    }

    fn now_ms(&self) -> u64 {
        millis_since(self.origin)
    }

    pub(super) fn health(&self) -> &SetHealth {
        // `new` has added it; adding again changes nothing.
        self.board.get(self.set).unwrap_or_else(|| self.board.add(self.set, self.now_ms()))
    }

    /// Leave to make a call; kept as a number in whatever is under way.
    ///
    /// # Errors
    /// [`Error::SetUnavailable`].
    pub(super) fn admit(&self, side: Side) -> Result<u64, Error> {
        let admitted = self.health().gate(side).admit(self.now_ms());
        let refused =
            |retry_after_ms| Error::SetUnavailable { set: self.set, retry_after: Duration::from_millis(retry_after_ms) };
        admitted.map(Permit::into_raw).map_err(|error| refused(error.retry_after_ms))
    }

    pub(super) fn report(&self, side: Side, permit: u64, outcome: Outcome) {
        let now_ms = self.now_ms();
        let others_are_well = || self.board.others_are_well(self.set, side, now_ms);
        self.health().gate(side).report(Permit::from_raw(permit), outcome, now_ms, others_are_well);
    }

    /// Creates of one permit are stored.
    pub(super) fn wrote(&self, permit: u64, good: u32, slow: u32) {
        let now_ms = self.now_ms();
        let health = self.health();
        health.budget.earn(good.into());
        let mut batch = health.writes.batch(now_ms, || self.board.others_are_well(self.set, Side::Writes, now_ms));
        for at in 0..good {
            batch.report(Permit::from_raw(permit), if at < slow { Outcome::Slow } else { Outcome::Good });
        }
    }

    /// A create is in doubt.
    pub(super) fn write_failed(&self, permit: u64) {
        self.report(Side::Writes, permit, Outcome::Failed);
    }

    /// A create was not sent.
    pub(super) fn not_sent(&self, permit: u64, error: &Error) {
        self.report(Side::Writes, permit, said(error));
    }

    pub(super) fn give_back(&self, permit: u64) {
        self.report(Side::Writes, permit, Outcome::Neutral);
    }

    /// Whether another attempt is paid for, after one that was in doubt here.
    pub(super) fn may_mint_again(&self) -> bool {
        self.health().budget.spend()
    }

    /// Has the outcome of a call reported when its answer comes, and the answer passed on.
    pub(super) fn watched<T: Send + 'static>(self: &Arc<Link>, side: Side, permit: u64, promise: Promise<T>) -> Promise<T> {
        let (link, began_ms) = (Arc::clone(self), self.now_ms());
        Promise::calling(move |answer| {
            let outcome = match &answer {
                Ok(_) => link.board.worked(link.now_ms().saturating_sub(began_ms)),
                Err(error) => said(error),
            };
            link.report(side, permit, outcome);
            promise.complete(answer);
        })
    }
}

/// What an error says about the SET that it comes from.
fn said(error: &Error) -> Outcome {
    match error {
        // It did not answer in time, or not enough of it did.
        Error::Ambiguous { .. } | Error::DeadlineExceeded { .. } | Error::Unconfirmed { .. } => Outcome::Failed,
        Error::NotAttempted { reason: NotAttempted::NoLease { .. } } => Outcome::Failed,
        // It answered.
        Error::VersionMismatch { .. }
        | Error::NoSuchOrder { .. }
        | Error::Stale { .. }
        | Error::Superseded { .. }
        | Error::ModifyPanicked { .. } => Outcome::Good,
        // Our own queues, the caller's fault, the order's. And too few voters: that is said at once and without asking anybody, so
        // there is nothing that a breaker would spare.
        _ => Outcome::Neutral,
    }
}

fn millis_since(origin: Instant) -> u64 {
    u64::try_from(origin.elapsed().as_millis()).unwrap_or(u64::MAX)
}

impl Inner {
    /// Milliseconds since the store was opened, by a clock that nobody sets.
    pub(super) fn now_ms(&self) -> u64 {
        millis_since(self.began)
    }

    fn chosen(&self, place: usize, permit: u64) -> Chosen {
        Chosen { shard: Arc::clone(&self.shards[place]), link: Arc::clone(&self.links[place]), permit }
    }

    /// A SET for a new order that was not tried yet: one that has to be probed, else by zone, weight and room among those whose
    /// breaker is closed.
    pub(super) fn choose(&self, tried: &[(SetId, Error)]) -> Option<Chosen> {
        let mut passed: SetMask = tried.iter().map(|(set, _)| *set).collect();
        if let Some(place) = self.board.take_wanted().and_then(|set| self.place_of(set))
            && !passed.contains(self.links[place].set)
            && let Ok(permit) = self.links[place].admit(Side::Writes)
        {
            return Some(self.chosen(place, permit));
        }
        let failed_in = tried.last().and_then(|(set, _)| self.zone_of(*set));
        let now_ms = self.now_ms();
        // Each turn passes one SET by, so this ends.
        loop {
            let load = |place: usize| self.shards[place].load();
            let may = |place: usize| self.may_take(place, now_ms);
            let place = self.choice.pick(fastrand::u64(..), &passed, failed_in, load, may)?;
            match self.links[place].admit(Side::Writes) {
                Ok(permit) => return Some(self.chosen(place, permit)),
                Err(_) => passed.insert(self.links[place].set),
            }
        }
    }

    /// Leave for a call to an order's SET, and the promise by which its outcome is heard of.
    pub(super) fn watched<T: Send + 'static>(&self, set: SetId, side: Side, promise: Promise<T>) -> Result<Promise<T>, Error> {
        let link = self.link(set)?;
        let permit = link.admit(side)?;
        Ok(link.watched(side, permit, promise))
    }

    /// For a read that is content with what there is. What a sick SET has may be older than what it acknowledged.
    pub(super) fn degraded(&self, set: SetId, promise: Promise<Option<Order>>) -> Result<Promise<Option<Order>>, Error> {
        if self.link(set)?.health().reads.is_closed() {
            return Ok(promise);
        }
        Ok(Promise::calling(move |answer: Result<Option<Order>, Error>| {
            promise.complete(answer.map(|order| order.map(|order| Order { stale: true, ..order })));
        }))
    }

    /// Whether its breaker lets orders through; while that is coming back, only its share of them.
    fn may_take(&self, place: usize, now_ms: u64) -> bool {
        match self.links[place].health().writes.share_permille(now_ms) {
            0 => false,
            1_000 => true,
            share => fastrand::u32(..1_000) < share,
        }
    }

    /// Whether a create that is late on `set` could be tried elsewhere now.
    pub(super) fn has_alternative(&self, set: SetId) -> bool {
        let now_ms = self.now_ms();
        let is_well = |place: usize| {
            let link = &self.links[place];
            link.set != set && link.health().writes.share_permille(now_ms) > 0 && self.shards[place].load() < 1_000
        };
        let is_paid = self.place_of(set).is_some_and(|place| self.links[place].health().budget.attempts() > 0);
        is_paid && self.taking().any(is_well)
    }

    /// The SETs that were not asked, as their breakers are open, and when they may be again.
    pub(super) fn unavailable<'a>(&'a self, tried: &'a [(SetId, Error)]) -> impl Iterator<Item = (SetId, Duration)> + 'a {
        let now_ms = self.now_ms();
        let untried = self.taking().filter(|place| tried.iter().all(|(set, _)| *set != self.links[*place].set));
        untried.map(move |place| {
            let link = &self.links[place];
            (link.set, Duration::from_millis(link.health().writes.retry_after_ms(now_ms)))
        })
    }

    /// Whether a number of that SET may be ended now.
    pub(super) fn may_end(&self, set: SetId) -> bool {
        self.place_of(set).is_some_and(|place| self.links[place].health().writes.is_closed())
    }

    /// What is to be done some times a second. Says whether there is more.
    pub(super) fn look_after(self: &Arc<Inner>) {
        self.deliver_voids();
        let mut idle = Vec::new();
        self.board.tick(self.now_ms(), |set, side| idle.push((set, side)));
        for (set, side) in idle {
            let Some(place) = self.place_of(set) else { continue };
            let Ok(permit) = self.links[place].admit(side) else { continue };
            let promise = self.links[place].watched(side, permit, Promise::calling(|_: Result<(), Error>| ()));
            self.shards[place].probe(Instant::now() + self.settings.breaker.probe_timeout, promise);
        }
    }

    fn place_of(&self, set: SetId) -> Option<usize> {
        let place = usize::from(self.route[usize::from(set.get())]);
        (place < self.shards.len()).then_some(place)
    }

    fn zone_of(&self, set: SetId) -> Option<&Zone> {
        self.map.get(set)?.zone.as_ref()
    }

    /// The places of the SETs that take new orders.
    fn taking(&self) -> impl Iterator<Item = usize> + '_ {
        let takes = |set: SetId| self.map.get(set).is_some_and(|entry| entry.state.takes_orders());
        (0..self.shards.len()).filter(move |place| takes(self.links[*place].set))
    }
}
