//! Replicas that leave and return, on sled: what counts is what lies in their directories.

use crate::bench::*;
use crate::returning::*;
use ordermint::testing::{FaultControl, Faulty, ManualClock};
use ordermint::{OpenReplica, OrderStore, Quorum, Replica, ReplicaError, ReplicaState, SetConfig, SetId, SledReplica};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Three directories below one, on sled.
struct Disk {
    home: tempfile::TempDir,
    faults: Vec<FaultControl>,
}

impl Disk {
    fn new() -> Disk {
        let faults = (0..3).map(|_| FaultControl::new()).collect();
        Disk { home: tempfile::tempdir().expect("a directory"), faults }
    }

    fn dir(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    fn open(&self) -> OrderStore {
        let mut config = SetConfig::new(SetId::new(7).expect("an id"));
        for index in 0..3usize {
            let (dir, faults) = (self.dir(&index.to_string()), self.faults[index].clone());
            config = config.replica_with(move |options| {
                let mut here = OpenReplica::new(options.set, options.index, dir.clone());
                (here.create, here.cache_bytes) = (options.create, 8 << 20);
                Ok(Faulty::new(Arc::new(SledReplica::open(&here)?), faults.clone()))
            });
        }
        let quorum = Quorum::new(3, 2, 2).expect("a quorum");
        let builder = OrderStore::builder().quorum(quorum).clock(ManualClock::at_noon(today())).add_set(config);
        builder.open_timeout(Duration::from_secs(10)).open().expect("opens")
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("make");
    for entry in fs::read_dir(from).expect("list") {
        let path = entry.expect("list").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() { copy(&path, &target) } else { assert!(fs::copy(&path, &target).is_ok(), "copy") }
    }
}

#[test]
fn on_disk_only_the_right_directory_in_its_newest_state_returns_to_vote() {
    let disk = Disk::new();
    let store = disk.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 50, &mut acknowledged);
    take_out(&store, 2);
    copy(&disk.dir("2"), &disk.dir("older"));
    returns(&store, 2);
    create_some(&store, "after the copy", 50, &mut acknowledged);
    until_all_agree(&store);
    take_out(&store, 2);
    create_some(&store, "without it", 50, &mut acknowledged);
    fs::rename(disk.dir("2"), disk.dir("newest")).expect("rename");

    // Nothing there; an empty directory.
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Missing);
    fs::create_dir(disk.dir("2")).expect("make");
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Missing);
    assert!(reason(&store, 2).contains("empty"), "{}", reason(&store, 2));
    fs::remove_dir_all(disk.dir("2")).expect("remove");

    // That of another replica, which stays as it is.
    drop(store);
    copy(&disk.dir("1"), &disk.dir("2"));
    fs::rename(disk.dir("2"), disk.dir("of 1")).expect("rename");
    let store = disk.open();
    assert_eq!(replica(&store, 2).state, ReplicaState::Missing);
    let _ = fs::remove_dir_all(disk.dir("2"));
    fs::rename(disk.dir("of 1"), disk.dir("2")).expect("rename");
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Out);
    assert!(reason(&store, 2).contains("holds replica 1 of SET 007"), "{}", reason(&store, 2));
    fs::remove_dir_all(disk.dir("2")).expect("remove, since its lock was given back");

    // An older copy: what it acknowledged since is not there.
    copy(&disk.dir("older"), &disk.dir("2"));
    bring_back(&store, 2);
    assert_eq!(comes_to(&store, 2), ReplicaState::Limbo, "{}", reason(&store, 2));
    all_are_there(&store, &acknowledged);
    take_out(&store, 2);
    returns_to(&store, 2, ReplicaState::Limbo);
    take_out(&store, 2);

    // The one that left.
    fs::remove_dir_all(disk.dir("2")).expect("remove");
    fs::rename(disk.dir("newest"), disk.dir("2")).expect("rename");
    returns(&store, 2);
    create_some(&store, "whole again", 50, &mut acknowledged);
    all_are_there(&store, &acknowledged);
    until("they were compared", || status(&store).compared.is_some());
    ends(store.close()).expect("closed");
    let store = disk.open();
    assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting));
    all_are_there(&store, &acknowledged);
}

fn returns_to(store: &OrderStore, index: u8, state: ReplicaState) {
    bring_back(store, index);
    assert_eq!(comes_to(store, index), state, "{}", reason(store, index));
}

#[test]
fn on_disk_replicas_in_limbo_are_readmitted_for_good() {
    let disk = Disk::new();
    let store = disk.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 50, &mut acknowledged);
    ends(store.close()).expect("closed");
    // One lost its day, another its meta data. Each order is on the third.
    fs::remove_dir_all(disk.dir("0").join("days").join(today().to_string())).expect("remove");
    fs::remove_dir_all(disk.dir("1").join("meta")).expect("remove");
    let store = disk.open();
    assert_eq!(status(&store).epoch, 0);
    store.accept_loss(status(&store).id).expect("two are in limbo");
    for index in 0..2 {
        assert_eq!(comes_to(&store, index), ReplicaState::Voting, "{}", reason(&store, index));
    }
    all_are_there(&store, &acknowledged);
    until("it takes orders", || status(&store).closed_for_creates.is_none());
    create_some(&store, "afterwards", 50, &mut acknowledged);
    ends(store.close()).expect("closed");
    let store = disk.open();
    assert!(status(&store).replicas.iter().all(|replica| replica.state == ReplicaState::Voting), "{:?}", status(&store).replicas);
    create_some(&store, "later", 50, &mut acknowledged);
    all_are_there(&store, &acknowledged);
}

/// A replica that failed holds its lock until it is opened again or taken out.
#[test]
fn on_disk_a_replica_that_failed_returns_and_one_taken_out_can_be_opened_by_others() {
    let disk = Disk::new();
    let store = disk.open();
    let mut acknowledged = Acknowledged::new();
    create_some(&store, "before", 50, &mut acknowledged);
    disk.faults[1].fail_after_apply(1);
    create_some(&store, "fails", 50, &mut acknowledged);
    until("it is out", || is_out(&replica(&store, 1)));
    let open = || SledReplica::open(&OpenReplica::new(SetId::new(7).expect("an id"), 1, disk.dir("1")));
    assert!(matches!(open(), Err(ReplicaError::InUse { .. })));
    returns(&store, 1);
    until_all_agree(&store);
    disk.faults[1].fail_applies(1);
    create_some(&store, "fails again", 50, &mut acknowledged);
    until("it is out", || is_out(&replica(&store, 1)));
    take_out(&store, 1);
    let replica = open().expect("nobody else has it");
    replica.close().expect("closed");
    drop(replica);
    returns(&store, 1);
    until_all_agree(&store);
    all_are_there(&store, &acknowledged);
    ends(store.close()).expect("closed");
}
