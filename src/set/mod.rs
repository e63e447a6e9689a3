//! What a SET can do, and the one engine that does it today. An existing engine can stand beside it later.

mod answers;
pub(crate) mod replicated;
mod status;

pub use answers::{Order, Page, Placed};
pub use status::{Compared, ReplicaState, ReplicaStatus, SetState, SetStatus};

use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Pending;
use std::fmt;
use std::time::Instant;

/// A SET: orders are created in it, read and scanned. No call blocks.
pub(crate) trait Shard: Send + Sync + fmt::Debug {
    fn id(&self) -> SetId;

    /// Mints a number and writes the order under it.
    fn create(&self, payload: &[u8], deadline: Instant) -> Pending<Placed>;

    /// A strong read.
    fn get(&self, number: OrderNumber, deadline: Instant) -> Pending<Option<Order>>;

    /// Up to `limit` orders of `day` above `after`, each as strongly read as by `get`.
    fn scan_page(&self, day: Day, after: Option<OrderNumber>, limit: usize, deadline: Instant) -> Pending<Page>;

    /// The days on which there may be orders.
    fn days(&self, deadline: Instant) -> Pending<Vec<Day>>;

    fn status(&self) -> SetStatus;

    /// Answers once the replicas were compared after open.
    fn compared(&self) -> Pending<Compared>;

    fn accept_clock(&self);

    /// Gives up all days up to `day`, durably on a majority.
    fn raise_floor(&self, day: Day, deadline: Instant) -> Pending<()>;

    /// Ends what is under way, within the close timeout.
    fn close(&self) -> Pending<()>;
}
