//! A set of replicas of one SET, as bits.

use std::fmt;

/// Which replicas. At most 16; a quorum has at most 9.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Mask(u16);

impl Mask {
    pub(crate) const NONE: Mask = Mask(0);

    pub(crate) fn of(index: u8) -> Mask {
        assert!(index < 16, "a SET has at most 16 replicas");
        Mask(1 << index)
    }

    pub(crate) fn from_bits(bits: u16) -> Mask {
        Mask(bits)
    }

    pub(crate) fn bits(self) -> u16 {
        self.0
    }

    pub(crate) fn contains(self, index: u8) -> bool {
        self.0 & Mask::of(index).0 != 0
    }

    pub(crate) fn with(self, index: u8) -> Mask {
        Mask(self.0 | Mask::of(index).0)
    }

    pub(crate) fn without(self, index: u8) -> Mask {
        Mask(self.0 & !Mask::of(index).0)
    }

    pub(crate) fn or(self, other: Mask) -> Mask {
        Mask(self.0 | other.0)
    }

    pub(crate) fn minus(self, other: Mask) -> Mask {
        Mask(self.0 & !other.0)
    }

    pub(crate) fn count(self) -> u8 {
        self.0.count_ones() as u8
    }

    pub(crate) fn is_empty(self) -> bool {
        self.0 == 0
    }

    pub(crate) fn iter(self) -> impl Iterator<Item = u8> {
        let mut left = self.0;
        std::iter::from_fn(move || {
            let index = left.trailing_zeros() as u8;
            // Without the lowest bit that is set.
            left &= left.checked_sub(1)?;
            Some(index)
        })
    }

    /// Up to `count` of these, beginning with the first at or after `start` and going round.
    pub(crate) fn take(self, count: u8, start: u8) -> Mask {
        (0..16).map(|step| (start % 16 + step) % 16).filter(|index| self.contains(*index)).take(usize::from(count)).collect()
    }
}

impl FromIterator<u8> for Mask {
    fn from_iter<I: IntoIterator<Item = u8>>(indices: I) -> Mask {
        indices.into_iter().fold(Mask::NONE, Mask::with)
    }
}

impl fmt::Debug for Mask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn take_goes_round_and_takes_no_more_than_there_are() {
        let mask: Mask = [0, 2, 5].into_iter().collect();
        assert_eq!(mask.take(2, 1), [2, 5].into_iter().collect());
        assert_eq!(mask.take(2, 3), [5, 0].into_iter().collect());
        assert_eq!(mask.take(9, 15), mask);
        assert_eq!(mask.take(0, 0), Mask::NONE);
    }
}
