//! The choice of SET for a new order: near ones first, shares by weight, and of two drawn the one with more room.
//!
//! Drawing two and taking the better keeps all SETs about equally full without looking at all of them, and does not send
//! everybody to the one that was emptiest a moment ago.

use super::zone::Distance;
use super::{SetMask, Zone};
use crate::order::SetId;

/// The share of a SET whose ramp is over, per mille of its weight.
pub(crate) const FULL_SHARE: u32 = 1_000;

/// A SET that takes new orders.
#[derive(Clone, Debug)]
pub(crate) struct Candidate {
    /// Where the store keeps it; what a pick names.
    pub(crate) place: usize,
    pub(crate) id: SetId,
    /// 1 to 1,000.
    pub(crate) weight: u32,
    /// How much of its weight counts, per mille.
    pub(crate) share: u32,
    pub(crate) zone: Option<Zone>,
}

/// The candidates, laid out for picking.
#[derive(Clone, Debug)]
pub(crate) struct Choice {
    /// Equally near ones together, the nearest first; none of them empty.
    tiers: Vec<Tier>,
}

#[derive(Clone, Debug)]
struct Tier {
    members: Vec<Member>,
    /// Running sums of their pulls: at most 10^9, so that 32 random bits reach each of them.
    ends: Vec<u64>,
}

#[derive(Clone, Debug)]
struct Member {
    place: usize,
    id: SetId,
    /// Weight times share.
    pull: u64,
    zone: Option<Zone>,
}

impl Choice {
    /// `local`: where this process runs; to one that does not say, all SETs are equally near.
    pub(crate) fn new(candidates: impl IntoIterator<Item = Candidate>, local: Option<&Zone>) -> Choice {
        let mut tiers: [Vec<Member>; 3] = Default::default();
        for Candidate { place, id, weight, share, zone } in candidates {
            assert!(weight <= 1_000 && share <= FULL_SHARE, "SET {id} with weight {weight} and a share of {share} per mille");
            let pull = u64::from(weight) * u64::from(share);
            if pull > 0 {
                tiers[Distance::between(local, zone.as_ref()) as usize].push(Member { place, id, pull, zone });
            }
        }
        Choice { tiers: tiers.into_iter().filter(|members| !members.is_empty()).map(Tier::new).collect() }
    }

    /// A place for an order. Of the nearest candidates that may be picked (not in `tried`, and `may` says yes to their place), two are
    /// drawn by weight and share, and the one wins that uses less of its room for what it should carry: `load` is the part of
    /// its room in use, per mille. For another attempt after one failed, `away_from` is the zone of the SET that failed: who stands
    /// elsewhere comes first then, before who is nearer. `None` when nobody may be picked.
    ///
    /// `random` is used up: its upper half draws the first, its lower half the second.
    pub(crate) fn pick(
        &self,
        random: u64,
        tried: &SetMask,
        away_from: Option<&Zone>,
        load: impl Fn(usize) -> u32,
        may: impl Fn(usize) -> bool,
    ) -> Option<usize> {
        let eligible = |member: &Member| !tried.contains(member.id) && may(member.place);
        if away_from.is_none() {
            let nearest = self.tiers.first()?;
            let (first, second) = (nearest.drawn(random >> 32), nearest.drawn(random & HALF));
            // Nearly always: nothing else is looked at.
            if eligible(first) && (first.place == second.place || eligible(second)) {
                return Some(roomier(first, second, load));
            }
        }
        self.look_at_all(random, away_from, load, eligible)
    }

    fn look_at_all(
        &self,
        random: u64,
        away_from: Option<&Zone>,
        load: impl Fn(usize) -> u32,
        eligible: impl Fn(&Member) -> bool,
    ) -> Option<usize> {
        // Whoever comes here mostly does so because of whom these bits point to: as they are, they would lean to one side of it.
        let random = mixed(random);
        let elsewhere = |member: &Member| member.zone.as_ref() != away_from && eligible(member);
        let mut picks = self.tiers.iter().map(|tier| tier.drawn_among(random, elsewhere));
        let outside = away_from.and_then(|_| picks.find_map(|pick| pick));
        let (first, second) = outside.or_else(|| self.tiers.iter().find_map(|tier| tier.drawn_among(random, &eligible)))?;
        Some(roomier(first, second, load))
    }
}

const HALF: u64 = u32::MAX as u64;

/// Each bit depends on all bits (the last step of SplitMix64).
fn mixed(bits: u64) -> u64 {
    let mixed = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

impl Tier {
    fn new(members: Vec<Member>) -> Tier {
        let sums = members.iter().scan(0, |sum, member| {
            *sum += member.pull;
            Some(*sum)
        });
        let ends: Vec<u64> = sums.collect();
        assert!(ends.last().is_some_and(|total| (1..=HALF).contains(total)), "32 bits reach every member");
        Tier { members, ends }
    }

    /// The member to which 32 random bits point.
    fn drawn(&self, half: u64) -> &Member {
        let last = self.ends.len() - 1;
        let point = (half * self.ends[last]) >> 32;
        &self.members[self.ends.partition_point(|end| *end <= point).min(last)]
    }

    /// The two members to which `random` points when only those that fit count; `None` when none does.
    fn drawn_among(&self, random: u64, fits: impl Fn(&Member) -> bool) -> Option<(&Member, &Member)> {
        let total: u64 = self.members.iter().filter(|member| fits(member)).map(|member| member.pull).sum();
        let point = |half: u64| (half * total) >> 32;
        let (mut first, mut second, mut last, mut sum) = (None, None, None, 0);
        for member in self.members.iter().filter(|member| fits(member)) {
            sum += member.pull;
            first = first.or((sum > point(random >> 32)).then_some(member));
            second = second.or((sum > point(random & HALF)).then_some(member));
            last = Some(member);
        }
        // Health may have changed between the two walks: then whoever fitted last is as good as any.
        Some((first.or(last)?, second.or(last)?))
    }
}

/// The one that uses less of its room for its pull; the first if both use the same, so that idle SETs get shares by weight alone.
fn roomier(first: &Member, second: &Member, load: impl Fn(usize) -> u32) -> usize {
    if first.place == second.place {
        return first.place;
    }
    // A heavier SET is meant to have more under way.
    let (used, other) = (u64::from(load(first.place)), u64::from(load(second.place)));
    if used * second.pull <= other * first.pull { first.place } else { second.place }
}

#[cfg(test)]
mod tests;
