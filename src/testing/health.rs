//! Breaker, gate and budget as they are inside, for a bench beside other crates. No part of the API: it may change at any time.

use crate::config::BreakerSettings;
use crate::health;

/// Where a breaker stands.
pub use crate::health::BreakerState;

/// The leave to make a call.
#[derive(Debug)]
#[must_use]
pub struct Permit(health::Permit);

/// The pure breaker.
pub struct Breaker(health::Breaker);

/// What threads share.
pub struct Gate(health::Gate);

/// The retry budget of a SET.
pub struct Budget(health::Budget);

fn outcome(good: bool) -> health::Outcome {
    if good { health::Outcome::Good } else { health::Outcome::Failed }
}

impl Breaker {
    /// Closed, with the default settings.
    #[must_use]
    pub fn new(now_ms: u64) -> Breaker {
        Breaker(health::Breaker::new(&BreakerSettings::new(), now_ms, 1))
    }

    /// `None` when it is refused.
    #[inline]
    pub fn admit(&mut self, now_ms: u64) -> Option<Permit> {
        self.0.admit(now_ms).ok().map(Permit)
    }

    /// Reports a call.
    #[inline]
    pub fn record(&mut self, permit: Permit, good: bool, now_ms: u64) {
        self.0.record(permit.0, outcome(good), now_ms, false);
    }
}

impl Gate {
    /// Closed, with the default settings.
    #[must_use]
    pub fn new(now_ms: u64) -> Gate {
        Gate(health::Gate::new(&BreakerSettings::new(), now_ms, 1))
    }

    /// `None` when it is refused.
    #[inline]
    pub fn admit(&self, now_ms: u64) -> Option<Permit> {
        self.0.admit(now_ms).ok().map(Permit)
    }

    /// Reports a call.
    #[inline]
    pub fn report(&self, permit: Permit, good: bool, now_ms: u64) {
        self.0.report(permit.0, outcome(good), now_ms, || false);
    }

    /// Reports calls that went well together.
    #[inline]
    pub fn report_all(&self, permits: impl IntoIterator<Item = Permit>, now_ms: u64) {
        let mut batch = self.0.batch(now_ms, || false);
        permits.into_iter().for_each(|permit| batch.report(permit.0, health::Outcome::Good));
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self, now_ms: u64) -> BreakerState {
        self.0.status(now_ms).state
    }
}

impl Budget {
    /// Full: so many attempts, and 20 % of creates.
    #[must_use]
    pub fn new(burst: u64) -> Budget {
        Budget(health::Budget::new(health::Terms::new(burst, crate::config::defaults::BUDGET_PERCENT)))
    }

    /// Creates went well.
    #[inline]
    pub fn earn(&self, creates: u64) {
        self.0.earn(creates);
    }

    /// Pays for a doubtful attempt.
    #[inline]
    #[must_use]
    pub fn spend(&self) -> bool {
        self.0.spend()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_bench_measures_does_what_it_is_for() {
        let (mut breaker, gate, budget) = (Breaker::new(0), Gate::new(0), Budget::new(1));
        for _ in 0..5 {
            let permit = breaker.admit(0).expect("it is closed");
            breaker.record(permit, false, 0);
            gate.report_all(gate.admit(0), 0);
        }
        for _ in 0..5 {
            let permit = gate.admit(0).expect("it is closed");
            gate.report(permit, false, 0);
        }
        assert!(breaker.admit(0).is_none() && gate.admit(0).is_none());
        assert!(matches!(gate.state(0), BreakerState::Open { .. }));
        assert!(budget.spend() && !budget.spend());
        budget.earn(10);
        assert!(budget.spend());
    }
}
