//! What becomes of the number that was tried first.

use crate::bench::{World, all_orders, create_in, ends, id, none_twice, until, until_at_rest, until_nothing_is_owed};
use ordermint::{CreateOptions, Error, Group, Kind, Lookup, OrderStore, Pending, Placed, Replica, Resolved, Write};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(20);

/// Creates that meet a SET which hangs, and are placed elsewhere.
fn placed_elsewhere(world: &World, store: &OrderStore, sick: u16, count: usize) -> Vec<Placed> {
    world.set(sick).hang();
    let under_way: Vec<Pending<Placed>> =
        (0..count).map(|at| store.create_with(format!("order {at}"), CreateOptions::new().deadline(PATIENCE))).collect();
    under_way.into_iter().map(|pending| ends(pending).expect("another SET is well")).collect()
}

fn superseded(placed: &[Placed]) -> Vec<&Placed> {
    placed.iter().filter(|placed| !placed.superseded.is_empty()).collect()
}

#[test]
fn a_first_write_that_lands_before_its_void_is_never_seen_and_ends() {
    let world = World::new(&[7, 8]);
    // What goes to the other SET first is stored there, also on a busy machine.
    let store = world.patient().attempt_timeout(Duration::from_secs(2)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    let placed = placed_elsewhere(&world, &store, 7, 64);
    let moved = superseded(&placed);
    assert!(!moved.is_empty(), "half of them met the SET that hangs");
    for placed in &moved {
        assert_eq!((placed.number.set_id(), placed.attempts), (id(8), 2));
        assert_eq!(placed.superseded.len(), 1);
        assert_eq!(placed.superseded[0].set_id(), id(7));
    }
    // All that hung lands now, behind the back of those who gave it up.
    world.set(7).release();
    for placed in &moved {
        let first = placed.superseded[0];
        assert_eq!(ends(store.get(first)), Ok(None), "a number that was given up comes to life");
        until("all replicas hold the void", || world.void_on(first) == 3);
    }
    let orders = all_orders(&store);
    none_twice(&orders);
    for placed in &placed {
        assert!(orders.contains_key(&placed.number), "an acknowledged order is gone");
    }
}

#[test]
fn with_one_set_a_create_in_doubt_stays_the_callers() {
    let world = World::new(&[7]);
    let store = world.open();
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let doubt = ends(store.create_with("in doubt", CreateOptions::new().deadline(Duration::from_millis(300))));
    let Err(Error::Ambiguous { token, .. }) = doubt else { panic!("{doubt:?}") };
    world.release_all();
    until("it is settled", || ends(store.resolve(token)).is_ok());
}

/// One create that met the SET nearby, which hangs, and was placed in the other.
fn moved(world: &World, store: &OrderStore) -> Placed {
    let placed = ends(store.create_with("moved", CreateOptions::new().deadline(PATIENCE))).expect("another SET is well");
    assert_eq!((placed.number.set_id(), placed.superseded.len()), (world.sets[1].id, 1));
    placed
}

#[test]
fn a_first_write_that_lands_after_its_void_is_refused() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    until_at_rest(&store, 7);
    // It is done everywhere, and nobody hears of it: what is written is known, so that it can come once more.
    world.set(7).hang_answers();
    let placed = moved(&world, &store);
    let first = placed.superseded[0];
    until("each replica holds the first number", || world.alive_on(first) == 3);
    let replica = (*world.set(7).memory[0]).clone();
    let Ok(Lookup::Found(late)) = replica.get(first) else { panic!("the first write is not there") };
    assert_eq!(late.kind, Kind::Order);
    world.set(7).release();
    until("all replicas hold the void", || world.void_on(first) == 3);
    for memory in &world.set(7).memory {
        let replica = (**memory).clone();
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(first, &late, true)).expect("room");
        replica.apply(&group).expect("memory takes it");
    }
    assert_eq!(world.void_on(first), 3);
    assert_eq!(ends(store.get(first)), Ok(None));
    until_nothing_is_owed(&store);
    none_twice(&all_orders(&store));
}

#[test]
fn one_replica_that_hangs_on_holds_the_void_at_last_and_the_number_is_never_seen_meanwhile() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let first = moved(&world, &store).superseded[0];
    let faults = world.set(7).faults();
    faults[0].release();
    faults[1].release();
    until("enough replicas hold the void", || {
        assert_eq!(ends(store.get(first)), Ok(None));
        world.void_on(first) == 2
    });
    // The third does not: so the number is still owed one, however often that is looked at.
    for _ in 0..3 {
        let report = store.reconcile().wait().expect("a walk ends");
        assert_eq!((report.open, world.void_on(first)), (vec![first], 2));
    }
    faults[2].release();
    until("all replicas hold the void", || {
        assert_eq!(ends(store.get(first)), Ok(None));
        world.void_on(first) == 3
    });
    until_nothing_is_owed(&store);
}

#[test]
fn the_set_that_holds_the_note_dies_before_the_void_is_delivered() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let placed = moved(&world, &store);
    for faults in world.set(8).faults() {
        faults.panic_applies(1_000);
        faults.fail_reads(1_000_000);
    }
    let _ = ends(store.update(placed.number, placed.version, "it dies of that"));
    world.set(7).release();
    until("all replicas hold the void", || world.void_on(placed.superseded[0]) == 3);
    assert_eq!(ends(store.get(placed.superseded[0])), Ok(None));
}

#[test]
fn of_three_attempts_in_doubt_the_last_is_the_callers_and_the_others_are_ended() {
    let world = World::near_and_far(7, &[8, 9]);
    let store = world.patient().attempts(3).open().expect("the store opens");
    let _: Vec<Placed> = (0..8).map(|_| ends(store.create("leased")).expect("created")).collect();
    world.sets.iter().for_each(|set| set.hang());
    let doubt = ends(store.create_with("in doubt", CreateOptions::new().deadline(Duration::from_secs(3))));
    let Err(Error::Ambiguous { token, .. }) = doubt else { panic!("{doubt:?}") };
    assert_ne!(token.number.set_id(), id(7), "the first is not the last");
    world.release_all();
    let mut outcome = None;
    until("it is settled", || {
        outcome = ends(store.resolve(token)).ok();
        outcome.is_some()
    });
    until_nothing_is_owed(&store);
    let orders = all_orders(&store);
    let alive: Vec<_> = orders.iter().filter(|(_, payload)| *payload == "in doubt").map(|(number, _)| *number).collect();
    match outcome {
        Some(Resolved::Applied) => assert_eq!(alive, [token.number]),
        _ => assert_eq!(alive, []),
    }
    // All three numbers were written: two of them are void, whatever became of the last.
    let void: usize =
        world.sets.iter().map(|set| crate::bench::held(set).values().filter(|kind| **kind == Kind::Void).count()).sum();
    assert!(void >= 2, "{void} numbers are void");
}
