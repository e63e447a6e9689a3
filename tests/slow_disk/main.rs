//! One replica of each of eight SETs lies on a device that needs 500 ms for every read, write and sync below sled. Every create
//! is acknowledged all the same, `status` says who is slow, the store closes, and nothing is lost. And a device that hangs for
//! ever holds up no other (`hang.rs`).
//!
//! The delay is made by `shim.c`, preloaded into this program started again; see `delay.rs`. No time is asserted here: how much
//! slower the others become is measured by `cargo bench --bench slow_replica`. Where there is no C compiler, or another system than
//! Linux, it says SKIPPED.

#[path = "../common/mod.rs"]
mod common;
mod delay;
mod hang;

use common::say;
use delay::{Shim, SlowDir};
use ordermint::{CreateOptions, Error, OrderNumber, OrderStore, Quorum, ReplicaState, SetConfig, SetId};
use std::collections::BTreeSet;
use std::error::Error as StdError;
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

/// What this process is, in the environment of the processes that this test starts.
const ROLE: &str = "ORDERMINT_SLOW_ROLE";
/// What was acknowledged, a line each.
const ACKS: &str = "ORDERMINT_SLOW_ACKS";
/// The healthy directory.
const HEALTHY: &str = "ORDERMINT_SLOW_HEALTHY";

const SETS: u16 = 8;
const DELAY: Duration = Duration::from_millis(500);
/// The index of the replica on the slow device.
const SLOW: usize = 2;
/// No wait is longer; a test that runs into it has failed.
const LIMIT: Duration = Duration::from_secs(120);

type Result<T> = std::result::Result<T, Box<dyn StdError>>;

#[test]
fn a_slow_device_fails_no_create_and_loses_none() {
    // In a process each, so that a replica that `close` left behind ends with the first.
    as_another_process("a_slow_device_fails_no_create_and_loses_none", &[("writer", write), ("checker", check)]);
}

#[test]
fn a_device_that_hangs_holds_up_no_replica_of_another() {
    as_another_process("a_device_that_hangs_holds_up_no_replica_of_another", &[("hanging", hang::hang)]);
}

/// Runs each of `roles` in a process with the shim, one after the other; there, plays the role.
fn as_another_process(test: &str, roles: &[(&str, fn() -> Result<()>)]) {
    let mine = std::env::var(ROLE).unwrap_or_default();
    if let Some((_, play)) = roles.iter().find(|(role, _)| *role == mine) {
        return play().unwrap_or_else(|error| panic!("{error}"));
    }
    let shim = match Shim::build() {
        Ok(shim) => shim,
        Err(reason) => return say(&format!("SKIPPED, nothing was proven: {reason}")),
    };
    for (role, _) in roles {
        run(&shim, test, role).unwrap_or_else(|error| panic!("{error}"));
    }
}

/// The test once more, as `role`.
fn run(shim: &Shim, test: &str, role: &str) -> Result<()> {
    let healthy = shim.healthy_dir();
    std::fs::create_dir_all(&healthy)?;
    let mut command = shim.myself()?;
    command.args(["--exact", test, "--nocapture"]).stdin(Stdio::null());
    command.env(ROLE, role).env(ACKS, healthy.join("acks")).env(HEALTHY, &healthy).stdout(Stdio::null());
    let mut child = command.spawn()?;
    let until = Instant::now() + 4 * LIMIT;
    loop {
        if let Some(status) = child.try_wait()? {
            return if status.success() { Ok(()) } else { Err(format!("the {role} ended with {status}").into()) };
        }
        if Instant::now() > until {
            child.kill()?;
            child.wait()?;
            return Err(format!("the {role} did not end").into());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

fn open(slow: &SlowDir) -> Result<OrderStore> {
    let mut builder = OrderStore::builder().home(env(HEALTHY)?).quorum(Quorum::new(3, 2, 2)?);
    // Far less than the slow replicas need, so that some are left behind; enough for the others, however busy their disk.
    builder = builder.close_timeout(Duration::from_secs(4));
    for set in 1..=SETS {
        let set_dir = Path::new("store").join(set.to_string());
        let dirs = [set_dir.join("0"), set_dir.join("1"), slow.path().join(set.to_string())];
        builder = builder.add_set(SetConfig::new(SetId::new(set)?).replicas(dirs));
    }
    Ok(builder.open()?)
}

fn env(name: &str) -> Result<String> {
    std::env::var(name).map_err(|error| format!("{name}: {error}").into())
}

fn write() -> Result<()> {
    let slow = SlowDir::of_environment()?;
    let store = open(&slow)?;
    let mut acks = create(&store, "healthy", 64)?;
    assert_eq!(slow.slept()?, delay::Calls::default(), "nothing is slow yet");
    let before = slow.calls()?;
    assert!(before.writes > 0 && before.syncs > 0, "sled's I/O does not come through the shim: {before:?}");

    slow.delay(DELAY)?;
    let mut told = BTreeSet::new();
    let until = Instant::now() + LIMIT;
    while told.len() < usize::from(SETS) {
        // Some traffic at all times, and no more than that.
        std::thread::sleep(Duration::from_millis(20));
        assert!(Instant::now() < until, "only of {told:?} it is told that they are slow: {:?}", store.status());
        acks.extend(create(&store, "slow", 8)?);
        for set in store.status().sets {
            assert!(set.replicas.iter().all(|replica| replica.state == ReplicaState::Voting), "{set:?}");
            assert_eq!(set.closed_for_creates, None, "{set:?}");
            if set.replicas[SLOW].reason.as_ref().is_some_and(|reason| reason.contains("has been writing one group for")) {
                told.insert(set.id);
            }
        }
    }
    let slept = slow.slept()?;
    assert!(slept.writes > 0 && slept.syncs > 0, "{slept:?}");

    // Still slow while it closes: whoever does not end in time is left behind, and said so.
    match store.close().wait_timeout(LIMIT) {
        Ok(Ok(())) => {}
        Ok(Err(Error::System { message, .. })) => assert!(message.contains(&format!("replica {SLOW}")), "{message}"),
        Ok(Err(error)) => return Err(error.into()),
        Err(_) => return Err("close did not end".into()),
    }
    say(&format!("{} creates acknowledged; {slept:?} slept before close", acks.len()));
    std::fs::write(env(ACKS)?, acks.into_iter().map(|(number, payload)| format!("{number} {payload}\n")).collect::<String>())?;
    Ok(())
}

/// Creates `count` orders on each SET, all of them at once; each must be acknowledged.
fn create(store: &OrderStore, what: &str, count: usize) -> Result<Vec<(OrderNumber, String)>> {
    let payloads: Vec<String> = (0..count * usize::from(SETS)).map(|at| format!("{what} {at}")).collect();
    let options = CreateOptions::new().deadline(LIMIT);
    let pending: Vec<_> = payloads.iter().map(|payload| store.create_with(payload, options.clone())).collect();
    pending.into_iter().zip(payloads).map(|(pending, payload)| Ok((pending.wait()?.number, payload))).collect()
}

/// Healthy again, in a new process: all are there.
fn check() -> Result<()> {
    let slow = SlowDir::of_environment()?;
    slow.delay(Duration::ZERO)?;
    let store = open(&slow)?;
    for set in store.status().sets {
        assert!(set.replicas.iter().all(|replica| replica.state == ReplicaState::Voting), "{set:?}");
    }
    store.compared().wait()?;
    let acks = std::fs::read_to_string(env(ACKS)?)?;
    let mut count = 0;
    for line in acks.lines() {
        let (number, payload) = line.split_once(' ').ok_or("number and payload")?;
        let order = store.get(number.parse()?).wait()?.ok_or_else(|| format!("{number} is lost"))?;
        assert_eq!(order.value, payload.as_bytes(), "{number}");
        count += 1;
    }
    assert!(count > 64 * usize::from(SETS), "only {count} orders were acknowledged");
    store.close().wait()?;
    Ok(())
}
