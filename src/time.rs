//! The clocks. Pure code takes the time as an argument; the layers that carry it out read it here.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// Where the time comes from. The wall clock may jump; the boot-time clock may not, and counts while the machine sleeps.
///
/// Everything in this crate that waits for a moment (tries again after a failure, changes the day at midnight) asks this clock, so
/// that a test can be the clock; only the deadlines of calls are measured by [`std::time::Instant`].
pub trait Clock: Send + Sync + 'static {
    /// Milliseconds since 1970-01-01 00:00 UTC.
    fn wall_ms(&self) -> i64;
    /// Milliseconds since the machine started, the time spent asleep among them. Never goes back.
    fn boot_ms(&self) -> u64;
}

impl<C: Clock + ?Sized> Clock for Arc<C> {
    fn wall_ms(&self) -> i64 {
        (**self).wall_ms()
    }

    fn boot_ms(&self) -> u64 {
        (**self).boot_ms()
    }
}

/// The clock of the machine.
///
/// On Linux the boot-time clock is `CLOCK_BOOTTIME`. Elsewhere it is `CLOCK_MONOTONIC`, which on some systems stands still while the
/// machine sleeps: a machine that slept for more than a day then looks like a clock that jumped.
#[derive(Clone, Copy, Default, Debug)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn wall_ms(&self) -> i64 {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        now.tv_sec * 1_000 + now.tv_nsec / 1_000_000
    }

    fn boot_ms(&self) -> u64 {
        #[cfg(any(target_os = "linux", target_os = "android"))]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(any(target_os = "linux", target_os = "android")))]
        let id = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(id);
        u64::try_from(now.tv_sec * 1_000 + now.tv_nsec / 1_000_000).unwrap_or(0)
    }
}

/// A clock of a user's making, whose panics end minting and not the thread that asked: the wall clock then shows a time outside
/// every calendar, and the boot-time clock stands still.
pub(crate) struct GuardedClock {
    clock: Arc<dyn Clock>,
    boot_ms: AtomicU64,
}

impl GuardedClock {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> GuardedClock {
        GuardedClock { clock, boot_ms: AtomicU64::new(0) }
    }
}

impl Clock for GuardedClock {
    fn wall_ms(&self) -> i64 {
        catch_unwind(AssertUnwindSafe(|| self.clock.wall_ms())).unwrap_or(i64::MAX)
    }

    fn boot_ms(&self) -> u64 {
        match catch_unwind(AssertUnwindSafe(|| self.clock.boot_ms())) {
            Ok(boot_ms) => {
                self.boot_ms.fetch_max(boot_ms, Ordering::Relaxed);
                boot_ms
            }
            Err(_) => self.boot_ms.load(Ordering::Relaxed),
        }
    }
}

/// What the clocks say.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Now {
    pub(crate) wall_ms: i64,
    pub(crate) boot_ms: u64,
}

impl Now {
    /// Reads the wall clock first: a machine that falls asleep between the two readings then looks as if its wall clock had gone
    /// back by that much, which is harmless, and never as if it had jumped ahead.
    pub(crate) fn read(clock: &(impl Clock + ?Sized)) -> Now {
        let wall_ms = clock.wall_ms();
        Now { wall_ms, boot_ms: clock.boot_ms() }
    }

    /// How far the wall clock is ahead of the boot-time clock; grows when the wall clock jumps ahead, and at no other time.
    pub(crate) fn lead_ms(self) -> i64 {
        self.wall_ms.saturating_sub_unsigned(self.boot_ms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_clock_is_this_century_and_its_boot_clock_never_goes_back() {
        let first = Now::read(&SystemClock);
        let second = Now::read(&Arc::new(SystemClock));
        assert!(first.wall_ms > 1_577_836_800_000, "before 2020: {first:?}");
        assert!(second.boot_ms >= first.boot_ms);
    }

    #[test]
    fn the_lead_of_absurd_clocks_is_a_number() {
        assert_eq!(Now { wall_ms: i64::MIN, boot_ms: u64::MAX }.lead_ms(), i64::MIN);
        assert_eq!(Now { wall_ms: i64::MAX, boot_ms: 0 }.lead_ms(), i64::MAX);
        assert_eq!(Now { wall_ms: 10, boot_ms: 12 }.lead_ms(), -2);
    }
}
