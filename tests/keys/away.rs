//! Replicas that are away while a key is used, with an attempt of a process that was killed: what comes to light with them.

use crate::bench::{Bench, ends, is_gone, key, origin, placed, set, today, until};
use ordermint::{
    Alarm, CreateOptions, Error, OrderNumber, OrderStore, Origin, Placed, Quorum, Reconciled, ReplicaState, Version,
};
use std::sync::atomic::Ordering;

const FIRST: Version = Version { epoch: 1, counter: 7 };

fn formed(ids: &[u16]) -> Bench {
    let bench = Bench::new(ids);
    drop(bench.open());
    bench
}

fn leaves(bench: &Bench, id: u16, index: u8) {
    bench.set(set(id)).gone[usize::from(index)].store(true, Ordering::SeqCst);
}

fn returns(bench: &Bench, store: &OrderStore, id: u16, index: u8) {
    bench.set(set(id)).gone[usize::from(index)].store(false, Ordering::SeqCst);
    store.bring_back_replica(set(id), index).expect("it is brought back");
    let votes = |store: &OrderStore| {
        let sets = store.status().sets;
        let one = sets.iter().find(|status| status.id == set(id)).expect("it is there");
        one.replicas[usize::from(index)].state == ReplicaState::Voting
    };
    until("it votes", || votes(store));
}

/// Reading it would not do: that may write.
fn is_void_everywhere(bench: &Bench, number: OrderNumber) -> bool {
    let is_void = |index| bench.set(number.set_id()).held(index, number).is_some_and(|record| record.value.is_empty());
    (0..3).all(is_void)
}

fn reconciled(store: &OrderStore) -> Reconciled {
    store.reconcile().wait().expect("a walk ends")
}

/// In SET `id`, and not in the other.
fn placed_in(store: &OrderStore, id: u16, other: u16) -> Placed {
    store.drain_set(set(other)).expect("it drains");
    let placed = placed(store.create_with("once", key("k").strict()));
    assert_eq!((placed.number.set_id(), placed.repeated), (set(id), false));
    placed
}

#[test]
fn an_attempt_that_was_away_while_another_set_took_the_order_becomes_void_when_it_returns() {
    let bench = formed(&[7, 8]);
    let attempt = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[2], attempt, FIRST, "once", origin("k", "once", &[]));
    leaves(&bench, 7, 2);
    let store = bench.open();
    let stands = placed_in(&store, 8, 7);
    let says = bench.set(set(8)).origin(stands.number).partly_asked;
    assert_eq!(says.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [set(7)], "SET 8 told all");
    drop(store);
    // The process that placed it is gone, and what it remembered.
    for comes_back_open in [true, false] {
        let store = bench.open();
        if comes_back_open {
            assert!(reconciled(&store).is_clean());
            returns(&bench, &store, 7, 2);
        }
        until("the attempt is void", || is_void_everywhere(&bench, attempt));
        let report = reconciled(&store);
        assert!(report.is_clean(), "{report:?}");
        assert_eq!(bench.live(&store), [stands.number].into());
        let again = placed(store.create_with("once", key("k").strict()));
        assert_eq!((again.number, again.repeated), (stands.number, true));
    }
}

/// The second order was on one replica, which was away when a later process told the first one; and that process is gone as well.
#[test]
fn a_note_that_was_away_while_the_first_order_was_told_ends_its_own_order_in_whatever_process() {
    // On another SET, and on the same.
    for id in [8, 7] {
        let bench = formed(&[7, 8]);
        let (first, second) = (bench.set(set(7)).number(today(), 500), bench.set(set(id)).number(today(), 501));
        bench.set(set(7)).plant(&[0, 1], first, FIRST, "once", origin("k", "once", &[]));
        let note = Origin { supersedes: vec![(first, FIRST)], ..origin("k", "once", &[]) };
        bench.set(set(id)).plant(&[2], second, FIRST, "once", note);
        leaves(&bench, id, 2);
        let store = bench.open();
        let told = placed(store.create_with("once", key("k").strict()));
        assert_eq!((told.number, told.repeated), (first, true));
        let says = bench.set(set(7)).origin(first).partly_asked;
        assert_eq!(says.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [set(id)]);
        drop(store);

        let store = bench.open();
        returns(&bench, &store, id, 2);
        until("the second is void", || is_void_everywhere(&bench, second));
        let report = reconciled(&store);
        let expected = [Alarm::Alive { number: first, version: told.version }];
        assert!(report.alarms.is_empty() || report.alarms == expected, "nothing else: {report:?}");
        assert_eq!(report.open_count, 0, "{report:?}");
        assert!(!is_gone(&store, first), "it was told");
        let again = placed(store.create_with("once", key("k").strict()));
        assert_eq!((again.number, again.repeated, again.version), (first, true, told.version));
        drop(store);
        let store = bench.open();
        assert!(reconciled(&store).is_clean());
        assert_eq!(bench.live(&store), [first].into());
    }
}

/// Nothing is written then: while this process runs it remembers what it told.
#[test]
fn a_known_order_is_told_also_where_its_set_cannot_be_written_to() {
    let bench = Bench::new(&[7]);
    let open = || bench.builder().quorum(Quorum::new(3, 2, 3).expect("a quorum")).open().expect("the store opens");
    let store = open();
    let first = placed(store.create_with("once", key("k")));
    drop(store);
    leaves(&bench, 7, 1);
    let store = open();
    for _ in 0..2 {
        let again = placed(store.create_with("once", key("k").strict()));
        assert_eq!((again.number, again.repeated, again.version), (first.number, true, first.version));
    }
    assert!(matches!(ends(store.create_with("once", key("other"))), Err(Error::NotAttempted { .. })));
}

#[test]
fn while_all_replicas_are_heard_a_record_says_nothing_of_them_and_repeating_writes_nothing() {
    let bench = formed(&[7, 8]);
    let store = bench.open();
    ends(store.compared()).expect("they agree");
    let first = placed(store.create_with("once", key("k")));
    let says = |number: OrderNumber| bench.set(number.set_id()).origin(number).partly_asked;
    assert_eq!(says(first.number), []);
    drop(store);
    let store = bench.open();
    let again = placed(store.create_with("once", key("k")));
    assert_eq!((again.number, again.version, says(first.number)), (first.number, first.version, vec![]));
}

/// The walk over notes has come to it first, and found that the first order was changed since it was given up.
#[test]
fn a_number_that_was_given_up_and_stands_still_counts_when_its_key_is_looked_at() {
    let bench = formed(&[7, 8]);
    let first = bench.set(set(7)).number(today(), 500);
    let told = Origin { partly_asked: vec![(set(8), 99)], ..origin("k", "once", &[]) };
    bench.set(set(7)).plant(&[0, 1, 2], first, Version { epoch: 1, counter: 9 }, "once", told);
    let note = Origin { supersedes: vec![(first, FIRST)], ..Origin::default() };
    bench.set(set(8)).plant(&[0, 1, 2], bench.set(set(8)).number(today(), 400), FIRST, "another", note);
    let store = bench.open();
    until("there is an alarm", || reconciled(&store).alarms.iter().any(|alarm| matches!(alarm, Alarm::Alive { .. })));
    let second = bench.set(set(8)).number(today(), 501);
    bench.set(set(8)).plant(&[0, 1, 2], second, FIRST, "once", origin("k", "once", &[]));
    until("the second is void", || {
        reconciled(&store);
        is_void_everywhere(&bench, second)
    });
    assert!(!is_gone(&store, first));
}

/// What would have to be written before it is told has no room just now: that is no reason to leave it out.
#[test]
fn while_its_set_is_busy_an_order_is_not_told_without_its_record() {
    let bench = formed(&[7, 8]);
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
    leaves(&bench, 8, 2);
    let store = bench.builder().max_in_flight(1, 1 << 20).open().expect("it opens");
    ends(store.compared()).expect("they are compared");
    store.drain_set(set(8)).expect("it drains");
    bench.set(set(7)).faults.iter().for_each(|faults| faults.hang_applies());
    let holding = store.create_with("another", CreateOptions::new().deadline(std::time::Duration::from_secs(30)));
    let busy = ends(store.create_with("once", key("k").deadline(crate::bench::SOON)));
    assert!(busy.as_ref().is_err_and(Error::is_retryable), "{busy:?}");
    bench.set(set(7)).faults.iter().for_each(|faults| faults.release());
    assert_eq!(placed(holding).number.set_id(), set(7));
    let told = placed(store.create_with("once", key("k")));
    assert_eq!((told.number, told.repeated), (first, true));
    assert_eq!(bench.set(set(7)).origin(first).partly_asked.len(), 1, "its record says which SET was asked in part");
}

/// What a void says of another number with its key is heeded by whoever looks the key up, not only by a walk.
#[test]
fn a_number_that_a_void_of_its_key_says_to_end_is_told_to_nobody() {
    let bench = formed(&[7, 8]);
    let store = bench.open();
    assert!(reconciled(&store).is_clean());
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1], first, FIRST, "once", origin("k", "once", &[]));
    let second = bench.set(set(8)).number(today(), 500);
    let note = Origin { supersedes: vec![(first, FIRST)], ..origin("k", "once", &[]) };
    bench.set(set(8)).plant_void(&[0, 1, 2], second, Version { epoch: 1, counter: 9 }, note);
    // The next walk is far off.
    let new = placed(store.create_with("once", key("k").strict()));
    assert!(!new.repeated && new.number != first);
    until("the first is void", || is_void_everywhere(&bench, first));
    assert_eq!(bench.live(&store), [new.number].into());
}

/// The order is there. A token of what was to be written first would say that it is not.
#[test]
fn an_order_whose_record_cannot_be_written_in_time_is_no_create_in_doubt() {
    let bench = formed(&[7, 8]);
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], first, FIRST, "once", origin("k", "once", &[]));
    leaves(&bench, 8, 2);
    let store = bench.open();
    ends(store.compared()).expect("they are compared");
    bench.set(set(7)).faults.iter().for_each(|faults| faults.hang_applies());
    let late = ends(store.create_with("once", key("k").deadline(crate::bench::SOON)));
    assert!(matches!(late, Err(Error::NotAttempted { .. })), "{late:?}");
    bench.set(set(7)).faults.iter().for_each(|faults| faults.release());
    let told = placed(store.create_with("once", key("k")));
    assert_eq!((told.number, told.repeated), (first, true));
    assert_eq!(bench.live(&store), [first].into());
}
