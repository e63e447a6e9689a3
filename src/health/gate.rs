//! A breaker that threads share. On the way that all take all day, closed and well, a permit is one load, and reporting that a call
//! went well is a load and an addition without a lock; all else goes through a mutex of this gate's own.
//!
//! **What is published.** After each change under the mutex the breaker's era and a few flags are written to one word. While no flag
//! is set, the word *is* the permit.
//!
//! **How good calls are counted.** An atomic addition costs more than all the rest together, and on most days the count decides
//! nothing: only failed and slow calls open a breaker. So while there is none in the window, good calls are counted by a load and a
//! store; threads that do so at the same moment may lose a few, and the share that a first failure is then held against is taken of
//! the calls that were counted. From the first failed or slow call on, until the window has forgotten it, each good call is counted
//! by an atomic addition. Both counts are handed to the breaker before anything else is, and at the end of each bucket of its
//! window, so that they are found in the right one.

use super::breaker::{Breaker, Ramp};
use super::permit::{BreakerState, Forced, Outcome, PROBE_MAX, Permit, Refused};
use crate::config::BreakerSettings;
use parking_lot::{Mutex, MutexGuard};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

#[cfg(test)]
mod tests;

/// Failures in a row are being counted: a good call ends the row, and has to say so.
const FAILING: u64 = 1 << 28;
/// The window has failed or slow calls in it: good ones are counted exactly.
const WATCHED: u64 = 1 << 29;
/// Calls are not simply let through.
const SHUT: u64 = 1 << 30;
/// An operator had his way: nothing is counted.
const FORCED: u64 = 1 << 31;
const ERA: u64 = !0 << 32;
/// No permit has a flag in it: a word with flags equals none.
const _: () = assert!(FAILING > PROBE_MAX as u64 && FORCED < 1 << 32);

/// The breaker of a SET for writes, or for reads.
pub(crate) struct Gate {
    published: Apart<Published>,
    counted: Apart<Counted>,
    breaker: Apart<Mutex<Breaker>>,
}

/// On cache lines of its own, two of them, since processors fetch lines in pairs.
#[repr(align(128))]
struct Apart<T>(T);

/// Written when something changes and once per bucket of the window, read by every call.
struct Published {
    /// Era and flags.
    word: AtomicU64,
    /// While shut: until then nothing is let through.
    look_again_ms: AtomicU64,
    /// Good calls reported from then on belong to another bucket than those counted.
    bucket_ends_ms: AtomicU64,
    ramp_from_ms: AtomicU64,
    /// 0 without a ramp.
    ramp_ms: AtomicU64,
    ramp_from_permille: u64,
    retry_ms_max: AtomicU64,
}

/// Good calls that the breaker was not told of yet; written by every call that went well.
struct Counted {
    roughly: AtomicU64,
    exactly: AtomicU64,
}

/// What an operator asks of a gate.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct GateStatus {
    pub(crate) state: BreakerState,
    /// The time of the last move, on the clock that the gate is told.
    pub(crate) since_ms: u64,
    /// How often it opened by itself, again after a probe among them.
    pub(crate) opened: u64,
}

impl Gate {
    /// Closed. `settings` are checked.
    pub(crate) fn new(settings: &BreakerSettings, now_ms: u64, seed: u64) -> Gate {
        let mut breaker = Breaker::new(settings, now_ms, seed);
        let ramp = breaker.ramp();
        let published = Published {
            word: AtomicU64::new(0),
            look_again_ms: AtomicU64::new(0),
            bucket_ends_ms: AtomicU64::new(0),
            ramp_from_ms: AtomicU64::new(0),
            ramp_ms: AtomicU64::new(0),
            ramp_from_permille: ramp.from_permille,
            retry_ms_max: AtomicU64::new(0),
        };
        published.publish(&mut breaker);
        Gate {
            published: Apart(published),
            counted: Apart(Counted { roughly: AtomicU64::new(0), exactly: AtomicU64::new(0) }),
            breaker: Apart(Mutex::new(breaker)),
        }
    }

    /// Asks for leave to make a call.
    ///
    /// # Errors
    /// [`Refused`] while it is open, and while as many probes are under way as may be.
    #[inline]
    pub(crate) fn admit(&self, now_ms: u64) -> Result<Permit, Refused> {
        // Relaxed, here and elsewhere: nothing else is read on the strength of what is read here, and a thread that sees an old
        // word for a moment gets a permit of an old era, whose news is dropped.
        self.admit_closed().map_or_else(|| self.admit_shut(now_ms), Ok)
    }

    /// As [`admit`](Self::admit), while it is closed; for that nobody need look at the clock.
    #[inline]
    pub(crate) fn admit_closed(&self) -> Option<Permit> {
        let word = self.published.0.word.load(Relaxed);
        (word & SHUT == 0).then(|| Permit::from_raw(word & ERA))
    }

    /// However many ask an open breaker, they do not stand in line for it: until it may let somebody through they are refused here.
    #[cold]
    fn admit_shut(&self, now_ms: u64) -> Result<Permit, Refused> {
        if now_ms < self.published.0.look_again_ms.load(Relaxed) {
            return Err(Refused { retry_after_ms: self.retry_after_ms(now_ms) });
        }
        self.change(now_ms, |breaker| breaker.admit(now_ms))
    }

    /// Reports a call. `others_are_well` is asked when the call was slow.
    #[inline]
    pub(crate) fn report(&self, permit: Permit, outcome: Outcome, now_ms: u64, others_are_well: impl FnOnce() -> bool) {
        let raw = permit.into_raw();
        if outcome == Outcome::Good && raw == self.published.0.word.load(Relaxed) {
            self.count_roughly(1, now_ms);
        } else {
            self.report_elsewise(Permit::from_raw(raw), outcome, now_ms, others_are_well);
        }
    }

    /// Begins to report calls that ended together. `others_are_well` is asked if any of them was slow.
    #[inline]
    pub(crate) fn batch<F: Fn() -> bool>(&self, now_ms: u64, others_are_well: F) -> Batch<'_, F> {
        let word = self.published.0.word.load(Relaxed);
        let plain = if word & (SHUT | FORCED) == 0 { word & ERA } else { 0 };
        Batch { gate: self, plain, now_ms, others_are_well, good: 0, slow: 0 }
    }

    #[inline]
    fn count_roughly(&self, good: u64, now_ms: u64) {
        if now_ms >= self.published.0.bucket_ends_ms.load(Relaxed) {
            self.end_bucket(now_ms);
        }
        let roughly = &self.counted.0.roughly;
        roughly.store(roughly.load(Relaxed).wrapping_add(good), Relaxed);
    }

    fn count_exactly(&self, good: u64, now_ms: u64) {
        if now_ms >= self.published.0.bucket_ends_ms.load(Relaxed) {
            self.end_bucket(now_ms);
        }
        self.counted.0.exactly.fetch_add(good, Relaxed);
    }

    fn report_elsewise(&self, permit: Permit, outcome: Outcome, now_ms: u64, others_are_well: impl FnOnce() -> bool) {
        let word = self.published.0.word.load(Relaxed);
        if permit.era() != (word >> 32) as u32 || word & FORCED != 0 {
            return; // Late news.
        }
        match outcome {
            Outcome::Neutral if !permit.is_probe() => {}
            Outcome::Good if word & (FAILING | SHUT) == 0 => self.count_exactly(1, now_ms),
            Outcome::Good | Outcome::Failed | Outcome::Neutral => {
                self.change(now_ms, |breaker| breaker.record(permit, outcome, now_ms, false));
            }
            Outcome::Slow => {
                // Asked before the lock is taken: it looks at other gates.
                let others_are_well = others_are_well();
                self.change(now_ms, |breaker| breaker.record(permit, outcome, now_ms, others_are_well));
            }
        }
    }

    /// Whether the SET should be given its whole share of new orders, whatever time it is.
    #[inline]
    pub(crate) fn takes_whole_share(&self) -> bool {
        let published = &self.published.0;
        published.word.load(Relaxed) & SHUT == 0 && published.ramp_ms.load(Relaxed) == 0
    }

    /// How much of its share of new orders the SET should be given, from 0 to 1,000.
    #[inline]
    pub(crate) fn share_permille(&self, now_ms: u64) -> u32 {
        let published = &self.published.0;
        if published.word.load(Relaxed) & SHUT != 0 {
            return 0;
        }
        match published.ramp_ms.load(Relaxed) {
            0 => 1_000,
            ramp_ms => {
                let (from_ms, from_permille) = (published.ramp_from_ms.load(Relaxed), published.ramp_from_permille);
                Ramp { from_ms, ramp_ms, from_permille }.permille(now_ms)
            }
        }
    }

    /// Whether calls are let through without being probes.
    #[inline]
    pub(crate) fn is_closed(&self) -> bool {
        self.published.0.word.load(Relaxed) & SHUT == 0
    }

    /// Whether it may be open with its moment passed, at the price of two loads; `probe_is_due` then knows for certain.
    #[inline]
    pub(crate) fn may_probe(&self, now_ms: u64) -> bool {
        !self.is_closed() && now_ms >= self.published.0.look_again_ms.load(Relaxed)
    }

    /// Whether one more probe would help. For a thread that probes SETs to which nobody sends anything; it must call this
    /// about once a second, so that a probe that never returned is found where nobody calls.
    pub(crate) fn probe_is_due(&self, now_ms: u64) -> bool {
        self.may_probe(now_ms)
            && self.change(now_ms, |breaker| {
                breaker.tick(now_ms);
                breaker.probe_is_due(now_ms)
            })
    }

    /// When to ask again after a refusal, at the earliest; from 1.
    pub(crate) fn retry_after_ms(&self, now_ms: u64) -> u64 {
        let (look_again_ms, most) = (self.published.0.look_again_ms.load(Relaxed), self.published.0.retry_ms_max.load(Relaxed));
        look_again_ms.saturating_sub(now_ms).min(most).max(1)
    }

    /// The word of an operator.
    pub(crate) fn force(&self, forced: Forced, now_ms: u64) {
        self.change(now_ms, |breaker| breaker.force(forced, now_ms));
    }

    /// Where it stands.
    pub(crate) fn status(&self, now_ms: u64) -> GateStatus {
        let breaker = self.breaker.0.lock();
        GateStatus { state: breaker.state(now_ms), since_ms: breaker.since_ms(), opened: breaker.opened() }
    }

    /// One caller of each bucket does this; others that come meanwhile do not wait for it.
    #[cold]
    fn end_bucket(&self, now_ms: u64) {
        if let Some(mut breaker) = self.breaker.0.try_lock() {
            self.tell_counts(&mut breaker, now_ms);
            // Moves the window on, so that the next end lies ahead also where nothing was counted.
            breaker.tick(now_ms);
            self.published.0.publish(&mut breaker);
        }
    }

    /// Every change of the breaker: it is told what was counted, changes, and is published before another thread has the lock.
    fn change<T>(&self, now_ms: u64, change: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker: MutexGuard<'_, Breaker> = self.breaker.0.lock();
        self.tell_counts(&mut breaker, now_ms);
        let changed = change(&mut breaker);
        self.published.0.publish(&mut breaker);
        changed
    }

    /// Good calls counted since the last time all belong to the bucket that was running then. They do not end a row of failures:
    /// those that came in one took the lock to say so. A call counted by load and store while this takes the counts may be counted
    /// in two buckets, or in none.
    fn tell_counts(&self, breaker: &mut Breaker, now_ms: u64) {
        let counted = &self.counted.0;
        let mut good = counted.roughly.load(Relaxed);
        if good > 0 {
            counted.roughly.store(0, Relaxed);
        }
        if counted.exactly.load(Relaxed) > 0 {
            good = good.saturating_add(counted.exactly.swap(0, Relaxed));
        }
        breaker.count_good(good, now_ms.min(breaker.bucket_ends_ms() - 1));
    }
}

impl Published {
    fn publish(&self, breaker: &mut Breaker) {
        let flag = |flag: u64, set: bool| if set { flag } else { 0 };
        let flags = flag(FAILING, breaker.is_failing())
            | flag(WATCHED, !breaker.is_spotless())
            | flag(SHUT, !breaker.is_closed())
            | flag(FORCED, breaker.is_forced());
        let ramp = breaker.ramp();
        self.look_again_ms.store(breaker.look_again_ms(), Relaxed);
        self.retry_ms_max.store(breaker.retry_ms_max(), Relaxed);
        self.bucket_ends_ms.store(breaker.bucket_ends_ms(), Relaxed);
        self.ramp_from_ms.store(ramp.from_ms, Relaxed);
        self.ramp_ms.store(ramp.ramp_ms, Relaxed);
        self.word.store(u64::from(breaker.era()) << 32 | flags, Relaxed);
    }
}

/// Reports of calls that ended together. What went well is told in one go, in its turn among what did not, and at the latest when
/// this is dropped.
pub(crate) struct Batch<'a, F: Fn() -> bool> {
    gate: &'a Gate,
    /// The permit of a call that needs no further look; 0 while there is none.
    plain: u64,
    now_ms: u64,
    others_are_well: F,
    good: u64,
    slow: u64,
}

impl<F: Fn() -> bool> Batch<'_, F> {
    /// Reports one of them.
    #[inline]
    pub(crate) fn report(&mut self, permit: Permit, outcome: Outcome) {
        let raw = permit.into_raw();
        match outcome {
            Outcome::Good if raw == self.plain => self.good += 1,
            Outcome::Slow if raw == self.plain => self.slow += 1,
            Outcome::Good | Outcome::Slow | Outcome::Failed | Outcome::Neutral => {
                self.tell();
                self.gate.report(Permit::from_raw(raw), outcome, self.now_ms, &self.others_are_well);
            }
        }
    }

    /// Reports `calls` of one permit that all ended like that.
    pub(crate) fn report_many(&mut self, permit: u64, outcome: Outcome, calls: u32) {
        match outcome {
            Outcome::Good if permit == self.plain => self.good += u64::from(calls),
            Outcome::Slow if permit == self.plain => self.slow += u64::from(calls),
            // Probes, of which there are few, and late news.
            _ => (0..calls).for_each(|_| self.report(Permit::from_raw(permit), outcome)),
        }
    }

    fn tell(&mut self) {
        let (good, slow) = (std::mem::take(&mut self.good), std::mem::take(&mut self.slow));
        if good + slow == 0 {
            return;
        }
        let word = self.gate.published.0.word.load(Relaxed);
        if word & ERA != self.plain {
            return; // The breaker moved meanwhile: late news.
        }
        match (slow, word & !ERA) {
            (0, 0) => self.gate.count_roughly(good, self.now_ms),
            (0, WATCHED) => self.gate.count_exactly(good, self.now_ms),
            _ => {
                let (era, others_are_well) = ((self.plain >> 32) as u32, slow > 0 && (self.others_are_well)());
                let now_ms = self.now_ms;
                self.gate.change(now_ms, |breaker| breaker.record_good_many(era, good, slow, now_ms, others_are_well));
            }
        }
    }
}

impl<F: Fn() -> bool> Drop for Batch<'_, F> {
    fn drop(&mut self) {
        self.tell();
    }
}
