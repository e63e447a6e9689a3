//! `reconcile`: what records say is still to be done about other numbers is done, and what is left is told.

use crate::exit::Exit;
use crate::interrupt::Interrupts;
use crate::output::{Gone, Output};
use crate::progress::Progress;
use crate::told::alarm_for_machines;
use ordermint::{Error, OrderStore, Reconciled};
use serde_json::{Value, json};
use std::time::Duration;

/// How often it is looked at how far the store is, and if a signal came.
const LOOK: Duration = Duration::from_millis(100);

/// Prints what was found, and what is left on a line each. Only a store without anything left is a 0.
pub(crate) fn run(store: &OrderStore, as_json: bool, interrupts: &Interrupts) -> Result<Result<Exit, Error>, Gone> {
    interrupts.on_first(|| {});
    let progress = Progress::of("steps");
    let mut job = store.reconcile();
    // Ends: the store bounds each step and what it waits for at the end.
    let report = loop {
        match job.wait_timeout(LOOK) {
            Ok(Ok(report)) => break report,
            Ok(Err(error)) => return Ok(Err(error)),
            Err(under_way) => job = under_way,
        }
        let now = job.progress();
        progress.set(now.done, now.known);
        if interrupts.caught().is_some() {
            job.cancel();
        }
    };
    drop(progress);
    let mut output = Output::new();
    if as_json {
        output.line(&[for_machines(&report).to_string().as_bytes()])?;
    } else {
        for line in for_people(&report) {
            output.line(&[line.as_bytes()])?;
        }
    }
    output.flush()?;
    let exit = if report.is_clean() { Exit::Done } else { Exit::AnsweredNo };
    Ok(Ok(exit.max(interrupts.caught().unwrap_or(Exit::Done))))
}

fn for_machines(report: &Reconciled) -> Value {
    let open: Vec<String> = report.open.iter().map(ToString::to_string).collect();
    let unreachable: Vec<u16> = report.unreachable.iter().map(|set| set.get()).collect();
    json!({
        "notes": report.notes,
        "voided": report.voided,
        "open": open,
        "open_count": report.open_count,
        "unverified": report.unverified,
        "keys": report.keys,
        "undecided": report.undecided,
        "unreachable": unreachable,
        "alarms": report.alarms.iter().map(alarm_for_machines).collect::<Vec<_>>(),
        "cancelled": report.cancelled,
    })
}

/// A line of counts, and then one for each thing that is left.
fn for_people(report: &Reconciled) -> Vec<String> {
    let Reconciled { notes, keys, voided, open_count, unverified, undecided, .. } = report;
    let (unreachable, alarms) = (report.unreachable.len(), report.alarms.len());
    let mut lines = vec![format!(
        "notes {notes} keys {keys} voided {voided} open {open_count} unverified {unverified} undecided {undecided} unreachable \
         {unreachable} alarms {alarms}"
    )];
    lines.extend(report.open.iter().map(|number| format!("open {number}: given up, and not yet void on all replicas")));
    let unnamed = open_count.saturating_sub(report.open.len() as u64);
    if unnamed > 0 {
        lines.push(format!("open: {unnamed} more"));
    }
    if *unverified > 0 {
        lines.push(format!("unverified: {unverified} orders, of whose request key a SET still cannot be asked"));
    }
    if *undecided > 0 {
        lines.push(format!(
            "undecided: {undecided} request keys that name several orders, and a SET cannot be asked or they are in use"
        ));
    }
    lines.extend(
        report.unreachable.iter().map(|set| format!("unreachable set {set}: could not tell all of its notes and request keys")),
    );
    lines.extend(report.alarms.iter().map(|alarm| format!("alarm: {alarm}")));
    if report.cancelled {
        lines.push("cancelled: not everything was looked at".into());
    }
    lines
}
