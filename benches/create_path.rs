//! What a create costs in instructions, all threads together, on replicas in memory: what is left when no disk is in the way.
//! `cargo bench --bench create_path`. Run on two versions of the crate it tells what a change costs every create.
//!
//! The program runs itself under `valgrind --tool=callgrind` with few and with many creates; the difference is what those cost that one
//! had more. Threads take turns under valgrind, so groups differ from run to run: the median of five is printed. Where valgrind is
//! missing this says so.

use ordermint::{BreakerSettings, Error, OrderStore, Placed, SetConfig, SetId};
use std::process::Command;
use std::time::Duration;

const FEW: u64 = 10_000;
const MANY: u64 = 60_000;
/// Payloads of 100 bytes, as in the other benches.
const PAYLOAD: [u8; 100] = [7; 100];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As the child: how many SETs, how many creates. Cargo itself passes one argument, `--bench`.
    if let [sets, creates] = arguments.as_slice() {
        return create(sets.parse().expect("a count"), creates.parse().expect("a count"));
    }
    println!("instructions per create, N = 3, R = W = 2, in memory, median of 5");
    for sets in ["1", "3"] {
        let mut counts: Vec<f64> = Vec::new();
        for _ in 0..5 {
            let (Some(few), Some(many)) = (counted(sets, FEW), counted(sets, MANY)) else {
                println!("skipped: valgrind is not installed, or did not count");
                return;
            };
            counts.push((many as f64 - few as f64) / (MANY - FEW) as f64);
        }
        counts.sort_by(f64::total_cmp);
        println!("{sets} SETs: {:.0} (from {:.0} to {:.0})", counts[2], counts[0], counts[4]);
    }
}

fn create(sets: u16, creates: usize) {
    // Under valgrind all is fifty times slower; no SET is to count as sick for that, and no create to be tried elsewhere.
    let patience = Duration::from_secs(60);
    let patient = BreakerSettings::new().slow_calls(patience, 100);
    let mut builder = OrderStore::builder().deadline(3 * patience).attempt_timeout(patience).breaker(patient);
    for set in 1..=sets {
        builder = builder.add_set(SetConfig::new(SetId::new(set).expect("an id")).in_memory(3));
    }
    let store = builder.open().expect("opens");
    let at_once = |placed: &Result<Placed, Error>| placed.as_ref().is_ok_and(|placed| placed.attempts == 1);
    let stored = store.create_all((0..creates).map(|_| PAYLOAD)).filter(at_once).count();
    assert_eq!(stored, creates);
    store.close().wait().expect("closes");
}

/// All instructions of a process, by callgrind's own sum.
fn counted(sets: &str, creates: u64) -> Option<u64> {
    let this = std::env::current_exe().ok()?;
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(this).args([sets, &creates.to_string()]);
    let report = valgrind.output().ok()?.stderr;
    String::from_utf8_lossy(&report).lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}
