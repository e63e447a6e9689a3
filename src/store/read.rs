//! Reading one order.

use super::Compared;
use crate::error::Error;
use crate::order::OrderNumber;
use crate::pending::Pending;
use crate::replica::Version;
use bytes::Bytes;
use std::time::Duration;

/// An order as read.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Order {
    /// Its number.
    pub number: OrderNumber,
    /// Which of its versions this is.
    pub version: Version,
    /// The payload.
    pub value: Bytes,
    /// A newer version is known to exist. Never set by a strong read.
    pub stale: bool,
}

/// How to read.
#[derive(Clone, Debug)]
pub struct ReadOptions {
    pub(crate) deadline: Option<Duration>,
}

impl ReadOptions {
    /// A read that sees every write acknowledged before it, where R + W > N.
    #[must_use]
    pub fn strong() -> ReadOptions {
        ReadOptions { deadline: None }
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
