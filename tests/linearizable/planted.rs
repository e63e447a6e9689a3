//! Histories written by hand: the checker accepts the right ones and refuses the wrong ones.

use crate::register::linearizable;
use crate::weak::{Overlap, weak_reads_hold};
use ordermint::testing::{Answer, Asked, Call, History, Ran, Recorder};
use ordermint::{OrderNumber, Resolved, SetId, Version, WriteToken};

/// As with N = 3, R = 2, W = 2.
const ALL: Overlap = Overlap { writes: true, shown: true };

/// One order, and who asks for it.
struct Hand {
    recorder: Recorder,
    number: OrderNumber,
}

fn v(counter: u64) -> Version {
    Version { epoch: 1, counter }
}

impl Hand {
    fn new() -> Hand {
        let set = SetId::new(7).expect("an id");
        let number = OrderNumber::new("2026-11-22".parse().expect("a day"), 0, set).expect("a number");
        Hand { recorder: Recorder::new(), number }
    }

    /// With an order "a" at version 1.
    fn created() -> Hand {
        let hand = Hand::new();
        hand.create("a").answered(hand.made(1));
        hand
    }

    fn create(&self, value: &str) -> Call {
        self.recorder.call(1, None, Asked::Create { value: value.to_owned().into() })
    }

    fn made(&self, version: u64) -> Answer {
        Answer::Created { number: self.number, version: v(version) }
    }

    fn update(&self, session: u64, expected: u64, value: &str) -> Call {
        let asked = Asked::Update { expected: v(expected), value: value.to_owned().into() };
        self.recorder.call(session, Some(self.number), asked)
    }

    fn modify(&self, session: u64, saw: &str, wrote: Option<&str>) -> Call {
        let ran = Ran { saw: saw.to_owned().into(), wrote: wrote.map(|wrote| wrote.to_owned().into()) };
        self.recorder.call(session, Some(self.number), Asked::Modify { ran: Some(ran) })
    }

    fn read(&self, session: u64) -> Call {
        self.recorder.call(session, Some(self.number), Asked::Read)
    }

    fn weak(&self, session: u64, at_least: Option<u64>) -> Call {
        self.recorder.call(session, Some(self.number), Asked::WeakRead { at_least: at_least.map(v) })
    }

    fn token(&self, version: u64) -> WriteToken {
        WriteToken { number: self.number, version: v(version) }
    }

    fn history(&self) -> History {
        let mut orders = self.recorder.history().by_order();
        assert_eq!(orders.len(), 1);
        orders.remove(&self.number).expect("its history")
    }

    #[track_caller]
    fn right(&self) {
        if let Err(wrong) = linearizable(&self.history()) {
            panic!("{wrong}");
        }
        if let Err(wrong) = weak_reads_hold(&self.history(), ALL) {
            panic!("{wrong}");
        }
    }

    /// Refused at an operation whose line holds `at`.
    #[track_caller]
    fn wrong(&self, at: &str) {
        match linearizable(&self.history()) {
            Ok(()) => panic!("accepted:\n{}", self.history()),
            Err(wrong) => assert!(wrong.why.contains(at), "another reason: {wrong}"),
        }
    }

    #[track_caller]
    fn weakly_wrong(&self, why: &str) {
        assert!(linearizable(&self.history()).is_ok());
        match weak_reads_hold(&self.history(), ALL) {
            Ok(()) => panic!("accepted:\n{}", self.history()),
            Err(wrong) => assert!(wrong.starts_with(why), "another reason: {wrong}"),
        }
    }
}

fn found(version: u64, value: &str) -> Answer {
    Answer::Found { version: v(version), value: value.to_owned().into() }
}

fn updated(version: u64) -> Answer {
    Answer::Updated { version: v(version) }
}

fn modified(version: u64) -> Answer {
    Answer::Modified { version: v(version) }
}

#[test]
fn one_after_the_other() {
    let hand = Hand::created();
    hand.read(2).answered(found(1, "a"));
    hand.update(1, 1, "b").answered(updated(2));
    hand.update(2, 1, "c").answered(Answer::Mismatch { actual: v(2) });
    hand.modify(2, "b", Some("d")).answered(modified(5));
    hand.modify(2, "d", None).answered(modified(5));
    hand.read(1).answered(found(5, "d"));
    hand.right();
}

#[test]
fn a_read_beside_an_update_sees_the_old_or_the_new() {
    for (version, value) in [(1, "a"), (2, "b")] {
        let hand = Hand::created();
        let (update, read) = (hand.update(1, 1, "b"), hand.read(2));
        read.answered(found(version, value));
        update.answered(updated(2));
        hand.right();
    }
}

#[test]
fn a_stale_read_is_refused() {
    let hand = Hand::created();
    hand.update(1, 1, "b").answered(updated(2));
    hand.read(2).answered(found(1, "a"));
    hand.read(2).answered(found(2, "b"));
    hand.wrong("session  2: read: \"a\" at 1.1");
}

#[test]
fn a_stale_read_is_refused_also_where_something_was_in_doubt() {
    let hand = Hand::created();
    hand.update(1, 1, "b").answered(updated(2));
    hand.update(3, 2, "x").in_doubt(hand.token(3));
    hand.read(2).answered(found(1, "a"));
    hand.wrong("read: \"a\" at 1.1");
}

#[test]
fn reads_that_go_back_beside_one_update_are_refused() {
    let hand = Hand::created();
    let update = hand.update(1, 1, "b");
    hand.read(2).answered(found(2, "b"));
    hand.read(3).answered(found(1, "a"));
    update.answered(updated(2));
    hand.wrong("session  3: read: \"a\" at 1.1");
}

#[test]
fn two_updates_that_win_on_one_version_are_refused() {
    let hand = Hand::created();
    let (one, two) = (hand.update(1, 1, "b"), hand.update(2, 1, "c"));
    one.answered(updated(2));
    two.answered(updated(3));
    hand.wrong("session  2: update from 1.1 to \"c\"");
}

#[test]
fn a_lost_update_is_refused() {
    let hand = Hand::created();
    let (one, two) = (hand.modify(1, "a", Some("b")), hand.modify(2, "a", Some("c")));
    one.answered(modified(2));
    two.answered(modified(3));
    hand.wrong("session  2: modify \"a\" to \"c\"");
}

#[test]
fn closures_that_share_a_version_follow_each_other() {
    let hand = Hand::created();
    let (one, two) = (hand.modify(1, "a", Some("b")), hand.modify(2, "b", Some("c")));
    two.answered(modified(2));
    one.answered(modified(2));
    hand.read(3).answered(found(2, "c"));
    hand.right();
}

#[test]
fn an_update_and_a_closure_never_share_a_version() {
    let hand = Hand::created();
    hand.update(1, 1, "b").answered(updated(2));
    hand.modify(2, "b", Some("c")).answered(modified(2));
    hand.wrong("modify");
}

#[test]
fn another_life_of_the_program_may_write_again_what_it_found() {
    let later = Version { epoch: 2, counter: 1 };
    let hand = Hand::created();
    hand.read(2).answered(Answer::Found { version: later, value: "a".into() });
    hand.weak(2, Some(1)).answered(Answer::Found { version: later, value: "a".into() });
    hand.update(1, 1, "b").answered(Answer::Mismatch { actual: later });
    hand.right();
    hand.update(1, 1, "b").answered(updated(9));
    hand.wrong("\"b\": at 1.9");
    let hand = Hand::created();
    hand.read(2).answered(found(2, "a"));
    hand.wrong("\"a\" at 1.2");
}

#[test]
fn a_version_that_goes_back_is_refused() {
    let hand = Hand::created();
    hand.modify(2, "a", Some("b")).answered(modified(5));
    hand.modify(2, "b", Some("c")).answered(modified(4));
    hand.wrong("modify \"b\" to \"c\": at 1.4");
}

#[test]
fn absent_after_an_acknowledged_create_is_refused() {
    let hand = Hand::created();
    hand.read(2).answered(Answer::Absent);
    hand.wrong("absent");
    let hand = Hand::created();
    hand.update(1, 1, "b").answered(Answer::Absent);
    hand.wrong("absent");
}

#[test]
fn absent_beside_the_create_is_right_and_before_a_read_that_found_it() {
    let hand = Hand::new();
    let create = hand.create("a");
    hand.read(2).answered(Answer::Absent);
    hand.read(2).answered(found(1, "a"));
    create.answered(hand.made(1));
    hand.right();
}

#[test]
fn a_refusal_that_names_what_was_asked_for_or_never_stood_is_refused() {
    let hand = Hand::created();
    hand.update(2, 1, "b").answered(Answer::Mismatch { actual: v(1) });
    hand.wrong("stands at 1.1");
    let hand = Hand::created();
    hand.update(2, 3, "b").answered(Answer::Mismatch { actual: v(2) });
    hand.wrong("stands at 1.2");
}

#[test]
fn a_write_in_doubt_may_come_late_or_never_but_not_come_and_go() {
    let seen = |values: &[(u64, &str)]| {
        let hand = Hand::created();
        hand.update(1, 1, "b").in_doubt(hand.token(2));
        values.iter().for_each(|(version, value)| hand.read(2).answered(found(*version, value)));
        hand
    };
    seen(&[(1, "a"), (1, "a")]).right();
    seen(&[(1, "a"), (2, "b")]).right();
    seen(&[(2, "b"), (2, "b")]).right();
    seen(&[(1, "a"), (2, "b"), (1, "a")]).wrong("\"a\" at 1.1");
    // The value that stood was written again.
    seen(&[(1, "a"), (3, "a")]).right();
    seen(&[(3, "a"), (2, "b")]).wrong("\"b\" at 1.2");
    seen(&[(2, "b"), (3, "a")]).wrong("\"a\" at 1.3");
}

#[test]
fn what_was_settled_stays_so() {
    let settled = |resolved: Resolved, version: u64, value: &str| {
        let hand = Hand::created();
        hand.update(1, 1, "b").in_doubt(hand.token(2));
        assert!(hand.recorder.settle(hand.token(2), resolved));
        hand.read(2).answered(found(version, value));
        hand
    };
    settled(Resolved::Applied, 2, "b").right();
    settled(Resolved::Applied, 3, "a").wrong("\"a\" at 1.3");
    settled(Resolved::NotApplied, 3, "a").right();
    settled(Resolved::NotApplied, 2, "b").wrong("\"b\" at 1.2");
}

#[test]
fn closures_in_doubt_happen_in_their_order_or_not_at_all() {
    let seen = |version: u64, value: &str| {
        let hand = Hand::created();
        hand.modify(1, "a", Some("b")).in_doubt(hand.token(2));
        hand.modify(2, "b", Some("c")).in_doubt(hand.token(2));
        hand.read(3).answered(found(version, value));
        hand
    };
    seen(2, "c").right();
    seen(1, "a").right();
    let hand = seen(2, "c");
    assert!(hand.recorder.settle(hand.token(2), Resolved::NotApplied));
    hand.wrong("\"c\" at 1.2");
}

#[test]
fn what_a_killed_program_asked_may_have_happened() {
    let seen = |version: u64, value: &str| {
        let hand = Hand::created();
        drop(hand.update(1, 1, "b"));
        drop(hand.read(1));
        hand.read(2).answered(found(version, value));
        hand
    };
    seen(1, "a").right();
    seen(2, "b").right();
    let hand = seen(2, "b");
    // Two on one version, and one of them has no version that anybody knows.
    hand.update(2, 1, "c").answered(updated(4));
    hand.wrong("\"c\": at 1.4");
}

#[test]
fn the_success_of_a_closure_that_never_ran_is_refused() {
    let hand = Hand::created();
    hand.recorder.call(1, Some(hand.number), Asked::Modify { ran: None }).answered(modified(2));
    hand.wrong("success of a closure that never ran");
}

#[test]
fn many_beside_each_other_are_put_in_line_and_one_wrong_one_is_found() {
    let crowd = |last: &str| {
        let hand = Hand::created();
        let names: Vec<String> = std::iter::once("a".to_owned()).chain((0..12).map(|at| format!("m{at}"))).collect();
        // All are called before any is answered, the last in line first.
        let calls: Vec<Call> = names.windows(2).rev().map(|pair| hand.modify(1, &pair[0], Some(&pair[1]))).collect();
        for (at, call) in calls.into_iter().enumerate() {
            call.answered(modified(100 - at as u64));
        }
        hand.read(2).answered(found(100, last));
        hand
    };
    crowd("m11").right();
    crowd("m10").wrong("\"m10\" at 1.100");
}

#[test]
fn weak_reads_show_what_was_written_also_what_was_not_acknowledged() {
    let hand = Hand::created();
    hand.update(1, 1, "b").in_doubt(hand.token(2));
    hand.weak(2, None).answered(found(2, "b"));
    // It was never on W, and is gone.
    assert!(hand.recorder.settle(hand.token(2), Resolved::NotApplied));
    hand.weak(3, None).answered(found(3, "a"));
    hand.right();
}

#[test]
fn a_weak_read_of_what_nobody_wrote_is_refused() {
    let hand = Hand::created();
    hand.weak(2, None).answered(found(2, "b"));
    hand.weakly_wrong("nobody wrote that");
    let hand = Hand::created();
    hand.update(1, 1, "b").not_done();
    hand.weak(2, None).answered(found(2, "b"));
    hand.weakly_wrong("nobody wrote that");
    let hand = Hand::created();
    hand.weak(2, None).answered(found(2, "a"));
    hand.weakly_wrong("nobody wrote that");
}

#[test]
fn a_weak_read_behind_what_was_asked_for_is_refused() {
    let hand = Hand::created();
    let update = hand.update(1, 1, "b");
    hand.weak(2, Some(2)).answered(found(1, "a"));
    update.answered(updated(2));
    hand.weakly_wrong("older than was asked for");
    let hand = Hand::created();
    hand.weak(2, Some(1)).answered(Answer::Absent);
    hand.weakly_wrong("absent, and a version was asked for");
}

#[test]
fn a_weak_read_behind_what_was_acknowledged_is_refused_where_the_quorums_overlap() {
    let hand = Hand::created();
    hand.update(1, 1, "b").answered(updated(2));
    hand.weak(2, None).answered(found(1, "a"));
    hand.weakly_wrong("older than what was acknowledged before");
    assert_eq!(weak_reads_hold(&hand.history(), Overlap { writes: false, shown: false }), Ok(()));
    let hand = Hand::created();
    hand.weak(2, None).answered(Answer::Absent);
    hand.weakly_wrong("absent after it was acknowledged");
}

#[test]
fn a_session_that_goes_back_is_refused() {
    let hand = Hand::created();
    hand.update(1, 1, "b").in_doubt(hand.token(2));
    hand.weak(2, Some(1)).answered(found(2, "b"));
    hand.weak(2, Some(1)).answered(found(1, "a"));
    hand.weakly_wrong("goes back behind 1.2");
}

#[test]
fn two_values_under_one_version_are_refused() {
    let hand = Hand::created();
    hand.update(1, 1, "b").in_doubt(hand.token(2));
    hand.update(2, 1, "c").in_doubt(hand.token(2));
    hand.weak(2, None).answered(found(2, "b"));
    hand.weak(3, None).answered(found(2, "c"));
    hand.weakly_wrong("another value was shown under the same version");
}
