use super::*;

mod model;

const SECOND: u64 = 1_000;
const MINUTE: u64 = 60 * SECOND;

fn breaker() -> Breaker {
    Breaker::new(&BreakerSettings::new(), 0, 7)
}

/// One call from beginning to end; whether it was let through.
fn call(breaker: &mut Breaker, outcome: Outcome, now_ms: u64) -> bool {
    breaker.admit(now_ms).map(|permit| breaker.record(permit, outcome, now_ms, true)).is_ok()
}

fn calls(breaker: &mut Breaker, count: usize, outcome: Outcome, now_ms: u64) {
    (0..count).for_each(|_| assert!(call(breaker, outcome, now_ms)));
}

/// Opens it by failures in a row.
fn trip(breaker: &mut Breaker, now_ms: u64) {
    calls(breaker, 5, Outcome::Failed, now_ms);
    assert!(is_open(breaker, now_ms));
}

fn is_open(breaker: &Breaker, now_ms: u64) -> bool {
    matches!(breaker.state(now_ms), BreakerState::Open { .. })
}

/// How long it stays open yet.
fn open_for(breaker: &Breaker, now_ms: u64) -> u64 {
    match breaker.state(now_ms) {
        BreakerState::Open { retry_after } => ms(retry_after),
        state => panic!("{state}"),
    }
}

#[test]
fn five_failures_in_a_row_open_it_and_a_call_that_worked_ends_the_row() {
    for ends_the_row in [Outcome::Good, Outcome::Slow] {
        let mut breaker = breaker();
        calls(&mut breaker, 4, Outcome::Failed, 0);
        calls(&mut breaker, 1, ends_the_row, 0);
        calls(&mut breaker, 4, Outcome::Failed, 0);
        calls(&mut breaker, 1, Outcome::Neutral, 0);
        assert_eq!(breaker.state(0), BreakerState::Closed);
        calls(&mut breaker, 1, Outcome::Failed, 0);
        assert!(is_open(&breaker, 0));
        assert!(!call(&mut breaker, Outcome::Good, 0));
        assert_eq!((breaker.opened(), breaker.share_permille(0)), (1, 0));
    }
}

#[test]
fn half_of_twenty_calls_within_ten_seconds_open_it_and_half_of_nineteen_do_not() {
    let mut breaker = breaker();
    for pair in 0..9 {
        calls(&mut breaker, 1, Outcome::Good, pair * 900);
        calls(&mut breaker, 1, Outcome::Failed, pair * 900);
    }
    calls(&mut breaker, 1, Outcome::Good, 8_200);
    assert_eq!(breaker.state(8_200), BreakerState::Closed);
    let mut spread = breaker.clone();
    calls(&mut breaker, 1, Outcome::Failed, 8_200);
    assert!(is_open(&breaker, 8_200));
    // The same a little later: the first of them are forgotten.
    calls(&mut spread, 1, Outcome::Failed, 11_000);
    assert_eq!(spread.state(11_000), BreakerState::Closed);
}

#[test]
fn slow_calls_open_it_only_while_another_set_is_well() {
    let slow = |others_are_well: bool| {
        let mut breaker = breaker();
        for _ in 0..100 {
            let Ok(permit) = breaker.admit(0) else { break };
            breaker.record(permit, Outcome::Slow, 0, others_are_well);
        }
        breaker
    };
    assert!(is_open(&slow(true), 0));
    let mut alone = slow(false);
    assert_eq!(alone.state(0), BreakerState::Closed);
    // Failures open it, others or not.
    trip(&mut alone, 0);

    // Four of five.
    let mut mixed = breaker();
    mixed.record_good_many(mixed.era(), 5, 19, 0, true);
    assert_eq!(mixed.state(0), BreakerState::Closed);
    mixed.record_good_many(mixed.era(), 0, 1, 0, true);
    assert!(is_open(&mixed, 0));
}

#[test]
fn late_news_from_before_it_opened_changes_nothing() {
    let mut breaker = breaker();
    let mut early: Vec<Permit> = (0..20).map(|_| breaker.admit(0).unwrap()).collect();
    trip(&mut breaker, 0);
    let before = breaker.state(500);
    for permit in early.drain(..10) {
        breaker.record(permit, Outcome::Failed, 500, true);
    }
    assert_eq!((breaker.state(500), breaker.opened()), (before, 1));
    // Nor does what went well close it, alone or as a group.
    for permit in early.drain(..5) {
        breaker.record(permit, Outcome::Good, 1_000, true);
    }
    breaker.record_good_many(1, 1_000, 0, 1_000, true);
    assert_eq!(breaker.state(1_000), BreakerState::Probing);
    // Nor does what failed open it again when it has closed.
    calls(&mut breaker, 2, Outcome::Good, 1_000);
    for permit in early {
        breaker.record(permit, Outcome::Failed, 1_000, true);
    }
    assert_eq!(breaker.state(1_000), BreakerState::Ramping { percent: 10 });
}

#[test]
fn three_probes_at_once_and_two_good_ones_close_it() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    assert!(breaker.admit(700).is_err());
    let probes: Vec<Permit> = (0..3).map(|_| breaker.admit(1_000).unwrap()).collect();
    assert!(probes.iter().all(Permit::is_probe));
    assert_eq!(breaker.admit(1_000), Err(Refused { retry_after_ms: 1_000 }));
    assert!(!breaker.probe_is_due(1_000), "there is no place");
    let mut probes = probes.into_iter();
    breaker.record(probes.next().unwrap(), Outcome::Good, 1_001, true);
    assert_eq!(breaker.state(1_001), BreakerState::Probing);
    assert!(!breaker.probe_is_due(1_001), "those under way can close it");
    breaker.record(probes.next().unwrap(), Outcome::Good, 1_002, true);
    assert_eq!(breaker.state(1_002), BreakerState::Ramping { percent: 10 });
    // The third is late news.
    let closed = breaker.era();
    breaker.record(probes.next().unwrap(), Outcome::Failed, 1_003, true);
    assert_eq!(breaker.era(), closed);
}

#[test]
fn no_more_probes_are_due_than_it_takes_to_close_it() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    assert!(!breaker.probe_is_due(700) && breaker.probe_is_due(1_000));
    let first = breaker.admit(1_000).unwrap();
    assert!(breaker.probe_is_due(1_000));
    breaker.record(first, Outcome::Good, 1_000, true);
    assert!(breaker.probe_is_due(1_000));
    let second = breaker.admit(1_000).unwrap();
    assert!(!breaker.probe_is_due(1_000), "one was good and one is under way");
    breaker.record(second, Outcome::Neutral, 1_000, true);
    assert!(breaker.probe_is_due(1_000));
}

#[test]
fn of_several_probes_the_first_that_fails_speaks_for_all() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    let [first, second, third] = [(); 3].map(|()| breaker.admit(1_000).unwrap());
    breaker.record(first, Outcome::Good, 1_001, true);
    breaker.record(second, Outcome::Failed, 1_002, true);
    assert!(is_open(&breaker, 1_002));
    breaker.record(third, Outcome::Good, 1_003, true);
    assert_eq!((breaker.opened(), is_open(&breaker, 1_003)), (2, true));
    // One good probe of the era before does not count in the next.
    let later = 1_002 + 2 * SECOND;
    calls(&mut breaker, 1, Outcome::Good, later);
    assert_eq!(breaker.state(later), BreakerState::Probing);
}

#[test]
fn a_probe_that_never_returns_has_failed() {
    let stuck = || {
        let mut breaker = breaker();
        trip(&mut breaker, 0);
        let probe = breaker.admit(1_000).unwrap();
        (breaker, probe)
    };
    // Found by the next who asks ...
    let (mut breaker, _lost) = stuck();
    assert!(breaker.admit(5_999).is_ok());
    assert!(breaker.admit(6_000).is_err());
    assert_eq!((breaker.opened(), is_open(&breaker, 6_000)), (2, true));
    // ... or by whoever lets time pass ...
    let (mut breaker, _lost) = stuck();
    breaker.tick(5_999);
    assert_eq!((breaker.opened(), breaker.probe_is_due(5_999)), (1, true));
    assert!(!breaker.probe_is_due(6_000), "it is about to open again");
    breaker.tick(6_000);
    assert_eq!(breaker.opened(), 2);
    // ... or by its own answer, which is too late.
    let (mut breaker, late) = stuck();
    breaker.record(late, Outcome::Good, 6_000, true);
    assert_eq!((breaker.opened(), is_open(&breaker, 6_000)), (2, true));
    // However often that happens, there is a probe again after each open time, and good ones close it.
    let (mut breaker, _lost) = stuck();
    let mut now_ms = 6_000;
    for _ in 0..20 {
        breaker.tick(now_ms);
        now_ms += open_for(&breaker, now_ms);
        let _lost = breaker.admit(now_ms).unwrap();
        now_ms += 5 * SECOND;
    }
    breaker.tick(now_ms);
    now_ms += open_for(&breaker, now_ms);
    calls(&mut breaker, 2, Outcome::Good, now_ms);
    assert_eq!(breaker.state(now_ms), BreakerState::Ramping { percent: 10 });
}

#[test]
fn a_probe_given_back_without_an_outcome_makes_room_for_another() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    // Thousands of them: it does not get stuck.
    for round in 0..5_000 {
        let [one, two, three] = [(); 3].map(|()| breaker.admit(1_000 + round).unwrap());
        assert!(breaker.admit(1_000 + round).is_err());
        for probe in [two, three, one] {
            breaker.record(probe, Outcome::Neutral, 1_000 + round, true);
        }
    }
    assert_eq!((breaker.state(6_000), breaker.opened()), (BreakerState::Probing, 1));
    calls(&mut breaker, 2, Outcome::Good, 6_000);
    assert_eq!(breaker.state(6_000), BreakerState::Ramping { percent: 10 });
}

#[test]
fn one_probe_reported_twice_through_its_number_counts_once() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    let raw = breaker.admit(1_000).unwrap().into_raw();
    for _ in 0..5 {
        breaker.record(Permit::from_raw(raw), Outcome::Good, 1_000, true);
    }
    assert_eq!(breaker.state(1_000), BreakerState::Probing);
    let _second = breaker.admit(1_000).unwrap();
    breaker.record(Permit::from_raw(raw), Outcome::Failed, 1_000, true);
    assert_eq!(breaker.opened(), 1);
}

#[test]
fn a_slow_probe_is_good_only_where_there_is_no_other_set() {
    for others_are_well in [true, false] {
        let mut breaker = breaker();
        trip(&mut breaker, 0);
        let [first, second] = [(); 2].map(|()| breaker.admit(1_000).unwrap());
        breaker.record(first, Outcome::Slow, 1_600, others_are_well);
        breaker.record(second, Outcome::Slow, 1_600, others_are_well);
        assert_eq!(is_open(&breaker, 1_600), others_are_well);
        assert_eq!(breaker.state(1_600) == BreakerState::Ramping { percent: 10 }, !others_are_well);
    }
}

#[test]
fn the_open_time_doubles_up_to_a_minute_and_is_forgotten_after_five_quiet_ones() {
    for seed in 0..50 {
        let mut breaker = Breaker::new(&BreakerSettings::new(), 0, seed);
        let mut now_ms = 0;
        let mut jitters = std::collections::BTreeSet::new();
        trip(&mut breaker, 0);
        for full in [1, 2, 4, 8, 16, 32, 60, 60, 60].map(|seconds| seconds * SECOND) {
            let open_ms = open_for(&breaker, now_ms);
            assert!((full * 3 / 4..=full).contains(&open_ms), "{open_ms} of {full}");
            jitters.insert((full - open_ms) * 1_000 / full);
            now_ms += open_ms;
            calls(&mut breaker, 1, Outcome::Failed, now_ms);
        }
        assert!(jitters.len() > 4, "{jitters:?}");
        // Closing alone does not make it forget: who falls and rises is left alone for longer and longer.
        now_ms += MINUTE;
        calls(&mut breaker, 2, Outcome::Good, now_ms);
        now_ms += 5 * MINUTE - 1;
        trip(&mut breaker, now_ms);
        assert!(open_for(&breaker, now_ms) >= 45 * SECOND);
        now_ms += MINUTE;
        calls(&mut breaker, 2, Outcome::Good, now_ms);
        now_ms += 5 * MINUTE;
        trip(&mut breaker, now_ms);
        assert!(open_for(&breaker, now_ms) <= SECOND);
    }
}

#[test]
fn after_closing_the_share_grows_from_a_tenth_to_the_whole_in_ten_seconds() {
    let mut breaker = breaker();
    trip(&mut breaker, 0);
    calls(&mut breaker, 2, Outcome::Good, 1_000);
    let shares = [0, 1, 5_000, 9_000, 9_999, 10_000, MINUTE].map(|after| breaker.share_permille(1_000 + after));
    assert_eq!(shares, [100, 100, 550, 910, 999, 1_000, 1_000]);
    assert_eq!(breaker.state(6_000), BreakerState::Ramping { percent: 55 });
    assert_eq!(breaker.state(11_000), BreakerState::Closed);
    // All calls are let through: the share is for choosing, and what was chosen is served.
    calls(&mut breaker, 1_000, Outcome::Good, 1_000);

    let at_once = BreakerSettings::new().ramp(Duration::ZERO, 10);
    let mut breaker = Breaker::new(&at_once, 0, 7);
    trip(&mut breaker, 0);
    calls(&mut breaker, 2, Outcome::Good, 1_000);
    assert_eq!((breaker.state(1_000), breaker.share_permille(1_000)), (BreakerState::Closed, 1_000));
}

#[test]
fn forced_open_lets_nothing_through_and_forced_closed_everything() {
    let mut breaker = breaker();
    let early = breaker.admit(0).unwrap();
    breaker.force(Forced::Open, 0);
    for now_ms in [0, SECOND, 100 * MINUTE] {
        assert_eq!(breaker.admit(now_ms), Err(Refused { retry_after_ms: MINUTE }));
        assert!(!breaker.probe_is_due(now_ms));
    }
    breaker.record(early, Outcome::Good, 0, true);
    assert_eq!((breaker.state(0), breaker.share_permille(0)), (BreakerState::ForcedOpen, 0));

    breaker.force(Forced::Closed, 0);
    calls(&mut breaker, 1_000, Outcome::Failed, 0);
    assert_eq!((breaker.state(0), breaker.share_permille(0)), (BreakerState::ForcedClosed, 1_000));
    // What happened meanwhile does not count afterwards.
    let meanwhile: Vec<Permit> = (0..10).map(|_| breaker.admit(0).unwrap()).collect();
    breaker.force(Forced::Auto, 0);
    meanwhile.into_iter().for_each(|permit| breaker.record(permit, Outcome::Failed, 0, true));
    calls(&mut breaker, 4, Outcome::Failed, 0);
    assert_eq!(breaker.state(0), BreakerState::Closed);
    assert_eq!(breaker.opened(), 0, "what operators do is not counted");

    // From forced open the way back is through probes, at once.
    breaker.force(Forced::Open, 0);
    let now_ms = 100 * MINUTE;
    breaker.force(Forced::Auto, now_ms);
    assert_eq!(breaker.state(now_ms), BreakerState::Probing);
    calls(&mut breaker, 2, Outcome::Good, now_ms);
    assert_eq!(breaker.state(now_ms), BreakerState::Ramping { percent: 10 });
    // The word of an operator said twice, or `Auto` where nothing is forced, changes nothing.
    let era = breaker.era();
    breaker.force(Forced::Auto, now_ms);
    assert_eq!(breaker.era(), era);
    breaker.force(Forced::Open, now_ms);
    breaker.force(Forced::Open, now_ms);
    assert_eq!(breaker.era(), era + 1);
}

#[test]
fn time_that_goes_back_or_ends_does_no_harm() {
    let mut breaker = Breaker::new(&BreakerSettings::new(), MINUTE, 7);
    trip(&mut breaker, MINUTE);
    let open_ms = open_for(&breaker, MINUTE);
    assert_eq!(open_for(&breaker, 0), open_ms, "not longer for a clock that went back");
    let probe = breaker.admit(MINUTE + SECOND).unwrap();
    breaker.record(probe, Outcome::Failed, 0, true);
    assert!(open_for(&breaker, MINUTE + SECOND) <= 2 * SECOND);
    // At the end of time every moment has passed and every probe is late; nothing overflows.
    for _ in 0..10 {
        assert!(breaker.admit(u64::MAX).is_ok());
    }
}

#[test]
fn the_wall_clock_has_no_part() {
    use crate::testing::ManualClock;
    use crate::time::{Clock, Now};
    let (steady, jumping) = (ManualClock::new(1_800_000_000_000), ManualClock::new(1_800_000_000_000));
    let (mut one, mut two) = (breaker(), breaker());
    let mut rng = fastrand::Rng::with_seed(1);
    for _ in 0..5_000 {
        let outcome = rng.choice([Outcome::Good, Outcome::Failed, Outcome::Failed, Outcome::Slow]).unwrap();
        let passed = Duration::from_millis(rng.u64(0..500));
        steady.advance(passed);
        jumping.advance(passed);
        jumping.set_wall_ms(rng.i64(..));
        assert_ne!(Now::read(&steady).wall_ms, Now::read(&jumping).wall_ms);
        let (now_one, now_two) = (steady.boot_ms(), jumping.boot_ms());
        assert_eq!(call(&mut one, outcome, now_one), call(&mut two, outcome, now_two));
        assert_eq!(one.state(now_one), two.state(now_two));
    }
    assert!(one.opened() > 10);
}

/// Eight SETs, of which four are well for a second and sick for a second, for ten minutes, which is the worst there is for a
/// breaker that opens for a second. They are left alone for longer and longer, so that few calls fail; the others are not touched; and
/// when it is over they all come back.
#[test]
fn half_of_them_flap_at_the_breakers_period() {
    let mut sets: Vec<Breaker> = (0..8).map(|seed| Breaker::new(&BreakerSettings::new(), 0, seed)).collect();
    let mut failed = [0; 8];
    for now_ms in (0..10 * MINUTE).step_by(10) {
        let sick = now_ms / SECOND % 2 == 1;
        for (set, breaker) in sets.iter_mut().enumerate() {
            let outcome = if set < 4 && sick { Outcome::Failed } else { Outcome::Good };
            failed[set] += u32::from(call(breaker, outcome, now_ms) && outcome == Outcome::Failed);
        }
    }
    for (set, breaker) in sets.iter_mut().enumerate() {
        if set >= 4 {
            assert_eq!((breaker.opened(), failed[set]), (0, 0));
            continue;
        }
        // 63 s of doubling, then at least 45 s each time.
        assert!((5..=6 + 13).contains(&breaker.opened()), "opened {} times", breaker.opened());
        assert!(u64::from(failed[set]) <= 5 * breaker.opened(), "{} failed", failed[set]);
        let end = 11 * MINUTE;
        (10 * MINUTE..end).step_by(10).for_each(|now_ms| _ = call(breaker, Outcome::Good, now_ms));
        assert!(matches!(breaker.state(end), BreakerState::Closed | BreakerState::Ramping { .. }));
    }
}
