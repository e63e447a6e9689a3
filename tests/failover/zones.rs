//! Where an order goes next, by what became of it where it was tried first.

use crate::bench::{World, create_in, ends, id, status_of, until, until_nothing_is_owed};
use ordermint::CreateOptions;
use std::time::Duration;

/// Two SETs on this campus, and one on another of the city.
fn two_here_and_one_near() -> World {
    World::in_zones(&[(7, "here/1"), (8, "here/1"), (9, "here/2")])
}

#[test]
fn an_order_in_doubt_on_one_campus_goes_to_another_one_first() {
    let world = two_here_and_one_near();
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let mut moved = 0;
    for at in 0..30 {
        let placed = ends(store.create(format!("order {at}"))).expect("two SETs are well");
        if !placed.superseded.is_empty() {
            assert_eq!(placed.number.set_id(), id(9), "the same campus may be at fault");
            moved += 1;
        }
    }
    assert!(moved > 0, "none was ever in doubt");
    world.release_all();
    until_nothing_is_owed(&store);
}

#[test]
fn an_order_for_which_a_set_had_no_room_stays_on_its_campus() {
    let world = two_here_and_one_near();
    let hours = Duration::from_secs(7_200);
    let store = world.patient().attempt_timeout(hours / 2).max_in_flight(8, 1 << 20).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let patience = CreateOptions::new().deadline(Duration::from_secs(100));
    let mut under_way = Vec::new();
    until("no more may be under way", || {
        under_way.push(store.create_with(format!("order {}", under_way.len()), patience.clone()));
        status_of(&store, 7).in_flight == 8
    });
    until("the one beside it has room", || status_of(&store, 8).in_flight == 0);
    // A fourth of them is sent there first: both that are drawn are the one that is full.
    for at in 0..60 {
        let placed = ends(store.create(format!("one more {at}"))).expect("two SETs are well");
        assert_eq!(placed.number.set_id(), id(8), "nothing is wrong with this campus");
    }
    world.release_all();
    for pending in under_way {
        assert!(ends(pending).expect("it was only slow").superseded.is_empty());
    }
}
