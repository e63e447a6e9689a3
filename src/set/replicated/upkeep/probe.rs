//! A sign of life: something that is no order is written to W replicas and read back from R. For SETs to which nobody sends
//! anything while it is not known whether they are well again.

use super::coordinator::{Timed, again};
use super::notify::{Completion, Deliver, Held};
use crate::error::Error;
use crate::pending::Promise;
use crate::quorum::{Tally, Verdict};
use crate::replica::ReplicaError;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, ReadJob};
use crate::set::replicated::lanes::worker::guarded;
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The key under which replicas keep it. Its value means nothing.
const PROBE_KEY: &str = "probe";

struct ProbeOp {
    core: Weak<Core>,
    deadline: Instant,
    state: Mutex<State>,
}

struct State {
    written: Tally,
    /// Once it is on W replicas.
    read: Option<Tally>,
    promise: Option<Promise<()>>,
}

impl Core {
    /// See [`Shard::probe`](crate::set::Shard::probe).
    pub(crate) fn probe(self: &Arc<Core>, deadline: Instant, promise: Promise<()>) {
        if let Err(reason) = self.can_send(0) {
            return promise.complete(Err(Error::NotAttempted { reason }));
        }
        let voters = self.voters();
        let state = State { written: Tally::new(self.quorum.w(), voters), read: None, promise: Some(promise) };
        let op = Arc::new(ProbeOp { core: Arc::downgrade(self), deadline, state: Mutex::new(state) });
        let timed: Weak<ProbeOp> = Arc::downgrade(&op);
        self.watch_until(deadline, timed);
        for index in voters.iter() {
            let answer = Arc::clone(&op);
            let done = Box::new(move |index, result: Result<(), ReplicaError>| answer.written(index, result.is_ok()));
            let value = Bytes::from_static(b"alive");
            if self.lane(index).push(Job::Meta { key: PROBE_KEY.to_owned(), value, done }).is_err() {
                op.written(index, false);
            }
        }
    }
}

impl ProbeOp {
    fn written(self: &Arc<ProbeOp>, index: u8, good: bool) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        if state.read.is_some() {
            return;
        }
        match state.written.record(index, good) {
            Verdict::Pending => {}
            Verdict::Lost => {
                drop(state);
                self.answer(&core, Err(Error::NotAttempted { reason: core.no_quorum(core.quorum.w()) }));
            }
            Verdict::Reached => {
                let voters = core.voters();
                state.read = Some(Tally::new(core.quorum.r(), voters));
                drop(state);
                for index in voters.iter() {
                    let op = Arc::clone(self);
                    let job: ReadJob = Box::new(move |replica| {
                        let result = replica.and_then(|replica| guarded(|| replica.meta(PROBE_KEY)));
                        op.read(index, result.is_ok());
                    });
                    if core.lane(index).read(job).is_err() {
                        self.read(index, false);
                    }
                }
            }
        }
    }

    fn read(&self, index: u8, good: bool) {
        let Some(core) = self.core.upgrade() else { return };
        let mut state = self.state.lock();
        let Some(tally) = &mut state.read else { return };
        match tally.record(index, good) {
            Verdict::Pending => {}
            verdict => {
                drop(state);
                let lost = || core.quorum_lost(core.quorum.r(), 0, Vec::new());
                self.answer(&core, if verdict == Verdict::Reached { Ok(()) } else { Err(lost()) });
            }
        }
    }

    fn answer(&self, core: &Core, result: Result<(), Error>) {
        let promise = self.state.lock().promise.take();
        if let Some(promise) = promise {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: Held::default(), deliver });
        }
    }
}

impl Timed for ProbeOp {
    fn tick(self: Arc<ProbeOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        self.state.lock().promise.as_ref()?;
        if now < self.deadline {
            return Some(again(self.deadline, now));
        }
        let (asked, good) = (core.voters().count(), 0);
        self.answer(core, Err(Error::DeadlineExceeded { set: core.id, need: core.quorum.w(), asked, good }));
        None
    }
}
