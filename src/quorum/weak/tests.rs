//! Every weak and degraded read of three replicas, in every order of answers, beside what is written down about them.

use super::*;
use crate::replica::{Damage, Kind};
use bytes::Bytes;

/// What a replica holds, or does.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Held {
    Nothing,
    Old,
    New,
    /// Other bytes under the version of `New`.
    Other,
    Damaged,
    Failed,
    /// It never answers.
    Hung,
}

const ALL: [Held; 7] = [Held::Nothing, Held::Old, Held::New, Held::Other, Held::Damaged, Held::Failed, Held::Hung];
const ORDERS: [[u8; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];
const WANTED: [u64; 4] = [0, 1, 2, 3];
/// After how many answers it is looked, and whether those that hang count as silent by then.
const LOOKS: [Option<(usize, bool)>; 7] =
    [None, Some((0, false)), Some((0, true)), Some((1, false)), Some((1, true)), Some((2, false)), Some((2, true))];

fn version(counter: u64) -> Version {
    Version { epoch: 5, counter }
}

fn record(counter: u64) -> Record {
    let value = Bytes::from(counter.to_string());
    Record { kind: Kind::Order, version: version(counter), generation: 0, value, origin: None }
}

fn other() -> Record {
    Record { value: Bytes::from_static(b"other"), ..record(2) }
}

fn answer(held: Held) -> Answer {
    match held {
        Held::Nothing => Answer::Absent,
        Held::Old => Answer::Value(record(1)),
        Held::New => Answer::Value(record(2)),
        Held::Other => Answer::Value(other()),
        Held::Damaged => Answer::Damaged(Damage::RunMissing),
        Held::Failed => Answer::Unknown(ReplicaError::Closed),
        Held::Hung => panic!("it never answers"),
    }
}

/// One read: who holds what, and what happens when.
#[derive(Clone, Copy, Debug)]
struct Story {
    held: [Held; 3],
    limbo: Mask,
    r: u8,
    degraded: bool,
    wanted: u64,
    order: [u8; 3],
    start: u8,
    look: Option<(usize, bool)>,
}

/// What is known at some moment, as plain lists.
struct Known {
    story: Story,
    answered: Vec<u8>,
    asked: Vec<u8>,
    passed_by: bool,
    looking: bool,
}

impl Known {
    fn voters(&self) -> Vec<u8> {
        (0..3).filter(|index| !self.story.limbo.contains(*index)).collect()
    }

    fn counter(&self, index: u8) -> u64 {
        match self.story.held[usize::from(index)] {
            Held::Old => 1,
            Held::New | Held::Other => 2,
            _ => 0,
        }
    }

    fn says(&self, what: Held) -> Vec<u8> {
        self.answered.iter().copied().filter(|index| self.story.held[usize::from(*index)] == what).collect()
    }

    /// The outcome, if the read is over now; as slowly and as literally as it is promised.
    fn outcome(&self) -> Option<WeakOutcome> {
        let r = usize::from(self.story.r);
        let newest = self.answered.iter().map(|index| self.counter(*index)).max().unwrap_or(0);
        let absent = self.says(Held::Nothing).into_iter().filter(|index| self.voters().contains(index)).count();
        let values = self.answered.iter().filter(|index| self.counter(**index) > 0).count();
        let good = absent + values;
        let new_enough = newest >= self.story.wanted;
        let unheard: Vec<u8> = self.asked.iter().copied().filter(|index| !self.answered.contains(index)).collect();
        let hangs = |index: &u8| self.story.held[usize::from(*index)] == Held::Hung;
        let all_heard_or_silent = unheard.iter().all(|index| self.passed_by && hangs(index));
        let best = if newest == 2 && !self.says(Held::New).is_empty() && !self.says(Held::Other).is_empty() {
            WeakOutcome::Diverged(version(2))
        } else if newest == 2 && self.says(Held::New).is_empty() {
            WeakOutcome::Value(other())
        } else if newest > 0 {
            WeakOutcome::Value(record(newest))
        } else {
            WeakOutcome::Absent
        };
        let too_old = match &best {
            WeakOutcome::Diverged(_) => best.clone(),
            _ => WeakOutcome::Stale { found: (newest > 0).then(|| version(newest)), wanted: version(self.story.wanted) },
        };
        let nothing = match self.says(Held::Damaged).is_empty() || values > 0 || !unheard.is_empty() {
            true => WeakOutcome::Lost { good: good as u8 },
            false => WeakOutcome::Corrupt,
        };
        if self.story.degraded {
            if values > 0 && new_enough && (self.looking || all_heard_or_silent) {
                return Some(best);
            }
            if values == 0 && new_enough && absent >= r && all_heard_or_silent {
                return Some(WeakOutcome::Absent);
            }
            let at_the_end = if values > 0 || absent >= r { too_old } else { nothing };
            return unheard.is_empty().then_some(at_the_end);
        }
        if self.voters().len() < r {
            return Some(WeakOutcome::Lost { good: 0 });
        }
        if good >= r && new_enough {
            return Some(best);
        }
        let all_asked = self.voters().iter().all(|index| self.asked.contains(index));
        let out_of_reach = good >= r || good + unheard.len() < r;
        let over = all_asked && all_heard_or_silent && out_of_reach;
        over.then_some(if good >= r { too_old } else { nothing })
    }
}

/// Drives a round and its slow twin side by side; `None` when both wait for replicas that never answer.
fn drive(story: Story) -> Option<WeakOutcome> {
    let quorum = Quorum::new(3, story.r, 3).unwrap();
    let at_least = (story.wanted > 0).then(|| version(story.wanted));
    let all: Mask = (0..3).collect();
    let (mut round, mut step) = match story.degraded {
        true => WeakRound::degraded(quorum, all, at_least),
        false => WeakRound::weak(quorum, all.minus(story.limbo), story.start, at_least),
    };
    let mut known = Known { story, answered: Vec::new(), asked: Vec::new(), passed_by: false, looking: false };
    let mut look = story.look;
    // Each turn hears one answer or looks once, so this ends after at most 4 turns.
    loop {
        if let WeakStep::Ask(mask) = &step {
            assert!(mask.iter().all(|index| !known.asked.contains(&index)), "nobody is asked twice: {story:?}");
            known.asked.extend(mask.iter());
            if !story.degraded {
                assert!(mask.minus(all.minus(story.limbo)).is_empty(), "limbo is not asked: {story:?}");
            }
        }
        let over = if let WeakStep::Done(outcome) = &step { Some(outcome.clone()) } else { None };
        // Whoever asks more has not ended; the twin looks at what is known once they were asked.
        assert_eq!(over, known.outcome(), "{story:?}, answered {:?}, asked {:?}", known.answered, known.asked);
        if let Some(outcome) = over {
            round.forget();
            assert_eq!(round.answer(0, Answer::Absent), WeakStep::Wait, "late news changes nothing");
            return Some(outcome);
        }
        known.looking = false;
        if let Some((_, silent)) = look.take_if(|(after, _)| *after == known.answered.len()) {
            if silent {
                round.pass_by((0..3).filter(|index| story.held[usize::from(*index)] == Held::Hung).collect());
            }
            known.passed_by = silent;
            known.looking = true;
            step = round.look();
            continue;
        }
        let speaks = |index: &u8| {
            known.asked.contains(index) && !known.answered.contains(index) && story.held[usize::from(*index)] != Held::Hung
        };
        let Some(index) = story.order.into_iter().find(speaks) else {
            let hung = known.asked.iter().any(|index| !known.answered.contains(index));
            assert!(hung, "a round hangs by itself: {story:?}");
            at_the_deadline(&round, &known);
            return None;
        };
        known.answered.push(index);
        let answer = match story.limbo.contains(index) {
            true => answer(story.held[usize::from(index)]).in_limbo(ReplicaError::Closed),
            false => answer(story.held[usize::from(index)]),
        };
        step = round.answer(index, answer);
    }
}

/// A degraded read answers with what it has; a weak one says at least that what it has is too old.
fn at_the_deadline(round: &WeakRound, known: &Known) {
    let values = known.answered.iter().filter(|index| known.counter(**index) > 0).count();
    let verdict = round.verdict();
    match &verdict {
        None => assert!(round.good() < known.story.r && (!known.story.degraded || values == 0), "{:?}", known.story),
        Some(WeakOutcome::Value(record)) => {
            let newest = known.answered.iter().map(|index| known.counter(*index)).max();
            assert_eq!((Some(record.version.counter), known.story.degraded), (newest, true), "{:?}", known.story);
            assert!(record.version.counter >= known.story.wanted, "{:?}", known.story);
        }
        Some(WeakOutcome::Absent) => assert!(values == 0 && round.good() >= known.story.r, "{:?}", known.story),
        Some(WeakOutcome::Stale { .. }) => assert!(known.story.wanted > 0, "{:?}", known.story),
        Some(WeakOutcome::Diverged(_)) => assert!(values > 1, "{:?}", known.story),
        Some(outcome) => panic!("no verdict: {outcome:?}"),
    }
}

/// Every story with these who are in limbo and who is asked first.
fn every_story(degraded: bool, limbos: &[Mask], starts: u8, mut tell: impl FnMut(Story, Option<WeakOutcome>)) -> u64 {
    let mut stories = 0;
    for state in 0..343usize {
        let held = [ALL[state % 7], ALL[state / 7 % 7], ALL[state / 49]];
        for limbo in limbos.iter().copied() {
            for (r, wanted) in (1..=3u8).flat_map(|r| WANTED.map(|wanted| (r, wanted))) {
                for (order, start) in ORDERS.into_iter().flat_map(|order| (0..starts).map(move |start| (order, start))) {
                    for look in LOOKS {
                        let story = Story { held, limbo, r, degraded, wanted, order, start, look };
                        tell(story, drive(story));
                        stories += 1;
                    }
                }
            }
        }
    }
    stories
}

/// 7^3 states x 3 R x 4 wanted x 6 orders x 3 starts x 7 moments to look x all voting or one in limbo.
#[test]
fn every_weak_read_of_three_replicas_does_what_is_written_down() {
    let stories = every_story(false, &[Mask::NONE, Mask::of(1)], 3, |story, outcome| {
        let held =
            |what: &[Held]| (0..3).filter(|i| !story.limbo.contains(*i) && what.contains(&story.held[*i as usize])).count();
        let good = held(&[Held::Nothing, Held::Old, Held::New, Held::Other]);
        match outcome {
            Some(WeakOutcome::Value(record)) => {
                assert!(good >= story.r.into() && record.version.counter >= story.wanted, "{story:?}");
                // With R + W > N a write on W is seen, however many of the others are sick.
                let acknowledged = held(&[Held::New]) + usize::from(story.r) > 3;
                assert!(!acknowledged || record.version == version(2), "went back: {story:?}");
            }
            Some(WeakOutcome::Absent) => {
                assert!(held(&[Held::Nothing]) >= story.r.into() && story.wanted == 0, "{story:?}");
                assert!(held(&[Held::Old, Held::New]) + usize::from(story.r) <= 3, "lost: {story:?}");
            }
            Some(WeakOutcome::Stale { .. }) => {
                let hangs = held(&[Held::Hung]) > 0;
                assert!(story.wanted > 0 && good >= story.r.into(), "{story:?}");
                let there = (story.wanted..3).map(|c| held(if c == 1 { &[Held::Old] } else { &[Held::New, Held::Other] }));
                assert!(there.sum::<usize>() == 0 || hangs, "not all were asked: {story:?}");
            }
            Some(WeakOutcome::Lost { .. } | WeakOutcome::Corrupt) => assert!(good < story.r.into(), "{story:?}"),
            Some(WeakOutcome::Diverged(_)) => assert!(held(&[Held::New]) > 0 && held(&[Held::Other]) > 0, "{story:?}"),
            None => assert!(held(&[Held::Hung]) > 0, "{story:?}"),
        }
    });
    assert_eq!(stories, 343 * 3 * 4 * 6 * 3 * 7 * 2);
}

/// 7^3 states x 3 R x 4 wanted x 6 orders x 7 moments to look x everybody who may be in limbo.
#[test]
fn every_degraded_read_of_three_replicas_does_what_is_written_down() {
    let limbos: Vec<Mask> = (0..8).map(Mask::from_bits).collect();
    let stories = every_story(true, &limbos, 1, |story, outcome| {
        let held = |what: &[Held]| story.held.iter().filter(|held| what.contains(held)).count();
        let values = held(&[Held::Old, Held::New, Held::Other]);
        match outcome {
            Some(WeakOutcome::Value(record)) => assert!(record.version.counter >= story.wanted, "{story:?}"),
            Some(WeakOutcome::Absent) => {
                let absent = (0..3).filter(|i| !story.limbo.contains(*i) && story.held[*i as usize] == Held::Nothing).count();
                assert!(absent >= story.r.into() && values == 0 && story.wanted == 0, "{story:?}");
            }
            Some(WeakOutcome::Stale { .. }) => {
                let there = (story.wanted..3).map(|c| held(if c == 1 { &[Held::Old] } else { &[Held::New, Held::Other] }));
                assert!(story.wanted > 0 && there.sum::<usize>() == 0, "{story:?}");
            }
            Some(WeakOutcome::Lost { .. } | WeakOutcome::Corrupt) => assert_eq!(values, 0, "there was one: {story:?}"),
            Some(WeakOutcome::Diverged(_)) => assert!(held(&[Held::New]) > 0 && held(&[Held::Other]) > 0, "{story:?}"),
            None => assert!(held(&[Held::Hung]) > 0, "{story:?}"),
        }
    });
    assert_eq!(stories, 343 * 3 * 4 * 6 * 7 * 8);
}

/// Five replicas, so that what is asked first is told apart from what is asked next.
#[test]
fn a_weak_read_asks_r_and_the_others_when_it_must() {
    let quorum = Quorum::new(5, 2, 4).unwrap();
    let all: Mask = (0..5).collect();
    let first = Mask::of(3).with(4);
    let read = |wanted: Option<u64>| {
        let (round, step) = WeakRound::weak(quorum, all, 3, wanted.map(version));
        assert_eq!(step, WeakStep::Ask(first));
        round
    };
    let mut round = read(None);
    assert_eq!(round.answer(0, Answer::Value(record(2))), WeakStep::Wait, "it was not asked");
    assert_eq!(round.answer(3, Answer::Value(record(1))), WeakStep::Wait);
    assert_eq!(round.answer(3, Answer::Value(record(1))), WeakStep::Wait, "an answer counts once");
    assert_eq!(round.answer(4, Answer::Absent), WeakStep::Done(WeakOutcome::Value(record(1))), "it is not written back");
    let mut round = read(None);
    assert_eq!(round.answer(3, answer(Held::Failed)), WeakStep::Ask(all.minus(first)));
    let mut round = read(None);
    assert_eq!(round.look(), WeakStep::Ask(all.minus(first)));
    let mut round = read(Some(2));
    assert_eq!(round.answer(3, Answer::Value(record(1))), WeakStep::Wait, "the other one may have it");
    assert_eq!(round.answer(4, Answer::Value(record(1))), WeakStep::Ask(all.minus(first)));
    assert_eq!(round.answer(1, Answer::Absent), WeakStep::Wait);
    assert_eq!(round.answer(0, Answer::Value(record(2))), WeakStep::Done(WeakOutcome::Value(record(2))));
}

#[test]
fn a_newer_version_heals_the_quarrel_about_an_older_one() {
    let quorum = Quorum::new(3, 3, 3).unwrap();
    let all: Mask = (0..3).collect();
    for (mut round, _) in [WeakRound::weak(quorum, all, 0, None), WeakRound::degraded(quorum, all, None)] {
        round.answer(0, Answer::Value(record(2)));
        round.answer(1, Answer::Value(other()));
        assert_eq!(round.answer(2, Answer::Value(record(3))), WeakStep::Done(WeakOutcome::Value(record(3))));
    }
}

#[test]
fn a_void_is_a_version_like_any_other() {
    let void = Record { kind: Kind::Void, value: Bytes::new(), ..record(2) };
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let (mut round, _) = WeakRound::weak(quorum, (0..3).collect(), 0, Some(version(2)));
    round.answer(0, Answer::Value(record(1)));
    assert_eq!(round.answer(1, Answer::Value(void.clone())), WeakStep::Done(WeakOutcome::Value(void.clone())));
    let empty = Record { value: Bytes::new(), ..record(2) };
    let (mut round, _) = WeakRound::weak(quorum, (0..3).collect(), 0, None);
    round.answer(0, Answer::Value(void));
    assert_eq!(round.answer(1, Answer::Value(empty)), WeakStep::Done(WeakOutcome::Diverged(version(2))), "unequal kinds");
}

#[test]
fn with_nobody_left_to_ask_a_read_ends_at_once() {
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let lost = WeakStep::Done(WeakOutcome::Lost { good: 0 });
    assert_eq!(WeakRound::weak(quorum, Mask::of(1), 0, None).1, lost, "one voter is not R");
    assert_eq!(WeakRound::degraded(quorum, Mask::NONE, None).1, lost);
    assert_eq!(WeakRound::degraded(quorum, Mask::of(1), None).1, WeakStep::Ask(Mask::of(1)));
}
