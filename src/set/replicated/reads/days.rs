//! Which days a SET holds orders of: what any voter says, once R of them have spoken.

use crate::error::Error;
use crate::order::Day;
use crate::pending::{Pending, Promise};
use crate::quorum::Mask;
use crate::replica::ReplicaError;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::ReadJob;
use crate::set::replicated::lanes::worker::guarded;
use crate::set::replicated::upkeep::coordinator::Timed;
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use parking_lot::Mutex;
use std::collections::BTreeSet;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

/// From then on R answers are enough.
const HURRY_AFTER: Duration = Duration::from_millis(200);

struct DaysOp {
    /// The epoch in which it began; see `Core::read`.
    epoch: u32,
    deadline: Instant,
    held: Held,
    state: Mutex<State>,
}

struct State {
    days: BTreeSet<Day>,
    waiting: Mask,
    good: u8,
    faults: Vec<(u8, ReplicaError)>,
    hurried: bool,
    promise: Option<Promise<Vec<Day>>>,
}

impl Core {
    pub(crate) fn days(self: &Arc<Core>, deadline: Instant) -> Pending<Vec<Day>> {
        let held = match self.admit_read() {
            Ok(held) => held,
            Err(error) => return Pending::ready(Err(error)),
        };
        let epoch = self.epoch();
        let voters = if epoch == 0 { Mask::NONE } else { self.voters() };
        let (promise, pending) = Pending::new();
        let state =
            State { days: BTreeSet::new(), waiting: voters, good: 0, faults: Vec::new(), hurried: false, promise: Some(promise) };
        let op = Arc::new(DaysOp { epoch, deadline, held, state: Mutex::new(state) });
        for index in voters.iter() {
            let (answering, core) = (Arc::clone(&op), Arc::downgrade(self));
            let job: ReadJob = Box::new(move |replica| {
                let result = replica.and_then(|replica| guarded(|| replica.days()));
                if let Some(core) = core.upgrade() {
                    answering.answered(&core, index, result);
                }
            });
            if self.lane(index).read(job).is_err() {
                op.answered(self, index, Err(ReplicaError::Out { reason: "too many reads wait for it".to_owned() }));
            }
        }
        op.proceed(self, &mut op.state.lock());
        let weak: Weak<DaysOp> = Arc::downgrade(&op);
        self.watch(deadline.min(Instant::now() + HURRY_AFTER), weak);
        pending
    }
}

impl DaysOp {
    fn answered(&self, core: &Core, index: u8, result: Result<Vec<Day>, ReplicaError>) {
        let mut state = self.state.lock();
        state.waiting = state.waiting.without(index);
        match core.checked(index, self.epoch, result) {
            Ok(days) => {
                state.good += 1;
                state.days.extend(days);
            }
            Err(error) => state.faults.push((index, error)),
        }
        self.proceed(core, &mut state);
    }

    fn proceed(&self, core: &Core, state: &mut State) {
        let enough = state.good >= core.quorum.r();
        let over = state.waiting.is_empty() || (enough && state.hurried);
        if !over {
            return;
        }
        let result = match enough {
            true => Ok(std::mem::take(&mut state.days).into_iter().filter(|day| core.check_floor(*day).is_ok()).collect()),
            false => Err(core.quorum_lost(core.quorum.r(), state.good, state.faults.clone())),
        };
        self.finish(core, state, result);
    }

    fn finish(&self, core: &Core, state: &mut State, result: Result<Vec<Day>, Error>) {
        if let Some(promise) = state.promise.take() {
            let deliver = Deliver::Other(Box::new(move || promise.complete(result)));
            core.notifier.push(Completion { held: self.held, deliver });
        }
    }
}

impl Timed for DaysOp {
    fn tick(self: Arc<DaysOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let mut state = self.state.lock();
        state.promise.as_ref()?;
        if now >= self.deadline {
            let (need, asked, good) = (core.quorum.r(), core.quorum.n(), state.good);
            self.finish(core, &mut state, Err(Error::DeadlineExceeded { set: core.id, need, asked, good }));
            return None;
        }
        state.hurried = true;
        self.proceed(core, &mut state);
        Some(self.deadline)
    }
}
