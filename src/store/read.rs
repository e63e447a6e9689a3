//! Reading one order.

use crate::error::Error;
use crate::pending::Pending;
use crate::replica::Version;
use crate::set::{Compared, Reading, Strength};
use std::time::Duration;

/// How to read one order.
///
/// | | asks | sees every acknowledged write | answers while |
/// |---|---|---|---|
/// | [`strong`](ReadOptions::strong) | R voters, all where they may differ | yes, where R + W > N | R voters answer |
/// | [`weak`](ReadOptions::weak) | R voters | where R + W > N; but what it shows may be gone later | R voters answer |
/// | [`degraded`](ReadOptions::degraded) | every live copy, in limbo too | no | one copy answers |
#[derive(Clone, Debug)]
pub struct ReadOptions {
    pub(super) reading: Reading,
    pub(super) deadline: Option<Duration>,
}

impl ReadOptions {
    /// A read that sees every write acknowledged before it, where R + W > N. The default.
    #[must_use]
    pub fn strong() -> ReadOptions {
        ReadOptions { reading: Reading { strength: Strength::Strong, at_least: None }, deadline: None }
    }

    /// The newest that R replicas hold. It writes nothing back, so a version that never reached W may be shown and be gone later.
    /// `stale` is set when a newer version is known to exist.
    #[must_use]
    pub fn weak() -> ReadOptions {
        ReadOptions { reading: Reading { strength: Strength::Weak, at_least: None }, deadline: None }
    }

    /// The newest that any live copy holds, also one in limbo, and with fewer than R left. `stale` is set when a newer version is
    /// known to exist. That there is no order is still only said when R voters say so.
    #[must_use]
    pub fn degraded() -> ReadOptions {
        ReadOptions { reading: Reading { strength: Strength::Degraded, at_least: None }, deadline: None }
    }

    /// This version or a newer one, or [`Error::Stale`]. With the last version that the caller wrote or saw, a weak read never
    /// goes back behind it.
    #[must_use]
    pub fn at_least(mut self, version: Version) -> ReadOptions {
        self.reading.at_least = Some(version);
        self
    }

    /// How long the operation may take, from the call on. Default: the store's.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> ReadOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// The sum over all SETs.
pub(super) fn all_compared(sets: Vec<Pending<Compared>>) -> Pending<Compared> {
    Pending::all(sets, |answers| {
        let mut sum = Compared::default();
        for answer in answers {
            let compared = answer?;
            sum.ranges += compared.ranges;
            sum.dirty += compared.dirty;
        }
        Ok(sum)
    })
}

/// The first failure, once all have ended.
pub(super) fn all_ended(sets: Vec<Pending<()>>) -> Pending<()> {
    Pending::all(sets, |answers: Vec<Result<(), Error>>| answers.into_iter().collect())
}
