//! The lane of one replica: its role, the jobs waiting for it, and what it missed.

use crate::config::Settings;
use crate::order::OrderNumber;
use crate::replica::{Replica, ReplicaError, Version, Write};
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::open::{LaneSeed, Opened};
use crate::set::replicated::writes::create::CreateOp;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

/// Whether and how a replica's word counts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Role {
    Voting,
    /// Gives values, not votes; takes no writes.
    Limbo(String),
    /// Failed, and is not used.
    Out(ReplicaError),
    /// Not there.
    Missing(ReplicaError),
    /// On its way back to voting, and how far it got.
    Returning(String),
}

impl Role {
    /// Whether what it holds may be shown, even where its word does not count.
    pub(crate) fn gives_values(&self) -> bool {
        matches!(self, Role::Voting | Role::Limbo(_))
    }

    /// What is wrong, unless it votes.
    pub(crate) fn fault(&self) -> Option<ReplicaError> {
        match self {
            Role::Voting => None,
            Role::Limbo(reason) => Some(ReplicaError::Out { reason: format!("in limbo: {reason}") }),
            Role::Out(error) | Role::Missing(error) => Some(error.clone()),
            Role::Returning(step) => Some(ReplicaError::Out { reason: format!("returning: {step}") }),
        }
    }
}

/// Called with the replica's index once the job is synced or failed. Our own code only, and short: it runs on the replica's thread.
pub(crate) type Done = Box<dyn FnOnce(u8, Result<(), ReplicaError>) + Send>;

/// Called on the worker's thread between two groups, also where the replica does not vote.
pub(crate) type Apart = Box<dyn FnOnce(&Lane, &dyn Replica) + Send>;

/// Opens a replica again, as it was opened first, and looks whose it is. Blocks.
pub(crate) type Reopen = Arc<dyn Fn() -> Opened + Send + Sync>;

/// Something to be written by the replica's worker.
pub(crate) enum Job {
    Create(Arc<CreateOp>),
    /// A write-back.
    Write {
        write: Write,
        done: Done,
    },
    Meta {
        key: String,
        value: Bytes,
        done: Done,
    },
    /// What must not share a group with anything. All that was queued before it has been applied, or has failed, when it runs.
    Apart(Apart),
}

impl Job {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Job::Create(op) => op.write().bytes().len(),
            Job::Write { write, .. } => write.bytes().len(),
            Job::Meta { key, value, .. } => key.len() + value.len(),
            Job::Apart(_) => 0,
        }
    }

    /// The order that it writes, and its version.
    fn order(&self) -> Option<(OrderNumber, Version)> {
        match self {
            Job::Create(op) => Some((op.write().number(), op.write().version())),
            Job::Write { write, .. } => Some((write.number(), write.version())),
            Job::Meta { .. } | Job::Apart(_) => None,
        }
    }
}

/// Something to be read. Gets the replica, or why there is none to read from.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&dyn Replica, ReplicaError>) + Send>;

/// What keeps a replica's worker and reader busy. A replica that returns gets a new one, and the threads of the old one end with
/// its queues; only what was missed is handed on.
pub(crate) struct Lane {
    pub(crate) index: u8,
    /// Which of the lanes that this place has had.
    pub(crate) life: u32,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) reopen: Reopen,
    /// Let go of by the worker at its end, so that the replica is gone then, with its locks.
    replica: Mutex<Option<Arc<dyn Replica>>>,
    role: Mutex<Role>,
    writes: Queue<Job>,
    reads: Queue<ReadJob>,
    /// Waiting or being written, with what the worker has taken already.
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    /// The last group that was here when it was opened.
    pub(crate) opened_at: u64,
    /// The last group known to be synced here.
    pub(crate) synced_group: AtomicU64,
    /// The epoch claimed here, under which its groups are written.
    pub(crate) claimed: AtomicU32,
    /// The highest epoch that this process ever tried to claim here, whatever came of it: an older life's too.
    pub(crate) tried: AtomicU32,
    /// The epoch with which it began to vote: reads that began before are not its business. 0 where it voted from the start.
    pub(crate) joined: AtomicU32,
    /// The operator has taken it out.
    pub(crate) taken_out: AtomicBool,
    /// Since when the worker has been writing one group.
    pub(crate) writing: Since,
    /// Since when the reader has been answering one read.
    pub(crate) reading: Since,
    missed: Arc<Mutex<Missed>>,
    queued_max: usize,
    queued_bytes_max: usize,
}

/// Writes that a replica was not given, because its queue was full or it did not vote, and those that failed there. They count
/// for nothing anywhere; this is where catching up begins.
#[derive(Default)]
struct Missed {
    writes: BTreeMap<OrderNumber, Version>,
    /// Taken to be delivered, and not there yet.
    delivering: usize,
    overflowed: bool,
}

/// The most missed writes remembered for a replica; 24 bytes each. Beyond it the replica needs a sync.
const MISSED_MAX: usize = 1 << 20;

/// The most reads waiting for one replica; each also counts against its SET's operations in flight.
const READS_MAX: usize = 1 << 16;

/// A replica that has been inside one call for longer is not waited for, unless there is no other way to R answers.
const SILENT_AFTER: Duration = Duration::from_secs(1);

/// Since when a thread has been inside one call, if it is.
pub(crate) struct Since {
    origin: Instant,
    /// Milliseconds since `origin`, and one; 0 between calls.
    began: AtomicU64,
}

impl Since {
    fn new() -> Since {
        Since { origin: Instant::now(), began: AtomicU64::new(0) }
    }

    fn elapsed_ms(&self) -> u64 {
        u64::try_from(self.origin.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Runs `call`, which does not panic, and can be seen to be in it.
    pub(crate) fn during<T>(&self, call: impl FnOnce() -> T) -> T {
        self.began.store(self.elapsed_ms().saturating_add(1), Ordering::Relaxed);
        let result = call();
        self.began.store(0, Ordering::Relaxed);
        result
    }

    /// For how long, when that is so long that somebody should know.
    pub(crate) fn too_long(&self) -> Option<Duration> {
        let began = self.began.load(Ordering::Relaxed).checked_sub(1)?;
        let inside = Duration::from_millis(self.elapsed_ms().saturating_sub(began));
        (inside > SILENT_AFTER).then_some(inside)
    }
}

struct Queue<T> {
    state: Mutex<QueueState<T>>,
    filled: Condvar,
}

struct QueueState<T> {
    items: VecDeque<T>,
    closed: bool,
    /// The thread waits at the condition variable.
    idle: bool,
}

impl<T> Queue<T> {
    fn new() -> Queue<T> {
        let state = QueueState { items: VecDeque::new(), closed: false, idle: false };
        Queue { state: Mutex::new(state), filled: Condvar::new() }
    }

    /// Gives the item back when the queue is closed or holds `max`.
    fn push(&self, item: T, max: usize) -> Result<(), T> {
        let mut state = self.state.lock();
        if state.closed || state.items.len() >= max {
            return Err(item);
        }
        state.items.push_back(item);
        if std::mem::take(&mut state.idle) {
            drop(state);
            self.filled.notify_one();
        }
        Ok(())
    }

    /// All that waits; `None` once the queue is closed and empty.
    fn take_all(&self) -> Option<VecDeque<T>> {
        let mut state = self.state.lock();
        loop {
            if !state.items.is_empty() {
                return Some(std::mem::take(&mut state.items));
            }
            if state.closed {
                return None;
            }
            state.idle = true;
            self.filled.wait(&mut state);
        }
    }

    /// The next one; `None` once the queue is closed and empty.
    fn take_one(&self) -> Option<T> {
        let mut state = self.state.lock();
        loop {
            if let Some(item) = state.items.pop_front() {
                return Some(item);
            }
            if state.closed {
                return None;
            }
            state.idle = true;
            self.filled.wait(&mut state);
        }
    }

    fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }
}

impl Lane {
    /// `epoch`: what this process has tried to claim on the replica, where there is one.
    pub(crate) fn new(index: u8, seed: LaneSeed, epoch: u32, settings: &Settings) -> Lane {
        let LaneSeed { dir, replica, role, applied, reopen } = seed;
        let lane = Lane::with(index, 0, dir, reopen, replica, role, Arc::default(), settings);
        lane.synced_group.fetch_add(applied, Ordering::Relaxed);
        if lane.is_open() {
            lane.tried.store(epoch, Ordering::Relaxed);
        }
        lane
    }

    /// The lane of the same place after the replica was opened again.
    pub(crate) fn next_life(&self, replica: Arc<dyn Replica>, role: Role, settings: &Settings) -> Lane {
        let (dir, reopen, missed) = (self.dir.clone(), Arc::clone(&self.reopen), Arc::clone(&self.missed));
        let lane = Lane::with(self.index, self.life + 1, dir, reopen, Some(replica), role, missed, settings);
        // What was seen of it stays known, or the next group would make its peers forget it.
        lane.synced_group.fetch_max(self.synced_group.load(Ordering::Relaxed), Ordering::Relaxed);
        lane.tried.store(self.tried.load(Ordering::Relaxed), Ordering::Relaxed);
        lane
    }

    #[expect(clippy::too_many_arguments, reason = "called by the two above, which have names for what they hand over")]
    fn with(
        index: u8,
        life: u32,
        dir: Option<PathBuf>,
        reopen: Reopen,
        replica: Option<Arc<dyn Replica>>,
        role: Role,
        missed: Arc<Mutex<Missed>>,
        settings: &Settings,
    ) -> Lane {
        let known = replica.as_ref().map_or(Ok((0, 0)), |replica| guarded(|| Ok((replica.marks().own, replica.epoch()))));
        let (synced_group, claimed, role) = match known {
            Ok((synced_group, claimed)) => (synced_group, claimed, role),
            Err(error) => (0, 0, Role::Out(error)),
        };
        let lane = Lane {
            index,
            life,
            dir,
            reopen,
            replica: Mutex::new(replica),
            role: Mutex::new(role),
            writes: Queue::new(),
            reads: Queue::new(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            opened_at: synced_group,
            synced_group: AtomicU64::new(synced_group),
            claimed: AtomicU32::new(claimed),
            tried: AtomicU32::new(0),
            joined: AtomicU32::new(0),
            taken_out: AtomicBool::new(false),
            writing: Since::new(),
            reading: Since::new(),
            missed,
            // Twice what may be in flight: a replica may lag behind those that answer, and catch up in larger groups.
            queued_max: settings.in_flight_max.saturating_mul(2).saturating_add(64),
            queued_bytes_max: settings.in_flight_bytes_max.saturating_mul(2).saturating_add(1 << 20),
        };
        if !lane.is_open() {
            // There are no threads that would ever take anything.
            lane.close();
        }
        lane
    }

    /// The replica, while its worker runs.
    pub(crate) fn replica(&self) -> Option<Arc<dyn Replica>> {
        self.replica.lock().clone()
    }

    /// Whether the replica is open: its worker runs.
    pub(crate) fn is_open(&self) -> bool {
        self.replica.lock().is_some()
    }

    /// The worker has ended.
    pub(crate) fn let_go(&self) {
        self.replica.lock().take();
    }

    pub(crate) fn role(&self) -> Role {
        self.role.lock().clone()
    }

    pub(crate) fn is_voting(&self) -> bool {
        matches!(*self.role.lock(), Role::Voting)
    }

    /// Puts a voting replica out; says whether it was voting. The first reason stays.
    pub(crate) fn put_out(&self, error: ReplicaError) -> bool {
        let mut role = self.role.lock();
        let voting = matches!(*role, Role::Voting);
        if voting {
            *role = Role::Out(error);
        }
        voting
    }

    /// As when a loss is witnessed while the replica is in use.
    #[cfg(test)]
    pub(crate) fn put_into_limbo(&self, reason: &str) {
        *self.role.lock() = Role::Limbo(reason.to_owned());
    }

    /// Where votes are concerned only under the lock of [`Core::change_roles`](crate::set::replicated::Core).
    pub(crate) fn set_role(&self, role: Role) {
        *self.role.lock() = role;
    }

    /// Says how far a returning replica got; says whether it is returning.
    pub(crate) fn tell_step(&self, told: &str) -> bool {
        let mut role = self.role.lock();
        let Role::Returning(step) = &mut *role else { return false };
        told.clone_into(step);
        true
    }

    /// Whether a job of `bytes` bytes may be queued.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.queued.load(Ordering::Relaxed) < self.queued_max
            && self.queued_bytes.load(Ordering::Relaxed) + bytes <= self.queued_bytes_max
    }

    /// Gives the job back when there is no room or the lane is closing; what it would have written is missed then.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        let bytes = job.bytes();
        // What runs apart is rare and writes little: a queue that is full need not turn it away.
        let result = if matches!(job, Job::Apart(_)) || self.has_room_for(bytes) {
            self.queued.fetch_add(1, Ordering::Relaxed);
            self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
            self.writes.push(job, usize::MAX).inspect_err(|_| self.settled(1, bytes))
        } else {
            Err(job)
        };
        result.inspect_err(|job| self.miss_job(job))
    }

    /// A job came to nothing.
    pub(crate) fn miss_job(&self, job: &Job) {
        if let Some((number, version)) = job.order() {
            self.miss(number, version);
        }
    }

    /// Jobs that were pushed are done, one way or the other.
    pub(crate) fn settled(&self, jobs: usize, bytes: usize) {
        self.queued.fetch_sub(jobs, Ordering::Relaxed);
        self.queued_bytes.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// All jobs that wait; `None` once the lane is closed and all is done.
    pub(crate) fn take_jobs(&self) -> Option<VecDeque<Job>> {
        self.writes.take_all()
    }

    /// Gives the job back when too many wait or the lane is closing.
    pub(crate) fn read(&self, job: ReadJob) -> Result<(), ReadJob> {
        self.reads.push(job, READS_MAX)
    }

    pub(crate) fn take_read(&self) -> Option<ReadJob> {
        self.reads.take_one()
    }

    pub(crate) fn queued(&self) -> usize {
        self.queued.load(Ordering::Relaxed)
    }

    /// A write that this replica was not given.
    pub(crate) fn miss(&self, number: OrderNumber, version: Version) {
        let mut missed = self.missed.lock();
        if missed.writes.len() < MISSED_MAX {
            missed.writes.insert(number, version);
        } else {
            missed.overflowed = true;
        }
    }

    /// How many writes it missed and was not given since, and whether more than can be remembered.
    pub(crate) fn missed(&self) -> (usize, bool) {
        let missed = self.missed.lock();
        (missed.writes.len() + missed.delivering, missed.overflowed)
    }

    /// Takes some of what it missed, to be delivered now.
    pub(crate) fn take_missed(&self, count: usize) -> Vec<(OrderNumber, Version)> {
        let mut missed = self.missed.lock();
        let mut taken = Vec::new();
        while taken.len() < count {
            let Some(entry) = missed.writes.pop_first() else { break };
            taken.push(entry);
        }
        missed.delivering += taken.len();
        taken
    }

    /// One that was taken is there now, or is missed again.
    pub(crate) fn delivered(&self) {
        self.missed.lock().delivering -= 1;
    }

    /// Whether any missed write waits to be taken.
    pub(crate) fn has_missed(&self) -> bool {
        !self.missed.lock().writes.is_empty()
    }

    /// Whether its reader has been inside one call for so long that it is not waited for.
    pub(crate) fn is_silent(&self) -> bool {
        self.reading.too_long().is_some()
    }

    /// What is odd about a replica that votes.
    pub(crate) fn oddity(&self) -> Option<String> {
        let told = |what: &str, inside: Duration| format!("has been {what} for {} s", inside.as_secs());
        let writing = self.writing.too_long().map(|inside| told("writing one group", inside));
        writing.or_else(|| self.reading.too_long().map(|inside| told("answering one read", inside)))
    }

    /// No more jobs; those that wait are still done.
    pub(crate) fn close_writes(&self) {
        self.writes.close();
    }

    /// No more reads; those that wait are still done.
    pub(crate) fn close_reads(&self) {
        self.reads.close();
    }

    /// Nothing more; what waits is still done, or failed where the replica does not vote. The worker closes the replica then.
    pub(crate) fn close(&self) {
        self.close_writes();
        self.close_reads();
    }
}
