//! The gates and the retry budgets of all SETs, by SET id.
//!
//! A SET is looked up in an array of pointers that is written when a SET is added and at no other time; what its calls write to is
//! on cache lines of its own.

use super::budget::Terms;
use super::gate::Gate;
use super::permit::Outcome;
use crate::config::{BreakerSettings, defaults, ms};
use crate::order::SetId;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

#[cfg(test)]
mod tests;

/// The health of all SETs of a store.
pub(crate) struct Board {
    settings: BreakerSettings,
    terms: Terms,
    slow_after_ms: u64,
    /// By id.
    sets: Box<[OnceLock<Arc<SetHealth>>]>,
    /// The id, plus one, of a SET that waits for an order to try it with; 0 for none.
    wanted: AtomicU32,
}

/// The health of one SET.
#[repr(align(128))]
pub(crate) struct SetHealth {
    pub(crate) writes: Gate,
    pub(crate) reads: Gate,
    pub(crate) budget: Budget,
    takes_orders: AtomicBool,
}

/// What a gate is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Side {
    /// Creates and changes.
    Writes,
    /// Reads.
    Reads,
}

/// What may be risked for orders that are in doubt on one SET; see [`Terms`].
#[repr(align(128))]
pub(crate) struct Budget {
    terms: Terms,
    held: AtomicU64,
}

impl Budget {
    pub(crate) fn new(terms: Terms) -> Budget {
        Budget { terms, held: AtomicU64::new(terms.full()) }
    }

    /// Creates went well. While the bucket is full, as it mostly is, this is a load.
    #[inline]
    pub(crate) fn earn(&self, creates: u64) {
        let mut held = self.held.load(Relaxed);
        // Ends because each turn lost is another thread's gain, and the bucket is full some time.
        while held < self.terms.full() {
            match self.held.compare_exchange_weak(held, self.terms.earn(held, creates), Relaxed, Relaxed) {
                Ok(_) => return,
                Err(now) => held = now,
            }
        }
    }

    /// Pays for a doubtful attempt; `false` where too little is there.
    pub(crate) fn spend(&self) -> bool {
        let mut held = self.held.load(Relaxed);
        // Ends because each turn lost is another thread's gain, and the bucket is empty some time.
        while let Some(left) = self.terms.spend(held) {
            match self.held.compare_exchange_weak(held, left, Relaxed, Relaxed) {
                Ok(_) => return true,
                Err(now) => held = now,
            }
        }
        false
    }

    /// How many doubtful attempts it would pay now.
    pub(crate) fn attempts(&self) -> u64 {
        self.terms.attempts(self.held.load(Relaxed))
    }
}

impl SetHealth {
    pub(crate) fn gate(&self, side: Side) -> &Gate {
        match side {
            Side::Writes => &self.writes,
            Side::Reads => &self.reads,
        }
    }

    /// Whether new orders may go there at all: not while it is drained or retired. They are then none of the others that are well.
    pub(crate) fn set_takes_orders(&self, takes_orders: bool) {
        self.takes_orders.store(takes_orders, Relaxed);
    }
}

impl Board {
    /// No SETs yet. `settings` are checked; `in_flight_max`: operations that may be in doubt in a SET at once.
    pub(crate) fn new(settings: BreakerSettings, in_flight_max: usize) -> Board {
        let burst = u64::from(settings.failures_in_a_row).saturating_add(in_flight_max as u64);
        Board {
            settings,
            terms: Terms::new(burst, defaults::BUDGET_PERCENT),
            slow_after_ms: ms(settings.slow_after),
            sets: (0..=SetId::MAX.get()).map(|_| OnceLock::new()).collect(),
            wanted: AtomicU32::new(0),
        }
    }

    /// The health of a SET that is there from now on: closed, if it is new.
    pub(crate) fn add(&self, set: SetId, now_ms: u64) -> &Arc<SetHealth> {
        self.sets[usize::from(set.get())].get_or_init(|| {
            let gate = || Gate::new(&self.settings, now_ms, fastrand::u64(..));
            let (writes, reads, budget) = (gate(), gate(), Budget::new(self.terms));
            Arc::new(SetHealth { writes, reads, budget, takes_orders: AtomicBool::new(true) })
        })
    }

    /// What a call that worked says, from how long it took.
    #[inline]
    pub(crate) fn worked(&self, took_ms: u64) -> Outcome {
        if took_ms < self.slow_after_ms { Outcome::Good } else { Outcome::Slow }
    }

    /// Whether what `set` is given could be given to another SET that takes its whole share. One that is only just coming back
    /// does not count: it would be flooded, and would be the next to be slow. Reads have nowhere else to go.
    pub(crate) fn others_are_well(&self, set: SetId, side: Side, now_ms: u64) -> bool {
        let well = |health: &SetHealth| health.takes_orders.load(Relaxed) && health.writes.share_permille(now_ms) == 1_000;
        side == Side::Writes && self.all().any(|(id, health)| id != set && well(health))
    }

    /// Lets time pass, for a thread that calls this some times a second. A SET whose open time is over is offered to the next order
    /// (see [`take_wanted`](Self::take_wanted)); `idle` is called for those that nobody came for, or that one order is too few for:
    /// they are to be probed with a key that is no order.
    pub(crate) fn tick(&self, now_ms: u64, mut idle: impl FnMut(SetId, Side)) {
        let left = self.wanted.swap(0, Relaxed);
        for (set, health) in self.all() {
            let name = u32::from(set.get()) + 1;
            if health.writes.probe_is_due(now_ms) {
                let takes_orders = health.takes_orders.load(Relaxed);
                match takes_orders && left != name && self.wanted.load(Relaxed) == 0 {
                    true => self.wanted.store(name, Relaxed),
                    false => idle(set, Side::Writes),
                }
            }
            if health.reads.probe_is_due(now_ms) {
                idle(set, Side::Reads);
            }
        }
    }

    /// The SET that the next order should be tried on, for one caller; the gate has the last word. One load while all is well.
    #[inline]
    pub(crate) fn take_wanted(&self) -> Option<SetId> {
        match self.wanted.load(Relaxed) {
            0 => None,
            _ => self.wanted.swap(0, Relaxed).checked_sub(1).and_then(|id| SetId::new(id as u16).ok()),
        }
    }

    /// All SETs, by id.
    pub(crate) fn all(&self) -> impl Iterator<Item = (SetId, &SetHealth)> {
        // There is a place for each id and no more.
        let id = |place: usize| SetId::from_checked(place as u16);
        self.sets.iter().enumerate().filter_map(move |(place, set)| Some((id(place), &**set.get()?)))
    }
}
