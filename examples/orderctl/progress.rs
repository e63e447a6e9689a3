//! What people see while they wait: on standard error, and only where that is a terminal and standard output is none.

use indicatif::{ProgressBar, ProgressStyle};
use std::io::IsTerminal;
use std::time::Duration;

/// A count that goes up, and a place to complain that does not get in its way.
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Counts `what`, where somebody can see it.
    pub(crate) fn of(what: &'static str) -> Progress {
        // A bar between the lines of the answer, on one terminal, would garble both.
        let seen = std::io::stderr().is_terminal() && !std::io::stdout().is_terminal();
        let bar = seen.then(|| {
            let bar = ProgressBar::new_spinner().with_message(what);
            if let Ok(style) = ProgressStyle::with_template("{spinner} {human_pos} {msg} in {elapsed}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(200));
            bar
        });
        Progress { bar }
    }

    pub(crate) fn add(&self, count: u64) {
        if let Some(bar) = &self.bar {
            bar.inc(count);
        }
    }

    /// As far as that, of so many known.
    pub(crate) fn set(&self, done: u64, known: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(known);
            bar.set_position(done);
        }
    }

    /// A line on standard error.
    pub(crate) fn complain(&self, line: &str) {
        let say = || crate::complain(line);
        match &self.bar {
            Some(bar) => bar.suspend(say),
            None => say(),
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
