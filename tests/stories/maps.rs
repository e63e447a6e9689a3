//! Maps of which some replicas know and others do not, when the store is opened.

use crate::bench::*;
use ordermint::{Error, Identity, MemoryReplica, NotAttempted, OrderStore, Replica, SetId, Standing};
use std::sync::atomic::Ordering;

fn id(set: u16) -> SetId {
    SetId::new(set).expect("an id")
}

fn map_on(bench: &Bench, index: usize) -> bytes::Bytes {
    MemoryReplica::clone(&bench.memory[index]).meta("map").expect("memory answers").expect("it has a map")
}

fn identity_of(bench: &Bench, index: usize) -> Identity {
    match MemoryReplica::clone(&bench.memory[index]).standing() {
        Standing::Voting(identity) => identity,
        other => panic!("{other:?}"),
    }
}

/// SET 9 was to be added, and the map with it reached one replica of SET 7 only, which went out; then another map was made without it.
/// Versions 2 and 3.
fn one_knows_what_came_to_nothing() -> (Bench, Bench) {
    let (seven, nine) = (Bench::new(3, 2, 2), Bench::of_set(9, 3, 2, 2));
    let store = seven.open();
    ends(store.create("from before")).expect("created");
    store.add_set(nine.config()).expect("added");
    ends(store.close()).expect("closed");
    for index in 0..3 {
        let identity = Identity { formed: false, ..identity_of(&nine, index) };
        MemoryReplica::clone(&nine.memory[index]).form(&identity).expect("memory takes it");
    }
    // What two changes make of the map of SET 7 alone.
    let other = Bench::new(3, 2, 2);
    let store = other.open();
    store.set_weight(id(7), 5).expect("weighted");
    store.set_weight(id(7), 2).expect("weighted");
    assert_eq!(store.status().map_version, 3);
    ends(store.close()).expect("closed");
    for index in [1, 2] {
        seven.plant_meta(index, "map", &map_on(&other, index));
    }
    (seven, nine)
}

fn away(bench: &Bench, indices: &[usize], are_away: bool) {
    indices.iter().for_each(|index| bench.gone[*index].store(are_away, Ordering::SeqCst));
}

fn is_refused(change: Result<(), Error>) -> bool {
    matches!(change, Err(Error::System { message, .. }) if message.contains("too few"))
}

/// Otherwise the orders that it takes would be gone from view as soon as the others are back.
#[test]
fn a_map_that_only_one_replica_tells_forms_no_set_and_no_other_is_made_from_it() {
    let (seven, nine) = one_knows_what_came_to_nothing();
    away(&seven, &[1, 2], true);
    let open = |weight: u32| {
        let builder = OrderStore::builder().quorum(seven.quorum).clock(seven.clock.clone()).recent_bytes(0);
        builder.add_set(seven.config().weight(weight))
    };
    let store = open(1).add_set(nine.config()).open().expect("it opens with what it has");
    assert_eq!(store.status().map_version, 2);
    assert!(matches!(ends(store.create("x")), Err(Error::NotAttempted { reason: NotAttempted::NoSetLeft { .. } })));
    assert!(is_refused(store.set_weight(id(7), 3)) && is_refused(store.drain_set(id(9))));
    // Nor is it by bringing it back.
    for index in 0..3 {
        let _ = store.bring_back_replica(id(9), index);
    }
    away(&seven, &[1, 2], false);
    for index in [1, 2] {
        until("it votes again", || {
            let _ = store.bring_back_replica(id(7), index);
            store.status().sets[0].replicas[usize::from(index)].state == ordermint::ReplicaState::Voting
        });
    }
    until("SET 7 takes orders", || ends(store.create("on SET 7")).is_ok_and(|placed| placed.number.set_id() == id(7)));
    assert!((0..3).all(|index| !identity_of(&nine, index as usize).formed), "it was formed all the same");
    assert!(store.status().sets[1].closed_for_creates.is_some());
    ends(store.close()).expect("closed");
    // Those who know better were not given it.
    assert_ne!(map_on(&seven, 0), map_on(&seven, 1));
    let store = open(2).open().expect("without SET 9");
    assert_eq!(store.status().map_version, 3);
    store.set_weight(id(7), 4).expect("they all know the map");
    assert_eq!(store.status().map_version, 4);
}

#[test]
fn two_replicas_that_tell_the_same_map_are_enough_to_go_on_from_it() {
    let (seven, nine) = (Bench::new(3, 2, 2), Bench::of_set(9, 3, 2, 2));
    let store = seven.open();
    store.add_set(nine.config()).expect("added");
    ends(store.close()).expect("closed");
    let identity = Identity { formed: false, ..identity_of(&nine, 0) };
    MemoryReplica::clone(&nine.memory[0]).form(&identity).expect("memory takes it");
    away(&seven, &[2], true);
    let store = seven.builder().add_set(nine.config()).open().expect("opens");
    store.set_weight(id(9), 3).expect("weighted");
    assert!(identity_of(&nine, 0).formed);
    assert!((0..200).any(|_| ends(store.create("x")).expect("created").number.set_id() == id(9)));
}
