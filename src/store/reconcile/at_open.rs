//! What is done before anybody is served.

use super::{PAGE, answer};
use crate::error::Error;
use crate::order::OrderNumber;
use crate::pending::{Pending, mark_as_ours};
use crate::set::{IndexPage, Shard};
use crate::store::Inner;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// For one answer, and for all of a SET.
const PATIENCE: Duration = Duration::from_secs(2);
const AT_OPEN: Duration = Duration::from_secs(20);

impl Inner {
    /// Before anybody is served: what was given up before an earlier process ended is shown to nobody. The newest days first, and
    /// all SETs at once. What a SET cannot tell in time is walked over in the background.
    pub(in crate::store) fn heed_newest(self: &Arc<Inner>) {
        let until = Instant::now() + self.settings.open_timeout.min(AT_OPEN);
        let shards: Vec<Arc<dyn Shard>> = self.topology.load().shards.clone();
        std::thread::scope(|scope| {
            for shard in &shards {
                let heed = move || {
                    mark_as_ours();
                    // A SET that fails is walked over again.
                    let _ = self.heed_at_open(&**shard, until);
                };
                // Without a thread it is left to the walk as well.
                let _ = std::thread::Builder::new().name("om-open".to_owned()).spawn_scoped(scope, heed);
            }
        });
    }

    fn heed_at_open(&self, shard: &dyn Shard, until: Instant) -> Result<(), Error> {
        let soon = || until.min(Instant::now() + PATIENCE);
        let days = shard.days(soon()).wait_timeout(2 * PATIENCE).unwrap_or(Err(Error::Closed))?;
        let last = |day| OrderNumber::new(day, OrderNumber::SEQUENCE_MAX, shard.id()).ok();
        for day in days.into_iter().rev() {
            let mut after = day.previous().and_then(last);
            // Each page ends above the one before, so this ends.
            loop {
                if Instant::now() >= until {
                    return Ok(());
                }
                let (promise, pending) = Pending::new();
                shard.noted(after, PAGE, soon(), promise);
                let IndexPage { entries: notes, next } = answer(pending)?;
                let of_day = notes.iter().filter(|note| note.number.day() == day);
                of_day.for_each(|note| note.supersedes.iter().for_each(|(number, version)| _ = self.doom(*number, *version)));
                match next {
                    Some(next) if next.day() == day && after.is_none_or(|after| after < next) => after = Some(next),
                    _ => break,
                }
            }
        }
        Ok(())
    }
}
