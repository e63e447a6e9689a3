//! One sick replica of three hurts nobody; two of three are said to be too many, and nothing acknowledged is lost.

use crate::bench::*;
use ordermint::testing::FaultControl;
use ordermint::{CreateOptions, Error, NotAttempted, ReadOptions, ReplicaState};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// What `status()` is to say.
#[derive(Clone, Copy, PartialEq)]
enum Says {
    Out,
    /// It votes, and there is a reason to look at it.
    Odd,
    Nothing,
}

type Sickness = (&'static str, fn(&FaultControl), Says);

const SICKNESSES: [Sickness; 10] = [
    ("fails before the write", |faults| faults.fail_applies(1), Says::Out),
    ("fails after the write", |faults| faults.fail_after_apply(1), Says::Out),
    ("full", FaultControl::fill_disk, Says::Out),
    ("panics in apply", |faults| faults.panic_applies(1), Says::Out),
    ("hangs in apply", FaultControl::hang_applies, Says::Odd),
    ("slow to write", |faults| faults.delay_applies(Duration::from_millis(20)), Says::Nothing),
    ("panics in get", |faults| faults.panic_reads(1), Says::Out),
    ("hangs in get", FaultControl::hang_reads, Says::Odd),
    ("fails to read", |faults| faults.fail_reads(7), Says::Nothing),
    ("slow to read", |faults| faults.delay_reads(Duration::from_millis(20)), Says::Nothing),
];

#[test]
fn one_sick_replica_of_three_stops_nobody_and_status_names_it() {
    for (what, sicken, says) in SICKNESSES {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        ends(store.compared()).expect("nothing to compare");
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "before", 20, &mut acknowledged);
        sicken(&bench.faults[1]);
        create_some(&store, what, 20, &mut acknowledged);
        all_are_there(&store, &acknowledged);
        assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len(), "{what}");
        match says {
            Says::Out => until(what, || is_out(&replica(&store, 1))),
            Says::Odd => until(what, || replica(&store, 1).reason.is_some()),
            Says::Nothing => {}
        }
        for well in [0, 2] {
            // On a busy machine it may seem to hang for a while.
            until(&format!("{well} is well while another {what}"), || {
                let status = replica(&store, well);
                assert_eq!(status.state, ReplicaState::Voting, "{what}");
                status.reason.is_none()
            });
        }
        create_some(&store, what, 20, &mut acknowledged);
        bench.release_all();
        ends(store.close()).unwrap_or_else(|error| panic!("{what}: {error}"));
        bench.faults[1].fail_reads(0);

        let store = bench.open();
        all_are_there(&store, &acknowledged);
        assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len(), "{what}");
    }
}

#[test]
fn a_missing_replica_is_named_and_missed_by_nobody() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let store = bench.open();
    create_some(&store, "before", 20, &mut acknowledged);
    ends(store.close()).expect("closed");
    for missing in 0..3 {
        bench.gone[missing].store(true, Ordering::SeqCst);
        let store = bench.open();
        assert_eq!(replica(&store, missing).state, ReplicaState::Missing);
        create_some(&store, "without", 20, &mut acknowledged);
        all_are_there(&store, &acknowledged);
        ends(store.close()).expect("closed");
        bench.gone[missing].store(false, Ordering::SeqCst);
    }
    let store = bench.open();
    all_are_there(&store, &acknowledged);
    assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len());
}

#[test]
fn two_sick_writers_of_three_end_creates_by_their_deadline_and_lose_nothing_acknowledged() {
    for (what, sicken, _) in &SICKNESSES[..5] {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "before", 20, &mut acknowledged);
        sicken(&bench.faults[0]);
        sicken(&bench.faults[2]);
        for _ in 0..3 {
            let started = Instant::now();
            match ends(store.create_with("in vain", CreateOptions::new().deadline(Duration::from_millis(500)))) {
                Err(Error::Ambiguous { need: 2, .. }) => {}
                Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { need: 2, of: 3, .. } }) => {}
                other => panic!("{what}: {other:?}"),
            }
            assert!(started.elapsed() < Duration::from_secs(20), "{what}: far beyond the deadline");
        }
        bench.release_all();
        let _ = ends(store.close());
        let store = bench.open();
        all_are_there(&store, &acknowledged);
    }
}

#[test]
fn two_sick_readers_of_three_end_reads_by_their_deadline() {
    let sicknesses: [(&str, fn(&FaultControl)); 3] = [
        ("panics", |faults| faults.panic_reads(1)),
        ("hangs", FaultControl::hang_reads),
        ("fails", |faults| faults.fail_reads(1_000)),
    ];
    for (what, sicken) in sicknesses {
        let bench = Bench::new(3, 2, 2);
        let store = bench.builder().deadline(Duration::from_secs(2)).open().expect("opens");
        ends(store.compared()).expect("nothing to compare");
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "before", 5, &mut acknowledged);
        sicken(&bench.faults[0]);
        sicken(&bench.faults[2]);
        for _ in 0..2 {
            for number in acknowledged.keys() {
                let hasty = ReadOptions::strong().deadline(Duration::from_millis(300));
                match ends(store.get_with(*number, hasty)) {
                    Err(Error::QuorumLost { need: 2, of: 3, .. } | Error::DeadlineExceeded { need: 2, .. }) => {}
                    other => panic!("{what}: {other:?}"),
                }
            }
            match ends(store.scan_page(bench.set, today(), None, 10)) {
                Err(Error::QuorumLost { .. } | Error::DeadlineExceeded { .. }) => {}
                other => panic!("{what}: {other:?}"),
            }
        }
        bench.release_all();
        bench.faults.iter().for_each(|faults| faults.fail_reads(0));
        let _ = ends(store.close());
        let store = bench.open();
        all_are_there(&store, &acknowledged);
    }
}

/// After an open all voters are asked, and one of them never answers: that must not stop every read of the store.
#[test]
fn a_replica_that_hangs_in_every_read_since_open_stops_neither_reads_nor_the_comparison() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let store = bench.open();
    create_some(&store, "before", 20, &mut acknowledged);
    ends(store.close()).expect("closed");
    bench.faults[2].hang_reads();
    let store = bench.open();
    all_are_there(&store, &acknowledged);
    assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len());
    let compared = ends(store.compared()).expect("compared with those that answer");
    assert!(compared.dirty > 0, "what could not be compared is not clean");
    assert!(replica(&store, 2).reason.is_some(), "status says so");
    all_are_there(&store, &acknowledged);
    bench.release_all();
    until("the released replica is found to be well", || status(&store).compared.is_some_and(|compared| compared.dirty == 0));
    until("nothing is said of it any more", || replica(&store, 2).reason.is_none());
    ends(store.close()).expect("closed");
}

/// One replica lacks the order, one does not answer: two of three have answered, and two of three can carry it.
#[test]
fn an_order_on_one_replica_is_written_back_although_another_hangs() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = ends(store.create("here")).expect("created").number;
    until("all have it", || bench.holders(number) == 3);
    ends(store.close()).expect("closed");
    bench.faults[1].forget(number);
    bench.faults[2].hang_reads();
    let store = bench.open();
    // By one of the two that were not heard to have it: the one that hangs in reads takes writes.
    let applies = || bench.faults[1].applies() + bench.faults[2].applies();
    let applied = applies();
    for _ in 0..3 {
        assert_eq!(ends(store.get(number)).expect("two of three answer").expect("it is there").value, "here");
        assert!(applies() > applied, "written back before anybody is shown it");
    }
    bench.release_all();
}
