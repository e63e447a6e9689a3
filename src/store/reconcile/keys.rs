//! The walk over request keys: the uses of all SETs, joined in the order of the keys. A key that names several orders is looked at as a
//! create with it would, but for placing another.

use super::{PAGE, PATIENCE, Reconciled, Scope, answer};
use crate::error::Error;
use crate::heal::Alarm;
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

/// For all that one key takes. Creates with that key wait so long.
const KEY_PATIENCE: Duration = Duration::from_secs(2);
/// Of one key so many numbers are told apart.
const NUMBERS_MAX: usize = 64;

/// What is left of the uses of one SET.
struct Uses {
    shard: Arc<dyn Shard>,
    page: VecDeque<KeyUse>,
    /// Where the next page goes on.
    after: Option<KeyUse>,
    is_last_page: bool,
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
        // Each turn takes at least one use, or is the last.
        while !course.is_cancelled() {
            self.check_open()?;
            for uses in &mut sets {
                uses.fill(since, course, scope, report);
            }
            let first = sets.iter().filter_map(|uses| uses.page.front()).min();
            let Some(key) = first.map(|used| used.key.clone()) else { return Ok(()) };
            let mut numbers = Vec::new();
            for uses in &mut sets {
                uses.take(&key, since, course, scope, report, &mut numbers);
            }
            self.see_to(&key, numbers, report);
        }
        report.cancelled = true;
        Ok(())
    }

    /// Has it come to rest which of these orders stands.
    fn see_to(self: &Arc<Inner>, key: &Bytes, mut numbers: Vec<OrderNumber>, report: &mut Reconciled) {
        if numbers.len() > 1 {
            let voids = self.voids.lock();
            numbers.retain(|number| !voids.is_done(*number));
        }
        if numbers.len() < 2 {
            return;
        }
        match answer(self.settle_key(key.clone(), Instant::now() + KEY_PATIENCE)) {
            Ok(()) => {}
            Err(Error::KeyConflict { numbers }) => {
                let mut voids = self.voids.lock();
                for pair in numbers.windows(2) {
                    voids.alarm(Alarm::KeyTwice { numbers: [pair[0], pair[1]] });
                }
            }
            Err(_) => report.undecided += 1,
        }
    }
}

impl Uses {
    fn of(shard: &Arc<dyn Shard>) -> Uses {
        Uses { shard: Arc::clone(shard), page: VecDeque::new(), after: None, is_last_page: false }
    }

    /// Has something of the next page, where there is one.
    fn fill(&mut self, since: Day, course: &Course, scope: Scope, report: &mut Reconciled) {
        // Each page ends above the one before, so this ends.
        while self.page.is_empty() && !self.is_last_page {
            if self.after.is_some() {
                scope.pace();
            }
            let (promise, pending) = Pending::new();
            self.shard.keys(since, self.after.clone(), PAGE, Instant::now() + PATIENCE, promise);
            let Ok(IndexPage { entries, next }) = answer(pending) else {
                self.is_last_page = true;
                return report.cannot_reach(self.shard.id());
            };
            course.found(entries.len() as u64);
            report.keys += entries.len() as u64;
            self.is_last_page = next.is_none() || next <= self.after;
            (self.page, self.after) = (entries.into(), next);
        }
    }

    /// Takes what this SET says of `key`.
    fn take(
        &mut self,
        key: &Bytes,
        since: Day,
        course: &Course,
        scope: Scope,
        report: &mut Reconciled,
        numbers: &mut Vec<OrderNumber>,
    ) {
        while let Some(used) = self.page.front().filter(|used| used.key == *key) {
            if numbers.len() < NUMBERS_MAX {
                numbers.push(used.number);
            }
            self.page.pop_front();
            course.did(1);
            self.fill(since, course, scope, report);
        }
    }
}
