//! The walk over notes: numbers that orders stand in for, and SETs that could not be asked for an earlier order of a request key.

use super::{PAGE, PATIENCE, Reconciled, Scope, answer, answer_for};
use crate::error::Error;
use crate::heal::Alarm;
use crate::health::Side;
use crate::job::Course;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Pending;
use crate::replica::{Noted, Version};
use crate::set::{IndexPage, Keyed, Shard};
use crate::store::Inner;
use crate::store::keys::Settled;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

/// A key is looked for on 31 days at most, and the clock need not be on the day of the number.
const LOOKED_BACK_MAX: i64 = 31;

impl Inner {
    /// All notes, one SET after the other.
    pub(super) fn walk_notes(
        self: &Arc<Inner>,
        shards: &[Arc<dyn Shard>],
        course: &Course,
        scope: Scope,
        report: &mut Reconciled,
    ) -> Result<(), Error> {
        course.found(shards.len() as u64);
        let mut away = Vec::new();
        for shard in shards {
            self.check_open()?;
            if self.walk_notes_of(&**shard, course, scope, &mut away, report).is_err() {
                report.cannot_reach(shard.id());
            }
            course.did(1);
            report.cancelled = course.is_cancelled();
            if report.cancelled {
                break;
            }
        }
        Ok(())
    }

    /// All notes of a SET, page by page.
    fn walk_notes_of(
        self: &Arc<Inner>,
        shard: &dyn Shard,
        course: &Course,
        scope: Scope,
        away: &mut Vec<SetId>,
        report: &mut Reconciled,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let (promise, pending) = Pending::new();
            shard.noted(after, PAGE, Instant::now() + PATIENCE, promise);
            let IndexPage { entries: notes, next } = answer_for(course, pending)?;
            course.found(notes.len() as u64);
            for note in notes {
                if course.is_cancelled() {
                    return Ok(());
                }
                self.check_open()?;
                report.notes += 1;
                self.heed(&note, away, report);
                course.did(1);
            }
            match next {
                // Each page ends above the one before, so this ends.
                Some(next) if after.is_none_or(|after| after < next) => after = Some(next),
                _ => return Ok(()),
            }
            scope.pace();
        }
    }

    /// Does what one order's record says. `away` are SETs that could not be asked in this walk.
    fn heed(self: &Arc<Inner>, note: &Noted, away: &mut Vec<SetId>, report: &mut Reconciled) {
        let key = note.request_key.as_ref().map(|request| request.key.clone());
        for (number, version) in &note.supersedes {
            match &key {
                Some(key) if self.keys.has_told(key, *number) => self.end_unheard(note.number, key, *number),
                _ => _ = self.doom(*number, *version),
            }
        }
        let Some(key) = key else { return };
        let voids = self.voids.lock();
        let open: Vec<SetId> = note.unverified.iter().copied().filter(|set| !voids.is_verified(note.number, *set)).collect();
        drop(voids);
        if open.is_empty() {
            return;
        }
        // Where it needs one that is away there is no need to ask the others once more, for each such order.
        if away.iter().any(|set| !note.unverified.contains(set)) || open.iter().all(|set| away.contains(set)) {
            report.unverified += 1;
            return;
        }
        self.verify(note.number, &key, &open, away, report);
    }

    /// Looks for earlier orders under the key of `number`, which could not be done in these SETs when that was placed.
    fn verify(
        self: &Arc<Inner>,
        number: OrderNumber,
        key: &Bytes,
        sets: &[SetId],
        away: &mut Vec<SetId>,
        report: &mut Reconciled,
    ) {
        // As far back as anybody may have looked then.
        let since = Day::from_unix_days(number.day().to_unix_days() - LOOKED_BACK_MAX).unwrap_or(Day::MIN);
        let settled = answer(self.settle_key(key.clone(), Some((since, number)), Instant::now() + PATIENCE));
        let unasked = match settled {
            // It may be void, or in doubt and come to life yet: it is looked at again by the next walk.
            Ok(Settled { stands: None, .. }) => return,
            Ok(Settled { unasked, .. }) => unasked,
            Err(Error::KeyConflict { numbers }) => {
                self.alarm_of_key(&numbers);
                Vec::new()
            }
            Err(Error::KeyUnverified { sets: unasked }) => {
                away.extend(unasked);
                sets.to_vec()
            }
            Err(_) => sets.to_vec(),
        };
        report.unverified += u64::from(sets.iter().any(|set| unasked.contains(set)));
        let mut voids = self.voids.lock();
        sets.iter().filter(|set| !unasked.contains(set)).for_each(|set| voids.verified(number, *set));
    }

    /// Nobody can tell which of these orders of one key stands.
    pub(super) fn alarm_of_key(&self, numbers: &[OrderNumber]) {
        let mut voids = self.voids.lock();
        for pair in numbers.windows(2) {
            voids.alarm(Alarm::KeyTwice { numbers: [pair[0], pair[1]] });
        }
    }

    /// Whoever asked for that key was told the earlier number, before the note of this order could be heard: on a replica that was away.
    /// So it was on fewer than W, and nobody was told of this one. Where it is void already the void must not say any more that the one
    /// that was told ends: the next process would heed it.
    fn end_unheard(&self, number: OrderNumber, key: &Bytes, told: OrderNumber) {
        // What fails is tried again by the next walk.
        let Ok(found) = self.keyed(number.set_id(), key, number.day()) else { return };
        let unheard = found.iter().find(|found| found.number == number);
        if unheard.is_some_and(|unheard| unheard.is_changed) {
            // Somebody found it and changed it.
            let mut numbers = [told, number];
            numbers.sort_unstable();
            return self.alarm_of_key(&numbers);
        }
        self.disown(number, told);
        match unheard {
            Some(unheard) => _ = self.doom(number, unheard.version),
            // Whatever its version is.
            None => self.owe_void(number, Version { epoch: u32::MAX, counter: u64::MAX }),
        }
    }

    /// Says why a number ends, before it does.
    pub(in crate::store) fn disown(&self, number: OrderNumber, stands: OrderNumber) {
        if let Ok(shard) = self.shard(number.set_id()) {
            shard.disown(number, stands);
        }
    }

    /// A number that an order stands in for: shown to nobody from now on, and owed a void. Where somebody was shown it what stands decides
    /// when its turn comes: then this is `false`.
    pub(in crate::store) fn doom(&self, number: OrderNumber, version: Version) -> bool {
        let voids = self.voids.lock();
        if voids.is_done(number) {
            return voids.is_void(number);
        }
        drop(voids);
        let is_hidden = match self.shard(number.set_id()) {
            Ok(shard) => shard.give_up(number, version).is_some(),
            // It is gone for good, and the number with it.
            Err(Error::SetRetired { .. }) => return true,
            Err(_) => true,
        };
        self.owe_void(number, version);
        is_hidden
    }

    /// What a SET holds under a key. One that is not well is not asked: it would keep all others waiting, once for each note.
    fn keyed(&self, set: SetId, key: &Bytes, since: Day) -> Result<Vec<Keyed>, Error> {
        let (shard, (promise, pending)) = (self.shard(set)?, Pending::new());
        shard.keyed(key.clone(), since, Instant::now() + PATIENCE, self.watched(set, Side::Reads, promise)?);
        Ok(answer(pending)?.orders)
    }
}
