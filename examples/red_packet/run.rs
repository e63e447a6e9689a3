//! The run: many lives at once, and in the middle of them a replica that goes away and comes back.

use crate::args::Options;
use crate::books::Account;
use crate::life::{Story, World, live};
use crate::plan::Plan;
use crate::watch::{Mark, Marks, Sample, Watch};
use ordermint::{Error, OrderStore, ReplicaState, SetId};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

/// Visits under way at most: enough to keep all replicas writing and the hot packets crowded, little enough that the queues of the
/// store rarely say no.
const UNDER_WAY_MAX: usize = 8_192;
/// The replica that goes, and when it goes and comes back: in percent of all packets.
const REPLICA: u8 = 1;
const LEAVES_AT: u64 = 40;
const RETURNS_AT: u64 = 65;
/// How long to wait for it to vote again.
const RETURN_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

/// What is known after a run.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) accounts: Vec<Account>,
    pub(crate) seconds: f64,
    pub(crate) create_us: Vec<u32>,
    pub(crate) open_us: Vec<u32>,
    pub(crate) writes: usize,
    pub(crate) fullest: usize,
    pub(crate) visits: usize,
    pub(crate) samples: Vec<Sample>,
    pub(crate) marks: Vec<Mark>,
}

/// Sends all packets, or as many as there were when `stop` was raised.
pub(crate) fn run(world: &Arc<World>, options: &Options, set: SetId, stop: &AtomicBool) -> std::io::Result<Ran> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_time().build()?;
    let watch = Watch::start(Arc::clone(world), options.packets);
    let started = Instant::now();
    let mut ran = Ran::default();
    runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let outage = tokio::spawn(outage(Arc::clone(world), watch.marks(), set, options.packets as u64, Arc::clone(&over)));
        send_all(world, options, stop, &mut ran).await;
        ran.seconds = started.elapsed().as_secs_f64();
        over.store(true, Relaxed);
        if outage.await.is_err() {
            world.tally.failed("the one who looks after the replicas panicked");
        }
    });
    (ran.samples, ran.marks) = watch.stop();
    Ok(ran)
}

async fn send_all(world: &Arc<World>, options: &Options, stop: &AtomicBool, ran: &mut Ran) {
    let mut lives = JoinSet::new();
    let mut under_way = 0;
    for n in 0..options.packets {
        if stop.load(Relaxed) {
            break;
        }
        let plan = Plan::draw(options.seed, n);
        // One always fits, however large its crowd.
        while under_way > 0 && under_way + plan.visits() > UNDER_WAY_MAX {
            under_way -= bury(lives.join_next().await, world, ran);
        }
        under_way += plan.visits();
        lives.spawn(live(Arc::clone(world), plan));
    }
    while !lives.is_empty() {
        bury(lives.join_next().await, world, ran);
    }
}

/// Enters what is left of a life, and says how much room it took.
fn bury(story: Option<Result<Story, tokio::task::JoinError>>, world: &World, ran: &mut Ran) -> usize {
    let story = match story {
        Some(Ok(story)) => story,
        Some(Err(error)) => panic!("a life must not end before its time: {error}"),
        None => return 0,
    };
    world.tally.packets.fetch_add(1, Relaxed);
    ran.accounts.extend(story.account);
    ran.create_us.extend(story.create_us);
    ran.open_us.extend(story.open_us);
    ran.writes += story.writes;
    ran.fullest = ran.fullest.max(story.fullest);
    ran.visits += story.visits;
    story.visits
}

/// Takes a replica out half-way, brings it back and waits until it votes again. Those who send and receive are not told.
async fn outage(world: Arc<World>, marks: Marks, set: SetId, packets: u64, over: Arc<AtomicBool>) {
    let World { store, tally } = &*world;
    let reached = async |percent: u64| {
        while tally.packets.load(Relaxed) * 100 < packets * percent && !over.load(Relaxed) {
            tokio::time::sleep(LOOK).await;
        }
    };
    reached(LEAVES_AT).await;
    if over.load(Relaxed) {
        return;
    }
    match store.take_out_replica(set, REPLICA) {
        Ok(()) => marks.set(format!("replica {REPLICA} of SET {set} is taken out")),
        Err(error) => return marks.set(format!("replica {REPLICA} of SET {set} cannot be taken out: {error}")),
    }
    reached(RETURNS_AT).await;
    // Its directory is being closed in the background, and it cannot come back before.
    let since = Instant::now();
    let outcome = loop {
        match store.bring_back_replica(set, REPLICA) {
            Err(Error::WrongState { .. } | Error::InUse { .. }) if since.elapsed() < RETURN_MAX => tokio::time::sleep(LOOK).await,
            outcome => break outcome,
        }
    };
    match outcome {
        Ok(()) => marks.set(format!("replica {REPLICA} is brought back")),
        Err(error) => return marks.set(format!("replica {REPLICA} cannot be brought back: {error}")),
    }
    let since = Instant::now();
    while state_of(store, set) == Some(ReplicaState::Returning) && since.elapsed() < RETURN_MAX {
        tokio::time::sleep(LOOK).await;
    }
    match state_of(store, set) {
        Some(ReplicaState::Voting) => marks.set(format!("replica {REPLICA} votes again")),
        Some(state) => marks.set(format!("replica {REPLICA} is {state}")),
        None => marks.set(format!("replica {REPLICA} is gone")),
    }
}

fn state_of(store: &OrderStore, set: SetId) -> Option<ReplicaState> {
    let status = store.status();
    let set = status.sets.iter().find(|status| status.id == set)?;
    set.replicas.iter().find(|replica| replica.index == REPLICA).map(|replica| replica.state)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{self, Balance};
    use crate::packet::Packet;
    use crate::tally::Tally;
    use ordermint::testing::{FaultControl, Faulty};
    use ordermint::{MemoryReplica, Quorum, SetConfig};
    use std::sync::atomic::AtomicU64;

    /// Three replicas in memory, two of which can be made to misbehave; what they hold stays when they are closed.
    fn replicas(set: SetId, faults: &[FaultControl; 2]) -> SetConfig {
        let mut replicas = SetConfig::new(set);
        for faults in [FaultControl::new()].iter().chain(faults) {
            let (memory, faults) = (MemoryReplica::new(), faults.clone());
            replicas = replicas.replica_with(move |_| Ok(Faulty::new(Arc::new(memory.clone()), faults.clone())));
        }
        replicas
    }

    fn options(packets: usize) -> Options {
        Options { packets, ..Options::default() }
    }

    /// All that the store holds beside all that was told.
    fn balance(store: &OrderStore, set: SetId, accounts: &[Account]) -> Result<Balance, Error> {
        let mut found = Vec::new();
        for day in store.days(set).wait()? {
            for order in store.scan(set, day) {
                let order = order?;
                found.push((order.number, Packet::decode(&order.value).map_err(|garbled| garbled.to_string())));
            }
        }
        Ok(books::check(accounts, found))
    }

    #[test]
    fn packets_sent_to_replicas_in_memory_balance_and_nobody_is_turned_away() -> Result<(), Error> {
        let set = SetId::new(7)?;
        let faults = [FaultControl::new(), FaultControl::new()];
        let store = OrderStore::builder().quorum(Quorum::new(3, 2, 2)?).add_set(replicas(set, &faults)).open()?;
        let world = Arc::new(World { store: store.clone(), tally: Tally::default() });
        let ran = run(&world, &options(300), set, &AtomicBool::new(false)).expect("a runtime can be had");
        let marks: Vec<&str> = ran.marks.iter().map(|mark| mark.what.as_str()).collect();
        assert_eq!(marks, ["replica 1 of SET 007 is taken out", "replica 1 is brought back", "replica 1 votes again"]);
        assert_eq!(world.tally.said(), [""; 0]);
        assert_eq!(ran.accounts.len(), 300);
        let balance = balance(&store, set, &ran.accounts)?;
        assert_eq!(balance.faults, []);
        assert!(balance.is_balanced() && balance.received.0 > 0, "{balance:?}");
        Ok(())
    }

    #[test]
    fn writes_in_doubt_are_settled_and_the_books_balance() -> Result<(), Error> {
        let set = SetId::new(7)?;
        let faults = [FaultControl::new(), FaultControl::new()];
        let store = OrderStore::builder().quorum(Quorum::new(3, 2, 2)?).add_set(replicas(set, &faults));
        let store = store.deadline(Duration::from_millis(250)).open()?;
        let world = Arc::new(World { store: store.clone(), tally: Tally::default() });

        // Two of three replicas stop in the middle of writing, until somebody has heard that his write is in doubt; four times.
        let over = AtomicBool::new(false);
        let ran = std::thread::scope(|scope| {
            scope.spawn(|| {
                let moves_on = |count: &AtomicU64| {
                    let before = count.load(Relaxed);
                    while count.load(Relaxed) == before && !over.load(Relaxed) {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                };
                for _ in 0..4 {
                    moves_on(&world.tally.opens);
                    faults.iter().for_each(FaultControl::hang_applies);
                    moves_on(&world.tally.ambiguous);
                    faults.iter().for_each(FaultControl::release);
                }
            });
            let ran = run(&world, &options(1_000), set, &AtomicBool::new(false));
            over.store(true, Relaxed);
            ran.expect("a runtime can be had")
        });
        assert_eq!(world.tally.said(), [""; 0]);
        assert!(world.tally.ambiguous.load(Relaxed) > 0, "the replicas stopped while packets were under way");
        let balance = balance(&store, set, &ran.accounts)?;
        assert_eq!(balance.faults, []);
        assert!(balance.is_balanced() && ran.accounts.len() == 1_000, "{balance:?}");
        Ok(())
    }

    #[test]
    fn a_run_that_is_stopped_before_it_begins_sends_nothing() -> Result<(), Error> {
        let set = SetId::new(7)?;
        let store = OrderStore::builder().add_set(SetConfig::new(set).in_memory(3)).open()?;
        let world = Arc::new(World { store, tally: Tally::default() });
        let ran = run(&world, &options(300), set, &AtomicBool::new(true)).expect("a runtime can be had");
        assert_eq!((ran.accounts.len(), ran.visits), (0, 0));
        Ok(())
    }
}
