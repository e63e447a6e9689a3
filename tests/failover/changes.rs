//! SETs that come and go while some are sick.

use crate::bench::{
    OneSet, World, all_orders, create_in, ends, id, none_twice, status_of, stood_still, until, until_nothing_is_owed,
};
use ordermint::{BreakerState, CreateOptions, Error, OrderStore, Pending, Placed, Retire, SetConfig, SetState};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than any test runs.
const HOUR: Duration = Duration::from_secs(3_600);

/// Creates of some threads while `change` is made; each of them is acknowledged, as long as `well` are.
fn under_load(store: &OrderStore, well: &[u16], change: impl FnOnce()) -> Vec<Placed> {
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let writer = |name: usize| {
            let stop = &stop;
            move || {
                let mut placed = Vec::new();
                for batch in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let sent: Vec<_> = (0..8).map(|at| store.create(format!("{name} {batch} {at}"))).collect();
                    for pending in sent {
                        match ends(pending) {
                            Ok(order) => placed.push(order),
                            Err(Error::NotAttempted { .. }) if stood_still(store, well) => {}
                            Err(error) => panic!("some SET is well: {error}"),
                        }
                    }
                }
                placed
            }
        };
        let writers: Vec<_> = (0..3).map(|name| scope.spawn(writer(name))).collect();
        // Should it panic, the writers end all the same.
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        stop.store(true, Ordering::SeqCst);
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect()
    })
}

#[test]
fn a_broken_set_that_is_added_stays_at_its_small_share_and_troubles_nobody() {
    let world = World::new(&[7, 8]);
    let ramp = Duration::from_secs(1);
    let store = world.quick().ramp(ramp).open().expect("the store opens");
    let broken = OneSet::new(9);
    store.add_set(broken.config()).expect("it is added");
    broken.hang();
    let placed = under_load(&store, &[7, 8], || {
        until("it is left alone", || status_of(&store, 9).writes_opened >= 1);
        std::thread::sleep(2 * ramp);
        assert_eq!(status_of(&store, 9).state, SetState::Joining, "its ramp went on");
        broken.release();
        until("it is in", || status_of(&store, 9).state == SetState::Active);
    });
    until_nothing_is_owed(&store);
    let orders = all_orders(&store);
    none_twice(&orders);
    assert_eq!(orders.len(), placed.len());
}

#[test]
fn a_set_that_hangs_and_is_drained_under_load_takes_no_more_and_its_numbers_end() {
    let world = World::new(&[7, 8]);
    // What goes to the other SET first is stored there, also on a busy machine.
    let store = world.quick().attempt_timeout(Duration::from_secs(1)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    let placed = under_load(&store, &[8], || {
        world.set(7).hang();
        until("it is left alone", || matches!(status_of(&store, 7).writes, BreakerState::Open { .. }));
        store.drain_set(id(7)).expect("it is drained");
        std::thread::sleep(Duration::from_millis(100));
    });
    let moved: Vec<_> = placed.iter().flat_map(|placed| placed.superseded.clone()).collect();
    assert!(!moved.is_empty());
    world.release_all();
    until_nothing_is_owed(&store);
    for number in moved {
        assert_eq!((world.void_on(number), ends(store.get(number))), (3, Ok(None)));
    }
    assert!((0..100).all(|_| ends(store.create("new")).expect("created").number.set_id() == id(8)));
}

#[test]
fn orders_in_doubt_on_a_set_that_is_retired_are_placed_elsewhere() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().attempt_timeout(HOUR).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    let patience = CreateOptions::new().deadline(Duration::from_secs(50));
    let under_way: Vec<Pending<Placed>> = (0..8).map(|at| store.create_with(format!("order {at}"), patience.clone())).collect();
    store.retire_set(id(7), Retire::Lost).expect("it is retired");
    for pending in under_way {
        let placed = ends(pending).expect("the other SET is well");
        assert_eq!((placed.number.set_id(), placed.superseded.len()), (id(8), 1));
        assert_eq!(ends(store.get(placed.superseded[0])), Err(Error::SetRetired { set: id(7) }));
    }
    none_twice(&all_orders(&store));
    world.release_all();
}

#[test]
fn no_create_fails_while_one_set_after_the_other_is_retired() {
    let world = World::new(&[7]);
    let store = world.quick().ramp(Duration::ZERO).open().expect("the store opens");
    for set in 10..18 {
        store.add_set(SetConfig::new(id(set)).in_memory(3)).expect("it is added");
    }
    under_load(&store, &[7], || {
        for set in 10..18 {
            std::thread::sleep(Duration::from_millis(15));
            store.retire_set(id(set), Retire::Lost).expect("it is retired");
        }
    });
}
