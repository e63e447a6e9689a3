//! How many doubtful orders of a SET may be tried once more elsewhere: a token bucket, so that a fault of one SET does not become a
//! flood on the others.
//!
//! Only a doubtful attempt costs: an order that was not sent may go elsewhere for free. It costs double, for it makes a record on the
//! other SET and a void on this one. The bucket starts full, and full it is enough for what can be in doubt when a SET falls: all
//! that was in flight, and the failures that open its breaker. After that a share of the SET's creates fills it again.

/// What a doubtful attempt costs, in tokens.
const COST: u64 = 2;
/// A token, in hundredths, so that a create earns a share in percent.
const TOKEN: u64 = 100;

/// What a bucket may hold and what it earns.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Terms {
    /// In hundredths of a token.
    full: u64,
    /// What a create earns, in hundredths of a token.
    earned: u64,
}

impl Terms {
    /// `burst`: doubtful attempts that a full bucket pays, at least one. `percent`: tokens earned by a hundred creates.
    pub(crate) fn new(burst: u64, percent: u32) -> Terms {
        Terms { full: burst.clamp(1, 1 << 40) * COST * TOKEN, earned: percent.into() }
    }

    /// A bucket that nobody has used.
    pub(crate) fn full(self) -> u64 {
        self.full
    }

    /// What a bucket holds after so many creates.
    #[inline]
    pub(crate) fn earn(self, held: u64, creates: u64) -> u64 {
        held.saturating_add(creates.saturating_mul(self.earned)).min(self.full)
    }

    /// What is left after a doubtful attempt; `None` where too little is there.
    #[inline]
    pub(crate) fn spend(self, held: u64) -> Option<u64> {
        held.checked_sub(COST * TOKEN)
    }

    /// How many doubtful attempts it pays.
    pub(crate) fn attempts(self, held: u64) -> u64 {
        held / (COST * TOKEN)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_bucket_pays_for_the_burst_and_then_a_share_of_creates() {
        let terms = Terms::new(105, 20);
        let mut held = terms.full();
        let mut paid = 0;
        while let Some(left) = terms.spend(held) {
            (held, paid) = (left, paid + 1);
        }
        assert_eq!((paid, terms.attempts(held)), (105, 0));
        // Ten creates earn two tokens: one attempt.
        held = terms.earn(held, 9);
        assert_eq!(terms.spend(held), None);
        held = terms.earn(held, 1);
        assert_eq!(terms.spend(held), Some(0));
    }

    #[test]
    fn over_any_stretch_no_more_is_paid_than_the_burst_and_the_share() {
        let mut rng = fastrand::Rng::with_seed(7);
        for _ in 0..100 {
            let (burst, percent) = (rng.u64(1..50), rng.u32(0..=100));
            let terms = Terms::new(burst, percent);
            let mut held = terms.full();
            // The obvious way: all creates and attempts since the bucket was last full.
            let (mut creates, mut paid, mut refused) = (0, 0, 0);
            for _ in 0..2_000 {
                if rng.u8(0..3) == 0 {
                    match terms.spend(held) {
                        Some(left) => (held, paid) = (left, paid + 1),
                        None => refused += 1,
                    }
                } else {
                    let more = rng.u64(0..4);
                    (held, creates) = (terms.earn(held, more), creates + more);
                }
                if held == terms.full() {
                    (creates, paid) = (0, 0);
                }
                assert_eq!(held, burst * 200 + creates * u64::from(percent) - paid * 200);
            }
            assert!(refused > 0 || percent > 50);
        }
    }

    #[test]
    fn nothing_overflows() {
        let terms = Terms::new(u64::MAX, 100);
        assert_eq!(terms.earn(terms.full(), u64::MAX), terms.full());
        assert_eq!(Terms::new(0, 0).attempts(Terms::new(0, 0).full()), 1);
    }
}
