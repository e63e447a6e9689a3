//! What a SET answers with: plain values.

use crate::error::Error;
use crate::order::{OrderNumber, SetId};
use crate::replica::Version;
use bytes::Bytes;

/// Where a new order went.
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Placed {
    /// Its number.
    pub number: OrderNumber,
    /// Its first version; for a repeated one, the version that stands.
    pub version: Version,
    /// How many attempts were sent to a SET; 1 where the first was stored, 0 for a repeated one.
    pub attempts: u8,
    /// Numbers that were tried first and given up: they are being made void, and never come to life.
    pub superseded: Vec<OrderNumber>,
    /// There was an order under that request key already, and this is it. Nothing was written, or nothing but which SETs could not be
    /// asked now, or only without some of their replicas, and which numbers of earlier tries were given up.
    pub repeated: bool,
    /// SETs that could not be asked whether they hold an order under that request key. Should one of them do, that one is
    /// made void when it is found, acknowledged or not. For a repeated order: all that could not be asked so far.
    pub unverified: Vec<SetId>,
}

impl Placed {
    /// Stored at the first attempt.
    pub(crate) fn at_once(number: OrderNumber, version: Version) -> Placed {
        Placed { number, version, attempts: 1, superseded: Vec::new(), repeated: false, unverified: Vec::new() }
    }

    /// Placed before, under the same request key.
    pub(crate) fn again(number: OrderNumber, version: Version, unverified: Vec<SetId>) -> Placed {
        Placed { number, version, attempts: 0, superseded: Vec::new(), repeated: true, unverified }
    }
}

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
    /// A newer version is known to exist, or may: a degraded read found it in a SET that is not well. Never set by a strong read.
    pub stale: bool,
}

/// A part of a day.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Page {
    /// In order of number; an error stands where orders cannot be read.
    pub orders: Vec<Result<Order, Error>>,
    /// Where the next page goes on; `None` at the end of the day.
    pub next: Option<OrderNumber>,
}

/// What came of a [`modify`](crate::OrderStore::modify).
#[derive(Clone, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub struct Modified<T> {
    /// The order's version after it. Changes that were made one right after the other may share one.
    pub version: Version,
    /// Whether the closure wrote.
    pub written: bool,
    /// What the closure gave.
    pub output: T,
}

/// What became of a write whose outcome was unknown. Final: it is never the other one later.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// It took effect, and is on W replicas or was followed by a write that saw it.
    Applied,
    /// It did not, and never will.
    NotApplied,
}

impl<T> Modified<T> {
    pub(crate) fn new(version: Version, written: bool, output: T) -> Modified<T> {
        Modified { version, written, output }
    }
}
