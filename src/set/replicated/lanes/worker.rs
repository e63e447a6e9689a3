//! The two threads of a replica. The worker writes: it takes whatever waits, as much as one sync may carry, applies it, and
//! answers. Under load groups grow by themselves, so there is no timer. The reader reads.

use super::lane::{Done, Job, Lane};
use crate::order::Day;
use crate::replica::{Group, Marks, Replica, ReplicaError, Standing};
use crate::set::replicated::Core;
use crate::set::replicated::panics::contained;
use crate::set::replicated::upkeep::coordinator::Event;
use crate::set::replicated::upkeep::notify::Completion;
use crate::set::replicated::writes::create::CreateOp;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// Runs code of a replica; a panic becomes an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
    contained(call).unwrap_or_else(|message| Err(ReplicaError::Panicked { message }))
}

/// What a replica says of itself. As everywhere, its code may panic.
pub(crate) fn standing_of(replica: &dyn Replica) -> Result<Standing, ReplicaError> {
    guarded(|| Ok(replica.standing()))
}

/// As [`standing_of`].
pub(crate) fn marks_of(replica: &dyn Replica) -> Result<Marks, ReplicaError> {
    guarded(|| Ok(replica.marks()))
}

/// What to do with a job once its group is applied.
enum Waiting {
    Create(Arc<CreateOp>),
    Done(Done),
}

/// Writes until the lane is closed and empty, then closes the replica.
pub(crate) fn run_worker(core: &Core, lane: &Lane) {
    let Some(replica) = lane.replica() else { return };
    while let Some(mut backlog) = lane.take_jobs() {
        while let Some(job) = backlog.pop_front() {
            match job {
                Job::Apart(run) => {
                    // Code of the replica is guarded inside.
                    lane.writing.during(|| run(lane, &*replica));
                    lane.settled(1, 0);
                }
                job => {
                    backlog.push_front(job);
                    commit_group(core, lane, &*replica, &mut backlog);
                }
            }
        }
    }
    let closed = guarded(|| replica.close());
    // One that could not end cleanly gives its locks back when nobody holds it any more.
    lane.let_go();
    drop(replica);
    core.post(Event::LaneClosed { index: lane.index, life: lane.life, error: closed.err() });
}

/// More than a group of common orders has, whose bytes are bounded: room for so many is made beforehand.
const JOBS_MOSTLY: usize = 2_048;

/// Makes one group of what is in front of `backlog`, applies it and answers.
fn commit_group(core: &Core, lane: &Lane, replica: &dyn Replica, backlog: &mut VecDeque<Job>) {
    // The epoch that was claimed here: older ones are refused, and a newer one is not in use before all who vote have it.
    let mut group = Group::new(lane.claimed.load(Ordering::Acquire));
    let most = backlog.len().min(JOBS_MOSTLY);
    let mut waiting: Vec<Waiting> = Vec::with_capacity(most);
    let (mut bytes, mut writes) = (0, Vec::with_capacity(most));
    while let Some(job) = backlog.front() {
        if matches!(job, Job::Apart(_)) || (!group.is_empty() && !group.has_room_for(job.bytes())) {
            break;
        }
        let Some(job) = backlog.pop_front() else { break };
        bytes += job.bytes();
        let place = waiting.len();
        let (fits, then) = match job {
            Job::Create(op) => {
                writes.push(place);
                (group.push(op.write().clone()).is_ok(), Waiting::Create(op))
            }
            Job::Write { write, done } => {
                writes.push(place);
                (group.push(write).is_ok(), Waiting::Done(done))
            }
            Job::Meta { key, value, done } => (group.push_meta(key, value).is_ok(), Waiting::Done(done)),
            Job::Apart(_) => unreachable!("it was looked for above"),
        };
        assert!(fits, "one job always fits into an empty group: the value cap is far below the group's");
        waiting.push(then);
    }
    group.set_peer_marks(core.synced_groups());
    let jobs = waiting.len();
    let mut result = match lane.role().fault() {
        Some(fault) => Err(fault),
        None => lane.writing.during(|| guarded(|| replica.apply(&group))),
    };
    if result.is_ok() {
        lane.synced_group.fetch_add(1, Ordering::Relaxed);
        // Put out or taken out meanwhile: its word counts for nothing, and another life of it may have begun.
        if let Some(fault) = lane.role().fault() {
            result = Err(fault);
        }
    }
    match result {
        Ok(applied) => {
            // `refused` counts writes only; find the jobs they belong to.
            let refused: Vec<usize> = applied.refused.iter().filter_map(|(at, _)| writes.get(*at).copied()).collect();
            answer(core, lane, waiting, |place| match refused.contains(&place) {
                true => Err(ReplicaError::Out { reason: "a newer version is held".to_owned() }),
                false => Ok(()),
            });
        }
        Err(error) => {
            // What was synced and what was not is anybody's guess, so the replica is out until it is opened again.
            if lane.put_out(error.clone()) {
                core.post(Event::Wake);
            }
            core.refresh_voters();
            for write in group.writes() {
                lane.miss(write.number(), write.version());
            }
            answer(core, lane, waiting, |_| Err(error.clone()));
        }
    }
    lane.settled(jobs, bytes);
}

fn answer(core: &Core, lane: &Lane, waiting: Vec<Waiting>, result: impl Fn(usize) -> Result<(), ReplicaError>) {
    let mut completions: Vec<Completion> = Vec::with_capacity(waiting.len());
    let mut stored = Stored::new(core);
    // By day and epoch.
    let mut created: Option<((Day, u32), u64)> = None;
    for (place, waiting) in waiting.into_iter().enumerate() {
        let result = result(place);
        match waiting {
            Waiting::Create(op) => {
                let good = result.is_ok();
                if let Some(completion) = op.answer(lane.index, good) {
                    if good {
                        stored.add(&op);
                        core.recent.created(op.write(), op.sent());
                        let of = (op.write().number().day(), op.write().version().epoch);
                        match &mut created {
                            Some((same, count)) if *same == of => *count += 1,
                            other => {
                                if let Some((of, count)) = other.replace((of, 1)) {
                                    core.count_created(of, count);
                                }
                            }
                        }
                    }
                    completions.push(completion);
                }
            }
            Waiting::Done(done) => done(lane.index, result),
        }
    }
    if let Some((of, count)) = created {
        core.count_created(of, count);
    }
    stored.tell();
    core.notifier.push_all(&mut completions);
}

/// Creates of one permit that a group decided: told to the store at once, so that it costs each of them next to nothing.
struct Stored<'a> {
    core: &'a Core,
    /// What began then, or before, is slow. `None` where the clock does not reach back so far.
    slow_from: Option<Instant>,
    permit: u64,
    good: u32,
    slow: u32,
}

impl Stored<'_> {
    fn new(core: &Core) -> Stored<'_> {
        let slow_from = Instant::now().checked_sub(core.settings.breaker.slow_after);
        Stored { core, slow_from, permit: 0, good: 0, slow: 0 }
    }

    fn add(&mut self, op: &CreateOp) {
        let (began, permit) = op.began();
        if permit != self.permit {
            self.tell();
            (self.permit, self.good, self.slow) = (permit, 0, 0);
        }
        self.good += 1;
        self.slow += u32::from(self.slow_from.is_some_and(|slow_from| began <= slow_from));
    }

    fn tell(&self) {
        if self.good > 0 {
            self.core.listener.stored(self.permit, self.good, self.slow);
        }
    }
}

/// Reads until the lane is closed and nothing waits. Those in limbo are read too: whether an answer counts is for
/// [`Core::checked`] to say, once it is there.
pub(crate) fn run_reader(lane: &Lane) {
    let Some(replica) = lane.replica() else { return };
    while let Some(job) = lane.take_read() {
        let role = lane.role();
        match role.gives_values() {
            true => lane.reading.during(|| job(Ok(&*replica))),
            false => job(Err(role.fault().unwrap_or(ReplicaError::Closed))),
        }
    }
}
