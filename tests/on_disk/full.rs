//! Disks that fill up while orders are changed: every change is acknowledged or ends with a typed error, and with room again
//! nothing that was acknowledged is gone or older. Where no file system may be mounted, it says SKIPPED.

use crate::bench::*;
use crate::common::say;
use crate::common::tmpfs::Tmpfs;
use ordermint::{Error, NotAttempted, Quorum, ReplicaState, Version};

/// As much would never fit. Orders are added all the while: sled uses the space of old versions again.
const ROUNDS_MAX: usize = 400;
const ROUND: usize = 20;

fn payload(at: usize) -> String {
    format!("{at} {}", "x".repeat(6_000 + at % 1_000))
}

#[test]
fn changes_that_fill_the_disk_of_all_replicas_fail_with_a_typed_error_and_take_nothing_back() {
    let Some(disk) = Tmpfs::mount("48m") else { return };
    let dirs: Vec<_> = (0..3).map(|index| disk.dir.join(index.to_string())).collect();
    let open = || builder(Quorum::new(3, 2, 2).expect("a quorum"), dirs.clone()).open().expect("the store opens");
    let store = open();
    let mut book = Book::default();
    let (mut at, mut doubts, mut refused) = (0, Vec::new(), 0);
    // Rounds of new orders and of changes of earlier ones, until nobody takes any.
    while refused == 0 {
        assert!(at < ROUNDS_MAX * ROUND, "the disk never filled up");
        let created: Vec<_> = (at..at + ROUND).map(|at| (at, store.create(payload(at)))).collect();
        let updated: Vec<_> =
            book.0.iter().step_by(1 + book.0.len() / ROUND).map(|(number, (version, _))| (*number, *version)).collect();
        let updated: Vec<_> = (at + ROUND..)
            .zip(updated)
            .map(|(at, (number, version))| (at, store.update(number, version, payload(at)), number))
            .collect();
        at += 2 * ROUND;
        let created = created.into_iter().map(|(at, pending)| (at, ends(pending).map(|placed| (placed.number, placed.version))));
        let updated = updated.into_iter().map(|(at, pending, number)| (at, ends(pending).map(|version| (number, version))));
        for (at, result) in created.chain(updated) {
            match result {
                Ok((number, version)) => drop(book.0.insert(number, (version, payload(at)))),
                Err(Error::Ambiguous { token, .. }) => doubts.push((token, payload(at))),
                Err(Error::NotAttempted { reason: NotAttempted::NoQuorum { .. } } | Error::QuorumLost { .. }) => refused += 1,
                // So much ended in doubt that nothing is sent there for a while.
                Err(Error::NotAttempted { reason: NotAttempted::Unavailable { .. } } | Error::SetUnavailable { .. }) => {
                    refused += 1
                }
                Err(other) => panic!("{other:?}"),
            }
        }
    }
    let status = store.status();
    let out: Vec<_> = status.sets[0].replicas.iter().filter(|replica| replica.state == ReplicaState::Out).collect();
    assert!(out.len() >= 2 && out.iter().all(|replica| replica.reason.is_some()), "{status:?}");
    // The clean end cannot be recorded on a full disk; that may be told.
    let _ = ends(store.close());
    drop(store);

    disk.remount("size=256m");
    let store = open();
    let numbers = book.numbers();
    for number in &numbers {
        let order = ends(store.get(*number)).expect("readable").expect("there");
        let (version, value) = &book.0[number];
        // The one acknowledged last, or one behind it that was in doubt; a copy of the former may have gone over the latter.
        let mut others = doubts.iter().filter(|(token, _)| token.number == *number && token.version > *version);
        let is_known = order.value == value.as_bytes() || others.any(|(_, payload)| order.value == payload.as_bytes());
        assert!(is_known && order.version >= *version, "{number}: {} after {version}", order.version);
        let read = (order.version, String::from_utf8(order.value.to_vec()).expect("text"));
        book.0.insert(*number, read);
    }
    // New orders in doubt are there or not, for good.
    for (token, payload) in &doubts {
        if !book.0.contains_key(&token.number)
            && let Some(order) = ends(store.get(token.number)).expect("readable")
        {
            assert_eq!((order.version, &order.value[..]), (token.version, payload.as_bytes()), "{token}");
            book.0.insert(token.number, (order.version, payload.clone()));
        }
    }
    book.assert_stands(&store, "with room again");
    book.change(&store, "afterwards", &numbers);
    book.create(&store, "new", 20);
    book.assert_stands(&store, "changed since");
    close(store);
    say(&format!("three full replicas after {at} writes: {} in doubt, {refused} refused, none taken back", doubts.len()));
}

#[test]
fn one_replica_on_a_full_disk_costs_no_change_and_catches_up_when_there_is_room() {
    let Some(small) = Tmpfs::mount("32m") else { return };
    // In memory as well, for the time this takes, and of another size.
    let Some(large) = Tmpfs::mount("512m") else { return };
    let dirs = vec![large.dir.join("0"), large.dir.join("1"), small.dir.join("2")];
    let open = || builder(Quorum::new(3, 2, 2).expect("a quorum"), dirs.clone()).open().expect("the store opens");
    let store = open();
    let mut book = Book::default();
    let mut rounds = 0;
    let mut round = |book: &mut Book| {
        assert!(rounds < ROUNDS_MAX, "the disk never filled up");
        rounds += 1;
        let created: Vec<_> = (0..ROUND).map(|at| (payload(at), store.create(payload(at)))).collect();
        let numbers: Vec<_> = book.numbers().into_iter().step_by(1 + book.0.len() / ROUND).collect();
        let text = payload(rounds);
        let updated: Vec<_> = numbers.iter().map(|number| (*number, store.update(*number, book.0[number].0, &text))).collect();
        for (text, pending) in created {
            let placed = ends(pending).expect("two of three will do");
            book.0.insert(placed.number, (placed.version, text));
        }
        for (number, pending) in updated {
            let version: Version = ends(pending).unwrap_or_else(|error| panic!("{number}: {error}"));
            book.0.insert(number, (version, text.clone()));
        }
    };
    while replica(&store, 2).state == ReplicaState::Voting {
        round(&mut book);
    }
    for _ in 0..3 {
        round(&mut book);
    }
    let reason = replica(&store, 2).reason.expect("it is said why");
    assert!(reason.contains("no space left"), "{reason}");
    book.create(&store, "without it", 20);
    book.assert_stands(&store, "one is out");

    small.remount("size=256m");
    assert_eq!(bring_back(&store, 2), ReplicaState::Voting, "{:?}", replica(&store, 2));
    book.assert_stands(&store, "it is back");
    until_all_have_it(&store);
    take_out(&store, 0);
    book.assert_stands(&store, "with it and one other");
    let numbers = book.numbers();
    book.change(&store, "afterwards", &numbers);
    book.assert_stands(&store, "changed since");
    close(store);
    let store = open();
    assert!(store.status().sets[0].replicas.iter().all(|replica| replica.state == ReplicaState::Voting));
    book.assert_stands(&store, "opened again");
    close(store);
    say(&format!("one full replica: {} orders and changes of them, all acknowledged", numbers.len()));
}
