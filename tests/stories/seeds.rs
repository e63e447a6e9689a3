//! Many sessions from a seed, in each of which another replica may fall sick: nothing acknowledged is ever lost or wrong.

use crate::bench::*;
use ordermint::testing::FaultControl;
use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::time::Duration;

fn live(seed: u64) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    for session in 0..12usize {
        let story = format!("seed {seed} session {session}");
        let sick = rng.usize(0..3);
        let away = session > 0 && rng.u8(0..5) == 0;
        bench.gone[sick].store(away, Ordering::SeqCst);
        let store = bench.builder().close_timeout(Duration::from_millis(300)).open().expect(&story);
        if rng.bool() {
            ends(store.compared()).expect(&story);
        }
        create_some(&store, &story, rng.usize(0..40), &mut acknowledged);
        if !away {
            let faults = &bench.faults[sick];
            match rng.u8(0..10) {
                0 => faults.fail_applies(1),
                1 => faults.fail_after_apply(1),
                2 => faults.fill_disk(),
                3 => faults.panic_applies(1),
                4 => faults.hang_applies(),
                5 => faults.panic_reads(1),
                6 => faults.hang_reads(),
                7 => faults.fail_reads(9),
                _ => {}
            }
        }
        create_some(&store, &story, rng.usize(1..40), &mut acknowledged);
        let sample: BTreeSet<_> =
            (0..8).filter_map(|_| acknowledged.keys().nth(rng.usize(0..acknowledged.len().max(1)))).collect();
        let sample = acknowledged.iter().filter(|(number, _)| sample.contains(number));
        all_are_there(&store, &sample.map(|(number, value)| (*number, value.clone())).collect());
        let found: BTreeSet<_> = scanned(&store, bench.set, today()).iter().map(|order| order.number).collect();
        assert!(acknowledged.keys().all(|number| found.contains(number)), "{story}");
        // Closed, or dropped, or left to the next one, which fences it off.
        match rng.u8(0..3) {
            0 => drop(ends(store.close())),
            1 => drop(store),
            _ => {
                drop(store.create("under way at the end"));
                drop(store);
            }
        }
        bench.release_all();
        bench.gone[sick].store(false, Ordering::SeqCst);
        bench.faults.iter().for_each(|faults: &FaultControl| {
            faults.fail_applies(0);
            faults.fail_after_apply(0);
            faults.panic_applies(0);
            faults.panic_reads(0);
            faults.fail_reads(0);
        });
    }
    all_are_there(&bench.open(), &acknowledged);
}

#[test]
fn whichever_replica_falls_sick_in_each_session_nothing_acknowledged_is_lost() {
    for seed in 0..8 {
        live(seed);
    }
}
