//! Coordinators come and go: one at a time, versions grow, no sequence comes back.

use crate::bench::*;
use ordermint::testing::ManualClock;
use ordermint::{
    CreateOptions, Day, Error, Identity, Marks, MemoryReplica, OrderStore, Replica, ReplicaError, ReplicaState, SetConfig,
    Standing,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

fn soon() -> CreateOptions {
    CreateOptions::new().deadline(Duration::from_secs(1))
}

#[test]
fn a_second_coordinator_fences_off_the_first() {
    let bench = Bench::new(3, 2, 2);
    let first = bench.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&first, "first", 10, &mut acknowledged);
    let second = bench.open();
    create_some(&second, "second", 10, &mut acknowledged);
    for _ in 0..5 {
        match ends(first.create_with("fenced", soon())) {
            Err(Error::Ambiguous { acked: 0 | 1, .. } | Error::NotAttempted { .. }) => {}
            other => panic!("never acknowledged: {other:?}"),
        }
    }
    until("the first knows it", || status(&first).replicas.iter().all(is_out));
    assert!(status(&first).closed_for_creates.is_some());
    create_some(&second, "second", 10, &mut acknowledged);
    all_are_there(&second, &acknowledged);
    assert_eq!(scanned(&second, bench.set, today()).len(), acknowledged.len(), "nothing of the fenced one");
}

/// The third replica was away when the second coordinator claimed, so it still listens to the first: one is not W.
#[test]
fn a_fenced_coordinator_is_not_saved_by_a_replica_that_was_away() {
    let bench = Bench::new(3, 2, 2);
    let first = bench.open();
    ends(first.create("first")).expect("created");
    bench.gone[2].store(true, Ordering::SeqCst);
    let second = bench.open();
    for _ in 0..3 {
        assert!(ends(first.create_with("fenced", soon())).is_err());
    }
    let placed = ends(second.create("second")).expect("two of three");
    assert_eq!(ends(second.get(placed.number)).expect("read").expect("there").value, "second");
}

#[test]
fn versions_grow_and_sequences_never_come_back_over_many_opens() {
    let bench = Bench::new(3, 2, 2);
    let mut acknowledged = Acknowledged::new();
    let mut newest = None;
    for round in 0..12 {
        // One of the three is away, or has forgotten its mark: the majority remembers.
        let away = round % 3;
        match round % 4 {
            1 if round > 0 => bench.gone[away].store(true, Ordering::SeqCst),
            2 => bench.plant_meta(away, &format!("lease/{}", today()), &0u64.to_be_bytes()),
            _ => {}
        }
        let store = bench.open();
        for _ in 0..3 {
            let placed = ends(store.create("x")).expect("created");
            assert!(newest < Some(placed.version), "versions grow");
            newest = Some(placed.version);
            assert_eq!(acknowledged.insert(placed.number, "x".to_owned()), None, "a number came back");
        }
        create_some(&store, "y", 1_500, &mut acknowledged);
        if round % 2 == 0 {
            ends(store.close()).expect("closed");
        }
        drop(store);
        bench.gone[away].store(false, Ordering::SeqCst);
    }
    all_are_there(&bench.open(), &acknowledged);
}

#[test]
fn a_store_that_died_while_being_made_is_made_by_the_next_open() {
    for step in 0..6usize {
        let bench = Bench::new(3, 2, 2);
        // Only so many replicas get as far as their identity; the next one cannot be filled.
        if step < 3 {
            bench.faults[step].fail_applies(1);
        } else {
            bench.gone[step - 3].store(true, Ordering::SeqCst);
        }
        assert!(matches!(bench.builder().open(), Err(Error::CannotForm { .. })), "step {step}");
        bench.gone.iter().for_each(|gone| gone.store(false, Ordering::SeqCst));
        let store = bench.open();
        assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting), "step {step}");
        ends(store.create("made at last")).expect("created");
    }
}

#[test]
fn a_store_that_died_between_the_two_marks_of_being_made_opens() {
    for marked in 1..8u8 {
        let bench = Bench::new(3, 2, 2);
        drop(bench.open());
        for (index, memory) in bench.memory.iter().enumerate().filter(|(index, _)| marked >> index & 1 == 0) {
            let replica = MemoryReplica::clone(memory);
            let Standing::Voting(identity) = replica.standing() else { panic!("{index} has an identity") };
            replica.form(&Identity { formed: false, ..identity }).expect("memory takes it");
        }
        let store = bench.open();
        assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting));
        ends(store.create("one")).expect("created");
    }
}

/// A replica whose marks can be set back, as by a disk that silently lost what was synced.
struct RolledBack {
    inner: MemoryReplica,
    back: Arc<AtomicBool>,
}

impl Replica for RolledBack {
    fn standing(&self) -> Standing {
        self.inner.standing()
    }
    fn marks(&self) -> Marks {
        let marks = self.inner.marks();
        if self.back.load(Ordering::SeqCst) { Marks { own: 1, ..marks } } else { marks }
    }
    fn epoch(&self) -> u32 {
        self.inner.epoch()
    }
    pass_on_the_rest!();
}

#[test]
fn a_roll_back_is_witnessed_by_the_peers_also_after_a_session_without_the_replica() {
    for sessions_without in 0..3 {
        let bench = Bench::new(3, 2, 2);
        let back = Arc::new(AtomicBool::new(false));
        let away = Arc::new(AtomicBool::new(false));
        let open = || -> OrderStore {
            let mut config = SetConfig::new(bench.set);
            for index in 0..3usize {
                let memory = Arc::clone(&bench.memory[index]);
                let (back, away) = if index == 2 { (back.clone(), away.clone()) } else { Default::default() };
                config = config.replica_with(move |_| match away.load(Ordering::SeqCst) {
                    true => Err(ReplicaError::Missing { dir: "(away)".into() }),
                    false => Ok(Arc::new(RolledBack { inner: (*memory).clone(), back: back.clone() })),
                });
            }
            let clock = ManualClock::at_noon(today());
            OrderStore::builder().quorum(bench.quorum).clock(clock).add_set(config).open().expect("opens")
        };
        let mut acknowledged = Acknowledged::new();
        let store = open();
        for _ in 0..5 {
            create_some(&store, "with all", 1, &mut acknowledged);
            // The next group of its peers says that it has this one.
            until_nobody_is_busy(&store);
        }
        drop(store);
        away.store(true, Ordering::SeqCst);
        for _ in 0..sessions_without {
            let store = open();
            create_some(&store, "without", 3, &mut acknowledged);
            drop(store);
        }
        away.store(false, Ordering::SeqCst);
        back.store(true, Ordering::SeqCst);
        let store = open();
        assert_eq!(replica(&store, 2).state, ReplicaState::Limbo, "after {sessions_without} sessions without it");
        all_are_there(&store, &acknowledged);
    }
}

/// Calls at once reach the replicas in some order; it must be the same on each, or the lower day stays on some.
#[test]
fn floors_raised_at_once_leave_the_highest_on_every_replica() {
    let bench = Bench::new(3, 2, 2);
    let store = bench.open();
    ends(store.create("a day to mint on")).expect("created");
    let mut day = Day::MIN;
    for _ in 0..60 {
        let days: Vec<Day> = std::iter::successors(Some(day), |day| day.next()).skip(1).take(6).collect();
        std::thread::scope(|scope| {
            for day in &days {
                scope.spawn(|| ends(store.raise_floor(*day)).expect("raised"));
            }
        });
        day = days[5];
        until_nobody_is_busy(&store);
        for memory in &bench.memory {
            let floor = MemoryReplica::clone(memory).meta("floor").expect("readable").expect("there");
            assert_eq!(floor, day.to_string(), "the lower day came after the higher one");
        }
    }
}
