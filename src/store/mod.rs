//! The store: many SETs behind one handle.

mod builder;
mod create;
mod open;
mod read;
mod scan;
mod status;
mod verify;

pub use builder::Builder;
pub use create::{CreateAll, CreateOptions};
pub use read::ReadOptions;
pub use scan::Scan;
pub use status::Status;
pub use verify::{Finding, Verified, Where};

use crate::config::Settings;
use crate::error::Error;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::Pending;
use crate::set::{Compared, Order, Page, Placed, Shard};
use crate::topology::{Choice, SetMap};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

/// A handle to an open store. Cheap to clone; the store closes when the last clone is dropped, or at [`OrderStore::close`].
///
/// ```
/// use ordermint::{OrderStore, Quorum, SetConfig, SetId};
///
/// let store = OrderStore::builder()
///     .quorum(Quorum::new(3, 2, 2)?)
///     .add_set(SetConfig::new(SetId::new(7)?).in_memory(3)) // `.replicas(["a", "b", "c"])` keeps them on disk
///     .open()?;
/// let placed = store.create("two tickets").wait()?;
/// assert_eq!(placed.number.set_id(), SetId::new(7)?);
/// assert_eq!(store.get(placed.number).wait()?.expect("acknowledged").value, "two tickets");
/// store.close().wait()?;
/// # Ok::<(), ordermint::Error>(())
/// ```
#[derive(Clone)]
pub struct OrderStore {
    inner: Arc<Inner>,
}

struct Inner {
    store: u128,
    map: SetMap,
    settings: Settings,
    /// By id.
    shards: Vec<Box<dyn Shard>>,
    /// The place in `shards` by SET id, `NO_SET` where there is none: routing is one look-up.
    route: Box<[u16; 1000]>,
    choice: Choice,
    ticks: AtomicU64,
}

const NO_SET: u16 = u16::MAX;

impl Inner {
    fn new(store: u128, map: SetMap, settings: Settings, shards: Vec<Box<dyn Shard>>) -> Inner {
        let mut route = Box::new([NO_SET; 1000]);
        for (place, shard) in (0u16..).zip(&shards) {
            route[usize::from(shard.id().get())] = place;
        }
        let choice = Choice::new(shards.iter().map(|shard| shard.status().weight));
        Inner { store, map, settings, shards, route, choice, ticks: AtomicU64::new(0) }
    }

    fn shard(&self, set: SetId) -> Result<&dyn Shard, Error> {
        let place = usize::from(self.route[usize::from(set.get())]);
        self.shards.get(place).map(|shard| &**shard).ok_or(Error::UnknownSet { set })
    }

    /// When an operation called now must have ended.
    fn deadline(&self, given: Option<Duration>) -> Instant {
        // An hour is what a builder may ask for at most; more would only hide a hang.
        let patience = given.unwrap_or(self.settings.deadline).min(Duration::from_secs(3_600));
        Instant::now() + patience
    }
}

impl OrderStore {
    /// How a store is described and opened.
    #[must_use = "a builder does nothing before `open`"]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Creates an order. It is sent at once; the answer comes when W replicas have synced it.
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::ValueTooLarge`]; [`Error::NotAttempted`] when nothing was sent; [`Error::Ambiguous`]
    /// when it was sent and too few replicas confirmed it in time; [`Error::Closed`].
    pub fn create(&self, payload: impl AsRef<[u8]>) -> Pending<Placed> {
        self.create_with(payload, CreateOptions::new())
    }

    /// As [`OrderStore::create`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::create`].
    pub fn create_with(&self, payload: impl AsRef<[u8]>, options: CreateOptions) -> Pending<Placed> {
        create::create(&self.inner, payload.as_ref(), options)
    }

    /// Creates an order for each payload and gives the answers in input order, with a bounded window under way.
    /// Where the store is busy it waits, within the deadline, instead of failing. Blocks in `next`.
    ///
    /// ```
    /// # use ordermint::{OrderStore, SetConfig, SetId};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let lines = ["one", "two", "three"];
    /// let numbers = store.create_all(lines).map(|placed| Ok(placed?.number)).collect::<Result<Vec<_>, ordermint::Error>>()?;
    /// assert_eq!(numbers.len(), 3);
    /// # Ok::<(), ordermint::Error>(())
    /// ```
    pub fn create_all<I>(&self, payloads: I) -> CreateAll<I::IntoIter>
    where
        I: IntoIterator,
        I::Item: AsRef<[u8]>,
    {
        CreateAll::new(self.clone(), payloads.into_iter())
    }

    /// The order under `number`, or `None` when there surely is none. A strong read: where R + W > N it sees every write that
    /// was acknowledged before it.
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::UnknownSet`]; [`Error::QuorumLost`], [`Error::DeadlineExceeded`] and
    /// [`Error::Unconfirmed`] when too few replicas answered; [`Error::Corrupt`] and [`Error::Diverged`] when what they
    /// hold cannot be believed; [`Error::NotAttempted`] when too much is under way; [`Error::Closed`].
    pub fn get(&self, number: OrderNumber) -> Pending<Option<Order>> {
        self.get_with(number, ReadOptions::strong())
    }

    /// As [`OrderStore::get`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::get`].
    pub fn get_with(&self, number: OrderNumber, options: ReadOptions) -> Pending<Option<Order>> {
        match self.inner.shard(number.set_id()) {
            Ok(shard) => shard.get(number, self.inner.deadline(options.deadline)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// All orders of a day in a SET, in order of number; each as strongly read as by [`OrderStore::get`]. Blocks in `next`.
    /// An order created meanwhile is found or not.
    #[must_use = "a scan reads nothing before it is iterated"]
    pub fn scan(&self, set: SetId, day: Day) -> Scan {
        Scan::new(self.clone(), set, day)
    }

    /// Up to `limit` orders (1 to 4,096) of a day above `after`.
    ///
    /// # Errors
    /// As for [`OrderStore::get`], for the page as a whole; damage to single orders stands in their place in the page.
    pub fn scan_page(&self, set: SetId, day: Day, after: Option<OrderNumber>, limit: usize) -> Pending<Page> {
        match self.inner.shard(set) {
            Ok(shard) => shard.scan_page(day, after, limit, self.inner.deadline(None)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// The days on which a SET may hold orders, ascending.
    ///
    /// # Errors
    /// As for [`OrderStore::get`].
    pub fn days(&self, set: SetId) -> Pending<Vec<Day>> {
        match self.inner.shard(set) {
            Ok(shard) => shard.days(self.inner.deadline(None)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// All that an operator asks. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        Status {
            store: format!("{:032x}", self.inner.store),
            map_version: self.inner.map.version,
            quorum: self.inner.map.quorum,
            sets: self.inner.shards.iter().map(|shard| shard.status()).collect(),
        }
    }

    /// Answers once the replicas' digests were compared, which starts at open; until then strong reads ask all voters.
    /// Takes as long as reading every record once. The sums are over all SETs.
    ///
    /// # Errors
    /// [`Error::Closed`] when the store is closed before.
    pub fn compared(&self) -> Pending<Compared> {
        read::all_compared(self.inner.shards.iter().map(|shard| shard.compared()).collect())
    }

    /// Says that the clock is right although it jumped by more than a day, for every SET.
    pub fn accept_clock(&self) {
        for shard in &self.inner.shards {
            shard.accept_clock();
        }
    }

    /// Gives up all days up to `day`, in every SET: no number is ever minted there again, and reading one is
    /// [`Error::DayDropped`]. Durable on a majority of each SET's replicas when it answers. The space is not given back yet.
    ///
    /// # Errors
    /// [`ConfigError::FloorTooHigh`](crate::ConfigError::FloorTooHigh) unless `day` lies below the day on which each SET mints;
    /// [`Error::QuorumLost`] and [`Error::DeadlineExceeded`] when too few replicas confirmed it; it may then be raised or not,
    /// and raising it again is safe.
    pub fn raise_floor(&self, day: Day) -> Pending<()> {
        let deadline = self.inner.deadline(None);
        read::all_ended(self.inner.shards.iter().map(|shard| shard.raise_floor(day, deadline)).collect())
    }

    /// Ends what is under way and closes, within the close timeout. Afterwards every call is [`Error::Closed`].
    /// A replica that hangs in its disk is left behind, with its threads and its lock.
    ///
    /// # Errors
    /// [`Error::System`] when a replica could not end cleanly; what was acknowledged is safe all the same.
    pub fn close(&self) -> Pending<()> {
        read::all_ended(self.inner.shards.iter().map(|shard| shard.close()).collect())
    }
}

impl Drop for Inner {
    /// Closes, and waits for it within the close timeout.
    fn drop(&mut self) {
        let closing: Vec<Pending<()>> = self.shards.iter().map(|shard| shard.close()).collect();
        // The last handle may be dropped by a waker, on a thread of this store: that one must not wait for itself.
        if std::thread::current().name().is_some_and(|name| name.starts_with("om-")) {
            return;
        }
        let until = Instant::now() + self.settings.close_timeout + Duration::from_secs(1);
        for pending in closing {
            let _ = pending.wait_timeout(until.saturating_duration_since(Instant::now()));
        }
    }
}

impl fmt::Debug for OrderStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OrderStore").field("map", &self.inner.map).finish_non_exhaustive()
    }
}
