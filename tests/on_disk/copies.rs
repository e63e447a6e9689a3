//! Single copies: one alone of three, one missing, rotten ones, and two under each other's keys.

use crate::bench::*;
use crate::common::held_by;
use ordermint::{Error, Group, Kind, Lookup, OrderNumber, Record, Replica, ReplicaState, Version, Write};

/// Orders in runs, a third of them with a newer version beside it; the store is closed.
fn closed() -> (Disk, Book) {
    let disk = Disk::new();
    let store = disk.open();
    let mut book = Book::default();
    book.create(&store, "order", 120);
    let changed: Vec<OrderNumber> = book.numbers().into_iter().step_by(3).collect();
    book.change(&store, "changed", &changed);
    until_all_have_it(&store);
    close(store);
    (disk, book)
}

/// A write that reached one replica of three before its process died: whichever pair is asked first, what one pair has shown
/// every other pair shows.
#[test]
fn a_version_on_one_of_three_that_one_pair_has_shown_every_other_pair_shows() {
    for holder in 0..3 {
        let (disk, book) = closed();
        let (number, (version, _)) = book.0.iter().next().expect("orders");
        let replica = disk.replica(holder);
        let newer = Version { counter: version.counter + 1_000_000, ..*version };
        let record = Record { kind: Kind::Order, version: newer, generation: 0, value: "on one".into(), origin: None };
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(*number, &record, false)).expect("room");
        replica.apply(&group).expect("applied");
        replica.close().expect("closed");
        drop(replica);

        // First without each of the two others, then without the one that had it: by then W have it. Each pair has it on one of
        // two at first and may write it again, under a version of its own process: that one stands from then on.
        let mut seen = newer;
        for away in [(holder + 1) % 3, (holder + 2) % 3, holder] {
            disk.swap_away(away, "away");
            let store = disk.open();
            let order = ends(store.get(*number)).expect("read").expect("there");
            assert!(order.version == seen || order.version.epoch > seen.epoch, "{holder} had it, without {away}: {order:?}");
            seen = order.version;
            for order in [order, ends(store.get(*number)).expect("read").expect("there")] {
                assert_eq!((order.version, &order.value[..]), (seen, &b"on one"[..]), "{holder} had it, without {away}");
            }
            close(store);
            disk.swap_back(away, "away");
        }

        // The other way round: a pair that does not know of it may show what stood before, until one shows the newer one.
        let (disk, book) = closed();
        let replica = disk.replica(holder);
        let mut group = Group::new(replica.epoch());
        group.push(Write::new(*number, &record, false)).expect("room");
        assert_eq!(book.0.keys().next(), Some(number), "every such store mints the same numbers");
        replica.apply(&group).expect("applied");
        replica.close().expect("closed");
        drop(replica);
        let (version, value) = &book.0[number];
        let mut seen = *version;
        for away in [holder, (holder + 1) % 3, holder, (holder + 2) % 3] {
            disk.swap_away(away, "away");
            let store = disk.open();
            let order = ends(store.get(*number)).expect("read").expect("there");
            assert!(order.version >= seen, "{holder} had it, without {away}: {order:?} after {seen}");
            // Only what was on one may be written again; what stood before is on W, and keeps its version.
            let value = if order.version == *version { value.as_bytes() } else { b"on one" };
            assert_eq!(order.value, value, "{holder} had it, without {away}: {order:?}");
            assert!(order.version == *version || order.version >= newer, "{holder} had it, without {away}: {order:?}");
            seen = order.version;
            close(store);
            disk.swap_back(away, "away");
        }
        assert!(seen >= newer, "{holder} had it, and it was never shown: {seen} after {newer}");
    }
}

/// One replica was away when the orders were made and changed. It votes when it is back, and is missed by nobody.
#[test]
fn what_one_replica_lacks_is_read_from_the_others_and_by_any_two() {
    for absent in 0..3 {
        let disk = Disk::new();
        let store = disk.open();
        let mut book = Book::default();
        book.create(&store, "on three", 30);
        close(store);
        disk.swap_away(absent, "away");
        let store = disk.open();
        book.create(&store, "on two", 30);
        let changed: Vec<OrderNumber> = book.numbers().into_iter().skip(20).step_by(2).collect();
        book.change(&store, "changed on two", &changed);
        close(store);
        disk.swap_back(absent, "away");

        let store = disk.open();
        assert_eq!(replica(&store, absent).state, ReplicaState::Voting);
        book.assert_stands(&store, "with all three");
        let compared = ends(store.compared()).expect("compared");
        assert!(compared.dirty > 0);
        assert!(replica(&store, absent).reason.is_some_and(|reason| reason.contains("differs")));
        let other = (absent + 1) % 3;
        take_out(&store, other);
        // What it lacks is on one of two now.
        book.assert_stands_or_renewed(&store, "with it and one other");
        book.assert_none_is_absent(&store, "with it and one other");
        assert_eq!(bring_back(&store, other), ReplicaState::Voting);
        book.assert_stands(&store, "with all three again");
        close(store);
    }
}

/// Writes that reached a replica late lie there as single records; taken out, nothing tells of them, and the replica says
/// *absent*.
#[test]
fn records_that_vanished_from_one_replica_without_a_trace_are_not_absent() {
    let disk = Disk::new();
    let store = disk.open();
    let mut book = Book::default();
    book.create(&store, "on three", 30);
    take_out(&store, 1);
    book.create(&store, "while one was out", 30);
    assert_eq!(bring_back(&store, 1), ReplicaState::Voting);
    until_all_have_it(&store);
    close(store);

    let inside = disk.sled(1);
    let late: Vec<OrderNumber> = inside.singles().into_iter().filter(|number| book.0.contains_key(number)).collect();
    assert!(late.len() >= 30, "what it was given late lies in singles: {late:?}");
    for number in &late {
        inside.singles.remove(number.to_be_bytes()).expect("removed");
    }
    inside.done();
    let alone = disk.replica(1);
    assert!(late.iter().all(|number| alone.get(*number) == Ok(Lookup::Absent)), "nothing tells of them");
    alone.close().expect("closed");
    drop(alone);

    let store = disk.open();
    book.assert_stands(&store, "right after opening");
    assert!(ends(store.compared()).expect("compared").dirty > 0);
    assert!(replica(&store, 1).reason.is_some_and(|reason| reason.contains("differs")));
    book.assert_stands(&store, "once compared");
    // The others had it from the first; with only one of them it is still found.
    take_out(&store, 0);
    book.assert_stands_or_renewed(&store, "by it and one other");
    book.change(&store, "and changed", &late);
    book.assert_stands(&store, "changed since");
    close(store);
}

#[test]
fn a_rotten_copy_is_read_around_two_cost_the_read_and_three_are_said_to_be_corrupt() {
    for rotten in 1..=3usize {
        let (disk, book) = closed();
        let numbers = book.numbers();
        // The first has a newer version in a single record, the second lies in a run alone.
        let spoilt = [numbers[60], numbers[61]];
        for index in 0..rotten {
            let inside = disk.sled(index);
            spoilt.iter().for_each(|number| inside.rot(*number));
            inside.done();
        }
        let store = disk.open();
        for round in 0..2 {
            for number in spoilt {
                let (version, value) = &book.0[&number];
                let read = ends(store.get(number));
                let update = ends(store.update(number, Version { counter: 0, ..*version }, "never: no such version"));
                match rotten {
                    1 => {
                        let order = read.expect("two can read it").expect("there");
                        assert_eq!((&order.version, &order.value[..]), (version, value.as_bytes()));
                        assert!(matches!(update, Err(Error::VersionMismatch { actual, .. }) if actual == *version), "{update:?}");
                    }
                    2 => {
                        assert!(matches!(read, Err(Error::QuorumLost { good: 1, .. })), "{read:?}");
                        assert!(matches!(update, Err(Error::QuorumLost { good: 1, .. })), "{update:?}");
                    }
                    _ => {
                        assert!(matches!(&read, Err(Error::Corrupt { number: said, .. }) if *said == number), "{read:?}");
                        assert!(matches!(update, Err(Error::Corrupt { .. })), "{update:?}");
                    }
                }
            }
            let page = ends(store.scan_page(SET, today(), None, 4096)).expect("a page");
            let wrong = page.orders.iter().filter(|order| order.is_err()).count();
            assert_eq!((page.orders.len(), wrong), (numbers.len(), if rotten == 1 { 0 } else { 2 }), "{rotten} rotten");
            for order in page.orders.iter().flatten() {
                let (version, value) = &book.0[&order.number];
                assert_eq!((&order.version, &order.value[..]), (version, value.as_bytes()), "{}", order.number);
            }
            if round == 0 {
                assert!(ends(store.compared()).expect("compared").dirty > 0);
                for index in 0..rotten {
                    let told = replica(&store, index).reason;
                    assert!(told.is_some(), "{rotten} rotten, {index} is not named: {:?}", store.status());
                }
            }
        }
        if rotten == 1 {
            // A newer version is written over what cannot be read.
            let mut book = book.clone();
            book.change(&store, "mended", &spoilt);
            until_all_have_it(&store);
            book.assert_stands(&store, "written over");
            close(store);
            let alone = disk.replica(0);
            for number in spoilt {
                assert!(
                    matches!(alone.get(number), Ok(Lookup::Found(record)) if record.version == book.0[&number].0),
                    "{number}"
                );
            }
            assert_eq!(held_by(&alone).map(|(held, damaged)| (held.len(), damaged)), Ok((numbers.len(), false)));
        } else {
            close(store);
        }
    }
}

/// Good bytes, each with a good checksum, in the wrong places.
#[test]
fn records_and_runs_under_each_others_keys_are_damage_and_never_each_others_value() {
    for (what, swapped) in [("records", 1), ("runs", 1), ("records", 3), ("runs", 3)] {
        let (disk, book) = closed();
        let mut wrong = Vec::new();
        for index in 0..swapped {
            let inside = disk.sled(index);
            if what == "records" {
                let singles = inside.singles();
                let (one, other) = (singles[7], singles[20]);
                Inside::exchange(&inside.singles, one, other);
                wrong = vec![one, other];
            } else {
                let runs = inside.runs();
                assert!(runs.len() >= 3, "{runs:?}");
                let (one, other) = (runs[1], runs[runs.len() - 1]);
                Inside::exchange(&inside.runs, one, other);
                // Those without a single record are damaged, the first number of either run at least.
                wrong = vec![one, other];
                let singles = inside.singles();
                wrong.retain(|number| !singles.contains(number));
            }
            inside.done();
            let alone = disk.replica(index);
            for number in book.numbers() {
                match alone.get(number).expect("it reads") {
                    Lookup::Found(record) => assert_eq!(record.value, book.0[&number].1.as_bytes(), "{what}: {number}"),
                    Lookup::Damaged(_) => assert!(what == "runs" || wrong.contains(&number)),
                    Lookup::Absent => panic!("{what}: {number} is said to be absent"),
                }
            }
            for number in &wrong {
                assert!(matches!(alone.get(*number), Ok(Lookup::Damaged(_))), "{what}: {number}");
            }
            alone.close().expect("closed");
        }
        let store = disk.open();
        if swapped == 1 {
            book.assert_stands(&store, what);
            assert!(ends(store.compared()).expect("compared").dirty > 0);
            assert!(replica(&store, 0).reason.is_some(), "{what}: {:?}", replica(&store, 0));
            book.assert_stands(&store, what);
        } else {
            // Where runs begin and end is each replica's own affair.
            let unread = book.assert_nothing_is_wrong(&store, what);
            assert!(unread >= 1 && (what == "runs" || unread == wrong.len()), "{what}: {unread}");
        }
        close(store);
    }
}
