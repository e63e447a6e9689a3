//! A clock set by hand.

use crate::order::Day;
use crate::time::Clock;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

/// A clock that stands still until it is told to move. Clones are the same clock.
///
/// Whoever uses it looks at it about every 50 ms of real time. What waits for a moment, the next try after a failed lease for
/// example, waits until this clock was moved past that moment.
///
/// ```
/// # #[cfg(feature = "testing")] {
/// use ordermint::{Clock, Day, testing::ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at_noon("2026-11-22".parse::<Day>().unwrap());
/// let before = (clock.wall_ms(), clock.boot_ms());
/// clock.clone().advance(Duration::from_secs(60)); // A minute passes.
/// clock.jump_wall(-3_600_000); // Somebody puts the clock back by an hour.
/// assert_eq!((clock.wall_ms() - before.0, clock.boot_ms() - before.1), (60_000 - 3_600_000, 60_000));
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct ManualClock {
    hands: Arc<Hands>,
}

#[derive(Debug)]
struct Hands {
    wall_ms: AtomicI64,
    boot_ms: AtomicU64,
}

impl ManualClock {
    /// A clock that shows `wall_ms` milliseconds since 1970-01-01 00:00 UTC, on a machine that started an hour before.
    #[must_use]
    pub fn new(wall_ms: i64) -> ManualClock {
        ManualClock { hands: Arc::new(Hands { wall_ms: AtomicI64::new(wall_ms), boot_ms: AtomicU64::new(3_600_000) }) }
    }

    /// A clock that shows 12:00 UTC of `day`.
    #[must_use]
    pub fn at_noon(day: Day) -> ManualClock {
        ManualClock::new(day.to_unix_days() * 86_400_000 + 43_200_000)
    }

    /// Time passes: both clocks move.
    pub fn advance(&self, by: Duration) {
        let by_ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        // The boot-time clock first: who reads the wall clock and then this one never sees a jump that was none.
        self.hands.boot_ms.fetch_add(by_ms, Ordering::SeqCst);
        self.hands.wall_ms.fetch_add(i64::try_from(by_ms).unwrap_or(i64::MAX), Ordering::SeqCst);
    }

    /// Somebody sets the wall clock: it moves by `by_ms`, back when negative. The boot-time clock stays.
    pub fn jump_wall(&self, by_ms: i64) {
        self.hands.wall_ms.fetch_add(by_ms, Ordering::SeqCst);
    }

    /// Somebody sets the wall clock to `wall_ms`. The boot-time clock stays.
    pub fn set_wall_ms(&self, wall_ms: i64) {
        self.hands.wall_ms.store(wall_ms, Ordering::SeqCst);
    }
}

impl Clock for ManualClock {
    fn wall_ms(&self) -> i64 {
        self.hands.wall_ms.load(Ordering::SeqCst)
    }

    fn boot_ms(&self) -> u64 {
        self.hands.boot_ms.load(Ordering::SeqCst)
    }
}
