//! The breaker of a SET, as a value: when to leave a SET alone, when to try it again, and when to trust it. No clock, no lock; the
//! time is an argument, in milliseconds of a clock that a set wall clock does not move.
//!
//! ```text
//!           5 failures in a row, half of at least 20, too many slow ones
//!   CLOSED ------------------------------------------------------------> OPEN until a moment
//!     ^                                                                    |  ^
//!     |  2 good probes: a ramp for new orders        the moment has passed |  | a probe failed, or did not return in time:
//!     +------------------------------------------- up to 3 probes at once -+  | twice as long as the last time
//!                                                            +----------------+
//! ```
//!
//! There is no half-open state to be stuck in: an open breaker whose moment has passed lets probes through, each has a place of
//! its own, and a place that was not given back in time is a probe that failed. Each move begins a new **era**. A permit names the
//! era in which it was given, and news of another era are dropped: what failed before the breaker opened must not open it again,
//! what went well before must not close it, and of several probes the first that fails speaks for all.

use super::permit::{BreakerState, Forced, Outcome, PROBE_MAX, Permit, Refused};
use super::window::{Counts, Window};
use crate::config::{BreakerSettings, PROBES_MAX, ms};
use std::time::Duration;

#[cfg(test)]
mod tests;

/// A breaker.
///
/// Always holds: time does not go back inside; probes are under way only while it is open and its moment has passed, never more
/// than the settings allow; a window and failures in a row are counted only while it is closed.
#[derive(Clone, Debug)]
pub(crate) struct Breaker {
    limits: Limits,
    stage: Stage,
    /// The number of the present stretch between two moves, from 1.
    era: u32,
    since_ms: u64,
    latest_ms: u64,
    window: Window,
    failures_in_a_row: u32,
    /// How often the open time has been doubled.
    doublings: u32,
    /// By place: which probe of this era, and when it has failed.
    probes: [Option<Probe>; PROBES_MAX],
    /// Probes let through in this era.
    probes_sent: u32,
    probes_good: u32,
    opened: u64,
    /// State of the jitter.
    dice: u64,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    Closed { ramp: bool },
    Open { until_ms: u64 },
    ForcedOpen,
    ForcedClosed,
}

#[derive(Clone, Copy, Debug)]
struct Probe {
    number: u32,
    fails_at_ms: u64,
}

/// The settings in whole milliseconds.
#[derive(Clone, Copy, Debug)]
struct Limits {
    failures_in_a_row: u32,
    failed_percent: u64,
    slow_percent: u64,
    calls_min: u64,
    open_ms: u64,
    open_max_ms: u64,
    forget_ms: u64,
    probes_at_once: usize,
    probes_to_close: u32,
    probe_timeout_ms: u64,
    ramp_ms: u64,
    ramp_from_permille: u64,
}

impl Breaker {
    /// Closed and without a ramp. `settings` are checked; `seed` is for the jitter and best differs from SET to SET.
    pub(crate) fn new(settings: &BreakerSettings, now_ms: u64, seed: u64) -> Breaker {
        assert!(settings.check().is_ok(), "settings are checked where they come in");
        let limits = Limits {
            failures_in_a_row: settings.failures_in_a_row,
            failed_percent: settings.failed_percent.into(),
            slow_percent: settings.slow_percent.into(),
            calls_min: settings.calls_min.into(),
            open_ms: ms(settings.open_time),
            open_max_ms: ms(settings.open_time_max),
            forget_ms: ms(settings.forget_after),
            probes_at_once: settings.probes_at_once as usize,
            probes_to_close: settings.probes_to_close,
            probe_timeout_ms: ms(settings.probe_timeout),
            ramp_ms: ms(settings.ramp),
            ramp_from_permille: u64::from(settings.ramp_from_percent) * 10,
        };
        Breaker {
            limits,
            stage: Stage::Closed { ramp: false },
            era: 1,
            since_ms: now_ms,
            latest_ms: now_ms,
            window: Window::new(ms(settings.window), now_ms),
            failures_in_a_row: 0,
            doublings: 0,
            probes: [None; PROBES_MAX],
            probes_sent: 0,
            probes_good: 0,
            opened: 0,
            dice: seed,
        }
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`Refused`] while it is open, and while as many probes are under way as may be.
    #[inline]
    pub(crate) fn admit(&mut self, now_ms: u64) -> Result<Permit, Refused> {
        match self.stage {
            Stage::Closed { .. } | Stage::ForcedClosed => Ok(Permit::new(self.era, 0)),
            Stage::Open { .. } | Stage::ForcedOpen => self.admit_probe(now_ms),
        }
    }

    #[cold]
    fn admit_probe(&mut self, now_ms: u64) -> Result<Permit, Refused> {
        let now_ms = self.tick(now_ms);
        let place = match self.rested(now_ms) {
            true => self.probes[..self.limits.probes_at_once].iter_mut().find(|place| place.is_none()),
            false => None,
        };
        let Some(place) = place else { return Err(Refused { retry_after_ms: self.retry_after_ms(now_ms) }) };
        // Begins again only after so many that were all given back without an outcome; the first of them are long forgotten.
        self.probes_sent = self.probes_sent % PROBE_MAX + 1;
        let fails_at_ms = now_ms.saturating_add(self.limits.probe_timeout_ms);
        *place = Some(Probe { number: self.probes_sent, fails_at_ms });
        Ok(Permit::new(self.era, self.probes_sent))
    }

    /// Reports a call. `others_are_well`: whether there is another SET to go to; without one this SET is not left for being slow.
    #[inline]
    pub(crate) fn record(&mut self, permit: Permit, outcome: Outcome, now_ms: u64, others_are_well: bool) {
        if permit.era() != self.era {
            return;
        }
        match (self.stage, outcome) {
            (Stage::Closed { .. }, Outcome::Good) => self.record_good_many(permit.era(), 1, 0, now_ms, others_are_well),
            (Stage::Closed { .. }, Outcome::Slow) => self.record_good_many(permit.era(), 0, 1, now_ms, others_are_well),
            (Stage::Closed { .. }, Outcome::Failed) => self.record_failure(now_ms),
            (Stage::Closed { .. }, Outcome::Neutral) | (Stage::ForcedOpen | Stage::ForcedClosed, _) => {}
            (Stage::Open { .. }, _) => self.record_probe(permit.probe(), outcome, now_ms, others_are_well),
        }
    }

    /// Reports calls that worked, all with permits of `era` and none of them a probe: a whole group of writes is synced at once.
    #[inline]
    pub(crate) fn record_good_many(&mut self, era: u32, good: u64, slow: u64, now_ms: u64, others_are_well: bool) {
        if era != self.era || !matches!(self.stage, Stage::Closed { .. }) || good + slow == 0 {
            return;
        }
        let now_ms = self.advance(now_ms);
        self.failures_in_a_row = 0;
        self.window.add(Counts { good, slow, failed: 0 }, now_ms);
        if slow > 0 && others_are_well {
            let counts = self.window.counts(now_ms);
            if self.too_many(counts.slow, self.limits.slow_percent, counts) {
                self.open(now_ms);
            }
        }
    }

    /// Counts calls that worked while nothing was failing, some time ago and at the latest now; all else was known of them then.
    pub(super) fn count_good(&mut self, good: u64, now_ms: u64) {
        if matches!(self.stage, Stage::Closed { .. }) && good > 0 {
            let now_ms = self.advance(now_ms);
            self.window.add(Counts { good, ..Counts::default() }, now_ms);
        }
    }

    #[cold]
    fn record_failure(&mut self, now_ms: u64) {
        let now_ms = self.advance(now_ms);
        self.failures_in_a_row += 1;
        self.window.add(Counts { failed: 1, ..Counts::default() }, now_ms);
        let counts = self.window.counts(now_ms);
        if self.failures_in_a_row >= self.limits.failures_in_a_row
            || self.too_many(counts.failed, self.limits.failed_percent, counts)
        {
            self.open(now_ms);
        }
    }

    fn too_many(&self, bad: u64, percent: u64, counts: Counts) -> bool {
        let total = counts.total();
        total >= self.limits.calls_min && bad.saturating_mul(100) >= total.saturating_mul(percent)
    }

    #[cold]
    fn record_probe(&mut self, number: u32, outcome: Outcome, now_ms: u64, others_are_well: bool) {
        // First of all: one that comes after its time has failed already, and with that its era is over.
        let now_ms = self.tick(now_ms);
        let Some(place) = self.probes.iter_mut().find(|place| place.is_some_and(|probe| probe.number == number)) else { return };
        *place = None;
        match outcome {
            // A SET that was left for being slow is not well because it is slow again; where there is no other, slow is good.
            Outcome::Slow if others_are_well => self.open(now_ms),
            Outcome::Good | Outcome::Slow => {
                self.probes_good += 1;
                if self.probes_good >= self.limits.probes_to_close {
                    self.close(now_ms);
                }
            }
            Outcome::Failed => self.open(now_ms),
            Outcome::Neutral => {}
        }
    }

    /// Lets time pass: a probe that should be back by now has failed. Returns the time, which never goes back.
    pub(crate) fn tick(&mut self, now_ms: u64) -> u64 {
        let now_ms = self.advance(now_ms);
        if self.probes.iter().flatten().any(|probe| probe.fails_at_ms <= now_ms) {
            self.open(now_ms);
        }
        now_ms
    }

    /// The word of an operator. Back to `Auto`, what was forced open has to be probed first, what was forced closed is closed.
    pub(crate) fn force(&mut self, forced: Forced, now_ms: u64) {
        let now_ms = self.advance(now_ms);
        match (forced, self.stage) {
            (Forced::Open, Stage::ForcedOpen) | (Forced::Closed, Stage::ForcedClosed) => {}
            (Forced::Open, _) => self.move_to(Stage::ForcedOpen, now_ms),
            (Forced::Closed, _) => self.move_to(Stage::ForcedClosed, now_ms),
            (Forced::Auto, Stage::ForcedOpen) => self.move_to(Stage::Open { until_ms: now_ms }, now_ms),
            (Forced::Auto, Stage::ForcedClosed) => self.move_to(Stage::Closed { ramp: false }, now_ms),
            (Forced::Auto, Stage::Closed { .. } | Stage::Open { .. }) => {}
        }
    }

    /// Where it stands.
    pub(crate) fn state(&self, now_ms: u64) -> BreakerState {
        let now_ms = now_ms.max(self.latest_ms);
        match self.stage {
            Stage::Closed { .. } => match self.share_permille(now_ms) {
                1_000.. => BreakerState::Closed,
                share => BreakerState::Ramping { percent: (share / 10) as u8 },
            },
            Stage::Open { until_ms } if now_ms < until_ms => {
                BreakerState::Open { retry_after: Duration::from_millis(until_ms - now_ms) }
            }
            Stage::Open { .. } => BreakerState::Probing,
            Stage::ForcedOpen => BreakerState::ForcedOpen,
            Stage::ForcedClosed => BreakerState::ForcedClosed,
        }
    }

    /// How much of its share of new orders the SET should be given, from 0 to 1,000. Probes come on top of it.
    pub(crate) fn share_permille(&self, now_ms: u64) -> u32 {
        match self.stage {
            Stage::Closed { ramp: false } | Stage::ForcedClosed => 1_000,
            Stage::Closed { ramp: true } => self.ramp().permille(now_ms.max(self.latest_ms)),
            Stage::Open { .. } | Stage::ForcedOpen => 0,
        }
    }

    /// The ramp that began at the last move.
    pub(super) fn ramp(&self) -> Ramp {
        let ramp_ms = if self.stage == (Stage::Closed { ramp: true }) { self.limits.ramp_ms } else { 0 };
        Ramp { from_ms: self.since_ms, ramp_ms, from_permille: self.limits.ramp_from_permille }
    }

    /// Whether one more probe would help: its moment has passed, a place is free, and those under way cannot close it alone. For a
    /// thread that probes SETs to which nobody sends anything.
    pub(crate) fn probe_is_due(&self, now_ms: u64) -> bool {
        let now_ms = now_ms.max(self.latest_ms);
        let under_way = self.probes_under_way();
        self.rested(now_ms)
            && self.probes.iter().flatten().all(|probe| now_ms < probe.fails_at_ms)
            && under_way < self.limits.probes_at_once
            && under_way + (self.probes_good as usize) < self.limits.probes_to_close as usize
    }

    /// When to ask again after a refusal, at the earliest; from 1.
    pub(crate) fn retry_after_ms(&self, now_ms: u64) -> u64 {
        let now_ms = now_ms.max(self.latest_ms);
        self.look_again_ms().saturating_sub(now_ms).min(self.retry_ms_max()).max(1)
    }

    /// What to tell a caller at most. Nobody knows when probes that are under way are back, or when an operator is done.
    pub(super) fn retry_ms_max(&self) -> u64 {
        match self.stage {
            Stage::Open { .. } if self.probes_under_way() > 0 => self.limits.open_ms,
            Stage::Open { .. } | Stage::ForcedOpen => self.limits.open_max_ms,
            Stage::Closed { .. } | Stage::ForcedClosed => 1,
        }
    }

    /// Before that moment `admit` refuses whatever it is asked; 0 while it would not.
    pub(super) fn look_again_ms(&self) -> u64 {
        match self.stage {
            Stage::Closed { .. } | Stage::ForcedClosed => 0,
            Stage::ForcedOpen => u64::MAX,
            Stage::Open { until_ms } => {
                let full = self.probes_under_way() >= self.limits.probes_at_once;
                let first_fails = self.probes.iter().flatten().map(|probe| probe.fails_at_ms).min();
                first_fails.filter(|_| full).unwrap_or(until_ms)
            }
        }
    }

    /// The present era.
    pub(crate) fn era(&self) -> u32 {
        self.era
    }

    /// Whether the next failure follows upon another.
    pub(super) fn is_failing(&self) -> bool {
        self.failures_in_a_row > 0
    }

    /// Whether no call of the window failed or was slow, so that the exact number of good ones decides nothing.
    pub(super) fn is_spotless(&mut self) -> bool {
        let counts = self.window.counts(self.latest_ms);
        counts.failed == 0 && counts.slow == 0
    }

    /// When counts since the last report belong to another bucket of the window.
    pub(super) fn bucket_ends_ms(&self) -> u64 {
        self.window.bucket_ends_ms()
    }

    /// Whether calls are let through without a place.
    pub(super) fn is_closed(&self) -> bool {
        matches!(self.stage, Stage::Closed { .. } | Stage::ForcedClosed)
    }

    /// Whether an operator had his way.
    pub(super) fn is_forced(&self) -> bool {
        matches!(self.stage, Stage::ForcedOpen | Stage::ForcedClosed)
    }

    /// How often it has opened by itself, times that it opened again after a probe among them.
    pub(crate) fn opened(&self) -> u64 {
        self.opened
    }

    /// The time of the last move.
    pub(crate) fn since_ms(&self) -> u64 {
        self.since_ms
    }

    fn probes_under_way(&self) -> usize {
        self.probes.iter().flatten().count()
    }

    fn rested(&self, now_ms: u64) -> bool {
        matches!(self.stage, Stage::Open { until_ms } if until_ms <= now_ms)
    }

    fn advance(&mut self, now_ms: u64) -> u64 {
        self.latest_ms = self.latest_ms.max(now_ms);
        self.latest_ms
    }

    fn close(&mut self, now_ms: u64) {
        self.move_to(Stage::Closed { ramp: true }, now_ms);
    }

    fn open(&mut self, now_ms: u64) {
        let closed = matches!(self.stage, Stage::Closed { .. });
        if closed && now_ms - self.since_ms >= self.limits.forget_ms {
            self.doublings = 0;
        }
        let full = self.limits.open_ms.checked_shl(self.doublings).unwrap_or(u64::MAX).min(self.limits.open_max_ms);
        // Ends at the longest time, so that the shift stays far from overflow: an hour is less than 2^22 ms.
        if full < self.limits.open_max_ms {
            self.doublings += 1;
        }
        let shorter = self.roll() % (full / 4 + 1);
        self.opened += 1;
        self.move_to(Stage::Open { until_ms: now_ms.saturating_add(full - shorter) }, now_ms);
    }

    /// Begins a new era with nothing of the old one.
    fn move_to(&mut self, stage: Stage, now_ms: u64) {
        self.stage = stage;
        self.era = self.era.wrapping_add(1).max(1);
        self.since_ms = now_ms;
        self.failures_in_a_row = 0;
        self.window.clear();
        self.probes = [None; PROBES_MAX];
        self.probes_sent = 0;
        self.probes_good = 0;
    }

    /// SplitMix64: good enough to keep SETs apart, and the same for the same seed.
    fn roll(&mut self) -> u64 {
        self.dice = self.dice.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.dice;
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    }
}

/// A share that grows from a part to the whole.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ramp {
    pub(super) from_ms: u64,
    /// 0 for none.
    pub(super) ramp_ms: u64,
    pub(super) from_permille: u64,
}

impl Ramp {
    /// From `from_permille` to 1,000.
    pub(super) fn permille(self, now_ms: u64) -> u32 {
        let gone_ms = now_ms.saturating_sub(self.from_ms);
        if gone_ms >= self.ramp_ms {
            return 1_000;
        }
        // Both factors are small: an hour is less than 2^22 ms.
        let grown = (1_000 - self.from_permille) * gone_ms / self.ramp_ms;
        (self.from_permille + grown) as u32
    }
}
