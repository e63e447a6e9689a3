//! Exit codes: what a script is told.

use ordermint::{Error, NotAttempted};
use std::process::ExitCode;

/// How the program ends. The greater of two is told.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) enum Exit {
    /// 0.
    Done,
    /// 1: absent, invalid, differs, a line failed.
    AnsweredNo,
    /// 2: wrong usage.
    Misused,
    /// 3: cannot open, or too few replicas.
    Unable,
    /// 4: in use by another process.
    InUse,
    /// 128 and the signal: what was in flight was finished first.
    Interrupted(u8),
}

impl Exit {
    /// What an error of the store means to a script.
    pub(crate) fn of(error: &Error) -> Exit {
        match error {
            // These can only come from the command line.
            Error::Config(_) | Error::MapMismatch { .. } => Exit::Misused,
            Error::InUse { .. } => Exit::InUse,
            // The store is well and says no.
            Error::ParseOrderNumber(_)
            | Error::UnknownSet { .. }
            | Error::SetRetired { .. }
            | Error::WrongSetState { .. }
            | Error::ValueTooLarge { .. } => Exit::AnsweredNo,
            Error::NotAttempted { reason: NotAttempted::DayFull { .. } } => Exit::AnsweredNo,
            // Replicas answered, and what they hold is damaged or contradictory.
            Error::Corrupt { .. } | Error::Diverged { .. } => Exit::AnsweredNo,
            // Too few replicas, or none could be opened.
            Error::NotAttempted { .. }
            | Error::Ambiguous { .. }
            | Error::QuorumLost { .. }
            | Error::DeadlineExceeded { .. }
            | Error::Unconfirmed { .. }
            | Error::ForeignReplica { .. }
            | Error::NoStore { .. }
            | Error::CannotForm { .. }
            | Error::System { .. }
            | Error::Closed => Exit::Unable,
            // A later version of the library may know more; whatever it is, it kept us from answering.
            _ => Exit::Unable,
        }
    }

    /// The code for the system.
    pub(crate) fn code(self) -> u8 {
        match self {
            Exit::Done => 0,
            Exit::AnsweredNo => 1,
            Exit::Misused => 2,
            Exit::Unable => 3,
            Exit::InUse => 4,
            Exit::Interrupted(signal) => 128u8.saturating_add(signal),
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> ExitCode {
        ExitCode::from(exit.code())
    }
}
