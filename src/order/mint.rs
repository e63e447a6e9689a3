//! Minting from an installed block: one atomic add gives the finished number.
//!
//! Numbers are counted as their integers, `day:19 | sequence:34 | set:10`, in steps of 2^10, so that what the add returns is the number.
//!
//! **Why no number comes twice, and none from outside a block.** `next` is only ever changed by `fetch_add`, `fetch_max` and an exchange
//! that adds: it never goes down, so no two changes return the same integer. What is left to show is that an integer which is handed
//! out lies in an installed block. Blocks only go up, day after day and sequence after sequence. Blocks that continue one another count
//! as one, from `base` to below `limit`. `easy` lies in between: below it a number needs no further look. It is half of what is left at
//! the install, so that somebody notices and fetches; then `late`, shortly before the end; then 0. [`MintCore::install`] of a block that
//! continues the one before stores `limit`, `late`, `easy`; of any other it raises `next` to `base`, then stores `base`, `limit`, `late`,
//! `easy`; in this order, and the last three with `Release`. During a pause `limit`, `late` and `easy` are 0.
//!
//! 1. *Easy.* A minter loads `easy` with `Acquire` **before** it adds. It then also sees that `next` had been raised to the `base` that
//!    belongs to this `easy`, so its integer is at least that `base`. If it is below `easy`, it is in the block. The minter that moves
//!    `easy` from half to `late` has loaded `late` with `Acquire` and stores with `Release`, so that this holds of that value, too.
//! 2. *Careful.* Once `easy` is 0, until the next install, a minter loads `limit` with `Acquire`, and only then exchanges `next` for one
//!    step more, only from below this `limit`. As before, it sees `next` raised to the `base` that belongs to this `limit`, so the
//!    integer is in the block. Nothing is taken from beyond the end, so a block that continues this one loses nothing.
//! 3. *In between.* A minter whose add found an integer at or above `easy` loads `limit` with `Acquire` and **afterwards** `base`. The
//!    `base` it sees belongs to the block of this `limit` or to a later one, because `base` is stored before `limit`. An integer from
//!    `base` up to `limit` is in the block of `limit`: at or above a later `base` it would not be below this `limit`. An integer from the
//!    gap before a new block, or left over from an older one, is below `base` as soon as it is below `limit`, and is dropped. So at a
//!    change to a block that does not continue the one before, or where fewer numbers are left after `late` than there are threads, or
//!    at a pause, one number per thread may be lost. `next` gets above `limit` by as much at most; the next day is 7 * 10^9 steps away.
//!
//! `model` walks through all interleavings of these steps, stale loads among them.

use super::{Block, Day, OrderNumber, SetId};
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

#[cfg(test)]
mod model;

/// From one sequence to the next.
const STEP: u64 = 1 << 10;
/// How many numbers before the end, at most, minters begin to take care not to add beyond it: more than there are threads.
const CAREFUL: u64 = 1 << 10;
/// A block of fewer numbers than that is minted with care from its first one on.
const TINY: u64 = 64;

/// The installed block as atomics.
pub(crate) struct MintCore {
    /// The counter every minter writes to, on cache lines of its own.
    next: Apart<AtomicU64>,
    /// What every minter reads and hardly anybody writes.
    block: Apart<Bounds>,
}

#[repr(align(128))]
struct Apart<T>(T);

struct Bounds {
    /// Below it a number needs no further look; 0 near the end of a block, and when there is nothing to mint.
    easy: AtomicU64,
    midnight_ms: AtomicI64,
    /// What `easy` becomes in the second half.
    late: AtomicU64,
    /// One past the last; 0 when there is nothing to mint.
    limit: AtomicU64,
    base: AtomicU64,
    /// The `limit` of the last install, whether paused or not.
    end: AtomicU64,
    /// Whether the alarm went off since the last install.
    rang: AtomicBool,
    alarm: Option<Box<dyn Fn() + Send + Sync>>,
    set: SetId,
}

impl MintCore {
    /// Nothing to mint yet.
    #[cfg(test)]
    pub(crate) fn new(set: SetId) -> MintCore {
        MintCore::build(set, None)
    }

    /// `alarm` is called once per installed block, by a minting thread, as soon as half of what was left at its install is used, or
    /// earlier when that was little. It must not block.
    pub(crate) fn with_alarm(set: SetId, alarm: impl Fn() + Send + Sync + 'static) -> MintCore {
        MintCore::build(set, Some(Box::new(alarm)))
    }

    fn build(set: SetId, alarm: Option<Box<dyn Fn() + Send + Sync>>) -> MintCore {
        MintCore {
            next: Apart(AtomicU64::new(0)),
            block: Apart(Bounds {
                easy: AtomicU64::new(0),
                midnight_ms: AtomicI64::new(i64::MIN),
                late: AtomicU64::new(0),
                limit: AtomicU64::new(0),
                base: AtomicU64::new(0),
                end: AtomicU64::new(0),
                rang: AtomicBool::new(false),
                alarm,
                set,
            }),
        }
    }

    /// The next number; `None` when the block is used up or paused, or `wall_ms` is past the installed day. `i64::MIN` skips that check.
    #[inline]
    pub(crate) fn try_mint(&self, wall_ms: i64) -> Option<OrderNumber> {
        let block = &self.block.0;
        // Stored last by `install`: who sees the new midnight also sees the new block.
        if wall_ms != i64::MIN && wall_ms >= block.midnight_ms.load(Ordering::Acquire) {
            return None;
        }
        let easy = block.easy.load(Ordering::Acquire);
        if easy == 0 {
            return self.mint_carefully();
        }
        let integer = self.next.0.fetch_add(STEP, Ordering::Relaxed);
        if integer < easy { OrderNumber::from_checked(integer) } else { self.past_easy(integer, easy) }
    }

    /// An integer was taken that is not below `easy`.
    #[cold]
    #[inline(never)]
    fn past_easy(&self, integer: u64, easy: u64) -> Option<OrderNumber> {
        let block = &self.block.0;
        let late = block.late.load(Ordering::Acquire);
        let easier = if easy < late && integer < late { late } else { 0 };
        // When it fails, another thread did the same, or there is a new block.
        let _ = block.easy.compare_exchange(easy, easier, Ordering::Release, Ordering::Relaxed);
        self.ring();
        let limit = block.limit.load(Ordering::Acquire);
        let base = block.base.load(Ordering::Relaxed);
        if base <= integer && integer < limit { OrderNumber::from_checked(integer) } else { self.mint_carefully() }
    }

    /// Near the end: never beyond it.
    #[cold]
    #[inline(never)]
    fn mint_carefully(&self) -> Option<OrderNumber> {
        let limit = self.block.0.limit.load(Ordering::Acquire);
        if limit == 0 {
            return None;
        }
        self.ring();
        let mut next = self.next.0.load(Ordering::Relaxed);
        // Each turn but the last sees that another thread took a number, or that the exchange failed for no reason, which is rare.
        while next < limit {
            match self.next.0.compare_exchange_weak(next, next + STEP, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(integer) => return OrderNumber::from_checked(integer),
                Err(newer) => next = newer,
            }
        }
        None
    }

    fn ring(&self) {
        let block = &self.block.0;
        // The plain load spares a write to a line that all minters read.
        let first = !block.rang.load(Ordering::Relaxed) && !block.rang.swap(true, Ordering::Relaxed);
        if let (true, Some(alarm)) = (first, &block.alarm) {
            alarm();
        }
    }

    /// Called by one thread at a time, as are `pause` and `resume`. `midnight_ms`: from then on by the wall clock the day of `block` is over.
    ///
    /// A block that continues the one before adds to it. Any other takes its place, whatever is left there; it has to lie above.
    pub(crate) fn install(&self, block: Block, midnight_ms: i64) {
        let bounds = &self.block.0;
        let (first, limit) = (self.integer(block.day, block.first), self.integer(block.day, block.end));
        let before = bounds.end.load(Ordering::Relaxed);
        assert!(before <= first && first < limit, "SET {}: blocks only go up, and {block:?} does not", bounds.set);
        // Before `base` is stored: the other way round, minters between the two would drop number after number of the block before.
        if first != before {
            self.next.0.fetch_max(first, Ordering::Relaxed);
            bounds.base.store(first, Ordering::Relaxed);
        }
        bounds.end.store(limit, Ordering::Release);
        bounds.rang.store(false, Ordering::Relaxed);
        self.resume();
        bounds.midnight_ms.store(midnight_ms, Ordering::Release);
    }

    /// Nothing is minted until `resume`, or until a block is installed. A call under way may still return a number.
    pub(crate) fn pause(&self) {
        self.block.0.easy.store(0, Ordering::Release);
        self.block.0.late.store(0, Ordering::Release);
        self.block.0.limit.store(0, Ordering::Release);
    }

    /// Ends a pause; what is left of the installed block goes on.
    pub(crate) fn resume(&self) {
        let bounds = &self.block.0;
        let limit = bounds.end.load(Ordering::Relaxed);
        bounds.limit.store(limit, Ordering::Release);
        let next = self.next.0.load(Ordering::Relaxed);
        let left = limit.saturating_sub(next);
        bounds.late.store(limit - (left / 4).min(CAREFUL * STEP), Ordering::Release);
        bounds.easy.store(if left < TINY * STEP { 0 } else { next + left / 2 }, Ordering::Release);
    }

    /// Sequences left in the installed block, whether paused or not.
    pub(crate) fn left(&self) -> u64 {
        let end = self.block.0.end.load(Ordering::Acquire);
        end.saturating_sub(self.next.0.load(Ordering::Relaxed)) / STEP
    }

    /// The SET.
    pub(crate) fn set(&self) -> SetId {
        self.block.0.set
    }

    /// The integer of an order number; for the sequence 10^10, one past the last, that of no number, still below the next day's.
    fn integer(&self, day: Day, sequence: u64) -> u64 {
        assert!(sequence <= OrderNumber::SEQUENCE_MAX + 1, "a block ends at 10^10 at the latest");
        u64::from(day.to_bits()) << 44 | sequence << 10 | u64::from(self.set().get())
    }
}

impl fmt::Debug for MintCore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MintCore").field("set", &self.set()).field("left", &self.left()).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::sync::Arc;
    use std::sync::atomic::AtomicUsize;

    const ANY_TIME: i64 = i64::MIN;

    fn set() -> SetId {
        SetId::new(7).expect("7 is an id")
    }

    fn day(text: &str) -> Day {
        text.parse().expect("a day")
    }

    fn block(text: &str, first: u64, end: u64) -> Block {
        Block { day: day(text), first, end }
    }

    fn sequences(core: &MintCore) -> Vec<u64> {
        std::iter::from_fn(|| core.try_mint(ANY_TIME)).map(OrderNumber::sequence).collect()
    }

    #[test]
    fn a_block_gives_each_of_its_numbers_once_and_in_order() {
        let core = MintCore::new(set());
        assert_eq!(core.try_mint(ANY_TIME), None);
        core.install(block("2026-11-22", 40, 45), 0);
        assert_eq!(core.left(), 5);
        let numbers: Vec<_> = std::iter::from_fn(|| core.try_mint(ANY_TIME)).collect();
        let expected: Vec<_> = (40..45).map(|sequence| OrderNumber::new(day("2026-11-22"), sequence, set()).unwrap()).collect();
        assert_eq!(numbers, expected);
        assert_eq!((core.left(), core.try_mint(ANY_TIME)), (0, None));
    }

    #[test]
    fn blocks_of_every_size_that_continue_one_another_skip_nothing() {
        for length in (1..200).chain([5_000]) {
            let core = MintCore::new(set());
            let mut minted = Vec::new();
            for round in 0..3 {
                core.install(block("2026-11-22", round * length, round * length + length), 0);
                minted.extend(sequences(&core));
                core.pause();
                core.resume();
                assert_eq!(core.try_mint(ANY_TIME), None);
            }
            assert_eq!(minted, (0..3 * length).collect::<Vec<_>>());
        }
    }

    #[test]
    fn a_block_that_continues_skips_nothing_while_the_one_before_has_numbers() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 0, 10), 0);
        let mut minted: Vec<u64> = (0..7).map(|_| core.try_mint(ANY_TIME).unwrap().sequence()).collect();
        core.install(block("2026-11-22", 10, 20), 0);
        assert_eq!(core.left(), 13);
        minted.extend(sequences(&core));
        // Nor when somebody had to be told that it was used up.
        core.install(block("2026-11-22", 20, 30), 0);
        minted.extend(sequences(&core));
        assert_eq!(minted, (0..30).collect::<Vec<_>>());
    }

    #[test]
    fn a_block_above_a_gap_or_of_a_new_day_takes_the_place_of_the_one_before() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 0, 10), 0);
        assert_eq!(sequences(&core).len(), 10);
        for _ in 0..5 {
            assert_eq!(core.try_mint(ANY_TIME), None);
        }
        core.install(block("2026-11-22", 20, 23), 0);
        assert_eq!(sequences(&core), [20, 21, 22]);
        core.install(block("2026-11-23", 0, 2), 0);
        assert_eq!(core.try_mint(ANY_TIME).unwrap().day(), day("2026-11-23"));
    }

    #[test]
    fn the_last_sequence_of_a_day_and_of_the_calendar_can_be_minted() {
        let core = MintCore::new(SetId::MAX);
        core.install(block("3023-12-31", 9_999_999_998, 10_000_000_000), 0);
        assert_eq!(sequences(&core), [9_999_999_998, 9_999_999_999]);
    }

    #[test]
    fn nothing_is_minted_at_or_past_midnight() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 0, 10), 5_000);
        assert!(core.try_mint(4_999).is_some());
        assert_eq!(core.try_mint(5_000), None);
        core.install(block("2026-11-23", 0, 10), 9_000);
        assert!(core.try_mint(5_000).is_some());
    }

    #[test]
    fn a_pause_stops_minting_and_loses_nothing() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 0, 4), 0);
        assert_eq!(core.try_mint(ANY_TIME).unwrap().sequence(), 0);
        core.pause();
        assert_eq!((core.try_mint(ANY_TIME), core.left()), (None, 3));
        core.resume();
        assert_eq!(sequences(&core), [1, 2, 3]);
        core.resume();
        assert_eq!(core.try_mint(ANY_TIME), None);
        core.install(block("2026-11-22", 4, 20), 0);
        assert_eq!(sequences(&core), (4..20).collect::<Vec<_>>());
    }

    #[test]
    fn the_alarm_goes_off_once_per_block_at_half() {
        let rings = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&rings);
        let core = MintCore::with_alarm(set(), move || {
            counted.fetch_add(1, Ordering::Relaxed);
        });
        for round in 0..2 {
            core.install(block("2026-11-22", round as u64 * 100, round as u64 * 100 + 100), 0);
            for _ in 0..50 {
                core.try_mint(ANY_TIME);
            }
            assert_eq!(rings.load(Ordering::Relaxed), round);
            core.try_mint(ANY_TIME);
            assert_eq!(rings.load(Ordering::Relaxed), round + 1);
            assert_eq!(sequences(&core).len(), 49);
            assert_eq!(rings.load(Ordering::Relaxed), round + 1);
        }
        // A block so small that half of it is nothing to wait for.
        core.install(block("2026-11-22", 200, 203), 0);
        core.try_mint(ANY_TIME);
        assert_eq!(rings.load(Ordering::Relaxed), 3);
    }

    #[test]
    fn late_adds_of_an_older_block_are_neither_used_nor_given_out_again() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 0, 2), 0);
        // Five threads have loaded `easy` and add; then the next block comes.
        let taken: Vec<_> = (0..5).map(|_| core.next.0.fetch_add(STEP, Ordering::Relaxed)).collect();
        core.install(block("2026-11-22", 4, 10), 0);
        let late: Vec<_> = taken.iter().filter_map(|&taken| core.past_easy(taken, 1)).map(OrderNumber::sequence).collect();
        // 0 and 1 come too late, 2 and 3 are in the gap; 4 belongs to the new block. Who lost one takes another.
        assert_eq!(late, [5, 6, 7, 8, 4]);
        assert_eq!(sequences(&core), [9]);
    }

    #[test]
    #[should_panic(expected = "blocks only go up")]
    fn an_empty_block_is_a_mistake_of_ours() {
        MintCore::new(set()).install(block("2026-11-22", 10, 10), 0);
    }

    #[test]
    #[should_panic(expected = "blocks only go up")]
    fn a_block_below_the_one_before_is_a_mistake_of_ours() {
        let core = MintCore::new(set());
        core.install(block("2026-11-22", 10, 20), 0);
        core.install(block("2026-11-22", 19, 30), 0);
    }

    /// Small blocks, so that nearly every number is close to an install, a gap or a day's end; real threads, real atomics.
    #[test]
    fn many_threads_never_share_a_number_over_installs_gaps_days_and_pauses() {
        let core = MintCore::new(set());
        let finished = AtomicBool::new(false);
        let mut rng = fastrand::Rng::with_seed(20_261_122);
        let (minted, mut blocks) = std::thread::scope(|scope| {
            let minter = || {
                let mut mine = Vec::new();
                loop {
                    let over = finished.load(Ordering::Acquire);
                    while let Some(number) = core.try_mint(ANY_TIME) {
                        mine.push(number);
                    }
                    if over {
                        return mine;
                    }
                    std::thread::yield_now();
                }
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(minter)).collect();
            let mut blocks = Vec::new();
            let (mut today, mut mark) = (day("2026-12-28"), 0);
            for _ in 0..1_500 {
                match rng.u8(0..10) {
                    0 => (today, mark) = (today.next().unwrap(), rng.u64(0..3)),
                    1 | 2 => mark += rng.u64(1..5),
                    3 => core.pause(),
                    _ => {}
                }
                let end = mark + rng.u64(1..300);
                let next = Block { day: today, first: mark, end };
                core.install(next, 0);
                blocks.push(next);
                mark = end;
                // The next install comes upon minters somewhere in the block, or waiting at its end.
                let leave = rng.u64(0..=next.end - next.first);
                while core.left() > leave {
                    std::thread::yield_now();
                }
            }
            finished.store(true, Ordering::Release);
            let minted: Vec<_> = threads.into_iter().flat_map(|thread| thread.join().expect("a minter ended well")).collect();
            (minted, blocks)
        });
        let distinct: BTreeSet<_> = minted.iter().copied().collect();
        assert_eq!(distinct.len(), minted.len(), "a number was given out twice");
        blocks.sort_by_key(|block| (block.day, block.first));
        for number in &minted {
            let at = blocks.partition_point(|block| (block.day, block.first) <= (number.day(), number.sequence()));
            let home = at.checked_sub(1).map(|at| blocks[at]);
            assert!(home.is_some_and(|b| b.day == number.day() && number.sequence() < b.end), "{number} is in no block");
        }
        assert!(minted.len() > 10_000, "too few numbers to have met an install: {}", minted.len());
    }
}
