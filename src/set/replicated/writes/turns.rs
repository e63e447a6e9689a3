//! Turns: what writes one order takes turns, first come first served, and whoever reads a version whose write is under way
//! waits here for its outcome.

use super::modify::{Batch, ModifyOp};
use crate::order::OrderNumber;
use crate::replica::{Record, Version};
use crate::set::replicated::Core;
use crate::set::replicated::reads::get::GetOp;
use parking_lot::Mutex;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Something that wants to write an order.
pub(crate) trait Turn: Send + Sync {
    /// Its turn has come. `latest` is what stands on W replicas, where the one before knew that. It gives the turn back with
    /// [`Core::pass_on`], exactly once, now or later, on whatever thread. Our own code: it does not block.
    fn begin(self: Arc<Self>, core: &Arc<Core>, latest: Option<Record>);
}

/// The orders that anybody is writing.
#[derive(Default)]
pub(crate) struct Turns {
    table: Mutex<HashMap<OrderNumber, Queue>>,
}

#[derive(Default)]
struct Queue {
    waiting: VecDeque<Waiting>,
    /// What stands on W replicas, while whoever had the last turn knew that.
    latest: Option<Record>,
    /// The version on its way to the replicas.
    flight: Option<Version>,
    /// Doubts are being settled: what is found on the replicas meanwhile may be written over with older content.
    settling: bool,
    /// Reads that wait for the end of that.
    readers: Vec<Arc<GetOp>>,
    /// A thread is at handing out turns. Turns that end at once are then handed out in its loop, not one inside the other.
    looping: bool,
    /// Somebody has the turn.
    held: bool,
}

enum Waiting {
    One(Arc<dyn Turn>),
    Many(Arc<Batch>),
}

/// The most that wait for one order; what is in flight in the whole SET is bounded as well.
const WAITING_MAX: usize = 8_192;

/// How a turn ended.
pub(crate) enum TurnEnd {
    /// This stands on W replicas.
    Stands(Record),
    /// Nothing was written.
    Unchanged,
    /// It is not known what stands.
    Unknown,
}

impl Core {
    /// Waits for a turn on `number`; `false` when too many do.
    pub(crate) fn take_turn(self: &Arc<Core>, number: OrderNumber, turn: Arc<dyn Turn>) -> bool {
        let mut table = self.turns.table.lock();
        let queue = table.entry(number).or_default();
        if queue.waiting.len() >= WAITING_MAX {
            return false;
        }
        queue.waiting.push_back(Waiting::One(turn));
        let first = queue.enter();
        drop(table);
        if first {
            self.hand_out(number);
        }
        true
    }

    /// As [`Core::take_turn`], together with others of the same kind that wait last.
    pub(crate) fn join_batch(self: &Arc<Core>, number: OrderNumber, op: Arc<ModifyOp>) -> bool {
        let mut table = self.turns.table.lock();
        let queue = table.entry(number).or_default();
        let joined = match queue.waiting.back() {
            Some(Waiting::Many(batch)) => batch.join(&op),
            _ => false,
        };
        if !joined {
            if queue.waiting.len() >= WAITING_MAX {
                return false;
            }
            queue.waiting.push_back(Waiting::Many(Batch::of(number, op)));
        }
        let first = queue.enter();
        drop(table);
        if first {
            self.hand_out(number);
        }
        true
    }

    /// Gives a turn back.
    pub(crate) fn pass_on(self: &Arc<Core>, number: OrderNumber, end: TurnEnd) {
        let mut table = self.turns.table.lock();
        let Some(queue) = table.get_mut(&number) else { return };
        match end {
            TurnEnd::Stands(record) => queue.latest = Some(record),
            TurnEnd::Unchanged => {}
            TurnEnd::Unknown => queue.latest = None,
        }
        queue.held = false;
        if std::mem::replace(&mut queue.looping, true) {
            return;
        }
        drop(table);
        self.hand_out(number);
    }

    /// Hands out turns until one is kept or nobody waits. Each ends its wait, so this ends.
    fn hand_out(self: &Arc<Core>, number: OrderNumber) {
        loop {
            let mut table = self.turns.table.lock();
            let Some(queue) = table.get_mut(&number) else { return };
            if queue.held {
                queue.looping = false;
                return;
            }
            let Some(next) = queue.waiting.pop_front() else {
                debug_assert!(queue.flight.is_none(), "a write under way keeps its turn");
                table.remove(&number);
                return;
            };
            queue.held = true;
            let latest = queue.latest.clone();
            drop(table);
            match next {
                Waiting::One(turn) => turn.begin(self, latest),
                Waiting::Many(batch) => batch.begin(self, latest),
            }
        }
    }

    /// The version is on its way. By whoever has the turn.
    pub(crate) fn take_off(&self, number: OrderNumber, version: Version) {
        if let Some(queue) = self.turns.table.lock().get_mut(&number) {
            queue.flight = Some(version);
        }
    }

    /// Doubts are being settled from now on, until [`Core::land`]. By whoever has the turn.
    pub(crate) fn begin_settling(&self, number: OrderNumber) {
        if let Some(queue) = self.turns.table.lock().get_mut(&number) {
            queue.settling = true;
        }
    }

    /// The outcome of what was on its way is known: this stands, or nobody knows. Wakes the reads that met it.
    pub(crate) fn land(self: &Arc<Core>, number: OrderNumber, stands: Option<&Record>) {
        let readers = match self.turns.table.lock().get_mut(&number) {
            Some(queue) => {
                queue.flight = None;
                queue.settling = false;
                std::mem::take(&mut queue.readers)
            }
            None => Vec::new(),
        };
        for reader in readers {
            reader.landed(self, stands.cloned());
        }
    }

    /// Whether `version` is on its way.
    pub(crate) fn is_in_flight(&self, number: OrderNumber, version: Version) -> bool {
        self.turns.table.lock().get(&number).is_some_and(|queue| queue.flight == Some(version))
    }

    /// Has `reader`, which found `version`, told of the outcome, if `version` is on its way or doubts are being settled.
    pub(crate) fn await_landing(&self, number: OrderNumber, version: Version, reader: &Arc<GetOp>) -> bool {
        match self.turns.table.lock().get_mut(&number) {
            Some(queue) if queue.settling || queue.flight == Some(version) => {
                queue.readers.push(Arc::clone(reader));
                true
            }
            _ => false,
        }
    }

    /// Whether doubts are being settled.
    pub(crate) fn is_settling(&self, number: OrderNumber) -> bool {
        self.turns.table.lock().get(&number).is_some_and(|queue| queue.settling)
    }

    /// Has `reader` told when doubts are settled, if that is under way.
    pub(crate) fn await_settling(&self, number: OrderNumber, reader: &Arc<GetOp>) -> bool {
        match self.turns.table.lock().get_mut(&number) {
            Some(queue) if queue.settling => {
                queue.readers.push(Arc::clone(reader));
                true
            }
            _ => false,
        }
    }

    /// What stands under `number` as far as those who write it know.
    pub(crate) fn latest_written(&self, number: OrderNumber) -> Option<Version> {
        Some(self.turns.table.lock().get(&number)?.latest.as_ref()?.version)
    }
}

impl Queue {
    /// Whether whoever came now has to hand out the turns.
    fn enter(&mut self) -> bool {
        !self.held && !std::mem::replace(&mut self.looping, true)
    }
}
