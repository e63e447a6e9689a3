//! What an operator asks of a SET.

use crate::order::{Day, SetId};
use std::fmt;
use std::path::PathBuf;

/// The state of a SET.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct SetStatus {
    /// Its id.
    pub id: SetId,
    /// Its place in its life.
    pub state: SetState,
    /// Its share of new orders.
    pub weight: u32,
    /// The day on which it mints; `None` while it cannot.
    pub day: Option<Day>,
    /// Orders acknowledged under today's date. Complete once the digests were compared (see `compared`).
    pub orders_today: u64,
    /// Sequences left of the block that is leased.
    pub lease_left: u64,
    /// Why it takes no new orders, if it takes none.
    pub closed_for_creates: Option<String>,
    /// Operations under way.
    pub in_flight: usize,
    /// Their bytes.
    pub in_flight_bytes: usize,
    /// The epoch of this coordinator; 0 where none could be claimed.
    pub epoch: u32,
    /// Whether the digests of all voting replicas were compared since open and since one returned, and how many ranges differ.
    pub compared: Option<Compared>,
    /// By index.
    pub replicas: Vec<ReplicaStatus>,
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

/// Where a SET is in its life.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum SetState {
    /// Takes its share of new orders.
    Active,
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

impl fmt::Display for SetState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            SetState::Active => "active",
        })
    }
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
