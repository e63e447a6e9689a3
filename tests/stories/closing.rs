//! The end of a store: bounded, and losing nothing.

use crate::answers::{poll_once, waker};
use crate::bench::*;
use ordermint::{Error, OrderStore};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn everything_is_closed(store: &OrderStore, bench: &Bench) {
    let closed = |result: Result<(), Error>, what: &str| assert_eq!(result, Err(Error::Closed), "{what}");
    closed(ends(store.create("late")).map(drop), "create");
    closed(ends(store.get(bench.number(1))).map(drop), "get");
    closed(ends(store.scan_page(bench.set, today(), None, 5)).map(drop), "scan_page");
    closed(ends(store.days(bench.set)).map(drop), "days");
    closed(ends(store.compared()).map(drop), "compared");
    assert_eq!(store.scan(bench.set, today()).collect::<Vec<_>>(), [Err(Error::Closed)]);
    assert_eq!(store.create_all(["a", "b"]).collect::<Vec<_>>(), [Err(Error::Closed), Err(Error::Closed)]);
    assert_eq!(status(store).replicas.len(), bench.memory.len(), "status still answers");
    assert_eq!(status(store).in_flight, 0);
}

#[test]
fn after_close_every_call_is_closed_and_a_second_close_says_the_same() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("before")).expect("created");
    ends(store.close()).expect("closed");
    everything_is_closed(&store, &bench);
    ends(store.close()).expect("closed already");
    store.accept_clock();
}

#[test]
fn closing_under_load_ends_every_call_and_keeps_what_was_acknowledged() {
    for round in 0..20 {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let first = ends(store.create("first")).expect("created").number;
        let acknowledged = Mutex::new(Acknowledged::new());
        let closed = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for thread in 0..3 {
                let (store, acknowledged, closed) = (&store, &acknowledged, &closed);
                scope.spawn(move || {
                    for at in 0.. {
                        let over = closed.load(Ordering::SeqCst);
                        let payload = format!("{thread} {at}");
                        match ends(store.create(&payload)) {
                            Ok(placed) => drop(acknowledged.lock().unwrap().insert(placed.number, payload)),
                            Err(Error::Closed) => {}
                            Err(error) => panic!("{error}"),
                        }
                        match ends(store.get(first)) {
                            Ok(order) => assert_eq!(order.expect("there").value, "first"),
                            Err(Error::Closed) => {}
                            Err(error) => panic!("a read under way at the end: {error}"),
                        }
                        if over {
                            return;
                        }
                    }
                });
            }
            std::thread::sleep(Duration::from_millis(round));
            ends(store.close()).expect("closed");
            closed.store(true, Ordering::SeqCst);
        });
        everything_is_closed(&store, &bench);
        let acknowledged = acknowledged.into_inner().unwrap();
        let store = bench.open();
        all_are_there(&store, &acknowledged);
    }
}

#[test]
fn reads_under_way_at_close_are_answered() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.compared()).expect("nothing to compare");
    let number = ends(store.create("here")).expect("created").number;
    bench.faults.iter().for_each(|faults| faults.delay_reads(Duration::from_millis(100)));
    let (order, page, days) = (store.get(number), store.scan_page(bench.set, today(), None, 5), store.days(bench.set));
    ends(store.close()).expect("closed");
    assert_eq!(ends(order).expect("it was under way").expect("there").value, "here");
    assert_eq!(ends(page).expect("it was under way").orders.len(), 1);
    assert_eq!(ends(days).expect("it was under way"), [today()]);
}

#[test]
fn a_hung_replica_is_left_behind_and_named() {
    let bench = Bench::new(3, 2, 2);
    // The others end within it.
    let store = bench.builder().close_timeout(Duration::from_secs(3)).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 10, &mut acknowledged);
    bench.faults[1].hang_applies();
    create_some(&store, "beside", 10, &mut acknowledged);
    match ends(store.close()) {
        Err(Error::System { message, .. }) => assert!(message.contains("replica 1"), "{message}"),
        other => panic!("{other:?}"),
    }
    everything_is_closed(&store, &bench);
    drop(store);
    // The one left behind comes back to life beside the next coordinator, which has fenced it off.
    let store = bench.open();
    bench.release_all();
    create_some(&store, "afterwards", 10, &mut acknowledged);
    all_are_there(&store, &acknowledged);
}

#[test]
fn with_all_replicas_hung_close_and_every_operation_end() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().close_timeout(Duration::from_millis(400)).open().expect("opens");
    ends(store.create("before")).expect("created");
    bench.faults.iter().for_each(|faults| {
        faults.hang_applies();
        faults.hang_reads();
    });
    let created = store.create("hangs");
    let read = store.get(bench.number(0));
    let page = store.scan_page(bench.set, today(), None, 3);
    assert!(ends(store.close()).is_err());
    assert!(matches!(ends(created), Err(Error::Ambiguous { .. })));
    assert!(ends(read).is_err() && ends(page).is_err());
    everything_is_closed(&store, &bench);
    bench.release_all();
}

#[test]
fn a_store_dropped_without_close_has_lost_nothing() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    for round in 0..5 {
        let store = bench.open();
        create_some(&store, &format!("round {round}"), 20, &mut acknowledged);
        drop(store.create("nobody waits for it"));
        let clone = store.clone();
        drop(store);
        create_some(&clone, &format!("clone {round}"), 1, &mut acknowledged);
    }
    all_are_there(&bench.open(), &acknowledged);
}

/// A waker that never comes back holds up the answers of its SET. It must not hold up the end of the store.
#[test]
fn close_ends_although_a_waker_blocks() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().close_timeout(Duration::from_millis(400)).open().expect("opens");
    ends(store.create("a lease comes first")).expect("created");
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let (unblock, blocked) = std::sync::mpsc::channel::<()>();
    let blocked = Mutex::new(blocked);
    let mut victim = store.create("blocks when woken");
    assert!(poll_once(
        &mut victim,
        &waker(move || {
            let _ = blocked.lock().unwrap().recv();
        })
    ));
    bench.release_all();
    until("its answer is being delivered", || status(&store).in_flight == 0);
    let _ = ends(store.close());
    drop(unblock);
}

/// Who waits for the comparison is told at close that there will be none; what they do then is their trouble alone.
#[test]
fn close_ends_although_a_waker_of_the_comparison_panics() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().close_timeout(Duration::from_millis(400)).open().expect("opens");
    ends(store.create("a day to compare")).expect("created");
    ends(store.compared()).expect("compared");
    bench.faults.iter().for_each(|faults| faults.hang_reads());
    // It begins anew when a replica returns.
    store.take_out_replica(bench.set, 2).expect("two are left");
    until("it can return", || store.bring_back_replica(bench.set, 2).is_ok());
    until("the comparison begins anew", || status(&store).compared.is_none());
    let mut compared = store.compared();
    assert!(poll_once(&mut compared, &waker(|| panic!("a waker panics"))));
    let _ = ends(store.close());
    assert!(matches!(ends(compared), Err(Error::Closed) | Ok(_)));
    bench.release_all();
}
