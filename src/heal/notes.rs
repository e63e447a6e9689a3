//! Notes of numbers that were given up and must become void: which are due to be tried, and which are done. Pure.
//!
//! A note is done when all N replicas of the number's SET hold the void: then nothing can bring the number back, whatever is lost.
//! What does not succeed is tried again later, at growing intervals. The notes themselves are durable in the records of the orders
//! that were placed instead; this is what is known of them in memory.

use crate::order::{OrderNumber, SetId};
use crate::replica::Version;
use std::collections::{BTreeMap, BTreeSet};
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
    open: BTreeMap<OrderNumber, Note>,
    /// Those that are not under way, by when they are due: what waits longest is tried first, whatever its number.
    queue: BTreeSet<(u64, OrderNumber)>,
    /// Void on all replicas, as far as that is kept in mind.
    done: BTreeSet<OrderNumber>,
    done_count: u64,
    /// SETs that were asked, after all, for an earlier order than this one under its request key.
    verified: BTreeSet<(OrderNumber, SetId)>,
    alarms: BTreeSet<Alarm>,
}

/// What is left alone and asks for an operator.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[non_exhaustive]
pub enum Alarm {
    /// The number was given up and its order placed under another, and it stands all the same, at a version newer than the attempt
    /// that was given up: somebody was told of it and changed it.
    Alive {
        /// The number.
        number: OrderNumber,
        /// The version that stands.
        version: Version,
    },
    /// Both orders were created with one request key, and each was placed when the other's SET could not be asked; or the later one was,
    /// and they are a day further apart than a key is good for.
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
                write!(
                    f,
                    "{first} and {second} have one request key, and each was placed when the other's SET could not be asked"
                )
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
    /// Its SET could not be reached.
    Failed,
}

impl Notes {
    /// The number was given up at that version.
    pub(crate) fn owe(&mut self, number: OrderNumber, version: Version, now_ms: u64) {
        // The rest is found again by the next walk.
        if self.open.len() >= NOTES_MAX && !self.open.contains_key(&number) {
            return;
        }
        let note = Note { version, due_ms: now_ms, pause_ms: RETRY_MIN_MS, is_under_way: false };
        let queue = &mut self.queue;
        let held = self.open.entry(number).or_insert_with(|| {
            queue.insert((now_ms, number));
            note
        });
        held.version = version.max(held.version);
    }

    /// Up to `limit` that are due and whose SET `may` be asked. Each is under way until [`Notes::tried`].
    pub(crate) fn take_due(
        &mut self,
        now_ms: u64,
        limit: usize,
        mut may: impl FnMut(OrderNumber) -> bool,
    ) -> Vec<(OrderNumber, Version)> {
        let mut taken = Vec::new();
        // Each turn takes one that is due out of the queue, or puts it in again for later, so this ends.
        while taken.len() < limit
            && let Some((due_ms, number)) = self.queue.pop_first()
        {
            if due_ms > now_ms {
                self.queue.insert((due_ms, number));
                break;
            }
            let Some(note) = self.open.get_mut(&number) else { continue };
            if may(number) {
                note.is_under_way = true;
                taken.push((number, note.version));
            } else {
                note.due_ms = now_ms.saturating_add(RETRY_MIN_MS);
                self.queue.insert((note.due_ms, number));
            }
        }
        taken
    }

    /// A try has ended.
    pub(crate) fn tried(&mut self, number: OrderNumber, tried: Tried, now_ms: u64) {
        let Some(note) = self.open.get_mut(&number) else { return };
        note.is_under_way = false;
        match tried {
            Tried::Void { everywhere: true } => {
                self.open.remove(&number);
                self.done_count += 1;
                remember(&mut self.done, number);
            }
            Tried::Alive(version) => {
                self.open.remove(&number);
                remember(&mut self.done, number);
                self.alarm(Alarm::Alive { number, version });
            }
            Tried::Void { everywhere: false } | Tried::Failed => {
                note.due_ms = now_ms.saturating_add(note.pause_ms);
                self.queue.insert((note.due_ms, number));
                note.pause_ms = (note.pause_ms * 2).min(RETRY_MAX_MS);
            }
        }
    }

    /// All that waits is due now.
    pub(crate) fn hasten(&mut self, now_ms: u64) {
        self.queue.clear();
        for (number, note) in &mut self.open {
            note.due_ms = note.due_ms.min(now_ms);
            note.pause_ms = RETRY_MIN_MS;
            if !note.is_under_way {
                self.queue.insert((note.due_ms, *number));
            }
        }
    }

    /// The SET is lost for good: nothing that concerns it is waited for any more.
    pub(crate) fn settle_all(&mut self, mut concerns: impl FnMut(OrderNumber) -> bool) {
        self.open.retain(|number, _| !concerns(*number));
    }

    /// How many wait.
    pub(crate) fn waiting(&self, mut counts: impl FnMut(OrderNumber) -> bool) -> usize {
        self.open.keys().filter(|number| counts(**number)).count()
    }

    /// Whether none waits.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Those that wait.
    pub(crate) fn open(&self) -> impl Iterator<Item = OrderNumber> + '_ {
        self.open.keys().copied()
    }

    /// Whether any that waits was not tried to its end since it was hastened: its SET may be asked, and it is not void on W replicas
    /// and waiting for one that is away.
    pub(crate) fn has_hope(&self, mut may: impl FnMut(SetId) -> bool) -> bool {
        let is_new = |note: &Note| note.is_under_way || note.pause_ms <= 4 * RETRY_MIN_MS;
        self.open.iter().any(|(number, note)| may(number.set_id()) && is_new(note))
    }

    /// How many came to their end.
    pub(crate) fn done(&self) -> u64 {
        self.done_count
    }

    /// Whether that number came to its end.
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
                let mut copy = Notes { open: notes.open.clone(), queue: notes.queue.clone(), ..Notes::default() };
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

    #[test]
    fn a_set_that_cannot_be_asked_keeps_its_notes_and_holds_up_no_other() {
        let mut notes = Notes::default();
        for sequence in 0..10 {
            notes.owe(number(sequence), VERSION, 0);
        }
        assert_eq!(notes.take_due(0, 3, |number| number.sequence() % 2 == 1).len(), 3);
        assert_eq!(notes.waiting(|_| true), 10);
        notes.settle_all(|number| number.sequence() < 5);
        assert_eq!(notes.waiting(|_| true), 5);
    }
}
