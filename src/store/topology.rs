//! The SETs of an open store as they are at one moment: the map, who serves each of them, and the choice for new orders. Immutable,
//! and swapped whole, so that whoever looks sees one moment.

use super::health::{Link, Links};
use crate::error::Error;
use crate::order::SetId;
use crate::set::Shard;
use crate::topology::{Candidate, Choice, SetMap, SetState, Zone};
use arc_swap::Guard;
use std::ops::Deref;
use std::sync::Arc;

pub(super) struct Topology {
    pub(super) map: SetMap,
    /// By id; of all SETs of the map but the retired. A SET's place in here is what the choice picks; it shifts when SETs are added or
    /// retired, so it means something only beside this very topology.
    pub(super) shards: Vec<Arc<dyn Shard>>,
    /// What is known of their health, in the same places.
    pub(super) links: Vec<Arc<Link>>,
    /// The place in `shards` by SET id: routing is one look-up.
    route: Box<[u16; 1_000]>,
    pub(super) choice: Choice,
    /// Where this process runs.
    local: Option<Zone>,
}

const NO_SET: u16 = u16::MAX;
const RETIRED: u16 = NO_SET - 1;

impl Topology {
    /// `share`: how much of the weight of each SET counts, per mille.
    pub(super) fn new(
        map: SetMap,
        shards: Vec<Arc<dyn Shard>>,
        links: &Links,
        local: Option<Zone>,
        share: impl Fn(SetId) -> u32,
    ) -> Topology {
        assert!(
            shards.iter().map(|shard| shard.id()).eq(map.serving().map(|entry| entry.id)),
            "every SET of the map but the retired is served, in the same order"
        );
        let mut route = Box::new([NO_SET; 1_000]);
        for entry in map.sets.iter().filter(|entry| entry.state == SetState::Retired) {
            route[usize::from(entry.id.get())] = RETIRED;
        }
        for (place, shard) in (0u16..).zip(&shards) {
            route[usize::from(shard.id().get())] = place;
        }
        let choice = choice(&map, local.as_ref(), share);
        let links = shards.iter().map(|shard| links.add(shard.id())).collect();
        Topology { map, shards, links, route, choice, local }
    }

    /// The same SETs, changed as the map says; `shards` are those that serve it.
    pub(super) fn changed(
        &self,
        map: SetMap,
        shards: Vec<Arc<dyn Shard>>,
        links: &Links,
        share: impl Fn(SetId) -> u32,
    ) -> Topology {
        Topology::new(map, shards, links, self.local.clone(), share)
    }

    /// The same SETs with other shares of new orders.
    pub(super) fn with_shares(&self, share: impl Fn(SetId) -> u32) -> Topology {
        let (map, shards, links, local) = (self.map.clone(), self.shards.clone(), self.links.clone(), self.local.clone());
        Topology { choice: choice(&map, local.as_ref(), share), map, shards, links, route: self.route.clone(), local }
    }

    /// # Errors
    /// [`Error::UnknownSet`] and [`Error::SetRetired`].
    pub(super) fn place(&self, set: SetId) -> Result<usize, Error> {
        match self.route[usize::from(set.get())] {
            NO_SET => Err(Error::UnknownSet { set }),
            RETIRED => Err(Error::SetRetired { set }),
            place => Ok(usize::from(place)),
        }
    }

    /// # Errors
    /// As for [`Topology::place`].
    pub(super) fn shard(&self, set: SetId) -> Result<&Arc<dyn Shard>, Error> {
        self.place(set).map(|place| &self.shards[place])
    }

    /// The SETs that take new orders.
    pub(super) fn takers(&self) -> impl Iterator<Item = SetId> + '_ {
        self.map.serving().filter(|entry| entry.state.takes_orders()).map(|entry| entry.id)
    }

    /// The place of a SET, if it takes new orders.
    pub(super) fn taker(&self, set: SetId) -> Option<usize> {
        self.map.get(set).filter(|entry| entry.state.takes_orders()).and_then(|_| self.place(set).ok())
    }
}

fn choice(map: &SetMap, local: Option<&Zone>, share: impl Fn(SetId) -> u32) -> Choice {
    let takers = map.serving().enumerate().filter(|(_, entry)| entry.state.takes_orders());
    let candidates = takers.map(|(place, entry)| Candidate {
        place,
        id: entry.id,
        weight: entry.weight,
        share: share(entry.id),
        zone: entry.zone.clone(),
    });
    Choice::new(candidates, local)
}

/// A SET, for as long as a call takes: the topology that it was found in is kept meanwhile. Cheaper than a share of the SET itself.
pub(super) struct Found {
    topology: Guard<Arc<Topology>>,
    place: usize,
}

impl Found {
    /// # Errors
    /// As for [`Topology::place`].
    pub(super) fn new(topology: Guard<Arc<Topology>>, set: SetId) -> Result<Found, Error> {
        let place = topology.place(set)?;
        Ok(Found { topology, place })
    }
}

impl Deref for Found {
    type Target = dyn Shard;

    fn deref(&self) -> &(dyn Shard + 'static) {
        &*self.topology.shards[self.place]
    }
}
