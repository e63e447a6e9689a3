//! The breaker beside the obvious slow one, which remembers all that ever happened and works everything out anew.

use super::*;

/// What the rules say, spelled out.
struct Model {
    settings: BreakerSettings,
    now_ms: u64,
    moves: Vec<Move>,
    /// Since the last move, what the calls said.
    said: Vec<(u64, Outcome)>,
    /// Since the last move: when each probe was sent, and what it said.
    probes: Vec<(u64, Option<Outcome>)>,
}

#[derive(Clone, Copy)]
struct Move {
    at_ms: u64,
    to: Is,
}

#[derive(Clone, Copy, PartialEq, Debug)]
enum Is {
    New,
    Closed,
    /// With what it really rolled.
    Open {
        until_ms: u64,
    },
    /// After it was forced open: open with its moment passed.
    Awaiting,
    ForcedOpen,
    ForcedClosed,
    NoMoreForced,
}

/// How often each thing happened over all seeds, so that a tame run fails.
#[derive(Default, Debug)]
struct Seen {
    rows: u32,
    rates: u32,
    slow: u32,
    failed_probes: u32,
    lost_probes: u32,
    closed: u32,
    late_news: u32,
    refused_for_places: u32,
    at_the_longest: u32,
    forgotten: u32,
    ramping: u32,
}

impl Model {
    fn last(&self) -> Move {
        *self.moves.last().expect("it began")
    }

    fn move_to(&mut self, to: Is) {
        self.moves.push(Move { at_ms: self.now_ms, to });
        self.said.clear();
        self.probes.clear();
    }

    /// Takes over what the breaker rolled, having checked it against the history.
    fn open(&mut self, breaker: &Breaker, seen: &mut Seen) {
        let mut full = ms(self.settings.open_time);
        let closed_for = |from: &Move, to: &Move| match from.to {
            Is::New | Is::Closed | Is::NoMoreForced => Some(to.at_ms - from.at_ms),
            Is::Open { .. } | Is::Awaiting | Is::ForcedOpen | Is::ForcedClosed => None,
        };
        let now = Move { at_ms: self.now_ms, to: Is::Open { until_ms: 0 } };
        let longest = ms(self.settings.open_time_max);
        let mut forgot = false;
        for at in 1..=self.moves.len() {
            let to = self.moves.get(at).unwrap_or(&now);
            if let Is::Open { .. } = to.to {
                forgot = closed_for(&self.moves[at - 1], to).is_some_and(|ms_| ms_ >= ms(self.settings.forget_after));
                if forgot {
                    full = ms(self.settings.open_time);
                }
                if at < self.moves.len() {
                    full = longest.min(2 * full);
                }
            }
        }
        seen.forgotten += u32::from(forgot && self.moves.len() > 1);
        seen.at_the_longest += u32::from(full == longest);
        let Stage::Open { until_ms } = breaker.stage else { panic!("must have opened: {breaker:?}") };
        let open_ms = until_ms - self.now_ms;
        assert!(open_ms <= full && open_ms >= full - full / 4, "{open_ms} of {full}");
        self.move_to(Is::Open { until_ms });
    }

    fn rested(&self) -> bool {
        match self.last().to {
            Is::Open { until_ms } => until_ms <= self.now_ms,
            to => to == Is::Awaiting,
        }
    }

    fn under_way(&self) -> Vec<u64> {
        self.probes.iter().filter(|(_, said)| said.is_none()).map(|(sent_ms, _)| *sent_ms).collect()
    }

    fn probe_is_lost(&self) -> bool {
        self.under_way().iter().any(|sent_ms| sent_ms + ms(self.settings.probe_timeout) <= self.now_ms)
    }

    fn said_lately(&self, wanted: &[Outcome]) -> u64 {
        let bucket_ms = ms(self.settings.window) / 10;
        let lately = |at_ms: u64| at_ms / bucket_ms + 10 > self.now_ms / bucket_ms;
        self.said.iter().filter(|(at_ms, outcome)| lately(*at_ms) && wanted.contains(outcome)).count() as u64
    }

    fn too_many(&self, bad: Outcome, percent: u32) -> bool {
        let total = self.said_lately(&[Outcome::Good, Outcome::Failed, Outcome::Slow]);
        total >= u64::from(self.settings.calls_min) && self.said_lately(&[bad]) * 100 >= total * u64::from(percent)
    }

    fn state(&self) -> BreakerState {
        let last = self.last();
        match last.to {
            Is::New | Is::NoMoreForced => BreakerState::Closed,
            Is::Closed => {
                let (gone_ms, from) = (self.now_ms - last.at_ms, f64::from(self.settings.ramp_from_percent));
                let grown = gone_ms as f64 / ms(self.settings.ramp) as f64;
                match grown < 1.0 && from < 100.0 {
                    true => BreakerState::Ramping { percent: (from + (100.0 - from) * grown + 1e-9) as u8 },
                    false => BreakerState::Closed,
                }
            }
            Is::Open { until_ms } if self.now_ms < until_ms => {
                BreakerState::Open { retry_after: Duration::from_millis(until_ms - self.now_ms) }
            }
            Is::Open { .. } | Is::Awaiting => BreakerState::Probing,
            Is::ForcedOpen => BreakerState::ForcedOpen,
            Is::ForcedClosed => BreakerState::ForcedClosed,
        }
    }
}

/// A permit as the model knows it.
struct Given {
    permit: Permit,
    moves: usize,
    probe: Option<usize>,
}

fn admit(breaker: &mut Breaker, model: &mut Model, given: &mut Vec<Given>, seen: &mut Seen) {
    let answer = breaker.admit(model.now_ms);
    if model.probe_is_lost() {
        seen.lost_probes += 1;
        model.open(breaker, seen);
    }
    let places = model.settings.probes_at_once as usize;
    let (closed, probe) = match model.last().to {
        Is::New | Is::Closed | Is::NoMoreForced | Is::ForcedClosed => (true, false),
        Is::ForcedOpen => (false, false),
        Is::Open { .. } | Is::Awaiting => (false, model.rested() && model.under_way().len() < places),
    };
    seen.refused_for_places += u32::from(model.rested() && !probe);
    assert_eq!(answer.is_ok(), closed || probe);
    let moves = model.moves.len();
    match answer {
        Ok(permit) => {
            assert_eq!(permit.is_probe(), probe);
            if probe {
                model.probes.push((model.now_ms, None));
            }
            given.push(Given { permit, moves, probe: probe.then(|| model.probes.len() - 1) });
        }
        Err(refused) => {
            if let BreakerState::Open { retry_after } = model.state() {
                assert_eq!(refused.retry_after_ms, ms(retry_after));
            }
            assert!((1..=ms(model.settings.open_time_max)).contains(&refused.retry_after_ms));
        }
    }
}

fn report(breaker: &mut Breaker, model: &mut Model, given: Given, outcome: Outcome, others: bool, seen: &mut Seen) {
    let late = given.moves != model.moves.len();
    seen.late_news += u32::from(late);
    breaker.record(given.permit, outcome, model.now_ms, others);
    if late {
        return;
    }
    match model.last().to {
        Is::ForcedOpen | Is::ForcedClosed => {}
        Is::New | Is::Closed | Is::NoMoreForced => {
            model.said.push((model.now_ms, outcome));
            let spoke = model.said.iter().rev().filter(|(_, outcome)| *outcome != Outcome::Neutral);
            let row = spoke.take_while(|(_, outcome)| *outcome == Outcome::Failed).count();
            let row = row >= model.settings.failures_in_a_row as usize;
            let rate = model.too_many(Outcome::Failed, model.settings.failed_percent);
            let slow = others && model.too_many(Outcome::Slow, model.settings.slow_percent);
            match outcome {
                Outcome::Failed if row || rate => {
                    (seen.rows, seen.rates) = (seen.rows + u32::from(row), seen.rates + u32::from(!row));
                    model.open(breaker, seen);
                }
                Outcome::Slow if slow => {
                    seen.slow += 1;
                    model.open(breaker, seen);
                }
                Outcome::Good | Outcome::Slow | Outcome::Failed | Outcome::Neutral => {}
            }
        }
        Is::Open { .. } | Is::Awaiting if model.probe_is_lost() => {
            seen.lost_probes += 1;
            model.open(breaker, seen);
        }
        Is::Open { .. } | Is::Awaiting => {
            let probe = given.probe.expect("nothing else is let through while it is open");
            model.probes[probe].1 = Some(outcome);
            let good = |said: Outcome| matches!(said, Outcome::Good | Outcome::Slow);
            if outcome == Outcome::Failed || outcome == Outcome::Slow && others {
                seen.failed_probes += 1;
                model.open(breaker, seen);
            } else if model.probes.iter().filter(|(_, said)| said.is_some_and(good)).count()
                >= model.settings.probes_to_close as usize
            {
                seen.closed += 1;
                model.move_to(Is::Closed);
            }
        }
    }
}

fn any_settings(rng: &mut fastrand::Rng) -> BreakerSettings {
    let millis = |range: std::ops::Range<u64>, rng: &mut fastrand::Rng| Duration::from_millis(rng.u64(range));
    let open_time = millis(10..2_000, rng);
    BreakerSettings::new()
        .failures_in_a_row(rng.u32(1..8))
        .failed_percent(rng.u32(20..=100))
        .slow_calls(Duration::from_millis(500), rng.u32(20..=100))
        .window(millis(10..12_000, rng), rng.u32(1..30))
        .open_time(open_time, open_time * rng.u32(1..70))
        .forget_after(millis(1..60_000, rng))
        .probes(rng.u32(1..=8), rng.u32(1..5))
        .probe_timeout(millis(10..6_000, rng))
        .ramp(millis(0..12_000, rng), rng.u32(1..=100))
}

fn live(seed: u64, seen: &mut Seen) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let settings = if rng.u8(0..4) == 0 { BreakerSettings::new() } else { any_settings(&mut rng) };
    let now_ms = rng.u64(0..1_000_000);
    let mut breaker = Breaker::new(&settings, now_ms, rng.u64(..));
    let begin = Move { at_ms: now_ms, to: Is::New };
    let mut model = Model { settings, now_ms, moves: vec![begin], said: Vec::new(), probes: Vec::new() };
    let mut given: Vec<Given> = Vec::new();
    let (mut bad, mut slow) = (0, 0);
    for _ in 0..600 {
        if rng.u8(0..40) == 0 {
            // How sick it is, in percent.
            (bad, slow) = (*rng.choice(&[0, 0, 30, 60, 100]).unwrap(), *rng.choice(&[0, 0, 50, 100]).unwrap());
        }
        model.now_ms += match rng.u16(0..200) {
            0 => rng.u64(0..100_000),
            1..20 => rng.u64(0..2_000),
            _ => rng.u64(0..20),
        };
        let (before, era) = (model.moves.len(), breaker.era());
        match rng.u8(0..100) {
            0..50 => admit(&mut breaker, &mut model, &mut given, seen),
            50..97 if !given.is_empty() => {
                let given = given.swap_remove(rng.usize(..given.len()));
                let outcome = match rng.u8(0..100) {
                    roll if roll < bad => Outcome::Failed,
                    _ if rng.u8(0..100) < slow => Outcome::Slow,
                    _ if rng.u8(0..10) == 0 => Outcome::Neutral,
                    _ => Outcome::Good,
                };
                report(&mut breaker, &mut model, given, outcome, rng.bool(), seen);
            }
            97 if rng.u8(0..10) == 0 => {
                let forced = *rng.choice(&[Forced::Open, Forced::Closed, Forced::Auto, Forced::Auto, Forced::Auto]).unwrap();
                breaker.force(forced, model.now_ms);
                match (forced, model.last().to) {
                    (Forced::Open, Is::ForcedOpen) | (Forced::Closed, Is::ForcedClosed) => {}
                    (Forced::Open, _) => model.move_to(Is::ForcedOpen),
                    (Forced::Closed, _) => model.move_to(Is::ForcedClosed),
                    (Forced::Auto, Is::ForcedOpen) => model.move_to(Is::Awaiting),
                    (Forced::Auto, Is::ForcedClosed) => model.move_to(Is::NoMoreForced),
                    (Forced::Auto, _) => {}
                }
            }
            _ => {
                breaker.tick(model.now_ms);
                if model.probe_is_lost() {
                    seen.lost_probes += 1;
                    model.open(&breaker, seen);
                }
            }
        }
        assert_eq!(breaker.state(model.now_ms), model.state());
        seen.ramping += u32::from(matches!(model.state(), BreakerState::Ramping { .. }));
        assert_eq!(breaker.era() - era, (model.moves.len() - before) as u32, "each move begins an era");
        assert!(breaker.probes_under_way() <= settings.probes_at_once as usize);
        assert_eq!(breaker.probes_under_way(), model.under_way().len());
    }
}

#[test]
fn it_moves_when_the_obvious_slow_one_moves_and_never_else() {
    let mut seen = Seen::default();
    for seed in 0..2_000 {
        let lived = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| live(seed, &mut seen)));
        assert!(lived.is_ok(), "seed {seed}");
    }
    let Seen { rows, rates, slow, failed_probes, lost_probes, closed, late_news, .. } = seen;
    let Seen { refused_for_places, at_the_longest, forgotten, ramping, .. } = seen;
    let all = [rows, rates, slow, failed_probes, lost_probes, closed, late_news];
    let all = all.into_iter().chain([refused_for_places, at_the_longest, forgotten, ramping]);
    assert!(all.min() > Some(50), "{seen:?}");
}
