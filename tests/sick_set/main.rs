//! Three SETs of three replicas on sled, each SET on a device of its own, under the load of many callers with a deadline of two
//! seconds. One SET after the other is made to hang, to fail every write, to be slow by 500 ms for each sync, and is killed and
//! brought back. Every time: no create fails, but while the machine stands still, which is said; orders are placed a second time for what was in flight on the sick SET when its breaker
//! opened, and for little else; the SET takes orders again; every number that was given up reads as absent; and in the end
//! exactly the acknowledged orders stand, each once.
//!
//! What happens below sled is done by `tests/slow_disk/shim.c`, preloaded into this program started again; where that cannot be built
//! it says SKIPPED. No time is asserted: how quick the other SETs stay is measured by `cargo bench --bench sick_set`.

#[path = "../common/mod.rs"]
mod common;
#[path = "../slow_disk/delay.rs"]
mod delay;

mod callers;
mod episode;
mod pulse;
mod world;

use common::say;
use delay::{Kind, Shim};
use episode::Trouble;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::{Duration, Instant};
use world::World;

/// Set in the process that has the shim.
const WITH_SHIM: &str = "ORDERMINT_SICK_SET";

/// No child takes longer; one that does has failed.
const LIMIT: Duration = Duration::from_secs(300);

/// They need all cores for themselves.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());

const HOURS: Duration = Duration::from_secs(24 * 3_600);
const ALWAYS: usize = usize::MAX;

#[test]
fn a_set_whose_device_hangs_fails_no_create_and_comes_back() {
    let sicken = |world: &World, _set| world.slow.delay(HOURS).expect("the shim is told");
    with_shim("a_set_whose_device_hangs_fails_no_create_and_comes_back", Trouble { sicken, mend: |_, _| (), away: false });
}

#[test]
fn a_set_that_fails_every_write_fails_no_create_and_is_brought_back() {
    let sicken = |world: &World, _set| world.slow.break_all(&[Kind::Writes]).expect("the shim is told");
    with_shim(
        "a_set_that_fails_every_write_fails_no_create_and_is_brought_back",
        Trouble { sicken, mend: |_, _| (), away: true },
    );
}

#[test]
fn a_set_that_is_slow_for_each_sync_fails_no_create_and_comes_back() {
    let sicken = |world: &World, _set| world.slow.delay_syncs(Duration::from_millis(500)).expect("the shim is told");
    with_shim(
        "a_set_that_is_slow_for_each_sync_fails_no_create_and_comes_back",
        Trouble { sicken, mend: |_, _| (), away: false },
    );
}

#[test]
fn a_set_that_is_killed_fails_no_create_and_is_brought_back() {
    let sicken = |world: &World, set| {
        world.take_away(set, true);
        world.faults(set, |faults| faults.fail_applies(ALWAYS));
        world.faults(set, |faults| faults.fail_reads(ALWAYS));
    };
    let mend = |world: &World, set| {
        world.faults(set, |faults| faults.fail_applies(0));
        world.faults(set, |faults| faults.fail_reads(0));
        world.take_away(set, false);
    };
    with_shim("a_set_that_is_killed_fails_no_create_and_is_brought_back", Trouble { sicken, mend, away: true });
}

/// In memory where there is enough of it. All SETs would share a disk: should that stand still by itself, all are sick at once, and
/// nothing could be told of one. What is slow or fails here is made so below sled, on any file system.
fn undisturbed() -> PathBuf {
    let memory = PathBuf::from("/dev/shm");
    let free = rustix::fs::statvfs(&memory).map_or(0, |stat| stat.f_bavail.saturating_mul(stat.f_frsize));
    if free > 4 << 30 { memory } else { std::env::temp_dir() }
}

/// Runs the trouble in a process with the shim; `test` is the test that calls this.
fn with_shim(test: &str, trouble: Trouble) {
    if std::env::var_os(WITH_SHIM).is_some() {
        return episode::all_sets_in_turn(&trouble);
    }
    let _turn = ONE_AT_A_TIME.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    let shim = match Shim::build_in(&undisturbed()) {
        Ok(shim) => shim,
        Err(reason) => return say(&format!("SKIPPED, nothing was proven: {reason}")),
    };
    let mut command = shim.myself().expect("this program can be found");
    command.args(["--exact", test, "--nocapture"]).env(WITH_SHIM, "1").stdin(Stdio::null()).stdout(Stdio::null());
    let mut child = command.spawn().expect("this program can be started");
    let until = Instant::now() + LIMIT;
    loop {
        if let Some(status) = child.try_wait().expect("a child can be asked") {
            return assert!(status.success(), "it failed with the shim: {status}");
        }
        if Instant::now() > until {
            child.kill().expect("a child can be killed");
            child.wait().expect("a child can be waited for");
            panic!("with the shim it never ends");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}
