//! Absurd arguments get their typed error, or work.

use crate::bench::*;
use ordermint::{ConfigError, CreateOptions, Day, Error, OrderNumber, OrderStore, Quorum, ReadOptions, SetConfig, SetId};
use std::time::Duration;

#[test]
fn absurd_deadlines_end() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = ends(store.create_with("for ever", CreateOptions::new().deadline(Duration::MAX))).expect("created").number;
    assert!(ends(store.get_with(number, ReadOptions::strong().deadline(Duration::MAX))).expect("read").is_some());
    for _ in 0..200 {
        match ends(store.create_with("at once", CreateOptions::new().deadline(Duration::ZERO))) {
            Ok(_) | Err(Error::Ambiguous { .. } | Error::NotAttempted { .. }) => {}
            Err(error) => panic!("{error}"),
        }
        match ends(store.get_with(number, ReadOptions::strong().deadline(Duration::ZERO))) {
            Ok(order) => assert_eq!(order.expect("there").value, "for ever"),
            Err(Error::DeadlineExceeded { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    until("all room is given back", || (status(&store).in_flight, status(&store).in_flight_bytes) == (0, 0));
}

#[test]
fn payloads_of_every_size_up_to_the_cap_are_kept_and_above_it_refused() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    for length in [0, 1, 7 * 1024 - 1, 7 * 1024] {
        let payload = vec![0xff; length];
        let number = ends(store.create(&payload)).expect("created").number;
        assert_eq!(ends(store.get(number)).expect("read").expect("there").value, payload);
    }
    for length in [7 * 1024 + 1, 1 << 20, 64 << 20] {
        let refused = ends(store.create(vec![0; length]));
        assert_eq!(refused, Err(Error::ValueTooLarge { bytes: length, max: 7 * 1024 }));
    }
    let answers: Vec<_> = store.create_all([vec![], vec![0; 8 * 1024], vec![1]]).map(|answer| answer.is_ok()).collect();
    assert_eq!(answers, [true, false, true], "one bad order stops no other");
    assert_eq!(scanned(&store, bench.set, today()).len(), 6);
    assert_eq!(status(&store).in_flight_bytes, 0);
}

#[test]
fn what_the_store_does_not_have_is_said_or_empty() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let stranger = SetId::new(8).expect("an id");
    let number = OrderNumber::new(today(), 1, stranger).expect("a number");
    assert_eq!(ends(store.get(number)), Err(Error::UnknownSet { set: stranger }));
    assert_eq!(ends(store.scan_page(stranger, today(), None, 1)), Err(Error::UnknownSet { set: stranger }));
    assert_eq!(ends(store.days(stranger)), Err(Error::UnknownSet { set: stranger }));
    assert_eq!(store.scan(stranger, today()).collect::<Vec<_>>(), [Err(Error::UnknownSet { set: stranger })]);
    for day in [Day::MIN, today(), Day::MAX] {
        assert_eq!(scanned(&store, bench.set, day), []);
        for sequence in [0, OrderNumber::SEQUENCE_MAX] {
            let number = OrderNumber::new(day, sequence, bench.set).expect("a number");
            assert_eq!(ends(store.get(number)), Ok(None));
            let page = ends(store.scan_page(bench.set, day, Some(number), usize::MAX)).expect("a page");
            assert_eq!((page.orders, page.next), (vec![], None));
        }
    }
    ends(store.create("one")).expect("created");
    // A place that lies on another day, or in another SET.
    for after in [OrderNumber::new(Day::MIN, 5, stranger), OrderNumber::new(Day::MAX, 5, stranger)] {
        let after = after.expect("a number");
        let page = ends(store.scan_page(bench.set, today(), Some(after), 5)).expect("a page");
        assert_eq!(page.orders.len(), usize::from(after.day() == Day::MIN));
    }
}

#[test]
fn absurd_builders_are_refused() {
    let set = |id: u16, replicas: usize| SetConfig::new(SetId::new(id).expect("an id")).in_memory(replicas);
    let quorum = Quorum::majority(3).expect("a quorum");
    let refused = |builder: ordermint::Builder| match builder.open() {
        Err(Error::Config(error)) => error,
        other => panic!("{other:?}"),
    };
    assert_eq!(refused(OrderStore::builder()), ConfigError::NoSets);
    let twice = OrderStore::builder().add_set(set(7, 3)).add_set(set(7, 3));
    assert!(matches!(refused(twice), ConfigError::DuplicateSet { .. }));
    assert!(matches!(refused(OrderStore::builder().quorum(quorum).add_set(set(7, 2))), ConfigError::ReplicaCount { .. }));
    for replicas in [0, 10] {
        assert!(matches!(refused(OrderStore::builder().add_set(set(7, replicas))), ConfigError::OutOfRange { .. }));
    }
    for weight in [0, 1_001, u32::MAX] {
        let builder = OrderStore::builder().add_set(set(7, 3).weight(weight));
        assert!(matches!(refused(builder), ConfigError::OutOfRange { name: "weight", .. }));
    }
    let builder = || OrderStore::builder().add_set(set(7, 3));
    for absurd in [
        builder().deadline(Duration::ZERO),
        builder().deadline(Duration::MAX),
        builder().open_timeout(Duration::ZERO),
        builder().close_timeout(Duration::MAX),
        builder().value_bytes_max(0),
        builder().value_bytes_max(usize::MAX),
        builder().max_in_flight(0, 1 << 20),
        builder().max_in_flight(usize::MAX, usize::MAX),
        builder().max_in_flight(1, 0),
        builder().cache_bytes(0),
        builder().cache_bytes(u64::MAX),
        builder().utc_offset_minutes(1_440),
        builder().utc_offset_minutes(i32::MIN),
    ] {
        assert!(matches!(refused(absurd), ConfigError::OutOfRange { .. }));
    }
}

/// SETs of different sizes have no quorum in common; the disk is not touched to find that out.
#[test]
fn sets_of_different_sizes_are_refused_before_anything_is_made() {
    let home = tempfile::tempdir().expect("a directory");
    let set = |id: u16, dirs: &[&str]| SetConfig::new(SetId::new(id).expect("an id")).replicas(dirs.to_vec());
    let builder = OrderStore::builder().home(home.path()).add_set(set(7, &["a", "b", "c"])).add_set(set(8, &["d", "e"]));
    assert!(matches!(builder.open(), Err(Error::Config(ConfigError::ReplicaCount { .. }))));
    assert_eq!(std::fs::read_dir(home.path()).expect("a directory").count(), 0, "nothing was touched");
}
