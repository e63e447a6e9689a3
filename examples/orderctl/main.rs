//! The operator's tool: orders in, numbers out, and a look at what is kept.
//!
//! Standard output is for machines, standard error for people. Exit codes: see `exit.rs`.

mod args;
mod create;
mod exit;
mod flow;
mod get;
mod interrupt;
mod key;
mod lines;
mod merge;
mod open;
mod output;
mod parse;
mod progress;
mod reconcile;
mod scan;
mod sets;
mod status;
mod told;
mod verify;

use args::{Command, Misuse, USAGE};
use exit::Exit;
use interrupt::Interrupts;
use ordermint::{Error, OrderStore};
use output::{Gone, Output};
use std::io::Write;
use std::process::ExitCode;

fn main() -> ExitCode {
    let command = match args::parse(std::env::args_os().skip(1)) {
        Ok(command) => command,
        Err(Misuse(reason)) => {
            complain(&reason);
            let _ = std::io::stderr().write_all(USAGE.as_bytes());
            return Exit::Misused.into();
        }
    };
    let exit = match run(&command) {
        Ok(Ok(exit)) => exit,
        Ok(Err(error)) => {
            complain(&error.to_string());
            Exit::of(&error)
        }
        // Whoever read along has seen enough.
        Err(Gone::Closed) => Exit::Done,
        Err(Gone::Failed(error)) => {
            complain(&format!("cannot write to standard output: {error}"));
            Exit::Unable
        }
    };
    exit.into()
}

/// The outer error: nothing can be printed. The inner: the store gave no answer.
fn run(command: &Command) -> Result<Result<Exit, Error>, Gone> {
    let interrupts = match Interrupts::install() {
        Ok(interrupts) => interrupts,
        Err(error) => {
            return Ok(Err(Error::System { action: "waiting for signals".into(), message: error.to_string() }));
        }
    };
    let (store, answered) = match command {
        Command::Help => {
            let mut output = Output::new();
            output.line(&[USAGE.trim_end().as_bytes()])?;
            return output.flush().map(|()| Ok(Exit::Done));
        }
        Command::Parse { numbers } => return parse::run(numbers).map(Ok),
        Command::Verify { data } => return verify::run(data),
        Command::Create { data, sets, quorum, key_column } => match open::existing_or_new(data, sets.as_deref(), *quorum) {
            Ok(store) => (store.clone(), create::run(&store, *key_column, &interrupts).map(Ok)),
            Err(error) => return Ok(Err(error)),
        },
        Command::Get { data, .. }
        | Command::Scan { data, .. }
        | Command::Status { data, .. }
        | Command::Reconcile { data, .. }
        | Command::Sets { data, .. } => match open::existing(data) {
            Ok(store) => (store.clone(), answer(&store, command, &interrupts)),
            Err(error) => return Ok(Err(error)),
        },
    };
    // Closed whatever became of the output. All that was acknowledged is durable already, so this can only be slow or unclean.
    if let Err(error) = store.close().wait() {
        complain(&format!("closing: {error}"));
    }
    answered
}

fn answer(store: &OrderStore, command: &Command, interrupts: &Interrupts) -> Result<Result<Exit, Error>, Gone> {
    match command {
        Command::Scan { set, date, .. } => {
            interrupts.on_first(|| {});
            scan::run(store, *set, *date, interrupts).map(Ok)
        }
        Command::Get { numbers, .. } => {
            interrupts.on_first(|| {});
            get::run(store, numbers, interrupts).map(Ok)
        }
        Command::Status { json, .. } => status::run(store, *json).map(Ok),
        Command::Reconcile { json, .. } => reconcile::run(store, *json, interrupts),
        Command::Sets { change, .. } => sets::run(store, change, interrupts).map(Ok),
        _ => Ok(Ok(Exit::Done)),
    }
}

/// A line on standard error. That one may be closed; there is nobody left to tell then.
fn complain(line: &str) {
    let _ = writeln!(std::io::stderr(), "orderctl: {line}");
}
