//! SETs added, drained, retired and weighted while the store runs.
//!
//! One change is made at a time: it makes the next map, has it made durable by the SETs, and only then puts it in use. A map
//! that came to nothing has used up its version, since some replica may hold it: no version is ever given to two maps.
//!
//! A SET is added in five steps, and a crash between any two of them leaves a store that opens:
//!
//! 1. Its replicas are made: identity and the new map, not yet formed. *A crash now: the map in use does not name it, so what lies in
//!    its directories is left alone; adding it again makes it anew.*
//! 2. The new map, with the SET in it, goes to all others. *A crash now: if any of it reached a disk the store opens with the
//!    SET, whose replicas are all filled, and marks them as formed. Unless too few others can be asked: what one replica alone tells may
//!    have come to nothing, and other maps have been made since. Then the SET stays out and the map as it is, until the next open.*
//! 3. Its replicas are marked as formed. *A crash now: it is like any other SET.*
//! 4. It is started: epoch, leases, threads.
//! 5. It is put in use.

use super::builder::check_set;
use super::find::{self, SetPlan};
use super::form::{Filled, fill};
use super::keeper::{self, in_background};
use super::topology::Topology;
use super::{Inner, OrderStore, open};
use crate::config::SetConfig;
use crate::error::Error;
use crate::order::SetId;
use crate::pending::{Pending, is_ours};
use crate::set::Shard;
use crate::topology::{FULL_SHARE, MapChange, Ramp, Retire, SetMap, SetState};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

impl OrderStore {
    /// Adds a SET to the running store. It must have as many replicas as the others; it takes new orders at once, at first a tenth of
    /// its share and all of it after [`Builder::ramp`](crate::Builder::ramp), while it is well. No order moves. The store remembers it: a builder that names SETs
    /// must name it from now on.
    ///
    /// Blocks, as [`Builder::open`](crate::Builder::open) does: each step on its replicas has the open timeout, and making the new
    /// map durable the store's deadline. One change is made at a time; others wait for it.
    ///
    /// # Errors
    /// * [`Error::Config`]: the SET makes no sense beside the others, or has their ids or directories; nothing was touched.
    /// * [`Error::SetRetired`]: that id was used once, and numbers may carry it.
    /// * [`Error::InUse`], [`Error::ForeignReplica`]: its directories belong to others. The store is as before.
    /// * [`Error::CannotForm`], [`Error::QuorumLost`], [`Error::DeadlineExceeded`], [`Error::System`]: its replicas cannot be made, or
    ///   the new map is not durable. The SET is not in use; it may be after the next open. Adding it again goes on where this ended.
    /// * [`Error::Closed`], [`Error::Reentrant`]: inside a closure given to `modify` or a waker.
    ///
    /// ```
    /// # use ordermint::{OrderStore, SetConfig, SetId, SetState};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// store.add_set(SetConfig::new(SetId::new(8)?).in_memory(3).weight(2))?;
    /// assert_eq!(store.status().sets[1].state, SetState::Joining);
    /// # Ok::<(), ordermint::Error>(())
    /// ```
    pub fn add_set(&self, set: SetConfig) -> Result<(), Error> {
        refuse_our_own_threads()?;
        let inner: &Inner = &self.inner;
        let mut changes = inner.changes.lock();
        inner.check_open()?;
        let adding = Adding::check(inner, &set)?;
        let map = changes.next(&adding.topology.map, &adding.change()?)?;
        adding.make(&map)?.spread()?.mark_formed()?.start()?.put_in_use()
    }

    /// Sends no new orders to a SET any more. It serves those that it holds as before, and is still to be named by a builder. Blocks until the store remembers
    /// it, within the store's deadline. When no SET is left that takes orders, creates fail with
    /// [`NotAttempted::NoSetTakesOrders`](crate::NotAttempted::NoSetTakesOrders).
    ///
    /// # Errors
    /// [`Error::UnknownSet`], [`Error::SetRetired`], [`Error::Closed`], [`Error::Reentrant`]: nothing changed. [`Error::QuorumLost`],
    /// [`Error::DeadlineExceeded`]: the change is not durable; it may be in effect after the next open. Making it again is safe.
    pub fn drain_set(&self, id: SetId) -> Result<(), Error> {
        refuse_our_own_threads()?;
        self.inner.change(&MapChange::Drain { id })
    }

    /// Takes a SET out of the store for good: its orders read as [`Error::SetRetired`], its id is never taken again, and its directories
    /// are let go of and left alone. A builder must not name it any more. Blocks until the others remember it, within the store's
    /// deadline, and then until what is under way in it has ended, within the close timeout; one that hangs is left behind.
    ///
    /// # Errors
    /// As for [`OrderStore::drain_set`]; [`Error::WrongSetState`] for [`Retire::Drained`] when it is not draining; [`Error::Config`] when no
    /// SET would be left.
    pub fn retire_set(&self, id: SetId, how: Retire) -> Result<(), Error> {
        refuse_our_own_threads()?;
        self.inner.change(&MapChange::Retire { id, how })
    }

    /// Gives a SET another weight, from 1 to 1,000: its share of new orders beside the others'. Blocks until the store remembers it,
    /// within the store's deadline.
    ///
    /// # Errors
    /// As for [`OrderStore::drain_set`]; [`Error::Config`] for what is no weight.
    pub fn set_weight(&self, id: SetId, weight: u32) -> Result<(), Error> {
        refuse_our_own_threads()?;
        self.inner.change(&MapChange::Weight { id, weight })
    }
}

/// A thread that SETs wait for must not wait for SETs.
fn refuse_our_own_threads() -> Result<(), Error> {
    if is_ours() { Err(Error::Reentrant) } else { Ok(()) }
}

/// The longest wait for calls that have found a SET and not called it yet: nobody keeps one for long.
const CALLS_LAST: Duration = Duration::from_secs(1);

/// The longest wait for an answer that is on its way after its deadline.
const ANSWERS_LAST: Duration = Duration::from_secs(1);

/// Whoever holds it changes the map.
#[derive(Default)]
pub(super) struct Changes {
    /// The last version that was given to a map, whatever came of it.
    version: u64,
    is_refused: bool,
}

impl Changes {
    /// Too few could say which SETs there are: what is known here may have come to nothing, or others may have changed it since, and
    /// their version would be given to a second map.
    pub(super) fn refuse_all(&mut self) {
        self.is_refused = true;
    }

    fn next(&mut self, map: &SetMap, change: &MapChange) -> Result<SetMap, Error> {
        if self.is_refused {
            let message = "too few replicas could say which SETs there are when the store was opened; open it again".to_owned();
            return Err(Error::System { action: "change the SETs".to_owned(), message });
        }
        let next = map.with(change)?;
        self.version = self.version.max(map.version).saturating_add(1);
        Ok(SetMap { version: self.version, ..next })
    }
}

/// How a SET that was given a map answers; `None` when it tells nothing even a moment after its deadline.
pub(super) fn told_by(deadline: Instant, spread: Pending<()>) -> Option<Result<(), Error>> {
    let until = deadline + ANSWERS_LAST;
    spread.wait_timeout(until.saturating_duration_since(Instant::now())).ok()
}

fn tells_nothing(set: SetId, map: &SetMap) -> Error {
    Error::DeadlineExceeded { set, need: map.quorum.claim(), asked: map.quorum.n(), good: 0 }
}

impl Inner {
    pub(super) fn check_open(&self) -> Result<(), Error> {
        if self.closing.load(Ordering::Acquire) { Err(Error::Closed) } else { Ok(()) }
    }

    /// Makes a change that starts no SET.
    fn change(&self, change: &MapChange) -> Result<(), Error> {
        self.change_next(&mut self.changes.lock(), change)
    }

    fn change_next(&self, changes: &mut Changes, change: &MapChange) -> Result<(), Error> {
        self.check_open()?;
        let topology = self.topology.load_full();
        let map = changes.next(&topology.map, change)?;
        let serves = |shard: &&Arc<dyn Shard>| map.get(shard.id()).is_some_and(|entry| entry.state != SetState::Retired);
        let (staying, leaving): (Vec<_>, Vec<_>) = topology.shards.iter().cloned().partition(|shard| serves(&shard));
        self.spread(&map, &staying)?;
        self.put_in_use(map, staying);
        drop(topology);
        // Whoever found the SET in the topology before has called it by then, and is answered as if nothing happened.
        let until = Instant::now() + CALLS_LAST;
        while leaving.iter().any(|shard| Arc::strong_count(shard) > 1) && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        // What is under way there ends; nothing new comes to it.
        let closing: Vec<Pending<()>> = leaving.iter().map(|shard| shard.close()).collect();
        let until = Instant::now() + self.settings.close_timeout + Duration::from_secs(1);
        for pending in closing {
            // A SET that is lost may not end well: that is why it is retired.
            let _ = pending.wait_timeout(until.saturating_duration_since(Instant::now()));
        }
        Ok(())
    }

    /// Makes a map durable. A SET that cannot write it within the deadline takes no orders now either: it must not keep the operator
    /// from draining it or adding another. So it is enough when half of those that have a quorum have it. Replicas that miss it are given it when
    /// they return, and at the next open the newest wins.
    ///
    /// A SET answers by the deadline, unless a caller's waker blocks its notifier: then it counts as one that failed. Whoever waited for
    /// it would keep all changes to come waiting with it.
    fn spread(&self, map: &SetMap, shards: &[Arc<dyn Shard>]) -> Result<(), Error> {
        let deadline = self.deadline(None);
        let bytes = bytes::Bytes::from(map.encode());
        // All are under way before one is waited for.
        let spreads: Vec<Pending<()>> = shards.iter().map(|shard| shard.spread_map(bytes.clone(), deadline)).collect();
        let (mut good, mut failed, mut first) = (0, 0, None);
        for (shard, spread) in shards.iter().zip(spreads) {
            match told_by(deadline, spread).unwrap_or_else(|| Err(tells_nothing(shard.id(), map))) {
                Ok(()) => good += 1,
                Err(error) => {
                    failed += usize::from(!matches!(error, Error::QuorumLost { .. }));
                    first = first.or(Some(error));
                }
            }
        }
        match first {
            Some(error) if good == 0 || good < failed => Err(error),
            _ => Ok(()),
        }
    }

    /// From now on, for everybody.
    fn put_in_use(&self, map: SetMap, shards: Vec<Arc<dyn Shard>>) {
        let mut ramps = self.ramps.lock();
        let (now, length) = (Instant::now(), self.settings.ramp);
        let joining = |entry: &&crate::topology::MapEntry| entry.state == SetState::Joining;
        let of = map.serving().filter(joining).map(|entry| {
            let ramp = ramps.of.get(&entry.id).copied().unwrap_or_else(|| Ramp::new(length, now));
            (entry.id, ramp)
        });
        ramps.of = of.collect();
        if map.sets.iter().any(|entry| entry.state == SetState::Retired) {
            let is_gone = |set: SetId| map.get(set).is_some_and(|entry| entry.state == SetState::Retired);
            // Its numbers are refused, so nothing can bring them to life.
            self.voids.lock().settle_all(is_gone);
        }
        for entry in map.serving() {
            self.links.add(entry.id).health().set_takes_orders(entry.state.takes_orders());
        }
        for (id, link) in self.links.all() {
            if map.get(id).is_none_or(|entry| entry.state == SetState::Retired) {
                link.health().set_takes_orders(false);
            }
        }
        let next = self.topology.load().changed(map, shards, &self.links, |set| ramps.share(set));
        self.topology.store(Arc::new(next));
        drop(ramps);
        self.bell.ring();
    }

    /// SETs that were joining when the store was closed begin anew.
    pub(super) fn begin_ramps(&self) {
        let topology = self.topology.load_full();
        self.put_in_use(topology.map.clone(), topology.shards.clone());
    }
}

/// The ways of the SETs that are joining.
pub(super) struct Ramps {
    of: BTreeMap<SetId, Ramp>,
    /// When the map may be told again of one that is over.
    tell_at: Instant,
}

/// Between two attempts to write into the map that a SET has joined.
const TELL_EVERY: Duration = Duration::from_secs(2);

impl Ramps {
    pub(super) fn new(now: Instant) -> Ramps {
        Ramps { of: BTreeMap::new(), tell_at: now }
    }

    fn share(&self, set: SetId) -> u32 {
        self.of.get(&set).map_or(FULL_SHARE, Ramp::share)
    }
}

/// Moves on the SETs that are joining. A chore of the keeper.
pub(super) fn tend_ramps(inner: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let topology = inner.topology.load();
    let can_write = |set: SetId| topology.shard(set).is_ok_and(|shard| shard.status().closed_for_creates.is_none());
    let is_well = |set: SetId| can_write(set) && inner.links.get(set).is_some_and(|link| link.health().writes.is_closed());
    step_ramps(inner, now, is_well)
}

/// Moves on the SETs that are joining, as far as they are well, and has those remembered as active that are at the end.
fn step_ramps(inner: &Arc<Inner>, now: Instant, is_well: impl Fn(SetId) -> bool) -> Option<Instant> {
    let joining: Vec<SetId> = inner.ramps.lock().of.keys().copied().collect();
    if joining.is_empty() || inner.check_open().is_err() {
        return None;
    }
    // Outside the lock: a SET that says how it is may ask the user's clock.
    let well: Vec<SetId> = joining.into_iter().filter(|set| is_well(*set)).collect();
    let mut ramps = inner.ramps.lock();
    let mut changed = false;
    for (set, ramp) in &mut ramps.of {
        let before = ramp.share();
        ramp.step(now, well.contains(set));
        changed |= ramp.share() != before;
    }
    if changed {
        let next = inner.topology.load().with_shares(|set| ramps.share(set));
        inner.topology.store(Arc::new(next));
    }
    let over = ramps.of.iter().find(|(_, ramp)| ramp.is_over()).map(|(set, _)| *set);
    if let Some(id) = over.filter(|_| now >= ramps.tell_at) {
        // Not before that attempt is over, which waits its turn and then for the SETs, and a while after it if it failed.
        ramps.tell_at = now + 2 * inner.settings.deadline + TELL_EVERY;
        let store: Weak<Inner> = Arc::downgrade(inner);
        // Without a thread it is tried again; until then the SET takes its whole share all the same.
        let _ = in_background("om-joined", move || tell_joined(&store, id));
    }
    Some(now + keeper::EVERY)
}

fn tell_joined(store: &Weak<Inner>, id: SetId) {
    let Some(inner) = store.upgrade() else { return };
    let Some(mut changes) = inner.changes.try_lock_for(inner.settings.deadline) else { return };
    if inner.change_next(&mut changes, &MapChange::Joined { id }).is_ok() {
        // The next one that is over need not wait.
        inner.ramps.lock().tell_at = Instant::now();
    }
}

/// A SET on its way into the store: one method for each step.
struct Adding<'a> {
    inner: &'a Inner,
    topology: Arc<Topology>,
    config: &'a SetConfig,
    plan: SetPlan,
}

impl<'a> Adding<'a> {
    /// Checks it against the SETs that there are, without touching anything.
    fn check(inner: &'a Inner, config: &'a SetConfig) -> Result<Adding<'a>, Error> {
        let topology = inner.topology.load_full();
        let dirs = topology.shards.iter().flat_map(|shard| shard.status().replicas).filter_map(|replica| replica.dir);
        let mut taken: Vec<PathBuf> = dirs.map(|dir| find::real_path(&dir)).collect();
        check_set(config, usize::from(topology.map.quorum.n()), inner.home.as_deref(), &mut taken)?;
        let plan = find::planned(config, inner.home.as_deref());
        Ok(Adding { inner, topology, config, plan })
    }

    fn change(&self) -> Result<MapChange, Error> {
        Ok(MapChange::Add { id: self.config.id, weight: self.config.weight, zone: self.config.zone.clone()? })
    }

    /// Step 1.
    fn make(self, map: &SetMap) -> Result<Made<'a>, Error> {
        let settings = &self.inner.settings;
        let plan = std::slice::from_ref(&self.plan);
        let opened = find::open_all(plan, true, settings.cache_bytes, settings.open_timeout);
        let survey = find::survey(plan, opened, Some(self.inner.store))?;
        let filled = fill(plan, self.inner.store, map, survey.opened, settings, true)?;
        Ok(Made { map: map.clone(), filled, adding: self })
    }
}

/// A SET whose replicas are filled.
struct Made<'a> {
    adding: Adding<'a>,
    map: SetMap,
    filled: Filled,
}

impl<'a> Made<'a> {
    /// Step 2.
    fn spread(self) -> Result<Made<'a>, Error> {
        self.adding.inner.spread(&self.map, &self.adding.topology.shards)?;
        Ok(self)
    }

    /// Step 3.
    fn mark_formed(self) -> Result<Made<'a>, Error> {
        self.filled.mark_formed(&self.adding.inner.settings)?;
        Ok(self)
    }

    /// Step 4.
    fn start(self) -> Result<Started<'a>, Error> {
        let Made { adding, map, mut filled } = self;
        let lanes = filled.seeds.pop().unwrap_or_default();
        let (settings, clock) = (adding.inner.settings, Arc::clone(&adding.inner.clock));
        let shard = open::start(adding.plan.id, lanes, &map, true, settings, clock, adding.inner.links.add(adding.plan.id))?;
        // One that was formed before holds an older map. Nobody waits for it: the others have the new one.
        drop(shard.spread_map(map.encode().into(), adding.inner.deadline(None)));
        Ok(Started { adding, map, shard })
    }
}

/// A SET that runs, and that nobody knows yet.
struct Started<'a> {
    adding: Adding<'a>,
    map: SetMap,
    shard: Arc<dyn Shard>,
}

impl Started<'_> {
    /// Step 5.
    fn put_in_use(self) -> Result<(), Error> {
        let Started { adding, map, shard } = self;
        let mut shards = adding.topology.shards.clone();
        shards.insert(shards.partition_point(|other| other.id() < shard.id()), Arc::clone(&shard));
        adding.inner.put_in_use(map, shards);
        // Whoever closed the store meanwhile did not see it.
        adding.inner.check_open().inspect_err(|_| drop(shard.close()))
    }
}

#[cfg(test)]
mod tests;
