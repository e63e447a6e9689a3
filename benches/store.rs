//! What a caller waits for: one create, creates many at a time, a get, a scan. On sled, N=3 W=2, 100-byte payloads.
//! `cargo bench --bench store`; beside raw sled see `durable`.

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ordermint::{OrderNumber, OrderStore, Quorum, SetConfig, SetId};
use std::hint::black_box;

const BATCH: u64 = 10_000;

fn open(home: &std::path::Path) -> OrderStore {
    let set = SetConfig::new(SetId::new(7).expect("a SET id")).replicas(["007/0", "007/1", "007/2"]);
    OrderStore::builder().home(home).quorum(Quorum::new(3, 2, 2).expect("valid")).add_set(set).open().expect("opens")
}

fn store(criterion: &mut Criterion) {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let payload = [b'x'; 100];

    let mut group = criterion.benchmark_group("create");
    group.sample_size(20);
    group.bench_function("one, waited for", |bench| bench.iter(|| store.create(payload).wait().expect("created")));
    group.throughput(Throughput::Elements(BATCH));
    group.bench_function("10,000 in flight", |bench| {
        bench.iter(|| store.create_all((0..BATCH).map(|_| payload)).for_each(|placed| assert!(black_box(placed).is_ok())));
    });
    group.finish();

    let numbers: Vec<OrderNumber> =
        store.create_all((0..BATCH).map(|_| payload)).map(|placed| placed.expect("created").number).collect();
    store.compared().wait().expect("compared");
    let mut group = criterion.benchmark_group("get");
    let mut turn = 0;
    group.bench_function("one, waited for", |bench| {
        bench.iter(|| {
            turn = (turn + 7_919) % numbers.len();
            store.get(numbers[turn]).wait().expect("read").expect("there")
        });
    });
    group.throughput(Throughput::Elements(BATCH));
    group.sample_size(20);
    group.bench_function("10,000 in flight", |bench| {
        bench.iter(|| {
            let pending: Vec<_> = numbers.iter().map(|number| store.get(*number)).collect();
            pending.into_iter().for_each(|order| drop(black_box(order.wait().expect("read").expect("there"))));
        });
    });
    group.finish();

    // A day of its own size, so that the figure does not depend on how much the creates above wrote.
    drop(store);
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let first = store.create(payload).wait().expect("created").number;
    store.create_all((1..BATCH).map(|_| payload)).for_each(|placed| assert!(placed.is_ok()));
    let mut group = criterion.benchmark_group("scan");
    group.throughput(Throughput::Elements(BATCH));
    group.sample_size(20);
    group.bench_function("10,000 orders", |bench| {
        bench.iter(|| {
            let orders = store.scan(first.set_id(), first.day()).inspect(|order| assert!(order.is_ok())).count();
            assert_eq!(orders as u64, BATCH);
        });
    });
    group.finish();
}

criterion_group!(benches, store);
criterion_main!(benches);
