//! Replicas that leave and return while the SET goes on.
//!
//! Leaving is one change of a role. Returning has steps, since a replica that was away may have lost what it acknowledged before
//! it left, in this very epoch:
//!
//! 1. It is opened on a thread of its own, and what it holds is held against what was seen synced there.
//! 2. A newer epoch is claimed on it and on all who vote. Until that is in use, the old one goes on.
//! 3. All ranges of numbers are made dirty, and the newer epoch is put in use: in that order, so that nobody can take what
//!    the older one wrote for settled. In the same step the replica begins to vote.
//! 4. The digests are compared anew, over all that older epochs wrote, and it is handed what it missed.
//!
//! One claim is under way at a time; it takes in all replicas that are ready. What happens when is argued in ARCHITECTURE.

use super::compare::Compare;
use super::coordinator::Event;
use super::leases::Leases;
use super::open::{LaneSeed, raise_above_held, read_floor, read_lease_marks};
use super::reopen::{Found, install, open_again};
use crate::error::Error;
use crate::order::Day;
use crate::quorum::Mask;
use crate::replica::{Group, Replica, ReplicaError};
use crate::set::ReplicaState;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane, Role};
use crate::set::replicated::lanes::worker::guarded;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

/// What the coordinator is told of replicas that return.
pub(crate) enum News {
    /// These leave limbo, if they can.
    LossAccepted(Vec<Newcomer>),
    /// A replica was opened, or was not.
    Opened { index: u8, life: u32, result: Result<Found, ReplicaError> },
    /// A replica took the epoch of that attempt, or did not.
    Claimed { attempt: u64, index: u8, result: Result<(), Refusal> },
    /// What those who took it know of numbers and days.
    Read { attempt: u64, read: Read },
}

/// A replica on its way to voting.
pub(crate) struct Newcomer {
    index: u8,
    /// Why it was in limbo, if it was.
    limbo: Option<String>,
}

/// Why a replica did not take an epoch.
pub(crate) enum Refusal {
    /// It could not be taken out of limbo, and is there still.
    StaysInLimbo(ReplicaError),
    Failed(ReplicaError),
}

/// What a SET must know that begins to mint.
pub(crate) struct Read {
    marks: BTreeMap<Day, u64>,
    floor: Option<Day>,
    failed: Vec<(u8, ReplicaError)>,
}

/// The returns under way; run by the coordinator.
#[derive(Default)]
pub(crate) struct Regroup {
    /// Wait for an epoch. At most N, since each holds the role of its place.
    ready: Vec<Newcomer>,
    claim: Option<Claim>,
    attempts: u64,
    /// The last epoch asked for: one that hangs may take it late.
    newest: u32,
}

/// A claim under way.
struct Claim {
    attempt: u64,
    epoch: u32,
    newcomers: Vec<Newcomer>,
    waiting: Mask,
    took: Mask,
    /// All have answered, and those who took it are being read.
    reading: bool,
    deadline: Instant,
}

impl Core {
    pub(crate) fn take_out_replica(&self, index: u8) -> Result<(), Error> {
        self.check_change(index)?;
        let lane = self.change_roles(|| {
            let lane = self.lane(index);
            let role = lane.role();
            let wrong = matches!(role, Role::Missing(_) | Role::Returning(_)) || lane.taken_out.load(Ordering::Relaxed);
            if wrong {
                return Err(Error::WrongState { set: self.id, index, state: state_of(&role) });
            }
            if role == Role::Voting {
                let left = self.voters().without(index).count();
                // Writes, reads, numbers, and an epoch when one returns.
                let need = self.quorum.w().max(self.quorum.r()).max(self.quorum.claim());
                if left < need {
                    return Err(Error::StillNeeded { set: self.id, left, need });
                }
            }
            if !matches!(role, Role::Out(_)) {
                lane.set_role(Role::Out(ReplicaError::Out { reason: "taken out by the operator".to_owned() }));
            }
            lane.taken_out.store(true, Ordering::Relaxed);
            Ok(lane)
        })?;
        // What waits is answered with the reason, then the worker closes the replica and its locks are given back.
        lane.close();
        Ok(())
    }

    pub(crate) fn bring_back_replica(&self, index: u8) -> Result<(), Error> {
        self.check_change(index)?;
        let (lane, role) = self.change_roles(|| {
            let lane = self.lane(index);
            let role = lane.role();
            if !matches!(role, Role::Out(_) | Role::Missing(_)) {
                return Err(Error::WrongState { set: self.id, index, state: state_of(&role) });
            }
            lane.set_role(Role::Returning("it is being opened".to_owned()));
            Ok((Arc::clone(&lane), role))
        })?;
        // One that failed may be open still.
        lane.close();
        let opening = Arc::clone(&lane);
        let spawned = self.spawn(&format!("open-{index}"), move |core| {
            let result = open_again(core, &opening);
            core.post(Event::Regroup(News::Opened { index, life: opening.life, result }));
        });
        spawned.inspect_err(|_| lane.set_role(role))
    }

    pub(crate) fn accept_loss(&self) -> Result<(), Error> {
        self.check_change(0)?;
        let newcomers = self.change_roles(|| {
            let mut newcomers = Vec::new();
            for lane in self.lanes() {
                match lane.role() {
                    Role::Returning(_) => {
                        return Err(Error::WrongState { set: self.id, index: lane.index, state: ReplicaState::Returning });
                    }
                    Role::Limbo(reason) => newcomers.push(Newcomer { index: lane.index, limbo: Some(reason) }),
                    Role::Voting | Role::Out(_) | Role::Missing(_) => {}
                }
            }
            if newcomers.is_empty() {
                return Err(Error::NothingLost { set: self.id });
            }
            for newcomer in &newcomers {
                let step = "what it lost is accepted as lost".to_owned();
                self.lane(newcomer.index).set_role(Role::Returning(step));
            }
            Ok(newcomers)
        })?;
        self.post(Event::Regroup(News::LossAccepted(newcomers)));
        Ok(())
    }

    fn check_change(&self, index: u8) -> Result<(), Error> {
        if index >= self.quorum.n() {
            return Err(Error::NoSuchReplica { set: self.id, index, of: self.quorum.n() });
        }
        if self.is_closing() { Err(Error::Closed) } else { Ok(()) }
    }

    /// A newcomer that will not vote: it is closed, and the reason told.
    fn turn_away(&self, index: u8, error: ReplicaError) {
        let lane = self.lane(index);
        self.change_roles(|| lane.set_role(Role::Out(error)));
        lane.close();
    }
}

fn state_of(role: &Role) -> ReplicaState {
    match role {
        Role::Voting => ReplicaState::Voting,
        Role::Limbo(_) => ReplicaState::Limbo,
        Role::Out(_) => ReplicaState::Out,
        Role::Missing(_) => ReplicaState::Missing,
        Role::Returning(_) => ReplicaState::Returning,
    }
}

impl News {
    /// The SET is being closed.
    pub(crate) fn come_to_nothing(self, core: &Core) {
        // On a thread of its own, which may hang in a disk. Without one the replica is dropped, which is like a crash to it.
        if let News::Opened { result: Ok(found), .. } = self {
            let _ = core.spawn("unopen", move |_| drop(guarded(|| found.replica.close())));
        }
    }
}

impl Regroup {
    pub(crate) fn hear(&mut self, core: &Arc<Core>, news: News, leases: &mut Leases, compare: &mut Compare) {
        match news {
            News::LossAccepted(newcomers) => self.ready.extend(newcomers),
            News::Opened { index, life, result } => {
                if core.lane(index).life == life {
                    let votes = install(core, index, result);
                    self.ready.extend(votes.then_some(Newcomer { index, limbo: None }));
                }
            }
            News::Claimed { attempt, index, result } => {
                if let Some(claim) = self.claim.as_mut().filter(|claim| claim.attempt == attempt) {
                    claim.answered(core, index, result);
                }
            }
            News::Read { attempt, read } => {
                if self.claim.as_ref().is_some_and(|claim| claim.attempt == attempt)
                    && let Some(mut claim) = self.claim.take()
                {
                    claim.waiting = read.failed.iter().map(|(index, _)| *index).collect();
                    for (index, error) in read.failed {
                        claim.took = claim.took.without(index);
                        claim.answered(core, index, Err(Refusal::Failed(error)));
                    }
                    if claim.is_enough(core) {
                        core.take_over_floor(read.floor);
                        claim.put_in_use(core, leases, compare, Some(read.marks));
                    }
                }
            }
        }
        self.proceed(core, leases, compare);
    }

    /// Looks at the clock; returns when to come again.
    pub(crate) fn step(&mut self, core: &Arc<Core>, now: Instant, leases: &mut Leases, compare: &mut Compare) -> Instant {
        if let Some(claim) = self.claim.as_mut().filter(|claim| now >= claim.deadline && !claim.reading) {
            let waited_ms = u64::try_from(core.settings.open_timeout.as_millis()).unwrap_or(u64::MAX);
            for index in claim.waiting.iter() {
                claim.answered(core, index, Err(Refusal::Failed(ReplicaError::TimedOut { waited_ms })));
            }
            self.proceed(core, leases, compare);
        }
        match &self.claim {
            Some(claim) if !claim.reading => claim.deadline,
            _ => now + core.settings.open_timeout,
        }
    }

    /// Ends a claim that all have answered, and begins one where somebody waits for it.
    fn proceed(&mut self, core: &Arc<Core>, leases: &mut Leases, compare: &mut Compare) {
        if let Some(claim) = self.claim.take_if(|claim| claim.waiting.is_empty() && !claim.reading) {
            if !claim.is_enough(core) {
            } else if core.epoch() > 0 {
                claim.put_in_use(core, leases, compare, None);
            } else {
                self.claim = claim.read(core);
            }
        }
        if self.claim.is_none() && !self.ready.is_empty() {
            self.begin(core);
        }
    }

    /// Claims an epoch above all that were ever seen, where enough are there for it.
    fn begin(&mut self, core: &Arc<Core>) {
        let newcomers: Mask = self.ready.iter().map(|newcomer| newcomer.index).collect();
        let asked = core.voters().or(newcomers);
        let need = core.quorum.claim();
        if asked.count() < need {
            let told = format!("waits for others: an epoch takes {need} replicas, and {} are there", asked.count());
            for newcomer in &self.ready {
                core.lane(newcomer.index).tell_step(&told);
            }
            return;
        }
        let newest = core.lanes().map(|lane| lane.claimed.load(Ordering::Relaxed).max(lane.tried.load(Ordering::Relaxed))).max();
        let Some(epoch) = newest.unwrap_or(0).max(core.epoch()).max(self.newest).checked_add(1) else {
            for newcomer in std::mem::take(&mut self.ready) {
                core.turn_away(newcomer.index, ReplicaError::Out { reason: "no epoch is left".to_owned() });
            }
            return;
        };
        self.attempts += 1;
        self.newest = epoch;
        let attempt = self.attempts;
        let newcomers = std::mem::take(&mut self.ready);
        let deadline = Instant::now() + core.settings.open_timeout;
        for index in asked.iter() {
            let lane = core.lane(index);
            let newcomer = newcomers.iter().find(|newcomer| newcomer.index == index);
            let map_yields = core.map_yields;
            let (map, readmit) = (
                newcomer.and_then(|_| core.map.1.lock().clone().map(|map| (core.map.0.clone(), map))),
                newcomer.is_some_and(|newcomer| newcomer.limbo.is_some()),
            );
            lane.tell_step("it takes a new epoch");
            let Some(post) = core.poster() else { return };
            let run = Box::new(move |lane: &Lane, replica: &dyn Replica| {
                let result = claim_on(lane, replica, epoch, readmit, map, map_yields);
                post(Event::Regroup(News::Claimed { attempt, index, result }));
            });
            if lane.push(Job::Apart(run)).is_err() {
                let result = Err(Refusal::Failed(ReplicaError::Closed));
                core.post(Event::Regroup(News::Claimed { attempt, index, result }));
            }
        }
        self.claim = Some(Claim { attempt, epoch, newcomers, waiting: asked, took: Mask::NONE, reading: false, deadline });
    }
}

/// Claims an epoch, on the replica's worker; a newcomer leaves limbo first and is given the map after. A map that yields is given only to
/// one that has none.
fn claim_on(
    lane: &Lane,
    replica: &dyn Replica,
    epoch: u32,
    readmit: bool,
    map: Option<(String, bytes::Bytes)>,
    map_yields: bool,
) -> Result<(), Refusal> {
    if let Role::Out(error) = lane.role() {
        return Err(Refusal::Failed(error));
    }
    guarded(|| {
        let (held, ours) = (replica.epoch(), lane.claimed.load(Ordering::Relaxed));
        if held == ours { Ok(()) } else { Err(ReplicaError::Fenced { given: ours, claimed: held }) }
    })
    .map_err(Refusal::Failed)?;
    if readmit {
        guarded(|| replica.readmit(lane.synced_group.load(Ordering::Relaxed))).map_err(Refusal::StaysInLimbo)?;
        // It counts as one group, above all that was seen.
        lane.synced_group.fetch_add(1, Ordering::Relaxed);
    }
    // Only now: an epoch that this process wanted and another one claimed is not this one's.
    lane.tried.fetch_max(epoch, Ordering::Relaxed);
    guarded(|| replica.claim(epoch)).map_err(Refusal::Failed)?;
    lane.claimed.store(epoch, Ordering::Release);
    let has_its_own = |key: &str| matches!(guarded(|| replica.meta(key)), Ok(Some(_)));
    if let Some((key, value)) = map.filter(|(key, _)| !map_yields || !has_its_own(key)) {
        let mut group = Group::new(epoch);
        let full = |error: crate::replica::GroupFull| Refusal::Failed(ReplicaError::Out { reason: error.to_string() });
        group.push_meta(key, value).map_err(full)?;
        guarded(|| replica.apply(&group)).map_err(Refusal::Failed)?;
        lane.synced_group.fetch_add(1, Ordering::Relaxed);
    }
    Ok(())
}

impl Claim {
    fn answered(&mut self, core: &Core, index: u8, result: Result<(), Refusal>) {
        if !self.waiting.contains(index) {
            return;
        }
        self.waiting = self.waiting.without(index);
        let newcomer = self.newcomers.iter().position(|newcomer| newcomer.index == index);
        match (result, newcomer) {
            (Ok(()), _) => self.took = self.took.with(index),
            // A voter that does not take it cannot be written to under it.
            (Err(Refusal::Failed(error) | Refusal::StaysInLimbo(error)), None) => {
                core.lane(index).put_out(error);
                core.refresh_voters();
            }
            (Err(refusal), Some(place)) => {
                let newcomer = self.newcomers.swap_remove(place);
                match (refusal, newcomer.limbo) {
                    (Refusal::StaysInLimbo(error), Some(reason)) => {
                        let reason = format!("{reason}; the loss could not be accepted: {error}");
                        core.change_roles(|| core.lane(index).set_role(Role::Limbo(reason)));
                    }
                    (Refusal::Failed(error) | Refusal::StaysInLimbo(error), _) => core.turn_away(index, error),
                }
            }
        }
    }

    /// Whether the epoch is on enough replicas to be put in use; else whoever waits for it is turned away, and the one before goes on.
    fn is_enough(&self, core: &Core) -> bool {
        let counts = |index: &u8| matches!(core.lane(*index).role(), Role::Voting | Role::Returning(_));
        let (took, need) = (self.took.iter().filter(counts).count(), core.quorum.claim());
        let enough = took >= usize::from(need);
        if !enough {
            for newcomer in &self.newcomers {
                let reason = format!("a new epoch was claimed on {took} replicas, and {need} are needed");
                core.turn_away(newcomer.index, ReplicaError::Out { reason });
            }
        }
        enough
    }

    /// The SET had no epoch: before it mints, those who took this one must say which numbers were given out.
    fn read(mut self, core: &Arc<Core>) -> Option<Claim> {
        self.reading = true;
        let (attempt, took, timeout) = (self.attempt, self.took, core.settings.open_timeout);
        let spawned = core.spawn("return", move |core| {
            let seed = |lane: Arc<Lane>| {
                let replica = lane.replica().filter(|_| took.contains(lane.index));
                let role = if replica.is_some() { Role::Voting } else { Role::Out(ReplicaError::Closed) };
                LaneSeed { dir: None, replica, role, applied: 0, reopen: Arc::clone(&lane.reopen) }
            };
            let mut lanes: Vec<LaneSeed> = core.lanes().map(seed).collect();
            let mut marks = read_lease_marks(&mut lanes, timeout);
            raise_above_held(&lanes, core.id, &mut marks, timeout);
            let floor = read_floor(&mut lanes, timeout);
            let failed = (0u8..).zip(&lanes).filter(|(index, _)| took.contains(*index));
            let failed = failed.filter_map(|(index, lane)| Some((index, lane.role.fault()?))).collect();
            core.post(Event::Regroup(News::Read { attempt, read: Read { marks, floor, failed } }));
        });
        match spawned {
            Ok(()) => Some(self),
            Err(error) => {
                for newcomer in &self.newcomers {
                    core.turn_away(newcomer.index, ReplicaError::Out { reason: error.to_string() });
                }
                None
            }
        }
    }

    /// The one moment in which the newer epoch and the newcomers begin to count. `marks`: where the SET begins to mint.
    fn put_in_use(self, core: &Arc<Core>, leases: &mut Leases, compare: &mut Compare, marks: Option<BTreeMap<Day, u64>>) {
        // First: whoever sees the newer epoch finds every range dirty.
        core.ranges.lock().restart();
        // Another replica will have a say in what is newest.
        core.recent.forget_all();
        {
            // Under the submit lock: what was sent before went past the newcomers and is missed, what is sent after goes to them.
            let _submit = core.submit.lock();
            core.change_roles(|| {
                let _ = core.first_epoch.compare_exchange(0, self.epoch, Ordering::AcqRel, Ordering::Acquire);
                core.epoch.store(self.epoch, Ordering::Release);
                for newcomer in &self.newcomers {
                    let lane = core.lane(newcomer.index);
                    lane.joined.store(self.epoch, Ordering::Release);
                    lane.set_role(Role::Voting);
                }
            });
        }
        let created = std::mem::take(&mut *core.created.lock());
        core.ranges.lock().count(created);
        if let Some(marks) = marks {
            let marks: Vec<(Day, u64)> = marks.into_iter().collect();
            *leases = Leases::new(core, &marks);
            leases.begin(core);
        }
        for newcomer in &self.newcomers {
            leases.hand_over(&core.lane(newcomer.index));
            core.hand_over_floor(&core.lane(newcomer.index));
            core.hand_over_map(&core.lane(newcomer.index));
        }
        leases.hasten(core);
        compare.restart(core, leases.marks());
        core.post(Event::Wake);
    }
}
