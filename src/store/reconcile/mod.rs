//! Reconciling: walks over everything that records say is still to be done, does it, and says what is left.
//!
//! * **Notes**: numbers that orders stand in for. They become void if they are absent or still stand at the version named;
//!   whatever is newer is an alarm and is left alone. Where such an order is void itself, its void has the notes.
//! * **SETs that could not be asked** for an earlier order under a request key. Once they can be, an earlier order there becomes
//!   void, acknowledged or not, as the later one was placed with that said. Two orders that say so of each other's SET: an
//!   alarm, and nothing is voided.
//! * **Request keys** that name several orders. What a create with that key would end becomes void: an attempt of an earlier process,
//!   say, that was on a replica which was away. Where the records do not say which one stands: an alarm.
//!
//! It runs when the store is opened, when replicas come or go, every minute, sooner while something is left, and on demand.

mod at_open;
mod background;
mod keys;
mod notes;

pub(super) use self::background::{Walks, tend};

use super::keeper::in_background;
use super::{Inner, OrderStore};
use crate::error::Error;
use crate::heal::Alarm;
use crate::job::{Course, Job};
use crate::order::{OrderNumber, SetId};
use crate::pending::{Pending, Promise};
use crate::set::Shard;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Entries of an index asked for at once.
const PAGE: usize = 256;
/// In the background: between two pages, so that whoever asks for orders is not held up by it.
const PACE: Duration = Duration::from_millis(50);
/// For one page, and for one look-up of a key.
const PATIENCE: Duration = Duration::from_secs(5);
/// How long a walk on demand waits for what it found to be done.
const DONE_WITHIN: Duration = Duration::from_secs(10);
/// Walks on demand under way at once.
const WALKS_MAX: usize = 4;
/// The most numbers that a report names.
const NAMED_MAX: usize = 1_000;

/// What [`OrderStore::reconcile`] found and left.
#[derive(Clone, PartialEq, Debug, Default)]
#[non_exhaustive]
pub struct Reconciled {
    /// Orders whose records say that something was to be done about others.
    pub notes: u64,
    /// Numbers that became void on all N replicas while it ran.
    pub voided: u64,
    /// Numbers that are not known to be void on all N replicas yet; the first 1,000.
    pub open: Vec<OrderNumber>,
    /// All of those.
    pub open_count: u64,
    /// Orders with a SET that still cannot be asked for an earlier order under their request key.
    pub unverified: u64,
    /// Uses of request keys that it looked at: one for each order that has one, and for each attempt to place one.
    pub keys: u64,
    /// Request keys that name several orders, of which it cannot be told yet which one stands: a SET cannot be asked, or the key is in use.
    pub undecided: u64,
    /// What it left alone and the operator has to look into.
    pub alarms: Vec<Alarm>,
    /// SETs that could not tell all of their notes, or of their request keys.
    pub unreachable: Vec<SetId>,
    /// It was called off before it had looked at everything.
    pub cancelled: bool,
}

impl Reconciled {
    /// Nothing is left to be done, by it or by the operator.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.saw_to_all() && self.open_count == 0 && self.alarms.is_empty() && !self.cancelled
    }

    /// There is nothing for which another walk is needed.
    fn saw_to_all(&self) -> bool {
        self.unverified == 0 && self.undecided == 0 && self.unreachable.is_empty()
    }

    fn cannot_reach(&mut self, set: SetId) {
        if !self.unreachable.contains(&set) {
            self.unreachable.push(set);
        }
    }
}

impl OrderStore {
    /// Looks at everything that records say is still to be done about other numbers, does it, and reports what is left. Numbers
    /// that were given up become void; where a request key names two orders because a SET could not be asked, the earlier one
    /// does, and so does what surfaces under a key that names a newer order of its SET, or one that was placed or told while the replica that
    /// has it was away. What somebody was told of since is left alone
    /// and named as an alarm. It also runs by itself, more slowly.
    ///
    /// ```
    /// # use ordermint::{OrderStore, SetConfig, SetId};
    /// # let store = OrderStore::builder().add_set(SetConfig::new(SetId::new(7)?).in_memory(3)).open()?;
    /// let report = store.reconcile().wait()?;
    /// assert!(report.is_clean(), "{report:?}");
    /// # Ok::<(), ordermint::Error>(())
    /// ```
    ///
    /// # Errors
    /// Through the [`Job`]: [`Error::Closed`]; [`Error::System`] when the system gives no thread, or when four are under way
    /// already; [`Error::NotAttempted`] when the clock is out of range. SETs that cannot be reached are no error: the report names them.
    pub fn reconcile(&self) -> Job<Reconciled> {
        let (job, promise, course) = Job::new();
        let inner = Arc::clone(&self.inner.0);
        inner.begin_walk(course, Scope::All, promise);
        job
    }
}

/// The answer of a SET, which comes by its deadline; unless a caller's waker blocks that SET's notifier, which must not hold up the
/// others.
fn answer<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(2 * PATIENCE).unwrap_or_else(|_| Err(tells_nothing()))
}

/// The same, unless the walk is called off first.
fn answer_for<T>(course: &Course, mut pending: Pending<T>) -> Result<T, Error> {
    let until = Instant::now() + 2 * PATIENCE;
    while Instant::now() < until && !course.is_cancelled() {
        match pending.wait_timeout(Duration::from_millis(50)) {
            Ok(answer) => return answer,
            Err(waits) => pending = waits,
        }
    }
    Err(tells_nothing())
}

fn tells_nothing() -> Error {
    Error::System { action: "reconcile".to_owned(), message: "a SET tells nothing".to_owned() }
}

/// What a walk looks at. All of it on demand and at full speed, one after the other in the background.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Scope {
    All,
    Notes,
    Keys,
}

impl Scope {
    /// Lets those who ask for orders go first.
    fn pace(self) {
        if self != Scope::All {
            std::thread::sleep(PACE);
        }
    }
}

impl Inner {
    /// Starts a walk on a thread of its own.
    fn begin_walk(self: Arc<Inner>, course: Arc<Course>, scope: Scope, promise: Promise<Reconciled>) {
        let counted = usize::from(scope == Scope::All);
        if self.walks.fetch_add(counted, Ordering::AcqRel) >= WALKS_MAX && scope == Scope::All {
            self.walks.fetch_sub(counted, Ordering::AcqRel);
            let message = format!("{WALKS_MAX} are under way");
            return promise.complete(Err(Error::System { action: "reconcile".to_owned(), message }));
        }
        let ended = Arc::clone(&self);
        let run = move || {
            let report = self.walk(&course, scope);
            self.walks.fetch_sub(counted, Ordering::AcqRel);
            // Whoever waits may drop the store then: it must not be this thread that holds it last.
            drop(self);
            promise.complete(report);
        };
        if in_background("om-reconcile", run).is_err() {
            // Its promise is dropped with it, and says that it came to nothing.
            ended.walks.fetch_sub(counted, Ordering::AcqRel);
        }
    }

    fn walk(self: &Arc<Inner>, course: &Course, scope: Scope) -> Result<Reconciled, Error> {
        let mut report = Reconciled::default();
        let voided_before = self.voids.lock().done();
        let shards: Vec<Arc<dyn Shard>> = self.topology.load().shards.clone();
        if scope != Scope::Keys {
            self.walk_notes(&shards, course, scope, &mut report)?;
        }
        if scope != Scope::Notes {
            self.walk_keys(&shards, course, scope, &mut report)?;
        }
        if scope == Scope::All {
            self.voids.lock().hasten(self.now_ms());
            self.wait_for_voids(course, &mut report)?;
        }
        let voids = self.voids.lock();
        report.open_count = voids.waiting(|_| true) as u64;
        report.open = voids.open().take(NAMED_MAX).collect();
        report.voided = voids.done() - voided_before;
        report.alarms = voids.alarms().cloned().collect();
        drop(voids);
        // One that was retired meanwhile has nothing to tell.
        report.unreachable.retain(|set| self.shard(*set).is_ok());
        Ok(report)
    }

    /// Waits until all that is owed was tried, within bounds.
    fn wait_for_voids(&self, course: &Course, report: &mut Reconciled) -> Result<(), Error> {
        let until = Instant::now() + DONE_WITHIN;
        self.bell.ring();
        while !self.voids.lock().is_empty() && Instant::now() < until && self.voids.lock().has_hope(|set| self.may_end(set)) {
            self.check_open()?;
            if course.is_cancelled() {
                report.cancelled = true;
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(())
    }
}
