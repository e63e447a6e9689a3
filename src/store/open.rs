//! Opening a store: find its replicas, see who they are, make what is new, decide whose word counts, start the SETs.

use super::find::{ReplicaPlan, SetPlan, described, open_all, peeked, plan, survey};
use super::form::{fill, make_up_for, random_id};
use super::grow::told_by;
use super::health::Links;
use super::maps::{MAP_KEY, follow, leave_out, make_up, map_of, perhaps_never_added, read_map, read_maps, same_map};
use super::topology::Topology;
use super::{Builder, Inner, Open, OrderStore, keeper};
use crate::config::{ConfigError, OpenReplica, Settings};
use crate::error::Error;
use crate::order::SetId;
use crate::pending::Pending;
use crate::replica::{ReplicaError, Standing};
use crate::set::replicated::{
    LaneSeed, Opened, Reopen, ReplicatedSet, Role, Seed, claim_epoch, guarded, raise_above_held, read_floor, read_lease_marks,
    standing_of, witness_rollbacks,
};
use crate::set::{Listener, Shard};
use crate::time::Clock;
use crate::topology::SetMap;
use std::sync::Arc;
use std::time::Instant;

pub(super) fn open(builder: Builder) -> Result<OrderStore, Error> {
    builder.check()?;
    let explicit = !builder.sets.is_empty();
    let mut plan = plan(&builder)?;
    let settings = builder.settings;
    let known = plan.iter().flat_map(|set| &set.replicas).any(|replica| peeked(replica).is_some_and(|identity| identity.formed));
    let opened = open_all(&plan, explicit && !known, settings.cache_bytes, settings.open_timeout);
    let survey = survey(&plan, opened, None)?;
    if !survey.formed && !explicit {
        return Err(Error::NoStore { home: builder.home.unwrap_or_default() });
    }
    let store = survey.store.unwrap_or_else(random_id);
    let (map, mut seeds, oldest, is_certain) = if survey.formed {
        let mut seeds = assign_roles(&plan, survey.opened, store, settings.cache_bytes);
        let mut maps = read_maps(&mut seeds, settings.open_timeout);
        let map = match maps.newest.take() {
            Some(stored) if explicit => {
                let given = map_of(&plan, builder.quorum.or(Some(stored.quorum)))?;
                same_map(stored, given)?
            }
            Some(stored) => stored,
            // No replica is left that could say; the superblocks still know the quorum.
            None => SetMap { version: 0, ..map_of(&plan, survey.quorum.or(builder.quorum))? },
        };
        leave_out(&maps, &plan, &mut seeds, store, settings.cache_bytes);
        follow(&map, &mut plan, &mut seeds, &mut maps, builder.home.as_deref(), store, settings.cache_bytes);
        make_up(&mut seeds);
        (map, seeds, maps.oldest, maps.is_certain)
    } else {
        let map = map_of(&plan, builder.quorum)?;
        let filled = fill(&plan, store, &map, survey.opened, &settings, false)?;
        filled.mark_formed(&settings)?;
        let oldest = vec![Some(map.version); plan.len()];
        (map, filled.seeds, oldest, true)
    };
    let links = Arc::new(Links::new(&settings));
    let mut shards: Vec<Arc<dyn Shard>> = Vec::new();
    for (set, lanes) in plan.iter().zip(&mut seeds) {
        let (lanes, clock) = (std::mem::take(lanes), Arc::clone(&builder.clock));
        shards.push(start(set.id, lanes, &map, is_certain, settings, clock, links.add(set.id))?);
    }
    if is_certain {
        spread_to_those_behind(&map, &shards, &oldest, &settings);
    }
    let local = builder.local_zone?;
    let topology = Topology::new(map, shards, &links, local, |_| crate::topology::FULL_SHARE);
    let inner = Arc::new(Inner::new(store, settings, builder.home, builder.clock, topology, Arc::clone(&links)));
    if !is_certain {
        inner.changes.lock().refuse_all();
    }
    links.join(&inner);
    inner.heed_newest();
    inner.begin_ramps();
    let store = OrderStore { inner: Arc::new(Open(Arc::clone(&inner))) };
    keeper::start(&inner)?;
    Ok(store)
}

/// Starts a SET with the replicas it has. A map that is not certain is not written over what replicas hold that return.
///
/// # Errors
/// [`Error::System`], and [`ConfigError::ReplicaCount`].
pub(super) fn start(
    set: SetId,
    mut lanes: Vec<LaneSeed>,
    map: &SetMap,
    is_certain: bool,
    settings: Settings,
    clock: Arc<dyn Clock>,
    listener: Arc<dyn Listener>,
) -> Result<Arc<dyn Shard>, Error> {
    if lanes.len() != usize::from(map.quorum.n()) {
        return Err(ConfigError::ReplicaCount { set, given: lanes.len(), n: map.quorum.n() }.into());
    }
    witness_rollbacks(&mut lanes);
    let mut epoch = claim_epoch(&mut lanes, map.quorum, settings.open_timeout);
    let mut marks = if epoch > 0 { read_lease_marks(&mut lanes, settings.open_timeout) } else { Default::default() };
    if epoch > 0 {
        raise_above_held(&lanes, set, &mut marks, settings.open_timeout);
    }
    let floor = read_floor(&mut lanes, settings.open_timeout);
    if lanes.iter().filter(|lane| lane.role == Role::Voting).count() < usize::from(map.quorum.claim()) {
        epoch = 0;
    }
    // A map that nobody remembers is handed to nobody: what a replica that returns holds is better.
    let bytes = (map.version > 0).then(|| map.encode().into());
    let map_kept = (MAP_KEY.to_owned(), bytes);
    let lease_marks = marks.into_iter().collect();
    let (quorum, map, map_yields) = (map.quorum, map_kept, !is_certain);
    let seed = Seed { id: set, quorum, settings, clock, listener, epoch, lanes, lease_marks, floor, map, map_yields };
    Ok(Arc::new(ReplicatedSet::start(seed)?))
}

/// A change of the map may have reached some and not others, before a crash or while they were away. The newest counts from now
/// on, so it must not rest on those few. A SET that cannot take it is no worse off than before.
fn spread_to_those_behind(map: &SetMap, shards: &[Arc<dyn Shard>], oldest: &[Option<u64>], settings: &Settings) {
    let deadline = Instant::now() + settings.deadline;
    let behind = shards.iter().zip(oldest).filter(|(_, oldest)| oldest.is_none_or(|oldest| oldest < map.version));
    let spreads = behind.map(|(shard, _)| shard.spread_map(map.encode().into(), deadline));
    // All are under way before one is waited for.
    for spread in spreads.collect::<Vec<Pending<()>>>() {
        // No caller has a waker yet that could keep one from answering, but nothing here may wait without a bound.
        let _ = told_by(deadline, spread);
    }
}

/// The roles of the replicas of a store that was formed.
fn assign_roles(plan: &[SetPlan], opened: Vec<Vec<Opened>>, store: u128, cache_bytes: u64) -> Vec<Vec<LaneSeed>> {
    let lanes = |(set, opened): (&SetPlan, Vec<Opened>)| {
        let replicas = (0u8..).zip(&set.replicas).zip(opened);
        replicas
            .map(|((index, plan), result)| role_of(plan, result, reopen(plan, store, set.id, index, cache_bytes, true)))
            .collect()
    };
    plan.iter().zip(opened).map(lanes).collect()
}

pub(super) fn role_of(plan: &ReplicaPlan, result: Opened, reopen: Reopen) -> LaneSeed {
    let dir = plan.dir.clone();
    let replica = match result {
        Ok(replica) => replica,
        Err(error @ ReplicaError::Missing { .. }) => {
            return LaneSeed { dir, replica: None, role: Role::Missing(error), applied: 0, reopen };
        }
        Err(error) => return LaneSeed { dir, replica: None, role: Role::Out(error), applied: 0, reopen },
    };
    let standing = match standing_of(&*replica) {
        Ok(standing) => standing,
        Err(error) => {
            let _ = guarded(|| replica.close());
            return LaneSeed { dir, replica: None, role: Role::Out(error), applied: 0, reopen };
        }
    };
    let role = match standing {
        Standing::Fresh => {
            // Never filled, where its peers were: what it held is lost. It is not made anew behind the operator's back.
            let _ = guarded(|| replica.close());
            let missing = ReplicaError::Missing { dir: dir.clone().unwrap_or_default() };
            return LaneSeed { dir, replica: None, role: Role::Missing(missing), applied: 0, reopen };
        }
        Standing::Limbo { reason, .. } => Role::Limbo(reason),
        Standing::Voting(_) => Role::Voting,
    };
    LaneSeed { dir, replica: Some(replica), role, applied: 0, reopen }
}

/// How a replica of a store that was formed is opened again, and who it must be then; `forms`: one that is not marked as formed yet is
/// marked, and not refused.
pub(super) fn reopen(plan: &ReplicaPlan, store: u128, set: SetId, index: u8, cache_bytes: u64, forms: bool) -> Reopen {
    let open = Arc::clone(&plan.open);
    let options = OpenReplica { set, index, dir: plan.dir.clone(), create: false, cache_bytes };
    Arc::new(move || {
        let replica = open(&options)?;
        let result = match standing_of(&*replica) {
            Err(error) => Err(error),
            Ok(Standing::Fresh) => Err(ReplicaError::Missing { dir: options.dir.clone().unwrap_or_default() }),
            // Not even its name can be read: it gives values, if it has any.
            Ok(Standing::Limbo { identity: None, .. }) => Ok(()),
            Ok(Standing::Voting(identity) | Standing::Limbo { identity: Some(identity), .. })
                if (identity.store, identity.set, identity.index) != (store, set, index) =>
            {
                let found = described(identity.store, identity.set, identity.index);
                Err(ReplicaError::Out { reason: format!("it holds {found}, not {}", described(store, set, index)) })
            }
            Ok(Standing::Limbo { .. }) => Ok(()),
            Ok(Standing::Voting(identity)) if !forms && !identity.formed => Err(perhaps_never_added()),
            Ok(Standing::Voting(_)) => read_map(&*replica).and_then(|_| make_up_for(&*replica)),
        };
        if result.is_err() {
            // Its directory is free again; what was found is the answer.
            let _ = guarded(|| replica.close());
        }
        result.map(|()| replica)
    })
}
