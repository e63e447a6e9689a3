//! Why a write was not sent: nothing changed then, and nothing has to be cleaned up.

use super::{Error, Faults};
use crate::order::{Day, OrderNumber, SetId};
use std::fmt;
use std::time::Duration;

/// Why a write was not sent to any replica.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NotAttempted {
    /// As much is under way in the SET as is allowed. Retry when some of it has been answered.
    #[error("SET {set} is busy: {operations} operations and {bytes} bytes in flight")]
    Busy {
        /// The SET.
        set: SetId,
        /// Operations in flight.
        operations: usize,
        /// Bytes in flight.
        bytes: usize,
    },
    /// All SETs are draining, so there is none for a new order. The operator acts: adds one.
    #[error("every SET is draining: none takes new orders")]
    NoSetTakesOrders,
    /// Fewer than W replicas of the SET take writes. Retry when the operator has brought one back.
    #[error("SET {set} takes no writes: need {need} of {of} replicas, have {have}; {missing}")]
    NoQuorum {
        /// The SET.
        set: SetId,
        /// Replicas needed: W, or what a claim or a lease asks for.
        need: u8,
        /// Replicas of the SET.
        of: u8,
        /// Replicas that take writes.
        have: u8,
        /// What is wrong with the others.
        missing: Faults,
    },
    /// The SET failed so often of late that nothing is sent to it for a while. Retry after that.
    #[error("SET {set} is not well, and is asked again in {} ms", retry_after.as_millis())]
    Unavailable {
        /// The SET.
        set: SetId,
        /// When to try again.
        retry_after: Duration,
    },
    /// No SET took the order. Retry after that, if any of the reasons passes by itself; where all SETs have a full day or a clock that
    /// jumped, it is as for one of them alone.
    #[error("no SET took it: {}; try again in {} ms", Attempts(attempts), retry_after.as_millis())]
    NoSetLeft {
        /// Every SET that was considered, and why it did not take it.
        attempts: Vec<Attempt>,
        /// When to try again: when the first of them may take orders again. One that is busy is so for milliseconds.
        retry_after: Duration,
    },
    /// No sequences were leased before the deadline. Retry.
    #[error("SET {set} got no sequences before the deadline")]
    NoLease {
        /// The SET.
        set: SetId,
    },
    /// Others were writing the order until the deadline, or one of them was not settled yet. Retry.
    #[error("the deadline passed before it was this write's turn on {number}")]
    NoTurn {
        /// The order.
        number: OrderNumber,
    },
    /// Others were creating with the same request key until the deadline, or what they made of its orders changed all the time; or there is
    /// an order, and its SET did not confirm in time what its record must say before it is told. Retry.
    #[error("the deadline passed before it was this create's turn on its request key")]
    NoKeyTurn,
    /// As many creates with request keys are under way, with this one or in all, as may be, or ended in doubt. Retry when some of them
    /// have been answered.
    #[error("too many creates with request keys wait: {waiting}")]
    KeysBusy {
        /// How many.
        waiting: usize,
    },
    /// The SET used up its 10^10 numbers of the day. Retry tomorrow.
    #[error("SET {set} has no number left on {day}")]
    DayFull {
        /// The SET.
        set: SetId,
        /// The day.
        day: Day,
    },
    /// The clock is more than a day away from what the store remembers. The operator looks at the clock, then
    /// [`accept_clock`](crate::OrderStore::accept_clock).
    #[error("the clock shows {clock}, the newest day on record in SET {set} is {known}: more than a day apart")]
    ClockJump {
        /// The SET.
        set: SetId,
        /// The newest day on record.
        known: Day,
        /// The day by the clock.
        clock: Day,
    },
    /// The clock shows no day between 2000-01-01 and 3023-12-31. The operator acts.
    #[error("the clock is outside 2000-01-01 to 3023-12-31: {wall_ms} ms since 1970")]
    ClockOutOfRange {
        /// What it shows.
        wall_ms: i64,
    },
    /// The clock shows a day at or below the retention floor. The operator acts: no number is ever minted there again.
    #[error("the clock shows {clock}, and SET {set} has given up all days up to {floor}")]
    BelowFloor {
        /// The SET.
        set: SetId,
        /// The last day given up.
        floor: Day,
        /// The day by the clock.
        clock: Day,
    },
}

/// After so long a SET that is busy has room again.
const BUSY_PASSES: Duration = Duration::from_millis(10);
/// After so long it is worth asking a SET without replicas or sequences again.
const FAULT_PASSES: Duration = Duration::from_secs(1);
/// For what somebody has to act on first, or only another day ends.
const NOTHING_PASSES: Duration = Duration::from_secs(60);

/// Why one SET did not take an order.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Attempt {
    /// The SET.
    pub set: SetId,
    /// Why.
    pub reason: NotAttempted,
}

impl Attempt {
    /// `None` for an attempt that was sent, or that came to nothing for other reasons.
    pub(crate) fn of(set: SetId, error: &Error) -> Option<Attempt> {
        match error {
            Error::NotAttempted { reason } => Some(Attempt { set, reason: reason.clone() }),
            _ => None,
        }
    }

    pub(crate) fn unavailable(set: SetId, retry_after: Duration) -> Attempt {
        Attempt { set, reason: NotAttempted::Unavailable { set, retry_after } }
    }
}

impl NotAttempted {
    /// When to try again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            NotAttempted::Unavailable { retry_after, .. } => Some(*retry_after),
            NotAttempted::NoSetLeft { retry_after, .. } => self.is_retryable().then_some(*retry_after),
            NotAttempted::Busy { .. }
            | NotAttempted::NoQuorum { .. }
            | NotAttempted::NoLease { .. }
            | NotAttempted::NoTurn { .. }
            | NotAttempted::NoSetTakesOrders
            | NotAttempted::NoKeyTurn
            | NotAttempted::KeysBusy { .. }
            | NotAttempted::DayFull { .. }
            | NotAttempted::ClockJump { .. }
            | NotAttempted::ClockOutOfRange { .. }
            | NotAttempted::BelowFloor { .. } => None,
        }
    }

    /// Whether it passes by itself, or by what an operator does to replicas: then the same call may succeed later.
    pub(crate) fn is_retryable(&self) -> bool {
        match self {
            NotAttempted::Busy { .. }
            | NotAttempted::NoQuorum { .. }
            | NotAttempted::NoLease { .. }
            | NotAttempted::NoTurn { .. }
            | NotAttempted::NoKeyTurn
            | NotAttempted::KeysBusy { .. }
            | NotAttempted::Unavailable { .. } => true,
            // One SET that may take it is enough. Where none is named, nothing speaks against another try.
            NotAttempted::NoSetLeft { attempts, .. } => {
                attempts.is_empty() || attempts.iter().any(|attempt| attempt.reason.is_retryable())
            }
            // Somebody has to add a SET or to look at a clock, or a day has to pass, first.
            NotAttempted::NoSetTakesOrders
            | NotAttempted::DayFull { .. }
            | NotAttempted::ClockJump { .. }
            | NotAttempted::ClockOutOfRange { .. }
            | NotAttempted::BelowFloor { .. } => false,
        }
    }

    /// When to ask this SET again, where others did not take the order either.
    fn passes_after(&self) -> Duration {
        match self {
            NotAttempted::Unavailable { retry_after, .. } | NotAttempted::NoSetLeft { retry_after, .. } => *retry_after,
            // What is under way there ends, and room is free, all the time.
            NotAttempted::Busy { .. } | NotAttempted::KeysBusy { .. } => BUSY_PASSES,
            NotAttempted::NoQuorum { .. }
            | NotAttempted::NoLease { .. }
            | NotAttempted::NoTurn { .. }
            | NotAttempted::NoKeyTurn => FAULT_PASSES,
            NotAttempted::NoSetTakesOrders
            | NotAttempted::DayFull { .. }
            | NotAttempted::ClockJump { .. }
            | NotAttempted::ClockOutOfRange { .. }
            | NotAttempted::BelowFloor { .. } => NOTHING_PASSES,
        }
    }

    /// What to tell a caller whose order these SETs did not take: the reason of the only one, or that of each.
    pub(crate) fn of_all(attempts: Vec<Attempt>) -> NotAttempted {
        match &attempts[..] {
            [] => NotAttempted::NoSetTakesOrders,
            [Attempt { reason, .. }] => reason.clone(),
            _ => {
                // The first that may take it again counts. A SET that is left alone for a minute must not keep callers from one that is
                // busy for a moment.
                let retry_after = attempts.iter().map(|attempt| attempt.reason.passes_after()).min().unwrap_or(FAULT_PASSES);
                NotAttempted::NoSetLeft { attempts, retry_after }
            }
        }
    }

    /// Whether it is only that too much is under way.
    pub(crate) fn is_busy(&self) -> bool {
        match self {
            NotAttempted::Busy { .. } | NotAttempted::KeysBusy { .. } => true,
            NotAttempted::NoSetLeft { attempts, .. } => attempts.iter().any(|attempt| attempt.reason.is_busy()),
            _ => false,
        }
    }
}

/// One after the other.
struct Attempts<'a>(&'a [Attempt]);

impl fmt::Display for Attempts<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("none takes new orders");
        }
        for (at, attempt) in self.0.iter().enumerate() {
            let and = if at == 0 { "" } else { "; " };
            write!(f, "{and}{}", attempt.reason)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempts(reasons: &[NotAttempted]) -> NotAttempted {
        let set = SetId::from_checked(7);
        NotAttempted::of_all(reasons.iter().map(|reason| Attempt { set, reason: reason.clone() }).collect())
    }

    #[test]
    fn the_set_that_may_take_orders_first_says_when_to_come_again() {
        let set = SetId::from_checked(7);
        let sick = NotAttempted::Unavailable { set, retry_after: Duration::from_secs(40) };
        let busy = NotAttempted::Busy { set, operations: 1, bytes: 1 };
        let jumped = NotAttempted::ClockJump { set, known: Day::MIN, clock: Day::MAX };
        let full = NotAttempted::DayFull { set, day: Day::MIN };
        for (reasons, retry_after) in [
            (vec![sick.clone(), busy.clone(), jumped.clone()], Some(10)),
            (vec![sick.clone(), sick.clone()], Some(40_000)),
            (vec![sick.clone(), NotAttempted::NoLease { set }], Some(1_000)),
            (vec![full.clone(), sick.clone()], Some(40_000)),
            (vec![full.clone(), jumped.clone()], None),
        ] {
            let told = attempts(&reasons);
            assert_eq!(told.retry_after(), retry_after.map(Duration::from_millis), "{told}");
            assert_eq!(told.is_retryable(), retry_after.is_some(), "{told}");
        }
        assert_eq!(attempts(&[]), NotAttempted::NoSetTakesOrders);
        assert_eq!(attempts(std::slice::from_ref(&jumped)), jumped, "of a single SET the reason alone");
    }
}
