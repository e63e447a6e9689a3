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
/// | [`weak`](ReadOptions::weak) | R voters | where R + W > N and none lost it unnoticed; what it shows may be gone later | R voters answer |
/// | [`degraded`](ReadOptions::degraded) | every live copy, in limbo too | no | one copy that holds it answers |
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

    /// The newest that R voters hold; others are asked when some of those fail, are slow or hold less than
    /// [`at_least`](ReadOptions::at_least) wants. It writes nothing back, so a version that never reached W may be shown and be
    /// gone later, and it asks no more than R where replicas are known to differ. [`Order::stale`](crate::Order::stale) is set
    /// when a newer version is known to exist.
    #[must_use]
    pub fn weak() -> ReadOptions {
        ReadOptions { reading: Reading { strength: Strength::Weak, at_least: None }, deadline: None }
    }

    /// The newest that the live copies hold, also those in limbo, and with fewer than R left. All are asked; where one is slow,
    /// the others are taken at their word after 50 ms. [`Order::stale`](crate::Order::stale) is set when a newer version is known
    /// to exist. That there is no order is still only said when R voters say so: [`Error::QuorumLost`] otherwise.
    #[must_use]
    pub fn degraded() -> ReadOptions {
        ReadOptions { reading: Reading { strength: Strength::Degraded, at_least: None }, deadline: None }
    }

    /// This version or a newer one, or [`Error::Stale`]. With the last version that the caller wrote or saw, no read goes back
    /// behind it. Weak and degraded reads ask everybody before they give up, though a weak one passes by who has been silent for
    /// a second; a strong read asks no further than it would anyway. That an order was ended counts as a version, and reads as
    /// `None`.
    ///
    /// ```
    /// # use ordermint::{Error, OrderStore, ReadOptions, SetConfig, SetId, Version};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let placed = store.create("packed").wait()?;
    /// let mine = ReadOptions::weak().at_least(placed.version);
    /// let order = store.get_with(placed.number, mine).wait()?.expect("it was acknowledged");
    /// assert_eq!((&order.value[..], order.version), (&b"packed"[..], placed.version));
    /// let later = ReadOptions::weak().at_least(Version { counter: placed.version.counter + 1, ..placed.version });
    /// assert!(matches!(store.get_with(placed.number, later).wait(), Err(Error::Stale { .. })));
    /// # Ok::<(), Error>(())
    /// ```
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
