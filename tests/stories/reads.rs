//! Strong reads: what one has returned no later one misses, and what cannot be believed is said to be so.

use crate::bench::*;
use ordermint::testing::FaultControl;
use ordermint::{Error, Group, Kind, MemoryReplica, Record, Replica, Version, Where, Write};

/// A version of an epoch before the store's, as an earlier process may have left it behind.
const OLD: Version = Version { epoch: 1, counter: 77 };

#[test]
fn a_version_on_one_replica_is_on_w_once_a_read_has_returned_it() {
    for index in 0..3 {
        let bench = Bench::new(3, 2, 2);
        // Between two processes: while a store is open nobody else writes, so what its comparison has found clean stays clean.
        drop(bench.open());
        let number = bench.number(500);
        bench.plant(index, number, OLD, "left behind");
        let store = bench.open();
        let order = ends(store.get(number)).expect("read").expect("all are asked after an open");
        assert_eq!((order.value.as_ref(), order.version, order.stale), (&b"left behind"[..], OLD, false));
        assert!(bench.holders(number) >= 2, "replica {index}");
        ends(store.close()).expect("closed");
        let store = bench.open();
        assert_eq!(ends(store.get(number)).expect("read").expect("all are asked after an open").version, OLD);
        assert!(bench.holders(number) >= 2, "replica {index}");
        for _ in 0..6 {
            assert!(ends(store.get(number)).expect("read").is_some(), "once seen, always seen");
        }
    }
}

#[test]
fn a_write_back_that_fails_on_one_goes_on_to_another_and_on_all_is_unconfirmed() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let number = bench.number(500);
    bench.plant(0, number, OLD, "left behind");
    let store = bench.open();
    bench.faults[1].fail_applies(1);
    // The lease's mark may have taken the failure; either way one is out and one is left to take it.
    assert!(ends(store.get(number)).expect("read").is_some());
    assert!(bench.holders(number) >= 2);

    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("a lease comes first")).expect("created");
    until_nobody_is_busy(&store);
    ends(store.close()).expect("closed");
    bench.plant(0, number, OLD, "left behind");
    let store = bench.open();
    until("the lease is there", || status(&store).lease_left > 0);
    until_nobody_is_busy(&store);
    bench.faults[1].fail_applies(1);
    bench.faults[2].fail_applies(1);
    match ends(store.get(number)) {
        Err(Error::Unconfirmed { number: said, need: 2 }) => assert_eq!(said, number),
        other => panic!("{other:?}"),
    }
    assert!(is_out(&replica(&store, 1)) && is_out(&replica(&store, 2)));
}

#[test]
fn equal_versions_with_unequal_bytes_are_never_returned() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let number = bench.number(500);
    bench.plant(0, number, OLD, "one");
    bench.plant(1, number, OLD, "other");
    let store = bench.open();
    for _ in 0..3 {
        assert_eq!(ends(store.get(number)), Err(Error::Diverged { number, version: OLD }));
    }
    let page = ends(store.scan_page(bench.set, today(), None, 10)).expect("a page");
    assert_eq!(page.orders, [Err(Error::Diverged { number, version: OLD })]);
}

#[test]
fn damage_is_never_absence() {
    for damaged in 1..=3usize {
        for reopened in [false, true] {
            let bench = Bench::new(3, 2, 2);
            let mut store = bench.open();
            ends(store.compared()).expect("nothing to compare");
            let number = ends(store.create("whole")).expect("created").number;
            until("all have it", || bench.holders(number) == 3);
            if reopened {
                ends(store.close()).expect("closed");
                store = bench.open();
            }
            bench.faults[..damaged].iter().for_each(|faults| faults.damage_reads_of(number));
            for _ in 0..4 {
                let result = ends(store.get(number));
                let page = ends(store.scan_page(bench.set, today(), None, 10)).expect("a page");
                assert_eq!(page.orders.len(), 1, "something stands in its place: {page:?}");
                match damaged {
                    1 => {
                        assert_eq!(result.expect("two can read it").expect("there").value, "whole");
                        assert_eq!(page.orders[0].as_ref().expect("two can read it").value, "whole");
                    }
                    2 => assert!(matches!(result, Err(Error::QuorumLost { good: 1, .. })), "{result:?}"),
                    _ => assert!(matches!(result, Err(Error::Corrupt { .. })), "{result:?}"),
                }
                assert_eq!(page.orders[0].is_err(), damaged > 1);
            }
            bench.faults.iter().for_each(|faults| faults.mend(number));
            assert_eq!(ends(store.get(number)).expect("mended").expect("there").value, "whole");
        }
    }
}

/// The crate's own guard against a replica that rolled back without a sign: after an open all are asked.
#[test]
fn a_silent_loss_on_one_replica_is_read_right_after_reopening_and_named() {
    for liar in 0..3 {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        // On two only, so that the one that forgets leaves a single copy.
        bench.faults[(liar + 1) % 3].fail_applies(1);
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "kept by two", 30, &mut acknowledged);
        ends(store.close()).expect("closed");
        let lost = *acknowledged.keys().nth(13).expect("thirty");
        bench.faults[liar].forget(lost);
        let store = bench.open();
        all_are_there(&store, &acknowledged);
        assert_eq!(scanned(&store, bench.set, today()).len(), 30);
        let compared = ends(store.compared()).expect("compared");
        assert!(compared.dirty > 0);
        assert!(replica(&store, liar).reason.is_some_and(|reason| reason.contains("differs")), "replica {liar}");
        all_are_there(&store, &acknowledged);
    }
}

#[test]
fn a_range_that_differed_is_clean_again_once_reads_have_mended_it() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let number = bench.number(500);
    bench.plant(0, number, OLD, "left behind");
    bench.plant(1, number, OLD, "left behind");
    let store = bench.open();
    assert_eq!(ends(store.compared()).expect("compared").dirty, 1);
    assert!(replica(&store, 2).reason.is_some());
    // What W hold is not written back by a read; here the last one is mended by hand.
    bench.plant(2, number, OLD, "left behind");
    until("it is clean", || status(&store).compared.is_some_and(|compared| compared.dirty == 0));
    assert_eq!(replica(&store, 2).reason, None);
}

#[test]
fn a_void_reads_as_absent_and_stays_so() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = ends(store.create("to be ended")).expect("created").number;
    until("all have it", || bench.holders(number) == 3);
    for memory in &bench.memory {
        let replica = MemoryReplica::clone(memory);
        let version = Version { epoch: replica.epoch(), counter: 1_000_000 };
        let record = Record { kind: Kind::Void, version, generation: 0, value: Default::default(), origin: None };
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(number, &record, false)).expect("room");
        replica.apply(&group).expect("applied");
    }
    assert_eq!(ends(store.get(number)), Ok(None));
    assert_eq!(scanned(&store, bench.set, today()), []);
    ends(store.close()).expect("closed");
    assert_eq!(ends(bench.open().get(number)), Ok(None));
}

#[test]
fn verify_tells_once_that_a_replica_cannot_be_read_and_finds_what_differs_on_the_others() {
    for sicken in [|faults: &FaultControl| faults.fail_reads(1_000), |faults: &FaultControl| faults.panic_reads(1)] {
        let bench = Bench::new(3, 2, 2);
        let mut acknowledged = Acknowledged::new();
        let store = bench.open();
        create_some(&store, "order", 50, &mut acknowledged);
        ends(store.close()).expect("closed");
        bench.plant(0, bench.number(500), OLD, "only here");
        // A reader of the store that was closed may still be about to read, and is not to meet these.
        let bench = Bench { faults: (0..3).map(|_| FaultControl::new()).collect(), ..bench };
        sicken(&bench.faults[1]);
        let mut findings = Vec::new();
        let verified = bench.builder().verify(|finding| findings.push(finding)).expect("verified");
        assert_eq!((verified.records, verified.findings), (101, findings.len() as u64));
        assert_eq!(findings.iter().filter(|finding| finding.replica == 1).count(), 1, "{findings:?}");
        assert!(findings.iter().any(|finding| finding.place == Where::Number(bench.number(500))), "{findings:?}");
        bench.faults[1].fail_reads(0);
    }
}
