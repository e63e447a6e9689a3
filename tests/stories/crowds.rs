//! Many at once.

use crate::bench::*;
use std::sync::Mutex;

#[test]
fn many_threads_get_distinct_numbers_and_all_orders_are_there() {
    let (bench, other) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = bench.builder().add_set(other.config()).open().expect("opens");
    let acknowledged = Mutex::new(Acknowledged::new());
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (store, acknowledged) = (&store, &acknowledged);
            scope.spawn(move || {
                let mut mine = Acknowledged::new();
                for batch in 0..10 {
                    create_some(store, &format!("{thread} {batch}"), 200, &mut mine);
                }
                all_are_there(store, &mine);
                let mut all = acknowledged.lock().unwrap();
                let before = all.len();
                all.extend(mine);
                assert_eq!(all.len(), before + 2_000, "two threads got one number");
            });
        }
    });
    let found = scanned(&store, bench.set, today()).len() + scanned(&store, other.set, today()).len();
    assert_eq!(found, 16_000);
    let sets = store.status().sets;
    assert_eq!(sets.iter().map(|set| set.orders_today).sum::<u64>(), 16_000);
    // On a busy machine the one with more room takes more.
    assert!(sets.iter().all(|set| set.orders_today > 3_000), "both take their part");
}
