//! A SET dies under load, and comes back. Nobody who places an order notices more than a pause.
//!
//! `cargo run --release --example failover [-- DIR]` opens a store of three SETs, each with three replicas on sled, in a new directory
//! below DIR or below the system's directory for temporary files, and places orders at an even rate. Then the replicas of SET 008
//! hang, all three; then each write to them fails; then they are brought back. A line a second says how many orders each SET took,
//! what callers noticed, and how the store sees the SET. In the end everything that was acknowledged is held against what the
//! store kept: each order there once, no number given out twice, and none of those that were given up. It exits with 1 if that is
//! not so, or if a single order was refused.
//!
//! To read on: `disks.rs` makes the replicas fail, `load.rs` places the orders, `page.rs` draws, `books.rs` is the proof.

mod books;
mod disks;
mod load;
mod page;

use books::Balance;
use disks::Disks;
use load::{Load, Taken};
use ordermint::{BreakerSettings, Error, OrderStore, Quorum, ReplicaState, SetId};
use page::Page;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

/// Orders a second, over all SETs: so few that two SETs can take them all.
const RATE: u64 = 6_000;
const THREADS: u64 = 4;
/// For each order, from the call on.
const DEADLINE: Duration = Duration::from_secs(2);

/// When things happen, in seconds.
const HANGS_AT: u64 = 4;
const FAILS_AT: u64 = 8;
const RETURNS_AT: u64 = 12;
const ENDS_AT: u64 = 22;

/// How long bringing back the replicas may take.
const RETURN_MAX: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(10);

type Anything = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let below = std::env::args_os().nth(1).map_or_else(std::env::temp_dir, PathBuf::from);
    match demonstrate(&below) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("failover: {error}");
            ExitCode::from(3)
        }
    }
}

fn demonstrate(below: &Path) -> Result<bool, Anything> {
    // The first Ctrl-C ends the run early, with a proof of what was done; the second one ends the program.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let home = tempfile::Builder::new().prefix("failover-").tempdir_in(below);
    let home = home.map_err(|error| format!("no directory can be made in {}: {error}", below.display()))?;
    let [_, sick, _] = SETS;
    println!("Three SETs of three replicas, {RATE} orders a second, each with a deadline of {} s.", DEADLINE.as_secs());
    let (taken, is_clean) = place_while_one_dies(home.path(), SetId::new(sick)?, &stop)?;
    let balance = audit(home.path(), &taken)?;
    home.close()?;
    Ok(conclude(&taken, is_clean, &balance))
}

const SETS: [u16; 3] = [7, 8, 9];

/// What callers were told, and whether nothing was left to be done in the end.
fn place_while_one_dies(home: &Path, sick: SetId, stop: &AtomicBool) -> Result<(Taken, bool), Anything> {
    let disks = Disks::new(home);
    // A minute is how long a SET that stays sick is left alone in the end, and ten seconds how slowly one returns. Here people watch.
    let breaker =
        BreakerSettings::new().open_time(Duration::from_secs(1), Duration::from_secs(2)).ramp(Duration::from_secs(4), 10);
    let mut builder = OrderStore::builder().home(home).quorum(Quorum::new(3, 2, 2)?).deadline(DEADLINE).breaker(breaker);
    for set in SETS {
        builder = builder.add_set(disks.set(SetId::new(set)?));
    }
    let store = builder.open()?;

    let load = Load::start(&store, THREADS, RATE, DEADLINE)?;
    let mut page = Page::new(&store, load.tally(), sick);
    let till = |page: &mut Page, second: u64| page.show_until(Duration::from_secs(second), stop);
    till(&mut page, HANGS_AT);
    page.mark(&format!("SET {sick} hangs: none of its replicas returns from a write or a read"));
    disks.hang(sick);
    till(&mut page, FAILS_AT);
    page.mark(&format!("SET {sick} fails: each write and each read of its replicas is an error, those that hung among them"));
    disks.fail(sick);
    till(&mut page, RETURNS_AT);
    page.mark(&format!("the disks of SET {sick} are mended, and its replicas brought back"));
    disks.mend(sick);
    bring_back(&store, sick)?;
    page.mark(&format!("all replicas of SET {sick} vote"));
    till(&mut page, ENDS_AT);
    let taken = load.stop();

    let report = store.reconcile().wait()?;
    println!("reconcile: {} notes, {} open, {} alarms", report.notes, report.open_count, report.alarms.len());
    store.close().wait()?;
    Ok((taken, report.is_clean()))
}

/// Brings back all replicas of a SET, and waits until they vote.
fn bring_back(store: &OrderStore, set: SetId) -> Result<(), Anything> {
    let since = Instant::now();
    let states = || -> Vec<(u8, ReplicaState)> {
        let sets = store.status().sets;
        let replicas = sets.into_iter().filter(|status| status.id == set).flat_map(|status| status.replicas);
        replicas.map(|replica| (replica.index, replica.state)).collect()
    };
    loop {
        let away: Vec<_> = states().into_iter().filter(|(_, state)| *state != ReplicaState::Voting).collect();
        if away.is_empty() {
            return Ok(());
        }
        if since.elapsed() > RETURN_MAX {
            return Err(format!("replicas of SET {set} stay away: {away:?}").into());
        }
        for (index, _) in away.iter().filter(|(_, state)| *state != ReplicaState::Returning) {
            match store.bring_back_replica(set, *index) {
                // Its directory is still being closed, or it moved meanwhile: look again.
                Ok(()) | Err(Error::WrongState { .. } | Error::InUse { .. }) => {}
                Err(error) => return Err(error.into()),
            }
        }
        std::thread::sleep(LOOK);
    }
}

/// Reads the closed store from end to end, as another process would, and holds it against what callers were told.
fn audit(home: &Path, taken: &Taken) -> Result<Balance, Error> {
    let store = OrderStore::builder().home(home).open()?;
    let mut found = Vec::with_capacity(taken.placed.len());
    for set in store.status().sets {
        for day in store.days(set.id).wait()? {
            for order in store.scan(set.id, day) {
                let order = order?;
                found.push((order.number, String::from_utf8_lossy(&order.value).into_owned()));
            }
        }
    }
    let mut alive = Vec::new();
    for number in taken.placed.iter().flat_map(|placed| &placed.superseded) {
        alive.extend(store.get(*number).wait()?.map(|order| order.number));
    }
    store.close().wait()?;
    Ok(books::check(&taken.placed, &taken.doubtful, &alive, &found))
}

fn conclude(taken: &Taken, is_clean: bool, balance: &Balance) -> bool {
    const FAULTS_SHOWN: usize = 20;
    for error in &taken.errors {
        println!("failed: {error}");
    }
    for fault in balance.faults.iter().take(FAULTS_SHOWN) {
        println!("wrong: {fault}");
    }
    if balance.faults.len() > FAULTS_SHOWN {
        println!("and {} more", balance.faults.len() - FAULTS_SHOWN);
    }
    let Balance { acknowledged, found, superseded, .. } = balance;
    println!(
        "{acknowledged} orders acknowledged, {} creates failed; {found} orders found, {superseded} numbers given up",
        taken.failed
    );
    match balance.faults.len() {
        0 => println!("books balance: each order is there once, no number was given out twice, none that was given up is alive"),
        faults => println!("the books do not balance: {faults} things are wrong"),
    }
    if !is_clean {
        println!("something was left to be reconciled");
    }
    balance.faults.is_empty() && taken.failed == 0 && is_clean
}
