//! When a SET counts as sick, and how it is let back: the settings of a breaker.

use super::{ConfigError, defaults};
use std::time::Duration;

/// The most places for probes that a breaker has.
pub(crate) const PROBES_MAX: usize = 8;

/// When the breaker of a SET opens, and how it closes again. Each SET has two, one for writes and one for reads.
///
/// What is outside its range is found when the store is opened.
///
/// ```
/// use ordermint::BreakerSettings;
/// use std::time::Duration;
///
/// let settings = BreakerSettings::new()
///     .failures_in_a_row(3)
///     .open_time(Duration::from_millis(500), Duration::from_secs(30));
/// # let _ = settings;
/// ```
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BreakerSettings {
    pub(crate) failures_in_a_row: u32,
    pub(crate) failed_percent: u32,
    pub(crate) slow_percent: u32,
    pub(crate) slow_after: Duration,
    pub(crate) calls_min: u32,
    pub(crate) window: Duration,
    pub(crate) open_time: Duration,
    pub(crate) open_time_max: Duration,
    pub(crate) forget_after: Duration,
    pub(crate) probes_at_once: u32,
    pub(crate) probes_to_close: u32,
    pub(crate) probe_timeout: Duration,
    pub(crate) ramp: Duration,
    pub(crate) ramp_from_percent: u32,
}

impl Default for BreakerSettings {
    fn default() -> BreakerSettings {
        BreakerSettings {
            failures_in_a_row: defaults::FAILURES_IN_A_ROW,
            failed_percent: defaults::FAILED_PERCENT,
            slow_percent: defaults::SLOW_PERCENT,
            slow_after: defaults::SLOW_AFTER,
            calls_min: defaults::CALLS_MIN,
            window: defaults::BREAKER_WINDOW,
            open_time: defaults::OPEN_TIME,
            open_time_max: defaults::OPEN_TIME_MAX,
            forget_after: defaults::FORGET_AFTER,
            probes_at_once: defaults::PROBES_AT_ONCE,
            probes_to_close: defaults::PROBES_TO_CLOSE,
            probe_timeout: defaults::PROBE_TIMEOUT,
            ramp: defaults::RAMP,
            ramp_from_percent: defaults::RAMP_FROM_PERCENT,
        }
    }
}

impl BreakerSettings {
    /// The defaults.
    #[must_use]
    pub fn new() -> BreakerSettings {
        BreakerSettings::default()
    }

    /// It opens at so many failures in a row. Default 5, from 1 to 10,000. More: a sick SET is left later, and more orders have to
    /// be placed twice; less: a short hiccup closes a SET.
    #[must_use]
    pub fn failures_in_a_row(mut self, failures: u32) -> BreakerSettings {
        self.failures_in_a_row = failures;
        self
    }

    /// It opens when so many percent of the calls within the [`window`](Self::window) failed. Default 50, from 1 to 100.
    #[must_use]
    pub fn failed_percent(mut self, percent: u32) -> BreakerSettings {
        self.failed_percent = percent;
        self
    }

    /// It opens when so many percent of the calls within the [`window`](Self::window) took `after` or longer, as long as another
    /// SET is well: the last SET that works is never left for being slow. Default 500 ms and 80 percent; from 1 ms to an hour,
    /// from 1 to 100.
    #[must_use]
    pub fn slow_calls(mut self, after: Duration, percent: u32) -> BreakerSettings {
        self.slow_after = after;
        self.slow_percent = percent;
        self
    }

    /// The stretch of time over which shares of failed and slow calls are taken, and how many calls there must be in it. Default
    /// 10 s and 20; from 10 ms to an hour, from 1 to 1,000,000. Longer: a SET that is rarely used is judged, too, and one that fell
    /// sick slowly is left later.
    #[must_use]
    pub fn window(mut self, window: Duration, calls_min: u32) -> BreakerSettings {
        self.window = window;
        self.calls_min = calls_min;
        self
    }

    /// How long it stays open the first time, and at most. Each time that follows is twice as long as the one before, less up to a
    /// quarter at random so that SETs which fell together do not rise together. Default 1 s and 60 s; from 10 ms to an hour, the
    /// second not below the first. Longer: fewer orders risked on a SET that is still sick; it comes back later.
    #[must_use]
    pub fn open_time(mut self, first: Duration, longest: Duration) -> BreakerSettings {
        self.open_time = first;
        self.open_time_max = longest;
        self
    }

    /// After it has been closed for so long, the next time it opens is a first time again. Default 5 min, from 1 ms to 30 days. Should
    /// be well above the longest open time, else a SET that falls and rises is never left alone for long.
    #[must_use]
    pub fn forget_after(mut self, closed_for: Duration) -> BreakerSettings {
        self.forget_after = closed_for;
        self
    }

    /// When the open time is over: how many calls are let through at once, and how many good ones close it. One that fails opens it
    /// again. Default 3 and 2; from 1 to 8, from 1 to 1,000.
    #[must_use]
    pub fn probes(mut self, at_once: u32, to_close: u32) -> BreakerSettings {
        self.probes_at_once = at_once;
        self.probes_to_close = to_close;
        self
    }

    /// A probe that is not back by then has failed. Default 5 s, from 10 ms to an hour. Should not be below the deadline of calls.
    #[must_use]
    pub fn probe_timeout(mut self, timeout: Duration) -> BreakerSettings {
        self.probe_timeout = timeout;
        self
    }

    /// After it has closed, the SET's share of new orders grows from `from_percent` to the whole over so long. Default 10 s and 10;
    /// from 0 (at once) to an hour, from 1 to 100.
    #[must_use]
    pub fn ramp(mut self, ramp: Duration, from_percent: u32) -> BreakerSettings {
        self.ramp = ramp;
        self.ramp_from_percent = from_percent;
        self
    }

    /// # Errors
    /// [`ConfigError::OutOfRange`] for the first setting outside its range.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        let (hour_ms, month_ms) = (3_600_000, 30 * 86_400_000);
        let open_ms = ms(self.open_time);
        let table = [
            ("failures_in_a_row", u64::from(self.failures_in_a_row), 1, 10_000),
            ("failed_percent", u64::from(self.failed_percent), 1, 100),
            ("slow_calls percent", u64::from(self.slow_percent), 1, 100),
            ("slow_calls in ms", ms(self.slow_after), 1, hour_ms),
            ("window calls", u64::from(self.calls_min), 1, 1_000_000),
            ("window in ms", ms(self.window), 10, hour_ms),
            ("open_time in ms", open_ms, 10, hour_ms),
            ("longest open_time in ms", ms(self.open_time_max), open_ms, hour_ms),
            ("forget_after in ms", ms(self.forget_after), 1, month_ms),
            ("probes at once", u64::from(self.probes_at_once), 1, PROBES_MAX as u64),
            ("probes to close", u64::from(self.probes_to_close), 1, 1_000),
            ("probe_timeout in ms", ms(self.probe_timeout), 10, hour_ms),
            ("ramp in ms", ms(self.ramp), 0, hour_ms),
            ("ramp from percent", u64::from(self.ramp_from_percent), 1, 100),
        ];
        for (name, given, min, max) in table {
            if given < min || given > max {
                return Err(ConfigError::OutOfRange { name, given, min, max });
            }
        }
        Ok(())
    }
}

/// Whole milliseconds; what does not fit is as long as can be said.
pub(crate) fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_pass_and_whatever_is_absurd_is_named() {
        let good = BreakerSettings::new();
        assert_eq!(good.check(), Ok(()));
        let second = Duration::from_secs(1);
        let named = |settings: BreakerSettings| match settings.check() {
            Err(ConfigError::OutOfRange { name, .. }) => name,
            other => panic!("{other:?} for {settings:?}"),
        };
        assert_eq!(named(good.failures_in_a_row(0)), "failures_in_a_row");
        assert_eq!(named(good.failed_percent(0)), "failed_percent");
        assert_eq!(named(good.failed_percent(101)), "failed_percent");
        assert_eq!(named(good.slow_calls(Duration::ZERO, 80)), "slow_calls in ms");
        assert_eq!(named(good.slow_calls(second, 101)), "slow_calls percent");
        assert_eq!(named(good.window(second, 0)), "window calls");
        assert_eq!(named(good.window(Duration::MAX, 20)), "window in ms");
        assert_eq!(named(good.open_time(Duration::ZERO, second)), "open_time in ms");
        assert_eq!(named(good.open_time(second, second / 2)), "longest open_time in ms");
        assert_eq!(named(good.forget_after(Duration::ZERO)), "forget_after in ms");
        assert_eq!(named(good.probes(0, 2)), "probes at once");
        assert_eq!(named(good.probes(9, 2)), "probes at once");
        assert_eq!(named(good.probes(3, 0)), "probes to close");
        assert_eq!(named(good.probe_timeout(Duration::ZERO)), "probe_timeout in ms");
        assert_eq!(named(good.ramp(Duration::MAX, 10)), "ramp in ms");
        assert_eq!(named(good.ramp(second, 0)), "ramp from percent");
        assert_eq!(good.ramp(Duration::ZERO, 100).check(), Ok(()));
    }
}
