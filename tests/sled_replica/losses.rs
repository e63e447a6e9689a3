//! A replica that came back with less than it had may not vote, and says absent of nothing that may be lost.

use super::bench::*;
use ordermint::{Damage, Group, Identity, Lookup, OrderNumber, RangeDigest, Replica, ReplicaError, Standing};
use std::fs;

/// Two closed days: runs, a gap, a straggler, an update; and meta data.
fn closed() -> (Home, Vec<(OrderNumber, ordermint::Record, bool)>) {
    let home = Home::new();
    let replica = home.formed();
    let mut orders = fresh(day(0), (100..300).chain(400..500), 1);
    for part in orders.chunks(75) {
        apply(&replica, part);
    }
    let later = [fresh(day(0), [350], 1000), fresh(day(1), 0..50, 1001)].concat();
    apply(&replica, &later);
    orders.extend(later);
    orders[20] = (orders[20].0, record(2000, "changed"), false);
    apply(&replica, &orders[20..21]);
    let mut meta = Group::new(1);
    meta.push_meta("map", "here").unwrap();
    replica.apply(&meta).unwrap();
    replica.close().unwrap();
    (home, orders)
}

/// It stays so when opened again, it takes no groups, and what it holds it gives.
fn assert_limbo_for_good(home: &Home, reason: &str) {
    for _ in 0..2 {
        let replica = home.open();
        assert!(limbo_reason(&replica).contains(reason), "{:?}", replica.standing());
        let refused = replica.apply(&group(&fresh(day(0), [9000], 9000)));
        assert!(matches!(refused, Err(ReplicaError::Out { .. })), "{refused:?}");
        assert!(matches!(replica.form(&identity()), Err(ReplicaError::Damaged { .. })));
        replica.close().unwrap();
    }
}

#[test]
fn a_day_that_is_gone_is_missed_and_its_numbers_are_not_absent() {
    let (home, orders) = closed();
    fs::remove_dir_all(home.path("days/2026-11-22")).unwrap();
    assert_limbo_for_good(&home, "2026-11-22 is missing");
    let replica = home.open();
    assert_eq!(replica.get(number(day(0), 100)), Ok(Lookup::Damaged(Damage::RunMissing)));
    assert_eq!(scan(&replica, day(0)), (Default::default(), vec![(0, OrderNumber::SEQUENCE_MAX)]));
    assert_eq!(replica.digest(day(0), 0, 9).map(|digest| digest.damaged), Ok(1));
    assert_eq!(replica.days(), Ok(vec![day(0), day(1)]));
    assert_found(&replica, &orders[301..]);
    // A day with its data file alone gone is gone as well.
    let (home, _) = closed();
    fs::remove_file(home.path("days/2026-11-23/db")).unwrap();
    assert_limbo_for_good(&home, "2026-11-23 is missing");
}

#[test]
fn meta_data_that_is_gone_is_missed() {
    let (home, orders) = closed();
    fs::remove_dir_all(home.path("meta")).unwrap();
    assert_limbo_for_good(&home, "meta data is missing");
    let replica = home.open();
    assert!(matches!(replica.meta("map"), Err(ReplicaError::Damaged { .. })));
    assert_eq!(replica.epoch(), 1);
    replica.claim(2).unwrap();
    assert_found(&replica, &orders);
}

#[test]
fn an_older_state_of_one_database_is_noticed() {
    for database in ["meta", "days/2026-11-22"] {
        let (home, mut orders) = closed();
        copy_dir(&home.path(database), &home.path("../older"));
        let replica = home.open();
        let more = fresh(day(0), 600..610, 3000);
        let mut more_and_meta = group(&more);
        more_and_meta.push_meta("map", "there").unwrap();
        replica.apply(&more_and_meta).unwrap();
        replica.close().unwrap();
        orders.extend(more);
        assert_found(&home.open(), &orders);

        fs::remove_dir_all(home.path(database)).unwrap();
        copy_dir(&home.path("../older"), &home.path(database));
        assert_limbo_for_good(&home, "came back at group");
        fs::remove_dir_all(home.path("../older")).unwrap();
    }
}

#[test]
fn a_database_of_another_replica_is_noticed() {
    let (home, _) = closed();
    let (other, _) = closed();
    fs::remove_dir_all(home.path("days/2026-11-22")).unwrap();
    copy_dir(&other.path("days/2026-11-22"), &home.path("days/2026-11-22"));
    assert_limbo_for_good(&home, "another replica");
}

/// Whatever was lost: once that is accepted it votes, also when opened again, and nothing reads as damaged any more.
#[test]
fn a_readmitted_replica_votes_for_good_and_what_it_lost_is_absent() {
    type Lose = fn(&Home);
    let losses: [(&str, Lose); 5] = [
        ("a day", |home| fs::remove_dir_all(home.path("days/2026-11-22")).unwrap()),
        ("meta data", |home| fs::remove_dir_all(home.path("meta")).unwrap()),
        ("a day of another replica", |home| {
            let (other, _) = closed();
            fs::remove_dir_all(home.path("days/2026-11-22")).unwrap();
            copy_dir(&other.path("days/2026-11-22"), &home.path("days/2026-11-22"));
        }),
        ("the last run", |home| {
            remove_run(home, |runs| runs[runs.len() - 1]);
        }),
        ("an older day", |home| {
            copy_dir(&home.path("days/2026-11-22"), &home.path("../older"));
            let replica = home.open();
            apply(&replica, &fresh(day(0), 600..610, 3000));
            replica.close().unwrap();
            fs::remove_dir_all(home.path("days/2026-11-22")).unwrap();
            copy_dir(&home.path("../older"), &home.path("days/2026-11-22"));
        }),
    ];
    for (what, lose) in losses {
        let (home, orders) = closed();
        lose(&home);
        let replica = home.open();
        limbo_reason(&replica);
        assert_eq!(replica.readmit(77), Ok(()), "{what}");
        assert_voting(&replica);
        replica.claim(2).unwrap();
        let later = fresh(day(0), [700, 701], 5000);
        let mut more = group(&later);
        more.push_meta("map", "again").unwrap();
        // Groups of epoch 1 are fenced off by the claim.
        assert!(matches!(replica.apply(&more), Err(ReplicaError::Fenced { .. })), "{what}");
        let mut more = Group::new(2);
        for (number, record, is_fresh) in &later {
            more.push(ordermint::Write::new(*number, record, *is_fresh)).unwrap();
        }
        more.push_meta("map", "again").unwrap();
        assert!(replica.apply(&more).is_ok(), "{what}");
        let found = |replica: &ordermint::SledReplica| {
            let (records, damaged) = scan(replica, day(0));
            assert_eq!(damaged, [], "{what}");
            for (number, ..) in &orders {
                assert!(matches!(replica.get(*number), Ok(Lookup::Found(_) | Lookup::Absent)), "{what}: {number}");
            }
            assert_found(replica, &later);
            records
        };
        let records = found(&replica);
        replica.close().unwrap();
        for _ in 0..2 {
            let replica = home.open();
            assert_voting(&replica);
            assert_eq!((replica.marks().own, replica.epoch()), (79, 2), "{what}");
            assert_eq!(found(&replica), records, "{what}");
            assert_eq!(replica.meta("map").unwrap().unwrap(), "again");
            drop(replica);
        }
    }
}

#[test]
fn a_replica_without_a_readable_name_is_not_readmitted() {
    let (home, _) = closed();
    for name in ["superblock.a", "superblock.b"] {
        fs::write(home.path(name), "x").unwrap();
    }
    let replica = home.open();
    assert!(matches!(replica.readmit(9), Err(ReplicaError::Damaged { .. })));
    limbo_reason(&replica);
}

#[test]
fn one_copy_of_the_superblock_is_enough() {
    for name in ["superblock.a", "superblock.b"] {
        for damage in [|bytes: &mut Vec<u8>| bytes[30] ^= 1, |bytes: &mut Vec<u8>| bytes.truncate(50)] {
            let (home, orders) = closed();
            let mut bytes = fs::read(home.path(name)).unwrap();
            damage(&mut bytes);
            fs::write(home.path(name), bytes).unwrap();
            let replica = home.open();
            assert_voting(&replica);
            assert_eq!(replica.epoch(), 1);
            assert_found(&replica, &orders);
        }
        let (home, _) = closed();
        fs::remove_file(home.path(name)).unwrap();
        assert_voting(&home.open());
    }
}

#[test]
fn without_a_superblock_a_replica_gives_values_and_knows_nobody() {
    for remove in [true, false] {
        let (home, orders) = closed();
        for name in ["superblock.a", "superblock.b"] {
            if remove { fs::remove_file(home.path(name)).unwrap() } else { fs::write(home.path(name), "garbage").unwrap() }
        }
        for _ in 0..2 {
            // Also where it would be made if it were not there: it is there.
            let replica = ordermint::SledReplica::open(&home.options(true)).unwrap();
            assert!(matches!(replica.standing(), Standing::Limbo { identity: None, .. }), "{:?}", replica.standing());
            assert_found(&replica, &orders);
            assert_eq!(replica.meta("map").unwrap().as_deref(), Some(&b"here"[..]));
        }
    }
}

#[test]
fn what_is_banished_without_a_close_stays_so_by_either_copy() {
    for name in ["superblock.a", "superblock.b"] {
        let (home, _) = closed();
        home.open().banish("a peer saw group 9").unwrap();
        fs::remove_file(home.path(name)).unwrap();
        assert_limbo_for_good(&home, "a peer saw group 9");
    }
}

#[test]
fn an_identity_is_not_changed_for_another() {
    let (home, _) = closed();
    let replica = home.open();
    for other in [
        Identity { store: 43, ..identity() },
        Identity { index: 2, ..identity() },
        Identity { set: ordermint::SetId::new(8).unwrap(), ..identity() },
        Identity { formed: false, ..identity() },
    ] {
        assert!(matches!(replica.form(&other), Err(ReplicaError::Damaged { .. })), "{other:?}");
    }
    // Directories move, and a quorum may change.
    let moved = Identity { quorum: (5, 3, 3), replicas: vec!["elsewhere".into()], ..identity() };
    replica.form(&moved).unwrap();
    drop(replica);
    assert_eq!(home.open().standing(), Standing::Voting(moved));
}

/// Takes a run out of a closed replica.
fn remove_run(home: &Home, choose: impl FnOnce(&[OrderNumber]) -> OrderNumber) -> OrderNumber {
    let db = home.sled(day(0));
    let runs = db.open_tree("runs").unwrap();
    let key = |key: sled::IVec| OrderNumber::try_from(u64::from_be_bytes(key[..].try_into().unwrap())).unwrap();
    let firsts: Vec<OrderNumber> = runs.iter().keys().map(|found| key(found.unwrap())).collect();
    assert!(firsts.len() >= 4, "{firsts:?}");
    let chosen = choose(&firsts);
    runs.remove(chosen.to_be_bytes()).unwrap();
    db.flush().unwrap();
    chosen
}

/// Every number of the day reads as it was written, but for those from `from` to `to`, of which nothing can be said.
fn assert_hole(home: &Home, orders: &[(OrderNumber, ordermint::Record, bool)], from: u64, to: u64) {
    let replica = home.open();
    let expected =
        |sequence: u64| orders.iter().find(|(order, ..)| *order == number(day(0), sequence)).map(|(_, record, _)| record);
    for sequence in (0..700).chain([20_000, OrderNumber::SEQUENCE_MAX]) {
        let lookup = replica.get(number(day(0), sequence)).unwrap();
        match lookup {
            Lookup::Found(record) => assert_eq!(Some(&record), expected(sequence), "{sequence}"),
            Lookup::Absent => {
                assert_eq!(expected(sequence), None, "{sequence}");
                assert!(!(from..=to).contains(&sequence), "{sequence} may be lost, and is said to be absent");
            }
            Lookup::Damaged(damage) => {
                assert_eq!(damage, Damage::RunMissing);
                assert!((from..=to).contains(&sequence), "{sequence} is not lost");
            }
        }
    }
    let (records, damaged) = scan(&replica, day(0));
    assert_eq!(damaged, [(from, to)]);
    for (number, record, _) in orders.iter().filter(|(number, ..)| number.day() == day(0)) {
        let is_single = record.version.counter >= 1000;
        let is_lost = (from..=to).contains(&number.sequence()) && !is_single;
        assert_eq!(records.get(&number.sequence()), (!is_lost).then_some(record), "{number}");
    }
    // The same at every page size: no page hides the hole, and there is an end.
    for records in [1, 2, 7] {
        let (mut after, mut holes, mut found, mut pages) = (None, Vec::new(), 0, 0);
        loop {
            let limit = ordermint::ScanLimit { records, bytes: 1 << 20 };
            let chunk = replica.scan(day(0), after, limit).unwrap();
            for item in chunk.items {
                match item {
                    ordermint::Scanned::Found(..) => found += 1,
                    ordermint::Scanned::Damaged { from, to, .. } => holes.push(from.sequence()..=to.sequence()),
                }
            }
            pages += 1;
            let Some(upto) = chunk.upto else { break };
            assert!(after < Some(upto) && pages < 1000);
            after = Some(upto);
        }
        assert_eq!(found, scan(&replica, day(0)).0.len(), "pages of {records}");
        let told = |sequence: u64| holes.iter().any(|hole| hole.contains(&sequence)) || expected(sequence).is_some();
        assert!((from..=to.min(700)).all(told), "pages of {records}");
    }
    let ranges: Vec<RangeDigest> = digests(&replica, day(0)).unwrap();
    assert_eq!(ranges[0].damaged, 1);
}

#[test]
fn a_lost_run_is_a_hole_and_not_an_absence() {
    let (home, orders) = closed();
    let mut next = None;
    let lost = remove_run(&home, |firsts| {
        next = Some(firsts[2]);
        firsts[1]
    });
    assert_hole(&home, &orders, lost.sequence(), next.unwrap().sequence() - 1);
    assert_voting(&home.open());
}

#[test]
fn a_lost_first_run_is_a_hole_from_the_beginning_of_the_day() {
    let (home, orders) = closed();
    let mut next = None;
    remove_run(&home, |firsts| {
        next = Some(firsts[1]);
        firsts[0]
    });
    assert_hole(&home, &orders, 0, next.unwrap().sequence() - 1);
}

#[test]
fn a_lost_last_run_is_a_hole_up_to_the_mark_and_ground_for_limbo() {
    let (home, orders) = closed();
    let lost = remove_run(&home, |firsts| firsts[firsts.len() - 1]);
    assert_hole(&home, &orders, lost.sequence(), 499);
    assert_limbo_for_good(&home, "without its last run");
}

/// As a power cut within a group can leave it, when the page with the mark was written and those with the runs were not.
#[test]
fn a_mark_ahead_of_its_runs_is_no_ground_for_limbo_while_the_group_was_never_synced() {
    let (home, mut orders) = closed();
    let before = ["superblock.a", "superblock.b"].map(|name| (home.path(name), fs::read(home.path(name)).unwrap()));
    let replica = home.open();
    let unsynced = fresh(day(0), 600..650, 3000);
    apply(&replica, &unsynced);
    drop(replica);
    for (path, bytes) in before {
        fs::write(path, bytes).unwrap();
    }
    let lost = remove_run(&home, |firsts| *firsts.iter().find(|first| first.sequence() >= 600).unwrap());
    assert_eq!(lost.sequence(), 600);
    let replica = home.open();
    assert_voting(&replica);
    assert_found(&replica, &orders);
    assert!(matches!(replica.get(number(day(0), 600)), Ok(Lookup::Damaged(_))));
    let later = fresh(day(0), 640..700, 4000);
    apply(&replica, &later);
    orders.extend(later);
    replica.close().unwrap();
    let replica = home.open();
    assert_voting(&replica);
    assert_found(&replica, &orders);
}

#[test]
fn a_rotten_single_hides_the_run_below_it() {
    let (home, orders) = closed();
    let rotten = orders[20].0;
    home.rot(rotten);
    let replica = home.open();
    assert!(matches!(replica.get(rotten), Ok(Lookup::Damaged(Damage::Record { .. }))));
    assert_eq!(scan(&replica, day(0)).1, [(rotten.sequence(), rotten.sequence())]);
    // A repair writes the same version again under a new generation.
    let repaired = (rotten, ordermint::Record { generation: 1, ..orders[20].1.clone() }, false);
    apply(&replica, std::slice::from_ref(&repaired));
    assert_found(&replica, std::slice::from_ref(&repaired));
    assert_eq!(scan(&replica, day(0)).1, []);
}

#[test]
fn a_rotten_record_of_a_run_is_repaired_beside_it() {
    let (home, orders) = closed();
    let (rotten, record, _) = &orders[150];
    home.rot(*rotten);
    let replica = home.open();
    assert!(matches!(replica.get(*rotten), Ok(Lookup::Damaged(Damage::Record { .. }))));
    assert_found(&replica, &[&orders[..150], &orders[151..]].concat());
    let repaired = (*rotten, ordermint::Record { generation: 1, ..record.clone() }, false);
    apply(&replica, std::slice::from_ref(&repaired));
    drop(replica);
    let replica = home.open();
    assert_found(&replica, std::slice::from_ref(&repaired));
    assert_eq!(scan(&replica, day(0)).1, []);
}
