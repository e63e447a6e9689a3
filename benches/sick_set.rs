//! What creates that never touch a sick SET feel of it: three SETs of three replicas on sled (R = W = 2), each SET on a device of
//! its own, and windows in which all are healthy by turns with windows in which one of them is sick below sled: needs 500 ms for every
//! sync, hangs, fails every write, or is gone, as `ORDERMINT_BENCH_TROUBLE` says.
//! `cargo bench --bench sick_set`; the goal is a p99 of at most 1.2 times the healthy one, the median of nine pairs of windows.
//!
//! Only creates that were stored at the first attempt, on one of the two other SETs, are compared. In a sick window those two take the
//! share of the third as well. So the load is open: orders are due at a fixed rate, a part of what the store was seen to take in a
//! warm-up, whatever becomes of those before, and the two stay far from what they can take: what is measured is what the sick SET
//! does to them, not that two carry less than three. An order that is sent late counts from when it was due.
//!
//! With `ORDERMINT_BENCH_CALLERS` the load is closed instead, and as full as it can be: so many callers each wait for their answer before
//! they send the next order. Then the store is never idle, and what is told apart is whether the sick SET takes from the others more
//! than its callers stop giving them.
//!
//! Each round has a third window, *aside*, in which the two carry everything although the third is well, as it has next to no weight.
//! Sick over aside is what the sick SET itself does to the others.
//!
//! A sick window begins when the SET has been sick for a while: the first second of it, before the breaker opens, is measured too,
//! as a window of its own (*onset*). Between two windows the SET is healed, and nothing is measured until its breaker has closed for
//! its whole share, all it missed is caught up with, and every number that was given up is void on all replicas.
//!
//! Where the delay comes from is told in `tests/slow_disk/delay.rs`: healthy or not, all devices are directories on one disk.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ORDERMINT_BENCH_ROUNDS` | 9 | rounds of windows |
//! | `ORDERMINT_BENCH_RATE` | 0 | creates a second, over all SETs; 0: half of what a warm-up shows |
//! | `ORDERMINT_BENCH_CALLERS` | 0 | callers that send without a pause; 0: a fixed rate |
//! | `ORDERMINT_BENCH_WINDOW_MS` | 2000 | |
//! | `ORDERMINT_BENCH_TROUBLE` | slow | `slow`, `hang`, `fail` or `gone` |

#[path = "../tests/slow_disk/delay.rs"]
mod delay;

use delay::{Kind, Shim, SlowDir};
use ordermint::{
    BreakerSettings, BreakerState, CreateOptions, OrderStore, Pending, Placed, Quorum, ReplicaState, SetConfig, SetId, SetStatus,
};
use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

const ROLE: &str = "ORDERMINT_SLOW_ROLE";
const SETS: u8 = 3;
const SICK: u8 = 2;
/// Of each SET; 1 takes next to nothing beside it.
const WEIGHT: u32 = 1_000;
const PAYLOAD: usize = 100;
const DELAY: Duration = Duration::from_millis(500);
/// Nothing waits so long.
const HOURS: Duration = Duration::from_secs(24 * 3_600);
const DEADLINE: Duration = Duration::from_secs(2);
/// How long the SET has been sick before the sick window begins: its breaker has opened, and what was in flight there has ended.
const ONSET: Duration = Duration::from_secs(2);
/// Orders that are due are sent so often.
const TICK: Duration = Duration::from_millis(1);
/// Under way at once in the warm-up.
const WARM_UP: usize = 1_000;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    // `cargo test` and `cargo bench --no-run` must not take minutes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let done = if std::env::var_os(ROLE).is_some() { measure() } else { start() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sick_set: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Starts this program again with the shim.
fn start() -> Result<()> {
    let shim = match Shim::build() {
        Ok(shim) => shim,
        Err(reason) => {
            println!("SKIPPED, nothing was measured: {reason}");
            return Ok(());
        }
    };
    let status = shim.myself()?.arg("--bench").env(ROLE, "1").stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

fn measure() -> Result<()> {
    let slow = SlowDir::of_environment()?;
    let rounds = setting("ORDERMINT_BENCH_ROUNDS", 9)?.max(1);
    let window = Duration::from_millis(setting("ORDERMINT_BENCH_WINDOW_MS", 2_000)?.max(1).into());
    // Each time is a first time: it is not left alone for longer and longer, from one sick window to the next.
    let breaker = BreakerSettings::new().forget_after(Duration::from_secs(1));
    let mut builder = OrderStore::builder().quorum(Quorum::new(3, 2, 2)?).breaker(breaker);
    for set in 0..SETS {
        std::fs::create_dir_all(slow.device(set))?;
        builder = builder.add_set(
            SetConfig::new(id(set)?).weight(WEIGHT).replicas((0..3).map(|index| slow.device(set).join(index.to_string()))),
        );
    }
    let store = builder.open()?;
    let trouble = Trouble::of_environment()?;
    slow.only(Some(SICK))?;
    println!("{}", told_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]));
    println!("{}", told_by("uname", &["-srm"]));
    println!("{} cores, load {}", std::thread::available_parallelism()?, told_by("cut", &["-d ", "-f1-3", "/proc/loadavg"]));
    let most = warm_up(&store, window)?;
    let rate = match setting("ORDERMINT_BENCH_RATE", 0)? {
        0 => (most / 2).max(100),
        rate => rate,
    };
    let pace = match setting("ORDERMINT_BENCH_CALLERS", 0)? {
        0 => Pace::Rate(rate),
        callers => Pace::Callers(callers as usize),
    };
    println!("{most} creates/s with {WARM_UP} under way; {pace} from here on, in windows of {window:?}");
    println!("{SETS} SETs, sick is SET {SICK}: {trouble}\n");
    println!(
        "round  healthy p50     p99     max    aside p50     p99     max     sick p50     p99     max  p99/healthy /aside  onset p99   load"
    );
    let load = Load { store: &store, pace };
    let (mut over_healthy, mut over_aside) = (Vec::new(), Vec::new());
    let (mut reminted, mut failed) = (0, 0);
    for round in 0..rounds {
        let mut measured = [Creates::default(), Creates::default(), Creates::default()];
        let mut windows = [Window::Healthy, Window::Aside, Window::Sick];
        // Who comes first changes, so that what drifts does not count for one side.
        windows.rotate_left(round as usize % 3);
        let (mut onset, mut opened) = (Creates::default(), 0);
        for window_is in windows {
            match window_is {
                Window::Healthy => {}
                Window::Aside => store.set_weight(id(SICK)?, 1)?,
                Window::Sick => {
                    opened = store.status().sets[usize::from(SICK)].writes_opened;
                    trouble.begin(&slow)?;
                    onset = load.run(ONSET)?;
                }
            }
            measured[window_is as usize] = load.run(window)?;
            match window_is {
                Window::Healthy => {}
                Window::Aside => store.set_weight(id(SICK)?, WEIGHT)?,
                Window::Sick => {
                    opened = store.status().sets[usize::from(SICK)].writes_opened - opened;
                    slow.heal()?;
                }
            }
            failed += recover(&load)?;
        }
        let [healthy, aside, sick] = measured.each_ref().map(Creates::figures);
        over_healthy.push(sick.p99 / healthy.p99);
        over_aside.push(sick.p99 / aside.p99);
        println!(
            "{:>5} {healthy}{aside}{sick} {:>12.2} {:>6.2} {:>10.2} {:>6}",
            round + 1,
            sick.p99 / healthy.p99,
            sick.p99 / aside.p99,
            onset.figures().p99,
            told_by("cut", &["-d ", "-f1", "/proc/loadavg"]),
        );
        let [healthy, aside, sick] = &measured;
        println!("      healthy: {healthy}\n      aside:   {aside}\n      onset:   {onset}");
        println!("      sick:    {sick}; breaker opened {opened} times");
        for creates in measured.iter().chain([&onset]) {
            failed += creates.failed.len();
            reminted += creates.reminted;
        }
    }
    let [over_healthy, over_aside] = [over_healthy, over_aside].map(median);
    println!("\n{over_healthy:>7.2} x the healthy p99 while a SET is sick, median of {rounds} (goal: 1.2)");
    println!("{over_aside:>7.2} x the p99 with that SET aside");
    println!("{failed} creates failed (goal: 0); {reminted} numbers were given up");
    let slept = slow.slept()?;
    println!("{} syncs were delayed, {} writes, {} reads", slept.syncs, slept.writes, slept.reads);
    store.close().wait()?;
    Ok(())
}

/// What the sick SET's device does. All three replicas are on it.
#[derive(Clone, Copy)]
enum Trouble {
    Slow,
    Hang,
    Fail,
    Gone,
}

impl Trouble {
    fn of_environment() -> Result<Trouble> {
        match std::env::var("ORDERMINT_BENCH_TROUBLE").as_deref() {
            Err(_) | Ok("slow") => Ok(Trouble::Slow),
            Ok("hang") => Ok(Trouble::Hang),
            Ok("fail") => Ok(Trouble::Fail),
            Ok("gone") => Ok(Trouble::Gone),
            Ok(other) => Err(format!("ORDERMINT_BENCH_TROUBLE={other}: slow, hang, fail or gone").into()),
        }
    }

    /// Until the device is healed.
    fn begin(self, slow: &SlowDir) -> Result<()> {
        match self {
            Trouble::Slow => slow.delay_syncs(DELAY)?,
            Trouble::Hang => slow.delay(HOURS)?,
            Trouble::Fail => slow.break_all(&[Kind::Writes])?,
            Trouble::Gone => slow.break_all(&[Kind::Syncs, Kind::Writes, Kind::Reads])?,
        }
        Ok(())
    }
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Trouble::Slow => write!(f, "{DELAY:?} for each sync of its three replicas"),
            Trouble::Hang => write!(f, "whatever its three replicas ask of their device hangs"),
            Trouble::Fail => write!(f, "every write of its three replicas fails"),
            Trouble::Gone => write!(f, "whatever its three replicas ask of their device fails"),
        }
    }
}

#[derive(Clone, Copy)]
enum Window {
    Healthy,
    Aside,
    Sick,
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

fn id(set: u8) -> Result<SetId> {
    Ok(SetId::new(set.into())?)
}

/// What the store takes, in creates a second.
fn warm_up(store: &OrderStore, window: Duration) -> Result<u32> {
    // Leases and days first.
    store.create_all((0..WARM_UP).map(|_| [b'w'; PAYLOAD])).collect::<std::result::Result<Vec<_>, _>>()?;
    let (mut under_way, begin, mut count) = (std::collections::VecDeque::new(), Instant::now(), 0u32);
    while begin.elapsed() < window {
        while under_way.len() < WARM_UP {
            under_way.push_back(store.create([b'w'; PAYLOAD]));
        }
        if let Some(pending) = under_way.pop_front() {
            pending.wait()?;
            count += 1;
        }
    }
    let took = begin.elapsed();
    for pending in under_way {
        pending.wait()?;
    }
    Ok((f64::from(count) / took.as_secs_f64()) as u32)
}

struct Load<'a> {
    store: &'a OrderStore,
    pace: Pace,
}

#[derive(Clone, Copy)]
enum Pace {
    /// Orders a second, whatever becomes of those before.
    Rate(u32),
    /// Each sends when the one before is answered.
    Callers(usize),
}

impl fmt::Display for Pace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Rate(rate) => write!(f, "{rate} creates/s"),
            Pace::Callers(callers) => write!(f, "{callers} callers without a pause"),
        }
    }
}

/// What became of a window's orders.
#[derive(Default)]
struct Creates {
    /// Of those that were stored at once on a SET that is never sick.
    latencies: Vec<Duration>,
    /// By SET.
    placed: [usize; SETS as usize],
    reminted: usize,
    failed: Vec<String>,
}

/// In milliseconds.
#[derive(Clone, Copy, Default)]
struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

/// When a create was answered: the store calls it then.
struct Stamp {
    begin: Instant,
    /// Whose it is, and who is told.
    caller: usize,
    answered: Option<Sender<usize>>,
    /// Nanoseconds since `begin`, and one; 0 before.
    at: AtomicU64,
}

impl Wake for Stamp {
    fn wake(self: Arc<Stamp>) {
        self.at.store(u64::try_from(self.begin.elapsed().as_nanos()).unwrap_or(u64::MAX - 1) + 1, Ordering::Release);
        if let Some(answered) = &self.answered {
            // Nobody hears it any more at the end of a window.
            let _ = answered.send(self.caller);
        }
    }
}

impl Stamp {
    /// It comes right after the answer.
    fn since_begin(&self) -> Duration {
        loop {
            match self.at.load(Ordering::Acquire) {
                0 => std::thread::yield_now(),
                at => return Duration::from_nanos(at - 1),
            }
        }
    }
}

impl Load<'_> {
    /// Sends for as long as the window lasts, then waits for all answers.
    fn run(&self, window: Duration) -> Result<Creates> {
        let mut creates = match self.pace {
            Pace::Rate(rate) => self.run_at(rate, window),
            Pace::Callers(callers) => self.run_closed(callers, window)?,
        };
        creates.latencies.sort_unstable();
        Ok(creates)
    }

    fn run_at(&self, rate: u32, window: Duration) -> Creates {
        let due_at = |nr: usize| Duration::from_secs_f64(nr as f64 / f64::from(rate));
        let (begin, mut sent) = (Instant::now(), Vec::new());
        loop {
            let now = begin.elapsed();
            while due_at(sent.len()) < now.min(window) {
                sent.push(self.send(begin, 0, None));
            }
            if now >= window {
                break;
            }
            std::thread::sleep(TICK);
        }
        let mut creates = Creates::default();
        for (nr, sent) in sent.into_iter().enumerate() {
            creates.end(sent, due_at(nr));
        }
        creates
    }

    fn run_closed(&self, callers: usize, window: Duration) -> Result<Creates> {
        let (answered, answers) = std::sync::mpsc::channel();
        let (begin, mut creates) = (Instant::now(), Creates::default());
        let send = |caller| Some((begin.elapsed(), self.send(begin, caller, Some(answered.clone()))));
        let mut under_way: Vec<Option<(Duration, Sent)>> = (0..callers).map(send).collect();
        // Those that are answered send again, until the window is over; then there are fewer and fewer.
        for _ in 0.. {
            let caller = answers.recv_timeout(2 * DEADLINE)?;
            if let Some((sent_at, sent)) = under_way[caller].take() {
                creates.end(sent, sent_at);
            }
            if begin.elapsed() < window {
                under_way[caller] = send(caller);
            } else if under_way.iter().all(Option::is_none) {
                break;
            }
        }
        Ok(creates)
    }

    fn send(&self, begin: Instant, caller: usize, answered: Option<Sender<usize>>) -> Sent {
        let mut pending = self.store.create_with([b'x'; PAYLOAD], CreateOptions::new().deadline(DEADLINE));
        let stamp = Arc::new(Stamp { begin, caller, answered, at: AtomicU64::new(0) });
        let waker = Waker::from(Arc::clone(&stamp));
        let answer = match Pin::new(&mut pending).poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(answer) => {
                waker.wake();
                Err(answer)
            }
            Poll::Pending => Ok(pending),
        };
        Sent { answer, stamp }
    }
}

/// A create under way, or its answer.
struct Sent {
    answer: std::result::Result<Pending<Placed>, std::result::Result<Placed, ordermint::Error>>,
    stamp: Arc<Stamp>,
}

impl Creates {
    /// Waits for the answer of what was to be sent then.
    fn end(&mut self, sent: Sent, due_at: Duration) {
        match sent.answer.map_or_else(|answer| answer, Pending::wait) {
            Ok(placed) => self.count(&placed, sent.stamp.since_begin().saturating_sub(due_at)),
            Err(error) => self.failed.push(error.to_string()),
        }
    }

    fn count(&mut self, placed: &Placed, latency: Duration) {
        let set = usize::from(placed.number.set_id().get());
        self.placed[set] += 1;
        self.reminted += placed.superseded.len();
        if placed.attempts == 1 && set != usize::from(SICK) {
            self.latencies.push(latency);
        }
    }

    fn figures(&self) -> Figures {
        let Some(last) = self.latencies.len().checked_sub(1) else { return Figures::default() };
        let at = |percent: usize| self.latencies[(self.latencies.len() * percent / 100).min(last)].as_secs_f64() * 1_000.0;
        Figures { p50: at(50), p99: at(99), max: at(100) }
    }
}

impl fmt::Display for Creates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Creates { placed, reminted, failed, .. } = self;
        write!(f, "creates by SET {placed:?}, {reminted} placed a second time, {} failed", failed.len())?;
        failed.first().map_or(Ok(()), |error| write!(f, ": {error}"))
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>12.2} {:>7.2} {:>7.2}", self.p50, self.p99, self.max)
    }
}

/// Goes on at the same rate until the sick SET is as the others are; says how many creates failed.
fn recover(load: &Load<'_>) -> Result<usize> {
    let until = Instant::now() + Duration::from_secs(120);
    let mut failed = 0;
    loop {
        let creates = load.run(Duration::from_millis(250))?;
        failed += creates.failed.len();
        if let Some(error) = creates.failed.first() {
            println!("       {} creates failed while the SET recovers: {error}", creates.failed.len());
        }
        let status = load.store.status();
        // One that failed is out until it is brought back.
        for replica in status.sets[usize::from(SICK)].replicas.iter().filter(|replica| replica.state == ReplicaState::Out) {
            let _ = load.store.bring_back_replica(id(SICK)?, replica.index);
        }
        let is_well = |set: &SetStatus| {
            let votes = |state| state == ReplicaState::Voting;
            let caught_up = set.replicas.iter().all(|replica| replica.missed == 0 && !replica.needs_sync && votes(replica.state));
            set.writes == BreakerState::Closed && set.notes_waiting == 0 && caught_up
        };
        if status.sets.iter().all(is_well) {
            return Ok(failed);
        }
        if Instant::now() > until {
            return Err(format!("it does not recover: {status:#?}").into());
        }
    }
}

fn setting(name: &str, default: u32) -> Result<u32> {
    match std::env::var(name) {
        Ok(text) => text.parse().map_err(|_| format!("{name}={text} is no number").into()),
        Err(_) => Ok(default),
    }
}

fn told_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| format!("no {program}"), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
