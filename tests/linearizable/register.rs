//! One order as a register with versions, and whether a history of it can be put in one line: each operation in an instant between
//! its call and its answer.

use ordermint::Version;
use ordermint::testing::{Answer, Asked, History, Operation, Outcome, Ran};
use std::collections::HashMap;
use std::fmt;
use todc_utils::{Action, Specification, WGLChecker};

/// Why a history is not one of a register.
pub(crate) struct Wrong {
    /// The history up to the answer that cannot be.
    pub(crate) upto: History,
    pub(crate) why: String,
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}\n{}", self.why, self.upto)
    }
}

/// Puts the history of one order in line.
///
/// # Errors
/// The shortest beginning of it that cannot be put in line.
pub(crate) fn linearizable(history: &History) -> Result<(), Wrong> {
    let steps = Steps::of(history).map_err(|operation| {
        let why = format!("success of a closure that never ran: {operation}");
        Wrong { upto: history.clone(), why }
    })?;
    if steps.hold(u64::MAX) {
        return Ok(());
    }
    // What can be put in line as a whole can be cut off anywhere, so the first answer that cannot be is found by halving.
    let mut answers: Vec<u64> = steps.all.iter().filter_map(|step| step.ended).collect();
    answers.sort_unstable();
    let good = answers.partition_point(|at| steps.hold(*at));
    let Some(&at) = answers.get(good) else { unreachable!("with the last answer it did not hold") };
    let operations: Vec<Operation> = history.operations.iter().filter(|operation| operation.called <= at).cloned().collect();
    let culprit = steps.all.iter().find(|step| step.ended == Some(at)).map(|step| step.called);
    let culprit = operations.iter().find(|operation| Some(operation.called) == culprit).map(ToString::to_string);
    Err(Wrong {
        upto: History { operations },
        why: format!("not linearizable with the answer of {}", culprit.unwrap_or_default()),
    })
}

/// How it stands after those operations that were put in line already.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct State {
    order: Order,
    /// How many of them certainly happened.
    certain: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Order {
    Absent,
    Present {
        version: Version,
        value: u32,
        /// Made by a closure: the next one may share its version.
        modified: bool,
    },
}

/// What an operation is known to have done or seen. Values go by number, for speed.
#[derive(Clone, Copy, Debug)]
enum Deed {
    Create {
        version: Version,
        value: u32,
    },
    /// The version is not known where nobody was told.
    Update {
        expected: Version,
        version: Option<Version>,
        value: u32,
    },
    Mismatch {
        expected: Version,
        actual: Version,
    },
    Modify {
        saw: u32,
        wrote: u32,
        version: Option<Version>,
    },
    Keep {
        saw: u32,
        version: Version,
    },
    Found {
        version: Version,
        value: u32,
    },
    Absent,
}

#[derive(Clone, Copy, Debug)]
struct Step {
    called: u64,
    /// When it had certainly happened. `None`: it may have happened, or will, or never does.
    ended: Option<u64>,
    deed: Deed,
}

struct Steps {
    all: Vec<Step>,
    /// A write was in doubt: settling one gives the value that stands a newer version, of which nobody is told.
    rewritten: bool,
}

#[derive(Clone, Debug)]
struct Judged {
    deed: Deed,
    /// In doubt for ever: it may be left for the end of the line, after all that certainly happened, and is then nothing.
    maybe: bool,
    /// How many of all certainly happened.
    certain: usize,
    rewritten: bool,
}

struct Register;

impl Specification for Register {
    type State = State;
    type Operation = Judged;

    fn init() -> State {
        State { order: Order::Absent, certain: 0 }
    }

    fn apply(step: &Judged, state: &State) -> (bool, State) {
        // Only at the end: what could be nothing anywhere would be tried as that everywhere, which takes for ever.
        if step.maybe && state.certain == step.certain {
            return (true, *state);
        }
        match after(step, state.order) {
            Some(order) => (true, State { order, certain: state.certain + usize::from(!step.maybe) }),
            None => (false, *state),
        }
    }
}

/// The order after `step`; `None` where it cannot be next.
fn after(step: &Judged, order: Order) -> Option<Order> {
    let (stands, holds, modified) = match (order, step.deed) {
        (Order::Absent, Deed::Create { version, value }) => return Some(Order::Present { version, value, modified: false }),
        (Order::Absent, Deed::Absent) => return Some(Order::Absent),
        (Order::Absent, _) | (Order::Present { .. }, Deed::Create { .. } | Deed::Absent) => return None,
        (Order::Present { version, value, modified }, _) => (version, value, modified),
    };
    // A version that is seen is the one that stands, or where it was rewritten a newer one. The next life of a program may also
    // write again, as its own, what it finds on few replicas.
    let is_seen = |version: Version| version == stands || version.epoch > stands.epoch || (step.rewritten && version > stands);
    let present = |version, value, modified| Order::Present { version, value, modified };
    let (fits, next) = match step.deed {
        Deed::Create { .. } | Deed::Absent => return None,
        Deed::Found { version, value } => (is_seen(version) && value == holds, present(version, holds, modified)),
        Deed::Mismatch { expected, actual } => (is_seen(actual) && actual != expected, present(actual, holds, modified)),
        Deed::Update { expected, version, value } => {
            let version = version.unwrap_or(Version { counter: expected.counter + 1, ..expected });
            (is_seen(expected) && version > expected, present(version, value, false))
        }
        // Closures that ran one right after the other share the version of the last one's write.
        Deed::Modify { saw, wrote, version } => {
            let version = version.unwrap_or(stands);
            let follows = version > stands || (version == stands && (modified || step.maybe));
            (saw == holds && follows, present(version, wrote, true))
        }
        Deed::Keep { saw, version } => (is_seen(version) && saw == holds, present(version, holds, modified)),
    };
    fits.then_some(next)
}

impl Steps {
    /// # Errors
    /// The operation that reports the success of a closure that did not run.
    fn of(history: &History) -> Result<Steps, &Operation> {
        let mut values: HashMap<&[u8], u32> = HashMap::new();
        let mut all = Vec::new();
        let mut rewritten = false;
        for operation in &history.operations {
            let mut number = |value| {
                let next = u32::try_from(values.len()).expect("few values");
                *values.entry(value).or_insert(next)
            };
            let called = operation.called;
            let is_write = matches!(operation.asked, Asked::Create { .. } | Asked::Update { .. } | Asked::Modify { .. });
            let step = match &operation.outcome {
                Outcome::NotDone { .. } => None,
                Outcome::Answered { at, answer } => {
                    let is_weak = matches!(operation.asked, Asked::WeakRead { .. } | Asked::DegradedRead { .. });
                    let deed = if is_weak { None } else { Some(told(&operation.asked, answer, &mut number).ok_or(operation)?) };
                    deed.map(|deed| Step { called, ended: Some(*at), deed })
                }
                Outcome::Open => {
                    rewritten |= is_write;
                    untold(&operation.asked, None, &mut number).map(|deed| Step { called, ended: None, deed })
                }
                Outcome::InDoubt { token, .. } => {
                    rewritten = true;
                    untold(&operation.asked, Some(token.version), &mut number).map(|deed| Step { called, ended: None, deed })
                }
                Outcome::Settled { token, resolved, settled, .. } => {
                    rewritten = true;
                    let ended = Some((*settled).max(called + 1));
                    let never_ran = matches!(operation.asked, Asked::Modify { ran: None });
                    match resolved {
                        ordermint::Resolved::Applied if never_ran => return Err(operation),
                        ordermint::Resolved::Applied => {
                            untold(&operation.asked, Some(token.version), &mut number).map(|deed| Step { called, ended, deed })
                        }
                        ordermint::Resolved::NotApplied => None,
                    }
                }
                _ => None,
            };
            all.extend(step);
        }
        Ok(Steps { all, rewritten })
    }

    /// Whether what was answered up to `upto` can be put in line.
    fn hold(&self, upto: u64) -> bool {
        let mut events: Vec<(u64, usize, Action<Judged>)> = Vec::new();
        let is_certain = |step: &&Step| step.ended.is_some_and(|at| at <= upto);
        let certain = self.all.iter().filter(is_certain).count();
        for (process, step) in self.all.iter().enumerate().filter(|(_, step)| step.called <= upto) {
            let ended = step.ended.filter(|at| *at <= upto);
            let reads = matches!(step.deed, Deed::Mismatch { .. } | Deed::Keep { .. } | Deed::Found { .. } | Deed::Absent);
            if ended.is_none() && reads {
                continue;
            }
            let judged = Judged { deed: step.deed, maybe: ended.is_none(), certain, rewritten: self.rewritten };
            events.push((step.called, process, Action::Call(judged.clone())));
            events.push((ended.unwrap_or(u64::MAX), process, Action::Response(judged)));
        }
        // Those that never end come last, in whatever order.
        events.sort_by_key(|(at, process, _)| (*at, *process));
        if events.is_empty() {
            return true;
        }
        // Each operation is a process of its own: one in doubt does not end before its session goes on.
        let actions = events.into_iter().map(|(_, process, action)| (process, action)).collect();
        WGLChecker::<Register>::is_linearizable(todc_utils::History::from_actions(actions))
    }
}

/// What is known to have happened by its answer. `None` where the answer makes no sense.
fn told<'a>(asked: &'a Asked, answer: &'a Answer, number: &mut impl FnMut(&'a [u8]) -> u32) -> Option<Deed> {
    Some(match (asked, answer) {
        (Asked::Create { value }, Answer::Created { version, .. }) => Deed::Create { version: *version, value: number(value) },
        (Asked::Update { expected, value }, Answer::Updated { version }) => {
            Deed::Update { expected: *expected, version: Some(*version), value: number(value) }
        }
        (Asked::Update { expected, .. }, Answer::Mismatch { actual }) => Deed::Mismatch { expected: *expected, actual: *actual },
        (Asked::Modify { ran: Some(Ran { saw, wrote: Some(wrote) }) }, Answer::Modified { version }) => {
            Deed::Modify { saw: number(saw), wrote: number(wrote), version: Some(*version) }
        }
        (Asked::Modify { ran: Some(Ran { saw, wrote: None }) }, Answer::Modified { version }) => {
            Deed::Keep { saw: number(saw), version: *version }
        }
        (Asked::Read, Answer::Found { version, value }) => Deed::Found { version: *version, value: number(value) },
        (Asked::Read | Asked::Update { .. } | Asked::Modify { .. }, Answer::Absent) => Deed::Absent,
        _ => return None,
    })
}

/// What a write did, if it happened.
fn untold<'a>(asked: &'a Asked, version: Option<Version>, number: &mut impl FnMut(&'a [u8]) -> u32) -> Option<Deed> {
    Some(match asked {
        Asked::Create { value } => Deed::Create { version: version?, value: number(value) },
        Asked::Update { expected, value } => Deed::Update { expected: *expected, version, value: number(value) },
        Asked::Modify { ran: Some(Ran { saw, wrote: Some(wrote) }) } => {
            Deed::Modify { saw: number(saw), wrote: number(wrote), version }
        }
        _ => return None,
    })
}
