//! The SET map at open: what the replicas remember, what the builder means, and what the two make of what was found.

use super::find::{ReplicaPlan, SetPlan, below};
use super::form::make_up_for;
use super::open::{reopen, role_of};
use crate::config::{ConfigError, Quorum};
use crate::error::Error;
use crate::replica::{Replica, ReplicaError, Standing};
use crate::set::replicated::{LaneSeed, Role, each_at_once, guarded};
use crate::topology::{MapEntry, SetMap, SetState};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The key under which replicas keep the SET map.
pub(super) const MAP_KEY: &str = "map";

/// The maps of all replicas of a store.
pub(super) struct Maps {
    /// `None` where no replica could say.
    pub(super) newest: Option<SetMap>,
    /// By SET as planned: the oldest version that a voter holds.
    pub(super) oldest: Vec<Option<u64>>,
    /// By SET as planned: whether any of its replicas says that it was formed.
    formed: Vec<bool>,
    /// So many voters of a SET that was formed have told that no map came to hold there without one of them. Where they are fewer, the
    /// newest that they know may have come to nothing, and others may have been made since.
    pub(super) is_certain: bool,
}

/// Reads the maps. The newest that a voter of a SET holds that was formed counts; those in limbo are heard only where there is no such voter
/// at all. A voter whose map cannot be read is out.
pub(super) fn read_maps(seeds: &mut [Vec<LaneSeed>], timeout: Duration) -> Maps {
    let mut maps = Maps { newest: None, oldest: Vec::new(), formed: Vec::new(), is_certain: false };
    let mut doubtful: Option<SetMap> = None;
    let mut told_most = 0;
    for lanes in seeds {
        let asked: Vec<&mut LaneSeed> = lanes.iter_mut().filter(|lane| lane.role.gives_values()).collect();
        let read = |replica: &dyn Replica| Ok((was_formed(replica), read_map(replica)));
        let jobs = asked.iter().filter_map(|lane| lane.replica.clone()).map(|replica| move || read(&*replica));
        let results = each_at_once(timeout, jobs.collect());
        let (mut oldest, mut formed, mut told) = (None, false, 0);
        for (lane, result) in asked.into_iter().zip(results) {
            let votes = lane.role == Role::Voting;
            let result = result.and_then(|(was_formed, map)| {
                formed |= was_formed;
                map.map(|map| (map, was_formed))
            });
            told += usize::from(votes && result.is_ok());
            match result {
                // A SET that is not formed was filled with a map that may never have come to hold.
                Ok((_, false)) => {}
                Ok((map, true)) => {
                    if votes {
                        oldest = Some(oldest.map_or(map.version, |oldest: u64| oldest.min(map.version)));
                    }
                    let newest = if votes { &mut maps.newest } else { &mut doubtful };
                    if newest.as_ref().is_none_or(|newest| newest.version < map.version) {
                        *newest = Some(map);
                    }
                }
                Err(error) if votes => lane.role = Role::Out(error),
                Err(_) => {}
            }
        }
        maps.oldest.push(oldest);
        maps.formed.push(formed);
        // Where any is formed all were filled, with a map that came to hold.
        told_most = told_most.max(if formed { told } else { 0 });
    }
    maps.is_certain = maps.newest.as_ref().is_some_and(|map| told_most >= usize::from(map.quorum.claim()));
    maps.newest = maps.newest.or(doubtful);
    maps
}

fn was_formed(replica: &dyn Replica) -> bool {
    match replica.standing() {
        Standing::Voting(identity) | Standing::Limbo { identity: Some(identity), .. } => identity.formed,
        Standing::Fresh | Standing::Limbo { identity: None, .. } => false,
    }
}

pub(super) fn read_map(replica: &dyn Replica) -> Result<SetMap, ReplicaError> {
    let damaged = |what: &str| ReplicaError::Damaged { path: PathBuf::new(), what: what.to_owned() };
    let bytes = replica.meta(MAP_KEY)?.ok_or_else(|| damaged("the SET map is gone"))?;
    SetMap::decode(&bytes).ok_or_else(|| damaged("the SET map is not what anybody wrote"))
}

/// What is planned; `quorum` where one is known. What is planned by what was found knows no weights, and is not compared.
pub(super) fn map_of(plan: &[SetPlan], quorum: Option<Quorum>) -> Result<SetMap, Error> {
    let quorum = match (quorum, plan.first()) {
        (Some(quorum), _) => quorum,
        (None, Some(set)) => Quorum::majority(u8::try_from(set.replicas.len()).unwrap_or(u8::MAX))?,
        (None, None) => return Err(ConfigError::NoSets.into()),
    };
    for set in plan {
        let given = set.replicas.len();
        if given != usize::from(quorum.n()) {
            return Err(ConfigError::ReplicaCount { set: set.id, given, n: quorum.n() }.into());
        }
    }
    let entry = |set: &SetPlan| MapEntry { id: set.id, state: SetState::Active, weight: set.weight, zone: set.zone.clone() };
    let map = SetMap { version: 1, quorum, sets: plan.iter().map(entry).collect() };
    map.check_length()?;
    Ok(map)
}

pub(super) fn same_map(stored: SetMap, given: SetMap) -> Result<SetMap, Error> {
    if stored.is_meant_by(&given) {
        return Ok(stored);
    }
    Err(Error::MapMismatch { stored: stored.to_string(), given: given.to_string() })
}

/// Where the map is not certain, a SET of which no replica is formed stays out: it may be that it was never added. Its orders would be gone
/// from view as soon as those are back who know better.
pub(super) fn leave_out(maps: &Maps, plan: &[SetPlan], seeds: &mut [Vec<LaneSeed>], store: u128, cache_bytes: u64) {
    if maps.is_certain {
        return;
    }
    for ((set, lanes), _) in plan.iter().zip(seeds).zip(&maps.formed).filter(|(_, formed)| !**formed) {
        for (index, (lane, replica)) in (0u8..).zip(lanes.iter_mut().zip(&set.replicas)) {
            lane.reopen = reopen(replica, store, set.id, index, cache_bytes, false);
            if lane.role == Role::Voting {
                lane.role = Role::Out(perhaps_never_added());
                if let Some(replica) = lane.replica.take() {
                    let _ = guarded(|| replica.close());
                }
            }
        }
    }
}

/// Why a replica that was not formed is not used.
pub(super) fn perhaps_never_added() -> ReplicaError {
    let reason = "its SET may never have been added: too few replicas could say when the store was opened; open it again";
    ReplicaError::Out { reason: reason.to_owned() }
}

/// Brings what was found in line with the map: SETs that it does not name, or names as retired, are closed and left alone; of those that it
/// names and of which nothing was found, all replicas are missing.
pub(super) fn follow(
    map: &SetMap,
    plan: &mut Vec<SetPlan>,
    seeds: &mut Vec<Vec<LaneSeed>>,
    maps: &mut Maps,
    home: Option<&Path>,
    store: u128,
    cache_bytes: u64,
) {
    // Each turn looks at one SET that was found, from the last.
    for place in (0..plan.len()).rev() {
        if map.get(plan[place].id).is_none_or(|entry| entry.state == SetState::Retired) {
            plan.remove(place);
            maps.oldest.remove(place);
            for replica in seeds.remove(place).into_iter().filter_map(|lane| lane.replica) {
                let _ = guarded(|| replica.close());
            }
        }
    }
    for entry in map.serving() {
        let Err(place) = plan.binary_search_by_key(&entry.id, |set| set.id) else { continue };
        let replica = |index: u8| {
            let listed = format!("{}/{index}", entry.id);
            ReplicaPlan { dir: Some(below(home, Path::new(&listed))), listed, open: Arc::new(crate::replica::open_sled) }
        };
        let replicas: Vec<ReplicaPlan> = (0..map.quorum.n()).map(replica).collect();
        let lanes = (0u8..).zip(&replicas).map(|(index, plan)| {
            let missing = ReplicaError::Missing { dir: plan.dir.clone().unwrap_or_default() };
            role_of(plan, Err(missing), reopen(plan, store, entry.id, index, cache_bytes, maps.is_certain))
        });
        seeds.insert(place, lanes.collect());
        maps.oldest.insert(place, None);
        plan.insert(place, SetPlan { id: entry.id, weight: entry.weight, zone: entry.zone.clone(), replicas });
    }
}

/// What the map names was filled: whatever is not marked as formed yet is marked now.
pub(super) fn make_up(seeds: &mut [Vec<LaneSeed>]) {
    for lane in seeds.iter_mut().flatten().filter(|lane| lane.role == Role::Voting) {
        if let Some(Err(error)) = lane.replica.as_deref().map(make_up_for) {
            lane.role = Role::Out(error);
        }
    }
}
