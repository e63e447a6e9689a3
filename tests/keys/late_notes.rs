//! Notes that are heard late: their replica was away, or their SET, and meanwhile somebody was told something.

use crate::bench::{Bench, ends, is_gone, key, origin, placed, set, today, until};
use ordermint::{
    Alarm, Day, Error, Forced, OrderNumber, OrderStore, Origin, Reconciled, ReplicaState, Resolved, Retire, Version,
};
use std::sync::atomic::Ordering;

const FIRST: Version = Version { epoch: 1, counter: 7 };

fn formed() -> Bench {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    bench
}

fn day(after_today: i64) -> Day {
    Day::from_unix_days(today().to_unix_days() + after_today).expect("a day")
}

fn superseding(first: OrderNumber, unverified: &[u16]) -> Origin {
    Origin { supersedes: vec![(first, FIRST)], ..origin("k", "once", unverified) }
}

fn reconciled(store: &OrderStore) -> Reconciled {
    store.reconcile().wait().expect("a walk ends")
}

#[track_caller]
fn told_again(store: &OrderStore, number: OrderNumber) {
    let again = placed(store.create_with("once", key("k").strict()));
    assert_eq!((again.number, again.repeated), (number, true));
}

/// The second order was on one replica, and that is away: so nobody was told of it, and the first is what the key names.
#[test]
fn a_note_that_is_heard_after_the_first_order_was_told_ends_its_own_order() {
    let bench = formed();
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
    let second = bench.set(set(8)).number(today(), 500);
    bench.set(set(8)).plant(&[0], second, FIRST, "once", superseding(first, &[]));
    let gone = &bench.set(set(8)).gone[0];
    gone.store(true, Ordering::SeqCst);
    let store = bench.open();
    told_again(&store, first);
    gone.store(false, Ordering::SeqCst);
    store.bring_back_replica(set(8), 0).expect("it is brought back");
    until("it votes", || store.status().sets[1].replicas[0].state == ReplicaState::Voting);
    until("its order is void", || {
        reconciled(&store);
        bench.set(set(8)).held(1, second).is_some_and(|record| record.value.is_empty())
    });
    assert!(!is_gone(&store, first), "it was told");
    until("nothing is left to be done", || reconciled(&store).is_clean());
    told_again(&store, first);
    drop(store);
    let store = bench.open();
    assert!(reconciled(&store).is_clean());
    assert!(!is_gone(&store, first));
    told_again(&store, first);
}

/// The same where a process had begun to make the second one void, and was killed. That void names the first as well; it was on one
/// replica, so nobody was told that the second came to nothing. Whoever reads it has it on more of them, and in memory.
#[test]
fn a_void_that_is_heard_after_the_first_order_was_told_names_it_no_more() {
    for is_read in [false, true] {
        let bench = formed();
        let first = bench.set(set(7)).number(today(), 500);
        bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
        let second = bench.set(set(8)).number(today(), 500);
        bench.set(set(8)).plant_void(&[0], second, FIRST, superseding(first, &[]));
        let gone = &bench.set(set(8)).gone[0];
        gone.store(true, Ordering::SeqCst);
        let store = bench.builder().recent_bytes(if is_read { 1 << 20 } else { 0 }).open().expect("opens");
        told_again(&store, first);
        gone.store(false, Ordering::SeqCst);
        store.bring_back_replica(set(8), 0).expect("it is brought back");
        until("it votes", || store.status().sets[1].replicas[0].state == ReplicaState::Voting);
        if is_read {
            assert!(is_gone(&store, second));
        }
        until("its void names nobody", || {
            reconciled(&store);
            (0..3).all(|index| bench.set(set(8)).held(index, second).is_some_and(|record| record.origin.is_none()))
        });
        assert!(!is_gone(&store, first), "it was told");
        assert!(reconciled(&store).is_clean());
        told_again(&store, first);
        drop(store);
        let store = bench.open();
        assert!(reconciled(&store).is_clean());
        assert!(!is_gone(&store, first) && is_gone(&store, second));
        told_again(&store, first);
    }
}

/// A void on enough replicas was heard at open, before anybody was told anything.
#[test]
fn a_void_that_is_heard_first_ends_the_number_that_it_names() {
    for with_key in [true, false] {
        let bench = formed();
        let first = bench.set(set(7)).number(today(), 500);
        bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
        let second = bench.set(set(8)).number(today(), 500);
        let superseding = superseding(first, &[]);
        let request_key = superseding.request_key.clone().filter(|_| with_key);
        bench.set(set(8)).plant_void(&[0, 1], second, FIRST, Origin { request_key, ..superseding });
        let store = bench.open();
        assert!(is_gone(&store, first) && is_gone(&store, second));
        let again = placed(store.create_with("once", key("k").strict()));
        assert!(!again.repeated && ![first, second].contains(&again.number));
        until("nothing is left to be done", || reconciled(&store).is_clean());
        assert!((0..3).all(|index| bench.set(set(7)).held(index, first).is_some_and(|record| record.value.is_empty())));
        told_again(&store, again.number);
    }
}

/// The SETs need not be on the same day, nor on the day from which the key was looked for. Or the key was used again, as it may be after
/// two days: so none of them is made void.
#[test]
fn an_earlier_order_across_two_midnights_raises_an_alarm() {
    let bench = formed();
    let earlier = bench.set(set(7)).number(day(-1), 500);
    bench.set(set(7)).plant(&[0, 1, 2], earlier, FIRST, "once", origin("k", "once", &[]));
    let later = bench.set(set(8)).number(day(1), 500);
    bench.set(set(8)).plant(&[0, 1, 2], later, FIRST, "once", origin("k", "once", &[7]));
    let store = bench.open();
    until("there is an alarm", || reconciled(&store).alarms == [Alarm::KeyTwice { numbers: [earlier, later] }]);
    assert!(!is_gone(&store, earlier) && !is_gone(&store, later));
    assert_eq!(ends(store.create_with("once", key("k"))), Err(Error::KeyConflict { numbers: vec![earlier, later] }));
}

/// Nothing waits for it any more, in this process or a later one.
#[test]
fn what_concerns_a_set_that_is_lost_for_good_is_settled() {
    for notes in [|first| superseding(first, &[]), |_| origin("k", "once", &[7])] {
        let bench = formed();
        let first = bench.set(set(7)).number(today(), 500);
        bench.set(set(7)).plant(&[0], first, FIRST, "once", origin("k", "once", &[]));
        let second = bench.set(set(8)).number(today(), 500);
        bench.set(set(8)).plant(&[0, 1, 2], second, FIRST, "once", notes(first));
        bench.set(set(7)).faults.iter().for_each(|faults| faults.hang_applies());
        let store = bench.open();
        store.force_breaker(set(7), Forced::Open).expect("it has its way");
        store.retire_set(set(7), Retire::Lost).expect("it is retired");
        for _ in 0..2 {
            let report = reconciled(&store);
            assert!(report.notes == 1 && report.is_clean(), "{report:?}");
        }
        drop(store);
        let store = bench.builder_of(&[8]).open().expect("opens");
        let report = reconciled(&store);
        assert!(report.notes == 1 && report.is_clean(), "{report:?}");
        assert!(!is_gone(&store, second));
    }
}

/// A number that was given up, on one replica of SET 8, another of which is away; and the order that stands in for it, in SET 7, which
/// cannot be asked.
fn given_up_and_away(bench: &Bench, with_key: bool) -> (OrderNumber, OrderNumber) {
    let plain = |origin: Origin| if with_key { origin } else { Origin { request_key: None, unverified: vec![], ..origin } };
    let first = bench.set(set(8)).number(today(), 500);
    bench.set(set(8)).plant(&[0], first, FIRST, "once", plain(origin("k", "once", &[7])));
    let second = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], second, FIRST, "once", plain(superseding(first, &[])));
    bench.set(set(7)).leave();
    bench.set(set(8)).gone[2].store(true, Ordering::SeqCst);
    (first, second)
}

/// By another process, with all replicas.
fn reopened(bench: &Bench, store: OrderStore) -> OrderStore {
    drop(store);
    bench.set(set(7)).come_back();
    bench.set(set(8)).come_back();
    bench.open()
}

/// Whoever reads it writes it anew, under a newer version. Nobody asked for that.
#[test]
fn a_number_that_was_only_read_before_its_note_was_heard_ends_all_the_same() {
    for with_key in [true, false] {
        let bench = formed();
        let (first, second) = given_up_and_away(&bench, with_key);
        let store = bench.open();
        let shown = ends(store.get(first)).expect("it is read").expect("it is there");
        assert!(shown.version > FIRST);
        assert_eq!(bench.set(set(8)).origin(first).copy_of, Some(FIRST));

        let store = reopened(&bench, store);
        until("nothing is left to be done", || reconciled(&store).is_clean());
        assert!(is_gone(&store, first) && !is_gone(&store, second), "with a key: {with_key}");
        if with_key {
            told_again(&store, second);
        }
    }
}

/// Then there are two orders, and somebody has to look.
#[test]
fn a_number_that_was_changed_before_its_note_was_heard_stays_and_raises_an_alarm() {
    let bench = formed();
    let (first, second) = given_up_and_away(&bench, false);
    let store = bench.open();
    let shown = ends(store.get(first)).expect("it is read").expect("it is there");
    let version = ends(store.update(first, shown.version, "changed")).expect("it is changed");
    assert_eq!(bench.set(set(8)).held(0, first).expect("it is there").origin, None, "no copy any more");

    let store = reopened(&bench, store);
    until("there is an alarm", || reconciled(&store).alarms == [Alarm::Alive { number: first, version }]);
    assert!(!is_gone(&store, first) && !is_gone(&store, second));
}

/// That answer is final.
#[test]
fn what_resolve_said_before_a_note_was_heard_stays_and_raises_an_alarm() {
    let bench = formed();
    let (first, _) = given_up_and_away(&bench, false);
    let store = bench.open();
    let token = format!("{first}@{FIRST}").parse().expect("a token");
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    bench.set(set(7)).come_back();
    (0..3).for_each(|index| store.bring_back_replica(set(7), index).expect("it is brought back"));
    let is_alive = |alarm: &Alarm| matches!(alarm, Alarm::Alive { number, .. } if *number == first);
    until("there is an alarm", || reconciled(&store).alarms.iter().any(is_alive));
    assert!(!is_gone(&store, first));
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
}

/// Also where it needed no copy, as enough replicas held it.
#[test]
fn what_resolve_said_of_a_number_on_all_replicas_stays_as_well() {
    let bench = formed();
    let (first, _) = given_up_and_away(&bench, false);
    bench.set(set(8)).plant(&[0, 1, 2], first, FIRST, "once", Origin::default());
    bench.set(set(8)).come_back();
    let store = bench.open();
    let token = format!("{first}@{FIRST}").parse().expect("a token");
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    bench.set(set(7)).come_back();
    (0..3).for_each(|index| store.bring_back_replica(set(7), index).expect("it is brought back"));
    let is_alive = |alarm: &Alarm| matches!(alarm, Alarm::Alive { number, .. } if *number == first);
    until("there is an alarm", || {
        assert!(!is_gone(&store, first), "resolve said that it is stored");
        reconciled(&store).alarms.iter().any(is_alive)
    });
    assert!(!is_gone(&store, first));
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
}

/// Somebody found the second order before the walk did, and changed it: then two orders were told.
#[test]
fn an_order_that_came_to_light_and_was_changed_is_not_ended_by_the_one_that_was_told() {
    let bench = formed();
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
    let gone = &bench.set(set(8)).gone[0];
    gone.store(true, Ordering::SeqCst);
    let store = bench.open();
    told_again(&store, first);
    let second = bench.set(set(8)).number(today(), 500);
    let changed = Version { epoch: 2, counter: 9 };
    bench.set(set(8)).plant(&[0, 1, 2], second, changed, "changed", superseding(first, &[]));
    gone.store(false, Ordering::SeqCst);
    store.bring_back_replica(set(8), 0).expect("it is brought back");
    let is_named = |alarm: &Alarm| *alarm == Alarm::KeyTwice { numbers: [first, second] };
    until("there is an alarm", || reconciled(&store).alarms.iter().any(is_named));
    reconciled(&store);
    assert!(!is_gone(&store, first) && !is_gone(&store, second), "neither is made void");
    told_again(&store, first);
}
