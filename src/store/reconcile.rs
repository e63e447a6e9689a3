//! Reconciling: walks over everything that records say is still to be done, does it, and says what is left.
//!
//! * **Notes**: numbers that orders stand in for. They become void if they are absent or still stand at the version named;
//!   whatever is newer is an alarm and is left alone.
//! * **SETs that could not be asked** for an earlier order under a request key. Once they can be, an earlier order there becomes
//!   void, acknowledged or not, as the later one was placed with that said. Two orders that say so of each other's SET: an
//!   alarm, and nothing is voided.
//!
//! It runs when the store is opened, now and then while anything is left, and on demand.

use super::keeper::{self, in_background};
use super::{Inner, OrderStore};
use crate::error::Error;
use crate::heal::Alarm;
use crate::health::Side;
use crate::job::{Course, Job};
use crate::order::{Day, OrderNumber, SetId};
use crate::pending::{Pending, Promise, mark_as_ours};
use crate::replica::{Noted, Version};
use crate::set::{Keyed, NotedPage, Shard};
use bytes::Bytes;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

/// Notes asked for at once.
const PAGE: usize = 256;
/// In the background: between two pages, so that whoever asks for orders is not held up by it.
const PACE: Duration = Duration::from_millis(50);
/// For one page, and for one look-up of a key.
const PATIENCE: Duration = Duration::from_secs(5);
/// At open: for one answer, and for all of a SET.
const PATIENCE_AT_OPEN: Duration = Duration::from_secs(2);
const AT_OPEN: Duration = Duration::from_secs(20);
/// How long a walk on demand waits for what it found to be done.
const DONE_WITHIN: Duration = Duration::from_secs(10);
/// In the background: after a walk that left something, and after one that left nothing.
const AGAIN_AFTER: Duration = Duration::from_secs(2);
const REST: Duration = Duration::from_secs(60);
/// Walks under way at once.
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
    /// What it left alone and the operator has to look into.
    pub alarms: Vec<Alarm>,
    /// SETs that could not tell all of their notes.
    pub unreachable: Vec<SetId>,
    /// It was called off before it had looked at everything.
    pub cancelled: bool,
}

impl Reconciled {
    /// Nothing is left to be done, by it or by the operator.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let done = self.open_count == 0 && self.unverified == 0 && self.unreachable.is_empty();
        done && self.alarms.is_empty() && !self.cancelled
    }
}

impl OrderStore {
    /// Looks at everything that records say is still to be done about other numbers, does it, and reports what is left. Numbers
    /// that were given up become void; where a request key names two orders because a SET could not be asked, the earlier one
    /// does. What somebody was told of since is left alone and named as an alarm. It also runs by itself, more slowly.
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
    /// already. SETs that cannot be reached are no error: the report names them.
    pub fn reconcile(&self) -> Job<Reconciled> {
        let (job, promise, course) = Job::new();
        let inner = Arc::clone(&self.inner.0);
        inner.begin_walk(course, Pace::OnDemand, promise);
        job
    }
}

/// The answer of a SET, which comes by its deadline; unless a caller's waker blocks that SET's notifier, which must not hold up the
/// others.
fn answer<T>(pending: Pending<T>) -> Result<T, Error> {
    let late = || Error::System { action: "reconcile".to_owned(), message: "a SET tells nothing".to_owned() };
    pending.wait_timeout(2 * PATIENCE).unwrap_or_else(|_| Err(late()))
}

/// How a walk goes.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    OnDemand,
    Background,
}

impl Inner {
    /// Starts a walk on a thread of its own.
    fn begin_walk(self: Arc<Inner>, course: Arc<Course>, pace: Pace, promise: Promise<Reconciled>) {
        if self.walks.fetch_add(1, Ordering::AcqRel) >= WALKS_MAX {
            self.walks.fetch_sub(1, Ordering::AcqRel);
            let message = format!("{WALKS_MAX} are under way");
            return promise.complete(Err(Error::System { action: "reconcile".to_owned(), message }));
        }
        let ended = Arc::clone(&self);
        let run = move || {
            let report = self.walk(&course, pace);
            self.walks.fetch_sub(1, Ordering::AcqRel);
            // Whoever waits may drop the store then: it must not be this thread that holds it last.
            drop(self);
            promise.complete(report);
        };
        if in_background("om-reconcile", run).is_err() {
            // Its promise is dropped with it, and says that it came to nothing.
            ended.walks.fetch_sub(1, Ordering::AcqRel);
        }
    }

    fn walk(self: &Arc<Inner>, course: &Course, pace: Pace) -> Result<Reconciled, Error> {
        let mut report = Reconciled::default();
        let voided_before = self.voids.lock().done();
        let shards: Vec<Arc<dyn Shard>> = self.topology.load().shards.clone();
        course.found(shards.len() as u64);
        for shard in &shards {
            self.check_open()?;
            if self.walk_set(&**shard, None, course, pace, &mut report).is_err() {
                report.unreachable.push(shard.id());
            }
            course.did(1);
            if course.is_cancelled() {
                report.cancelled = true;
                break;
            }
        }
        if pace == Pace::OnDemand {
            self.voids.lock().hasten(self.now_ms());
            self.wait_for_voids(course, &mut report)?;
        }
        let voids = self.voids.lock();
        report.open_count = voids.waiting(|_| true) as u64;
        report.open = voids.open().take(NAMED_MAX).collect();
        report.voided = voids.done() - voided_before;
        report.alarms = voids.alarms().cloned().collect();
        Ok(report)
    }

    /// All notes of a SET, page by page.
    fn walk_set(
        self: &Arc<Inner>,
        shard: &dyn Shard,
        mut after: Option<OrderNumber>,
        course: &Course,
        pace: Pace,
        report: &mut Reconciled,
    ) -> Result<(), Error> {
        loop {
            let (promise, pending) = Pending::new();
            shard.noted(after, PAGE, Instant::now() + PATIENCE, promise);
            let NotedPage { notes, next } = answer(pending)?;
            course.found(notes.len() as u64);
            for note in notes {
                if course.is_cancelled() {
                    return Ok(());
                }
                self.check_open()?;
                report.notes += 1;
                self.heed(&note, report);
                course.did(1);
            }
            match next {
                // Each page ends above the one before, so this ends.
                Some(next) if after.is_none_or(|after| after < next) => after = Some(next),
                _ => return Ok(()),
            }
            if pace == Pace::Background {
                std::thread::sleep(PACE);
            }
        }
    }

    /// Does what one order's record says.
    fn heed(self: &Arc<Inner>, note: &Noted, report: &mut Reconciled) {
        let key = note.request_key.as_ref().map(|request| request.key.clone());
        for (number, version) in &note.supersedes {
            match &key {
                Some(key) if self.keys.has_told(key, *number) => self.end_unheard(note.number, key, *number),
                _ => self.doom(*number, *version),
            }
        }
        let Some(key) = key else { return };
        for set in &note.unverified {
            if !self.voids.lock().is_verified(note.number, *set) && self.verify(note.number, &key, *set).is_err() {
                report.unverified += 1;
            }
        }
    }

    /// Whoever asked for that key was told the earlier number, before the note of this order could be heard: on a replica that was away.
    /// So it was on fewer than W, and nobody was told of this one.
    fn end_unheard(&self, number: OrderNumber, key: &Bytes, told: OrderNumber) {
        // What fails is tried again by the next walk.
        let Ok(found) = self.keyed(number.set_id(), key, number.day()) else { return };
        for unheard in found.iter().filter(|found| found.number == number) {
            self.disown(number, told);
            self.doom(number, unheard.version);
        }
    }

    /// Says why a number ends, before it does.
    pub(super) fn disown(&self, number: OrderNumber, stands: OrderNumber) {
        if let Ok(shard) = self.shard(number.set_id()) {
            shard.disown(number, stands);
        }
    }

    /// A number that an order stands in for: shown to nobody from now on, and owed a void.
    fn doom(&self, number: OrderNumber, version: Version) {
        if self.voids.lock().is_done(number) {
            return;
        }
        match self.shard(number.set_id()) {
            // Where somebody was shown it, what stands decides when its turn comes.
            Ok(shard) => _ = shard.give_up(number, version),
            // It is gone for good, and the number with it.
            Err(Error::SetRetired { .. }) => return,
            Err(_) => {}
        }
        self.owe_void(number, version);
    }

    /// Looks in `set` for earlier orders under the key of `number`, which could not be done when that was placed.
    fn verify(self: &Arc<Inner>, number: OrderNumber, key: &Bytes, set: SetId) -> Result<(), Error> {
        let found = match self.keyed(set, key, self.keys_since(number.day())) {
            // It is gone for good, and its orders with it.
            Err(Error::SetRetired { .. }) => return Ok(()),
            found => found?,
        };
        // Where it is not found it may be void, or in doubt and come to life yet: it is looked at again by the next walk.
        let Some(later) = self.keyed_at(number)? else { return Ok(()) };
        let window = i64::from(self.settings.request_key_days) - 1;
        for earlier in found.into_iter().filter(|earlier| earlier.number != number) {
            match of_two(&earlier, &later, window) {
                Two::EarlierEnds => {
                    self.disown(earlier.number, number);
                    self.owe_void(earlier.number, earlier.version);
                }
                Two::Told => {}
                Two::Alarm => {
                    let mut numbers = [earlier.number, later.number];
                    numbers.sort_unstable();
                    self.voids.lock().alarm(Alarm::KeyTwice { numbers });
                }
            }
        }
        self.voids.lock().verified(number, set);
        Ok(())
    }

    /// What a SET holds under a key. One that is not well is not asked: it would keep all others waiting, once for each note.
    fn keyed(&self, set: SetId, key: &Bytes, since: Day) -> Result<Vec<Keyed>, Error> {
        let (shard, (promise, pending)) = (self.shard(set)?, Pending::new());
        shard.keyed(key.clone(), since, Instant::now() + PATIENCE, self.watched(set, Side::Reads, promise)?);
        answer(pending)
    }

    fn keyed_at(&self, number: OrderNumber) -> Result<Option<Keyed>, Error> {
        let (shard, (promise, pending)) = (self.shard(number.set_id())?, Pending::new());
        shard.keyed_at(number, Instant::now() + PATIENCE, self.watched(number.set_id(), Side::Reads, promise)?);
        answer(pending)
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

    /// Before anybody is served: what was given up before an earlier process ended is shown to nobody. The newest days first, and
    /// all SETs at once. What a SET cannot tell in time is walked over in the background.
    pub(super) fn heed_newest(self: &Arc<Inner>) {
        let until = Instant::now() + self.settings.open_timeout.min(AT_OPEN);
        let shards: Vec<Arc<dyn Shard>> = self.topology.load().shards.clone();
        std::thread::scope(|scope| {
            for shard in &shards {
                let heed = move || {
                    mark_as_ours();
                    // A SET that fails is walked over again.
                    let _ = self.heed_at_open(&**shard, until);
                };
                // Without a thread it is left to the walk as well.
                let _ = std::thread::Builder::new().name("om-open".to_owned()).spawn_scoped(scope, heed);
            }
        });
    }

    fn heed_at_open(&self, shard: &dyn Shard, until: Instant) -> Result<(), Error> {
        let soon = || until.min(Instant::now() + PATIENCE_AT_OPEN);
        let days = shard.days(soon()).wait_timeout(2 * PATIENCE_AT_OPEN).unwrap_or(Err(Error::Closed))?;
        let last = |day| OrderNumber::new(day, OrderNumber::SEQUENCE_MAX, shard.id()).ok();
        for day in days.into_iter().rev() {
            let mut after = day.previous().and_then(last);
            // Each page ends above the one before, so this ends.
            loop {
                if Instant::now() >= until {
                    return Ok(());
                }
                let (promise, pending) = Pending::new();
                shard.noted(after, PAGE, soon(), promise);
                let NotedPage { notes, next } = answer(pending)?;
                let of_day = notes.iter().filter(|note| note.number.day() == day);
                of_day.for_each(|note| note.supersedes.iter().for_each(|(number, version)| self.doom(*number, *version)));
                match next {
                    Some(next) if next.day() == day && after.is_none_or(|after| after < next) => after = Some(next),
                    _ => break,
                }
            }
        }
        Ok(())
    }
}

/// An order so many days after another with its key has nothing to do with it, unless it says so: in between the key was forgotten.
const NEAR_DAYS: i64 = 1;

/// What two orders of one request key say of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Two {
    /// The earlier one is made void, acknowledged or not.
    EarlierEnds,
    /// One of them stands in for the other, and its note says so; or the key was forgotten in between, and they have nothing to do
    /// with each other. Nothing more is to be done.
    Told,
    /// Each holds the other's SET unverified. Or they are a day further apart than a key is good for: at midnight the SETs need not be on
    /// the same day, nor on that of the clock from which the key was looked for; or the key was used again, as it may be.
    Alarm,
}

/// `later` was placed when the SET of `earlier` could not be asked; a key is good for the day of its first use and `window` more. Pure.
fn of_two(earlier: &Keyed, later: &Keyed, window: i64) -> Two {
    let named = |one: &Keyed, other: &Keyed| {
        one.origin.supersedes.iter().find(|(number, _)| *number == other.number).map(|(_, version)| *version)
    };
    // Newer than the note says: somebody was told of the one that was given up, and it is the other that ends.
    let stands_in = named(earlier, later).is_some_and(|version| later.origin.asked_for(later.version) <= version);
    let doubts_it = earlier.origin.unverified.contains(&later.number.set_id());
    let days_after = earlier.number.day().to_unix_days() - later.number.day().to_unix_days();
    if named(later, earlier).is_some() || stands_in || (days_after > NEAR_DAYS && !doubts_it) {
        Two::Told
    } else if doubts_it || -days_after > window {
        Two::Alarm
    } else {
        Two::EarlierEnds
    }
}

/// When the next walk in the background is due, and whether one is under way.
#[derive(Debug, Default)]
pub(super) struct Walks {
    due: Option<Instant>,
    under_way: Option<Job<Reconciled>>,
}

/// Walks over everything now and then: soon where something was left, seldom where nothing was. A chore of the keeper.
pub(super) fn tend(store: &Arc<Inner>, now: Instant) -> Option<Instant> {
    let mut walks = store.background.lock();
    if let Some(job) = walks.under_way.take() {
        match job.wait_timeout(Duration::ZERO) {
            Err(job) => {
                walks.under_way = Some(job);
                return Some(now + keeper::EVERY);
            }
            // What only waits for its turn, or for a replica that is away, needs no walk.
            Ok(Ok(report)) if report.unverified == 0 && report.unreachable.is_empty() => walks.due = Some(now + REST),
            Ok(_) => walks.due = Some(now + AGAIN_AFTER),
        }
    }
    if walks.due.is_none_or(|due| due <= now) {
        let (job, promise, course) = Job::new();
        walks.under_way = Some(job);
        drop(walks);
        Arc::clone(store).begin_walk(course, Pace::Background, promise);
        return Some(now + keeper::EVERY);
    }
    walks.due
}

impl Inner {
    /// An order was placed while a SET could not be asked: it is asked soon.
    pub(super) fn want_walk(&self) {
        let mut walks = self.background.lock();
        let soon = Instant::now() + AGAIN_AFTER;
        walks.due = Some(walks.due.map_or(soon, |due| due.min(soon)));
        drop(walks);
        self.bell.ring();
    }

    /// From which day on orders of one request key may belong together with one of `day`. Whoever created that looked from the day of the
    /// clock, which may have been the day before.
    fn keys_since(&self, day: Day) -> Day {
        (0..self.settings.request_key_days).try_fold(day, |day, _| day.previous()).unwrap_or(Day::MIN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replica::{Origin, Version};

    fn keyed(set: u16, sequence: u64, origin: Origin) -> Keyed {
        let number = OrderNumber::new(Day::MIN, sequence, SetId::from_checked(set)).expect("a number");
        Keyed { number, version: Version { epoch: 1, counter: 1 }, origin: Arc::new(origin) }
    }

    fn unverified(set: u16) -> Origin {
        Origin { unverified: vec![SetId::from_checked(set)], ..Origin::default() }
    }

    #[test]
    fn the_earlier_one_ends_unless_one_says_otherwise() {
        let plain = keyed(7, 1, Origin::default());
        let later = keyed(8, 1, unverified(7));
        assert_eq!(of_two(&plain, &later, 1), Two::EarlierEnds);
        let doubting = keyed(7, 1, unverified(8));
        assert_eq!(of_two(&doubting, &later, 1), Two::Alarm);
        let instead = |of: &Keyed, origin: Origin| Origin { supersedes: vec![(of.number, of.version)], ..origin };
        let standing_in = keyed(8, 1, instead(&plain, unverified(7)));
        assert_eq!(of_two(&plain, &standing_in, 1), Two::Told);
        let given_up_by = keyed(7, 1, instead(&later, Origin::default()));
        assert_eq!(of_two(&given_up_by, &later, 1), Two::Told);
        // It was confirmed since: somebody was told of it.
        let confirmed = Keyed { version: Version { epoch: 2, counter: 1 }, ..later.clone() };
        assert_eq!(of_two(&given_up_by, &confirmed, 1), Two::EarlierEnds);
    }

    #[test]
    fn a_key_that_was_forgotten_and_used_again_ends_no_order() {
        let later = keyed(8, 1, unverified(7));
        let day = |days: i64| Day::from_unix_days(Day::MIN.to_unix_days() + days).expect("a day");
        let on = |days: i64, origin: Origin| {
            let number = OrderNumber::new(day(days), 1, SetId::from_checked(7)).expect("a number");
            Keyed { number, ..keyed(7, 1, origin) }
        };
        assert_eq!(of_two(&on(1, Origin::default()), &later, 1), Two::EarlierEnds);
        assert_eq!(of_two(&on(2, Origin::default()), &later, 1), Two::Told);
        assert_eq!(of_two(&on(2, unverified(8)), &later, 1), Two::Alarm);
    }

    #[test]
    fn an_order_from_the_day_before_those_that_a_key_is_good_for_is_left_to_the_operator() {
        let earlier = keyed(7, 1, Origin::default());
        for (days, window, expected) in [(1, 1, Two::EarlierEnds), (2, 1, Two::Alarm), (2, 2, Two::EarlierEnds)] {
            let day = Day::from_unix_days(Day::MIN.to_unix_days() + days).expect("a day");
            let number = OrderNumber::new(day, 1, SetId::from_checked(8)).expect("a number");
            let later = Keyed { number, ..keyed(8, 1, unverified(7)) };
            assert_eq!(of_two(&earlier, &later, window), expected);
        }
    }
}
