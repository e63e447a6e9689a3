//! Groups at the cap, of updates all over a growing set, applied to one replica on sled: what makes it free and overwrite space
//! inside its file all the time.
//!
//! A line of acknowledgement is the number of the group within its round; all that the group holds follows from the chain's seed,
//! the round and what was acknowledged in the rounds before.

use crate::process::Task;
use crate::verdict::Verdict;
use crate::{Result, process};
use ordermint::{
    Day, Group, Identity, Kind, Lookup, OpenReplica, OrderNumber, Origin, Record, Replica, RequestKey, SetId, SledReplica,
    Standing, Version, Write,
};
use std::collections::{BTreeMap, HashSet};
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;

/// Numbers that there are before one is written for the second time.
const FIRST_NUMBERS: u64 = 2_000;
/// The store's cap.
const VALUE_BYTES_MAX: usize = 7 * 1024;

fn set() -> SetId {
    SetId::new(7).expect("below 1,000")
}

fn number(sequence: u64) -> OrderNumber {
    let day = Day::new(2026, 11, 22).expect("a day of the calendar");
    OrderNumber::new(day, sequence, set()).expect("a few thousand numbers are no full day")
}

fn record(seed: u64, sequence: u64, version: Version) -> Record {
    let mut rng = fastrand::Rng::with_seed(seed ^ sequence.rotate_left(40) ^ u64::from(version.epoch) << 56 ^ version.counter);
    let mut value = vec![0; if rng.u8(..) == 0 { rng.usize(..=VALUE_BYTES_MAX) } else { rng.usize(50..400) }];
    rng.fill(&mut value);
    let request_key = key(sequence).and_then(|key| RequestKey::new(&key, b"the first payload"));
    let origin = request_key.map(|key| Arc::new(Origin { request_key: Some(key), ..Origin::default() }));
    Record { kind: Kind::Order, version, generation: 0, value: value.into(), origin }
}

/// Every third order was created with a request key, so that there is an index to be lost.
fn key(sequence: u64) -> Option<Vec<u8>> {
    let mut rng = fastrand::Rng::with_seed(sequence);
    sequence.is_multiple_of(3).then(|| [&sequence.to_be_bytes()[..], &vec![b'k'; rng.usize(..=247)]].concat())
}

/// The groups of one round, one after the other.
struct Groups {
    seed: u64,
    epoch: u32,
    bytes: usize,
    rng: fastrand::Rng,
    /// Numbers that there are.
    numbers: u64,
    counter: u64,
}

impl Groups {
    fn of_round(task: &Task, round: usize, numbers: u64) -> Result<Groups> {
        let rng = fastrand::Rng::with_seed(task.seed ^ round as u64);
        Ok(Groups { seed: task.seed, epoch: u32::try_from(round)? + 1, bytes: task.size.try_into()?, rng, numbers, counter: 0 })
    }

    /// A quarter new numbers, the rest anywhere. Never said to be fresh, so that each is a record of its own.
    fn next(&mut self) -> Group {
        let mut group = Group::new(self.epoch);
        loop {
            let is_new = self.numbers < FIRST_NUMBERS || self.rng.u8(..) < 64;
            let sequence = if is_new { self.numbers } else { self.rng.u64(..self.numbers) };
            let version = Version { epoch: self.epoch, counter: self.counter + 1 };
            let write = Write::new(number(sequence), &record(self.seed, sequence, version), false);
            // The second is the cap; a build without it has the first alone.
            if group.bytes() + write.bytes().len() > self.bytes || group.push(write).is_err() {
                return group;
            }
            self.counter += 1;
            self.numbers += u64::from(is_new);
        }
    }
}

/// What the rounds so far came to.
#[derive(Default)]
struct History {
    /// The newest acknowledged version of each sequence.
    acknowledged: BTreeMap<u64, Version>,
    /// What was under way when the power went.
    under_way: HashSet<(u64, Version)>,
    numbers: u64,
}

impl History {
    fn read(task: &Task) -> Result<History> {
        let mut history = History::default();
        for (round, acks) in task.acks.iter().enumerate() {
            let mut groups = Groups::of_round(task, round, history.numbers)?;
            for (place, ack) in process::acks_in(acks)?.iter().enumerate() {
                if ack.parse() != Ok(place) {
                    return Err(format!("{ack:?} is not the acknowledgement of group {place}").into());
                }
                for write in groups.next().writes() {
                    history.acknowledged.insert(write.number().sequence(), write.version());
                }
            }
            history.numbers = groups.numbers;
            history.under_way.extend(groups.next().writes().iter().map(|write| (write.number().sequence(), write.version())));
        }
        Ok(history)
    }
}

fn open(task: &Task, create: bool) -> Result<SledReplica> {
    let mut options = OpenReplica::new(set(), 0, task.home.clone());
    options.create = create;
    Ok(SledReplica::open(&options)?)
}

/// Applies groups until the power goes.
pub(crate) fn write(args: &[String]) -> Result<ExitCode> {
    let task = Task::parse(args)?;
    let history = History::read(&task)?;
    let round = task.acks.len();
    let replica = open(&task, true)?;
    if history.acknowledged.is_empty() {
        let replicas = vec![String::new()];
        replica.form(&Identity { store: 1, set: set(), index: 0, quorum: (1, 1, 1), replicas, formed: true })?;
    }
    let mut groups = Groups::of_round(&task, round, history.numbers)?;
    replica.claim(groups.epoch)?;
    let mut out = std::io::stdout().lock();
    for place in 0_u64.. {
        replica.apply(&groups.next())?;
        writeln!(out, "{place}")?;
    }
    Ok(ExitCode::FAILURE)
}

/// Looks for what was acknowledged, and goes on.
pub(crate) fn check(args: &[String]) -> Result<ExitCode> {
    let task = Task::parse(args)?;
    let history = History::read(&task)?;
    let mut verdict = Verdict::default();
    verdict.checked = history.acknowledged.len() as u64;
    match open(&task, history.acknowledged.is_empty()) {
        Ok(replica) => {
            if !history.acknowledged.is_empty() {
                check_replica(&replica, &task, &history, &mut verdict);
            }
            check_that_it_goes_on(&replica, &task, &history, &mut verdict);
        }
        Err(error) => {
            verdict.sick(format_args!("the replica does not open: {error}"));
            history
                .acknowledged
                .keys()
                .for_each(|&sequence| verdict.lost(sequence, format_args!("{sequence}, with its replica")));
        }
    }
    print!("{}", verdict.report());
    Ok(ExitCode::SUCCESS)
}

fn check_replica(replica: &SledReplica, task: &Task, history: &History, verdict: &mut Verdict) {
    if !matches!(replica.standing(), Standing::Voting(_)) {
        verdict.sick(format_args!("{:?}", replica.standing()));
    }
    for (&sequence, &acknowledged) in &history.acknowledged {
        match replica.get(number(sequence)) {
            Ok(Lookup::Found(found)) => {
                let version = found.version;
                let was_written = version == acknowledged || history.under_way.contains(&(sequence, version));
                if version < acknowledged {
                    verdict.lost(sequence, format_args!("{sequence} is at {version}, {acknowledged} was acknowledged"));
                } else if !was_written || found != record(task.seed, sequence, version) {
                    verdict.wrong(format_args!("{sequence} holds strange bytes under {version}"));
                }
            }
            Ok(other) => verdict.lost(sequence, format_args!("{sequence}, acknowledged at {acknowledged}: {other:?}")),
            Err(error) => verdict.lost(sequence, format_args!("{sequence}, acknowledged at {acknowledged}: {error}")),
        }
        if let Some(key) = key(sequence) {
            let found = replica.keyed(&key, number(sequence).day());
            if found != Ok(vec![number(sequence)]) {
                verdict.lost(sequence, format_args!("{sequence}, acknowledged with a key that leads to {found:?}"));
            }
        }
    }
}

fn check_that_it_goes_on(replica: &SledReplica, task: &Task, history: &History, verdict: &mut Verdict) {
    let went_on = || -> Result<()> {
        let mut groups = Groups::of_round(task, task.acks.len(), history.numbers)?;
        if history.acknowledged.is_empty() {
            return Ok(());
        }
        replica.claim(groups.epoch)?;
        replica.apply(&groups.next())?;
        Ok(replica.close()?)
    };
    if let Err(error) = went_on() {
        verdict.sick(format_args!("it does not go on: {error}"));
    }
}
