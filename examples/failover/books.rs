//! The proof: what callers were told, held against what the store kept. Pure, so that wrong books can be planted and must be found.

use crate::load::Entry;
use ordermint::OrderNumber;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

/// What the books came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Balance {
    pub(crate) acknowledged: usize,
    pub(crate) found: usize,
    pub(crate) superseded: usize,
    pub(crate) faults: Vec<Fault>,
}

/// Something wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Fault {
    /// Two callers were told one number.
    NumberTwice(OrderNumber),
    /// It was acknowledged and is not there.
    Lost(OrderNumber),
    /// It is there and says something else.
    Changed(OrderNumber),
    /// The same order is there under two numbers.
    OrderTwice(OrderNumber, OrderNumber),
    /// It was given up and can be read.
    Alive(OrderNumber),
    /// Nobody was told of it.
    Nobodys(OrderNumber),
}

/// Holds what was acknowledged against what was `found`, and against what could be read of the numbers that were given up. The
/// `doubtful` may be there or not.
pub(crate) fn check(
    placed: &[Entry],
    doubtful: &[OrderNumber],
    alive: &[OrderNumber],
    found: &[(OrderNumber, String)],
) -> Balance {
    let doubtful: BTreeSet<OrderNumber> = doubtful.iter().copied().collect();
    let superseded: BTreeSet<OrderNumber> = placed.iter().flat_map(|entry| entry.superseded.iter().copied()).collect();
    let mut faults: Vec<Fault> = alive.iter().copied().map(Fault::Alive).collect();
    let mut told: BTreeMap<OrderNumber, &str> = BTreeMap::new();
    for entry in placed {
        if told.insert(entry.number, &entry.payload).is_some() || superseded.contains(&entry.number) {
            faults.push(Fault::NumberTwice(entry.number));
        }
    }
    // No two orders say the same, so one that is there twice was placed twice.
    let mut numbers: BTreeMap<&str, OrderNumber> = BTreeMap::new();
    let mut seen: BTreeSet<OrderNumber> = BTreeSet::new();
    for (number, payload) in found {
        seen.insert(*number);
        match told.get(number) {
            Some(known) if known == payload => {}
            Some(_) => faults.push(Fault::Changed(*number)),
            None if superseded.contains(number) => faults.push(Fault::Alive(*number)),
            None if doubtful.contains(number) => {}
            None => faults.push(Fault::Nobodys(*number)),
        }
        if let Some(earlier) = numbers.insert(payload, *number) {
            faults.push(Fault::OrderTwice(earlier, *number));
        }
    }
    faults.extend(told.keys().filter(|number| !seen.contains(number)).map(|number| Fault::Lost(*number)));
    Balance { acknowledged: placed.len(), found: found.len(), superseded: superseded.len(), faults }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::NumberTwice(number) => write!(f, "{number} was given out twice"),
            Fault::Lost(number) => write!(f, "{number} was acknowledged and is not there"),
            Fault::Changed(number) => write!(f, "{number} says something else"),
            Fault::OrderTwice(one, other) => write!(f, "{one} and {other} are one order"),
            Fault::Alive(number) => write!(f, "{number} was given up and is there"),
            Fault::Nobodys(number) => write!(f, "nobody was told of {number}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordermint::{Day, SetId};

    fn number(set: u16, sequence: u64) -> OrderNumber {
        OrderNumber::new(Day::MIN, sequence, SetId::new(set).expect("below 1,000")).expect("a number")
    }

    fn entry(set: u16, sequence: u64, payload: &str, superseded: &[OrderNumber]) -> Entry {
        Entry { number: number(set, sequence), payload: payload.into(), superseded: superseded.to_vec() }
    }

    #[test]
    fn right_books_balance_and_each_planted_fault_is_found() {
        let placed = [entry(7, 1, "a", &[]), entry(7, 2, "b", &[number(8, 1)])];
        let found = |all: &[(u16, u64, &str)]| -> Vec<_> {
            all.iter().map(|(set, sequence, payload)| (number(*set, *sequence), (*payload).to_owned())).collect()
        };
        let right = found(&[(7, 1, "a"), (7, 2, "b")]);
        let balance = check(&placed, &[], &[], &right);
        assert_eq!(balance, Balance { acknowledged: 2, found: 2, superseded: 1, faults: Vec::new() });

        let faults =
            |placed: &[Entry], alive: &[OrderNumber], found: &[(OrderNumber, String)]| check(placed, &[], alive, found).faults;
        assert_eq!(faults(&placed, &[], &found(&[(7, 1, "a")])), [Fault::Lost(number(7, 2))]);
        assert_eq!(faults(&placed, &[], &found(&[(7, 1, "a"), (7, 2, "x")])), [Fault::Changed(number(7, 2))]);
        assert_eq!(faults(&placed, &[number(8, 1)], &right), [Fault::Alive(number(8, 1))]);
        let both = found(&[(7, 1, "a"), (7, 2, "b"), (8, 1, "b")]);
        assert_eq!(faults(&placed, &[], &both), [Fault::Alive(number(8, 1)), Fault::OrderTwice(number(7, 2), number(8, 1))]);
        let more = found(&[(7, 1, "a"), (7, 2, "b"), (7, 3, "c")]);
        assert_eq!(faults(&placed, &[], &more), [Fault::Nobodys(number(7, 3))]);
        assert_eq!(check(&placed, &[number(7, 3)], &[], &more).faults, []);
        let twice = [entry(7, 1, "a", &[]), entry(7, 1, "a", &[])];
        assert_eq!(faults(&twice, &[], &found(&[(7, 1, "a")])), [Fault::NumberTwice(number(7, 1))]);
    }
}
