//! The lane of one replica: its role, the jobs waiting for it, and what it missed.

use super::create::CreateOp;
use crate::config::Settings;
use crate::order::OrderNumber;
use crate::replica::{Replica, ReplicaError, Version, Write};
use bytes::Bytes;
use parking_lot::{Condvar, Mutex};
use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

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
    missed: Mutex<Missed>,
    queued_max: usize,
    queued_bytes_max: usize,
}

/// Writes that a voting replica was not given, because its queue was full. They count for nothing anywhere; this is where a
/// later sync begins.
#[derive(Default)]
struct Missed {
    writes: BTreeMap<OrderNumber, Version>,
    overflowed: bool,
}

/// The most missed writes remembered for a replica; 24 bytes each. Beyond it the replica needs a sync.
const MISSED_MAX: usize = 1 << 18;

/// The most reads waiting for one replica; each also counts against its SET's operations in flight.
const READS_MAX: usize = 1 << 16;

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

    /// How many writes it missed, and whether more than can be remembered.
    pub(crate) fn missed(&self) -> (usize, bool) {
        let missed = self.missed.lock();
        (missed.writes.len(), missed.overflowed)
    }

    /// Takes some of what it missed, to be delivered now.
    pub(crate) fn take_missed(&self, count: usize) -> Vec<(OrderNumber, Version)> {
        let mut missed = self.missed.lock();
        let mut taken = Vec::new();
        while taken.len() < count {
            let Some(entry) = missed.writes.pop_first() else { break };
            taken.push(entry);
        }
        taken
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
