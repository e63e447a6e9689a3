//! The walk over notes: numbers that orders stand in for, and SETs that could not be asked for an earlier order of a request key.

use super::two::{Two, of_two};
use super::{PAGE, PATIENCE, Reconciled, Scope, answer};
use crate::error::Error;
use crate::heal::Alarm;
use crate::health::Side;
use crate::job::Course;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Pending;
use crate::replica::{Noted, Version};
use crate::set::{IndexPage, Keyed, Shard};
use crate::store::Inner;
use bytes::Bytes;
use std::sync::Arc;
use std::time::Instant;

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
        for shard in shards {
            self.check_open()?;
            if self.walk_notes_of(&**shard, course, scope, report).is_err() {
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
        report: &mut Reconciled,
    ) -> Result<(), Error> {
        let mut after = None;
        loop {
            let (promise, pending) = Pending::new();
            shard.noted(after, PAGE, Instant::now() + PATIENCE, promise);
            let IndexPage { entries: notes, next } = answer(pending)?;
            course.found(notes.len() as u64);
            for note in notes {
                if course.is_cancelled() {
                    return Ok(());
                }
                self.check_open()?;
                report.notes += 1;
                self.heed(&note, report);
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

    /// Does what one order's record says.
    fn heed(self: &Arc<Inner>, note: &Noted, report: &mut Reconciled) {
        let key = note.request_key.as_ref().map(|request| request.key.clone());
        for (number, version) in &note.supersedes {
            match &key {
                Some(key) if self.keys.has_told(key, *number) => self.end_unheard(note.number, key, *number),
                _ => self.doom(*number, *version),
            }
        }
        let Some(key) = key else { return };
        for set in &note.unverified {
            if !self.voids.lock().is_verified(note.number, *set) && self.verify(note.number, &key, *set).is_err() {
                report.unverified += 1;
            }
        }
    }

    /// Whoever asked for that key was told the earlier number, before the note of this order could be heard: on a replica that was away.
    /// So it was on fewer than W, and nobody was told of this one. Where it is void already the void must not say any more that the one
    /// that was told ends: the next process would heed it.
    fn end_unheard(&self, number: OrderNumber, key: &Bytes, told: OrderNumber) {
        // What fails is tried again by the next walk.
        let Ok(found) = self.keyed(number.set_id(), key, number.day()) else { return };
        self.disown(number, told);
        match found.iter().find(|found| found.number == number) {
            Some(unheard) => self.doom(number, unheard.version),
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

    /// A number that an order stands in for: shown to nobody from now on, and owed a void.
    pub(super) fn doom(&self, number: OrderNumber, version: Version) {
        if self.voids.lock().is_done(number) {
            return;
        }
        match self.shard(number.set_id()) {
            // Where somebody was shown it, what stands decides when its turn comes.
            Ok(shard) => _ = shard.give_up(number, version),
            // It is gone for good, and the number with it.
            Err(Error::SetRetired { .. }) => return,
            Err(_) => {}
        }
        self.owe_void(number, version);
    }

    /// Looks in `set` for earlier orders under the key of `number`, which could not be done when that was placed.
    fn verify(self: &Arc<Inner>, number: OrderNumber, key: &Bytes, set: SetId) -> Result<(), Error> {
        let found = match self.keyed(set, key, self.keys_since(number.day())) {
            // It is gone for good, and its orders with it.
            Err(Error::SetRetired { .. }) => return Ok(()),
            found => found?,
        };
        // Where it is not found it may be void, or in doubt and come to life yet: it is looked at again by the next walk.
        let Some(later) = self.keyed_at(number)? else { return Ok(()) };
        let window = i64::from(self.settings.request_key_days) - 1;
        for earlier in found.into_iter().filter(|earlier| earlier.number != number) {
            match of_two(&earlier, &later, window) {
                Two::EarlierEnds => {
                    self.disown(earlier.number, number);
                    self.owe_void(earlier.number, earlier.version);
                }
                Two::Told => {}
                Two::Alarm => {
                    let mut numbers = [earlier.number, later.number];
                    numbers.sort_unstable();
                    self.voids.lock().alarm(Alarm::KeyTwice { numbers });
                }
            }
        }
        self.voids.lock().verified(number, set);
        Ok(())
    }

    /// What a SET holds under a key. One that is not well is not asked: it would keep all others waiting, once for each note.
    fn keyed(&self, set: SetId, key: &Bytes, since: Day) -> Result<Vec<Keyed>, Error> {
        let (shard, (promise, pending)) = (self.shard(set)?, Pending::new());
        shard.keyed(key.clone(), since, Instant::now() + PATIENCE, self.watched(set, Side::Reads, promise)?);
        answer(pending)
    }

    fn keyed_at(&self, number: OrderNumber) -> Result<Option<Keyed>, Error> {
        let (shard, (promise, pending)) = (self.shard(number.set_id())?, Pending::new());
        shard.keyed_at(number, Instant::now() + PATIENCE, self.watched(number.set_id(), Side::Reads, promise)?);
        answer(pending)
    }

    /// From which day on orders of one request key may belong together with one of `day`. Whoever created that looked from the day of the
    /// clock, which may have been the day before.
    fn keys_since(&self, day: Day) -> Day {
        (0..self.settings.request_key_days).try_fold(day, |day, _| day.previous()).unwrap_or(Day::MIN)
    }
}
