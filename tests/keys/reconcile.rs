//! What `reconcile` does where a request key names two orders because a SET could not be asked, without anybody creating again.

use crate::bench::{Bench, ends, is_gone, key, origin, payload_of, placed, set, today, until};
use ordermint::{Alarm, Day, Error, Forced, OrderNumber, OrderStore, Origin, Placed, ReadOptions, SetId, Version};

/// Keys, one of which is tried after the other until its order lies in `id`.
fn placed_in(store: &OrderStore, id: SetId) -> (String, Placed) {
    let names = (0..200).map(|at| format!("k{at}"));
    let found = names.map(|name| (name.clone(), placed(store.create_with("once", key(&name)))));
    found.into_iter().find(|(_, placed)| placed.number.set_id() == id).expect("some lie there")
}

/// The same key again, while `away` cannot be asked; by another process, which knows only what the records say.
fn created_again(bench: &Bench, name: &str, away: SetId) -> (OrderStore, Placed) {
    let store = bench.open();
    store.force_breaker(away, Forced::Open).expect("it is there");
    let again = placed(store.create_with("once", key(name)));
    assert_eq!((again.repeated, again.unverified.as_slice()), (false, &[away][..]));
    (store, again)
}

#[test]
fn the_earlier_order_of_a_set_that_could_not_be_asked_becomes_void_acknowledged_or_not() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let (name, first) = placed_in(&store, set(7));
    drop(store);
    let (store, second) = created_again(&bench, &name, set(7));
    let report = ends_well(&store);
    assert_eq!(report.unverified, 1, "SET 7 can still not be asked: {report:?}");
    assert!(!is_gone(&store, second.number));

    store.force_breaker(set(7), Forced::Auto).expect("it is there");
    until("nothing is left to be done", || ends_well(&store).is_clean());
    assert!(is_gone(&store, first.number), "the earlier one is made void");
    assert!(!is_gone(&store, second.number), "the later one stands");
    let told = placed(store.create_with("once", key(&name)));
    assert_eq!((told.number, told.repeated), (second.number, true));
}

#[test]
fn two_orders_that_each_hold_the_others_set_unverified_raise_an_alarm_and_stay() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    store.force_breaker(set(8), Forced::Open).expect("it is there");
    let first = placed(store.create_with("once", key("k")));
    assert_eq!((first.number.set_id(), first.unverified.as_slice()), (set(7), &[set(8)][..]));
    drop(store);
    let (store, second) = created_again(&bench, "k", set(7));
    store.force_breaker(set(7), Forced::Auto).expect("it is there");
    let mut numbers = [first.number, second.number];
    numbers.sort_unstable();
    until("there is an alarm", || ends_well(&store).alarms == [Alarm::KeyTwice { numbers }]);
    assert_eq!(store.status().alarms, [Alarm::KeyTwice { numbers }]);
    assert!(!is_gone(&store, first.number) && !is_gone(&store, second.number), "neither is voided");
    assert_eq!(ends(store.create_with("once", key("k"))), Err(Error::KeyConflict { numbers: numbers.to_vec() }));
}

/// An order stands in for a number, and somebody was told of that number all the same and changed it: which of the two counts is
/// not for the store to say.
#[test]
fn a_number_that_was_given_up_and_changed_since_is_never_voided_and_raises_an_alarm() {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    let [given_up, changed, instead] = [1, 2, 1].map(|counter| Version { epoch: 1, counter });
    let first = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], first, changed, "changed", Origin::default());
    let second = bench.set(set(8)).number(today(), 500);
    let stands_in = Origin { supersedes: vec![(first, given_up)], ..Origin::default() };
    bench.set(set(8)).plant(&[0, 1, 2], second, instead, "placed", stands_in);
    let alarms = [Alarm::Alive { number: first, version: changed }];
    let held = || (0..3).map(|index| bench.set(set(7)).held(index, first)).collect::<Vec<_>>();
    let before = held();
    for _ in 0..2 {
        let store = bench.open();
        for _ in 0..2 {
            let report = ends_well(&store);
            assert_eq!((report.notes, report.open_count, report.voided), (1, 0, 0), "{report:?}");
            assert_eq!(report.alarms, alarms);
            assert!(!report.is_clean());
        }
        assert_eq!(store.status().alarms, alarms);
        for (number, payload) in [(first, "changed"), (second, "placed")] {
            assert_eq!(payload_of(&store, number), payload);
        }
        assert_eq!(bench.live(&store), [first, second].into());
        assert_eq!(held(), before, "it is left as it is");
    }
}

/// The key was forgotten and used again: the later order has nothing to do with the first, though that was placed unverified.
#[test]
fn an_order_that_used_a_forgotten_key_again_is_left_alone_by_every_later_process() {
    let bench = Bench::new(&[7, 8]);
    drop(bench.open());
    let long_ago = Day::from_unix_days(today().to_unix_days() - 10).expect("a day");
    let version = Version { epoch: 1, counter: 1 };
    let old = bench.set(set(8)).number(long_ago, 500);
    bench.set(set(8)).plant(&[0, 1, 2], old, version, "old", origin("k", "old", &[7]));
    let new = bench.set(set(7)).number(today(), 500);
    bench.set(set(7)).plant(&[0, 1, 2], new, version, "new", origin("k", "new", &[]));
    for _ in 0..2 {
        let store = bench.open();
        let report = ends_well(&store);
        assert!(report.notes >= 1 && report.is_clean(), "{report:?}");
        assert!(stands(&store, new) && stands(&store, old));
    }
}

fn stands(store: &OrderStore, number: OrderNumber) -> bool {
    ends(store.get_with(number, ReadOptions::strong())).is_ok_and(|order| order.is_some())
}

fn ends_well(store: &OrderStore) -> ordermint::Reconciled {
    store.reconcile().wait().expect("a walk ends")
}
