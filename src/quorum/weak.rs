//! Weak and degraded reads of one number, as a value with steps. Neither writes anything back.
//!
//! A weak read takes the newest of R voters, and asks the others when some of those fail, are slow, or hold less than is wanted.
//! A degraded read asks every live copy, those in limbo too, and takes the newest of what has come when it looks. Who is in limbo
//! has lost something, so what it holds counts and what it lacks does not: see [`Answer::in_limbo`].

use super::{Answer, Mask};
use crate::config::Quorum;
use crate::replica::{Record, ReplicaError, Version};

/// What to do next.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum WeakStep {
    /// Nothing until the next answer or the next look.
    Wait,
    /// Ask these as well.
    Ask(Mask),
    /// The round is over.
    Done(WeakOutcome),
}

/// How a weak or degraded read ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum WeakOutcome {
    /// The newest record in hand, as new as was wanted.
    Value(Record),
    /// R voters say that there is none, and nobody has one.
    Absent,
    /// Older than was wanted, or nothing at all.
    Stale { found: Option<Version>, wanted: Version },
    /// Equal versions, unequal bytes.
    Diverged(Version),
    /// Fewer answers than are needed can be had.
    Lost { good: u8 },
    /// As `Lost`, and all who hold something hold damaged bytes.
    Corrupt,
}

/// A weak or degraded read under way. Ends because each replica is asked at most once, and at the deadline.
#[derive(Clone, Debug)]
pub(crate) struct WeakRound {
    /// R: the voters whose answers a weak read needs, and whose word any read needs to say that there is nothing.
    need: u8,
    /// Who may be asked: the voters, and in a degraded read those in limbo too.
    live: Mask,
    degraded: bool,
    at_least: Option<Version>,
    asked: Mask,
    silent: Mask,
    answers: Vec<(u8, Answer)>,
}

impl Answer {
    /// What the same words of a replica in limbo come to: what it holds it holds, and what it lacks it may have lost.
    pub(crate) fn in_limbo(self, fault: ReplicaError) -> Answer {
        match self {
            Answer::Absent => Answer::Unknown(fault),
            Answer::Value(_) | Answer::Damaged(_) | Answer::Unknown(_) => self,
        }
    }
}

impl WeakRound {
    /// A weak read; `start`: where to begin to ask.
    pub(crate) fn weak(quorum: Quorum, voters: Mask, start: u8, at_least: Option<Version>) -> (WeakRound, WeakStep) {
        let mut round = WeakRound::new(quorum, voters, false, at_least);
        let step = match voters.count() < quorum.r() {
            true => WeakStep::Done(WeakOutcome::Lost { good: 0 }),
            false => round.ask(voters.take(quorum.r(), start)),
        };
        (round, step)
    }

    /// A degraded read; `live`: the voters and those in limbo.
    pub(crate) fn degraded(quorum: Quorum, live: Mask, at_least: Option<Version>) -> (WeakRound, WeakStep) {
        let mut round = WeakRound::new(quorum, live, true, at_least);
        let step = match live.is_empty() {
            true => WeakStep::Done(WeakOutcome::Lost { good: 0 }),
            false => round.ask(live),
        };
        (round, step)
    }

    fn new(quorum: Quorum, live: Mask, degraded: bool, at_least: Option<Version>) -> WeakRound {
        let (asked, silent) = (Mask::NONE, Mask::NONE);
        WeakRound { need: quorum.r(), live, degraded, at_least, asked, silent, answers: Vec::new() }
    }

    /// An answer came in. One from a replica that was not asked, or has answered, changes nothing.
    pub(crate) fn answer(&mut self, index: u8, answer: Answer) -> WeakStep {
        if !self.asked.contains(index) || self.answered().contains(index) {
            return WeakStep::Wait;
        }
        self.answers.push((index, answer));
        self.decide()
    }

    /// These have been silent for so long that they are not waited for where there is another way to an answer.
    pub(crate) fn pass_by(&mut self, silent: Mask) {
        self.silent = silent;
    }

    /// Those asked are slow. A weak read asks all others; a degraded one takes what it has.
    pub(crate) fn look(&mut self) -> WeakStep {
        if self.degraded {
            let in_hand = self.newest().is_some() && self.missed().is_none();
            if let Some(verdict) = self.verdict().filter(|_| in_hand) {
                return WeakStep::Done(verdict);
            }
            return self.decide();
        }
        match self.ask(self.live) {
            WeakStep::Wait => self.decide(),
            step => step,
        }
    }

    /// What comes next, from what is known.
    fn decide(&mut self) -> WeakStep {
        let verdict = self.verdict();
        let fits = verdict.is_some() && self.missed().is_none();
        let waiting = self.waiting();
        let expected = waiting.minus(self.silent);
        let over = match (self.degraded, fits) {
            (false, true) => true,
            (true, true) => expected.is_empty(),
            // Who reads like this wants whatever can be had: only an answer that fits does without the silent.
            (true, false) => waiting.is_empty(),
            (false, false) if verdict.is_none() && self.good() + waiting.count() >= self.need => false,
            // Some of those asked cannot answer, or hold less than is wanted: others may do better.
            (false, false) => match self.ask(self.live) {
                WeakStep::Wait => expected.is_empty(),
                step => return step,
            },
        };
        if over { WeakStep::Done(verdict.unwrap_or_else(|| self.hopeless())) } else { WeakStep::Wait }
    }

    /// What the answers in hand come to, where they are enough to say anything. At the deadline this is all there is.
    pub(crate) fn verdict(&self) -> Option<WeakOutcome> {
        let enough = self.good() >= self.need;
        let Some(newest) = self.newest() else {
            return enough.then_some(match self.missed() {
                None => WeakOutcome::Absent,
                Some(wanted) => WeakOutcome::Stale { found: None, wanted },
            });
        };
        if !enough && !self.degraded {
            return None;
        }
        let differs =
            |record: &Record| record.version == newest.version && (record.kind != newest.kind || record.value != newest.value);
        if self.values().any(differs) {
            return Some(WeakOutcome::Diverged(newest.version));
        }
        Some(match self.missed() {
            None => WeakOutcome::Value(newest.clone()),
            Some(wanted) => WeakOutcome::Stale { found: Some(newest.version), wanted },
        })
    }

    /// Good answers. Of those who lack it only voters give one.
    pub(crate) fn good(&self) -> u8 {
        self.answers.iter().filter(|(_, answer)| answer.is_good()).count() as u8
    }

    pub(crate) fn asked(&self) -> u8 {
        self.asked.count()
    }

    /// What those say who could not answer.
    pub(crate) fn faults(&self) -> Vec<(u8, ReplicaError)> {
        self.answers.iter().filter_map(|(index, answer)| Some((*index, answer.fault()?))).collect()
    }

    /// The round is over: what was answered is not needed any more.
    pub(crate) fn forget(&mut self) {
        self.asked = Mask::NONE;
        self.answers = Vec::new();
    }

    fn values(&self) -> impl Iterator<Item = &Record> {
        self.answers.iter().filter_map(|(_, answer)| match answer {
            Answer::Value(record) => Some(record),
            Answer::Absent | Answer::Unknown(_) | Answer::Damaged(_) => None,
        })
    }

    fn newest(&self) -> Option<&Record> {
        self.values().max_by_key(|record| (record.version, record.generation))
    }

    /// The version that is wanted, while nothing as new is in hand.
    fn missed(&self) -> Option<Version> {
        self.at_least.filter(|wanted| self.newest().is_none_or(|newest| newest.version < *wanted))
    }

    fn answered(&self) -> Mask {
        self.answers.iter().map(|(index, _)| *index).collect()
    }

    fn waiting(&self) -> Mask {
        self.asked.minus(self.answered())
    }

    fn ask(&mut self, wanted: Mask) -> WeakStep {
        let more = wanted.minus(self.asked);
        self.asked = self.asked.or(more);
        if more.is_empty() { WeakStep::Wait } else { WeakStep::Ask(more) }
    }

    fn hopeless(&self) -> WeakOutcome {
        let damaged = self.answers.iter().any(|(_, answer)| matches!(answer, Answer::Damaged(_)));
        // Who has not spoken may hold it whole.
        let heard = self.waiting().is_empty();
        if damaged && heard && self.newest().is_none() { WeakOutcome::Corrupt } else { WeakOutcome::Lost { good: self.good() } }
    }
}

#[cfg(test)]
mod tests;
