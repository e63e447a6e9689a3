//! Durable creates through the whole crate, beside raw sled at its best and a packed loop without any coordination. One run,
//! one disk, ratios: `cargo bench --bench durable`. Sizes by environment: ORDERMINT_BENCH_ORDERS (default 100,000).
//!
//! The peer is sled as its user would write it for this job: three databases, one thread each, plain inserts with one key an
//! order, then `flush()` and `fdatasync` for each group; the group size is the best of 64, 256 and 1,024. Every order is on three
//! replicas in all loops; the crate acknowledges at two and is timed until all three hold it, as the others are.

use ordermint::{OrderStore, Quorum, SetConfig, SetId};
use std::fs::File;
use std::path::Path;
use std::time::Instant;

const REPLICAS: usize = 3;
const PAYLOAD: usize = 100;
const ROUNDS: usize = 5;

fn payload(n: u64) -> Vec<u8> {
    let mut payload = format!("order {n:020} ").into_bytes();
    let mut filler = fastrand::Rng::with_seed(n);
    payload.resize_with(PAYLOAD, || filler.alphanumeric() as u8);
    payload
}

/// Orders a second of `orders` orders on each of `replicas` databases, `per_value` of them under one key.
fn raw(home: &Path, orders: u64, replicas: usize, group: u64, per_value: u64) -> f64 {
    let opened: Vec<(sled::Db, File)> = (0..replicas)
        .map(|replica| {
            let dir = home.join(format!("raw-{replicas}-{group}-{per_value}-{replica}"));
            let db = sled::Config::new()
                .path(&dir)
                .segment_size(2 << 20)
                .flush_every_ms(None)
                .cache_capacity(64 << 20)
                .mode(sled::Mode::HighThroughput)
                .open()
                .expect("sled opens");
            let file = File::options().read(true).write(true).open(dir.join("db")).expect("db is there");
            (db, file)
        })
        .collect();
    let payloads: Vec<Vec<u8>> = (0..orders).map(payload).collect();
    let started = Instant::now();
    std::thread::scope(|scope| {
        for (db, file) in &opened {
            let payloads = &payloads;
            scope.spawn(move || {
                for first in (0..orders).step_by(group as usize) {
                    let end = (first + group).min(orders);
                    for run in (first..end).step_by(per_value as usize) {
                        let mut value = Vec::with_capacity((PAYLOAD + 30) * per_value as usize);
                        for order in run..(run + per_value).min(end) {
                            value.extend_from_slice(&payloads[order as usize]);
                        }
                        db.insert(run.to_be_bytes(), value).expect("insert");
                    }
                    db.flush().expect("flush");
                    file.sync_data().expect("fdatasync");
                }
            });
        }
    });
    orders as f64 / started.elapsed().as_secs_f64()
}

/// Orders a second through the crate, until all replicas hold all of them.
fn ours(home: &Path, orders: u64, quorum: Quorum) -> f64 {
    let dirs = (0..quorum.n()).map(|index| format!("007/{index}"));
    let set = SetId::new(7).expect("a SET id");
    let store =
        OrderStore::builder().home(home).quorum(quorum).add_set(SetConfig::new(set).replicas(dirs)).open().expect("opens");
    let payloads: Vec<Vec<u8>> = (0..orders).map(payload).collect();
    let started = Instant::now();
    for placed in store.create_all(&payloads) {
        placed.expect("created");
    }
    while store.status().sets[0].replicas.iter().any(|replica| replica.queued > 0) {
        std::thread::yield_now();
    }
    let rate = orders as f64 / started.elapsed().as_secs_f64();
    store.close().wait().expect("closes");
    rate
}

fn median(mut rates: Vec<f64>) -> f64 {
    rates.sort_by(f64::total_cmp);
    rates[rates.len() / 2]
}

fn main() {
    // `cargo test` and `cargo bench --no-run` must not write gigabytes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    let orders: u64 = std::env::var("ORDERMINT_BENCH_ORDERS").ok().and_then(|text| text.parse().ok()).unwrap_or(100_000);
    let mut names: Vec<String> = Vec::new();
    let mut rates: Vec<Vec<f64>> = Vec::new();
    for round in 0..ROUNDS {
        let home = tempfile::tempdir().expect("a directory");
        let mut place = 0;
        let mut take = |name: &str, rate: f64| {
            if round == 0 {
                names.push(name.to_owned());
                rates.push(Vec::new());
            }
            rates[place].push(rate);
            place += 1;
        };
        for group in [64, 256, 1_024] {
            take(
                &format!("raw sled, one key an order, 3 replicas, groups of {group}"),
                raw(home.path(), orders, REPLICAS, group, 1),
            );
        }
        take("packed loop, 32 a value, 3 replicas, groups of 1,024", raw(home.path(), orders, REPLICAS, 1_024, 32));
        take("ordermint, N=3 W=2", ours(&home.path().join("n3"), orders, Quorum::new(3, 2, 2).expect("valid")));
        take("packed loop, 32 a value, 1 replica, groups of 1,024", raw(home.path(), orders, 1, 1_024, 32));
        take("ordermint, N=1", ours(&home.path().join("n1"), orders, Quorum::new(1, 1, 1).expect("valid")));
    }
    let medians: Vec<f64> = rates.into_iter().map(median).collect();
    for (name, rate) in names.iter().zip(&medians) {
        println!("{rate:>12.0} orders/s  {name}");
    }
    let best_raw = medians[..3].iter().copied().fold(0.0, f64::max);
    println!("{:>12.2} x raw sled at its best group size (goal: 3)", medians[4] / best_raw);
    println!("{:>12.2} of the packed loop, N=3 (goal: 0.6)", medians[4] / medians[3]);
    println!("{:>12.2} of the packed loop, N=1 (goal: 0.7)", medians[6] / medians[5]);
}
