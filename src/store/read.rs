//! Reading one order.

use crate::order::OrderNumber;
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
