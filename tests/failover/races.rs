//! Moments that are short: between the end of an attempt and the next, and while somebody looks.

use crate::bench::{World, create_in, ends, id, status_of, today, until, until_at_rest};
use ordermint::{CreateOptions, Error, Order, OrderNumber, OrderStore, SetState};
use std::future::Future;
use std::pin::pin;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::task::{Context, Wake, Waker};
use std::time::{Duration, Instant};

/// A waker that blocks, and with it the thread on which a SET tells its callers.
struct Blocks {
    begun: Sender<()>,
    go_on: Mutex<Receiver<()>>,
}

impl Wake for Blocks {
    fn wake(self: Arc<Self>) {
        let _ = self.begun.send(());
        let _ = self.go_on.lock().expect("no panic").recv_timeout(Duration::from_secs(30));
    }
}

/// Blocks the thread that tells the callers of SET 7, until something is sent, or nobody can send any more. The SET hung for it.
fn block_notifier(world: &World, store: &OrderStore) -> Sender<()> {
    world.set(7).hang();
    let (begun, has_begun) = channel();
    let (go_on, goes_on) = channel();
    let waker = Waker::from(Arc::new(Blocks { begun, go_on: Mutex::new(goes_on) }));
    let mut blocker = pin!(store.create_with("blocks", CreateOptions::new().deadline(Duration::from_secs(100))));
    assert!(blocker.as_mut().poll(&mut Context::from_waker(&waker)).is_pending());
    world.set(7).release();
    has_begun.recv().expect("it is woken");
    go_on
}

/// What somebody was shown between the moment when a create ended in doubt and the moment when the store hears of it is not given up.
fn shown_before_the_store_hears_of_the_doubt(look: impl Fn(&OrderStore) -> Box<dyn FnOnce() -> Vec<Order>>) {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().attempt_timeout(Duration::from_millis(50)).recent_bytes(0).open().expect("the store opens");
    create_in(&store, 7, "leased");
    ends(store.compared()).expect("they agree");
    // By one of them.
    let go_on = block_notifier(&world, &store);
    // Done everywhere, and nobody hears of it: in doubt, and the store does not know yet.
    world.set(7).hang_answers();
    let create = store.create_with("in doubt", CreateOptions::new().deadline(Duration::from_secs(20)));
    std::thread::sleep(Duration::from_millis(300));
    let shown = look(&store);
    std::thread::sleep(Duration::from_millis(300));
    go_on.send(()).expect("it waits");
    let (shown, answer) = (shown(), ends(create));
    let shown: Vec<_> = shown.iter().filter(|order| order.value == "in doubt").map(|order| order.number).collect();
    match &answer {
        Ok(placed) => {
            assert!(shown.iter().all(|number| *number == placed.number), "{shown:?} was shown, and given up for {placed:?}")
        }
        Err(Error::Ambiguous { token, .. }) => assert!(shown.is_empty() || shown == [token.number]),
        Err(error) => panic!("{error}"),
    }
    world.release_all();
    for number in shown {
        until("it stays", || ends(store.get(number)).is_ok_and(|order| order.is_some()));
    }
}

#[test]
fn a_scan_of_an_order_whose_doubt_nobody_has_heard_of_yet_keeps_it_alive() {
    shown_before_the_store_hears_of_the_doubt(|store| {
        let page = store.scan_page(id(7), today(), None, 100);
        Box::new(move || ends(page).expect("a page").orders.into_iter().flatten().collect())
    });
}

#[test]
fn a_read_of_an_order_whose_doubt_nobody_has_heard_of_yet_keeps_it_alive() {
    shown_before_the_store_hears_of_the_doubt(|store| {
        // Its number is the third of the day in that SET.
        let number = |sequence| OrderNumber::new(today(), sequence, id(7)).expect("a number");
        let reads: Vec<_> = (0..4).map(|sequence| store.get(number(sequence))).collect();
        Box::new(move || reads.into_iter().filter_map(|read| ends(read).expect("they are well")).collect())
    });
}

/// It holds what keeps all other changes waiting.
#[test]
fn a_change_of_the_map_waits_for_no_set_whose_notifier_a_waker_blocks() {
    let world = World::near_and_far(7, &[8, 9]);
    let store = world.patient().deadline(Duration::from_secs(3)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    let go_on = block_notifier(&world, &store);
    let begun = Instant::now();
    store.drain_set(id(8)).expect("two of three remember it");
    store.set_weight(id(9), 2).expect("nor is the next one kept waiting");
    // The waker goes on after thirty seconds by itself.
    assert!(begun.elapsed() < Duration::from_secs(15), "it took {:?}", begun.elapsed());
    assert_eq!((status_of(&store, 8).state, status_of(&store, 9).weight), (SetState::Draining, 2));
    go_on.send(()).expect("it waits");
}

/// A read that began while the void was on its way, and whose last answer comes when it has landed: what its replicas told is no
/// longer so.
#[test]
fn a_read_that_begins_while_the_void_is_on_its_way_does_not_show_what_was_there_before() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().recent_bytes(0).open().expect("the store opens");
    create_in(&store, 7, "leased");
    ends(store.compared()).expect("they agree");
    until_at_rest(&store, 7);
    world.set(7).hang_answers();
    let placed = ends(store.create_with("moved", CreateOptions::new().deadline(Duration::from_secs(5)))).expect("placed");
    let first = placed.superseded[0];
    until("each replica holds the first number", || world.alive_on(first) == 3);
    // By then the void waits behind what hangs.
    std::thread::sleep(Duration::from_millis(400));
    let faults = world.set(7).faults();
    faults[1].fail_reads(1_000);
    faults[2].delay_reads(Duration::from_millis(600));
    let read = store.get(first);
    std::thread::sleep(Duration::from_millis(200));
    faults[0].release();
    faults[1].release();
    until("enough replicas hold the void", || world.void_on(first) == 2);
    assert_eq!(ends(read).unwrap_or(None), None, "it was given up");
    faults[1].fail_reads(0);
    world.release_all();
    until("all replicas hold the void", || world.void_on(first) == 3);
}

/// As above, for a page.
#[test]
fn a_page_that_begins_while_the_void_is_on_its_way_does_not_show_what_was_there_before() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().recent_bytes(0).open().expect("the store opens");
    create_in(&store, 7, "leased");
    ends(store.compared()).expect("they agree");
    until_at_rest(&store, 7);
    world.set(7).hang_answers();
    let placed = ends(store.create_with("moved", CreateOptions::new().deadline(Duration::from_secs(5)))).expect("placed");
    let first = placed.superseded[0];
    std::thread::sleep(Duration::from_millis(400));
    let faults = world.set(7).faults();
    faults[1].fail_reads(1_000);
    faults[2].delay_reads(Duration::from_millis(600));
    let page = store.scan_page(id(7), today(), None, 100);
    std::thread::sleep(Duration::from_millis(200));
    faults[0].release();
    faults[1].release();
    until("enough replicas hold the void", || world.void_on(first) == 2);
    faults[1].fail_reads(0);
    let page = ends(page).expect("two replicas answer");
    assert!(page.orders.into_iter().flatten().all(|order| order.number != first), "it was given up");
    world.release_all();
    until("all replicas hold the void", || world.void_on(first) == 3);
}
