//! Reading a day in order of number.

use super::read::Order;
use crate::error::Error;
use crate::order::OrderNumber;

/// A part of a day.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Page {
    /// In order of number; an error stands where orders cannot be read.
    pub orders: Vec<Result<Order, Error>>,
    /// Where the next page goes on; `None` at the end of the day.
    pub next: Option<OrderNumber>,
}

/// The orders of a day. After an error it goes on with the next order where it can, and ends where it cannot.
#[derive(Debug)]
pub struct Scan {}

#[expect(clippy::todo, reason = "signatures first")]
impl Iterator for Scan {
    type Item = Result<Order, Error>;

    fn next(&mut self) -> Option<Result<Order, Error>> {
        todo!()
    }
}
