//! What callers are told whose orders no SET took.

use crate::bench::{World, create_in, ends, id, status_of, until};
use ordermint::{Attempt, CreateOptions, Error, Forced, NotAttempted, OrderStore};
use std::time::Duration;

/// The refusal of the next create, with the reason of each SET.
fn refused(store: &OrderStore) -> (Error, Vec<Attempt>) {
    let error = ends(store.create("one more")).expect_err("no SET takes it");
    let Error::NotAttempted { reason: NotAttempted::NoSetLeft { attempts, .. } } = &error else { panic!("{error}") };
    let attempts = attempts.clone();
    (error, attempts)
}

#[test]
fn a_set_that_is_busy_beside_a_sick_one_is_asked_again_at_once() {
    let world = World::near_and_far(8, &[7]);
    let store = world.patient().max_in_flight(8, 1 << 20).open().expect("the store opens");
    create_in(&store, 8, "leased");
    store.force_breaker(id(7), Forced::Open).expect("SET 7 is there");
    world.set(8).hang();
    let patience = CreateOptions::new().deadline(Duration::from_secs(50));
    let under_way: Vec<_> = (0..8).map(|at| store.create_with(format!("order {at}"), patience.clone())).collect();
    until("no more may be under way", || status_of(&store, 8).in_flight == 8);
    for _ in 0..4 {
        let (error, attempts) = refused(&store);
        assert!(matches!(
            attempts.iter().map(|attempt| &attempt.reason).collect::<Vec<_>>()[..],
            [NotAttempted::Busy { .. }, NotAttempted::Unavailable { .. }]
        ));
        assert!(error.is_retryable());
        assert!(error.retry_after() <= Some(Duration::from_millis(20)), "{error}");
    }
    world.release_all();
    for pending in under_way {
        assert_eq!(ends(pending).expect("it was only slow").number.set_id(), id(8));
    }
    ends(store.create("one more")).expect("there is room again");
}

#[test]
fn sets_whose_clock_jumped_are_not_asked_again_until_somebody_has_looked_at_it() {
    let world = World::new(&[7, 8]);
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    create_in(&store, 8, "leased");
    // Ten days.
    world.clock.jump_wall(864_000_000);
    until("the jump is noticed in both", || {
        let (_, attempts) = refused(&store);
        attempts.iter().all(|attempt| matches!(attempt.reason, NotAttempted::ClockJump { .. }))
    });
    let (error, _) = refused(&store);
    assert_eq!((error.is_retryable(), error.retry_after()), (false, None));
}
