//! Order numbers that say where the order lives, and a quorum-replicated store on sled that keeps it there.

#![forbid(unsafe_code)]

mod config;
mod error;
mod heal;
mod order;
mod pending;
mod quorum;
mod replica;
mod set;
mod store;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod time;
mod topology;

pub use config::{ConfigError, OpenReplica, Quorum, SetConfig};
pub use error::{Error, Faults, NotAttempted, ParseWriteTokenError, WriteToken};
pub use order::{
    Block, Day, InvalidDay, InvalidSetId, LeaseError, LeaseStore, MintError, Minter, NumberWriter, OrderNumber,
    ParseOrderNumberError, SetId,
};
pub use pending::Pending;
pub use replica::{
    Applied, Chunk, Damage, Group, GroupFull, Identity, Kind, Lookup, Marks, MemoryReplica, RangeDigest, Record, RecordError,
    Replica, ReplicaError, ScanLimit, Scanned, SledReplica, Standing, Version, Write,
};
pub use store::{
    Builder, Compared, CreateAll, CreateOptions, Finding, Order, OrderStore, Page, Placed, ReadOptions, ReplicaState,
    ReplicaStatus, Scan, SetState, SetStatus, Status, Verified, Where,
};
pub use time::{Clock, SystemClock};
