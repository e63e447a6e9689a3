//! Odd quorums keep the promises that they make.

use crate::bench::*;
use ordermint::testing::ManualClock;
use ordermint::{Error, OrderStore, Quorum, ReplicaState, SetConfig, SetId};
use std::sync::atomic::Ordering;

#[test]
fn every_quorum_of_up_to_five_creates_reads_scans_and_reopens() {
    for n in 1..=5u8 {
        for (r, w) in (1..=n).flat_map(|r| (1..=n).map(move |w| (r, w))).filter(|(r, w)| r + w > n) {
            let bench = Bench::new(n, r, w);
            let mut acknowledged = Acknowledged::new();
            for round in 0..2 {
                let store = bench.open();
                create_some(&store, &format!("round {round}"), 20, &mut acknowledged);
                all_are_there(&store, &acknowledged);
                let found = scanned(&store, bench.set, today()).len();
                assert_eq!(found, acknowledged.len(), "{} round {round}", bench.quorum);
                ends(store.close()).expect("closed");
            }
        }
    }
}

#[test]
fn writes_go_on_while_n_minus_w_are_away_and_stop_with_one_more() {
    for (n, r, w) in [(1, 1, 1), (2, 1, 2), (3, 2, 2), (3, 3, 1), (3, 1, 3), (5, 3, 3), (5, 4, 2), (5, 2, 4)] {
        let bench = Bench::new(n, r, w);
        let store = bench.open();
        let mut acknowledged = Acknowledged::new();
        create_some(&store, "all well", 5, &mut acknowledged);
        // The block of sequences at hand outlives the majority that leased it.
        for sick in 0..usize::from(n - w) {
            bench.faults[sick].fail_applies(1);
            create_some(&store, "one more is out", 5, &mut acknowledged);
            until("it is out", || is_out(&replica(&store, sick)));
        }
        create_some(&store, "as many as may be are out", 5, &mut acknowledged);
        bench.faults[usize::from(n - w)].fail_applies(1);
        let failed = ends(store.create("one too many"));
        assert!(matches!(failed, Err(Error::Ambiguous { .. })), "{n},{r},{w}: {failed:?}");
        let refused = ends(store.create("refused"));
        assert!(matches!(refused, Err(Error::NotAttempted { .. })), "{n},{r},{w}: {refused:?}");
        drop(store);
        all_are_there(&bench.open(), &acknowledged);
    }
}

/// R + W <= N: a read may miss what was acknowledged. Said in the docs of `Quorum`; it still shows no wrong value.
#[test]
fn a_weak_quorum_may_miss_orders_but_never_makes_one_up() {
    let bench = Bench::new(3, 1, 1);
    assert!(!bench.quorum.is_strict());
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "weak", 50, &mut acknowledged);
    for (number, value) in &acknowledged {
        if let Some(order) = ends(store.get(*number)).expect("read") {
            assert_eq!(order.value, value);
        }
    }
    ends(store.close()).expect("closed");
    // After an open all are asked.
    all_are_there(&bench.open(), &acknowledged);
}

#[test]
fn a_store_remembers_its_quorum() {
    let bench = Bench::new(3, 1, 3);
    drop(bench.open());
    let open = || OrderStore::builder().clock(ManualClock::at_noon(today())).add_set(bench.config());
    let store = open().open().expect("the quorum is remembered");
    assert_eq!(store.status().quorum, bench.quorum);
    drop(store);
    match open().quorum(Quorum::new(3, 2, 2).unwrap()).open() {
        Err(Error::MapMismatch { .. }) => {}
        other => panic!("{other:?}"),
    }
    let other = SetConfig::new(SetId::new(8).unwrap()).in_memory(3);
    assert!(matches!(open().add_set(other).open(), Err(Error::MapMismatch { .. })));
}

/// With R = 1 a read is answered by one replica. What it shows must be seen by every later read, whoever is there then.
#[test]
fn what_a_read_has_shown_is_shown_by_every_later_read_whoever_is_away() {
    let bench = Bench::new(3, 1, 3);
    let store = bench.open();
    ends(store.create("a lease comes first")).expect("created");
    until_nobody_is_busy(&store);
    bench.faults[1].fail_applies(1);
    bench.faults[2].fail_applies(1);
    let Err(Error::Ambiguous { token, .. }) = ends(store.create("on one of three")) else { panic!("W = 3 cannot be had") };
    until("it is written where it can be", || bench.holders(token.number) == 1);
    let seen = ends(store.get(token.number));
    ends(store.close()).expect("closed");
    bench.gone[0].store(true, Ordering::SeqCst);
    let store = bench.open();
    assert_eq!(replica(&store, 0).state, ReplicaState::Missing);
    let later = ends(store.get(token.number));
    if let Ok(Some(order)) = seen {
        assert!(!matches!(later, Ok(None)), "{:?} was shown and is gone", order.value);
    }
}

/// The other side: what was acknowledged is served by one replica of three when R = 1, before and after reopening.
#[test]
fn with_r_one_acknowledged_orders_are_read_from_the_last_replica() {
    let bench = Bench::new(3, 1, 3);
    let store = bench.open();
    ends(store.compared()).expect("nothing to compare");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "on all three", 20, &mut acknowledged);
    bench.faults[1].fail_applies(1);
    bench.faults[2].fail_applies(1);
    assert!(ends(store.create("puts two out")).is_err());
    until("two are out", || is_out(&replica(&store, 1)) && is_out(&replica(&store, 2)));
    all_are_there(&store, &acknowledged);
}
