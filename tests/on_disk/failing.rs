//! A sync or a write below sled that fails once, at every place in turn; and a device that never answers again. By `shim.c` of
//! `tests/slow_disk`, preloaded into this program started again. Where there is no C compiler, or another system than Linux, it
//! says SKIPPED.

use crate::bench::*;
use crate::common::say;
use crate::delay::{Shim, SlowDir};
use ordermint::{
    Change, Error, Group, Kind, OpenReplica, Order, OrderNumber, OrderStore, Quorum, Record, Replica, ReplicaState, Resolved,
    SledReplica, Version, Write, WriteToken,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// Set in the process that runs with the shim: where the healthy directories are.
const HEALTHY: &str = "ORDERMINT_ON_DISK_HEALTHY";
/// No child takes longer.
const LIMIT: Duration = Duration::from_secs(400);
/// Far more calls than the work of any of these tests makes.
const PLACES_MAX: u64 = 80;

/// Runs `story` in a process with the shim; `name` is the test that calls this. Says whether it is this process's turn to look at
/// what the other left behind: where the healthy directories and the other one are.
fn with_shim(name: &str, story: fn(&SlowDir, PathBuf)) -> Option<(Shim, PathBuf)> {
    if let Some(healthy) = std::env::var_os(HEALTHY) {
        story(&SlowDir::of_environment().expect("the shim is there"), healthy.into());
        return None;
    }
    let shim = match Shim::build() {
        Ok(shim) => shim,
        Err(reason) => {
            say(&format!("SKIPPED, nothing was proven: {reason}"));
            return None;
        }
    };
    let healthy = shim.healthy_dir();
    std::fs::create_dir_all(&healthy).expect("a directory can be made");
    let mut command = shim.myself().expect("this program can be found");
    command.args(["--exact", &format!("failing::{name}"), "--nocapture"]).env(HEALTHY, &healthy);
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().expect("this program can be started");
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            assert!(status.success(), "it failed with the shim: {status}");
            return Some((shim, healthy));
        }
        if Instant::now() > until {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("with the shim it never ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What fails.
#[derive(Clone, Copy, Debug)]
enum Call {
    Sync,
    Write,
}

impl Call {
    fn fail(self, slow: &SlowDir, after: Option<u64>) {
        let set = match self {
            Call::Sync => slow.fail_a_sync(after),
            Call::Write => slow.fail_a_write(after),
        };
        set.expect("the shim is told");
    }

    fn failed(self, slow: &SlowDir) -> u64 {
        let failed = slow.failed().expect("the shim tells");
        match self {
            Call::Sync => failed.syncs,
            Call::Write => failed.writes,
        }
    }
}

/// A file system may drop what it could not write, once its own sync has failed: only then is the replica not to be trusted.
/// What it said was to blame tells which it was.
fn is_lost(reason: &str) -> bool {
    reason.starts_with("sync ") && reason.contains("/db: ")
}

/// Closes it; a replica that failed may be named.
fn close_with_one_out(store: OrderStore, index: usize) {
    match ends(store.close()) {
        Ok(()) => {}
        Err(Error::System { message, .. }) => assert!(message.contains(&format!("replica {index}")), "{message}"),
        Err(other) => panic!("{other}"),
    }
}

#[test]
fn a_call_below_sled_that_fails_once_costs_one_replica_and_no_answer() {
    with_shim("a_call_below_sled_that_fails_once_costs_one_replica_and_no_answer", |slow, healthy| {
        for call in [Call::Sync, Call::Write] {
            let mut outcomes = BTreeMap::new();
            let mut passed = false;
            for after in 0..PLACES_MAX {
                match one_of_three(call, after, slow, &healthy) {
                    Some(state) => *outcomes.entry(state.to_string()).or_insert(0) += 1,
                    None => {
                        passed = true;
                        break;
                    }
                }
            }
            assert!(passed, "{call:?}: the work makes more than {PLACES_MAX} calls");
            say(&format!("{call:?} failed once, at each place in turn; the replica came back as {outcomes:?}"));
            assert!(outcomes.values().sum::<u32>() >= 4, "{outcomes:?}");
            if matches!(call, Call::Sync) {
                assert!(outcomes.len() == 2, "a failed fdatasync and a failed flush are not the same: {outcomes:?}");
            }
        }
    });
}

/// The call after the next `after` fails on replica 2; what that came back as, or `None` if the work did without so many calls.
fn one_of_three(call: Call, after: u64, slow: &SlowDir, healthy: &std::path::Path) -> Option<ReplicaState> {
    let name = format!("{call:?} {after}");
    let dirs = [healthy.join(&name).join("0"), healthy.join(&name).join("1"), slow.path().join(&name)];
    let open = || builder(Quorum::new(3, 2, 2).expect("a quorum"), dirs.to_vec()).open().expect("the store opens");
    let store = open();
    let mut book = Book::default();
    book.create(&store, "before", 10);
    let first = book.numbers();
    book.change(&store, "before", &first[..5]);
    until_all_have_it(&store);

    let before = call.failed(slow);
    call.fail(slow, Some(after));
    for round in 0..3 {
        book.create(&store, &format!("round {round}"), 2);
        book.change(&store, &format!("round {round}"), &first[round..round + 4]);
    }
    until("it is done or out", || {
        let replica = replica(&store, 2);
        replica.queued == 0 || replica.state == ReplicaState::Out
    });
    call.fail(slow, None);
    if call.failed(slow) == before {
        until_all_have_it(&store);
        close(store);
        return None;
    }
    until("it is out", || replica(&store, 2).state == ReplicaState::Out);
    let reason = replica(&store, 2).reason.expect("it is said why");
    book.assert_stands(&store, &name);
    book.change(&store, "without it", &first[3..8]);
    close_with_one_out(store, 2);

    // Whoever may have lost what was written stays out of it until somebody says that this is so.
    let state = if is_lost(&reason) { ReplicaState::Limbo } else { ReplicaState::Voting };
    for _ in 0..2 {
        let store = open();
        assert_eq!(replica(&store, 2).state, state, "{name}: {reason}: {:?}", replica(&store, 2));
        book.assert_stands(&store, &format!("{name}, opened again"));
        book.change(&store, "opened again", &first[..2]);
        close(store);
    }
    let store = open();
    if state == ReplicaState::Limbo {
        store.accept_loss(SET).expect("it is in limbo");
        until("it votes", || replica(&store, 2).state == ReplicaState::Voting);
    }
    book.assert_stands(&store, &format!("{name}, all vote"));
    take_out(&store, 0);
    // What it missed is on one of two now.
    book.assert_stands_or_renewed(&store, &format!("{name}, it votes with one other"));
    book.change(&store, "with it", &first);
    book.assert_stands(&store, &format!("{name}, changed with it"));
    close(store);
    Some(state)
}

/// With one replica there is nobody else to acknowledge: what failed is in doubt, is not shown, and is one thing for good when
/// the store can be read again.
#[test]
fn what_a_failed_call_leaves_in_doubt_is_not_shown_and_becomes_one_thing_for_good() {
    with_shim("what_a_failed_call_leaves_in_doubt_is_not_shown_and_becomes_one_thing_for_good", |slow, _| {
        for call in [Call::Sync, Call::Write] {
            let mut outcomes = BTreeMap::new();
            let mut passed = false;
            for after in 0..PLACES_MAX {
                match one_of_one(call, after, slow) {
                    Some(outcome) => *outcomes.entry(outcome).or_insert(0) += 1,
                    None => {
                        passed = true;
                        break;
                    }
                }
            }
            assert!(passed, "{call:?}: the work makes more than {PLACES_MAX} calls");
            say(&format!("{call:?} failed once on the only replica, at each place in turn: {outcomes:?}"));
            assert!(outcomes.values().sum::<u32>() >= 2, "{outcomes:?}");
        }
    });
}

/// A write in doubt.
struct Doubt {
    token: WriteToken,
    payload: String,
}

fn one_of_one(call: Call, after: u64, slow: &SlowDir) -> Option<&'static str> {
    let name = format!("alone {call:?} {after}");
    let dir = slow.path().join(&name);
    let open = || builder(Quorum::new(1, 1, 1).expect("a quorum"), vec![dir.clone()]).open().expect("the store opens");
    let store = open();
    let mut book = Book::default();
    book.create(&store, "before", 10);
    let numbers = book.numbers();
    book.change(&store, "before", &numbers[..5]);

    let before = call.failed(slow);
    call.fail(slow, Some(after));
    let doubt = write_until_doubt(&store, &mut book, &numbers);
    call.fail(slow, None);
    let Some(doubt) = doubt else {
        assert_eq!(call.failed(slow), before, "{name}: a call failed, and all was acknowledged");
        close(store);
        return None;
    };
    // Nobody is left to ask, so nothing is shown: neither what failed nor what may be older than it.
    for number in numbers.iter().copied().chain([doubt.token.number]) {
        let read = ends(store.get(number));
        assert!(matches!(read, Err(Error::QuorumLost { .. })), "{name}: {read:?}");
    }
    let replica_then = replica(&store, 0);
    assert_eq!(replica_then.state, ReplicaState::Out);
    let reason = replica_then.reason.expect("it is said why");
    close_with_one_out(store, 0);

    let store = open();
    if is_lost(&reason) {
        assert_eq!(replica(&store, 0).state, ReplicaState::Limbo, "{name}: {reason}");
        assert!(matches!(ends(store.get(doubt.token.number)), Err(Error::QuorumLost { .. })), "{name}");
        store.accept_loss(SET).expect("it is in limbo");
        until("it votes", || replica(&store, 0).state == ReplicaState::Voting);
    } else {
        assert_eq!(replica(&store, 0).state, ReplicaState::Voting, "{name}: {reason}");
    }
    // It took effect or it did not, whoever asks and however often.
    let resolved = ends(store.resolve(doubt.token)).unwrap_or_else(|error| panic!("{name}: {error}"));
    let shown = ends(store.get(doubt.token.number)).expect("read");
    let is_new = !book.0.contains_key(&doubt.token.number);
    match resolved {
        Resolved::Applied => {
            let order = shown.expect("it took effect");
            assert_eq!((order.version, &order.value[..]), (doubt.token.version, doubt.payload.as_bytes()), "{name}");
            book.0.insert(doubt.token.number, (order.version, doubt.payload));
        }
        Resolved::NotApplied => match (shown, is_new) {
            (None, true) => {}
            (Some(order), false) => {
                let acknowledged = book.0.get_mut(&order.number).expect("it is no new one");
                assert_eq!(order.value, acknowledged.1.as_bytes(), "{name}");
                // Written again under a newer version, so that what failed can never win.
                assert!(order.version > doubt.token.version && order.version > acknowledged.0, "{name}: {order:?}");
                acknowledged.0 = order.version;
            }
            other => panic!("{name}: {other:?}"),
        },
    }
    book.assert_stands(&store, &name);
    close(store);
    let store = open();
    book.assert_stands(&store, &format!("{name}, opened again"));
    book.change(&store, "afterwards", &numbers);
    book.assert_stands(&store, &format!("{name}, changed since"));
    close(store);
    Some(match resolved {
        Resolved::Applied => "applied",
        Resolved::NotApplied => "not applied",
    })
}

/// Creates and changes one after the other until one is in doubt.
fn write_until_doubt(store: &OrderStore, book: &mut Book, numbers: &[OrderNumber]) -> Option<Doubt> {
    for round in 0..3usize {
        let number = numbers[round + 3];
        let expected = book.0[&number].0;
        let payload = format!("round {round}");
        let written: [Result<(OrderNumber, Version), Error>; 3] = [
            ends(store.create(&payload)).map(|placed| (placed.number, placed.version)),
            ends(store.update(number, expected, &payload)).map(|version| (number, version)),
            ends(store.modify(numbers[round], |order| Change::write([&order.value[..], b"!"].concat(), ())))
                .map(|modified| (numbers[round], modified.version)),
        ];
        for (at, result) in written.into_iter().enumerate() {
            let payload = if at == 2 { format!("{}!", book.0[&numbers[round]].1) } else { payload.clone() };
            match result {
                Ok((number, version)) => drop(book.0.insert(number, (version, payload))),
                Err(Error::Ambiguous { token, .. }) => return Some(Doubt { token, payload }),
                Err(other) => panic!("{other}"),
            }
        }
    }
    None
}

/// A read comes upon a version that one replica of two has. It is not shown before the other one has it too.
#[test]
fn a_read_whose_write_back_fails_below_sled_shows_nothing_until_it_succeeds() {
    with_shim("a_read_whose_write_back_fails_below_sled_shows_nothing_until_it_succeeds", |slow, healthy| {
        for after in 0..PLACES_MAX {
            let dirs = vec![healthy.join(format!("back {after}")), slow.path().join(format!("back {after}"))];
            let open = || builder(Quorum::new(2, 2, 2).expect("a quorum"), dirs.clone()).open().expect("the store opens");
            let store = open();
            let mut book = Book::default();
            book.create(&store, "before", 10);
            close(store);
            let number = book.numbers()[3];
            let newer = Version { counter: 1_000_000, ..book.0[&number].0 };
            let alone = SledReplica::open(&OpenReplica::new(SET, 0, dirs[0].clone())).expect("a closed replica opens");
            let record = Record { kind: Kind::Order, version: newer, generation: 0, value: "on one".into(), origin: None };
            let mut group = Group::new(alone.epoch());
            group.push(Write::new(number, &record, false)).expect("room");
            alone.apply(&group).expect("applied");
            alone.close().expect("closed");

            let store = open();
            ends(store.compared()).expect("compared");
            until("it minds nothing else", || store.status().sets[0].lease_left > 0);
            until_all_have_it(&store);
            slow.fail_a_sync(Some(after)).expect("the shim is told");
            let before = slow.failed().expect("the shim tells");
            let read = ends(store.get(number));
            slow.fail_a_sync(None).expect("the shim is told");
            let shows = |order: Option<Order>| order.is_some_and(|order| (order.version, &order.value[..]) == (newer, b"on one"));
            book.0.insert(number, (newer, "on one".to_owned()));
            if slow.failed().expect("the shim tells") == before {
                assert!(shows(read.expect("both have it by now")));
                book.assert_stands(&store, "both have it");
                close(store);
                assert!(after >= 2, "no write-back ever failed");
                return;
            }
            assert!(matches!(read, Err(Error::Unconfirmed { need: 2, .. })), "{after}: {read:?}");
            let reason = replica(&store, 1).reason.expect("it is said why");
            close_with_one_out(store, 1);
            let store = open();
            if is_lost(&reason) {
                let read = ends(store.get(number));
                assert!(matches!(read, Err(Error::QuorumLost { .. })), "{after}: {read:?}");
                store.accept_loss(SET).expect("it is in limbo");
                until("it votes", || replica(&store, 1).state == ReplicaState::Voting);
            }
            for _ in 0..2 {
                assert!(shows(ends(store.get(number)).expect("both take it")), "{after}");
            }
            book.assert_stands(&store, "both have it");
            close(store);
        }
        panic!("the write-back makes more than {PLACES_MAX} calls");
    });
}

/// A device that answers nothing for an hour. What W acknowledge goes on, `close` ends within its bound and names the replica.
#[test]
fn a_device_that_hangs_for_ever_holds_up_neither_changes_nor_close() {
    let name = "a_device_that_hangs_for_ever_holds_up_neither_changes_nor_close";
    let dirs = |healthy: PathBuf, slow: PathBuf| vec![healthy.join("hung 0"), healthy.join("hung 1"), slow.join("hung")];
    let left = with_shim(name, |slow, healthy| {
        let dirs = vec![healthy.join("hung 0"), healthy.join("hung 1"), slow.path().join("hung")];
        // The others end within it, however busy the disk.
        let timeout = Duration::from_secs(5);
        let builder = builder(Quorum::new(3, 2, 2).expect("a quorum"), dirs).close_timeout(timeout);
        let store = builder.open().expect("the store opens");
        let mut book = Book::default();
        book.create(&store, "before", 20);
        ends(store.compared()).expect("compared");
        until_all_have_it(&store);
        slow.delay(Duration::from_secs(3_600)).expect("the shim is told");
        let numbers = book.numbers();
        for round in 0..5 {
            book.create(&store, &format!("hangs {round}"), 5);
            book.change(&store, &format!("hangs {round}"), &numbers);
        }
        assert!(slow.slept().expect("the shim tells").writes > 0, "it hangs in a write");
        match ends(store.close()) {
            Err(Error::System { message, .. }) => assert!(message.contains("replica 2"), "{message}"),
            other => panic!("{other:?}"),
        }
        let lines = book.0.iter().map(|(number, (version, value))| format!("{number} {version} {value}\n"));
        std::fs::write(healthy.join("book"), lines.collect::<String>()).expect("the book is kept");
    });
    let Some((shim, healthy)) = left else { return };
    let lines = std::fs::read_to_string(healthy.join("book")).expect("the book was kept");
    let slow = shim.slow_dir();
    let store = builder(Quorum::new(3, 2, 2).expect("a quorum"), dirs(healthy, slow)).open().expect("the store opens");
    assert_eq!(replica(&store, 2).state, ReplicaState::Voting);
    let mut count = 0;
    for line in lines.lines() {
        let mut parts = line.splitn(3, ' ');
        let (number, version, value) = (parts.next(), parts.next(), parts.next());
        let number = number.expect("a number").parse().expect("a number");
        let order = ends(store.get(number)).expect("read").expect("there");
        assert_eq!(
            (order.version.to_string().as_str(), &order.value[..]),
            (version.expect("a version"), value.expect("a value").as_bytes())
        );
        count += 1;
    }
    assert_eq!(count, 45);
    close(store);
}
