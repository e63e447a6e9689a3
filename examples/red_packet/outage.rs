//! A whole SET is lost in the middle of everything, and comes back: its three replicas hang, then fail, then are mended.

use crate::life::World;
use crate::watch::Marks;
use ordermint::testing::FaultControl;
use ordermint::{Error, OrderStore, ReplicaState, SetId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// When the SET goes and when it comes back, in percent of all packets.
const LEAVES_AT: u64 = 40;
const RETURNS_AT: u64 = 65;
/// It comes back after that long even if fewer packets are done: those that live there wait for it.
const AWAY_MAX: Duration = Duration::from_secs(10);
/// How long to wait until all of its replicas vote again.
const RETURN_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// What is done to which SET.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) set: SetId,
    /// The switches of all of its replicas.
    pub(crate) faults: FaultControl,
    /// How long its replicas hang before each write and each read of them is an error.
    pub(crate) hangs_for: Duration,
}

impl Outage {
    /// Lets the SET go and come back. Those who send and receive are not told. Ends early where the run is over before it began.
    pub(crate) async fn run(self, world: Arc<World>, marks: Marks, packets: u64, over: Arc<AtomicBool>) {
        let Outage { set, faults, hangs_for } = self;
        let reached = |percent: u64| world.tally.packets.load(Relaxed) * 100 >= packets * percent;
        while !reached(LEAVES_AT) {
            if over.load(Relaxed) {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
        let since = Instant::now();
        faults.hang_applies();
        faults.hang_reads();
        marks.set(format!("SET {set} hangs: none of its replicas returns from a write or a read"));
        tokio::time::sleep(hangs_for).await;
        faults.fail_applies(usize::MAX);
        faults.fail_reads(usize::MAX);
        faults.release();
        marks.set(format!("SET {set} fails: each write and each read of its replicas is an error"));
        while !reached(RETURNS_AT) && since.elapsed() < AWAY_MAX {
            tokio::time::sleep(LOOK).await;
        }
        faults.fail_applies(0);
        faults.fail_reads(0);
        marks.set(format!("the disks of SET {set} are mended, and its replicas brought back"));
        match bring_back(&world.store, set).await {
            Ok(()) => {
                marks.set(format!("all replicas of SET {set} vote again"));
                world.tally.away_ms.store(since.elapsed().as_millis() as u64, Relaxed);
            }
            Err(why) => world.tally.failed(&format!("bringing back SET {set}: {why}")),
        }
    }
}

async fn bring_back(store: &OrderStore, set: SetId) -> Result<(), String> {
    let since = Instant::now();
    loop {
        let away: Vec<_> = states(store, set).into_iter().filter(|(_, state)| *state != ReplicaState::Voting).collect();
        if away.is_empty() {
            return Ok(());
        }
        if since.elapsed() > RETURN_MAX {
            return Err(format!("some replicas stay away: {away:?}"));
        }
        for (index, _) in away.iter().filter(|(_, state)| *state != ReplicaState::Returning) {
            match store.bring_back_replica(set, *index) {
                // Its directory is being closed in the background, and it cannot come back before.
                Ok(()) | Err(Error::WrongState { .. } | Error::InUse { .. }) => {}
                Err(error) => return Err(error.to_string()),
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

fn states(store: &OrderStore, set: SetId) -> Vec<(u8, ReplicaState)> {
    let sets = store.status().sets;
    let replicas = sets.into_iter().filter(|status| status.id == set).flat_map(|status| status.replicas);
    replicas.map(|replica| (replica.index, replica.state)).collect()
}
