//! The page: a line a second, with a bar for each SET, and what happened in between.

use crate::load::Tally;
use ordermint::{BreakerState, OrderStore, SetId};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Between two looks at the store: what happens and is over in between is not seen.
const LOOK: Duration = Duration::from_millis(20);
const SECOND: Duration = Duration::from_secs(1);
/// Lines between two headings.
const HEADING_EVERY: u64 = 12;
/// How wide a bar is, and what it shows when it is full.
const BAR: usize = 12;
const FULL: u64 = 3_600;
const EIGHTHS: [char; 8] = [' ', '▏', '▎', '▍', '▌', '▋', '▊', '▉'];

/// Draws until a given second, then lets go, so that something can be done to the store in between.
pub(crate) struct Page {
    store: OrderStore,
    tally: Arc<Tally>,
    sick: SetId,
    started: Instant,
    lines: u64,
    before: BTreeMap<SetId, u64>,
    failed_before: u64,
    reminted_before: u64,
    breaker: &'static str,
    notes: usize,
}

impl Page {
    pub(crate) fn new(store: &OrderStore, tally: Arc<Tally>, sick: SetId) -> Page {
        let breaker = word(BreakerState::Closed);
        let (store, started, before) = (store.clone(), Instant::now(), BTreeMap::new());
        Page { store, tally, sick, started, lines: 0, before, failed_before: 0, reminted_before: 0, breaker, notes: 0 }
    }

    /// Says that something happened.
    pub(crate) fn mark(&self, what: &str) {
        println!("{:5.1}  -- {what}", self.started.elapsed().as_secs_f64());
    }

    /// Draws a line a second until `until` has passed since the beginning, or `stop` is raised.
    pub(crate) fn show_until(&mut self, until: Duration, stop: &AtomicBool) {
        // Ends because time goes on.
        while self.started.elapsed() < until && !stop.load(Relaxed) {
            std::thread::sleep(LOOK);
            self.look();
            let due = SECOND * (self.lines as u32 + 1);
            if self.started.elapsed() >= due {
                self.line();
            }
        }
    }

    /// Tells what has changed about the SET that is sick.
    fn look(&mut self) {
        let status = self.store.status();
        let Some(set) = status.sets.iter().find(|set| set.id == self.sick) else { return };
        let breaker = word(set.writes);
        if breaker != self.breaker {
            self.mark(&format!("the breaker of SET {} for writes is {breaker}", self.sick));
            self.breaker = breaker;
        }
        if self.notes > 0 && set.notes_waiting == 0 {
            self.mark("every number that was given up is void on all its replicas");
        }
        self.notes = set.notes_waiting;
    }

    fn line(&mut self) {
        let status = self.store.status();
        if self.lines.is_multiple_of(HEADING_EVERY) {
            let heads: String =
                status.sets.iter().map(|set| format!(" {:<width$}", format!("SET {}", set.id), width = BAR + 7)).collect();
            println!("    s {heads}  failed  re-mints  slowest  notes  breakers");
        }
        self.lines += 1;
        let now = self.tally.by_set();
        let bars: String = status
            .sets
            .iter()
            .map(|set| {
                let count = |counts: &BTreeMap<SetId, u64>| counts.get(&set.id).copied().unwrap_or(0);
                let taken = count(&now) - count(&self.before);
                format!(" {}{taken:>6} ", bar(taken, FULL))
            })
            .collect();
        self.before = now;
        let failed = self.tally.failed.load(Relaxed);
        let reminted = self.tally.reminted.load(Relaxed);
        let slowest_ms = self.tally.slowest_us.swap(0, Relaxed) / 1_000;
        let notes: usize = status.sets.iter().map(|set| set.notes_waiting).sum();
        let open: Vec<String> = status
            .sets
            .iter()
            .filter(|set| set.writes != BreakerState::Closed)
            .map(|set| format!("{} {}", set.id, set.writes))
            .collect();
        let breakers = if open.is_empty() { "all closed".to_owned() } else { open.join("; ") };
        println!(
            "{:5} {bars}  {:>6}  {:>8}  {slowest_ms:>4} ms  {notes:>5}  {breakers}",
            self.lines,
            failed - self.failed_before,
            reminted - self.reminted_before
        );
        (self.failed_before, self.reminted_before) = (failed, reminted);
    }
}

/// Without for how long and how much.
fn word(state: BreakerState) -> &'static str {
    match state {
        BreakerState::Closed => "closed",
        BreakerState::Ramping { .. } => "closed again, and ramps",
        BreakerState::Open { .. } => "open",
        BreakerState::Probing => "probing",
        _ => "forced",
    }
}

/// A bar of [`BAR`] columns, in eighths of a column.
fn bar(count: u64, full: u64) -> String {
    let eighths = (count.min(full) * BAR as u64 * 8 / full) as usize;
    let mut bar = "█".repeat(eighths / 8);
    if eighths / 8 < BAR {
        bar.push(EIGHTHS[eighths % 8]);
        bar.extend(std::iter::repeat_n(' ', BAR - eighths / 8 - 1));
    }
    bar
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_as_long_as_the_count_and_never_longer_than_its_column() {
        for (count, drawn) in
            [(0, "            "), (8, "▉           "), (75, "█████████   "), (100, "████████████"), (900, "████████████")]
        {
            assert_eq!(bar(count, 100), drawn, "{count}");
            assert_eq!(drawn.chars().count(), BAR);
        }
    }
}
