//! What an operator asks.

use crate::config::Quorum;
use crate::heal::Alarm;
use crate::health::{BreakerState, GateStatus};
use crate::order::{Day, SetId};
use crate::set::{Compared, ReplicaStatus, ShardStatus};
use crate::topology::{MapEntry, SetState, Zone};

/// The state of a store.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The id of the store, 32 hexadecimal digits.
    pub store: String,
    /// The version of the SET map: it grows with every SET added, drained, retired or weighted.
    pub map_version: u64,
    /// N, R, W.
    pub quorum: Quorum,
    /// By id. Those that are retired are not among them.
    pub sets: Vec<SetStatus>,
    /// What is left alone and asks for an operator: of two orders he decides which counts.
    pub alarms: Vec<Alarm>,
}

/// What the store knows of a SET beside what that says of itself.
pub(super) struct Told {
    pub(super) writes: GateStatus,
    pub(super) reads: GateStatus,
    pub(super) notes_waiting: usize,
}

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
    /// Where it is, where that was said.
    pub zone: Option<Zone>,
    /// The day on which it mints; `None` while it cannot.
    pub day: Option<Day>,
    /// Orders acknowledged under today's date. Complete once the digests were compared (see `compared`).
    pub orders_today: u64,
    /// Sequences left of the block that is leased.
    pub lease_left: u64,
    /// Why it takes no new orders, if it takes none.
    pub closed_for_creates: Option<String>,
    /// The breaker for creates and changes.
    pub writes: BreakerState,
    /// How often that one opened by itself since the store was opened.
    pub writes_opened: u64,
    /// The breaker for reads.
    pub reads: BreakerState,
    /// Its numbers that were given up and are not known to be void on all N replicas yet.
    pub notes_waiting: usize,
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

impl SetStatus {
    /// What the map says of a SET, and what it says of itself.
    pub(super) fn of(entry: &MapEntry, shard: ShardStatus, health: &Told) -> SetStatus {
        SetStatus {
            writes: health.writes.state,
            writes_opened: health.writes.opened,
            reads: health.reads.state,
            notes_waiting: health.notes_waiting,
            id: entry.id,
            state: entry.state,
            weight: entry.weight,
            zone: entry.zone.clone(),
            day: shard.day,
            orders_today: shard.orders_today,
            lease_left: shard.lease_left,
            closed_for_creates: shard.closed_for_creates,
            in_flight: shard.in_flight,
            in_flight_bytes: shard.in_flight_bytes,
            epoch: shard.epoch,
            compared: shard.compared,
            replicas: shard.replicas,
        }
    }
}
