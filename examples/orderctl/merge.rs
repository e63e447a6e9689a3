//! Several sequences in order of number, made into one. Pure.

use ordermint::{Error, OrderNumber};
use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Something under a number.
pub(crate) trait Numbered {
    fn number(&self) -> OrderNumber;
}

impl Numbered for ordermint::Order {
    fn number(&self) -> OrderNumber {
        self.number
    }
}

/// Merges sequences that ascend each. An error has no place in the order: it comes as soon as it is met, and its sequence goes on.
pub(crate) struct Merge<I, T> {
    sources: Vec<I>,
    heads: Vec<Option<T>>,
    /// The sources that have a head, the lowest number first.
    lowest: BinaryHeap<Reverse<(OrderNumber, usize)>>,
    /// The sources whose head was taken.
    hungry: Vec<usize>,
}

impl<I, T> Merge<I, T> {
    pub(crate) fn new(sources: Vec<I>) -> Merge<I, T> {
        let heads = sources.iter().map(|_| None).collect();
        // The last is asked first; so that SETs are met in order, the list is turned round.
        let hungry = (0..sources.len()).rev().collect();
        Merge { sources, heads, lowest: BinaryHeap::new(), hungry }
    }
}

impl<T: Numbered, I: Iterator<Item = Result<T, Error>>> Iterator for Merge<I, T> {
    type Item = Result<T, Error>;

    fn next(&mut self) -> Option<Result<T, Error>> {
        // Each turn feeds a source or finds it at its end, so this ends after at most as many turns as there are sources.
        while let Some(source) = self.hungry.last().copied() {
            match self.sources[source].next() {
                Some(Ok(item)) => {
                    self.lowest.push(Reverse((item.number(), source)));
                    self.heads[source] = Some(item);
                    self.hungry.pop();
                }
                Some(Err(error)) => return Some(Err(error)),
                None => {
                    self.hungry.pop();
                }
            }
        }
        let Reverse((_, source)) = self.lowest.pop()?;
        self.hungry.push(source);
        self.heads[source].take().map(Ok)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ordermint::{Day, SetId};

    impl Numbered for OrderNumber {
        fn number(&self) -> OrderNumber {
            *self
        }
    }

    fn number(sequence: u64, set: u16) -> OrderNumber {
        let set = SetId::new(set).expect("below 1,000");
        OrderNumber::new(Day::MIN, sequence, set).expect("a small sequence")
    }

    /// Three sources, every way to deal the sequences 0 to 6 out to them or to nobody.
    #[test]
    fn merging_is_sorting() {
        for deal in 0..4u32.pow(7) {
            let mut sources = vec![Vec::new(), Vec::new(), Vec::new()];
            for sequence in 0..7u32 {
                if let Some(source) = sources.get_mut((deal / 4u32.pow(sequence) % 4) as usize) {
                    source.push(number(u64::from(sequence), 1));
                }
            }
            let mut sorted = sources.concat();
            sorted.sort_unstable();
            let merged: Result<Vec<_>, _> = Merge::new(sources.into_iter().map(|s| s.into_iter().map(Ok)).collect()).collect();
            assert_eq!(merged, Ok(sorted), "deal {deal}");
        }
    }

    #[test]
    fn equal_sequences_come_in_order_of_set() {
        let sources = [3, 1, 2].map(|set| vec![Ok(number(5, set)), Ok(number(6, set))].into_iter()).into();
        let merged: Result<Vec<_>, _> = Merge::new(sources).collect();
        assert_eq!(merged, Ok([5, 6].into_iter().flat_map(|s| [1, 2, 3].map(|set| number(s, set))).collect()));
    }

    #[test]
    fn an_error_neither_ends_nor_delays_the_rest() {
        let sick = vec![Ok(number(1, 1)), Err(Error::Closed), Ok(number(4, 1))];
        let well = vec![Ok(number(2, 2)), Ok(number(5, 2))];
        let merged: Vec<_> = Merge::new(vec![sick.into_iter(), well.into_iter()]).collect();
        assert_eq!(merged, [Ok(number(1, 1)), Err(Error::Closed), Ok(number(2, 2)), Ok(number(4, 1)), Ok(number(5, 2))]);
    }
}
