//! The choice of SET for a new order: shares by weight, spread evenly in time.

/// Shares by weight. The n-th order goes where a low-discrepancy sequence points, so that any stretch of orders is spread
/// evenly, not only the whole: Weyl's sequence over the golden ratio.
#[derive(Debug)]
pub(crate) struct Choice {
    /// Running sums of the weights.
    ends: Vec<u64>,
}

impl Choice {
    /// `weights`: one for each SET, each at least 1.
    pub(crate) fn new(weights: impl IntoIterator<Item = u32>) -> Choice {
        let mut sum = 0;
        let ends: Vec<u64> = weights
            .into_iter()
            .map(|weight| {
                sum += u64::from(weight);
                sum
            })
            .collect();
        assert!(sum > 0, "a choice among nothing");
        Choice { ends }
    }

    /// The place of the SET for the `tick`-th order.
    pub(crate) fn pick(&self, tick: u64) -> usize {
        const GOLDEN: u64 = 0x9e37_79b9_7f4a_7c15; // 2^64 divided by the golden ratio.
        let total = self.ends.last().copied().unwrap_or(1);
        let point = ((u128::from(tick.wrapping_mul(GOLDEN)) * u128::from(total)) >> 64) as u64;
        self.ends.partition_point(|end| *end <= point)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_follow_the_weights_over_every_stretch() {
        for weights in [vec![1, 1], vec![1, 2, 3], vec![1; 7], vec![1_000, 1], vec![5]] {
            let choice = Choice::new(weights.iter().copied());
            let total: u32 = weights.iter().sum();
            for start in [0u64, 12_345, u64::MAX - 50] {
                let mut counts = vec![0u32; weights.len()];
                let stretch = 10_000;
                for step in 0..stretch {
                    counts[choice.pick(start.wrapping_add(step))] += 1;
                }
                for (count, weight) in counts.iter().zip(&weights) {
                    let fair = stretch as f64 * f64::from(*weight) / f64::from(total);
                    assert!((f64::from(*count) - fair).abs() < 12.0, "{counts:?} for {weights:?}");
                }
            }
        }
    }
}
