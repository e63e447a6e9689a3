//! Several SETs of replicas in memory that outlive their stores, with the switches of their faults.

use ordermint::testing::{FaultControl, Faulty, ManualClock};
use ordermint::{
    Builder, Day, Error, Kind, Lookup, MemoryReplica, OrderNumber, OrderStore, Pending, Placed, Quorum, Replica, SetConfig,
    SetId, SetStatus,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(60);

/// SETs of one store.
pub(crate) struct World {
    pub(crate) quorum: Quorum,
    pub(crate) clock: ManualClock,
    pub(crate) sets: Vec<OneSet>,
}

/// One of them.
pub(crate) struct OneSet {
    pub(crate) id: SetId,
    pub(crate) memory: Vec<Arc<MemoryReplica>>,
    pub(crate) faults: Vec<FaultControl>,
}

pub(crate) fn today() -> Day {
    "2026-11-22".parse().expect("a day")
}

pub(crate) fn id(set: u16) -> SetId {
    SetId::new(set).expect("an id")
}

impl World {
    /// SETs of three replicas, R = W = 2.
    pub(crate) fn new(ids: &[u16]) -> World {
        let sets = ids.iter().map(|set| OneSet::new(*set)).collect();
        World { quorum: Quorum::new(3, 2, 2).expect("a quorum"), clock: ManualClock::at_noon(today()), sets }
    }

    pub(crate) fn builder(&self) -> Builder {
        let builder =
            OrderStore::builder().quorum(self.quorum).clock(self.clock.clone()).close_timeout(Duration::from_millis(500));
        self.sets.iter().fold(builder, |builder, set| builder.add_set(set.config()))
    }

    pub(crate) fn open(&self) -> OrderStore {
        self.builder().open().expect("the store opens")
    }

    pub(crate) fn set(&self, id: u16) -> &OneSet {
        self.sets.iter().find(|set| set.id.get() == id).expect("one of the world's")
    }

    pub(crate) fn release_all(&self) {
        self.sets.iter().for_each(OneSet::release);
    }

    /// How many replicas hold `number` as an order.
    pub(crate) fn alive_on(&self, number: OrderNumber) -> usize {
        self.set(number.set_id().get()).count(number, Kind::Order)
    }

    /// How many replicas hold `number` as void.
    pub(crate) fn void_on(&self, number: OrderNumber) -> usize {
        self.set(number.set_id().get()).count(number, Kind::Void)
    }
}

impl OneSet {
    pub(crate) fn new(set: u16) -> OneSet {
        OneSet {
            id: id(set),
            memory: (0..3).map(|_| Arc::default()).collect(),
            faults: (0..3).map(|_| FaultControl::new()).collect(),
        }
    }

    pub(crate) fn config(&self) -> SetConfig {
        let mut config = SetConfig::new(self.id);
        for (memory, faults) in self.memory.iter().zip(&self.faults) {
            let (memory, faults) = (Arc::clone(memory), faults.clone());
            config = config.replica_with(move |_| Ok(Faulty::new(Arc::new((*memory).clone()), faults.clone())));
        }
        config
    }

    /// Every write hangs on every replica, until it is released.
    pub(crate) fn hang(&self) {
        self.faults.iter().for_each(FaultControl::hang_applies);
    }

    pub(crate) fn release(&self) {
        self.faults.iter().for_each(FaultControl::release);
    }

    fn count(&self, number: OrderNumber, kind: Kind) -> usize {
        let holds = |memory: &&Arc<MemoryReplica>| match (***memory).clone().get(number) {
            Ok(Lookup::Found(record)) => record.kind == kind,
            _ => false,
        };
        self.memory.iter().filter(holds).count()
    }
}

/// The answer, which comes.
pub(crate) fn ends<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

/// Creates until one of them lies in `set`, and answers with that.
pub(crate) fn create_in(store: &OrderStore, set: u16, payload: &str) -> Placed {
    for _ in 0..1_000 {
        let placed = ends(store.create(payload)).expect("a create");
        if placed.number.set_id() == id(set) {
            return placed;
        }
    }
    panic!("no order goes to SET {set}")
}

pub(crate) fn status_of(store: &OrderStore, set: u16) -> SetStatus {
    store.status().sets.into_iter().find(|status| status.id == id(set)).expect("a SET of the store")
}

/// All orders of today that a scan shows, by number.
pub(crate) fn all_orders(store: &OrderStore) -> BTreeMap<OrderNumber, String> {
    let sets: Vec<SetId> = store.status().sets.iter().map(|set| set.id).collect();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let orders = sets.into_iter().flat_map(|set| store.scan(set, today()).collect::<Vec<_>>());
    orders.map(|order| order.map(|order| (order.number, text(&order.value))).expect("a scan without errors")).collect()
}

/// Every payload stands there once.
pub(crate) fn none_twice(orders: &BTreeMap<OrderNumber, String>) {
    let payloads: BTreeSet<&String> = orders.values().collect();
    assert_eq!(payloads.len(), orders.len(), "an order stands there twice: {orders:?}");
}

/// Waits for what surely comes.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AGES, "it never happens that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}
