//! What a program asked of a store and what it heard, as plain values: something for a checker to judge.

use crate::error::WriteToken;
use crate::order::OrderNumber;
use crate::replica::Version;
use crate::set::Resolved;
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What a [`Recorder`](super::Recorder) wrote down, in the order in which it was asked.
///
/// Printed, it is one line for each operation: when it was called and when it had ended, who asked, for what, and what came of it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct History {
    /// In the order of their calls.
    pub operations: Vec<Operation>,
}

/// One operation: what one session asked, and what it heard.
///
/// Moments (`called`, `at`, `settled`) come from one counter: of two, the lower was first. No clock has a say.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Operation {
    /// Who asked. One session asks for one thing after the other, if the program keeps to that.
    pub session: u64,
    /// The order. Of a create that did not succeed it is known only where it is in doubt.
    pub number: Option<OrderNumber>,
    /// What was asked.
    pub asked: Asked,
    /// The moment just before it was asked.
    pub called: u64,
    /// What came of it.
    pub outcome: Outcome,
}

/// What is asked of a store.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Asked {
    /// A new order.
    Create {
        /// Its payload.
        value: Bytes,
    },
    /// Compare and set.
    Update {
        /// The version it must stand at.
        expected: Version,
        /// The new payload.
        value: Bytes,
    },
    /// A closure run on the order.
    Modify {
        /// What the closure met and did; `None` while it was not run.
        ran: Option<Ran>,
    },
    /// A strong read.
    Read,
    /// A weak read.
    WeakRead {
        /// The least version that will do.
        at_least: Option<Version>,
    },
    /// A degraded read.
    DegradedRead {
        /// The least version that will do.
        at_least: Option<Version>,
    },
}

/// What a closure given to [`modify`](crate::OrderStore::modify) met and did.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Ran {
    /// The payload that it saw.
    pub saw: Bytes,
    /// The payload that it wrote; `None` where it kept what it saw.
    pub wrote: Option<Bytes>,
}

/// What a store answers.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Answer {
    /// The order is there.
    Created {
        /// Its number.
        number: OrderNumber,
        /// Its first version.
        version: Version,
    },
    /// It was updated.
    Updated {
        /// The new version.
        version: Version,
    },
    /// It stands at another version than the update was made for.
    Mismatch {
        /// That version.
        actual: Version,
    },
    /// The closure ran and what it did is durable.
    Modified {
        /// The version that stands.
        version: Version,
    },
    /// What a read found.
    Found {
        /// The version.
        version: Version,
        /// The payload.
        value: Bytes,
    },
    /// There is no such order: said by a read, an update or a modify.
    Absent,
}

/// What came of an operation.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Outcome {
    /// Nothing was heard. If it is a write, it may have happened at any time since, or happen later.
    Open,
    /// It took place between the call and `at`.
    Answered {
        /// The moment just after the answer.
        at: u64,
        /// The answer.
        answer: Answer,
    },
    /// It changed nothing and never will, and showed nothing.
    NotDone {
        /// The moment just after the answer.
        at: u64,
    },
    /// It may have happened, or happen later, or never.
    InDoubt {
        /// The moment just after the answer.
        at: u64,
        /// Names the write.
        token: WriteToken,
    },
    /// It was in doubt, and the doubt was settled.
    Settled {
        /// The moment just after the answer that left it in doubt.
        at: u64,
        /// Names the write.
        token: WriteToken,
        /// Whether it happened.
        resolved: Resolved,
        /// The moment just after that was known: where it happened, it had happened by then. Before `at` where another call shared
        /// the write.
        settled: u64,
    },
}

impl History {
    /// The history of each order. Creates whose number nobody knows belong to none; nothing can be seen of them either.
    #[must_use]
    pub fn by_order(&self) -> BTreeMap<OrderNumber, History> {
        let mut orders: BTreeMap<OrderNumber, History> = BTreeMap::new();
        for operation in &self.operations {
            if let Some(number) = operation.number {
                orders.entry(number).or_default().operations.push(operation.clone());
            }
        }
        orders
    }

    /// The writes that are in doubt, each once.
    #[must_use]
    pub fn in_doubt(&self) -> Vec<WriteToken> {
        let mut known = BTreeSet::new();
        let doubts = self.operations.iter().filter_map(|operation| match operation.outcome {
            Outcome::InDoubt { token, .. } => Some(token),
            _ => None,
        });
        doubts.filter(|token| known.insert((token.number, token.version))).collect()
    }
}

impl fmt::Display for History {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut last = None;
        for operation in &self.operations {
            if operation.number != last {
                last = operation.number;
                match last {
                    Some(number) => writeln!(f, "{number}")?,
                    None => writeln!(f, "(no number)")?,
                }
            }
            writeln!(f, "{operation}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Operation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ended = match self.outcome {
            Outcome::Open => String::new(),
            Outcome::Answered { at, .. } | Outcome::NotDone { at } | Outcome::InDoubt { at, .. } => at.to_string(),
            Outcome::Settled { settled, .. } => settled.to_string(),
        };
        write!(f, "{:>6} to {ended:>6}  session {:>2}: {}: {}", self.called, self.session, self.asked, self.outcome)
    }
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Asked::Create { value } => write!(f, "create {}", Shown(value)),
            Asked::Update { expected, value } => write!(f, "update from {expected} to {}", Shown(value)),
            Asked::Modify { ran: None } => f.write_str("modify, which was not run"),
            Asked::Modify { ran: Some(Ran { saw, wrote: Some(wrote) }) } => {
                write!(f, "modify {} to {}", Shown(saw), Shown(wrote))
            }
            Asked::Modify { ran: Some(Ran { saw, wrote: None }) } => write!(f, "modify, which kept {}", Shown(saw)),
            Asked::Read => f.write_str("read"),
            Asked::WeakRead { at_least: None } => f.write_str("weak read"),
            Asked::WeakRead { at_least: Some(version) } => write!(f, "weak read of {version} or newer"),
            Asked::DegradedRead { at_least: None } => f.write_str("degraded read"),
            Asked::DegradedRead { at_least: Some(version) } => write!(f, "degraded read of {version} or newer"),
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Outcome::Open => f.write_str("nothing heard"),
            Outcome::Answered { answer, .. } => answer.fmt(f),
            Outcome::NotDone { .. } => f.write_str("not done"),
            Outcome::InDoubt { token, .. } => write!(f, "in doubt at {}", token.version),
            Outcome::Settled { at, token, resolved, .. } => {
                let what = match resolved {
                    Resolved::Applied => "done",
                    Resolved::NotApplied => "not done",
                };
                write!(f, "in doubt from {at} at {}, settled: {what}", token.version)
            }
        }
    }
}

impl fmt::Display for Answer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Answer::Created { version, .. } | Answer::Updated { version } | Answer::Modified { version } => {
                write!(f, "at {version}")
            }
            Answer::Mismatch { actual } => write!(f, "refused, stands at {actual}"),
            Answer::Found { version, value } => write!(f, "{} at {version}", Shown(value)),
            Answer::Absent => f.write_str("absent"),
        }
    }
}

/// The beginning of a payload, on one line.
struct Shown<'a>(&'a [u8]);

impl fmt::Display for Shown<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const MOST: usize = 40;
        let (start, dots) = if self.0.len() > MOST { (&self.0[..MOST], "...") } else { (self.0, "") };
        write!(f, "\"{}\"{dots}", start.escape_ascii())
    }
}
