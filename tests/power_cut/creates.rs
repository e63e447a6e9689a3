//! Orders created through the store.
//!
//! A line of acknowledgement is `number round serial`: the payload follows from the chain's seed, the round and the serial.

use crate::process::Task;
use crate::verdict::Verdict;
use crate::{Result, process};
use ordermint::{
    OpenReplica, OrderNumber, OrderStore, Quorum, Replica, ReplicaState, ScanLimit, Scanned, SetConfig, SetId, SledReplica,
    Standing,
};
use std::collections::{HashMap, HashSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// Orders created after the cut: some blocks of the smallest lease.
const MINTED_AFTER: usize = 3_000;
/// Orders read one by one after the cut, beside the scan of all.
const READ_ONE_BY_ONE: usize = 500;
/// The store's cap.
const PAYLOAD_BYTES_MAX: usize = 7 * 1024;

fn set() -> SetId {
    SetId::new(7).expect("below 1,000")
}

fn open(home: &Path, n: u8) -> Result<OrderStore> {
    let dirs = (0..n).map(|index| index.to_string());
    Ok(OrderStore::builder().home(home).quorum(Quorum::majority(n)?).add_set(SetConfig::new(set()).replicas(dirs)).open()?)
}

/// Mostly small, sometimes as large as may be. The beginning says which it is.
fn payload(seed: u64, round: usize, serial: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed ^ (round as u64) << 56 ^ serial);
    let bytes = if rng.u8(..) == 0 { rng.usize(..=PAYLOAD_BYTES_MAX) } else { rng.usize(..200) };
    let mut payload = format!("{round} {serial} ").into_bytes();
    let said = payload.len();
    payload.resize(said.max(bytes), 0);
    rng.fill(&mut payload[said..]);
    payload
}

/// What [`payload`] was called with, if `value` came from it.
fn payload_of(seed: u64, value: &[u8]) -> Option<(usize, u64)> {
    let mut words = value.split(|byte| *byte == b' ');
    let mut number = || std::str::from_utf8(words.next()?).ok()?.parse::<u64>().ok();
    let (round, serial) = (usize::try_from(number()?).ok()?, number()?);
    (payload(seed, round, serial) == value).then_some((round, serial))
}

/// Creates orders until the power goes.
pub(crate) fn write(args: &[String]) -> Result<ExitCode> {
    let task = Task::parse(args)?;
    let (seed, round) = (task.seed, task.acks.len());
    let store = open(&task.home, task.size.try_into()?)?;
    let mut out = std::io::stdout().lock();
    for (serial, placed) in (0..).zip(store.create_all((0..).map(|serial| payload(seed, round, serial)))) {
        // The end of the line sends it off: what was acknowledged a moment ago is what a cut is most likely to lose.
        writeln!(out, "{} {round} {serial}", placed?.number)?;
    }
    Ok(ExitCode::FAILURE)
}

/// What was printed before the cut.
struct Printed(HashMap<OrderNumber, (usize, u64)>);

impl Printed {
    fn read(acks: &[PathBuf], verdict: &mut Verdict) -> Result<Printed> {
        let mut printed = HashMap::new();
        for line in acks.iter().map(|acks| process::acks_in(acks)).collect::<Result<Vec<_>>>()?.into_iter().flatten() {
            let [number, round, serial] = line.split(' ').collect::<Vec<_>>()[..] else {
                return Err(format!("{line:?} is no acknowledgement").into());
            };
            let order = (round.parse()?, serial.parse()?);
            if let Some(earlier) = printed.insert(number.parse()?, order) {
                verdict.repeated(format_args!("{number} was printed for {earlier:?} and for {order:?}"));
            }
        }
        Ok(Printed(printed))
    }

    /// In order of number, so that findings come in order.
    fn sorted(&self) -> Vec<(OrderNumber, (usize, u64))> {
        let mut sorted: Vec<_> = self.0.iter().map(|(number, order)| (*number, *order)).collect();
        sorted.sort_unstable();
        sorted
    }
}

/// Looks for what was printed, and goes on.
pub(crate) fn check(args: &[String]) -> Result<ExitCode> {
    let task = Task::parse(args)?;
    let n = task.size.try_into()?;
    let mut verdict = Verdict::default();
    let printed = Printed::read(&task.acks, &mut verdict)?;
    verdict.checked = printed.0.len() as u64;
    // A store that was not there long enough to acknowledge anything need not be whole; it need only be opened again.
    if !printed.0.is_empty() {
        check_replicas(&task, n, &printed, &mut verdict);
    }
    match open(&task.home, n) {
        Ok(store) => {
            let found = check_store(&store, &task, &printed, &mut verdict);
            check_that_it_goes_on(&store, &task, &printed, &found, &mut verdict);
            if let Err(error) = store.close().wait() {
                verdict.sick(format_args!("close: {error}"));
            }
        }
        Err(error) => {
            verdict.sick(format_args!("the store does not open: {error}"));
            printed
                .sorted()
                .iter()
                .for_each(|(number, _)| verdict.lost(number.to_u64(), format_args!("{number}, with its store")));
        }
    }
    print!("{}", verdict.report());
    Ok(ExitCode::SUCCESS)
}

/// Every printed order must be on W replicas. Read past the store, which would hide what one of them lost.
fn check_replicas(task: &Task, n: u8, printed: &Printed, verdict: &mut Verdict) {
    let mut copies: HashMap<OrderNumber, u8> = HashMap::new();
    for index in 0..n {
        let dir = task.home.join(index.to_string());
        let mut count = |number, value: &[u8]| match payload_of(task.seed, value) {
            // What was never acknowledged may be there, too.
            Some(order) if printed.0.get(&number).is_none_or(|printed| *printed == order) => {
                *copies.entry(number).or_default() += 1;
            }
            _ => verdict.wrong(format_args!("{number} on replica {index} holds {} strange bytes", value.len())),
        };
        if let Err(error) = scan_replica(&OpenReplica::new(set(), index, dir), &mut count) {
            verdict.sick(format_args!("replica {index}: {error}"));
        }
    }
    let w = n / 2 + 1;
    for (number, _) in printed.sorted() {
        let held = copies.get(&number).copied().unwrap_or_default();
        if held < w {
            verdict.lost(number.to_u64(), format_args!("{number} is on {held} replicas, not on {w}"));
        }
    }
}

fn scan_replica(options: &OpenReplica, found: &mut dyn FnMut(OrderNumber, &[u8])) -> Result<()> {
    let replica = SledReplica::open(options)?;
    let Standing::Voting(_) = replica.standing() else { return Err(format!("{:?}", replica.standing()).into()) };
    for day in replica.days()? {
        let mut after = None;
        loop {
            let chunk = replica.scan(day, after, ScanLimit { records: 4_096, bytes: 4 << 20 })?;
            for item in chunk.items {
                match item {
                    Scanned::Found(number, record) => found(number, &record.value),
                    Scanned::Damaged { from, to, damage } => return Err(format!("{from} to {to}: {damage}").into()),
                }
            }
            after = chunk.upto;
            if after.is_none() {
                break;
            }
        }
    }
    Ok(())
}

/// Every printed order must be read through the store, and whatever else is there must be something that was written.
fn check_store(store: &OrderStore, task: &Task, printed: &Printed, verdict: &mut Verdict) -> HashSet<OrderNumber> {
    for replica in store.status().sets.iter().flat_map(|set| &set.replicas) {
        if replica.state != ReplicaState::Voting {
            verdict.sick(format_args!(
                "replica {} is {}: {}",
                replica.index,
                replica.state,
                replica.reason.as_deref().unwrap_or("")
            ));
        }
    }
    let mut found = HashSet::new();
    let mut numbers_of = HashMap::new();
    let days = store.days(set()).wait().unwrap_or_else(|error| {
        verdict.sick(format_args!("days: {error}"));
        Vec::new()
    });
    for order in days.into_iter().flat_map(|day| store.scan(set(), day)) {
        match order {
            Ok(order) => {
                found.insert(order.number);
                match payload_of(task.seed, &order.value) {
                    None => verdict.wrong(format_args!("{} holds {} strange bytes", order.number, order.value.len())),
                    Some(payload) => {
                        if printed.0.get(&order.number).is_some_and(|printed| *printed != payload) {
                            verdict.wrong(format_args!("{} holds the payload {payload:?}", order.number));
                        }
                        if let Some(other) = numbers_of.insert(payload, order.number) {
                            verdict.repeated(format_args!("{} and {other} hold the same payload {payload:?}", order.number));
                        }
                    }
                }
            }
            Err(error) => verdict.sick(format_args!("scan: {error}")),
        }
    }
    let sorted = printed.sorted();
    for (number, _) in &sorted {
        if !found.contains(number) {
            verdict.lost(number.to_u64(), format_args!("{number} is not in the scan"));
        }
    }
    // The newest and some of the others.
    let mut rng = fastrand::Rng::with_seed(task.seed);
    let newest = sorted.len().saturating_sub(READ_ONE_BY_ONE / 2);
    let others = (0..READ_ONE_BY_ONE / 2).filter(|_| newest > 0).map(|_| rng.usize(..newest));
    for (number, (round, serial)) in others.chain(newest..sorted.len()).map(|at| sorted[at]) {
        match store.get(number).wait() {
            Ok(Some(order)) if order.value == payload(task.seed, round, serial) => {}
            Ok(Some(_)) => verdict.wrong(format_args!("{number}, read alone")),
            Ok(None) => verdict.lost(number.to_u64(), format_args!("{number}, read alone, is absent")),
            Err(error) => verdict.lost(number.to_u64(), format_args!("{number}, read alone: {error}")),
        }
    }
    found
}

/// Numbers minted now must be new.
fn check_that_it_goes_on(
    store: &OrderStore,
    task: &Task,
    printed: &Printed,
    found: &HashSet<OrderNumber>,
    verdict: &mut Verdict,
) {
    let mut minted = HashSet::new();
    let round = task.acks.len();
    for placed in store.create_all((0..MINTED_AFTER as u64).map(|serial| payload(task.seed, round, serial))) {
        match placed {
            Ok(placed) => {
                let number = placed.number;
                if printed.0.contains_key(&number) || found.contains(&number) || !minted.insert(number) {
                    verdict.repeated(format_args!("{number} was minted again after the cut"));
                }
            }
            Err(error) => {
                // The others fare no better.
                verdict.sick(format_args!("create after the cut: {error}"));
                break;
            }
        }
    }
    verdict.minted = minted.len() as u64;
}
