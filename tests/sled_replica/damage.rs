//! Every file of a closed replica cut short, flipped, blanked or deleted at random places. What must not happen: a panic that
//! gets out, a value that was never written, or a loss that neither the replica nor a comparison with an intact copy tells of.

use super::bench::*;
use ordermint::{Day, Lookup, OrderNumber, RangeDigest, Record, Replica, ReplicaError, Scanned, SledReplica, Standing};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

/// For each number all that was ever written under it, the newest last.
type History = BTreeMap<OrderNumber, Vec<Record>>;

/// A closed replica that has seen a little of everything.
fn intact(home: &Home, orders: u64) -> History {
    let mut history = History::new();
    let mut rng = fastrand::Rng::with_seed(1);
    let mut counter = 1;
    for part in 0..4 {
        let replica = if part == 0 { home.formed() } else { home.open() };
        for round in 0..6 {
            let day = day(part % 2);
            let first = u64::from(part * 6 + round) * orders * 4 / 3;
            let mut entries = fresh(day, (first..first + orders).filter(|_| rng.u8(..) > 20), counter);
            counter += orders;
            let known: Vec<OrderNumber> = history.keys().copied().collect();
            for _ in 0..known.len().min(20) {
                entries.push((known[rng.usize(..known.len())], record(counter, format!("changed at {counter}")), false));
                counter += 1;
            }
            replica.apply(&group(&entries)).expect("apply");
            for (number, record, _) in entries {
                history.entry(number).or_default().push(record);
            }
        }
        // Opened and closed several times, so that there are snapshots too.
        replica.close().expect("close");
    }
    history
}

#[derive(Default, Debug)]
struct Outcomes {
    refused: usize,
    limbo: usize,
    right: usize,
    told_by_reads: usize,
    told_by_digests: usize,
}

fn garble(file: &Path, rng: &mut fastrand::Rng) -> String {
    let mut bytes = fs::read(file).expect("read");
    let at = rng.usize(..bytes.len().max(1));
    let what = match rng.u8(..4) {
        _ if bytes.is_empty() => {
            fs::remove_file(file).expect("remove");
            return "deleted".into();
        }
        0 => {
            bytes.truncate(at);
            format!("cut at {at}")
        }
        1 => {
            bytes[at] ^= 1 << rng.u8(..8);
            format!("flipped at {at}")
        }
        2 => {
            let page = at / 4096 * 4096;
            let end = bytes.len().min(page + 4096);
            bytes[page..end].fill(0);
            format!("blanked from {page}")
        }
        _ => {
            fs::remove_file(file).expect("remove");
            return "deleted".into();
        }
    };
    fs::write(file, bytes).expect("write");
    what
}

/// What all numbers read as. Values that were never written fail the test.
fn read_all(replica: &SledReplica, history: &History) -> (usize, bool) {
    let (mut wrong, mut told) = (0, false);
    for (number, written) in history {
        match replica.get(*number) {
            Ok(Lookup::Found(record)) => {
                assert!(written.contains(&record), "{number} reads as something that was never written: {record:?}");
                wrong += usize::from(Some(&record) != written.last());
            }
            Ok(Lookup::Absent) => wrong += 1,
            Ok(Lookup::Damaged(_)) | Err(_) => told = true,
        }
    }
    for day in history.keys().map(|number| number.day()).collect::<std::collections::BTreeSet<Day>>() {
        match replica.scan(day, None, ALL) {
            Err(_) => told = true,
            Ok(chunk) => {
                for item in chunk.items {
                    match item {
                        Scanned::Found(number, record) => {
                            assert!(
                                history.get(&number).is_some_and(|written| written.contains(&record)),
                                "{number} was scanned as {record:?}"
                            );
                        }
                        Scanned::Damaged { .. } => told = true,
                    }
                }
            }
        }
    }
    (wrong, told)
}

fn all_digests(replica: &SledReplica) -> Vec<Result<Vec<RangeDigest>, ReplicaError>> {
    (0..2).map(|after| digests(replica, day(after))).collect()
}

fn trials(count: u64, orders: u64) -> Outcomes {
    let home = Home::new();
    let history = intact(&home, orders);
    copy_dir(&home.dir(), &home.path("../intact"));
    let expected = {
        let replica = home.open();
        assert_eq!(read_all(&replica, &history), (0, false));
        all_digests(&replica)
    };
    let mut outcomes = Outcomes::default();
    for seed in 0..count {
        let _ = fs::remove_dir_all(home.dir());
        copy_dir(&home.path("../intact"), &home.dir());
        let mut rng = fastrand::Rng::with_seed(seed);
        let files: Vec<_> = files_below(&home.dir()).into_iter().filter(|path| !path.ends_with("lock")).collect();
        let file = &files[rng.usize(..files.len())];
        let what = garble(file, &mut rng);
        let story = format!("seed {seed}: {} {what}", file.strip_prefix(home.dir()).expect("below").display());
        let replica = match home.try_open() {
            Err(_) => {
                outcomes.refused += 1;
                continue;
            }
            Ok(replica) => replica,
        };
        let (wrong, told) = read_all(&replica, &history);
        match replica.standing() {
            Standing::Limbo { .. } => outcomes.limbo += 1,
            Standing::Voting(found) if found == identity() => {
                let agrees = all_digests(&replica) == expected;
                match (wrong, told, agrees) {
                    (0, false, true) => outcomes.right += 1,
                    (_, true, false) => outcomes.told_by_reads += 1,
                    (1.., false, false) => outcomes.told_by_digests += 1,
                    other => panic!("{story}: wrong, told, digests agree: {other:?}"),
                }
            }
            other => panic!("{story}: {other:?}"),
        }
    }
    outcomes
}

#[test]
fn no_damage_to_any_file_gives_a_wrong_value_or_an_unnoticed_loss() {
    let setting = |name: &str, default| std::env::var(name).ok().and_then(|value| value.parse().ok()).unwrap_or(default);
    let count = setting("ORDERMINT_DAMAGE_TRIALS", 60);
    let outcomes = trials(count, setting("ORDERMINT_DAMAGE_ORDERS", 150));
    println!("{count} trials: {outcomes:?}");
    assert!(outcomes.refused > 0 && outcomes.limbo > 0 && outcomes.right > 0, "{outcomes:?}");
}
