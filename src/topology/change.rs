//! Changes of the SET map: which are legal, and the map that comes after.

use super::{MapEntry, Retire, SetMap, SetState, Zone};
use crate::config::{self, ConfigError};
use crate::error::Error;
use crate::order::SetId;

/// One change.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum MapChange {
    /// A SET that was never there before; it is Joining.
    Add {
        id: SetId,
        weight: u32,
        zone: Option<Zone>,
    },
    /// Its ramp is over.
    Joined {
        id: SetId,
    },
    Weight {
        id: SetId,
        weight: u32,
    },
    /// It takes no new orders any more.
    Drain {
        id: SetId,
    },
    Retire {
        id: SetId,
        how: Retire,
    },
}

impl SetMap {
    /// The map after `change`, with the next version. What is so already may be asked for again: a change of which it is not
    /// known whether it is durable can be made once more.
    ///
    /// # Errors
    /// [`Error::UnknownSet`], [`Error::SetRetired`], [`Error::WrongSetState`]; [`Error::Config`] for an id that is there already, a weight out
    /// of range, when no SET would be left, or when there would be more SETs with longer names of zones than replicas can keep.
    pub(crate) fn with(&self, change: &MapChange) -> Result<SetMap, Error> {
        let mut next = SetMap { version: self.version.saturating_add(1), ..self.clone() };
        match change {
            MapChange::Add { id, weight, zone } => {
                config::check_weight(*weight)?;
                let place = match self.sets.binary_search_by_key(id, |entry| entry.id) {
                    Ok(there) if self.sets[there].state == SetState::Retired => return Err(Error::SetRetired { set: *id }),
                    Ok(_) => return Err(ConfigError::DuplicateSet { set: *id }.into()),
                    Err(place) => place,
                };
                let entry = MapEntry { id: *id, state: SetState::Joining, weight: *weight, zone: zone.clone() };
                next.sets.insert(place, entry);
                next.check_length()?;
            }
            MapChange::Joined { id } => {
                let entry = next.serving_mut(*id)?;
                if !entry.state.takes_orders() {
                    return Err(Error::WrongSetState { set: *id, state: entry.state, wanted: SetState::Joining });
                }
                entry.state = SetState::Active;
            }
            MapChange::Weight { id, weight } => {
                config::check_weight(*weight)?;
                next.serving_mut(*id)?.weight = *weight;
            }
            MapChange::Drain { id } => next.serving_mut(*id)?.state = SetState::Draining,
            MapChange::Retire { id, how } => {
                let entry = next.serving_mut(*id)?;
                match how {
                    Retire::Drained if entry.state != SetState::Draining => {
                        return Err(Error::WrongSetState { set: *id, state: entry.state, wanted: SetState::Draining });
                    }
                    Retire::Drained | Retire::Lost => entry.state = SetState::Retired,
                }
                // Nobody would be left to remember that it was retired.
                if next.serving().next().is_none() {
                    return Err(ConfigError::NoSets.into());
                }
            }
        }
        Ok(next)
    }

    fn serving_mut(&mut self, id: SetId) -> Result<&mut MapEntry, Error> {
        let unknown = Error::UnknownSet { set: id };
        let entry = self.sets.iter_mut().find(|entry| entry.id == id).ok_or(unknown)?;
        if entry.state == SetState::Retired { Err(Error::SetRetired { set: id }) } else { Ok(entry) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Quorum;

    fn id(id: u16) -> SetId {
        SetId::new(id).unwrap()
    }

    fn a_map() -> SetMap {
        let entry = |at: u16, state| MapEntry { id: id(at), state, weight: 1, zone: None };
        let states = [SetState::Joining, SetState::Active, SetState::Draining, SetState::Retired];
        let sets = (1..).zip(states).map(|(at, state)| entry(at, state)).collect();
        SetMap { version: 9, quorum: Quorum::new(3, 2, 2).unwrap(), sets }
    }

    fn state_after(change: MapChange, at: u16) -> Result<SetState, Error> {
        a_map().with(&change).map(|map| {
            assert_eq!(map.version, 10);
            map.get(id(at)).unwrap().state
        })
    }

    /// Every change of a SET in every state, and of one that is not there.
    #[test]
    fn a_set_moves_only_as_its_life_allows() {
        use SetState::{Active, Draining, Joining, Retired};
        let wrong = |at, state, wanted| Err(Error::WrongSetState { set: id(at), state, wanted });
        let gone = |at| Err(Error::SetRetired { set: id(at) });
        let unknown = |at| Err(Error::UnknownSet { set: id(at) });
        let all = |change: &dyn Fn(SetId) -> MapChange| [1, 2, 3, 4, 5].map(|at| state_after(change(id(at)), at));
        assert_eq!(
            all(&|id| MapChange::Joined { id }),
            [Ok(Active), Ok(Active), wrong(3, Draining, Joining), gone(4), unknown(5)]
        );
        assert_eq!(all(&|id| MapChange::Drain { id }), [Ok(Draining), Ok(Draining), Ok(Draining), gone(4), unknown(5)]);
        assert_eq!(
            all(&|id| MapChange::Retire { id, how: Retire::Drained }),
            [wrong(1, Joining, Draining), wrong(2, Active, Draining), Ok(Retired), gone(4), unknown(5)]
        );
        assert_eq!(
            all(&|id| MapChange::Retire { id, how: Retire::Lost }),
            [Ok(Retired), Ok(Retired), Ok(Retired), gone(4), unknown(5)]
        );
        assert_eq!(all(&|id| MapChange::Weight { id, weight: 5 }), [Ok(Joining), Ok(Active), Ok(Draining), gone(4), unknown(5)]);
        let twice = |at| Err(Error::Config(ConfigError::DuplicateSet { set: id(at) }));
        assert_eq!(all(&|id| MapChange::Add { id, weight: 1, zone: None }), [twice(1), twice(2), twice(3), gone(4), Ok(Joining)]);
    }

    #[test]
    fn what_a_change_does_not_name_stays_and_ids_stay_in_order() {
        let (map, zone) = (a_map(), "a/1".parse::<Zone>().unwrap());
        let added = map.with(&MapChange::Add { id: id(0), weight: 7, zone: Some(zone.clone()) }).unwrap();
        assert_eq!(added.sets[0], MapEntry { id: id(0), state: SetState::Joining, weight: 7, zone: Some(zone) });
        assert_eq!(added.sets[1..], map.sets);
        assert_eq!(SetMap::decode(&added.encode()), Some(added));
        let weighed = map.with(&MapChange::Weight { id: id(2), weight: 1_000 }).unwrap();
        assert_eq!(weighed.get(id(2)).unwrap().weight, 1_000);
        assert_eq!((&weighed.sets[0], &weighed.sets[2..]), (&map.sets[0], &map.sets[2..]));
        assert_eq!(weighed.quorum, map.quorum);
    }

    #[test]
    fn weights_out_of_range_are_refused() {
        for weight in [0, 1_001, u32::MAX] {
            for change in [MapChange::Weight { id: id(1), weight }, MapChange::Add { id: id(5), weight, zone: None }] {
                assert!(matches!(a_map().with(&change), Err(Error::Config(ConfigError::OutOfRange { name: "weight", .. }))));
            }
        }
    }

    #[test]
    fn the_last_set_cannot_be_retired_and_can_be_drained() {
        let alone = SetMap { sets: a_map().sets.split_off(2), ..a_map() };
        for how in [Retire::Drained, Retire::Lost] {
            assert_eq!(alone.with(&MapChange::Retire { id: id(3), how }), Err(ConfigError::NoSets.into()));
        }
        assert!(alone.with(&MapChange::Drain { id: id(3) }).is_ok());
    }

    /// A map that no replica can keep would put every replica of every SET out.
    #[test]
    fn sets_are_refused_when_their_map_would_be_too_long_to_be_kept() {
        let add = |map: &SetMap, at: u16, zone: Option<&str>| {
            map.with(&MapChange::Add { id: id(at), weight: 1, zone: zone.map(|zone| zone.parse().unwrap()) })
        };
        let empty = SetMap { version: 1, quorum: Quorum::new(3, 2, 2).unwrap(), sets: Vec::new() };
        let all = (0..1_000).try_fold(empty.clone(), |map, at| add(&map, at, None)).unwrap();
        assert_eq!(all.sets.len(), 1_000, "all there can be");
        let zone = Some("shenzhen-north-west/campus-0002");
        let mut map = empty;
        let refused = (0..1_000).find_map(|at| match add(&map, at, zone) {
            Ok(next) => {
                map = next;
                None
            }
            Err(error) => Some(error),
        });
        let max = crate::topology::map::MAP_BYTES_MAX;
        assert!(matches!(refused, Some(Error::Config(ConfigError::MapTooLong { max: of, .. })) if of == max), "{refused:?}");
        assert!(map.encode().len() <= max && map.sets.len() > 200, "{}", map.sets.len());
    }
}
