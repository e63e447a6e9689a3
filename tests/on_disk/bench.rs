//! A SET of three replicas on sled in a temporary directory, what it acknowledged, and a look inside the directories behind the
//! store's back.

use ordermint::testing::ManualClock;
use ordermint::{
    Builder, Change, Day, Error, OpenReplica, Order, OrderNumber, OrderStore, Pending, Quorum, ReadOptions, ReplicaState,
    ReplicaStatus, SetConfig, SetId, SledReplica, Version,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Far longer than anything here may take; only what hangs takes longer.
pub(crate) const AGES: Duration = Duration::from_secs(60);

pub(crate) const SET: SetId = match SetId::new(7) {
    Ok(set) => set,
    Err(_) => panic!("7 is a SET id"),
};

pub(crate) fn today() -> Day {
    "2026-11-22".parse().expect("a day")
}

/// Directories `0`, `1`, ... for the replicas of one SET.
pub(crate) struct Disk {
    home: PathBuf,
    /// Removes it; `None` where it is somebody else's.
    _temporary: Option<tempfile::TempDir>,
    pub(crate) dirs: Vec<PathBuf>,
    pub(crate) quorum: Quorum,
}

impl Disk {
    pub(crate) fn new() -> Disk {
        let temporary = tempfile::tempdir().expect("a temporary directory");
        let disk = Disk::at(temporary.path().to_owned());
        Disk { _temporary: Some(temporary), ..disk }
    }

    /// In a directory that is there.
    pub(crate) fn at(home: PathBuf) -> Disk {
        let dirs = (0..3).map(|index| home.join(index.to_string())).collect();
        Disk { home, _temporary: None, dirs, quorum: Quorum::new(3, 2, 2).expect("a quorum") }
    }

    /// The same once more, elsewhere. Only while it is closed.
    pub(crate) fn copied(&self) -> Disk {
        let other = Disk::new();
        copy(&self.home, &other.home);
        other
    }

    /// A place beside the replicas.
    pub(crate) fn aside(&self, name: &str) -> PathBuf {
        self.home.join("aside").join(name)
    }

    pub(crate) fn builder(&self) -> Builder {
        // Relative, so that a copy of it all is the same store.
        builder(self.quorum, ["0", "1", "2"].map(PathBuf::from).to_vec()).home(&self.home)
    }

    pub(crate) fn open(&self) -> OrderStore {
        self.builder().open().expect("the store opens")
    }

    /// Opens one replica alone.
    pub(crate) fn replica(&self, index: usize) -> SledReplica {
        let place = u8::try_from(index).expect("an index");
        SledReplica::open(&OpenReplica::new(SET, place, self.dirs[index].clone())).expect("a closed replica opens")
    }

    /// The database of today in a closed replica, as sled itself opens it.
    pub(crate) fn sled(&self, index: usize) -> Inside {
        let path = self.dirs[index].join("days").join(today().to_string());
        let config = sled::Config::new().path(path).segment_size(2 << 20).flush_every_ms(None);
        let db = config.open().expect("sled opens it");
        let (runs, singles) = (db.open_tree("runs").expect("a tree"), db.open_tree("singles").expect("a tree"));
        Inside { db, runs, singles }
    }

    /// Puts a closed replica's directory away, or back.
    pub(crate) fn swap_away(&self, index: usize, name: &str) {
        fs::create_dir_all(self.aside("")).expect("a directory can be made");
        fs::rename(&self.dirs[index], self.aside(name)).expect("a directory can be moved");
    }

    pub(crate) fn swap_back(&self, index: usize, name: &str) {
        let _ = fs::remove_dir_all(&self.dirs[index]);
        fs::rename(self.aside(name), &self.dirs[index]).expect("a directory can be moved");
    }
}

/// Without recent orders in memory: what is told here is what the replicas say.
pub(crate) fn builder(quorum: Quorum, dirs: Vec<PathBuf>) -> Builder {
    let clock = ManualClock::at_noon(today());
    let config = SetConfig::new(SET).replicas(dirs);
    // What is acknowledged here is so however busy the disk.
    let builder = OrderStore::builder().quorum(quorum).clock(clock).deadline(AGES / 2);
    builder.recent_bytes(0).cache_bytes(8 << 20).add_set(config)
}

/// A day's database.
pub(crate) struct Inside {
    db: sled::Db,
    pub(crate) runs: sled::Tree,
    pub(crate) singles: sled::Tree,
}

impl Inside {
    /// The first numbers of all runs, ascending.
    pub(crate) fn runs(&self) -> Vec<OrderNumber> {
        keys(&self.runs)
    }

    /// The numbers of all single records, ascending.
    pub(crate) fn singles(&self) -> Vec<OrderNumber> {
        keys(&self.singles)
    }

    /// Garbles the last byte of the newest that is stored under `number`.
    pub(crate) fn rot(&self, number: OrderNumber) {
        let key = number.to_be_bytes();
        if let Some(value) = self.singles.get(key).expect("read") {
            let mut value = value.to_vec();
            *value.last_mut().expect("a record is not empty") ^= 1;
            self.singles.insert(key, value).expect("write");
            return;
        }
        let (first, value) = self.runs.range(..=key).next_back().expect("a run").expect("read");
        let mut value = value.to_vec();
        let delta = (number.to_u64() - u64::from_be_bytes(first[..].try_into().expect("8 bytes"))) >> 10;
        // The index of a run says where each record ends; see the front of src/replica/sled/runs.rs.
        let count = usize::from(value[1]);
        let delta = u32::try_from(delta).expect("within a run").to_be_bytes();
        let entry = (0..count).map(|at| 16 + at * 6).find(|at| value[*at..at + 4] == delta).expect("it is in");
        let end = 16 + count * 6 + usize::from(u16::from_be_bytes([value[entry + 4], value[entry + 5]]));
        value[end - 1] ^= 1;
        self.runs.insert(first, value).expect("write");
    }

    /// Exchanges what lies under two keys of a tree.
    pub(crate) fn exchange(tree: &sled::Tree, one: OrderNumber, other: OrderNumber) {
        let take = |number: OrderNumber| tree.get(number.to_be_bytes()).expect("read").expect("there");
        let (of_one, of_other) = (take(one), take(other));
        assert_ne!(of_one, of_other);
        tree.insert(one.to_be_bytes(), of_other).expect("write");
        tree.insert(other.to_be_bytes(), of_one).expect("write");
    }

    pub(crate) fn done(self) {
        self.db.flush().expect("flush");
    }
}

fn keys(tree: &sled::Tree) -> Vec<OrderNumber> {
    let number = |key: sled::IVec| OrderNumber::try_from(u64::from_be_bytes(key[..].try_into().expect("8 bytes")));
    tree.iter().keys().map(|key| number(key.expect("read")).expect("a number")).collect()
}

/// All orders, each with the newest version that was acknowledged.
#[derive(Clone, Default, Debug)]
pub(crate) struct Book(pub(crate) BTreeMap<OrderNumber, (Version, String)>);

impl Book {
    pub(crate) fn numbers(&self) -> Vec<OrderNumber> {
        self.0.keys().copied().collect()
    }

    pub(crate) fn create(&mut self, store: &OrderStore, what: &str, count: usize) {
        let payloads: Vec<String> = (0..count).map(|at| format!("{what} {at} {}", ".".repeat(100))).collect();
        for (placed, payload) in store.create_all(&payloads).zip(&payloads) {
            let placed = placed.unwrap_or_else(|error| panic!("{payload}: {error}"));
            let earlier = self.0.insert(placed.number, (placed.version, payload.clone()));
            assert_eq!(earlier, None, "{} was given out twice", placed.number);
        }
    }

    /// Changes these orders, by turns with a compare-and-set and a closure; each must be acknowledged.
    pub(crate) fn change(&mut self, store: &OrderStore, what: &str, numbers: &[OrderNumber]) {
        let mut updates = Vec::new();
        let mut closures = Vec::new();
        for (at, number) in numbers.iter().enumerate() {
            let (version, value) = &self.0[number];
            let payload = format!("{what} {at}");
            if at % 2 == 0 {
                updates.push((*number, payload.clone(), store.update(*number, *version, payload)));
            } else {
                let (stands, written) = (value.clone(), payload.clone());
                let closure = move |order: &Order| {
                    assert_eq!(order.value, stands.as_bytes(), "what a closure is given");
                    Change::write(written, ())
                };
                closures.push((*number, payload, store.modify(*number, closure)));
            }
        }
        for (number, payload, update) in updates {
            let version = ends(update).unwrap_or_else(|error| panic!("{number}: {error}"));
            self.0.insert(number, (version, payload));
        }
        for (number, payload, closure) in closures {
            let version = ends(closure).unwrap_or_else(|error| panic!("{number}: {error}")).version;
            self.0.insert(number, (version, payload));
        }
    }

    /// Every order reads as it was acknowledged last, one by one and in a scan. Nothing else is there.
    #[track_caller]
    pub(crate) fn assert_stands(&self, store: &OrderStore, told: &str) {
        let reads: Vec<_> = self.0.keys().map(|number| store.get(*number)).collect();
        for ((number, acknowledged), read) in self.0.iter().zip(reads) {
            let order = ends(read).unwrap_or_else(|error| panic!("{told}: {number}: {error}"));
            let order = order.unwrap_or_else(|| panic!("{told}: {number} was acknowledged and is gone"));
            assert_same(&order, acknowledged, told);
        }
        let scanned: Vec<Order> =
            store.scan(SET, today()).collect::<Result<_, _>>().unwrap_or_else(|error| panic!("{told}: {error}"));
        let numbers: Vec<OrderNumber> = scanned.iter().map(|order| order.number).collect();
        assert_eq!(numbers, self.numbers(), "{told}: scanned");
        for (order, acknowledged) in scanned.iter().zip(self.0.values()) {
            assert_same(order, acknowledged, told);
        }
    }

    /// As [`Book::assert_stands`] where some orders cannot be read at present: those are said to be so, and no other answer is wrong.
    /// Returns how many there were.
    #[track_caller]
    pub(crate) fn assert_nothing_is_wrong(&self, store: &OrderStore, told: &str) -> usize {
        let reads: Vec<_> = self.0.keys().map(|number| store.get(*number)).collect();
        let mut unread = 0;
        for ((number, acknowledged), read) in self.0.iter().zip(reads) {
            match ends(read) {
                Ok(Some(order)) => assert_same(&order, acknowledged, told),
                Ok(None) => panic!("{told}: {number} was acknowledged and is said not to be there"),
                Err(Error::QuorumLost { .. } | Error::Corrupt { .. }) => unread += 1,
                Err(other) => panic!("{told}: {number}: {other}"),
            }
        }
        let page = ends(store.scan_page(SET, today(), None, 4096)).unwrap_or_else(|error| panic!("{told}: {error}"));
        let mut scanned = 0;
        for order in page.orders.iter().flatten() {
            assert_same(order, &self.0[&order.number], told);
            scanned += 1;
        }
        assert_eq!(scanned + unread, self.0.len(), "{told}: a scan shows what single reads show");
        unread
    }

    /// As [`Book::assert_stands`] where a replica is away and another lacks something: what is found on fewer than W, and was
    /// written by an earlier process, is written again under a version of this one. It takes over such a version, with the same
    /// value, and from then on that one stands.
    #[track_caller]
    pub(crate) fn assert_stands_or_renewed(&mut self, store: &OrderStore, told: &str) {
        let unread = self.take_over_renewed(store, told);
        self.assert_stands(store, told);
        assert_eq!(unread, 0, "{told}: could not be read at first");
    }

    /// The same for [`Book::assert_nothing_is_wrong`].
    #[track_caller]
    pub(crate) fn assert_nothing_is_wrong_or_renewed(&mut self, store: &OrderStore, told: &str) -> usize {
        let unread = self.take_over_renewed(store, told);
        assert_eq!(self.assert_nothing_is_wrong(store, told), unread, "{told}: what cannot be read stays so");
        unread
    }

    /// Returns how many cannot be read.
    #[track_caller]
    fn take_over_renewed(&mut self, store: &OrderStore, told: &str) -> usize {
        let reads: Vec<_> = self.0.keys().map(|number| store.get(*number)).collect();
        let epoch = store.status().sets[0].epoch;
        let mut unread = 0;
        for ((number, acknowledged), read) in self.0.iter_mut().zip(reads) {
            match ends(read) {
                Ok(Some(order)) => {
                    // What this process wrote is never written again under another version.
                    if order.version.epoch == epoch && acknowledged.0.epoch < epoch {
                        acknowledged.0 = order.version;
                    }
                    assert_same(&order, acknowledged, told);
                }
                Ok(None) => panic!("{told}: {number} was acknowledged and is said not to be there"),
                Err(Error::QuorumLost { .. } | Error::Corrupt { .. }) => unread += 1,
                Err(other) => panic!("{told}: {number}: {other}"),
            }
        }
        unread
    }

    /// Weak reads may show older versions, but what was acknowledged is there in some version.
    #[track_caller]
    pub(crate) fn assert_none_is_absent(&self, store: &OrderStore, told: &str) {
        let reads: Vec<_> = self.0.keys().map(|number| store.get_with(*number, ReadOptions::weak())).collect();
        for (number, read) in self.0.keys().zip(reads) {
            let order = ends(read).unwrap_or_else(|error| panic!("{told}: {number}: {error}"));
            assert!(order.is_some(), "{told}: {number} was acknowledged, and a weak read finds nothing");
        }
    }
}

#[track_caller]
fn assert_same(order: &Order, (version, value): &(Version, String), told: &str) {
    let found = (order.version, String::from_utf8_lossy(&order.value));
    assert_eq!(found, (*version, value.into()), "{told}: {}", order.number);
}

/// The answer, which comes.
#[track_caller]
pub(crate) fn ends<T>(pending: Pending<T>) -> Result<T, Error> {
    pending.wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"))
}

#[track_caller]
pub(crate) fn close(store: OrderStore) {
    ends(store.close()).expect("closed");
}

pub(crate) fn replica(store: &OrderStore, index: usize) -> ReplicaStatus {
    store.status().sets[0].replicas[index].clone()
}

/// Waits for what surely comes.
#[track_caller]
pub(crate) fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(start.elapsed() < AGES, "it never happens that {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Nothing waits for any replica any more, and nobody missed anything.
#[track_caller]
pub(crate) fn until_all_have_it(store: &OrderStore) {
    until("all replicas are up to date", || {
        let replicas = &store.status().sets[0].replicas;
        replicas.iter().all(|replica| replica.queued == 0 && replica.missed == 0)
    });
}

#[track_caller]
pub(crate) fn take_out(store: &OrderStore, index: usize) {
    store.take_out_replica(SET, u8::try_from(index).expect("an index")).expect("it is in use");
    until("it is closed", || {
        let reason = replica(store, index).reason.unwrap_or_default();
        !reason.contains("being closed")
    });
}

/// Brings a replica back; says what became of it.
#[track_caller]
pub(crate) fn bring_back(store: &OrderStore, index: usize) -> ReplicaState {
    store.bring_back_replica(SET, u8::try_from(index).expect("an index")).expect("it is away");
    until("its return ends", || replica(store, index).state != ReplicaState::Returning);
    replica(store, index).state
}

pub(crate) fn copy(from: &Path, to: &Path) {
    crate::common::copy_tree(from, to);
}
