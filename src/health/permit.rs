//! The words that callers and breakers exchange.

use std::fmt;
use std::time::Duration;

/// The leave to make one call. Not `Clone`: a call cannot be reported twice. It names the era in which it was given, so that news
/// of a call from before the breaker moved changes nothing.
///
/// ```text
/// 32 bits era, from 1 | 4 bits 0, flags where a gate publishes its state | 28 bits: 0, or which probe of the era it is, from 1
/// ```
#[must_use = "a call that is allowed has to be reported; give it back as neutral if it is not made"]
#[derive(PartialEq, Eq, Debug)]
pub(crate) struct Permit(u64);

/// Probes of an era have numbers up to here; above it are the flags of a gate, which must not look like a probe.
pub(super) const PROBE_MAX: u32 = (1 << 28) - 1;

impl Permit {
    #[inline]
    pub(super) fn new(era: u32, probe: u32) -> Permit {
        debug_assert!(probe <= PROBE_MAX, "a probe that looks like a flag");
        Permit(u64::from(era) << 32 | u64::from(probe))
    }

    #[inline]
    pub(super) fn era(&self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Which probe of its era it is; 0 for a call while the breaker was closed.
    #[inline]
    pub(super) fn probe(&self) -> u32 {
        self.0 as u32
    }

    /// Whether the call finds out for others how the SET is.
    #[inline]
    pub(crate) fn is_probe(&self) -> bool {
        self.probe() != 0
    }

    /// For keeping it in an atomic or beside other numbers; never 0.
    #[inline]
    pub(crate) fn into_raw(self) -> u64 {
        self.0
    }

    /// What [`into_raw`](Self::into_raw) gave, to be used once. Any other number is a permit of an era that is not, or at worst
    /// says once more what was said.
    #[inline]
    pub(crate) fn from_raw(raw: u64) -> Permit {
        Permit(raw)
    }
}

/// How a call ended, as far as it speaks about the SET.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Outcome {
    /// It worked, in good time.
    Good,
    /// It worked, and took long.
    Slow,
    /// The SET could not do it.
    Failed,
    /// It says nothing about the SET: not made at all, a value no SET would take, a queue of our own that was full.
    Neutral,
}

/// The breaker is open, or all places for probes are taken.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused {
    /// When a call may be let through, at the earliest; from 1.
    pub(crate) retry_after_ms: u64,
}

/// What an operator wants of a breaker. See [`OrderStore::force_breaker`](crate::OrderStore::force_breaker).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Forced {
    /// Nothing is let through, no probe either.
    Open,
    /// Everything is let through, whatever comes of it.
    Closed,
    /// The breaker decides.
    Auto,
}

/// Where a breaker stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum BreakerState {
    /// The SET is well and takes its share.
    Closed,
    /// The SET is well again and takes a growing part of its share of new orders.
    Ramping {
        /// How much of it, from 1 to 99.
        percent: u8,
    },
    /// The SET is sick and is left alone.
    Open {
        /// For how long yet.
        retry_after: Duration,
    },
    /// The open time is over: a few calls are let through to find out.
    Probing,
    /// Open by the word of an operator.
    ForcedOpen,
    /// Closed by the word of an operator.
    ForcedClosed,
}

impl fmt::Display for BreakerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BreakerState::Closed => f.write_str("closed"),
            BreakerState::Ramping { percent } => write!(f, "ramping, {percent} %"),
            BreakerState::Open { retry_after } => write!(f, "open, for {:.1} s yet", retry_after.as_secs_f64()),
            BreakerState::Probing => f.write_str("probing"),
            BreakerState::ForcedOpen => f.write_str("forced open"),
            BreakerState::ForcedClosed => f.write_str("forced closed"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_permit_survives_as_a_number() {
        let permit = Permit::from_raw(Permit::new(7, 3).into_raw());
        assert_eq!((permit.era(), permit.probe(), permit.is_probe()), (7, 3, true));
        let permit = Permit::from_raw(Permit::new(u32::MAX, 0).into_raw());
        assert_eq!((permit.era(), permit.is_probe()), (u32::MAX, false));
    }

    #[test]
    fn states_read_well_in_a_log() {
        let text: Vec<String> = [
            BreakerState::Closed,
            BreakerState::Ramping { percent: 55 },
            BreakerState::Open { retry_after: Duration::from_millis(1_540) },
            BreakerState::Probing,
            BreakerState::ForcedOpen,
            BreakerState::ForcedClosed,
        ]
        .iter()
        .map(BreakerState::to_string)
        .collect();
        assert_eq!(text, ["closed", "ramping, 55 %", "open, for 1.5 s yet", "probing", "forced open", "forced closed"]);
    }
}
