//! The two threads of a replica. The worker writes: it takes whatever waits, as much as one sync may carry, applies it, and
//! answers. Under load groups grow by themselves, so there is no timer. The reader reads.

use super::lane::{Done, Job, Lane};
use crate::order::Day;
use crate::replica::{Group, Replica, ReplicaError};
use crate::set::replicated::Core;
use crate::set::replicated::upkeep::coordinator::Event;
use crate::set::replicated::upkeep::notify::Completion;
use crate::set::replicated::writes::create::CreateOp;
use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Runs code of a replica; a panic becomes an error.
pub(crate) fn guarded<T>(call: impl FnOnce() -> Result<T, ReplicaError>) -> Result<T, ReplicaError> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
            (Some(text), _) => (*text).to_owned(),
            (None, Some(text)) => text.clone(),
            (None, None) => "without a message".to_owned(),
        };
        Err(ReplicaError::Panicked { message })
    })
}

/// What to do with a job once its group is applied.
enum Waiting {
    Create(Arc<CreateOp>),
    Done(Done),
}

/// Writes until the lane is closed and empty, then closes the replica.
pub(crate) fn run_worker(core: &Core, lane: &Lane) {
    let Some(replica) = &lane.replica else { return };
    let mut backlog: VecDeque<Job> = VecDeque::new();
    while let Some(jobs) = lane.take_jobs() {
        backlog = jobs;
        while !backlog.is_empty() {
            commit_group(core, lane, &**replica, &mut backlog);
        }
    }
    debug_assert!(backlog.is_empty(), "every job was answered");
    let closed = guarded(|| replica.close());
    core.post(Event::LaneClosed { index: lane.index, error: closed.err() });
}

/// Makes one group of what is in front of `backlog`, applies it and answers.
fn commit_group(core: &Core, lane: &Lane, replica: &dyn Replica, backlog: &mut VecDeque<Job>) {
    let mut group = Group::new(core.epoch());
    let mut waiting: Vec<Waiting> = Vec::new();
    let (mut bytes, mut writes) = (0, Vec::new());
    while let Some(job) = backlog.front() {
        if !group.is_empty() && !group.has_room_for(job.bytes()) {
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
        };
        assert!(fits, "one job always fits into an empty group: the value cap is far below the group's");
        waiting.push(then);
    }
    group.set_peer_marks(core.synced_groups());
    let jobs = waiting.len();
    let out = lane.role().fault();
    let result = match out {
        Some(error) => Err(error),
        None => lane.writing.during(|| guarded(|| replica.apply(&group))),
    };
    match result {
        Ok(applied) => {
            lane.synced_group.fetch_add(1, Ordering::Relaxed);
            // `refused` counts writes only; find the jobs they belong to.
            let refused: Vec<usize> = applied.refused.iter().filter_map(|(at, _)| writes.get(*at).copied()).collect();
            answer(core, lane, waiting, |place| match refused.contains(&place) {
                true => Err(ReplicaError::Out { reason: "a newer version is held".to_owned() }),
                false => Ok(()),
            });
        }
        Err(error) => {
            // What was synced and what was not is anybody's guess, so the replica is out for good.
            if lane.put_out(error.clone()) {
                core.post(Event::Wake);
            }
            core.refresh_voters();
            answer(core, lane, waiting, |_| Err(error.clone()));
        }
    }
    lane.settled(jobs, bytes);
}

fn answer(core: &Core, lane: &Lane, waiting: Vec<Waiting>, result: impl Fn(usize) -> Result<(), ReplicaError>) {
    let mut completions: Vec<Completion> = Vec::new();
    let mut created: Option<(Day, u64)> = None;
    for (place, waiting) in waiting.into_iter().enumerate() {
        let result = result(place);
        match waiting {
            Waiting::Create(op) => {
                let good = result.is_ok();
                if let Some(completion) = op.answer(lane.index, good) {
                    if good {
                        core.recent.created(op.write());
                        let day = op.write().number().day();
                        match &mut created {
                            Some((same, count)) if *same == day => *count += 1,
                            other => {
                                if let Some((day, count)) = other.replace((day, 1)) {
                                    core.count_created(day, count);
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
    if let Some((day, count)) = created {
        core.count_created(day, count);
    }
    core.notifier.push_all(&mut completions);
}

/// Reads until the lane is closed and nothing waits. Those in limbo are read too: whether an answer counts is for
/// [`Core::checked`] to say, once it is there.
pub(crate) fn run_reader(lane: &Lane) {
    while let Some(job) = lane.take_read() {
        let role = lane.role();
        match &lane.replica {
            Some(replica) if role.gives_values() => lane.reading.during(|| job(Ok(&**replica))),
            _ => job(Err(role.fault().unwrap_or(ReplicaError::Closed))),
        }
    }
}
