//! The index that a day derives from its records: made when it is needed, mended when it may have lost something.

use super::bench::*;
use ordermint::{
    Damage, Lookup, Noted, OrderNumber, Origin, RangeDigest, Record, Replica, ReplicaError, RequestKey, SetId, SledReplica,
    Version,
};
use std::fs;
use std::sync::Arc;

/// Of the second range of a day.
const FAR: u64 = RangeDigest::SEQUENCES + 5;

fn keyed(sequence: u64, key: &[u8]) -> (OrderNumber, Record, bool) {
    let origin = Origin {
        request_key: RequestKey::new(key, b"payload"),
        supersedes: vec![(number(day(0), 9_999), Version { epoch: 1, counter: 1 })],
        unverified: vec![SetId::MAX],
        copy_of: None,
        partly_asked: vec![(SetId::MAX, 9)],
        looked_from: Some(ordermint::Day::MIN),
    };
    (number(day(0), sequence), Record { origin: Some(Arc::new(origin)), ..record(sequence + 1, "order") }, true)
}

fn found(replica: &SledReplica, key: &[u8]) -> Vec<u64> {
    replica.keyed(key, day(0)).expect("keyed").iter().map(|number| number.sequence()).collect()
}

fn noted(replica: &SledReplica) -> Vec<u64> {
    replica.noted(None, 100_000).expect("noted").iter().map(|noted| noted.number.sequence()).collect()
}

fn digest(replica: &SledReplica, range: u32) {
    replica.digest(day(0), range, u32::MAX).expect("digest");
}

fn trees(home: &Home) -> Vec<String> {
    let mut names: Vec<String> =
        home.sled(day(0)).tree_names().iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
    names.sort();
    names.retain(|name| !name.starts_with("__sled"));
    names
}

/// As if sled had lost the one and kept the other.
fn lose_the_index(home: &Home) {
    let db = home.sled(day(0));
    for tree in ["keys", "notes"] {
        assert!(db.drop_tree(tree).expect("a tree is dropped"), "{tree} is there");
    }
    db.flush().expect("flush");
}

/// Orders in two ranges of a day, and no clean end.
fn left_behind() -> Home {
    let home = Home::new();
    let replica = home.formed();
    apply(
        &replica,
        &[&fresh(day(0), 0..10, 1)[..], &[keyed(10, b"near"), keyed(11, b"both")], &fresh(day(0), 12..50, 100)].concat(),
    );
    apply(&replica, &[keyed(FAR, b"far"), keyed(FAR + 1, b"both")]);
    drop(replica);
    home
}

#[test]
fn a_day_without_origins_has_no_index() {
    let home = Home::new();
    let replica = home.formed();
    apply(&replica, &fresh(day(0), 0..200, 1));
    apply(&replica, &[(number(day(0), 7), record(900, "changed"), false)]);
    assert_eq!((found(&replica, b"near"), noted(&replica)), (vec![], vec![]));
    replica.close().unwrap();
    assert_eq!(trees(&home), ["marks", "runs", "singles"]);
    let replica = home.open();
    apply(&replica, &[keyed(300, b"near")]);
    assert_eq!((found(&replica, b"near"), noted(&replica)), (vec![300], vec![300]));
    replica.close().unwrap();
    assert_eq!(trees(&home), ["keys", "marks", "notes", "runs", "singles"]);
}

#[test]
fn what_the_index_lost_is_entered_again_while_digests_are_computed_after_an_end_that_was_not_clean() {
    let home = left_behind();
    lose_the_index(&home);
    let replica = home.open();
    assert_voting(&replica);
    assert_eq!((found(&replica, b"both"), noted(&replica)), (vec![], vec![]), "nothing tells of it yet");
    digest(&replica, 0);
    assert_eq!((found(&replica, b"near"), found(&replica, b"both"), found(&replica, b"far")), (vec![10], vec![11], vec![]));
    // A clean end does not make the other range any better.
    replica.close().unwrap();
    let replica = home.open();
    digest(&replica, 1);
    assert_eq!((found(&replica, b"far"), found(&replica, b"both")), (vec![FAR], vec![11, FAR + 1]));
    assert_eq!(noted(&replica), [10, 11, FAR, FAR + 1]);
    // Nor does a kill undo what was mended.
    drop(replica);
    let replica = home.open();
    assert_eq!(noted(&replica), [10, 11, FAR, FAR + 1]);
}

/// Else each opening would look up each order that has a key.
#[test]
fn after_a_clean_end_nothing_is_looked_for() {
    let home = left_behind();
    let replica = home.open();
    (0..2).for_each(|range| digest(&replica, range));
    apply(&replica, &[keyed(3 * FAR, b"new")]);
    replica.close().unwrap();
    lose_the_index(&home);
    let replica = home.open();
    (0..4).for_each(|range| digest(&replica, range));
    assert_eq!(noted(&replica), []);
    // But it is entered with the next write of its record.
    apply(&replica, &[(number(day(0), 10), keyed(10, b"near").1, false)]);
    assert_eq!((found(&replica, b"near"), noted(&replica)), (vec![10], vec![10]));
}

#[test]
fn an_entry_that_rots_is_an_error_and_is_mended() {
    let home = left_behind();
    let garble = || {
        let db = home.sled(day(0));
        for name in ["keys", "notes"] {
            let tree = db.open_tree(name).unwrap();
            let (key, _) = tree.first().unwrap().unwrap();
            tree.insert(key, b"rotten").unwrap();
        }
        db.flush().unwrap();
    };
    garble();
    let replica = home.open();
    assert!(matches!(replica.keyed(b"far", day(0)), Err(ReplicaError::Day { .. })), "the shortest key comes first");
    assert!(matches!(replica.noted(None, 1), Err(ReplicaError::Day { .. })));
    assert_eq!(found(&replica, b"near"), [10]);
    (0..2).for_each(|range| digest(&replica, range));
    assert_eq!((found(&replica, b"far"), noted(&replica)), (vec![FAR], vec![10, 11, FAR, FAR + 1]));
}

/// More than one group may carry, so that it is synced in parts.
#[test]
fn thousands_of_entries_are_entered_again() {
    let home = Home::new();
    let replica = home.formed();
    let key = |sequence: u64| [&sequence.to_be_bytes()[..], &[b'k'; 247]].concat();
    let orders: Vec<_> = (0..3_000).map(|sequence| keyed(sequence, &key(sequence))).collect();
    orders.chunks(400).for_each(|part| apply(&replica, part));
    drop(replica);
    lose_the_index(&home);
    let replica = home.open();
    digest(&replica, 0);
    drop(replica);
    let replica = home.open();
    for sequence in 0..3_000 {
        assert_eq!(found(&replica, &key(sequence)), [sequence]);
    }
    assert_eq!(noted(&replica).len(), 3_000);
    assert_found(&replica, &orders);
}

/// Other replicas are to be asked then.
#[test]
fn of_a_day_that_is_gone_nothing_is_said() {
    let home = left_behind();
    let replica = home.open();
    apply(&replica, &fresh(day(1), 0..10, 2_000));
    replica.close().unwrap();
    fs::remove_dir_all(home.path("days/2026-11-22")).unwrap();
    let replica = home.open();
    assert!(matches!(replica.keyed(b"near", day(0)), Err(ReplicaError::Day { .. })));
    assert_eq!(replica.keyed(b"near", day(1)), Ok(vec![]));
    assert!(matches!(replica.noted(None, 1), Err(ReplicaError::Day { .. })));
}

#[test]
fn a_note_whose_record_cannot_be_read_is_told_by_its_number_alone() {
    let home = left_behind();
    home.rot(number(day(0), 11));
    let replica = home.open();
    assert!(matches!(replica.get(number(day(0), 11)), Ok(Lookup::Damaged(Damage::Record { .. }))));
    let bare = Noted { number: number(day(0), 11), supersedes: vec![], unverified: vec![], request_key: None };
    assert_eq!(replica.noted(Some(number(day(0), 10)), 1), Ok(vec![bare]));
    assert_eq!(found(&replica, b"both"), [11, FAR + 1]);
    assert_eq!(noted(&replica), [10, 11, FAR, FAR + 1]);
}

/// It takes nothing in, and gives what it has.
#[test]
fn in_limbo_nothing_is_mended() {
    let home = left_behind();
    lose_the_index(&home);
    let replica = home.open();
    replica.banish("by hand").unwrap();
    digest(&replica, 0);
    assert_eq!(found(&replica, b"near"), []);
    replica.readmit(0).unwrap();
    digest(&replica, 0);
    assert_eq!(found(&replica, b"near"), [10]);
}
