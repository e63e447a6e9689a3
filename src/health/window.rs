//! How many calls went well, failed or were slow lately: counts in ten buckets, so that the oldest tenth is forgotten at a time.
//!
//! Not each call with its moment: a busy SET ends a million of them in a window.

const BUCKETS: usize = 10;

/// Counts of one kind of calls each.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Counts {
    pub(crate) good: u64,
    pub(crate) failed: u64,
    pub(crate) slow: u64,
}

impl Counts {
    pub(crate) fn total(self) -> u64 {
        self.good.saturating_add(self.failed).saturating_add(self.slow)
    }

    fn add(&mut self, other: Counts) {
        self.good = self.good.saturating_add(other.good);
        self.failed = self.failed.saturating_add(other.failed);
        self.slow = self.slow.saturating_add(other.slow);
    }
}

/// The calls of the running bucket and of the nine before it: of at least nine tenths of the window and at most the whole.
#[derive(Clone, Debug)]
pub(crate) struct Window {
    bucket_ms: u64,
    /// The number of the running bucket, counted from the beginning of the clock.
    running: u64,
    ends_ms: u64,
    /// By number modulo [`BUCKETS`].
    buckets: [Counts; BUCKETS],
}

impl Window {
    /// `window_ms`: at least 10.
    pub(crate) fn new(window_ms: u64, now_ms: u64) -> Window {
        assert!(window_ms >= BUCKETS as u64, "a bucket of no time");
        let mut window =
            Window { bucket_ms: window_ms / BUCKETS as u64, running: 0, ends_ms: 0, buckets: [Counts::default(); BUCKETS] };
        window.turn(now_ms);
        window
    }

    /// Counts calls that ended now. `now_ms` must not go back; the breaker sees to that.
    #[inline]
    pub(crate) fn add(&mut self, counts: Counts, now_ms: u64) {
        if now_ms >= self.ends_ms {
            self.turn(now_ms);
        }
        self.buckets[(self.running % BUCKETS as u64) as usize].add(counts);
    }

    /// The calls of the window that ends now.
    pub(crate) fn counts(&mut self, now_ms: u64) -> Counts {
        if now_ms >= self.ends_ms {
            self.turn(now_ms);
        }
        let mut sum = Counts::default();
        for bucket in &self.buckets {
            sum.add(*bucket);
        }
        sum
    }

    /// When the running bucket ends.
    pub(crate) fn bucket_ends_ms(&self) -> u64 {
        self.ends_ms
    }

    pub(crate) fn clear(&mut self) {
        self.buckets = [Counts::default(); BUCKETS];
    }

    /// Goes on to the bucket of `now_ms` and empties those that are passed on the way: at most all of them, however long it was.
    #[cold]
    fn turn(&mut self, now_ms: u64) {
        let number = now_ms / self.bucket_ms;
        for passed in (self.running + 1..=number).rev().take(BUCKETS) {
            self.buckets[(passed % BUCKETS as u64) as usize] = Counts::default();
        }
        self.running = number;
        self.ends_ms = (number + 1).saturating_mul(self.bucket_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agrees_with_a_list_of_all_calls() {
        let mut rng = fastrand::Rng::with_seed(20_261_122);
        let mut compared = 0;
        for _ in 0..200 {
            let window_ms = rng.u64(10..20_000);
            let bucket_ms = window_ms / 10;
            let mut now_ms = rng.u64(0..1_000_000);
            let mut window = Window::new(window_ms, now_ms);
            let mut calls: Vec<(u64, Counts)> = Vec::new();
            for _ in 0..300 {
                now_ms += match rng.u8(0..10) {
                    0 => rng.u64(0..3 * window_ms),
                    1..=5 => rng.u64(0..=2 * bucket_ms),
                    _ => 0,
                };
                let counts = Counts { good: rng.u64(0..3), failed: rng.u64(0..3), slow: rng.u64(0..3) };
                window.add(counts, now_ms);
                calls.push((now_ms, counts));
                let mut sum = Counts::default();
                let lately = |ended: u64| ended / bucket_ms + 10 > now_ms / bucket_ms;
                calls.iter().filter(|(ended, _)| lately(*ended)).for_each(|(_, counts)| sum.add(*counts));
                assert_eq!(window.counts(now_ms), sum);
                compared += usize::from(sum.total() > 0);
            }
        }
        assert!(compared > 10_000, "{compared}");
    }

    #[test]
    fn the_end_of_time_is_a_time() {
        let mut window = Window::new(10_000, 0);
        window.add(Counts { good: u64::MAX, failed: 1, slow: 0 }, u64::MAX - 1);
        window.add(Counts { good: 1, failed: 1, slow: 0 }, u64::MAX);
        assert_eq!(window.counts(u64::MAX).good, u64::MAX);
        assert_eq!(window.counts(u64::MAX).failed, 2);
    }
}
