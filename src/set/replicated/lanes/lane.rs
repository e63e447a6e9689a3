//! The lane of one replica: its role, the jobs waiting for it, and what it missed.

use crate::config::Settings;
use crate::order::OrderNumber;
use crate::replica::{Replica, ReplicaError, Version, Write};
use crate::set::replicated::writes::create::CreateOp;
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
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
        }
    }
}

/// Called with the replica's index once the job is synced or failed. Our own code only, and short: it runs on the replica's thread.
pub(crate) type Done = Box<dyn FnOnce(u8, Result<(), ReplicaError>) + Send>;

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
}

impl Job {
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Job::Create(op) => op.write().bytes().len(),
            Job::Write { write, .. } => write.bytes().len(),
            Job::Meta { key, value, .. } => key.len() + value.len(),
        }
    }
}

/// Something to be read. Gets the replica, or why there is none to read from.
pub(crate) type ReadJob = Box<dyn FnOnce(Result<&dyn Replica, ReplicaError>) + Send>;

/// What keeps a replica's worker and reader busy.
pub(crate) struct Lane {
    pub(crate) index: u8,
    pub(crate) dir: Option<PathBuf>,
    pub(crate) replica: Option<Arc<dyn Replica>>,
    role: Mutex<Role>,
    writes: Queue<Job>,
    reads: Queue<ReadJob>,
    /// Waiting or being written, with what the worker has taken already.
    queued: AtomicUsize,
    queued_bytes: AtomicUsize,
    /// The last group that this replica synced.
    pub(crate) synced_group: AtomicU64,
    /// Since when the worker has been inside one `apply`, and the reader inside one call.
    pub(crate) writing: Since,
    pub(crate) reading: Since,
    missed: Mutex<Missed>,
    queued_max: usize,
    queued_bytes_max: usize,
}

/// Writes that a voting replica was not given, because its queue was full. They count for nothing anywhere; this is where a
/// later sync begins.
#[derive(Default)]
struct Missed {
    writes: BTreeMap<OrderNumber, Version>,
    /// Taken to be delivered, and not there yet.
    delivering: usize,
    overflowed: bool,
}

/// The most missed writes remembered for a replica; 24 bytes each. Beyond it the replica needs a sync.
const MISSED_MAX: usize = 1 << 18;

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
    pub(crate) fn new(
        index: u8,
        dir: Option<PathBuf>,
        replica: Option<Arc<dyn Replica>>,
        role: Role,
        applied: u64,
        settings: &Settings,
    ) -> Lane {
        let synced_group = replica.as_ref().map_or(0, |replica| replica.marks().own + applied);
        Lane {
            index,
            dir,
            replica,
            role: Mutex::new(role),
            writes: Queue::new(),
            reads: Queue::new(),
            queued: AtomicUsize::new(0),
            queued_bytes: AtomicUsize::new(0),
            synced_group: AtomicU64::new(synced_group),
            writing: Since::new(),
            reading: Since::new(),
            missed: Mutex::new(Missed::default()),
            // Twice what may be in flight: a replica may lag behind those that answer, and catch up in larger groups.
            queued_max: settings.in_flight_max.saturating_mul(2).saturating_add(64),
            queued_bytes_max: settings.in_flight_bytes_max.saturating_mul(2).saturating_add(1 << 20),
        }
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

    /// Whether a job of `bytes` bytes may be queued.
    pub(crate) fn has_room_for(&self, bytes: usize) -> bool {
        self.queued.load(Ordering::Relaxed) < self.queued_max
            && self.queued_bytes.load(Ordering::Relaxed) + bytes <= self.queued_bytes_max
    }

    /// Gives the job back when there is no room or the lane is closing.
    pub(crate) fn push(&self, job: Job) -> Result<(), Job> {
        let bytes = job.bytes();
        if !self.has_room_for(bytes) {
            return Err(job);
        }
        self.queued.fetch_add(1, Ordering::Relaxed);
        self.queued_bytes.fetch_add(bytes, Ordering::Relaxed);
        self.writes.push(job, usize::MAX).inspect_err(|_| self.settled(1, bytes))
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
}
