//! What a replica answers with: plain values.

use super::origin::{Origin, RequestKey};
use super::record::{Record, Version};
use crate::order::{Day, OrderNumber, SetId};
use bytes::Bytes;
use std::cmp::Ordering;
use std::path::PathBuf;
use std::sync::Arc;

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

/// An order that somebody has to look at again, or a void that took the place of one, as [`Replica::noted`](super::Replica::noted) tells
/// of it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Noted {
    /// The order.
    pub number: OrderNumber,
    /// See [`Origin::supersedes`](super::Origin::supersedes).
    pub supersedes: Vec<(OrderNumber, Version)>,
    /// See [`Origin::unverified`](super::Origin::unverified). Where this and `supersedes` are empty, the record cannot be read here, and
    /// other replicas must be asked.
    pub unverified: Vec<SetId>,
    /// See [`Origin::request_key`](super::Origin::request_key).
    pub request_key: Option<RequestKey>,
}

impl Noted {
    /// What a look-up of a number with a note says; `None` when there is nothing to look at any more.
    pub(crate) fn of(number: OrderNumber, found: Lookup) -> Option<Noted> {
        let origin = match found {
            Lookup::Absent => return None,
            Lookup::Damaged(_) => Arc::default(),
            Lookup::Found(record) => record.origin.filter(|origin| origin.is_noted())?,
        };
        let Origin { request_key, supersedes, unverified, .. } = Arc::unwrap_or_clone(origin);
        Some(Noted { number, supersedes, unverified, request_key })
    }
}

/// A number that was written with a request key, as [`Replica::keys`](super::Replica::keys) tells of it. Ordered by the length of the key,
/// then by its bytes, then by the number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct KeyUse {
    /// The request key.
    pub key: Bytes,
    /// The number; one key may name several.
    pub number: OrderNumber,
}

impl Ord for KeyUse {
    fn cmp(&self, other: &KeyUse) -> Ordering {
        let rank = |used: &KeyUse| used.key.len();
        rank(self).cmp(&rank(other)).then_with(|| self.key.cmp(&other.key)).then(self.number.cmp(&other.number))
    }
}

impl PartialOrd for KeyUse {
    fn partial_cmp(&self, other: &KeyUse) -> Option<Ordering> {
        Some(self.cmp(other))
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
    /// The number of the last group that is here. Each group applied counts one, also one of meta values alone.
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::Kind;

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    fn digest(records: &[(u64, Record)]) -> RangeDigest {
        let mut digest = RangeDigest::default();
        for (sequence, record) in records {
            digest.add(number(*sequence), record.version, &record.encode(number(*sequence)));
        }
        digest
    }

    fn record(counter: u64) -> Record {
        let version = Version { epoch: 1, counter };
        Record { kind: Kind::Order, version, generation: 0, value: counter.to_string().into(), origin: None }
    }

    #[test]
    fn a_digest_does_not_depend_on_the_order_of_the_records() {
        let mut records: Vec<(u64, Record)> = (0..100).map(|at| (at, record(at))).collect();
        let ascending = digest(&records);
        records.reverse();
        assert_eq!(digest(&records), ascending);
        records.swap(3, 50);
        assert_eq!(digest(&records), ascending);
        assert_eq!((ascending.records, ascending.damaged), (100, 0));
    }

    /// Sums hide what they should not when two terms change and their difference cancels out.
    #[test]
    fn a_digest_notices_what_moves_between_two_records() {
        let base = digest(&[(1, record(1)), (2, record(2))]);
        assert!(base.agrees_with(&base));
        assert!(!base.agrees_with(&digest(&[(1, record(2)), (2, record(1))])));
        assert!(!base.agrees_with(&digest(&[(1, record(1)), (1, record(1))])));
        assert!(!base.agrees_with(&digest(&[(1, record(1))])));
        let (mut upper, mut lower) = (record(1), record(2));
        (upper.version.epoch, lower.version.epoch) = (2, 0);
        assert!(!base.agrees_with(&digest(&[(1, upper), (2, lower)])));
        let exchanged =
            [(1, Record { value: record(2).value, ..record(1) }), (2, Record { value: record(1).value, ..record(2) })];
        assert!(!base.agrees_with(&digest(&exchanged)));
    }

    #[test]
    fn a_digest_with_damage_agrees_with_no_other_and_not_with_itself() {
        let sound = digest(&[(1, record(1))]);
        let damaged = RangeDigest { damaged: 1, ..sound };
        assert!(sound.agrees_with(&sound));
        assert!(!damaged.agrees_with(&damaged) && !damaged.agrees_with(&sound) && !sound.agrees_with(&damaged));
    }

    #[test]
    fn ranges_begin_at_multiples_of_their_length() {
        let range = |sequence| RangeDigest::range_of(number(sequence));
        assert_eq!([range(0), range(16_383), range(16_384), range(32_767), range(32_768)], [0, 0, 1, 1, 2]);
        assert_eq!(u64::from(range(OrderNumber::SEQUENCE_MAX)), OrderNumber::SEQUENCE_MAX / RangeDigest::SEQUENCES);
    }

    #[test]
    fn a_find_of_a_scan_stands_at_its_first_number() {
        let damage = Damage::RunMissing;
        assert_eq!(Scanned::Found(number(3), record(1)).first(), number(3));
        assert_eq!(Scanned::Damaged { from: number(4), to: number(9), damage }.first(), number(4));
    }

    /// They are read in a log at night.
    #[test]
    fn errors_read_well() {
        let io = ReplicaError::Io {
            action: "sync",
            path: "a/007/db".into(),
            kind: std::io::ErrorKind::Other,
            message: "Input/output error (os error 5)".to_owned(),
        };
        let set = SetId::from_checked(8);
        let told = [
            (io, "sync a/007/db: Input/output error (os error 5)"),
            (ReplicaError::DiskFull { path: "a/007".into() }, "no space left for a/007"),
            (ReplicaError::InUse { dir: "a/007".into() }, "a/007 is in use by another process"),
            (ReplicaError::Missing { dir: "a/007".into() }, "a/007 is missing or empty"),
            (ReplicaError::Fenced { given: 3, claimed: 4 }, "epoch 3 is fenced off by epoch 4"),
            (ReplicaError::WrongSet { number: number(42), set }, "2000010100000000420072 is not a number of SET 008"),
            (ReplicaError::TimedOut { waited_ms: 5_000 }, "no answer within 5000 ms"),
            (ReplicaError::Closed, "the replica is closed"),
        ];
        for (error, words) in told {
            assert_eq!(error.to_string(), words);
        }
    }
}
