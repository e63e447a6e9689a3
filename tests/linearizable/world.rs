//! A SET whose replicas outlive the programs that use it: programs close, are killed and start again, replicas fail and return.

use crate::tally::Tally;
use ordermint::testing::{FaultControl, Faulty};
use ordermint::{
    Applied, Chunk, Day, Group, Identity, KeyUse, Lookup, Marks, MemoryReplica, Noted, OrderNumber, OrderStore, Quorum,
    RangeDigest, Replica, ReplicaError, ReplicaState, ReplicaStatus, ScanLimit, SetConfig, SetId, Standing, Version,
};
use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(40);

/// What operations are given. Short, so that a history does not take long.
pub(crate) const DEADLINE: Duration = Duration::from_millis(150);

/// How long the replicas of a program may take to open, and what its operations are given.
#[derive(Clone, Copy)]
struct Patience {
    open: Duration,
    operations: Duration,
}

/// Who is not there by then is out.
const HASTY: Patience = Patience { open: Duration::from_millis(500), operations: DEADLINE };
/// All goes well, however slow the machine.
const PATIENT: Patience = Patience { open: AGES, operations: Duration::from_secs(10) };

pub(crate) struct World {
    pub(crate) set: SetId,
    pub(crate) quorum: Quorum,
    pub(crate) faults: Vec<FaultControl>,
    /// Not there at the next start.
    pub(crate) gone: Vec<Arc<AtomicBool>>,
    /// How long opening a replica takes, in milliseconds.
    pub(crate) opening_ms: Arc<AtomicU64>,
    patience: Patience,
    disks: Vec<Arc<Disk>>,
    life: RwLock<Life>,
    ending: Mutex<Vec<JoinHandle<()>>>,
    tally: Arc<Tally>,
}

/// One run of the program.
#[derive(Clone)]
pub(crate) struct Life {
    pub(crate) store: OrderStore,
    /// It was killed: what it would still hear, nobody hears.
    killed: Arc<RwLock<bool>>,
}

impl Life {
    pub(crate) fn was_killed(&self) -> bool {
        *self.killed.read().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What outlives a program: the memory of a replica, and the lock on its directory.
struct Disk {
    memory: MemoryReplica,
    lock: Mutex<Arc<()>>,
    /// What was ever written here: a second time is a write-back.
    written: Mutex<HashSet<(OrderNumber, Version)>>,
    tally: Arc<Tally>,
}

impl World {
    pub(crate) fn new(quorum: Quorum, tally: Arc<Tally>) -> World {
        World::with(quorum, tally, HASTY)
    }

    /// Nothing in it ends because the time is up.
    pub(crate) fn patient(quorum: Quorum, tally: Arc<Tally>) -> World {
        World::with(quorum, tally, PATIENT)
    }

    fn with(quorum: Quorum, tally: Arc<Tally>, patience: Patience) -> World {
        let set = SetId::new(7).expect("an id");
        let n = usize::from(quorum.n());
        let disk = || Disk {
            memory: MemoryReplica::new(),
            lock: Mutex::default(),
            written: Mutex::default(),
            tally: Arc::clone(&tally),
        };
        let disks: Vec<Arc<Disk>> = (0..n).map(|_| Arc::new(disk())).collect();
        let faults: Vec<FaultControl> = (0..n).map(|_| FaultControl::new()).collect();
        let gone: Vec<Arc<AtomicBool>> = (0..n).map(|_| Arc::default()).collect();
        let opening_ms = Arc::default();
        let life = start(set, quorum, &disks, &faults, &gone, &opening_ms, Patience { open: AGES, ..patience });
        World { set, quorum, faults, gone, opening_ms, patience, disks, life: RwLock::new(life), ending: Mutex::default(), tally }
    }

    /// The program that runs now.
    pub(crate) fn life(&self) -> Life {
        self.life.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Closes the program, and starts it again.
    pub(crate) fn restart(&self) {
        self.restart_with(&self.faults, self.patience);
        self.tally.add("restarts");
    }

    fn restart_with(&self, faults: &[FaultControl], patience: Patience) {
        let old = self.life();
        // What hangs keeps its lock, and the program could not start again: an operator would see to that first.
        let closing = old.store.close();
        self.release_all();
        let _ = closing.wait_timeout(AGES).unwrap_or_else(|_| panic!("closing never ends"));
        self.replace(old, faults, patience);
    }

    /// Kills the program, and starts it again. Whatever was under way in it ends where it is.
    pub(crate) fn kill(&self) {
        let old = self.life();
        *old.killed.write().unwrap_or_else(PoisonError::into_inner) = true;
        self.release_all();
        for disk in &self.disks {
            // The locks of a process go with it.
            *disk.lock.lock().unwrap_or_else(PoisonError::into_inner) = Arc::default();
        }
        self.replace(old, &self.faults, self.patience);
        self.tally.add("kills");
    }

    fn replace(&self, old: Life, faults: &[FaultControl], patience: Patience) {
        let new = start(self.set, self.quorum, &self.disks, faults, &self.gone, &self.opening_ms, patience);
        *self.life.write().unwrap_or_else(PoisonError::into_inner) = new;
        let ending = std::thread::spawn(move || drop(old));
        self.ending.lock().unwrap_or_else(PoisonError::into_inner).push(ending);
    }

    pub(crate) fn release_all(&self) {
        self.faults.iter().for_each(FaultControl::release);
    }

    pub(crate) fn replicas(&self) -> Vec<ReplicaStatus> {
        self.life().store.status().sets[0].replicas.clone()
    }

    /// No faults any more, and every replica in use.
    pub(crate) fn heal(&self) {
        self.gone.iter().for_each(|gone| gone.store(false, Ordering::SeqCst));
        // Failures asked for that nobody met are not for later.
        let honest: Vec<FaultControl> = self.faults.iter().map(|_| FaultControl::new()).collect();
        // On a busy machine all takes its time, and from here on everything goes well.
        self.restart_with(&honest, PATIENT);
        let all_vote = || self.replicas().iter().all(|replica| replica.state == ReplicaState::Voting);
        let start = Instant::now();
        while !all_vote() {
            assert!(start.elapsed() < AGES, "not all replicas vote after a clean start: {:#?}", self.replicas());
            std::thread::sleep(Duration::from_millis(2));
        }
    }

    /// The end: all programs have ended.
    pub(crate) fn end(self) {
        drop(self.life);
        for ending in self.ending.into_inner().unwrap_or_else(PoisonError::into_inner) {
            ending.join().expect("closing does not panic");
        }
    }
}

fn start(
    set: SetId,
    quorum: Quorum,
    disks: &[Arc<Disk>],
    faults: &[FaultControl],
    gone: &[Arc<AtomicBool>],
    opening_ms: &Arc<AtomicU64>,
    patience: Patience,
) -> Life {
    let killed = Arc::new(RwLock::new(false));
    let began = Instant::now();
    loop {
        let mut config = SetConfig::new(set);
        for ((disk, faults), gone) in disks.iter().zip(faults).zip(gone) {
            let (disk, faults, gone, killed) = (Arc::clone(disk), faults.clone(), Arc::clone(gone), Arc::clone(&killed));
            let opening_ms = Arc::clone(opening_ms);
            config = config.replica_with(move |_| {
                if gone.load(Ordering::SeqCst) {
                    return Err(ReplicaError::Missing { dir: "(gone)".into() });
                }
                std::thread::sleep(Duration::from_millis(opening_ms.load(Ordering::SeqCst)));
                let mortal = Mortal::open(&disk, &killed)?;
                Ok(Faulty::new(Arc::new(mortal), faults.clone()))
            });
        }
        let builder = OrderStore::builder().quorum(quorum).deadline(patience.operations);
        let builder = builder.open_timeout(patience.open).close_timeout(HASTY.open);
        match builder.add_set(config).open() {
            Ok(store) => return Life { store, killed },
            // A replica that was left behind in a hang ends soon: it was released.
            Err(ordermint::Error::InUse { .. }) if began.elapsed() < AGES => std::thread::sleep(Duration::from_millis(1)),
            // On a busy machine nobody answered in time, so that it was taken for a new one.
            Err(ordermint::Error::CannotForm { .. }) if began.elapsed() < AGES => {}
            Err(error) => panic!("the store does not open: {error}"),
        }
    }
}

/// A replica in the hands of one program: it is locked for it, and out of reach once that was killed.
struct Mortal {
    replica: MemoryReplica,
    disk: Arc<Disk>,
    killed: Arc<RwLock<bool>>,
    lock: Mutex<Option<Arc<()>>>,
}

impl Mortal {
    fn open(disk: &Arc<Disk>, killed: &Arc<RwLock<bool>>) -> Result<Mortal, ReplicaError> {
        let lock = disk.lock.lock().unwrap_or_else(PoisonError::into_inner);
        if Arc::strong_count(&lock) > 1 {
            return Err(ReplicaError::InUse { dir: "(memory)".into() });
        }
        let lock = Mutex::new(Some(Arc::clone(&lock)));
        Ok(Mortal { replica: disk.memory.clone(), disk: Arc::clone(disk), killed: Arc::clone(killed), lock })
    }

    /// Runs `call` unless the program is dead. A kill waits for it, so that it happened before or not at all.
    fn alive<T>(&self, call: impl FnOnce(&MemoryReplica) -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
        let killed = self.killed.read().unwrap_or_else(PoisonError::into_inner);
        if *killed { Err(ReplicaError::Closed) } else { call(&self.replica) }
    }
}

impl Replica for Mortal {
    fn apply(&self, group: &Group) -> Result<Applied, ReplicaError> {
        self.alive(|replica| {
            let applied = replica.apply(group)?;
            let mut written = self.disk.written.lock().unwrap_or_else(PoisonError::into_inner);
            for write in group.writes() {
                if !written.insert((write.number(), write.version())) || group.epoch() > write.version().epoch {
                    self.disk.tally.add("write-backs");
                }
            }
            Ok(applied)
        })
    }

    fn form(&self, identity: &Identity) -> Result<(), ReplicaError> {
        self.alive(|replica| replica.form(identity))
    }

    fn claim(&self, epoch: u32) -> Result<(), ReplicaError> {
        self.alive(|replica| replica.claim(epoch))
    }

    fn readmit(&self, applied: u64) -> Result<(), ReplicaError> {
        self.alive(|replica| replica.readmit(applied))
    }

    fn banish(&self, reason: &str) -> Result<(), ReplicaError> {
        self.alive(|replica| replica.banish(reason))
    }

    fn get(&self, number: OrderNumber) -> Result<Lookup, ReplicaError> {
        self.alive(|replica| replica.get(number))
    }

    fn scan(&self, day: Day, after: Option<OrderNumber>, limit: ScanLimit) -> Result<Chunk, ReplicaError> {
        self.alive(|replica| replica.scan(day, after, limit))
    }

    fn digest(&self, day: Day, range: u32, below_epoch: u32) -> Result<RangeDigest, ReplicaError> {
        self.alive(|replica| replica.digest(day, range, below_epoch))
    }

    fn keyed(&self, key: &[u8], since: Day) -> Result<Vec<OrderNumber>, ReplicaError> {
        self.alive(|replica| replica.keyed(key, since))
    }

    fn keys(&self, since: Day, after: Option<&KeyUse>, limit: usize) -> Result<Vec<KeyUse>, ReplicaError> {
        self.alive(|replica| replica.keys(since, after, limit))
    }

    fn noted(&self, after: Option<OrderNumber>, limit: usize) -> Result<Vec<Noted>, ReplicaError> {
        self.alive(|replica| replica.noted(after, limit))
    }

    fn days(&self) -> Result<Vec<Day>, ReplicaError> {
        self.alive(|replica| replica.days())
    }

    fn meta(&self, key: &str) -> Result<Option<bytes::Bytes>, ReplicaError> {
        self.alive(|replica| replica.meta(key))
    }

    fn meta_with_prefix(&self, prefix: &str) -> Result<Vec<(String, bytes::Bytes)>, ReplicaError> {
        self.alive(|replica| replica.meta_with_prefix(prefix))
    }

    fn standing(&self) -> Standing {
        self.replica.standing()
    }

    fn marks(&self) -> Marks {
        self.replica.marks()
    }

    fn epoch(&self) -> u32 {
        self.replica.epoch()
    }

    fn close(&self) -> Result<(), ReplicaError> {
        let closed = self.alive(|replica| replica.close());
        *self.lock.lock().unwrap_or_else(PoisonError::into_inner) = None;
        closed
    }
}
