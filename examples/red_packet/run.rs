//! The run: many lives at once, and in the middle of them a SET that goes away and comes back.

use crate::args::Options;
use crate::books::Account;
use crate::life::{Story, World, live};
use crate::outage::Outage;
use crate::plan::Plan;
use crate::watch::{Mark, Sample, Watch};
use ordermint::SetId;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::Instant;
use tokio::task::JoinSet;

/// Visits under way at most: enough to keep all replicas writing and the hot packets crowded, little enough that the queues of the
/// store rarely say no.
const UNDER_WAY_MAX: usize = 8_192;
/// What is known after a run.
#[derive(Debug, Default)]
pub(crate) struct Ran {
    pub(crate) accounts: Vec<Account>,
    pub(crate) seconds: f64,
    pub(crate) create_us: Vec<u32>,
    pub(crate) open_us: Vec<u32>,
    /// Of packets on the SET that was lost.
    pub(crate) lost_open_us: Vec<u32>,
    pub(crate) writes: usize,
    pub(crate) fullest: usize,
    pub(crate) visits: usize,
    pub(crate) samples: Vec<Sample>,
    pub(crate) marks: Vec<Mark>,
}

/// Sends all packets, or as many as there were when `stop` was raised.
pub(crate) fn run(world: &Arc<World>, options: &Options, outage: Option<Outage>, stop: &AtomicBool) -> std::io::Result<Ran> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(options.threads).enable_time().build()?;
    let watch = Watch::start(Arc::clone(world), options.packets);
    let started = Instant::now();
    let mut ran = Ran::default();
    runtime.block_on(async {
        let over = Arc::new(AtomicBool::new(false));
        let lost = outage.as_ref().map(|outage| outage.set);
        let outage = outage
            .map(|outage| tokio::spawn(outage.run(Arc::clone(world), watch.marks(), options.packets as u64, Arc::clone(&over))));
        send_all(world, options, lost, stop, &mut ran).await;
        ran.seconds = started.elapsed().as_secs_f64();
        over.store(true, Relaxed);
        if let Some(outage) = outage
            && outage.await.is_err()
        {
            world.tally.failed("the one who looks after the disks panicked");
        }
    });
    (ran.samples, ran.marks) = watch.stop();
    Ok(ran)
}

async fn send_all(world: &Arc<World>, options: &Options, lost: Option<SetId>, stop: &AtomicBool, ran: &mut Ran) {
    let mut lives = JoinSet::new();
    let mut under_way = 0;
    for n in 0..options.packets {
        if stop.load(Relaxed) {
            break;
        }
        let plan = Plan::draw(options.seed, n);
        // One always fits, however large its crowd.
        while under_way > 0 && under_way + plan.visits() > UNDER_WAY_MAX {
            under_way -= bury(lives.join_next().await, world, lost, ran);
        }
        under_way += plan.visits();
        lives.spawn(live(Arc::clone(world), plan));
    }
    while !lives.is_empty() {
        bury(lives.join_next().await, world, lost, ran);
    }
}

/// Enters what is left of a life, and says how much room it took.
fn bury(story: Option<Result<Story, tokio::task::JoinError>>, world: &World, lost: Option<SetId>, ran: &mut Ran) -> usize {
    let story = match story {
        Some(Ok(story)) => story,
        Some(Err(error)) => panic!("a life must not end before its time: {error}"),
        None => return 0,
    };
    world.tally.packets.fetch_add(1, Relaxed);
    let lives_on = story.account.as_ref().map(|account| account.number.set_id());
    let open_us = if lives_on.is_some() && lives_on == lost { &mut ran.lost_open_us } else { &mut ran.open_us };
    open_us.extend(story.open_us);
    ran.accounts.extend(story.account);
    ran.create_us.extend(story.create_us);
    ran.writes += story.writes;
    ran.fullest = ran.fullest.max(story.fullest);
    ran.visits += story.visits;
    story.visits
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::books::{self, Balance};
    use crate::packet::Packet;
    use crate::tally::Tally;
    use ordermint::testing::{FaultControl, Faulty};
    use ordermint::{BreakerSettings, Error, MemoryReplica, OrderStore, Quorum, SetConfig};
    use std::sync::atomic::AtomicU64;
    use std::time::Duration;

    /// Three replicas in memory, two of which, or all, can be made to misbehave; what they hold stays when they are closed.
    fn replicas(set: SetId, faults: [&FaultControl; 3]) -> SetConfig {
        let mut replicas = SetConfig::new(set);
        for faults in faults {
            let (memory, faults) = (MemoryReplica::new(), faults.clone());
            replicas = replicas.replica_with(move |_| Ok(Faulty::new(Arc::new(memory.clone()), faults.clone())));
        }
        replicas
    }

    fn options(packets: usize) -> Options {
        Options { packets, ..Options::default() }
    }

    /// All that the store holds beside all that was told.
    fn balance(store: &OrderStore, accounts: &[Account]) -> Result<Balance, Error> {
        let mut found = Vec::new();
        for set in store.status().sets {
            for day in store.days(set.id).wait()? {
                for order in store.scan(set.id, day) {
                    let order = order?;
                    found.push((order.number, Packet::decode(&order.value).map_err(|garbled| garbled.to_string())));
                }
            }
        }
        Ok(books::check(accounts, found))
    }

    #[test]
    fn packets_sent_while_a_set_is_lost_balance_and_nobody_is_turned_away() -> Result<(), Error> {
        let [lost, well] = [SetId::new(7)?, SetId::new(8)?];
        let (faults, none) = (FaultControl::new(), FaultControl::new());
        let breaker = BreakerSettings::new()
            .open_time(Duration::from_millis(100), Duration::from_millis(200))
            .ramp(Duration::from_millis(100), 10);
        let store = OrderStore::builder()
            .quorum(Quorum::new(3, 2, 2)?)
            .deadline(Duration::from_millis(500))
            .breaker(breaker)
            .add_set(replicas(lost, [&faults; 3]))
            .add_set(replicas(well, [&none; 3]))
            .open()?;
        let world = Arc::new(World { store: store.clone(), tally: Tally::default() });
        let outage = Outage { set: lost, faults, hangs_for: Duration::from_millis(700) };
        let ran = run(&world, &options(1_000), Some(outage), &AtomicBool::new(false)).expect("a runtime can be had");
        let marks: Vec<&str> = ran.marks.iter().map(|mark| mark.what.as_str()).collect();
        let expected =
            ["SET 007 hangs", "SET 007 fails", "the disks of SET 007 are mended", "all replicas of SET 007 vote again"];
        assert!(marks.iter().zip(expected).all(|(mark, expected)| mark.starts_with(expected)), "{marks:?}");
        assert_eq!(marks.len(), expected.len());
        assert_eq!(world.tally.said(), [""; 0]);
        assert_eq!(ran.accounts.len(), 1_000);
        assert!(world.tally.told_away.load(Relaxed) > 0, "somebody was told that the SET is away");
        let report = store.reconcile().wait()?;
        assert!(report.is_clean(), "{report:?}");
        let balance = balance(&store, &ran.accounts)?;
        assert_eq!(balance.faults, []);
        assert!(balance.is_balanced() && balance.received.0 > 0, "{balance:?}");
        Ok(())
    }

    #[test]
    fn writes_in_doubt_are_settled_and_the_books_balance() -> Result<(), Error> {
        let set = SetId::new(7)?;
        let faults = [FaultControl::new(), FaultControl::new()];
        let replicas = replicas(set, [&FaultControl::new(), &faults[0], &faults[1]]);
        let store = OrderStore::builder().quorum(Quorum::new(3, 2, 2)?).add_set(replicas);
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
            let ran = run(&world, &options(1_000), None, &AtomicBool::new(false));
            over.store(true, Relaxed);
            ran.expect("a runtime can be had")
        });
        assert_eq!(world.tally.said(), [""; 0]);
        assert!(world.tally.ambiguous.load(Relaxed) > 0, "the replicas stopped while packets were under way");
        let balance = balance(&store, &ran.accounts)?;
        assert_eq!(balance.faults, []);
        assert!(balance.is_balanced() && ran.accounts.len() == 1_000, "{balance:?}");
        Ok(())
    }

    #[test]
    fn a_run_that_is_stopped_before_it_begins_sends_nothing() -> Result<(), Error> {
        let set = SetId::new(7)?;
        let store = OrderStore::builder().add_set(SetConfig::new(set).in_memory(3)).open()?;
        let world = Arc::new(World { store, tally: Tally::default() });
        let ran = run(&world, &options(300), None, &AtomicBool::new(true)).expect("a runtime can be had");
        assert_eq!((ran.accounts.len(), ran.visits), (0, 0));
        Ok(())
    }
}
