//! The process is killed between two attempts, without a request key.

use crate::bench::{
    World, all_orders, create_in, ends, held, id, none_twice, until, until_all_are_well, until_at_rest, until_nothing_is_owed,
};
use ordermint::{CreateOptions, Error, Kind, OrderNumber, OrderStore, Pending, Placed};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(5);

fn some(store: &OrderStore, count: usize) -> Vec<Pending<Placed>> {
    (0..count).map(|at| store.create_with(format!("order {at}"), CreateOptions::new().deadline(PATIENCE))).collect()
}

/// Every number that a replica holds is an order, or void on so many that it stays so; no order stands there twice.
fn all_is_settled(world: &World, store: &OrderStore) {
    until_nothing_is_owed(store);
    for set in &world.sets {
        for number in held(set).into_keys() {
            match ends(store.get(number)).expect("all are well") {
                Some(_) => assert!(world.alive_on(number) >= 2, "{number} is shown, and on too few replicas"),
                None => assert!(world.void_on(number) >= 2, "{number} reads as absent, and may come to life"),
            }
        }
    }
    let orders = all_orders(store);
    none_twice(&orders);
    for set in &world.sets {
        for (number, kind) in held(set) {
            assert_eq!(kind == Kind::Order, orders.contains_key(&number), "{number}");
        }
    }
}

#[test]
fn killed_while_the_first_attempt_is_in_doubt_every_number_ends_as_an_order_or_void() {
    // On so many replicas the first write is done when the process dies.
    for done in 0..=3 {
        let world = World::near_and_far(7, &[8]);
        let store = world.patient().attempt_timeout(PATIENCE).open().expect("the store opens");
        let leased = create_in(&store, 7, "leased");
        for (at, faults) in world.set(7).faults().into_iter().enumerate() {
            if at < done { faults.hang_answers() } else { faults.hang_applies() }
        }
        let under_way = some(&store, 10);
        // All that can land does.
        std::thread::sleep(Duration::from_millis(30));
        let killed = world.kill(store);
        let store = world.patient().open().expect("the store opens");
        killed.bury();
        drop(under_way);
        all_is_settled(&world, &store);
        assert!(all_orders(&store).contains_key(&leased.number), "an acknowledged order is gone");
        let placed: Vec<Placed> = some(&store, 10).into_iter().map(|pending| ends(pending).expect("created")).collect();
        assert!(placed.iter().all(|placed| placed.number > leased.number || placed.number.set_id() != leased.number.set_id()));
    }
}

#[test]
fn killed_while_the_second_attempt_hangs_too_no_order_stands_twice() {
    for done in 0..=3 {
        let world = World::near_and_far(7, &[8]);
        let store = world.patient().attempt_timeout(Duration::from_millis(20)).open().expect("the store opens");
        create_in(&store, 7, "leased");
        for (at, faults) in world.set(7).faults().into_iter().enumerate() {
            if at < done { faults.hang_answers() } else { faults.hang_applies() }
        }
        world.set(8).hang();
        let under_way = some(&store, 10);
        std::thread::sleep(Duration::from_millis(100));
        let killed = world.kill(store);
        let store = world.patient().open().expect("the store opens");
        killed.bury();
        drop(under_way);
        all_is_settled(&world, &store);
    }
}

#[test]
fn closed_while_a_set_hangs_every_number_ends_as_an_order_or_void() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().attempt_timeout(PATIENCE).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let under_way = some(&store, 20);
    let closed = world.close(store);
    let store = world.patient().open().expect("the store opens");
    // What hung comes now, and is refused.
    closed.bury();
    for pending in under_way {
        let answer = ends(pending);
        assert!(matches!(answer, Err(Error::Ambiguous { .. })), "{answer:?}");
    }
    all_is_settled(&world, &store);
}

/// The order placed instead was acknowledged: what it says of the first number holds for the next process too, from the start.
#[test]
fn killed_after_the_second_attempt_the_first_number_is_never_seen_again() {
    for done in 0..=3 {
        let world = World::near_and_far(7, &[8]);
        let store = world.patient().attempt_timeout(Duration::from_millis(20)).open().expect("the store opens");
        create_in(&store, 7, "leased");
        for (at, faults) in world.set(7).faults().into_iter().enumerate() {
            if at < done { faults.hang_answers() } else { faults.hang_applies() }
        }
        let placed: Vec<Placed> = some(&store, 10).into_iter().map(|pending| ends(pending).expect("placed elsewhere")).collect();
        let killed = world.kill(store);
        let store = world.patient().open().expect("the store opens");
        killed.bury();
        for placed in &placed {
            assert!(ends(store.get(placed.number)).expect("all are well").is_some(), "an acknowledged order is gone");
            for number in &placed.superseded {
                assert_eq!(ends(store.get(*number)), Ok(None), "{number} was given up, and comes to life");
            }
        }
        all_is_settled(&world, &store);
    }
}

/// Nobody but that SET knows of the first number. Until it can be asked the number may be seen; then it ends, in whatever process.
#[test]
fn killed_before_the_void_and_opened_without_the_set_that_holds_the_note_it_is_heeded_once_that_set_returns() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().attempt_timeout(Duration::from_millis(20)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    // All replicas hold the first number, and nobody hears of it, nor takes its void.
    until_at_rest(&store, 7);
    world.set(7).hang_answers();
    let placed: Vec<Placed> = some(&store, 1).into_iter().map(|pending| ends(pending).expect("placed elsewhere")).collect();
    let given_up: Vec<OrderNumber> = placed.iter().flat_map(|placed| placed.superseded.clone()).collect();
    assert!(!given_up.is_empty() && given_up.iter().all(|number| number.set_id() == id(7)));
    until("all replicas hold the first number", || given_up.iter().all(|number| world.alive_on(*number) == 3));
    let killed = world.kill(store);
    assert!(given_up.iter().all(|number| world.alive_on(*number) == 3 && world.void_on(*number) == 0), "not void yet");

    world.set(8).leave();
    let store = world.patient().open().expect("the store opens");
    killed.bury();
    let report = store.reconcile().wait().expect("a walk ends");
    assert_eq!((report.unreachable, report.voided), (vec![id(8)], 0));
    // As the documents say: nobody knows better.
    for number in &given_up {
        assert!(ends(store.get(*number)).expect("read").is_some(), "{number} is hidden, and by whom?");
    }
    world.set(8).come_back();
    for index in 0..3 {
        store.bring_back_replica(id(8), index).expect("begun");
    }
    until_all_are_well(&store);
    // By itself, without being asked to.
    until("all replicas hold the voids", || given_up.iter().all(|number| world.void_on(*number) == 3));
    until_nothing_is_owed(&store);
    assert_eq!(store.status().alarms, []);
    all_is_settled(&world, &store);
    let orders = all_orders(&store);
    assert!(placed.iter().all(|placed| orders.contains_key(&placed.number)), "an acknowledged order is gone");
}
