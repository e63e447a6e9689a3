//! Making what is new: a whole store, or a SET for one that runs.
//!
//! Both are made in two steps, so that a directory that was lost is never taken for one that was never filled: first every
//! replica gets its identity and the SET map, and only when all have them, durably, are they marked as formed. Orders are
//! taken after that. So if any replica of a SET is formed, all were once filled: one that is empty now has been lost.
//!
//! For a SET that is added to a store, the map that names it comes to the others between the two steps: a SET that the newest map names
//! was filled, and one that it does not name holds no orders, whatever lies in its directories.

use super::find::{ReplicaPlan, SetPlan};
use super::maps::MAP_KEY;
use super::open::reopen;
use crate::config::Settings;
use crate::error::{Error, Faults};
use crate::order::SetId;
use crate::replica::{Group, Identity, Replica, ReplicaError, Standing};
use crate::set::replicated::{LaneSeed, Opened, Role, each_at_once, guarded, standing_of};
use crate::topology::SetMap;
use std::hash::{BuildHasher, Hasher};
use std::sync::Arc;

/// A replica that is being made, and who it will be.
struct Making {
    set: SetId,
    index: u8,
    replica: Arc<dyn Replica>,
    identity: Identity,
}

/// SETs whose replicas all have their identity and the map.
pub(super) struct Filled {
    replicas: Vec<Making>,
    /// By SET, then by index.
    pub(super) seeds: Vec<Vec<LaneSeed>>,
}

/// The first step: gives every replica its identity and the map. One that has them from an attempt that was interrupted gets them anew.
///
/// `again`: a replica that is formed already is taken as it is. For a SET that is added: it was formed under a map that never
/// came to hold.
///
/// # Errors
/// [`Error::CannotForm`].
pub(super) fn fill(
    plan: &[SetPlan],
    store: u128,
    map: &SetMap,
    opened: Vec<Vec<Opened>>,
    settings: &Settings,
    again: bool,
) -> Result<Filled, Error> {
    let mut filled = Filled { replicas: Vec::new(), seeds: Vec::new() };
    for (set, opened) in plan.iter().zip(opened) {
        let listed: Vec<String> = set.replicas.iter().map(|replica| replica.listed.clone()).collect();
        let (mut faults, mut lanes) = (Vec::new(), Vec::new());
        for ((index, result), plan) in (0u8..).zip(opened).zip(&set.replicas) {
            match result.and_then(|replica| is_formed(&*replica).map(|formed| (replica, formed))) {
                Ok((_, true)) if !again => {
                    faults.push((index, ReplicaError::Out { reason: "it belongs to a store already".to_owned() }));
                }
                Ok((replica, formed)) => {
                    if !formed {
                        let quorum = (map.quorum.n(), map.quorum.r(), map.quorum.w());
                        let identity = Identity { store, set: set.id, index, quorum, replicas: listed.clone(), formed: false };
                        filled.replicas.push(Making { set: set.id, index, replica: Arc::clone(&replica), identity });
                    }
                    // What is filled has one group applied.
                    lanes.push(seed(
                        plan,
                        replica,
                        u64::from(!formed),
                        reopen(plan, store, set.id, index, settings.cache_bytes, true),
                    ));
                }
                Err(error) => faults.push((index, error)),
            }
        }
        if !faults.is_empty() {
            return Err(Error::CannotForm { set: set.id, faults: Faults(faults) });
        }
        filled.seeds.push(lanes);
    }
    let map = map.encode();
    on_each(&filled.replicas, settings, |making| {
        let (replica, identity, map) = (Arc::clone(&making.replica), making.identity.clone(), map.clone());
        move || fill_one(&*replica, &identity, map)
    })?;
    Ok(filled)
}

impl Filled {
    /// The second step: all are filled, and the map names them.
    ///
    /// # Errors
    /// [`Error::CannotForm`].
    pub(super) fn mark_formed(&self, settings: &Settings) -> Result<(), Error> {
        on_each(&self.replicas, settings, |making| {
            let (replica, identity) = (Arc::clone(&making.replica), Identity { formed: true, ..making.identity.clone() });
            move || replica.form(&identity)
        })
    }
}

fn on_each<J>(replicas: &[Making], settings: &Settings, job: impl Fn(&Making) -> J) -> Result<(), Error>
where
    J: FnOnce() -> Result<(), ReplicaError> + Send + 'static,
{
    let results = each_at_once(settings.open_timeout, replicas.iter().map(job).collect());
    for (making, result) in replicas.iter().zip(results) {
        result.map_err(|error| Error::CannotForm { set: making.set, faults: Faults(vec![(making.index, error)]) })?;
    }
    Ok(())
}

fn seed(plan: &ReplicaPlan, replica: Arc<dyn Replica>, applied: u64, reopen: crate::set::replicated::Reopen) -> LaneSeed {
    LaneSeed { dir: plan.dir.clone(), replica: Some(replica), role: Role::Voting, applied, reopen }
}

fn is_formed(replica: &dyn Replica) -> Result<bool, ReplicaError> {
    match standing_of(replica)? {
        Standing::Fresh => Ok(false),
        Standing::Voting(identity) => Ok(identity.formed),
        Standing::Limbo { reason, .. } => Err(ReplicaError::Out { reason }),
    }
}

/// Who it is, and the map.
fn fill_one(replica: &dyn Replica, identity: &Identity, map: Vec<u8>) -> Result<(), ReplicaError> {
    replica.form(identity)?;
    let epoch = replica.epoch().saturating_add(1);
    replica.claim(epoch)?;
    let mut group = Group::new(epoch);
    let full = |error: crate::replica::GroupFull| ReplicaError::Out { reason: error.to_string() };
    group.push_meta(MAP_KEY, map).map_err(full)?;
    replica.apply(&group).map(drop)
}

/// The process died between the two steps, after all had their identity: the second one is made up for.
pub(super) fn make_up_for(replica: &dyn Replica) -> Result<(), ReplicaError> {
    match standing_of(replica)? {
        Standing::Voting(identity) if !identity.formed => guarded(|| replica.form(&Identity { formed: true, ..identity })),
        _ => Ok(()),
    }
}

/// A store's id. Not a secret, only unlikely to be drawn twice; the hasher's keys come from the system's random source.
pub(super) fn random_id() -> u128 {
    let draw = || std::collections::hash_map::RandomState::new().build_hasher().finish();
    u128::from(draw()) << 64 | u128::from(draw())
}
