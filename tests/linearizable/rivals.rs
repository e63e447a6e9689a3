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
    let world = World::new(Quorum::new(3, 2, 2).expect("a quorum"), Arc::new(Tally::default()));
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
