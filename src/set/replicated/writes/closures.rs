//! The threads of a SET on which its callers' closures run: few, its own, started when they are first needed. What a closure
//! blocks is one of them, and nothing else.

use crate::error::Error;
use crate::pending::mark_as_ours;
use crate::set::replicated::Core;
use crate::set::replicated::panics::contained;
use parking_lot::{Condvar, Mutex};
use std::collections::VecDeque;
use std::sync::Arc;

/// Closures of one order, one after the other.
pub(crate) type Job = Box<dyn FnOnce(&Arc<Core>) + Send>;

/// The queue of those threads. Bounded by what may be in flight: there is one job at most for each order that is written.
#[derive(Default)]
pub(crate) struct Closures {
    state: Mutex<State>,
    filled: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    closed: bool,
}

impl Core {
    /// Runs `job` on one of the threads.
    ///
    /// # Errors
    /// Gives the job back when the SET is closed, or there is no thread and the system gives none.
    pub(crate) fn run_closures(self: &Arc<Core>, job: Job) -> Result<(), (Job, Error)> {
        let mut state = self.closures.state.lock();
        if state.closed {
            return Err((job, Error::Closed));
        }
        state.jobs.push_back(job);
        if state.idle >= state.jobs.len() || state.threads >= self.settings.modify_threads {
            drop(state);
            self.closures.filled.notify_one();
            return Ok(());
        }
        let name = format!("om-{}-modify-{}", self.id, state.threads);
        let core = Arc::clone(self);
        match std::thread::Builder::new().name(name.clone()).spawn(move || {
            mark_as_ours();
            core.closures.run(&core);
        }) {
            Ok(_) => state.threads += 1,
            // Those that run already will come to it.
            Err(_) if state.threads > 0 => {}
            Err(error) => {
                let error = Error::System { action: format!("start thread {name}"), message: error.to_string() };
                return match state.jobs.pop_back() {
                    Some(job) => Err((job, error)),
                    None => Ok(()),
                };
            }
        }
        Ok(())
    }
}

impl Closures {
    fn run(&self, core: &Arc<Core>) {
        loop {
            let mut state = self.state.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state.idle += 1;
                self.filled.wait(&mut state);
                state.idle -= 1;
            };
            drop(state);
            // Each closure is guarded by itself; this guards the thread against what their values do when they are dropped.
            let _ = contained(|| job(core));
        }
    }

    /// Ends the threads once nothing waits. One whose closure hangs is left behind.
    pub(crate) fn close(&self) {
        self.state.lock().closed = true;
        self.filled.notify_all();
    }
}
