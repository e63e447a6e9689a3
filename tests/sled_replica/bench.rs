//! A directory, groups of orders for it, and a look inside with sled itself.

use ordermint::{
    Applied, Chunk, Day, Group, Identity, Kind, Lookup, OpenReplica, OrderNumber, RangeDigest, Record, Replica, ReplicaError,
    ScanLimit, Scanned, SetId, SledReplica, Standing, Version, Write,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

pub(crate) const SET: SetId = match SetId::new(7) {
    Ok(set) => set,
    Err(_) => panic!("7 is a SET id"),
};

/// 2026-11-22 and the days after it.
pub(crate) fn day(after: u8) -> Day {
    Day::new(2026, 11, 22 + after).expect("November has 30 days")
}

pub(crate) fn number(day: Day, sequence: u64) -> OrderNumber {
    OrderNumber::new(day, sequence, SET).expect("a sequence")
}

pub(crate) fn identity() -> Identity {
    let replicas = ["a/007", "b/007", "c/007"].map(str::to_owned).to_vec();
    Identity { store: 42, set: SET, index: 1, quorum: (3, 2, 2), replicas, formed: true }
}

pub(crate) fn record(counter: u64, value: impl Into<Vec<u8>>) -> Record {
    Record { kind: Kind::Order, version: Version { epoch: 1, counter }, generation: 0, value: value.into().into(), origin: None }
}

/// A temporary directory with a replica in `replica/`.
pub(crate) struct Home {
    dir: tempfile::TempDir,
}

impl Home {
    pub(crate) fn new() -> Home {
        Home { dir: tempfile::tempdir().expect("a temporary directory") }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.dir.path().join("replica")
    }

    pub(crate) fn options(&self, create: bool) -> OpenReplica {
        let mut options = OpenReplica::new(SET, 1, self.dir());
        options.create = create;
        options.cache_bytes = 8 << 20;
        options
    }

    pub(crate) fn try_open(&self) -> Result<SledReplica, ReplicaError> {
        SledReplica::open(&self.options(false))
    }

    #[track_caller]
    pub(crate) fn open(&self) -> SledReplica {
        // A child that another test starts has this process's locks as well, until it becomes another program.
        let mut opened = self.try_open();
        for _ in 0..500 {
            let Err(ReplicaError::InUse { .. }) = &opened else { break };
            std::thread::sleep(Duration::from_millis(10));
            opened = self.try_open();
        }
        opened.expect("it opens")
    }

    /// A new replica that knows its name.
    pub(crate) fn formed(&self) -> SledReplica {
        let replica = SledReplica::open(&self.options(true)).expect("it opens");
        replica.form(&identity()).expect("form");
        replica.claim(1).expect("claim");
        replica
    }

    pub(crate) fn path(&self, below: &str) -> PathBuf {
        self.dir().join(below)
    }

    /// Opens the database of a day as sled does, behind the replica's back.
    pub(crate) fn sled(&self, day: Day) -> sled::Db {
        let config = sled::Config::new().path(self.path(&format!("days/{day}"))).segment_size(2 << 20).flush_every_ms(None);
        // As for `open`.
        let opened = (0..500).find_map(|_| config.open().inspect_err(|_| std::thread::sleep(Duration::from_millis(10))).ok());
        opened.expect("sled opens it")
    }

    /// Garbles one byte of what is stored under `number`.
    pub(crate) fn rot(&self, number: OrderNumber) {
        let db = self.sled(number.day());
        let singles = db.open_tree("singles").expect("a tree");
        let (tree, key, mut value) = match singles.get(number.to_be_bytes()).expect("read") {
            Some(value) => (singles, number.to_be_bytes().to_vec(), value.to_vec()),
            None => {
                let runs = db.open_tree("runs").expect("a tree");
                let (key, value) = runs.range(..=number.to_be_bytes()).next_back().expect("a run").expect("read");
                (runs, key.to_vec(), value.to_vec())
            }
        };
        // In a run the index entry of that record tells where it ends; in a single it ends with the value.
        let first = u64::from_be_bytes(key[..].try_into().expect("8 bytes"));
        let at = if tree.name() == "runs" {
            let count = usize::from(value[1]);
            let delta = (number.to_u64() - first) >> 10;
            let entry =
                (0..count).map(|i| 16 + i * 6).find(|at| value[*at..at + 4] == (delta as u32).to_be_bytes()).expect("it is in");
            16 + count * 6 + usize::from(u16::from_be_bytes([value[entry + 4], value[entry + 5]])) - 1
        } else {
            value.len() - 1
        };
        value[at] ^= 1;
        tree.insert(key, value).expect("write");
        db.flush().expect("flush");
    }
}

/// Fresh orders of `day` in one group, with versions from `counter` on, and payloads that tell them apart.
pub(crate) fn fresh(day: Day, sequences: impl IntoIterator<Item = u64>, counter: u64) -> Vec<(OrderNumber, Record, bool)> {
    let order =
        |(sequence, counter)| (number(day, sequence), record(counter, format!("order {sequence} of {day}, {counter}")), true);
    sequences.into_iter().zip(counter..).map(order).collect()
}

pub(crate) fn group(entries: &[(OrderNumber, Record, bool)]) -> Group {
    let mut group = Group::new(1);
    for (number, record, fresh) in entries {
        group.push(Write::new(*number, record, *fresh)).expect("room");
    }
    group
}

#[track_caller]
pub(crate) fn apply(replica: &SledReplica, entries: &[(OrderNumber, Record, bool)]) {
    assert_eq!(replica.apply(&group(entries)), Ok(Applied::default()));
}

pub(crate) const ALL: ScanLimit = ScanLimit { records: 1 << 20, bytes: 1 << 30 };

/// All records that a scan finds, and the damaged places as sequences.
#[track_caller]
pub(crate) fn scan(replica: &SledReplica, day: Day) -> (BTreeMap<u64, Record>, Vec<(u64, u64)>) {
    let Chunk { items, upto } = replica.scan(day, None, ALL).expect("scan");
    assert_eq!(upto, None);
    assert!(items.windows(2).all(|pair| pair[0].first() <= pair[1].first()), "in ascending order");
    let (mut records, mut damaged) = (BTreeMap::new(), Vec::new());
    for item in items {
        match item {
            Scanned::Found(number, record) => drop(records.insert(number.sequence(), record)),
            Scanned::Damaged { from, to, .. } => damaged.push((from.sequence(), to.sequence())),
        }
    }
    (records, damaged)
}

#[track_caller]
pub(crate) fn assert_found(replica: &SledReplica, entries: &[(OrderNumber, Record, bool)]) {
    for (number, record, _) in entries {
        assert_eq!(replica.get(*number), Ok(Lookup::Found(record.clone())), "{number}");
    }
}

#[track_caller]
pub(crate) fn limbo_reason(replica: &SledReplica) -> String {
    match replica.standing() {
        Standing::Limbo { reason, .. } => reason,
        other => panic!("it should be in limbo and is {other:?}"),
    }
}

#[track_caller]
pub(crate) fn assert_voting(replica: &SledReplica) {
    assert_eq!(replica.standing(), Standing::Voting(identity()));
}

/// The digests of the first ranges of a day.
pub(crate) fn digests(replica: &SledReplica, day: Day) -> Result<Vec<RangeDigest>, ReplicaError> {
    (0..4).map(|range| replica.digest(day, range, u32::MAX)).collect()
}

/// All files below `dir`, in order.
pub(crate) fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut entries: Vec<_> = std::fs::read_dir(dir).expect("list").map(|entry| entry.expect("list").path()).collect();
    entries.sort();
    entries.into_iter().flat_map(|path| if path.is_dir() { files_below(&path) } else { vec![path] }).collect()
}

pub(crate) fn copy_dir(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("make");
    for entry in std::fs::read_dir(from).expect("list") {
        let path = entry.expect("list").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_dir(&path, &target);
        } else {
            std::fs::copy(&path, &target).expect("copy");
        }
    }
}
