//! This program, started again: as a writer whose power is cut, and as a checker of what is left.

use crate::verdict::Verdict;
use crate::{ROLE, Result, planted};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::OsStr;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a writer may take to its first acknowledgement, and to stop when told to.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a check may take. sled waits for ever when one of its I/O threads has panicked.
const CHECK_PATIENCE: Duration = Duration::from_secs(120);

fn myself(role: &str, args: &[&OsStr]) -> Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command.env(ROLE, role).args(args).stdin(Stdio::null());
    Ok(command)
}

/// A writer, killed when dropped. A frozen one, too.
pub(crate) struct Writer {
    child: Child,
    acks: PathBuf,
}

impl Writer {
    /// Starts one that prints its acknowledgements into the new file `acks`: whatever it printed is there, with no pipe between.
    pub(crate) fn start(role: &str, args: &[&OsStr], acks: &Path) -> Result<Writer> {
        let child = myself(role, args)?.stdout(File::create_new(acks)?).spawn()?;
        Ok(Writer { child, acks: acks.to_owned() })
    }

    pub(crate) fn wait_for_first_ack(&mut self) -> Result<()> {
        let until = Instant::now() + PATIENCE;
        while std::fs::metadata(&self.acks)?.len() == 0 {
            self.check_alive()?;
            if Instant::now() > until {
                return Err(format!("the writer acknowledged nothing within {PATIENCE:?}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        Ok(())
    }

    /// Returns when all of its threads stand still, and with them all that it had asked of the system.
    pub(crate) fn freeze(&mut self) -> Result<()> {
        self.check_alive()?;
        kill_process(Pid::from_child(&self.child), Signal::STOP)?;
        let until = Instant::now() + PATIENCE;
        while !self.is_frozen()? {
            self.check_alive()?;
            if Instant::now() > until {
                return Err(format!("the writer did not stop within {PATIENCE:?}").into());
            }
            std::thread::sleep(Duration::from_micros(100));
        }
        Ok(())
    }

    fn is_frozen(&self) -> Result<bool> {
        for task in std::fs::read_dir(format!("/proc/{}/task", self.child.id()))? {
            // A thread may end between the listing and the reading.
            let Ok(stat) = std::fs::read_to_string(task?.path().join("stat")) else { return Ok(false) };
            // The name stands in brackets and may hold anything; the state follows.
            if !stat.rsplit(')').next().is_some_and(|rest| rest.trim_start().starts_with('T')) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn check_alive(&mut self) -> Result<()> {
        match self.child.try_wait()? {
            None => Ok(()),
            Some(status) => Err(format!("the writer ended by itself: {status}").into()),
        }
    }
}

impl Drop for Writer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a checker to its end.
pub(crate) fn check(role: &str, args: &[&OsStr], report: &Path) -> Result<Verdict> {
    let mut command = myself(role, args)?;
    if planted().is_some() {
        // sled panics on what such a build leaves; where exactly does not matter.
        command.env("RUST_BACKTRACE", "0");
    }
    let mut child = Checker(command.stdout(File::create(report)?).spawn()?);
    let until = Instant::now() + CHECK_PATIENCE;
    let status = loop {
        match child.0.try_wait()? {
            Some(status) => break status,
            None if Instant::now() > until => return Ok(Verdict::broken(format!("the check hung for {CHECK_PATIENCE:?}"))),
            None => std::thread::sleep(Duration::from_millis(2)),
        }
    };
    if !status.success() {
        return Ok(Verdict::broken(format!("the check ended with {status}")));
    }
    Verdict::parse(&std::fs::read_to_string(report)?)
}

struct Checker(Child);

impl Drop for Checker {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The complete lines of a file of acknowledgements. A last line without its end was being printed when the power went.
pub(crate) fn acks_in(path: &Path) -> Result<Vec<String>> {
    let text = std::fs::read_to_string(path)?;
    let complete = text.rfind('\n').map_or("", |end| &text[..end]);
    Ok(complete.lines().map(str::to_owned).collect())
}

/// What a writer or a checker is told.
#[derive(Debug)]
pub(crate) struct Task {
    pub(crate) home: PathBuf,
    /// Replicas, or bytes of a group.
    pub(crate) size: u64,
    pub(crate) seed: u64,
    /// What earlier writers printed; for a checker, what all of them printed.
    pub(crate) acks: Vec<PathBuf>,
}

impl Task {
    /// Mount point, size, seed, files of acknowledgements.
    pub(crate) fn parse(args: &[String]) -> Result<Task> {
        let [mount, size, seed, acks @ ..] = args else { return Err(format!("{args:?}").into()) };
        // Below the mount point, where ext4 has put its lost+found.
        let home = Path::new(mount).join("store");
        Ok(Task { home, size: size.parse()?, seed: seed.parse()?, acks: acks.iter().map(PathBuf::from).collect() })
    }
}
