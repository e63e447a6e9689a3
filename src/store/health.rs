//! What becomes of calls tells how a SET is: outcomes are reported to its breakers, and the breakers have a say in where calls go.

use super::status::Told;
use super::{Inner, OrderStore};
use crate::config::Settings;
use crate::error::{Error, NotAttempted};
use crate::health::{Board, Forced, Outcome, Permit, SetHealth, Side};
use crate::order::SetId;
use crate::pending::Promise;
use crate::set::Order;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// What joins the SETs to their store.
pub(super) struct Links {
    pub(super) shared: Arc<Shared>,
    /// By id.
    of: Box<[OnceLock<Arc<Link>>]>,
}

pub(super) struct Shared {
    pub(super) board: Board,
    /// Where the store's own clock begins.
    origin: Instant,
    store: OnceLock<Weak<Inner>>,
}

/// What joins one SET to its store.
pub(super) struct Link {
    set: SetId,
    health: Arc<SetHealth>,
    shared: Arc<Shared>,
}

impl Links {
    pub(super) fn new(settings: &Settings) -> Links {
        let board = Board::new(settings.breaker, settings.in_flight_max);
        let shared = Shared { board, origin: Instant::now(), store: OnceLock::new() };
        Links { shared: Arc::new(shared), of: (0..=SetId::MAX.get()).map(|_| OnceLock::new()).collect() }
    }

    /// Tells the SETs their store, once there is one.
    pub(super) fn join(&self, store: &Arc<Inner>) {
        let _ = self.shared.store.set(Arc::downgrade(store));
    }

    /// The link of a SET that is there from now on.
    pub(super) fn add(&self, set: SetId) -> Arc<Link> {
        let link = self.of[usize::from(set.get())].get_or_init(|| {
            let health = Arc::clone(self.shared.board.add(set, self.shared.now_ms()));
            Arc::new(Link { set, health, shared: Arc::clone(&self.shared) })
        });
        Arc::clone(link)
    }

    pub(super) fn all(&self) -> impl Iterator<Item = (SetId, &Arc<Link>)> {
        self.of.iter().filter_map(OnceLock::get).map(|link| (link.set, link))
    }

    /// `None` for a SET that never was there.
    pub(super) fn get(&self, set: SetId) -> Option<&Arc<Link>> {
        self.of[usize::from(set.get())].get()
    }
}

impl Shared {
    /// Milliseconds since the store was opened, by a clock that nobody sets.
    fn now_ms(&self) -> u64 {
        self.at_ms(Instant::now())
    }

    pub(super) fn at_ms(&self, now: Instant) -> u64 {
        let since = now.saturating_duration_since(self.origin);
        since.as_secs() * 1_000 + u64::from(since.subsec_millis())
    }
}

impl Link {
    /// `None` before the store is open, and when it is gone.
    pub(super) fn store(&self) -> Option<Arc<Inner>> {
        self.shared.store.get()?.upgrade()
    }

    pub(super) fn set(&self) -> SetId {
        self.set
    }

    fn now_ms(&self) -> u64 {
        self.shared.now_ms()
    }

    pub(super) fn health(&self) -> &SetHealth {
        &self.health
    }

    /// Leave to make a call; kept as a number in whatever is under way.
    ///
    /// # Errors
    /// [`Error::SetUnavailable`].
    pub(super) fn admit(&self, side: Side) -> Result<u64, Error> {
        let admitted = self.health.gate(side).admit(self.now_ms());
        let refused =
            |retry_after_ms| Error::SetUnavailable { set: self.set, retry_after: Duration::from_millis(retry_after_ms) };
        admitted.map(Permit::into_raw).map_err(|error| refused(error.retry_after_ms))
    }

    /// As [`Link::admit`], for a create, which goes elsewhere if it is refused.
    pub(super) fn admit_create(&self, now_ms: impl Fn() -> u64) -> Option<u64> {
        let writes = &self.health.writes;
        writes.admit_closed().or_else(|| writes.admit(now_ms()).ok()).map(Permit::into_raw)
    }

    pub(super) fn report(&self, side: Side, permit: u64, outcome: Outcome) {
        let now_ms = self.now_ms();
        let others_are_well = || self.shared.board.others_are_well(self.set, side, now_ms);
        self.health.gate(side).report(Permit::from_raw(permit), outcome, now_ms, others_are_well);
    }

    /// Creates of one permit are stored.
    pub(super) fn wrote(&self, permit: u64, good: u32, slow: u32) {
        let now_ms = self.now_ms();
        self.health.budget.earn(good.into());
        let mut batch = self.health.writes.batch(now_ms, || self.shared.board.others_are_well(self.set, Side::Writes, now_ms));
        batch.report_many(permit, Outcome::Slow, slow);
        batch.report_many(permit, Outcome::Good, good - slow);
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
        self.health.budget.spend()
    }

    /// Has the outcome of a call reported when its answer comes, and the answer passed on.
    pub(super) fn watched<T: Send + 'static>(self: &Arc<Link>, side: Side, permit: u64, promise: Promise<T>) -> Promise<T> {
        let (link, began_ms) = (Arc::clone(self), self.now_ms());
        Promise::calling(move |answer| {
            let outcome = match &answer {
                Ok(_) => link.shared.board.worked(link.now_ms().saturating_sub(began_ms)),
                Err(error) => said(error),
            };
            link.report(side, permit, outcome);
            promise.complete(answer);
        })
    }
}

impl OrderStore {
    /// Has its way with the breakers of a SET, for writes and for reads: open, so that nothing is sent there, no probe either, and
    /// new orders go elsewhere; closed, whatever comes of it; or left to themselves again. For the life of this process. Takes effect
    /// at once, and never blocks for long.
    ///
    /// ```
    /// # use ordermint::{BreakerState, Error, Forced, OrderStore, SetConfig, SetId};
    /// # let id = SetId::new(7)?;
    /// # let store = OrderStore::builder().add_set(SetConfig::new(id).in_memory(3)).open()?;
    /// store.force_breaker(id, Forced::Open)?;
    /// assert_eq!(store.status().sets[0].writes, BreakerState::ForcedOpen);
    /// assert!(store.create("an order").wait().is_err());
    /// store.force_breaker(id, Forced::Auto)?;
    /// # Ok::<(), Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownSet`], [`Error::SetRetired`].
    pub fn force_breaker(&self, id: SetId, forced: Forced) -> Result<(), Error> {
        self.inner.shard(id)?;
        let link = self.inner.link(id)?;
        for side in [Side::Writes, Side::Reads] {
            link.health().gate(side).force(forced, link.now_ms());
        }
        Ok(())
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

impl Inner {
    /// Milliseconds since the store was opened, by a clock that nobody sets.
    pub(super) fn now_ms(&self) -> u64 {
        self.links.shared.now_ms()
    }

    fn link(&self, set: SetId) -> Result<&Arc<Link>, Error> {
        self.links.get(set).ok_or(Error::UnknownSet { set })
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

    /// What is known here of a SET.
    pub(super) fn health_of(&self, set: SetId) -> Told {
        // Every SET of a topology was added here before.
        let link = self.links.add(set);
        let (now_ms, health) = (self.now_ms(), link.health());
        let notes_waiting = self.voids.lock().waiting_in(set);
        Told { writes: health.writes.status(now_ms), reads: health.reads.status(now_ms), notes_waiting }
    }

    /// Whether a number of that SET may be ended now.
    pub(super) fn may_end(&self, set: SetId) -> bool {
        self.is_closed(set)
    }

    /// Whether its breaker lets calls through, whatever its share.
    fn is_closed(&self, set: SetId) -> bool {
        self.links.get(set).is_some_and(|link| link.health().writes.is_closed())
    }
}

/// Lets time pass for the breakers, and tries SETs that nobody sends anything to. A chore of the keeper.
pub(super) fn look_after(store: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let mut idle = Vec::new();
    store.links.shared.board.tick(store.now_ms(), |set, side| idle.push((set, side)));
    for (set, side) in idle {
        let (Some(link), Ok(shard)) = (store.links.get(set), store.shard(set)) else { continue };
        let Ok(permit) = link.admit(side) else { continue };
        let promise = link.watched(side, permit, Promise::calling(|_: Result<(), Error>| ()));
        shard.probe(now + store.settings.breaker.probe_timeout, promise);
    }
    Some(now + super::keeper::EVERY)
}
