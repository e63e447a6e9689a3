//! What the others feel when one replica of each of eight SETs lies on a device that needs 500 ms for every read, write and sync
//! below sled: the latency of durable creates, N=3 W=2, in windows that are in turn healthy and delayed. `cargo bench --bench
//! slow_replica`; the goal is a p99 of at most 1.2 times the healthy one, the median over nine pairs of windows.
//!
//! The load is the same in all windows and modest: a few threads, each with its own timetable. A create that is due while its
//! thread still waits for the one before counts from when it was due. Where the delay comes from is told in
//! `tests/slow_disk/delay.rs`: healthy or not, the slow device is a directory on the disk of all others.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ORDERMINT_BENCH_PAIRS` | 9 | pairs of windows |
//! | `ORDERMINT_BENCH_RATE` | 400 | creates a second, over all SETs |
//! | `ORDERMINT_BENCH_WINDOW_MS` | 3000 | what is measured of a window, after it has settled |

#[path = "../tests/slow_disk/delay.rs"]
mod delay;

use delay::{Shim, SlowDir};
use ordermint::{OrderStore, Quorum, SetConfig, SetId};
use std::error::Error;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const ROLE: &str = "ORDERMINT_SLOW_ROLE";
const HEALTHY: &str = "ORDERMINT_SLOW_HEALTHY";
const SETS: u16 = 8;
const THREADS: u32 = 8;
const PAYLOAD: usize = 100;
const DELAY: Duration = Duration::from_millis(500);
/// Until all slow replicas hang, or have caught up.
const SETTLE: Duration = Duration::from_secs(2);

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
    let (pairs, rate) = (setting("ORDERMINT_BENCH_PAIRS", 9)?, setting("ORDERMINT_BENCH_RATE", 400)?);
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
    println!("{SETS} SETs, one replica of each delayed {DELAY:?} per I/O; {rate} creates/s in all, windows of {window:?}");
    println!("pair    healthy p50    p99    max    delayed p50    p99    max  (ms)    ratio of p99    load");

    let load = Load { store: &store, rate, window };
    // Warm, and the lease of every SET fetched.
    load.run()?;
    let mut ratios = Vec::new();
    for pair in 0..pairs {
        // Who comes first changes, so that what drifts does not count for one side.
        let (mut with, mut without) = (Figures::default(), Figures::default());
        for delayed in if pair % 2 == 0 { [false, true] } else { [true, false] } {
            if delayed {
                let before = slow.slept()?;
                slow.delay(DELAY)?;
                with = load.run()?;
                slow.delay(Duration::ZERO)?;
                if slow.slept()?.syncs == before.syncs {
                    return Err("nothing was delayed".into());
                }
            } else {
                without = load.run()?;
            }
            catch_up(&store)?;
        }
        let ratio = with.p99 / without.p99;
        ratios.push(ratio);
        println!(
            "{:>4} {:>14.2} {:>6.2} {:>6.2} {:>14.2} {:>6.2} {:>6.2} {:>22.2}    {}",
            pair + 1,
            without.p50,
            without.p99,
            without.max,
            with.p50,
            with.p99,
            with.max,
            ratio,
            told_by("cut", &["-d ", "-f1", "/proc/loadavg"]),
        );
    }
    ratios.sort_by(f64::total_cmp);
    println!("{:>8.2} x the healthy p99 with a slow replica, median of {} (goal: 1.2)", ratios[ratios.len() / 2], ratios.len());
    let slept = slow.slept()?;
    println!("         {} writes, {} syncs and {} reads were delayed", slept.writes, slept.syncs, slept.reads);
    store.close().wait()?;
    Ok(())
}

/// The load of a window.
struct Load<'a> {
    store: &'a OrderStore,
    rate: u32,
    window: Duration,
}

/// Of a window, in milliseconds.
#[derive(Clone, Copy, Default)]
struct Figures {
    p50: f64,
    p99: f64,
    max: f64,
}

impl Load<'_> {
    fn run(&self) -> Result<Figures> {
        let every = Duration::from_secs(THREADS.into()) / self.rate;
        let begin = Instant::now();
        let mut latencies: Vec<Duration> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..THREADS)
                // Evenly spread over the period.
                .map(|thread| scope.spawn(move || self.one_thread(begin + every * thread / THREADS, every)))
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).collect::<std::result::Result<Vec<_>, _>>()
        })?
        .concat();
        latencies.sort_unstable();
        let at = |percent: usize| latencies[(latencies.len() * percent / 100).min(latencies.len() - 1)].as_secs_f64() * 1_000.0;
        Ok(Figures { p50: at(50), p99: at(99), max: at(100) })
    }

    /// The latencies of what was due after the window had settled.
    fn one_thread(&self, begin: Instant, every: Duration) -> std::result::Result<Vec<Duration>, ordermint::Error> {
        let payload = [b'x'; PAYLOAD];
        let mut latencies = Vec::new();
        let mut due = begin;
        while due < begin + SETTLE + self.window {
            let early = due.saturating_duration_since(Instant::now());
            std::thread::sleep(early);
            // Waking up late is the system's affair; being late because of the create before is ours.
            let from = if early.is_zero() { due } else { Instant::now() };
            self.store.create(payload).wait()?;
            if due >= begin + SETTLE {
                latencies.push(from.elapsed());
            }
            due += every;
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
