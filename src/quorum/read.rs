//! A strong read of one number, as a value with steps.
//!
//! R voters are asked, or all of them while the range is dirty: after an open one replica may have rolled back without a
//! sign. The newest answer is returned at once if enough voters carry it (see [`keeps`]). Otherwise the other voters are asked,
//! and at last it is written to those that lack it, so that no later read can miss what this one returned. *Unknown*
//! (damaged, failed, out) never counts as an answer.

use super::Mask;
use crate::config::Quorum;
use crate::replica::{Damage, Lookup, Record, ReplicaError, Version};

/// What one replica said.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Answer {
    /// It holds this, synced.
    Value(Record),
    /// It surely holds nothing.
    Absent,
    /// Nothing can be said: not a vote.
    Unknown(ReplicaError),
    /// Its bytes are damaged: not a vote.
    Damaged(Damage),
}

impl Answer {
    /// Whether it counts as an answer.
    pub(crate) fn is_good(&self) -> bool {
        matches!(self, Answer::Value(_) | Answer::Absent)
    }

    /// Why it does not.
    pub(crate) fn fault(&self) -> Option<ReplicaError> {
        match self {
            Answer::Unknown(error) => Some(error.clone()),
            Answer::Damaged(damage) => Some(ReplicaError::Damaged { path: Default::default(), what: damage.to_string() }),
            Answer::Value(_) | Answer::Absent => None,
        }
    }
}

impl From<Result<Lookup, ReplicaError>> for Answer {
    fn from(result: Result<Lookup, ReplicaError>) -> Answer {
        match result {
            Ok(Lookup::Found(record)) => Answer::Value(record),
            Ok(Lookup::Absent) => Answer::Absent,
            Ok(Lookup::Damaged(damage)) => Answer::Damaged(damage),
            Err(error) => Answer::Unknown(error),
        }
    }
}

/// What to do next.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Step {
    /// Nothing until the next answer.
    Wait,
    /// Ask these as well.
    Ask(Mask),
    /// Write the record to these.
    WriteBack(Record, Mask),
    /// The round is over.
    Done(Outcome),
}

/// How a read ended.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Outcome {
    /// The newest record; no later read can miss it.
    Value(Record),
    /// There surely is none.
    Absent,
    /// Fewer than R answers can be had.
    Lost { good: u8 },
    /// As `Lost`, and all who hold something hold damaged bytes.
    Corrupt,
    /// Equal versions, unequal bytes.
    Diverged(Version),
    /// Found on fewer than W, and not to be written to more.
    Unconfirmed(Record),
}

/// A read under way. Ends because each replica is asked at most once and written to at most once.
#[derive(Clone, Debug)]
pub(crate) struct ReadRound {
    quorum: Quorum,
    voters: Mask,
    /// Digests of all voters agreed on what older epochs than this wrote; 0 while they did not.
    clean_below: u32,
    dirty: bool,
    asked: Mask,
    /// Not waited for where R others have answered.
    silent: Mask,
    answers: Vec<(u8, Answer)>,
    write_back: Option<WriteBack>,
}

#[derive(Clone, Debug)]
struct WriteBack {
    record: Record,
    carriers: Mask,
    waiting: Mask,
}

impl ReadRound {
    /// `start`: where to begin when fewer than all voters are asked. `clean_below`: see the field; `dirty`: the range is dirty.
    pub(crate) fn new(quorum: Quorum, voters: Mask, dirty: bool, clean_below: u32, start: u8) -> (ReadRound, Step) {
        let clean_below = if dirty { 0 } else { clean_below };
        let mut round = ReadRound {
            quorum,
            voters,
            clean_below,
            dirty,
            asked: Mask::NONE,
            silent: Mask::NONE,
            answers: Vec::new(),
            write_back: None,
        };
        let first = if dirty { voters } else { voters.take(quorum.r(), start) };
        let step = if voters.count() < round.need() { Step::Done(Outcome::Lost { good: 0 }) } else { round.ask(first) };
        (round, step)
    }

    /// An answer came in. One from a replica that was not asked, or has answered, changes nothing.
    pub(crate) fn answer(&mut self, index: u8, answer: Answer) -> Step {
        if !self.asked.contains(index) || self.answered().contains(index) || self.write_back.is_some() {
            return Step::Wait;
        }
        self.answers.push((index, answer));
        self.decide()
    }

    /// Those asked are slow: ask all others.
    pub(crate) fn hurry(&mut self) -> Step {
        if self.write_back.is_some() { Step::Wait } else { self.ask(self.voters) }
    }

    /// These have been silent for so long that they count as failed, once R others have answered; should they answer all the
    /// same in time, they are heard. For [`ReadRound::decide`] to look at.
    pub(crate) fn pass_by(&mut self, silent: Mask) {
        self.silent = silent;
    }

    /// The round is over: what was answered is not needed any more.
    pub(crate) fn forget(&mut self) {
        self.asked = Mask::NONE;
        self.answers = Vec::new();
        self.write_back = None;
    }

    /// A write-back was synced on `index`, or failed there.
    pub(crate) fn written(&mut self, index: u8, good: bool) -> Step {
        let (voters, quorum) = (self.voters, self.quorum);
        let Some(back) = &mut self.write_back else { return Step::Wait };
        if !back.waiting.contains(index) {
            return Step::Wait;
        }
        back.waiting = back.waiting.without(index);
        if good {
            back.carriers = back.carriers.with(index);
        }
        if keeps(quorum, voters, back.carriers) {
            Step::Done(Outcome::Value(back.record.clone()))
        } else if back.waiting.is_empty() {
            Step::Done(Outcome::Unconfirmed(back.record.clone()))
        } else {
            Step::Wait
        }
    }

    /// How many must answer: R; in a dirty range as many as a claim takes, as what was shown of an unfinished write may be on no more
    /// than those that were there then (see [`keeps`]), and a replica that came back without it must not be heard alone.
    pub(crate) fn need(&self) -> u8 {
        if self.dirty { self.quorum.r().max(self.quorum.claim()) } else { self.quorum.r() }
    }

    /// Whether every replica of the SET has answered: none can then hold anything newer than what was found.
    pub(crate) fn heard_all(&self) -> bool {
        self.good() == self.quorum.n()
    }

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

    fn answered(&self) -> Mask {
        self.answers.iter().map(|(index, _)| *index).collect()
    }

    fn ask(&mut self, wanted: Mask) -> Step {
        let more = wanted.minus(self.asked);
        self.asked = self.asked.or(more);
        if more.is_empty() { Step::Wait } else { Step::Ask(more) }
    }

    /// What comes next, from what is known.
    pub(crate) fn decide(&mut self) -> Step {
        if self.write_back.is_some() {
            return Step::Wait;
        }
        let waiting = self.asked.minus(self.answered()).count();
        let expected = self.asked.minus(self.answered()).minus(self.silent).count();
        let good = self.good();
        let r = self.need();
        if good < r || (self.dirty && expected > 0) {
            if good + waiting < r || (waiting == 0 && good < r) {
                // Some of those asked cannot answer: others may.
                return match self.ask(self.voters) {
                    Step::Wait if waiting == 0 => Step::Done(self.hopeless(good)),
                    step => step,
                };
            }
            return Step::Wait;
        }
        let values = self.answers.iter().filter_map(|(index, answer)| match answer {
            Answer::Value(record) => Some((*index, record)),
            _ => None,
        });
        let Some((_, newest)) = values.clone().max_by_key(|(_, record)| (record.version, record.generation)) else {
            return Step::Done(Outcome::Absent);
        };
        let same = values.filter(|(_, record)| record.version == newest.version);
        let mut carriers = Mask::NONE;
        for (index, record) in same {
            if record.value != newest.value || record.kind != newest.kind {
                return Step::Done(Outcome::Diverged(newest.version));
            }
            carriers = carriers.with(index);
        }
        let settled = newest.version.epoch < self.clean_below;
        if settled || keeps(self.quorum, self.voters, carriers) {
            return Step::Done(Outcome::Value(newest.clone()));
        }
        let record = newest.clone();
        match self.ask(self.voters) {
            Step::Wait if expected == 0 => self.write_back(record, carriers),
            step => step,
        }
    }

    fn write_back(&mut self, record: Record, carriers: Mask) -> Step {
        // Damaged and silent replicas are left to healing: a plain write would not be believed to mend them.
        let lacking: Mask = self.answers.iter().filter(|(_, answer)| answer.is_good()).map(|(index, _)| *index).collect();
        let lacking = lacking.minus(carriers);
        if !keeps(self.quorum, self.voters, carriers.or(lacking)) {
            return Step::Done(Outcome::Unconfirmed(record));
        }
        self.write_back = Some(WriteBack { record: record.clone(), carriers, waiting: lacking });
        Step::WriteBack(record, lacking)
    }

    fn hopeless(&self, good: u8) -> Outcome {
        let damaged = self.answers.iter().any(|(_, answer)| matches!(answer, Answer::Damaged(_)));
        let value = self.answers.iter().any(|(_, answer)| matches!(answer, Answer::Value(_)));
        if damaged && !value { Outcome::Corrupt } else { Outcome::Lost { good } }
    }
}

/// Whether no later read can miss what `carriers` hold: they are W; or they are all voters, and so many that every later
/// coordinator, who needs a claim, finds one of them among its own.
pub(crate) fn keeps(quorum: Quorum, voters: Mask, carriers: Mask) -> bool {
    carriers.count() >= quorum.w() || (carriers == voters && carriers.count() + quorum.claim() > quorum.n())
}

#[cfg(test)]
mod tests;
