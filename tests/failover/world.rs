//! A random world: three SETs, callers who create, change, read and scan, and an operator who breaks, mends, drains and kills. When it
//! has come to rest it is held against what everybody was told.
//!
//! `ORDERMINT_WORLDS` says how many, `ORDERMINT_WORLD_SEED` which is the first.

use crate::bench::{AGES, Killed, OneSet, World, id, today, until};
use crate::history::{History, comes_to_rest, is_as_told, is_key, order_of, with_key};
use fastrand::Rng;
use ordermint::{
    BreakerSettings, CreateOptions, Error, OrderNumber, OrderStore, Pending, Placed, ReplicaState, Version, WriteOptions,
};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SETS: [u16; 3] = [1, 2, 3];

/// One process.
struct Life<'a> {
    world: &'a World,
    store: OrderStore,
    history: &'a Mutex<History>,
    name: String,
    stop: AtomicBool,
    /// It was killed: what comes from now on, nobody hears.
    dead: AtomicBool,
}

impl Life<'_> {
    fn is_over(&self) -> bool {
        self.stop.load(Ordering::SeqCst)
    }

    /// The answer, unless the process dies first.
    fn hears<T>(&self, mut pending: Pending<T>) -> Option<Result<T, Error>> {
        let start = Instant::now();
        loop {
            let answer = pending.wait_timeout(Duration::from_millis(10));
            if self.dead.load(Ordering::SeqCst) {
                return None;
            }
            match answer {
                Ok(answer) => return Some(answer),
                Err(waits) => pending = waits,
            }
            assert!(start.elapsed() < AGES, "an operation never ends");
        }
    }

    fn history(&self) -> std::sync::MutexGuard<'_, History> {
        self.history.lock().expect("no panic")
    }

    /// Creates, changes some of what it created, and tries to change what was given up.
    fn write(&self, name: &str, mut rng: Rng) {
        let mut mine: Vec<(OrderNumber, Version, String)> = Vec::new();
        for batch in 0.. {
            if self.is_over() {
                return;
            }
            let options = |rng: &mut Rng| CreateOptions::new().deadline(Duration::from_millis(rng.u64(100..1_500)));
            let orders: Vec<String> = (0..rng.usize(1..24))
                .map(|at| if rng.bool() { self.history().key(&mut rng) } else { format!("{} {name} {batch} {at}", self.name) })
                .collect();
            let send = |order: &String| self.store.create_with(format!("{order}|0"), with_key(options(&mut rng), order));
            let sent: Vec<Pending<Placed>> = orders.iter().map(send).collect();
            for (order, pending) in orders.into_iter().zip(sent) {
                let answer = self.hears(pending);
                let mut history = self.history();
                match answer {
                    answer if is_key(&order) => mine.extend(self.heard_of_key(&mut history, order, answer)),
                    Some(Ok(placed)) => {
                        let before = history.acknowledged.insert(placed.number, order.clone());
                        assert_eq!(before, None, "{} was given out twice", placed.number);
                        for number in placed.superseded {
                            assert!(history.superseded.insert(number), "{number} was given up twice");
                        }
                        mine.push((placed.number, placed.version, order));
                    }
                    Some(Err(Error::Ambiguous { token, .. })) => history.doubts.push((token, order)),
                    Some(Err(Error::NotAttempted { .. })) => _ = history.refused.insert(order),
                    // The store was closed under it: nothing was sent.
                    Some(Err(Error::Closed)) if self.is_over() => _ = history.refused.insert(order),
                    Some(Err(error)) => panic!("{order}: {error}"),
                    None => _ = history.unanswered.insert(order),
                }
            }
            if !mine.is_empty() && rng.u8(..) < 100 {
                let pick = rng.usize(..mine.len());
                let (number, version, order) = &mut mine[pick];
                let hasty = WriteOptions::new().deadline(Duration::from_millis(300));
                let update = self.store.update_with(*number, *version, format!("{order}|{batch}"), hasty);
                match self.hears(update) {
                    Some(Ok(newer)) => *version = newer,
                    Some(Err(Error::NoSuchOrder { number })) => panic!("{number} was acknowledged and is gone"),
                    _ => {}
                }
            }
            let given_up = self.history().superseded.iter().next_back().copied();
            if let Some(number) = given_up.filter(|_| rng.u8(..) < 50) {
                let version = Version { epoch: 1, counter: rng.u64(1..1_000) };
                let hasty = WriteOptions::new().deadline(Duration::from_millis(100));
                let answer = self.hears(self.store.update_with(number, version, "brought to life", hasty));
                assert!(!matches!(answer, Some(Ok(_) | Err(Error::VersionMismatch { .. }))), "{number} was given up: {answer:?}");
            }
        }
    }

    /// Answers with the order, where this create has placed it.
    fn heard_of_key(
        &self,
        history: &mut History,
        key: String,
        answer: Option<Result<Placed, Error>>,
    ) -> Option<(OrderNumber, Version, String)> {
        history.note(&key, format!("{}: {answer:?}", self.name));
        match answer {
            Some(Ok(placed)) => {
                assert_eq!(placed.unverified, [], "{key} is strict");
                history.tell(&key, placed.number);
                history.acknowledged.insert(placed.number, key.clone());
                history.superseded.extend(placed.superseded);
                return (!placed.repeated).then_some((placed.number, placed.version, key));
            }
            Some(Err(Error::Ambiguous { token, .. })) => {
                history.doubts.push((token, key.clone()));
                history.again.push(key);
            }
            Some(Err(Error::NotAttempted { .. } | Error::KeyUnverified { .. })) => {}
            Some(Err(Error::Closed)) if self.is_over() => {}
            Some(Err(error)) => panic!("{key}: {error}"),
            None => {
                history.unanswered.insert(key.clone());
                history.again.push(key);
            }
        }
        None
    }

    fn saw(&self, number: OrderNumber, payload: &[u8]) {
        let mut history = self.history();
        let order = order_of(payload);
        assert!(!history.superseded.contains(&number), "{number} was given up, and is shown: {order}");
        if let Some(before) = history.seen.insert(number, order.clone()) {
            assert_eq!(before, order, "{number} is another order now");
        }
    }

    fn scan(&self, mut rng: Rng) {
        while !self.is_over() {
            let set = id(SETS[rng.usize(..3)]);
            let mut after = None;
            // Ends with the day, since each page goes on above the one before.
            while let Some(Ok(page)) = self.hears(self.store.scan_page(set, today(), after, rng.usize(1..400))) {
                for order in page.orders.into_iter().flatten() {
                    self.saw(order.number, &order.value);
                }
                after = page.next;
                if after.is_none() {
                    break;
                }
            }
        }
    }

    /// Reads what was acknowledged, what was given up, and numbers that nobody was told of yet.
    fn read(&self, mut rng: Rng) {
        while !self.is_over() {
            let pick = {
                let history = self.history();
                let newest: Vec<OrderNumber> = history.acknowledged.keys().rev().take(200).copied().collect();
                let given_up: Vec<OrderNumber> = history.superseded.iter().rev().take(50).copied().collect();
                (newest, given_up)
            };
            let (newest, given_up) = pick;
            for _ in 0..20 {
                let guess = |rng: &mut Rng, number: &OrderNumber| {
                    OrderNumber::new(today(), number.sequence() + rng.u64(0..60), id(SETS[rng.usize(..3)])).expect("a number")
                };
                let number = match rng.u8(..) {
                    0..60 if !newest.is_empty() => newest[rng.usize(..newest.len())],
                    60..90 if !given_up.is_empty() => given_up[rng.usize(..given_up.len())],
                    _ if !newest.is_empty() => {
                        let near = newest[rng.usize(..newest.len())];
                        guess(&mut rng, &near)
                    }
                    _ => continue,
                };
                let was_acknowledged = self.history().acknowledged.contains_key(&number);
                let deadline = ordermint::ReadOptions::strong().deadline(Duration::from_millis(200));
                match self.hears(self.store.get_with(number, deadline)) {
                    Some(Ok(Some(order))) => self.saw(number, &order.value),
                    Some(Ok(None)) => assert!(!was_acknowledged, "{number} was acknowledged and reads as absent"),
                    Some(Err(_)) | None => {}
                }
            }
        }
    }

    /// Breaks and mends, until the time is over.
    fn operate(&self, mut rng: Rng, length: Duration, is_last: bool) {
        let end = Instant::now() + length;
        // The next builder would have to name what is changed here.
        let (mut drained, changes) = (false, is_last);
        while Instant::now() < end {
            let set = self.world.set(SETS[rng.usize(..3)]);
            let all = set.faults();
            let some = match rng.u8(..) {
                0..80 => all,
                _ => vec![all[rng.usize(..3)].clone()],
            };
            let act = rng.u8(..100);
            for faults in some {
                match act {
                    0..15 => faults.hang_applies(),
                    15..25 => faults.hang_answers(),
                    25..32 => faults.delay_applies(Duration::from_millis(rng.u64(50..800))),
                    32..37 => faults.fail_applies(1),
                    37..42 => faults.fail_after_apply(1),
                    42..45 => faults.panic_applies(1),
                    45..50 => faults.hang_reads(),
                    _ => {}
                }
            }
            match act {
                50..53 if changes && !drained => drained = self.store.drain_set(set.id).is_ok(),
                53..58 if changes => _ = self.store.set_weight(set.id, rng.u32(1..5)),
                58..72 => {
                    for set in self.store.status().sets {
                        for (index, replica) in (0u8..).zip(set.replicas) {
                            if replica.state != ReplicaState::Voting {
                                let _ = self.store.bring_back_replica(set.id, index);
                            }
                        }
                    }
                }
                72..76 => set.come_back(),
                76.. => set.release(),
                _ => {}
            }
            std::thread::sleep(Duration::from_millis(rng.u64(1..60)));
        }
    }

    fn run(&self, rng: &mut Rng, length: Duration, is_last: bool, kills: bool) {
        std::thread::scope(|scope| {
            for name in ["a", "b", "c"] {
                let rng = rng.fork();
                scope.spawn(move || self.write(name, rng));
            }
            let (scans, reads, more_reads) = (rng.fork(), rng.fork(), rng.fork());
            scope.spawn(move || self.scan(scans));
            scope.spawn(move || self.read(reads));
            scope.spawn(move || self.read(more_reads));
            self.operate(rng.fork(), length, is_last);
            if kills {
                self.dead.store(true, Ordering::SeqCst);
            }
            self.stop.store(true, Ordering::SeqCst);
        });
    }
}

/// Settings under which much goes wrong: from breakers that open at once to such that never do.
fn open(world: &World, rng: &mut Rng) -> OrderStore {
    let failures = [3, 30, 10_000][rng.usize(..3)];
    let breaker = BreakerSettings::new()
        .failures_in_a_row(failures)
        .window(Duration::from_secs(1), if failures == 3 { 20 } else { 1_000_000 })
        .open_time(Duration::from_millis(40), Duration::from_millis(160))
        .probe_timeout(Duration::from_millis(300))
        .ramp(Duration::from_millis(50), 10);
    let builder = world.builder().breaker(breaker).attempts(rng.u32(1..=3)).recent_bytes(64 << 10);
    let builder = builder.attempt_timeout(Duration::from_millis(rng.u64(5..80))).close_timeout(Duration::from_millis(300));
    builder.deadline(Duration::from_millis(1_500)).open().expect("the store opens")
}

/// A process was killed when it had claimed its next epoch on one replica alone, and that was away when the next one chose the same: it is
/// not taken back before the store is opened once more.
fn must_be_opened_anew(world: &World, store: &OrderStore) -> bool {
    world.release_all();
    world.sets.iter().for_each(OneSet::come_back);
    let mut anew = false;
    until("all replicas vote, or never will", || {
        let sets = store.status().sets;
        anew = false;
        let mut waits = false;
        for (set, (index, replica)) in
            sets.iter().flat_map(|set| (0u8..).zip(&set.replicas).map(move |replica| (set.id, replica)))
        {
            if replica.reason.as_ref().is_some_and(|reason| reason.contains("must be opened anew")) {
                anew = true;
            } else if replica.state != ReplicaState::Voting {
                let _ = store.bring_back_replica(set, index);
                waits = true;
            }
        }
        anew || !waits
    });
    anew
}

fn live_through(seed: u64) {
    let mut rng = Rng::with_seed(seed);
    let world = World::new(&SETS);
    let history = Mutex::new(History::default());
    let mut killed: Vec<Killed> = Vec::new();
    let lives = rng.usize(1..4);
    let mut store = open(&world, &mut rng);
    for at in 0..lives {
        for dead in killed.drain(..) {
            dead.bury();
        }
        let is_last = at + 1 == lives;
        let kills = !is_last && rng.bool();
        let name = format!("life {at}");
        let (stop, dead) = (AtomicBool::new(false), AtomicBool::new(false));
        let life = Life { world: &world, store, history: &history, name, stop, dead };
        life.run(&mut rng, Duration::from_millis(500), is_last, kills);
        store = life.store;
        if is_last {
            break;
        }
        history.lock().expect("no panic").leave_open();
        if !kills && rng.bool() {
            world.release_all();
        }
        killed.push(if kills { world.kill(store) } else { world.close(store) });
        // One replica is away, now and then, until it can be brought back or the next process finds it again.
        for set in &world.sets {
            set.come_back();
            if rng.u8(..) < 80 {
                set.leave_without(rng.usize(..3));
                history.lock().expect("no panic").were_away = true;
            }
        }
        store = open(&world, &mut rng);
    }
    killed.into_iter().for_each(Killed::bury);
    if must_be_opened_anew(&world, &store) {
        eprintln!("world {seed}: SKIPPED what follows, as a replica waits for the store to be opened anew");
        return;
    }
    comes_to_rest(&world, &store);
    let mut history = history.lock().expect("no panic");
    if std::env::var_os("ORDERMINT_WORLDS_TELL").is_some() {
        let told = [
            ("acknowledged", history.acknowledged.len()),
            ("given up", history.superseded.len()),
            ("seen", history.seen.len()),
            ("refused", history.refused.len()),
            ("in doubt", history.doubts.len()),
            ("unanswered", history.unanswered.len()),
            ("told of keys", history.told.len()),
        ];
        eprintln!("world {seed}, {lives} lives: {told:?}");
    }
    is_as_told(&world, &store, &mut history, rng.bool());
}

#[test]
fn whatever_breaks_in_whatever_order_everybody_was_told_the_truth() {
    let number = |name: &str| std::env::var(name).ok().and_then(|value| value.parse::<u64>().ok());
    let count = number("ORDERMINT_WORLDS").unwrap_or(3);
    let first = number("ORDERMINT_WORLD_SEED").unwrap_or_else(|| fastrand::u64(..1 << 40));
    for seed in first..first + count {
        let outcome = std::panic::catch_unwind(|| live_through(seed));
        if let Err(panic) = outcome {
            eprintln!("the world of ORDERMINT_WORLD_SEED={seed} ORDERMINT_WORLDS=1");
            std::panic::resume_unwind(panic);
        }
    }
}
