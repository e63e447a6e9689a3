//! Settling writes in doubt: roll forward what is seen of them, else write what stands again under a newer version, so that the
//! late write can never win.

use super::doubts::{Doubt, Known};
use super::turns::{Turn, TurnEnd};
use super::write::{Content, Written};
use crate::error::{Error, NotAttempted, WriteToken};
use crate::order::OrderNumber;
use crate::pending::Promise;
use crate::replica::{Draft, Kind, Record, Version};
use crate::set::replicated::Core;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::{Asker, Resolved};
use parking_lot::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// Called once with what stands on W replicas now; on any thread of ours.
pub(crate) type Stands = Box<dyn FnOnce(&Arc<Core>, Result<Option<Record>, Error>) + Send>;

impl Core {
    /// Whether a write of `number` is in doubt, be it a create that nobody has put on the list yet.
    pub(crate) fn is_in_doubt(&self, number: OrderNumber) -> bool {
        self.enlist_doubtful_create(number);
        self.doubts.lock().concerns(number)
    }

    /// What stands under `number`, for whoever has the turn: doubts are settled first.
    pub(crate) fn stands(self: &Arc<Core>, number: OrderNumber, latest: Option<Record>, deadline: Instant, then: Stands) {
        if self.is_in_doubt(number) {
            return self.settle(number, deadline, then);
        }
        match latest.or_else(|| self.recent.get(number)) {
            Some(record) => then(self, Ok(Some(record))),
            None => self.read_in_turn(number, deadline, then),
        }
    }

    /// Settles all doubts about `number`, for whoever has the turn.
    pub(crate) fn settle(self: &Arc<Core>, number: OrderNumber, deadline: Instant, then: Stands) {
        // A free read under way may have been told something that is written over now: from here on it looks again, in its turn.
        self.copies.fetch_add(1, Ordering::AcqRel);
        self.begin_settling(number);
        // After that: whoever gives it up from now on sees that it is too late.
        let doubts = self.doubts.lock();
        let (newest, given_up) = (doubts.newest(number), doubts.given_up(number));
        drop(doubts);
        if let Some(given_up) = given_up {
            return self.end_in_turn(number, given_up, deadline, then);
        }
        let settled = move |core: &Arc<Core>, found: Result<(Option<Record>, bool), Error>| {
            let (found, is_confirmed) = match found {
                Ok(found) => found,
                Err(error) => {
                    core.land(number, None);
                    return then(core, Err(error));
                }
            };
            let version = found.as_ref().map_or(Version::default(), |record| record.version);
            if !is_confirmed || newest.is_some_and(|newest| version < newest) {
                return core.write_again(number, found, deadline, then);
            }
            core.doubts.lock().settle(number, version, None);
            if let Some(record) = &found {
                core.recent.written(number, record);
            }
            core.land(number, found.as_ref());
            then(core, Ok(found));
        };
        self.read_to_settle(number, deadline, newest, Box::new(settled));
    }

    /// Writes what was found under a newer version than any in doubt; where nothing was found, that there is nothing, and which other
    /// numbers must end.
    fn write_again(self: &Arc<Core>, number: OrderNumber, found: Option<Record>, deadline: Instant, then: Stands) {
        let copied = found.as_ref().map_or(Version::default(), |record| record.version);
        let content = match &found {
            Some(record) => {
                let (draft, origin) = (Draft::new(&record.value), record.origin.clone());
                Content { kind: record.kind, draft, origin, version: None, copies: Some(copied) }
            }
            None => self.void_over(number, None),
        };
        let written = move |core: &Arc<Core>, written| match written {
            Written::Stored(record) => then(core, Ok(Some(record))),
            Written::InDoubt(_) => then(core, Err(Error::Unconfirmed { number, need: core.quorum.w() })),
            Written::NotSent(error) => {
                core.land(number, None);
                // Whoever reads did not ask for anything to be written.
                let error = if error == Error::Closed { error } else { Error::Unconfirmed { number, need: core.quorum.w() } };
                then(core, Err(error));
            }
        };
        self.write(number, content, deadline, Box::new(written));
    }

    /// A copy of `copied` is on W replicas under `version`. Called before any read can see that it is.
    pub(crate) fn copied(&self, number: OrderNumber, version: Version, copied: Version) {
        let mut doubts = self.doubts.lock();
        doubts.settle(number, version, Some(copied));
        // It may have been found without ever having been in doubt here: an earlier process left it.
        if copied != Version::default() && doubts.known(WriteToken { number, version: copied }) == Known::Never {
            doubts.remember(number, copied, Resolved::Applied);
        }
    }

    /// See [`OrderStore::resolve`](crate::OrderStore::resolve).
    pub(crate) fn resolve(self: &Arc<Core>, token: WriteToken, asker: Asker, deadline: Instant, promise: Promise<Resolved>) {
        let held = match self.check_floor(token.number.day()).and_then(|()| self.admit_read()) {
            Ok(held) => held,
            Err(error) => return promise.complete(Err(error)),
        };
        if !self.may_have_given_out(token.version) {
            self.in_flight.release(held);
            return promise.complete(Err(Error::UnknownToken { token }));
        }
        let (has_turn, promise) = (AtomicBool::new(false), Mutex::new(Some(promise)));
        let op = Arc::new(ResolveOp { token, asker, deadline, held, has_turn, promise });
        let timed: Weak<ResolveOp> = Arc::downgrade(&op);
        self.watch_until(deadline, timed);
        if !self.take_turn(token.number, Arc::clone(&op) as Arc<dyn Turn>) {
            op.answer(self, Err(self.too_busy()));
        }
    }

    /// Whether this process, or one before it, may have given out that version.
    fn may_have_given_out(&self, version: Version) -> bool {
        let counter = self.submit.lock().counter;
        let current = Version { epoch: self.epoch(), counter };
        // Without an epoch nothing can be said; that is for the read to tell.
        current.epoch == 0 || (version.epoch > 0 && version.counter > 0 && version <= current)
    }

    pub(crate) fn too_busy(&self) -> Error {
        let now = self.in_flight.now();
        let reason = NotAttempted::Busy { set: self.id, operations: now.operations, bytes: now.bytes };
        Error::NotAttempted { reason }
    }
}

/// A resolve under way.
struct ResolveOp {
    token: WriteToken,
    asker: Asker,
    deadline: Instant,
    held: Held,
    has_turn: AtomicBool,
    promise: Mutex<Option<Promise<Resolved>>>,
}

/// How long after its deadline a resolve that has the turn is given up at the latest.
const GRACE: Duration = Duration::from_millis(100);

impl ResolveOp {
    fn answer(&self, core: &Core, result: Result<Resolved, Error>) {
        if let Some(promise) = self.promise.lock().take() {
            if (&result, self.asker) == (&Ok(Resolved::Applied), Asker::Caller) {
                core.doubts.lock().swear(self.token.number);
            }
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }

    fn end(&self, core: &Arc<Core>, result: Result<Resolved, Error>, end: TurnEnd) {
        self.answer(core, result);
        core.pass_on(self.token.number, end);
    }

    /// The doubts are settled.
    fn settled(&self, core: &Arc<Core>, stands: Result<Option<Record>, Error>) {
        match stands {
            Err(error) => self.end(core, Err(error), TurnEnd::Unknown),
            Ok(stands) => {
                let outcome = self.judge(core, stands.as_ref());
                self.end(core, outcome, stands.map_or(TurnEnd::Unchanged, TurnEnd::Stands));
            }
        }
    }

    /// What became of the write, now that it is known what stands.
    fn judge(&self, core: &Core, stands: Option<&Record>) -> Result<Resolved, Error> {
        let token = self.token;
        let known = core.doubts.lock().known(token);
        let newer = match (known, stands) {
            (Known::Settled(outcome), _) => return Ok(outcome),
            (_, Some(record)) if record.version == token.version => return Ok(Resolved::Applied),
            (_, Some(record)) if record.version > token.version => record,
            // No write with that version was ever sent.
            _ => return Ok(Resolved::NotApplied),
        };
        match known {
            // It was stored, and written over since.
            Known::Never if core.is_ours(token.version.epoch) => Ok(Resolved::Applied),
            // A void over a new order stands for one that was never placed.
            _ if newer.kind == Kind::Void => Ok(Resolved::NotApplied),
            _ => Err(Error::Superseded { token, current: newer.version }),
        }
    }

    /// A write that is not known to be in doubt: it was stored, or an earlier process sent it.
    fn look(self: Arc<Self>, core: &Arc<Core>, stands: Result<Option<Record>, Error>) {
        let (number, version) = (self.token.number, self.token.version);
        let is_unseen = matches!(&stands, Ok(stands) if stands.as_ref().is_none_or(|record| record.version < version));
        let is_never = core.doubts.lock().known(self.token) == Known::Never;
        if !is_unseen || (is_never && core.is_ours(version.epoch)) {
            return self.settled(core, stands);
        }
        // Not seen, and perhaps on a replica that could not be asked.
        core.doubts.lock().add(number, Doubt::of(version, None, None));
        let deadline = self.deadline;
        core.settle(number, deadline, Box::new(move |core, stands| self.settled(core, stands)));
    }
}

impl Turn for ResolveOp {
    fn begin(self: Arc<Self>, core: &Arc<Core>, latest: Option<Record>) {
        let (number, deadline) = (self.token.number, self.deadline);
        if self.promise.lock().is_none() {
            return core.pass_on(number, TurnEnd::Unchanged);
        }
        self.has_turn.store(true, Ordering::Release);
        core.enlist_doubtful_create(number);
        let known = core.doubts.lock().known(self.token);
        match known {
            Known::Settled(outcome) => self.end(core, Ok(outcome), TurnEnd::Unchanged),
            Known::InDoubt => core.settle(number, deadline, Box::new(move |core, stands| self.settled(core, stands))),
            Known::Never | Known::Forgotten => {
                core.stands(number, latest, deadline, Box::new(move |core, stands| self.look(core, stands)));
            }
        }
    }
}

impl Timed for ResolveOp {
    fn tick(self: Arc<ResolveOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        self.promise.lock().as_ref()?;
        // What it does in its turn ends at the deadline by itself. Whoever is told before that finds it being settled still.
        let until = if self.has_turn.load(Ordering::Acquire) { self.deadline + GRACE } else { self.deadline };
        if now < until {
            return Some(again(until, now));
        }
        let reason = NotAttempted::NoTurn { number: self.token.number };
        self.answer(core, Err(Error::NotAttempted { reason }));
        None
    }
}
