//! A SET of replicas in memory that outlive their stores, with the switches of their faults.

use ordermint::testing::{FaultControl, Faulty, ManualClock};
use ordermint::{
    BreakerSettings, Builder, Day, Error, Group, Kind, Lookup, MemoryReplica, Order, OrderNumber, OrderStore, Pending, Quorum,
    Record, Replica, ReplicaError, ReplicaState, ReplicaStatus, SetConfig, SetId, SetStatus, Version, Write, WriteToken,
};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(40);

pub(crate) struct Bench {
    pub(crate) set: SetId,
    pub(crate) quorum: Quorum,
    pub(crate) clock: ManualClock,
    pub(crate) memory: Vec<Arc<MemoryReplica>>,
    pub(crate) faults: Vec<FaultControl>,
    pub(crate) gone: Vec<Arc<AtomicBool>>,
}

pub(crate) fn today() -> Day {
    "2026-11-22".parse().expect("a day")
}

impl Bench {
    pub(crate) fn new(n: u8, r: u8, w: u8) -> Bench {
        Bench::of_set(7, n, r, w)
    }

    pub(crate) fn of_set(set: u16, n: u8, r: u8, w: u8) -> Bench {
        Bench {
            set: SetId::new(set).expect("an id"),
            quorum: Quorum::new(n, r, w).expect("a quorum"),
            clock: ManualClock::at_noon(today()),
            memory: (0..n).map(|_| Arc::default()).collect(),
            faults: (0..n).map(|_| FaultControl::new()).collect(),
            gone: (0..n).map(|_| Arc::default()).collect(),
        }
    }

    pub(crate) fn config(&self) -> SetConfig {
        let mut config = SetConfig::new(self.set);
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

    /// Without recent orders in memory: what is told here is what the replicas say.
    pub(crate) fn builder(&self) -> Builder {
        // Nor do breakers cut a story short: what they do is told elsewhere.
        let patient = BreakerSettings::new().failures_in_a_row(10_000).window(Duration::from_secs(10), 1_000_000);
        let builder = OrderStore::builder().quorum(self.quorum).clock(self.clock.clone()).recent_bytes(0).breaker(patient);
        builder.add_set(self.config())
    }

    pub(crate) fn open(&self) -> OrderStore {
        self.builder().open().expect("the store opens")
    }

    /// With another word about its SET.
    pub(crate) fn open_as(&self, config: SetConfig) -> Result<OrderStore, Error> {
        OrderStore::builder().quorum(self.quorum).clock(self.clock.clone()).recent_bytes(0).add_set(config).open()
    }

    pub(crate) fn number(&self, sequence: u64) -> OrderNumber {
        OrderNumber::new(today(), sequence, self.set).expect("a number")
    }

    /// Puts a record into one replica, past the store.
    pub(crate) fn plant(&self, index: usize, number: OrderNumber, version: Version, value: &str) {
        let replica = (*self.memory[index]).clone();
        let record = Record { kind: Kind::Order, version, generation: 0, value: value.to_owned().into(), origin: None };
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(number, &record, false)).expect("room");
        replica.apply(&group).expect("memory takes it");
    }

    pub(crate) fn plant_meta(&self, index: usize, key: &str, value: &[u8]) {
        let replica = (*self.memory[index]).clone();
        let mut group = Group::new(replica.epoch());
        group.push_meta(key, value.to_vec()).expect("room");
        replica.apply(&group).expect("memory takes it");
    }

    /// How many replicas hold `number`.
    pub(crate) fn holders(&self, number: OrderNumber) -> usize {
        let holds = |memory: &&Arc<MemoryReplica>| matches!((***memory).clone().get(number), Ok(Lookup::Found(_)));
        self.memory.iter().filter(holds).count()
    }

    pub(crate) fn release_all(&self) {
        self.faults.iter().for_each(FaultControl::release);
    }
}

/// Orders acknowledged, with what they say.
pub(crate) type Acknowledged = BTreeMap<OrderNumber, String>;

pub(crate) fn create_some(store: &OrderStore, what: &str, count: usize, acknowledged: &mut Acknowledged) {
    let payloads: Vec<String> = (0..count).map(|at| format!("{what} {at}")).collect();
    let under_way: Vec<Pending<_>> = payloads.iter().map(|payload| store.create(payload)).collect();
    for (payload, pending) in payloads.into_iter().zip(under_way) {
        let placed = ends(pending).unwrap_or_else(|error| panic!("{what}: {error}"));
        assert_eq!(acknowledged.insert(placed.number, payload), None, "a number was given out twice");
    }
}

pub(crate) fn all_are_there(store: &OrderStore, acknowledged: &Acknowledged) {
    // As many at once as the smallest bound of these tests lets in.
    let mut orders = acknowledged.iter();
    loop {
        let under_way: Vec<_> = orders.by_ref().take(4).map(|(number, value)| (number, value, store.get(*number))).collect();
        if under_way.is_empty() {
            return;
        }
        for (number, value, pending) in under_way {
            let order = ends(pending).unwrap_or_else(|error| panic!("{number}: {error}"));
            assert_eq!(order.expect("an acknowledged order is there").value, value);
        }
    }
}

/// The answer, which comes.
pub(crate) fn ends<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

/// A write that ends in doubt, since enough replicas hang. On a busy machine its time may be up before it is sent: then once more.
pub(crate) fn in_doubt<T: std::fmt::Debug>(write: impl Fn() -> Pending<T>) -> WriteToken {
    let mut doubt = None;
    until("a write is in doubt", || match ends(write()) {
        Err(Error::Ambiguous { token, .. }) => {
            doubt = Some(token);
            true
        }
        Err(Error::NotAttempted { .. }) => false,
        answer => panic!("{answer:?}"),
    });
    doubt.expect("it was waited for")
}

/// Nothing waits for any replica, nor is any of them at work.
pub(crate) fn until_nobody_is_busy(store: &OrderStore) {
    until("nobody is busy", || status(store).replicas.iter().all(|replica| replica.queued == 0));
}

pub(crate) fn scanned(store: &OrderStore, set: SetId, day: Day) -> Vec<Order> {
    store.scan(set, day).collect::<Result<Vec<_>, _>>().expect("a scan without errors")
}

pub(crate) fn status(store: &OrderStore) -> SetStatus {
    store.status().sets[0].clone()
}

pub(crate) fn replica(store: &OrderStore, index: usize) -> ReplicaStatus {
    status(store).replicas[index].clone()
}

/// Waits for what surely comes.
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AGES, "it never happens that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

pub(crate) fn is_out(replica: &ReplicaStatus) -> bool {
    replica.state == ReplicaState::Out && replica.reason.is_some()
}
