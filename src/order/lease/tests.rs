//! Stories of one SET's leases, in virtual time.

use super::*;

mod clock;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;
const HOUR: u64 = 60 * MINUTE;

fn set() -> SetId {
    SetId::new(7).expect("7 is an id")
}

fn day(text: &str) -> Day {
    text.parse().expect("a day")
}

fn at(text: &str, hour: u64, minute: u64) -> i64 {
    day(text).to_unix_days() * DAY_MS + (hour * HOUR + minute * MINUTE) as i64
}

/// A process that mints from a book, with a disk that outlives it. Fetches are answered when the story says so.
struct Process {
    book: LeaseBook,
    now: Now,
    offset_minutes: i32,
    disk: BTreeMap<Day, u64>,
    asked: Vec<Block>,
    block: Option<Block>,
    midnight_ms: i64,
}

impl Process {
    fn start(wall_ms: i64, disk: &[(&str, u64)]) -> Process {
        Process::start_at(wall_ms, 0, disk.iter().map(|&(text, mark)| (day(text), mark)).collect())
    }

    fn start_at(wall_ms: i64, offset_minutes: i32, disk: BTreeMap<Day, u64>) -> Process {
        let now = Now { wall_ms, boot_ms: HOUR };
        let marks: Vec<_> = disk.iter().map(|(&day, &mark)| (day, mark)).collect();
        let book = LeaseBook::new(set(), offset_minutes, &marks, None, now);
        let mut process = Process { book, now, offset_minutes, disk, asked: Vec::new(), block: None, midnight_ms: i64::MIN };
        process.tick();
        process
    }

    /// A crash and a new process on the same disk, a second later.
    fn restart(self) -> Process {
        Process::start_at(self.now.wall_ms + 1_000, self.offset_minutes, self.disk)
    }

    fn left(&self) -> u64 {
        self.block.map_or(0, |block| block.end - block.first)
    }

    fn event(&mut self, event: LeaseEvent) {
        for action in self.book.step(event, self.now) {
            match action {
                LeaseAction::Fetch { block } => self.asked.push(block),
                LeaseAction::Install(block) => {
                    let continues = self.block.filter(|before| before.day == block.day && before.end == block.first);
                    self.block = Some(continues.map_or(block, |before| Block { end: block.end, ..before }));
                    self.midnight_ms = self.book.midnight_ms();
                }
            }
        }
    }

    fn tick(&mut self) {
        self.event(LeaseEvent::Tick { left: self.left() });
    }

    /// Answers every fetch until none is asked for.
    fn settle(&mut self) {
        self.tick();
        while let Some(block) = (!self.asked.is_empty()).then(|| self.asked.remove(0)) {
            self.disk.insert(block.day, block.end);
            self.event(LeaseEvent::Fetched(block));
            self.tick();
        }
    }

    fn fail(&mut self) -> Block {
        let block = self.asked.remove(0);
        self.event(LeaseEvent::FetchFailed { day: block.day });
        block
    }

    /// Time passes, in steps of a second at most, with the fetches answered.
    fn pass(&mut self, ms: u64) {
        let until = self.now.boot_ms + ms;
        while self.now.boot_ms < until {
            let step = (until - self.now.boot_ms).min(SECOND);
            self.now.boot_ms += step;
            self.now.wall_ms += step as i64;
            self.settle();
        }
    }

    /// The machine sleeps: time passes, and nobody looks at it.
    fn sleep(&mut self, ms: u64) {
        self.now.boot_ms += ms;
        self.now.wall_ms += ms as i64;
        self.settle();
    }

    fn jump(&mut self, ms: i64) {
        self.now.wall_ms += ms;
        self.settle();
    }

    /// The next number, as the SET mints: never past midnight, never when the book says no.
    fn try_mint(&mut self) -> Option<(Day, u64)> {
        let (true, true) = (self.book.can_mint(), self.now.wall_ms < self.midnight_ms) else { return None };
        let block = self.block.as_mut().filter(|block| block.first < block.end)?;
        block.first += 1;
        Some((block.day, block.first - 1))
    }

    fn mint(&mut self) -> (Day, u64) {
        if let Some(number) = self.try_mint() {
            return number;
        }
        self.settle();
        self.try_mint().unwrap_or_else(|| panic!("nothing to mint: {:?}", self.book))
    }

    fn mint_many(&mut self, count: u64) -> (Day, u64) {
        for _ in 1..count {
            self.mint();
            if self.left() <= self.book.refill_at {
                self.settle();
            }
        }
        self.mint()
    }
}

#[test]
fn a_new_set_begins_with_a_thousand_at_zero() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    assert_eq!(process.asked, [Block { day: day("2026-11-22"), first: 0, end: 1_000 }]);
    assert_eq!((process.try_mint(), process.book.state()), (None, MintState::Ready));
    assert_eq!(process.mint(), (day("2026-11-22"), 0));
}

#[test]
fn the_next_block_is_fetched_at_half_and_continues() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.settle();
    process.now.boot_ms += SECOND / 2;
    for expected in 0..499 {
        assert_eq!(process.mint().1, expected);
        process.tick();
        assert_eq!(process.asked, []);
    }
    process.mint();
    process.tick();
    assert_eq!(process.asked, [Block { day: day("2026-11-22"), first: 1_000, end: 1_500 }]);
    process.tick();
    assert_eq!(process.asked.len(), 1, "one fetch at a time");
    process.settle();
    assert_eq!((process.left(), process.book.refill_at), (1_000, 500));
    assert_eq!(process.mint_many(1_000).1, 1_499, "nothing is skipped");
}

#[test]
fn a_crash_loses_at_most_one_lease() {
    for used in [1, 2, 499, 500, 501, 999, 1_000, 1_001, 2_345, 10_000] {
        let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
        let last = process.mint_many(used).1;
        process.settle();
        let size = process.book.size;
        let next = process.restart().mint().1;
        assert!(next > last && next - last - 1 <= size, "after {used}: {last}, then {next}, with a lease of {size}");
    }
}

#[test]
fn the_lease_follows_the_traffic_within_its_bounds() {
    let mut process = Process::start(at("2026-11-22", 1, 0), &[]);
    let run = |process: &mut Process, per_second: u64, seconds: u64| {
        for _ in 0..seconds * 20 {
            let mut wanted = per_second / 20;
            while wanted > 0 {
                process.settle();
                let take = wanted.min(process.left() - process.left().min(process.book.refill_at / 2));
                let take = take.max(1).min(process.left());
                process.block.as_mut().expect("a block").first += take;
                wanted -= take;
            }
            process.pass(50);
        }
    };
    run(&mut process, 20_000, 30);
    assert!((10_000..=30_000).contains(&process.book.size), "{}", process.book.size);
    run(&mut process, 10_000_000, 10);
    assert_eq!(process.book.size, LEASE_MAX);
    // A quiet hour in which half of the large lease is used.
    process.pass(HOUR);
    let used = process.left() - process.book.refill_at;
    process.block.as_mut().expect("a block").first += used;
    process.settle();
    assert_eq!(process.book.size, LEASE_MIN);
}

#[test]
fn what_a_failed_fetch_asked_for_is_never_used() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-11-22", 5_000)]);
    assert_eq!(process.fail(), Block { day: day("2026-11-22"), first: 5_000, end: 6_000 });
    process.tick();
    assert_eq!(process.asked, [], "it rests first");
    assert_eq!(process.book.next_tick_ms(process.now), process.now.boot_ms + 100);
    process.now.boot_ms += 100;
    process.tick();
    assert_eq!(process.asked[0].first, 6_000);
    assert_eq!(process.mint().1, 6_000);
}

#[test]
fn late_news_of_a_fetch_that_was_given_up_is_not_used_either() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    let unknown = process.fail();
    process.event(LeaseEvent::Fetched(unknown));
    assert_eq!(process.try_mint(), None);
    process.now.boot_ms += 100;
    process.tick();
    process.event(LeaseEvent::Fetched(unknown));
    assert_eq!(process.try_mint(), None);
    assert_eq!(process.mint().1, unknown.end);
    process.event(LeaseEvent::Fetched(unknown));
    assert_eq!(process.mint().1, unknown.end + 1);
}

#[test]
fn a_block_above_a_gap_waits_until_the_one_before_is_used_up() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.mint_many(499);
    process.mint();
    process.tick();
    let lost = process.fail();
    process.now.boot_ms += SECOND;
    process.settle();
    assert_eq!(process.left(), 500, "the block above the gap is fetched and not installed");
    assert_eq!(process.mint_many(500).1, 999);
    assert_eq!(process.mint().1, lost.end);
}

#[test]
fn pauses_between_failures_double_up_to_a_few_seconds_and_less_is_asked_for() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.settle();
    process.book.size = 64_000;
    process.book.measured = None;
    process.block = process.block.map(|block| Block { first: block.end, ..block });
    process.tick();
    let mut pauses = Vec::new();
    let mut sizes = Vec::new();
    for _ in 0..8 {
        let block = process.fail();
        sizes.push(block.end - block.first);
        let failed_ms = process.now.boot_ms;
        while process.asked.is_empty() {
            process.now.boot_ms = process.book.next_tick_ms(process.now);
            process.tick();
        }
        pauses.push(process.now.boot_ms - failed_ms);
    }
    assert_eq!(pauses, [100, 200, 400, 800, 1_600, 3_200, 3_200, 3_200]);
    assert_eq!(sizes, [64_000, 32_000, 16_000, 8_000, 4_000, 2_000, 1_000, 1_000]);
    process.settle();
    assert_eq!(process.book.state(), MintState::Ready);
    process.block = process.block.map(|block| Block { first: block.end, ..block });
    process.tick();
    process.fail();
    assert_eq!(process.book.next_tick_ms(process.now), process.now.boot_ms + 100, "a success ends the row");
}

#[test]
fn replicas_that_come_back_end_the_pause_after_a_failure() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.settle();
    process.mint_many(LEASE_MIN / 2);
    process.tick();
    for _ in 0..6 {
        process.fail();
        process.now.boot_ms = process.book.next_tick_ms(process.now);
        process.tick();
    }
    process.fail();
    process.now.boot_ms += 100;
    process.tick();
    assert_eq!(process.asked, [], "it would be asked again in some seconds");
    process.event(LeaseEvent::ReplicasBack);
    assert_eq!(process.asked.len(), 1, "and is asked now");
    // Not once more while that is under way.
    process.event(LeaseEvent::ReplicasBack);
    assert_eq!(process.asked.len(), 1);
}

#[test]
fn the_first_refill_of_a_day_does_not_count_what_yesterday_left_over() {
    let mut process = Process::start(at("2026-11-22", 23, 59) + 59_900, &[]);
    process.mint_many(100);
    process.pass(100);
    assert_eq!(process.mint().0, day("2026-11-23"));
    process.pass(SECOND);
    process.mint_many(498);
    process.mint();
    process.tick();
    assert_eq!(process.asked, [Block { day: day("2026-11-23"), first: 1_000, end: 1_500 }]);
}

#[test]
fn a_full_day_says_so_when_its_last_number_is_out_and_ends_at_midnight() {
    let mut process = Process::start(at("2026-11-22", 23, 0), &[("2026-11-22", SEQUENCES - 1_200)]);
    process.mint_many(1_000);
    process.settle();
    assert_eq!((process.book.state(), process.left()), (MintState::Ready, 200), "all leased, and not all used");
    assert_eq!(process.mint_many(200), (day("2026-11-22"), SEQUENCES - 1));
    process.settle();
    assert_eq!((process.book.state(), process.asked.len()), (MintState::DayFull { day: day("2026-11-22") }, 0));
    assert_eq!(process.disk[&day("2026-11-22")], SEQUENCES);
    let mut process = process.restart();
    assert_eq!((process.book.state(), process.try_mint()), (MintState::DayFull { day: day("2026-11-22") }, None));
    process.pass(HOUR);
    assert_eq!((process.book.state(), process.mint()), (MintState::Ready, (day("2026-11-23"), 0)));
}

#[test]
fn a_lease_store_that_keeps_the_marks_may_begin_higher_and_never_lower() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-11-22", 60_000)]);
    let granted = |first, end| LeaseEvent::Granted(Block { day: day("2026-11-22"), first, end });
    process.asked.clear();
    process.event(granted(59_999, 61_000));
    assert_eq!(process.try_mint(), None, "below the mark at open");
    process.now.boot_ms += 10 * SECOND;
    process.tick();
    process.asked.clear();
    process.event(granted(70_000, 71_000));
    assert_eq!(process.mint().1, 70_000);
    process.block = process.block.map(|block| Block { first: block.end, ..block });
    for broken in [granted(70_500, 71_500), granted(72_000, 72_000), granted(73_000, 72_000)] {
        process.now.boot_ms += 10 * SECOND;
        process.tick();
        assert_eq!(process.asked.len(), 1);
        process.asked.clear();
        process.event(broken);
        assert_eq!(process.try_mint(), None, "never leased, or leased before");
    }
    process.now.boot_ms += 10 * SECOND;
    process.tick();
    process.event(granted(SEQUENCES - 3, SEQUENCES + 5_000));
    assert_eq!(process.mint().1, SEQUENCES - 3);
    assert_eq!(process.mint_many(2).1, SEQUENCES - 1);
    process.tick();
    assert_eq!(process.book.state(), MintState::DayFull { day: day("2026-11-22") });
}

#[test]
fn a_lease_store_whose_day_is_full_says_so_with_a_block_at_the_end() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[("2026-11-22", 0)]);
    process.event(LeaseEvent::Granted(Block { day: day("2026-11-22"), first: SEQUENCES + 7, end: SEQUENCES + 1_007 }));
    process.tick();
    assert_eq!((process.book.state(), process.block), (MintState::DayFull { day: day("2026-11-22") }, None));
}

#[test]
fn what_was_asked_for_once_is_not_asked_for_again_when_a_lease_store_grants_less() {
    let mut process = Process::start(at("2026-11-22", 12, 0), &[]);
    process.fail();
    process.now.boot_ms += SECOND;
    process.tick();
    assert_eq!(process.asked.remove(0).end, 2_000);
    process.event(LeaseEvent::Granted(Block { day: day("2026-11-22"), first: 0, end: 1_000 }));
    process.block = process.block.map(|block| Block { first: block.end, ..block });
    process.tick();
    assert_eq!(process.asked[0].first, 2_000);
}

#[test]
fn a_day_of_failures_does_not_use_up_the_day() {
    let mut process = Process::start(at("2026-11-22", 0, 0), &[]);
    process.settle();
    process.book.size = LEASE_MAX;
    process.block = process.block.map(|block| Block { first: block.end, ..block });
    process.tick();
    while process.now.wall_ms < at("2026-11-22", 23, 50) {
        process.fail();
        let rest_ms = process.book.next_tick_ms(process.now) - process.now.boot_ms;
        process.now.boot_ms += rest_ms;
        process.now.wall_ms += rest_ms as i64;
        process.tick();
    }
    assert!(process.asked[0].first < SEQUENCES / 100, "{:?}", process.asked);
}

#[test]
fn nothing_is_minted_at_or_below_the_floor_and_no_operator_can_vouch_for_it() {
    let at = |text: &str| Now { wall_ms: day(text).to_unix_days() * 86_400_000, boot_ms: 1_000 };
    let floor = Some(day("2026-11-21"));
    for text in ["2026-11-21", "2026-11-20"] {
        let mut book = LeaseBook::new(set(), 0, &[], floor, at(text));
        let below = MintState::BelowFloor { floor: day("2026-11-21"), clock: day(text) };
        assert_eq!((book.state(), book.step(LeaseEvent::Tick { left: 0 }, at(text))), (below, vec![]));
        assert_eq!((book.step(LeaseEvent::ClockAccepted, at(text)), book.state()), (vec![], below));
        // The clock is put right.
        assert_eq!(book.step(LeaseEvent::Tick { left: 0 }, at("2026-11-22")).len(), 1);
        assert_eq!(book.state(), MintState::Ready);
    }
}
