//! Ending numbers that were given up: an order was placed under another number when it was not known whether it was stored under
//! this one. It is made void under a newer version, which also refuses the late first write, unless something newer stands:
//! then somebody was told that number, and it is left alone.
//!
//! From the moment it is given up until it is void on W replicas nobody is shown it, so it never comes to life.

use super::settle::Stands;
use super::turns::{Turn, TurnEnd};
use super::write::{Content, Written};
use crate::error::{Error, NotAttempted};
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::quorum::Mask;
use crate::replica::{Draft, Kind, Lookup, Origin, Record, ReplicaError, Version, Write};
use crate::set::Ending;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, ReadJob};
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use parking_lot::Mutex;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Above every version that is ever given out: nothing that is found is written back as it is.
const ABOVE_ALL: Version = Version { epoch: u32::MAX, counter: u64::MAX };

impl Core {
    /// See [`Shard::give_up`](crate::set::Shard::give_up).
    pub(crate) fn give_up(&self, number: OrderNumber, version: Version) -> Option<Version> {
        self.enlist_doubtful_create(number);
        let before = {
            let mut doubts = self.doubts.lock();
            let before = doubts.given_up(number);
            doubts.give_up(number, version)?;
            before
        };
        // Whoever settles it at this moment may be rolling it forward. In this order: who begins to settle looks afterwards. And
        // whoever has just ended that may have rolled it forward: so it is asked once more. What was given up before stays so:
        // whoever settles it is ending it.
        if before.is_none() {
            let given_up = if self.is_settling(number) { None } else { self.doubts.lock().give_up(number, version) };
            if given_up.is_none() {
                self.doubts.lock().take_back(number);
                return None;
            }
        }
        // A read under way may have found it: from here on it looks again, in its turn.
        self.copies.fetch_add(1, Ordering::AcqRel);
        self.recent.forget(number);
        self.doubts.lock().given_up(number).or(Some(version))
    }

    /// Makes a given-up number void, for whoever has the turn. Called when settling has begun.
    pub(crate) fn end_in_turn(self: &Arc<Core>, number: OrderNumber, given_up: Version, deadline: Instant, then: Stands) {
        let found = move |core: &Arc<Core>, found: Result<(Option<Record>, bool), Error>| {
            let (found, is_confirmed) = match found {
                Ok(found) => found,
                Err(error) => {
                    core.land(number, None);
                    return then(core, Err(error));
                }
            };
            let newest = core.doubts.lock().newest(number);
            match &found {
                Some(record) if record.kind == Kind::Order && record.asked_for() > given_up => {
                    core.doubts.lock().take_back(number);
                    // Not given up any more, so this does not come back here.
                    return core.settle(number, deadline, then);
                }
                Some(record)
                    if record.kind == Kind::Void
                        && is_confirmed
                        && newest.is_none_or(|newest| newest < record.version)
                        && !core.says_too_much(number, record) =>
                {
                    // Reads that began meanwhile may have found what was there before, and nobody knows of that from here on.
                    core.copies.fetch_add(1, Ordering::AcqRel);
                    core.doubts.lock().ended(number, record.version);
                    core.recent.written(number, record);
                    core.land(number, Some(record));
                    return then(core, Ok(found));
                }
                _ => {}
            }
            let content = core.void_over(number, found.as_ref());
            let written = move |core: &Arc<Core>, written| match written {
                Written::Stored(record) => {
                    core.doubts.lock().ended(number, record.version);
                    then(core, Ok(Some(record)));
                }
                Written::InDoubt(_) => then(core, Err(Error::Unconfirmed { number, need: core.quorum.w() })),
                Written::NotSent(error) => {
                    core.land(number, None);
                    let error = if error == Error::Closed { error } else { Error::Unconfirmed { number, need: core.quorum.w() } };
                    then(core, Err(error));
                }
            };
            core.write(number, content, deadline, Box::new(written));
        };
        self.read_to_settle(number, deadline, Some(ABOVE_ALL), Box::new(found));
    }

    /// The void that is written over what was found, if anything was. What its number stands in for must end all the same, but for what
    /// stands instead of it; and a write that is in doubt may have been the only one to say so.
    pub(crate) fn void_over(&self, number: OrderNumber, found: Option<&Record>) -> Content {
        let doubts = self.doubts.lock();
        let (in_doubt, stands) = (doubts.ends(number).collect::<Vec<_>>(), doubts.stands_instead_of(number));
        drop(doubts);
        let held = found.and_then(|record| record.origin.as_ref());
        let origin = Origin::of_void(held.into_iter().chain(&in_doubt).map(|origin| &**origin), stands).map(Arc::new);
        let nothing = Some(Version::default());
        Content { kind: Kind::Void, draft: Draft::new(&[]), origin, version: None, copies: nothing }
    }

    /// Whether a void says that a number ends which stands instead of it.
    fn says_too_much(&self, number: OrderNumber, void: &Record) -> bool {
        let Some(stands) = self.doubts.lock().stands_instead_of(number) else { return false };
        void.origin.as_ref().is_some_and(|origin| origin.supersedes.iter().any(|(other, _)| *other == stands))
    }

    /// See [`Shard::end`](crate::set::Shard::end).
    pub(crate) fn end(self: &Arc<Core>, number: OrderNumber, version: Version, deadline: Instant, promise: Promise<Ending>) {
        let held = match self.check_floor(number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        let op = Arc::new(EndOp {
            core: Arc::downgrade(self),
            number,
            version,
            deadline,
            held,
            state: Mutex::new(State { promise: Some(promise), asked: Mask::NONE, void: Mask::NONE }),
        });
        let timed: Weak<EndOp> = Arc::downgrade(&op);
        self.watch_until(deadline, timed);
        if !self.take_turn(number, Arc::clone(&op) as Arc<dyn Turn>) {
            op.answer(self, Err(self.too_busy()));
        }
    }
}

/// A number being ended: first on W replicas, then all are asked.
struct EndOp {
    core: Weak<Core>,
    number: OrderNumber,
    version: Version,
    deadline: Instant,
    held: Held,
    state: Mutex<State>,
}

struct State {
    promise: Option<Promise<Ending>>,
    /// Those that have not answered whether they hold the void.
    asked: Mask,
    /// Those that hold it.
    void: Mask,
}

impl EndOp {
    fn answer(&self, core: &Core, result: Result<Ending, Error>) {
        let promise = self.state.lock().promise.take();
        if let Some(promise) = promise {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }

    /// What stands is known, in its turn.
    fn stands(self: &Arc<EndOp>, core: &Arc<Core>, stands: Result<Option<Record>, Error>) {
        let end = match &stands {
            Ok(Some(record)) => TurnEnd::Stands(record.clone()),
            Ok(None) => TurnEnd::Unchanged,
            Err(_) => TurnEnd::Unknown,
        };
        core.pass_on(self.number, end);
        match stands {
            Err(error) => self.answer(core, Err(error)),
            Ok(Some(record)) if record.kind == Kind::Order => self.answer(core, Ok(Ending::Alive(record.version))),
            Ok(Some(record)) => self.count(core, record),
            // Nothing was written, as the time was up or the SET is closing.
            Ok(None) => self.answer(core, Err(Error::Unconfirmed { number: self.number, need: core.quorum.w() })),
        }
    }

    /// Asks every replica of the SET whether it holds the void.
    fn count(self: &Arc<EndOp>, core: &Arc<Core>, void: Record) {
        let all: Mask = (0..core.quorum.n()).collect();
        self.state.lock().asked = all;
        let write = Write::new(self.number, &void, false);
        for index in all.iter() {
            let (op, number, write) = (Arc::clone(self), self.number, write.clone());
            let job: ReadJob = Box::new(move |replica| {
                op.counted(index, &write, replica.and_then(|replica| guarded(|| replica.get(number))));
            });
            if core.lane(index).read(job).is_err() {
                self.told(core, index, false);
            }
        }
    }

    /// A replica was asked. One that missed the void in an earlier process is given it: nobody else would.
    fn counted(self: &Arc<EndOp>, index: u8, write: &Write, result: Result<Lookup, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let lane = core.lane(index);
        match result {
            _ if !lane.is_voting() => self.told(&core, index, false),
            // An older void may give way to a copy of the order that is still on its way there.
            Ok(Lookup::Found(record)) if record.kind == Kind::Void && record.version >= write.version() => {
                self.told(&core, index, true);
            }
            Ok(Lookup::Absent | Lookup::Found(_)) => {
                let op = Arc::clone(self);
                let done = Box::new(move |index, result: Result<(), ReplicaError>| {
                    if let Some(core) = op.core.upgrade() {
                        op.told(&core, index, result.is_ok());
                    }
                });
                if lane.push(Job::Write { write: write.clone(), done }).is_err() {
                    self.told(&core, index, false);
                }
            }
            Ok(Lookup::Damaged(_)) | Err(_) => self.told(&core, index, false),
        }
    }

    /// Whether a replica holds it.
    fn told(&self, core: &Core, index: u8, holds: bool) {
        let mut state = self.state.lock();
        state.asked = state.asked.without(index);
        if holds {
            state.void = state.void.with(index);
        }
        let everywhere = state.void.count() == core.quorum.n();
        if state.asked.is_empty() {
            drop(state);
            self.answer(core, Ok(Ending::Void { everywhere }));
        }
    }
}

impl Turn for EndOp {
    fn begin(self: Arc<Self>, core: &Arc<Core>, latest: Option<Record>) {
        let (number, deadline) = (self.number, self.deadline);
        if self.state.lock().promise.is_none() {
            return core.pass_on(number, TurnEnd::Unchanged);
        }
        if core.doubts.lock().given_up(number).is_none() {
            // Ended before, or never heard of in this process.
            let known = if core.is_in_doubt(number) { None } else { latest.or_else(|| core.recent.get(number)) };
            let is_sworn = core.doubts.lock().is_sworn(number);
            let version = match known {
                Some(record) if record.kind == Kind::Void && core.says_too_much(number, &record) => record.version,
                Some(record) if record.kind == Kind::Void || record.asked_for() > self.version => {
                    return self.stands(core, Ok(Some(record)));
                }
                // The caller who asked what became of it was told that it is stored.
                latest if is_sworn => {
                    return core.stands(number, latest, deadline, Box::new(move |core, stands| self.stands(core, stands)));
                }
                Some(record) => record.version.max(self.version),
                None => self.version,
            };
            // Given up before it is read, and not after: a read that is not to end it could bring it to life, under a newer version.
            core.doubts.lock().force_given_up(number, version);
        }
        core.settle(number, deadline, Box::new(move |core, stands| self.stands(core, stands)));
    }
}

impl Timed for EndOp {
    fn tick(self: Arc<EndOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let state = self.state.lock();
        state.promise.as_ref()?;
        if now < self.deadline {
            return Some(again(self.deadline, now));
        }
        // On W it is void; who else holds that is not known in time.
        let is_void = !state.asked.is_empty();
        drop(state);
        let reason = NotAttempted::NoTurn { number: self.number };
        let result = if is_void { Ok(Ending::Void { everywhere: false }) } else { Err(Error::NotAttempted { reason }) };
        self.answer(core, result);
        None
    }
}
