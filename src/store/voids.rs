//! Making given-up numbers void: what is owed is tried in the background, at a limited rate, until all replicas hold it.

use super::{Inner, keeper};
use crate::error::Error;
use crate::heal::Tried;
use crate::order::{OrderNumber, SetId};
use crate::pending::Promise;
use crate::replica::Version;
use crate::set::Ending;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The most that are begun at one look.
const BATCH: usize = 128;
/// For one of them.
const PATIENCE: Duration = Duration::from_secs(5);

impl Inner {
    /// The number is owed a void.
    pub(super) fn owe_void(&self, number: OrderNumber, version: Version) {
        self.voids.lock().owe(number, version, self.now_ms());
    }

    /// Hears how an attempt to end it went.
    pub(super) fn ended(self: &Arc<Inner>, number: OrderNumber) -> Promise<Ending> {
        let store = Arc::downgrade(self);
        Promise::calling(move |result| {
            let Some(store) = store.upgrade() else { return };
            let tried = match result {
                Ok(Ending::Void { everywhere }) => Tried::Void { everywhere },
                Ok(Ending::Alive(version)) => Tried::Alive(version),
                // Its day was given up: it is refused for ever.
                Err(Error::DayDropped { .. }) => Tried::Void { everywhere: true },
                Err(_) => Tried::Failed,
            };
            store.voids.lock().tried(number, tried, store.now_ms());
        })
    }

    fn is_retired(&self, set: SetId) -> bool {
        matches!(self.shard(set), Err(Error::SetRetired { .. }))
    }
}

/// Begins what is due. A chore of the keeper.
pub(super) fn deliver(inner: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let mut voids = inner.voids.lock();
    let due = voids.take_due(inner.now_ms(), BATCH, |number| inner.may_end(number.set_id()) || inner.is_retired(number.set_id()));
    drop(voids);
    for (number, version) in due {
        let shard = match inner.shard(number.set_id()) {
            // Nobody will ever be shown a number of it, and nothing can be written there.
            Err(Error::SetRetired { set }) => {
                inner.voids.lock().settle_all(|number| number.set_id() == set);
                continue;
            }
            shard => shard,
        };
        match shard {
            Ok(shard) => shard.end(number, version, now + PATIENCE, inner.ended(number)),
            Err(error) => inner.ended(number).complete(Err(error)),
        }
    }
    Some(now + keeper::EVERY)
}
