//! Weak and degraded reads, and reads that want a version: what they show, and what they say when they cannot.

use crate::bench::*;
use ordermint::testing::FaultControl;
use ordermint::{
    Error, Group, Kind, MemoryReplica, NotAttempted, Order, OrderNumber, OrderStore, ReadOptions, Record, Replica, ReplicaState,
    Version, Write,
};
use std::sync::atomic::Ordering;
use std::time::Duration;

/// A version of an epoch before the store's, as an earlier process may have left it behind.
const OLD: Version = Version { epoch: 1, counter: 77 };
/// Nobody ever wrote that one.
const NEVER: Version = Version { epoch: 4_000_000, counter: 1 };

type Read = fn() -> ReadOptions;
const EVERY: [Read; 3] = [ReadOptions::strong, ReadOptions::weak, ReadOptions::degraded];
const LESSER: [Read; 2] = [ReadOptions::weak, ReadOptions::degraded];

fn read(store: &OrderStore, number: OrderNumber, options: ReadOptions) -> Result<Option<Order>, Error> {
    ends(store.get_with(number, options))
}

fn value(read: Result<Option<Order>, Error>) -> String {
    let order = read.expect("read").expect("there");
    assert!(!order.stale, "nobody knows of a newer one");
    String::from_utf8(order.value.to_vec()).expect("a text")
}

/// An order that all three have.
fn settled(bench: &Bench, store: &OrderStore) -> (OrderNumber, Version) {
    ends(store.compared()).expect("compared");
    let placed = ends(store.create("on all")).expect("created");
    until("all have it", || bench.holders(placed.number) == bench.memory.len());
    (placed.number, placed.version)
}

fn banish(bench: &Bench, index: usize) {
    MemoryReplica::clone(&bench.memory[index]).banish("it lost something").expect("memory takes it");
}

#[test]
fn a_weak_read_shows_what_r_voters_hold_and_writes_nothing_back() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let number = bench.number(500);
    bench.plant(0, number, OLD, "left behind");
    let store = bench.open();
    let mut shown = 0;
    for _ in 0..9 {
        // Two of three are asked, in turn: the pair without replica 0 has nothing to show.
        match read(&store, number, ReadOptions::weak()) {
            Ok(None) => {}
            order => {
                assert_eq!(value(order), "left behind");
                shown += 1;
            }
        }
        assert_eq!(value(read(&store, number, ReadOptions::weak().at_least(OLD))), "left behind", "the others are asked");
    }
    assert!(shown > 0, "replica 0 had its turn");
    assert_eq!(bench.holders(number), 1);
    assert_eq!(value(read(&store, number, ReadOptions::strong())), "left behind");
    assert!(bench.holders(number) >= 2, "a strong read writes it back");
}

#[test]
fn a_weak_read_needs_r_voters_and_no_more() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, _) = settled(&bench, &store);
    bench.faults[1].hang_reads();
    for _ in 0..6 {
        assert_eq!(value(read(&store, number, ReadOptions::weak())), "on all");
        assert_eq!(read(&store, bench.number(900), ReadOptions::weak()), Ok(None));
    }
    bench.release_all();
    bench.faults[0].fail_reads(usize::MAX);
    for _ in 0..6 {
        assert_eq!(value(read(&store, number, ReadOptions::weak())), "on all");
    }
    bench.faults[2].fail_reads(usize::MAX);
    for _ in 0..6 {
        match read(&store, number, ReadOptions::weak()) {
            Err(Error::QuorumLost { need: 2, of: 3, good: 1, missing, .. }) => assert_eq!(missing.0.len(), 2),
            other => panic!("{other:?}"),
        }
    }
}

/// A version that the caller knows of is never gone behind, whatever one replica does and however few are asked.
#[test]
fn at_least_the_version_of_a_create_never_goes_back_while_one_replica_is_sick() {
    let sicknesses: [(&str, fn(&FaultControl)); 6] = [
        ("hangs in apply", FaultControl::hang_applies),
        ("slow to write", |faults| faults.delay_applies(Duration::from_millis(20))),
        ("out", |faults| faults.fail_applies(1)),
        ("hangs in get", FaultControl::hang_reads),
        ("slow to read", |faults| faults.delay_reads(Duration::from_millis(20))),
        ("fails to read", |faults| faults.fail_reads(usize::MAX)),
    ];
    for (what, sicken) in sicknesses {
        // With R = 1 nothing but the version promises that a write is seen.
        for r in [1, 2] {
            let bench = Bench::new(3, r, 2);
            let store = bench.open();
            settled(&bench, &store);
            sicken(&bench.faults[1]);
            for at in 0..10 {
                let placed = ends(store.create(format!("{at}"))).unwrap_or_else(|error| panic!("{what}: {error}"));
                // A strong read asks no further than it must, so with R + W <= N it may be stale.
                for options in EVERY.into_iter().skip(usize::from(!bench.quorum.is_strict())) {
                    let order = read(&store, placed.number, options().at_least(placed.version));
                    assert_eq!(value(order), format!("{at}"), "{what}, R = {r}");
                }
            }
            bench.release_all();
            bench.faults[1].fail_reads(0);
        }
    }
}

#[test]
fn what_nobody_has_is_stale_however_it_is_read() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    let absent = bench.number(900);
    for options in EVERY {
        assert_eq!(value(read(&store, number, options().at_least(version))), "on all");
        let older = Version { counter: version.counter - 1, ..version };
        assert_eq!(value(read(&store, number, options().at_least(older))), "on all");
        for wanted in [Version { counter: version.counter + 1, ..version }, NEVER] {
            let stale = Error::Stale { number, found: Some(version), wanted };
            assert_eq!(read(&store, number, options().at_least(wanted)), Err(stale));
        }
        let stale = Error::Stale { number: absent, found: None, wanted: NEVER };
        assert_eq!(read(&store, absent, options().at_least(NEVER)), Err(stale));
        assert_eq!(read(&store, absent, options()), Ok(None));
    }
    let stale = read(&store, number, ReadOptions::weak().at_least(NEVER)).expect_err("stale");
    let said = format!("{number} was found at version {version}, and 4000000.1 or newer was wanted");
    assert_eq!(stale.to_string(), said);
}

/// One that hangs may have the version that is wanted; a weak read does not wait for it for ever.
#[test]
fn a_weak_read_passes_by_the_silent_and_says_what_it_found() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    bench.faults[2].hang_reads();
    let stale = Error::Stale { number, found: Some(version), wanted: NEVER };
    // On a busy machine not even the others answer within the shorter one.
    for deadline in [Duration::from_millis(200), Duration::from_secs(3_600)] {
        until("the others answer in time", || {
            match read(&store, number, ReadOptions::weak().at_least(NEVER).deadline(deadline)) {
                Err(Error::DeadlineExceeded { .. }) => false,
                answer => {
                    assert_eq!(answer, Err(stale.clone()));
                    true
                }
            }
        });
    }
    bench.release_all();
}

#[test]
fn a_void_reads_as_absent_and_is_a_version() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    let ended = Version { counter: 1_000_000, ..version };
    for memory in &bench.memory {
        let record = Record { kind: Kind::Void, version: ended, generation: 0, value: Default::default(), origin: None };
        let mut group = Group::new(version.epoch);
        group.push(Write::new(number, &record, false)).expect("room");
        MemoryReplica::clone(memory).apply(&group).expect("applied");
    }
    for options in EVERY {
        assert_eq!(read(&store, number, options()), Ok(None));
        assert_eq!(read(&store, number, options().at_least(version)), Ok(None));
        assert_eq!(read(&store, number, options().at_least(ended)), Ok(None));
        let stale = Error::Stale { number, found: Some(ended), wanted: NEVER };
        assert_eq!(read(&store, number, options().at_least(NEVER)), Err(stale));
    }
}

#[test]
fn with_one_of_three_left_only_a_degraded_read_shows_what_is_there() {
    for left in 0..3 {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let (number, version) = settled(&bench, &store);
        ends(store.close()).expect("closed");
        for index in (0..3).filter(|index| *index != left) {
            bench.gone[index].store(true, Ordering::SeqCst);
        }
        let store = bench.open();
        assert_eq!(status(&store).epoch, 0);
        for options in [ReadOptions::strong(), ReadOptions::weak()] {
            let lost = read(&store, number, options);
            assert!(matches!(lost, Err(Error::QuorumLost { of: 3, good: 0, .. })), "{lost:?}");
        }
        assert_eq!(value(read(&store, number, ReadOptions::degraded())), "on all");
        assert_eq!(value(read(&store, number, ReadOptions::degraded().at_least(version))), "on all");
        let stale = Error::Stale { number, found: Some(version), wanted: NEVER };
        assert_eq!(read(&store, number, ReadOptions::degraded().at_least(NEVER)), Err(stale));
        // The two that are away may have it.
        match read(&store, bench.number(900), ReadOptions::degraded()) {
            Err(Error::QuorumLost { need: 2, of: 3, good: 1, missing, .. }) => assert_eq!(missing.0.len(), 2),
            other => panic!("the absence of one is not believed: {other:?}"),
        }
        bench.faults[left].damage_reads_of(number);
        let damaged = read(&store, number, ReadOptions::degraded());
        assert!(matches!(damaged, Err(Error::Corrupt { .. })), "{damaged:?}");
    }
}

#[test]
fn with_every_replica_in_limbo_a_degraded_read_shows_values_and_believes_no_absence() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    ends(store.close()).expect("closed");
    (0..3).for_each(|index| banish(&bench, index));
    let store = bench.open();
    assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Limbo));
    for options in [ReadOptions::strong(), ReadOptions::weak()] {
        let lost = read(&store, number, options);
        assert!(matches!(lost, Err(Error::QuorumLost { of: 3, good: 0, .. })), "{lost:?}");
    }
    assert_eq!(value(read(&store, number, ReadOptions::degraded().at_least(version))), "on all");
    for options in [ReadOptions::degraded(), ReadOptions::degraded().at_least(NEVER)] {
        match read(&store, bench.number(900), options) {
            Err(Error::QuorumLost { need: 2, of: 3, good: 0, missing, .. }) => assert_eq!(missing.0.len(), 3),
            other => panic!("{other:?}"),
        }
    }
    bench.faults.iter().for_each(|faults| faults.damage_reads_of(number));
    let damaged = read(&store, number, ReadOptions::degraded());
    assert!(matches!(damaged, Err(Error::Corrupt { .. })), "{damaged:?}");
}

/// What it holds counts in a degraded read, and it is not even asked in the others.
#[test]
fn a_replica_in_limbo_gives_values_to_degraded_reads_alone() {
    let bench = Bench::new(3, 2, 2);
    drop(bench.open());
    let (newer, lone) = (bench.number(500), bench.number(501));
    (0..3).for_each(|index| bench.plant(index, newer, OLD, "on all"));
    bench.plant(2, newer, Version { counter: 78, ..OLD }, "newer");
    bench.plant(2, lone, OLD, "only in limbo");
    banish(&bench, 2);
    let store = bench.open();
    ends(store.compared()).expect("compared");
    let before = bench.faults[2].reads();
    for _ in 0..6 {
        for options in [ReadOptions::strong(), ReadOptions::weak()] {
            assert_eq!(value(read(&store, newer, options.clone())), "on all");
            assert_eq!(read(&store, lone, options), Ok(None));
        }
    }
    assert_eq!(bench.faults[2].reads(), before);
    // It is surely heard where it is wanted; a busy machine may have it answer after the look.
    let wanted = ReadOptions::degraded().at_least(Version { counter: 78, ..OLD });
    assert_eq!(value(read(&store, newer, wanted)), "newer");
    assert_eq!(value(read(&store, lone, ReadOptions::degraded())), "only in limbo");
    assert_eq!(read(&store, bench.number(900), ReadOptions::degraded()), Ok(None), "two voters say so");
    assert_eq!(bench.holders(lone), 1, "it is written to nobody");
}

#[test]
fn a_replica_that_hangs_does_not_hold_up_a_degraded_read() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    for hung in [vec![2], vec![0, 1]] {
        hung.iter().for_each(|index: &usize| bench.faults[*index].hang_reads());
        // They are released afterwards only: that these end at all is the proof.
        let for_ever = || ReadOptions::degraded().deadline(Duration::from_secs(3_600));
        assert_eq!(value(read(&store, number, for_ever())), "on all");
        assert_eq!(value(read(&store, number, for_ever().at_least(version))), "on all");
        if hung.len() == 1 {
            assert_eq!(read(&store, bench.number(900), for_ever()), Ok(None), "R voters say so, and the silent are passed by");
        }
        bench.release_all();
    }
}

#[test]
fn damaged_copies_are_corrupt_and_one_whole_copy_is_enough() {
    for damaged in 1..=3usize {
        let bench = Bench::new(3, 2, 2);
        let store = bench.open();
        let (number, _) = settled(&bench, &store);
        bench.faults[..damaged].iter().for_each(|faults| faults.damage_reads_of(number));
        for _ in 0..4 {
            let (weak, degraded) = (read(&store, number, ReadOptions::weak()), read(&store, number, ReadOptions::degraded()));
            match damaged {
                1 => assert_eq!(value(weak), "on all"),
                2 => assert!(matches!(weak, Err(Error::QuorumLost { good: 1, .. })), "{weak:?}"),
                _ => assert!(matches!(weak, Err(Error::Corrupt { .. })), "{weak:?}"),
            }
            match damaged {
                3 => match degraded {
                    Err(Error::Corrupt { number: said, faults, .. }) => assert_eq!((said, faults.0.len()), (number, 3)),
                    other => panic!("{other:?}"),
                },
                _ => assert_eq!(value(degraded), "on all"),
            }
        }
    }
}

#[test]
fn unequal_bytes_under_one_version_are_never_shown() {
    // R = 3, so that a weak read asks all.
    let bench = Bench::new(3, 3, 2);
    drop(bench.open());
    let number = bench.number(500);
    bench.plant(0, number, OLD, "one");
    bench.plant(1, number, OLD, "other");
    let store = bench.open();
    for options in LESSER {
        // A degraded read on a busy machine may look when only one of the two has answered.
        until("the two are compared", || match read(&store, number, options()) {
            Err(error) => {
                assert_eq!(error, Error::Diverged { number, version: OLD });
                true
            }
            Ok(_) => false,
        });
    }
    assert_eq!(read(&store, number, ReadOptions::weak()), Err(Error::Diverged { number, version: OLD }));
}

#[test]
fn reads_that_nobody_answers_end_at_their_deadlines() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, _) = settled(&bench, &store);
    bench.faults.iter().for_each(FaultControl::hang_reads);
    for options in LESSER {
        for deadline in [0, 1, 100] {
            match read(&store, number, options().deadline(Duration::from_millis(deadline))) {
                Err(Error::DeadlineExceeded { need: 2, good: 0, .. }) => {}
                other => panic!("{other:?}"),
            }
        }
    }
    bench.release_all();
    until("all room is given back", || status(&store).in_flight == 0);
    assert_eq!(value(read(&store, number, ReadOptions::weak())), "on all");
}

#[test]
fn reads_beyond_what_may_be_in_flight_are_refused() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.builder().max_in_flight(2, 1 << 20).open().expect("opens");
    let (number, _) = settled(&bench, &store);
    bench.faults.iter().for_each(FaultControl::hang_reads);
    let under_way = LESSER.map(|options| store.get_with(number, options()));
    for options in EVERY {
        for options in [options(), options().at_least(OLD)] {
            let refused = read(&store, number, options);
            assert!(
                matches!(refused, Err(Error::NotAttempted { reason: NotAttempted::Busy { operations: 2, .. } })),
                "{refused:?}"
            );
        }
    }
    bench.release_all();
    for pending in under_way {
        assert_eq!(value(ends(pending)), "on all");
    }
    until("all room is given back", || status(&store).in_flight == 0);
}

#[test]
fn days_given_up_are_read_by_nobody() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("today")).expect("created");
    let day = today().previous().expect("a day");
    let number = OrderNumber::new(day, 1, bench.set).expect("a number");
    bench.plant(0, number, OLD, "of yesterday");
    assert_eq!(value(read(&store, number, ReadOptions::degraded())), "of yesterday");
    ends(store.raise_floor(day)).expect("raised");
    for options in EVERY {
        let dropped = Error::DayDropped { set: bench.set, day, floor: day };
        assert_eq!(read(&store, number, options()), Err(dropped.clone()));
        assert_eq!(read(&store, number, options().at_least(OLD)), Err(dropped));
    }
}

#[test]
fn a_closed_store_answers_no_read() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    let (number, version) = settled(&bench, &store);
    bench.faults.iter().for_each(FaultControl::hang_reads);
    let under_way = LESSER.map(|options| store.get_with(number, options()));
    let closing = store.close();
    bench.release_all();
    for pending in under_way {
        assert_eq!(value(ends(pending)), "on all", "what is under way is answered");
    }
    ends(closing).expect("closed");
    for options in EVERY {
        assert_eq!(read(&store, number, options()), Err(Error::Closed));
        assert_eq!(read(&store, number, options().at_least(version)), Err(Error::Closed));
    }
}
