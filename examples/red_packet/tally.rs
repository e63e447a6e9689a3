//! What everybody counts while it happens.

use ordermint::Error;
use parking_lot::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

/// Counts go up only; nothing is decided by them but what to show.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    /// Packets whose life is over.
    pub(crate) packets: AtomicU64,
    /// Shares opened and acknowledged.
    pub(crate) opens: AtomicU64,
    /// Visitors who had received already.
    pub(crate) again: AtomicU64,
    /// Visitors who came too late.
    pub(crate) empty: AtomicU64,
    /// Updates refused because the version was not the one that stood.
    pub(crate) mismatches: AtomicU64,
    /// Tries that changed nothing and were repeated.
    pub(crate) tries: AtomicU64,
    /// Times that somebody was told that the packet's SET is away, and those among them that were told at once.
    pub(crate) told_away: AtomicU64,
    pub(crate) told_at_once: AtomicU64,
    /// How long it was away.
    pub(crate) away_ms: AtomicU64,
    /// Packets that were placed anew on another SET, since the first attempt was not confirmed.
    pub(crate) reminted: AtomicU64,
    /// Packets that were placed while a SET could not be asked whether it holds one with their request key.
    pub(crate) unverified: AtomicU64,
    /// Creates in doubt that were asked once more under their request key.
    pub(crate) asked_again: AtomicU64,
    /// Writes in doubt, as callers heard of them, and what they came to.
    pub(crate) ambiguous: AtomicU64,
    pub(crate) applied: AtomicU64,
    pub(crate) not_applied: AtomicU64,
    pub(crate) superseded: AtomicU64,
    pub(crate) unsettled: AtomicU64,
    /// Steps that failed for good.
    pub(crate) failures: AtomicU64,
    /// What the first of them said.
    said: Mutex<Vec<String>>,
    /// The last reason for another try.
    reason: Mutex<Option<String>>,
}

const SAID_MAX: usize = 10;
/// What counts as at once.
pub(crate) const AT_ONCE: Duration = Duration::from_millis(10);

impl Tally {
    pub(crate) fn add(count: &AtomicU64) {
        count.fetch_add(1, Relaxed);
    }

    pub(crate) fn failed(&self, what: &str) {
        Tally::add(&self.failures);
        let mut said = self.said.lock();
        if said.len() < SAID_MAX {
            said.push(what.to_owned());
        }
    }

    pub(crate) fn tried_again(&self, error: &Error) {
        Tally::add(&self.tries);
        *self.reason.lock() = Some(error.to_string());
    }

    /// Somebody was told, after so long, that the packet's SET is away.
    pub(crate) fn told_away(&self, after: Duration) {
        Tally::add(&self.told_away);
        if after <= AT_ONCE {
            Tally::add(&self.told_at_once);
        }
    }

    /// What the first failures said.
    pub(crate) fn said(&self) -> Vec<String> {
        self.said.lock().clone()
    }

    pub(crate) fn last_reason(&self) -> Option<String> {
        self.reason.lock().clone()
    }
}
