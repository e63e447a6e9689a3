//! SETs that cannot be asked.

use crate::bench::{Bench, SOON, ends, is_gone, key, origin, payload_of, placed, set, today, until};
use ordermint::{Error, OrderStore, Placed, Version};
use std::time::Duration;

const FIRST: Version = Version { epoch: 1, counter: 1 };

/// An order under a key of its own in SET 7.
fn at_set_7(store: &OrderStore) -> (String, Placed) {
    for at in 0..1_000 {
        let name = format!("k{at}");
        let order = placed(store.create_with("once", key(&name)));
        if order.number.set_id() == set(7) {
            return (name, order);
        }
    }
    panic!("no order goes to SET 7");
}

#[test]
fn an_earlier_order_in_a_set_that_could_not_be_asked_becomes_void_when_it_returns() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let (name, first) = at_set_7(&store);
    drop(store);

    bench.set(set(7)).leave();
    let store = bench.open();
    let strict = ends(store.create_with("once", key(&name).strict()));
    assert_eq!(strict, Err(Error::KeyUnverified { sets: vec![set(7)] }));
    assert!(strict.is_err_and(|error| error.is_retryable()));
    let second = placed(store.create_with("once", key(&name)));
    assert_eq!((second.repeated, &second.unverified), (false, &vec![set(7)]));
    assert_eq!(bench.set(set(8)).origin(second.number).unverified, [set(7)]);
    // Told again, it is the same, and SET 7 is still not asked: strict or not, it stands over whatever is there.
    for options in [key(&name), key(&name).strict()] {
        let again = placed(store.create_with("once", options));
        assert_eq!((again.number, again.repeated, again.version), (second.number, true, second.version));
        assert_eq!(again.unverified, [set(7)]);
    }
    drop(store);

    bench.set(set(7)).come_back();
    let store = bench.open();
    assert_eq!(payload_of(&store, first.number), "once");
    let again = placed(store.create_with("once", key(&name)));
    assert_eq!((again.number, again.repeated), (second.number, true));
    until("the first order is void", || is_gone(&store, first.number));
    assert_eq!(payload_of(&store, second.number), "once");
}

#[test]
fn a_set_that_hangs_makes_itself_unverified_and_holds_up_nothing_else() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let (name, first) = at_set_7(&store);
    drop(store);
    let store = bench.open();
    let faults = &bench.set(set(7)).faults;
    faults.iter().for_each(|faults| (faults.hang_reads(), faults.hang_applies()).0);
    let second = placed(store.create_with("once", key(&name).deadline(Duration::from_secs(10))));
    assert_eq!((second.repeated, second.number.set_id(), &second.unverified), (false, set(8), &vec![set(7)]));
    faults.iter().for_each(ordermint::testing::FaultControl::release);
    until("SET 7 answers again", || {
        placed(store.create_with("once", key(&name))).number == second.number && is_gone(&store, first.number)
    });
    assert_eq!(payload_of(&store, second.number), "once");
}

#[test]
fn what_this_process_has_told_it_tells_again_while_no_set_can_be_asked() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let (name, first) = at_set_7(&store);
    let faults = || bench.sets.iter().flat_map(|set| &set.faults);
    faults().for_each(|faults| (faults.hang_reads(), faults.hang_applies()).0);
    for options in [key(&name), key(&name).strict()] {
        let again = placed(store.create_with("once", options));
        assert_eq!((again.number, again.repeated, again.version), (first.number, true, first.version));
        assert_eq!(again.unverified, []);
    }
    assert_eq!(ends(store.create_with("other", key(&name))), Err(Error::KeyReused { number: first.number }));
    faults().for_each(ordermint::testing::FaultControl::release);
    assert_eq!(payload_of(&store, first.number), "once");
}

#[test]
fn an_order_is_told_again_only_once_its_record_names_who_could_not_be_asked() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let (name, first) = at_set_7(&store);
    drop(store);

    bench.set(set(8)).leave();
    let store = bench.open();
    let strict = ends(store.create_with("once", key(&name).strict()));
    assert_eq!(strict, Err(Error::KeyUnverified { sets: vec![set(8)] }));
    assert_eq!(ends(store.create_with("other", key(&name))), Err(Error::KeyReused { number: first.number }));
    let again = placed(store.create_with("once", key(&name)));
    assert_eq!((again.number, again.repeated, &again.unverified), (first.number, true, &vec![set(8)]));
    assert!(again.version > first.version, "an order in SET 8 may say that it took the place of the first version");
    let told = bench.set(set(7)).origin(first.number);
    assert_eq!((told.unverified, told.request_key), (vec![set(8)], origin(&name, "once", &[]).request_key));
    assert_eq!(payload_of(&store, first.number), "once");
    let third = placed(store.create_with("once", key(&name)));
    assert_eq!((third.version, third.unverified), (again.version, vec![set(8)]), "it says so already");
    drop(store);

    // And in SET 8 there is such an order.
    bench.set(set(8)).come_back();
    let rival = bench.set(set(8)).number(today(), 1_000_000);
    let mut of_rival = origin(&name, "once", &[]);
    of_rival.supersedes = vec![(first.number, first.version)];
    bench.set(set(8)).plant(&[0, 1, 2], rival, FIRST, "once", of_rival);
    let store = bench.open();
    let last = placed(store.create_with("once", key(&name)));
    assert_eq!((last.number, last.repeated, last.version), (first.number, true, again.version));
    until("the rival is void", || is_gone(&store, rival));
    assert_eq!(payload_of(&store, first.number), "once");
}

#[test]
fn two_orders_that_each_hold_the_others_set_unverified_are_left_to_the_operator() {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    let numbers = [bench.set(set(7)).number(today(), 500), bench.set(set(8)).number(today(), 500)];
    bench.set(set(7)).plant(&[0, 1, 2], numbers[0], FIRST, "once", origin("k", "once", &[8]));
    bench.set(set(8)).plant(&[0, 1, 2], numbers[1], FIRST, "once", origin("k", "once", &[7]));
    let store = bench.open();
    for _ in 0..3 {
        let refused = ends(store.create_with("once", key("k")));
        assert_eq!(refused, Err(Error::KeyConflict { numbers: numbers.to_vec() }));
    }
    std::thread::sleep(Duration::from_millis(50));
    for number in numbers {
        assert_eq!(payload_of(&store, number), "once");
    }
    assert_eq!(bench.live(&store).len(), 2);
}

#[test]
fn two_orders_that_know_nothing_of_each_other_are_left_to_the_operator() {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    let numbers = [bench.set(set(7)).number(today(), 500), bench.set(set(8)).number(today(), 500)];
    bench.set(set(7)).plant(&[0, 1, 2], numbers[0], FIRST, "once", origin("k", "once", &[]));
    bench.set(set(8)).plant(&[0], numbers[1], FIRST, "once", origin("k", "once", &[]));
    let store = bench.open();
    let refused = ends(store.create_with("once", key("k")));
    assert_eq!(refused, Err(Error::KeyConflict { numbers: numbers.to_vec() }));
    assert_eq!(bench.live(&store).len(), 2);
}

#[test]
fn a_create_ends_what_surfaced_under_the_order_that_it_repeats() {
    let bench = Bench::new(&[7]);
    let seven = bench.set(set(7));
    drop(bench.open());
    let (older, stands) = (seven.number(today(), 499), seven.number(today(), 500));
    seven.plant(&[0, 1], stands, Version { epoch: 1, counter: 2 }, "once", origin("k", "once", &[]));
    // Left by an earlier process on one replica, which was away when the second was placed.
    seven.plant(&[2], older, FIRST, "once", origin("k", "once", &[]));
    let store = bench.open();
    let again = placed(store.create_with("once", key("k")));
    assert_eq!((again.number, again.repeated), (stands, true));
    until("the older one is void", || is_gone(&store, older));
    assert_eq!(bench.live(&store), [stands].into());
}

#[test]
fn when_no_set_can_be_asked_a_strict_create_says_so_and_another_says_what_every_set_said() {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    // One replica of each is left.
    for set in &bench.sets {
        set.leave();
        set.gone[0].store(false, std::sync::atomic::Ordering::SeqCst);
    }
    let store = bench.open();
    let strict = ends(store.create_with("once", key("k").strict().deadline(SOON)));
    assert_eq!(strict, Err(Error::KeyUnverified { sets: vec![set(7), set(8)] }));
    let refused = ends(store.create_with("once", key("k").deadline(SOON)));
    assert!(matches!(refused, Err(Error::NotAttempted { .. })), "{refused:?}");
}
