//! Opening a store: find its replicas, see who they are, make what is new, decide whose word counts, start the SETs.
//!
//! A store is made in two steps, so that a directory that was lost is never taken for one that was never filled: first every
//! replica of every SET gets its identity and the SET map, and only when all have them, durably, are they marked as formed.
//! Orders are taken after that. So if any replica is formed, all were once filled: one that is empty now has been lost.

use super::health::Link;
use super::{Builder, Inner, OrderStore};
use crate::config::{ConfigError, OpenFn, OpenReplica, Quorum, SetConfig, Settings};
use crate::error::{Error, Faults};
use crate::order::SetId;
use crate::replica::{Group, Identity, Replica, ReplicaError, Standing, peek_identity};
use crate::set::Shard;
use crate::set::replicated::{
    LaneSeed, Opened, Reopen, ReplicatedSet, Role, Seed, claim_epoch, each_at_once, guarded, raise_above_held, read_floor,
    read_lease_marks, witness_rollbacks,
};
use crate::topology::{MapEntry, SetMap};
use std::hash::{BuildHasher, Hasher};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

/// The key under which replicas keep the SET map.
const MAP_KEY: &str = "map";

/// A SET as it is to be opened.
pub(super) struct SetPlan {
    pub(super) id: SetId,
    pub(super) weight: u32,
    pub(super) replicas: Vec<ReplicaPlan>,
}

pub(super) struct ReplicaPlan {
    /// The path to open.
    pub(super) dir: Option<PathBuf>,
    /// The path as configured, for the superblocks.
    listed: String,
    open: OpenFn,
}

/// Replicas opened, and what they say of themselves together.
pub(super) struct Survey {
    pub(super) store: Option<u128>,
    /// Some replica was formed, so all were.
    pub(super) formed: bool,
    quorum: Option<Quorum>,
    /// By SET as planned, then by index.
    pub(super) opened: Vec<Vec<Opened>>,
}

pub(super) fn open(builder: Builder) -> Result<OrderStore, Error> {
    builder.check()?;
    let explicit = !builder.sets.is_empty();
    let mut plan = plan(&builder)?;
    let settings = builder.settings;
    let known = plan.iter().flat_map(|set| &set.replicas).any(|replica| peeked(replica).is_some_and(|identity| identity.formed));
    let survey = survey(&plan, &builder, explicit && !known)?;
    if !survey.formed && !explicit {
        return Err(Error::NoStore { home: builder.home.unwrap_or_default() });
    }
    let store = survey.store.unwrap_or_else(random_id);
    let (map, mut seeds) = if survey.formed {
        let mut seeds = assign_roles(&plan, survey.opened, store, settings.cache_bytes);
        let stored = read_maps(&mut seeds, settings.open_timeout);
        let map = match stored {
            Some(stored) if explicit => {
                let given = given_map(&builder, Some(stored.quorum))?;
                same_map(stored, given)?
            }
            Some(stored) => stored,
            // No voter is left that could say; the superblocks still know the quorum.
            None => SetMap { version: 0, ..given_map_of(&plan, survey.quorum.or(builder.quorum))? },
        };
        add_lost_sets(&map, &mut plan, &mut seeds, builder.home.as_deref(), store, settings.cache_bytes);
        (map, seeds)
    } else {
        let map = given_map(&builder, None)?;
        (map.clone(), form(&plan, store, &map, survey.opened, &settings)?)
    };
    let mut shards: Vec<Arc<dyn Shard>> = Vec::new();
    let mut links: Vec<Arc<Link>> = Vec::new();
    for (set, lanes) in plan.iter().zip(&mut seeds) {
        if lanes.len() != usize::from(map.quorum.n()) {
            return Err(ConfigError::ReplicaCount { set: set.id, given: lanes.len(), n: map.quorum.n() }.into());
        }
        witness_rollbacks(lanes);
        let mut epoch = claim_epoch(lanes, map.quorum, settings.open_timeout);
        let mut marks = if epoch > 0 { read_lease_marks(lanes, settings.open_timeout) } else { Default::default() };
        if epoch > 0 {
            raise_above_held(lanes, set.id, &mut marks, settings.open_timeout);
        }
        let floor = read_floor(lanes, settings.open_timeout);
        if lanes.iter().filter(|lane| lane.role == Role::Voting).count() < usize::from(map.quorum.claim()) {
            epoch = 0;
        }
        let weight = map.sets.iter().find(|entry| entry.id == set.id).map_or(set.weight, |entry| entry.weight);
        let link = Arc::new(Link::new(set.id));
        links.push(Arc::clone(&link));
        shards.push(Arc::new(ReplicatedSet::start(Seed {
            listener: link,
            id: set.id,
            weight,
            quorum: map.quorum,
            settings,
            clock: Arc::clone(&builder.clock),
            epoch,
            lanes: std::mem::take(lanes),
            lease_marks: marks.into_iter().collect(),
            floor,
            map: (MAP_KEY.to_owned(), map.encode().into()),
        })?));
    }
    let inner = Arc::new(Inner::new(store, map, settings, Arc::clone(&builder.clock), shards, links));
    inner.links.iter().for_each(|link| link.join(Arc::downgrade(&inner)));
    Ok(OrderStore { inner })
}

/// The SETs given, or those found below the home.
pub(super) fn plan(builder: &Builder) -> Result<Vec<SetPlan>, Error> {
    let home = builder.home.as_deref();
    let mut plan: Vec<SetPlan> = builder.sets.iter().map(|set| planned(set, home)).collect();
    if plan.is_empty() {
        let home = home.ok_or(ConfigError::NoSets)?;
        plan = discovered(home);
        if plan.is_empty() {
            return Err(Error::NoStore { home: home.to_owned() });
        }
    }
    plan.sort_by_key(|set| set.id);
    Ok(plan)
}

fn planned(set: &SetConfig, home: Option<&Path>) -> SetPlan {
    let replicas = set.replicas.iter().map(|replica| ReplicaPlan {
        dir: replica.dir.as_ref().map(|dir| below(home, dir)),
        listed: replica.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default(),
        open: Arc::clone(&replica.open),
    });
    SetPlan { id: set.id, weight: set.weight, replicas: replicas.collect() }
}

/// What the superblocks below `home` say. A replica that is gone is planned where the others remember it.
fn discovered(home: &Path) -> Vec<SetPlan> {
    let mut found: Vec<(PathBuf, Identity)> = Vec::new();
    // SETs in directories of their own, replicas below: two levels, and one to spare.
    walk(home, 3, &mut |dir| found.extend(peek_identity(dir).map(|identity| (dir.to_owned(), identity))));
    let mut plan: Vec<SetPlan> = Vec::new();
    for (_, identity) in &found {
        if plan.iter().any(|set| set.id == identity.set) {
            continue;
        }
        let replicas = (0..identity.quorum.0).map(|index| {
            let here = |(_, other): &&(PathBuf, Identity)| other.set == identity.set && other.index == index;
            let listed = identity.replicas.get(usize::from(index)).cloned().unwrap_or_default();
            let dir =
                found.iter().find(here).map(|(dir, _)| dir.clone()).unwrap_or_else(|| below(Some(home), Path::new(&listed)));
            ReplicaPlan { dir: Some(dir), listed, open: Arc::new(crate::replica::open_sled) }
        });
        plan.push(SetPlan { id: identity.set, weight: 1, replicas: replicas.collect() });
    }
    plan
}

fn walk(dir: &Path, depth: usize, visit: &mut impl FnMut(&Path)) {
    visit(dir);
    let Ok(entries) = std::fs::read_dir(dir) else { return };
    if depth == 0 {
        return;
    }
    // In order of name, so that the outcome does not depend on the file system.
    let mut below: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).filter(|path| path.is_dir()).collect();
    below.sort();
    for path in below {
        walk(&path, depth - 1, visit);
    }
}

fn peeked(replica: &ReplicaPlan) -> Option<Identity> {
    peek_identity(replica.dir.as_deref()?)
}

/// Opens all replicas side by side and looks whether they belong here and together.
///
/// # Errors
/// [`Error::InUse`] and [`Error::ForeignReplica`].
pub(super) fn survey(plan: &[SetPlan], builder: &Builder, create: bool) -> Result<Survey, Error> {
    let mut jobs = Vec::new();
    for set in plan {
        for (index, replica) in (0u8..).zip(&set.replicas) {
            let open = Arc::clone(&replica.open);
            let cache_bytes = builder.settings.cache_bytes;
            let options = OpenReplica { set: set.id, index, dir: replica.dir.clone(), create, cache_bytes };
            jobs.push(move || open(&options));
        }
    }
    let mut results = each_at_once(builder.settings.open_timeout, jobs).into_iter();
    let opened: Vec<Vec<Opened>> = plan.iter().map(|set| results.by_ref().take(set.replicas.len()).collect()).collect();
    let mut survey = Survey { store: None, formed: false, quorum: None, opened };
    for (set, opened) in plan.iter().zip(&survey.opened) {
        for ((index, result), replica) in (0u8..).zip(opened).zip(&set.replicas) {
            let dir = || replica.dir.clone().unwrap_or_default();
            let replica = match result {
                Ok(replica) => replica,
                Err(ReplicaError::InUse { dir }) => return Err(Error::InUse { dir: dir.clone() }),
                Err(_) => continue,
            };
            let (Standing::Voting(identity) | Standing::Limbo { identity: Some(identity), .. }) = replica.standing() else {
                continue;
            };
            let store = *survey.store.get_or_insert(identity.store);
            if (identity.store, identity.set, identity.index) != (store, set.id, index) {
                let (expected, found) =
                    (described(store, set.id, index), described(identity.store, identity.set, identity.index));
                return Err(Error::ForeignReplica { dir: dir(), expected, found });
            }
            survey.formed |= identity.formed;
            let (n, r, w) = identity.quorum;
            survey.quorum = survey.quorum.or(Quorum::new(n, r, w).ok());
        }
    }
    Ok(survey)
}

fn described(store: u128, set: SetId, index: u8) -> String {
    format!("replica {index} of SET {set} of store {store:032x}")
}

/// The roles of the replicas of a store that was formed.
fn assign_roles(plan: &[SetPlan], opened: Vec<Vec<Opened>>, store: u128, cache_bytes: u64) -> Vec<Vec<LaneSeed>> {
    let lanes = |(set, opened): (&SetPlan, Vec<Opened>)| {
        let replicas = (0u8..).zip(&set.replicas).zip(opened);
        replicas.map(|((index, plan), result)| role_of(plan, result, reopen(plan, store, set.id, index, cache_bytes))).collect()
    };
    plan.iter().zip(opened).map(lanes).collect()
}

fn role_of(plan: &ReplicaPlan, result: Opened, reopen: Reopen) -> LaneSeed {
    let dir = plan.dir.clone();
    let replica = match result {
        Ok(replica) => replica,
        Err(error @ ReplicaError::Missing { .. }) => {
            return LaneSeed { dir, replica: None, role: Role::Missing(error), applied: 0, reopen };
        }
        Err(error) => return LaneSeed { dir, replica: None, role: Role::Out(error), applied: 0, reopen },
    };
    let role = match replica.standing() {
        Standing::Fresh => {
            // Never filled, where its peers were: what it held is lost. It is not made anew behind the operator's back.
            let _ = guarded(|| replica.close());
            let missing = ReplicaError::Missing { dir: dir.clone().unwrap_or_default() };
            return LaneSeed { dir, replica: None, role: Role::Missing(missing), applied: 0, reopen };
        }
        Standing::Limbo { reason, .. } => Role::Limbo(reason),
        Standing::Voting(identity) => match formed(&*replica, identity) {
            Ok(()) => Role::Voting,
            Err(error) => Role::Out(error),
        },
    };
    LaneSeed { dir, replica: Some(replica), role, applied: 0, reopen }
}

/// The process died between the two steps of making the store, after all had their identity: the second one is made up for.
fn formed(replica: &dyn Replica, identity: Identity) -> Result<(), ReplicaError> {
    if identity.formed { Ok(()) } else { guarded(|| replica.form(&Identity { formed: true, ..identity })) }
}

/// How a replica of a store that was formed is opened again, and who it must be then.
fn reopen(plan: &ReplicaPlan, store: u128, set: SetId, index: u8, cache_bytes: u64) -> Reopen {
    let open = Arc::clone(&plan.open);
    let options = OpenReplica { set, index, dir: plan.dir.clone(), create: false, cache_bytes };
    Arc::new(move || {
        let replica = open(&options)?;
        let result = match replica.standing() {
            Standing::Fresh => Err(ReplicaError::Missing { dir: options.dir.clone().unwrap_or_default() }),
            // Not even its name can be read: it gives values, if it has any.
            Standing::Limbo { identity: None, .. } => Ok(()),
            Standing::Voting(identity) | Standing::Limbo { identity: Some(identity), .. }
                if (identity.store, identity.set, identity.index) != (store, set, index) =>
            {
                let found = described(identity.store, identity.set, identity.index);
                Err(ReplicaError::Out { reason: format!("it holds {found}, not {}", described(store, set, index)) })
            }
            Standing::Limbo { .. } => Ok(()),
            Standing::Voting(identity) => read_map(&*replica).and_then(|_| formed(&*replica, identity)),
        };
        if result.is_err() {
            // Its directory is free again; what was found is the answer.
            let _ = guarded(|| replica.close());
        }
        result.map(|()| replica)
    })
}

/// The newest map that a voter holds. A voter whose map cannot be read is out.
fn read_maps(seeds: &mut [Vec<LaneSeed>], timeout: std::time::Duration) -> Option<SetMap> {
    let mut newest: Option<SetMap> = None;
    for lanes in seeds {
        let voting: Vec<&mut LaneSeed> = lanes.iter_mut().filter(|lane| lane.role == Role::Voting).collect();
        let jobs = voting.iter().filter_map(|lane| lane.replica.clone()).map(|replica| move || read_map(&*replica));
        for (lane, result) in each_at_once(timeout, jobs.collect()).into_iter().zip(voting).map(|(result, lane)| (lane, result)) {
            match result {
                Ok(map) if newest.as_ref().is_none_or(|newest| newest.version < map.version) => newest = Some(map),
                Ok(_) => {}
                Err(error) => lane.role = Role::Out(error),
            }
        }
    }
    newest
}

fn read_map(replica: &dyn Replica) -> Result<SetMap, ReplicaError> {
    let damaged = |what: &str| ReplicaError::Damaged { path: PathBuf::new(), what: what.to_owned() };
    let bytes = replica.meta(MAP_KEY)?.ok_or_else(|| damaged("the SET map is gone"))?;
    SetMap::decode(&bytes).ok_or_else(|| damaged("the SET map is not what anybody wrote"))
}

/// What the builder describes; `remembered` is the quorum where it names none.
fn given_map(builder: &Builder, remembered: Option<Quorum>) -> Result<SetMap, Error> {
    let entries = builder.sets.iter().map(|set| (set.id, set.weight, set.replicas.len()));
    map_of(entries, builder.quorum.or(remembered))
}

fn given_map_of(plan: &[SetPlan], quorum: Option<Quorum>) -> Result<SetMap, Error> {
    map_of(plan.iter().map(|set| (set.id, set.weight, set.replicas.len())), quorum)
}

fn map_of(sets: impl Iterator<Item = (SetId, u32, usize)> + Clone, quorum: Option<Quorum>) -> Result<SetMap, Error> {
    let quorum = match (quorum, sets.clone().next()) {
        (Some(quorum), _) => quorum,
        (None, Some((_, _, replicas))) => Quorum::majority(u8::try_from(replicas).unwrap_or(u8::MAX))?,
        (None, None) => return Err(ConfigError::NoSets.into()),
    };
    for (set, _, given) in sets.clone() {
        if given != usize::from(quorum.n()) {
            return Err(ConfigError::ReplicaCount { set, given, n: quorum.n() }.into());
        }
    }
    let mut sets: Vec<MapEntry> = sets.map(|(id, weight, _)| MapEntry { id, weight }).collect();
    sets.sort_by_key(|entry| entry.id);
    Ok(SetMap { version: 1, quorum, sets })
}

fn same_map(stored: SetMap, given: SetMap) -> Result<SetMap, Error> {
    if stored.describes_the_same(&given) {
        return Ok(stored);
    }
    Err(Error::MapMismatch { stored: stored.to_string(), given: given.to_string() })
}

/// SETs that the map names and of which nothing was found: all of their replicas are missing.
fn add_lost_sets(
    map: &SetMap,
    plan: &mut Vec<SetPlan>,
    seeds: &mut Vec<Vec<LaneSeed>>,
    home: Option<&Path>,
    store: u128,
    cache_bytes: u64,
) {
    for entry in &map.sets {
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
        plan.insert(place, SetPlan { id: entry.id, weight: entry.weight, replicas });
    }
}

/// Makes a store, or finishes one whose making was interrupted.
fn form(
    plan: &[SetPlan],
    store: u128,
    map: &SetMap,
    opened: Vec<Vec<Opened>>,
    settings: &Settings,
) -> Result<Vec<Vec<LaneSeed>>, Error> {
    let mut replicas: Vec<(SetId, u8, Arc<dyn Replica>, Identity)> = Vec::new();
    let mut seeds: Vec<Vec<LaneSeed>> = Vec::new();
    for (set, opened) in plan.iter().zip(opened) {
        let listed: Vec<String> = set.replicas.iter().map(|replica| replica.listed.clone()).collect();
        let mut faults = Vec::new();
        let mut lanes = Vec::new();
        for ((index, result), plan) in (0u8..).zip(opened).zip(&set.replicas) {
            match result.and_then(unformed) {
                Ok(replica) => {
                    let quorum = (map.quorum.n(), map.quorum.r(), map.quorum.w());
                    let identity = Identity { store, set: set.id, index, quorum, replicas: listed.clone(), formed: false };
                    replicas.push((set.id, index, Arc::clone(&replica), identity));
                    // `fill` applies one.
                    let reopen = reopen(plan, store, set.id, index, settings.cache_bytes);
                    let (dir, role) = (plan.dir.clone(), Role::Voting);
                    lanes.push(LaneSeed { dir, replica: Some(replica), role, applied: 1, reopen });
                }
                Err(error) => faults.push((index, error)),
            }
        }
        if !faults.is_empty() {
            return Err(Error::CannotForm { set: set.id, faults: Faults(faults) });
        }
        seeds.push(lanes);
    }
    for formed in [false, true] {
        let jobs = replicas.iter().map(|(_, _, replica, identity)| {
            let (replica, identity, map) = (Arc::clone(replica), Identity { formed, ..identity.clone() }, map.encode());
            move || if formed { replica.form(&identity) } else { fill(&*replica, &identity, map) }
        });
        let results = each_at_once(settings.open_timeout, jobs.collect());
        for ((set, index, ..), result) in replicas.iter().zip(results) {
            result.map_err(|error| Error::CannotForm { set: *set, faults: Faults(vec![(*index, error)]) })?;
        }
    }
    Ok(seeds)
}

fn unformed(replica: Arc<dyn Replica>) -> Result<Arc<dyn Replica>, ReplicaError> {
    match replica.standing() {
        Standing::Fresh => Ok(replica),
        Standing::Voting(identity) if !identity.formed => Ok(replica),
        Standing::Voting(_) => Err(ReplicaError::Out { reason: "it belongs to a store already".to_owned() }),
        Standing::Limbo { reason, .. } => Err(ReplicaError::Out { reason }),
    }
}

/// The first step of making a replica: who it is, and the map.
fn fill(replica: &dyn Replica, identity: &Identity, map: Vec<u8>) -> Result<(), ReplicaError> {
    replica.form(identity)?;
    let epoch = replica.epoch().saturating_add(1);
    replica.claim(epoch)?;
    let mut group = Group::new(epoch);
    let full = |error: crate::replica::GroupFull| ReplicaError::Out { reason: error.to_string() };
    group.push_meta(MAP_KEY, map).map_err(full)?;
    replica.apply(&group).map(drop)
}

/// A store's id. Not a secret, only unlikely to be drawn twice; the hasher's keys come from the system's random source.
fn random_id() -> u128 {
    let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    u128::from(draw()) << 64 | u128::from(draw())
}

/// `dir` below `home`, unless it is absolute.
pub(super) fn below(home: Option<&Path>, dir: &Path) -> PathBuf {
    home.map_or_else(|| dir.to_owned(), |home| home.join(dir))
}

/// The path with links and dots resolved as far as it exists, so that one directory has one name.
pub(super) fn real_path(path: &Path) -> PathBuf {
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let mut rest: Vec<Component> = Vec::new();
    let mut exists = absolute.as_path();
    loop {
        if let Ok(real) = exists.canonicalize() {
            let mut real = real;
            for part in rest.iter().rev() {
                match part {
                    Component::ParentDir => {
                        real.pop();
                    }
                    part => real.push(part),
                }
            }
            return real;
        }
        match (exists.parent(), exists.components().next_back()) {
            (Some(parent), Some(last)) => {
                rest.push(last);
                exists = parent;
            }
            _ => return absolute,
        }
    }
}
