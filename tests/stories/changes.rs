//! Orders that change: compare and set, closures in turn, writes in doubt.

use crate::bench::*;
use ordermint::{
    Change, CreateOptions, Error, NotAttempted, OrderStore, Placed, ReadOptions, Resolved, Version, WriteOptions, WriteToken,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

fn placed(store: &OrderStore, payload: &str) -> Placed {
    ends(store.create(payload)).expect("created")
}

fn value(store: &OrderStore, placed: &Placed) -> String {
    let order = ends(store.get(placed.number)).expect("read").expect("there");
    String::from_utf8(order.value.to_vec()).expect("text")
}

fn token(result: Result<Version, Error>) -> WriteToken {
    match result {
        Err(Error::Ambiguous { token, .. }) => token,
        other => panic!("{other:?}"),
    }
}

/// Long enough for a closure to begin on a machine that has other things to do.
fn later() -> WriteOptions {
    WriteOptions::new().deadline(Duration::from_secs(3))
}

const SOON: Duration = Duration::from_millis(150);

fn soon() -> WriteOptions {
    WriteOptions::new().deadline(SOON)
}

/// Two replicas take nothing until they are released: what is written meanwhile ends in doubt.
fn hang_two(bench: &Bench) {
    bench.faults[1].hang_applies();
    bench.faults[2].hang_applies();
}

#[test]
fn of_equal_updates_at_once_exactly_one_wins() {
    for recent in [0, 1 << 20] {
        let bench = Bench::new(3, 2, 2);
        let store = bench.builder().recent_bytes(recent).open().expect("the store opens");
        let order = placed(&store, "first");
        let updates: Vec<_> = (0..50).map(|at| store.update(order.number, order.version, format!("{at}"))).collect();
        let mut won = Vec::new();
        for (at, update) in updates.into_iter().enumerate() {
            match ends(update) {
                Ok(version) => won.push((at, version)),
                Err(Error::VersionMismatch { number, expected, actual }) => {
                    assert_eq!((number, expected), (order.number, order.version));
                    assert!(actual > expected);
                }
                Err(other) => panic!("{other}"),
            }
        }
        let [(at, version)] = won[..] else { panic!("{won:?}") };
        assert_eq!(at, 0, "first come first served");
        let read = ends(store.get(order.number)).expect("read").expect("there");
        assert_eq!((read.version, read.value.as_ref()), (version, at.to_string().as_bytes()));
    }
}

#[test]
fn an_order_that_is_not_there_is_not_changed() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = bench.number(77);
    assert_eq!(ends(store.update(number, Version::default(), "x")), Err(Error::NoSuchOrder { number }));
    let ran = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&ran);
    let modified = store.modify(number, move |_| {
        count.fetch_add(1, Ordering::SeqCst);
        Change::keep(())
    });
    assert_eq!(ends(modified).expect_err("absent"), Error::NoSuchOrder { number });
    assert_eq!(ran.load(Ordering::SeqCst), 0);
}

#[test]
fn closures_see_each_other_and_share_writes() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "0");
    let add = |order: &ordermint::Order| {
        let next = std::str::from_utf8(&order.value).expect("text").parse::<u32>().expect("a number") + 1;
        Change::write(next.to_string(), next)
    };
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let under_way: Vec<_> = (0..200).map(|_| store.modify(order.number, add)).collect();
    bench.release_all();
    let mut versions = std::collections::BTreeSet::new();
    for (at, modified) in (1..).zip(under_way) {
        let modified = ends(modified).expect("modified");
        assert_eq!((modified.output, modified.written), (at, true), "first come first served");
        versions.insert(modified.version);
    }
    assert_eq!(value(&store, &order), "200");
    assert!(versions.len() < 20, "{} writes for 200 closures", versions.len());
    let kept = ends(store.modify(order.number, |order| Change::keep(order.version))).expect("kept");
    assert_eq!((kept.written, kept.output), (false, kept.version));
}

#[test]
fn a_closure_that_fails_fails_alone() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "whole");
    bench.faults.iter().for_each(|faults| faults.delay_applies(Duration::from_millis(30)));
    let first = store.modify(order.number, |_| Change::write("a", 1));
    let panics = store.modify(order.number, |_| -> Change<i32> { panic!("a bad day") });
    let too_large = store.modify(order.number, |_| Change::write(vec![7; 8 << 10], 3));
    let inner = store.clone();
    let number = order.number;
    let waits = store.modify(number, move |_| Change::keep(inner.create("inside").wait().map(|_| ())));
    let last = store.modify(number, |order| Change::write([&order.value[..], b"b"].concat(), 5));
    assert_eq!(ends(first).expect("written").output, 1);
    match ends(panics) {
        Err(Error::ModifyPanicked { number: said, message }) => assert_eq!((said, &message[..]), (number, "a bad day")),
        other => panic!("{other:?}"),
    }
    assert_eq!(ends(too_large).expect_err("too large"), Error::ValueTooLarge { bytes: 8 << 10, max: 7 << 10 });
    assert_eq!(ends(waits).expect("it ran").output, Err(Error::Reentrant));
    assert_eq!(ends(last).expect("written").output, 5);
    assert_eq!(value(&store, &order), "ab");
}

#[test]
fn a_closure_that_hangs_holds_up_its_order_and_nothing_else() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (stuck, other) = (placed(&store, "stuck"), placed(&store, "other"));
    let (release, hang) = std::sync::mpsc::channel::<()>();
    let hung = store.modify_with(stuck.number, later(), move |_| {
        let _ = hang.recv();
        Change::write("too late", ())
    });
    let behind = store.modify_with(stuck.number, later(), |_| Change::write("behind", ()));
    let reason = NotAttempted::NoTurn { number: stuck.number };
    assert_eq!(ends(hung).map(|_| ()), Err(Error::NotAttempted { reason: reason.clone() }));
    assert_eq!(ends(behind).map(|_| ()), Err(Error::NotAttempted { reason }));
    assert!(ends(store.modify(other.number, |_| Change::write("else", ()))).expect("modified").written);
    assert_eq!(value(&store, &stuck), "stuck");
    release.send(()).expect("it waits");
    // It was told that nothing happened, so nothing does.
    assert!(ends(store.modify(stuck.number, |order| Change::write([&order.value[..], b"!"].concat(), ()))).is_ok());
    assert_eq!(value(&store, &stuck), "stuck!");
}

#[test]
fn a_dropped_pending_cancels_nothing() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    drop(store.modify(order.number, |_| Change::write("second", ())));
    drop(store.update(order.number, order.version, "never: the closure was before it"));
    assert_eq!(ends(store.modify(order.number, |order| Change::keep(order.value.clone()))).expect("kept").output, "second");
}

#[test]
fn a_write_in_doubt_that_is_seen_is_rolled_forward() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    hang_two(&bench);
    let token = in_doubt(|| store.update_with(order.number, order.version, "second", soon()));
    assert_eq!(token.number, order.number);
    until("the first has it", || replica(&store, 0).queued == 0);
    bench.release_all();
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    assert_eq!(value(&store, &order), "second");
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied), "it is never the other one later");
    assert_eq!(ends(store.update(order.number, token.version, "third")).map(|version| version > token.version), Ok(true));
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
}

#[test]
fn a_write_in_doubt_that_is_not_seen_can_never_win() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    until("all have it", || bench.holders(order.number) == 3);
    until_nobody_is_busy(&store);
    bench.faults[0].fail_applies(1);
    bench.faults[1].fail_applies(1);
    let token = token(ends(store.update(order.number, order.version, "second")));
    until("the third has it", || replica(&store, 2).queued == 0);
    // Only one voter is left: nothing can be said.
    assert!(matches!(ends(store.resolve(token)), Err(Error::QuorumLost { .. })));
    drop(store);
    bench.gone[2].store(true, Ordering::SeqCst);
    let store = bench.open();
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::NotApplied));
    drop(store);
    bench.gone[2].store(false, Ordering::SeqCst);
    let store = bench.open();
    assert_eq!(value(&store, &order), "first");
    assert!(matches!(ends(store.resolve(token)), Err(Error::Superseded { .. })), "the process that knew has ended");
}

#[test]
fn a_new_order_in_doubt_is_resolved_for_good() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().deadline(Duration::from_secs(2)).open().expect("the store opens");
    placed(&store, "a lease comes first");
    until_nobody_is_busy(&store);
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    let token = in_doubt(|| store.create_with("perhaps", CreateOptions::new().deadline(SOON)));
    // Nobody shows it, nobody takes anything: the question stays open.
    assert!(ends(store.resolve(token)).is_err());
    bench.release_all();
    until_nobody_is_busy(&store);
    let outcome = ends(store.resolve(token)).expect("resolved");
    let read = ends(store.get(token.number)).expect("read").map(|order| order.value);
    match outcome {
        Resolved::Applied => assert_eq!(read.expect("applied"), "perhaps"),
        // The resolve that failed may have written a void already.
        Resolved::NotApplied => assert_eq!(read, None),
    }
    assert_eq!(ends(store.resolve(token)), Ok(outcome));
    let numbers: Vec<_> = scanned(&store, bench.set, today()).into_iter().map(|order| order.number).collect();
    assert_eq!(numbers.contains(&token.number), outcome == Resolved::Applied);
}

#[test]
fn an_update_in_doubt_is_settled_before_the_next_is_compared() {
    for seen in [true, false] {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let order = placed(&store, "first");
        until("all have it", || bench.holders(order.number) == 3);
        hang_two(&bench);
        if !seen {
            bench.faults[0].hang_applies();
        }
        let token = in_doubt(|| store.update_with(order.number, order.version, "second", soon()));
        if seen {
            until("the first has it", || replica(&store, 0).queued == 0);
        }
        bench.release_all();
        if !seen {
            until_nobody_is_busy(&store);
        }
        let next = ends(store.update(order.number, order.version, "third"));
        // By now the late write is there, so it is rolled forward, and the one behind it is told.
        assert_eq!(next, Err(Error::VersionMismatch { number: order.number, expected: order.version, actual: token.version }));
        assert_eq!(ends(store.update(order.number, token.version, "third")).map(|_| ()), Ok(()));
        assert_eq!(value(&store, &order), "third");
        assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    }
}

#[test]
fn closures_wait_until_a_doubt_is_settled() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    hang_two(&bench);
    let token = in_doubt(|| store.modify_with(order.number, soon(), |_| Change::write("second", ())));
    let next = store.modify(order.number, |order| Change::keep(order.value.clone()));
    bench.release_all();
    let seen = ends(next).expect("kept").output;
    let applied = ends(store.resolve(token)).expect("resolved") == Resolved::Applied;
    assert_eq!(seen, if applied { "second" } else { "first" });
}

#[test]
fn a_read_that_meets_a_write_under_way_waits_for_its_outcome() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    until("all have it", || bench.holders(order.number) == 3);
    bench.faults[1].hang_applies();
    bench.faults[2].hang_applies();
    let update = store.update(order.number, order.version, "second");
    until("one has it", || {
        let order = ends(store.get_with(order.number, ReadOptions::weak().at_least(order.version)));
        order.is_ok_and(|order| order.is_some_and(|order| order.value == "second"))
    });
    let reads: Vec<_> = (0..3).map(|_| store.get(order.number)).collect();
    bench.release_all();
    let version = ends(update).expect("stored");
    for read in reads {
        let read = ends(read).expect("read").expect("there");
        assert!(read.version == version || read.version == order.version, "{read:?}");
    }
    assert_eq!(ends(store.get(order.number)).expect("read").expect("there").version, version);
}

#[test]
fn what_a_read_showed_stays_although_its_writer_is_in_doubt_and_the_store_is_killed() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "first");
    until("all have it", || bench.holders(order.number) == 3);
    bench.faults[1].hang_applies();
    bench.faults[2].hang_applies();
    let token = in_doubt(|| store.update_with(order.number, order.version, "second", soon()));
    bench.release_all();
    let read = ends(store.get(order.number)).expect("read").expect("there");
    drop(store);
    for gone in 0..3 {
        bench.gone[gone].store(true, Ordering::SeqCst);
        let store = bench.open();
        let again = ends(store.get(order.number)).expect("read").expect("there");
        assert!(again.version >= read.version, "without replica {gone}: {again:?} after {read:?}");
        drop(store);
        bench.gone[gone].store(false, Ordering::SeqCst);
    }
    assert_eq!(read.version == token.version, read.value == "second");
}

#[test]
fn recent_orders_are_read_from_memory_and_never_older_than_written() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().recent_bytes(1 << 20).open().expect("the store opens");
    let order = placed(&store, "0");
    ends(store.compared()).expect("compared");
    let asked = || bench.faults.iter().map(|faults| faults.reads()).sum::<usize>();
    let before = asked();
    let mut version = order.version;
    for at in 1..=20 {
        assert_eq!(value(&store, &order), (at - 1).to_string());
        version = ends(store.update(order.number, version, at.to_string())).expect("updated");
        let read = ends(store.get_with(order.number, ReadOptions::strong().at_least(version))).expect("read").expect("there");
        assert_eq!(read.version, version);
    }
    // Each of 20 reads would have asked two. The store itself looks once for notes of earlier processes.
    assert!(asked() < before + 20, "nobody was asked");
    // In doubt it is not known any more: replicas are asked.
    hang_two(&bench);
    let token = in_doubt(|| store.update_with(order.number, version, "21", soon()));
    bench.release_all();
    let read = ends(store.get(order.number)).expect("read").expect("there");
    assert!(asked() > before);
    assert_eq!(ends(store.resolve(token)).expect("resolved") == Resolved::Applied, read.version >= token.version);
}

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("dropped");
        }
    }
}

#[test]
fn what_a_closure_gives_may_panic_when_it_is_dropped_and_harms_nobody() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "whole");
    let (release, hang) = std::sync::mpsc::channel::<()>();
    // Its caller is told before it ends, so that what it gives is dropped by the store.
    let late = store.modify_with(order.number, later(), move |_| {
        let _ = hang.recv();
        Change::write("too late", Bomb)
    });
    match ends(late) {
        Err(error) => assert_eq!(error, Error::NotAttempted { reason: NotAttempted::NoTurn { number: order.number } }),
        Ok(_) => panic!("it hangs"),
    }
    release.send(()).expect("it waits");
    let bomb = store.modify(order.number, |_| -> Change<()> { std::panic::panic_any(Bomb) });
    assert!(matches!(ends(bomb), Err(Error::ModifyPanicked { .. })));
    assert!(ends(store.modify(order.number, |order| Change::write([&order.value[..], b"!"].concat(), ()))).is_ok());
    assert_eq!(value(&store, &order), "whole!");
    until("nothing is in flight", || status(&store).in_flight == 0);
}

#[test]
fn a_closure_that_ran_ends_by_its_deadline_while_a_later_one_hangs() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let order = placed(&store, "0");
    let (release, hang) = std::sync::mpsc::channel::<()>();
    bench.faults.iter().for_each(|faults| faults.hang_applies());
    // While this is being written the next two wait, to share a write.
    let first = store.modify(order.number, |_| Change::write("1", ()));
    let second = store.modify_with(order.number, later(), |_| Change::write("2", ()));
    let third = store.modify_with(order.number, later(), move |_| {
        let _ = hang.recv();
        Change::write("3", ())
    });
    bench.release_all();
    assert!(ends(first).is_ok());
    let token = match ends(second) {
        Err(Error::Ambiguous { token, .. }) => token,
        other => panic!("{other:?}"),
    };
    assert!(matches!(ends(third), Err(Error::NotAttempted { .. })), "it never ran to its end in time");
    release.send(()).expect("it waits");
    // What the second wrote is sent now that the third has ended: the token says so.
    assert_eq!(ends(store.resolve(token)), Ok(Resolved::Applied));
    assert_eq!(value(&store, &order), "2");
}
