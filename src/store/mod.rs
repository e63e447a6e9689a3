//! The store: many SETs behind one handle.

mod builder;
mod create;
mod read;
mod scan;
mod status;
mod verify;

pub use builder::Builder;
pub use create::{CreateAll, CreateOptions, Placed};
pub use read::{Order, ReadOptions};
pub use scan::{Page, Scan};
pub use status::{Compared, ReplicaState, ReplicaStatus, SetState, SetStatus, Status};
pub use verify::{Finding, Verified, Where};

use crate::error::Error;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Pending;
use std::sync::Arc;

/// A handle to an open store. Cheap to clone; the store closes when the last clone is dropped, or at [`OrderStore::close`].
#[derive(Clone, Debug)]
pub struct OrderStore {
    _inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl OrderStore {
    /// How a store is described and opened.
    #[must_use]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Creates an order. It is sent at once; the answer comes when W replicas have synced it.
    pub fn create(&self, payload: impl AsRef<[u8]>) -> Pending<Placed> {
        self.create_with(payload, CreateOptions::new())
    }

    /// As [`OrderStore::create`], with options.
    pub fn create_with(&self, payload: impl AsRef<[u8]>, options: CreateOptions) -> Pending<Placed> {
        todo!()
    }

    /// Creates an order for each payload and gives the answers in input order, with a bounded window under way.
    /// Where the store is busy, it waits instead of failing.
    pub fn create_all<I>(&self, payloads: I) -> CreateAll<I::IntoIter>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        todo!()
    }

    /// The order under `number`, or `None` when there surely is none. A strong read.
    pub fn get(&self, number: OrderNumber) -> Pending<Option<Order>> {
        self.get_with(number, ReadOptions::strong())
    }

    /// As [`OrderStore::get`], with options.
    pub fn get_with(&self, number: OrderNumber, options: ReadOptions) -> Pending<Option<Order>> {
        todo!()
    }

    /// All orders of a day in a SET, in order of number; each as strongly read as by [`OrderStore::get`]. Blocks in `next`.
    pub fn scan(&self, set: SetId, day: Day) -> Scan {
        todo!()
    }

    /// Up to `limit` orders of a day above `after`.
    pub fn scan_page(&self, set: SetId, day: Day, after: Option<OrderNumber>, limit: usize) -> Pending<Page> {
        todo!()
    }

    /// The days on which a SET holds anything, ascending.
    pub fn days(&self, set: SetId) -> Pending<Vec<Day>> {
        todo!()
    }

    /// All that an operator asks. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        todo!()
    }

    /// Answers once the replicas' digests were compared, which starts at open; until then strong reads ask all voters.
    pub fn compared(&self) -> Pending<Compared> {
        todo!()
    }

    /// Says that the clock is right although it jumped by more than a day, for every SET.
    pub fn accept_clock(&self) {
        todo!()
    }

    /// Ends what is under way and closes, within the close timeout. Afterwards every call is [`Error::Closed`].
    pub fn close(&self) -> Pending<()> {
        todo!()
    }

    #[expect(dead_code, reason = "signatures first")]
    fn closed() -> Error {
        Error::Closed
    }
}
