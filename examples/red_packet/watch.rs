//! Somebody who watches the run: takes samples for the plot, and shows how it goes to whoever waits.
//!
//! A live line where standard error is a terminal, else a line a second. Standard output is for the report.

use crate::life::World;
use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use ordermint::{BreakerState, ReplicaState};
use parking_lot::Mutex;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many shares were opened by then.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(crate) struct Sample {
    pub(crate) seconds: f64,
    pub(crate) opens: u64,
}

/// Something that happened.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Mark {
    pub(crate) seconds: f64,
    pub(crate) what: String,
}

/// Where marks are set.
#[derive(Clone, Debug)]
pub(crate) struct Marks {
    started: Instant,
    marks: Arc<Mutex<Vec<Mark>>>,
}

impl Marks {
    pub(crate) fn set(&self, what: String) {
        self.marks.lock().push(Mark { seconds: self.started.elapsed().as_secs_f64(), what });
    }
}

const EVERY: Duration = Duration::from_millis(200);
/// Samples between two lines where there is no terminal.
const LINE_EVERY: usize = 5;

/// The watcher, on a thread of its own: it must see also when the runtime is too busy to look.
pub(crate) struct Watch {
    thread: JoinHandle<Vec<Sample>>,
    stop: Sender<()>,
    marks: Marks,
}

impl Watch {
    pub(crate) fn start(world: Arc<World>, packets: usize) -> Watch {
        let marks = Marks { started: Instant::now(), marks: Arc::default() };
        let (stop, stopped) = channel();
        let thread = std::thread::spawn({
            let marks = marks.clone();
            move || watch(&world, packets, &marks, &stopped)
        });
        Watch { thread, stop, marks }
    }

    pub(crate) fn marks(&self) -> Marks {
        self.marks.clone()
    }

    /// The samples and marks of the whole run.
    pub(crate) fn stop(self) -> (Vec<Sample>, Vec<Mark>) {
        drop(self.stop);
        let samples = self.thread.join().expect("the watcher does not panic");
        let marks = std::mem::take(&mut *self.marks.marks.lock());
        (samples, marks)
    }
}

fn watch(world: &World, packets: usize, marks: &Marks, stopped: &Receiver<()>) -> Vec<Sample> {
    let bar = std::io::stderr().is_terminal().then(|| bar(packets));
    let mut samples = vec![Sample { seconds: 0.0, opens: 0 }];
    let mut told = 0;
    loop {
        let over = stopped.recv_timeout(EVERY) != Err(RecvTimeoutError::Timeout);
        let seconds = marks.started.elapsed().as_secs_f64();
        samples.push(Sample { seconds, opens: world.tally.opens.load(Relaxed) });
        let happened: Vec<Mark> = marks.marks.lock()[told..].to_vec();
        told += happened.len();
        let line = line(world, &samples);
        match &bar {
            Some(bar) => {
                bar.suspend(|| happened.iter().for_each(|mark| eprintln!("{:5.1} s  {}", mark.seconds, mark.what)));
                bar.set_position(world.tally.packets.load(Relaxed));
                bar.set_message(line);
            }
            None => {
                happened.iter().for_each(|mark| eprintln!("{:5.1} s  {}", mark.seconds, mark.what));
                if samples.len().is_multiple_of(LINE_EVERY) {
                    let done = HumanCount(world.tally.packets.load(Relaxed));
                    eprintln!("{seconds:5.1} s  {done:>9} of {} packets  {line}", HumanCount(packets as u64));
                }
            }
        }
        if over {
            if let Some(bar) = bar {
                bar.finish_and_clear();
            }
            return samples;
        }
    }
}

fn bar(packets: usize) -> ProgressBar {
    let bar = ProgressBar::new(packets as u64);
    let template = "{elapsed:>4} {bar:16} {human_pos} of {human_len}  {msg}";
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
    bar
}

/// Opens in the last second, and what is not well: breakers that are not closed, and SETs of which not all replicas vote.
fn line(world: &World, samples: &[Sample]) -> String {
    let last = samples[samples.len() - 1];
    let before = samples[samples.len().saturating_sub(1 + LINE_EVERY)];
    let rate = (last.opens - before.opens) as f64 / (last.seconds - before.seconds).max(0.001);
    let status = world.store.status();
    let mut sick = Vec::new();
    for set in &status.sets {
        if set.writes != BreakerState::Closed {
            sick.push(format!("SET {} {}", set.id, set.writes));
        }
        let away = set.replicas.iter().filter(|replica| replica.state != ReplicaState::Voting).count();
        if away > 0 {
            sick.push(format!("{away} replicas of SET {} away", set.id));
        }
    }
    let state = if sick.is_empty() { "all is well".to_owned() } else { sick.join(", ") };
    format!("{:>7} opens/s  {state}", HumanCount(rate as u64).to_string())
}
