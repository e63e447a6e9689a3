//! The bytes of the superblock: who a replica is and how far it surely got. Pure.
//!
//! ```text
//!  0  [8]  "ordermnt"
//!  8  u16  format, 1
//! 10  u16  flags: 1 has identity, 2 formed, 4 in limbo, 8 closed cleanly, 16 index in doubt
//! 12  u32  CRC-32 over all but these four bytes
//! 16  u32  length of all of it
//! 20  u64  generation: the higher of two copies counts
//! 28  u64  incarnation: drawn at random when the directory was made
//! 36  u32  epoch
//! 40  u128 store  \
//! 56  u16  SET     |
//! 58  u8   index   | identity; zero where there is none
//! 59  u8   N       |
//! 60  u8   R       |
//! 61  u8   W      /
//! 62  u16  number of replica directories, then each: u16 length, UTF-8
//! ..  u16  length of the reason for limbo, UTF-8
//! ..  u32  number of databases, then each: u32 day (0: meta data), u64 last synced group that touched it
//! ```
//! All integers big-endian. A group is named here only after it was synced: a database that comes back with less has lost
//! something that was acknowledged.

use crate::order::{Day, SetId};
use crate::replica::Identity;
use std::collections::BTreeMap;

const MAGIC: [u8; 8] = *b"ordermnt";
const FORMAT: u16 = 1;
const HEADER: usize = 40;
const HAS_IDENTITY: u16 = 1;
const FORMED: u16 = 2;
const LIMBO: u16 = 4;
const CLEAN: u16 = 8;
const INDEX_IN_DOUBT: u16 = 16;
/// Longer texts are cut; a path may have 4,096 bytes.
const TEXT_BYTES_MAX: usize = 8192;

/// What a replica knows of itself without opening its databases.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Superblock {
    pub(super) generation: u64,
    pub(super) incarnation: u64,
    pub(super) epoch: u32,
    pub(super) identity: Option<Identity>,
    /// Why the replica may not vote.
    pub(super) limbo: Option<String>,
    /// Nothing was applied since this was written.
    pub(super) clean: bool,
    /// It was closed before all that an earlier end may have cost the index could be looked for.
    pub(super) index_in_doubt: bool,
    /// For each database, by its day, the last synced group that touched it; `None` is the one of meta data.
    pub(super) synced: BTreeMap<Option<Day>, u64>,
}

/// Why bytes are no superblock.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub(super) enum SuperblockError {
    #[error("not a superblock")]
    Magic,
    #[error("superblock format {found} is unknown")]
    Format { found: u16 },
    #[error("{found} bytes where {expected} belong")]
    Length { expected: u64, found: u64 },
    #[error("checksum {found:#010x} where {expected:#010x} belongs")]
    Checksum { expected: u32, found: u32 },
    #[error("good checksum over nonsense")]
    Content,
}

impl Superblock {
    /// That of a directory made just now.
    pub(super) fn new(incarnation: u64) -> Superblock {
        Superblock {
            generation: 0,
            incarnation,
            epoch: 0,
            identity: None,
            limbo: None,
            clean: false,
            index_in_doubt: false,
            synced: BTreeMap::new(),
        }
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(256 + self.synced.len() * 12);
        let identity = self.identity.as_ref();
        let mut flags = 0;
        for (flag, is_set) in [
            (HAS_IDENTITY, identity.is_some()),
            (FORMED, identity.is_some_and(|identity| identity.formed)),
            (LIMBO, self.limbo.is_some()),
            (CLEAN, self.clean),
            (INDEX_IN_DOUBT, self.index_in_doubt),
        ] {
            flags |= if is_set { flag } else { 0 };
        }
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&FORMAT.to_be_bytes());
        bytes.extend_from_slice(&flags.to_be_bytes());
        bytes.extend_from_slice(&[0; 8]); // Checksum and length, known at the end.
        bytes.extend_from_slice(&self.generation.to_be_bytes());
        bytes.extend_from_slice(&self.incarnation.to_be_bytes());
        bytes.extend_from_slice(&self.epoch.to_be_bytes());
        bytes.extend_from_slice(&identity.map_or(0, |identity| identity.store).to_be_bytes());
        bytes.extend_from_slice(&identity.map_or(0, |identity| identity.set.get()).to_be_bytes());
        let (n, r, w) = identity.map_or((0, 0, 0), |identity| identity.quorum);
        bytes.extend_from_slice(&[identity.map_or(0, |identity| identity.index), n, r, w]);
        let replicas = identity.map_or(&[][..], |identity| &identity.replicas);
        let replicas = &replicas[..replicas.len().min(usize::from(u8::MAX))];
        bytes.extend_from_slice(&(replicas.len() as u16).to_be_bytes());
        for replica in replicas {
            push_text(&mut bytes, replica);
        }
        push_text(&mut bytes, self.limbo.as_deref().unwrap_or_default());
        bytes.extend_from_slice(&(self.synced.len() as u32).to_be_bytes());
        for (day, group) in &self.synced {
            bytes.extend_from_slice(&day.map_or(0, Day::to_bits).to_be_bytes());
            bytes.extend_from_slice(&group.to_be_bytes());
        }
        let length = u32::try_from(bytes.len()).expect("the days of the calendar, at 12 bytes each, are below 4 GiB");
        bytes[16..20].copy_from_slice(&length.to_be_bytes());
        let crc = checksum(&bytes);
        bytes[12..16].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// Reads what [`Superblock::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Result<Superblock, SuperblockError> {
        let found = bytes.len() as u64;
        if bytes.len() < HEADER {
            return Err(SuperblockError::Length { expected: HEADER as u64, found });
        }
        let mut rest = Reader(bytes);
        if rest.take() != Some(MAGIC) {
            return Err(SuperblockError::Magic);
        }
        let format = rest.u16().unwrap_or_default();
        if format != FORMAT {
            return Err(SuperblockError::Format { found: format });
        }
        let flags = rest.u16().unwrap_or_default();
        let found_crc = rest.u32().unwrap_or_default();
        let expected = u64::from(rest.u32().unwrap_or_default());
        if expected != found {
            return Err(SuperblockError::Length { expected, found });
        }
        let expected_crc = checksum(bytes);
        if expected_crc != found_crc {
            return Err(SuperblockError::Checksum { expected: expected_crc, found: found_crc });
        }
        Superblock::decode_content(flags, rest).ok_or(SuperblockError::Content)
    }

    fn decode_content(flags: u16, mut rest: Reader<'_>) -> Option<Superblock> {
        if flags & !(HAS_IDENTITY | FORMED | LIMBO | CLEAN | INDEX_IN_DOUBT) != 0 {
            return None;
        }
        let (generation, incarnation, epoch) = (rest.u64()?, rest.u64()?, rest.u32()?);
        let store = u128::from_be_bytes(rest.take()?);
        let set = SetId::new(rest.u16()?).ok()?;
        let [index, n, r, w] = rest.take()?;
        let mut replicas = Vec::new();
        for _ in 0..rest.u16()? {
            replicas.push(rest.text()?);
        }
        let formed = flags & FORMED != 0;
        let identity = Identity { store, set, index, quorum: (n, r, w), replicas, formed };
        let reason = rest.text()?;
        let mut synced = BTreeMap::new();
        for _ in 0..rest.u32()? {
            let day = match rest.u32()? {
                0 => None,
                bits => Some(Day::from_bits(bits)?),
            };
            synced.insert(day, rest.u64()?);
        }
        if !rest.0.is_empty() {
            return None;
        }
        Some(Superblock {
            generation,
            incarnation,
            epoch,
            identity: (flags & HAS_IDENTITY != 0).then_some(identity),
            limbo: (flags & LIMBO != 0).then_some(reason),
            clean: flags & CLEAN != 0,
            index_in_doubt: flags & INDEX_IN_DOUBT != 0,
            synced,
        })
    }
}

/// `text`, cut at a character where it is too long.
fn push_text(bytes: &mut Vec<u8>, text: &str) {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    // A character has at most four bytes, and 0 is a boundary.
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let text = &text[..end];
    bytes.extend_from_slice(&(text.len() as u16).to_be_bytes());
    bytes.extend_from_slice(text.as_bytes());
}

fn checksum(bytes: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&bytes[..12]);
    crc.update(&bytes[16..]);
    crc.finalize()
}

/// What is still to be read. No length is believed before that many bytes are there.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (taken, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*taken)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_be_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_be_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_be_bytes)
    }

    fn text(&mut self) -> Option<String> {
        let length = usize::from(self.u16()?);
        let (text, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        String::from_utf8(text.to_vec()).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn superblock() -> Superblock {
        let identity = Identity {
            store: 0x0123_4567_89ab_cdef_0123_4567_89ab_cdef,
            set: SetId::new(7).unwrap(),
            index: 2,
            quorum: (3, 2, 2),
            replicas: vec!["a/007".into(), String::new(), "c/007".into()],
            formed: true,
        };
        let days = [None, Some(Day::MIN), Some(Day::new(2026, 11, 22).unwrap())];
        Superblock {
            generation: 5,
            incarnation: 6,
            epoch: 7,
            identity: Some(identity),
            limbo: Some("lost its tail".into()),
            clean: true,
            index_in_doubt: false,
            synced: days.into_iter().zip([3, 1, 9]).collect(),
        }
    }

    #[test]
    fn a_superblock_comes_back_as_it_was() {
        let full = superblock();
        let unformed = Identity { formed: false, replicas: vec![], ..full.identity.clone().unwrap() };
        for superblock in [
            Superblock { limbo: None, index_in_doubt: true, ..full.clone() },
            Superblock { identity: Some(unformed), clean: false, limbo: Some(String::new()), ..full.clone() },
            full,
            Superblock::new(1),
        ] {
            assert_eq!(Superblock::decode(&superblock.encode()), Ok(superblock));
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_is_refused() {
        let bytes = superblock().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(Superblock::decode(&flipped).is_err(), "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert!(Superblock::decode(&bytes[..length]).is_err(), "{length} bytes");
        }
        assert!(Superblock::decode(&[&bytes[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_good_checksum_over_nonsense_is_refused() {
        let reseal = |at: usize, value: u8| {
            let mut bytes = superblock().encode();
            bytes[at] = value;
            let crc = checksum(&bytes);
            bytes[12..16].copy_from_slice(&crc.to_be_bytes());
            Superblock::decode(&bytes)
        };
        assert!(reseal(58, 1).is_ok());
        assert_eq!(reseal(9, 2), Err(SuperblockError::Format { found: 2 }));
        for (at, what) in [(10, "flag"), (56, "SET"), (62, "replicas"), (65, "text"), (66, "no UTF-8")] {
            assert_eq!(reseal(at, 255), Err(SuperblockError::Content), "{what}");
        }
    }

    #[test]
    fn texts_that_are_too_long_are_cut_at_a_character() {
        let long = "ä".repeat(5000) + "x";
        let superblock = Superblock { limbo: Some(format!("x{long}")), ..superblock() };
        let back = Superblock::decode(&superblock.encode()).unwrap();
        assert_eq!(back.limbo.unwrap().len(), TEXT_BYTES_MAX - 1);
    }
}
