//! SETs that are added, drained, retired and weighted while the store runs.

use crate::bench::*;
use ordermint::{
    Change, ConfigError, CreateOptions, Error, NotAttempted, OrderNumber, OrderStore, Placed, Quorum, ReadOptions, Replica,
    Retire, SetConfig, SetId, SetState, WriteToken,
};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Longer than any test runs: whoever joins keeps the share it begins with.
const NEVER: Duration = Duration::from_secs(24 * 3_600);

fn id(id: u16) -> SetId {
    SetId::new(id).expect("an id")
}

fn in_memory(set: u16) -> SetConfig {
    SetConfig::new(id(set)).in_memory(3)
}

fn states(store: &OrderStore) -> Vec<(u16, SetState, u32)> {
    store.status().sets.iter().map(|set| (set.id.get(), set.state, set.weight)).collect()
}

/// How many of `count` new orders go where. All are acknowledged, each before the next one is sent: SETs that are idle get their
/// shares by weight alone, while of many under way whoever is done sooner has more room, and is given more.
fn shares(store: &OrderStore, count: usize) -> BTreeMap<u16, usize> {
    let mut shares = BTreeMap::new();
    for at in 0..count {
        let placed = ends(store.create(format!("share {at}"))).expect("created");
        *shares.entry(placed.number.set_id().get()).or_default() += 1;
    }
    shares
}

/// Callers that create until told to stop. All of their orders are acknowledged.
struct Callers<'a> {
    store: &'a OrderStore,
    stop: &'a AtomicBool,
    acknowledged: &'a Mutex<Acknowledged>,
}

impl Callers<'_> {
    fn run(&self, name: &str) {
        let mut mine = Acknowledged::new();
        for batch in 0.. {
            if self.stop.load(Ordering::SeqCst) {
                break;
            }
            create_some(self.store, &format!("{name} {batch}"), 20, &mut mine);
        }
        let mut all = self.acknowledged.lock().expect("no panic");
        let before = all.len();
        let of_mine = mine.len();
        all.extend(mine);
        assert_eq!(all.len(), before + of_mine, "two callers got one number");
    }
}

/// Runs `change` while four callers create; gives their orders.
fn under_load(store: &OrderStore, change: impl FnOnce()) -> Acknowledged {
    let (stop, acknowledged) = (AtomicBool::new(false), Mutex::new(Acknowledged::new()));
    std::thread::scope(|scope| {
        for caller in 0..4 {
            let callers = Callers { store, stop: &stop, acknowledged: &acknowledged };
            scope.spawn(move || callers.run(&caller.to_string()));
        }
        // Should it panic, the callers end all the same.
        let changed = std::panic::catch_unwind(std::panic::AssertUnwindSafe(change));
        stop.store(true, Ordering::SeqCst);
        changed.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
    acknowledged.into_inner().expect("no panic")
}

#[test]
fn a_set_added_under_load_takes_a_tenth_of_its_share_first_no_order_moves_and_nobody_hears_of_it() {
    let (seven, eight, nine) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2), Bench::of_set(9, 3, 2, 2));
    let store = seven.builder().add_set(eight.config()).ramp(NEVER).open().expect("opens");
    let mut before = Acknowledged::new();
    create_some(&store, "before", 200, &mut before);
    let during = under_load(&store, || {
        store.add_set(nine.config().weight(4)).expect("added");
        until("the new SET gets orders", || store.status().sets[2].orders_today > 20);
    });
    assert_eq!(states(&store), [(7, SetState::Active, 1), (8, SetState::Active, 1), (9, SetState::Joining, 4)]);
    assert_eq!(store.status().map_version, 2);
    // 0.4 beside 1 and 1, that is 333; seven times what chance makes of it to either side.
    let shares = shares(&store, 2_000);
    assert!((217..450).contains(&shares[&9]), "{shares:?}");
    all_are_there(&store, &before);
    all_are_there(&store, &during);
}

#[test]
fn the_ramp_ends_with_the_whole_share_and_is_remembered_as_over() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().ramp(Duration::from_millis(300)).open().expect("opens");
    let during = under_load(&store, || {
        store.add_set(eight.config().weight(3)).expect("added");
        until("it has joined", || store.status().sets[1].state == SetState::Active);
    });
    assert_eq!(store.status().map_version, 3, "added, joined");
    // Three quarters, and seven times what chance makes of it to either side.
    let shares = shares(&store, 2_000);
    assert!((1_365..1_636).contains(&shares[&8]), "{shares:?}");
    all_are_there(&store, &during);
    drop(store);
    let store = seven.builder().add_set(eight.config().weight(3)).open().expect("opens");
    assert_eq!(states(&store), [(7, SetState::Active, 1), (8, SetState::Active, 3)]);
    all_are_there(&store, &during);
}

#[test]
fn a_set_drained_under_load_takes_no_new_orders_and_serves_its_own() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().add_set(eight.config()).open().expect("opens");
    let during = under_load(&store, || {
        until("both have orders", || store.status().sets.iter().all(|set| set.orders_today > 100));
        store.drain_set(id(8)).expect("drained");
        for at in 0..200 {
            let placed = ends(store.create(format!("after {at}"))).expect("created");
            assert_eq!(placed.number.set_id(), id(7), "begun after the SET was drained");
        }
    });
    assert_eq!(states(&store)[1], (8, SetState::Draining, 1));
    all_are_there(&store, &during);
    let (number, _) = during.iter().find(|(number, _)| number.set_id() == id(8)).expect("it got some");
    let modified = ends(store.modify(*number, |_| Change::write("changed", ()))).expect("modified");
    ends(store.update(*number, modified.version, "updated")).expect("updated");
    assert_eq!(ends(store.get(*number)).expect("read").expect("there").value, "updated");
    let of_eight = during.keys().filter(|number| number.set_id() == id(8)).count();
    assert_eq!(scanned(&store, id(8), today()).len(), of_eight);
    // Asked for once more, it is so already.
    store.drain_set(id(8)).expect("drained");
    // A builder still names it, and it drains still.
    drop(store);
    assert!(matches!(seven.builder().open(), Err(Error::MapMismatch { .. })));
    let store = seven.builder().add_set(eight.config()).open().expect("opens");
    assert_eq!(shares(&store, 100), BTreeMap::from([(7, 100)]));
}

#[test]
fn when_all_sets_are_draining_creates_say_so_and_a_new_set_takes_them() {
    let store = Bench::new(3, 2, 2).builder().ramp(NEVER).open().expect("opens");
    let placed = ends(store.create("one")).expect("created");
    store.drain_set(id(7)).expect("drained");
    let refused = ends(store.create("two")).expect_err("nobody takes it");
    assert_eq!(refused, Error::NotAttempted { reason: NotAttempted::NoSetTakesOrders });
    assert!(!refused.is_retryable() && !refused.outcome_unknown());
    assert!(ends(store.get(placed.number)).expect("read").is_some());
    store.add_set(in_memory(8)).expect("added");
    assert_eq!(shares(&store, 50), BTreeMap::from([(8, 50)]), "alone it takes all, ramp or not");
}

#[test]
fn numbers_of_a_retired_and_of_an_unknown_set_are_errors_everywhere() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().add_set(eight.config()).open().expect("opens");
    until("the SET to go gets an order", || ends(store.create("one")).expect("created").number.set_id() == id(8));
    let drained = Error::WrongSetState { set: id(8), state: SetState::Active, wanted: SetState::Draining };
    assert_eq!(store.retire_set(id(8), Retire::Drained), Err(drained));
    store.drain_set(id(8)).expect("drained");
    store.retire_set(id(8), Retire::Drained).expect("retired");
    for (set, error) in [(8, Error::SetRetired { set: id(8) }), (500, Error::UnknownSet { set: id(500) })] {
        let number = OrderNumber::new(today(), 3, id(set)).expect("a number");
        let version = ordermint::Version::default();
        assert_eq!(ends(store.get(number)), Err(error.clone()));
        assert_eq!(ends(store.update(number, version, "x")), Err(error.clone()));
        assert_eq!(ends(store.modify(number, |_| Change::keep(()))), Err(error.clone()));
        assert_eq!(ends(store.resolve(WriteToken { number, version })), Err(error.clone()));
        assert_eq!(ends(store.days(id(set))), Err(error.clone()));
        assert_eq!(store.scan(id(set), today()).collect::<Vec<_>>(), [Err(error.clone())]);
        assert_eq!(store.take_out_replica(id(set), 0), Err(error.clone()));
        assert_eq!(store.set_weight(id(set), 2), Err(error.clone()));
        assert_eq!(store.drain_set(id(set)), Err(error.clone()));
        assert_eq!(store.retire_set(id(set), Retire::Lost), Err(error.clone()));
        assert!(!error.is_retryable());
    }
    assert_eq!(states(&store), [(7, SetState::Active, 1)]);
    assert_eq!(store.retire_set(id(7), Retire::Lost), Err(ConfigError::NoSets.into()), "the last one");
    assert_eq!(shares(&store, 50), BTreeMap::from([(7, 50)]));
    assert_eq!(ends(store.compared()).expect("compared").dirty, 0);
}

#[test]
fn a_set_retired_under_load_answers_what_was_asked_before_and_says_so_after() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().add_set(eight.config()).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 100, &mut acknowledged);
    store.drain_set(id(8)).expect("drained");
    let (number, value) = acknowledged.iter().find(|(number, _)| number.set_id() == id(8)).expect("it got some");
    let (read, stop) = (AtomicBool::new(false), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    match ends(store.get(*number)) {
                        Ok(order) => assert_eq!(order.expect("there").value, *value),
                        Err(error) => assert_eq!(error, Error::SetRetired { set: id(8) }),
                    }
                    read.store(true, Ordering::SeqCst);
                }
            });
        }
        until("it is read", || read.load(Ordering::SeqCst));
        store.retire_set(id(8), Retire::Drained).expect("retired");
        assert_eq!(ends(store.get(*number)), Err(Error::SetRetired { set: id(8) }));
        stop.store(true, Ordering::SeqCst);
    });
}

#[test]
fn an_id_once_retired_is_refused_for_ever() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().add_set(eight.config()).open().expect("opens");
    store.retire_set(id(8), Retire::Lost).expect("retired, in whatever state");
    assert_eq!(store.add_set(in_memory(8)), Err(Error::SetRetired { set: id(8) }));
    drop(store);
    assert!(matches!(seven.builder().add_set(eight.config()).open(), Err(Error::MapMismatch { .. })));
    for _ in 0..2 {
        let store = seven.builder().open().expect("opens");
        assert_eq!(states(&store), [(7, SetState::Active, 1)]);
        assert_eq!(store.add_set(in_memory(8)), Err(Error::SetRetired { set: id(8) }));
        assert_eq!(ends(store.get(eight.number(1))), Err(Error::SetRetired { set: id(8) }));
        store.set_weight(id(7), 1).expect("a change more, and it is still remembered");
    }
}

#[test]
fn weights_are_followed_at_once_and_a_builder_that_names_others_is_refused() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().add_set(eight.config().zone("a/1")).open().expect("opens");
    store.set_weight(id(8), 3).expect("weighted");
    // Three quarters, and seven times what chance makes of it to either side.
    let got = shares(&store, 2_000);
    assert!((1_365..1_636).contains(&got[&8]), "{got:?}");
    for weight in [0, 1_001] {
        assert!(matches!(store.set_weight(id(8), weight), Err(Error::Config(ConfigError::OutOfRange { name: "weight", .. }))));
    }
    drop(store);
    let naming = |eight: SetConfig| seven.builder().add_set(eight).open();
    for other in [
        eight.config().zone("a/1"),
        eight.config().zone("a/1").weight(2),
        eight.config().weight(3),
        eight.config().zone("a/2").weight(3),
    ] {
        let Err(Error::MapMismatch { stored, given }) = naming(other) else { panic!("a builder that differs is refused") };
        assert!(stored.contains("8 (weight 3, zone a/1)") && given != stored, "{stored}; {given}");
    }
    assert!(matches!(seven.builder().open(), Err(Error::MapMismatch { .. })));
    naming(eight.config().zone("a/1").weight(3)).expect("the same");
}

#[test]
fn near_sets_come_first_and_far_ones_when_there_is_no_near_one() {
    let set = |number: u16, zone: &str| in_memory(number).zone(zone);
    let builder = || OrderStore::builder().add_set(set(1, "a/1")).add_set(set(2, "a/2")).add_set(set(3, "b/1"));
    let store = builder().local_zone("a/1").open().expect("opens");
    for near in 1..=3 {
        assert_eq!(shares(&store, 50), BTreeMap::from([(near, 50)]));
        store.drain_set(id(near)).expect("drained");
    }
    assert_eq!(shares(&builder().open().expect("opens"), 300).len(), 3, "who does not say where it is has no near ones");
    for zone in ["", "a/b/c", "a\n"] {
        let given = zone.to_owned();
        let refused = Err(Error::Config(ConfigError::Zone { given }));
        assert_eq!(builder().local_zone(zone).open().map(drop), refused);
        assert_eq!(builder().add_set(set(4, zone)).open().map(drop), refused);
        assert_eq!(store.add_set(set(4, zone)), refused);
    }
}

#[test]
fn a_set_that_makes_no_sense_beside_the_others_is_refused_and_nothing_changes() {
    let home = tempfile::tempdir().expect("a directory");
    let dirs = |set: u16| ["a", "b", "c"].map(|disk| format!("{disk}/{set}"));
    let seven = SetConfig::new(id(7)).replicas(dirs(7));
    let store = OrderStore::builder().home(home.path()).add_set(seven).open().expect("opens");
    let refused = |set: SetConfig| match store.add_set(set) {
        Err(Error::Config(error)) => error,
        other => panic!("{other:?}"),
    };
    assert!(matches!(refused(SetConfig::new(id(7)).replicas(dirs(8))), ConfigError::DuplicateSet { .. }));
    assert!(matches!(refused(SetConfig::new(id(8)).replicas(dirs(7))), ConfigError::DuplicateDirectory { .. }));
    assert!(matches!(refused(SetConfig::new(id(8)).replicas(["a/7/in", "x", "y"])), ConfigError::DuplicateDirectory { .. }));
    assert!(matches!(refused(SetConfig::new(id(8)).replicas(["a", "x", "y"])), ConfigError::DuplicateDirectory { .. }));
    assert!(matches!(refused(SetConfig::new(id(8)).replicas(["x", "y"])), ConfigError::ReplicaCount { given: 2, n: 3, .. }));
    assert!(matches!(refused(SetConfig::new(id(8))), ConfigError::OutOfRange { .. }));
    assert!(matches!(refused(SetConfig::new(id(8)).replicas(dirs(8)).weight(0)), ConfigError::OutOfRange { .. }));
    assert_eq!(store.status().map_version, 1);
    let names: Vec<_> =
        std::fs::read_dir(home.path().join("a")).expect("listed").flatten().map(|entry| entry.file_name()).collect();
    assert_eq!(names, ["7"], "nothing was made");

    // What belongs to another store is not taken.
    let other = tempfile::tempdir().expect("a directory");
    let foreign = SetConfig::new(id(8)).replicas(dirs(8));
    drop(OrderStore::builder().home(other.path()).add_set(foreign.clone()).open().expect("opens"));
    let theirs = ["a/8", "b/8", "c/8"].map(|dir| other.path().join(dir));
    let taken = store.add_set(SetConfig::new(id(8)).replicas(theirs.clone()));
    assert!(matches!(taken, Err(Error::ForeignReplica { .. })), "{taken:?}");
    let in_use = OrderStore::builder().home(other.path()).open().expect("it is as it was");
    let taken = store.add_set(SetConfig::new(id(8)).replicas(theirs));
    assert!(matches!(taken, Err(Error::InUse { .. })), "{taken:?}");
    drop(in_use);
    store.add_set(foreign).expect("added");
    assert_eq!(states(&store), [(7, SetState::Active, 1), (8, SetState::Joining, 1)]);
}

#[test]
fn a_set_whose_replicas_cannot_be_made_is_not_added_and_can_be_added_later() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.open();
    eight.faults[1].fail_applies(1);
    assert!(matches!(store.add_set(eight.config()), Err(Error::CannotForm { .. })));
    eight.gone[2].store(true, Ordering::SeqCst);
    assert!(matches!(store.add_set(eight.config()), Err(Error::CannotForm { .. })));
    assert_eq!(states(&store), [(7, SetState::Active, 1)]);
    assert_eq!(shares(&store, 20), BTreeMap::from([(7, 20)]));
    eight.gone[2].store(false, Ordering::SeqCst);
    store.add_set(eight.config()).expect("added");
    assert_eq!(states(&store), [(7, SetState::Active, 1), (8, SetState::Joining, 1)]);
}

#[test]
fn a_set_that_hangs_can_be_drained_and_retired_and_keeps_no_other_from_being_added() {
    let (seven, eight, nine) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2), Bench::of_set(9, 3, 2, 2));
    let builder = seven.builder().add_set(eight.config()).deadline(Duration::from_secs(3));
    let store = builder.close_timeout(Duration::from_millis(400)).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 40, &mut acknowledged);
    eight.faults.iter().for_each(|faults| faults.hang_applies());
    store.drain_set(id(8)).expect("drained");
    store.add_set(nine.config()).expect("added");
    assert_eq!(
        states(&store).iter().map(|(set, state, _)| (*set, *state)).collect::<Vec<_>>(),
        [(7, SetState::Active), (8, SetState::Draining), (9, SetState::Joining)]
    );
    create_some(&store, "beside it", 40, &mut acknowledged);
    store.retire_set(id(8), Retire::Lost).expect("retired");
    acknowledged.retain(|number, _| number.set_id() != id(8));
    create_some(&store, "without it", 40, &mut acknowledged);
    all_are_there(&store, &acknowledged);
    eight.release_all();
    drop(store);
    let store = seven.builder().add_set(nine.config()).open().expect("opens");
    all_are_there(&store, &acknowledged);
}

#[test]
fn when_no_set_can_keep_the_map_nothing_changes() {
    let seven = Bench::new(3, 2, 2);
    let store = seven.builder().deadline(Duration::from_millis(300)).open().expect("opens");
    let placed = ends(store.create_with("one", CreateOptions::new().deadline(AGES))).expect("created");
    seven.faults.iter().for_each(|faults| faults.hang_applies());
    let failed = store.set_weight(id(7), 5);
    assert!(matches!(failed, Err(Error::DeadlineExceeded { .. })), "{failed:?}");
    let failed = store.add_set(in_memory(8));
    assert!(matches!(failed, Err(Error::DeadlineExceeded { .. })), "{failed:?}");
    assert_eq!(states(&store), [(7, SetState::Active, 1)]);
    assert_eq!(store.status().map_version, 1);
    seven.release_all();
    until("it answers again", || store.set_weight(id(7), 2).is_ok());
    assert!(store.status().map_version >= 4, "no version is given to two maps");
    assert!(ends(store.get_with(placed.number, ReadOptions::strong().deadline(AGES))).expect("read").is_some());
}

#[test]
fn a_replica_that_was_away_during_a_change_is_given_the_map_when_it_returns() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.open();
    store.take_out_replica(id(7), 2).expect("taken out");
    until("it is closed", || !replica(&store, 2).reason.is_some_and(|reason| reason.contains("still")));
    store.add_set(eight.config()).expect("added");
    let map_of = |bench: &Bench, index: usize| (*bench.memory[index]).clone().meta("map").expect("read").expect("there");
    assert_ne!(map_of(&seven, 2), map_of(&seven, 0));
    store.bring_back_replica(id(7), 2).expect("begun");
    until("it is given the map", || map_of(&seven, 2) == map_of(&seven, 0));
    drop(store);
    assert_eq!(map_of(&seven, 2), map_of(&eight, 0));
}

/// It was given the map of the moment in which its epoch was claimed, and the change came between that and its first vote.
#[test]
fn a_replica_that_returns_in_the_middle_of_a_change_has_the_newest_map_all_the_same() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.open();
    let map_of = |bench: &Bench, index: usize| (*bench.memory[index]).clone().meta("map").expect("read").expect("there");
    store.take_out_replica(id(7), 2).expect("taken out");
    until("it is closed", || !replica(&store, 2).reason.is_some_and(|reason| reason.contains("still")));
    seven.faults[2].hang_applies();
    let applies = seven.faults[2].applies();
    store.bring_back_replica(id(7), 2).expect("begun");
    until("it is being given the old map", || seven.faults[2].applies() > applies);
    store.add_set(eight.config()).expect("added");
    seven.release_all();
    until("it is given the new one", || map_of(&seven, 2) == map_of(&eight, 0));
    until("so are the others", || map_of(&seven, 0) == map_of(&eight, 0));
}

#[test]
fn a_ramp_goes_on_while_other_changes_are_made() {
    let (seven, eight) = (Bench::new(3, 2, 2), Bench::of_set(8, 3, 2, 2));
    let store = seven.builder().ramp(Duration::from_millis(500)).open().expect("opens");
    store.add_set(eight.config()).expect("added");
    let mut weight = 0;
    until("it has joined", || {
        weight = weight % 1_000 + 1;
        store.set_weight(id(7), weight).expect("weighted");
        store.status().sets[1].state == SetState::Active
    });
}

/// What one replica alone holds of a change counts, and is with all once the store has been opened.
#[test]
fn the_newest_map_wins_at_open_and_comes_to_all() {
    let seven = Bench::new(3, 2, 2);
    drop(seven.open());
    let map_of = |index: usize| (*seven.memory[index]).clone().meta("map").expect("read").expect("there");
    let mut map = map_of(1).to_vec();
    // The version, and the weight of the one SET.
    (map[8], map[20]) = (9, 5);
    seven.plant_meta(1, "map", &map);
    let refused = seven.open_as(seven.config()).expect_err("another weight");
    assert!(matches!(refused, Error::MapMismatch { .. }), "{refused:?}");
    let store = seven.open_as(seven.config().weight(5)).expect("opens");
    assert_eq!((store.status().map_version, states(&store)), (9, vec![(7, SetState::Active, 5)]));
    drop(store);
    for index in 0..3 {
        assert_eq!(map_of(index), map, "replica {index}");
    }
}

#[test]
fn by_its_home_alone_a_store_opens_with_the_sets_weights_and_states_that_it_remembers() {
    let home = tempfile::tempdir().expect("a directory");
    let set = |set: u16| SetConfig::new(id(set)).replicas(["a", "b", "c"].map(|disk| format!("{disk}/{set}")));
    let at_home = || OrderStore::builder().home(home.path()).cache_bytes(1 << 20).ramp(NEVER);
    let store = at_home().add_set(set(7)).add_set(set(8)).open().expect("opens");
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 40, &mut acknowledged);
    store.add_set(set(9).weight(20).zone("a/1")).expect("added");
    create_some(&store, "with three", 60, &mut acknowledged);
    store.set_weight(id(7), 3).expect("weighted");
    store.drain_set(id(8)).expect("drained");
    let as_it_was = [(7, SetState::Active, 3), (8, SetState::Draining, 1), (9, SetState::Joining, 20)];
    assert_eq!(states(&store), as_it_was);
    drop(store);
    // Dropping waits for the end, whatever the keeper is doing: the directories are free at once.
    for _ in 0..5 {
        let store = at_home().open().expect("opens");
        assert_eq!(states(&store), as_it_was);
        assert_eq!(store.status().sets[2].zone.as_ref().map(|zone| zone.to_string()).as_deref(), Some("a/1"));
        assert_eq!(store.status().map_version, 4);
        all_are_there(&store, &acknowledged);
    }

    let before = files(&home.path().join("a/8"));
    let store = at_home().open().expect("opens");
    store.retire_set(id(8), Retire::Drained).expect("retired");
    drop(store);
    for _ in 0..2 {
        let store = at_home().open().expect("opens");
        assert_eq!(states(&store), [as_it_was[0], as_it_was[2]]);
        let gone = acknowledged.keys().find(|number| number.set_id() == id(8)).expect("it had some");
        assert_eq!(ends(store.get(*gone)), Err(Error::SetRetired { set: id(8) }));
        assert_eq!(store.add_set(set(8)), Err(Error::SetRetired { set: id(8) }));
        let others: Acknowledged = acknowledged
            .iter()
            .filter(|(number, _)| number.set_id() != id(8))
            .map(|(number, value)| (*number, value.clone()))
            .collect();
        all_are_there(&store, &others);
        // Nobody else can be put over them.
        let over = SetConfig::new(id(5)).replicas(["a/8", "b/8", "c/8"]);
        let refused = store.add_set(over);
        assert!(matches!(refused, Err(Error::ForeignReplica { .. })), "{refused:?}");
    }
    // Its orders lie where they lay.
    assert_eq!(files(&home.path().join("a/8")), before);
    // And may be taken away.
    for disk in ["a", "b", "c"] {
        std::fs::remove_dir_all(home.path().join(disk).join("8")).expect("removed");
    }
    let store = at_home().open().expect("opens");
    assert_eq!(states(&store), [as_it_was[0], as_it_was[2]]);
}

/// The names of what lies below a directory, but for what a database makes anew when it is opened.
fn files(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        std::fs::read_dir(dir).expect("listed").flatten().map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

#[test]
fn changes_made_by_many_at_once_under_load_come_one_after_the_other() {
    let benches: Vec<Bench> = (10..14).map(|set| Bench::of_set(set, 3, 2, 2)).collect();
    let seven = Bench::new(3, 2, 2);
    let store = seven.builder().ramp(Duration::ZERO).open().expect("opens");
    let during = under_load(&store, || {
        std::thread::scope(|scope| {
            for (bench, weight) in benches.iter().zip(2..) {
                let store = &store;
                scope.spawn(move || {
                    store.add_set(bench.config()).expect("added");
                    store.set_weight(bench.set, weight).expect("weighted");
                    if weight == 5 {
                        store.drain_set(bench.set).expect("drained");
                    }
                });
            }
        });
        until("all have joined", || states(&store).iter().all(|(_, state, _)| *state != SetState::Joining));
    });
    let (active, draining) = (SetState::Active, SetState::Draining);
    let expected = [(7, active, 1), (10, active, 2), (11, active, 3), (12, active, 4), (13, draining, 5)];
    assert_eq!(states(&store), expected);
    all_are_there(&store, &during);
    drop(store);
    let mut builder = seven.builder();
    for (bench, weight) in benches.iter().zip(2..) {
        builder = builder.add_set(bench.config().weight(weight));
    }
    let store = builder.open().expect("opens");
    assert_eq!(states(&store), expected);
    all_are_there(&store, &during);
}

#[test]
fn after_the_end_and_from_a_thread_of_the_store_changes_are_refused() {
    let store = Bench::new(3, 2, 2).open();
    let (placed, inside) = (ends(store.create("one")).expect("created"), store.clone());
    let changes = move |store: &OrderStore| {
        [store.add_set(in_memory(8)), store.drain_set(id(7)), store.retire_set(id(7), Retire::Lost), store.set_weight(id(7), 2)]
    };
    let modified = ends(store.modify(placed.number, move |_| Change::keep(changes(&inside)))).expect("modified");
    assert_eq!(modified.output, [const { Err(Error::Reentrant) }; 4]);
    ends(store.close()).expect("closed");
    assert_eq!(changes(&store), [const { Err(Error::Closed) }; 4]);
}

/// A store that is closed while a SET is being added leaves nothing open behind.
#[test]
fn a_store_closed_while_a_set_is_added_ends_with_it() {
    let quorum = Quorum::majority(3).expect("a quorum");
    for wait_ms in [0, 5, 20, 60] {
        let home = tempfile::tempdir().expect("a directory");
        let set = |set: u16| SetConfig::new(id(set)).replicas(["a", "b", "c"].map(|disk| format!("{disk}/{set}")));
        let builder = || OrderStore::builder().home(home.path()).quorum(quorum).cache_bytes(1 << 20);
        let store = builder().add_set(set(7)).open().expect("opens");
        let placed: Placed = ends(store.create("one")).expect("created");
        let added = std::thread::scope(|scope| {
            let adding = scope.spawn(|| store.add_set(set(8)));
            std::thread::sleep(Duration::from_millis(wait_ms));
            ends(store.close()).expect("closed");
            adding.join().expect("no panic")
        });
        drop(store);
        let opens = || builder().open();
        until("its directories are free", || opens().is_ok());
        let store = opens().expect("opens");
        assert!(ends(store.get(placed.number)).expect("read").is_some());
        if added.is_ok() {
            assert_eq!(store.status().sets.len(), 2);
        }
    }
}
