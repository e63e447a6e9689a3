//! Which orders a request key names in this SET: every voter looks into its index and reads what it finds there; the newest of each
//! number counts. Nothing is written back, so that a number which another SET's order stands in for is not brought to life by being
//! looked for; the store reads strongly what it is going to tell somebody.
//!
//! Voids with the key may say which other numbers must end: that is told as well, and whether all replicas were heard.
//!
//! Enough voters answer for the answer to hold every order that was acknowledged before: they meet every set of W replicas. While
//! what they hold may differ without a sign, all voters are heard but those that are silent.

use crate::error::{Error, Faults};
use crate::order::{Day, OrderNumber};
use crate::pending::Promise;
use crate::quorum::Mask;
use crate::replica::{Kind, Lookup, Origin, Record, Replica, ReplicaError, Version};
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::reads::get::LOOK_AFTER;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::{KeyFound, Keyed};
use bytes::Bytes;
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The most numbers of one key that a replica reads, the newest first. So many come only of as many creates that ended in doubt,
/// each of which was given up before the next.
const NUMBERS_MAX: usize = 4_096;

/// A look-up under way. It holds no room among what is in flight: whoever has the store's turn on a key asks each SET once, and
/// the store bounds those who wait for a turn.
struct KeyedOp {
    core: Weak<Core>,
    key: Bytes,
    /// The epoch in which it began; see `Core::read`.
    epoch: u32,
    deadline: Instant,
    dirty: bool,
    voters: Mask,
    state: Mutex<State>,
}

struct State {
    waiting: Mask,
    /// Not waited for where enough others have answered.
    silent: Mask,
    good: u8,
    newest: BTreeMap<OrderNumber, Seen>,
    faults: Vec<(u8, ReplicaError)>,
    promise: Option<Promise<KeyFound>>,
}

/// What a replica holds under a number.
enum Seen {
    Held(Kind, Version, Option<Arc<Origin>>, bool),
    /// Something that it cannot read.
    Damaged,
}

impl Core {
    /// See [`Shard::keyed`](crate::set::Shard::keyed).
    pub(crate) fn keyed(self: &Arc<Core>, key: Bytes, since: Day, deadline: Instant, promise: Promise<KeyFound>) {
        if self.is_closing() {
            return promise.complete(Err(Error::Closed));
        }
        // In this order, as for a read of one order.
        let epoch = self.epoch();
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let dirty = self.ranges.lock().is_dirty_since(since);
        let state = State {
            waiting: voters,
            silent: self.silent(),
            good: 0,
            newest: BTreeMap::new(),
            faults: Vec::new(),
            promise: Some(promise),
        };
        let core = Arc::downgrade(self);
        let op = Arc::new(KeyedOp { core, key, epoch, deadline, dirty, voters, state: Mutex::new(state) });
        for index in voters.iter() {
            let asked = Arc::clone(&op);
            let job: ReadJob = Box::new(move |replica| {
                if asked.is_finished() {
                    return;
                }
                let result = replica.and_then(|replica| guarded(|| look(replica, &asked.key, since)));
                asked.answered(index, result);
            });
            if self.lane(index).read(job).is_err() {
                op.answered(index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
            }
        }
        op.proceed(self, &mut op.state.lock());
        let weak: Weak<KeyedOp> = Arc::downgrade(&op);
        self.watch(deadline.min(Instant::now() + LOOK_AFTER), weak);
    }

    /// See [`Shard::keyed_at`](crate::set::Shard::keyed_at).
    pub(crate) fn keyed_at(self: &Arc<Core>, number: OrderNumber, deadline: Instant, promise: Promise<Option<Keyed>>) {
        if self.is_closing() {
            return promise.complete(Err(Error::Closed));
        }
        if self.check_floor(number.day()).is_err() {
            return promise.complete(Ok(None));
        }
        let as_keyed = move |record: Record| match record {
            Record { kind: Kind::Order, version, origin, value, .. } => {
                let origin = origin.unwrap_or_default();
                Some(Keyed { number, version, is_changed: is_changed(&origin, &value), origin })
            }
            Record { kind: Kind::Void, .. } => None,
        };
        let finish = move |result: Result<Option<Record>, Error>| {
            promise.complete(result.map(|record| record.and_then(as_keyed)));
        };
        self.read(number, deadline, Held::default(), Box::new(finish));
    }
}

/// What one replica holds. On its reader's thread.
fn look(replica: &dyn Replica, key: &[u8], since: Day) -> Result<Vec<(OrderNumber, Seen)>, ReplicaError> {
    let mut numbers = replica.keyed(key, since)?;
    numbers.sort_unstable();
    numbers.drain(..numbers.len().saturating_sub(NUMBERS_MAX));
    let mut seen = Vec::with_capacity(numbers.len());
    for number in numbers {
        match replica.get(number)? {
            // Only the index led there: the record never came, or was lost.
            Lookup::Absent => {}
            Lookup::Found(Record { kind, version, origin, value, .. }) => {
                let is_changed = origin.as_ref().is_some_and(|origin| is_changed(origin, &value));
                seen.push((number, Seen::Held(kind, version, origin, is_changed)));
            }
            Lookup::Damaged(_) => seen.push((number, Seen::Damaged)),
        }
    }
    Ok(seen)
}

fn is_changed(origin: &Origin, value: &[u8]) -> bool {
    origin.request_key.as_ref().is_some_and(|request| !request.is_for(value))
}

impl KeyedOp {
    fn is_finished(&self) -> bool {
        self.state.lock().promise.is_none()
    }

    fn answered(&self, index: u8, result: Result<Vec<(OrderNumber, Seen)>, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        state.waiting = state.waiting.without(index);
        match core.checked(index, self.epoch, result) {
            Ok(seen) => {
                state.good += 1;
                for (number, seen) in seen {
                    let newest = state.newest.entry(number).or_insert(Seen::Damaged);
                    if newest.version() < seen.version() {
                        *newest = seen;
                    }
                }
            }
            Err(error) => state.faults.push((index, error)),
        }
        self.proceed(&core, &mut state);
    }

    /// Looks whether enough is in.
    fn proceed(&self, core: &Core, state: &mut State) {
        let need = core.quorum.r().max(core.quorum.claim());
        let enough = state.good >= need;
        if enough && (!self.dirty || state.waiting.minus(state.silent).is_empty()) {
            let orders = self.found(core, std::mem::take(&mut state.newest), &state.faults);
            // Where nothing differs what one voter holds all do.
            let heard = if self.dirty { state.good } else { self.voters.count() };
            let partly_in = (heard < core.quorum.n()).then_some(self.epoch);
            self.finish(core, state, orders.map(|(orders, ended)| KeyFound { orders, ended, partly_in }));
        } else if state.waiting.is_empty() {
            let error = core.quorum_lost(need, state.good, state.faults.clone());
            self.finish(core, state, Err(error));
        }
    }

    /// The orders among what was seen, and what its voids say of other numbers.
    fn found(
        &self,
        core: &Core,
        newest: BTreeMap<OrderNumber, Seen>,
        faults: &[(u8, ReplicaError)],
    ) -> Result<(Vec<Keyed>, Vec<(OrderNumber, Version)>), Error> {
        let (mut found, mut ended) = (Vec::new(), Vec::new());
        let has_key = |origin: &Origin| origin.request_key.as_ref().is_some_and(|request| request.key == self.key);
        for (number, seen) in newest {
            let (version, origin, is_changed) = match seen {
                Seen::Held(Kind::Order, version, Some(origin), is_changed) => (version, origin, is_changed),
                Seen::Held(Kind::Void, _, Some(origin), _) if has_key(&origin) => {
                    ended.extend_from_slice(&origin.supersedes);
                    continue;
                }
                Seen::Held(..) => continue,
                // It may be an order with that key, and nobody can tell.
                Seen::Damaged => return Err(Error::Corrupt { set: core.id, number, faults: Faults(faults.to_vec()) }),
            };
            let is_given_up = core.doubts.lock().is_given_up(number, version);
            if has_key(&origin) && !is_given_up && core.check_floor(number.day()).is_ok() {
                found.push(Keyed { number, version, origin, is_changed });
            }
        }
        Ok((found, ended))
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<KeyFound, Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: Held::default(), deliver });
        }
    }
}

impl Seen {
    /// What cannot be read gives way to whatever others can.
    fn version(&self) -> Option<Version> {
        match self {
            Seen::Held(_, version, ..) => Some(*version),
            Seen::Damaged => None,
        }
    }
}

impl Timed for KeyedOp {
    fn tick(self: Arc<KeyedOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.promise.as_ref()?;
        if now >= self.deadline {
            let (need, asked, good) = (core.quorum.r().max(core.quorum.claim()), core.quorum.n(), state.good);
            self.finish(core, &mut state, Err(Error::DeadlineExceeded { set: core.id, need, asked, good }));
            return None;
        }
        state.silent = core.passed_by();
        self.proceed(core, &mut state);
        Some(self.deadline.min(now + LOOK_AFTER))
    }
}
