//! Making given-up numbers void: what is owed is tried in the background, at a limited rate, until all replicas hold it.

use super::{Inner, keeper};
use crate::error::{Error, NotAttempted};
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
                // It says so at once, and of each of its numbers: one tells for all.
                Err(Error::QuorumLost { .. } | Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } }) => {
                    Tried::OutOfReach
                }
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
    let due = voids.take_due(inner.now_ms(), BATCH, |set| inner.may_end(set) || inner.is_retired(set));
    drop(voids);
    for (number, version) in due {
        let shard = match inner.shard(number.set_id()) {
            // Nobody will ever be shown a number of it, and nothing can be written there.
            Err(Error::SetRetired { set }) => {
                inner.voids.lock().settle_all(|other| other == set);
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::SetConfig;
    use crate::health::Forced;
    use crate::order::Day;
    use crate::replica::{MemoryReplica, Replica, ReplicaError};
    use crate::store::OrderStore;
    use crate::testing::ManualClock;
    use std::sync::atomic::{AtomicBool, Ordering};

    fn id(set: u16) -> SetId {
        SetId::from_checked(set)
    }

    fn number(set: u16, sequence: u64) -> OrderNumber {
        OrderNumber::new("2026-11-22".parse::<Day>().unwrap(), sequence, id(set)).unwrap()
    }

    /// SET 7, of which two replicas go away between two openings if `loses` says so, and SET 8.
    fn reopened(loses: bool) -> OrderStore {
        let gone = Arc::new(AtomicBool::new(false));
        let memory: Vec<MemoryReplica> = (0..6).map(|_| MemoryReplica::new()).collect();
        let set = |which: usize| {
            let add = |config: SetConfig, at: usize| {
                let (memory, gone) = (memory[3 * which + at].clone(), Arc::clone(&gone));
                config.replica_with(move |_| match which == 0 && at > 0 && gone.load(Ordering::SeqCst) {
                    true => Err(ReplicaError::Out { reason: "gone".to_owned() }),
                    false => Ok(Arc::new(memory.clone()) as Arc<dyn Replica>),
                })
            };
            (0..3).fold(SetConfig::new(id(7 + which as u16)), add)
        };
        let day = "2026-11-22".parse().unwrap();
        let open = || OrderStore::builder().clock(ManualClock::at_noon(day)).add_set(set(0)).add_set(set(1)).open().unwrap();
        open().close().wait().unwrap();
        gone.store(loses, Ordering::SeqCst);
        open()
    }

    /// Far more of SET 7 than can be begun within seconds, and then one of SET 8: that is void soon.
    fn one_does_not_wait_behind_many(store: &OrderStore) {
        const MANY: usize = 50_000;
        let (inner, version) = (&store.inner.0, Version { epoch: 1, counter: 1 });
        (0..MANY as u64).for_each(|sequence| inner.owe_void(number(7, sequence), version));
        inner.owe_void(number(8, 1), version);
        // They would take some forty seconds.
        let until = Instant::now() + Duration::from_secs(15);
        let waiting = |place: usize| store.status().sets[place].notes_waiting;
        while waiting(1) > 0 {
            assert!(Instant::now() < until, "it waits behind {} of another SET", waiting(0));
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(waiting(0), MANY);
    }

    #[test]
    fn a_number_of_one_set_does_not_wait_behind_those_of_a_set_without_a_quorum() {
        one_does_not_wait_behind_many(&reopened(true));
    }

    #[test]
    fn a_number_of_one_set_does_not_wait_behind_those_of_a_set_whose_breaker_is_open() {
        let store = reopened(false);
        store.force_breaker(id(7), Forced::Open).unwrap();
        one_does_not_wait_behind_many(&store);
    }
}
