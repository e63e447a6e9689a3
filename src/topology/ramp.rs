//! How a SET that was added comes to its share of new orders: from a tenth to all of it, in even time, standing still while it is not well.

use super::choice::FULL_SHARE;
use std::time::{Duration, Instant};

/// Where it begins, per mille.
const FIRST_SHARE: u32 = 100;

/// The longest time that counts between two looks. Whoever looks later than that knows nothing of how it went meanwhile.
const LOOK_MAX: Duration = Duration::from_secs(1);

/// The way of one SET.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ramp {
    length: Duration,
    /// How much of it is behind; at most `length`.
    behind: Duration,
    looked_at: Instant,
}

impl Ramp {
    pub(crate) fn new(length: Duration, now: Instant) -> Ramp {
        Ramp { length, behind: Duration::ZERO, looked_at: now }
    }

    /// Time has passed, in which the SET was well or not.
    pub(crate) fn step(&mut self, now: Instant, is_well: bool) {
        let passed = now.saturating_duration_since(self.looked_at).min(LOOK_MAX);
        self.looked_at = self.looked_at.max(now);
        if is_well {
            self.behind = (self.behind + passed).min(self.length);
        }
    }

    /// Its share now, per mille of its weight.
    pub(crate) fn share(&self) -> u32 {
        if self.is_over() {
            return FULL_SHARE;
        }
        let part = self.behind.as_secs_f64() / self.length.as_secs_f64();
        FIRST_SHARE + (f64::from(FULL_SHARE - FIRST_SHARE) * part) as u32
    }

    pub(crate) fn is_over(&self) -> bool {
        self.behind >= self.length
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn it_grows_evenly_from_a_tenth_to_all() {
        let start = Instant::now();
        let mut ramp = Ramp::new(60 * SECOND, start);
        assert_eq!((ramp.share(), ramp.is_over()), (100, false));
        for (second, share) in (1..=60).map(|second| (second, 100 + 15 * second)) {
            for step in 1..=10 {
                ramp.step(start + (second - 1) * SECOND + step * SECOND / 10, true);
            }
            assert!(ramp.share().abs_diff(share) <= 1, "{} at {second} s", ramp.share());
        }
        assert_eq!((ramp.share(), ramp.is_over()), (FULL_SHARE, true));
    }

    #[test]
    fn it_stands_still_while_the_set_is_not_well() {
        let start = Instant::now();
        let mut ramp = Ramp::new(10 * SECOND, start);
        (1..=5).for_each(|second| ramp.step(start + second * SECOND, true));
        assert_eq!(ramp.share(), 550);
        (6..=100).for_each(|second| ramp.step(start + second * SECOND, false));
        assert_eq!(ramp.share(), 550);
        ramp.step(start + 101 * SECOND, true);
        assert_eq!(ramp.share(), 640);
    }

    #[test]
    fn a_long_time_without_a_look_counts_little_and_a_clock_that_stands_counts_nothing() {
        let start = Instant::now();
        let mut ramp = Ramp::new(10 * SECOND, start);
        ramp.step(start + 3_600 * SECOND, true);
        assert_eq!(ramp.share(), 190);
        ramp.step(start, true);
        ramp.step(start + 3_600 * SECOND, true);
        assert_eq!(ramp.share(), 190);
    }

    #[test]
    fn without_a_length_it_is_over_at_once() {
        let ramp = Ramp::new(Duration::ZERO, Instant::now());
        assert_eq!((ramp.share(), ramp.is_over()), (FULL_SHARE, true));
    }
}
