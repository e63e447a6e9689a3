//! A replica is opened again while its SET goes on: on a thread that may hang with it, within the open timeout. What it holds is held
//! against what was seen synced there, as at open; then it gets a lane of its own.

use super::open::{each_at_once, rolled_back};
use crate::replica::{Replica, ReplicaError, Standing};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane, Role};
use crate::set::replicated::lanes::worker::guarded;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// A replica opened again.
pub(crate) struct Found {
    pub(crate) replica: Arc<dyn Replica>,
    /// Why it may not vote, if it may not.
    limbo: Option<String>,
    /// The last group that it saw synced on each of its peers.
    peers: Vec<u64>,
}

/// How often it is looked whether what is in the way of opening is gone.
const TRY_AGAIN: Duration = Duration::from_millis(20);

/// Opens the replica of a lane that was closed, within the open timeout.
pub(crate) fn open_again(core: &Core, lane: &Arc<Lane>) -> Result<Found, ReplicaError> {
    let timeout = core.settings.open_timeout;
    let until = Instant::now() + timeout;
    // Not all replicas have locks of their own; two lives of one must not write at once.
    while lane.is_open() {
        if Instant::now() >= until {
            let waited_ms = timeout.as_millis();
            let reason =
                format!("the call in which it hung has not ended within {waited_ms} ms; its directory is in use until then");
            return Err(ReplicaError::Out { reason });
        }
        std::thread::sleep(TRY_AGAIN);
    }
    loop {
        let (lane, (first, current)) = (Arc::clone(lane), (core.first_epoch.load(Ordering::Acquire), core.epoch()));
        let look = move || look(&lane, first, current);
        let mut results = each_at_once(until.saturating_duration_since(Instant::now()), vec![look]);
        match results.pop() {
            // A reader may still be inside the earlier life of it.
            Some(Err(ReplicaError::InUse { .. })) if Instant::now() + TRY_AGAIN < until => std::thread::sleep(TRY_AGAIN),
            Some(result) => return result,
            None => return Err(ReplicaError::Closed),
        }
    }
}

/// Opens the replica and holds it against what is known of it.
fn look(lane: &Lane, first_epoch: u32, current: u32) -> Result<Found, ReplicaError> {
    let replica = (lane.reopen)()?;
    let epoch = replica.epoch();
    if first_epoch > 0 && epoch >= first_epoch && epoch > lane.tried.load(Ordering::Relaxed) {
        // Numbers may have been given out there of which this process knows nothing.
        let _ = guarded(|| replica.close());
        let reason = format!(
            "epoch {epoch} was claimed there by another coordinator, beside {current} of this one; the store must be opened anew"
        );
        return Err(ReplicaError::Out { reason });
    }
    let limbo = match replica.standing() {
        Standing::Limbo { reason, .. } => Some(reason),
        Standing::Fresh | Standing::Voting(_) => {
            let (own, seen) = (replica.marks().own, lane.synced_group.load(Ordering::Relaxed));
            let reason = (own < seen).then(|| rolled_back(own, "this process knows", seen));
            // Made durable, since the next clean close would hide the loss.
            if let Some(reason) = &reason {
                guarded(|| replica.banish(reason)).map_err(|error| ReplicaError::Out { reason: format!("{reason}; {error}") })?;
            }
            reason
        }
    };
    let peers = replica.marks().peers;
    Ok(Found { replica, limbo, peers })
}

/// Gives an opened replica its lane. Says whether it can go on to vote.
pub(crate) fn install(core: &Arc<Core>, index: u8, result: Result<Found, ReplicaError>) -> bool {
    let old = core.lane(index);
    let found = match result {
        Ok(found) => found,
        Err(error) => {
            let role = if matches!(error, ReplicaError::Missing { .. }) { Role::Missing(error) } else { Role::Out(error) };
            core.change_roles(|| old.set_role(role));
            return false;
        }
    };
    let votes = found.limbo.is_none();
    let role = found.limbo.map_or_else(|| Role::Returning("it was opened".to_owned()), Role::Limbo);
    hear_witness(core, &old, &found.peers);
    let lane = Arc::new(old.next_life(found.replica, role, &core.settings));
    let votes = votes && matches!(lane.role(), Role::Returning(_));
    if let Err(error) = core.start_lane(&lane) {
        lane.close();
        core.change_roles(|| old.set_role(Role::Out(ReplicaError::Out { reason: error.to_string() })));
        return false;
    }
    core.change_roles(|| core.lanes[usize::from(index)].store(lane));
    votes
}

/// What a returning replica knows of its peers.
fn hear_witness(core: &Core, old: &Lane, peers: &[u64]) {
    // One that was open in this process before was heard then, and has since learnt nothing that this process does not know.
    let is_new = old.life == 0 && old.tried.load(Ordering::Relaxed) == 0;
    for (peer, seen) in core.lanes().zip(peers.iter().copied()).filter(|(peer, _)| peer.index != old.index) {
        if !peer.is_open() {
            // Handed on, or the next group would make everybody forget it.
            peer.synced_group.fetch_max(seen, Ordering::Relaxed);
        } else if is_new && seen > peer.opened_at && peer.is_voting() {
            let reason = rolled_back(peer.opened_at, &format!("replica {} knows", old.index), seen);
            // As at open: its word never counted for what it had lost, and the longer it votes the more would rest on it.
            peer.synced_group.fetch_max(seen, Ordering::Relaxed);
            core.change_roles(|| peer.set_role(Role::Limbo(reason.clone())));
            let banish = Box::new(move |lane: &Lane, replica: &dyn Replica| {
                if let Err(error) = guarded(|| replica.banish(&reason)) {
                    lane.set_role(Role::Out(ReplicaError::Out { reason: format!("{reason}; {error}") }));
                }
            });
            let _ = peer.push(Job::Apart(banish));
        }
    }
}
