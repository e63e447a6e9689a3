//! An order keeps what its record says of how it came to be, whatever is written to it.

use super::bench::*;
use ordermint::{
    Change, Error, Group, Kind, Lookup, MemoryReplica, OrderNumber, OrderStore, Origin, Record, Replica, RequestKey, SetId,
    Version, Write, WriteOptions,
};
use std::sync::Arc;
use std::time::Duration;

fn origin() -> Origin {
    Origin {
        request_key: RequestKey::new(b"pay-8841", b"first"),
        supersedes: vec![(OrderNumber::new(today(), 3, SetId::MAX).expect("a number"), Version { epoch: 9, counter: 9 })],
        unverified: vec![SetId::MAX],
        copy_of: None,
        partly_asked: vec![(SetId::MAX, 9)],
        looked_from: Some(ordermint::Day::MIN),
    }
}

const PLANTED: Version = Version { epoch: 1, counter: 77 };

/// An order with an origin, put into these replicas past the store.
fn plant(bench: &Bench, indexes: &[usize], number: OrderNumber) -> Version {
    let version = PLANTED;
    let origin = Some(Arc::new(origin()));
    let record = Record { kind: Kind::Order, version, generation: 0, value: "first".into(), origin };
    for index in indexes {
        let replica = MemoryReplica::clone(&bench.memory[*index]);
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(number, &record, false)).expect("room");
        replica.apply(&group).expect("memory takes it");
    }
    version
}

/// All replicas hold `value`, and the origin beside it.
fn all_hold(bench: &Bench, number: OrderNumber, value: &str) {
    let holds = |memory: &Arc<MemoryReplica>| match MemoryReplica::clone(memory).get(number) {
        Ok(Lookup::Found(record)) if record.value == value => {
            let held = Arc::unwrap_or_clone(record.origin.expect("it has an origin"));
            assert_eq!(Origin { copy_of: None, ..held }, origin(), "beside {value:?}");
            true
        }
        _ => false,
    };
    until("all replicas hold it", || bench.memory.iter().all(holds));
    for memory in &bench.memory {
        let replica = MemoryReplica::clone(memory);
        assert_eq!(replica.keyed(b"pay-8841", today()), Ok(vec![number]));
        assert_eq!(replica.noted(None, 9).map(|noted| noted.len()), Ok(1));
    }
}

fn begun(recent: usize) -> (Bench, OrderStore, OrderNumber, Version) {
    let bench = Bench::new(3, 2, 2);
    ends(bench.open().close()).expect("closed");
    let number = bench.number(500);
    let version = plant(&bench, &[0, 1, 2], number);
    let store = bench.builder().recent_bytes(recent).open().expect("the store opens");
    (bench, store, number, version)
}

#[test]
fn an_order_keeps_its_origin_through_updates_and_changes() {
    for recent in [0, 1 << 20] {
        let (bench, store, number, version) = begun(recent);
        let version = ends(store.update(number, version, "second")).expect("updated");
        all_hold(&bench, number, "second");
        ends(store.modify(number, |_| Change::write("third", ()))).expect("modified");
        all_hold(&bench, number, "third");
        assert!(matches!(ends(store.update(number, version, "too late")), Err(Error::VersionMismatch { .. })));
        // The largest payload has room beside it.
        let largest = "x".repeat(7_168);
        let payload = largest.clone();
        let modified = ends(store.modify(number, |_| Change::write(payload, ()))).expect("modified");
        all_hold(&bench, number, &largest);
        // Read first, so that it may come from the recent orders.
        assert_eq!(ends(store.get(number)).expect("read").expect("there").value, largest);
        ends(store.update(number, modified.version, "last")).expect("updated");
        all_hold(&bench, number, "last");
    }
}

#[test]
fn what_is_written_again_or_back_keeps_its_origin() {
    let (bench, store, number, version) = begun(0);
    // Nothing is written anywhere until they are released: settling it finds the order as it was, or as it becomes.
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let options = || WriteOptions::new().deadline(Duration::from_millis(100));
    let token = in_doubt(|| store.update_with(number, version, "in doubt", options()));
    let resolved = store.resolve(token);
    bench.release_all();
    ends(resolved).expect("settled");
    let value = ends(store.get(number)).expect("read").expect("there").value;
    all_hold(&bench, number, std::str::from_utf8(&value).expect("text"));

    // Held by one replica of three only, which is enough to be seen and too little to be shown.
    let bench = Bench::new(3, 3, 2);
    ends(bench.open().close()).expect("closed");
    plant(&bench, &[1], bench.number(500));
    let store = bench.open();
    assert_eq!(ends(store.get(bench.number(500))).expect("read").expect("there").value, "first");
    all_hold(&bench, bench.number(500), "first");
}
