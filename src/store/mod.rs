//! The store: many SETs behind one handle.

mod builder;
mod choose;
mod create;
mod failover;
mod find;
mod form;
mod grow;
mod health;
mod keeper;
mod keys;
mod maps;
mod modify;
mod open;
mod read;
mod reconcile;
mod scan;
mod status;
mod topology;
mod verify;
mod voids;

pub use builder::Builder;
pub use create::{CreateAll, CreateOptions};
pub use modify::WriteOptions;
pub use read::ReadOptions;
pub use reconcile::Reconciled;
pub use scan::Scan;
pub use status::{SetStatus, Status};
pub use verify::{Finding, Verified, Where};

use self::grow::{Changes, Ramps};
use self::health::Links;
use self::keeper::Bell;
use self::keys::Keys;
use self::reconcile::Walks;
use self::topology::{Found, Topology};
use crate::config::Settings;
use crate::error::{Error, WriteToken};
use crate::heal::Notes;
use crate::health::Side;
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::{Pending, Promise, is_ours};
use crate::replica::Version;
use crate::set::{Asker, Change, Compared, Modified, Order, Page, Placed, Resolved, Strength};
use crate::time::Clock;
use arc_swap::ArcSwap;
use parking_lot::Mutex;
use std::fmt;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
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
    inner: Arc<Open>,
}

/// What the handles share. When the last of them is dropped the store closes, whoever else still looks into it.
struct Open(Arc<Inner>);

/// What everybody shares who does something for the store, its own threads too.
struct Inner {
    store: u128,
    settings: Settings,
    home: Option<PathBuf>,
    clock: Arc<dyn Clock>,
    /// Swapped whole, by whoever holds `ramps`.
    topology: ArcSwap<Topology>,
    /// Held while the map is changed, which takes as long as the disks do. Before `ramps`.
    changes: Mutex<Changes>,
    ramps: Mutex<Ramps>,
    bell: Arc<Bell>,
    /// Set under `ramps`, before the SETs in use are closed.
    closing: AtomicBool,
    links: Arc<Links>,
    voids: Mutex<Notes>,
    keys: Keys,
    /// Walks under way.
    walks: AtomicUsize,
    background: Mutex<Walks>,
}

impl Inner {
    fn new(
        store: u128,
        settings: Settings,
        home: Option<PathBuf>,
        clock: Arc<dyn Clock>,
        topology: Topology,
        links: Arc<Links>,
    ) -> Inner {
        let keys = Keys::new(Arc::clone(&clock));
        Inner {
            store,
            settings,
            home,
            clock,
            topology: ArcSwap::from_pointee(topology),
            changes: Mutex::default(),
            ramps: Mutex::new(Ramps::new(Instant::now())),
            bell: Arc::default(),
            closing: AtomicBool::new(false),
            links,
            voids: Mutex::default(),
            keys,
            walks: AtomicUsize::new(0),
            background: Mutex::default(),
        }
    }

    /// The SET, for the length of a call.
    fn shard(&self, set: SetId) -> Result<Found, Error> {
        Found::new(self.topology.load(), set)
    }

    /// Begins to close every SET.
    fn close(&self) -> Vec<Pending<()>> {
        {
            // Whoever puts a SET in use holds it: either that one sees that the store closes, or its SET is seen here.
            let _ramps = self.ramps.lock();
            self.closing.store(true, Ordering::Release);
        }
        self.bell.end();
        self.topology.load().shards.iter().map(|shard| shard.close()).collect()
    }

    /// When an operation called now must have ended.
    fn deadline(&self, given: Option<Duration>) -> Instant {
        Instant::now() + self.patience(given)
    }

    /// How long an operation may take.
    fn patience(&self, given: Option<Duration>) -> Duration {
        // An hour is what a builder may ask for at most; more would only hide a hang.
        given.unwrap_or(self.settings.deadline).min(Duration::from_secs(3_600))
    }
}

impl OrderStore {
    /// How a store is described and opened.
    #[must_use = "a builder does nothing before `open`"]
    pub fn builder() -> Builder {
        Builder::new()
    }

    /// Creates an order. It is sent at once, to a SET that is well; the answer comes when W replicas have synced it. Where that SET
    /// cannot take it, or leaves it in doubt, it goes to another one under another number; the first number is then made void and
    /// never comes to life ([`Placed::superseded`]).
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::ValueTooLarge`]; [`Error::NotAttempted`] when nothing was sent to any SET;
    /// [`Error::Ambiguous`] when it was sent, too few replicas confirmed it in time, and no other attempt was left, or somebody was
    /// shown the number first; [`Error::Closed`].
    pub fn create(&self, payload: impl AsRef<[u8]>) -> Pending<Placed> {
        self.create_with(payload, CreateOptions::new())
    }

    /// As [`OrderStore::create`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::create`]. With a request key also [`Error::Config`] when it has not 1 to 255 bytes, [`Error::KeyReused`],
    /// [`Error::KeyConflict`], and [`Error::KeyUnverified`] where the options are strict. With a key every create may be tried again,
    /// also after [`Error::Ambiguous`].
    pub fn create_with(&self, payload: impl AsRef<[u8]>, options: CreateOptions) -> Pending<Placed> {
        create::create(&self.inner.0, payload.as_ref(), &options)
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
    /// Through the [`Pending`]: [`Error::UnknownSet`], [`Error::SetRetired`]; [`Error::SetUnavailable`] while its SET is not well;
    /// [`Error::QuorumLost`], [`Error::DeadlineExceeded`] and
    /// [`Error::Unconfirmed`] when too few replicas answered; [`Error::Corrupt`] and [`Error::Diverged`] when what they
    /// hold cannot be believed; [`Error::NotAttempted`] when too much is under way; [`Error::Closed`].
    pub fn get(&self, number: OrderNumber) -> Pending<Option<Order>> {
        self.get_with(number, ReadOptions::strong())
    }

    /// As [`OrderStore::get`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::get`], and [`Error::Stale`] where a version is wanted. A degraded read is never [`Error::SetUnavailable`];
    /// what it finds in a SET that is not well is marked stale. A weak or degraded read writes nothing back,
    /// so it is never [`Error::Unconfirmed`].
    pub fn get_with(&self, number: OrderNumber, options: ReadOptions) -> Pending<Option<Order>> {
        let shard = match self.inner.shard(number.set_id()) {
            Ok(shard) => shard,
            Err(error) => return Pending::ready(Err(error)),
        };
        if let Some(answer) = shard.recent(number, options.reading) {
            return Pending::ready(answer);
        }
        let asked = |promise| match options.reading.strength {
            Strength::Degraded => self.inner.degraded(number.set_id(), promise),
            Strength::Strong | Strength::Weak => self.inner.watched(number.set_id(), Side::Reads, promise),
        };
        pending(asked, |promise| shard.get(number, options.reading, self.inner.deadline(options.deadline), promise))
    }

    /// Writes `payload` if the order stands at version `expected`: compare and set. Answers with the new version. Updates of one
    /// order take turns; one is never tried again by itself.
    ///
    /// ```
    /// # use ordermint::{Error, OrderStore, SetConfig, SetId};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let placed = store.create("packed").wait()?;
    /// let sent = store.update(placed.number, placed.version, "sent").wait()?;
    /// // Who still believes that it is packed is refused.
    /// let refused = store.update(placed.number, placed.version, "revoked").wait();
    /// assert_eq!(refused, Err(Error::VersionMismatch { number: placed.number, expected: placed.version, actual: sent }));
    /// # Ok::<(), ordermint::Error>(())
    /// ```
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::VersionMismatch`] and [`Error::NoSuchOrder`], nothing changed; [`Error::ValueTooLarge`];
    /// [`Error::NotAttempted`] when nothing was sent; [`Error::Ambiguous`] when it was sent and too few replicas confirmed it in
    /// time, to be settled with [`OrderStore::resolve`]; [`Error::SetUnavailable`] while its SET is not well; and what a strong read
    /// may fail with, as the order is read first.
    pub fn update(&self, number: OrderNumber, expected: Version, payload: impl AsRef<[u8]>) -> Pending<Version> {
        self.update_with(number, expected, payload, WriteOptions::new())
    }

    /// As [`OrderStore::update`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::update`].
    pub fn update_with(
        &self,
        number: OrderNumber,
        expected: Version,
        payload: impl AsRef<[u8]>,
        options: WriteOptions,
    ) -> Pending<Version> {
        let shard = match self.inner.shard(number.set_id()) {
            Ok(shard) => shard,
            Err(error) => return Pending::ready(Err(error)),
        };
        pending(
            |promise| self.inner.watched(number.set_id(), Side::Writes, promise),
            |promise| shard.update(number, expected, payload.as_ref(), self.inner.deadline(options.deadline), promise),
        )
    }

    /// Runs `change` on the order, when it is its turn: each closure sees what the one before made of it, first come first
    /// served, and those that wait while a write is under way share the next one. Answers when a write with its result is synced on
    /// W replicas.
    ///
    /// The closure runs once, on a thread of the order's SET that it shares with few others: it should compute, not wait. If it
    /// waits for a store, that wait is [`Error::Reentrant`].
    ///
    /// ```
    /// # use ordermint::{Change, OrderStore, SetConfig, SetId};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let seats = store.create([3]).wait()?.number;
    /// let booked = store.modify(seats, |order| match order.value[0] {
    ///     0 => Change::keep(None),
    ///     left => Change::write([left - 1], Some(left)),
    /// });
    /// let booked = booked.wait()?;
    /// assert_eq!((booked.written, booked.output), (true, Some(3)));
    /// assert_eq!(store.get(seats).wait()?.expect("it is there").value[..], [2]);
    /// # Ok::<(), ordermint::Error>(())
    /// ```
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::NoSuchOrder`]; [`Error::ModifyPanicked`] and [`Error::ValueTooLarge`], which leave the
    /// order as it was and fail this call alone; [`Error::NotAttempted`] when too much is under way or its turn did not come in
    /// time; [`Error::Ambiguous`] and [`Error::SetUnavailable`] as for [`OrderStore::update`]; and what a strong read may fail with.
    pub fn modify<T, F>(&self, number: OrderNumber, change: F) -> Pending<Modified<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Order) -> Change<T> + Send + 'static,
    {
        modify::modify(&self.inner, number, WriteOptions::new(), change)
    }

    /// As [`OrderStore::modify`], with options.
    ///
    /// # Errors
    /// As for [`OrderStore::modify`].
    pub fn modify_with<T, F>(&self, number: OrderNumber, options: WriteOptions, change: F) -> Pending<Modified<T>>
    where
        T: Send + 'static,
        F: FnOnce(&Order) -> Change<T> + Send + 'static,
    {
        modify::modify(&self.inner, number, options, change)
    }

    /// Settles a write whose outcome is unknown: what is seen of it is made durable on W replicas; where nothing is seen, the
    /// order's present value, or for a new order that there is none, is written again under a newer version, so that the late
    /// write can never win. The answer is final.
    ///
    /// # Errors
    /// Through the [`Pending`]: [`Error::UnknownToken`] for one that was never given out; [`Error::Superseded`] when newer writes
    /// make it impossible to tell; [`Error::NotAttempted`] when its turn did not come in time; [`Error::SetUnavailable`] while its SET is not well; what a
    /// strong read may fail with, and [`Error::Unconfirmed`], when too few replicas take part: a retry is safe.
    pub fn resolve(&self, token: WriteToken) -> Pending<Resolved> {
        let shard = match self.inner.shard(token.number.set_id()) {
            Ok(shard) => shard,
            Err(error) => return Pending::ready(Err(error)),
        };
        pending(
            |promise| self.inner.watched(token.number.set_id(), Side::Writes, promise),
            |promise| shard.resolve(token, Asker::Caller, self.inner.deadline(None), promise),
        )
    }

    /// Stops using a replica, and closes it in the background, so that its directory can be looked after; once [`Status`] says no
    /// more that it *is still being closed*, its locks are given back. The SET goes on without it, for the life of this process or
    /// until [`OrderStore::bring_back_replica`], and remembers up to 1,048,576 orders that it misses. One that failed can be taken
    /// out too: that closes it.
    ///
    /// A replica in memory is gone for good when it is closed: it cannot be brought back.
    ///
    /// # Errors
    /// Nothing changed then: [`Error::UnknownSet`], [`Error::NoSuchReplica`]; [`Error::StillNeeded`] when too few voting replicas
    /// would be left to write, to read and to claim an epoch; [`Error::WrongState`] when it is away already; [`Error::Closed`].
    pub fn take_out_replica(&self, set: SetId, index: u8) -> Result<(), Error> {
        self.inner.shard(set)?.take_out_replica(index)
    }

    /// Opens a replica again that was taken out, failed or was missing, and lets it vote. Returns once that has begun;
    /// [`Status`] shows the replica as `returning`, then as what became of it: `voting`; `limbo` where it holds less than was
    /// seen synced there; `missing` or `out` with the reason. Opening it and claiming a new epoch for the SET each have the open
    /// timeout; where too few replicas are there for an epoch it waits for others to return. A voting replica that does not take the
    /// new epoch in time is out.
    ///
    /// All ranges of numbers are dirty until the digests of all voters agree again ([`OrderStore::compared`] waits for it anew).
    /// What it missed while it was away in *this* process is delivered to it; orders from before stay on the others, and
    /// reads find them there.
    ///
    /// # Errors
    /// [`Error::UnknownSet`], [`Error::NoSuchReplica`]; [`Error::WrongState`] when it is in use, in limbo or returning already;
    /// [`Error::Closed`]; [`Error::System`] when the system gives no thread for it.
    pub fn bring_back_replica(&self, set: SetId, index: u8) -> Result<(), Error> {
        self.inner.shard(set)?.bring_back_replica(index)
    }

    /// Accepts that what the replicas of a SET in limbo have lost is lost, and lets them vote again, for good. For a SET that cannot
    /// go on otherwise: an acknowledged order that only they held may be gone, and a number of which neither they nor the voting
    /// replicas know may be given out again, over an order that a replica still away holds. So bring back first whatever can
    /// be. Returns once that has begun; see [`Status`]. One whose name cannot be read stays in limbo.
    ///
    /// # Errors
    /// [`Error::UnknownSet`]; [`Error::NothingLost`] when none is in limbo; [`Error::WrongState`] when one is returning already;
    /// [`Error::Closed`].
    pub fn accept_loss(&self, set: SetId) -> Result<(), Error> {
        self.inner.shard(set)?.accept_loss()
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
        let shard = match self.inner.shard(set) {
            Ok(shard) => shard,
            Err(error) => return Pending::ready(Err(error)),
        };
        pending(
            |promise| self.inner.watched(set, Side::Reads, promise),
            |promise| shard.scan_page(day, after, limit, self.inner.deadline(None), promise),
        )
    }

    /// The days on which a SET may hold orders, ascending. It is asked also where it is known not to be well.
    ///
    /// # Errors
    /// As for [`OrderStore::get`], but for [`Error::SetUnavailable`].
    pub fn days(&self, set: SetId) -> Pending<Vec<Day>> {
        match self.inner.shard(set) {
            Ok(shard) => shard.days(self.inner.deadline(None)),
            Err(error) => Pending::ready(Err(error)),
        }
    }

    /// All that an operator asks. Never blocks.
    #[must_use]
    pub fn status(&self) -> Status {
        let topology = self.inner.topology.load();
        let sets = topology.map.serving().zip(&topology.shards);
        Status {
            store: format!("{:032x}", self.inner.store),
            map_version: topology.map.version,
            quorum: topology.map.quorum,
            sets: sets.map(|(entry, shard)| SetStatus::of(entry, shard.status(), &self.inner.health_of(entry.id))).collect(),
            alarms: self.inner.voids.lock().alarms().cloned().collect(),
        }
    }

    /// Answers once the replicas' digests were compared, which starts at open and anew when a replica returned; until then strong reads ask all voters.
    /// Takes as long as reading every record once. The sums are over all SETs.
    ///
    /// # Errors
    /// [`Error::Closed`] when the store is closed before.
    pub fn compared(&self) -> Pending<Compared> {
        read::all_compared(self.inner.topology.load().shards.iter().map(|shard| shard.compared()).collect())
    }

    /// Says that the clock is right although it jumped by more than a day, for every SET.
    pub fn accept_clock(&self) {
        for shard in &self.inner.topology.load().shards {
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
        read::all_ended(self.inner.topology.load().shards.iter().map(|shard| shard.raise_floor(day, deadline)).collect())
    }

    /// Ends what is under way and closes, within the close timeout. Afterwards every call is [`Error::Closed`].
    /// A replica that hangs in its disk is left behind, with its threads and its lock.
    ///
    /// # Errors
    /// [`Error::System`] when a replica in use could not end cleanly; what was acknowledged is safe all the same.
    pub fn close(&self) -> Pending<()> {
        read::all_ended(self.inner.close())
    }
}

impl Deref for Open {
    type Target = Inner;

    fn deref(&self) -> &Inner {
        &self.0
    }
}

/// Asks for leave, and calls where that is given.
fn pending<T>(leave: impl FnOnce(Promise<T>) -> Result<Promise<T>, Error>, call: impl FnOnce(Promise<T>)) -> Pending<T> {
    let (promise, pending) = Pending::new();
    match leave(promise) {
        Ok(promise) => call(promise),
        Err(error) => return Pending::ready(Err(error)),
    }
    pending
}

impl Drop for Open {
    /// Closes, and waits for it within the close timeout.
    fn drop(&mut self) {
        let closing = self.0.close();
        // The last handle may be dropped by a waker, on a thread of this store: that one must not wait for itself.
        if is_ours() {
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
        f.debug_struct("OrderStore").field("map", &self.inner.topology.load().map).finish_non_exhaustive()
    }
}
