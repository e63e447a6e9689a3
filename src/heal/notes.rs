//! Notes of numbers that were given up and must become void: which are due to be tried, and which are done. Pure.
//!
//! A note is done when all N replicas of the number's SET hold the void: then nothing can bring the number back, whatever is lost.
//! What does not succeed is tried again later, at growing intervals. The notes themselves are durable in the records of the orders
//! that were placed instead, or in the voids that took the place of these; this is what is known of them in memory.
//!
//! Each SET has a queue of its own, and those that may be asked are served in turns: however many numbers of a SET that is away are
//! owed a void, a number of another one does not wait behind them.

use crate::order::{OrderNumber, SetId};
use crate::replica::Version;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fmt;

/// The most notes in memory. What is beyond is found again in the records, by the next walk over them.
const NOTES_MAX: usize = 1 << 20;
/// How long after the first failure it is tried again. Doubled each time.
const RETRY_MIN_MS: u64 = 250;
/// The longest pause between two tries.
const RETRY_MAX_MS: u64 = 10_000;

/// The notes of a store.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    of: BTreeMap<SetId, Owed>,
    /// The SET that was served last: the next turn is that of the one behind it.
    served: Option<SetId>,
    /// Void on all replicas, as far as that is kept in mind; or alive at a newer version.
    done: BTreeSet<OrderNumber>,
    /// The latter.
    alive: BTreeSet<OrderNumber>,
    done_count: u64,
    /// SETs that were asked, after all, for an earlier order than this one under its request key.
    verified: BTreeSet<(OrderNumber, SetId)>,
    alarms: BTreeSet<Alarm>,
}

/// What one SET owes.
#[derive(Clone, Debug, Default)]
struct Owed {
    open: BTreeMap<OrderNumber, Note>,
    /// Those that are not under way, by when they are due: what waits longest is tried first, whatever its number.
    queue: BTreeSet<(u64, OrderNumber)>,
    /// None is begun before then: the SET has too few replicas, and says so of each number.
    rests_until_ms: u64,
    /// The next such rest; nothing where the last number was ended.
    rest_ms: u64,
}

/// What is left alone and asks for an operator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Alarm {
    /// The number was given up and its order placed under another, and it stands all the same, at a version newer than the attempt
    /// that was given up: somebody was told of it and changed it. Or [`resolve`](crate::OrderStore::resolve) said that it is stored.
    Alive {
        /// The number.
        number: OrderNumber,
        /// The version that stands.
        version: Version,
    },
    /// Both orders were created with one request key, and both are left alone: each was placed, or told again, when the other's SET could
    /// not be asked; or neither's record says anything of the other; or one came to light after a crash and was changed by somebody who
    /// found it.
    KeyTwice {
        /// The two, in ascending order.
        numbers: [OrderNumber; 2],
    },
}

impl fmt::Display for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Alarm::Alive { number, version } => {
                write!(f, "{number} was given up, and stands at version {version}: somebody was told of it")
            }
            Alarm::KeyTwice { numbers: [first, second] } => {
                write!(f, "{first} and {second} have one request key, and neither is given up")
            }
        }
    }
}

#[derive(Clone, Copy, Debug)]
struct Note {
    version: Version,
    /// Not before then.
    due_ms: u64,
    pause_ms: u64,
    /// It is being tried.
    is_under_way: bool,
}

/// How a try ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Tried {
    /// Void, on all replicas or only on enough of them.
    Void { everywhere: bool },
    /// It stands at a newer version.
    Alive(Version),
    /// It came to nothing, for reasons that may be its own.
    Failed,
    /// Its SET has too few replicas: so it is with all numbers there.
    OutOfReach,
}

impl Notes {
    /// The number was given up at that version.
    pub(crate) fn owe(&mut self, number: OrderNumber, version: Version, now_ms: u64) {
        // The rest is found again by the next walk.
        let is_full = self.waiting(|_| true) >= NOTES_MAX;
        let owed = self.of.entry(number.set_id()).or_default();
        if is_full && !owed.open.contains_key(&number) {
            return;
        }
        let note = Note { version, due_ms: now_ms, pause_ms: RETRY_MIN_MS, is_under_way: false };
        let queue = &mut owed.queue;
        let held = owed.open.entry(number).or_insert_with(|| {
            queue.insert((now_ms, number));
            note
        });
        held.version = version.max(held.version);
    }

    /// Up to `limit` that are due and whose SET `may` be asked, one of each such SET in turns. Each is under way until
    /// [`Notes::tried`]. Nothing of the other SETs is touched.
    pub(crate) fn take_due(
        &mut self,
        now_ms: u64,
        limit: usize,
        mut may: impl FnMut(SetId) -> bool,
    ) -> Vec<(OrderNumber, Version)> {
        let sets = self.of.iter().filter(|(set, owed)| owed.is_due(now_ms) && may(**set)).map(|(set, _)| *set);
        let mut sets: VecDeque<SetId> = sets.collect();
        let behind = sets.partition_point(|set| Some(*set) <= self.served);
        sets.rotate_left(behind);
        let mut taken = Vec::new();
        // Each turn takes a note out of a queue, or a SET out of the round, so this ends.
        while taken.len() < limit
            && let Some(set) = sets.pop_front()
        {
            if let Some(note) = self.of.get_mut(&set).and_then(|owed| owed.take_due(now_ms)) {
                taken.push(note);
                self.served = Some(set);
                sets.push_back(set);
            }
        }
        taken
    }

    /// A try has ended.
    pub(crate) fn tried(&mut self, number: OrderNumber, tried: Tried, now_ms: u64) {
        let Some(owed) = self.of.get_mut(&number.set_id()) else { return };
        if !owed.tried(number, tried, now_ms) {
            return;
        }
        remember(&mut self.done, number);
        match tried {
            Tried::Alive(version) => {
                remember(&mut self.alive, number);
                self.alarm(Alarm::Alive { number, version });
            }
            _ => self.done_count += 1,
        }
    }

    /// All that waits is due now.
    pub(crate) fn hasten(&mut self, now_ms: u64) {
        self.of.values_mut().for_each(|owed| owed.hasten(now_ms));
    }

    /// These SETs are lost for good: nothing that concerns them is waited for any more.
    pub(crate) fn settle_all(&mut self, mut concerns: impl FnMut(SetId) -> bool) {
        self.of.retain(|set, _| !concerns(*set));
    }

    /// How many of these SETs' wait.
    pub(crate) fn waiting(&self, mut counts: impl FnMut(SetId) -> bool) -> usize {
        self.of.iter().filter(|(set, _)| counts(**set)).map(|(_, owed)| owed.open.len()).sum()
    }

    /// How many of a SET's wait. Looks at none of them: whoever asks for the status must not keep those waiting who owe more.
    pub(crate) fn waiting_in(&self, set: SetId) -> usize {
        self.of.get(&set).map_or(0, |owed| owed.open.len())
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.waiting(|_| true) == 0
    }

    /// Those that wait, SET by SET.
    pub(crate) fn open(&self) -> impl Iterator<Item = OrderNumber> + '_ {
        self.of.values().flat_map(|owed| owed.open.keys().copied())
    }

    /// Whether any that waits was not tried to its end since it was hastened: its SET may be asked and was not in vain, and it is not
    /// void on W replicas and waiting for one that is away.
    pub(crate) fn has_hope(&self, mut may: impl FnMut(SetId) -> bool) -> bool {
        self.of.iter().any(|(set, owed)| owed.has_hope() && may(*set))
    }

    /// How many came to their end.
    pub(crate) fn done(&self) -> u64 {
        self.done_count
    }

    /// Whether that number is void everywhere.
    pub(crate) fn is_void(&self, number: OrderNumber) -> bool {
        self.is_done(number) && !self.alive.contains(&number)
    }

    /// Whether nothing is to be done about that number any more.
    pub(crate) fn is_done(&self, number: OrderNumber) -> bool {
        self.done.contains(&number)
    }

    /// The SET was asked for earlier orders than this one under its request key.
    pub(crate) fn verified(&mut self, number: OrderNumber, set: SetId) {
        remember(&mut self.verified, (number, set));
    }

    pub(crate) fn is_verified(&self, number: OrderNumber, set: SetId) -> bool {
        self.verified.contains(&(number, set))
    }

    pub(crate) fn alarm(&mut self, alarm: Alarm) {
        remember(&mut self.alarms, alarm);
    }

    /// What was left alone: the operator looks into it.
    pub(crate) fn alarms(&self) -> impl Iterator<Item = &Alarm> + '_ {
        self.alarms.iter()
    }
}

impl Owed {
    fn is_due(&self, now_ms: u64) -> bool {
        now_ms >= self.rests_until_ms && self.queue.first().is_some_and(|(due_ms, _)| *due_ms <= now_ms)
    }

    /// The one that has waited longest, if it is due.
    fn take_due(&mut self, now_ms: u64) -> Option<(OrderNumber, Version)> {
        // Each turn takes one out of the queue, so this ends.
        while self.is_due(now_ms) {
            let (_, number) = self.queue.pop_first()?;
            if let Some(note) = self.open.get_mut(&number) {
                note.is_under_way = true;
                return Some((number, note.version));
            }
        }
        None
    }

    /// Whether it is done with.
    fn tried(&mut self, number: OrderNumber, tried: Tried, now_ms: u64) -> bool {
        let Some(note) = self.open.get_mut(&number) else { return false };
        // One that was begun without being taken waits in the queue as well.
        self.queue.remove(&(note.due_ms, number));
        note.is_under_way = false;
        match tried {
            Tried::Void { everywhere: true } | Tried::Alive(_) => {
                self.open.remove(&number);
            }
            Tried::Void { everywhere: false } | Tried::Failed | Tried::OutOfReach => {
                note.due_ms = now_ms.saturating_add(note.pause_ms);
                self.queue.insert((note.due_ms, number));
                note.pause_ms = (note.pause_ms * 2).min(RETRY_MAX_MS);
            }
        }
        match tried {
            Tried::OutOfReach => self.rest(now_ms),
            Tried::Void { .. } | Tried::Alive(_) => (self.rests_until_ms, self.rest_ms) = (0, 0),
            Tried::Failed => {}
        }
        !self.open.contains_key(&number)
    }

    /// Many are tried at once, and all of them come to nothing: that is one rest, and the next one is longer.
    fn rest(&mut self, now_ms: u64) {
        if now_ms >= self.rests_until_ms {
            self.rest_ms = (self.rest_ms * 2).clamp(RETRY_MIN_MS, RETRY_MAX_MS);
            self.rests_until_ms = now_ms.saturating_add(self.rest_ms);
        }
    }

    fn hasten(&mut self, now_ms: u64) {
        (self.rests_until_ms, self.rest_ms) = (0, 0);
        self.queue.clear();
        for (number, note) in &mut self.open {
            note.due_ms = note.due_ms.min(now_ms);
            note.pause_ms = RETRY_MIN_MS;
            if !note.is_under_way {
                self.queue.insert((note.due_ms, *number));
            }
        }
    }

    fn has_hope(&self) -> bool {
        let is_new = |note: &Note| note.is_under_way || note.pause_ms <= 4 * RETRY_MIN_MS;
        self.rest_ms <= 2 * RETRY_MIN_MS && self.open.values().any(is_new)
    }
}

/// Keeps in mind what is only dear to do twice: where there is too much of it, the oldest orders are forgotten.
fn remember<T: Ord>(set: &mut BTreeSet<T>, item: T) {
    set.insert(item);
    if set.len() > NOTES_MAX {
        set.pop_first();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    const VERSION: Version = Version { epoch: 1, counter: 9 };

    fn due(notes: &mut Notes, now_ms: u64) -> usize {
        notes.take_due(now_ms, 100, |_| true).len()
    }

    /// Some are tried as soon as they are owed.
    #[test]
    fn one_that_is_tried_without_being_taken_waits_once_or_not_at_all() {
        let mut notes = Notes::default();
        notes.owe(number(1), VERSION, 0);
        notes.tried(number(1), Tried::Failed, 0);
        assert_eq!((due(&mut notes, 0), due(&mut notes, 250), due(&mut notes, 250)), (0, 1, 0));
        notes.tried(number(1), Tried::Failed, 250);
        notes.tried(number(1), Tried::Failed, 250);
        notes.tried(number(1), Tried::Void { everywhere: true }, 250);
        assert_eq!(due(&mut notes, 100_000), 0);
        notes.owe(number(2), VERSION, 0);
        notes.tried(number(2), Tried::Void { everywhere: true }, 0);
        assert_eq!(due(&mut notes, 100_000), 0);
        assert!(notes.is_empty());
    }

    #[test]
    fn a_note_is_done_when_all_replicas_hold_the_void() {
        let mut notes = Notes::default();
        notes.owe(number(1), VERSION, 0);
        assert_eq!(notes.take_due(0, 9, |_| true), [(number(1), VERSION)]);
        assert_eq!(due(&mut notes, 0), 0, "it is under way");
        notes.tried(number(1), Tried::Void { everywhere: false }, 0);
        assert_eq!((due(&mut notes, 249), notes.waiting(|_| true)), (0, 1));
        assert_eq!(due(&mut notes, 250), 1);
        notes.tried(number(1), Tried::Void { everywhere: true }, 250);
        assert!(notes.is_empty());
        assert!(notes.is_done(number(1)) && notes.done() == 1);
    }

    #[test]
    fn what_fails_is_tried_again_ever_more_seldom_and_never_forgotten() {
        let mut notes = Notes::default();
        notes.owe(number(1), VERSION, 0);
        let mut now_ms = 0;
        let mut last = 0;
        for _ in 0..20 {
            assert_eq!(due(&mut notes, now_ms), 1);
            notes.tried(number(1), Tried::Failed, now_ms);
            let pause = (0..=RETRY_MAX_MS).find(|pause| {
                let mut copy = Notes { of: notes.of.clone(), ..Notes::default() };
                due(&mut copy, now_ms + pause) == 1
            });
            let pause = pause.expect("within the longest pause");
            assert!(pause >= last);
            last = pause;
            now_ms += pause;
        }
        assert_eq!(last, RETRY_MAX_MS);
        notes.hasten(0);
        assert_eq!(due(&mut notes, 0), 1);
    }

    #[test]
    fn what_somebody_was_told_of_is_an_alarm_and_never_tried_again() {
        let mut notes = Notes::default();
        notes.owe(number(1), VERSION, 0);
        assert_eq!(due(&mut notes, 0), 1);
        notes.tried(number(1), Tried::Alive(Version { epoch: 2, counter: 1 }), 0);
        assert_eq!(due(&mut notes, u64::MAX), 0);
        let alarm = Alarm::Alive { number: number(1), version: Version { epoch: 2, counter: 1 } };
        assert_eq!(notes.alarms().collect::<Vec<_>>(), [&alarm]);
    }

    fn of_set(set: u16, sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(set)).expect("a number")
    }

    fn sets(taken: &[(OrderNumber, Version)]) -> Vec<u16> {
        taken.iter().map(|(number, _)| number.set_id().get()).collect()
    }

    #[test]
    fn a_set_that_cannot_be_asked_keeps_its_notes_and_holds_up_no_other() {
        let mut notes = Notes::default();
        for sequence in 0..10 {
            notes.owe(of_set(7, sequence), VERSION, 0);
            notes.owe(of_set(8, sequence), VERSION, 0);
        }
        let before = format!("{:?}", notes.of[&SetId::from_checked(7)]);
        assert_eq!(sets(&notes.take_due(0, 3, |set| set.get() == 8)), [8, 8, 8]);
        assert_eq!(format!("{:?}", notes.of[&SetId::from_checked(7)]), before, "nothing of it was touched");
        assert_eq!((notes.waiting(|_| true), notes.waiting_in(SetId::from_checked(7))), (20, 10));
        notes.settle_all(|set| set.get() == 8);
        assert_eq!((notes.waiting(|_| true), notes.waiting_in(SetId::from_checked(8))), (10, 0));
        // What was under way there ends, and nobody waits for it.
        notes.tried(of_set(8, 0), Tried::Failed, 0);
        assert_eq!(sets(&notes.take_due(u64::MAX, 99, |_| true)), [7; 10]);
    }

    #[test]
    fn sets_are_served_in_turns_however_much_each_owes() {
        let mut notes = Notes::default();
        (0..100).for_each(|sequence| notes.owe(of_set(7, sequence), VERSION, 0));
        notes.owe(of_set(9, 0), VERSION, 5);
        notes.owe(of_set(8, 0), VERSION, 5);
        notes.owe(of_set(8, 1), VERSION, 5);
        assert_eq!(sets(&notes.take_due(5, 4, |_| true)), [7, 8, 9, 7]);
        // It goes on behind the one that came last.
        assert_eq!(sets(&notes.take_due(5, 2, |_| true)), [8, 7]);
        assert_eq!(notes.take_due(5, 999, |_| true).len(), 97);
    }

    #[test]
    fn a_set_out_of_reach_rests_ever_longer_until_one_of_its_numbers_is_ended() {
        let mut notes = Notes::default();
        (0..1_000).for_each(|sequence| notes.owe(of_set(7, sequence), VERSION, 0));
        let (mut now_ms, mut rests) = (0, Vec::new());
        for _ in 0..8 {
            let taken = notes.take_due(now_ms, 10, |_| true);
            assert_eq!(taken.len(), 10);
            for (number, _) in taken {
                notes.tried(number, Tried::OutOfReach, now_ms);
            }
            let due = |at: u64| Notes { of: notes.of.clone(), ..Notes::default() }.take_due(at, 1, |_| true).len() == 1;
            let rest = (0..=RETRY_MAX_MS).step_by(10).find(|rest| due(now_ms + rest)).expect("within the longest rest");
            rests.push(rest);
            now_ms += rest;
        }
        assert_eq!(rests, [250, 500, 1_000, 2_000, 4_000, 8_000, 10_000, 10_000]);
        assert!(!notes.has_hope(|_| true), "nobody waits for it");
        // Another SET is not kept waiting, and one that succeeds brings this one back at once.
        let taken = notes.take_due(now_ms, 2, |_| true);
        notes.tried(taken[0].0, Tried::OutOfReach, now_ms);
        notes.owe(of_set(8, 0), VERSION, now_ms);
        assert_eq!(sets(&notes.take_due(now_ms, 9, |_| true)), [8]);
        notes.tried(taken[1].0, Tried::Void { everywhere: false }, now_ms);
        assert_eq!(notes.take_due(now_ms, 9, |_| true).len(), 9);
        notes.hasten(now_ms);
        assert!(notes.has_hope(|_| true));
    }
}
