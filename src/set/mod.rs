//! What a SET can do, and the one engine that does it today. An existing engine can stand beside it later.

mod answers;
mod asks;
pub(crate) mod replicated;
mod status;

pub use answers::{Modified, Order, Page, Placed, Resolved};
pub use asks::Change;
pub(crate) use asks::{
    Asker, Caller, Creation, Edit, Ending, FailedCreate, IndexPage, KeyFound, Keyed, Listener, Reading, Strength, Trail,
};
pub(crate) use status::ShardStatus;
pub use status::{Compared, ReplicaState, ReplicaStatus};

use crate::error::{Error, WriteToken};
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::{Pending, Promise};
use crate::replica::{KeyUse, Noted, Origin, Version};
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

/// A SET: orders are created in it, read and scanned. No call blocks.
pub(crate) trait Shard: Send + Sync + fmt::Debug {
    fn id(&self) -> SetId;

    /// Mints a number and writes the order under it. Given back at once where nothing can be sent; later through the
    /// [`Listener`].
    ///
    /// # Errors
    /// As [`FailedCreate`] says. Boxed, as it is large and rare.
    fn create(&self, creation: Creation) -> Result<(), Box<FailedCreate>>;

    /// How full it is of what may be in flight, in thousandths.
    fn load(&self) -> u32;

    /// Gives up a number whose create is in doubt, or was in an earlier process: from now on nobody is shown it. Answers up to which
    /// version: that one, or a newer one under which it was tried to write it again. `None` where somebody was shown it already.
    fn give_up(&self, number: OrderNumber, version: Version) -> Option<Version>;

    /// Ends that again: the order was not placed under another number after all.
    fn take_back(&self, number: OrderNumber);

    /// `number` is to end because `stands` stands, although the order under `number` may say the reverse.
    fn disown(&self, number: OrderNumber, stands: OrderNumber);

    /// Makes void what was given up at `version`, unless something newer stands.
    fn end(&self, number: OrderNumber, version: Version, deadline: Instant, promise: Promise<Ending>);

    /// Up to `limit` of the orders above `after` that say that something is still to be done about others, and of the voids that took
    /// the place of such.
    fn noted(&self, after: Option<OrderNumber>, limit: usize, deadline: Instant, promise: Promise<IndexPage<Noted, OrderNumber>>);

    /// Up to `limit` uses of request keys by orders of `since` and later days, above `after`: whatever some replica says, whether there is
    /// still an order or not.
    fn keys(
        &self,
        since: Day,
        after: Option<KeyUse>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<KeyUse, KeyUse>>,
    );

    /// The orders of `since` and later days that a request key names here, ascending; without the void ones and those that were
    /// given up. What is told is what some replica holds: it may be on fewer than W, and is still to be read. But no order
    /// that was acknowledged before the call is left out.
    fn keyed(&self, key: Bytes, since: Day, deadline: Instant, promise: Promise<KeyFound>);

    /// The order under a number that [`Shard::keyed`] told, as strongly read as by `get`; `None` when there is none any more.
    fn keyed_at(&self, number: OrderNumber, deadline: Instant, promise: Promise<Option<Keyed>>);

    /// Writes an order again as it is, if it stands at `expected`, and has its record say `more` of how it came to be.
    fn confirm(&self, number: OrderNumber, expected: Version, more: Origin, deadline: Instant, promise: Promise<Version>);

    /// Writes and reads something that is no order, as a sign of life.
    fn probe(&self, deadline: Instant, promise: Promise<()>);

    /// The newest version, where this SET knows it without asking anybody and it answers `reading`.
    fn recent(&self, number: OrderNumber, reading: Reading) -> Option<Result<Option<Order>, Error>>;

    /// Asks the replicas.
    fn get(&self, number: OrderNumber, reading: Reading, deadline: Instant, promise: Promise<Option<Order>>);

    /// Writes `payload` if the order stands at `expected`.
    fn update(&self, number: OrderNumber, expected: Version, payload: &[u8], deadline: Instant, promise: Promise<Version>);

    /// Runs `edit` on the order in its turn. It always answers.
    fn modify(&self, number: OrderNumber, edit: Arc<dyn Edit>, deadline: Instant);

    /// Settles a write whose outcome is unknown.
    fn resolve(&self, token: WriteToken, asker: Asker, deadline: Instant, promise: Promise<Resolved>);

    /// Stops using a replica and closes it.
    fn take_out_replica(&self, index: u8) -> Result<(), Error>;

    /// Begins to open a replica that is away and to use it again.
    fn bring_back_replica(&self, index: u8) -> Result<(), Error>;

    /// Begins to let replicas in limbo vote again: what they lost is accepted as lost.
    fn accept_loss(&self) -> Result<(), Error>;

    /// Up to `limit` orders of `day` above `after`, each as strongly read as by `get`.
    fn scan_page(&self, day: Day, after: Option<OrderNumber>, limit: usize, deadline: Instant, promise: Promise<Page>);

    /// The days on which there may be orders.
    fn days(&self, deadline: Instant) -> Pending<Vec<Day>>;

    fn status(&self) -> ShardStatus;

    /// The epoch, the voters that are not silent, and whether they were compared: another value each time what one of them alone holds may
    /// be found that was not before.
    fn heard(&self) -> (u32, u16, bool);

    /// Answers once the replicas were compared after open.
    fn compared(&self) -> Pending<Compared>;

    fn accept_clock(&self);

    /// Gives up all days up to `day`, durably on a majority.
    fn raise_floor(&self, day: Day, deadline: Instant) -> Pending<()>;

    /// Keeps `map` as the SET map, in place of the one before. Answers once it is durable on so many replicas that nobody can
    /// claim this SET without seeing it.
    fn spread_map(&self, map: Bytes, deadline: Instant) -> Pending<()>;

    /// Ends what is under way, within the close timeout.
    fn close(&self) -> Pending<()>;
}
