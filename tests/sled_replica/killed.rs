//! A process that applies groups is killed at random moments, also while it opens. What it acknowledged is there afterwards,
//! and the directory opens without help. (A kill keeps the system's cache; what a power cut takes is shown elsewhere.)

use super::bench::*;
use ordermint::{Group, Lookup, OpenReplica, OrderNumber, Origin, Record, Replica, RequestKey, SledReplica, Version, Write};
use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader, Write as _};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

const DIR: &str = "ORDERMINT_KILLED_IN";
const FIRST: &str = "ORDERMINT_KILLED_FROM";

/// Group `group` is a function of its number, so that the parent knows what the child wrote: 40 fresh orders on one of two days,
/// every third time some of both, and changes of earlier ones. Every ninth order has a request key.
fn entries(group: u64) -> Vec<(OrderNumber, Record, bool)> {
    let mut rng = fastrand::Rng::with_seed(group);
    let mut entries = Vec::new();
    let mut counter = group * 1000;
    let mut version = || {
        counter += 1;
        counter
    };
    for at in 0..40 {
        let day = day((group / 50 % 2) as u8 + u8::from(group.is_multiple_of(3) && at % 2 == 0));
        let at = version();
        let mut record = record(at, vec![group as u8; rng.usize(..400)]);
        if at.is_multiple_of(9) {
            let request_key = RequestKey::new(&key_of(number(day, at)), &record.value);
            record.origin = Some(Arc::new(Origin { request_key, ..Origin::default() }));
        }
        entries.push((number(day, at), record, true));
    }
    for _ in 0..if group.is_multiple_of(4) { rng.usize(1..10) } else { 0 } {
        let at = version();
        entries.push((number(day(0), rng.u64(..group * 1000)), record(at, format!("changed in group {group}")), false));
    }
    entries
}

fn key_of(number: OrderNumber) -> Vec<u8> {
    format!("key of {number}").into_bytes()
}

fn with_meta(group: u64) -> Group {
    let mut all = self::group(&entries(group));
    if group.is_multiple_of(5) {
        all.push_meta("last", group.to_string()).unwrap();
    }
    all
}

#[test]
fn in_a_process_that_is_killed() {
    let (Some(dir), Ok(first)) = (std::env::var_os(DIR), std::env::var(FIRST)) else { return };
    let replica = SledReplica::open(&OpenReplica::new(SET, 1, dir)).unwrap();
    let mut out = std::io::stdout().lock();
    for group in first.parse::<u64>().unwrap().. {
        replica.apply(&with_meta(group)).unwrap();
        writeln!(out, "\nacknowledged {group}").unwrap();
        out.flush().unwrap();
    }
}

#[test]
fn what_was_acknowledged_before_a_kill_is_there_after_it() {
    let rounds = std::env::var("ORDERMINT_KILLS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(25);
    let mut rng = fastrand::Rng::with_seed(20_261_122);
    let home = Home::new();
    home.formed().close().unwrap();
    let (mut next, mut acknowledged) = (1, Vec::new());
    let mut expected: BTreeMap<OrderNumber, Record> = BTreeMap::new();
    // An order that is changed without its key is still found by it.
    let mut keyed: BTreeSet<OrderNumber> = BTreeSet::new();
    for round in 0..rounds {
        let wait = if round % 3 == 0 { rng.u64(..40) } else { rng.u64(20..200) };
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "killed::in_a_process_that_is_killed", "--nocapture"])
            .env(DIR, home.dir())
            .env(FIRST, next.to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        std::thread::sleep(Duration::from_millis(wait));
        child.kill().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        let told: Vec<u64> = lines.filter_map(|line| line.strip_prefix("acknowledged ")?.parse().ok()).collect();
        let mut complaints = String::new();
        std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut complaints).unwrap();
        child.wait().unwrap();
        assert!(!complaints.contains("panicked"), "round {round}: {complaints}");
        for group in &told {
            for (number, record, _) in entries(*group) {
                keyed.extend(record.origin.is_some().then_some(number));
                let held = expected.entry(number).or_insert_with(|| record.clone());
                if held.version < record.version {
                    *held = record;
                }
            }
        }
        // The group after the last one told may be there, in part; its numbers and versions are not used again.
        next = told.last().map_or(next + 1, |last| last + 2);
        acknowledged.extend(told);

        if round % 5 == 4 || round + 1 == rounds {
            let replica = home.open();
            assert_voting(&replica);
            for (number, record) in &expected {
                match replica.get(*number) {
                    Ok(Lookup::Found(found)) => assert!(found.version >= record.version, "round {round}: {number}"),
                    other => panic!("round {round}: {number} was acknowledged and is {other:?}"),
                }
            }
            for number in &keyed {
                let found = replica.keyed(&key_of(*number), number.day());
                assert_eq!(found, Ok(vec![*number]), "round {round}: acknowledged with a key");
            }
            let last = acknowledged.iter().rev().find(|group| group.is_multiple_of(5)).copied().unwrap_or_default();
            let held = replica.meta("last").unwrap().map_or(0, |held| String::from_utf8_lossy(&held).parse().unwrap());
            assert!(held >= last, "round {round}");
            for day in replica.days().unwrap() {
                assert_eq!(scan(&replica, day).1, [], "round {round}");
            }
        }
    }
    println!(
        "{rounds} kills, {} groups and {} orders acknowledged, {} with a key",
        acknowledged.len(),
        expected.len(),
        keyed.len()
    );
    assert!(!acknowledged.is_empty());
    // And it goes on.
    let replica = home.open();
    let mut group = Group::new(1);
    let record = Record { version: Version { epoch: 1, counter: u64::MAX }, ..record(1, "the end") };
    group.push(Write::new(number(day(0), 5), &record, false)).unwrap();
    replica.apply(&group).unwrap();
    assert_eq!(replica.get(number(day(0), 5)), Ok(Lookup::Found(record)));
}
