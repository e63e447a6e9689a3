//! How machines are told what several commands print.

use ordermint::{Alarm, BreakerState};
use serde_json::{Value, json};

/// What asks for an operator: the numbers it is about, and the sentence.
pub(crate) fn alarm_for_machines(alarm: &Alarm) -> Value {
    let (kind, numbers) = match alarm {
        Alarm::Alive { number, .. } => ("alive", vec![number.to_string()]),
        Alarm::KeyTwice { numbers } => ("key-twice", numbers.iter().map(ToString::to_string).collect()),
        // A later version of the library may know more; the sentence says what.
        _ => ("other", Vec::new()),
    };
    json!({ "kind": kind, "numbers": numbers, "what": alarm.to_string() })
}

/// One word each, unlike the sentence for people, which also says for how long.
pub(crate) fn breaker_for_machines(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Ramping { .. } => "ramping",
        BreakerState::Open { .. } => "open",
        BreakerState::Probing => "probing",
        BreakerState::ForcedOpen => "forced-open",
        BreakerState::ForcedClosed => "forced-closed",
        _ => "other",
    }
}
