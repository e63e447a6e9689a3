//! Reads and changes of an order whose SET is not well: they fail at once, and never go to another.

use crate::bench::{World, create_in, ends, id, status_of, until, until_at_rest};
use ordermint::testing::FaultControl;
use ordermint::{BreakerSettings, BreakerState, Change, Error, OrderNumber, OrderStore, Placed, ReadOptions, WriteOptions};
use std::time::Duration;

const SHORT: Duration = Duration::from_millis(30);
/// Longer than any test runs.
const HOUR: Duration = Duration::from_secs(3_600);

fn patient_once_open(world: &World) -> ordermint::Builder {
    let breaker = BreakerSettings::new().failures_in_a_row(3).open_time(HOUR, HOUR);
    world.builder().breaker(breaker)
}

/// Reads of `number` until its SET is left alone.
fn wear_out_reads(store: &OrderStore, number: OrderNumber) {
    let hasty = ReadOptions::strong().deadline(SHORT);
    until("its SET is left alone", || match ends(store.get_with(number, hasty.clone())) {
        Err(Error::DeadlineExceeded { .. }) => false,
        Err(Error::SetUnavailable { .. }) => true,
        answer => panic!("{answer:?}"),
    });
}

fn is_unavailable<T: std::fmt::Debug>(answer: &Result<T, Error>, set: u16) -> bool {
    matches!(answer, Err(Error::SetUnavailable { set: named, retry_after }) if *named == id(set) && *retry_after > Duration::ZERO)
}

#[test]
fn reads_of_a_sick_set_fail_at_once_and_degraded_ones_answer_marked_stale() {
    let world = World::new(&[7, 8]);
    let store = patient_once_open(&world).recent_bytes(0).open().expect("the store opens");
    let (sick, well) = (create_in(&store, 7, "sick"), create_in(&store, 8, "well"));
    world.set(7).faults().iter().for_each(FaultControl::hang_reads);
    wear_out_reads(&store, sick.number);
    world.set(7).release();
    for reading in [ReadOptions::strong(), ReadOptions::weak(), ReadOptions::strong().at_least(sick.version)] {
        let answer = ends(store.get_with(sick.number, reading));
        assert!(is_unavailable(&answer, 7), "{answer:?}");
    }
    let page = ends(store.scan_page(id(7), sick.number.day(), None, 10));
    assert!(is_unavailable(&page, 7), "{page:?}");
    let order = ends(store.get_with(sick.number, ReadOptions::degraded())).expect("a live copy").expect("it was acknowledged");
    assert!(order.value.starts_with(b"sick") && order.stale);
    let order = ends(store.get(well.number)).expect("that SET is well").expect("it was acknowledged");
    assert!(order.value.starts_with(b"well") && !order.stale);
    // New orders are another matter.
    create_in(&store, 7, "writes are well");
    assert!(matches!(status_of(&store, 7).writes, BreakerState::Closed));
    assert!(matches!(status_of(&store, 7).reads, BreakerState::Open { .. }));
}

#[test]
fn recent_orders_of_a_sick_set_are_still_served_from_memory() {
    let world = World::new(&[7, 8]);
    let store = patient_once_open(&world).open().expect("the store opens");
    let recent = create_in(&store, 7, "recent");
    // One that is not in memory, as nobody has ever heard of it.
    let unheard = OrderNumber::new(recent.number.day(), 9_999_999, id(7)).expect("a number");
    world.set(7).faults().iter().for_each(FaultControl::hang_reads);
    wear_out_reads(&store, unheard);
    let order = ends(store.get(recent.number)).expect("from memory").expect("it was acknowledged");
    assert!(order.value.starts_with(b"recent") && !order.stale);
    world.release_all();
}

#[test]
fn changes_of_an_order_on_a_sick_set_fail_at_once_and_change_nothing() {
    let world = World::new(&[7, 8]);
    let store = patient_once_open(&world).open().expect("the store opens");
    let order = create_in(&store, 7, "as it was");
    let others: Vec<Placed> = (0..3).map(|_| create_in(&store, 7, "worn out")).collect();
    world.set(7).hang();
    for other in &others {
        // On a busy machine its time may be up before it is sent: then once more.
        until("it is in doubt", || {
            let hasty = WriteOptions::new().deadline(SHORT);
            match ends(store.update_with(other.number, other.version, "in doubt", hasty)) {
                Err(Error::Ambiguous { .. }) => true,
                Err(Error::NotAttempted { .. }) => false,
                answer => panic!("{answer:?}"),
            }
        });
    }
    until_at_rest(&store, 8);
    let applies: Vec<usize> = world.set(8).faults().iter().map(FaultControl::applies).collect();
    for _ in 0..10 {
        let answer = ends(store.update(order.number, order.version, "changed"));
        assert!(is_unavailable(&answer, 7), "{answer:?}");
        let answer = ends(store.modify(order.number, |_| Change::write("changed", ())));
        assert!(is_unavailable(&answer, 7), "{answer:?}");
    }
    let since: Vec<usize> = world.set(8).faults().iter().map(FaultControl::applies).collect();
    assert_eq!(applies, since, "another SET was written to");
    world.release_all();
    let read = ends(store.get(order.number)).expect("reads are well").expect("it was acknowledged");
    assert_eq!(read.version, order.version);
    assert!(read.value.starts_with(b"as it was"));
}
