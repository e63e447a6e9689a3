//! The walk over request keys: what surfaces under a used key ends, although nobody creates with that key again.

use crate::bench::{Bench, ends, is_gone, key, origin, payload_of, placed, set, today, until};
use ordermint::{Alarm, Day, Error, OrderNumber, OrderStore, Origin, Reconciled, ReplicaState, Version};
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

/// Somebody found it by a scan, before anything could end it: an update of it was acknowledged.
#[test]
fn what_surfaced_and_was_changed_by_somebody_is_left_alone_and_named() {
    let bench = formed(&[7]);
    let seven = bench.set(set(7));
    let (changed, stands) = (seven.number(today(), 500), seven.number(today(), 501));
    seven.plant(&[0, 1, 2], stands, SECOND, "once", origin("k", "once", &[]));
    seven.plant(&[0, 1, 2], changed, Version { epoch: 1, counter: 9 }, "changed", origin("k", "once", &[]));
    let store = bench.open();
    for _ in 0..2 {
        let report = reconciled(&store);
        assert_eq!((report.alarms, report.voided), (vec![Alarm::KeyTwice { numbers: [changed, stands] }], 0));
        assert_eq!(bench.live(&store), [changed, stands].into());
        // The request itself is answered.
        let again = placed(store.create_with("once", key("k").strict()));
        assert_eq!((again.number, again.repeated), (stands, true));
    }
}

/// The key was used, forgotten and used again; then keys are looked for for longer.
#[test]
fn looking_for_longer_ends_no_order_that_used_a_key_again() {
    let day = |before: i64| Day::from_unix_days(today().to_unix_days() - before).expect("a day");
    let partly = |from: Day| Origin { partly_asked: vec![(set(7), 9)], looked_from: Some(from), ..origin("k", "once", &[]) };
    let unasked = |from: Day| Origin { looked_from: Some(from), ..origin("k", "once", &[7]) };
    for older in [origin("k", "once", &[7]), origin("k", "once", &[])] {
        for (id, newer) in [(7, origin("k", "once", &[])), (7, partly(day(2))), (8, partly(day(2))), (8, unasked(day(2)))] {
            // On the SET that the newer one did not hear, or on the one whose SET it did not hear itself.
            let bench = formed(&[7, 8]);
            let place = if older.unverified.is_empty() { 7 } else { 8 };
            let old = bench.set(set(place)).number(day(4), 500);
            let new = bench.set(set(id)).number(day(1), 501);
            bench.set(set(place)).plant(&[0, 1, 2], old, FIRST, "once", older.clone());
            bench.set(set(id)).plant(&[0, 1, 2], new, FIRST, "once", newer.clone());
            let store = bench.builder().request_key_days(7).open().expect("it opens");
            let report = reconciled(&store);
            assert!(report.is_clean(), "{report:?}");
            assert!(!is_gone(&store, old) && !is_gone(&store, new), "{older:?} {newer:?}");
        }
    }
}

/// More than a walk tells apart, most of them void for long.
#[test]
fn a_key_that_was_tried_very_often_is_looked_at_to_the_end() {
    let bench = formed(&[7]);
    let seven = bench.set(set(7));
    let plant = |at: &[usize], sequence: u64| {
        let number = seven.number(today(), sequence);
        let version = Version { epoch: 1, counter: sequence };
        seven.plant(at, number, version, "once", origin("k", "once", &[]));
        number
    };
    let attempts: Vec<OrderNumber> = (100..170).map(|sequence| plant(&[0, 1, 2], sequence)).collect();
    let stands = plant(&[0, 1, 2], 200);
    let store = bench.open();
    until("they are void", || reconciled(&store).is_clean() && attempts.iter().all(|number| voids(&bench, *number) == 3));
    let late = plant(&[1], 180);
    until("so is the last", || reconciled(&store).is_clean() && voids(&bench, late) == 3);
    assert_eq!(bench.live(&store), [stands].into());
}

/// What a SET that is away holds stands over both that are there.
#[test]
fn no_alarm_is_raised_while_a_set_is_away_that_may_know_better() {
    let bench = formed(&[7, 8, 9]);
    let plant = |id: u16, unasked: &[u16]| {
        let number = bench.set(set(id)).number(today(), 500);
        bench.set(set(id)).plant(&[0, 1, 2], number, FIRST, "once", origin("k", "once", unasked));
        number
    };
    let (one, other, stands) = (plant(7, &[]), plant(8, &[]), plant(9, &[7, 8]));
    bench.set(set(9)).leave();
    let store = bench.open();
    let report = reconciled(&store);
    assert_eq!((report.alarms.len(), report.undecided, report.voided), (0, 1, 0), "{report:?}");
    drop(store);
    bench.set(set(9)).come_back();
    let store = bench.open();
    until("the earlier ones are void", || reconciled(&store).is_clean() && voids(&bench, one) + voids(&bench, other) == 6);
    assert_eq!(bench.live(&store), [stands].into());
}

/// What is told for a key stands, also against an order that says that it was placed when the other's SET could not be asked.
#[test]
fn an_order_that_this_process_told_is_not_ended_by_one_that_was_away() {
    let bench = formed(&[7, 8]);
    let late = bench.set(set(8)).number(today(), 500);
    // As late as the told one looked there: by its record alone it would stand.
    let version = Version { epoch: 2, counter: 1 };
    bench.set(set(8)).gone[0].store(true, Ordering::SeqCst);
    let store = bench.open();
    store.drain_set(set(8)).expect("it drains");
    let told = placed(store.create_with("once", key("k").strict()));
    assert_eq!(told.number.set_id(), set(7));
    bench.set(set(8)).plant(&[0], late, version, "once", origin("k", "once", &[7]));
    bench.set(set(8)).gone[0].store(false, Ordering::SeqCst);
    store.bring_back_replica(set(8), 0).expect("it is brought back");
    until("the late one is void", || voids(&bench, late) == 3);
    assert!(reconciled(&store).is_clean());
    assert!(!is_gone(&store, told.number));
}

/// It hangs in reads: calling it off does not wait for it.
#[test]
fn a_walk_is_called_off_at_once_also_while_sets_hang() {
    let bench = formed(&[7, 8, 9]);
    let store = bench.open();
    (0..30).for_each(|at| drop(placed(store.create_with("once", key(&format!("k{at}"))))));
    for set in &bench.sets {
        set.faults.iter().for_each(|faults| faults.hang_reads());
    }
    let job = store.reconcile();
    std::thread::sleep(std::time::Duration::from_millis(100));
    job.cancel();
    let report = job.wait().expect("a walk ends");
    assert!(report.cancelled, "{report:?}");
    bench.sets.iter().for_each(|set| set.faults.iter().for_each(|faults| faults.release()));
    until("a later one is clean", || reconciled(&store).is_clean());
}

/// An order is told while a replica of another SET is away, by a process that looks further back than the one that placed it.
#[test]
fn telling_an_order_says_nothing_of_what_had_been_forgotten_when_it_was_placed() {
    let bench = formed(&[7, 8]);
    let day = |before: i64| Day::from_unix_days(today().to_unix_days() - before).expect("a day");
    let (old, new) = (bench.set(set(7)).number(day(4), 500), bench.set(set(8)).number(day(1), 500));
    for number in [old, new] {
        bench.set(number.set_id()).plant(&[0, 1, 2], number, FIRST, "once", origin("k", "once", &[]));
    }
    let open = || bench.builder().request_key_days(7).open().expect("it opens");
    bench.set(set(7)).gone[2].store(true, Ordering::SeqCst);
    let store = open();
    let told = placed(store.create_with("once", key("k").strict()));
    assert_eq!((told.number, told.repeated), (new, true));
    drop(store);
    bench.set(set(7)).gone[2].store(false, Ordering::SeqCst);
    let store = open();
    let report = reconciled(&store);
    assert!(report.is_clean(), "{report:?}");
    assert!(!is_gone(&store, old) && !is_gone(&store, new));
}

/// It doubts the SET, and has nothing to do with those that used the key again.
#[test]
fn an_old_order_that_doubts_a_set_ends_no_changed_one_there() {
    let bench = formed(&[7, 8]);
    let day = |before: i64| Day::from_unix_days(today().to_unix_days() - before).expect("a day");
    let old = bench.set(set(8)).number(day(10), 500);
    bench.set(set(8)).plant(&[0, 1, 2], old, FIRST, "once", origin("k", "once", &[7]));
    let (changed, stands) = (bench.set(set(7)).number(today(), 500), bench.set(set(7)).number(today(), 501));
    bench.set(set(7)).plant(&[0, 1, 2], stands, FIRST, "once", origin("k", "once", &[]));
    bench.set(set(7)).plant(&[0, 1, 2], changed, SECOND, "changed", origin("k", "once", &[]));
    let store = bench.open();
    until("there is an alarm", || reconciled(&store).alarms == [Alarm::KeyTwice { numbers: [changed, stands] }]);
    assert!([old, changed, stands].iter().all(|number| !is_gone(&store, *number)));
}

/// The SET was away for days, in which the key was forgotten and used again.
#[test]
fn an_earlier_order_on_a_set_that_was_away_ends_also_where_the_key_was_used_again() {
    let bench = formed(&[7, 8]);
    let day = |before: i64| Day::from_unix_days(today().to_unix_days() - before).expect("a day");
    let earlier = bench.set(set(7)).number(day(4), 500);
    bench.set(set(7)).plant(&[0, 1, 2], earlier, FIRST, "once", origin("k", "once", &[]));
    let (later, again) = (bench.set(set(8)).number(day(4), 500), bench.set(set(8)).number(day(1), 500));
    let doubting = Origin { looked_from: Some(day(5)), ..origin("k", "once", &[7]) };
    bench.set(set(8)).plant(&[0, 1, 2], later, FIRST, "once", doubting);
    bench.set(set(8)).plant(&[0, 1, 2], again, SECOND, "once", origin("k", "once", &[]));
    let store = bench.open();
    until("the earlier one is void", || reconciled(&store).is_clean() && voids(&bench, earlier) == 3);
    assert!(!is_gone(&store, later) && !is_gone(&store, again));
}

/// Both were placed there while it could not be asked, and written to all the same.
#[test]
fn of_two_on_a_set_that_each_could_not_ask_the_one_that_was_told_stands() {
    let bench = formed(&[7, 8]);
    let seven = bench.set(set(7));
    let told = seven.number(today(), 501);
    seven.plant(&[0, 1, 2], told, FIRST, "once", origin("k", "once", &[7]));
    let store = bench.open();
    let again = placed(store.create_with("once", key("k").strict()));
    assert_eq!((again.number, again.repeated), (told, true));
    let other = seven.number(today(), 400);
    seven.plant(&[0, 1, 2], other, Version { epoch: 1, counter: 3 }, "once", origin("k", "once", &[7]));
    until("the other is void", || reconciled(&store).is_clean() && voids(&bench, other) == 3);
    assert!(!is_gone(&store, told));
}
