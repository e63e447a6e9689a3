//! What the SETs tell the store of their health, and the choice of SET that follows from it.

use super::Inner;
use crate::error::Error;
use crate::order::SetId;
use crate::set::Shard;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

/// What joins one SET to its store.
pub(super) struct Link {
    set: SetId,
    store: OnceLock<Weak<Inner>>,
}

/// A SET that an order is sent to.
pub(super) struct Chosen {
    pub(super) shard: Arc<dyn Shard>,
    pub(super) link: Arc<Link>,
    pub(super) permit: u64,
}

impl Link {
    pub(super) fn new(set: SetId) -> Link {
        Link { set, store: OnceLock::new() }
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

    pub(super) fn wrote(&self, _permit: u64, _good: u32, _slow: u32) {}

    pub(super) fn write_failed(&self, _permit: u64) {}

    pub(super) fn not_sent(&self, _permit: u64, _error: &Error) {}

    pub(super) fn give_back(&self, _permit: u64) {}

    pub(super) fn may_mint_again(&self) -> bool {
        true
    }
}

impl Inner {
    /// Milliseconds since the store was opened, by a clock that nobody sets.
    pub(super) fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// A SET for a new order that was not tried yet.
    pub(super) fn choose(&self, tried: &[(SetId, Error)], _now: Instant) -> Option<Chosen> {
        let is_tried = |set: SetId| tried.iter().any(|(tried, _)| *tried == set);
        let picked = self.choice.pick(fastrand::u64(..));
        let place = if is_tried(self.shards[picked].id()) {
            (0..self.shards.len()).find(|place| !is_tried(self.shards[*place].id()))?
        } else {
            picked
        };
        Some(Chosen { shard: Arc::clone(&self.shards[place]), link: Arc::clone(&self.links[place]), permit: 0 })
    }

    pub(super) fn has_alternative(&self, _to: SetId) -> bool {
        self.shards.len() > 1
    }

    /// The SETs that were not asked, as their breakers are open, and when they may be again.
    pub(super) fn unavailable<'a>(&'a self, _tried: &'a [(SetId, Error)]) -> impl Iterator<Item = (SetId, Duration)> + 'a {
        std::iter::empty()
    }
}
