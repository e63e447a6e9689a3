//! Back-pressure: bounds hold, nothing is lost by them, and who lagged is brought up to date.

use crate::bench::*;
use ordermint::{Error, NotAttempted};
use std::time::Duration;

#[test]
fn beyond_what_may_be_in_flight_the_store_is_busy_and_afterwards_it_is_not() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().max_in_flight(4, 1 << 20).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "first", 1, &mut acknowledged);
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let under_way: Vec<_> = (0..4).map(|at| store.create(format!("under way {at}"))).collect();
    assert_eq!(status(&store).in_flight, 4);
    match ends(store.create("too many")) {
        Err(Error::NotAttempted { reason: NotAttempted::Busy { operations: 4, .. } }) => {}
        other => panic!("{other:?}"),
    }
    assert!(matches!(ends(store.get(bench.number(0))), Err(Error::NotAttempted { reason: NotAttempted::Busy { .. } })));
    bench.release_all();
    for pending in under_way {
        ends(pending).expect("stored after all");
    }
    until("all room is given back", || (status(&store).in_flight, status(&store).in_flight_bytes) == (0, 0));
    create_some(&store, "afterwards", 4, &mut acknowledged);
}

#[test]
fn bytes_in_flight_are_bounded_too_and_one_large_order_always_gets_in() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().max_in_flight(1_000, 16 << 10).open().expect("opens");
    let large = vec![b'x'; 7 * 1024];
    ends(store.create(&large)).expect("alone it gets in");
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let under_way: Vec<_> = (0..2).map(|_| store.create(&large)).collect();
    assert!(matches!(ends(store.create(&large)), Err(Error::NotAttempted { reason: NotAttempted::Busy { .. } })));
    assert!(status(&store).in_flight_bytes <= 16 << 10);
    bench.release_all();
    for pending in under_way {
        ends(pending).expect("stored");
    }
    let placed = store.create_all((0..50).map(|_| &large)).collect::<Result<Vec<_>, _>>().expect("all get through");
    assert_eq!(placed.len(), 50);
}

#[test]
fn create_all_gets_all_through_whatever_the_bounds() {
    for in_flight_max in [1, 2, 7] {
        let bench = Bench::new(3, 2, 2);
        let store = bench.builder().max_in_flight(in_flight_max, 16 << 10).open().expect("opens");
        let payloads: Vec<String> = (0..300).map(|at| format!("order {at}")).collect();
        let placed = store.create_all(&payloads).collect::<Result<Vec<_>, _>>().expect("all get through");
        for (payload, placed) in payloads.iter().zip(&placed) {
            assert_eq!(ends(store.get(placed.number)).expect("read").expect("there").value, payload, "in input order");
        }
        assert_eq!(scanned(&store, bench.set, today()).len(), 300);
    }
}

#[test]
fn what_a_hung_replica_missed_is_remembered_within_bounds_and_delivered_when_it_is_back() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().max_in_flight(8, 1 << 20).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    bench.faults[1].hang_applies();
    for payload in 0..500 {
        let payload = payload.to_string();
        let placed = ends(store.create(&payload)).expect("two of three are enough");
        acknowledged.insert(placed.number, payload);
    }
    let lagging = replica(&store, 1);
    assert!(lagging.queued <= 8 * 2 + 64 && lagging.missed > 0, "{lagging:?}");
    assert!(lagging.queued + lagging.missed >= 490, "what is not queued is remembered: {lagging:?}");
    all_are_there(&store, &acknowledged);
    bench.release_all();
    until("nothing is missed any more", || replica(&store, 1).missed == 0);
    until("nothing is queued any more", || replica(&store, 1).queued == 0);
    for number in acknowledged.keys() {
        assert_eq!(bench.holders(*number), 3, "what is no longer missed is there");
    }
    assert!(!replica(&store, 1).needs_sync);
    ends(store.close()).expect("closed");
    let verified = bench.builder().verify(|finding| panic!("{finding}")).expect("verified");
    assert_eq!(verified.records, 3 * 500);
}

#[test]
fn a_slow_replica_slows_nobody_and_catches_up() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().max_in_flight(64, 1 << 20).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    bench.faults[0].delay_applies(Duration::from_millis(30));
    for _ in 0..20 {
        create_some(&store, "slow", 50, &mut acknowledged);
    }
    all_are_there(&store, &acknowledged);
    bench.release_all();
    until("it has caught up", || (replica(&store, 0).queued, replica(&store, 0).missed) == (0, 0));
    ends(store.close()).expect("closed");
    bench.builder().verify(|finding| panic!("{finding}")).expect("verified");
}
