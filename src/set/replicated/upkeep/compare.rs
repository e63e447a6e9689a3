//! Comparing the replicas after open, and after one has returned: fetches the digests of one range after the other from all voters and enters the outcome
//! in the [`RangeBook`]. Ranges that differ are compared again now and then, since write-backs mend them.

use super::coordinator::Event;
use super::notify::{Completion, Deliver, Held};
use crate::error::Error;
use crate::heal::{DaySpan, RangeKey, odd_ones};
use crate::order::Day;
use crate::pending::{Pending, Promise};
use crate::quorum::Mask;
use crate::replica::{RangeDigest, Replica, ReplicaError};
use crate::set::Compared;
use crate::set::replicated::Core;
use crate::set::replicated::lanes::lane::{Job, Lane};
use crate::set::replicated::lanes::worker::guarded;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long after a full pass ranges that differ are compared again.
const AGAIN_AFTER: Duration = Duration::from_secs(5);
/// How often it is looked whether those who were asked are silent.
const LOOK_AFTER: Duration = Duration::from_millis(250);

/// The comparison under way. At most one range is asked for at a time, so that reads are not kept waiting.
pub(crate) struct Compare {
    /// One past the last sequence leased, by day: what lies above was never handed out.
    marks: BTreeMap<Day, u64>,
    phase: Phase,
    turn: u64,
}

enum Phase {
    /// A newer epoch is in use. What the one before wrote may still be on its way, and a range that is found equal counts as
    /// settled up to that epoch: so all of it must have been applied first, or its replica be out.
    Settling { waiting: Mask },
    /// All voters are asked for their days.
    Days { waiting: Mask, days: Vec<Day> },
    /// All voters are asked for the digest of a range.
    Range { key: RangeKey, waiting: Mask, digests: Vec<(u8, RangeDigest)>, again: bool },
    /// Everything was compared; ranges that differ are looked at again from then on.
    Resting { until: Instant },
    /// There is nobody to compare.
    Idle,
}

impl Compare {
    pub(crate) fn new(marks: &[(Day, u64)]) -> Compare {
        Compare { marks: marks.iter().copied().collect(), phase: Phase::Idle, turn: 0 }
    }

    /// Begins anew under a newer epoch. The ranges are dirty already.
    pub(crate) fn restart(&mut self, core: &Core, marks: &BTreeMap<Day, u64>) {
        self.marks.clone_from(marks);
        core.awaiting_comparison.lock().get_or_insert_default();
        self.turn += 1;
        let (turn, voters) = (self.turn, core.voters());
        self.phase = Phase::Settling { waiting: voters };
        for index in voters.iter() {
            let Some(post) = core.poster() else { return };
            let settled = Box::new(move |_: &Lane, _: &dyn Replica| post(Event::Settled { turn, index }));
            // One that takes nothing any more is out or about to be.
            let _ = core.lane(index).push(Job::Apart(settled));
        }
    }

    /// All that was queued for a replica before is applied.
    pub(crate) fn settled(&mut self, core: &Core, turn: u64, index: u8) {
        if let Phase::Settling { waiting } = &mut self.phase
            && turn == self.turn
        {
            *waiting = waiting.without(index);
            self.begin_if_settled(core);
        }
    }

    fn begin_if_settled(&mut self, core: &Core) {
        let Phase::Settling { waiting } = self.phase else { return };
        // Who is out has no say, and what it may still apply is not counted.
        if waiting.iter().all(|index| !core.voters().contains(index)) {
            self.begin(core);
        }
    }

    /// Ranges that differ are looked at again at once, unless the first pass is under way.
    pub(crate) fn hasten(&mut self, now: Instant) {
        if let Phase::Resting { until } = &mut self.phase {
            *until = now;
        }
    }

    pub(crate) fn begin(&mut self, core: &Core) {
        let voters = core.voters();
        if core.epoch() == 0 || voters.is_empty() {
            core.comparison_done();
            return;
        }
        self.turn += 1;
        let turn = self.turn;
        self.phase = Phase::Days { waiting: voters, days: Vec::new() };
        for index in voters.iter() {
            let Some(post) = core.poster() else { return };
            let job = Box::new(move |replica: Result<&dyn Replica, ReplicaError>| {
                let result = replica.and_then(|replica| guarded(|| replica.days()));
                post(Event::Days { turn, index, result });
            });
            if core.lane(index).read(job).is_err() {
                core.post(Event::Days { turn, index, result: Err(ReplicaError::Closed) });
            }
        }
    }

    pub(crate) fn days(&mut self, core: &Core, turn: u64, index: u8, result: Result<Vec<Day>, ReplicaError>) {
        if turn != self.turn {
            return;
        }
        let Phase::Days { waiting, days } = &mut self.phase else { return };
        *waiting = waiting.without(index);
        if let Ok(found) = core.checked(index, core.epoch(), result) {
            days.extend(found);
        }
        if !waiting.is_empty() {
            return;
        }
        // Every day that was ever leased, and every day that anybody holds.
        let mut spans: BTreeMap<Day, u64> = self.marks.clone();
        for day in days.iter() {
            spans.entry(*day).or_insert(0);
        }
        // What was given up is nobody's business any more.
        spans.retain(|day, _| core.check_floor(*day).is_ok());
        let spans = spans.into_iter().map(|(day, mark)| {
            let ranges = mark.div_ceil(RangeDigest::SEQUENCES).max(1);
            DaySpan { day, ranges: u32::try_from(ranges).unwrap_or(u32::MAX) }
        });
        core.ranges.lock().start(spans.collect());
        self.advance(core);
    }

    pub(crate) fn digest(&mut self, core: &Core, turn: u64, index: u8, result: Result<RangeDigest, ReplicaError>) {
        if turn != self.turn {
            return;
        }
        let Phase::Range { key, waiting, digests, again } = &mut self.phase else { return };
        *waiting = waiting.without(index);
        match core.checked(index, core.epoch(), result) {
            Ok(digest) => digests.push((index, digest)),
            // One that votes and cannot tell agrees with nobody.
            Err(_) if core.lane(index).is_voting() => digests.push((index, RangeDigest { damaged: 1, ..Default::default() })),
            Err(_) => {}
        }
        if !waiting.is_empty() {
            return;
        }
        let (key, again) = (*key, *again);
        // What too few agree on, a coordinator that claimed the SET without them may have changed.
        let odd = match digests.len() < usize::from(core.quorum.claim()) {
            true => (0..core.quorum.n()).collect(),
            false => odd_ones(digests),
        };
        let records = digests.iter().map(|(_, digest)| digest.records).max().unwrap_or(0);
        let mut ranges = core.ranges.lock();
        match again {
            true => ranges.settle(key, odd),
            false => ranges.compared(key, odd, records),
        }
        let following = if again { ranges.differing_after(Some(key)) } else { None };
        drop(ranges);
        match following {
            Some(key) => self.ask(core, key, true),
            None => self.advance(core),
        }
    }

    /// The next range of the first pass, or rest.
    fn advance(&mut self, core: &Core) {
        let next = core.ranges.lock().next();
        match next {
            Some(key) => self.ask(core, key, false),
            None => {
                core.comparison_done();
                self.phase = Phase::Resting { until: Instant::now() + AGAIN_AFTER };
            }
        }
    }

    fn ask(&mut self, core: &Core, key: RangeKey, again: bool) {
        self.turn += 1;
        let (turn, voters, below) = (self.turn, core.voters(), core.epoch());
        self.phase = Phase::Range { key, waiting: voters, digests: Vec::new(), again };
        if voters.is_empty() {
            self.phase = Phase::Idle;
            return core.comparison_done();
        }
        for index in voters.iter() {
            if core.lane(index).is_silent() {
                core.post(Event::Digest { turn, index, result: Err(silent()) });
                continue;
            }
            let Some(post) = core.poster() else { return };
            let job = Box::new(move |replica: Result<&dyn Replica, ReplicaError>| {
                let result = replica.and_then(|replica| guarded(|| replica.digest(key.day, key.range, below)));
                post(Event::Digest { turn, index, result });
            });
            if core.lane(index).read(job).is_err() {
                core.post(Event::Digest { turn, index, result: Err(ReplicaError::Closed) });
            }
        }
    }

    /// Starts over where ranges differ, when it is time; returns when to come again.
    pub(crate) fn step(&mut self, core: &Core, now: Instant) -> Instant {
        // Who never answers is passed by: what it holds is not known to agree, and is looked at again later.
        let waiting = match &self.phase {
            Phase::Settling { .. } => {
                self.begin_if_settled(core);
                return now + LOOK_AFTER;
            }
            Phase::Days { waiting, .. } | Phase::Range { waiting, .. } => *waiting,
            Phase::Resting { until } if now < *until => return *until,
            Phase::Resting { .. } => Mask::NONE,
            Phase::Idle => return now + AGAIN_AFTER,
        };
        if !waiting.is_empty() {
            if waiting.minus(core.passed_by()).is_empty() {
                let turn = self.turn;
                for index in waiting.iter() {
                    match self.phase {
                        Phase::Days { .. } => self.days(core, turn, index, Err(silent())),
                        _ => self.digest(core, turn, index, Err(silent())),
                    }
                }
            }
            return now + LOOK_AFTER;
        }
        self.phase = Phase::Resting { until: now + AGAIN_AFTER };
        let first = core.ranges.lock().differing_after(None);
        if let Some(key) = first {
            self.ask(core, key, true);
        }
        now + AGAIN_AFTER
    }
}

/// What stands for the answer of a replica that gives none.
fn silent() -> ReplicaError {
    ReplicaError::Out { reason: "it has been answering one read for too long".to_owned() }
}

impl Core {
    /// Answers once every range was compared.
    pub(crate) fn compared(&self) -> Pending<Compared> {
        if self.is_closing() {
            return Pending::ready(Err(Error::Closed));
        }
        let mut waiting = self.awaiting_comparison.lock();
        match &mut *waiting {
            None => Pending::ready(Ok(self.comparison())),
            Some(waiting) => {
                let (promise, pending) = Pending::new();
                waiting.push(promise);
                pending
            }
        }
    }

    pub(crate) fn comparison(&self) -> Compared {
        let (ranges, dirty) = self.ranges.lock().counts();
        Compared { ranges, dirty }
    }

    fn comparison_done(&self) {
        let waiting: Vec<Promise<Compared>> = self.awaiting_comparison.lock().take().unwrap_or_default();
        let compared = self.comparison();
        for promise in waiting {
            let deliver = Deliver::Other(Box::new(move || promise.complete(Ok(compared))));
            self.notifier.push(Completion { held: Held::default(), deliver });
        }
    }
}
