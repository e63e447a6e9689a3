//! The bytes of a record. Pure; encode and decode live here and nowhere else.
//!
//! ```text
//!  0  u8   format: 1 without an origin, 2 with one
//!  1  u8   kind: 1 order, 2 void
//!  2  u16  repair generation
//!  4  u32  CRC-32 over bytes 24.., key (8 bytes), bytes 0..4, bytes 8..24
//!  8  u32  epoch   \ version
//! 12  u64  counter /
//! 20  u32  length of what follows
//! 24  ...  format 1: payload
//!          format 2: u16 length of the origin, the origin, as `origin.rs` draws it, payload
//! ```
//! All integers big-endian. Nothing follows the payload.

use super::origin::{ORIGIN_BYTES_MAX, Origin};
use crate::order::OrderNumber;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;

/// The version of a record: the coordinator's epoch, then its counter. No wall clock has a say.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
pub struct Version {
    /// Claimed anew at each open, from 1.
    pub epoch: u32,
    /// Counted up within the epoch, from 1.
    pub counter: u64,
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.epoch, self.counter)
    }
}

/// What a record says about its number.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// Here is an order.
    Order,
    /// There is no order and never will be.
    Void,
}

/// What a replica holds under a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Record {
    /// Order or void.
    pub kind: Kind,
    /// Which of several writes this is; the newest counts.
    pub version: Version,
    /// Raised when a repair writes the same version again over bytes gone bad.
    pub generation: u16,
    /// The payload; empty in a void.
    pub value: Bytes,
    /// How the order came to be; `None` for almost all.
    pub origin: Option<Arc<Origin>>,
}

/// Why bytes are no record.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// Shorter than a header, or not as long as the header says.
    #[error("{found} bytes where {expected} belong")]
    Length {
        /// What the header asks for; at least the header's own length.
        expected: u64,
        /// How many there are.
        found: u64,
    },
    /// A format this version of the crate does not know.
    #[error("record format {found} is unknown")]
    Format {
        /// What stands there.
        found: u8,
    },
    /// A kind this version of the crate does not know.
    #[error("record kind {found} is unknown")]
    Kind {
        /// What stands there.
        found: u8,
    },
    /// The origin, where the format says that there is one, makes no sense.
    #[error("the origin is unreadable: {reason}")]
    Origin {
        /// Why.
        reason: &'static str,
    },
    /// The checksum over key, header and payload fails.
    #[error("checksum {found:#010x} where {expected:#010x} belongs")]
    Checksum {
        /// What the bytes ask for.
        expected: u32,
        /// What stands there.
        found: u32,
    },
}

/// Without an origin.
const PLAIN: u8 = 1;
/// With one.
const WITH_ORIGIN: u8 = 2;
/// Length of the header.
const HEADER: usize = 24;
/// The most that stands before a payload.
pub(crate) const OVERHEAD_MAX: usize = HEADER + 2 + ORIGIN_BYTES_MAX;

impl Record {
    /// The bytes of this record under `number`.
    ///
    /// # Panics
    /// When the value is 4 GiB or longer; a store takes none above 7 KiB. When the origin breaks the bounds that its fields name.
    #[must_use]
    pub fn encode(&self, number: OrderNumber) -> Vec<u8> {
        let mut draft = Draft::with_origin(&self.value, self.origin.as_deref());
        draft.seal(number, self.kind, self.version, self.generation);
        draft.into_bytes()
    }

    /// The version under which somebody asked for what this says: that of the write it is a copy of, if it is one.
    pub(crate) fn asked_for(&self) -> Version {
        self.origin.as_ref().map_or(self.version, |origin| origin.asked_for(self.version))
    }

    /// Reads what [`Record::encode`] wrote under the same number.
    ///
    /// # Errors
    /// See [`RecordError`]; bytes written under another number fail the checksum.
    pub fn decode(number: OrderNumber, bytes: &[u8]) -> Result<Record, RecordError> {
        Header::check(number, bytes).map(|header| header.into_record(bytes))
    }
}

/// The part of a record that is not its payload.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) version: Version,
    pub(crate) generation: u16,
    pub(crate) origin: Option<Arc<Origin>>,
    /// Where the payload begins.
    pub(crate) payload_at: usize,
}

impl Header {
    /// Checks all of `bytes` and returns the header; the payload is `bytes[header.payload_at..]`.
    pub(crate) fn check(number: OrderNumber, bytes: &[u8]) -> Result<Header, RecordError> {
        let found = bytes.len() as u64;
        let Some((header, body)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(RecordError::Length { expected: HEADER as u64, found });
        };
        let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if !matches!(header[0], PLAIN | WITH_ORIGIN) {
            return Err(RecordError::Format { found: header[0] });
        }
        let expected = HEADER as u64 + u64::from(u32_at(20));
        if expected != found {
            return Err(RecordError::Length { expected, found });
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(body);
        let (expected, found) = (seal_crc(crc, number, header), u32_at(4));
        if expected != found {
            return Err(RecordError::Checksum { expected, found });
        }
        let kind = match header[1] {
            1 => Kind::Order,
            2 => Kind::Void,
            found => return Err(RecordError::Kind { found }),
        };
        let counter = u64::from(u32_at(12)) << 32 | u64::from(u32_at(16));
        let version = Version { epoch: u32_at(8), counter };
        let (origin, payload_at) = read_origin(bytes)?;
        Ok(Header { kind, version, generation: u16::from_be_bytes([header[2], header[3]]), origin, payload_at })
    }

    /// The record whose checked bytes these are. The payload is copied: a slice would keep the whole of a run in memory.
    pub(crate) fn into_record(self, bytes: &[u8]) -> Record {
        let Header { kind, version, generation, origin, payload_at } = self;
        Record { kind, version, generation, value: Bytes::copy_from_slice(&bytes[payload_at..]), origin }
    }
}

/// The origin in the bytes of a record, where there is one, and where the payload begins.
fn read_origin(bytes: &[u8]) -> Result<(Option<Arc<Origin>>, usize), RecordError> {
    if bytes.first() != Some(&WITH_ORIGIN) {
        return Ok((None, HEADER));
    }
    let body = bytes.get(HEADER..).and_then(<[u8]>::split_first_chunk);
    let (length, body) = body.ok_or(RecordError::Origin { reason: "it has no length" })?;
    let length = usize::from(u16::from_be_bytes(*length));
    let origin = body.get(..length).ok_or(RecordError::Origin { reason: "it is longer than the record" })?;
    Ok((Some(Arc::new(Origin::decode(origin)?)), HEADER + 2 + length))
}

/// The origin in bytes that were encoded in this process.
pub(crate) fn origin_of(bytes: &[u8]) -> Option<Arc<Origin>> {
    read_origin(bytes).ok()?.0
}

/// Payload and origin of bytes that were encoded in this process, without a copy of the payload. In bytes that nobody encoded there is
/// neither.
pub(crate) fn parts(bytes: &Bytes) -> (Bytes, Option<Arc<Origin>>) {
    match read_origin(bytes) {
        Ok((origin, payload_at)) if payload_at <= bytes.len() => (bytes.slice(payload_at..), origin),
        _ => (Bytes::new(), None),
    }
}

/// A record whose payload is in place and summed, waiting for number and version: sealing it is cheap, whatever the payload's size.
#[derive(Debug)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    payload_at: usize,
    /// Over all behind the header.
    body_crc: crc32fast::Hasher,
}

impl Draft {
    /// `payload` must be below 4 GiB; the store's value cap is far below.
    pub(crate) fn new(payload: &[u8]) -> Draft {
        Draft::with_origin(payload, None)
    }

    /// As [`Draft::new`], of an order that came to be like that.
    pub(crate) fn with_origin(payload: &[u8], origin: Option<&Origin>) -> Draft {
        let origin = origin.filter(|origin| !origin.is_empty());
        let before = if origin.is_some() { OVERHEAD_MAX } else { HEADER };
        let mut bytes = Vec::with_capacity(before + payload.len());
        bytes.resize(HEADER, 0);
        bytes[0] = PLAIN;
        if let Some(origin) = origin {
            bytes[0] = WITH_ORIGIN;
            bytes.extend_from_slice(&[0, 0]);
            origin.encode_into(&mut bytes);
            let length = (bytes.len() - HEADER - 2) as u16;
            bytes[HEADER..HEADER + 2].copy_from_slice(&length.to_be_bytes());
        }
        let payload_at = bytes.len();
        bytes.extend_from_slice(payload);
        let length = u32::try_from(bytes.len() - HEADER).expect("a payload is below the value cap");
        bytes[20..24].copy_from_slice(&length.to_be_bytes());
        let mut body_crc = crc32fast::Hasher::new();
        body_crc.update(&bytes[HEADER..]);
        Draft { bytes, payload_at, body_crc }
    }

    /// The same payload of an order with that origin, which was not known when the draft was made.
    pub(crate) fn carrying(self, origin: Option<&Origin>) -> Draft {
        match origin {
            None if self.payload_at == HEADER => self,
            origin => Draft::with_origin(&self.bytes[self.payload_at..], origin),
        }
    }

    /// Fills in the header. May be called again with other arguments.
    pub(crate) fn seal(&mut self, number: OrderNumber, kind: Kind, version: Version, generation: u16) {
        let header = &mut self.bytes[..HEADER];
        header[1] = match kind {
            Kind::Order => 1,
            Kind::Void => 2,
        };
        header[2..4].copy_from_slice(&generation.to_be_bytes());
        header[8..12].copy_from_slice(&version.epoch.to_be_bytes());
        header[12..20].copy_from_slice(&version.counter.to_be_bytes());
        let header: &[u8; HEADER] = self.bytes.first_chunk().expect("a draft holds a header");
        let crc = seal_crc(self.body_crc.clone(), number, header);
        self.bytes[4..8].copy_from_slice(&crc.to_be_bytes());
    }

    /// Bytes of the payload.
    pub(crate) fn payload_len(&self) -> usize {
        self.bytes.len() - self.payload_at
    }

    /// The payload alone.
    pub(crate) fn into_payload(self) -> Bytes {
        Bytes::from(self.bytes).slice(self.payload_at..)
    }

    /// Bytes with the header.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

fn seal_crc(mut crc: crc32fast::Hasher, number: OrderNumber, header: &[u8; HEADER]) -> u32 {
    crc.update(&number.to_be_bytes());
    crc.update(&header[..4]);
    crc.update(&header[8..]);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};
    use crate::replica::RequestKey;

    fn number() -> OrderNumber {
        OrderNumber::new(Day::new(2026, 11, 22).expect("a day"), 42, SetId::from_checked(7)).expect("a number")
    }

    fn order() -> Record {
        let version = Version { epoch: 0x0405_0607, counter: 0x0809_0a0b_0c0d_0e0f };
        Record { kind: Kind::Order, version, generation: 0x0203, value: Bytes::from_static(b"order"), origin: None }
    }

    fn void() -> Record {
        Record { kind: Kind::Void, version: Version { epoch: 1, counter: 2 }, generation: 0, value: Bytes::new(), origin: None }
    }

    /// With all that an origin may hold.
    fn keyed() -> Record {
        let first = OrderNumber::new(number().day(), 41, SetId::from_checked(8)).expect("a number");
        let origin = Origin {
            request_key: RequestKey::new(b"pay", b"order"),
            supersedes: vec![(first, Version { epoch: 3, counter: 4 })],
            unverified: vec![SetId::from_checked(7), SetId::from_checked(9)],
            ..Origin::default()
        };
        Record { origin: Some(Arc::new(origin)), ..order() }
    }

    /// Made with Python's `zlib.crc32` and `struct`. Bytes like these lie on disks: if this test fails, mend the code.
    #[test]
    fn the_bytes_of_format_1_are_these_for_ever() {
        let order_bytes = [
            0x01, 0x01, 0x02, 0x03, 0x42, 0xf6, 0xd5, 0x29, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
            0x0f, 0x00, 0x00, 0x00, 0x05, b'o', b'r', b'd', b'e', b'r',
        ];
        let void_bytes = [
            0x01, 0x02, 0x00, 0x00, 0x46, 0xf0, 0x25, 0x9c, 0x00, 0x00, 0x00, 0x01, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00,
            0x02, 0x00, 0x00, 0x00, 0x00,
        ];
        for (record, bytes) in [(order(), &order_bytes[..]), (void(), &void_bytes[..])] {
            assert_eq!(record.encode(number()), bytes);
            assert_eq!(Record::decode(number(), bytes), Ok(record));
        }
    }

    /// Made as those of format 1.
    #[test]
    fn the_bytes_of_format_2_are_these_for_ever() {
        let bytes = [
            0x02, 0x01, 0x02, 0x03, 0xd9, 0xba, 0xf2, 0x67, 0x04, 0x05, 0x06, 0x07, 0x08, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e,
            0x0f, 0x00, 0x00, 0x00, 0x2e, 0x00, 0x27, 0x01, 0x03, 0x70, 0x61, 0x79, 0x00, 0x00, 0x00, 0x05, 0xf5, 0x29, 0x93,
            0x98, 0x02, 0x01, 0x03, 0x57, 0x60, 0x00, 0x00, 0x00, 0xa4, 0x08, 0x00, 0x00, 0x00, 0x03, 0x00, 0x00, 0x00, 0x00,
            0x00, 0x00, 0x00, 0x04, 0x03, 0x02, 0x01, 0x40, 0x6f, 0x72, 0x64, 0x65, 0x72,
        ];
        assert_eq!(keyed().encode(number()), bytes);
        assert_eq!(Record::decode(number(), &bytes), Ok(keyed()));
        assert_eq!(parts(&Bytes::copy_from_slice(&bytes)), (keyed().value, keyed().origin));
    }

    #[test]
    fn an_origin_that_says_nothing_is_none() {
        let empty = Record { origin: Some(Arc::default()), ..order() };
        assert_eq!(empty.encode(number()), order().encode(number()));
        assert_eq!(Record::decode(number(), &empty.encode(number())), Ok(order()));
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same() {
        let versions = [(0, 0), (1, 1), (u32::MAX, u64::MAX), (0, u64::MAX), (u32::MAX, 0)];
        for (epoch, counter) in versions {
            for generation in [0, 1, u16::MAX] {
                for length in [0, 1, 100, 7_168, 100_000] {
                    let value = (0..length).map(|at| at as u8).collect::<Vec<u8>>().into();
                    for (kind, origin) in
                        [(Kind::Order, None), (Kind::Void, None), (Kind::Order, keyed().origin), (Kind::Void, keyed().origin)]
                    {
                        let version = Version { epoch, counter };
                        let record = Record { kind, version, generation, value: Bytes::clone(&value), origin };
                        assert_eq!(Record::decode(number(), &record.encode(number())), Ok(record));
                    }
                }
            }
        }
    }

    #[test]
    fn every_flipped_bit_and_every_two_are_refused() {
        for record in [order(), void(), keyed()] {
            let mut bytes = record.encode(number());
            let bits = bytes.len() * 8;
            for first in 0..bits {
                bytes[first / 8] ^= 1 << (first % 8);
                assert!(Record::decode(number(), &bytes).is_err(), "bit {first}");
                for second in first + 1..bits {
                    bytes[second / 8] ^= 1 << (second % 8);
                    assert!(Record::decode(number(), &bytes).is_err(), "bits {first} and {second}");
                    bytes[second / 8] ^= 1 << (second % 8);
                }
                bytes[first / 8] ^= 1 << (first % 8);
            }
            assert_eq!(Record::decode(number(), &bytes), Ok(record));
        }
    }

    /// A write that the disk put in another place: every number that differs in one bit, and some that differ in more.
    #[test]
    fn bytes_of_another_number_are_refused() {
        let bytes = order().encode(number());
        let near = (0..63).filter_map(|bit| OrderNumber::try_from(number().to_u64() ^ 1 << bit).ok());
        let far =
            [(Day::MIN, 42, 7), (number().day(), 4_242, 7), (number().day(), 7, 42), (Day::MAX, OrderNumber::SEQUENCE_MAX, 999)];
        let far = far.map(|(day, sequence, set)| OrderNumber::new(day, sequence, SetId::from_checked(set)).expect("a number"));
        let others: Vec<OrderNumber> = near.chain(far).collect();
        assert!(others.len() > 50, "the day and the SET forbid few of them");
        for other in others {
            assert!(matches!(Record::decode(other, &bytes), Err(RecordError::Checksum { .. })), "{other}");
        }
    }

    /// What becomes of a record when its bytes are changed and then get a good checksum.
    fn resealed(record: &Record, change: impl Fn(&mut Vec<u8>)) -> Result<Record, RecordError> {
        let mut bytes = record.encode(number());
        change(&mut bytes);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&bytes[HEADER..]);
        let header: &[u8; HEADER] = bytes.first_chunk().expect("a header");
        let crc = seal_crc(crc, number(), header);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        Record::decode(number(), &bytes)
    }

    #[test]
    fn no_length_is_believed() {
        let whole = order().encode(number());
        for length in 0..HEADER {
            let error = RecordError::Length { expected: HEADER as u64, found: length as u64 };
            assert_eq!(Record::decode(number(), &whole[..length]), Err(error));
        }
        for length in HEADER..whole.len() {
            let error = RecordError::Length { expected: whole.len() as u64, found: length as u64 };
            assert_eq!(Record::decode(number(), &whole[..length]), Err(error));
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert!(matches!(Record::decode(number(), &longer), Err(RecordError::Length { .. })));
        // Whatever the length of an origin says, with a good checksum: the payload is not taken for it, nor it for the payload.
        // After 13 and 35 bytes a part of it ends: those are other records.
        for claimed in (0..=u16::MAX).filter(|claimed| ![13, 35, 39].contains(claimed)) {
            let decoded = resealed(&keyed(), |bytes| bytes[24..26].copy_from_slice(&claimed.to_be_bytes()));
            assert!(matches!(decoded, Err(RecordError::Origin { .. })), "{claimed}: {decoded:?}");
        }
        for length in 0..2 {
            let decoded = resealed(&keyed(), |bytes| {
                bytes.truncate(HEADER + length);
                bytes[23] = length as u8;
            });
            assert_eq!(decoded, Err(RecordError::Origin { reason: "it has no length" }));
        }
        // Nothing is allocated for what is not there.
        for claimed in [0, 4, 6, 7_168, u32::MAX] {
            let mut bytes = whole.clone();
            bytes[20..24].copy_from_slice(&claimed.to_be_bytes());
            let error = RecordError::Length { expected: HEADER as u64 + u64::from(claimed), found: whole.len() as u64 };
            assert_eq!(Record::decode(number(), &bytes), Err(error));
        }
    }

    #[test]
    fn formats_and_kinds_of_later_versions_are_named() {
        let sealed = |format: u8, kind: u8| resealed(&order(), |bytes| (bytes[0], bytes[1]) = (format, kind));
        assert_eq!(sealed(1, 1), Ok(order()));
        for found in [0, 3, 255] {
            assert_eq!(sealed(1, found), Err(RecordError::Kind { found }));
        }
        for found in [0, 3, 255] {
            assert_eq!(sealed(found, 1), Err(RecordError::Format { found }));
        }
    }

    /// A draft is made on the caller's thread, and sealed under the lock that hands out versions.
    #[test]
    fn a_draft_may_be_sealed_again_and_is_the_record_last_named() {
        let (record, other) = (order(), OrderNumber::new(Day::MAX, 1, SetId::MAX).expect("a number"));
        let mut draft = Draft::new(&record.value);
        draft.seal(other, Kind::Void, Version { epoch: 9, counter: 9 }, 9);
        draft.seal(number(), record.kind, record.version, record.generation);
        assert_eq!(draft.into_bytes(), record.encode(number()));
    }

    /// An update has its payload summed before it is known what the order came from.
    #[test]
    fn a_draft_takes_on_an_origin_and_gives_it_up() {
        let origin = keyed().origin;
        let mut drafts = [
            (keyed(), Draft::with_origin(b"order", origin.as_deref())),
            (keyed(), Draft::new(b"order").carrying(origin.as_deref())),
            (keyed(), Draft::with_origin(b"order", Some(&Origin::default())).carrying(origin.as_deref())),
            (order(), Draft::with_origin(b"order", origin.as_deref()).carrying(None)),
            (order(), Draft::new(b"order").carrying(None)),
            (order(), Draft::new(b"order").carrying(Some(&Origin::default()))),
        ];
        for (record, draft) in &mut drafts {
            assert_eq!(draft.len(), record.encode(number()).len());
            draft.seal(number(), record.kind, record.version, record.generation);
        }
        for (record, draft) in drafts {
            assert_eq!(draft.into_bytes(), record.encode(number()));
        }
    }

    #[test]
    fn versions_are_ordered_by_epoch_and_then_by_counter() {
        let version = |epoch, counter| Version { epoch, counter };
        let ascending = [version(0, 0), version(0, u64::MAX), version(1, 0), version(1, 1), version(2, 0)];
        assert!(ascending.is_sorted_by(|lower, higher| lower < higher));
        assert_eq!(version(3, 14).to_string(), "3.14");
    }
}
