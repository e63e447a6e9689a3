//! Several SETs of replicas in memory that outlive their stores, with the switches of their faults.

use ordermint::testing::{FaultControl, Faulty, ManualClock};
use ordermint::{
    BreakerSettings, BreakerState, Builder, Day, Error, Kind, Lookup, MemoryReplica, OrderNumber, OrderStore, Pending, Placed,
    Quorum, Replica, ReplicaError, ReplicaState, ScanLimit, Scanned, SetConfig, SetId, SetStatus, Version,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
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
    zone: Option<&'static str>,
    pub(crate) memory: Vec<Arc<MemoryReplica>>,
    /// Those of the process that runs now.
    faults: Mutex<Vec<FaultControl>>,
    /// These of its replicas cannot be opened.
    gone: Vec<Arc<AtomicBool>>,
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
        World::of(ids.iter().map(|set| OneSet::new(*set)).collect())
    }

    /// New orders go to the first SET while it is well, then to the others.
    pub(crate) fn near_and_far(near: u16, far: &[u16]) -> World {
        let far = far.iter().map(|set| OneSet { zone: Some("there/1"), ..OneSet::new(*set) });
        World::of(std::iter::once(OneSet { zone: Some("here/1"), ..OneSet::new(near) }).chain(far).collect())
    }

    /// SETs and where they stand; the process runs in `here/1`.
    pub(crate) fn in_zones(sets: &[(u16, &'static str)]) -> World {
        World::of(sets.iter().map(|(set, zone)| OneSet { zone: Some(zone), ..OneSet::new(*set) }).collect())
    }

    fn of(sets: Vec<OneSet>) -> World {
        World { quorum: Quorum::new(3, 2, 2).expect("a quorum"), clock: ManualClock::at_noon(today()), sets }
    }

    pub(crate) fn builder(&self) -> Builder {
        let builder =
            OrderStore::builder().quorum(self.quorum).clock(self.clock.clone()).close_timeout(Duration::from_millis(500));
        let builder = if self.sets[0].zone.is_some() { builder.local_zone("here/1") } else { builder };
        self.sets.iter().fold(builder, |builder, set| builder.add_set(set.config()))
    }

    /// Breakers and attempts that make a story short.
    pub(crate) fn quick(&self) -> Builder {
        let breaker = BreakerSettings::new()
            .failures_in_a_row(3)
            .open_time(Duration::from_millis(40), Duration::from_millis(160))
            .probe_timeout(Duration::from_millis(300))
            .ramp(Duration::from_millis(50), 10);
        self.builder().attempt_timeout(Duration::from_millis(100)).breaker(breaker).deadline(Duration::from_secs(5))
    }

    /// Breakers that stay closed, so that they do not cut a story short.
    pub(crate) fn patient(&self) -> Builder {
        let breaker = BreakerSettings::new().failures_in_a_row(10_000).window(Duration::from_secs(10), 1_000_000);
        self.builder().attempt_timeout(Duration::from_millis(100)).breaker(breaker)
    }

    /// The process is killed: nothing that it has under way reaches a replica any more. What is returned stands for what is left of
    /// it; `bury` it once there is another.
    pub(crate) fn kill(&self, store: OrderStore) -> Killed {
        for faults in self.sets.iter().flat_map(OneSet::faults) {
            faults.hang_reads();
            faults.hang_applies();
        }
        Killed { store: Some(store), faults: self.begin_anew() }
    }

    /// The process closes its store. What hangs does so until it is buried: directories have locks, so that two processes never
    /// write at once.
    pub(crate) fn close(&self, store: OrderStore) -> Killed {
        drop(store);
        Killed { store: None, faults: self.begin_anew() }
    }

    /// A process is over: it claims no replica any more, also none that the next one does not find.
    fn begin_anew(&self) -> Vec<FaultControl> {
        let faults: Vec<FaultControl> = self.sets.iter().flat_map(OneSet::begin_anew).collect();
        faults.iter().for_each(|faults| faults.fail_claims(usize::MAX));
        faults
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

/// What is left of a process.
pub(crate) struct Killed {
    store: Option<OrderStore>,
    faults: Vec<FaultControl>,
}

impl Killed {
    /// By now another has claimed every SET, so that what is left of this one is refused.
    pub(crate) fn bury(self) {
        // Nothing is written any more, also where no later process has fenced it off: on a replica that is away.
        self.faults.iter().for_each(|faults| faults.fail_applies(usize::MAX));
        self.faults.iter().for_each(FaultControl::release);
        drop(self.store);
    }
}

impl OneSet {
    pub(crate) fn new(set: u16) -> OneSet {
        OneSet {
            id: id(set),
            zone: None,
            memory: (0..3).map(|_| Arc::default()).collect(),
            faults: Mutex::new((0..3).map(|_| FaultControl::new()).collect()),
            gone: (0..3).map(|_| Arc::default()).collect(),
        }
    }

    pub(crate) fn faults(&self) -> Vec<FaultControl> {
        self.faults.lock().expect("no panic").clone()
    }

    pub(crate) fn config(&self) -> SetConfig {
        let mut config = SetConfig::new(self.id);
        if let Some(zone) = self.zone {
            config = config.zone(zone);
        }
        for ((memory, gone), faults) in self.memory.iter().zip(&self.gone).zip(self.faults()) {
            let (memory, gone) = (Arc::clone(memory), Arc::clone(gone));
            config = config.replica_with(move |_| {
                if gone.load(Ordering::SeqCst) {
                    return Err(ReplicaError::Missing { dir: "(gone)".into() });
                }
                Ok(Faulty::new(Arc::new((*memory).clone()), faults.clone()))
            });
        }
        config
    }

    /// Its replicas cannot be opened, from the next time on.
    pub(crate) fn leave(&self) {
        (0..3).for_each(|index| self.leave_without(index));
    }

    /// One of them cannot.
    pub(crate) fn leave_without(&self, index: usize) {
        self.gone[index].store(true, Ordering::SeqCst);
    }

    pub(crate) fn come_back(&self) {
        self.gone.iter().for_each(|gone| gone.store(false, Ordering::SeqCst));
    }

    /// Every write hangs on every replica, until it is released.
    pub(crate) fn hang(&self) {
        self.faults().iter().for_each(FaultControl::hang_applies);
    }

    pub(crate) fn release(&self) {
        self.faults().iter().for_each(FaultControl::release);
    }

    /// Every write is done on every replica, and nobody hears of it until it is released.
    pub(crate) fn hang_answers(&self) {
        self.faults().iter().for_each(FaultControl::hang_answers);
    }

    /// Another life begins: what hangs in this one stays so until what is returned here is released.
    fn begin_anew(&self) -> Vec<FaultControl> {
        let fresh = (0..self.memory.len()).map(|_| FaultControl::new()).collect();
        std::mem::replace(&mut *self.faults.lock().expect("no panic"), fresh)
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

/// Creates until one of them lies in `set`, and answers with that. Each has a payload of its own, which begins with `payload`.
pub(crate) fn create_in(store: &OrderStore, set: u16, payload: &str) -> Placed {
    let start = Instant::now();
    for at in 0.. {
        let placed = ends(store.create(format!("{payload} {set} {at}"))).expect("a create");
        if placed.number.set_id() == id(set) {
            return placed;
        }
        // On a busy machine it may be left alone for a while.
        std::thread::sleep(Duration::from_millis(at / 100));
        assert!(start.elapsed() < AGES, "no order goes to SET {set}");
    }
    unreachable!("there are so many numbers")
}

/// Whether each of these, which nothing was done to, has seemed sick all the same: then the machine stood still for longer than an
/// attempt may take, and no create is promised to get through.
pub(crate) fn stood_still(store: &OrderStore, well: &[u16]) -> bool {
    well.iter().all(|set| status_of(store, *set).writes_opened > 0)
}

pub(crate) fn status_of(store: &OrderStore, set: u16) -> SetStatus {
    store.status().sets.into_iter().find(|status| status.id == id(set)).expect("a SET of the store")
}

/// All orders of today that a scan shows, by number.
pub(crate) fn all_orders(store: &OrderStore) -> BTreeMap<OrderNumber, String> {
    let sets: Vec<SetId> = store.status().sets.iter().map(|set| set.id).collect();
    let text = |value: &[u8]| String::from_utf8_lossy(value).into_owned();
    let mut found = BTreeMap::new();
    for set in sets {
        until("a SET is scanned in time", || {
            let orders: Vec<_> = store.scan(set, today()).collect();
            if orders.iter().any(|order| matches!(order, Err(Error::DeadlineExceeded { .. }))) {
                return false;
            }
            let orders = orders.into_iter().map(|order| order.expect("a scan without errors"));
            found.extend(orders.map(|order| (order.number, text(&order.value))));
            true
        });
    }
    found
}

/// Waits until nothing is owed, and no replica of `set` has anything left to write: what hangs from then on was sent from then on.
pub(crate) fn until_at_rest(store: &OrderStore, set: u16) {
    until_nothing_is_owed(store);
    until("nothing is left to be written", || status_of(store, set).replicas.iter().all(|replica| replica.queued == 0));
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

/// All that any replica of a SET holds of today, with the newest kind of each.
pub(crate) fn held(set: &OneSet) -> BTreeMap<OrderNumber, Kind> {
    let mut newest: BTreeMap<OrderNumber, (Version, Kind)> = BTreeMap::new();
    for memory in &set.memory {
        let chunk = (**memory).clone().scan(today(), None, ScanLimit { records: usize::MAX, bytes: usize::MAX });
        for item in chunk.expect("memory answers").items {
            let Scanned::Found(number, record) = item else { panic!("memory is never damaged") };
            let found = newest.entry(number).or_insert((record.version, record.kind));
            if found.0 < record.version {
                *found = (record.version, record.kind);
            }
        }
    }
    newest.into_iter().map(|(number, (_, kind))| (number, kind)).collect()
}

/// Brings back every replica that is away, until all vote and all breakers are closed. One that is asked to fail once more may do so
/// at any moment, at the next probe.
pub(crate) fn until_all_are_well(store: &OrderStore) {
    let start = Instant::now();
    loop {
        let sets = store.status().sets;
        let mut away = Vec::new();
        for set in &sets {
            for (index, replica) in (0u8..).zip(&set.replicas) {
                if replica.state != ReplicaState::Voting {
                    away.push((set.id, index, store.bring_back_replica(set.id, index)));
                }
            }
        }
        let is_well = |set: &SetStatus| set.writes == BreakerState::Closed && set.reads == BreakerState::Closed;
        if away.is_empty() && sets.iter().all(is_well) {
            return;
        }
        assert!(start.elapsed() < AGES, "some are never well, and these never vote: {away:?} of {sets:#?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Waits until nothing is owed any more.
pub(crate) fn until_nothing_is_owed(store: &OrderStore) {
    until("nothing is owed", || store.status().sets.iter().all(|set| set.notes_waiting == 0));
}
