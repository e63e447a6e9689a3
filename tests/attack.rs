//! Hostile, careless and unlucky users: what they do holds up nothing, loses nothing, and kills no thread.

#[allow(dead_code)]
#[path = "stories/bench.rs"]
mod bench;

use bench::*;
use ordermint::{Change, Error, MemoryReplica, OrderNumber, OrderStore, Placed, ReadOptions, Replica, ReplicaState, SetConfig};
use ordermint::{Resolved, Version, WriteOptions, WriteToken};
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

fn placed(store: &OrderStore, payload: &str) -> Placed {
    ends(store.create(payload)).expect("created")
}

fn value(store: &OrderStore, number: OrderNumber) -> Vec<u8> {
    ends(store.get(number)).expect("read").expect("there").value.to_vec()
}

#[test]
fn a_closure_that_drops_the_last_handle_is_answered_and_kept() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = placed(&store, "a").number;
    let (go, wait) = channel::<()>();
    let last = store.clone();
    let drops = store.modify(number, move |_| {
        wait.recv().expect("told to go on");
        drop(last);
        Change::write("b", ())
    });
    let behind = store.modify(number, |order| Change::write([&order.value[..], b"c"].concat(), ()));
    drop(store);
    go.send(()).expect("it waits");
    assert!(ends(drops).expect("written").written);
    assert!(ends(behind).expect("let in before the end, so it is done").written);
    assert_eq!(value(&bench.open(), number), b"bc");
}

#[test]
fn a_closure_that_closes_the_store_must_not_wait_for_it_and_is_kept() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = placed(&store, "a").number;
    let inner = store.clone();
    let closes = store.modify(number, move |_| Change::write("b", inner.close().wait()));
    assert_eq!(ends(closes).expect("written").output, Err(Error::Reentrant));
    ends(store.close()).expect("closed");
    assert_eq!(ends(store.get(number)), Err(Error::Closed));
    drop(store);
    assert_eq!(value(&bench.open(), number), b"b");
}

fn nest(store: OrderStore, number: OrderNumber, left: usize, done: Sender<usize>) {
    drop(store.clone().modify(number, move |order| {
        let length = order.value.len();
        match left {
            0 => done.send(length).expect("somebody waits"),
            _ => nest(store, number, left - 1, done),
        }
        Change::write(vec![1; length + 1], ())
    }));
}

#[test]
fn thousands_of_closures_each_start_the_next() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (done, ended) = channel();
    nest(store.clone(), placed(&store, "").number, 3_000, done);
    assert_eq!(ended.recv_timeout(AGES), Ok(3_000));
}

#[test]
fn every_way_to_wait_inside_a_closure_is_refused_or_ready() {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = placed(&store, "a").number;
    bench.faults.iter().for_each(|faults| faults.delay_applies(Duration::from_millis(20)));
    let mut polled = store.create("from outside");
    let blocks = store.modify(number, move |_| {
        let waker = Waker::from(Arc::new(Unpark(std::thread::current())));
        Change::keep(loop {
            match Pin::new(&mut polled).poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => break answer.map(|_| ()),
                Poll::Pending => std::thread::park(),
            }
        })
    });
    assert!(matches!(ends(blocks).expect("kept").output, Ok(()) | Err(Error::Reentrant)));
    let inner = store.clone();
    let all = store.modify(number, move |_| Change::keep(inner.create_all(["x", "y"]).filter(Result::is_ok).count()));
    assert_eq!(ends(all).expect("kept").output, 0);
    // Another store, opened, used and dropped in there.
    let other = Bench::new(3, 2, 2);
    let builder = other.builder();
    let opens = store.modify(number, move |_| Change::keep(builder.open().map(|store| store.status().sets.len())));
    assert_eq!(ends(opens).expect("kept").output, Ok(1));
}

#[test]
fn what_a_closure_leaves_behind_may_panic_when_it_is_dropped() {
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            assert!(std::thread::panicking(), "a panic in Drop was asked for");
        }
    }
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().modify_threads(1).open().expect("the store opens");
    let number = placed(&store, "a").number;
    for at in 0..40 {
        let bomb = Bomb;
        // An answer that has come already is dropped here, with what is in it.
        let _ = catch_unwind(AssertUnwindSafe(|| match at % 5 {
            0 => drop(store.modify(number, move |_| Change::write([u8::from(matches!(bomb, Bomb))], ()))),
            1 => drop(store.modify(number, move |_| Change::write("output", bomb))),
            2 => drop(store.modify(number, move |_| -> Change<()> { std::panic::panic_any(bomb) })),
            3 => drop(store.modify(bench.number(1 << 30), move |_| Change::keep(bomb))),
            _ => drop(store.modify_with(number, WriteOptions::new().deadline(Duration::ZERO), move |_| Change::keep(bomb))),
        }));
    }
    assert!(ends(store.modify(number, |_| Change::write("fine", ()))).expect("modified").written);
    assert_eq!(value(&store, number), b"fine");
    assert!(ends(store.create("fine")).is_ok());
}

#[test]
fn versions_that_never_existed_are_told_apart() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let Placed { number, version, .. } = placed(&store, "a");
    let far = Version { epoch: u32::MAX, counter: u64::MAX };
    for wanted in [Version { counter: version.counter + 1, ..version }, far] {
        let mismatch = Error::VersionMismatch { number, expected: wanted, actual: version };
        assert_eq!(ends(store.update(number, wanted, "b")), Err(mismatch));
        for reading in [ReadOptions::strong(), ReadOptions::weak(), ReadOptions::degraded()] {
            let stale = Error::Stale { number, found: Some(version), wanted };
            assert_eq!(ends(store.get_with(number, reading.at_least(wanted))), Err(stale));
        }
    }
    assert_eq!(value(&store, number), b"a");
}

#[test]
fn made_up_tokens_change_nothing_and_poison_no_number() {
    for recent in [0, 1 << 20] {
        let bench = Bench::new(3, 2, 2);
        let store = bench.builder().recent_bytes(recent).open().expect("the store opens");
        let Placed { number, version, .. } = placed(&store, "a");
        let far = Version { epoch: u32::MAX, counter: u64::MAX };
        let made_up = [Version::default(), Version { counter: u64::MAX, ..version }, far];
        for version in made_up {
            let _ = ends(store.resolve(WriteToken { number, version }));
            assert_eq!(value(&store, number), b"a");
            for ahead in 1..5 {
                let _ = ends(store.resolve(WriteToken { number: bench.number(number.sequence() + ahead), version }));
            }
        }
        for _ in 0..5 {
            let next = placed(&store, "next").number;
            assert_eq!(value(&store, next), b"next");
            assert!(ends(store.modify(next, |_| Change::write("changed", ()))).expect("modified").written);
        }
        let first = WriteToken { number, version };
        assert_eq!(ends(store.resolve(first)), Ok(Resolved::Applied));
    }
}

/// The code that opens a replica is the caller's.
#[test]
fn a_replica_may_use_its_store_while_it_is_opened() {
    let memory = Arc::new(MemoryReplica::new());
    let handed: Arc<Mutex<Option<OrderStore>>> = Arc::default();
    let inside = Arc::clone(&handed);
    let set = Bench::new(3, 2, 2).set;
    let used = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&used);
    let config = SetConfig::new(set).in_memory(2).replica_with(move |_| {
        if let Some(store) = inside.lock().expect("whole").take() {
            assert!(store.create("inside").wait().is_ok());
            assert!(matches!(store.bring_back_replica(set, 2), Err(Error::WrongState { .. })));
            count.fetch_add(1, Ordering::SeqCst);
        }
        Ok(Arc::new((*memory).clone()) as Arc<dyn Replica>)
    });
    let store = OrderStore::builder().add_set(config).open().expect("the store opens");
    for _ in 0..2 {
        store.take_out_replica(set, 2).expect("taken out");
        *handed.lock().expect("whole") = Some(store.clone());
        store.bring_back_replica(set, 2).expect("it returns");
        until("it votes", || replica(&store, 2).state == ReplicaState::Voting);
        placed(&store, "after");
    }
    assert_eq!(used.load(Ordering::SeqCst), 2);
    ends(store.close()).expect("closed");
}
