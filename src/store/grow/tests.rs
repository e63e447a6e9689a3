//! A SET is added, and the process dies: copies of all directories, taken after each step, stand for what it leaves behind.

use super::*;
use crate::config::{ConfigError, Quorum};
use crate::order::OrderNumber;
use crate::replica::peek_identity;
use crate::store::Builder;
use crate::testing::ManualClock;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

fn id(id: u16) -> SetId {
    SetId::new(id).unwrap()
}

fn nine() -> SetConfig {
    SetConfig::new(id(9)).replicas(["a/9", "b/9", "c/9"]).weight(3).zone("x/1")
}

/// By what lies there alone.
fn at(home: &Path) -> Builder {
    let day = "2026-11-22".parse().unwrap();
    OrderStore::builder().home(home).clock(ManualClock::at_noon(day)).cache_bytes(1 << 20)
}

fn naming_seven(home: &Path) -> Builder {
    at(home).quorum(Quorum::majority(3).unwrap()).add_set(SetConfig::new(id(7)).replicas(["a/7", "b/7", "c/7"]))
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let path = entry.unwrap().path();
        let target = to.join(path.file_name().unwrap());
        if path.is_dir() { copy(&path, &target) } else { assert!(fs::copy(&path, &target).is_ok()) }
    }
}

/// What lies on disk after each step of adding SET 009 to a store with SET 007, and an order that was acknowledged before.
struct Steps {
    home: tempfile::TempDir,
    number: OrderNumber,
}

const STEPS: [&str; 5] = ["before", "made", "spread", "formed", "started"];

impl Steps {
    fn take() -> Steps {
        let home = tempfile::tempdir().unwrap();
        let live = home.path().join("live");
        let store = naming_seven(&live).open().unwrap();
        let number = store.create("from before").wait().unwrap().number;
        store.compared().wait().unwrap();
        let keep = |step: &str| {
            // A step is done when most replicas have taken it; here it is to be on all.
            let start = Instant::now();
            while store.status().sets[0].replicas.iter().any(|replica| replica.queued > 0) {
                assert!(start.elapsed() < Duration::from_secs(40), "{step}: a replica never ends");
                std::thread::sleep(Duration::from_millis(2));
            }
            copy(&live, &home.path().join(step));
        };
        let (inner, config): (&Inner, _) = (&store.inner, nine());
        let mut changes = inner.changes.lock();
        keep("before");
        let adding = Adding::check(inner, &config).unwrap();
        let map = changes.next(&adding.topology.map, &adding.change().unwrap()).unwrap();
        let made = adding.make(&map).unwrap();
        keep("made");
        let spread = made.spread().unwrap();
        keep("spread");
        let formed = spread.mark_formed().unwrap();
        keep("formed");
        let started = formed.start().unwrap();
        started.shard.compared().wait().unwrap();
        keep("started");
        started.put_in_use().unwrap();
        drop(changes);
        assert_eq!(states(&store), [(7, SetState::Active), (9, SetState::Joining)]);
        store.close().wait().unwrap();
        Steps { home, number }
    }

    /// A place of its own, in which replicas may be mixed.
    fn at(&self, step: &str) -> tempfile::TempDir {
        let place = tempfile::tempdir().unwrap();
        copy(&self.home.path().join(step), place.path());
        place
    }

    /// One directory as it was after another step.
    fn mix(&self, place: &Path, step: &str, dir: &str) {
        let _ = fs::remove_dir_all(place.join(dir));
        let then = self.home.path().join(step).join(dir);
        if then.exists() {
            copy(&then, &place.join(dir));
        }
    }
}

fn states(store: &OrderStore) -> Vec<(u16, SetState)> {
    store.status().sets.iter().map(|set| (set.id.get(), set.state)).collect()
}

/// Everything works, and SET 009 is not in it; adding it goes on where it ended.
fn is_without_it_and_can_have_it(place: &Path, number: OrderNumber, what: &str) {
    let store = at(place).open().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(states(&store), [(7, SetState::Active)], "{what}");
    assert_eq!(store.status().map_version, 1, "{what}");
    assert_eq!(store.get(number).wait().unwrap().unwrap().value, "from before", "{what}");
    assert_eq!(store.create("still").wait().unwrap().number.set_id(), id(7), "{what}");
    let nobody = OrderNumber::new(number.day(), 5, id(9)).unwrap();
    assert_eq!(store.get(nobody).wait(), Err(Error::UnknownSet { set: id(9) }), "{what}");

    store.add_set(nine()).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(states(&store), [(7, SetState::Active), (9, SetState::Joining)], "{what}");
    drop(store);
    is_with_it(place, number, what);
}

/// Everything works, SET 009 too.
fn is_with_it(place: &Path, number: OrderNumber, what: &str) {
    let store = at(place).open().unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(states(&store), [(7, SetState::Active), (9, SetState::Joining)], "{what}");
    let nine_is = &store.status().sets[1];
    assert_eq!((nine_is.weight, nine_is.zone.as_ref().unwrap().as_str()), (3, "x/1"), "{what}");
    assert_eq!(store.get(number).wait().unwrap().unwrap().value, "from before", "{what}");
    store.drain_set(id(7)).unwrap_or_else(|error| panic!("{what}: {error}"));
    let there = store.create("there").wait().unwrap().number;
    assert_eq!(there.set_id(), id(9), "{what}");
    assert_eq!(store.get(there).wait().unwrap().unwrap().value, "there", "{what}");
    let twice = Err(Error::Config(ConfigError::DuplicateDirectory { dir: find::real_path(&place.join("a/9")) }));
    assert_eq!(store.add_set(nine()), twice, "{what}");
    let elsewhere = SetConfig::new(id(9)).in_memory(3);
    assert_eq!(store.add_set(elsewhere), Err(ConfigError::DuplicateSet { set: id(9) }.into()), "{what}");
    drop(store);
    for dir in ["a/9", "b/9", "c/9"].map(|dir| place.join(dir)) {
        assert!(peek_identity(&dir).unwrap().formed, "{what}: {dir:?} is like any other");
    }
}

#[test]
fn a_crash_between_any_two_steps_of_adding_a_set_leaves_a_store_that_opens() {
    let steps = Steps::take();
    for step in STEPS {
        let place = steps.at(step);
        match step {
            "before" | "made" => is_without_it_and_can_have_it(place.path(), steps.number, step),
            _ => is_with_it(place.path(), steps.number, step),
        }
    }
}

#[test]
fn a_crash_amid_the_first_step_leaves_a_store_without_the_set() {
    let steps = Steps::take();
    for lacking in [&["c/9"][..], &["a/9", "c/9"], &["a/9", "b/9"]] {
        let place = steps.at("made");
        lacking.iter().for_each(|dir| fs::remove_dir_all(place.path().join(dir)).unwrap());
        is_without_it_and_can_have_it(place.path(), steps.number, &format!("without {lacking:?}"));
    }
}

/// The new map has reached one replica of three, or two.
#[test]
fn a_crash_amid_the_second_step_leaves_a_store_with_the_set_that_stays_so() {
    let steps = Steps::take();
    for reached in [&["a/7"][..], &["b/7"], &["b/7", "c/7"]] {
        let place = steps.at("made");
        reached.iter().for_each(|dir| steps.mix(place.path(), "spread", dir));
        let other = tempfile::tempdir().unwrap();
        copy(place.path(), other.path());
        is_with_it(place.path(), steps.number, &format!("map on {reached:?}"));
        // It does not rest on those few any more: the first open hands it to all.
        // Each open waits for enough of them, and for the third only as long as it stays open: so twice.
        (0..2).for_each(|_| drop(at(other.path()).open().unwrap()));
        let seven = naming_seven(other.path()).open();
        assert!(matches!(seven, Err(Error::MapMismatch { .. })), "{reached:?}");
        let gone = reached.iter().chain(&["a/9", "b/9", "c/9"]);
        gone.for_each(|dir| fs::remove_dir_all(other.path().join(dir)).unwrap());
        let store = at(other.path()).open().unwrap();
        assert_eq!(states(&store), [(7, SetState::Active), (9, SetState::Joining)], "{reached:?}");
    }
}

#[test]
fn a_crash_amid_the_third_step_is_made_up_for() {
    let steps = Steps::take();
    for formed in [&["a/9"][..], &["b/9", "c/9"]] {
        let place = steps.at("spread");
        formed.iter().for_each(|dir| steps.mix(place.path(), "formed", dir));
        is_with_it(place.path(), steps.number, &format!("{formed:?} formed"));
    }
}

/// Whoever names SETs names those that the store remembers.
#[test]
fn a_builder_that_names_sets_must_name_the_new_one_from_the_second_step_on() {
    let steps = Steps::take();
    for step in STEPS {
        let place = steps.at(step);
        let (without, with) = (naming_seven(place.path()), naming_seven(place.path()).add_set(nine()));
        let (good, bad) = if ["before", "made"].contains(&step) { (without, with) } else { (with, without) };
        assert!(matches!(bad.open(), Err(Error::MapMismatch { .. })), "{step}");
        good.open().unwrap_or_else(|error| panic!("{step}: {error}"));
    }
}

/// In this process nobody takes up again what came to nothing, but for adding the same SET again; each attempt has a version of its own.
#[test]
fn an_attempt_that_came_to_nothing_takes_its_version_with_it() {
    let home = tempfile::tempdir().unwrap();
    let store = naming_seven(home.path()).open().unwrap();
    let (inner, config): (&Inner, _) = (&store.inner, nine());
    for version in 2..5 {
        let mut changes = inner.changes.lock();
        let adding = Adding::check(inner, &config).unwrap();
        let map = changes.next(&adding.topology.map, &adding.change().unwrap()).unwrap();
        assert_eq!(map.version, version);
        // Each time it comes a step further.
        let made = adding.make(&map).unwrap();
        if version > 2 {
            let spread = made.spread().unwrap();
            if version > 3 {
                drop(spread.mark_formed().unwrap());
            }
        }
    }
    assert_eq!(store.status().map_version, 1);
    store.set_weight(id(7), 2).unwrap();
    assert_eq!(store.status().map_version, 5);
    store.add_set(nine()).unwrap();
    assert_eq!(store.status().map_version, 6);
    drop(store);
    let store = at(home.path()).open().unwrap();
    assert_eq!(store.status().map_version, 6);
    assert_eq!(states(&store), [(7, SetState::Active), (9, SetState::Joining)]);
    assert_eq!(store.status().sets[0].weight, 2);
}
