//! A random world: three SETs, callers who create, change, read and scan, and an operator who breaks, mends, drains and kills. When it
//! has come to rest it is held against what everybody was told.
//!
//! `ORDERMINT_WORLDS` says how many, `ORDERMINT_WORLD_SEED` which is the first.

use crate::bench::{AGES, Killed, World, all_orders, held, id, today, until, until_all_are_well};
use fastrand::Rng;
use ordermint::{
    BreakerSettings, CreateOptions, Error, Kind, OrderNumber, OrderStore, Pending, Placed, ReplicaState, Resolved, Version,
    WriteOptions, WriteToken,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const SETS: [u16; 3] = [1, 2, 3];
/// What everybody was told, over all lives.
#[derive(Default)]
struct History {
    /// By number: which order.
    acknowledged: BTreeMap<OrderNumber, String>,
    superseded: BTreeSet<OrderNumber>,
    /// Shown by a strong read or a scan.
    seen: BTreeMap<OrderNumber, String>,
    /// Orders of which it was said that nothing was sent.
    refused: BTreeSet<String>,
    /// In doubt, and the caller's to settle.
    doubts: Vec<(WriteToken, String)>,
    /// Orders whose callers never had an answer.
    unanswered: BTreeSet<String>,
    /// Orders and numbers of lives that ended before all that was owed was delivered.
    forgiven_orders: BTreeSet<String>,
}

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

/// Which order a payload belongs to: what stands before the bar stays when it is changed.
fn order_of(payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    text.split('|').next().unwrap_or_default().to_owned()
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
            let orders: Vec<String> = (0..rng.usize(1..24)).map(|at| format!("{} {name} {batch} {at}", self.name)).collect();
            let sent: Vec<Pending<Placed>> =
                orders.iter().map(|order| self.store.create_with(format!("{order}|0"), options(&mut rng))).collect();
            for (order, pending) in orders.into_iter().zip(sent) {
                let answer = self.hears(pending);
                let mut history = self.history();
                match answer {
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
                72.. => set.release(),
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
    let builder = world.builder().breaker(breaker).attempts(rng.u32(2..=3)).recent_bytes(64 << 10);
    let builder = builder.attempt_timeout(Duration::from_millis(rng.u64(5..80))).close_timeout(Duration::from_millis(300));
    builder.deadline(Duration::from_millis(1_500)).open().expect("the store opens")
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
        {
            // Nobody was told of these, and they have no request key: a record that says which of two numbers was given up may be away.
            let mut history = history.lock().expect("no panic");
            let doubts = history.doubts.iter().map(|(_, order)| order.clone());
            let orders: Vec<String> = doubts.chain(history.unanswered.iter().cloned()).collect();
            history.forgiven_orders.extend(orders);
        }
        if !kills && rng.bool() {
            world.release_all();
        }
        killed.push(if kills { world.kill(store) } else { world.close(store) });
        store = open(&world, &mut rng);
    }
    killed.into_iter().for_each(Killed::bury);
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
        ];
        eprintln!("world {seed}, {lives} lives: {told:?}");
    }
    is_as_told(&world, &store, &mut history);
}

fn comes_to_rest(world: &World, store: &OrderStore) {
    world.release_all();
    until("nothing is owed", || {
        until_all_are_well(store);
        store.status().sets.iter().all(|set| set.notes_waiting == 0)
    });
    crate::bench::ends(store.compared()).expect("they are compared");
}

fn is_as_told(world: &World, store: &OrderStore, history: &mut History) {
    // Whoever was left in doubt settles it, or not.
    for (at, (token, order)) in std::mem::take(&mut history.doubts).into_iter().enumerate() {
        if at % 3 == 0 {
            continue;
        }
        let mut outcome = None;
        until("it is settled", || {
            outcome = match crate::bench::ends(store.resolve(token)) {
                Err(Error::Superseded { .. }) => return true,
                answer => answer.ok(),
            };
            outcome.is_some()
        });
        match outcome {
            Some(Resolved::Applied) => _ = history.acknowledged.insert(token.number, order),
            Some(Resolved::NotApplied) => {
                assert!(!history.seen.contains_key(&token.number), "{} was shown, and never was", token.number);
                history.superseded.insert(token.number);
            }
            None => {}
        }
    }
    let alarms = store.status().alarms;
    assert!(alarms.is_empty(), "{alarms:?}");
    let orders: BTreeMap<OrderNumber, String> =
        all_orders(store).into_iter().map(|(number, payload)| (number, order_of(payload.as_bytes()))).collect();
    for (number, order) in &history.acknowledged {
        assert_eq!(orders.get(number), Some(order), "{number} was acknowledged");
    }
    for (number, order) in &history.seen {
        assert_eq!(orders.get(number), Some(order), "{number} was shown");
    }
    for number in &history.superseded {
        assert!(!orders.contains_key(number), "{number} was given up, and lives");
    }
    let mut by_order: BTreeMap<&String, Vec<OrderNumber>> = BTreeMap::new();
    for (number, order) in &orders {
        by_order.entry(order).or_default().push(*number);
    }
    for (order, numbers) in by_order {
        assert!(!history.refused.contains(order), "{order}: {numbers:?}, and nothing was sent");
        assert!(numbers.len() == 1 || history.forgiven_orders.contains(order), "{order} stands there twice: {numbers:?}");
    }
    // What is given up and told of is void everywhere; all else that any replica holds is an order, or void on W.
    let given_up: Vec<OrderNumber> = history.superseded.iter().copied().collect();
    for set in &world.sets {
        for (number, kind) in held(set) {
            let is_order = orders.contains_key(&number);
            assert_eq!(kind == Kind::Order, is_order, "{number}: what replicas hold is not what is shown");
            if !is_order {
                assert!(world.void_on(number) >= 2, "{number} may come to life");
            }
        }
    }
    for number in given_up {
        assert_eq!(world.alive_on(number), 0, "{number} was given up, and a replica holds it");
    }
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
