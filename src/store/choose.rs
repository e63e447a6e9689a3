//! Which SET takes a new order: the choice of the topology, in which the breakers have a say.

use super::Inner;
use super::health::Link;
use super::topology::Topology;
use crate::error::Error;
use crate::health::Gate;
use crate::order::SetId;
use crate::set::Shard;
use crate::topology::SetMask;
use arc_swap::Guard;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A SET that an order is sent to, and leave to do so. The topology that it was found in is kept meanwhile.
pub(super) struct Chosen {
    topology: Guard<Arc<Topology>>,
    place: usize,
    pub(super) permit: u64,
}

impl Chosen {
    pub(super) fn shard(&self) -> &dyn Shard {
        &*self.topology.shards[self.place]
    }

    pub(super) fn link(&self) -> &Link {
        &self.topology.links[self.place]
    }
}

impl Inner {
    /// A SET for a new order that was not tried yet: one that has to be probed, else by zone, weight and room among those whose
    /// breaker is closed. One that is coming back takes its share only, unless nobody else would take the order.
    pub(super) fn choose(&self, tried: &[(SetId, Error)], now: Instant) -> Option<Chosen> {
        let topology = self.topology.load();
        // Asked for what is not simply closed alone.
        let now_ms = || self.links.shared.at_ms(now);
        let admitted = |place: usize| topology.links[place].admit_create(now_ms);
        // An order that has another attempt after this one: none is lost for finding out how a sick SET is.
        if tried.is_empty()
            && self.settings.attempts > 1
            && let Some(place) = self.links.shared.board.take_wanted().and_then(|set| topology.taker(set))
            && topology.links[place].health().budget.attempts() > 0
            && let Some(permit) = admitted(place)
        {
            return Some(Chosen { topology, place, permit });
        }
        let mut passed: SetMask = tried.iter().map(|(set, _)| *set).collect();
        let failed_in = doubtful_last(tried).and_then(|set| topology.map.get(set)?.zone.as_ref());
        // Each turn passes one SET by, so this ends.
        loop {
            let load = |place: usize| topology.shards[place].load();
            let pick = |gently: bool| {
                let may = |place: usize| {
                    let link = &topology.links[place];
                    let writes = &link.health().writes;
                    if gently { writes.takes_whole_share() || may_take(writes, now_ms()) } else { writes.is_closed() }
                };
                topology.choice.pick(fastrand::u64(..), &passed, failed_in, load, may)
            };
            let place = pick(true).or_else(|| pick(false))?;
            match admitted(place) {
                Some(permit) => return Some(Chosen { topology, place, permit }),
                None => passed.insert(topology.shards[place].id()),
            }
        }
    }

    /// How many creates that are late on `set` could be tried elsewhere now.
    pub(super) fn alternatives(&self, set: SetId) -> u64 {
        let (now_ms, topology) = (self.now_ms(), self.topology.load());
        let paid = self.links.get(set).map_or(0, |link| link.health().budget.attempts());
        let is_well = |other: SetId| {
            let has_room = topology.shard(other).is_ok_and(|shard| shard.load() < 1_000);
            has_room && self.links.get(other).is_some_and(|link| link.health().writes.share_permille(now_ms) > 0)
        };
        if topology.takers().any(|other| other != set && is_well(other)) { paid } else { 0 }
    }

    /// How many SETs take new orders and were not tried yet.
    pub(super) fn untried(&self, tried: &[(SetId, Error)]) -> usize {
        self.topology.load().takers().filter(|set| tried.iter().all(|(tried, _)| tried != set)).count()
    }

    /// The SETs that were not asked, as their breakers are open, and when they may be again.
    pub(super) fn unavailable(&self, tried: &[(SetId, Error)]) -> Vec<(SetId, Duration)> {
        let (now_ms, topology) = (self.now_ms(), self.topology.load());
        let untried = topology.takers().filter(|set| tried.iter().all(|(tried, _)| tried != set));
        let linked = untried.filter_map(|set| self.links.get(set));
        linked.map(|link| (link.set(), Duration::from_millis(link.health().writes.retry_after_ms(now_ms)))).collect()
    }
}

/// The SET that an order was sent to last, and that did not confirm it: its campus may be at fault. One that was busy, or whose day is
/// full, says nothing about its neighbours.
fn doubtful_last(tried: &[(SetId, Error)]) -> Option<SetId> {
    let is_doubtful = |error: &Error| matches!(error, Error::Ambiguous { .. });
    tried.iter().rev().find(|(_, error)| is_doubtful(error)).map(|(set, _)| *set)
}

/// Whether its breaker lets orders through; while that is coming back, only its share of them.
fn may_take(writes: &Gate, now_ms: u64) -> bool {
    match writes.share_permille(now_ms) {
        0 => false,
        1_000 => true,
        share => fastrand::u32(..1_000) < share,
    }
}
