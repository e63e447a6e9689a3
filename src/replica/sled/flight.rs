//! Only synced versions are shown: what the group being applied right now has written, and readers must not see yet.
//!
//! sled shows a write as soon as it is inserted, long before it is on disk. So a reader asks here *after* it has read a
//! record: if the record may come from the group under way, it waits for that group's outcome. Asking before would miss a
//! group that began in between.
//!
//! The writes of numbers minted just now are told by their version: the group's epoch, and a counter not below the least
//! of them. All others (updates, voids, write-backs of old versions) are told by their number.

use crate::order::OrderNumber;
use crate::replica::{Group, ReplicaError, Version};
use parking_lot::{Condvar, Mutex};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::SeqCst};

/// The group under way, if there is one.
#[derive(Debug)]
pub(super) struct Flight {
    fresh_epoch: AtomicU32,
    /// `u64::MAX` while no fresh writes are under way.
    fresh_from: AtomicU64,
    has_others: AtomicBool,
    has_meta: AtomicBool,
    state: Mutex<State>,
    ended: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Groups that were begun.
    begun: u64,
    /// Groups that ended well. One less than `begun` while one is under way, and for ever after one failed.
    ended: u64,
    failed: Option<String>,
    /// Numbers of the writes that are not fresh, ascending.
    others: Vec<OrderNumber>,
}

impl Flight {
    pub(super) fn new() -> Flight {
        Flight {
            fresh_epoch: AtomicU32::new(0),
            fresh_from: AtomicU64::new(u64::MAX),
            has_others: AtomicBool::new(false),
            has_meta: AtomicBool::new(false),
            state: Mutex::default(),
            ended: Condvar::new(),
        }
    }

    /// Hides what `group` is about to write. Called before its first insert.
    pub(super) fn begin(&self, group: &Group) {
        let is_new = |version: Version| version.epoch == group.epoch();
        let mut fresh_from = u64::MAX;
        let mut others = Vec::new();
        for write in group.writes() {
            if write.is_fresh() && is_new(write.version()) {
                fresh_from = fresh_from.min(write.version().counter);
            } else {
                others.push(write.number());
            }
        }
        others.sort_unstable();
        let has_others = !others.is_empty();
        let mut state = self.state.lock();
        assert_eq!(state.begun, state.ended, "one group at a time, and none after a failure");
        state.begun += 1;
        state.others = others;
        self.fresh_epoch.store(group.epoch(), SeqCst);
        self.fresh_from.store(fresh_from, SeqCst);
        self.has_others.store(has_others, SeqCst);
        self.has_meta.store(!group.meta().is_empty(), SeqCst);
    }

    /// The group is durable: shows it.
    pub(super) fn end(&self) {
        self.fresh_from.store(u64::MAX, SeqCst);
        self.has_others.store(false, SeqCst);
        self.has_meta.store(false, SeqCst);
        let mut state = self.state.lock();
        state.ended = state.begun;
        state.others.clear();
        self.ended.notify_all();
    }

    /// The group failed: hides for ever what it may have written.
    pub(super) fn fail(&self, reason: &str) {
        let mut state = self.state.lock();
        state.failed = Some(reason.to_owned());
        self.ended.notify_all();
    }

    /// Returns once `version`, which was read under `number` before, is known to be synced.
    ///
    /// # Errors
    /// It never will be, or nobody knows.
    pub(super) fn settle(&self, number: OrderNumber, version: Version) -> Result<(), ReplicaError> {
        // `fresh_from` before `fresh_epoch`: whoever sees the counter of a group sees its epoch, or that of a later one,
        // and then the group in question has ended well.
        if version.counter >= self.fresh_from.load(SeqCst) && version.epoch == self.fresh_epoch.load(SeqCst) {
            return self.wait();
        }
        if self.has_others.load(SeqCst) && self.state.lock().others.binary_search(&number).is_ok() {
            return self.wait();
        }
        Ok(())
    }

    /// The same for a meta value.
    pub(super) fn settle_meta(&self) -> Result<(), ReplicaError> {
        if self.has_meta.load(SeqCst) { self.wait() } else { Ok(()) }
    }

    /// What was read came from the group under way or an earlier one. So once that group has ended there is no need to read
    /// again, and a reader of a number that is written all the time waits once only.
    fn wait(&self) -> Result<(), ReplicaError> {
        let mut state = self.state.lock();
        let group = state.begun;
        while state.ended < group {
            if let Some(reason) = &state.failed {
                return Err(ReplicaError::Out { reason: reason.clone() });
            }
            self.ended.wait(&mut state);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};
    use crate::replica::{Kind, Record, Write};
    use bytes::Bytes;

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::new(2026, 11, 22).unwrap(), sequence, SetId::new(7).unwrap()).unwrap()
    }

    fn group(epoch: u32, writes: &[(u64, u32, u64, bool)]) -> Group {
        let mut group = Group::new(epoch);
        for (sequence, epoch, counter, fresh) in writes {
            let version = Version { epoch: *epoch, counter: *counter };
            let record = Record { kind: Kind::Order, version, generation: 0, value: Bytes::new(), origin: None };
            group.push(Write::new(number(*sequence), &record, *fresh)).unwrap();
        }
        group
    }

    /// Whether the reader got through without waiting; if it waits, the group is ended to let it go.
    fn at_once(flight: &Flight, sequence: u64, epoch: u32, counter: u64) -> bool {
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| flight.settle(number(sequence), Version { epoch, counter }));
            while !reader.is_finished() {
                // `notify_one` tells whether anybody was waiting; who is woken too early waits again.
                if flight.ended.notify_one() {
                    flight.end();
                    assert_eq!(reader.join().unwrap(), Ok(()));
                    return false;
                }
                std::thread::yield_now();
            }
            true
        })
    }

    #[test]
    fn what_the_group_wrote_is_waited_for_and_nothing_else() {
        let writes = [(5, 3, 100, true), (6, 3, 101, true), (1, 3, 102, false), (2, 1, 9, false)];
        let flight = Flight::new();
        assert!(at_once(&flight, 5, 3, 100));
        for (question, shown) in [
            ((5, 3, 100), false),
            ((6, 3, 101), false),
            ((4, 3, 99), true),
            ((4, 2, 100), true),
            ((1, 3, 102), false),
            ((2, 1, 9), false),
            ((3, 1, 9), true),
        ] {
            let flight = Flight::new();
            flight.begin(&group(3, &writes));
            assert_eq!(at_once(&flight, question.0, question.1, question.2), shown, "{question:?}");
        }
    }

    #[test]
    fn a_group_that_failed_is_never_shown() {
        let flight = Flight::new();
        flight.begin(&group(3, &[(5, 3, 100, true), (1, 3, 101, false)]));
        flight.fail("no sync");
        for sequence in [5, 1] {
            let outcome = flight.settle(number(sequence), Version { epoch: 3, counter: 100 });
            assert_eq!(outcome, Err(ReplicaError::Out { reason: "no sync".into() }));
        }
        assert_eq!(flight.settle(number(4), Version { epoch: 3, counter: 99 }), Ok(()));
        assert_eq!(flight.settle_meta(), Ok(()));
    }

    #[test]
    fn after_the_end_everything_is_shown() {
        let flight = Flight::new();
        let mut with_meta = group(3, &[(5, 3, 100, true)]);
        with_meta.push_meta("key", "value").unwrap();
        flight.begin(&with_meta);
        std::thread::scope(|scope| {
            let reader = scope.spawn(|| flight.settle_meta());
            flight.end();
            assert_eq!(reader.join().unwrap(), Ok(()));
        });
        assert_eq!(flight.settle(number(5), Version { epoch: 3, counter: 100 }), Ok(()));
    }
}
