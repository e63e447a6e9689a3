//! Real input: the 150,000 orders of TPC-H at scale factor 0.1 through `orderctl` on two SETs with three replicas each.

mod common;

use bytes::Bytes;
use common::{copy_tree, how_many, open_replica, orderctl, random, say};
use ordermint::{Group, Kind, Lookup, OrderNumber, Record, Replica, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::time::Instant;
use tpchgen::generators::OrderGenerator;

#[test]
fn the_orders_of_tpch_go_in_and_come_out_and_an_altered_record_is_found() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let home = scratch.path().join("store");
    let home_text = home.to_str().expect("a temporary directory has a plain name");
    let lines: Vec<String> = OrderGenerator::new(0.1, 1, 1).iter().map(|order| order.to_string()).collect();
    assert_eq!(lines.len(), 150_000);

    // In: a number for each line, in the order of the lines.
    let input = lines.join("\n") + "\n";
    let begun = Instant::now();
    let created = orderctl(["create", "--data", home_text, "--sets", "7,8", "--quorum", "3,2,2"], input.as_bytes()).expect(0);
    say(&format!("created {} orders in {:.1} s", lines.len(), begun.elapsed().as_secs_f64()));
    assert_eq!(created.err(), "");
    let out = created.out();
    let numbers: Vec<OrderNumber> = out.lines().map(|line| line.parse().expect("a valid number")).collect();
    assert_eq!(numbers.len(), lines.len());
    assert_eq!(numbers.iter().collect::<BTreeSet<_>>().len(), lines.len(), "all numbers are distinct");
    for set in [7, 8] {
        let here = numbers.iter().filter(|number| number.set_id().get() == set).count();
        // On a busy machine the one with more room takes more, up to three quarters.
        assert!(here > lines.len() / 5, "SET {set} got only {here} orders");
    }

    // Out: exactly the lines that went in, in order of number.
    let placed: BTreeMap<&str, &str> = out.lines().zip(lines.iter().map(String::as_str)).collect();
    let scanned = orderctl(["scan", "--data", home_text], b"").expect(0);
    assert_eq!(scanned.err(), "");
    let expected: String = placed.iter().map(|(number, line)| format!("{number}\t{line}\n")).collect();
    assert!(scanned.out() == expected, "scan differs from what went in");

    let verified = orderctl(["verify", "--data", home_text], b"").expect(0);
    assert_eq!((verified.out(), verified.err()), (String::new(), String::new()));

    // Records altered, some of them alone and the others together: each is named, and nothing else is.
    let mut random = random("altered records");
    let alone = how_many("ORDERMINT_ALTERED_ALONE", 10);
    let together = how_many("ORDERMINT_ALTERED", 50).saturating_sub(alone);
    let mut victims = numbers.clone();
    random.shuffle(&mut victims);
    let (single, rest) = victims.split_at(alone);
    let backup = scratch.path().join("backup");
    for number in single {
        let index = random.u8(0..3);
        let dir = home.join(number.set_id().to_string()).join(index.to_string());
        copy_tree(&dir, &backup);
        alter(&home, *number, index, &mut random);
        assert_named(home_text, &[(*number, index)]);
        fs::remove_dir_all(&dir).and_then(|()| fs::rename(&backup, &dir)).expect("the replica can be put back");
    }
    let altered: Vec<(OrderNumber, u8)> = rest[..together].iter().map(|number| (*number, random.u8(0..3))).collect();
    for (number, index) in &altered {
        alter(&home, *number, *index, &mut random);
    }
    if together > 0 {
        assert_named(home_text, &altered);
    }
    say(&format!("altered {alone} records alone and {together} together: verify named each"));
}

/// Changes the record of `number` on one replica, in one of the ways in which a replica lets itself be changed.
fn alter(home: &Path, number: OrderNumber, index: u8, random: &mut fastrand::Rng) {
    let replica = open_replica(home, number.set_id().get(), index).expect("a closed replica opens");
    let Lookup::Found(mut record) = replica.get(number).expect("readable") else { panic!("{number} is not on replica {index}") };
    match random.u8(0..3) {
        // Other bytes under the same version.
        0 => {
            let mut value = record.value.to_vec();
            let at = random.usize(0..value.len());
            value[at] ^= 1;
            record = Record { generation: record.generation + 1, value: Bytes::from(value), ..record };
        }
        // Another version of other bytes.
        1 => {
            record.version.counter += 1_000_000;
            record.value = Bytes::from_static(b"altered");
        }
        // No order at all.
        _ => {
            record.version.counter += 1_000_000;
            record = Record { kind: Kind::Void, value: Bytes::new(), ..record };
        }
    }
    let mut group = Group::new(replica.epoch());
    group.push(Write::new(number, &record, false)).expect("one record fits");
    let applied = replica.apply(&group).expect("a record can be written");
    assert!(applied.refused.is_empty(), "the altered record takes effect");
    assert_eq!(replica.get(number), Ok(Lookup::Found(record)));
    replica.close().expect("a clean end");
}

/// `verify` exits 1 and names these records, each with its replica, and no others.
fn assert_named(home: &str, altered: &[(OrderNumber, u8)]) {
    let verified = orderctl(["verify", "--data", home], b"");
    assert_eq!(verified.code, Some(1), "{altered:?}: {}{}", verified.out(), verified.err());
    assert_eq!(verified.err(), "");
    let named: BTreeSet<String> = verified.out().lines().map(|line| line.split(':').next().unwrap_or("").to_string()).collect();
    let expected = altered.iter().map(|(number, index)| format!("set {} replica {index} {number}", number.set_id()));
    assert_eq!(named, expected.collect(), "{}", verified.out());
}
