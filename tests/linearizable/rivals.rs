//! Writes of different lives of a program that nobody finished, each on a replica that the others cannot see.

use crate::tally::Tally;
use crate::world::{AGES, World};
use ordermint::{Error, Order, OrderNumber, OrderStore, Pending, Quorum, Version};
use std::sync::Arc;
use std::sync::atomic::Ordering;

fn ends<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

fn read(store: &OrderStore, number: OrderNumber) -> Order {
    ends(store.get(number)).expect("a read").expect("it is there")
}

/// Starts again with these replicas away.
fn without(world: &World, away: &[usize]) -> OrderStore {
    for (index, gone) in world.gone.iter().enumerate() {
        gone.store(away.contains(&index), Ordering::SeqCst);
    }
    world.restart();
    world.life().store
}

/// An update that only `on` takes.
fn left_in_doubt(world: &World, store: &OrderStore, number: OrderNumber, expected: Version, value: &str, on: usize) {
    let others = world.faults.iter().enumerate().filter(|(index, _)| *index != on);
    others.for_each(|(_, faults)| faults.fail_applies(1));
    let result = ends(store.update(number, expected, value));
    assert!(matches!(result, Err(Error::Ambiguous { .. })), "{result:?}");
    world.faults.iter().for_each(|faults| faults.fail_applies(0));
}

#[test]
fn what_was_read_is_not_taken_back_when_a_rival_of_it_returns() {
    let world = World::patient(Quorum::new(3, 2, 2).expect("a quorum"), Arc::new(Tally::default()));
    let store = world.life().store;
    let placed = ends(store.create("x")).expect("placed");
    let number = placed.number;
    left_in_doubt(&world, &store, number, placed.version, "y", 0);
    let store = without(&world, &[0]);
    let seen = read(&store, number);
    assert_eq!(seen.value, "x", "nobody can see the other one");
    left_in_doubt(&world, &store, number, seen.version, "z", 1);
    let store = without(&world, &[1]);
    let seen = read(&store, number);
    let store = without(&world, &[]);
    let again = read(&store, number);
    assert_eq!(again.value, seen.value, "both were made for x: one of them won");
    drop(store);
    world.end();
}

#[test]
fn a_replica_alone_is_not_believed_where_others_may_know_better() {
    // A version on two of three, where W is three, is shown where two that hold it vote: nobody can claim the SET without one of
    // them. But R is one.
    let world = World::patient(Quorum::new(3, 1, 3).expect("a quorum"), Arc::new(Tally::default()));
    let store = world.life().store;
    let placed = ends(store.create("x")).expect("placed");
    let number = placed.number;
    world.faults[2].fail_applies(1);
    let result = ends(store.update(number, placed.version, "y"));
    assert!(matches!(result, Err(Error::Ambiguous { .. })), "{result:?}");
    let store = without(&world, &[2]);
    assert_eq!(read(&store, number).value, "y");
    let store = without(&world, &[1]);
    // The other one goes out before it can say what it holds.
    world.faults[0].panic_reads(1);
    let _ = ends(store.compared()).expect("compared");
    for _ in 0..3 {
        let seen = ends(store.get(number));
        assert!(
            seen.as_ref().is_ok_and(|seen| seen.as_ref().is_some_and(|order| order.value == "y")) || seen.is_err(),
            "{seen:?}"
        );
    }
    drop(store);
    world.end();
}

#[test]
fn a_replica_that_is_opened_when_the_store_has_closed_is_closed_too() {
    let world = World::patient(Quorum::new(3, 2, 2).expect("a quorum"), Arc::new(Tally::default()));
    let held = world.life().store;
    held.take_out_replica(world.set, 0).expect("two are enough");
    world.opening_ms.store(200, Ordering::SeqCst);
    held.bring_back_replica(world.set, 0).expect("it was taken out");
    ends(held.close()).expect("closed");
    std::thread::sleep(std::time::Duration::from_millis(300));
    world.opening_ms.store(0, Ordering::SeqCst);
    // With a handle of the closed store still held.
    world.restart();
    assert_eq!(ends(held.close()), Ok(()));
    drop(held);
    world.end();
}
