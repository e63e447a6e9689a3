//! Whose directory it is, who has it open, and what is left lying about in it.

use super::bench::*;
use ordermint::{Group, Lookup, OpenReplica, OrderNumber, Replica, ReplicaError, SetId, SledReplica, Standing, Write};
use std::fs;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;

#[test]
fn what_is_not_there_is_missing_and_is_not_made() {
    let home = Home::new();
    assert_eq!(home.try_open().map(drop), Err(ReplicaError::Missing { dir: home.dir() }));
    assert!(!home.dir().exists());
    fs::create_dir(home.dir()).unwrap();
    assert_eq!(home.try_open().map(drop), Err(ReplicaError::Missing { dir: home.dir() }));
    assert_eq!(fs::read_dir(home.dir()).unwrap().count(), 0);
    // As a kill right after the lock was made leaves it.
    fs::write(home.path("lock"), "").unwrap();
    assert_eq!(home.try_open().map(drop), Err(ReplicaError::Missing { dir: home.dir() }));
    let replica = SledReplica::open(&home.options(true)).unwrap();
    assert_eq!(replica.standing(), Standing::Fresh);
}

#[test]
fn a_replica_without_a_directory_is_refused() {
    let mut options = OpenReplica::new(SET, 0, "x");
    options.dir = None;
    assert!(matches!(SledReplica::open(&options), Err(ReplicaError::Io { kind: ErrorKind::InvalidInput, .. })));
    let home = Home::new();
    fs::write(home.dir(), "a file").unwrap();
    assert!(matches!(SledReplica::open(&home.options(true)), Err(ReplicaError::Io { kind: ErrorKind::NotADirectory, .. })));
}

#[test]
fn nothing_is_written_among_somebody_elses_files() {
    let home = Home::new();
    fs::create_dir(home.dir()).unwrap();
    fs::write(home.path("letters.txt"), "dear").unwrap();
    for create in [false, true] {
        let error = SledReplica::open(&home.options(create)).unwrap_err();
        assert!(matches!(&error, ReplicaError::Damaged { what, .. } if what.contains("letters.txt")), "{error}");
    }
    assert_eq!(files_below(&home.dir()), [home.path("letters.txt")]);
    // What a file system brings along, and what somebody put beside a replica, does no harm.
    fs::remove_file(home.path("letters.txt")).unwrap();
    fs::create_dir(home.path("lost+found")).unwrap();
    drop(home.formed());
    fs::write(home.path("letters.txt"), "dear").unwrap();
    assert_voting(&home.open());
}

#[test]
fn a_directory_is_open_once_at_a_time() {
    let home = Home::new();
    let replica = home.formed();
    let in_use = Err(ReplicaError::InUse { dir: home.dir() });
    assert_eq!(home.try_open().map(drop), in_use);
    replica.close().unwrap();
    // Closed, though still held.
    let second = home.open();
    assert_eq!(home.try_open().map(drop), in_use);
    drop(second);
    drop(replica);
    home.open();
}

#[test]
fn directories_are_open_to_their_owner_alone() {
    let home = Home::new();
    let replica = home.formed();
    apply(&replica, &fresh(day(0), 0..3, 1));
    for below in ["", "meta", "meta/blobs", "days", "days/2026-11-22", "days/2026-11-22/blobs"] {
        let mode = fs::metadata(home.path(below)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o700, "{below}");
    }
}

/// Hazard: such a file, left by a kill, makes every later opening fail.
#[test]
fn a_snapshot_that_was_never_finished_is_removed() {
    let home = Home::new();
    let replica = home.formed();
    let orders = fresh(day(0), 0..100, 1);
    apply(&replica, &orders);
    replica.close().unwrap();
    let leftovers = ["meta/snap.0000000000000000.generating", "days/2026-11-22/snap.FFFFFFFFFFFFFFFF.generating"];
    for leftover in leftovers {
        fs::write(home.path(leftover), "half").unwrap();
    }
    let replica = home.open();
    assert_voting(&replica);
    assert_found(&replica, &orders);
    assert!(leftovers.iter().all(|leftover| !home.path(leftover).exists()));
}

/// Hazard: recovery may have cut off what it did not understand, and a second opening may look well.
#[test]
fn what_sled_finds_damaged_is_not_shown_to_it_again() {
    let home = Home::new();
    let replica = home.formed();
    apply(&replica, &fresh(day(0), 0..100, 1));
    replica.close().unwrap();
    // sled writes a snapshot when it opens something that grew.
    home.open().close().unwrap();
    let files = files_below(&home.path("days"));
    let snapshot = files.iter().find(|path| path.to_string_lossy().contains("/snap.")).expect("a snapshot");
    let intact = fs::read(snapshot).unwrap();
    fs::write(snapshot, "no snapshot at all").unwrap();
    let first = home.try_open().unwrap_err();
    assert!(matches!(first, ReplicaError::Damaged { .. } | ReplicaError::Panicked { .. }), "{first}");
    fs::write(snapshot, intact).unwrap();
    for _ in 0..2 {
        match home.try_open() {
            Err(ReplicaError::Damaged { path, what }) => {
                assert_eq!(path, home.path("quarantine"));
                assert!(what.contains("2026-11-22"), "{what}");
            }
            other => panic!("in quarantine, and it gave {other:?}"),
        }
    }
    fs::remove_file(home.path("quarantine")).unwrap();
    assert_voting(&home.open());
}

#[test]
fn a_day_that_was_being_made_when_the_power_went_or_a_kill_came_is_made_again() {
    let home = Home::new();
    let replica = home.formed();
    let orders = fresh(day(0), 0..100, 1);
    apply(&replica, &orders);
    drop(replica);
    // No group of that day was ever acknowledged; what lies there is what a power cut makes of a new file.
    copy_dir(&home.path("days/2026-11-22"), &home.path("days/2026-11-23"));
    fs::write(home.path("days/2026-11-23/conf"), "neither settings nor nothing").unwrap();
    // And this is what a kill may leave: sled writes its settings, then their checksum, and only then makes the file that they
    // are about.
    let settings = fs::read(home.path("days/2026-11-22/conf")).unwrap();
    fs::create_dir(home.path("days/2026-11-24")).unwrap();
    fs::write(home.path("days/2026-11-24/conf"), &settings[..settings.len() - 4]).unwrap();
    let replica = home.open();
    assert_voting(&replica);
    assert_eq!(replica.days(), Ok(vec![day(0)]));
    assert_found(&replica, &orders);
    let later = [fresh(day(1), 5..8, 200), fresh(day(2), 5..8, 300)].concat();
    apply(&replica, &later);
    drop(replica);
    let replica = home.open();
    assert_voting(&replica);
    assert_found(&replica, &[orders, later].concat());
    let aside = fs::read_dir(home.path("days"))
        .unwrap()
        .filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().contains("unborn"));
    assert_eq!(aside.count(), 1);
}

/// Hazard: sled puts large values into files that are never synced.
#[test]
fn values_at_the_cap_in_any_order_leave_no_blobs() {
    let home = Home::new();
    let replica = home.formed();
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..60 {
        let entries: Vec<_> = (0..30)
            .map(|at| (number(day(0), rng.u64(..100_000)), record(round * 30 + at + 1, [7; 7 * 1024]), at % 3 == 0))
            .collect();
        replica.apply(&group(&entries)).unwrap();
    }
    replica.close().unwrap();
    for database in ["meta", "days/2026-11-22"] {
        assert_eq!(fs::read_dir(home.path(database).join("blobs")).unwrap().count(), 0);
    }
}

#[test]
fn a_blob_puts_the_replica_out() {
    let home = Home::new();
    let replica = home.formed();
    apply(&replica, &fresh(day(0), 0..10, 1));
    fs::write(home.path("days/2026-11-22/blobs/17"), "large").unwrap();
    assert!(matches!(replica.close(), Err(ReplicaError::Damaged { what, .. }) if what.contains("17")));
}

#[test]
fn what_is_too_large_is_refused_and_does_no_harm() {
    let home = Home::new();
    let replica = home.formed();
    let mut large_meta = Group::new(1);
    large_meta.push_meta("map", vec![7; 9000]).unwrap();
    for refused in [group(&[(number(day(0), 1), record(1, [7; 9000]), true)]), large_meta] {
        assert!(matches!(replica.apply(&refused), Err(ReplicaError::Io { kind: ErrorKind::InvalidInput, .. })));
    }
    assert_eq!(replica.days(), Ok(vec![]));
    let orders = fresh(day(0), 0..10, 1);
    apply(&replica, &orders);
    assert_found(&replica, &orders);
}

/// Hazard: after a write that found no room sled fails until it is opened again. So room is watched, and some is left.
#[test]
fn a_full_disk_puts_the_replica_out_and_loses_nothing() {
    let home = Home::new();
    fs::create_dir(home.dir()).unwrap();
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=24m", "tmpfs"]).arg(home.dir()).output();
    if !mounted.is_ok_and(|output| output.status.success()) {
        println!("skipped: no tmpfs can be mounted here");
        return;
    }
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| fill_and_open_again(&home)));
    assert!(Command::new("umount").arg(home.dir()).status().unwrap().success());
    outcome.unwrap();
}

fn fill_and_open_again(home: &Home) {
    let mut replica = home.formed();
    let (mut orders, mut counter) = (Vec::new(), 1);
    let error = loop {
        let more: Vec<_> = (counter..counter + 30).map(|at| (number(day(0), at), record(at, [7; 7000]), true)).collect();
        match replica.apply(&group(&more)) {
            Ok(_) => orders.extend(more),
            Err(error) => break error,
        }
        counter += 30;
        assert!(counter < 100_000, "24 MB are full by then");
    };
    assert_eq!(error, ReplicaError::DiskFull { path: home.dir() });
    assert!(matches!(replica.apply(&group(&fresh(day(0), [0], 1))), Err(ReplicaError::Out { .. })));
    for _ in 0..2 {
        assert_found(&replica, &orders);
        assert!(orders.len() > 100);
        drop(replica);
        replica = home.open();
        assert_voting(&replica);
    }
    assert_found(&replica, &orders);
    assert_eq!(replica.get(number(day(0), counter)), Ok(Lookup::Absent));
}

#[test]
fn a_number_of_another_set_is_refused_in_writing_and_in_reading() {
    let home = Home::new();
    let replica = home.formed();
    let other = OrderNumber::new(day(0), 1, SetId::new(8).unwrap()).unwrap();
    let mut foreign = Group::new(1);
    foreign.push(Write::new(other, &record(1, "one"), true)).unwrap();
    let refused = ReplicaError::WrongSet { number: other, set: SET };
    assert_eq!(replica.apply(&foreign), Err(refused.clone()));
    assert_eq!(replica.get(other), Err(refused.clone()));
    assert_eq!(replica.scan(day(0), Some(other), ALL), Err(refused));
    assert_eq!(replica.days(), Ok(vec![]));
    // Nothing was written, so nothing is out.
    apply(&replica, &fresh(day(0), 0..3, 1));
}
