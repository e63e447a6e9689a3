//! What a SET's replicas have in their indexes, page by page: orders that say that something is still to be done about others, and
//! uses of request keys. Every voter tells a page, and what any of them says counts: nothing must be overlooked.

use crate::error::Error;
use crate::order::{Day, OrderNumber};
use crate::pending::Promise;
use crate::quorum::Mask;
use crate::replica::{KeyUse, Noted, Replica, ReplicaError};
use crate::set::IndexPage;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::reads::get::LOOK_AFTER;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// Something that an index tells.
trait Entry: Send + 'static {
    /// Entries are told in the order of these.
    type Place: Clone + Ord + Send;

    fn place(&self) -> Self::Place;

    /// Takes in what another replica says in the same place.
    fn join(&mut self, other: Self);
}

/// A page under way. It holds no room among what is in flight: one walk asks for one page at a time.
struct PageOp<E: Entry> {
    core: Weak<Core>,
    limit: usize,
    /// The epoch in which it began; see `Core::read`.
    epoch: u32,
    deadline: Instant,
    state: Mutex<State<E>>,
}

struct State<E: Entry> {
    waiting: Mask,
    /// Not waited for where enough others have answered.
    silent: Mask,
    good: u8,
    entries: BTreeMap<E::Place, E>,
    /// The page says all there is to say up to here; `None`: up to the end.
    upto: Option<E::Place>,
    faults: Vec<(u8, ReplicaError)>,
    promise: Option<Promise<IndexPage<E, E::Place>>>,
}

impl Core {
    /// See [`Shard::noted`](crate::set::Shard::noted).
    pub(crate) fn noted(
        self: &Arc<Core>,
        after: Option<OrderNumber>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<Noted, OrderNumber>>,
    ) {
        self.page(limit, deadline, promise, move |replica| replica.noted(after, limit));
    }

    /// See [`Shard::keys`](crate::set::Shard::keys).
    pub(crate) fn keys(
        self: &Arc<Core>,
        since: Day,
        after: Option<KeyUse>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<KeyUse, KeyUse>>,
    ) {
        self.page(limit, deadline, promise, move |replica| replica.keys(since, after.as_ref(), limit));
    }

    fn page<E: Entry>(
        self: &Arc<Core>,
        limit: usize,
        deadline: Instant,
        promise: Promise<IndexPage<E, E::Place>>,
        tell: impl Fn(&dyn Replica) -> Result<Vec<E>, ReplicaError> + Send + Sync + 'static,
    ) {
        if self.is_closing() {
            return promise.complete(Err(Error::Closed));
        }
        let epoch = self.epoch();
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let state = State {
            waiting: voters,
            silent: self.silent(),
            good: 0,
            entries: BTreeMap::new(),
            upto: None,
            faults: Vec::new(),
            promise: Some(promise),
        };
        let op = Arc::new(PageOp { core: Arc::downgrade(self), limit, epoch, deadline, state: Mutex::new(state) });
        let tell = Arc::new(tell);
        for index in voters.iter() {
            let (asked, tell) = (Arc::clone(&op), Arc::clone(&tell));
            let job: ReadJob = Box::new(move |replica| {
                asked.answered(index, replica.and_then(|replica| guarded(|| tell(replica))));
            });
            if self.lane(index).read(job).is_err() {
                op.answered(index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
            }
        }
        op.proceed(self, &mut op.state.lock());
        let weak: Weak<PageOp<E>> = Arc::downgrade(&op);
        self.watch(deadline.min(Instant::now() + LOOK_AFTER), weak);
    }
}

impl<E: Entry> PageOp<E> {
    fn answered(&self, index: u8, result: Result<Vec<E>, ReplicaError>) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        state.waiting = state.waiting.without(index);
        match core.checked(index, self.epoch, result) {
            Ok(entries) => state.take(entries, self.limit),
            Err(error) => state.faults.push((index, error)),
        }
        self.proceed(&core, &mut state);
    }

    fn proceed(&self, core: &Core, state: &mut State<E>) {
        let need = core.quorum.r().max(core.quorum.claim());
        if state.good >= need && state.waiting.minus(state.silent).is_empty() {
            let (next, entries) = (state.upto.take(), std::mem::take(&mut state.entries));
            let is_whole = |place: &E::Place| next.as_ref().is_none_or(|upto| place <= upto);
            let entries = entries.into_iter().filter(|(place, _)| is_whole(place)).map(|(_, entry)| entry).collect();
            self.finish(core, state, Ok(IndexPage { entries, next }));
        } else if state.waiting.is_empty() {
            let error = core.quorum_lost(need, state.good, state.faults.clone());
            self.finish(core, state, Err(error));
        }
    }

    fn finish(&self, core: &Core, state: &mut State<E>, result: Result<IndexPage<E, E::Place>, Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: Held::default(), deliver });
        }
    }
}

impl<E: Entry> State<E> {
    fn take(&mut self, entries: Vec<E>, limit: usize) {
        self.good += 1;
        if entries.len() >= limit
            && let Some(last) = entries.last().map(Entry::place)
        {
            self.upto = Some(self.upto.take().map_or(last.clone(), |upto| upto.min(last)));
        }
        for entry in entries {
            match self.entries.get_mut(&entry.place()) {
                Some(held) => held.join(entry),
                None => _ = self.entries.insert(entry.place(), entry),
            }
        }
    }
}

impl Entry for Noted {
    type Place = OrderNumber;

    fn place(&self) -> OrderNumber {
        self.number
    }

    /// One of them may hold an older version of the order.
    fn join(&mut self, other: Noted) {
        for superseded in other.supersedes {
            if !self.supersedes.contains(&superseded) {
                self.supersedes.push(superseded);
            }
        }
        for set in other.unverified {
            if !self.unverified.contains(&set) {
                self.unverified.push(set);
            }
        }
        self.request_key = self.request_key.take().or(other.request_key);
    }
}

impl Entry for KeyUse {
    type Place = KeyUse;

    fn place(&self) -> KeyUse {
        self.clone()
    }

    fn join(&mut self, _: KeyUse) {}
}

impl<E: Entry> Timed for PageOp<E> {
    fn tick(self: Arc<PageOp<E>>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
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
