//! Which ranges of numbers are clean: all voters hold the same there.
//!
//! After every open, and whenever a replica returned, all ranges are dirty, since a replica may have rolled back without a sign. A range becomes clean when the
//! digests of all voters agree on what epochs before this one wrote; what this epoch writes is under its coordinator's eyes.

use crate::order::{Day, OrderNumber};
use crate::quorum::Mask;
use crate::replica::RangeDigest;
use std::collections::BTreeMap;

/// A range of a day.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct RangeKey {
    pub(crate) day: Day,
    pub(crate) range: u32,
}

impl RangeKey {
    pub(crate) fn of(number: OrderNumber) -> RangeKey {
        RangeKey { day: number.day(), range: RangeDigest::range_of(number) }
    }
}

/// A day that has to be compared: its ranges are 0 to `ranges - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct DaySpan {
    pub(crate) day: Day,
    pub(crate) ranges: u32,
}

/// What is known to be clean. Memory is bounded by the number of ranges that differ, not by the number of ranges.
#[derive(Debug, Default)]
pub(crate) struct RangeBook {
    /// Days not compared to their end yet: ranges from the second value on are dirty.
    open: BTreeMap<Day, u32>,
    /// Ranges that were compared and differ, and by whom.
    differing: BTreeMap<RangeKey, Mask>,
    /// Orders of each day, by the largest digest, and what is counted of a day that is being compared.
    orders: BTreeMap<Day, u64>,
    counting: u64,
    todo: Vec<DaySpan>,
    compared: u64,
    started: bool,
}

impl RangeBook {
    /// Sets out what must be compared: every day that any voter holds or that was leased from. Before this call all is dirty.
    pub(crate) fn start(&mut self, mut days: Vec<DaySpan>) {
        // The newest day first: that is where reads go. Taken from the end.
        days.sort_by_key(|span| span.day);
        self.open = days.iter().map(|span| (span.day, 0)).collect();
        self.todo = days;
        self.started = true;
    }

    /// Begins anew: all is dirty, as after an open.
    pub(crate) fn restart(&mut self) {
        *self = RangeBook { orders: std::mem::take(&mut self.orders), ..RangeBook::default() };
    }

    /// Orders that came since the last comparison, by day; the next one counts them itself.
    pub(crate) fn count(&mut self, created: BTreeMap<Day, u64>) {
        for (day, count) in created {
            *self.orders.entry(day).or_default() += count;
        }
    }

    /// The next range to compare; `None` when every range was compared.
    pub(crate) fn next(&self) -> Option<RangeKey> {
        let span = self.todo.last()?;
        Some(RangeKey { day: span.day, range: self.open.get(&span.day).copied().unwrap_or(0) })
    }

    /// The digests of all voters for the range that [`RangeBook::next`] named.
    pub(crate) fn compared(&mut self, key: RangeKey, odd: Mask, records: u64) {
        self.settle(key, odd);
        self.compared += 1;
        let Some(span) = self.todo.last() else { return };
        if span.day != key.day {
            return;
        }
        self.counting += records;
        if key.range + 1 >= span.ranges {
            self.orders.insert(key.day, std::mem::take(&mut self.counting));
            self.open.remove(&key.day);
            self.todo.pop();
        } else {
            self.open.insert(key.day, key.range + 1);
        }
    }

    /// A range that differed was compared again.
    pub(crate) fn settle(&mut self, key: RangeKey, odd: Mask) {
        match odd.is_empty() {
            true => self.differing.remove(&key),
            false => self.differing.insert(key, odd),
        };
    }

    /// Ranges that differed, after `after`; for comparing them again.
    pub(crate) fn differing_after(&self, after: Option<RangeKey>) -> Option<RangeKey> {
        self.differing.keys().find(|key| after.is_none_or(|after| **key > after)).copied()
    }

    pub(crate) fn is_dirty(&self, key: RangeKey) -> bool {
        !self.started || self.open.get(&key.day).is_some_and(|next| key.range >= *next) || self.differing.contains_key(&key)
    }

    /// Whether any range of the day is dirty.
    pub(crate) fn is_day_dirty(&self, day: Day) -> bool {
        let first = RangeKey { day, range: 0 };
        let last = RangeKey { day, range: u32::MAX };
        !self.started || self.open.contains_key(&day) || self.differing.range(first..=last).next().is_some()
    }

    /// Whether any range of `day` or a later one is dirty.
    pub(crate) fn is_dirty_since(&self, day: Day) -> bool {
        let first = RangeKey { day, range: 0 };
        !self.started || self.open.range(day..).next().is_some() || self.differing.range(first..).next().is_some()
    }

    /// Whether every range was compared once.
    pub(crate) fn is_complete(&self) -> bool {
        self.started && self.todo.is_empty()
    }

    /// Ranges compared, and ranges that differ.
    pub(crate) fn counts(&self) -> (u64, u64) {
        (self.compared, self.differing.len() as u64)
    }

    /// The ranges in which `index` is odd: how many, and the first.
    pub(crate) fn odd_in(&self, index: u8) -> Option<(usize, RangeKey)> {
        let mut odd = self.differing.iter().filter(|(_, mask)| mask.contains(index)).map(|(key, _)| *key);
        let first = odd.next()?;
        Some((odd.count() + 1, first))
    }

    /// Orders of `day` that older epochs wrote.
    pub(crate) fn orders(&self, day: Day) -> u64 {
        self.orders.get(&day).copied().unwrap_or(0)
    }
}

/// Those whose digest differs from the one that most replicas share; all of them where no digest is shared by most.
pub(crate) fn odd_ones(digests: &[(u8, RangeDigest)]) -> Mask {
    let supporters = |digest: &RangeDigest| digests.iter().filter(|(_, other)| digest.agrees_with(other)).count();
    let all: Mask = digests.iter().map(|(index, _)| *index).collect();
    let Some((best, count)) = digests.iter().map(|(_, digest)| (digest, supporters(digest))).max_by_key(|(_, count)| *count)
    else {
        return Mask::NONE;
    };
    if count == digests.len() {
        return Mask::NONE;
    }
    if count * 2 <= digests.len() {
        return all;
    }
    digests.iter().filter(|(_, digest)| !best.agrees_with(digest)).map(|(index, _)| *index).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(sum: u128, damaged: u64) -> RangeDigest {
        RangeDigest { records: 1, sum, damaged }
    }

    #[test]
    fn the_odd_one_out_is_named_and_without_a_majority_all_are() {
        let odd = |digests: &[RangeDigest]| {
            let digests: Vec<(u8, RangeDigest)> = (0u8..).zip(digests.iter().copied()).collect();
            odd_ones(&digests)
        };
        assert_eq!(odd(&[digest(1, 0), digest(1, 0), digest(1, 0)]), Mask::NONE);
        assert_eq!(odd(&[digest(1, 0), digest(2, 0), digest(1, 0)]), Mask::of(1));
        assert_eq!(odd(&[digest(1, 0), digest(1, 3), digest(1, 0)]), Mask::of(1));
        assert_eq!(odd(&[digest(1, 0), digest(2, 0)]), Mask::of(0).with(1));
        assert_eq!(odd(&[digest(1, 1), digest(1, 1)]), Mask::of(0).with(1), "damage equals nothing, not even damage");
        assert_eq!(odd(&[digest(1, 0)]), Mask::NONE);
        assert_eq!(odd(&[]), Mask::NONE);
    }

    #[test]
    fn all_is_dirty_until_compared_and_clean_ranges_are_forgotten() {
        let day = Day::new(2026, 11, 22).unwrap();
        let other = Day::new(2026, 11, 21).unwrap();
        let key = |range: u32| RangeKey { day, range };
        let mut book = RangeBook::default();
        assert!(book.is_dirty(key(0)));
        book.start(vec![DaySpan { day: other, ranges: 1 }, DaySpan { day, ranges: 2 }]);
        assert_eq!(book.next(), Some(key(0)));
        book.compared(key(0), Mask::NONE, 5);
        assert!(!book.is_dirty(key(0)) && book.is_dirty(key(1)) && book.is_day_dirty(day));
        book.compared(key(1), Mask::of(2), 7);
        assert!(book.is_dirty(key(1)) && !book.is_dirty(key(2)) && !book.is_complete());
        assert_eq!(book.odd_in(2), Some((1, key(1))));
        assert_eq!(book.next(), Some(RangeKey { day: other, range: 0 }));
        book.compared(RangeKey { day: other, range: 0 }, Mask::NONE, 0);
        assert!(book.is_complete() && !book.is_day_dirty(other));
        assert_eq!(book.differing_after(None), Some(key(1)));
        assert_eq!(book.differing_after(Some(key(1))), None);
        book.settle(key(1), Mask::NONE);
        assert!(!book.is_day_dirty(day));
        assert_eq!((book.orders(day), book.orders(other)), (12, 0));
    }
}
