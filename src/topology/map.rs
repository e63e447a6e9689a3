//! The SET map: which SETs a store has and had, as a versioned value that the store itself keeps.
//!
//! ```text
//! u8 format 2 | u64 version | u8 N | u8 R | u8 W | u16 SETs | for each, by id:
//!     u16 id | u8 state: 1 joining, 2 active, 3 draining, 4 retired | u32 weight | u8 bytes of zone | zone; 0 bytes for none
//! ```
//! All integers big-endian. The replica that keeps it adds the checksum.

use super::{SetState, Zone};
use crate::config::{self, ConfigError, Quorum};
use crate::order::SetId;
use std::fmt;

/// The SETs of a store. Immutable; a change makes a new one with a higher version.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct SetMap {
    pub(crate) version: u64,
    pub(crate) quorum: Quorum,
    /// By id. A SET that was retired stays for ever.
    pub(crate) sets: Vec<MapEntry>,
}

/// One SET of the map.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct MapEntry {
    pub(crate) id: SetId,
    pub(crate) state: SetState,
    pub(crate) weight: u32,
    pub(crate) zone: Option<Zone>,
}

const FORMAT: u8 = 2;
/// The longest map: a meta value of a replica, with its key and checksum. All 1,000 SETs there can be, where zones have no names.
pub(crate) const MAP_BYTES_MAX: usize = 8_128;
const HEAD: usize = 14;
const ENTRY: usize = 8;

impl SetMap {
    /// The entry of a SET, retired ones too.
    pub(crate) fn get(&self, id: SetId) -> Option<&MapEntry> {
        self.sets.binary_search_by_key(&id, |entry| entry.id).ok().map(|at| &self.sets[at])
    }

    /// The SETs that are not retired.
    pub(crate) fn serving(&self) -> impl Iterator<Item = &MapEntry> {
        self.sets.iter().filter(|entry| entry.state != SetState::Retired)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let count = u16::try_from(self.sets.len()).expect("there are at most 1,000 SET ids");
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&self.version.to_be_bytes());
        bytes.extend_from_slice(&[self.quorum.n(), self.quorum.r(), self.quorum.w()]);
        bytes.extend_from_slice(&count.to_be_bytes());
        for entry in &self.sets {
            bytes.extend_from_slice(&entry.id.get().to_be_bytes());
            bytes.push(code(entry.state));
            bytes.extend_from_slice(&entry.weight.to_be_bytes());
            let zone = entry.zone.as_ref().map_or("", Zone::as_str);
            bytes.push(u8::try_from(zone.len()).expect("a zone has at most 64 bytes"));
            bytes.extend_from_slice(zone.as_bytes());
        }
        bytes
    }

    /// Whether replicas can keep it. One that is too long would be refused by all of them, and whoever refuses a group is out.
    ///
    /// # Errors
    /// [`ConfigError::MapTooLong`].
    pub(crate) fn check_length(&self) -> Result<(), ConfigError> {
        let bytes = self.encode().len();
        if bytes <= MAP_BYTES_MAX { Ok(()) } else { Err(ConfigError::MapTooLong { bytes, max: MAP_BYTES_MAX }) }
    }

    /// `None` for bytes that `encode` cannot have written.
    pub(crate) fn decode(bytes: &[u8]) -> Option<SetMap> {
        let (head, mut rest) = bytes.split_first_chunk::<HEAD>()?;
        let version = u64::from_be_bytes(head[1..9].try_into().ok()?);
        let quorum = Quorum::new(head[9], head[10], head[11]).ok()?;
        let count = usize::from(u16::from_be_bytes([head[12], head[13]]));
        // What the bytes can hold bounds what is allocated, whatever they claim.
        if head[0] != FORMAT || rest.len() < count * ENTRY {
            return None;
        }
        let mut sets: Vec<MapEntry> = Vec::with_capacity(count);
        for _ in 0..count {
            let (entry, behind) = rest.split_first_chunk::<ENTRY>()?;
            let (zone, behind) = behind.split_at_checked(usize::from(entry[7]))?;
            rest = behind;
            let id = SetId::new(u16::from_be_bytes([entry[0], entry[1]])).ok()?;
            let weight = u32::from_be_bytes([entry[3], entry[4], entry[5], entry[6]]);
            let zone = match std::str::from_utf8(zone).ok()? {
                "" => None,
                text => Some(text.parse().ok()?),
            };
            if config::check_weight(weight).is_err() || sets.last().is_some_and(|last| last.id >= id) {
                return None;
            }
            sets.push(MapEntry { id, state: state(entry[2])?, weight, zone });
        }
        rest.is_empty().then_some(SetMap { version, quorum, sets })
    }

    /// Whether a builder that was given `given` means this map: the same SETs but for the retired, which it must not name; the
    /// same weights, zones and quorum. It cannot know states.
    pub(crate) fn is_meant_by(&self, given: &SetMap) -> bool {
        let same = |a: &MapEntry, b: &MapEntry| (a.id, a.weight, &a.zone) == (b.id, b.weight, &b.zone);
        self.quorum == given.quorum
            && self.serving().count() == given.sets.len()
            && self.serving().zip(&given.sets).all(|(a, b)| same(a, b))
    }
}

fn code(state: SetState) -> u8 {
    match state {
        SetState::Joining => 1,
        SetState::Active => 2,
        SetState::Draining => 3,
        SetState::Retired => 4,
    }
}

fn state(code: u8) -> Option<SetState> {
    [SetState::Joining, SetState::Active, SetState::Draining, SetState::Retired]
        .into_iter()
        .find(|state| self::code(*state) == code)
}

impl fmt::Display for SetMap {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("sets ")?;
        for (at, entry) in self.sets.iter().enumerate() {
            let comma = if at == 0 { "" } else { "," };
            write!(f, "{comma}{}", entry.id.get())?;
            let state = (entry.state != SetState::Active).then(|| entry.state.to_string());
            let weight = (entry.weight != 1).then(|| format!("weight {}", entry.weight));
            let zone = entry.zone.as_ref().map(|zone| format!("zone {zone}"));
            let told: Vec<String> = [state, weight, zone].into_iter().flatten().collect();
            if !told.is_empty() {
                write!(f, " ({})", told.join(", "))?;
            }
        }
        write!(f, " quorum {}", self.quorum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(id: u16, state: SetState, weight: u32, zone: &str) -> MapEntry {
        MapEntry { id: SetId::new(id).unwrap(), state, weight, zone: zone.parse().ok() }
    }

    fn a_map() -> SetMap {
        let sets = vec![
            set(0, SetState::Retired, 3, "b"),
            set(7, SetState::Active, 1, ""),
            set(8, SetState::Draining, 20, ""),
            set(9, SetState::Joining, 1_000, "a/1"),
        ];
        SetMap { version: 3, quorum: Quorum::new(3, 2, 2).unwrap(), sets }
    }

    #[test]
    fn what_is_encoded_decodes_to_the_same_and_nothing_else_decodes() {
        let map = a_map();
        let bytes = map.encode();
        assert_eq!(SetMap::decode(&bytes), Some(map.clone()));
        for cut in 0..bytes.len() {
            assert_eq!(SetMap::decode(&bytes[..cut]), None);
        }
        let mut long = bytes.clone();
        long.push(0);
        assert_eq!(SetMap::decode(&long), None);
        for (entry, other) in [(0, 1), (1, 0)] {
            let mut unsorted = map.clone();
            unsorted.sets[entry] = set(7, SetState::Active, 1, "");
            unsorted.sets[other] = set(if entry == 0 { 7 } else { 8 }, SetState::Active, 1, "");
            assert_eq!(SetMap::decode(&unsorted.encode()), None);
        }
        for weight in [0, 1_001, u32::MAX] {
            let heavy = SetMap { sets: vec![set(7, SetState::Active, weight, "")], ..map.clone() };
            assert_eq!(SetMap::decode(&heavy.encode()), None);
        }
    }

    #[test]
    fn no_byte_changed_makes_it_panic_and_what_still_decodes_is_what_was_written() {
        let bytes = a_map().encode();
        for at in 0..bytes.len() {
            for value in 0..=u8::MAX {
                let mut changed = bytes.clone();
                changed[at] = value;
                if let Some(map) = SetMap::decode(&changed) {
                    assert_eq!(map.encode(), changed, "byte {at} as {value}");
                }
            }
        }
    }

    #[test]
    fn a_builder_means_it_without_knowing_states_and_without_the_retired() {
        let map = a_map();
        let given = |sets: Vec<MapEntry>| SetMap { version: 1, sets, ..map.clone() };
        let all =
            || vec![set(7, SetState::Active, 1, ""), set(8, SetState::Active, 20, ""), set(9, SetState::Active, 1_000, "a/1")];
        assert!(map.is_meant_by(&given(all())));
        assert!(!map.is_meant_by(&given(all()[..2].to_vec())), "one is not named");
        let mut more = all();
        more.insert(0, set(0, SetState::Active, 3, "b"));
        assert!(!map.is_meant_by(&given(more)), "a retired one is named");
        for other in
            [set(9, SetState::Active, 999, "a/1"), set(9, SetState::Active, 1_000, "a"), set(10, SetState::Active, 1_000, "a/1")]
        {
            let mut others = all();
            others[2] = other;
            assert!(!map.is_meant_by(&given(others)));
        }
        let quorum = Quorum::new(3, 1, 3).unwrap();
        assert!(!map.is_meant_by(&SetMap { quorum, ..given(all()) }));
    }

    #[test]
    fn it_is_printed_for_people() {
        assert_eq!(
            a_map().to_string(),
            "sets 0 (retired, weight 3, zone b),7,8 (draining, weight 20),9 (joining, weight 1000, zone a/1) quorum 3,2,2"
        );
    }
}
