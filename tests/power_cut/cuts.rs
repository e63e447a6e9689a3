//! Which power is cut when, and what it comes to.

use crate::disk::Image;
use crate::process::{self, Writer, acks_in};
use crate::verdict::Verdict;
use crate::{Result, cell, planted};
use ordermint::Group;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Workload {
    /// On so many replicas.
    Creates { n: u8 },
    /// In groups of so many bytes.
    Scattered { group_bytes: usize },
}

/// When a writer is frozen.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Moment {
    /// Some time after its first acknowledgement.
    UnderLoad,
    /// Some time after its start, which is while it makes its replicas or recovers what the last cut left.
    WhileOpening,
}

use Moment::{UnderLoad, WhileOpening};

/// One after the other on the same disk, so that a cut also meets what an earlier one left. 10 cuts under load in a turn: 6 of
/// creates, 4 scattered.
const CHAINS: [(Workload, &[Moment]); 3] = [
    (Workload::Creates { n: 3 }, &[UnderLoad, WhileOpening, UnderLoad, UnderLoad]),
    (Workload::Scattered { group_bytes: Group::BYTES_MAX }, &[UnderLoad, UnderLoad, WhileOpening, UnderLoad, UnderLoad]),
    (Workload::Creates { n: 1 }, &[WhileOpening, UnderLoad, UnderLoad, WhileOpening, UnderLoad]),
];

/// With the cap on groups planted away: so much in a group that the engine frees and reuses space within it. About half of the cuts
/// lose something; with 4 MiB it was 1 in 33.
const UNCAPPED: [(Workload, &[Moment]); 1] =
    [(Workload::Scattered { group_bytes: 16 << 20 }, &[UnderLoad, UnderLoad, UnderLoad, UnderLoad])];

/// What the run was asked for.
struct Goal {
    cuts: u64,
    seed: u64,
    chains: &'static [(Workload, &'static [Moment])],
    /// The workloads that have yet to lose something; empty from the start for a sound build.
    to_lose: Vec<&'static str>,
}

impl Goal {
    fn from_env() -> Result<Goal> {
        let expected = if planted().is_some() { "loss" } else { "none" };
        match std::env::var("ORDERMINT_POWER_EXPECT") {
            Ok(asked) if asked != expected => {
                let build = planted().map_or("has no planted bug".to_owned(), |bug| format!("is planted with {bug}"));
                return Err(format!("ORDERMINT_POWER_EXPECT={asked}, but this build {build}").into());
            }
            _ => {}
        }
        let number = |name: &str, default: u64| match std::env::var(name) {
            Ok(text) => text.parse().map_err(|error| format!("{name}={text}: {error}")),
            Err(_) => Ok(default),
        };
        let (chains, to_lose, cuts) = match planted() {
            None => (&CHAINS[..], vec![], 10),
            Some("no_group_cap") => (&UNCAPPED[..], vec!["scattered"], 60),
            Some(_) => (&CHAINS[..], vec!["creates", "scattered"], 60),
        };
        let cuts = number("ORDERMINT_POWER_CUTS", cuts)?;
        Ok(Goal { cuts, seed: number("ORDERMINT_POWER_SEED", fastrand::u64(..))?, chains, to_lose })
    }
}

/// What all cuts came to.
#[derive(Default)]
struct Sum {
    creates: u64,
    scattered: u64,
    while_opening: u64,
    acknowledged: u64,
    total: Verdict,
}

/// Cuts the power as often as asked for.
pub(crate) fn run(args: &[String]) -> Result<ExitCode> {
    let home = PathBuf::from(args.first().ok_or("where?")?);
    cell::follow_the_leash(&home);
    if let Err(error) = try_out(&home) {
        eprintln!("power_cut: SKIPPED, nothing was proven: {error}");
        return Ok(ExitCode::SUCCESS);
    }
    let mut goal = Goal::from_env()?;
    let is_control = !goal.to_lose.is_empty();
    println!("power_cut: {} cuts, seed {}, planted bug: {}", goal.cuts, goal.seed, planted().unwrap_or("none"));
    let started = Instant::now();
    let mut rng = fastrand::Rng::with_seed(goal.seed);
    let mut sum = Sum::default();
    for (workload, moments) in goal.chains.iter().cycle() {
        let mut chain = Chain::new(&home, *workload, rng.u64(..));
        for moment in *moments {
            if is_done(&goal, &sum, is_control) {
                break;
            }
            let (acknowledged, verdict) = chain.cut_and_tell(*moment, &mut rng);
            sum.count(*workload, *moment, acknowledged, &verdict);
            if verdict.lost > 0 {
                goal.to_lose.retain(|kind| *kind != workload.kind());
            }
            if !verdict.is_good() {
                // What comes after damage proves nothing more.
                break;
            }
        }
        if is_done(&goal, &sum, is_control) {
            break;
        }
    }
    println!("power_cut: {sum}; {:.1} s", started.elapsed().as_secs_f64());
    Ok(judge(&goal, &sum, is_control))
}

fn is_done(goal: &Goal, sum: &Sum, is_control: bool) -> bool {
    sum.creates + sum.scattered >= goal.cuts || is_control && goal.to_lose.is_empty()
}

fn judge(goal: &Goal, sum: &Sum, is_control: bool) -> ExitCode {
    match (is_control, goal.to_lose.is_empty(), sum.total.is_good()) {
        (true, true, _) => println!("power_cut: the planted bug was found, as it must be"),
        (true, false, _) => {
            eprintln!("power_cut: this test is blind: a build with a planted bug lost nothing in {}", goal.to_lose.join(" and "));
            return ExitCode::FAILURE;
        }
        (false, _, true) => {}
        (false, _, false) => {
            eprintln!("power_cut: acknowledged orders did not survive; ORDERMINT_POWER_SEED={}", goal.seed);
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// Whether this system lets us do what we need.
fn try_out(home: &Path) -> Result<()> {
    let image = Image::format(home.join("trial.img"))?;
    let mount = image.mount(&home.join("trial"))?;
    image.copy_at_rest(&mount, home.join("trial-copy.img")).map(drop)
}

/// Writers, one after the other, each on what the cut left of the one before.
struct Chain<'a> {
    home: &'a Path,
    workload: Workload,
    seed: u64,
    image: Option<Image>,
    /// What each writer printed.
    acks: Vec<PathBuf>,
}

/// One cut, as far as it is told.
struct Cut {
    frozen_after: Duration,
    acknowledged: usize,
    verdict: Verdict,
}

impl<'a> Chain<'a> {
    fn new(home: &'a Path, workload: Workload, seed: u64) -> Chain<'a> {
        Chain { home, workload, seed, image: None, acks: Vec::new() }
    }

    fn cut_and_tell(&mut self, moment: Moment, rng: &mut fastrand::Rng) -> (usize, Verdict) {
        let round = self.acks.len();
        let started = Instant::now();
        let (after_ms, acknowledged, verdict) = match self.cut(moment, rng) {
            Ok(cut) => (cut.frozen_after.as_millis(), cut.acknowledged, cut.verdict),
            Err(error) => (0, 0, Verdict::broken(error.to_string())),
        };
        let took = started.elapsed().as_secs_f64();
        println!(
            "  {}, writer {round}, {after_ms} ms {moment}: {acknowledged} acknowledged; {verdict}; {took:.1} s",
            self.workload
        );
        for finding in verdict.findings() {
            println!("    {finding}");
        }
        (acknowledged, verdict)
    }

    fn cut(&mut self, moment: Moment, rng: &mut fastrand::Rng) -> Result<Cut> {
        let image = match self.image.take() {
            Some(image) => image,
            None => Image::format(self.image_path("0"))?,
        };
        let acks = self.home.join(format!("{:016x}-{}.acks", self.seed, self.acks.len()));
        let live = image.mount(&self.home.join("live"))?;
        let mut writer = Writer::start(self.workload.writer(), &as_strs(&self.args(live.path())), &acks)?;
        let (from_first_ack, most_ms) = match moment {
            UnderLoad => (true, self.workload.load_ms()),
            WhileOpening => (false, 0..=150),
        };
        if from_first_ack {
            writer.wait_for_first_ack()?;
        }
        let frozen_after = Duration::from_micros(rng.u64(most_ms.start() * 1000..=most_ms.end() * 1000));
        std::thread::sleep(frozen_after);
        writer.freeze()?;
        let cut = image.copy_at_rest(&live, self.image_path(&(self.acks.len() + 1).to_string()))?;
        self.acks.push(acks.clone());
        drop(writer);
        drop(live);
        drop(image);

        let copy = cut.copy(self.image_path("check"))?;
        let verdict = {
            let checked = copy.mount(&self.home.join("check"))?;
            process::check(self.workload.checker(), &as_strs(&self.args(checked.path())), &self.home.join("verdict"))?
        };
        if !verdict.is_good()
            && let Ok(keep) = std::env::var("ORDERMINT_POWER_KEEP")
        {
            self.keep(&cut, Path::new(&keep))?;
        }
        self.image = Some(cut);
        Ok(Cut { frozen_after, acknowledged: acks_in(&acks)?.len(), verdict })
    }

    /// Puts the image that was found wanting where it outlives the test, with what was acknowledged.
    fn keep(&self, cut: &Image, dir: &Path) -> Result<()> {
        std::fs::create_dir_all(dir)?;
        for acks in &self.acks {
            std::fs::copy(acks, dir.join(acks.file_name().ok_or("acknowledgements have a name")?))?;
        }
        cut.copy(dir.join(format!("{:016x}-{}.img", self.seed, self.acks.len())))?.outlive();
        Ok(())
    }

    fn image_path(&self, name: &str) -> PathBuf {
        self.home.join(format!("{:016x}-{name}.img", self.seed))
    }

    /// See [`Task::parse`](crate::process::Task::parse).
    fn args(&self, at: &Path) -> Vec<OsString> {
        let size = match self.workload {
            Workload::Creates { n } => n.to_string(),
            Workload::Scattered { group_bytes } => group_bytes.to_string(),
        };
        let mut args = vec![at.as_os_str().to_owned(), size.into(), self.seed.to_string().into()];
        args.extend(self.acks.iter().map(|acks| acks.as_os_str().to_owned()));
        args
    }
}

fn as_strs(args: &[OsString]) -> Vec<&OsStr> {
    args.iter().map(OsString::as_os_str).collect()
}

impl Workload {
    fn kind(self) -> &'static str {
        match self {
            Workload::Creates { .. } => "creates",
            Workload::Scattered { .. } => "scattered",
        }
    }

    fn writer(self) -> &'static str {
        match self {
            Workload::Creates { .. } => "creates writer",
            Workload::Scattered { .. } => "scattered writer",
        }
    }

    fn checker(self) -> &'static str {
        match self {
            Workload::Creates { .. } => "creates checker",
            Workload::Scattered { .. } => "scattered checker",
        }
    }

    /// How long a writer is let run. Scattered updates need some time until the engine frees and reuses space.
    fn load_ms(self) -> std::ops::RangeInclusive<u64> {
        match self {
            Workload::Creates { .. } => 50..=400,
            Workload::Scattered { .. } => 50..=1000,
        }
    }
}

impl Sum {
    fn count(&mut self, workload: Workload, moment: Moment, acknowledged: usize, verdict: &Verdict) {
        match (moment, workload) {
            (WhileOpening, _) => self.while_opening += 1,
            (UnderLoad, Workload::Creates { .. }) => self.creates += 1,
            (UnderLoad, Workload::Scattered { .. }) => self.scattered += 1,
        }
        self.acknowledged += acknowledged as u64;
        self.total.add(verdict);
    }
}

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Workload::Creates { n } => write!(f, "creates N={n} W={}", n / 2 + 1),
            Workload::Scattered { group_bytes } => write!(f, "scattered, groups of {} KiB", group_bytes >> 10),
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            UnderLoad => "under load",
            WhileOpening => "while opening",
        })
    }
}

impl fmt::Display for Sum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Sum { creates, scattered, while_opening, acknowledged, total } = self;
        let cuts = creates + scattered;
        write!(f, "{cuts} cuts under load ({creates} creates, {scattered} scattered) and {while_opening} while opening; ")?;
        write!(f, "{acknowledged} orders and groups acknowledged; {total}")
    }
}
