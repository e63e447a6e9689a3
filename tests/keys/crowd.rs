//! Many creates over few keys, while SETs fail and recover.

use crate::bench::{Bench, ends, key, set};
use ordermint::testing::FaultControl;
use ordermint::{Error, OrderNumber};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

const KEYS: usize = 50;
const CREATES: usize = 1_000;

fn name(at: usize) -> String {
    format!("key {at}")
}

#[test]
fn of_1000_creates_over_50_keys_with_faults_one_order_a_key_is_left() {
    one_order_a_key_is_left(Duration::from_secs(8));
}

/// Many end in doubt, and are tried again.
#[test]
fn so_it_is_with_little_patience() {
    one_order_a_key_is_left(Duration::from_millis(300));
}

fn one_order_a_key_is_left(patience: Duration) {
    let seed = fastrand::u64(..);
    println!("seed {seed}");
    let bench = Bench::new(&[7, 8, 9]);
    let store = bench.open();
    let (next, done) = (AtomicUsize::new(0), AtomicBool::new(false));
    /// Ends the trouble also when somebody panics.
    struct Done<'a>(&'a AtomicBool);
    impl Drop for Done<'_> {
        fn drop(&mut self) {
            self.0.store(true, Ordering::SeqCst);
        }
    }
    let told: BTreeMap<usize, Vec<(OrderNumber, bool)>> = std::thread::scope(|scope| {
        let trouble = scope.spawn(|| {
            let mut random = fastrand::Rng::with_seed(seed);
            // Ends with the creates, each of which has a deadline.
            while !done.load(Ordering::SeqCst) {
                let faults = &bench.set(set(random.u16(7..10))).faults;
                let (what, many) = (random.u8(..5), random.usize(1..=3));
                for faults in &faults[..many] {
                    match what {
                        0 => faults.hang_applies(),
                        1 => faults.hang_reads(),
                        2 => (faults.hang_reads(), faults.hang_applies()).0,
                        3 => faults.delay_applies(Duration::from_millis(30)),
                        _ => faults.delay_reads(Duration::from_millis(5)),
                    }
                }
                // Sometimes long enough for a SET to count as one that cannot be asked.
                let long = if random.bool() { 1_100..1_700 } else { 20..300 };
                std::thread::sleep(Duration::from_millis(random.u64(long)));
                bench.sets.iter().flat_map(|set| &set.faults).for_each(FaultControl::release);
                std::thread::sleep(Duration::from_millis(random.u64(10..100)));
            }
        });
        let call = |_| {
            scope.spawn(|| {
                let mut told = Vec::new();
                loop {
                    std::thread::sleep(Duration::from_millis(fastrand::u64(..50)));
                    let at = next.fetch_add(1, Ordering::SeqCst);
                    if at >= CREATES {
                        return told;
                    }
                    let (which, payload) = (at % KEYS, format!("order of key {}", at % KEYS));
                    match ends(store.create_with(payload, key(&name(which)).deadline(patience))) {
                        Ok(placed) => told.push((which, (placed.number, placed.unverified.is_empty()))),
                        Err(Error::Ambiguous { .. } | Error::NotAttempted { .. }) => {}
                        Err(error) => panic!("{}: {error}", name(which)),
                    }
                }
            })
        };
        let callers: Vec<_> = (0..8).map(call).collect();
        let end_trouble = Done(&done);
        let mut told = BTreeMap::<usize, Vec<(OrderNumber, bool)>>::new();
        for (which, answer) in callers.into_iter().flat_map(|caller| caller.join().expect("it ends")) {
            told.entry(which).or_default().push(answer);
        }
        drop(end_trouble);
        trouble.join().expect("it ends");
        told
    });
    bench.sets.iter().flat_map(|set| &set.faults).for_each(FaultControl::release);
    let mut orders = BTreeMap::new();
    for which in 0..KEYS {
        let (payload, mut tries) = (format!("order of key {which}"), 0);
        let placed = loop {
            match ends(store.create_with(&payload, key(&name(which)).deadline(Duration::from_secs(8)))) {
                Ok(placed) => break placed,
                Err(error) => {
                    tries += 1;
                    assert!(tries < 20, "{}: {error}", name(which));
                }
            }
        };
        orders.insert(which, placed.number);
        let again = ends(store.create_with(&payload, key(&name(which)))).expect("all is well again");
        assert_eq!((again.number, again.repeated), (placed.number, true));
    }
    let unverified = told.values().flatten().filter(|(_, is_verified)| !is_verified).count();
    println!("{unverified} answers while a SET could not be asked");
    println!("told {} times", told.values().map(Vec::len).sum::<usize>());
    // One process tells one order a key, also while the SET that holds it cannot be asked.
    for (which, answers) in &told {
        assert!(answers.iter().all(|(number, _)| *number == orders[which]), "key {which}: {answers:?}");
    }
    crate::bench::until("one order a key is left", || bench.live(&store) == orders.values().copied().collect());
    drop(store);
    let store = bench.open();
    for (which, number) in &orders {
        let again = ends(store.create_with(format!("order of key {which}"), key(&name(*which)))).expect("all is well");
        assert_eq!((again.number, again.repeated), (*number, true));
    }
    assert_eq!(bench.live(&store), orders.values().copied().collect());
}
