//! Every read of three replicas, in every order of answers, beside what the promise says.

use super::*;
use crate::replica::Kind;
use bytes::Bytes;

/// What a replica holds.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Held {
    Nothing,
    Old,
    New,
    Damaged,
    Silent,
}

const ALL: [Held; 5] = [Held::Nothing, Held::Old, Held::New, Held::Damaged, Held::Silent];
const ORDERS: [[usize; 3]; 6] = [[0, 1, 2], [0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]];

fn record(counter: u64) -> Record {
    let value = Bytes::from(counter.to_string());
    Record { kind: Kind::Order, version: Version { epoch: 5, counter }, generation: 0, value, origin: None }
}

fn answer(held: Held) -> Answer {
    match held {
        Held::Nothing => Answer::Absent,
        Held::Old => Answer::Value(record(1)),
        Held::New => Answer::Value(record(2)),
        Held::Damaged => Answer::Damaged(Damage::RunMissing),
        Held::Silent => Answer::Unknown(ReplicaError::Closed),
    }
}

/// Drives a round over `held`, taking answers and write-backs in `order`; write-backs fail on `refuses`.
fn drive(quorum: Quorum, held: &mut [Held; 3], dirty: bool, order: [usize; 3], start: u8, refuses: Option<usize>) -> Outcome {
    let voters: Mask = (0..3).collect();
    let (mut round, step) = ReadRound::new(quorum, voters, dirty, 0, start);
    let mut steps = vec![step];
    let (mut asked, mut answered, mut writing) = (Mask::NONE, Mask::NONE, None);
    for _ in 0..50 {
        while let Some(step) = steps.pop() {
            match step {
                Step::Wait => {}
                Step::Ask(mask) => {
                    assert!(mask.minus(asked) == mask, "nobody is asked twice");
                    asked = asked.or(mask);
                }
                Step::WriteBack(record, mask) => {
                    assert!(writing.is_none() && !mask.is_empty(), "written back once, to somebody");
                    writing = Some((record, mask));
                }
                Step::Done(outcome) => return outcome,
            }
        }
        if let Some((record, mask)) = &mut writing {
            let Some(index) = order.into_iter().find(|index| mask.contains(*index as u8)) else { panic!("a write-back hangs") };
            *mask = mask.without(index as u8);
            let good = refuses != Some(index);
            if good {
                held[index] = if record.version.counter == 1 { Held::Old } else { Held::New };
            }
            steps.push(round.written(index as u8, good));
            continue;
        }
        let next = order.into_iter().find(|index| asked.minus(answered).contains(*index as u8));
        let Some(index) = next else { panic!("a round hangs: {held:?} dirty {dirty} order {order:?}") };
        answered = answered.with(index as u8);
        steps.push(round.answer(index as u8, answer(held[index])));
    }
    panic!("a round does not end");
}

/// 5^3 states x 6 orders x 3 starts x 9 quorums x clean and dirty x 4 write-back faults.
#[test]
fn every_read_of_three_replicas_keeps_its_promise() {
    let mut rounds = 0;
    for state in 0..125usize {
        let before = [ALL[state % 5], ALL[state / 5 % 5], ALL[state / 25]];
        let count = |what: Held| before.iter().filter(|held| **held == what).count() as u8;
        let good = count(Held::Nothing) + count(Held::Old) + count(Held::New);
        for (r, w) in (1..=3u8).flat_map(|r| (1..=3u8).map(move |w| (r, w))) {
            let quorum = Quorum::new(3, r, w).unwrap();
            for (order, start) in ORDERS.into_iter().flat_map(|order| (0..3u8).map(move |start| (order, start))) {
                for (dirty, refuses) in [false, true].into_iter().flat_map(|d| [None, Some(0), Some(1), Some(2)].map(|f| (d, f)))
                {
                    rounds += 1;
                    let mut held = before;
                    let outcome = drive(quorum, &mut held, dirty, order, start, refuses);
                    let story = format!(
                        "{before:?} {quorum} dirty {dirty} order {order:?} start {start} refuses {refuses:?}: {outcome:?}"
                    );
                    // In a dirty range as many must answer as a claim takes.
                    let need = if dirty { r.max(quorum.claim()) } else { r };
                    let holds = |what: Held, held: &[Held; 3]| held.iter().filter(|h| **h == what).count() as u8;
                    match &outcome {
                        Outcome::Value(found) => {
                            assert!(good >= need, "answered by too few: {story}");
                            let what = if found.version.counter == 1 { Held::Old } else { Held::New };
                            let carriers = holds(what, &held);
                            assert!(carriers >= w || carriers == 3, "returned while a later read could miss it: {story}");
                            // A version on W replicas was perhaps acknowledged: with R + W > N no read may show an older one.
                            assert!(!(quorum.is_strict() && what == Held::Old && count(Held::New) >= w), "went back: {story}");
                            assert!(!(dirty && what == Held::Old && count(Held::New) > 0), "a dirty read asks all: {story}");
                        }
                        Outcome::Absent => {
                            assert!(good >= need, "answered by too few: {story}");
                            let acknowledged = count(Held::Old) >= w || count(Held::New) >= w;
                            assert!(!(quorum.is_strict() && acknowledged), "lost: {story}");
                            assert!(!(dirty && count(Held::Old) + count(Held::New) > 0), "a dirty read asks all: {story}");
                        }
                        Outcome::Lost { .. } | Outcome::Corrupt => assert!(good < need, "given up too early: {story}"),
                        Outcome::Unconfirmed(_) => assert!(good < w || refuses.is_some(), "given up too early: {story}"),
                        Outcome::Diverged(_) => panic!("nothing differs under one version: {story}"),
                    }
                }
            }
        }
    }
    assert_eq!(rounds, 125 * 9 * 18 * 8);
}

#[test]
fn unequal_bytes_under_one_version_are_never_returned() {
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), false, 0, 0);
    assert_eq!(round.answer(0, Answer::Value(record(2))), Step::Wait);
    let other = Record { value: Bytes::from_static(b"other"), ..record(2) };
    assert_eq!(round.answer(1, Answer::Value(other)), Step::Done(Outcome::Diverged(record(2).version)));
}

#[test]
fn what_clean_ranges_hold_of_older_epochs_needs_no_second_look() {
    let quorum = Quorum::new(3, 1, 3).unwrap();
    let (mut round, step) = ReadRound::new(quorum, (0..3).collect(), false, 6, 1);
    assert_eq!(step, Step::Ask(Mask::of(1)));
    assert_eq!(round.answer(1, Answer::Value(record(2))), Step::Done(Outcome::Value(record(2))));
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), false, 5, 1);
    assert!(matches!(round.answer(1, Answer::Value(record(2))), Step::Ask(_)), "this epoch's own writes may be under way");
}

/// One voter of three is left: what it alone holds is shown to nobody, since the two others may be all there is tomorrow.
#[test]
fn all_voters_are_not_enough_where_a_later_claim_can_do_without_them() {
    let quorum = Quorum::new(3, 1, 3).unwrap();
    let (mut round, _) = ReadRound::new(quorum, Mask::of(0), false, 0, 0);
    assert_eq!(round.answer(0, Answer::Value(record(2))), Step::Done(Outcome::Unconfirmed(record(2))));
    let (mut round, _) = ReadRound::new(quorum, Mask::of(0).with(1), true, 0, 0);
    assert_eq!(round.answer(0, Answer::Value(record(2))), Step::Wait);
    assert_eq!(round.answer(1, Answer::Absent), Step::WriteBack(record(2), Mask::of(1)));
    assert_eq!(round.written(1, true), Step::Done(Outcome::Value(record(2))));
}

#[test]
fn a_silent_replica_is_passed_by_once_r_others_have_answered_and_heard_if_it_speaks() {
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), true, 0, 0);
    round.pass_by(Mask::of(2));
    assert_eq!(round.answer(0, Answer::Value(record(1))), Step::Wait);
    assert_eq!(round.answer(1, Answer::Value(record(1))), Step::Done(Outcome::Value(record(1))));
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), true, 0, 0);
    round.pass_by(Mask::of(2));
    assert_eq!(round.answer(0, Answer::Value(record(1))), Step::Wait);
    assert_eq!(round.answer(2, Answer::Absent), Step::Wait, "the other one is still expected");
    assert_eq!(round.answer(1, Answer::Value(record(2))), Step::WriteBack(record(2), Mask::of(0).with(2)));
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), true, 0, 0);
    round.pass_by(Mask::of(1).with(2));
    assert_eq!(round.answer(0, Answer::Absent), Step::Wait, "one of two needed is no answer, whoever is silent");
}

#[test]
fn too_few_voters_end_a_read_at_once() {
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let (_, step) = ReadRound::new(quorum, Mask::of(2), true, 0, 0);
    assert_eq!(step, Step::Done(Outcome::Lost { good: 0 }));
}

#[test]
fn a_slow_replica_is_passed_by_unless_the_range_is_dirty() {
    let quorum = Quorum::new(3, 2, 2).unwrap();
    let (mut round, step) = ReadRound::new(quorum, (0..3).collect(), false, 0, 0);
    assert_eq!(step, Step::Ask(Mask::of(0).with(1)));
    assert_eq!(round.answer(0, Answer::Value(record(1))), Step::Wait);
    assert_eq!(round.hurry(), Step::Ask(Mask::of(2)));
    assert_eq!(round.answer(2, Answer::Value(record(1))), Step::Done(Outcome::Value(record(1))));
    let (mut round, _) = ReadRound::new(quorum, (0..3).collect(), true, 0, 0);
    assert_eq!(round.answer(0, Answer::Absent), Step::Wait);
    assert_eq!(round.answer(2, Answer::Absent), Step::Wait);
    assert_eq!(round.hurry(), Step::Wait);
}
