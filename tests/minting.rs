//! Minting alone, as a program outside this crate sees it: real threads, a lease store in memory, a clock set by hand.

use ordermint::testing::ManualClock;
use ordermint::{Block, Clock, Day, LeaseError, LeaseStore, MintError, Minter, OrderNumber, SetId, SystemClock};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

const DAY_MS: i64 = 86_400_000;
const HOUR: Duration = Duration::from_secs(3_600);

/// What is durable, and outlives the minters. What a lease does next is set by hand.
#[derive(Clone, Default)]
struct Disk(Arc<Mutex<Inner>>);

#[derive(Default)]
struct Inner {
    marks: BTreeMap<Day, u64>,
    leases: Vec<Block>,
    moods: Vec<Mood>,
}

enum Mood {
    Fail,
    /// Durable, and reported as a failure.
    FailAfter,
    Panic,
    /// Until the sender is dropped.
    Hang(Receiver<()>),
    /// Leased a second time.
    Again,
    WrongDay,
}

impl Disk {
    fn with(day: Day, mark: u64) -> Disk {
        let disk = Disk::default();
        disk.0.lock().unwrap().marks.insert(day, mark);
        disk
    }

    fn mood(&self, mood: Mood) {
        self.0.lock().unwrap().moods.push(mood);
    }

    fn mark(&self, day: Day) -> u64 {
        self.0.lock().unwrap().marks.get(&day).copied().unwrap_or(0)
    }

    fn days(&self) -> Vec<Day> {
        self.0.lock().unwrap().marks.keys().copied().collect()
    }
}

impl LeaseStore for Disk {
    fn lease(&mut self, _set: SetId, day: Day, count: u64) -> Result<Block, LeaseError> {
        let mood = self.0.lock().unwrap().moods.pop();
        if let Some(Mood::Hang(until)) = &mood {
            let _ = until.recv();
        }
        assert!(!matches!(mood, Some(Mood::Panic)), "this lease store panics");
        let mut inner = self.0.lock().unwrap();
        if matches!(mood, Some(Mood::Fail)) {
            return Err(LeaseError { reason: "the disk is away".into() });
        }
        if let (Some(Mood::Again), Some(last)) = (&mood, inner.leases.last()) {
            return Ok(*last);
        }
        let mark = inner.marks.entry(day).or_default();
        let block = Block { day, first: *mark, end: *mark + count };
        *mark = block.end;
        inner.leases.push(block);
        match mood {
            Some(Mood::FailAfter) => Err(LeaseError { reason: "nobody knows".into() }),
            Some(Mood::WrongDay) => Ok(Block { day: day.next().unwrap(), ..block }),
            _ => Ok(block),
        }
    }

    fn newest_day(&mut self, _set: SetId) -> Result<Option<Day>, LeaseError> {
        Ok(self.0.lock().unwrap().marks.keys().next_back().copied())
    }
}

fn set() -> SetId {
    SetId::new(42).unwrap()
}

fn day(text: &str) -> Day {
    text.parse().unwrap()
}

fn midnight_after(day: Day) -> i64 {
    (day.to_unix_days() + 1) * DAY_MS
}

fn at(number: OrderNumber) -> (Day, u64) {
    (number.day(), number.sequence())
}

/// The keeper looks at the clock every 50 ms; a test that moved it waits for what must come, and not for a time.
fn until<T>(what: &str, mut done: impl FnMut() -> Option<T>) -> T {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(value) = done() {
            return value;
        }
        assert!(Instant::now() < give_up, "never happened: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn until_day(minter: &Minter, day: Day) -> OrderNumber {
    until(&format!("a number of {day}"), || minter.mint().ok().filter(|number| number.day() == day))
}

#[test]
fn numbers_come_in_order_with_day_and_set() {
    let minter = Minter::new(set(), Disk::default(), ManualClock::at_noon(day("2026-11-22"))).unwrap();
    let numbers: Vec<_> = (0..5_000).map(|_| minter.mint().unwrap()).collect();
    for (sequence, number) in numbers.iter().enumerate() {
        assert_eq!((at(*number), number.set_id()), ((day("2026-11-22"), sequence as u64), set()));
    }
    assert!(numbers.is_sorted());
}

#[test]
fn the_machines_own_clock_will_do() {
    let minter = Minter::new(set(), Disk::default(), SystemClock).unwrap();
    assert!(minter.mint().unwrap() < minter.mint().unwrap());
}

#[test]
fn many_threads_get_no_number_twice() {
    let disk = Disk::default();
    let minter = Arc::new(Minter::new(set(), disk.clone(), ManualClock::at_noon(day("2026-11-22"))).unwrap());
    let mint = || {
        let minter = Arc::clone(&minter);
        std::thread::spawn(move || (0..200_000).map(|_| minter.mint().unwrap()).collect::<Vec<_>>())
    };
    let threads: Vec<_> = (0..4).map(|_| mint()).collect();
    let numbers: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect();
    let distinct: BTreeSet<_> = numbers.iter().collect();
    assert_eq!(distinct.len(), 800_000);
    assert!(numbers.iter().all(|number| number.sequence() < disk.mark(day("2026-11-22"))));
}

#[test]
fn a_restart_loses_at_most_one_lease_and_repeats_nothing() {
    let disk = Disk::default();
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let mut last = None;
    for used in [1, 499, 500, 501, 1_000, 1_700, 3] {
        let minter = Minter::new(set(), disk.clone(), clock.clone()).unwrap();
        let numbers: Vec<_> = (0..used).map(|_| minter.mint().unwrap().sequence()).collect();
        if let Some(last) = last {
            // A clock that stands still makes any traffic look fast: leases double, from 1,000.
            let lost = numbers[0] - last - 1;
            assert!(lost <= 8_000, "{lost} sequences were lost");
        }
        last = numbers.last().copied();
        drop(minter);
    }
}

#[test]
fn the_day_changes_at_midnight_to_a_block_fetched_before() {
    let clock = ManualClock::new(midnight_after(day("2027-12-31")) - 600_000);
    let disk = Disk::default();
    let minter = Minter::new(set(), disk.clone(), clock.clone()).unwrap();
    assert_eq!(at(minter.mint().unwrap()), (day("2027-12-31"), 0));
    assert_eq!(disk.days(), [day("2027-12-31")]);
    clock.advance(Duration::from_secs(400));
    until("a lease for tomorrow", || (disk.days().len() == 2).then_some(()));
    assert_eq!(at(minter.mint().unwrap()), (day("2027-12-31"), 1));
    // From here on the disk is away, and nobody notices.
    for _ in 0..100 {
        disk.mood(Mood::Fail);
    }
    clock.advance(Duration::from_secs(200));
    assert_eq!(at(until_day(&minter, day("2028-01-01"))), (day("2028-01-01"), 0));
}

#[test]
fn a_leap_day_is_a_day_and_midnight_is_where_the_offset_puts_it() {
    let clock = ManualClock::new(midnight_after(day("2028-02-28")) - 480 * 60_000);
    let minter = Minter::with_utc_offset(set(), Disk::default(), clock.clone(), 480).unwrap();
    assert_eq!(minter.mint().unwrap().day(), day("2028-02-29"));
    clock.advance(24 * HOUR);
    until_day(&minter, day("2028-03-01"));
    for minutes in [i32::MIN, -1_440, 1_440, i32::MAX] {
        let refused = Minter::with_utc_offset(set(), Disk::default(), clock.clone(), minutes).err();
        assert_eq!(refused, Some(MintError::UtcOffset { minutes }));
    }
}

#[test]
fn a_clock_put_back_stalls_nothing_and_repeats_nothing() {
    let clock = ManualClock::new(midnight_after(day("2026-11-21")) + 1_000);
    let disk = Disk::default();
    let minter = Minter::new(set(), disk.clone(), clock.clone()).unwrap();
    let mut numbers = BTreeSet::new();
    for back_ms in [0, 2_000, 8 * 3_600_000, 3 * DAY_MS] {
        clock.jump_wall(-back_ms);
        // Long enough for the keeper to have seen it: the traffic needs more than one lease.
        for _ in 0..3_000 {
            assert!(numbers.insert(minter.mint().unwrap()));
        }
    }
    assert!(numbers.iter().all(|number| number.day() == day("2026-11-22")));
    assert_eq!(disk.days(), [day("2026-11-22")]);
}

#[test]
fn two_days_ahead_is_a_clock_jump_until_it_is_accepted() {
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let minter = Minter::new(set(), Disk::default(), clock.clone()).unwrap();
    minter.mint().unwrap();
    clock.jump_wall(2 * DAY_MS);
    let jump = MintError::ClockJump { known: day("2026-11-22"), clock: day("2026-11-24") };
    assert_eq!(until("a clock jump", || minter.mint().err()), jump);
    assert_eq!(minter.mint(), Err(jump));
    minter.accept_clock();
    assert_eq!(at(minter.mint().unwrap()), (day("2026-11-24"), 0));
}

#[test]
fn a_jump_that_is_undone_is_forgotten() {
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let minter = Minter::new(set(), Disk::default(), clock.clone()).unwrap();
    let before = minter.mint().unwrap();
    for outside in [midnight_after(day("2026-11-30")), 0, i64::MAX] {
        let inside = midnight_after(day("2026-11-22")) - 1_000_000;
        clock.set_wall_ms(outside);
        let error = until("a refusal", || minter.mint().err());
        assert!(matches!(error, MintError::ClockJump { .. } | MintError::ClockOutOfRange { .. }), "{error}");
        clock.set_wall_ms(inside);
        assert!(until("minting again", || minter.mint().ok()) > before);
    }
}

#[test]
fn a_laptop_that_slept_for_days_goes_on() {
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let minter = Minter::new(set(), Disk::default(), clock.clone()).unwrap();
    minter.mint().unwrap();
    clock.advance(100 * HOUR);
    until_day(&minter, day("2026-11-26"));
}

#[test]
fn a_day_on_record_far_ahead_is_told_by_mint_and_can_be_accepted() {
    let disk = Disk::with(day("2027-06-01"), 5_000);
    let minter = Minter::new(set(), disk.clone(), ManualClock::at_noon(day("2026-11-22"))).unwrap();
    let jump = MintError::ClockJump { known: day("2027-06-01"), clock: day("2026-11-22") };
    assert_eq!(minter.mint(), Err(jump));
    minter.accept_clock();
    assert_eq!(at(minter.mint().unwrap()), (day("2026-11-22"), 0));
    assert_eq!(disk.mark(day("2027-06-01")), 5_000);
}

#[test]
fn a_full_day_says_so_and_the_next_one_begins() {
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let disk = Disk::with(day("2026-11-22"), OrderNumber::SEQUENCE_MAX - 1_499);
    let minter = Minter::new(set(), disk, clock.clone()).unwrap();
    let numbers: Vec<_> = std::iter::from_fn(|| minter.mint().ok()).collect();
    assert_eq!(numbers.len(), 1_500);
    assert_eq!(numbers.last().unwrap().sequence(), OrderNumber::SEQUENCE_MAX);
    assert_eq!(minter.mint(), Err(MintError::DayFull { set: set(), day: day("2026-11-22") }));
    clock.advance(12 * HOUR);
    assert_eq!(until_day(&minter, day("2026-11-23")).sequence(), 0);
}

#[test]
fn a_full_day_at_open_is_told_by_mint() {
    let disk = Disk::with(day("2026-11-22"), OrderNumber::SEQUENCE_MAX + 1);
    let minter = Minter::new(set(), disk, ManualClock::at_noon(day("2026-11-22"))).unwrap();
    assert_eq!(minter.mint(), Err(MintError::DayFull { set: set(), day: day("2026-11-22") }));
}

#[test]
fn a_lease_store_that_fails_panics_or_repeats_itself_costs_time_and_no_number_comes_twice() {
    // The real clock, because the pauses between the tries are measured by it.
    let disk = Disk::default();
    for mood in [Mood::FailAfter, Mood::Panic, Mood::WrongDay, Mood::Fail] {
        disk.mood(mood);
    }
    let minter = Minter::new(set(), disk.clone(), SystemClock).unwrap();
    let mut numbers: BTreeSet<_> = (0..500).map(|_| minter.mint().unwrap()).collect();
    for mood in [Mood::Again, Mood::FailAfter, Mood::Panic, Mood::Again] {
        disk.mood(mood);
        for _ in 0..1_500 {
            assert!(numbers.insert(minter.mint().unwrap()));
        }
    }
}

#[test]
fn a_lease_store_that_is_away_ends_the_callers_wait_with_its_reason() {
    let disk = Disk::default();
    for _ in 0..1_000 {
        disk.mood(Mood::Fail);
    }
    let error = Minter::new(set(), disk, SystemClock).err();
    assert_eq!(error, Some(MintError::NoLease { set: set(), reason: "the disk is away".into() }));
}

#[test]
fn a_lease_store_that_hangs_holds_up_neither_midnight_nor_drop_for_ever() {
    let clock = ManualClock::new(midnight_after(day("2026-11-22")) - 60_000);
    let disk = Disk::default();
    let minter = Minter::new(set(), disk.clone(), clock.clone()).unwrap();
    minter.mint().unwrap();
    until("a lease for tomorrow", || (disk.days().len() == 2).then_some(()));
    let (release, hang): (Sender<()>, _) = channel();
    disk.mood(Mood::Hang(hang));
    while minter.mint().unwrap().sequence() < 700 {}
    until("a lease that hangs", || disk.0.lock().unwrap().moods.is_empty().then_some(()));
    clock.advance(Duration::from_secs(60));
    until_day(&minter, day("2026-11-23"));
    // This waits for two seconds, and leaves the thread behind.
    drop(minter);
    drop(release);
}

#[test]
fn a_lease_store_that_cannot_be_read_is_an_error_at_once() {
    struct Unreadable;
    impl LeaseStore for Unreadable {
        fn lease(&mut self, _: SetId, _: Day, _: u64) -> Result<Block, LeaseError> {
            unreachable!("nothing is leased where nothing could be read")
        }
        fn newest_day(&mut self, _: SetId) -> Result<Option<Day>, LeaseError> {
            panic!("a page of it is torn")
        }
    }
    let error = Minter::new(set(), Unreadable, SystemClock).unwrap_err();
    assert_eq!(error.to_string(), "SET 042 got no block of sequences in time: the lease store panicked: a page of it is torn");
}

#[test]
fn a_clock_that_panics_ends_minting_with_an_error() {
    struct Broken(ManualClock);
    impl Clock for Broken {
        fn wall_ms(&self) -> i64 {
            let wall_ms = self.0.wall_ms();
            assert!(wall_ms > 0, "this clock panics");
            wall_ms
        }
        fn boot_ms(&self) -> u64 {
            self.0.boot_ms()
        }
    }
    let clock = ManualClock::at_noon(day("2026-11-22"));
    let minter = Minter::new(set(), Disk::default(), Broken(clock.clone())).unwrap();
    minter.mint().unwrap();
    clock.set_wall_ms(-1);
    let error = until("an error", || minter.mint().err());
    assert!(matches!(error, MintError::NoLease { .. }), "{error}");
    minter.accept_clock();
}

#[test]
fn a_dropped_minter_has_let_go_of_its_lease_store() {
    struct Held {
        disk: Disk,
        _handle: Arc<()>,
    }
    impl LeaseStore for Held {
        fn lease(&mut self, set: SetId, day: Day, count: u64) -> Result<Block, LeaseError> {
            self.disk.lease(set, day, count)
        }
        fn newest_day(&mut self, set: SetId) -> Result<Option<Day>, LeaseError> {
            self.disk.newest_day(set)
        }
    }
    let handle = Arc::new(());
    let minter = Minter::new(set(), Held { disk: Disk::default(), _handle: Arc::clone(&handle) }, SystemClock).unwrap();
    minter.mint().unwrap();
    drop(minter);
    assert_eq!(Arc::strong_count(&handle), 1);
}

#[test]
fn a_minter_can_be_shared() {
    fn shared<T: Send + Sync + 'static>() {}
    shared::<Minter>();
}
