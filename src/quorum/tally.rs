//! Where a round of answers stands.

use super::Mask;

/// Counts good and failed answers of those asked until the outcome is certain.
///
/// Always holds: `acked` and `failed` are apart and within `asked`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Tally {
    need: u8,
    asked: Mask,
    acked: Mask,
    failed: Mask,
}

/// Where a round stands.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Verdict {
    /// Neither outcome is certain yet.
    Pending,
    /// Enough good answers are in.
    Reached,
    /// Too many failures: no further answer can reach the quorum.
    Lost,
}

impl Tally {
    pub(crate) fn new(need: u8, asked: Mask) -> Tally {
        assert!(need > 0, "a quorum of nobody is always reached");
        Tally { need, asked, acked: Mask::NONE, failed: Mask::NONE }
    }

    /// Takes an answer. One from a replica that was not asked, or has answered, changes nothing.
    pub(crate) fn record(&mut self, index: u8, good: bool) -> Verdict {
        if self.asked.contains(index) && !self.acked.or(self.failed).contains(index) {
            match good {
                true => self.acked = self.acked.with(index),
                false => self.failed = self.failed.with(index),
            }
        }
        self.verdict()
    }

    pub(crate) fn verdict(&self) -> Verdict {
        if self.acked.count() >= self.need {
            Verdict::Reached
        } else if self.acked.count() + self.in_flight() < self.need {
            Verdict::Lost
        } else {
            Verdict::Pending
        }
    }

    pub(crate) fn need(&self) -> u8 {
        self.need
    }

    pub(crate) fn acked(&self) -> u8 {
        self.acked.count()
    }

    pub(crate) fn failed(&self) -> u8 {
        self.failed.count()
    }

    pub(crate) fn in_flight(&self) -> u8 {
        self.asked.minus(self.acked).minus(self.failed).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every group of up to 7, every quorum, every pattern of answers: 3^7 * 7 is small.
    #[test]
    fn agrees_with_the_definition_everywhere() {
        for n in 1..=7u8 {
            for need in 1..=n {
                for pattern in 0..3u32.pow(n.into()) {
                    let answer = |index: u8| pattern / 3u32.pow(index.into()) % 3;
                    let mut tally = Tally::new(need, (0..n).collect());
                    for index in (0..n).filter(|index| answer(*index) > 0) {
                        tally.record(index, answer(index) == 1);
                    }
                    let count = |what: u32| (0..n).filter(|index| answer(*index) == what).count() as u8;
                    let expected = match (count(1) >= need, n - count(2) < need) {
                        (true, _) => Verdict::Reached,
                        (false, true) => Verdict::Lost,
                        (false, false) => Verdict::Pending,
                    };
                    assert_eq!(tally.verdict(), expected, "n {n} need {need} pattern {pattern}");
                    assert_eq!((tally.acked(), tally.failed(), tally.in_flight()), (count(1), count(2), count(0)));
                }
            }
        }
    }

    #[test]
    fn an_answer_counts_once_and_only_of_those_asked() {
        let mut tally = Tally::new(2, [0, 1].into_iter().collect());
        assert_eq!(tally.record(0, true), Verdict::Pending);
        assert_eq!(tally.record(0, true), Verdict::Pending);
        assert_eq!(tally.record(0, false), Verdict::Pending);
        assert_eq!(tally.record(2, true), Verdict::Pending);
        assert_eq!(tally.record(1, true), Verdict::Reached);
    }
}
