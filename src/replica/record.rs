//! The bytes of a record. Pure; encode and decode live here and nowhere else.
//!
//! ```text
//!  0  u8   format, 1
//!  1  u8   kind: 1 order, 2 void
//!  2  u16  repair generation
//!  4  u32  CRC-32 over payload, key (8 bytes), bytes 0..4, bytes 8..24
//!  8  u32  epoch   \ version
//! 12  u64  counter /
//! 20  u32  length of the payload
//! 24  ...  payload
//! ```
//! All integers big-endian. Nothing follows the payload.

use crate::order::OrderNumber;
use bytes::Bytes;
use std::fmt;

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
    /// The checksum over key, header and payload fails.
    #[error("checksum {found:#010x} where {expected:#010x} belongs")]
    Checksum {
        /// What the bytes ask for.
        expected: u32,
        /// What stands there.
        found: u32,
    },
}

const FORMAT: u8 = 1;
/// Length of the header.
pub(crate) const HEADER: usize = 24;

impl Record {
    /// The bytes of this record under `number`.
    #[must_use]
    pub fn encode(&self, number: OrderNumber) -> Vec<u8> {
        let mut draft = Draft::new(&self.value);
        draft.seal(number, self.kind, self.version, self.generation);
        draft.into_bytes()
    }

    /// Reads what [`Record::encode`] wrote under the same number.
    ///
    /// # Errors
    /// See [`RecordError`]; bytes written under another number fail the checksum.
    pub fn decode(number: OrderNumber, bytes: &[u8]) -> Result<Record, RecordError> {
        let header = Header::check(number, bytes)?;
        let value = Bytes::copy_from_slice(&bytes[HEADER..]);
        Ok(Record { kind: header.kind, version: header.version, generation: header.generation, value })
    }
}

/// The part of a record that is not its payload.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Header {
    pub(crate) kind: Kind,
    pub(crate) version: Version,
    pub(crate) generation: u16,
}

impl Header {
    /// Checks all of `bytes` and returns the header; the payload is `bytes[HEADER..]`.
    pub(crate) fn check(number: OrderNumber, bytes: &[u8]) -> Result<Header, RecordError> {
        let found = bytes.len() as u64;
        let Some((header, payload)) = bytes.split_first_chunk::<HEADER>() else {
            return Err(RecordError::Length { expected: HEADER as u64, found });
        };
        let u32_at = |at: usize| u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]]);
        if header[0] != FORMAT {
            return Err(RecordError::Format { found: header[0] });
        }
        let expected = HEADER as u64 + u64::from(u32_at(20));
        if expected != found {
            return Err(RecordError::Length { expected, found });
        }
        let mut crc = crc32fast::Hasher::new();
        crc.update(payload);
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
        Ok(Header { kind, version, generation: u16::from_be_bytes([header[2], header[3]]) })
    }
}

/// A record whose payload is in place and summed, waiting for number and version: sealing it is cheap, whatever the payload's size.
#[derive(Debug)]
pub(crate) struct Draft {
    bytes: Vec<u8>,
    payload_crc: crc32fast::Hasher,
}

impl Draft {
    /// `payload` must be below 4 GiB; the store's value cap is far below.
    pub(crate) fn new(payload: &[u8]) -> Draft {
        let length = u32::try_from(payload.len()).expect("a payload is below the value cap");
        let mut bytes = Vec::with_capacity(HEADER + payload.len());
        bytes.resize(HEADER, 0);
        bytes[20..24].copy_from_slice(&length.to_be_bytes());
        bytes.extend_from_slice(payload);
        let mut payload_crc = crc32fast::Hasher::new();
        payload_crc.update(payload);
        Draft { bytes, payload_crc }
    }

    /// Fills in the header. May be called again with other arguments.
    pub(crate) fn seal(&mut self, number: OrderNumber, kind: Kind, version: Version, generation: u16) {
        let header = &mut self.bytes[..HEADER];
        header[0] = FORMAT;
        header[1] = match kind {
            Kind::Order => 1,
            Kind::Void => 2,
        };
        header[2..4].copy_from_slice(&generation.to_be_bytes());
        header[8..12].copy_from_slice(&version.epoch.to_be_bytes());
        header[12..20].copy_from_slice(&version.counter.to_be_bytes());
        let header: &[u8; HEADER] = self.bytes.first_chunk().expect("a draft holds a header");
        let crc = seal_crc(self.payload_crc.clone(), number, header);
        self.bytes[4..8].copy_from_slice(&crc.to_be_bytes());
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
