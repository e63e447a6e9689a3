//! The clocks. Pure code takes the time as an argument; the layers that carry it out read it here.

use std::sync::Arc;

/// Where the time comes from. The wall clock may jump; the boot-time clock may not, and counts while the machine sleeps.
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
