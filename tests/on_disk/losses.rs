//! One replica comes back with less than it had, or with older versions: pieces gone from the middle, an old directory, an emptied
//! one. Whether the store is opened upon it or the replica is brought back into it: no acknowledged order is missing, and no
//! older version of one comes back.

use crate::bench::*;
use ordermint::{OrderNumber, OrderStore, ReplicaState};
use std::fs;

/// Orders of a store with a history: some changed twice, some once, some never; runs and single records.
struct World {
    disk: Disk,
    book: Book,
}

impl World {
    fn new() -> World {
        let world = World { disk: Disk::new(), book: Book::default() };
        let store = world.disk.open();
        let mut book = Book::default();
        book.create(&store, "order", 200);
        let numbers = book.numbers();
        // Every run keeps orders that were never changed.
        book.change(&store, "once", &numbers.iter().copied().step_by(2).collect::<Vec<_>>());
        until_all_have_it(&store);
        close(store);
        // What an old directory goes back to.
        for (index, dir) in world.disk.dirs.iter().enumerate() {
            copy(dir, &world.disk.aside(&format!("old {index}")));
        }
        let store = world.disk.open();
        let changed: Vec<OrderNumber> = numbers.iter().copied().skip(50).step_by(4).collect();
        book.change(&store, "again", &changed);
        book.create(&store, "later", 40);
        until_all_have_it(&store);
        // With their next group all keep how far the others had come by then: they are each other's witnesses. Without it an old
        // directory may vote, and what it lacks is found by its digests, as with the other losses below.
        book.change(&store, "heard of", &numbers[..1]);
        until_all_have_it(&store);
        close(store);
        World { book, ..world }
    }
}

/// What happens to a replica, and the states in which it may come back.
struct Harm {
    what: &'static str,
    done: fn(&Disk, usize),
    leaves: ReplicaState,
    /// Orders read as damaged on it, so that they cannot be read with one other replica alone.
    hides: bool,
}

fn day_dir(disk: &Disk, index: usize) -> std::path::PathBuf {
    disk.dirs[index].join("days").join(today().to_string())
}

const HARMS: &[Harm] = &[
    Harm {
        what: "a run in the middle is gone",
        done: |disk, index| {
            let inside = disk.sled(index);
            let runs = inside.runs();
            assert!(runs.len() >= 6, "{runs:?}");
            inside.runs.remove(runs[runs.len() / 2].to_be_bytes()).expect("removed");
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: true,
    },
    Harm {
        what: "runs in the middle and at the beginning are gone",
        done: |disk, index| {
            let inside = disk.sled(index);
            let runs = inside.runs();
            for at in [0, 2, 3] {
                inside.runs.remove(runs[at].to_be_bytes()).expect("removed");
            }
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: true,
    },
    Harm {
        what: "a run in the middle is garbled",
        done: |disk, index| {
            let inside = disk.sled(index);
            let run = inside.runs()[2];
            let mut bytes = inside.runs.get(run.to_be_bytes()).expect("read").expect("there").to_vec();
            bytes[9] ^= 1;
            inside.runs.insert(run.to_be_bytes(), bytes).expect("written");
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: true,
    },
    Harm {
        what: "single records are gone, and older versions show",
        done: |disk, index| {
            let inside = disk.sled(index);
            for number in inside.singles().into_iter().skip(3).step_by(3) {
                inside.singles.remove(number.to_be_bytes()).expect("removed");
            }
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: false,
    },
    Harm {
        what: "all single records are gone",
        done: |disk, index| {
            let inside = disk.sled(index);
            inside.singles.clear().expect("cleared");
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: false,
    },
    Harm {
        what: "single records are those of before, and look sound",
        done: |disk, index| {
            let old = disk.aside("old database");
            let _ = fs::remove_dir_all(&old);
            copy(&disk.aside(&format!("old {index}")).join("days").join(today().to_string()), &old);
            let old = sled::Config::new().path(old).segment_size(2 << 20).flush_every_ms(None).open().expect("sled opens it");
            let old = old.open_tree("singles").expect("a tree");
            let inside = disk.sled(index);
            for entry in old.iter() {
                let (key, value) = entry.expect("read");
                inside.singles.insert(key, value).expect("written");
            }
            inside.done();
        },
        leaves: ReplicaState::Voting,
        hides: false,
    },
    Harm {
        what: "the last run is gone",
        done: |disk, index| {
            let inside = disk.sled(index);
            let run = *inside.runs().last().expect("runs");
            inside.runs.remove(run.to_be_bytes()).expect("removed");
            inside.done();
        },
        leaves: ReplicaState::Limbo,
        hides: false,
    },
    Harm {
        what: "the database of the day is an old one",
        done: |disk, index| {
            fs::remove_dir_all(day_dir(disk, index)).expect("removed");
            let old = disk.aside(&format!("old {index}"));
            copy(&old.join("days").join(today().to_string()), &day_dir(disk, index));
        },
        leaves: ReplicaState::Limbo,
        hides: false,
    },
    Harm {
        what: "the database of the day is gone",
        done: |disk, index| fs::remove_dir_all(day_dir(disk, index)).expect("removed"),
        leaves: ReplicaState::Limbo,
        hides: false,
    },
    Harm {
        what: "the directory is an old one",
        done: |disk, index| {
            fs::remove_dir_all(&disk.dirs[index]).expect("removed");
            copy(&disk.aside(&format!("old {index}")), &disk.dirs[index]);
        },
        leaves: ReplicaState::Limbo,
        hides: false,
    },
    Harm {
        what: "the directory is empty",
        done: |disk, index| {
            fs::remove_dir_all(&disk.dirs[index]).expect("removed");
            fs::create_dir(&disk.dirs[index]).expect("made");
        },
        leaves: ReplicaState::Missing,
        hides: false,
    },
    Harm {
        what: "the directory is gone",
        done: |disk, index| fs::remove_dir_all(&disk.dirs[index]).expect("removed"),
        leaves: ReplicaState::Missing,
        hides: false,
    },
];

/// The store goes on: every order as acknowledged, the replica named, and all of it after further changes too; with the
/// harmed replica and any one of the others, where it votes.
fn goes_on(store: &OrderStore, book: &mut Book, index: usize, harm: &Harm, told: &str) {
    book.assert_stands(store, told);
    let state = replica(store, index).state;
    assert_eq!(state, harm.leaves, "{told}: {:?}", replica(store, index));
    until("they are compared", || store.status().sets[0].compared.is_some());
    ends(store.compared()).expect("compared");
    until(&format!("it is named, {told}: {:?}", store.status().sets), || replica(store, index).reason.is_some());
    book.assert_stands(store, told);
    if state == ReplicaState::Voting {
        book.assert_none_is_absent(store, told);
        for other in [(index + 1) % 3, (index + 2) % 3] {
            take_out(store, other);
            // What only the harmed one lacks is on one of two now.
            let unread = book.assert_nothing_is_wrong_or_renewed(store, &format!("{told}, without {other}"));
            assert_eq!(unread > 0, harm.hides, "{told}, without {other}: {unread} cannot be read");
            assert_eq!(bring_back(store, other), ReplicaState::Voting, "{told}: {:?}", replica(store, other));
        }
    }
    let changed: Vec<OrderNumber> = book.numbers().into_iter().step_by(7).collect();
    book.change(store, "afterwards", &changed);
    book.create(store, "new", 10);
    book.assert_stands(store, &format!("{told}, changed since"));
}

#[test]
fn whatever_one_replica_lost_before_an_open_no_acknowledged_order_is_gone_or_older() {
    let world = World::new();
    for (at, harm) in HARMS.iter().enumerate() {
        let index = at % 3;
        let told = format!("replica {index}: {}", harm.what);
        let (disk, mut book) = (world.disk.copied(), world.book.clone());
        (harm.done)(&disk, index);
        let store = disk.open();
        goes_on(&store, &mut book, index, harm, &told);
        close(store);
        let store = disk.open();
        book.assert_stands(&store, &format!("{told}, opened once more"));
        close(store);
    }
}

#[test]
fn whatever_one_replica_lost_while_it_was_out_no_acknowledged_order_is_gone_or_older_when_it_is_brought_back() {
    let world = World::new();
    for (at, harm) in HARMS.iter().enumerate() {
        let index = (at + 1) % 3;
        let told = format!("replica {index}, brought back: {}", harm.what);
        let (disk, mut book) = (world.disk.copied(), world.book.clone());
        let store = disk.open();
        ends(store.compared()).expect("compared");
        book.assert_stands(&store, "all clean");
        // Changed in this very epoch too, with the replica and without it.
        let numbers = book.numbers();
        book.change(&store, "with it", &numbers[..20]);
        until_all_have_it(&store);
        take_out(&store, index);
        book.change(&store, "without it", &numbers[10..30]);
        (harm.done)(&disk, index);
        assert_eq!(bring_back(&store, index), harm.leaves, "{told}: {:?}", replica(&store, index));
        goes_on(&store, &mut book, index, harm, &told);
        close(store);
        let store = disk.open();
        book.assert_stands(&store, &format!("{told}, opened once more"));
        close(store);
    }
}

/// W = 2 promises to survive one loss: here each newest version is on two replicas, and one of the two loses it.
#[test]
fn the_last_whole_copy_of_a_version_wins_over_two_older_ones() {
    for (behind, harmed) in [(0, 1), (1, 2), (2, 0)] {
        let world = World::new();
        let (disk, mut book) = (world.disk, world.book);
        disk.swap_away(behind, "away");
        let store = disk.open();
        let numbers = book.numbers();
        book.change(&store, "on two", &numbers[..60]);
        until("it is on both", || store.status().sets[0].replicas.iter().all(|replica| replica.queued == 0));
        close(store);
        disk.swap_back(behind, "away");
        let inside = disk.sled(harmed);
        inside.singles.clear().expect("cleared");
        inside.done();

        let store = disk.open();
        let told = format!("{behind} is behind, {harmed} lost it");
        book.assert_stands(&store, &told);
        let whole = 3 - behind - harmed;
        for index in [behind, harmed] {
            assert_eq!(replica(&store, index).state, ReplicaState::Voting, "{told}");
        }
        // What was read is on W by now, so it does not take the whole one any more.
        take_out(&store, whole);
        book.assert_stands_or_renewed(&store, &format!("{told}, without the whole one"));
        assert_eq!(bring_back(&store, whole), ReplicaState::Voting);
        book.change(&store, "afterwards", &numbers[40..80]);
        book.assert_stands(&store, &told);
        close(store);
    }
}
