//! One SET after the other falls sick and recovers, under load; then all that stands is held against what callers were told.

use crate::callers::{Callers, payload};
use crate::common::{how_many, say};
use crate::world::{PROBES, SETS, TRIP_COUNT, World, ends, id, status_of, until};
use ordermint::{BreakerState, OrderNumber, OrderStore, ReplicaState};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How a SET falls sick.
pub(crate) struct Trouble {
    pub(crate) sicken: fn(&World, u8),
    /// Beside healing its device.
    pub(crate) mend: fn(&World, u8),
    /// Its replicas fail, and have to be brought back.
    pub(crate) away: bool,
}

/// How long a SET stays sick once its breaker is open: some probes fail meanwhile.
const SICK: Duration = Duration::from_secs(1);

pub(crate) fn all_sets_in_turn(trouble: &Trouble) {
    let world = World::new();
    let store = world.open();
    ends(store.compared()).expect("nothing to compare");
    let callers = Callers::start(&store, how_many("ORDERMINT_SICK_CALLERS", 600));
    for set in 0..SETS {
        one_set(&world, &store, &callers, trouble, set);
    }
    let told = callers.stop();
    assert_eq!(told.failed, [], "creates failed");
    let acknowledged: BTreeMap<OrderNumber, u64> = told.placed.iter().copied().collect();
    assert_eq!(acknowledged.len(), told.placed.len(), "a number was given out twice");
    let start = Instant::now();
    if !told.excused.is_empty() {
        say(&format!("{} creates failed while the machine stood still: SKIPPED in what follows", told.excused.len()));
    }
    stands(&store, &acknowledged, &told.excused);
    let looked = start.elapsed();
    let (sent, given_up) = (acknowledged.len(), told.superseded.len());
    say(&format!("{sent} orders, {given_up} numbers given up; none failed, none is there twice (looked for {looked:?})"));
    ends(store.close()).expect("all are well");
}

fn one_set(world: &World, store: &OrderStore, callers: &Callers, trouble: &Trouble, sick: u8) {
    let orders_there = || callers.told(|told| told.placed.iter().filter(|(number, _)| number.set_id() == id(sick)).count());
    until_it_takes_orders(store, sick, orders_there);
    let (opened_before, given_up) = (status_of(store, sick).writes_opened, callers.told(|told| told.superseded.len()));

    world.slow.only(Some(sick)).expect("the shim is told");
    let sampled = Sampled::of(store, sick);
    (trouble.sicken)(world, sick);
    let start = Instant::now();
    // Where the replicas fail at once there may be too few failures for the breaker: the SET then refuses what it is sent.
    until("it is left alone", store, || {
        let status = status_of(store, sick);
        status.writes_opened > opened_before || status.closed_for_creates.is_some()
    });
    // Looked at late, never early.
    let (left_at, left_after) = (Instant::now(), start.elapsed());
    let in_flight = sampled.most();
    std::thread::sleep(SICK);
    let opened = status_of(store, sick).writes_opened - opened_before;

    (trouble.mend)(world, sick);
    world.slow.heal().expect("the shim is told");
    let start = Instant::now();
    if trouble.away {
        bring_back(store, sick);
    }
    until_it_takes_orders(store, sick, orders_there);
    let taken_after = start.elapsed();
    until("every void is delivered", store, || store.status().sets.iter().all(|set| set.notes_waiting == 0));
    let delivered_after = start.elapsed();
    assert_eq!(store.status().alarms, []);
    let report = store.reconcile().wait().expect("a walk");
    assert!(report.is_clean(), "{report:?}");

    let (failed, numbers) = callers.told(|told| (told.failed.clone(), told.superseded[given_up..].to_vec()));
    let elsewhere = numbers.iter().filter(|(number, _)| number.set_id() != id(sick)).count();
    let here = numbers.len() - elsewhere;
    let sent_after = numbers.iter().filter(|(number, began)| number.set_id() == id(sick) && *began > left_at).count();
    say(&format!(
        "SET {sick}: left alone after {left_after:?} with {in_flight} seen in flight, breaker opened {opened} times; {} numbers given up, \
         {sent_after} of them called after that, {elsewhere} of other SETs; takes orders again after {taken_after:?}, all voids delivered after {delivered_after:?}",
        numbers.len(),
    ));
    assert_eq!(failed, [], "creates failed");
    let rounds = (status_of(store, sick).writes_opened - opened_before) as usize;
    let most = callers.count() + TRIP_COUNT + PROBES * rounds;
    assert!(here <= most, "{here} numbers of the sick SET were given up: more than were in flight and opened its breaker");
    // What was called before that and was given up was in flight then. Should this thread be late to mend it, there is one round of
    // probes more, or two.
    let more_rounds = rounds.saturating_sub(2);
    assert!(
        sent_after <= TRIP_COUNT + PROBES * more_rounds,
        "{sent_after} of {} numbers given up were sent to a SET that was left alone",
        numbers.len()
    );
    for (number, _) in numbers {
        assert_eq!(ends(store.get(number)), Ok(None), "{number} was given up and comes to life");
    }
}

/// Brings back all replicas of a SET that failed: those that were given nothing to write since are well.
fn bring_back(store: &OrderStore, set: u8) {
    until("all replicas vote again", store, || {
        let replicas = status_of(store, set).replicas;
        for replica in replicas.iter().filter(|replica| replica.state == ReplicaState::Out) {
            store.bring_back_replica(id(set), replica.index).expect("it is out");
        }
        replicas.iter().all(|replica| replica.state == ReplicaState::Voting)
    });
}

/// What was in flight in a SET, looked at again and again by a thread of its own.
struct Sampled {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<usize>,
}

impl Sampled {
    fn of(store: &OrderStore, set: u8) -> Sampled {
        let (store, ended) = (store.clone(), Arc::<AtomicBool>::default());
        let until = Arc::clone(&ended);
        let mut most = status_of(&store, set).in_flight;
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::SeqCst) {
                most = most.max(status_of(&store, set).in_flight);
                std::thread::sleep(Duration::from_micros(200));
            }
            most
        });
        Sampled { ended, thread }
    }

    fn most(self) -> usize {
        self.ended.store(true, Ordering::SeqCst);
        self.thread.join().expect("it only looks")
    }
}

/// Its breaker is closed, for its whole share, and orders go there.
fn until_it_takes_orders(store: &OrderStore, set: u8, orders_there: impl Fn() -> usize) {
    until("its breaker closes", store, || status_of(store, set).writes == BreakerState::Closed);
    let before = orders_there();
    until("it takes orders", store, || orders_there() > before);
}

/// Exactly the acknowledged orders are there, and perhaps some of the excused.
fn stands(store: &OrderStore, acknowledged: &BTreeMap<OrderNumber, u64>, excused: &[u64]) {
    let mut count = 0;
    for set in 0..SETS {
        for day in ends(store.days(id(set))).expect("all are well") {
            for order in store.scan(id(set), day) {
                let order = order.expect("all are well");
                if excused.iter().any(|nr| order.value == payload(*nr)) {
                    continue;
                }
                let nr = acknowledged.get(&order.number).unwrap_or_else(|| panic!("{order:?} was never acknowledged"));
                assert_eq!(order.value, payload(*nr), "{}", order.number);
                count += 1;
            }
        }
    }
    assert_eq!(count, acknowledged.len(), "acknowledged orders are gone");
}
