//! The one error callers see. Each variant answers: did anything change, is a retry safe, who has to act?

mod not_attempted;
mod token;

pub use self::not_attempted::{Attempt, NotAttempted};
pub use self::token::{ParseWriteTokenError, WriteToken};

use crate::config::ConfigError;
use crate::order::{Day, InvalidDay, InvalidSetId, OrderNumber, ParseOrderNumberError, SetId};
use crate::replica::{ReplicaError, Version};
use crate::set::ReplicaState;
use crate::topology::SetState;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// Why an operation gave no result.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A setting makes no sense. Nothing changed; the programmer or the operator acts.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A text or an integer is no order number. Nothing changed; whoever typed it acts.
    #[error(transparent)]
    ParseOrderNumber(#[from] ParseOrderNumberError),
    /// The number names a SET that this store does not have. Nothing changed; a retry gives the same.
    #[error("this store has no SET {set}")]
    UnknownSet {
        /// The SET.
        set: SetId,
    },
    /// The SET was retired (see [`retire_set`](crate::OrderStore::retire_set)), and with it its orders. Nothing changed; a retry gives the same.
    #[error("SET {set} was retired")]
    SetRetired {
        /// The SET.
        set: SetId,
    },
    /// The SET is not at the place in its life from which it can be moved so. Nothing changed; the operator acts.
    #[error("SET {set} is {state}, not {wanted}")]
    WrongSetState {
        /// The SET.
        set: SetId,
        /// Its state.
        state: SetState,
        /// The state that it would have to be in.
        wanted: SetState,
    },
    /// The day was given up (see [`raise_floor`](crate::OrderStore::raise_floor)). Nothing changed; a retry gives the same.
    #[error("{day} was given up in SET {set}, as all days up to {floor} were")]
    DayDropped {
        /// The SET.
        set: SetId,
        /// The day asked for.
        day: Day,
        /// The last day given up.
        floor: Day,
    },
    /// The SET of that order failed so often of late that nothing is sent to it for a while. Nothing changed; retry after that, or
    /// read with [`ReadOptions::degraded`](crate::ReadOptions::degraded). No other SET holds the order.
    #[error("SET {set} is not well, and is asked again in {} ms", retry_after.as_millis())]
    SetUnavailable {
        /// The SET.
        set: SetId,
        /// When to try again.
        retry_after: Duration,
    },
    /// The payload is over the cap. Nothing changed; the caller acts.
    #[error("a payload of {bytes} bytes is over the cap of {max}")]
    ValueTooLarge {
        /// Its length.
        bytes: usize,
        /// The cap.
        max: usize,
    },
    /// Nothing was sent to any replica, nothing changed, and a retry is safe.
    #[error("nothing was written: {reason}")]
    NotAttempted {
        /// Why.
        reason: NotAttempted,
    },
    /// Some replicas may hold the write and fewer than W confirmed it. Whether it counts is open: the order may be there
    /// now, later, or never. A plain retry may double it; one with the request key of the first try does not.
    #[error(
        "not known whether {number} was stored ({token}): need {need}, got {acked} good and {failed} failed, {in_flight} still out",
        number = token.number
    )]
    Ambiguous {
        /// Names the write.
        token: WriteToken,
        /// Replicas that confirmed it.
        acked: u8,
        /// Replicas that failed.
        failed: u8,
        /// Replicas that did not answer yet.
        in_flight: u8,
        /// W.
        need: u8,
    },
    /// The request key was used with another payload. Nothing changed; a retry gives the same. The caller acts: another order needs
    /// another key.
    #[error("the request key was used for {number}, with another payload")]
    KeyReused {
        /// The order that the key names.
        number: OrderNumber,
    },
    /// Some SETs could not be asked whether they hold an order under the request key, and the create was
    /// [`strict`](crate::CreateOptions::strict). No order was placed; retry when they are back.
    #[error("not known whether the request key was used: {} could not be asked", Sets(sets))]
    KeyUnverified {
        /// The SETs.
        sets: Vec<SetId>,
    },
    /// There are several live orders under the request key, each placed or confirmed while the other's SET could not be asked, or
    /// come to light after a crash: which of them stands cannot be told. Nothing changed. The operator acts, and a retry gives the same
    /// until then.
    #[error("the request key names several orders, and which one stands cannot be told: {}", Listed(numbers))]
    KeyConflict {
        /// The orders.
        numbers: Vec<OrderNumber>,
    },
    /// Too few replicas could answer a read. Nothing changed; a retry is safe once replicas are back.
    #[error("quorum lost in SET {set}: need {need} of {of}, got {good} good; {missing}")]
    QuorumLost {
        /// The SET.
        set: SetId,
        /// Answers needed.
        need: u8,
        /// Replicas of the SET.
        of: u8,
        /// Good answers.
        good: u8,
        /// What the others said.
        missing: Faults,
    },
    /// The time was up before enough replicas had answered a read. Nothing changed; a retry is safe.
    #[error("the deadline passed: need {need}, got {good} good of {asked} asked in SET {set}")]
    DeadlineExceeded {
        /// The SET.
        set: SetId,
        /// Answers needed.
        need: u8,
        /// Replicas asked.
        asked: u8,
        /// Good answers.
        good: u8,
    },
    /// A version was found on fewer than W replicas and could not be written back to W. A retry is safe.
    #[error("{number} was found, but on fewer than {need} replicas, and could not be written to more")]
    Unconfirmed {
        /// The order.
        number: OrderNumber,
        /// W.
        need: u8,
    },
    /// Every replica that holds it holds damaged bytes. Nothing changed; the operator acts (restore from a backup).
    #[error("no replica of SET {set} can read {number}: {faults}")]
    Corrupt {
        /// The SET.
        set: SetId,
        /// The order, or the first of a range.
        number: OrderNumber,
        /// What each says.
        faults: Faults,
    },
    /// There is no order under that number, so there is nothing to change. Nothing changed; a retry gives the same.
    #[error("there is no order {number}")]
    NoSuchOrder {
        /// The number.
        number: OrderNumber,
    },
    /// The order stands at another version than the one that the update was made for. Nothing changed; the caller reads it
    /// again and decides anew.
    #[error("{number} stands at version {actual}, not at {expected}")]
    VersionMismatch {
        /// The order.
        number: OrderNumber,
        /// The version that was asked for.
        expected: Version,
        /// The version that stands.
        actual: Version,
    },
    /// No replica that answered holds a version as new as was asked for. Nothing changed; a retry is safe.
    #[error("{number} was found at {found}, and {wanted} or newer was wanted", found = Found(found))]
    Stale {
        /// The order.
        number: OrderNumber,
        /// The newest version found; `None` where there was none.
        found: Option<Version>,
        /// The least that was wanted.
        wanted: Version,
    },
    /// The closure panicked. The order is as it was; the programmer acts.
    #[error("the closure given to modify {number} panicked: {message}")]
    ModifyPanicked {
        /// The order.
        number: OrderNumber,
        /// What it said.
        message: String,
    },
    /// A closure given to `modify` waited for a store. It would wait for itself, so the wait was refused; what was asked for may
    /// be under way. The programmer acts: ask before or after.
    #[error("a closure given to modify must not wait for a store")]
    Reentrant,
    /// No write of this store was ever given that token. Nothing changed; a retry gives the same.
    #[error("{token} names no write of this store")]
    UnknownToken {
        /// The token.
        token: WriteToken,
    },
    /// The answer was given before: this `Pending` was polled to its end. What was asked for is as that answer said. The programmer
    /// acts.
    #[error("the answer was taken when this future was ready")]
    AnswerTaken,
    /// Newer writes have gone over the one that the token names, and whether they saw it is not known any more: the process
    /// ended since, or the write is long ago. Nothing changed. The caller looks into the order itself.
    #[error("{token} was overwritten by version {current}, and whether that was based on it is not on record")]
    Superseded {
        /// The write.
        token: WriteToken,
        /// The version that stands.
        current: Version,
    },
    /// Two replicas hold different bytes under one version. Nothing changed; the operator acts.
    #[error("replicas hold different bytes for {number} under version {version}")]
    Diverged {
        /// The order.
        number: OrderNumber,
        /// The version.
        version: Version,
    },
    /// The directory is open in another process. Nothing changed; close that one first.
    #[error("{dir} is in use by another process", dir = dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// A directory holds a replica of another store, SET or place. Nothing changed; the operator mends the paths.
    #[error("{dir} holds {found}, not {expected}", dir = dir.display())]
    ForeignReplica {
        /// The directory.
        dir: PathBuf,
        /// What it should hold.
        expected: String,
        /// What it holds.
        found: String,
    },
    /// The SET has no replica with that index. Nothing changed; the caller acts.
    #[error("SET {set} has replicas 0 to {last}, not {index}", last = of - 1)]
    NoSuchReplica {
        /// The SET.
        set: SetId,
        /// The index asked for.
        index: u8,
        /// N.
        of: u8,
    },
    /// The replica is not in a state for that: taking out is for one in use, bringing back for one that is away. Nothing changed.
    #[error("replica {index} of SET {set} is {state}")]
    WrongState {
        /// The SET.
        set: SetId,
        /// The replica.
        index: u8,
        /// Its state.
        state: ReplicaState,
    },
    /// Without that replica the SET could not go on. Nothing changed; the operator brings another one back first.
    #[error("SET {set} needs {need} voting replicas and would have {left}")]
    StillNeeded {
        /// The SET.
        set: SetId,
        /// Voting replicas that would be left.
        left: u8,
        /// How many it needs.
        need: u8,
    },
    /// No replica of the SET is in limbo: there is no loss to accept. Nothing changed.
    #[error("no replica of SET {set} is in limbo")]
    NothingLost {
        /// The SET.
        set: SetId,
    },
    /// The builder's SETs or quorum are not those the store remembers. Nothing changed; the programmer acts.
    #[error("the store has {stored}, the builder was given {given}")]
    MapMismatch {
        /// What the store remembers.
        stored: String,
        /// What the builder was given.
        given: String,
    },
    /// There is no store below that directory. Nothing changed.
    #[error("no store in {home}", home = home.display())]
    NoStore {
        /// The directory.
        home: PathBuf,
    },
    /// A new SET is made on all of its replicas or not at all, and one could not be made. The operator acts; open again then.
    #[error("SET {set} cannot be made: {faults}")]
    CannotForm {
        /// The SET.
        set: SetId,
        /// What went wrong where.
        faults: Faults,
    },
    /// The system refused something outside the replicas. The operator acts.
    #[error("{action}: {message}")]
    System {
        /// What was tried.
        action: String,
        /// What the system said.
        message: String,
    },
    /// The store was closed. Operations under way at that time answer for themselves; this one was not started.
    #[error("the store is closed")]
    Closed,
}

impl Error {
    /// When to try again, where that is known.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Error::NotAttempted { reason } => reason.retry_after(),
            Error::SetUnavailable { retry_after, .. } => Some(*retry_after),
            _ => None,
        }
    }

    /// Whether the same call, made again later, may succeed without doing anything twice.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        match self {
            // Nothing was sent.
            Error::NotAttempted { reason } => reason.is_retryable(),
            // Reads change nothing that was not decided before.
            Error::QuorumLost { .. } | Error::DeadlineExceeded { .. } | Error::Unconfirmed { .. } | Error::Stale { .. } => true,
            // The SET may be well again.
            Error::SetUnavailable { .. } | Error::KeyUnverified { .. } => true,
            // The other process may end.
            Error::InUse { .. } => true,
            // The order may be there: again would be twice.
            Error::Ambiguous { .. } => false,
            // The caller has to look again first: the same call is refused again.
            Error::VersionMismatch { .. } => false,
            // Somebody has to choose another key, or to look into the orders, first.
            Error::KeyReused { .. } | Error::KeyConflict { .. } => false,
            // What the closure asked for inside may be under way.
            Error::Reentrant => false,
            // It was answered already.
            Error::AnswerTaken => false,
            // The same call gives the same answer.
            Error::NoSuchOrder { .. }
            | Error::ModifyPanicked { .. }
            | Error::Superseded { .. }
            | Error::UnknownToken { .. }
            | Error::NoSuchReplica { .. }
            | Error::WrongState { .. }
            | Error::StillNeeded { .. }
            | Error::NothingLost { .. }
            | Error::Config(_)
            | Error::ParseOrderNumber(_)
            | Error::UnknownSet { .. }
            | Error::SetRetired { .. }
            | Error::WrongSetState { .. }
            | Error::DayDropped { .. }
            | Error::ValueTooLarge { .. }
            | Error::Corrupt { .. }
            | Error::Diverged { .. }
            | Error::ForeignReplica { .. }
            | Error::MapMismatch { .. }
            | Error::NoStore { .. }
            | Error::CannotForm { .. }
            | Error::System { .. }
            | Error::Closed => false,
        }
    }

    /// Whether it is open if the write counts.
    #[must_use]
    pub fn outcome_unknown(&self) -> bool {
        matches!(self, Error::Ambiguous { .. })
    }
}

impl From<InvalidSetId> for Error {
    fn from(error: InvalidSetId) -> Error {
        Error::Config(ConfigError::SetId(error))
    }
}

impl From<InvalidDay> for Error {
    fn from(error: InvalidDay) -> Error {
        Error::Config(ConfigError::Day(error))
    }
}

/// One after the other.
struct Listed<'a>(&'a [OrderNumber]);

impl fmt::Display for Listed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, number) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}{number}")?;
        }
        Ok(())
    }
}

/// The same, for SETs.
struct Sets<'a>(&'a [SetId]);

impl fmt::Display for Sets<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, set) in self.0.iter().enumerate() {
            let set_or_comma = if at == 0 { "SET " } else { ", " };
            write!(f, "{set_or_comma}{set}")?;
        }
        Ok(())
    }
}

/// A version that may not be there.
struct Found<'a>(&'a Option<Version>);

impl fmt::Display for Found<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(version) => write!(f, "version {version}"),
            None => f.write_str("no version"),
        }
    }
}

/// What is wrong with which replicas of a SET.
#[derive(Clone, PartialEq, Default, Debug)]
pub struct Faults(pub Vec<(u8, ReplicaError)>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_empty() {
            return f.write_str("no replica reports a fault");
        }
        for (at, (index, error)) in self.0.iter().enumerate() {
            let comma = if at == 0 { "" } else { ", " };
            write!(f, "{comma}replica {index}: {error}")?;
        }
        Ok(())
    }
}
