//! Writes whose outcome is not known, and what became of them. Pure.
//!
//! A write in doubt may be on fewer than W replicas, or still on its way to one. Nothing is written over it before it is
//! *settled*: what is seen of it is made durable, or what was there before is written again under a newer version. That second
//! write may end in doubt as well; it carries older content under a newer version, so while it is in the air nothing older than
//! it may be shown, lest it surface later and take back what was read.
//!
//! No doubt is ever dropped: where there are too many, the SET takes no more writes until some are settled.

use crate::error::WriteToken;
use crate::order::OrderNumber;
use crate::replica::{Origin, Version};
use crate::set::Resolved;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// With so many orders in doubt no more writes are taken. Beyond it come at most those that are in flight.
const OPEN_MAX: usize = 1 << 20;
/// The most outcomes that are remembered.
const REMEMBERED_MAX: usize = 1 << 16;

/// The doubts of one SET.
#[derive(Debug, Default)]
pub(crate) struct Doubts {
    open: BTreeMap<OrderNumber, Vec<Doubt>>,
    settled: BTreeMap<(OrderNumber, Version), Resolved>,
    /// The same in the order in which they were settled.
    order: VecDeque<(OrderNumber, Version)>,
    /// The newest version whose outcome was forgotten.
    forgotten: Version,
    /// In doubt, and shown to somebody: these take effect.
    shown: BTreeSet<OrderNumber>,
    /// Given up at this version, because the order was placed under another number, and not void on W replicas yet: nobody is
    /// shown them.
    given_up: BTreeMap<OrderNumber, Version>,
    /// Numbers that end although their orders say that they stand in for these: it is these that stand.
    disowned: BTreeMap<OrderNumber, OrderNumber>,
    /// Numbers of which a caller was told that they are stored after all.
    sworn: BTreeSet<OrderNumber>,
}

/// One write in doubt.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Doubt {
    version: Version,
    /// For a write that settles others: the version whose content it carries; the default where it says that there is nothing.
    copies: Option<Version>,
    /// What its record says of numbers that must end, 16 at most, whether it is ever seen or not: a void in its place has to say it as
    /// well.
    ends: Option<Arc<Origin>>,
}

/// What is known of one write of this process.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// Not settled.
    InDoubt,
    /// Settled.
    Settled(Resolved),
    /// It never was in doubt.
    Never,
    /// It was so long ago that nobody remembers.
    Forgotten,
}

impl Doubt {
    pub(crate) fn of(version: Version, copies: Option<Version>, origin: Option<&Origin>) -> Doubt {
        // Most have none.
        Doubt { version, copies, ends: Origin::of_void(origin.into_iter(), None).map(Arc::new) }
    }
}

impl Doubts {
    pub(crate) fn add(&mut self, number: OrderNumber, doubt: Doubt) {
        let doubts = self.open.entry(number).or_default();
        if doubts.iter().all(|other| other.version != doubt.version) {
            doubts.push(doubt);
        }
    }

    /// Whether there are so many that no more may come.
    pub(crate) fn are_too_many(&self) -> bool {
        self.open.len() >= OPEN_MAX
    }

    /// Whether anything about `number` has to be settled before it is written.
    pub(crate) fn concerns(&self, number: OrderNumber) -> bool {
        self.open.contains_key(&number) || self.given_up.contains_key(&number)
    }

    /// Whether there is none at all.
    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty() && self.given_up.is_empty()
    }

    /// Somebody is about to be shown this version. `false` where it was given up; what is in doubt and shown takes effect.
    pub(crate) fn show(&mut self, number: OrderNumber, version: Version) -> bool {
        if self.is_given_up(number, version) {
            return false;
        }
        if self.open.get(&number).is_some_and(|doubts| doubts.iter().any(|doubt| doubt.version == version)) {
            self.shown.insert(number);
        }
        true
    }

    /// Nobody is shown this version, or an older one, from now on; nor a newer one that is in doubt itself: somebody tried to
    /// settle this one, and wrote a copy of it. Answers up to which. `None` where somebody was shown it.
    pub(crate) fn give_up(&mut self, number: OrderNumber, version: Version) -> Option<Version> {
        let was_applied = self.settled.get(&(number, version)) == Some(&Resolved::Applied);
        if was_applied || self.shown.contains(&number) || self.is_sworn(number) {
            return None;
        }
        let version = self.newest_copy(number, version);
        let given_up = self.given_up.entry(number).or_insert(version);
        *given_up = version.max(*given_up);
        Some(*given_up)
    }

    /// As [`Doubts::give_up`], also where it was shown: by whoever must end it.
    pub(crate) fn force_given_up(&mut self, number: OrderNumber, version: Version) {
        let given_up = self.given_up.entry(number).or_insert(version);
        *given_up = version.max(*given_up);
    }

    /// Nothing was placed under another number after all, or something newer stands.
    pub(crate) fn take_back(&mut self, number: OrderNumber) {
        self.given_up.remove(&number);
        self.disowned.remove(&number);
    }

    /// A caller is told that what was in doubt is stored.
    pub(crate) fn swear(&mut self, number: OrderNumber) {
        self.sworn.insert(number);
        if self.sworn.len() > REMEMBERED_MAX {
            self.sworn.pop_first();
        }
    }

    /// Whether a caller was told so.
    pub(crate) fn is_sworn(&self, number: OrderNumber) -> bool {
        self.sworn.contains(&number)
    }

    /// `number` ends, and `stands` does not, whatever the order under `number` says.
    pub(crate) fn disown(&mut self, number: OrderNumber, stands: OrderNumber) {
        self.disowned.insert(number, stands);
        // Who says so says it again where its void was written without that.
        if self.disowned.len() > REMEMBERED_MAX {
            self.disowned.pop_first();
        }
    }

    /// What stands instead of `number`, if it was said.
    pub(crate) fn stands_instead_of(&self, number: OrderNumber) -> Option<OrderNumber> {
        self.disowned.get(&number).copied()
    }

    /// The version up to which it was given up.
    pub(crate) fn given_up(&self, number: OrderNumber) -> Option<Version> {
        self.given_up.get(&number).copied()
    }

    /// Whether that version was given up.
    pub(crate) fn is_given_up(&self, number: OrderNumber, version: Version) -> bool {
        self.given_up(number).is_some_and(|given_up| version <= given_up)
    }

    /// It is void, under `version`, on W replicas.
    pub(crate) fn ended(&mut self, number: OrderNumber, version: Version) {
        self.given_up.remove(&number);
        self.disowned.remove(&number);
        self.settle(number, version, Some(Version::default()));
    }

    /// The newest version in doubt that is a copy of this one, or of a copy of it; this one where there is none. What somebody asked for
    /// since is no copy.
    fn newest_copy(&self, number: OrderNumber, version: Version) -> Version {
        let mut newest = version;
        let Some(doubts) = self.open.get(&number) else { return newest };
        let next = |newest: Version| {
            let copies =
                doubts.iter().filter(|doubt| doubt.version > newest && doubt.copies.is_some_and(|copied| copied <= newest));
            copies.map(|doubt| doubt.version).max()
        };
        // Each turn goes on to a newer one of those in doubt, so this ends.
        while let Some(copy) = next(newest) {
            newest = copy;
        }
        newest
    }

    /// The newest version in doubt.
    pub(crate) fn newest(&self, number: OrderNumber) -> Option<Version> {
        self.open.get(&number)?.iter().map(|doubt| doubt.version).max()
    }

    /// What the writes in doubt say of other numbers, which must end.
    pub(crate) fn ends(&self, number: OrderNumber) -> impl Iterator<Item = Arc<Origin>> + '_ {
        self.open.get(&number).into_iter().flatten().filter_map(|doubt| doubt.ends.clone())
    }

    /// The newest version in doubt that carries older content: nothing below it may be shown.
    pub(crate) fn hides_below(&self, number: OrderNumber) -> Option<Version> {
        let copies = self.open.get(&number)?.iter().filter(|doubt| doubt.copies.is_some());
        copies.map(|doubt| doubt.version).max()
    }

    /// All doubts about `number` are settled: `stands` is on W replicas, and a copy of `copies` if it copies.
    pub(crate) fn settle(&mut self, number: OrderNumber, stands: Version, copies: Option<Version>) {
        self.shown.remove(&number);
        let Some(doubts) = self.open.remove(&number) else { return };
        // What stands, and what that was a copy of, took effect. Each turn goes back to an older version, so this ends.
        let mut applied = vec![stands];
        let mut next = copies.or_else(|| copied_by(&doubts, stands));
        while let Some(version) = next.filter(|version| applied.last().is_some_and(|last| version < last)) {
            applied.push(version);
            next = copied_by(&doubts, version);
        }
        // Nothing but a copy is ever written over a doubt, except over a new order that somebody came upon before its creator was
        // told: what was asked for before something that took effect took effect too.
        let is_copy = |version: &Version| doubts.iter().any(|doubt| doubt.version == *version && doubt.copies.is_some());
        let asked_for = applied.iter().filter(|version| !is_copy(version) && (**version != stands || copies.is_none()));
        let newest_asked_for = asked_for.max().copied();
        for doubt in &doubts {
            let was_built_on = doubt.copies.is_none() && newest_asked_for.is_some_and(|newest| doubt.version < newest);
            let outcome = match applied.contains(&doubt.version) || was_built_on {
                true => Resolved::Applied,
                false => Resolved::NotApplied,
            };
            self.remember(number, doubt.version, outcome);
        }
    }

    /// Remembers what became of a write.
    pub(crate) fn remember(&mut self, number: OrderNumber, version: Version, outcome: Resolved) {
        if self.settled.insert((number, version), outcome).is_none() {
            self.order.push_back((number, version));
        }
        while self.order.len() > REMEMBERED_MAX {
            let Some(oldest) = self.order.pop_front() else { return };
            self.settled.remove(&oldest);
            self.forgotten = self.forgotten.max(oldest.1);
        }
    }

    /// What is known of a write that this process sent.
    pub(crate) fn known(&self, token: WriteToken) -> Known {
        if let Some(outcome) = self.settled.get(&(token.number, token.version)) {
            return Known::Settled(*outcome);
        }
        let in_doubt = self.open.get(&token.number).is_some_and(|open| open.iter().any(|doubt| doubt.version == token.version));
        match in_doubt {
            true => Known::InDoubt,
            false if token.version <= self.forgotten => Known::Forgotten,
            false => Known::Never,
        }
    }
}

fn copied_by(doubts: &[Doubt], version: Version) -> Option<Version> {
    doubts.iter().find(|doubt| doubt.version == version)?.copies
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, SetId};

    fn number(sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::from_checked(7)).expect("a number")
    }

    fn version(counter: u64) -> Version {
        Version { epoch: 1, counter }
    }

    fn doubt(counter: u64, copies: Option<u64>) -> Doubt {
        Doubt::of(version(counter), copies.map(version), None)
    }

    fn known(doubts: &Doubts, counter: u64) -> Known {
        doubts.known(WriteToken { number: number(1), version: version(counter) })
    }

    #[test]
    fn what_stands_took_effect_and_what_it_was_written_over_did_not() {
        let mut doubts = Doubts::default();
        doubts.add(number(1), doubt(5, None));
        assert_eq!((known(&doubts, 5), known(&doubts, 4)), (Known::InDoubt, Known::Never));
        doubts.settle(number(1), version(5), None);
        assert_eq!(known(&doubts, 5), Known::Settled(Resolved::Applied));
        assert!(!doubts.concerns(number(1)));

        doubts.add(number(1), doubt(7, None));
        doubts.settle(number(1), version(8), Some(version(5)));
        assert_eq!(known(&doubts, 7), Known::Settled(Resolved::NotApplied));
        assert_eq!(known(&doubts, 5), Known::Settled(Resolved::Applied), "and what was settled before stays so");
    }

    #[test]
    fn a_copy_in_doubt_speaks_for_what_it_copies() {
        // 5 was asked for; 6 wrote 4 again, as 5 was not seen; 7 wrote 5 again, as it was seen after all.
        let add_all = |doubts: &mut Doubts| {
            doubts.add(number(1), doubt(5, None));
            doubts.add(number(1), doubt(6, Some(4)));
            doubts.add(number(1), doubt(7, Some(5)));
        };
        for (stands, copies, outcome) in [
            (7, None, Resolved::Applied),
            (6, None, Resolved::NotApplied),
            (5, None, Resolved::Applied),
            (9, Some(5), Resolved::Applied),
            (9, Some(7), Resolved::Applied),
            (9, Some(6), Resolved::NotApplied),
            (9, Some(4), Resolved::NotApplied),
        ] {
            let mut doubts = Doubts::default();
            add_all(&mut doubts);
            assert_eq!(doubts.newest(number(1)), Some(version(7)));
            doubts.settle(number(1), version(stands), copies.map(version));
            assert_eq!(known(&doubts, 5), Known::Settled(outcome), "{stands} stands, a copy of {copies:?}");
        }
    }

    #[test]
    fn only_copies_hide_what_is_older() {
        let mut doubts = Doubts::default();
        doubts.add(number(1), doubt(5, None));
        assert_eq!(doubts.hides_below(number(1)), None);
        doubts.add(number(1), doubt(6, Some(4)));
        assert_eq!(doubts.hides_below(number(1)), Some(version(6)));
        assert_eq!(doubts.hides_below(number(2)), None);
    }

    #[test]
    fn a_new_order_that_was_changed_before_its_creator_was_told_took_effect() {
        let mut doubts = Doubts::default();
        doubts.add(number(1), doubt(1, None));
        doubts.settle(number(1), version(2), None);
        assert_eq!(known(&doubts, 1), Known::Settled(Resolved::Applied));
        // Also where the change is in doubt itself, and stands, or is copied.
        for (stands, copies) in [(2, None), (3, Some(2))] {
            let mut doubts = Doubts::default();
            doubts.add(number(1), doubt(2, None));
            doubts.add(number(1), doubt(1, None));
            doubts.settle(number(1), version(stands), copies.map(version));
            assert_eq!(known(&doubts, 1), Known::Settled(Resolved::Applied));
            assert_eq!(known(&doubts, 2), Known::Settled(Resolved::Applied));
        }
    }

    #[test]
    fn a_copy_is_given_up_with_what_it_copies_and_what_somebody_asked_for_since_is_not() {
        let mut doubts = Doubts::default();
        doubts.add(number(1), doubt(1, None));
        doubts.add(number(1), doubt(2, Some(1)));
        doubts.add(number(1), doubt(3, Some(2)));
        // An update in doubt, and a copy of that.
        doubts.add(number(1), doubt(5, None));
        doubts.add(number(1), doubt(6, Some(5)));
        assert_eq!(doubts.give_up(number(1), version(1)), Some(version(3)));
        doubts.swear(number(2));
        assert_eq!(doubts.give_up(number(2), version(1)), None, "its caller was told that it is stored");
    }

    #[test]
    fn what_was_given_up_is_shown_to_nobody_and_what_was_shown_is_not_given_up() {
        let mut doubts = Doubts::default();
        doubts.add(number(1), doubt(5, None));
        assert_eq!(doubts.give_up(number(1), version(5)), Some(version(5)));
        assert!(doubts.concerns(number(1)));
        assert!(!doubts.show(number(1), version(5)));
        assert!(doubts.show(number(1), version(6)), "somebody was told of it");
        doubts.ended(number(1), version(7));
        assert!(!doubts.concerns(number(1)));
        assert_eq!(known(&doubts, 5), Known::Settled(Resolved::NotApplied));

        doubts.add(number(2), doubt(8, None));
        assert!(doubts.show(number(2), version(8)));
        assert_eq!(doubts.give_up(number(2), version(8)), None);
        doubts.settle(number(2), version(8), None);
        assert_eq!(doubts.give_up(number(2), version(8)), None, "it took effect");

        // Somebody tried to settle it, and that is in doubt as well: the copy is given up with it.
        doubts.add(number(3), doubt(9, None));
        doubts.add(number(3), doubt(10, Some(9)));
        assert_eq!(doubts.give_up(number(3), version(9)), Some(version(10)));
        assert!(!doubts.show(number(3), version(10)));
    }

    #[test]
    fn which_numbers_end_is_known_as_long_as_a_write_that_says_so_is_in_doubt() {
        let mut doubts = Doubts::default();
        let origin = Origin { supersedes: vec![(number(9), version(3))], ..Origin::default() };
        doubts.add(number(1), Doubt::of(version(5), None, Some(&origin)));
        // A void that says so as well, and one of which that is not known.
        doubts.add(number(1), Doubt::of(version(6), Some(Version::default()), Some(&origin)));
        doubts.add(number(1), doubt(7, Some(0)));
        let ends = |doubts: &Doubts| doubts.ends(number(1)).map(|origin| (*origin).clone()).collect::<Vec<_>>();
        assert_eq!(ends(&doubts), [origin.clone(), origin]);
        doubts.settle(number(1), version(7), None);
        assert_eq!(ends(&doubts), []);
    }

    #[test]
    fn what_is_forgotten_is_said_to_be_so() {
        let mut doubts = Doubts::default();
        for counter in 1..=REMEMBERED_MAX as u64 + 2 {
            doubts.remember(number(1), version(counter), Resolved::NotApplied);
        }
        assert_eq!((known(&doubts, 1), known(&doubts, 2)), (Known::Forgotten, Known::Forgotten));
        assert_eq!(known(&doubts, 3), Known::Settled(Resolved::NotApplied));
        assert_eq!(known(&doubts, REMEMBERED_MAX as u64 + 3), Known::Never);
    }
}
