//! Replicas that hang for ever on one device hold up nobody on another, not even at the worst moment: at the end of a segment
//! sled gives two writes of one replica to its I/O threads at once, and it has seven of them for the whole process.
//!
//! Replicas that are given the same groups come to the end of a segment with the same group. One of them goes ahead to find out
//! with which.

use crate::common::say;
use crate::delay::SlowDir;
use crate::{HEALTHY, LIMIT, Result, env};
use ordermint::{Day, Group, Identity, Kind, OpenReplica, OrderNumber, Record, Replica, SetId, SledReplica, Version, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

/// On the device that will hang.
const REPLICAS: u16 = 8;
const RECORDS: u64 = 120;
const VALUE: usize = 1_024;
/// sled's, as we set it.
const SEGMENT: u64 = 2 << 20;

/// A replica and what it has been given.
struct Filled {
    replica: Arc<SledReplica>,
    set: SetId,
    dir: PathBuf,
    groups: u64,
}

impl Filled {
    fn open(parent: &Path, set: u16) -> Result<Filled> {
        let set = SetId::new(set)?;
        let dir = parent.join(format!("hang-{set}"));
        let mut options = OpenReplica::new(set, 0, &dir);
        options.create = true;
        let replica = SledReplica::open(&options)?;
        let replicas = vec!["hang".to_owned()];
        replica.form(&Identity { store: 42, set, index: 0, quorum: (1, 1, 1), replicas, formed: true })?;
        replica.claim(1)?;
        Ok(Filled { replica: Arc::new(replica), set, dir, groups: 0 })
    }

    /// The next group. For all replicas the same but for the SET in the numbers.
    fn next(&mut self) -> Result<Group> {
        let mut group = Group::new(1);
        for counter in self.groups * RECORDS..(self.groups + 1) * RECORDS {
            let version = Version { epoch: 1, counter: counter + 1 };
            let record = Record { kind: Kind::Order, version, generation: 0, value: vec![b'x'; VALUE].into(), origin: None };
            let number = OrderNumber::new(Day::new(2026, 11, 22)?, counter, self.set)?;
            group.push(Write::new(number, &record, true)).map_err(|_| "a group has room")?;
        }
        self.groups += 1;
        Ok(group)
    }

    fn apply(&mut self) -> Result<()> {
        let group = self.next()?;
        self.replica.apply(&group)?;
        Ok(())
    }

    fn segments(&self) -> Result<u64> {
        Ok(std::fs::metadata(self.dir.join("days/2026-11-22/db"))?.len().div_ceil(SEGMENT))
    }
}

pub(crate) fn hang() -> Result<()> {
    let slow = SlowDir::of_environment()?;
    let mut scout = Filled::open(slow.path(), 100)?;
    let mut healthy = Filled::open(Path::new(&env(HEALTHY)?), 200)?;
    // Past the first end of a segment, where the database is young, to the second.
    let mut crossed = Vec::new();
    while crossed.len() < 2 {
        assert!(scout.groups < 100, "{RECORDS} records of {VALUE} bytes do not fill segments: {crossed:?}");
        let (before, writes) = (scout.segments().unwrap_or_default(), slow.calls()?.writes);
        scout.apply()?;
        if before > 0 && scout.segments()? > before {
            crossed.push((scout.groups, slow.calls()?.writes - writes));
        }
    }
    let (at, writes) = crossed[1];
    assert!(writes >= 2, "group {at} crossed with {writes} write");

    let mut others = (0..REPLICAS).map(|set| Filled::open(slow.path(), 101 + set)).collect::<Result<Vec<_>>>()?;
    for other in &mut others {
        while other.groups + 1 < at {
            other.apply()?;
        }
    }
    healthy.apply()?;

    // From here on nothing below the slow directory ends before this process does.
    slow.delay(Duration::from_secs(24 * 3_600))?;
    for other in &mut others {
        let (replica, group) = (Arc::clone(&other.replica), other.next()?);
        std::thread::spawn(move || replica.apply(&group));
    }
    let until = Instant::now() + LIMIT;
    // Two replicas at least are let in, each with two writes.
    while slow.slept()?.writes < 4 {
        assert!(Instant::now() < until, "not at the end of a segment: {:?}", slow.slept()?);
        std::thread::sleep(Duration::from_millis(1));
    }
    // Time for whoever else is let in.
    std::thread::sleep(Duration::from_millis(200));

    let (done, answered) = mpsc::channel();
    std::thread::spawn(move || done.send((0..20).try_for_each(|_| healthy.apply()).map_err(|error| error.to_string())));
    let outcome = answered.recv_timeout(LIMIT);
    let writes = slow.slept()?.writes;
    // Nobody can close or drop those that hang, so this process ends here either way.
    match &outcome {
        Ok(Ok(())) => say(&format!("{REPLICAS} replicas hang with {writes} writes, a healthy one goes on")),
        Ok(Err(error)) => say(&format!("a healthy replica failed: {error}")),
        Err(_) => say(&format!("a healthy replica hangs as well, while {writes} writes of {REPLICAS} others do")),
    }
    std::process::exit(if matches!(outcome, Ok(Ok(()))) { 0 } else { 1 });
}
