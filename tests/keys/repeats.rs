//! A key that is used again.

use crate::bench::{Bench, ends, key, payload_of, placed, set, until};
use ordermint::testing::FaultControl;
use ordermint::{ConfigError, CreateOptions, Error, NotAttempted, Pending, Placed};
use std::time::Duration;

/// Nothing is answered before all are sent, however slow the machine.
const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_key_used_again_gives_the_first_order() {
    let bench = Bench::new(&[7, 8, 9]);
    let store = bench.open();
    for at in 0..20 {
        let name = format!("pay-{at}");
        let first = placed(store.create_with(&name, key(&name)));
        assert_eq!((first.repeated, first.attempts), (false, 1));
        let again = placed(store.create_with(&name, key(&name)));
        assert_eq!((again.repeated, again.attempts, again.number), (true, 0, first.number));
        assert_eq!((again.version, again.superseded, again.unverified), (first.version, vec![], vec![]));
    }
    assert_eq!(bench.live(&store).len(), 20);
}

#[test]
fn another_payload_under_the_same_key_is_refused_and_nothing_changes() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let first = placed(store.create_with("two tickets", key("k")));
    let refused = ends(store.create_with("three tickets", key("k")));
    assert_eq!(refused, Err(Error::KeyReused { number: first.number }));
    // Also one of the same length.
    let refused = ends(store.create_with("tow tickets", key("k")));
    assert_eq!(refused, Err(Error::KeyReused { number: first.number }));
    assert_eq!(payload_of(&store, first.number), "two tickets");
    assert_eq!(bench.live(&store).len(), 1);
}

#[test]
fn callers_with_one_key_at_once_get_one_order() {
    let bench = Bench::new(&[7, 8, 9]);
    let store = bench.open();
    let answers: Vec<_> = std::thread::scope(|scope| {
        let call = || (0..25).map(|_| store.create_with("once", key("k"))).collect::<Vec<_>>();
        let callers: Vec<_> = (0..4).map(|_| scope.spawn(call)).collect();
        callers.into_iter().flat_map(|caller| caller.join().expect("it ends")).map(placed).collect()
    });
    assert_eq!(answers.iter().filter(|placed| !placed.repeated).count(), 1);
    assert!(answers.iter().all(|placed| placed.number == answers[0].number));
    assert_eq!(bench.live(&store).len(), 1);
}

#[test]
fn a_key_outlives_the_store() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let first = placed(store.create_with("once", key("k")));
    drop(store);
    let store = bench.open();
    let again = placed(store.create_with("once", key("k")));
    assert_eq!((again.number, again.repeated), (first.number, true));
    assert_eq!(bench.live(&store).len(), 1);
}

#[test]
fn a_key_names_its_order_for_life_whatever_its_payload_becomes() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    let first = placed(store.create_with("packed", key("k")));
    let sent = ends(store.update(first.number, first.version, "sent")).expect("it is updated");
    for store in [&store, &bench.open()] {
        let again = placed(store.create_with("packed", key("k")));
        assert_eq!((again.number, again.repeated, again.version), (first.number, true, sent));
        let refused = ends(store.create_with("sent", key("k")));
        assert_eq!(refused, Err(Error::KeyReused { number: first.number }));
        assert_eq!(payload_of(store, first.number), "sent");
    }
}

#[test]
fn keys_have_1_to_255_bytes_of_whatever_kind() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    let with = |length: usize| CreateOptions::new().request_key(vec![0xff; length]);
    for length in [0, 256, 1 << 20] {
        let refused = ends(store.create_with("order", with(length)));
        let Err(Error::Config(ConfigError::OutOfRange { given, min: 1, max: 255, .. })) = refused else {
            panic!("{length}: {refused:?}")
        };
        assert_eq!(given, length as u64);
    }
    let (short, long) = (placed(store.create_with("order", with(1))), placed(store.create_with("order", with(255))));
    assert_ne!(short.number, long.number);
    assert_eq!(placed(store.create_with("order", with(255))).number, long.number);
    let bytes = vec![0; 8_000];
    let refused = ends(store.create_with(bytes, key("k")));
    assert!(matches!(refused, Err(Error::ValueTooLarge { bytes: 8_000, .. })), "{refused:?}");
}

#[test]
fn an_empty_payload_has_a_key_like_any_other() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    let first = placed(store.create_with("", key("k")));
    assert_eq!(placed(store.create_with("", key("k"))).number, first.number);
    assert_eq!(ends(store.create_with(" ", key("k"))), Err(Error::KeyReused { number: first.number }));
}

#[test]
fn a_closed_store_says_so() {
    let bench = Bench::new(&[7, 8]);
    let store = bench.open();
    ends(store.close()).expect("it closes");
    assert_eq!(ends(store.create_with("late", key("k"))), Err(Error::Closed));
    assert_eq!(ends(store.create_with("late", key("k").strict())), Err(Error::Closed));
}

/// Those that are answered at once, and how many of them because there are too many.
fn too_many(calls: Vec<Pending<Placed>>) -> (Vec<Pending<Placed>>, usize) {
    let (mut waiting, mut refused) = (Vec::new(), 0);
    for call in calls {
        match call.wait_timeout(Duration::ZERO) {
            Ok(Err(Error::NotAttempted { reason: NotAttempted::KeysBusy { .. } })) => refused += 1,
            Ok(answer) => panic!("nobody answers yet: {answer:?}"),
            Err(call) => waiting.push(call),
        }
    }
    (waiting, refused)
}

#[test]
fn too_many_creates_with_keys_are_refused_at_once_and_the_others_end() {
    let bench = Bench::new(&[7]);
    let store = bench.builder().max_in_flight(100, 1 << 20).open().expect("it opens");
    let faults = &bench.set(set(7)).faults;
    faults.iter().for_each(FaultControl::hang_reads);
    let (waiting, refused) =
        too_many((0..150).map(|at| store.create_with("once", key(&format!("{at}")).deadline(PATIENCE))).collect());
    assert_eq!((waiting.len(), refused), (100, 50));
    faults.iter().for_each(FaultControl::release);
    waiting.into_iter().for_each(|call| drop(ends(call)));
    assert!(!placed(store.create_with("once", key("after"))).repeated, "there is room again");
}

#[test]
fn at_most_8192_wait_for_one_key() {
    let bench = Bench::new(&[7]);
    let store = bench.open();
    let faults = &bench.set(set(7)).faults;
    faults.iter().for_each(FaultControl::hang_reads);
    let (waiting, refused) = too_many((0..8_200).map(|_| store.create_with("once", key("k").deadline(PATIENCE))).collect());
    assert_eq!((waiting.len(), refused), (8_193, 7), "one has the turn");
    faults.iter().for_each(FaultControl::release);
    waiting.into_iter().for_each(|call| drop(ends(call)));
    // Two of them may have been placed while the SET could not be asked. Whoever can ask it ends all but the last.
    let last = placed(store.create_with("once", key("k")));
    until("one is left", || bench.live(&store) == [last.number].into());
}
