use super::*;
use std::collections::BTreeMap;
use std::sync::Barrier;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

fn gate() -> Gate {
    Gate::new(&BreakerSettings::new(), 0, 7)
}

fn nobody() -> bool {
    false
}

fn call(gate: &Gate, outcome: Outcome, now_ms: u64) -> bool {
    gate.admit(now_ms).map(|permit| gate.report(permit, outcome, now_ms, nobody)).is_ok()
}

fn trip(gate: &Gate, now_ms: u64) {
    (0..5).for_each(|_| assert!(call(gate, Outcome::Failed, now_ms)));
    assert!(!gate.is_closed());
}

/// Whatever is called, alone, in groups, in whatever order: the gate answers as the breaker does that is told everything at once.
#[test]
fn on_one_thread_it_is_the_breaker() {
    let (mut opened, mut closed, mut groups) = (0, 0, 0);
    for seed in 0..1_000 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let settings = BreakerSettings::new()
            .failures_in_a_row(rng.u32(2..10))
            .window(Duration::from_millis(rng.u64(10..12_000)), rng.u32(1..30))
            .probe_timeout(Duration::from_millis(rng.u64(10..3_000)));
        let mut now_ms = rng.u64(0..100_000);
        let gate = Gate::new(&settings, now_ms, seed);
        let mut breaker = Breaker::new(&settings, now_ms, seed);
        let mut given: Vec<u64> = Vec::new();
        let (mut bad, mut slow) = (0, 0);
        for _ in 0..600 {
            if rng.u8(0..40) == 0 {
                (bad, slow) = (*rng.choice(&[0, 0, 0, 30, 60, 100]).unwrap(), *rng.choice(&[0, 0, 90]).unwrap());
            }
            now_ms += if rng.u8(0..10) == 0 { rng.u64(0..2_000) } else { rng.u64(0..20) };
            let others = rng.bool();
            let outcome = |rng: &mut fastrand::Rng| match rng.u8(0..100) {
                roll if roll < bad => Outcome::Failed,
                _ if rng.u8(0..100) < slow => Outcome::Slow,
                _ if rng.u8(0..10) == 0 => Outcome::Neutral,
                _ => Outcome::Good,
            };
            match rng.u8(0..100) {
                0..50 => {
                    let answer = gate.admit(now_ms).map(Permit::into_raw);
                    assert_eq!(answer, breaker.admit(now_ms).map(Permit::into_raw), "seed {seed}");
                    given.extend(answer);
                }
                50..85 if !given.is_empty() => {
                    let (raw, outcome) = (given.swap_remove(rng.usize(..given.len())), outcome(&mut rng));
                    gate.report(Permit::from_raw(raw), outcome, now_ms, || others);
                    breaker.record(Permit::from_raw(raw), outcome, now_ms, others);
                }
                85..96 if !given.is_empty() => {
                    let mut batch = gate.batch(now_ms, || others);
                    // What worked is told together, in its turn; the share of slow ones is then taken of all of them.
                    let (era, mut good, mut slow_ones) = (breaker.era(), 0, 0);
                    for raw in given.drain(rng.usize(..given.len())..) {
                        let (permit, outcome) = (Permit::from_raw(raw), outcome(&mut rng));
                        batch.report(Permit::from_raw(raw), outcome);
                        groups += 1;
                        match outcome {
                            Outcome::Good if permit.era() == era && !permit.is_probe() => good += 1,
                            Outcome::Slow if permit.era() == era && !permit.is_probe() => slow_ones += 1,
                            Outcome::Good | Outcome::Failed | Outcome::Neutral | Outcome::Slow => {
                                breaker.record_good_many(era, good, slow_ones, now_ms, others);
                                (good, slow_ones) = (0, 0);
                                breaker.record(permit, outcome, now_ms, others);
                            }
                        }
                    }
                    breaker.record_good_many(era, good, slow_ones, now_ms, others);
                }
                96 if rng.u8(0..5) == 0 => {
                    let forced = *rng.choice(&[Forced::Open, Forced::Closed, Forced::Auto, Forced::Auto]).unwrap();
                    gate.force(forced, now_ms);
                    breaker.force(forced, now_ms);
                }
                _ => {
                    breaker.tick(now_ms);
                    assert_eq!(gate.probe_is_due(now_ms), breaker.probe_is_due(now_ms), "seed {seed}");
                    assert_eq!(gate.retry_after_ms(now_ms), breaker.retry_after_ms(now_ms), "seed {seed}");
                }
            }
            let status = gate.status(now_ms);
            assert_eq!(status.state, breaker.state(now_ms), "seed {seed}");
            assert_eq!((status.since_ms, status.opened), (breaker.since_ms(), breaker.opened()), "seed {seed}");
            assert_eq!(gate.share_permille(now_ms), breaker.share_permille(now_ms), "seed {seed}");
            assert_eq!(gate.is_closed(), breaker.is_closed(), "seed {seed}");
        }
        opened += breaker.opened();
        closed += u32::from(breaker.opened() > 0 && breaker.is_closed());
    }
    assert!(opened > 1_000 && closed > 100 && groups > 10_000, "{opened} {closed} {groups}");
}

#[test]
fn of_a_thousand_threads_at_the_moment_it_opens_its_probes_three_get_in() {
    let gate = gate();
    trip(&gate, 0);
    let (start, in_at_once) = (Barrier::new(1_000), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for _ in 0..1_000 {
            let thread = std::thread::Builder::new().stack_size(64 << 10);
            let run = || {
                start.wait();
                match gate.admit(1_000) {
                    Ok(permit) => assert!(permit.is_probe() && in_at_once.fetch_add(1, Relaxed) < 3),
                    Err(refused) => assert_eq!(refused.retry_after_ms, 1_000),
                }
            };
            thread.spawn_scoped(scope, run).expect("a thousand small threads can be had");
        }
    });
    assert_eq!(in_at_once.load(Relaxed), 3);
}

/// Threads call as they like by a shared clock: never are more than three probes of an era under way, and in the end, when all goes
/// well again, it closes.
#[test]
fn under_many_threads_it_opens_probes_and_closes_again() {
    let gate = Gate::new(&BreakerSettings::new().open_time(Duration::from_millis(100), Duration::from_millis(400)), 0, 7);
    // By era; counted after a probe is let through and until before it is reported.
    let (clock_ms, under_way) = (AtomicU64::new(0), Mutex::new(BTreeMap::new()));
    let (probed, refused) = (AtomicUsize::new(0), AtomicUsize::new(0));
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (gate, clock_ms, under_way, probed, refused) = (&gate, &clock_ms, &under_way, &probed, &refused);
            scope.spawn(move || {
                let mut rng = fastrand::Rng::with_seed(thread);
                for _ in 0..20_000 {
                    let now_ms = clock_ms.fetch_add(u64::from(rng.u8(0..8) == 0), Relaxed);
                    let sick = now_ms / 500 % 2 == 1;
                    let Ok(permit) = gate.admit(now_ms) else {
                        refused.fetch_add(1, Relaxed);
                        continue;
                    };
                    let probe_of = permit.is_probe().then_some(permit.era());
                    if let Some(era) = probe_of {
                        probed.fetch_add(1, Relaxed);
                        let mut under_way = under_way.lock();
                        let count: &mut u32 = under_way.entry(era).or_default();
                        *count += 1;
                        assert!(*count <= 3);
                    }
                    let outcome = match rng.u8(0..100) {
                        0..5 => Outcome::Neutral,
                        5..80 if sick => Outcome::Failed,
                        _ => Outcome::Good,
                    };
                    if let Some(era) = probe_of {
                        *under_way.lock().get_mut(&era).expect("it was counted") -= 1;
                    }
                    gate.report(permit, outcome, now_ms, nobody);
                }
            });
        }
    });
    let (probed, refused) = (probed.load(Relaxed), refused.load(Relaxed));
    let now_ms = clock_ms.load(Relaxed) + 1_000;
    assert!(gate.status(now_ms).opened > 0 && probed > 0 && refused > 0, "{probed} probed, {refused} refused");
    // Whatever was left under way is lost, and found.
    assert!(gate.is_closed() || gate.probe_is_due(now_ms + 10_000));
    (0..100).for_each(|step| _ = call(&gate, Outcome::Good, now_ms + 20_000 + step * 10));
    assert!(gate.is_closed());
}

#[test]
fn from_the_first_failure_on_good_calls_of_all_threads_are_counted() {
    const CALLS: u64 = 2_000_000;
    let gate = gate();
    call(&gate, Outcome::Failed, 0);
    call(&gate, Outcome::Good, 0); // Ends the row, or each thread would be told one by one.
    let start = Barrier::new(4);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (gate, start) = (&gate, &start);
            scope.spawn(move || {
                start.wait();
                let mut batch = gate.batch(0, nobody);
                for at in 0..CALLS {
                    match thread == 1 && at % 3 == 0 {
                        true => batch.report(gate.admit(0).unwrap(), Outcome::Good),
                        false => assert!(call(gate, Outcome::Good, 0)),
                    }
                }
            });
        }
    });
    let counted = &gate.counted.0;
    assert_eq!((counted.exactly.load(Relaxed), counted.roughly.load(Relaxed)), (4 * CALLS, 0));
}

/// The number of a probe was once equal to a flag: a good fourth probe was counted as a call of a closed breaker, and its place was
/// lost until it timed out.
#[test]
fn any_probe_of_an_era_may_be_the_good_one() {
    for given_back in 0..40 {
        let gate = gate();
        trip(&gate, 0);
        (0..given_back).for_each(|_| assert!(call(&gate, Outcome::Neutral, 1_000)));
        (0..2).for_each(|_| assert!(call(&gate, Outcome::Good, 1_000)));
        assert!(gate.is_closed(), "after {given_back}");
    }
}

#[test]
fn once_the_window_has_forgotten_a_failure_a_good_call_is_cheap_again() {
    let gate = gate();
    let flags = || gate.published.0.word.load(Relaxed) & !ERA;
    call(&gate, Outcome::Failed, 0);
    assert_eq!(flags(), FAILING | WATCHED);
    call(&gate, Outcome::Good, 0);
    assert_eq!(flags(), WATCHED);
    call(&gate, Outcome::Good, 9_999);
    assert_eq!(flags(), WATCHED);
    call(&gate, Outcome::Good, 10_000);
    assert_eq!(flags(), 0);
}

#[test]
fn a_batch_that_outlives_the_opening_is_late_news() {
    let gate = gate();
    let mut batch = gate.batch(0, || true);
    (0..100).for_each(|_| batch.report(gate.admit(0).unwrap(), Outcome::Slow));
    trip(&gate, 0);
    let opened = gate.status(0);
    drop(batch);
    assert_eq!(gate.status(0), opened);

    // Nor does it count when the breaker is closed again meanwhile.
    (0..2).for_each(|_| assert!(call(&gate, Outcome::Good, 1_000)));
    let mut batch = gate.batch(1_000, || true);
    (0..100).for_each(|_| batch.report(gate.admit(1_000).unwrap(), Outcome::Good));
    trip(&gate, 1_000);
    (0..2).for_each(|_| assert!(call(&gate, Outcome::Good, 5_000)));
    drop(batch);
    for _ in 0..10 {
        assert!(call(&gate, Outcome::Good, 5_000) && call(&gate, Outcome::Failed, 5_000));
    }
    assert!(!gate.is_closed(), "half of twenty");
}

#[test]
fn neither_good_calls_nor_refused_ones_wait_for_the_lock() {
    let gate = gate();
    {
        let _held = gate.breaker.0.lock();
        // The end of a bucket, too.
        for now_ms in [0, 999, 1_000, 5_000] {
            assert!(call(&gate, Outcome::Good, now_ms) && call(&gate, Outcome::Neutral, now_ms));
            gate.batch(now_ms, nobody).report(gate.admit(now_ms).unwrap(), Outcome::Good);
        }
    }
    let late = gate.admit(5_000).unwrap();
    trip(&gate, 5_000);
    let held = gate.breaker.0.lock();
    assert!(gate.admit(5_000).is_err());
    assert_eq!((gate.share_permille(5_000), gate.may_probe(5_000)), (0, false));
    // Thousands may fail at the moment it opens; only the first of them had to be told.
    gate.report(late, Outcome::Failed, 5_000, nobody);
    drop(held);
    let _probes = [(); 3].map(|()| gate.admit(6_000).unwrap());
    let _held = gate.breaker.0.lock();
    assert!(gate.admit(6_000).is_err());
}

#[test]
fn others_are_asked_about_only_when_a_call_was_slow() {
    let gate = gate();
    let asked = AtomicUsize::new(0);
    let ask = || asked.fetch_add(1, Relaxed) < usize::MAX;
    for outcome in [Outcome::Good, Outcome::Failed, Outcome::Neutral, Outcome::Good] {
        gate.report(gate.admit(0).unwrap(), outcome, 0, ask);
        gate.batch(0, ask).report(gate.admit(0).unwrap(), outcome);
    }
    assert_eq!(asked.load(Relaxed), 0);
    gate.report(gate.admit(0).unwrap(), Outcome::Slow, 0, ask);
    assert_eq!(asked.load(Relaxed), 1);
    // A whole group of slow calls asks once.
    let mut batch = gate.batch(0, ask);
    (0..100).for_each(|_| batch.report(gate.admit(0).unwrap(), Outcome::Slow));
    drop(batch);
    assert_eq!((asked.load(Relaxed), gate.is_closed()), (2, false));
}

#[test]
fn a_gate_shares_no_cache_lines_with_its_neighbour() {
    assert_eq!((align_of::<Gate>(), size_of::<Gate>() % 128), (128, 0));
    assert_eq!(size_of::<Apart<Published>>(), 128);
    assert_eq!(size_of::<Apart<Counted>>(), 128);
}
