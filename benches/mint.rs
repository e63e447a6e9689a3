//! Minting, on one thread and on two that share a counter, beside the atomic add alone.
//!
//! Instructions per number, which repeat better than times do: with `valgrind --tool=callgrind --toggle-collect=mint::mint_a_thousand` before
//! this benchmark's binary and `--bench --profile-time 1 a_thousand` after it, the instructions of `mint_a_thousand` divided by its calls
//! and by 1,000. Three of them are the loop's own.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ordermint::{Block, Day, LeaseError, LeaseStore, Minter, SetId, SystemClock};
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

#[derive(Default)]
struct InMemory(BTreeMap<Day, u64>);

impl LeaseStore for InMemory {
    fn lease(&mut self, _set: SetId, day: Day, count: u64) -> Result<Block, LeaseError> {
        let mark = self.0.entry(day).or_default();
        let first = *mark;
        *mark += count;
        Ok(Block { day, first, end: *mark })
    }

    fn newest_day(&mut self, _set: SetId) -> Result<Option<Day>, LeaseError> {
        Ok(self.0.keys().next_back().copied())
    }
}

/// A day's numbers are gone in twenty seconds: a minter of its own for each measurement.
fn minter() -> Minter {
    Minter::new(SetId::new(7).expect("an id"), InMemory::default(), SystemClock).expect("memory leases at once")
}

/// Apart, so that callgrind can count it.
#[inline(never)]
fn mint_a_thousand(minter: &Minter) {
    for _ in 0..1_000 {
        black_box(minter.mint().expect("a day's numbers last longer than a measurement"));
    }
}

/// `work`, `turns` times on each of two threads at once; the time of the slower one.
fn on_two_threads<T>(turns: u64, work: impl Fn() -> T + Sync) -> Duration {
    let start = Barrier::new(2);
    let run = || {
        start.wait();
        let began = Instant::now();
        for _ in 0..turns {
            black_box(work());
        }
        began.elapsed()
    };
    std::thread::scope(|scope| {
        let other = scope.spawn(run);
        let mine = run();
        mine.max(other.join().expect("the other thread measured"))
    })
}

fn mint(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("mint");
    group.throughput(Throughput::Elements(1));
    let alone = AtomicU64::new(0);
    group.bench_function("fetch_add/one_thread", |bench| bench.iter(|| alone.fetch_add(1 << 10, Ordering::Relaxed)));
    group.bench_function("one_thread", |bench| {
        let minter = minter();
        bench.iter(|| minter.mint().expect("a number"));
    });
    group.bench_function("one_thread_and_write", |bench| {
        let minter = minter();
        let mut text = [0u8; 22];
        bench.iter(|| minter.mint().expect("a number").encode_str(&mut text).len());
    });
    group.throughput(Throughput::Elements(1_000));
    group.bench_function("a_thousand", |bench| {
        let minter = minter();
        bench.iter(|| mint_a_thousand(&minter));
    });
    // Per call, with two calls at a time.
    group.throughput(Throughput::Elements(2));
    group.bench_function("fetch_add/two_threads", |bench| {
        let shared = AtomicU64::new(0);
        bench.iter_custom(|turns| on_two_threads(turns, || shared.fetch_add(1 << 10, Ordering::Relaxed)));
    });
    group.bench_function("two_threads", |bench| {
        let minter = minter();
        bench.iter_custom(|turns| on_two_threads(turns, || minter.mint().expect("a number")));
    });
    group.finish();
}

criterion_group!(benches, mint);
criterion_main!(benches);
