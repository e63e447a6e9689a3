//! SETs of three replicas in memory that outlive their stores, with the switches of their faults.

use ordermint::testing::{FaultControl, Faulty, ManualClock};
use ordermint::{
    BreakerState, Builder, CreateOptions, Day, Error, Group, Kind, Lookup, MemoryReplica, OrderNumber, OrderStore, Origin,
    Pending, Placed, Quorum, Record, Replica, ReplicaError, RequestKey, SetConfig, SetId, Version, Write,
};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(40);
/// What a create gives up after where something hangs.
pub(crate) const SOON: Duration = Duration::from_millis(600);

pub(crate) struct Bench {
    pub(crate) clock: ManualClock,
    pub(crate) sets: Vec<Set>,
}

#[derive(Clone)]
pub(crate) struct Set {
    pub(crate) id: SetId,
    pub(crate) memory: Vec<Arc<MemoryReplica>>,
    pub(crate) faults: Vec<FaultControl>,
    pub(crate) gone: Vec<Arc<AtomicBool>>,
}

pub(crate) fn today() -> Day {
    "2026-11-22".parse().expect("a day")
}

pub(crate) fn set(id: u16) -> SetId {
    SetId::new(id).expect("an id")
}

pub(crate) fn key(key: &str) -> CreateOptions {
    CreateOptions::new().request_key(key)
}

impl Set {
    pub(crate) fn config(&self) -> SetConfig {
        let mut config = SetConfig::new(self.id);
        for ((memory, faults), gone) in self.memory.iter().zip(&self.faults).zip(&self.gone) {
            let (memory, faults, gone) = (Arc::clone(memory), faults.clone(), Arc::clone(gone));
            config = config.replica_with(move |_| {
                if gone.load(Ordering::SeqCst) {
                    return Err(ReplicaError::Missing { dir: "(gone)".into() });
                }
                Ok(Faulty::new(Arc::new((*memory).clone()), faults.clone()))
            });
        }
        config
    }

    /// Nobody can ask it, from the next open on.
    pub(crate) fn leave(&self) {
        self.gone.iter().for_each(|gone| gone.store(true, Ordering::SeqCst));
    }

    pub(crate) fn come_back(&self) {
        self.gone.iter().for_each(|gone| gone.store(false, Ordering::SeqCst));
    }

    pub(crate) fn number(&self, day: Day, sequence: u64) -> OrderNumber {
        OrderNumber::new(day, sequence, self.id).expect("a number")
    }

    /// Puts an order into some of its replicas, past the store.
    pub(crate) fn plant(&self, indices: &[usize], number: OrderNumber, version: Version, value: &str, origin: Origin) {
        self.plant_record(Kind::Order, indices, number, version, value, origin);
    }

    /// Puts a void there.
    pub(crate) fn plant_void(&self, indices: &[usize], number: OrderNumber, version: Version, origin: Origin) {
        self.plant_record(Kind::Void, indices, number, version, "", origin);
    }

    fn plant_record(&self, kind: Kind, indices: &[usize], number: OrderNumber, version: Version, value: &str, origin: Origin) {
        for index in indices {
            let replica = (*self.memory[*index]).clone();
            let (value, origin) = (value.to_owned().into(), Some(Arc::new(origin.clone())));
            let record = Record { kind, version, generation: 0, value, origin };
            let mut group = Group::new(replica.epoch());
            group.push(Write::new(number, &record, false)).expect("room");
            replica.apply(&group).expect("memory takes it");
        }
    }

    /// What one of its replicas holds.
    pub(crate) fn held(&self, index: usize, number: OrderNumber) -> Option<Record> {
        match (*self.memory[index]).clone().get(number) {
            Ok(Lookup::Found(record)) => Some(record),
            _ => None,
        }
    }

    /// The origin of an order, as the newest copy has it.
    pub(crate) fn origin(&self, number: OrderNumber) -> Origin {
        let newest = (0..3).filter_map(|index| self.held(index, number)).max_by_key(|record| record.version);
        (*newest.expect("it is there").origin.expect("it has an origin")).clone()
    }
}

/// An origin as a create with a key makes it.
pub(crate) fn origin(key: &str, value: &str, unverified: &[u16]) -> Origin {
    let request_key = RequestKey::new(key.as_bytes(), value.as_bytes());
    Origin { request_key, unverified: unverified.iter().map(|id| set(*id)).collect(), ..Origin::default() }
}

impl Bench {
    pub(crate) fn new(ids: &[u16]) -> Bench {
        let some = || (0..3).map(|_| FaultControl::new()).collect();
        let new = |id: &u16| Set {
            id: set(*id),
            memory: (0..3).map(|_| Arc::default()).collect(),
            faults: some(),
            gone: (0..3).map(|_| Arc::default()).collect(),
        };
        Bench { clock: ManualClock::at_noon(today()), sets: ids.iter().map(new).collect() }
    }

    /// Without recent orders in memory: what is told here is what the replicas say.
    pub(crate) fn builder(&self) -> Builder {
        let quorum = Quorum::new(3, 2, 2).expect("a quorum");
        let builder = OrderStore::builder().quorum(quorum).clock(self.clock.clone()).recent_bytes(0);
        let builder = builder.close_timeout(Duration::from_millis(300));
        self.sets.iter().fold(builder, |builder, set| builder.add_set(set.config()))
    }

    /// The same, naming some of its SETs only.
    pub(crate) fn builder_of(&self, ids: &[u16]) -> Builder {
        let named = Bench { clock: self.clock.clone(), sets: ids.iter().map(|id| self.set(set(*id)).clone()).collect() };
        named.builder()
    }

    pub(crate) fn open(&self) -> OrderStore {
        self.builder().open().expect("the store opens")
    }

    pub(crate) fn set(&self, id: SetId) -> &Set {
        self.sets.iter().find(|set| set.id == id).expect("a SET of this bench")
    }

    /// A store whose replicas hang is dropped, as if its process were killed; what hangs there hangs for ever.
    pub(crate) fn kill(&mut self, store: OrderStore) {
        drop(store);
        for set in &mut self.sets {
            set.faults = (0..3).map(|_| FaultControl::new()).collect();
        }
    }

    /// All live orders, of today and the days around it.
    pub(crate) fn live(&self, store: &OrderStore) -> BTreeSet<OrderNumber> {
        // After what was done to them some are left alone for a while.
        let is_well = |reads: BreakerState| matches!(reads, BreakerState::Closed | BreakerState::Ramping { .. });
        until("all SETs can be read", || store.status().sets.iter().all(|set| is_well(set.reads)));
        let scan = |set: &Set| {
            let days = ends(store.days(set.id)).expect("a SET tells its days");
            let id = set.id;
            let orders = days.into_iter().flat_map(move |day| store.scan(id, day));
            orders.map(|order| order.expect("a scan without errors").number).collect::<Vec<_>>()
        };
        self.sets.iter().flat_map(scan).collect()
    }
}

/// The answer, which comes.
pub(crate) fn ends<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

pub(crate) fn placed(pending: Pending<Placed>) -> Placed {
    ends(pending).unwrap_or_else(|error| panic!("no order is placed: {error}"))
}

/// Waits for what surely comes.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AGES, "it never happens that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing waits for any replica, nor is any of them at work.
pub(crate) fn until_nobody_is_busy(store: &OrderStore) {
    let is_idle = || store.status().sets.iter().flat_map(|set| &set.replicas).all(|replica| replica.queued == 0);
    until("nobody is busy", is_idle);
}

pub(crate) fn is_gone(store: &OrderStore, number: OrderNumber) -> bool {
    ends(store.get(number)).is_ok_and(|order| order.is_none())
}

pub(crate) fn payload_of(store: &OrderStore, number: OrderNumber) -> String {
    let order = ends(store.get(number)).expect("it is read").expect("it is there");
    String::from_utf8(order.value.to_vec()).expect("text")
}
