//! Placing a new order.

use crate::error::Error;
use crate::order::OrderNumber;
use crate::replica::Version;
use std::time::Duration;

/// Where a new order went.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Placed {
    /// Its number.
    pub number: OrderNumber,
    /// Its first version.
    pub version: Version,
}

/// How to create.
#[derive(Clone, Debug, Default)]
pub struct CreateOptions {
    pub(crate) deadline: Option<Duration>,
}

impl CreateOptions {
    /// The defaults.
    #[must_use]
    pub fn new() -> CreateOptions {
        CreateOptions::default()
    }

    /// How long the operation may take, from the call on. Default: the store's.
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> CreateOptions {
        self.deadline = Some(deadline);
        self
    }
}

/// The answers to [`create_all`](crate::OrderStore::create_all), in input order. Dropping it leaves what was sent under way.
#[derive(Debug)]
pub struct CreateAll<I> {
    _payloads: I,
}

#[expect(clippy::todo, reason = "signatures first")]
impl<I> Iterator for CreateAll<I>
where
    I: Iterator,
    I::Item: AsRef<[u8]>,
{
    type Item = Result<Placed, Error>;

    fn next(&mut self) -> Option<Result<Placed, Error>> {
        todo!()
    }
}
