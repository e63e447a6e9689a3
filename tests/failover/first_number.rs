//! What becomes of the number that was tried first.

use crate::bench::{World, all_orders, create_in, ends, id, none_twice, until};
use ordermint::{CreateOptions, Error, OrderStore, Pending, Placed};
use std::time::Duration;

const PATIENCE: Duration = Duration::from_secs(2);

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
    let store = world.open();
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
