//! Both attempts end in doubt, and the second is settled: it never was placed. Its record would have been the only one to name the first
//! number. Then the process is killed.

use crate::bench::{World, all_orders, create_in, ends, held, id, status_of, until, until_nothing_is_owed};
use ordermint::{
    CreateOptions, Error, Forced, Kind, Lookup, OrderNumber, OrderStore, Origin, Replica, ReplicaState, RequestKey, Resolved,
    WriteToken,
};
use std::time::Duration;

const SOON: Duration = Duration::from_millis(600);
/// For what is asked of the first process.
const PATIENCE: Duration = Duration::from_secs(2);
const IN_DOUBT: &str = "in doubt";

/// A store that has placed orders in all other SETs, so that numbers of theirs are leased, and the only one in SET 7, where the next
/// ones go.
fn opened(world: &World) -> OrderStore {
    let store = world.patient().attempts(3).deadline(PATIENCE).open().expect("the store opens");
    store.force_breaker(id(7), Forced::Open).expect("it has its way");
    world.sets[1..].iter().for_each(|set| drop(create_in(&store, set.id.get(), "leased")));
    store.force_breaker(id(7), Forced::Closed).expect("it has its way");
    let leased = ends(store.create("leased")).expect("created").number;
    assert_eq!(leased.set_id(), id(7));
    // None is at work any more: what hangs from here on is the first attempt.
    until("all replicas hold it", || world.alive_on(leased) == 3);
    std::thread::sleep(Duration::from_millis(30));
    store
}

/// The first attempt is done on so many replicas of SET 7, and nobody hears of it, nor takes its void.
fn hang_first(world: &World, done: usize) {
    for (at, faults) in world.set(7).faults().into_iter().enumerate() {
        if at < done { faults.hang_answers() } else { faults.hang_applies() }
    }
}

fn doubtful(store: &OrderStore, options: CreateOptions) -> WriteToken {
    match ends(store.create_with(IN_DOUBT, options.deadline(SOON))) {
        Err(Error::Ambiguous { token, .. }) => token,
        other => panic!("it should be in doubt: {other:?}"),
    }
}

/// The first number, if a replica of SET 7 holds it. No other came after the one that was placed there.
fn first_of(world: &World) -> Option<OrderNumber> {
    held(world.set(7)).into_keys().nth(1)
}

/// What the newest record of a number says of other numbers.
fn origin(world: &World, number: OrderNumber) -> Origin {
    let records = world.set(number.set_id().get()).memory.iter().filter_map(|memory| match (**memory).clone().get(number) {
        Ok(Lookup::Found(record)) => Some(record),
        _ => None,
    });
    let newest = records.max_by_key(|record| record.version).expect("a replica holds it");
    newest.origin.map(|origin| (*origin).clone()).unwrap_or_default()
}

/// How the second attempt comes to nothing.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Second {
    /// Every replica fails, and returns without it.
    Failed,
    /// It lands as soon as no replica was seen to hold it; right after it comes the void.
    Late,
    /// The same, after a first void that ended in doubt as well.
    LateAndTwice,
}

/// What is asked of every replica of a SET whose writes hang, which go on as soon as all have answered.
fn resolved_late(world: &World, store: &OrderStore, token: WriteToken) -> Result<Resolved, Error> {
    let faults = world.set(token.number.set_id().get()).faults();
    let reads: Vec<usize> = faults.iter().map(|faults| faults.reads()).collect();
    let pending = store.resolve(token);
    until("all are asked", || faults.iter().zip(&reads).all(|(faults, before)| faults.reads() > *before));
    std::thread::sleep(Duration::from_millis(20));
    faults.iter().for_each(|faults| faults.release());
    ends(pending)
}

/// All replicas of SET 8 have failed, and are brought back.
fn until_it_returned(store: &OrderStore) {
    until("all have failed", || status_of(store, 8).replicas.iter().all(|one| one.state != ReplicaState::Voting));
    until("all are back", || {
        let replicas = status_of(store, 8).replicas;
        let away: Vec<u8> =
            (0u8..).zip(&replicas).filter(|(_, one)| one.state != ReplicaState::Voting).map(|(at, _)| at).collect();
        away.iter().for_each(|at| drop(store.bring_back_replica(id(8), *at)));
        away.is_empty()
    });
}

/// The second attempt is in doubt, and then known to have come to nothing.
fn settled(world: &World, store: &OrderStore, second: Second, options: CreateOptions) -> WriteToken {
    let faults = world.set(8).faults();
    faults.iter().for_each(|faults| faults.hang_applies());
    let token = doubtful(store, options);
    assert_eq!(token.number.set_id(), id(8), "the first attempt went elsewhere");
    let outcome = match second {
        Second::Failed => {
            for faults in &faults {
                faults.fail_applies(1);
                faults.release();
            }
            until_it_returned(store);
            ends(store.resolve(token))
        }
        Second::Late => resolved_late(world, store, token),
        Second::LateAndTwice => {
            assert_eq!(ends(store.resolve(token)), Err(Error::Unconfirmed { number: token.number, need: 2 }));
            resolved_late(world, store, token)
        }
    };
    assert_eq!(outcome, Ok(Resolved::NotApplied));
    token
}

/// By another process, from the start: whoever was told that nothing came of it may have created it anew.
fn never_seen_again(world: &World, store: &OrderStore, first: Option<OrderNumber>, done: usize) {
    if let Some(first) = first {
        assert_eq!(ends(store.get(first)), Ok(None), "{first} was given up, and comes to life");
    }
    assert!(all_orders(store).values().all(|payload| payload != IN_DOUBT), "what came to nothing comes to life");
    until_nothing_is_owed(store);
    if let Some(first) = first {
        assert!(world.alive_on(first) == 0 && world.void_on(first) == 3, "{first} was on {done} replicas, and may come to life");
        assert_eq!(held(world.set(7)).get(&first), Some(&Kind::Void));
    }
    assert_eq!(store.status().alarms, []);
}

#[test]
fn killed_after_the_second_came_to_nothing_the_first_never_comes_to_life() {
    for second in [Second::Failed, Second::Late, Second::LateAndTwice] {
        for done in if second == Second::LateAndTwice { 3..=3 } else { 0..=3 } {
            let world = World::near_and_far(7, &[8]);
            let store = opened(&world);
            hang_first(&world, done);
            let token = settled(&world, &store, second, CreateOptions::new());
            let first = first_of(&world);
            assert_eq!(first.is_some(), done > 0, "done on {done} replicas");
            let killed = world.kill(store);
            if let Some(first) = first {
                assert!((1..=done).contains(&world.alive_on(first)) && world.void_on(first) == 0, "not void yet");
            }
            let store = world.patient().open().expect("the store opens");
            killed.bury();
            never_seen_again(&world, &store, first, done);
            assert_eq!(ends(store.resolve(token)), Ok(Resolved::NotApplied));
            drop(store);
            let store = world.patient().open().expect("the store opens");
            never_seen_again(&world, &store, first, done);
        }
    }
}

/// The void is no order of that key, and the first number none either.
#[test]
fn with_a_request_key_one_order_comes_of_it_in_the_next_process() {
    for second in [Second::Failed, Second::Late] {
        let world = World::near_and_far(7, &[8]);
        let store = opened(&world);
        hang_first(&world, 3);
        let keyed = || CreateOptions::new().request_key("k");
        let token = settled(&world, &store, second, keyed());
        let first = first_of(&world).expect("it is there");
        let said = origin(&world, token.number);
        assert_eq!(said.supersedes.iter().map(|(number, _)| *number).collect::<Vec<_>>(), [first]);
        assert_eq!(said.request_key, RequestKey::new(b"k", IN_DOUBT.as_bytes()));
        let killed = world.kill(store);
        let store = world.patient().open().expect("the store opens");
        killed.bury();
        let placed = ends(store.create_with(IN_DOUBT, keyed())).expect("all are well");
        assert!(!placed.repeated && placed.number != first && placed.number != token.number, "{placed:?}");
        assert_eq!(ends(store.create_with(IN_DOUBT, keyed())).expect("all are well").number, placed.number);
        until_nothing_is_owed(&store);
        let orders = all_orders(&store);
        let alive: Vec<_> = orders.iter().filter(|(_, payload)| *payload == IN_DOUBT).map(|(number, _)| *number).collect();
        assert_eq!(alive, [placed.number]);
        assert_eq!((world.void_on(first), store.status().alarms), (3, vec![]));
    }
}

/// The last void names all that were tried before.
#[test]
fn killed_after_the_third_came_to_nothing_the_first_two_never_come_to_life() {
    let world = World::near_and_far(7, &[8, 9]);
    let store = opened(&world);
    hang_first(&world, 3);
    [8, 9].iter().for_each(|set| world.set(*set).hang());
    let token = doubtful(&store, CreateOptions::new());
    let first = first_of(&world).expect("it is there");
    assert_eq!(resolved_late(&world, &store, token), Ok(Resolved::NotApplied));
    let tried: Vec<OrderNumber> = origin(&world, token.number).supersedes.iter().map(|(number, _)| *number).collect();
    let [named, second] = tried[..] else { panic!("{tried:?}") };
    assert!(named == first && ![id(7), token.number.set_id()].contains(&second.set_id()), "{tried:?}");
    let killed = world.kill(store);
    let store = world.patient().open().expect("the store opens");
    killed.bury();
    assert_eq!(ends(store.get(second)), Ok(None));
    never_seen_again(&world, &store, Some(first), 3);
    assert_eq!(world.void_on(second), 3);
}
