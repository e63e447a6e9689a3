//! Reading a day in order of number.

use super::OrderStore;
use crate::error::Error;
use crate::order::{Day, SetId};
use crate::pending::Pending;
use crate::set::{Order, Page};
use std::fmt;

/// The orders of a day. After an error that speaks of one order it goes on with the next; after one that speaks of the SET
/// it ends.
pub struct Scan {
    store: OrderStore,
    set: SetId,
    day: Day,
    orders: std::vec::IntoIter<Result<Order, Error>>,
    /// The page after the one at hand, under way already; `None` at the end.
    following: Option<Pending<Page>>,
}

const PAGE: usize = 1_024;

impl Scan {
    pub(super) fn new(store: OrderStore, set: SetId, day: Day) -> Scan {
        let following = Some(store.scan_page(set, day, None, PAGE));
        Scan { store, set, day, orders: Vec::new().into_iter(), following }
    }
}

impl Iterator for Scan {
    type Item = Result<Order, Error>;

    fn next(&mut self) -> Option<Result<Order, Error>> {
        loop {
            if let Some(order) = self.orders.next() {
                return Some(order);
            }
            match self.following.take()?.wait() {
                Ok(page) => {
                    // The next page is read while this one is looked at.
                    self.following = page.next.map(|after| self.store.scan_page(self.set, self.day, Some(after), PAGE));
                    self.orders = page.orders.into_iter();
                }
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

impl fmt::Debug for Scan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Scan").field("set", &self.set).field("day", &self.day).finish_non_exhaustive()
    }
}
