//! One replica's directory deleted, or one of its files cut, deleted or flipped: every order still reads right, and the replica
//! is named. Two replicas of three gone: what is missing is said, and nothing is lost.

mod common;

use bytes::Bytes;
use common::{copy_tree, files_below, held_by, how_many, open_replica, orderctl, random, say};
use ordermint::{OrderNumber, Record};
use serde_json::Value;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

const SETS: [u16; 2] = [1, 2];
const ORDERS: usize = 3_000;

/// A closed store with its orders, to be copied for each trial.
struct Model {
    home: PathBuf,
    /// What `scan` prints.
    printed: String,
    numbers: Vec<String>,
    held: BTreeMap<(u16, u8), Held>,
}

/// What a replica holds: records, and meta values. Without lease marks: they rest on a majority, and each open reads and writes them
/// anew, so that one that is gone is back before anybody can name it.
type Held = (BTreeMap<OrderNumber, Record>, Vec<(String, Bytes)>);

impl Model {
    fn make(home: &Path) -> Model {
        let lines = |from: usize| -> String {
            (from..from + ORDERS / 2).map(|n| format!("order {n} {}\n", "x".repeat(n * 7 % 400))).collect()
        };
        let mut numbers = Vec::new();
        // Two runs: two epochs, so that there is more than one shape on disk.
        for from in [0, ORDERS / 2] {
            let created = orderctl(["create", "--data", text(home), "--sets", "1,2"], lines(from).as_bytes()).expect(0);
            numbers.extend(created.out().lines().map(str::to_string));
        }
        let printed = orderctl(["scan", "--data", text(home)], b"").expect(0).out();
        assert_eq!(printed.lines().count(), ORDERS);
        assert_eq!(orderctl(["verify", "--data", text(home)], b"").expect(0).out(), "");
        let mut held = BTreeMap::new();
        for set in SETS {
            for index in 0..3 {
                // A copy, so that looking leaves no trace in the model.
                held.insert((set, index), examine(home, set, index).expect("the model is whole"));
            }
        }
        Model { home: home.to_path_buf(), printed, numbers, held }
    }
}

/// What a replica holds, found on a copy; `None` when it cannot be opened, may not vote, or is damaged where one sees it.
fn examine(home: &Path, set: u16, index: u8) -> Option<Held> {
    use ordermint::{Replica, Standing};
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let place = format!("{set:03}/{index}");
    if !home.join(&place).exists() {
        return None;
    }
    copy_tree(&home.join(&place), &scratch.path().join(&place));
    let replica = open_replica(scratch.path(), set, index).ok()?;
    let found = match (replica.standing(), held_by(&replica), replica.meta_with_prefix("")) {
        (Standing::Voting(_), Ok((held, false)), Ok(mut meta)) => {
            meta.retain(|(key, _)| !key.starts_with("lease/"));
            Some((held, meta))
        }
        _ => None,
    };
    let _ = replica.close();
    found
}

/// What was done to a replica, to be told when a trial fails.
#[derive(Debug)]
#[expect(dead_code, reason = "read by `Debug` alone")]
enum Damage {
    DirectoryDeleted,
    Deleted(PathBuf),
    Cut(PathBuf, u64),
    Flipped(PathBuf, Vec<u64>),
}

fn damage(dir: &Path, random: &mut fastrand::Rng) -> Damage {
    let kind = random.u8(0..10);
    if kind == 0 {
        fs::remove_dir_all(dir).expect("a directory can be deleted");
        return Damage::DirectoryDeleted;
    }
    let files = files_below(dir);
    let file = files[random.usize(0..files.len())].clone();
    let length = file.metadata().expect("the file is there").len();
    match kind {
        1..=2 => {
            fs::remove_file(&file).expect("a file can be deleted");
            Damage::Deleted(file)
        }
        3..=5 if length > 0 => {
            // Databases are made larger than what is in them; a cut in the empty part alone would be dull.
            let upto = random.u64(0..length);
            let opened = fs::File::options().write(true).open(&file).expect("a file can be opened");
            opened.set_len(upto).expect("a file can be cut");
            Damage::Cut(file, upto)
        }
        _ => {
            let mut bytes = fs::read(&file).expect("a file can be read");
            // Where there is something; the end of a database is zeros.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
            let mut at = Vec::new();
            for _ in 0..random.usize(1..=4) {
                if used > 0 {
                    let place = random.usize(0..used);
                    bytes[place] ^= 1 << random.u8(0..8);
                    at.push(place as u64);
                }
            }
            fs::write(&file, bytes).expect("a file can be written");
            Damage::Flipped(file, at)
        }
    }
}

#[test]
fn whatever_happens_to_one_replica_every_order_reads_right_and_the_replica_is_named() {
    let trials = how_many("ORDERMINT_DAMAGE", 60);
    let mut random = random("damage");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let model = Model::make(&scratch.path().join("model"));
    let seeds: Vec<u64> = (0..trials).map(|_| random.u64(..)).collect();
    let (next, lost) = (AtomicUsize::new(0), AtomicUsize::new(0));
    // Side by side, since most of the time goes into waiting for the disk.
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                while let Some(seed) = seeds.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if trial(&model, &scratch.path().join(seed.to_string()), *seed) {
                        lost.fetch_add(1, Ordering::Relaxed);
                    }
                }
            });
        }
    });
    let lost = lost.into_inner();
    let harmless = trials - lost;
    say(&format!("{trials} replicas damaged: {lost} lost something and were named, {harmless} did not; every order read right"));
    assert!(lost > 0, "nothing was ever lost: the damage is too tame");
}

/// Damages a copy of the model; says whether anything was lost by it.
fn trial(model: &Model, home: &Path, seed: u64) -> bool {
    let mut random = fastrand::Rng::with_seed(seed);
    copy_tree(&model.home, home);
    let (set, index) = (SETS[random.usize(0..2)], random.u8(0..3));
    let done = damage(&home.join(format!("{set:03}/{index}")), &mut random);
    let told = format!("trial {seed}: set {set} replica {index}: {done:?}");
    // Whether anything was lost is found by another way than the one under test: by what the replica alone still says.
    let lost = examine(home, set, index).as_ref() != model.held.get(&(set, index));

    // Verify first or status first: the first to open meets the damage as it was left.
    let verify_first = random.bool();
    if verify_first {
        assert_verify_names(home, set, index, lost, &told);
    }
    assert_status_names(home, set, index, lost, &told);
    if !verify_first {
        assert_verify_names(home, set, index, lost, &told);
    }
    assert_reads_right(home, model, &mut random, &told);
    // And the store goes on.
    let created = orderctl(["create", "--data", text(home)], b"one more\n").expect(0);
    assert_eq!(created.err(), "", "{told}");
    let new = created.out().trim_end().to_string();
    assert!(!model.numbers.contains(&new), "{told}: {new} was given out twice");
    let scanned = orderctl(["scan", "--data", text(home)], b"").expect(0).out();
    let mut expected: Vec<String> = model.printed.lines().map(str::to_string).collect();
    expected.push(format!("{new}\tone more"));
    expected.sort();
    assert!(scanned.lines().eq(expected.iter().map(String::as_str)), "{told}: after one more order scan differs");
    fs::remove_dir_all(home).expect("a closed store can be removed");
    lost
}

fn assert_reads_right(home: &Path, model: &Model, random: &mut fastrand::Rng, told: &str) {
    let scanned = orderctl(["scan", "--data", text(home)], b"");
    assert_eq!(scanned.code, Some(0), "{told}: {}", scanned.err());
    assert!(scanned.out() == model.printed, "{told}: scan differs: {}", scanned.err());
    let asked: Vec<&str> = (0..20).map(|_| model.numbers[random.usize(0..ORDERS)].as_str()).collect();
    let got = orderctl(["get", "--data", text(home)].iter().chain(&asked), b"");
    assert_eq!(got.code, Some(0), "{told}: {}", got.err());
    let out = got.out();
    for (line, number) in out.lines().zip(&asked) {
        assert!(line.starts_with(number) && model.printed.lines().any(|printed| printed == line), "{told}: {line}");
    }
    assert_eq!(out.lines().count(), asked.len(), "{told}");
}

fn assert_status_names(home: &Path, set: u16, index: u8, lost: bool, told: &str) {
    let ran = orderctl(["status", "--json", "--data", text(home)], b"");
    assert_eq!(ran.code, Some(0), "{told}: {}", ran.err());
    let status: Value = serde_json::from_slice(&ran.stdout).expect("status prints JSON");
    let mut named = Vec::new();
    for found in status["sets"].as_array().expect("sets") {
        for replica in found["replicas"].as_array().expect("replicas") {
            if replica["state"] != "voting" || !replica["reason"].is_null() {
                named.push((found["id"].as_u64(), replica["index"].as_u64()));
            }
        }
    }
    let this = (Some(u64::from(set)), Some(u64::from(index)));
    assert!(!lost || named.contains(&this), "{told}: status does not name it: {status}");
    assert!(named.iter().all(|other| *other == this), "{told}: status names another: {status}");
}

fn assert_verify_names(home: &Path, set: u16, index: u8, lost: bool, told: &str) {
    let ran = orderctl(["verify", "--data", text(home)], b"");
    let (out, prefix) = (ran.out(), format!("set {set:03} replica {index} "));
    let named = out.lines().any(|line| line.starts_with(&prefix));
    assert!(!lost || named, "{told}: verify does not name it: {out}{}", ran.err());
    assert!(out.lines().all(|line| line.starts_with(&prefix)), "{told}: verify names another: {out}");
    assert_eq!(ran.code, Some(i32::from(!out.is_empty())), "{told}: {}", ran.err());
}

#[test]
fn with_two_replicas_of_three_gone_it_says_what_is_missing_and_loses_nothing() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let home = scratch.path().join("store");
    let model = Model::make(&home);
    let aside = scratch.path().join("aside");
    let gone = ["001/0", "001/2"];
    for (at, place) in gone.iter().enumerate() {
        fs::create_dir_all(&aside).expect("a directory can be made");
        fs::rename(home.join(place), aside.join(at.to_string())).expect("a directory can be moved");
    }
    let here = model.numbers.iter().find(|number| &number[18..21] == "001").expect("SET 1 has orders").as_str();
    let there = model.numbers.iter().find(|number| &number[18..21] == "002").expect("SET 2 has orders").as_str();

    // Reads say what is missing; the other SET is as well as ever.
    let got = orderctl(["get", "--data", text(&home), here, there], b"").expect(3);
    assert!(got.err().contains("replica 0") && got.err().contains("replica 2"), "{}", got.err());
    assert!(got.err().contains(here) && got.out().starts_with(there), "{} {}", got.out(), got.err());
    let scanned = orderctl(["scan", "--data", text(&home)], b"").expect(3);
    assert!(scanned.err().contains("replica 0") && scanned.err().contains("replica 2"), "{}", scanned.err());
    let of_there: Vec<&str> = model.printed.lines().filter(|line| &line[18..21] == "002").collect();
    assert!(scanned.out().lines().filter(|line| &line[18..21] == "002").eq(of_there), "SET 2 is printed whole");

    let status = orderctl(["status", "--json", "--data", text(&home)], b"").expect(0);
    let status: Value = serde_json::from_slice(&status.stdout).expect("status prints JSON");
    let states: Vec<&str> =
        (0..3).map(|index| status["sets"][0]["replicas"][index]["state"].as_str().expect("a state")).collect();
    assert_eq!((states[0], states[2]), ("missing", "missing"), "{status}");
    let verified = orderctl(["verify", "--data", text(&home)], b"").expect(1).out();
    for prefix in ["set 001 replica 0 ", "set 001 replica 2 "] {
        assert!(verified.lines().any(|line| line.starts_with(prefix)), "{verified}");
    }

    // Writes go to the SET that can take them, or say what is missing.
    let mut placed = Vec::new();
    let lines: String = (0..20).map(|n| format!("late {n}\n")).collect();
    let created = orderctl(["create", "--data", text(&home)], lines.as_bytes());
    assert!(matches!(created.code, Some(0 | 1)), "{:?}", created.code);
    assert_eq!(created.out().lines().count(), 20);
    for (at, number) in created.out().lines().enumerate() {
        if number != "-" {
            assert_eq!(&number[18..21], "002");
            placed.push(format!("{number}\tlate {at}"));
        }
    }
    for complaint in created.err().lines() {
        assert!(complaint.contains("replica 0") && complaint.contains("replica 2"), "{complaint}");
    }
    // A store of which everything that is left is one replica of three.
    fs::rename(home.join("002"), aside.join("002")).expect("a directory can be moved");
    let alone = orderctl(["create", "--data", text(&home)], b"late\n");
    assert!(matches!(alone.code, Some(1 | 3)), "{:?} {}", alone.code, alone.err());
    fs::rename(aside.join("002"), home.join("002")).expect("a directory can be moved");

    // Put back, all is there.
    for (at, place) in gone.iter().enumerate() {
        if home.join(place).exists() {
            fs::remove_dir_all(home.join(place)).expect("a directory can be removed");
        }
        fs::rename(aside.join(at.to_string()), home.join(place)).expect("a directory can be moved");
    }
    let mut expected: Vec<String> = model.printed.lines().map(str::to_string).chain(placed).collect();
    expected.sort();
    let scanned = orderctl(["scan", "--data", text(&home)], b"").expect(0);
    assert!(scanned.out().lines().eq(expected.iter().map(String::as_str)), "{}", scanned.err());
    let created = orderctl(["create", "--data", text(&home)], lines.as_bytes()).expect(0);
    assert_eq!(created.out().lines().count(), 20);
    assert!(created.out().lines().any(|number| &number[18..21] == "001"), "SET 1 takes orders again");
    say("two replicas of three gone: named, nothing lost");
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory has a plain name")
}
