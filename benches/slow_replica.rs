//! What the others feel when one replica of each of eight SETs lies on a device that needs 500 ms for every read, write and sync
//! below sled: the latency of durable creates and then of updates, N=3 W=2, in windows that are in turn healthy and delayed.
//! `cargo bench --bench slow_replica`; the goal is a p99 of at most 1.2 times the healthy one, the median over nine rounds.
//!
//! Without the third replica there is nobody to stand in for one of the other two that is late for a moment, whatever the reason
//! that it does not answer. So each round has a third window, *aside*: the same replicas are held up above sled, where no I/O is slow.
//! Delayed over aside is what the slow I/O itself does to others.
//!
//! The load is the same in all windows and modest: a few threads, each with its own timetable. A write that is due while its
//! thread still waits for the one before counts from when it was due. Where the delay comes from is told in
//! `tests/slow_disk/delay.rs`: healthy or not, the slow device is a directory on the disk of all others.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ORDERMINT_BENCH_ROUNDS` | 9 | rounds of three windows |
//! | `ORDERMINT_BENCH_RATE` | 400 | writes a second, over all SETs |
//! | `ORDERMINT_BENCH_WINDOW_MS` | 3000 | what is measured of a window, after it has settled |

#[path = "../tests/slow_disk/delay.rs"]
mod delay;

use delay::{Shim, SlowDir};
use ordermint::{OrderNumber, OrderStore, Quorum, SetConfig, SetId, Version};
use std::error::Error;
use std::fmt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "ORDERMINT_SLOW_ROLE";
const HEALTHY: &str = "ORDERMINT_SLOW_HEALTHY";
const SETS: u16 = 8;
const THREADS: u32 = 8;
const PAYLOAD: usize = 100;
const DELAY: Duration = Duration::from_millis(500);
/// How late a group is then: a write, the flush of it, and the `fdatasync`.
const ASIDE: Duration = Duration::from_millis(1_500);
/// Until all slow replicas hang, or have caught up.
const SETTLE: Duration = Duration::from_secs(2);

type Result<T> = std::result::Result<T, Box<dyn Error>>;
/// Of an operation.
type Done<T> = std::result::Result<T, ordermint::Error>;

fn main() -> ExitCode {
    // `cargo test` and `cargo bench --no-run` must not take minutes.
    if !std::env::args().any(|argument| argument == "--bench") {
        return ExitCode::SUCCESS;
    }
    let done = if std::env::var_os(ROLE).is_some() { measure() } else { start() };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("slow_replica: {error}");
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
    std::fs::create_dir_all(shim.healthy_dir())?;
    let status = shim.myself()?.arg("--bench").env(ROLE, "1").env(HEALTHY, shim.healthy_dir()).stdin(Stdio::null()).status()?;
    if status.success() { Ok(()) } else { Err(format!("it ended with {status}").into()) }
}

fn measure() -> Result<()> {
    let slow = SlowDir::of_environment()?;
    let healthy = std::env::var(HEALTHY)?;
    let (rounds, rate) = (setting("ORDERMINT_BENCH_ROUNDS", 9)?, setting("ORDERMINT_BENCH_RATE", 400)?);
    let window = Duration::from_millis(setting("ORDERMINT_BENCH_WINDOW_MS", 3_000)?.into());
    let mut builder = OrderStore::builder().home(&healthy).quorum(Quorum::new(3, 2, 2)?);
    for set in 1..=SETS {
        let home = Path::new("store").join(set.to_string());
        let dirs = [home.join("0"), home.join("1"), slow.path().join(set.to_string())];
        builder = builder.add_set(SetConfig::new(SetId::new(set)?).replicas(dirs));
    }
    let store = builder.open()?;
    println!("{}", told_by("date", &["-u", "+%Y-%m-%d %H:%M UTC"]));
    println!("{}", told_by("uname", &["-srm"]));
    println!("{} cores, load {}", std::thread::available_parallelism()?, told_by("cut", &["-d ", "-f1-3", "/proc/loadavg"]));
    println!("{SETS} SETs, one replica of each delayed {DELAY:?} per I/O; {rate} writes/s in all, windows of {window:?}");
    for what in [What::Creates, What::Updates] {
        compare(&store, &slow, rounds, &Load { store: &store, what, rate, window })?;
    }
    let slept = slow.slept()?;
    println!("{} writes, {} syncs and {} reads were delayed", slept.writes, slept.syncs, slept.reads);
    store.close().wait()?;
    Ok(())
}

#[derive(Clone, Copy)]
enum Window {
    Healthy,
    Aside,
    Delayed,
}

/// Measures rounds of windows.
fn compare(store: &OrderStore, slow: &SlowDir, rounds: u32, load: &Load<'_>) -> Result<()> {
    println!("\n{:?}, ms", load.what);
    println!(
        "round   healthy p50     p99     max     aside p50     p99     max   delayed p50     p99     max  p99/healthy /aside    load"
    );
    // Warm, and the lease of every SET fetched.
    load.run()?;
    let (mut over_healthy, mut over_aside) = (Vec::new(), Vec::new());
    for round in 0..rounds {
        let mut figures = [Figures::default(); 3];
        let mut windows = [Window::Healthy, Window::Aside, Window::Delayed];
        // Who comes first changes, so that what drifts does not count for one side.
        windows.rotate_left(round as usize % 3);
        for window in windows {
            let before = slow.slept()?;
            match window {
                Window::Healthy => {}
                Window::Aside => slow.hold_aside(ASIDE)?,
                Window::Delayed => slow.delay(DELAY)?,
            }
            figures[window as usize] = load.run()?;
            slow.hold_aside(Duration::ZERO)?;
            slow.delay(Duration::ZERO)?;
            if (slow.slept()?.syncs > before.syncs) != matches!(window, Window::Delayed) {
                return Err("what was delayed was not what was meant".into());
            }
            catch_up(store)?;
        }
        let [healthy, aside, delayed] = figures;
        over_healthy.push(delayed.p99 / healthy.p99);
        over_aside.push(delayed.p99 / aside.p99);
        let now = told_by("cut", &["-d ", "-f1", "/proc/loadavg"]);
        let (first, second) = (delayed.p99 / healthy.p99, delayed.p99 / aside.p99);
        println!("{:>5} {healthy}{aside}{delayed} {first:>12.2} {second:>6.2} {now:>7}", round + 1);
    }
    let [over_healthy, over_aside] = [over_healthy, over_aside].map(median);
    println!("{over_healthy:>7.2} x the healthy p99 with a slow replica, median of {rounds} (goal: 1.2)");
    println!("{over_aside:>7.2} x the p99 with that replica held aside");
    Ok(())
}

fn median(mut ratios: Vec<f64>) -> f64 {
    ratios.sort_by(f64::total_cmp);
    ratios[ratios.len() / 2]
}

/// The load of a window.
struct Load<'a> {
    store: &'a OrderStore,
    what: What,
    rate: u32,
    window: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum What {
    Creates,
    /// Of orders that each thread has for itself.
    Updates,
}

/// Of a window, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:>14.2} {:>7.2} {:>7.2}", self.p50, self.p99, self.max)
    }
}

impl Load<'_> {
    fn run(&self) -> Result<Figures> {
        let every = Duration::from_secs(THREADS.into()) / self.rate;
        let orders: Vec<Vec<(OrderNumber, Version)>> = (0..THREADS).map(|_| self.orders()).collect::<Done<_>>()?;
        let begin = Instant::now();
        let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
            // Evenly spread over the period.
            let begins = (0..THREADS).map(|thread| begin + every * thread / THREADS);
            let threads: Vec<_> =
                begins.zip(orders).map(|(begin, orders)| scope.spawn(move || self.one_thread(begin, every, orders))).collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<Done<Vec<_>>>()
        })?
        .concat();
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1_000.0;
        Ok(Figures { p50: at(50), p99: at(99), max: at(100) })
    }

    /// What a thread updates, on all SETs; nothing where it creates.
    fn orders(&self) -> Done<Vec<(OrderNumber, Version)>> {
        let count = if self.what == What::Updates { 8 * usize::from(SETS) } else { 0 };
        let placed = self.store.create_all((0..count).map(|_| [b'o'; PAYLOAD]));
        placed.map(|placed| placed.map(|placed| (placed.number, placed.version))).collect()
    }

    /// The latencies of what was due after the window had settled.
    fn one_thread(&self, begin: Instant, every: Duration, mut orders: Vec<(OrderNumber, Version)>) -> Done<Vec<Duration>> {
        let (mut latencies, mut count) = (Vec::new(), 0);
        let mut due = begin;
        while due < begin + SETTLE + self.window {
            let early = due.saturating_duration_since(Instant::now());
            std::thread::sleep(early);
            // Waking up late is the system's affair; being late because of the write before is ours.
            let from = if early.is_zero() { due } else { Instant::now() };
            if orders.is_empty() {
                self.store.create([b'x'; PAYLOAD]).wait()?;
            } else {
                let place = count % orders.len();
                let (number, version) = &mut orders[place];
                *version = self.store.update(*number, *version, [b'x'; PAYLOAD]).wait()?;
            }
            if due >= begin + SETTLE {
                latencies.push(from.elapsed());
            }
            due += every;
            count += 1;
        }
        Ok(latencies)
    }
}

/// Waits until nothing is queued any more.
fn catch_up(store: &OrderStore) -> Result<()> {
    let until = Instant::now() + Duration::from_secs(60);
    while store.status().sets.iter().any(|set| set.replicas.iter().any(|replica| replica.queued > 0)) {
        if Instant::now() > until {
            return Err(format!("a replica does not catch up: {:?}", store.status()).into());
        }
        std::thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

fn setting(name: &str, default: u32) -> Result<u32> {
    match std::env::var(name) {
        Ok(text) => match text.parse() {
            Ok(number) if number > 0 => Ok(number),
            _ => Err(format!("{name}={text} is no number above 0").into()),
        },
        Err(_) => Ok(default),
    }
}

fn told_by(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program).args(arguments).output();
    output.map_or_else(|_| format!("no {program}"), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
