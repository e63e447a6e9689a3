//! The walk over request keys: what surfaces under a used key ends, although nobody creates with that key again.

use crate::bench::{Bench, ends, is_gone, key, origin, payload_of, placed, set, today, until};
use ordermint::{Alarm, Error, OrderNumber, OrderStore, Reconciled, ReplicaState, Version};
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

const FIRST: Version = Version { epoch: 1, counter: 7 };
const SECOND: Version = Version { epoch: 1, counter: 8 };

fn formed(ids: &[u16]) -> Bench {
    let bench = Bench::new(ids);
    drop(bench.open());
    bench
}

fn reconciled(store: &OrderStore) -> Reconciled {
    store.reconcile().wait().expect("a walk ends")
}

/// No replica holds it as an order, and so many hold it as void. Reading it would not do: that may write.
fn voids(bench: &Bench, number: OrderNumber) -> usize {
    let held = (0..3).filter_map(|index| bench.set(number.set_id()).held(index, number));
    held.filter(|record| record.value.is_empty()).count()
}

/// An order, and an earlier attempt with its key which a process that ended left on one replica.
fn with_an_attempt(bench: &Bench, name: &str, at: u64) -> (OrderNumber, OrderNumber) {
    let seven = bench.set(set(7));
    let (attempt, stands) = (seven.number(today(), at), seven.number(today(), at + 1));
    seven.plant(&[0, 1], stands, SECOND, "once", origin(name, "once", &[]));
    seven.plant(&[2], attempt, FIRST, "once", origin(name, "once", &[]));
    (attempt, stands)
}

#[test]
fn what_a_replica_brings_back_under_a_used_key_becomes_void_by_itself() {
    let bench = formed(&[7, 8]);
    let (attempt, stands) = with_an_attempt(&bench, "k", 500);
    let gone = &bench.set(set(7)).gone[2];
    gone.store(true, Ordering::SeqCst);
    let store = bench.open();
    let report = reconciled(&store);
    assert!(report.is_clean() && (report.keys, report.voided) == (1, 0), "{report:?}");
    gone.store(false, Ordering::SeqCst);
    store.bring_back_replica(set(7), 2).expect("it is brought back");
    until("it votes", || store.status().sets[0].replicas[2].state == ReplicaState::Voting);
    // Nobody asks for a walk, nor for the key, nor for the number.
    until("the attempt is void", || voids(&bench, attempt) == 3);
    assert_eq!(bench.live(&store), [stands].into());
    let again = placed(store.create_with("once", key("k").strict()));
    assert_eq!((again.number, again.repeated), (stands, true));
}

#[test]
fn what_surfaces_under_a_newer_order_on_its_set_becomes_void_whatever_its_payload() {
    let bench = formed(&[7]);
    let seven = bench.set(set(7));
    let (attempt, stands) = (seven.number(today(), 500), seven.number(today(), 501));
    seven.plant(&[0, 1, 2], stands, SECOND, "twice", origin("k", "twice", &[]));
    seven.plant(&[1], attempt, FIRST, "once", origin("k", "once", &[]));
    let store = bench.open();
    until("the attempt is void", || reconciled(&store).is_clean() && voids(&bench, attempt) == 3);
    assert_eq!(payload_of(&store, stands), "twice");
    assert_eq!(ends(store.create_with("once", key("k"))), Err(Error::KeyReused { number: stands }));
}

/// Of several pages of several SETs, in which most keys name one order.
#[test]
fn one_walk_ends_all_that_surfaces_and_nothing_else() {
    let bench = formed(&[7, 8, 9]);
    let attempts: Vec<_> = (0..40).map(|at| with_an_attempt(&bench, &format!("k{}", 17 * at), 2_000 + 2 * at)).collect();
    let store = bench.open();
    let names = (0..1_000).filter(|at| at % 17 != 0 || *at >= 17 * 40).map(|at| format!("k{at}"));
    let pending: Vec<_> = names.map(|name| store.create_with("once", key(&name))).collect();
    let mut stand: BTreeSet<OrderNumber> = pending.into_iter().map(|pending| placed(pending).number).collect();
    stand.extend(attempts.iter().map(|(_, stands)| *stands));
    // What a walk in the background has ended already is counted, and not again.
    until("nothing is left to be done", || {
        let report = reconciled(&store);
        assert_eq!((report.keys, report.alarms.len(), report.undecided), (1_040, 0, 0), "{report:?}");
        report.is_clean()
    });
    for (attempt, _) in attempts {
        assert_eq!(voids(&bench, attempt), 3, "{attempt} surfaced under a used key");
    }
    assert_eq!(bench.live(&store), stand);
}

/// It may have been told to somebody, or the other may: the records do not say.
#[test]
fn two_orders_of_which_neither_knows_of_the_other_raise_an_alarm_and_stay() {
    let bench = formed(&[7, 8]);
    let numbers = [7, 8].map(|id| {
        let number = bench.set(set(id)).number(today(), 500);
        bench.set(set(id)).plant(&[0, 1, 2], number, FIRST, "once", origin("k", "once", &[]));
        number
    });
    let mut ascending = numbers;
    ascending.sort_unstable();
    for _ in 0..2 {
        let store = bench.open();
        let report = reconciled(&store);
        assert_eq!((report.alarms.as_slice(), report.voided), (&[Alarm::KeyTwice { numbers: ascending }][..], 0));
        assert!(!report.is_clean());
        assert!(numbers.iter().all(|number| !is_gone(&store, *number)), "none is made void on a guess");
    }
}

/// A SET that cannot be asked may hold what stands over both.
#[test]
fn while_a_set_cannot_be_asked_nothing_is_decided() {
    let bench = formed(&[7, 8]);
    bench.set(set(8)).leave();
    let (attempt, stands) = with_an_attempt(&bench, "k", 500);
    let store = bench.open();
    let report = reconciled(&store);
    assert_eq!((report.undecided, report.voided, report.unreachable), (1, 0, vec![set(8)]));
    assert_eq!(voids(&bench, attempt), 0);
    drop(store);
    bench.set(set(8)).come_back();
    let store = bench.open();
    until("the attempt is void", || reconciled(&store).is_clean() && voids(&bench, attempt) == 3);
    assert_eq!(bench.live(&store), [stands].into());
}

/// The walk takes its turn on the key: neither disturbs the other.
#[test]
fn walks_beside_creates_with_the_same_keys_leave_one_order_of_each() {
    let bench = formed(&[7, 8]);
    let attempts: Vec<_> = (0..60).map(|at| with_an_attempt(&bench, &format!("k{at}"), 2_000 + 2 * at)).collect();
    let store = bench.open();
    std::thread::scope(|scope| {
        scope.spawn(|| (0..5).for_each(|_| _ = reconciled(&store)));
        for _ in 0..2 {
            scope.spawn(|| {
                for (at, (_, stands)) in attempts.iter().enumerate() {
                    let told = placed(store.create_with("once", key(&format!("k{at}")).strict()));
                    assert_eq!((told.number, told.repeated), (*stands, true));
                }
            });
        }
    });
    until("nothing is left to be done", || reconciled(&store).is_clean());
    assert!(attempts.iter().all(|(attempt, _)| voids(&bench, *attempt) == 3));
    assert_eq!(bench.live(&store), attempts.iter().map(|(_, stands)| *stands).collect());
}
