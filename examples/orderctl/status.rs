//! `status`: how the store is, for people or for machines.

use crate::exit::Exit;
use crate::output::{Gone, Output};
use crate::told::{alarm_for_machines, breaker_for_machines};
use ordermint::{OrderStore, Status};
use serde_json::{Value, json};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

/// How long to wait for the replicas to be compared. Beyond that what is known so far is printed.
const PATIENCE: Duration = Duration::from_secs(30);

/// So long after the last note was settled the others are taken to wait for something.
const QUIET: Duration = Duration::from_millis(500);

/// Prints the status once the replicas were compared.
pub(crate) fn run(store: &OrderStore, as_json: bool) -> Result<Exit, Gone> {
    match store.compared().wait_timeout(PATIENCE) {
        Ok(Ok(_)) => {}
        // A SET without a quorum cannot compare; the status itself says why.
        Ok(Err(error)) => crate::complain(&format!("the replicas were not compared: {error}")),
        Err(_) => crate::complain("the replicas are still being compared"),
    }
    let_notes_settle(store);
    let status = store.status();
    let text = if as_json { format!("{}\n", for_machines(&status)) } else { for_people(&status) };
    let mut output = Output::new();
    output.line(&[text.trim_end().as_bytes()])?;
    output.flush()?;
    Ok(Exit::Done)
}

/// Each open looks once more at all notes there ever were, to find out which are done: as long as there are fewer and fewer, that
/// is waited for.
fn let_notes_settle(store: &OrderStore) {
    let waiting = || store.status().sets.iter().map(|set| set.notes_waiting).sum::<usize>();
    let (start, mut fewest, mut fell) = (Instant::now(), waiting(), Instant::now());
    while fewest > 0 && fell.elapsed() < QUIET && start.elapsed() < PATIENCE {
        std::thread::sleep(Duration::from_millis(20));
        let now = waiting();
        if now < fewest {
            (fewest, fell) = (now, Instant::now());
        }
    }
}

fn for_machines(status: &Status) -> Value {
    let sets: Vec<Value> = status
        .sets
        .iter()
        .map(|set| {
            let replicas: Vec<Value> = set
                .replicas
                .iter()
                .map(|replica| {
                    json!({
                        "index": replica.index,
                        "dir": replica.dir.as_deref().map(Path::to_string_lossy),
                        "state": replica.state.to_string(),
                        "reason": replica.reason,
                    })
                })
                .collect();
            json!({
                "id": set.id.get(),
                "state": set.state.to_string(),
                "weight": set.weight,
                "zone": set.zone.as_ref().map(ToString::to_string),
                "breakers": { "writes": breaker_for_machines(set.writes), "reads": breaker_for_machines(set.reads) },
                "closed_for_creates": set.closed_for_creates,
                "orders_today": set.orders_today,
                "lease_left": set.lease_left,
                "in_flight": set.in_flight,
                "notes_waiting": set.notes_waiting,
                "replicas": replicas,
            })
        })
        .collect();
    let (n, r, w) = (status.quorum.n(), status.quorum.r(), status.quorum.w());
    json!({
        "store": status.store,
        "map_version": status.map_version,
        "quorum": { "n": n, "r": r, "w": w },
        "sets": sets,
        "alarms": status.alarms.iter().map(alarm_for_machines).collect::<Vec<_>>(),
    })
}

fn for_people(status: &Status) -> String {
    let mut text = String::new();
    let (n, r, w) = (status.quorum.n(), status.quorum.r(), status.quorum.w());
    // Writing to a string cannot fail.
    let _ = writeln!(text, "store {} map {} quorum N={n} R={r} W={w}", status.store, status.map_version);
    for set in &status.sets {
        let _ = write!(text, "set {} {} weight {} orders today {}", set.id, set.state, set.weight, set.orders_today);
        let _ = match &set.zone {
            Some(zone) => writeln!(text, " zone {zone}"),
            None => writeln!(text),
        };
        let _ = writeln!(text, "  breakers writes {}; reads {}", set.writes, set.reads);
        let _ = writeln!(text, "  in flight {} lease left {} notes waiting {}", set.in_flight, set.lease_left, set.notes_waiting);
        if let Some(reason) = &set.closed_for_creates {
            let _ = writeln!(text, "  takes no new orders: {reason}");
        }
        for replica in &set.replicas {
            let dir = replica.dir.as_deref().unwrap_or(Path::new("-")).display();
            let _ = write!(text, "  replica {} {} {dir}", replica.index, replica.state);
            let _ = match &replica.reason {
                Some(reason) => writeln!(text, ": {reason}"),
                None => writeln!(text),
            };
        }
    }
    for alarm in &status.alarms {
        let _ = writeln!(text, "alarm: {alarm}");
    }
    text
}
