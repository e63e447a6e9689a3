//! The three SETs, each on a device of its own below the directory that the shim watches, and their switches.

use crate::delay::SlowDir;
use ordermint::testing::{FaultControl, Faulty};
use ordermint::{
    BreakerSettings, OpenReplica, OrderStore, Pending, Quorum, Replica, ReplicaError, SetConfig, SetId, SetStatus, SledReplica,
};
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(60);

pub(crate) const SETS: u8 = 3;
pub(crate) const REPLICAS: u8 = 3;

/// Of a breaker, as it is by default.
pub(crate) const TRIP_COUNT: usize = 5;
/// At once, by default.
pub(crate) const PROBES: usize = 3;

pub(crate) struct World {
    pub(crate) slow: SlowDir,
    /// By SET.
    sets: Vec<OneSet>,
}

struct OneSet {
    dirs: Vec<PathBuf>,
    faults: Vec<FaultControl>,
    /// Its directories are not there for whoever opens them.
    gone: Arc<AtomicBool>,
}

pub(crate) fn id(set: u8) -> SetId {
    SetId::new(set.into()).expect("an id")
}

impl World {
    pub(crate) fn new() -> World {
        let slow = SlowDir::of_environment().expect("the shim is there");
        let one = |set| {
            let device = slow.device(set);
            fs::create_dir_all(&device).expect("a directory can be made");
            let dirs = (0..REPLICAS).map(|index| device.join(index.to_string())).collect();
            OneSet { dirs, faults: (0..REPLICAS).map(|_| FaultControl::new()).collect(), gone: Arc::default() }
        };
        let sets = (0..SETS).map(one).collect();
        World { slow, sets }
    }

    pub(crate) fn open(&self) -> OrderStore {
        // It is left and comes back as by default, only sooner.
        let breaker = BreakerSettings::new()
            .open_time(Duration::from_millis(500), Duration::from_secs(2))
            .probe_timeout(Duration::from_secs(2))
            .ramp(Duration::from_millis(500), 10);
        let quorum = Quorum::new(3, 2, 2).expect("a quorum");
        // Nothing is answered from memory: what is told here is what the replicas say.
        let builder = OrderStore::builder().quorum(quorum).breaker(breaker).recent_bytes(0);
        let sets = (0..SETS).map(|set| self.sets[usize::from(set)].config(id(set)));
        sets.fold(builder, |builder, set| builder.add_set(set)).open().expect("the store opens")
    }

    /// Does something to each replica of a SET.
    pub(crate) fn faults(&self, set: u8, what: impl Fn(&FaultControl)) {
        self.sets[usize::from(set)].faults.iter().for_each(what);
    }

    /// The SET's directories cannot be opened, or can be again.
    pub(crate) fn take_away(&self, set: u8, gone: bool) {
        self.sets[usize::from(set)].gone.store(gone, Ordering::SeqCst);
    }
}

impl OneSet {
    fn config(&self, set: SetId) -> SetConfig {
        let mut config = SetConfig::new(set);
        for (dir, faults) in self.dirs.iter().zip(&self.faults) {
            let (dir, faults, gone) = (dir.clone(), faults.clone(), Arc::clone(&self.gone));
            config = config.replica_with(move |given| {
                if gone.load(Ordering::SeqCst) {
                    return Err(ReplicaError::Missing { dir: dir.clone() });
                }
                let mut here = OpenReplica::new(given.set, given.index, dir.clone());
                (here.create, here.cache_bytes) = (given.create, 16 << 20);
                let replica: Arc<dyn Replica> = Arc::new(SledReplica::open(&here)?);
                Ok(Faulty::new(replica, faults.clone()))
            });
        }
        config
    }
}

pub(crate) fn status_of(store: &OrderStore, set: u8) -> SetStatus {
    store.status().sets.into_iter().find(|status| status.id == id(set)).expect("a SET of the store")
}

/// The answer, which comes.
pub(crate) fn ends<T>(pending: Pending<T>) -> Result<T, ordermint::Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

/// Waits for what surely comes.
pub(crate) fn until(what: &str, store: &OrderStore, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AGES, "it never happens that {what}: {:#?}", store.status());
        std::thread::sleep(Duration::from_millis(2));
    }
}
