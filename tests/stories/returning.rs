//! Replicas that leave while the store goes on, and return.

use crate::bench::*;
use ordermint::{Error, Group, MemoryReplica, NotAttempted, OrderStore, Replica, ReplicaState, SetConfig, SetId};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

pub(crate) fn take_out(store: &OrderStore, index: u8) {
    let set = status(store).id;
    store.take_out_replica(set, index).expect("it is in use");
    assert!(is_out(&replica(store, index.into())), "at once");
    until("it is closed", || !reason(store, index).contains("being closed"));
}

pub(crate) fn bring_back(store: &OrderStore, index: u8) {
    store.bring_back_replica(status(store).id, index).expect("it is away");
}

/// What becomes of those who return.
pub(crate) fn comes_to(store: &OrderStore, index: u8) -> ReplicaState {
    until("its return ends", || replica(store, index.into()).state != ReplicaState::Returning);
    replica(store, index.into()).state
}

pub(crate) fn returns(store: &OrderStore, index: u8) {
    bring_back(store, index);
    assert_eq!(comes_to(store, index), ReplicaState::Voting, "{:?}", replica(store, index.into()));
}

pub(crate) fn reason(store: &OrderStore, index: u8) -> String {
    replica(store, index.into()).reason.unwrap_or_default()
}

/// All voters hold the same of what older epochs wrote, and nobody lacks anything that is known.
pub(crate) fn until_all_agree(store: &OrderStore) {
    until("nothing is missed", || status(store).replicas.iter().all(|replica| replica.missed == 0));
    until_nobody_is_busy(store);
    until("no range is dirty", || status(store).compared.is_some_and(|compared| compared.dirty == 0));
    assert_eq!(ends(store.compared()).expect("compared").dirty, 0);
}

#[test]
fn a_replica_leaves_and_returns_under_load_and_all_that_was_acknowledged_is_on_it() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.compared()).expect("compared");
    let epoch = status(&store).epoch;
    let acknowledged = Mutex::new(Acknowledged::new());
    let over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for thread in 0..3 {
            let (store, acknowledged, over) = (&store, &acknowledged, &over);
            scope.spawn(move || {
                for at in 0.. {
                    let payload = format!("{thread} {at}");
                    let number = ends(store.create(&payload)).expect("two of three are there").number;
                    assert_eq!(ends(store.get(number)).expect("read").expect("acknowledged").value, payload);
                    assert_eq!(acknowledged.lock().unwrap().insert(number, payload), None, "a number came twice");
                    if over.load(Ordering::SeqCst) {
                        return;
                    }
                    std::thread::sleep(Duration::from_micros(300));
                }
            });
        }
        let so_far = || acknowledged.lock().unwrap().len();
        for round in 0..4u8 {
            let index = round % 3;
            let begun = so_far();
            until("some were made", || so_far() > begun + 100);
            take_out(&store, index);
            let begun = so_far();
            until("some were made without it", || so_far() > begun + 100);
            assert!(replica(&store, index.into()).missed > 0);
            returns(&store, index);
        }
        over.store(true, Ordering::SeqCst);
    });
    assert_eq!(status(&store).epoch, epoch + 4, "each return is an epoch");
    until_all_agree(&store);
    let acknowledged = acknowledged.into_inner().unwrap();
    assert!(acknowledged.keys().all(|number| bench.holders(*number) == 3));
    assert_eq!(status(&store).orders_today, acknowledged.len() as u64);
    all_are_there(&store, &acknowledged);
    assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len());
    ends(store.close()).expect("nothing was out");
    let store = bench.open();
    assert_eq!(ends(store.compared()).expect("compared").dirty, 0);
    all_are_there(&store, &acknowledged);
}

#[test]
fn who_may_leave_and_who_may_return() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    bench.gone[2].store(true, Ordering::SeqCst);
    let store = bench.open();
    let set = bench.set;
    let wrong = |index: u8, state| Err(Error::WrongState { set, index, state });
    assert_eq!(store.take_out_replica(set, 3), Err(Error::NoSuchReplica { set, index: 3, of: 3 }));
    assert_eq!(store.bring_back_replica(set, 200), Err(Error::NoSuchReplica { set, index: 200, of: 3 }));
    let other = SetId::new(9).expect("an id");
    assert_eq!(store.take_out_replica(other, 0), Err(Error::UnknownSet { set: other }));
    assert_eq!(store.take_out_replica(set, 0), Err(Error::StillNeeded { set, left: 1, need: 2 }));
    assert_eq!(store.take_out_replica(set, 2), wrong(2, ReplicaState::Missing));
    assert_eq!(store.bring_back_replica(set, 0), wrong(0, ReplicaState::Voting));
    assert_eq!(store.accept_loss(set), Err(Error::NothingLost { set }));
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Missing, "it is still gone");
    bench.gone[2].store(false, Ordering::SeqCst);
    returns(&store, 2);
    take_out(&store, 0);
    assert_eq!(store.take_out_replica(set, 0), wrong(0, ReplicaState::Out), "twice");
    assert_eq!(store.take_out_replica(set, 1), Err(Error::StillNeeded { set, left: 1, need: 2 }));
    ends(store.create("goes on")).expect("two are enough");
    ends(store.close()).expect("one that was taken out is no trouble");
    assert_eq!(store.take_out_replica(set, 1), Err(Error::Closed));
    assert_eq!(store.bring_back_replica(set, 0), Err(Error::Closed));
    assert_eq!(store.accept_loss(set), Err(Error::Closed));
}

#[test]
fn a_replica_that_failed_returns_with_all_that_it_missed() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 50, &mut acknowledged);
    bench.faults[1].fail_applies(1);
    create_some(&store, "fails on one", 50, &mut acknowledged);
    until("it is out", || is_out(&replica(&store, 1)));
    create_some(&store, "without it", 50, &mut acknowledged);
    returns(&store, 1);
    create_some(&store, "with it", 50, &mut acknowledged);
    until_all_agree(&store);
    assert!(acknowledged.keys().all(|number| bench.holders(*number) == 3));
    // Taking out one that failed frees its directory; it is not used before or after.
    bench.faults[2].fail_after_apply(1);
    create_some(&store, "fails on another", 5, &mut acknowledged);
    until("it is out", || is_out(&replica(&store, 2)));
    take_out(&store, 2);
    returns(&store, 2);
    until_all_agree(&store);
    all_are_there(&store, &acknowledged);
}

/// The order is on replica 1 alone: replica 0 never stored it, and replica 2, which acknowledged it, returns without it.
#[test]
fn an_order_that_a_returning_replica_has_silently_lost_is_never_absent() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.compared()).expect("compared");
    let number = ends(store.create("kept by one")).expect("created").number;
    until("all have it", || bench.holders(number) == 3);
    bench.faults[0].forget(number);
    for _ in 0..2 {
        take_out(&store, 2);
        bench.faults[2].forget(number);
        bring_back(&store, 2);
        for _ in 0..200 {
            assert_eq!(ends(store.get(number)).expect("read").expect("acknowledged").value, "kept by one");
        }
        assert_eq!(comes_to(&store, 2), ReplicaState::Voting);
        until("they were compared", || status(&store).compared.is_some());
        assert_eq!(status(&store).compared.map(|compared| compared.dirty), Some(1), "the loss is found, though of this process");
        for _ in 0..50 {
            assert_eq!(ends(store.get(number)).expect("read").expect("acknowledged").value, "kept by one");
            assert_eq!(scanned(&store, bench.set, today()).len(), 1);
        }
    }
}

/// Replica 1 is slow, so that the comparison has not even begun when the first reads come.
#[test]
fn from_the_moment_it_votes_a_returning_replica_is_not_believed_alone() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.compared()).expect("compared");
    let number = ends(store.create("kept by one")).expect("created").number;
    until("all have it", || bench.holders(number) == 3);
    bench.faults[0].forget(number);
    take_out(&store, 2);
    bench.faults[2].forget(number);
    bench.faults[1].delay_reads(Duration::from_millis(20));
    let mut reads: Vec<_> = (0..20).map(|_| store.get(number)).collect();
    returns(&store, 2);
    reads.extend((0..12).map(|_| store.get(number)));
    for read in reads {
        assert_eq!(ends(read).expect("read").expect("acknowledged").value, "kept by one");
    }
}

#[test]
fn one_that_cannot_return_says_why_within_the_time_and_can_try_again() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().open_timeout(Duration::from_secs(2)).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 10, &mut acknowledged);
    bench.faults[1].hang_applies();
    create_some(&store, "beside", 10, &mut acknowledged);
    store.take_out_replica(bench.set, 1).expect("in use");
    bring_back(&store, 1);
    assert_eq!(
        store.bring_back_replica(bench.set, 1).map_err(|error| error.to_string()),
        Err("replica 1 of SET 007 is returning".into())
    );
    assert!(matches!(store.take_out_replica(bench.set, 1), Err(Error::WrongState { .. })));
    assert_eq!(comes_to(&store, 1), ReplicaState::Out);
    // On a busy machine the time is up before it is seen to hang.
    let why = reason(&store, 1);
    assert!(why.contains("hung") || why.contains("no answer within 2000 ms"), "{why}");
    create_some(&store, "goes on", 10, &mut acknowledged);
    bench.release_all();
    returns(&store, 1);
    until_all_agree(&store);
    all_are_there(&store, &acknowledged);
}

#[test]
fn who_does_not_take_the_new_epoch_is_out_and_too_few_leave_the_old_one_in_use() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 10, &mut acknowledged);
    let epoch = status(&store).epoch;
    // The newcomer itself.
    take_out(&store, 2);
    bench.faults[2].fail_claims(1);
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Out);
    create_some(&store, "two took it", 10, &mut acknowledged);
    // A voter: the newcomer takes its place.
    bench.faults[1].fail_claims(1);
    returns(&store, 2);
    assert!(is_out(&replica(&store, 1)));
    assert!(status(&store).epoch > epoch);
    let epoch = status(&store).epoch;
    create_some(&store, "the other two", 10, &mut acknowledged);
    // Both voters: nobody is left, until they have all returned.
    bench.faults[0].fail_claims(1);
    bench.faults[2].fail_claims(1);
    bring_back(&store, 1);
    assert_eq!(comes_to(&store, 1), ReplicaState::Out);
    assert!(reason(&store, 1).contains("claimed on 1"), "{}", reason(&store, 1));
    assert_eq!(status(&store).epoch, epoch);
    assert!(matches!(ends(store.create("no")), Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } })));
    bring_back(&store, 0);
    until("it waits for another", || reason(&store, 0).contains("waits for others"));
    returns(&store, 1);
    assert_eq!(comes_to(&store, 0), ReplicaState::Voting);
    create_some(&store, "two again", 10, &mut acknowledged);
    returns(&store, 2);
    until_all_agree(&store);
    all_are_there(&store, &acknowledged);
}

/// As a process leaves it that is killed after some have taken the epoch of a return.
#[test]
fn a_claim_by_halves_hinders_nobody() {
    for half in 1..7u8 {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "before", 20, &mut acknowledged);
        take_out(&store, 2);
        create_some(&store, "without it", 20, &mut acknowledged);
        let epoch = status(&store).epoch;
        drop(store);
        for index in (0..3).filter(|index| half >> index & 1 == 1) {
            (*bench.memory[index]).clone().claim(epoch + 1).expect("memory takes it");
        }
        let store = bench.open();
        assert_eq!(status(&store).epoch, epoch + 2);
        assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting));
        create_some(&store, "afterwards", 20, &mut acknowledged);
        all_are_there(&store, &acknowledged);
    }
}

#[test]
fn what_another_coordinator_has_claimed_does_not_return() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    take_out(&store, 2);
    let epoch = status(&store).epoch;
    (*bench.memory[2]).clone().claim(epoch + 5).expect("memory takes it");
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Out);
    assert!(reason(&store, 2).contains("another coordinator"), "{}", reason(&store, 2));
    ends(store.create("goes on")).expect("two are there");
}

/// Nobody else could tell: replica 2, which was away at open, has seen more of replica 0 than came back there.
#[test]
fn a_returning_replica_is_a_witness_of_the_roll_back_of_another() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let store = bench.open();
    create_some(&store, "before", 20, &mut acknowledged);
    drop(store);
    let away = (*bench.memory[2]).clone();
    let mut group = Group::new(away.epoch());
    group.set_peer_marks(vec![1_000, away.marks().peers[1], 0]);
    away.apply(&group).expect("memory takes it");
    bench.gone[2].store(true, Ordering::SeqCst);
    let store = bench.open();
    create_some(&store, "unaware", 20, &mut acknowledged);
    bench.gone[2].store(false, Ordering::SeqCst);
    returns(&store, 2);
    assert_eq!(replica(&store, 0).state, ReplicaState::Limbo);
    assert!(reason(&store, 0).contains("replica 2 knows that group 1000"), "{}", reason(&store, 0));
    until("it has what it missed", || replica(&store, 2).missed == 0);
    all_are_there(&store, &acknowledged);
    drop(store);
    let store = bench.open();
    assert_eq!(replica(&store, 0).state, ReplicaState::Limbo, "for good");
    store.accept_loss(bench.set).expect("it is in limbo");
    assert_eq!(comes_to(&store, 0), ReplicaState::Voting);
    until_all_agree(&store);
    drop(store);
    assert_eq!(replica(&bench.open(), 0).state, ReplicaState::Voting, "its groups go on above the thousandth");
}

#[test]
fn a_set_that_had_too_few_at_open_wakes_when_they_return_and_no_number_comes_twice() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let store = bench.open();
    create_some(&store, "before", 1_500, &mut acknowledged);
    drop(store);
    bench.gone[1].store(true, Ordering::SeqCst);
    bench.gone[2].store(true, Ordering::SeqCst);
    let store = bench.open();
    assert_eq!(status(&store).epoch, 0);
    assert!(matches!(ends(store.create("no")), Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } })));
    bench.gone[1].store(false, Ordering::SeqCst);
    returns(&store, 1);
    assert!(status(&store).epoch > 0);
    until("it takes orders", || status(&store).closed_for_creates.is_none());
    create_some(&store, "awake", 1_500, &mut acknowledged);
    bench.gone[2].store(false, Ordering::SeqCst);
    returns(&store, 2);
    create_some(&store, "whole", 1_500, &mut acknowledged);
    until_all_agree(&store);
    all_are_there(&store, &acknowledged);
}

#[test]
fn a_set_in_limbo_reads_and_mints_again_once_its_loss_is_accepted() {
    for in_limbo in [2, 3] {
        let bench = Bench::new(3, 2, 2);
        let mut acknowledged = Acknowledged::new();
        let store = bench.open();
        create_some(&store, "before", 1_500, &mut acknowledged);
        ends(store.raise_floor("2026-11-20".parse().expect("a day"))).expect("raised");
        drop(store);
        for index in 0..in_limbo {
            (*bench.memory[index]).clone().banish("it came back with less").expect("memory takes it");
            if in_limbo == 3 {
                // Their marks are what they lost; the orders still tell which numbers were given out.
                bench.plant_meta(index, &format!("lease/{}", today()), &0u64.to_be_bytes());
            }
        }
        let store = bench.open();
        assert_eq!(replica(&store, 0).state, ReplicaState::Limbo);
        assert!(matches!(store.bring_back_replica(bench.set, 0), Err(Error::WrongState { state: ReplicaState::Limbo, .. })));
        let first = *acknowledged.keys().next().expect("one");
        assert!(matches!(ends(store.get(first)), Err(Error::QuorumLost { .. })));
        assert!(matches!(ends(store.create("no")), Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } })));
        store.accept_loss(bench.set).expect("there is a loss");
        for index in 0..3 {
            assert_eq!(comes_to(&store, index), ReplicaState::Voting, "{}", reason(&store, index));
        }
        all_are_there(&store, &acknowledged);
        until("it takes orders", || status(&store).closed_for_creates.is_none());
        create_some(&store, "afterwards", 1_500, &mut acknowledged);
        assert!(matches!(
            ends(store.scan_page(bench.set, "2026-11-20".parse().expect("a day"), None, 1)),
            Err(Error::DayDropped { .. })
        ));
        until_all_agree(&store);
        assert_eq!(store.accept_loss(bench.set), Err(Error::NothingLost { set: bench.set }));
        drop(store);
        let store = bench.open();
        assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting), "for good");
        all_are_there(&store, &acknowledged);
    }
}

#[test]
fn one_in_limbo_beside_a_majority_is_readmitted_while_orders_are_taken() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let store = bench.open();
    create_some(&store, "before", 100, &mut acknowledged);
    drop(store);
    (*bench.memory[1]).clone().banish("it came back with less").expect("memory takes it");
    let store = bench.open();
    create_some(&store, "without it", 100, &mut acknowledged);
    store.accept_loss(bench.set).expect("one is in limbo");
    create_some(&store, "meanwhile", 100, &mut acknowledged);
    assert_eq!(comes_to(&store, 1), ReplicaState::Voting);
    until_all_agree(&store);
    assert!(acknowledged.keys().all(|number| bench.holders(*number) == 3));
}

/// The second opening of replica 2 hangs, until the test is over.
#[test]
fn close_does_not_wait_for_a_replica_that_hangs_in_its_return() {
    let bench = Bench::new(3, 2, 2);
    let (opened, blocked) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(true)));
    let mut config = SetConfig::new(bench.set);
    for index in 0..3usize {
        let (memory, opened, blocked) = (Arc::clone(&bench.memory[index]), Arc::clone(&opened), Arc::clone(&blocked));
        config = config.replica_with(move |_| {
            while index == 2 && opened.fetch_add(1, Ordering::SeqCst) > 0 && blocked.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_millis(1));
            }
            Ok(Arc::new(MemoryReplica::clone(&memory)))
        });
    }
    let store = OrderStore::builder().quorum(bench.quorum).clock(bench.clock.clone()).add_set(config).open().expect("opens");
    take_out(&store, 2);
    bring_back(&store, 2);
    ends(store.create("meanwhile")).expect("two are there");
    ends(store.close()).expect("nothing in use was hung");
    assert_eq!(replica(&store, 2).state, ReplicaState::Returning);
    blocked.store(false, Ordering::SeqCst);
}

#[test]
fn close_ends_while_a_claim_waits_for_a_replica_that_hangs() {
    let bench = Bench::new(3, 2, 2);
    // The one that does not hang ends within it.
    let store = bench.builder().close_timeout(Duration::from_secs(3)).open().expect("opens");
    ends(store.create("before")).expect("created");
    take_out(&store, 2);
    bench.faults[1].hang_applies();
    let created = store.create("hangs on one");
    until("it hangs", || replica(&store, 1).queued > 0);
    bring_back(&store, 2);
    until("it takes an epoch", || reason(&store, 2).contains("epoch"));
    match ends(store.close()) {
        Err(Error::System { message, .. }) => assert!(message.contains("replica 1"), "{message}"),
        other => panic!("{other:?}"),
    }
    assert!(ends(created).is_err());
    bench.release_all();
}
