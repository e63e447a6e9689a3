//! Creates with one request key take turns in this process, first come first served. What became of a key is kept here as well, for
//! the next one with that key: that it ended in doubt, and the order that was told last. Bounded in number and in bytes.

use super::{Doubtful, Request, Told};
use crate::config::Settings;
use crate::error::{Error, NotAttempted, WriteToken};
use crate::order::{Day, OrderNumber, SetId};
use crate::time::{Clock, GuardedClock};
use bytes::Bytes;
use parking_lot::{Mutex, MutexGuard};
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

/// The most that wait for one key.
const WAITING_MAX: usize = 8_192;
/// The most keys of which it is remembered that they ended in doubt.
const DOUBTFUL_MAX: usize = 65_536;
/// The most keys of which it is remembered which order was told. Of others the records say enough; but for the case in which they leave
/// it to the operator.
const TOLD_MAX: usize = 65_536;
/// Parts of the table, each with its own lock.
const SHELVES: usize = 64;

/// The request keys in use.
pub(in crate::store) struct Keys {
    clock: GuardedClock,
    hasher: RandomState,
    shelves: Vec<Mutex<Shelf>>,
    usage: Arc<Usage>,
    doubtful: AtomicUsize,
}

#[derive(Default)]
struct Shelf {
    queues: HashMap<Bytes, Queue>,
    doubtful: HashMap<Bytes, Doubtful>,
    told: HashMap<Bytes, Told>,
    /// The same keys, those first that were told first.
    told_first: VecDeque<Bytes>,
}

/// Those that wait for one key.
#[derive(Default)]
struct Queue {
    waiting: VecDeque<Box<Request>>,
    /// Somebody has the turn.
    held: bool,
    /// A thread is at handing out turns. Those that end at once are then handed out in its loop, not one inside the other.
    looping: bool,
}

#[derive(Default)]
struct Usage {
    requests: AtomicUsize,
    bytes: AtomicUsize,
}

/// Room for a create with a key, given back when it is dropped.
pub(super) struct Room {
    usage: Arc<Usage>,
    bytes: usize,
}

impl Drop for Room {
    fn drop(&mut self) {
        self.usage.requests.fetch_sub(1, Ordering::Relaxed);
        self.usage.bytes.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}

impl Keys {
    pub(in crate::store) fn new(clock: Arc<dyn Clock>) -> Keys {
        let shelves = (0..SHELVES).map(|_| Mutex::default()).collect();
        let (usage, doubtful) = (Arc::default(), AtomicUsize::new(0));
        Keys { clock: GuardedClock::new(clock), hasher: RandomState::new(), shelves, usage, doubtful }
    }

    /// The first day on which a key is looked for.
    pub(in crate::store) fn since(&self, settings: &Settings) -> Result<Day, NotAttempted> {
        let wall_ms = self.clock.wall_ms();
        let local_ms = wall_ms.checked_add(i64::from(settings.utc_offset_minutes) * 60_000);
        let today = local_ms.and_then(|local_ms| Day::from_unix_days(local_ms.div_euclid(86_400_000)));
        let today = today.ok_or(NotAttempted::ClockOutOfRange { wall_ms })?;
        Ok(Day::from_unix_days(today.to_unix_days() - i64::from(settings.request_key_days) + 1).unwrap_or(Day::MIN))
    }

    /// Room for one more with a payload of `bytes` bytes: as much in all as one SET may have in flight.
    pub(super) fn admit(&self, key: &Bytes, bytes: usize, settings: &Settings) -> Result<Room, Error> {
        let requests = self.usage.requests.fetch_add(1, Ordering::Relaxed);
        let before = self.usage.bytes.fetch_add(bytes, Ordering::Relaxed);
        let room = Room { usage: Arc::clone(&self.usage), bytes };
        let is_full = requests >= settings.in_flight_max || (requests > 0 && before + bytes > settings.in_flight_bytes_max);
        // What ended in doubt is not forgotten: rather none is taken that might have to be remembered.
        if is_full || (self.doubtful.load(Ordering::Relaxed) >= DOUBTFUL_MAX && !self.forget_old(key, settings)) {
            return Err(busy(requests));
        }
        Ok(room)
    }

    /// Forgets what is in doubt from days on which no key is looked for any more; says whether there is room then.
    fn forget_old(&self, key: &Bytes, settings: &Settings) -> bool {
        let Ok(since) = self.since(settings) else { return false };
        let mut shelf = self.shelf(key);
        let before = shelf.doubtful.len();
        shelf.doubtful.retain(|_, doubtful| doubtful.number.day() >= since);
        self.doubtful.fetch_sub(before - shelf.doubtful.len(), Ordering::Relaxed);
        shelf.doubtful.contains_key(key) || self.doubtful.load(Ordering::Relaxed) < DOUBTFUL_MAX
    }

    fn shelf(&self, key: &Bytes) -> MutexGuard<'_, Shelf> {
        self.shelves[self.hasher.hash_one(key) as usize % SHELVES].lock()
    }

    /// Puts a create at the end of the queue of its key; says whether turns have to be handed out. Gives it back where too many wait.
    pub(super) fn enter(&self, request: Box<Request>) -> Result<bool, Box<Request>> {
        let mut shelf = self.shelf(&request.key);
        let queue = shelf.queues.entry(request.key.clone()).or_default();
        if queue.waiting.len() >= WAITING_MAX {
            return Err(request);
        }
        queue.waiting.push_back(request);
        Ok(!queue.held && !std::mem::replace(&mut queue.looping, true))
    }

    /// Whose turn it is, if it is anybody's; with what ended in doubt under that key. `None` ends the handing out.
    pub(super) fn next(&self, key: &Bytes) -> Option<Box<Request>> {
        let mut shelf = self.shelf(key);
        let queue = shelf.queues.get_mut(key)?;
        if queue.held {
            queue.looping = false;
            return None;
        }
        let Some(mut next) = queue.waiting.pop_front() else {
            shelf.queues.remove(key);
            return None;
        };
        queue.held = true;
        next.doubtful = shelf.doubtful.remove(key);
        next.told = shelf.told.get(key).cloned();
        self.doubtful.fetch_sub(usize::from(next.doubtful.is_some()), Ordering::Relaxed);
        Some(next)
    }

    /// A turn ends, with this still in doubt, and this told; says whether turns have to be handed out.
    pub(super) fn pass_on(&self, key: &Bytes, doubtful: Option<Doubtful>, told: Option<Told>) -> bool {
        let mut shelf = self.shelf(key);
        if let Some(told) = told {
            shelf.tell(key, told);
        }
        if let Some(doubtful) = doubtful.map(|doubtful| Doubtful { is_being_settled: false, ..doubtful })
            && shelf.doubtful.insert(key.clone(), doubtful).is_none()
        {
            self.doubtful.fetch_add(1, Ordering::Relaxed);
        }
        let Some(queue) = shelf.queues.get_mut(key) else { return false };
        queue.held = false;
        !std::mem::replace(&mut queue.looping, true)
    }

    /// Some of those that are in doubt and whose SET may be asked. Each is being settled until [`Keys::settled`].
    pub(super) fn take_doubtful(&self, limit: usize, may: impl Fn(SetId) -> bool) -> Vec<(Bytes, WriteToken)> {
        let mut taken = Vec::new();
        // Most are tried again by their callers, who can still give them up: it is only seen to that there is room.
        if self.doubtful.load(Ordering::Relaxed) < DOUBTFUL_MAX / 2 {
            return taken;
        }
        for shelf in &self.shelves {
            let mut shelf = shelf.lock();
            let open = shelf.doubtful.iter_mut().filter(|(_, doubtful)| !doubtful.is_being_settled);
            for (key, doubtful) in open.filter(|(_, doubtful)| may(doubtful.number.set_id())).take(limit - taken.len()) {
                doubtful.is_being_settled = true;
                taken.push((key.clone(), WriteToken { number: doubtful.number, version: doubtful.version }));
            }
        }
        taken
    }

    /// What was in doubt is settled, and need not be remembered; or is not, and is tried again.
    pub(super) fn settled(&self, key: &Bytes, number: OrderNumber, is_settled: bool) {
        let mut shelf = self.shelf(key);
        let Some(doubtful) = shelf.doubtful.get_mut(key).filter(|doubtful| doubtful.number == number) else { return };
        doubtful.is_being_settled = false;
        if is_settled && shelf.doubtful.remove(key).is_some() {
            self.doubtful.fetch_sub(1, Ordering::Relaxed);
        }
    }

    /// Whether that number was told for the key last.
    pub(in crate::store) fn has_told(&self, key: &Bytes, number: OrderNumber) -> bool {
        self.shelf(key).told.get(key).is_some_and(|told| told.number == number)
    }

    /// Takes out those that wait and whose deadline has passed; says when the next one passes.
    pub(super) fn take_expired(&self, now: Instant) -> (VecDeque<Box<Request>>, Option<Instant>) {
        let (mut expired, mut next) = (VecDeque::new(), None);
        for shelf in &self.shelves {
            for queue in shelf.lock().queues.values_mut() {
                let (mut late, waiting) =
                    std::mem::take(&mut queue.waiting).into_iter().partition(|request| request.until <= now);
                queue.waiting = waiting;
                expired.append(&mut late);
                let first = queue.waiting.iter().map(|request| request.until).min();
                next = next.into_iter().chain(first).min();
            }
        }
        (expired, next)
    }
}

impl Shelf {
    fn tell(&mut self, key: &Bytes, told: Told) {
        if self.told.insert(key.clone(), told).is_none() {
            self.told_first.push_back(key.clone());
        }
        if self.told_first.len() > TOLD_MAX / SHELVES
            && let Some(first) = self.told_first.pop_front()
        {
            self.told.remove(&first);
        }
    }
}

/// Too many creates with request keys are under way.
pub(super) fn busy(waiting: usize) -> Error {
    Error::NotAttempted { reason: NotAttempted::KeysBusy { waiting } }
}
