//! What a replica answers with: plain values.

use super::record::{Record, Version};
use crate::order::{Day, OrderNumber, SetId};
use std::path::PathBuf;

/// What a replica says about one number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Lookup {
    /// It holds this.
    Found(Record),
    /// It surely holds nothing.
    Absent,
    /// Something is or may have been there, and cannot be read.
    Damaged(Damage),
}

/// What is wrong with bytes on disk.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Damage {
    /// A record does not decode.
    #[error("record unreadable: {reason}")]
    Record {
        /// Why.
        reason: String,
    },
    /// A packed run does not decode; all of its records are unreadable.
    #[error("run unreadable: {reason}")]
    Run {
        /// Why.
        reason: String,
    },
    /// A packed run that its successor names is not there.
    #[error("a run of records is missing")]
    RunMissing,
}

/// How much a [`Replica::scan`](super::Replica::scan) may return at once. At least one record is returned where there is one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ScanLimit {
    /// The most records.
    pub records: usize,
    /// The most bytes of values.
    pub bytes: usize,
}

/// A part of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Chunk {
    /// In ascending order.
    pub items: Vec<Scanned>,
    /// The chunk says all there is to say up to this number; `None`: up to the end of the day.
    pub upto: Option<OrderNumber>,
}

/// One find of a scan.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Scanned {
    /// A record.
    Found(OrderNumber, Record),
    /// Nothing can be said about the numbers from `from` to `to`, both included, but for those found among them.
    Damaged {
        /// The first.
        from: OrderNumber,
        /// The last.
        to: OrderNumber,
        /// Why.
        damage: Damage,
    },
}

impl Scanned {
    /// The number, or the first of the damaged ones.
    #[must_use]
    pub fn first(&self) -> OrderNumber {
        match self {
            Scanned::Found(number, _) => *number,
            Scanned::Damaged { from, .. } => *from,
        }
    }
}

/// The digest of a range of a day: equal digests mean equal records, but for one chance in 2^32 per record that differs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub struct RangeDigest {
    /// How many records.
    pub records: u64,
    /// Their hashes, added up.
    pub sum: u128,
    /// How many places cannot be read. A range with damage equals no other.
    pub damaged: u64,
}

impl RangeDigest {
    /// Sequences in a range: 16,384.
    pub const SEQUENCES: u64 = 1 << 14;

    /// The range in which `number` lies.
    #[must_use]
    pub fn range_of(number: OrderNumber) -> u32 {
        (number.sequence() / Self::SEQUENCES) as u32
    }

    /// Takes a record in. The order does not matter.
    pub fn add(&mut self, number: OrderNumber, version: Version, encoded: &[u8]) {
        // splitmix64's finaliser (Steele, Lea, Flood 2014) over what tells records apart; the CRC in `encoded` covers the payload.
        let mix = |mut z: u64| {
            z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
            z ^ z >> 31
        };
        let body = u64::from(crc32fast::hash(encoded)) << 32 | encoded.len() as u64;
        let low = mix(mix(mix(number.to_u64()) ^ version.counter) ^ u64::from(version.epoch) ^ body);
        let high = mix(low ^ 0x9e37_79b9_7f4a_7c15);
        self.records += 1;
        self.sum = self.sum.wrapping_add(u128::from(high) << 64 | u128::from(low));
    }

    /// Whether both replicas hold the same, and can read it.
    #[must_use]
    pub fn agrees_with(&self, other: &RangeDigest) -> bool {
        self.damaged == 0 && self == other
    }
}

/// Who a replica is. Kept in its superblock; a directory with another identity is refused.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Identity {
    /// Drawn at random when the store was made.
    pub store: u128,
    /// The SET.
    pub set: SetId,
    /// The place in the SET, from 0.
    pub index: u8,
    /// N, R, W at the time.
    pub quorum: (u8, u8, u8),
    /// The directories of all replicas of the SET as configured, by index; empty strings where there is none.
    pub replicas: Vec<String>,
    /// Whether all N replicas of the SET were made; before that no order was ever taken.
    pub formed: bool,
}

/// How far a replica can be trusted, as found at open.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Standing {
    /// Nothing was ever kept here.
    Fresh,
    /// All that was ever acknowledged here should be here.
    Voting(Identity),
    /// It may give values but not votes.
    Limbo {
        /// Who it says it is; `None` when not even that can be read.
        identity: Option<Identity>,
        /// Why.
        reason: String,
    },
}

/// Witnesses against silent roll-back, as found at open.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Marks {
    /// The number of the last group that is here.
    pub own: u64,
    /// By index of the peer: the last group that was synced there when this replica last heard of it; 0 where unknown.
    pub peers: Vec<u64>,
}

/// Why a replica did not do what it was asked.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplicaError {
    /// The disk or the engine failed.
    #[error("{action} {path}: {message}", path = path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// Where.
        path: PathBuf,
        /// What the system said.
        kind: std::io::ErrorKind,
        /// In words.
        message: String,
    },
    /// The disk is full.
    #[error("no space left for {path}", path = path.display())]
    DiskFull {
        /// Where.
        path: PathBuf,
    },
    /// Bytes that are not what was written.
    #[error("{path}: {what}", path = path.display())]
    Damaged {
        /// Where.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Another process has the directory open.
    #[error("{dir} is in use by another process", dir = dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no such directory, or nothing in it.
    #[error("{dir} is missing or empty", dir = dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// A newer coordinator has claimed the replica.
    #[error("epoch {given} is fenced off by epoch {claimed}")]
    Fenced {
        /// The epoch of the caller.
        given: u32,
        /// The epoch claimed.
        claimed: u32,
    },
    /// The number belongs to another SET.
    #[error("{number} is not a number of SET {set}")]
    WrongSet {
        /// The number.
        number: OrderNumber,
        /// The SET of this replica.
        set: SetId,
    },
    /// An earlier failure put the replica out.
    #[error("the replica is out: {reason}")]
    Out {
        /// The first failure.
        reason: String,
    },
    /// Code of the replica panicked.
    #[error("panicked: {message}")]
    Panicked {
        /// What it said.
        message: String,
    },
    /// The time was up.
    #[error("no answer within {waited_ms} ms")]
    TimedOut {
        /// How long was waited.
        waited_ms: u64,
    },
    /// The day is not held here and cannot be made.
    #[error("day {day} cannot be opened: {reason}")]
    Day {
        /// The day.
        day: Day,
        /// Why.
        reason: String,
    },
    /// The replica was closed.
    #[error("the replica is closed")]
    Closed,
}

/// What [`Replica::apply`](super::Replica::apply) did.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct Applied {
    /// Writes that did not take effect because a newer version is held: their place in the group, and that version.
    pub refused: Vec<(usize, Version)>,
}
