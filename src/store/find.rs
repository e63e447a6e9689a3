//! Finding the replicas of a store: those that the builder names, or what the directories below its home say they are.

use super::Builder;
use crate::config::{ConfigError, OpenFn, OpenReplica, Quorum, SetConfig};
use crate::error::Error;
use crate::order::SetId;
use crate::replica::{Identity, ReplicaError, Standing, peek_identity};
use crate::set::replicated::{Opened, each_at_once, standing_of};
use crate::topology::Zone;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// A SET as it is to be opened.
pub(super) struct SetPlan {
    pub(super) id: SetId,
    pub(super) weight: u32,
    pub(super) zone: Option<Zone>,
    pub(super) replicas: Vec<ReplicaPlan>,
}

pub(super) struct ReplicaPlan {
    /// The path to open.
    pub(super) dir: Option<PathBuf>,
    /// The path as configured, for the superblocks.
    pub(super) listed: String,
    pub(super) open: OpenFn,
}

/// Replicas opened, and what they say of themselves together.
pub(super) struct Survey {
    pub(super) store: Option<u128>,
    /// Some replica was formed, so all were.
    pub(super) formed: bool,
    pub(super) quorum: Option<Quorum>,
    /// By SET as planned, then by index.
    pub(super) opened: Vec<Vec<Opened>>,
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

pub(super) fn planned(set: &SetConfig, home: Option<&Path>) -> SetPlan {
    let replicas = set.replicas.iter().map(|replica| ReplicaPlan {
        dir: replica.dir.as_ref().map(|dir| below(home, dir)),
        listed: replica.dir.as_ref().map(|dir| dir.to_string_lossy().into_owned()).unwrap_or_default(),
        open: Arc::clone(&replica.open),
    });
    let zone = set.zone.clone().ok().flatten();
    SetPlan { id: set.id, weight: set.weight, zone, replicas: replicas.collect() }
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
        plan.push(SetPlan { id: identity.set, weight: 1, zone: None, replicas: replicas.collect() });
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

pub(super) fn peeked(replica: &ReplicaPlan) -> Option<Identity> {
    peek_identity(replica.dir.as_deref()?)
}

/// Opens all replicas side by side.
pub(super) fn open_all(plan: &[SetPlan], create: bool, cache_bytes: u64, timeout: Duration) -> Vec<Vec<Opened>> {
    let mut jobs = Vec::new();
    for set in plan {
        for (index, replica) in (0u8..).zip(&set.replicas) {
            let open = Arc::clone(&replica.open);
            let options = OpenReplica { set: set.id, index, dir: replica.dir.clone(), create, cache_bytes };
            jobs.push(move || open(&options));
        }
    }
    let mut results = each_at_once(timeout, jobs).into_iter();
    plan.iter().map(|set| results.by_ref().take(set.replicas.len()).collect()).collect()
}

/// Looks whether replicas that were opened belong here and together; `store`: whose they must be, where that is known.
///
/// # Errors
/// [`Error::InUse`] and [`Error::ForeignReplica`].
pub(super) fn survey(plan: &[SetPlan], opened: Vec<Vec<Opened>>, store: Option<u128>) -> Result<Survey, Error> {
    let mut survey = Survey { store, formed: false, quorum: None, opened };
    for (set, opened) in plan.iter().zip(&mut survey.opened) {
        for ((index, result), replica) in (0u8..).zip(opened).zip(&set.replicas) {
            let dir = || replica.dir.clone().unwrap_or_default();
            let standing = match result {
                Ok(replica) => standing_of(&**replica),
                Err(ReplicaError::InUse { dir }) => return Err(Error::InUse { dir: dir.clone() }),
                Err(_) => continue,
            };
            let identity = match standing {
                Ok(Standing::Voting(identity) | Standing::Limbo { identity: Some(identity), .. }) => identity,
                Ok(Standing::Fresh | Standing::Limbo { identity: None, .. }) => continue,
                Err(error) => {
                    // Should it say later who it is, it was not looked at whether that belongs here.
                    *result = Err(error);
                    continue;
                }
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

pub(super) fn described(store: u128, set: SetId, index: u8) -> String {
    format!("replica {index} of SET {set} of store {store:032x}")
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
