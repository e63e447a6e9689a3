//! Pendings and wakers: whatever callers do with them, the store goes on.

use crate::bench::*;
use ordermint::{Error, OrderStore, Pending, Placed, SetId};
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

/// A waker that runs this when woken.
struct OnWake<F>(F);

impl<F: Fn() + Send + Sync + 'static> Wake for OnWake<F> {
    fn wake(self: Arc<Self>) {
        (self.0)();
    }
}

pub(crate) fn waker(run: impl Fn() + Send + Sync + 'static) -> Waker {
    Arc::new(OnWake(run)).into()
}

/// Polls once; true when it is still under way.
pub(crate) fn poll_once<T>(pending: &mut Pending<T>, waker: &Waker) -> bool {
    matches!(Pin::new(pending).poll(&mut Context::from_waker(waker)), Poll::Pending)
}

fn slow(bench: &Bench) {
    bench.faults.iter().for_each(|faults| faults.hang_applies());
}

#[test]
fn a_dropped_pending_cancels_nothing() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    slow(&bench);
    drop(store.create("nobody asks for it"));
    bench.release_all();
    until("the order is there", || scanned(&store, bench.set, today()).len() == 1);
    until("its room is given back", || status(&store).in_flight == 0);
}

#[test]
fn a_pending_that_was_polled_can_be_waited_for_and_the_other_way_round() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("a lease comes first")).expect("created");
    slow(&bench);
    let mut polled = store.create("polled");
    let woken = Arc::new(AtomicUsize::new(0));
    let counting = Arc::clone(&woken);
    assert!(poll_once(
        &mut polled,
        &waker(move || {
            counting.fetch_add(1, Ordering::SeqCst);
        })
    ));
    let patient = store.create("waited for");
    let mut patient = patient.wait_timeout(Duration::from_millis(5)).expect_err("it hangs");
    assert!(poll_once(&mut patient, Waker::noop()));
    bench.release_all();
    ends(polled).expect("stored");
    until("the waker was woken", || woken.load(Ordering::SeqCst) == 1);
    let patient = patient.wait_timeout(AGES).expect("it ends");
    patient.expect("stored");
}

#[test]
fn wait_timeout_gives_the_operation_back_until_it_is_over() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    slow(&bench);
    let mut pending = store.create("later");
    for _ in 0..20 {
        pending = pending.wait_timeout(Duration::from_millis(1)).expect_err("it hangs");
    }
    bench.release_all();
    let number = pending.wait_timeout(Duration::MAX).expect("it ends").expect("stored").number;
    assert_eq!(ends(store.get(number)).expect("read").expect("there").value, "later");
}

#[test]
fn wakers_that_panic_are_their_callers_trouble_alone() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    slow(&bench);
    let mut victims: Vec<_> = (0..50).map(|_| store.create("panics when woken")).collect();
    for victim in &mut victims {
        poll_once(victim, &waker(|| panic!("a waker panics")));
    }
    bench.release_all();
    create_some(&store, "beside", 50, &mut acknowledged);
    all_are_there(&store, &acknowledged);
    for victim in victims {
        ends(victim).expect("the answer is there all the same");
    }
    assert_eq!(status(&store).in_flight, 0);
}

#[test]
fn a_waker_that_blocks_holds_up_no_other_set() {
    let (bench, other) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    // Each stays where it is: elsewhere its waker would block another SET.
    let store = bench.builder().attempts(1).deadline(2 * AGES).add_set(other.config()).open().expect("opens");
    let (unblock, blocked) = mpsc::channel::<()>();
    let blocked = shared(blocked);
    let stuck = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&stuck);
    let blocking = waker(move || {
        seen.store(true, Ordering::SeqCst);
        let _ = blocked.lock().expect("one waker").recv();
    });
    slow(&bench);
    let mut victims: Vec<_> = (0..100).map(|_| store.create("blocks when woken")).collect();
    until("those of the other SET are stored", || {
        victims = under_way(std::mem::take(&mut victims), other.set);
        victims.len() == status(&store).in_flight
    });
    assert!(victims.len() >= 4, "some go to either SET");
    for victim in &mut victims {
        poll_once(victim, &blocking);
    }
    bench.release_all();
    until("the waker blocks", || stuck.load(Ordering::SeqCst));
    let of_other = || store.status().sets[1].clone();
    let before = of_other().orders_today as usize;
    let mut beside: Vec<_> = (0..20).map(|at| store.create(format!("beside {at}"))).collect();
    until("all that the other SET took are stored", || {
        beside = under_way(std::mem::take(&mut beside), other.set);
        let status = of_other();
        status.in_flight == 0 && status.orders_today as usize - before == 20 - beside.len()
    });
    assert!(beside.len() <= 15, "the other SET took its half: {} are waiting", beside.len());
    drop(unblock);
}

/// Those that are not answered yet. The others are stored, in `set`.
fn under_way(creates: Vec<Pending<Placed>>, set: SetId) -> Vec<Pending<Placed>> {
    let is_stored = |answer: Result<Placed, Error>| assert_eq!(answer.expect("stored").number.set_id(), set);
    creates.into_iter().filter_map(|create| create.wait_timeout(Duration::ZERO).map(is_stored).err()).collect()
}

/// A receiver that a waker can share.
fn shared<T>(receiver: mpsc::Receiver<T>) -> std::sync::Mutex<mpsc::Receiver<T>> {
    std::sync::Mutex::new(receiver)
}

#[test]
fn the_last_handle_may_be_dropped_by_a_waker() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let number = ends(store.create("before")).expect("created").number;
    slow(&bench);
    let mut pending = store.create("its waker holds the store");
    let last: std::sync::Mutex<Option<OrderStore>> = std::sync::Mutex::new(Some(store));
    let dropped = Arc::new(AtomicBool::new(false));
    let seen = Arc::clone(&dropped);
    let dropping = waker(move || {
        drop(last.lock().expect("one waker").take());
        seen.store(true, Ordering::SeqCst);
    });
    assert!(poll_once(&mut pending, &dropping));
    bench.release_all();
    until("the waker has dropped the store", || dropped.load(Ordering::SeqCst));
    let second = ends(pending).expect("stored").number;
    let store = bench.open();
    for number in [number, second] {
        assert!(ends(store.get(number)).expect("read").is_some());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_are_under_way_from_one_runtime() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let tasks: Vec<_> = (0..5_000)
        .map(|at| {
            let store = store.clone();
            tokio::spawn(async move { (at, store.create(at.to_string()).await) })
        })
        .collect();
    let mut acknowledged = Acknowledged::new();
    for task in tasks {
        let (at, placed) = task.await.expect("no task panics");
        assert_eq!(acknowledged.insert(placed.expect("stored").number, at.to_string()), None);
    }
    tokio::task::spawn_blocking(move || {
        all_are_there(&store, &acknowledged);
        assert_eq!(scanned(&store, bench.set, today()).len(), 5_000);
    })
    .await
    .expect("all are there");
}

#[test]
fn an_answer_that_was_taken_is_told_to_be_so_and_is_no_panic() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut context = Context::from_waker(Waker::noop());
    let mut polled = || {
        let mut pending = store.create("once");
        until("it is answered", || matches!(Pin::new(&mut pending).poll(&mut context), Poll::Ready(Ok(_))));
        pending
    };
    let mut again = polled();
    let mut context = Context::from_waker(Waker::noop());
    assert_eq!(Pin::new(&mut again).poll(&mut context), Poll::Ready(Err(Error::AnswerTaken)));
    assert_eq!(polled().wait(), Err(Error::AnswerTaken));
    assert!(matches!(polled().wait_timeout(AGES), Ok(Err(Error::AnswerTaken))));
}
