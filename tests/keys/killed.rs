//! The process ends between two attempts, or between an attempt and its answer.

use crate::bench::{Bench, Set, ends, is_gone, key, payload_of, placed, set, today, until, until_nobody_is_busy};
use ordermint::{CreateOptions, OrderNumber, OrderStore, Placed};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// SET 7 takes a write on its first replica, and hangs on the others.
fn hang_most(set: &Set) {
    set.faults[1..].iter().for_each(|faults| faults.hang_applies());
}

fn patient(name: &str) -> CreateOptions {
    key(name).deadline(Duration::from_secs(20))
}

/// Creates until one was in doubt in SET 7 and went to SET 8; then the process is killed, before the first is void.
fn killed_after_the_second_attempt(bench: &mut Bench) -> (String, OrderNumber, Placed) {
    let store = bench.open();
    // So that both have numbers to give.
    (0..20).for_each(|at| drop(placed(store.create(format!("plain {at}")))));
    hang_most(bench.set(set(7)));
    for at in 0..100 {
        let name = format!("k{at}");
        let second = placed(store.create_with("once", patient(&name)));
        let in_seven = |first: &OrderNumber| first.set_id() == set(7);
        let Some(first) = second.superseded.first().copied().filter(in_seven) else { continue };
        assert_eq!((first.set_id(), second.number.set_id(), second.attempts), (set(7), set(8), 2));
        until("the first attempt is on one replica", || bench.set(set(7)).held(0, first).is_some());
        assert_eq!(bench.set(set(8)).origin(second.number).supersedes.len(), 1);
        bench.kill(store);
        return (name, first, second);
    }
    panic!("no create goes to SET 7 first");
}

fn second_stands(bench: &Bench, store: &OrderStore, (name, first, second): &(String, OrderNumber, Placed)) {
    let again = placed(store.create_with("once", patient(name)));
    assert_eq!((again.number, again.repeated), (second.number, true));
    until("the first attempt is void", || is_gone(store, *first));
    assert_eq!(payload_of(store, second.number), "once");
    assert!(!bench.live(store).contains(first));
}

#[test]
fn killed_after_the_second_attempt_the_second_stands_and_the_first_is_void() {
    let mut bench = Bench::new(&[7, 8]);
    let killed = killed_after_the_second_attempt(&mut bench);
    let store = bench.open();
    second_stands(&bench, &store, &killed);
    drop(store);
    second_stands(&bench, &bench.open(), &killed);
}

/// Then what is found on one replica cannot be written back as it is: another that is away may have something newer.
#[test]
fn so_it_is_while_a_replica_of_the_first_set_is_away() {
    let mut bench = Bench::new(&[7, 8]);
    let killed = killed_after_the_second_attempt(&mut bench);
    bench.set(set(7)).gone[2].store(true, Ordering::SeqCst);
    let store = bench.open();
    second_stands(&bench, &store, &killed);
    bench.set(set(7)).gone[2].store(false, Ordering::SeqCst);
    drop(store);
    second_stands(&bench, &bench.open(), &killed);
}

#[test]
fn so_it_is_when_the_one_replica_that_has_the_first_attempt_returns_later() {
    let mut bench = Bench::new(&[7, 8]);
    let killed = killed_after_the_second_attempt(&mut bench);
    bench.set(set(7)).gone[0].store(true, Ordering::SeqCst);
    let store = bench.open();
    second_stands(&bench, &store, &killed);
    bench.set(set(7)).gone[0].store(false, Ordering::SeqCst);
    drop(store);
    second_stands(&bench, &bench.open(), &killed);
}

#[test]
fn killed_during_the_only_attempt_its_order_is_found_or_never_was() {
    for hanging in [1, 2, 3] {
        let mut bench = Bench::new(&[7]);
        let store = bench.open();
        let plain = placed(store.create("plain")).number;
        until_nobody_is_busy(&store);
        let before = bench.set(set(7)).faults[0].applies();
        bench.set(set(7)).faults[3 - hanging..].iter().for_each(|faults| faults.hang_applies());
        let dropped = store.create_with("once", patient("k"));
        if hanging == 1 {
            drop(placed(dropped));
        } else {
            until("a write begins", || bench.set(set(7)).faults[0].applies() > before);
            let number = bench.set(set(7)).number(today(), plain.sequence() + 1);
            until("those that do not hang have it", || hanging == 3 || bench.set(set(7)).held(0, number).is_some());
            drop(dropped);
        }
        bench.kill(store);
        let store = bench.open();
        let again = placed(store.create_with("once", patient("k")));
        assert_eq!(again.repeated, hanging < 3, "{hanging} hung");
        let once_more = placed(store.create_with("once", patient("k")));
        assert_eq!((once_more.number, once_more.repeated), (again.number, true));
        assert_eq!(bench.live(&store).len(), 2);
        assert!(ends(store.get(again.number)).expect("it is read").is_some());
    }
}
