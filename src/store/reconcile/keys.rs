//! The walk over request keys: the uses of all SETs, joined in the order of the keys. A key that names several orders is looked at as a
//! create with it would, but for placing another.

use super::{PATIENCE, Reconciled, Scope, answer, answer_for};
use crate::error::Error;
use crate::job::Course;
use crate::order::{Day, OrderNumber};
use crate::pending::Pending;
use crate::replica::KeyUse;
use crate::set::{IndexPage, Shard};
use crate::store::Inner;
use bytes::Bytes;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Uses asked for at once.
const PAGE: usize = 1_024;
/// For all that one key takes. Creates with that key wait so long.
const KEY_PATIENCE: Duration = Duration::from_secs(2);
/// Of one key so many numbers are told apart.
const NUMBERS_MAX: usize = 64;

/// A walk under way.
struct Walk<'a> {
    inner: &'a Arc<Inner>,
    since: Day,
    course: &'a Course,
    scope: Scope,
    report: &'a mut Reconciled,
}

/// What is left of the uses of one SET.
struct Uses {
    shard: Arc<dyn Shard>,
    page: VecDeque<KeyUse>,
    /// The next page, on its way.
    asked: Option<Pending<IndexPage<KeyUse, KeyUse>>>,
    /// Where the next page goes on.
    after: Option<KeyUse>,
    is_over: bool,
}

impl Inner {
    /// All keys on which a create would find an order today.
    pub(super) fn walk_keys(
        self: &Arc<Inner>,
        shards: &[Arc<dyn Shard>],
        course: &Course,
        scope: Scope,
        report: &mut Reconciled,
    ) -> Result<(), Error> {
        let since = self.keys.since(&self.settings).map_err(|reason| Error::NotAttempted { reason })?;
        // A SET that told no notes either is not waited for once more.
        let shards = shards.iter().filter(|shard| !report.unreachable.contains(&shard.id()));
        let mut sets: Vec<Uses> = shards.map(Uses::of).collect();
        let mut walk = Walk { inner: self, since, course, scope, report };
        // Each turn takes at least one use, or is the last.
        while !course.is_cancelled() {
            self.check_open()?;
            // All at once, so that several that hang are waited for once.
            sets.iter_mut().for_each(|uses| uses.ask(&walk));
            sets.iter_mut().for_each(|uses| uses.fill(&mut walk));
            let first = sets.iter().filter_map(|uses| uses.page.front()).min();
            let Some(key) = first.map(|used| used.key.clone()) else { return Ok(()) };
            let mut numbers = Vec::new();
            sets.iter_mut().for_each(|uses| uses.take(&key, &mut numbers, &mut walk));
            walk.see_to(&key, numbers);
        }
        walk.report.cancelled = true;
        Ok(())
    }
}

impl Walk<'_> {
    /// Has it come to rest which of these orders stands.
    fn see_to(&mut self, key: &Bytes, mut numbers: Vec<OrderNumber>) {
        if numbers.len() > 1 {
            self.forget_void(&mut numbers);
        }
        if numbers.len() < 2 {
            return;
        }
        // It would wait for that SET with the turn on the key, and decide nothing.
        if !self.report.unreachable.is_empty() {
            self.report.undecided += 1;
            return;
        }
        match answer(self.inner.settle_key(key.clone(), None, Instant::now() + KEY_PATIENCE)) {
            Ok(_) => {}
            Err(Error::KeyConflict { numbers }) => self.inner.alarm_of_key(&numbers),
            Err(_) => self.report.undecided += 1,
        }
    }

    fn forget_void(&self, numbers: &mut Vec<OrderNumber>) {
        let voids = self.inner.voids.lock();
        numbers.retain(|number| !voids.is_void(*number));
    }
}

impl Uses {
    fn of(shard: &Arc<dyn Shard>) -> Uses {
        Uses { shard: Arc::clone(shard), page: VecDeque::new(), asked: None, after: None, is_over: false }
    }

    /// Asks for the next page, where there is one and nothing is left of this one.
    fn ask(&mut self, walk: &Walk<'_>) {
        if !self.page.is_empty() || self.is_over || self.asked.is_some() {
            return;
        }
        if self.after.is_some() {
            walk.scope.pace();
        }
        let (promise, pending) = Pending::new();
        self.shard.keys(walk.since, self.after.clone(), PAGE, Instant::now() + PATIENCE, promise);
        self.asked = Some(pending);
    }

    /// Waits for what was asked for. A page may be empty and not the last: then the next one is asked for.
    fn fill(&mut self, walk: &mut Walk<'_>) {
        // Each page ends above the one before, so this ends.
        while let Some(pending) = self.asked.take() {
            let Ok(IndexPage { entries, next }) = answer_for(walk.course, pending) else {
                self.is_over = true;
                return walk.report.cannot_reach(self.shard.id());
            };
            walk.course.found(entries.len() as u64);
            walk.report.keys += entries.len() as u64;
            self.is_over = next.is_none() || next <= self.after;
            (self.page, self.after) = (entries.into(), next);
            self.ask(walk);
        }
    }

    /// Takes what this SET says of `key`.
    fn take(&mut self, key: &Bytes, numbers: &mut Vec<OrderNumber>, walk: &mut Walk<'_>) {
        while let Some(used) = self.page.front().filter(|used| used.key == *key) {
            if numbers.len() >= NUMBERS_MAX {
                walk.forget_void(numbers);
            }
            if numbers.len() < NUMBERS_MAX {
                numbers.push(used.number);
            }
            self.page.pop_front();
            walk.course.did(1);
            self.ask(walk);
            self.fill(walk);
        }
    }
}
