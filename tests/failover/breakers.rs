//! What breakers and the retry budget do to creates.

use crate::bench::{
    World, all_orders, create_in, ends, id, none_twice, status_of, stood_still, until, until_all_are_well, until_at_rest,
    until_nothing_is_owed,
};
use ordermint::{
    BreakerSettings, BreakerState, Change, CreateOptions, Error, NotAttempted, OrderStore, Pending, Placed, WriteOptions,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

/// Longer than any test runs.
const HOUR: Duration = Duration::from_secs(3_600);

fn within(ms: u64) -> CreateOptions {
    CreateOptions::new().deadline(Duration::from_millis(ms))
}

/// Tells threads that it is over, also when somebody panics.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

fn is_open(store: &OrderStore, set: u16) -> bool {
    matches!(status_of(store, set).writes, BreakerState::Open { .. })
}

#[test]
fn when_the_budget_is_spent_a_create_in_doubt_stays_the_callers_until_it_has_earned_more() {
    let world = World::near_and_far(7, &[8]);
    let breaker = BreakerSettings::new().failures_in_a_row(8).window(Duration::from_secs(10), 1_000_000);
    let builder = world.builder().breaker(breaker).attempt_timeout(Duration::from_millis(20));
    let store = builder.max_in_flight(8, 1 << 20).open().expect("the store opens");
    create_in(&store, 7, "leased");
    let (mut paid, mut rounds) = (0, 0);
    let token = loop {
        world.set(7).hang();
        let answer = ends(store.create_with(format!("order {rounds}"), within(1_500)));
        world.set(7).release();
        // One that goes well ends the row of failures, and earns a tenth of an attempt.
        until("it is well again", || {
            let good = ends(store.create("good"));
            // On a slow machine some of these are paid for as well.
            paid += good.as_ref().map_or(0, |placed| placed.superseded.len());
            good.is_ok_and(|placed| placed.number.set_id() == id(7))
        });
        match answer {
            Ok(placed) => paid += placed.superseded.len(),
            Err(Error::Ambiguous { token, .. }) => break token,
            Err(error) => panic!("{error}"),
        }
        rounds += 1;
        assert!(rounds < 40, "the budget is never spent");
    };
    assert!(paid >= 8, "a full budget pays for the failures that open a breaker and all that is under way: {paid}");
    assert_eq!(token.number.set_id(), id(7), "it stays where it was sent first");
    assert!(!is_open(&store, 7));
    ends(store.resolve(token)).expect("all are well");
    // A fifth of a token for each.
    for _ in 0..20 {
        ends(store.create("earns")).expect("created");
    }
    world.set(7).hang();
    let placed = ends(store.create_with("paid for again", within(5_000))).expect("placed elsewhere");
    assert_eq!(placed.superseded.len(), 1);
    world.release_all();
    until_nothing_is_owed(&store);
}

#[test]
fn when_all_sets_hang_each_create_ends_within_its_deadline_and_the_last_number_is_the_callers() {
    let world = World::new(&[7, 8, 9, 10]);
    let store = world.quick().open().expect("the store opens");
    for set in [7, 8, 9, 10] {
        create_in(&store, set, "leased");
    }
    let known = all_orders(&store).len();
    world.sets.iter().for_each(|set| set.hang());
    let under_way: Vec<Pending<Placed>> = (0..40).map(|at| store.create_with(format!("order {at}"), within(400))).collect();
    let mut tokens = Vec::new();
    for pending in under_way {
        match ends(pending) {
            Err(Error::Ambiguous { token, .. }) => tokens.push(token),
            Err(Error::NotAttempted { .. }) => {}
            answer => panic!("{answer:?}"),
        }
    }
    assert!(!tokens.is_empty());
    // Once all breakers are open nothing is sent, and one error says what every SET says.
    until("all are left alone", || match ends(store.create_with("refused", within(100))) {
        Err(Error::NotAttempted { reason: NotAttempted::NoSetLeft { attempts, retry_after } }) => {
            assert!(retry_after > Duration::ZERO);
            attempts.len() == 4 && attempts.iter().all(|attempt| matches!(attempt.reason, NotAttempted::Unavailable { .. }))
        }
        Err(Error::Ambiguous { token, .. }) => {
            tokens.push(token);
            false
        }
        answer => panic!("{answer:?}"),
    });
    world.release_all();
    until_all_are_well(&store);
    for token in &tokens {
        until("it is settled", || ends(store.resolve(*token)).is_ok());
    }
    until_nothing_is_owed(&store);
    let mut orders = all_orders(&store);
    orders.retain(|_, payload| payload.starts_with("order"));
    none_twice(&orders);
    let told = |number| tokens.iter().any(|token| token.number == number);
    assert!(orders.keys().all(|number| told(*number)), "an order of which nobody was told");
    assert!(all_orders(&store).len() >= known);
}

#[test]
fn half_of_the_sets_flap_at_the_period_of_their_breakers_and_no_create_fails() {
    let world = World::new(&[7, 8, 9, 10]);
    let store = world.quick().open().expect("the store opens");
    let stop = AtomicBool::new(false);
    let placed: Vec<Placed> = std::thread::scope(|scope| {
        let writer = |name: usize| {
            let (store, stop) = (&store, &stop);
            move || {
                let mut placed = Vec::new();
                for batch in 0.. {
                    if stop.load(Ordering::SeqCst) {
                        break;
                    }
                    let sent: Vec<_> = (0..4).map(|at| store.create(format!("{name} {batch} {at}"))).collect();
                    for pending in sent {
                        match ends(pending) {
                            Ok(order) => placed.push(order),
                            Err(Error::NotAttempted { .. }) if stood_still(store, &[9, 10]) => {}
                            Err(error) => panic!("half of the SETs are well: {error}"),
                        }
                    }
                }
                placed
            }
        };
        let writers: Vec<_> = (0..3).map(|name| scope.spawn(writer(name))).collect();
        for _ in 0..15 {
            [7, 8].into_iter().for_each(|set| world.set(set).hang());
            std::thread::sleep(Duration::from_millis(130));
            [7, 8].into_iter().for_each(|set| world.set(set).release());
            std::thread::sleep(Duration::from_millis(40));
        }
        stop.store(true, Ordering::SeqCst);
        writers.into_iter().flat_map(|writer| writer.join().expect("no panic")).collect()
    });
    assert!(placed.iter().any(|placed| !placed.superseded.is_empty()), "nothing was ever in doubt");
    until_all_are_well(&store);
    until_nothing_is_owed(&store);
    let orders = all_orders(&store);
    none_twice(&orders);
    assert_eq!(orders.len(), placed.len());
    for number in placed.iter().flat_map(|placed| &placed.superseded) {
        assert_eq!(world.void_on(*number), 3);
    }
}

#[test]
fn probes_that_never_return_keep_a_set_out_until_it_is_well() {
    let world = World::new(&[7, 8]);
    let breaker = BreakerSettings::new()
        .failures_in_a_row(3)
        .open_time(Duration::from_millis(40), Duration::from_millis(160))
        .probe_timeout(Duration::from_millis(150))
        .ramp(Duration::from_millis(50), 10);
    // No attempt ends while it hangs, so nobody but the breaker says that a probe has failed.
    let store = world.builder().breaker(breaker).attempt_timeout(HOUR).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    until("it is left alone", || {
        // Half of its deadline is the share of the first attempt.
        let hasty: Vec<_> = (0..12).map(|_| store.create_with("hasty", within(3_000))).collect();
        hasty.into_iter().for_each(|pending| drop(ends(pending).expect("the other SET is well")));
        status_of(&store, 7).writes_opened > 0
    });
    let mut patient: Vec<Pending<Placed>> = Vec::new();
    until("it is probed in vain several times", || {
        patient.push(store.create_with(format!("patient {}", patient.len()), within(100_000)));
        status_of(&store, 7).writes_opened >= 4
    });
    world.set(7).release();
    until_all_are_well(&store);
    let placed: Vec<Placed> = patient.into_iter().map(|pending| ends(pending).expect("they were only late")).collect();
    let probes = placed.iter().filter(|placed| placed.number.set_id() == id(7)).count();
    assert!(probes >= 3, "{probes} orders were risked");
    assert!(placed.iter().all(|placed| placed.attempts == 1), "a probe that did not return is no attempt that has failed");
    create_in(&store, 7, "it is well");
    until_nothing_is_owed(&store);
}

#[test]
fn a_sick_set_to_which_nobody_sends_anything_is_probed_and_comes_back() {
    let world = World::near_and_far(7, &[8]);
    let store = world.quick().open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    until("it is left alone", || {
        ends(store.create("somewhere")).expect("the other SET is well");
        is_open(&store, 7)
    });
    world.set(7).release();
    // Not a single create from here on.
    until_all_are_well(&store);
}

#[test]
fn creates_that_hung_while_their_breaker_opened_answer_late_and_do_not_close_it() {
    let world = World::near_and_far(7, &[8]);
    let breaker = BreakerSettings::new().failures_in_a_row(3).open_time(HOUR, HOUR).probe_timeout(HOUR);
    let store = world.builder().breaker(breaker).attempt_timeout(HOUR).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    // Half of its deadline is the share of the first attempt.
    let patient: Vec<_> = (0..20).map(|at| store.create_with(format!("patient {at}"), within(100_000))).collect();
    let hasty: Vec<_> = (0..3).map(|at| store.create_with(format!("hasty {at}"), within(3_000))).collect();
    let hasty: Vec<Placed> = hasty.into_iter().map(|pending| ends(pending).expect("placed elsewhere")).collect();
    assert!(hasty.iter().all(|placed| placed.number.set_id() == id(8)));
    assert!(is_open(&store, 7));
    world.set(7).release();
    for pending in patient {
        let placed = ends(pending).expect("they were only late");
        assert_eq!((placed.number.set_id(), placed.attempts), (id(7), 1));
    }
    assert!(is_open(&store, 7), "news from before it opened closed it");
    let next = ends(store.create("goes elsewhere")).expect("the other SET is well");
    assert_eq!((next.number.set_id(), next.attempts), (id(8), 1));
    assert_eq!(status_of(&store, 7).writes_opened, 1);
}

/// They had leave from before the breaker opened; what they meet in the end is another trouble, of a SET that was well again.
#[test]
fn changes_begun_before_their_breaker_opened_fail_after_it_has_closed_and_do_not_open_it_again() {
    const CHANGES: usize = 10;
    let world = World::near_and_far(7, &[8]);
    let breaker = BreakerSettings::new()
        .failures_in_a_row(3)
        .open_time(Duration::from_millis(40), Duration::from_millis(40))
        .ramp(Duration::ZERO, 100);
    let builder = world.builder().breaker(breaker).modify_threads(CHANGES);
    let store = builder.attempt_timeout(Duration::from_millis(50)).open().expect("the store opens");
    let (begun, may_go_on, done) =
        (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let patient = WriteOptions::new().deadline(Duration::from_secs(100));
    let changes: Vec<_> = (0..CHANGES)
        .map(|_| {
            let number = create_in(&store, 7, "to be changed").number;
            let (begun, may_go_on, done) = (Arc::clone(&begun), Arc::clone(&may_go_on), Arc::clone(&done));
            store.modify_with(number, patient.clone(), move |_| {
                begun.fetch_add(1, Ordering::SeqCst);
                until("it may go on", || may_go_on.load(Ordering::SeqCst));
                done.fetch_add(1, Ordering::SeqCst);
                Change::write("changed", ())
            })
        })
        .collect();
    until("all are being changed", || begun.load(Ordering::SeqCst) == CHANGES);
    world.set(7).hang();
    until("it is left alone", || {
        ends(store.create("somewhere")).expect("the other SET is well");
        is_open(&store, 7)
    });
    world.set(7).release();
    until_all_are_well(&store);
    until_at_rest(&store, 7);
    let opened = status_of(&store, 7).writes_opened;
    // Now they are sent, and two of three replicas say no to all that they were given.
    world.set(7).hang();
    may_go_on.store(true, Ordering::SeqCst);
    until("all are changed", || done.load(Ordering::SeqCst) == CHANGES);
    std::thread::sleep(Duration::from_millis(100));
    world.set(7).faults()[1..].iter().for_each(|faults| faults.fail_applies(1));
    world.set(7).release();
    let answers: Vec<_> = changes.into_iter().map(|pending| ends(pending).expect_err("two of three said no")).collect();
    let failures = answers.iter().filter(|error| matches!(error, Error::Ambiguous { .. })).count();
    assert!(failures >= 3, "too few to open it, if they counted: {answers:?}");
    let status = status_of(&store, 7);
    assert_eq!((status.writes, status.writes_opened), (BreakerState::Closed, opened), "news from before it closed opened it");
    until_all_are_well(&store);
    assert_eq!(create_in(&store, 7, "it is well").attempts, 1);
    until_nothing_is_owed(&store);
}

#[test]
fn a_create_that_is_refused_is_tried_on_no_other_set_and_is_no_news_of_any() {
    let world = World::new(&[7, 8, 9]);
    let store = world.quick().attempts(3).value_bytes_max(10).open().expect("the store opens");
    for set in [7, 8, 9] {
        create_in(&store, set, "a");
    }
    [7, 8, 9].into_iter().for_each(|set| until_at_rest(&store, set));
    let opened = || [7, 8, 9].map(|set| status_of(&store, set).writes_opened);
    let applies = || world.sets.iter().flat_map(|set| set.faults()).map(|faults| faults.applies()).sum::<usize>();
    let before = (applies(), opened());
    for at in 0..20 {
        let options = if at % 2 == 0 { within(5_000) } else { within(5_000).request_key(format!("key {at}")) };
        let refused = ends(store.create_with("eleven bytes", options)).expect_err("it is too large");
        assert!(matches!(refused, Error::ValueTooLarge { .. }), "{refused:?}");
    }
    assert_eq!((applies(), opened()), before, "something was sent, or told of a SET");
    for set in [7, 8, 9] {
        assert_eq!(status_of(&store, set).in_flight, 0);
        create_in(&store, set, "b");
    }
}

#[test]
fn of_a_thousand_threads_a_few_find_out_for_all_that_a_set_is_still_sick() {
    const THREADS: usize = 1_000;
    let world = World::near_and_far(7, &[8]);
    let breaker = BreakerSettings::new()
        .failures_in_a_row(3)
        .open_time(Duration::from_millis(100), Duration::from_millis(100))
        .probes(3, 2)
        // The store's own probes end with it, which may come first while all of the threads wait.
        .probe_timeout(Duration::from_secs(2));
    let store = world.builder().breaker(breaker).attempt_timeout(Duration::from_millis(200)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(7).hang();
    until("it is left alone", || {
        ends(store.create("somewhere")).expect("the other SET is well");
        is_open(&store, 7)
    });
    let before = status_of(&store, 7).writes_opened;
    let (risked, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let _ends = Done(&done);
        for thread in 0..THREADS {
            let (store, risked, done) = (&store, &risked, &done);
            let run = move || {
                // Some rounds for each, so that they are all there when the open time is over.
                while !done.load(Ordering::SeqCst) {
                    match ends(store.create(format!("order of {thread}"))) {
                        Ok(placed) => {
                            let numbers = placed.superseded.iter().filter(|number| number.set_id() == id(7));
                            risked.fetch_add(numbers.count(), Ordering::SeqCst);
                        }
                        Err(Error::NotAttempted { .. }) if stood_still(store, &[8]) => {}
                        Err(error) => panic!("the other SET is well: {error}"),
                    }
                    std::thread::sleep(Duration::from_millis(20));
                }
            };
            let builder = std::thread::Builder::new().stack_size(128 << 10);
            builder.spawn_scoped(scope, run).expect("the system gives a thread");
        }
        until("it was tried again", || status_of(&store, 7).writes_opened >= before + 2 && risked.load(Ordering::SeqCst) > 0);
    });
    let rounds = (status_of(&store, 7).writes_opened - before) as usize + 1;
    let risked = risked.load(Ordering::SeqCst);
    assert!(risked > 0 && risked <= 3 * rounds, "{risked} creates were risked in {rounds} rounds of probes");
    world.release_all();
    until_nothing_is_owed(&store);
}

#[test]
fn while_two_sets_are_sick_no_order_is_lost_for_finding_out_how_they_are() {
    let world = World::new(&[7, 8, 9]);
    // On a busy machine the SET that is well may take its time.
    let store = world.quick().attempt_timeout(Duration::from_secs(1)).open().expect("the store opens");
    for set in [7, 8, 9] {
        create_in(&store, set, "leased");
    }
    world.set(7).hang();
    world.set(8).hang();
    // Until both are left alone an order may meet the one after the other.
    until("both are left alone", || {
        let _ = ends(store.create_with("meets both", within(250)));
        is_open(&store, 7) && is_open(&store, 8)
    });
    let probed = |set| status_of(&store, set).writes_opened;
    let before = (probed(7), probed(8));
    let (stop, store) = (AtomicBool::new(false), &store);
    std::thread::scope(|scope| {
        let _ends = Done(&stop);
        for thread in 0..4 {
            let stop = &stop;
            scope.spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    match ends(store.create_with(format!("order of {thread}"), within(20_000))) {
                        Ok(placed) => assert_eq!(placed.number.set_id(), id(9)),
                        Err(Error::NotAttempted { .. }) if stood_still(store, &[9]) => {}
                        Err(error) => panic!("one SET is well: {error}"),
                    }
                    std::thread::sleep(Duration::from_millis(5));
                }
            });
        }
        until("both were tried in vain", || probed(7) >= before.0 + 4 && probed(8) >= before.1 + 4);
    });
    world.release_all();
    until_nothing_is_owed(store);
}

#[test]
fn where_there_is_no_third_set_the_second_attempt_has_all_the_time_that_is_left() {
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().attempts(3).attempt_timeout(Duration::from_millis(40)).open().expect("the store opens");
    create_in(&store, 7, "leased");
    world.set(8).hang();
    world.set(7).hang();
    let create = store.create_with("patient", within(30_000));
    std::thread::sleep(Duration::from_millis(400));
    world.set(8).release();
    let placed = ends(create).expect("the second SET was only slow");
    assert_eq!((placed.number.set_id(), placed.attempts), (id(8), 2));
    world.release_all();
    until_nothing_is_owed(&store);
}
