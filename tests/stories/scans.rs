//! Pages and scans: every order once, in order of number, at every limit, whatever one replica lacks.

use crate::bench::*;
use ordermint::{Error, Order, OrderNumber, OrderStore, Version};
use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

/// The day by pages of `limit`.
fn by_pages(store: &OrderStore, bench: &Bench, limit: usize) -> Vec<Result<Order, Error>> {
    let (mut all, mut after) = (Vec::new(), None);
    loop {
        let page = ends(store.scan_page(bench.set, today(), after, limit)).expect("a page");
        assert!(page.orders.len() <= limit.clamp(1, 4_096), "a page of {limit} holds {}", page.orders.len());
        all.extend(page.orders);
        match page.next {
            Some(next) => assert!(after.replace(next) < Some(next), "pages go on"),
            None => return all,
        }
    }
}

fn numbers(orders: &[Result<Order, Error>]) -> Vec<OrderNumber> {
    orders.iter().map(|order| order.as_ref().expect("readable").number).collect()
}

#[test]
fn every_limit_gives_every_order_once_on_dirty_and_on_clean_days() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    create_some(&bench.open(), "order", 37, &mut acknowledged);
    let expected: Vec<OrderNumber> = acknowledged.keys().copied().collect();
    for limit in (0..=40).chain([4_096, 4_097, usize::MAX]) {
        let store = bench.open();
        assert_eq!(numbers(&by_pages(&store, &bench, limit)), expected, "limit {limit}, just opened");
        ends(store.compared()).expect("compared");
        assert_eq!(numbers(&by_pages(&store, &bench, limit)), expected, "limit {limit}, compared");
    }
}

/// Orders that only one or two replicas hold, laid so that the chunks of the replicas never end at one number.
#[test]
fn pages_keep_their_limit_where_replicas_hold_different_orders() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    for sequence in 0..30u64 {
        let number = bench.number(sequence);
        let version = Version { epoch: 1, counter: sequence + 1 };
        for index in (0..3).filter(|index| ((sequence + 1) % 7) >> index & 1 == 1) {
            bench.plant(index, number, version, "somewhere");
        }
    }
    for limit in 1..=31 {
        let store = bench.open();
        let expected: Vec<OrderNumber> = (0..30).filter(|s| (s + 1) % 7 != 0).map(|s| bench.number(s)).collect();
        assert_eq!(numbers(&by_pages(&store, &bench, limit)), expected, "limit {limit}");
    }
}

#[test]
fn damage_on_one_replica_hides_nothing_and_on_two_stands_in_its_place() {
    for compared in [false, true] {
        let bench = Bench::new(3, 2, 2);
        let mut acknowledged = Acknowledged::new();
        let store = bench.open();
        create_some(&store, "order", 21, &mut acknowledged);
        until("all have all", || acknowledged.keys().all(|number| bench.holders(*number) == 3));
        ends(store.close()).expect("closed");
        let store = bench.open();
        if compared {
            ends(store.compared()).expect("compared");
        }
        let expected: Vec<OrderNumber> = acknowledged.keys().copied().collect();
        for at in [0, 5, 6, 20] {
            bench.faults[1].damage_reads_of(expected[at]);
        }
        for limit in [1, 2, 3, 5, 7, 21, 22] {
            assert_eq!(numbers(&by_pages(&store, &bench, limit)), expected, "limit {limit}");
        }
        for at in [5, 20] {
            bench.faults[2].damage_reads_of(expected[at]);
        }
        for limit in [1, 2, 3, 5, 7, 21, 22] {
            let found = by_pages(&store, &bench, limit);
            assert_eq!(found.len(), 21, "limit {limit}: {found:?}");
            for (at, order) in found.iter().enumerate() {
                match order {
                    Ok(order) => assert_eq!(order.number, expected[at], "limit {limit}"),
                    Err(error) => assert!([5, 20].contains(&at), "limit {limit} at {at}: {error}"),
                }
            }
        }
        let errors = store.scan(bench.set, today()).filter(Result::is_err).count();
        assert_eq!(errors, 2, "a scan goes on behind what cannot be read");
    }
}

#[test]
fn a_scan_while_creating_shows_all_that_was_acknowledged_before_it_began() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    let (stop, round) = (AtomicBool::new(false), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        let creating = scope.spawn(|| {
            let mut others = Acknowledged::new();
            while !stop.load(Ordering::SeqCst) {
                // Not so far ahead that a scan on a busy machine never comes to the end of them.
                match others.len() < 1_280 * (round.load(Ordering::SeqCst) + 1) {
                    true => create_some(&store, "meanwhile", 64, &mut others),
                    false => std::thread::yield_now(),
                }
            }
            others
        });
        for at in 0..20 {
            round.store(at, Ordering::SeqCst);
            create_some(&store, "before", 10, &mut acknowledged);
            let found: Vec<OrderNumber> = scanned(&store, bench.set, today()).iter().map(|order| order.number).collect();
            assert!(found.is_sorted_by(|a, b| a < b), "in order of number, each once");
            let found: BTreeSet<OrderNumber> = found.into_iter().collect();
            assert!(acknowledged.keys().all(|number| found.contains(number)), "acknowledged before the scan");
        }
        stop.store(true, Ordering::SeqCst);
        acknowledged.extend(creating.join().expect("no thread panics"));
    });
    assert_eq!(scanned(&store, bench.set, today()).len(), acknowledged.len());
}
