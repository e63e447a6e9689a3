//! What happens to one order again and again, beside raw sled doing the same: a strong read of a recent order, closures of many
//! callers on one hot order, updates of scattered ones. One run, one disk, ratios: `cargo bench --bench one_order`.
//!
//! The reads are also counted in instructions, each in a process of its own under `valgrind --tool=callgrind`, once with few and
//! once with many, so that opening and closing cancel out. Where valgrind is missing this says so.

use ordermint::{Change, OrderNumber, OrderStore, Quorum, SetConfig, SetId, Version};
use std::collections::VecDeque;
use std::fs::File;
use std::hint::black_box;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

const PAYLOAD: usize = 100;
/// Orders that are read, and orders in a packed record of raw sled.
const READ: usize = 10_000;
const PACKED: usize = 32;
const CALLERS: usize = 64;
const ROUNDS: usize = 5;
const WINDOW: Duration = Duration::from_millis(1_500);

fn open(home: &Path) -> OrderStore {
    let set = SetConfig::new(SetId::new(7).expect("a SET id")).replicas(["007/0", "007/1", "007/2"]);
    OrderStore::builder().home(home).quorum(Quorum::new(3, 2, 2).expect("valid")).add_set(set).open().expect("opens")
}

fn raw(dir: &Path) -> (sled::Db, File) {
    let db = sled::Config::new()
        .path(dir)
        .segment_size(2 << 20)
        .flush_every_ms(None)
        .cache_capacity(64 << 20)
        .mode(sled::Mode::HighThroughput)
        .open()
        .expect("sled opens");
    let file = File::options().read(true).write(true).open(dir.join("db")).expect("db is there");
    (db, file)
}

/// The orders as a user of raw sled would pack them: the key of the first, the records one after the other.
fn raw_packed(dir: &Path) -> sled::Db {
    let (db, _) = raw(dir);
    for first in (0..READ).step_by(PACKED) {
        db.insert((first as u64).to_be_bytes(), vec![b'x'; PACKED * PAYLOAD]).expect("inserted");
    }
    db
}

fn raw_get(db: &sled::Db, order: usize) -> Vec<u8> {
    let (first, run) = db.range(..=(order as u64).to_be_bytes()).next_back().expect("there").expect("read");
    let at = (order - u64::from_be_bytes(first.as_ref().try_into().expect("a key")) as usize) * PAYLOAD;
    run[at..at + PAYLOAD].to_vec()
}

/// In an order that no cache of a processor likes.
fn scattered(count: usize) -> impl Iterator<Item = usize> {
    (0..count).map(|at| at * 7_919 % READ)
}

fn read_raw(home: &Path, count: usize) -> Duration {
    let db = raw_packed(&home.join("raw-read"));
    scattered(READ).for_each(|order| drop(black_box(raw_get(&db, order))));
    let started = Instant::now();
    scattered(count).for_each(|order| drop(black_box(raw_get(&db, order))));
    started.elapsed()
}

fn read_ours(home: &Path, count: usize) -> Duration {
    let store = open(&home.join("read"));
    let payload = [b'x'; PAYLOAD];
    let numbers: Vec<OrderNumber> =
        store.create_all((0..READ).map(|_| payload)).map(|placed| placed.expect("created").number).collect();
    store.compared().wait().expect("compared");
    let get = |order: usize| store.get(numbers[order]).wait().expect("read").expect("there");
    scattered(READ).for_each(|order| drop(black_box(get(order))));
    let started = Instant::now();
    scattered(count).for_each(|order| drop(black_box(get(order))));
    started.elapsed()
}

/// Operations a second of one durable write each: insert, flush, fdatasync.
fn raw_writes(home: &Path, round: usize) -> f64 {
    let (db, file) = raw(&home.join(format!("raw-write-{round}")));
    rate(|count| {
        db.insert(b"hot", count.to_string().as_bytes()).expect("inserted");
        db.flush().expect("flushed");
        file.sync_data().expect("synced");
        1
    })
}

/// Closures a second on one order, from callers that wait for each.
fn modifies(home: &Path, round: usize) -> f64 {
    let store = open(&home.join(format!("modify-{round}")));
    let number = store.create(0_u64.to_be_bytes()).wait().expect("created").number;
    let started = Instant::now();
    let done: u64 = std::thread::scope(|scope| {
        let callers: Vec<_> = (0..CALLERS)
            .map(|_| {
                scope.spawn(|| {
                    let mut done = 0;
                    while started.elapsed() < WINDOW {
                        store.modify(number, |order| Change::write(next(&order.value), ())).wait().expect("modified");
                        done += 1;
                    }
                    done
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().expect("a caller")).sum()
    });
    let rate = done as f64 / started.elapsed().as_secs_f64();
    let value = store.get(number).wait().expect("read").expect("there").value;
    assert_eq!(value[..], done.to_be_bytes(), "every closure counted once");
    rate
}

fn next(value: &[u8]) -> [u8; 8] {
    (u64::from_be_bytes(value.try_into().expect("eight bytes")) + 1).to_be_bytes()
}

/// Updates of scattered orders, many in flight.
fn updates(home: &Path, round: usize) -> f64 {
    const IN_FLIGHT: usize = 2_048;
    let store = open(&home.join(format!("update-{round}")));
    let payload = [b'x'; PAYLOAD];
    let mut orders: Vec<(OrderNumber, Version)> = store
        .create_all((0..READ).map(|_| payload))
        .map(|placed| placed.map(|placed| (placed.number, placed.version)).expect("created"))
        .collect();
    let mut under_way = VecDeque::new();
    let mut at = 0;
    let rate = rate(|count| {
        at = (at + 7_919) % READ;
        let (number, version) = orders[at];
        let mut payload = payload;
        payload[..8].copy_from_slice(&count.to_be_bytes());
        under_way.push_back((at, store.update(number, version, payload)));
        if under_way.len() < IN_FLIGHT {
            return 0;
        }
        let (at, pending) = under_way.pop_front().expect("many are");
        orders[at].1 = pending.wait().expect("updated");
        1
    });
    for (_, pending) in under_way {
        pending.wait().expect("updated");
    }
    rate
}

/// Raw sled with one key an order, three replicas side by side, groups of `group`.
fn raw_updates(home: &Path, round: usize, group: usize) -> f64 {
    let replicas: Vec<_> = (0..3).map(|replica| raw(&home.join(format!("raw-update-{round}-{group}-{replica}")))).collect();
    for (db, _) in &replicas {
        (0..READ).for_each(|order| drop(db.insert((order as u64).to_be_bytes(), vec![b'x'; PAYLOAD]).expect("inserted")));
    }
    let started = Instant::now();
    let slowest = std::thread::scope(|scope| {
        let writers: Vec<_> = replicas
            .iter()
            .map(|(db, file)| {
                scope.spawn(move || {
                    let (mut at, mut done) = (0, 0_u64);
                    while started.elapsed() < WINDOW {
                        for _ in 0..group {
                            at = (at + 7_919) % READ;
                            let mut payload = vec![b'x'; PAYLOAD];
                            payload[..8].copy_from_slice(&done.to_be_bytes());
                            db.insert((at as u64).to_be_bytes(), payload).expect("inserted");
                            done += 1;
                        }
                        db.flush().expect("flushed");
                        file.sync_data().expect("synced");
                    }
                    done
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().expect("a writer")).min().expect("three")
    });
    slowest as f64 / started.elapsed().as_secs_f64()
}

fn rate(mut once: impl FnMut(u64) -> u64) -> f64 {
    let (started, mut calls, mut done) = (Instant::now(), 0, 0);
    while started.elapsed() < WINDOW {
        calls += 1;
        done += once(calls);
    }
    done as f64 / started.elapsed().as_secs_f64()
}

fn median(mut of: Vec<f64>) -> f64 {
    of.sort_by(f64::total_cmp);
    of[of.len() / 2]
}

/// All instructions of a process that reads `count` times, by callgrind's own sum.
fn counted(who: &str, count: usize) -> Option<u64> {
    let mut valgrind = Command::new("valgrind");
    valgrind.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]).arg(std::env::current_exe().ok()?);
    let report = valgrind.args([who, &count.to_string()]).output().ok()?.stderr;
    String::from_utf8_lossy(&report).lines().find_map(|line| line.split_once("Collected : ")?.1.trim().parse().ok())
}

/// So many that what else goes on in the process, which is not the same in every run, does not matter.
fn instructions(who: &str) -> Option<f64> {
    let (few, many) = (20_000, if who == "raw" { 120_000 } else { 2_020_000 });
    Some((counted(who, many)? as f64 - counted(who, few)? as f64) / (many - few) as f64)
}

fn main() {
    let home = tempfile::tempdir().expect("a directory");
    let home = home.path();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // As the child: who reads, and how often. Cargo itself passes one argument, `--bench`.
    if let [who, count] = arguments.as_slice() {
        let count = count.parse().expect("how often");
        let _ = if who == "raw" { read_raw(home, count) } else { read_ours(home, count) };
        return;
    }
    const COUNT: usize = 200_000;
    let per_read = |read: fn(&Path, usize) -> Duration, round: usize| {
        let home = home.join(format!("round-{round}"));
        std::fs::create_dir_all(&home).expect("made");
        read(&home, COUNT).as_secs_f64() * 1e9 / COUNT as f64
    };
    let (mut raws, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        raws.push(per_read(read_raw, round));
        ours.push(per_read(read_ours, round));
    }
    let (raw, our) = (median(raws), median(ours));
    println!("strong read of a recent order: {our:.0} ns; raw sled, packed: {raw:.0} ns; ratio {:.2} (goal 1.3)", our / raw);
    match (instructions("ours"), instructions("raw")) {
        (Some(our), Some(raw)) => println!("  in instructions: {our:.0} and {raw:.0}; ratio {:.2} (goal 1.3)", our / raw),
        _ => println!("  in instructions: skipped: valgrind is not installed, or did not count"),
    }
    let (mut raws, mut ours, mut ones) = (Vec::new(), Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        raws.push(raw_writes(home, round));
        ours.push(modifies(home, round));
        let store = open(&home.join(format!("one-{round}")));
        let placed = store.create([b'x'; PAYLOAD]).wait().expect("created");
        let mut version = placed.version;
        ones.push(rate(|count| {
            version = store.update(placed.number, version, count.to_be_bytes()).wait().expect("updated");
            1
        }));
    }
    let (raw, our, one) = (median(raws), median(ours), median(ones));
    println!("modify on one order, {CALLERS} callers that wait: {our:.0}/s");
    println!(
        "  one durable write each: raw sled on one replica {raw:.0}/s, ratio {:.1} (goal 20); update, waited for {one:.0}/s, ratio {:.1}",
        our / raw,
        our / one
    );
    let (mut raws, mut ours) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        let best = [64, 256, 1_024].map(|group| raw_updates(home, round, group)).into_iter().fold(0.0, f64::max);
        raws.push(best);
        ours.push(updates(home, round));
    }
    let (raw, our) = (median(raws), median(ours));
    println!("updates of scattered orders: {our:.0}/s; raw sled on three replicas {raw:.0}/s; ratio {:.2} (goal 0.9)", our / raw);
}
