//! Creates with a key that end in doubt, and are tried again.

use crate::bench::{Bench, SOON, ends, is_gone, key, payload_of, placed, set, until};
use ordermint::testing::FaultControl;
use ordermint::{BreakerSettings, BreakerState, Error, Forced, OrderStore, Resolved, WriteToken};
use std::time::Duration;

/// On a busy machine its time may be up before it is sent: then once more.
fn doubtful(store: &OrderStore) -> WriteToken {
    let mut doubt = None;
    until("a create is in doubt", || match ends(store.create_with("once", key("k").deadline(SOON))) {
        Err(Error::Ambiguous { token, .. }) => {
            doubt = Some(token);
            true
        }
        Err(Error::NotAttempted { .. }) => false,
        other => panic!("it should be in doubt: {other:?}"),
    });
    doubt.expect("it was waited for")
}

#[test]
fn a_create_in_doubt_that_is_found_later_is_the_answer_to_its_retry() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    let faults = &bench.set(set(7)).faults;
    drop(placed(store.create("plain")));
    faults[1..].iter().for_each(FaultControl::hang_applies);
    let token = doubtful(&store);
    faults.iter().for_each(FaultControl::release);
    // Whoever is asked knows of it then. Before that it may be given up as well.
    until("it has landed", || (0..3).all(|index| bench.set(set(7)).held(index, token.number).is_some()));
    let again = placed(store.create_with("once", key("k")));
    assert_eq!((again.number, again.repeated), (token.number, true));
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    assert_eq!(bench.live(&store).len(), 2);
}

#[test]
fn a_create_in_doubt_of_which_nothing_is_found_is_given_up_and_stood_in_for() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    (0..20).for_each(|_| drop(placed(store.create("plain"))));
    let hang = |id| bench.set(set(id)).faults.iter().for_each(FaultControl::hang_applies);
    hang(7);
    hang(8);
    let token = doubtful(&store);
    let (sick, well) = if token.number.set_id() == set(7) { (7, 8) } else { (8, 7) };
    // The other one recovers.
    bench.set(set(well)).faults.iter().for_each(FaultControl::release);
    let again = placed(store.create_with("once", key("k").deadline(Duration::from_secs(20))));
    assert!(!again.repeated);
    assert!(again.superseded.contains(&token.number), "{again:?}");
    assert_eq!(again.number.set_id(), set(well));
    assert!(bench.set(set(well)).origin(again.number).supersedes.iter().any(|(number, _)| *number == token.number));
    // What was late is refused.
    bench.set(set(sick)).faults.iter().for_each(FaultControl::release);
    until("the first is void", || is_gone(&store, token.number));
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::NotApplied));
    assert_eq!(placed(store.create_with("once", key("k"))).number, again.number);
    assert_eq!(bench.live(&store).len(), 21);
}

/// One replica shows it, and those that are asked for it do not have it yet: that says nothing of what becomes of it.
#[test]
fn a_create_in_doubt_that_is_not_found_where_it_was_looked_for_is_given_up_before_another_is_placed() {
    let bench = Bench::new(&[7, 8]);
    // No breaker cuts it short.
    let patient = BreakerSettings::new().failures_in_a_row(10_000).window(Duration::from_secs(10), 1_000_000);
    let store = bench.builder().attempts(1).breaker(patient).open().expect("the store opens");
    (0..20).for_each(|_| drop(placed(store.create("plain"))));
    ends(store.compared()).expect("they are compared");
    let faults = &bench.set(set(7)).faults;
    let mut doubts = 0;
    for at in 0..40 {
        let name = format!("k{at}");
        let options = || key(&name).strict().deadline(Duration::from_millis(100));
        faults[1..].iter().for_each(FaultControl::hang_applies);
        let first = match ends(store.create_with("once", options())) {
            Err(Error::Ambiguous { token, .. }) => token,
            Ok(placed) if placed.number.set_id() == set(8) => continue,
            // A busy machine: the time was up before it was sent, or before the SETs could be asked.
            Err(Error::NotAttempted { .. } | Error::KeyUnverified { .. }) => continue,
            other => panic!("{other:?}"),
        };
        doubts += 1;
        let second = ends(store.create_with("once", options()));
        faults.iter().for_each(FaultControl::release);
        // It is settled before the key is used again, which would end it.
        let outcome = ends(store.resolve(first)).expect("all are well");
        let told = second.clone().unwrap_or_else(|_| placed(store.create_with("once", key(&name))));
        let expected = if told.number == first.number { Resolved::Applied } else { Resolved::NotApplied };
        assert_eq!(outcome, expected, "{name}: {first}, then {second:?}, then {told:?}");
    }
    assert!(doubts > 0, "none was ever in doubt");
}

#[test]
fn retries_while_nothing_answers_are_in_doubt_each_and_one_order_comes_of_them() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    drop(placed(store.create("plain")));
    let faults = &bench.set(set(7)).faults;
    faults[1..].iter().for_each(FaultControl::hang_applies);
    let tokens: Vec<WriteToken> = (0..3)
        .filter_map(|_| match ends(store.create_with("once", key("k").deadline(SOON))) {
            Err(Error::Ambiguous { token, .. }) => Some(token),
            Err(_) => None,
            Ok(placed) => panic!("nothing answers: {placed:?}"),
        })
        .collect();
    assert!(!tokens.is_empty());
    faults.iter().for_each(FaultControl::release);
    let again = placed(store.create_with("once", key("k")));
    assert_eq!(payload_of(&store, again.number), "once");
    for token in tokens.iter().filter(|token| token.number != again.number) {
        until("a number given up is void", || is_gone(&store, token.number));
    }
    assert_eq!(bench.live(&store).len(), 2);
}

/// A reader has been shown it: then it is the order, and no other is placed.
#[test]
fn what_was_in_doubt_and_shown_to_somebody_is_not_given_up() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    (0..20).for_each(|_| drop(placed(store.create("plain"))));
    let faults = |id| &bench.set(set(id)).faults;
    for id in [7, 8] {
        faults(id)[1..].iter().for_each(FaultControl::hang_applies);
    }
    let token = doubtful(&store);
    for id in [7, 8] {
        faults(id).iter().for_each(FaultControl::release);
    }
    until("it is read", || ends(store.get(token.number)).is_ok());
    let is_there = !is_gone(&store, token.number);
    let again = placed(store.create_with("once", key("k")));
    assert_eq!(again.number == token.number, is_there);
    let live = bench.live(&store);
    assert_eq!(live.len(), 21);
    assert!(live.contains(&again.number));
}

/// One replica holds it, and the two that a read asks need not be that one: that they know nothing of it does not say that it never
/// comes to life.
#[test]
fn what_a_read_does_not_find_is_not_taken_for_void() {
    const KEYS: usize = 60;
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    store.force_breaker(set(8), Forced::Open).expect("it has its way");
    drop(placed(store.create("plain")));
    until("its ranges are compared", || ends(store.compared()).is_ok());
    let faults = &bench.set(set(7)).faults;
    faults[1..].iter().for_each(FaultControl::hang_applies);
    let create = |deadline: Duration| {
        let create = |at: usize| store.create_with(format!("once {at}"), key(&format!("k{at}")).deadline(deadline));
        (0..KEYS).map(create).collect::<Vec<_>>()
    };
    let mut doubts = 0;
    for answer in create(SOON) {
        match ends(answer) {
            Err(Error::Ambiguous { .. }) => doubts += 1,
            // A busy machine: the time was up before it was sent.
            Err(Error::NotAttempted { .. }) => {}
            answer => panic!("{answer:?}"),
        }
    }
    assert!(doubts > 0, "none was ever in doubt");
    store.force_breaker(set(8), Forced::Auto).expect("it has its way");
    until("the other SET is well", || store.status().sets[1].writes == BreakerState::Closed);
    let numbers: Vec<_> = create(Duration::from_secs(20)).into_iter().map(|answer| placed(answer).number).collect();
    faults.iter().for_each(FaultControl::release);
    // No other create on these keys: what surfaces now has to end by itself.
    until("nothing is left to be ended", || store.status().sets.iter().all(|set| set.notes_waiting == 0));
    let live = bench.live(&store);
    assert_eq!(live.len(), KEYS + 1);
    assert!(numbers.iter().all(|number| live.contains(number)));
}
