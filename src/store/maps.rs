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
}

/// Reads the maps. The newest that a voter of a SET holds that was formed counts; those in limbo are heard only where there is no such voter
/// at all. A voter whose map cannot be read is out.
pub(super) fn read_maps(seeds: &mut [Vec<LaneSeed>], timeout: Duration) -> Maps {
    let mut maps = Maps { newest: None, oldest: Vec::new() };
    let mut doubtful: Option<SetMap> = None;
    for lanes in seeds {
        let asked: Vec<&mut LaneSeed> = lanes.iter_mut().filter(|lane| lane.role.gives_values()).collect();
        let read = |replica: &dyn Replica| Ok((read_map(replica)?, was_formed(replica)));
        let jobs = asked.iter().filter_map(|lane| lane.replica.clone()).map(|replica| move || read(&*replica));
        let results = each_at_once(timeout, jobs.collect());
        let mut oldest = None;
        for (lane, result) in asked.into_iter().zip(results) {
            let votes = lane.role == Role::Voting;
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
    }
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

/// Brings what was found in line with the map: SETs that it does not name, or names as retired, are closed and left alone; of those that it
/// names and of which nothing was found, all replicas are missing.
pub(super) fn follow(
    map: &SetMap,
    plan: &mut Vec<SetPlan>,
    seeds: &mut Vec<Vec<LaneSeed>>,
    oldest: &mut Vec<Option<u64>>,
    home: Option<&Path>,
    store: u128,
    cache_bytes: u64,
) {
    // Each turn looks at one SET that was found, from the last.
    for place in (0..plan.len()).rev() {
        if map.get(plan[place].id).is_none_or(|entry| entry.state == SetState::Retired) {
            plan.remove(place);
            oldest.remove(place);
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
            role_of(plan, Err(missing), reopen(plan, store, entry.id, index, cache_bytes))
        });
        seeds.insert(place, lanes.collect());
        oldest.insert(place, None);
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
