//! The small checksummed values beside the orders: the mark that each group leaves in each database, and meta values. Pure.
//!
//! ```text
//! mark                                      meta value
//!  0  u8   format, 1                         0  u32  CRC-32 over key and value
//!  1  u8   number of peers                   4  ...  value
//!  2  u16  0
//!  4  u32  CRC-32 over bytes 0..4, bytes 8..
//!  8  u32  day, 0 for meta data
//! 12  u64  incarnation of the replica
//! 20  u64  number of the group
//! 28  u64  first number of the last run of the day, 0 for none
//! 36  u64  last sequence within that run
//! 44  u64  for each peer: its last synced group, as far as is known
//! ```
//! All integers big-endian. Day and incarnation tell a database that was copied here from elsewhere.

use crate::order::Day;

const FORMAT: u8 = 1;
const HEADER: usize = 44;
const PEERS_MAX: usize = 255;

/// The end of the chain of runs.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(super) struct Tail {
    /// First number of the last run, 0 if there is none.
    pub(super) run: u64,
    /// Last sequence in it.
    pub(super) last: u64,
}

/// What a group leaves behind in each database that it touches.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Mark {
    /// `None` in the database of meta data.
    pub(super) day: Option<Day>,
    pub(super) incarnation: u64,
    pub(super) group: u64,
    pub(super) tail: Tail,
    pub(super) peers: Vec<u64>,
}

impl Mark {
    pub(super) fn encode(&self) -> Vec<u8> {
        let peers = &self.peers[..self.peers.len().min(PEERS_MAX)];
        let mut bytes = vec![FORMAT, peers.len() as u8, 0, 0, 0, 0, 0, 0];
        bytes.extend_from_slice(&self.day.map_or(0, Day::to_bits).to_be_bytes());
        for value in [self.incarnation, self.group, self.tail.run, self.tail.last].iter().chain(peers) {
            bytes.extend_from_slice(&value.to_be_bytes());
        }
        let crc = checksum(&bytes);
        bytes[4..8].copy_from_slice(&crc.to_be_bytes());
        bytes
    }

    /// `None` for anything but what [`Mark::encode`] wrote.
    pub(super) fn decode(bytes: &[u8]) -> Option<Mark> {
        let peers = usize::from(*bytes.get(1)?);
        if bytes[0] != FORMAT || bytes.len() != HEADER + 8 * peers || bytes[4..8] != checksum(bytes).to_be_bytes() {
            return None;
        }
        let day = match u32::from_be_bytes(*bytes[8..].first_chunk()?) {
            0 => None,
            bits => Some(Day::from_bits(bits)?),
        };
        let mut values = bytes[12..].as_chunks::<8>().0.iter().map(|value| u64::from_be_bytes(*value));
        Some(Mark {
            day,
            incarnation: values.next()?,
            group: values.next()?,
            tail: Tail { run: values.next()?, last: values.next()? },
            peers: values.collect(),
        })
    }
}

/// Over all of a mark but the checksum itself; at least 8 bytes.
fn checksum(mark: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&mark[..4]);
    crc.update(&mark[8..]);
    crc.finalize()
}

/// The bytes of a meta value.
pub(super) fn encode_meta(key: &str, value: &[u8]) -> Vec<u8> {
    [&meta_checksum(key, value).to_be_bytes(), value].concat()
}

/// The value in what [`encode_meta`] wrote under the same key.
pub(super) fn decode_meta<'a>(key: &str, bytes: &'a [u8]) -> Option<&'a [u8]> {
    let (crc, value) = bytes.split_first_chunk()?;
    (u32::from_be_bytes(*crc) == meta_checksum(key, value)).then_some(value)
}

fn meta_checksum(key: &str, value: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&(key.len() as u64).to_be_bytes());
    crc.update(key.as_bytes());
    crc.update(value);
    crc.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mark() -> Mark {
        let day = Some(Day::new(2026, 11, 22).unwrap());
        Mark { day, incarnation: 7, group: 9, tail: Tail { run: 1 << 50, last: 12 }, peers: vec![1, 0, 3] }
    }

    #[test]
    fn a_mark_comes_back_as_it_was() {
        for mark in [mark(), Mark { day: None, peers: vec![], ..mark() }] {
            assert_eq!(Mark::decode(&mark.encode()), Some(mark));
        }
    }

    #[test]
    fn any_flipped_bit_and_any_other_length_of_a_mark_is_refused() {
        let bytes = mark().encode();
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(Mark::decode(&flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(Mark::decode(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(Mark::decode(&[&bytes[..], &[0]].concat()), None);
    }

    #[test]
    fn any_flipped_bit_of_a_meta_value_is_refused_and_so_is_another_key() {
        let bytes = encode_meta("lease/2026-11-22", b"mark");
        assert_eq!(decode_meta("lease/2026-11-22", &bytes), Some(&b"mark"[..]));
        assert_eq!(decode_meta("lease/2026-11-23", &bytes), None);
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(decode_meta("lease/2026-11-22", &flipped), None, "bit {bit}");
        }
        for length in 0..bytes.len() {
            assert_eq!(decode_meta("lease/2026-11-22", &bytes[..length]), None);
        }
        assert_eq!(decode_meta("", &encode_meta("", b"")), Some(&b""[..]));
    }
}
