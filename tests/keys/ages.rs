//! For how long a key is good.

use crate::bench::{Bench, ends, key, placed};
use ordermint::{ConfigError, Error};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn a_key_is_good_for_the_day_of_its_first_use_and_the_next_one() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let first = placed(store.create_with("once", key("k")));
    bench.clock.advance(DAY);
    let again = placed(store.create_with("once", key("k")));
    assert_eq!((again.number, again.repeated), (first.number, true));
    // A SET that minted nothing on a day takes the next one for a jump of its clock.
    (0..20).for_each(|_| drop(placed(store.create("of the day"))));
    bench.clock.advance(DAY);
    let new = placed(store.create_with("once more", key("k")));
    assert!(!new.repeated && new.number != first.number);
    // The second order under the key is the one it names from now on; the first is left alone.
    let again = placed(store.create_with("once more", key("k")));
    assert_eq!((again.number, again.repeated), (new.number, true));
    assert!(bench.live(&store).is_superset(&[first.number, new.number].into()));
}

#[test]
fn a_store_may_look_for_keys_for_longer() {
    let bench = Bench::new(&[7, 8]);
    let open = |days| bench.builder().request_key_days(days).open();
    for days in [0, 1, 32] {
        let refused = open(days).map(drop);
        assert!(matches!(refused, Err(Error::Config(ConfigError::OutOfRange { name: "request_key_days", .. }))), "{refused:?}");
    }
    let store = open(31).expect("it opens");
    let first = placed(store.create_with("once", key("k")));
    for _ in 0..30 {
        bench.clock.advance(DAY);
        store.accept_clock();
        let again = placed(store.create_with("once", key("k")));
        assert_eq!((again.number, again.repeated), (first.number, true));
        (0..20).for_each(|_| drop(ends(store.create("of the day"))));
    }
    bench.clock.advance(DAY);
    let new = placed(store.create_with("once", key("k")));
    assert!(!new.repeated);
}

#[test]
fn looking_for_longer_than_before_ends_no_order_that_was_placed_under_a_forgotten_key() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    let first = placed(store.create_with("once", key("k")));
    bench.clock.advance(DAY);
    drop(placed(store.create("of the day")));
    bench.clock.advance(DAY);
    let second = placed(store.create_with("another", key("k")));
    assert!(!second.repeated);
    drop(store);
    let store = bench.builder().request_key_days(31).open().expect("it opens");
    let again = placed(store.create_with("another", key("k")));
    assert_eq!((again.number, again.repeated), (second.number, true));
    assert_eq!(ends(store.create_with("once", key("k"))), Err(Error::KeyReused { number: second.number }));
    assert!(bench.live(&store).is_superset(&[first.number, second.number].into()));
}
