//! What an operator asks of a SET.

use crate::order::{Day, SetId};
use std::fmt;
use std::path::PathBuf;

/// What a SET knows of itself.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct ShardStatus {
    pub(crate) id: SetId,
    /// The day on which it mints; `None` while it cannot.
    pub(crate) day: Option<Day>,
    pub(crate) orders_today: u64,
    pub(crate) lease_left: u64,
    pub(crate) closed_for_creates: Option<String>,
    pub(crate) in_flight: usize,
    pub(crate) in_flight_bytes: usize,
    pub(crate) epoch: u32,
    pub(crate) compared: Option<Compared>,
    /// By index.
    pub(crate) replicas: Vec<ReplicaStatus>,
}

/// The state of a replica.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct ReplicaStatus {
    /// Its place in the SET.
    pub index: u8,
    /// Its directory, where it has one.
    pub dir: Option<PathBuf>,
    /// Whether its word counts.
    pub state: ReplicaState,
    /// Why it does not vote; what is odd about it where it does: it differs from the others, or has been inside one call for long.
    pub reason: Option<String>,
    /// Writes waiting for it.
    pub queued: usize,
    /// Writes it missed and was not given since.
    pub missed: usize,
    /// It missed more than can be remembered.
    pub needs_sync: bool,
}

/// How far a replica's word counts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum ReplicaState {
    /// It votes.
    Voting,
    /// It may give values but not votes.
    Limbo,
    /// It failed and is not used.
    Out,
    /// It is not there.
    Missing,
    /// It is being opened, or takes a new epoch; then it will vote.
    Returning,
}

/// What comparing the replicas of a SET, or of all SETs, came to.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
#[non_exhaustive]
pub struct Compared {
    /// Ranges of numbers compared.
    pub ranges: u64,
    /// Ranges in which replicas differ or are damaged: strong reads ask all voters there.
    pub dirty: u64,
}

impl fmt::Display for ReplicaState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ReplicaState::Voting => "voting",
            ReplicaState::Limbo => "limbo",
            ReplicaState::Out => "out",
            ReplicaState::Missing => "missing",
            ReplicaState::Returning => "returning",
        })
    }
}
