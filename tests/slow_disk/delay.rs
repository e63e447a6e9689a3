//! A slow disk without one: builds the shim `shim.c`, starts this program again with it preloaded, and says how slow, or which
//! call fails.
//!
//! No device mapper, mount or root is needed, and the slow directory lies on the same disk as all others: what is slow differs
//! from what is healthy by the delay alone. To the store it is another device, because the shim says so; and so is each directory
//! `device-0` to `device-9` inside it, of which one can be made sick alone.

#![allow(dead_code, reason = "shared by a test and a bench, each of which uses its part")]

use std::fs::File;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SLOW_DIR: &str = "ORDERMINT_SLOW_DIR";
const CONTROL: &str = "ORDERMINT_SLOW_CONTROL";
const CONTROL_BYTES: usize = 4_096;

/// What is slow, and the handle to make it so. Cheap to make again in another process of the same environment.
#[derive(Debug)]
pub(crate) struct SlowDir {
    path: PathBuf,
    control: File,
}

/// A kind of calls, as a bit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u64)]
pub(crate) enum Kind {
    Reads = 1,
    Writes = 2,
    Syncs = 4,
}

/// Calls for files below the slow directory.
#[derive(Clone, Copy, PartialEq, Eq, Default, Debug)]
pub(crate) struct Calls {
    pub(crate) reads: u64,
    pub(crate) writes: u64,
    pub(crate) syncs: u64,
}

/// The shim, built, and the directories it is about; removed when dropped.
#[derive(Debug)]
pub(crate) struct Shim {
    scratch: tempfile::TempDir,
    /// Of memory where the system has that: the counters must not wait for a disk.
    control: tempfile::TempDir,
}

impl Shim {
    /// # Errors
    /// Why there can be no slow disk here.
    pub(crate) fn build() -> Result<Shim, String> {
        Shim::build_in(&std::env::temp_dir())
    }

    /// Below `dir`, which is on the disk in question.
    ///
    /// # Errors
    /// As for [`Shim::build`].
    pub(crate) fn build_in(dir: &Path) -> Result<Shim, String> {
        if !cfg!(all(target_os = "linux", target_pointer_width = "64", target_env = "gnu")) {
            return Err("the shim is made for 64-bit Linux with glibc".to_owned());
        }
        let failed = |error: std::io::Error| error.to_string();
        let scratch = tempfile::Builder::new().prefix("ordermint-slow-disk-").tempdir_in(dir).map_err(failed)?;
        let memory = Path::new("/dev/shm");
        let control = if memory.is_dir() { memory } else { scratch.path() };
        let control = tempfile::Builder::new().prefix("ordermint-slow-disk-").tempdir_in(control).map_err(failed)?;
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/slow_disk/shim.c");
        let mut cc = Command::new(std::env::var_os("CC").unwrap_or_else(|| "cc".into()));
        cc.args(["-O2", "-shared", "-fPIC", "-o"]).arg(scratch.path().join("shim.so")).arg(source).arg("-ldl");
        let output = cc.output().map_err(|error| format!("{cc:?}: {error}"))?;
        if !output.status.success() {
            return Err(format!("{cc:?}: {}", String::from_utf8_lossy(&output.stderr).trim()));
        }
        std::fs::write(control.path().join("control"), [0; CONTROL_BYTES]).map_err(failed)?;
        let shim = Shim { scratch, control };
        std::fs::create_dir(shim.slow_dir()).map_err(failed)?;
        Ok(shim)
    }

    /// Beside the slow directory, on the same disk, and healthy.
    pub(crate) fn healthy_dir(&self) -> PathBuf {
        self.scratch.path().join("healthy")
    }

    /// The slow directory, which is slow for processes with the shim alone.
    pub(crate) fn slow_dir(&self) -> PathBuf {
        self.scratch.path().join("slow")
    }

    /// This program once more, with the shim.
    pub(crate) fn myself(&self) -> Result<Command, String> {
        let exe = std::env::current_exe().map_err(|error| error.to_string())?;
        let slow = std::fs::canonicalize(self.slow_dir()).map_err(|error| error.to_string())?;
        let mut command = Command::new(exe);
        command.env("LD_PRELOAD", self.scratch.path().join("shim.so"));
        command.env(SLOW_DIR, slow).env(CONTROL, self.control.path().join("control"));
        Ok(command)
    }
}

impl SlowDir {
    /// The one that this process was started with.
    ///
    /// # Errors
    /// The shim was not loaded, or does not do what is asked of it.
    pub(crate) fn of_environment() -> Result<SlowDir, String> {
        let variable = |name: &str| std::env::var_os(name).map(PathBuf::from).ok_or_else(|| format!("{name} is not set"));
        let path = variable(SLOW_DIR)?;
        let control = variable(CONTROL)?;
        let control = File::options().read(true).write(true).open(&control).map_err(|error| error.to_string())?;
        let slow = SlowDir { path, control };
        if slow.word(1)? != 1 {
            return Err("the shim was not loaded".to_owned());
        }
        // Whoever bounds the work on a device must see this one as a device of its own.
        let device = |path: &Path| std::fs::metadata(path).map(|told| told.dev()).map_err(|error| error.to_string());
        if device(&slow.path)? == device(slow.path.parent().unwrap_or(Path::new("/")))? {
            return Err("the slow directory is no device of its own".to_owned());
        }
        Ok(slow)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// From now on every read, write and sync below the directory sleeps for so long first. Those asleep sleep on.
    pub(crate) fn delay(&self, delay: Duration) -> Result<(), String> {
        self.set_word(0, u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
    }

    /// The same for syncs alone; reads and writes are as quick as ever.
    pub(crate) fn delay_syncs(&self, delay: Duration) -> Result<(), String> {
        self.set_word(16, Kind::Reads as u64 | Kind::Writes as u64)?;
        self.delay(delay)
    }

    /// Ends delays and failures, for those who sleep as well.
    pub(crate) fn heal(&self) -> Result<(), String> {
        self.delay(Duration::ZERO)?;
        self.set_word(16, 0)?;
        self.break_all(&[])?;
        self.set_word(18, self.word(18)? + 1)
    }

    /// From now on every call of these kinds fails with EIO.
    pub(crate) fn break_all(&self, kinds: &[Kind]) -> Result<(), String> {
        self.set_word(17, kinds.iter().fold(0, |bits, kind| bits | *kind as u64))
    }

    /// The only device below the directory that is sick when something is; `None`: all that is below it is.
    pub(crate) fn only(&self, device: Option<u8>) -> Result<(), String> {
        self.set_word(15, device.map_or(0, |device| u64::from(device) + 1))
    }

    /// The directory of a device of its own, 0 to 9.
    pub(crate) fn device(&self, device: u8) -> PathBuf {
        assert!(device < 10, "one digit");
        self.path.join(format!("device-{device}"))
    }

    /// The sync after the next `after` fails with EIO; `None`: no one does.
    pub(crate) fn fail_a_sync(&self, after: Option<u64>) -> Result<(), String> {
        self.set_word(10, after.map_or(0, |after| after + 1))
    }

    /// The same for writes.
    pub(crate) fn fail_a_write(&self, after: Option<u64>) -> Result<(), String> {
        self.set_word(9, after.map_or(0, |after| after + 1))
    }

    /// Those that failed.
    pub(crate) fn failed(&self) -> Result<Calls, String> {
        Ok(Calls { reads: self.word(11)?, writes: self.word(12)?, syncs: self.word(13)? })
    }

    /// From now on each group of a replica below the directory is held up for so long above sled, at the question how much space is
    /// free: it is as late as on a slow disk, and no I/O is.
    pub(crate) fn hold_aside(&self, delay: Duration) -> Result<(), String> {
        self.set_word(14, u64::try_from(delay.as_micros()).unwrap_or(u64::MAX))
    }

    /// All so far.
    pub(crate) fn calls(&self) -> Result<Calls, String> {
        Ok(Calls { reads: self.word(2)?, writes: self.word(3)?, syncs: self.word(4)? })
    }

    /// Those that slept.
    pub(crate) fn slept(&self) -> Result<Calls, String> {
        Ok(Calls { reads: self.word(5)?, writes: self.word(6)?, syncs: self.word(7)? })
    }

    fn set_word(&self, at: u64, word: u64) -> Result<(), String> {
        self.control.write_all_at(&word.to_ne_bytes(), at * 8).map_err(|error| error.to_string())
    }

    /// A word of the shim's `struct control`.
    fn word(&self, at: u64) -> Result<u64, String> {
        let mut bytes = [0; 8];
        self.control.read_exact_at(&mut bytes, at * 8).map_err(|error| error.to_string())?;
        Ok(u64::from_ne_bytes(bytes))
    }
}
