//! Red packets: money for a group, of which each who opens it gets a random part. The business this store was built for, in small.
//!
//! `cargo run --release --example red_packet` opens a store of two SETs with three replicas each, sends thousands of packets through
//! their lives - packed, sent, grabbed, opened - with thousands of people at once, loses a whole SET half-way and gets it back, and
//! ends with a proof: the store is closed, opened again and read from end to end, and held against what everybody was told. The
//! books must balance to the cent. `--help` names the options.
//!
//! To read on: `packet.rs` is what the store keeps, `life.rs` how it is used, `books.rs` the proof. Beside them `plan.rs` draws who
//! sends what to whom, `run.rs` lets all of it happen, `watch.rs` and `report.rs` show it.

mod args;
mod books;
mod life;
mod outage;
mod packet;
mod plan;
mod report;
mod run;
mod tally;
mod watch;

use args::{Command, Misuse, Options, USAGE};
use books::{Account, Balance};
use indicatif::HumanCount;
use life::World;
use ordermint::testing::{FaultControl, Faulty};
use ordermint::{BreakerSettings, Error, OrderStore, Quorum, SetConfig, SetId, SledReplica};
use outage::Outage;
use packet::Packet;
use signal_hook::consts::{SIGINT, SIGTERM};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};
use tally::Tally;

type Anything = Box<dyn std::error::Error>;

fn main() -> ExitCode {
    let options = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(options)) => options,
        Ok(Command::Help) => {
            print!("{USAGE}");
            return ExitCode::SUCCESS;
        }
        Err(Misuse(reason)) => {
            eprint!("red_packet: {reason}\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match demonstrate(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("red_packet: {error}");
            ExitCode::from(3)
        }
    }
}

/// Whether the books balance and nobody was turned away.
fn demonstrate(options: &Options) -> Result<bool, Anything> {
    // The first Ctrl-C ends the run early, with a proof of what was done; the second one ends the program.
    let stop = Arc::new(AtomicBool::new(false));
    for signal in [SIGINT, SIGTERM] {
        signal_hook::flag::register_conditional_default(signal, Arc::clone(&stop))?;
        signal_hook::flag::register(signal, Arc::clone(&stop))?;
    }
    let below = options.dir.clone().unwrap_or_else(std::env::temp_dir);
    let home = tempfile::Builder::new().prefix("red-packet-").tempdir_in(&below);
    let mut home = home.map_err(|error| format!("no directory can be made in {}: {error}", below.display()))?;
    // Kept while it is not known how this ends: where the books do not balance somebody will want to look.
    home.disable_cleanup(true);

    let well = send_and_prove(home.path(), options, &stop);
    if options.keep || !matches!(well, Ok(true)) {
        println!("the store is left in {}", home.path().display());
    } else {
        home.close()?;
    }
    well
}

fn send_and_prove(home: &Path, options: &Options, stop: &AtomicBool) -> Result<bool, Anything> {
    println!("1. A new store in {}: SETs 007 and 008, each order on three replicas, synced on two.", home.display());
    let [lost, well] = [SetId::new(7)?, SetId::new(8)?];
    let faults = FaultControl::new();
    let store = open_new(home, SetConfig::new(well).replicas(dirs(well)), failing(home, lost, &faults))?;
    let world = Arc::new(World { store, tally: Tally::default() });

    println!(
        "2. {} packets are sent; SET {lost} is lost half-way, with all of its replicas.",
        HumanCount(options.packets as u64)
    );
    let outage = Outage { set: lost, faults, hangs_for: Duration::from_secs(3) };
    let mut ran = run::run(&world, options, Some(outage), stop)?;
    println!("{}", report::report(&mut ran, lost, &world.tally));
    let report = world.store.reconcile().wait()?;
    if report.is_clean() {
        println!(
            "   reconciled: {} packets say that others were given up or not looked for, and nothing is left to do",
            HumanCount(report.notes)
        );
    } else {
        world.tally.failed(&format!("something was left to be reconciled: {report:?}"));
    }
    world.store.close().wait()?;

    println!("3. The store is closed, opened again, and every packet read and held against what everybody was told.");
    let started = Instant::now();
    let balance = audit(home, &ran.accounts, &world.tally)?;
    let (packets, orders) = (HumanCount(balance.packets as u64), HumanCount(balance.receive_orders as u64));
    println!("   {packets} packets with {orders} receive orders read in {:.1} s", started.elapsed().as_secs_f64());
    Ok(conclude(&balance, &world.tally))
}

fn open_new(home: &Path, well: SetConfig, lost: SetConfig) -> Result<OrderStore, Error> {
    // By default a SET that stays sick is tried once a minute in the end, and returns within ten seconds. Here people watch.
    let breaker =
        BreakerSettings::new().open_time(Duration::from_secs(1), Duration::from_secs(2)).ramp(Duration::from_secs(4), 10);
    let builder = OrderStore::builder().home(home).quorum(Quorum::new(3, 2, 2)?).breaker(breaker);
    builder.deadline(Duration::from_secs(2)).add_set(lost).add_set(well).open()
}

fn dirs(set: SetId) -> impl Iterator<Item = String> {
    (0..3).map(move |index| format!("{set}/{index}"))
}

/// The same replicas on sled, but they can be made to hang and to fail.
fn failing(home: &Path, set: SetId, faults: &FaultControl) -> SetConfig {
    dirs(set).fold(SetConfig::new(set), |config, dir| {
        let (dir, faults) = (home.join(dir), faults.clone());
        config.replica_with(move |options| {
            let mut options = options.clone();
            options.dir = Some(dir.clone());
            Ok(Faulty::new(Arc::new(SledReplica::open(&options)?), faults.clone()))
        })
    })
}

/// Reads every packet of the store in `home` and holds it against its account.
fn audit(home: &Path, accounts: &[Account], tally: &Tally) -> Result<Balance, Error> {
    // A store remembers its SETs and its quorum.
    let store = OrderStore::builder().home(home).open()?;
    let mut found = Vec::with_capacity(accounts.len());
    for set in store.status().sets {
        // More than one day where the run went over midnight.
        for day in store.days(set.id).wait()? {
            for order in store.scan(set.id, day) {
                match order {
                    Ok(order) => found.push((order.number, Packet::decode(&order.value).map_err(|garbled| garbled.to_string()))),
                    // The packets that it hides will be missed by their accounts.
                    Err(error) => tally.failed(&format!("reading {day} of SET {}: {error}", set.id)),
                }
            }
        }
    }
    store.close().wait()?;
    Ok(books::check(accounts, found))
}

/// Says how it ended.
fn conclude(balance: &Balance, tally: &Tally) -> bool {
    const FAULTS_SHOWN: usize = 20;
    let failures = tally.failures.load(Relaxed);
    for said in tally.said() {
        println!("   failed: {said}");
    }
    if failures > 0 {
        println!("   {} things went wrong in all", HumanCount(failures));
    }
    for fault in balance.faults.iter().take(FAULTS_SHOWN) {
        println!("   wrong: {fault}");
    }
    if balance.faults.len() > FAULTS_SHOWN {
        println!("   and {} more", HumanCount((balance.faults.len() - FAULTS_SHOWN) as u64));
    }
    let Balance { paid_in, received, left, .. } = balance;
    if balance.is_balanced() {
        println!("books balance: {paid_in} paid in = {received} received + {left} left");
    } else {
        println!("the books do not balance: {paid_in} paid in, {received} received + {left} left");
    }
    balance.is_balanced() && failures == 0
}
