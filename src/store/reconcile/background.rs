//! Walks in the background: when the next one is due.

use super::{Reconciled, Scope};
use crate::job::Job;
use crate::order::SetId;
use crate::store::Inner;
use crate::store::keeper;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// After a walk that left something that it could not see to, and after one that left nothing.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(60);
/// When the next one is due while one is under way: its end says.
const LATER: Duration = Duration::from_secs(86_400);
/// After a walk over request keys so many times as long as it took: it costs little, however many there are.
const KEYS_REST_SHARE: u32 = 20;

/// The walks in the background: over notes, and over request keys, which may be many more.
#[derive(Debug, Default)]
pub(in crate::store) struct Walks {
    notes: Round,
    keys: Round,
    /// Which replicas were heard when that was looked at last. What only one of them holds surfaces when it begins to be heard.
    heard: Vec<(SetId, (u32, u16, bool))>,
}

/// One walk after the other.
#[derive(Debug, Default)]
struct Round {
    /// When the next one begins; `None` before the first.
    due: Option<Instant>,
    under_way: Option<(Job<Reconciled>, Instant)>,
}

/// Walks over everything now and then: soon where something was left, seldom where nothing was. A chore of the keeper.
pub(in crate::store) fn tend(store: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let heard: Vec<_> = store.topology.load().shards.iter().map(|shard| (shard.id(), shard.heard())).collect();
    let mut walks = store.background.lock();
    if walks.heard != heard {
        walks.heard = heard;
        walks.notes.hasten(now);
        walks.keys.hasten(now);
    }
    let begins = [(Scope::Notes, walks.notes.tend(now, 0)), (Scope::Keys, walks.keys.tend(now, KEYS_REST_SHARE))];
    for scope in begins.into_iter().filter_map(|(scope, begins)| begins.then_some(scope)) {
        let (job, promise, course) = Job::new();
        let round = if scope == Scope::Keys { &mut walks.keys } else { &mut walks.notes };
        round.under_way = Some((job, now));
        Arc::clone(store).begin_walk(course, scope, promise);
    }
    walks.notes.next(now).min(walks.keys.next(now))
}

impl Round {
    /// Looks whether the walk under way is over, and says whether the next one begins.
    fn tend(&mut self, now: Instant, rest_share: u32) -> bool {
        if let Some((job, began)) = self.under_way.take() {
            match job.wait_timeout(Duration::ZERO) {
                Err(job) => self.under_way = Some((job, began)),
                Ok(report) => {
                    // What only waits for its turn, or for a replica that is away, needs no walk.
                    let pause = if report.is_ok_and(|report| report.saw_to_all()) { REST } else { AGAIN_AFTER };
                    let took = now.saturating_duration_since(began);
                    // Unless somebody wants one sooner; but it rests as long as it took.
                    let (rest, least) = (pause.max(took * rest_share), AGAIN_AFTER.max(took));
                    self.due = self.due.map(|due| due.min(now + rest).max(now + least));
                }
            }
        }
        let begins = self.under_way.is_none() && self.due.is_none_or(|due| due <= now);
        if begins {
            self.due = Some(now + LATER);
        }
        begins
    }

    /// Something may have surfaced. At once where nothing is under way; a walk that is may have been there already, so there is one more.
    fn hasten(&mut self, now: Instant) {
        self.due = self.due.map(|due| due.min(now));
    }

    fn next(&self, now: Instant) -> Option<Instant> {
        let soon = now + keeper::EVERY;
        Some(if self.under_way.is_some() { soon } else { self.due.unwrap_or(soon) })
    }
}

impl Inner {
    /// An order was placed while a SET could not be asked: it is asked soon.
    pub(in crate::store) fn want_walk(&self) {
        let mut walks = self.background.lock();
        let soon = Instant::now() + AGAIN_AFTER;
        walks.notes.hasten(soon);
        drop(walks);
        self.bell.ring();
    }
}
