//! Clocks that jump, stop, lie or panic: no number is given out twice, and every call ends.

use crate::bench::*;
use ordermint::testing::ManualClock;
use ordermint::{Clock, Day, Error, NotAttempted, OrderNumber, ReplicaState};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;

fn reason(error: Error) -> NotAttempted {
    match error {
        Error::NotAttempted { reason } => reason,
        other => panic!("something was sent: {other}"),
    }
}

#[test]
fn a_clock_that_jumps_ahead_stops_creates_until_it_is_back_or_accepted() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let before = ends(store.create("before")).expect("created").number;
    bench.clock.jump_wall(3 * DAY_MS);
    until("the jump is noticed", || match ends(store.create("jumped")) {
        Err(error) => {
            let reason = reason(error);
            matches!(reason, NotAttempted::ClockJump { known, .. } if known == today())
        }
        Ok(placed) => panic!("{} was minted on a day that nobody believes", placed.number),
    });
    assert!(status(&store).closed_for_creates.is_some());
    assert!(ends(store.get(before)).expect("reads go on").is_some());
    bench.clock.jump_wall(-3 * DAY_MS);
    until("it is back", || ends(store.create("back")).is_ok_and(|placed| placed.number.day() == today()));
    bench.clock.jump_wall(3 * DAY_MS);
    until("the jump is noticed again", || ends(store.create("jumped")).is_err());
    store.accept_clock();
    let later: Day = "2026-11-25".parse().expect("a day");
    until("it is accepted", || ends(store.create("accepted")).is_ok_and(|placed| placed.number.day() == later));
}

#[test]
fn a_store_whose_newest_day_lies_far_ahead_of_the_clock_says_so_at_open() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("before")).expect("created");
    ends(store.close()).expect("closed");
    bench.clock.jump_wall(-10 * DAY_MS);
    let store = bench.open();
    assert!(matches!(reason(ends(store.create("x")).expect_err("the clock is wrong")), NotAttempted::ClockJump { .. }));
    store.accept_clock();
    until("it is accepted", || ends(store.create("accepted")).is_ok_and(|placed| placed.number.day() < today()));
}

#[test]
fn over_midnight_no_number_is_lost_or_given_out_twice_and_days_only_go_up() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut numbers = BTreeSet::new();
    bench.clock.advance(Duration::from_secs(12 * 3_600 - 2));
    let tomorrow = today().next().expect("a day");
    for turn in 0..40 {
        let under_way: Vec<_> = (0..100).map(|at| store.create(format!("{turn} {at}"))).collect();
        bench.clock.advance(Duration::from_millis(100));
        for pending in under_way {
            let number = ends(pending).expect("created").number;
            assert!(number.day() == today() || number.day() == tomorrow);
            assert!(numbers.insert(number), "{number} twice");
        }
    }
    until("midnight is noticed", || {
        let number = ends(store.create("then")).expect("created").number;
        assert!(numbers.insert(number), "{number} twice");
        number.day() == tomorrow
    });
    bench.clock.jump_wall(-3_000);
    let after = ends(store.create("a little back over midnight")).expect("created").number;
    assert_eq!(after.day(), tomorrow, "the later day stays");
    numbers.insert(after);
    let found: Vec<OrderNumber> =
        [today(), tomorrow].into_iter().flat_map(|day| scanned(&store, bench.set, day)).map(|order| order.number).collect();
    assert_eq!(found, numbers.into_iter().collect::<Vec<_>>());
    assert_eq!(ends(store.days(bench.set)), Ok(vec![today(), tomorrow]));
}

#[test]
fn a_clock_outside_the_calendar_stops_creates_and_nothing_else() {
    let absurd = [i64::MIN, i64::MIN + 1, -1, 0, 946_684_799_999, 253_402_300_800_000, i64::MAX];
    for wall_ms in absurd {
        let bench = Bench::new(3, 2, 2);
        let store = bench.builder().deadline(Duration::from_secs(2)).open().expect("opens");
        let number = ends(store.create("before")).expect("created").number;
        bench.clock.set_wall_ms(wall_ms);
        until("it is noticed", || match ends(store.create("when?")) {
            Ok(placed) => {
                assert_eq!(placed.number.day(), today(), "the later day stays until it is noticed");
                false
            }
            Err(error) => matches!(reason(error), NotAttempted::ClockOutOfRange { wall_ms: said } if said == wall_ms),
        });
        assert!(ends(store.get(number)).expect("reads go on").is_some());
        drop(store);
        // And at open.
        let store = bench.builder().deadline(Duration::from_secs(2)).open().expect("opens");
        let refused = reason(ends(store.create("when?")).expect_err("no such day"));
        assert!(matches!(refused, NotAttempted::ClockOutOfRange { .. }), "{wall_ms}: {refused}");
        bench.clock.set_wall_ms(ManualClock::at_noon(today()).wall_ms());
        until("it is mended", || ends(store.create("now")).is_ok());
    }
}

#[test]
fn after_the_last_day_of_the_calendar_there_is_none() {
    let bench = Bench::new(3, 2, 2);
    bench.clock.set_wall_ms(ManualClock::at_noon(Day::MAX).wall_ms());
    let store = bench.builder().deadline(Duration::from_secs(2)).open().expect("opens");
    assert_eq!(ends(store.create("the last day")).expect("created").number.day(), Day::MAX);
    bench.clock.advance(Duration::from_secs(12 * 3_600 - 1));
    ends(store.create("the last second")).expect("created");
    bench.clock.advance(Duration::from_secs(2));
    let refused = reason(ends(store.create("too late")).expect_err("no such day"));
    assert!(matches!(refused, NotAttempted::ClockOutOfRange { .. } | NotAttempted::NoLease { .. }), "{refused}");
}

#[test]
fn a_day_has_ten_thousand_million_numbers_and_not_one_more() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let mark = OrderNumber::SEQUENCE_MAX + 1 - 5;
    for index in 0..3 {
        bench.plant_meta(index, &format!("lease/{}", today()), &mark.to_be_bytes());
    }
    let store = bench.open();
    let mut last = Vec::new();
    let refused = loop {
        match ends(store.create("one of the last")) {
            Ok(placed) => last.push(placed.number.sequence()),
            Err(error) => break reason(error),
        }
    };
    assert_eq!(last, (mark..=OrderNumber::SEQUENCE_MAX).collect::<Vec<_>>());
    assert_eq!(refused, NotAttempted::DayFull { set: bench.set, day: today() });
    assert!(status(&store).closed_for_creates.is_some());
    drop(store);
    let store = bench.open();
    assert!(matches!(reason(ends(store.create("again")).expect_err("still full")), NotAttempted::DayFull { .. }));
    bench.clock.advance(Duration::from_secs(24 * 3_600));
    until("tomorrow has come", || ends(store.create("tomorrow")).is_ok());
}

/// A mark that nobody can have written puts out the one replica that holds it, and takes nobody else with it.
#[test]
fn an_absurd_mark_on_one_replica_is_not_believed() {
    let values: [&[u8]; 4] = [b"", b"seven", &u64::MAX.to_be_bytes(), &(OrderNumber::SEQUENCE_MAX + 2).to_be_bytes()];
    for value in values {
        let bench = Bench::new(3, 2, 2);
        drop(bench.open());
        bench.plant_meta(1, &format!("lease/{}", today()), value);
        let store = bench.open();
        assert_eq!(replica(&store, 1).state, ReplicaState::Out, "{value:?}");
        ends(store.create("by the others")).expect("created");
        ends(store.compared()).expect("compared");
    }
}

#[test]
fn numbers_that_are_held_are_not_minted_again_although_every_mark_rolled_back() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 20, &mut acknowledged);
    ends(store.close()).expect("closes");
    drop(store);
    for index in 0..3 {
        bench.plant_meta(index, &format!("lease/{}", today()), &3u64.to_be_bytes());
    }
    let store = bench.open();
    let before = acknowledged.len();
    create_some(&store, "after", 20, &mut acknowledged);
    assert_eq!(acknowledged.len(), before + 20, "no number came twice");
    all_are_there(&store, &acknowledged);
}

/// A clock whose owner made a mistake.
struct Panics {
    clock: ManualClock,
    now: Arc<AtomicBool>,
}

impl Clock for Panics {
    fn wall_ms(&self) -> i64 {
        assert!(!self.now.load(Ordering::SeqCst), "a clock panics");
        self.clock.wall_ms()
    }

    fn boot_ms(&self) -> u64 {
        assert!(!self.now.load(Ordering::SeqCst), "a clock panics");
        self.clock.boot_ms()
    }
}

#[test]
fn a_clock_that_panics_stops_creates_with_an_error_and_nothing_else() {
    let bench = Bench::new(3, 2, 2);
    let now = Arc::new(AtomicBool::new(false));
    let clock = Panics { clock: bench.clock.clone(), now: Arc::clone(&now) };
    let store = bench.builder().clock(clock).deadline(Duration::from_secs(2)).open().expect("opens");
    let number = ends(store.create("before")).expect("created").number;
    now.store(true, Ordering::SeqCst);
    for _ in 0..50 {
        let refused = ends(store.create("when?")).expect_err("no time, no number");
        assert!(matches!(reason(refused), NotAttempted::ClockOutOfRange { .. } | NotAttempted::NoLease { .. }));
        std::thread::sleep(Duration::from_millis(2));
    }
    assert!(ends(store.get(number)).expect("reads go on").is_some());
    assert_eq!(status(&store).in_flight, 0);
    now.store(false, Ordering::SeqCst);
    until("it is mended", || ends(store.create("now")).is_ok());
    now.store(true, Ordering::SeqCst);
    ends(store.close()).expect("closed");
}
