//! The SET map: which SETs a store has, as a versioned value that the store itself keeps.
//!
//! ```text
//! u8 format 1 | u64 version | u8 N | u8 R | u8 W | u16 SETs | for each, by id: u16 id | u8 state, 1 active | u32 weight
//! ```
//! All integers big-endian. The replica that keeps it adds the checksum.

use crate::config::Quorum;
use crate::order::SetId;
use std::fmt;

/// The SETs of a store. Immutable; a change makes a new one with a higher version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetMap {
    pub(crate) version: u64,
    pub(crate) quorum: Quorum,
    /// By id.
    pub(crate) sets: Vec<MapEntry>,
}

/// One SET of the map.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct MapEntry {
    pub(crate) id: SetId,
    pub(crate) weight: u32,
}

const FORMAT: u8 = 1;
const ACTIVE: u8 = 1;
const HEAD: usize = 14;
const ENTRY: usize = 7;

impl SetMap {
    pub(crate) fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.sets.len()).expect("there are at most 1,000 SET ids");
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&[self.quorum.n(), self.quorum.r(), self.quorum.w()]);
        bytes.extend_from_slice(&count.to_be_bytes());
        for entry in &self.sets {
            bytes.extend_from_slice(&entry.id.get().to_be_bytes());
            bytes.push(ACTIVE);
            bytes.extend_from_slice(&entry.weight.to_be_bytes());
        }
        bytes
    }

    /// `None` for bytes that `encode` cannot have written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SetMap> {
        let (head, entries) = bytes.split_first_chunk::<HEAD>()?;
        let version = u64::from_be_bytes(head[1..9].try_into().ok()?);
        let quorum = Quorum::new(head[9], head[10], head[11]).ok()?;
        let count = usize::from(u16::from_be_bytes([head[12], head[13]]));
        if head[0] != FORMAT || entries.len() != count * ENTRY {
            return None;
        }
        let mut sets = Vec::with_capacity(count);
        for entry in entries.chunks_exact(ENTRY) {
            let id = SetId::new(u16::from_be_bytes([entry[0], entry[1]])).ok()?;
            let weight = u32::from_be_bytes([entry[3], entry[4], entry[5], entry[6]]);
            if entry[2] != ACTIVE || weight == 0 || sets.last().is_some_and(|last: &MapEntry| last.id >= id) {
                return None;
            }
            sets.push(MapEntry { id, weight });
        }
        Some(SetMap { version, quorum, sets })
    }

    /// Whether both name the same SETs, weights and quorum.
    pub(crate) fn describes_the_same(&self, other: &SetMap) -> bool {
        self.quorum == other.quorum && self.sets == other.sets
    }
}

impl fmt::Display for SetMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sets ")?;
        for (at, entry) in self.sets.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}", entry.id.get())?;
            if entry.weight != 1 {
                write!(f, " (weight {})", entry.weight)?;
            }
        }
        write!(f, " quorum {}", self.quorum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_decodes_to_the_same_and_nothing_else_decodes() {
        let set = |id: u16, weight: u32| MapEntry { id: SetId::new(id).unwrap(), weight };
        let map = SetMap { version: 3, quorum: Quorum::new(3, 2, 2).unwrap(), sets: vec![set(7, 1), set(8, 20)] };
        let bytes = map.encode();
        assert_eq!(SetMap::decode(&bytes), Some(map.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(SetMap::decode(&bytes[..cut]), None);
        }
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(SetMap::decode(&long), None);
        let unsorted = SetMap { sets: vec![set(8, 1), set(7, 1)], ..map.clone() };
        assert_eq!(SetMap::decode(&unsorted.encode()), None);
        assert_eq!(map.to_string(), "sets 7,8 (weight 20) quorum 3,2,2");
    }
}
