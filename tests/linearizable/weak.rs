//! What holds for reads that are not linearizable, and of versions as such: one version is one value.

use ordermint::testing::{Answer, Asked, History, Operation, Outcome, Ran};
use ordermint::{Quorum, Resolved, Version};
use std::collections::HashMap;

/// What R replicas must know, wherever they are.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Overlap {
    /// Writes that were acknowledged: they are on W.
    pub(crate) writes: bool,
    /// What strong reads showed, and what settled writes became: known to every later coordinator, but that may be on fewer than W.
    pub(crate) shown: bool,
}

impl Overlap {
    pub(crate) fn of(quorum: Quorum) -> Overlap {
        let (n, r, w) = (quorum.n(), quorum.r(), quorum.w());
        // Who coordinates has claimed so many.
        let claim = (n - w + 1).max(n / 2 + 1);
        Overlap { writes: r + w > n, shown: r + w > n && r >= claim }
    }
}

/// Looks through the history of one order.
///
/// # Errors
/// The first operation that is wrong, and why.
pub(crate) fn weak_reads_hold(history: &History, overlap: Overlap) -> Result<(), String> {
    let mut shown: HashMap<Version, &[u8]> = HashMap::new();
    for read in &history.operations {
        let Outcome::Answered { at, answer } = &read.outcome else { continue };
        let wrong = |why: &str| Err(format!("{why}: {read}\n{history}"));
        let is_strong = read.asked == Asked::Read;
        let (is_weak, at_least) = match read.asked {
            Asked::WeakRead { at_least } => (true, at_least),
            Asked::DegradedRead { at_least } => (false, at_least),
            _ => (false, None),
        };
        match answer {
            Answer::Found { version, value } => {
                if shown.insert(*version, value).is_some_and(|other| other != value) {
                    return wrong("another value was shown under the same version");
                }
                if is_strong {
                    continue;
                }
                if !was_written(history, *at, *version, value) {
                    return wrong("nobody wrote that");
                }
                if at_least.is_some_and(|least| *version < least) {
                    return wrong("older than was asked for");
                }
                if is_weak && newest_before(history, read.called, overlap).is_some_and(|newest| *version < newest) {
                    return wrong("older than what was acknowledged before, and R + W > N");
                }
            }
            Answer::Absent if is_strong => {}
            Answer::Absent if at_least.is_some() => return wrong("absent, and a version was asked for"),
            Answer::Absent if is_weak && newest_before(history, read.called, overlap).is_some() => {
                return wrong("absent after it was acknowledged, and R + W > N");
            }
            _ => {}
        }
    }
    sessions_go_forward(history)
}

/// A session that says what it saw is never shown anything older.
fn sessions_go_forward(history: &History) -> Result<(), String> {
    let mut seen: HashMap<u64, (Version, u64)> = HashMap::new();
    for operation in &history.operations {
        let Outcome::Answered { at, answer } = &operation.outcome else { continue };
        let Some(version) = version_in(answer) else { continue };
        let says = matches!(operation.asked, Asked::WeakRead { at_least: Some(_) } | Asked::DegradedRead { at_least: Some(_) });
        // What was answered to it while this was under way does not count: it may ask for several things at once.
        if let Some((newest, known_at)) = seen.get(&operation.session)
            && says
            && *known_at < operation.called
            && version < *newest
        {
            return Err(format!("goes back behind {newest}: {operation}\n{history}"));
        }
        if says || !matches!(operation.asked, Asked::WeakRead { .. } | Asked::DegradedRead { .. }) {
            let entry = seen.entry(operation.session).or_insert((version, *at));
            if version > entry.0 {
                *entry = (version, *at);
            }
        }
    }
    Ok(())
}

fn version_in(answer: &Answer) -> Option<Version> {
    match answer {
        Answer::Created { version, .. } | Answer::Updated { version } | Answer::Modified { version } => Some(*version),
        Answer::Found { version, .. } => Some(*version),
        _ => None,
    }
}

/// The newest version that was known before `moment` to be where R replicas must find it.
fn newest_before(history: &History, moment: u64, overlap: Overlap) -> Option<Version> {
    let acknowledged = |operation: &Operation| match &operation.outcome {
        Outcome::Answered { at, answer } if *at < moment => {
            let counts = match operation.asked {
                Asked::WeakRead { .. } | Asked::DegradedRead { .. } => false,
                Asked::Read | Asked::Modify { ran: Some(Ran { wrote: None, .. }) } => overlap.shown,
                _ => overlap.writes,
            };
            version_in(answer).filter(|_| counts)
        }
        Outcome::Settled { token, resolved: Resolved::Applied, settled, .. } if *settled < moment && overlap.shown => {
            Some(token.version)
        }
        _ => None,
    };
    history.operations.iter().filter_map(acknowledged).max()
}

/// Whether a write called before `moment`, which was not refused, may have left `value` under `version`.
fn was_written(history: &History, moment: u64, version: Version, value: &[u8]) -> bool {
    // Settling a write in doubt gives the value that stands a newer version.
    let rewritten = history
        .operations
        .iter()
        .any(|operation| matches!(operation.outcome, Outcome::Open | Outcome::InDoubt { .. } | Outcome::Settled { .. }));
    history.operations.iter().filter(|operation| operation.called < moment).any(|operation| {
        let wrote = match &operation.asked {
            Asked::Create { value } | Asked::Update { value, .. } => value,
            Asked::Modify { ran: Some(Ran { wrote: Some(wrote), .. }) } => wrote,
            _ => return false,
        };
        let under = match &operation.outcome {
            Outcome::Answered { answer, .. } => match version_in(answer) {
                Some(under) => Some(under),
                None => return false,
            },
            Outcome::InDoubt { token, .. } | Outcome::Settled { token, .. } => Some(token.version),
            Outcome::Open => None,
            _ => return false,
        };
        let fits = under.is_none_or(|under| under == version || under.epoch < version.epoch || (rewritten && under < version));
        wrote == value && fits
    })
}
