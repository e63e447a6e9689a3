//! Closures on one order, in turn. Those that wait while a write is under way run one after the other when it is settled, each
//! on what the one before made of it, and share the next write.

use super::create::OVERHEAD;
use super::turns::TurnEnd;
use super::write::{Content, WriteOp, Written};
use crate::error::{Error, NotAttempted, WriteToken};
use crate::order::OrderNumber;
use crate::pending::{Refused, refusing};
use crate::replica::{Draft, Kind, Record, Version};
use crate::set::replicated::Core;
use crate::set::replicated::panics::contained;
use crate::set::replicated::upkeep::coordinator::{Timed, again};
use crate::set::replicated::upkeep::notify::{Completion, Deliver, Held};
use crate::set::{Edit, Order, Resolved};
use bytes::Bytes;
use parking_lot::Mutex;
use std::sync::{Arc, Weak};
use std::time::Instant;

/// The most closures that share a write. The others wait for the next, so that a crowd cannot keep the first of it waiting.
const BATCH_MAX: usize = 1_024;

/// One closure.
pub(crate) struct ModifyOp {
    number: OrderNumber,
    deadline: Instant,
    held: Held,
    edit: Arc<dyn Edit>,
    phase: Mutex<Phase>,
}

enum Phase {
    /// Its closure did not run, or still runs.
    Waiting,
    /// What it wrote, or what it saw, will be sent under this version.
    Sending(Version),
    /// What it wrote, or what it saw, is on its way.
    Sent(Arc<WriteOp>),
    Answered,
}

/// Closures that will share a write.
pub(crate) struct Batch {
    number: OrderNumber,
    ops: Mutex<Vec<Arc<ModifyOp>>>,
}

/// Those that share a write: which, and whether they wrote or only saw what others did.
type Sharers = Vec<(Arc<ModifyOp>, bool)>;

impl Core {
    /// See [`OrderStore::modify`](crate::OrderStore::modify).
    pub(crate) fn modify(self: &Arc<Core>, number: OrderNumber, edit: Arc<dyn Edit>, deadline: Instant) {
        let held = match self.admit_write(number, 0) {
            Ok(held) => held,
            // On the caller's own thread, which nobody else waits for.
            Err(error) => return edit.finish(Err(error)),
        };
        debug_assert_eq!(held.bytes, OVERHEAD);
        let op = Arc::new(ModifyOp { number, deadline, held, edit, phase: Mutex::new(Phase::Waiting) });
        let timed: Weak<ModifyOp> = Arc::downgrade(&op);
        self.watch_until(deadline, timed);
        if !self.join_batch(number, Arc::clone(&op)) {
            op.answer(self, Err(self.too_busy()));
        }
    }
}

impl ModifyOp {
    /// Says whether it was not answered before.
    fn answer(&self, core: &Core, result: Result<(Version, bool), Error>) -> bool {
        if matches!(std::mem::replace(&mut *self.phase.lock(), Phase::Answered), Phase::Answered) {
            return false;
        }
        let edit = Arc::clone(&self.edit);
        core.notifier.push(Completion { held: self.held, deliver: Deliver::Other(Box::new(move || edit.finish(result))) });
        true
    }

    /// Answers after its closure ran. Where its caller was told before that its time was up, what it gave is dropped here: on the
    /// thread of closures.
    fn answer_ran(&self, core: &Core, result: Result<(Version, bool), Error>) {
        if !self.answer(core, result) {
            self.discard();
        }
    }

    fn discard(&self) {
        let _ = contained(|| refusing(Refused::Polls, || self.edit.discard()));
    }

    fn is_answered(&self) -> bool {
        matches!(*self.phase.lock(), Phase::Answered)
    }

    /// Goes from one phase to the next, unless it was answered meanwhile.
    fn advance(&self, next: Phase) -> bool {
        let mut phase = self.phase.lock();
        let goes_on = !matches!(*phase, Phase::Answered);
        if goes_on {
            *phase = next;
        }
        goes_on
    }

    /// Runs the closure. A panic is an error of this one alone.
    fn run(&self, order: &Order) -> Result<Option<Bytes>, Error> {
        let ran = contained(|| refusing(Refused::Polls, || self.edit.run(order)));
        ran.map_err(|message| Error::ModifyPanicked { number: self.number, message })
    }
}

impl Timed for ModifyOp {
    fn tick(self: Arc<ModifyOp>, core: &Arc<Core>, now: Instant) -> Option<Instant> {
        let phase = self.phase.lock();
        let error = match &*phase {
            Phase::Answered => return None,
            _ if now < self.deadline => return Some(again(self.deadline, now)),
            // Closures after it still run; then what it wrote is sent under that version, or never.
            Phase::Sending(version) => {
                let token = WriteToken { number: self.number, version: *version };
                Error::Ambiguous { token, acked: 0, failed: 0, in_flight: 0, need: core.quorum.w() }
            }
            Phase::Waiting => Error::NotAttempted { reason: NotAttempted::NoTurn { number: self.number } },
            Phase::Sent(write) => write.in_doubt(),
        };
        drop(phase);
        self.answer(core, Err(error));
        None
    }
}

impl Batch {
    pub(crate) fn of(number: OrderNumber, op: Arc<ModifyOp>) -> Arc<Batch> {
        Arc::new(Batch { number, ops: Mutex::new(vec![op]) })
    }

    /// Takes one more; `false` when it is full.
    pub(crate) fn join(&self, op: &Arc<ModifyOp>) -> bool {
        let mut ops = self.ops.lock();
        let joins = ops.len() < BATCH_MAX;
        if joins {
            ops.push(Arc::clone(op));
        }
        joins
    }

    /// As [`Turn::begin`](super::turns::Turn::begin). Nobody joins any more.
    pub(crate) fn begin(self: Arc<Self>, core: &Arc<Core>, latest: Option<Record>) {
        let number = self.number;
        let ops: Vec<_> = self.ops.lock().drain(..).filter(|op| !op.is_answered()).collect();
        let Some(deadline) = ops.iter().map(|op| op.deadline).max() else {
            return core.pass_on(number, TurnEnd::Unchanged);
        };
        core.stands(
            number,
            latest,
            deadline,
            Box::new(move |core, stands| match stands {
                Err(error) => fail(core, number, &ops, &error, TurnEnd::Unknown),
                Ok(Some(record)) if record.kind == Kind::Order => {
                    // Where there is no thread the closures cannot run; the job is given back with all that is in it.
                    let refused = Arc::new(Mutex::new(None));
                    let (failing, waiting) = (ops.clone(), Arc::clone(&refused));
                    let job = Box::new(move |core: &Arc<Core>| match waiting.lock().take() {
                        None => run(core, number, ops, record, deadline),
                        Some(error) => fail(core, number, &failing, &error, TurnEnd::Stands(record)),
                    });
                    if let Err((job, error)) = core.run_closures(job) {
                        *refused.lock() = Some(error);
                        job(core);
                    }
                }
                Ok(stands) => {
                    let end = stands.map_or(TurnEnd::Unchanged, TurnEnd::Stands);
                    fail(core, number, &ops, &Error::NoSuchOrder { number }, end);
                }
            }),
        );
    }
}

fn fail(core: &Arc<Core>, number: OrderNumber, ops: &[Arc<ModifyOp>], error: &Error, end: TurnEnd) {
    for op in ops {
        op.answer(core, Err(error.clone()));
    }
    core.pass_on(number, end);
}

/// Runs the closures, and sends what they made of the order. On a modify thread.
fn run(core: &Arc<Core>, number: OrderNumber, ops: Vec<Arc<ModifyOp>>, record: Record, deadline: Instant) {
    let version = core.draw_version();
    let mut order = Order { number, version: record.version, value: record.value.clone(), stale: false };
    let mut sharers: Sharers = Vec::new();
    for op in ops {
        if op.is_answered() {
            continue;
        }
        if Instant::now() >= op.deadline {
            let reason = NotAttempted::NoTurn { number };
            op.answer(core, Err(Error::NotAttempted { reason }));
            continue;
        }
        match op.run(&order) {
            Err(error) => op.answer_ran(core, Err(error)),
            Ok(Some(value)) if value.len() > core.settings.value_bytes_max => {
                let max = core.settings.value_bytes_max;
                op.answer_ran(core, Err(Error::ValueTooLarge { bytes: value.len(), max }));
            }
            // It saw what is on W replicas.
            Ok(None) if sharers.is_empty() => op.answer_ran(core, Ok((record.version, false))),
            Ok(written) => {
                // Its deadline passed while it ran: the order stays as it was.
                if !op.advance(Phase::Sending(version)) {
                    op.discard();
                    continue;
                }
                sharers.push((op, written.is_some()));
                if let Some(value) = written {
                    order.value = value;
                    order.version = version;
                }
            }
        }
    }
    if sharers.is_empty() {
        return core.pass_on(number, TurnEnd::Stands(record));
    }
    let (draft, origin) = (Draft::new(&order.value), record.origin.clone());
    let content = Content { kind: Kind::Order, draft, origin, version: Some(version), copies: None };
    let shared: Vec<_> = sharers.iter().map(|(op, _)| Arc::clone(op)).collect();
    let then = move |core: &Arc<Core>, written| match written {
        Written::Stored(record) => {
            for (op, wrote) in &sharers {
                op.answer(core, Ok((record.version, *wrote)));
            }
            core.pass_on(number, TurnEnd::Stands(record));
        }
        // Also for those that only saw what others wrote: it may be so or not.
        Written::InDoubt(error) => answer_all(core, number, &sharers, &error, TurnEnd::Unknown),
        Written::NotSent(error) => {
            // Whoever's time was up was told this version.
            core.doubts.lock().remember(number, version, Resolved::NotApplied);
            answer_all(core, number, &sharers, &error, TurnEnd::Stands(record));
        }
    };
    if let Some(write) = core.write(number, content, deadline, Box::new(then)) {
        for op in shared {
            op.advance(Phase::Sent(Arc::clone(&write)));
        }
    }
}

fn answer_all(core: &Arc<Core>, number: OrderNumber, sharers: &Sharers, error: &Error, end: TurnEnd) {
    for (op, _) in sharers {
        op.answer(core, Err(error.clone()));
    }
    core.pass_on(number, end);
}
