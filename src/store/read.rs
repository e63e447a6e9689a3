//! Reading one order.

use crate::error::Error;
use crate::pending::Pending;
use crate::set::Compared;
use std::time::Duration;

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
