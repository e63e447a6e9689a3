//! What to do about a create with a request key, once the SETs have told which orders the key names. Pure.
//!
//! Normally there is one such order, or none. Several come of fail-over, of crashes and of SETs that could not be asked; then
//! their records say which of them stands:
//!
//! * one that another *supersedes* at its present version was given up before the other was sent;
//! * one that was on replicas which were away when another was placed or told, in an earlier epoch, had not been acknowledged by then:
//!   that other one says of which SETs it heard only a part, and in which epoch;
//! * one whose SET another holds *unverified* is the earlier one, acknowledged or not;
//! * of two on one SET, the one with the lower number was not there when the other was placed: it was never acknowledged.
//!
//! The order that this process has told for the key stands over all others, whatever their records say: at that time every SET was
//! asked, or is named in its record, and since then nobody but this process could place another. Only where it and another each
//! hold the other's SET unverified is that not enough.
//!
//! What somebody found and changed was told to somebody: where no record says of its number or its SET that it ends, it is left alone, and
//! named to the operator. Of others nothing can be said: the operator has to look, and nothing is changed. An order from more than a
//! day before another has nothing to do with it, unless that one says so and looked so far back: in between the key was forgotten and
//! used again. (A day is what a key is looked for at least, whatever the builder says now or said then.)

use crate::order::{OrderNumber, SetId};
use crate::replica::{Origin, RequestKey, Version};
use std::sync::Arc;

/// An order that the key names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Find {
    pub(super) number: OrderNumber,
    pub(super) version: Version,
    pub(super) origin: Arc<Origin>,
    /// It was read strongly. Others may be on fewer than W replicas.
    pub(super) is_sure: bool,
    /// It is the one that this process told for the key last.
    pub(super) is_told: bool,
    /// Somebody was told of it, and changed its payload.
    pub(super) is_changed: bool,
}

/// What to do.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Verdict {
    /// Read these strongly first, and decide again.
    Look(Vec<OrderNumber>),
    /// There is none. Where SETs could not be asked, its record will say so.
    Place,
    /// This one stands. `voids` are earlier ones, which must be made void at these versions; `changed` others that should be, but were
    /// changed by somebody who found them: those are left alone. Where `missing` names SETs, its record
    /// must be made to say first that they could not be asked: one of them may hold an order that it gave way to.
    Stands {
        number: OrderNumber,
        version: Version,
        unverified: Vec<SetId>,
        missing: Vec<SetId>,
        voids: Vec<(OrderNumber, Version)>,
        changed: Vec<OrderNumber>,
    },
    /// It was used with another payload.
    Reused(OrderNumber),
    /// These SETs could not be asked, and the caller wants certainty.
    Unverified(Vec<SetId>),
    /// It cannot be told which of these stands.
    Conflict(Vec<OrderNumber>),
}

/// How far apart orders of one key may be for one to be the other's earlier attempt without saying so, in days.
const NEAR_DAYS: i64 = 1;

/// Decides. `unasked` are the SETs of which nothing is known; `request` is what an order is to be created with, if one is.
pub(super) fn decide(finds: &[Find], unasked: &[SetId], request: Option<&RequestKey>, strict: bool) -> Verdict {
    let is_beaten = |find: &&Find| finds.iter().any(|other| other.beats(find));
    let standing: Vec<&Find> = finds.iter().filter(|find| !is_beaten(find)).collect();
    let is_forgotten = |find: &&Find| standing.iter().any(|other| find.was_forgotten_before(other));
    let left: Vec<&Find> = standing.iter().copied().filter(|find| !is_forgotten(find)).collect();
    let unsure: Vec<OrderNumber> = left.iter().filter(|find| !find.is_sure).map(|find| find.number).collect();
    if !unsure.is_empty() {
        return Verdict::Look(unsure);
    }
    match left[..] {
        [] if finds.is_empty() && strict && !unasked.is_empty() => Verdict::Unverified(unasked.to_vec()),
        [] if finds.is_empty() => Verdict::Place,
        [find] => stands(find, finds, unasked, request, strict),
        // Each of them gives way to another, or several to none.
        [] => conflict(finds.iter()),
        _ => conflict(left.into_iter()),
    }
}

fn conflict<'a>(finds: impl Iterator<Item = &'a Find>) -> Verdict {
    let mut numbers: Vec<OrderNumber> = finds.map(|find| find.number).collect();
    numbers.sort_unstable();
    Verdict::Conflict(numbers)
}

/// One of them stands, over all that it beats, that those beat, and so on.
fn stands(find: &Find, finds: &[Find], unasked: &[SetId], request: Option<&RequestKey>, strict: bool) -> Verdict {
    let first = find.origin.request_key.as_ref().map(|first| (first.payload_bytes, first.payload_crc));
    if request.is_some_and(|request| first != Some((request.payload_bytes, request.payload_crc))) {
        return Verdict::Reused(find.number);
    }
    let unverified = find.origin.unverified.clone();
    let is_missing = |set: &SetId| !find.is_told && !unverified.contains(set);
    let missing: Vec<SetId> = unasked.iter().copied().filter(is_missing).collect();
    if strict && !missing.is_empty() {
        return Verdict::Unverified(missing);
    }
    let mut beaten = vec![find];
    // Each turn takes one find, and none twice.
    let mut next = 0;
    while let Some(winner) = beaten.get(next).copied() {
        beaten.extend(finds.iter().filter(|other| winner.beats(other) && !beaten.contains(other)).collect::<Vec<_>>());
        next += 1;
    }
    let may_end = |other: &&&Find| finds.iter().any(|winner| winner.beats(other) && winner.may_end(other));
    let (voids, changed): (Vec<&Find>, Vec<&Find>) = beaten[1..].iter().partition(may_end);
    let voids = voids.into_iter().map(|find| (find.number, find.version)).collect();
    let changed = changed.into_iter().map(|find| find.number).collect();
    Verdict::Stands { number: find.number, version: find.version, unverified, missing, voids, changed }
}

impl Find {
    /// The other is an earlier one, and this took its place.
    fn beats(&self, other: &Find) -> bool {
        if self.number == other.number {
            return false;
        }
        if self.is_told || other.is_told {
            let is_forgotten = other.was_forgotten_before(self);
            let doubt_each_other = self.set() != other.set() && self.doubts(other) && other.doubts(self);
            return self.is_told && !is_forgotten && !doubt_each_other;
        }
        if other.supersedes(self) {
            return false;
        }
        if self.supersedes(other) {
            return true;
        }
        // Newer than this order says: somebody was told of it.
        if self.names(other).is_some() {
            return false;
        }
        if self.outlives(other) != other.outlives(self) {
            return self.outlives(other) && self.looked_for(other);
        }
        let days_after = self.days_after(other);
        if self.set() == other.set() {
            return self.number > other.number && days_after <= NEAR_DAYS;
        }
        // At midnight the earlier one may be of the later day.
        self.doubts(other) && !other.doubts(self) && self.looked_for(other) && days_after >= -NEAR_DAYS
    }

    /// Whether the other, which this one beats, may become void: what somebody was told of and changed only where the record says so.
    fn may_end(&self, other: &Find) -> bool {
        let asked_for = |find: &Find| find.origin.asked_for(find.version);
        let is_newer = self.set() == other.set() && asked_for(other) > asked_for(self);
        self.supersedes(other) || self.doubts(other) || !(other.is_changed || is_newer)
    }

    /// It has nothing to do with the other, and is older.
    pub(super) fn was_forgotten_before(&self, other: &Find) -> bool {
        let is_looked_for = other.origin.looked_from.is_none_or(|day| self.number.day() >= day);
        let is_mentioned = self.names(other).or(other.names(self)).is_some() || (other.doubts(self) && is_looked_for);
        !is_mentioned && other.days_after(self) > NEAR_DAYS
    }

    /// The other is of a day on which it would have been found.
    fn looked_for(&self, other: &Find) -> bool {
        match self.origin.looked_from {
            Some(day) => other.number.day() >= day,
            None => self.days_after(other) <= NEAR_DAYS,
        }
    }

    /// The version of the other that this one stands in for.
    fn names(&self, other: &Find) -> Option<Version> {
        self.origin.supersedes.iter().find(|(number, _)| *number == other.number).map(|(_, version)| *version)
    }

    /// Whether this one stands in for the other as that stands now.
    fn supersedes(&self, other: &Find) -> bool {
        self.names(other).is_some_and(|version| other.origin.asked_for(other.version) <= version)
    }

    /// Whether the other was there, and not acknowledged, when this one was placed or told.
    fn outlives(&self, other: &Find) -> bool {
        self.origin.outlives(other.set(), &other.origin, other.version)
    }

    /// Whether the other's SET could not be asked when this one was placed or confirmed.
    fn doubts(&self, other: &Find) -> bool {
        self.origin.unverified.contains(&other.set())
    }

    fn set(&self) -> SetId {
        self.number.set_id()
    }

    fn days_after(&self, other: &Find) -> i64 {
        self.number.day().to_unix_days() - other.number.day().to_unix_days()
    }
}

#[cfg(test)]
mod tests;
