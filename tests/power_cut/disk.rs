//! File systems in image files.

use crate::Result;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

/// Sparse: it takes as much of the real disk as was written.
const IMAGE_BYTES: u64 = 4 << 30;

/// How long to try for a copy during which the disk was at rest. The system's own commits come every 5 s.
const REST_PATIENCE: Duration = Duration::from_secs(60);

/// An ext4 file system in a file, removed when dropped.
#[derive(Debug)]
pub(crate) struct Image {
    path: PathBuf,
}

impl Image {
    /// Makes a new one.
    pub(crate) fn format(path: PathBuf) -> Result<Image> {
        File::create_new(&path)?.set_len(IMAGE_BYTES)?;
        let image = Image { path };
        // All is written now, because what ext4 would write later in the background is no rest. Few inodes and a small journal keep
        // the copies small.
        let options = ["-q", "-F", "-m", "0", "-N", "2048", "-J", "size=32", "-E", "lazy_itable_init=0,lazy_journal_init=0"];
        run(Command::new("mkfs.ext4").args(options).arg(&image.path))?;
        Ok(image)
    }

    /// Mounts it on the directory `at`, which is made. The loop device goes with the mount.
    pub(crate) fn mount(&self, at: &Path) -> Result<Mount> {
        std::fs::create_dir_all(at)?;
        run(Command::new("mount").args(["-t", "ext4", "-o", "loop"]).arg(&self.path).arg(at))?;
        Ok(Mount { at: at.to_owned() })
    }

    /// Copies it as it lies on the disk.
    pub(crate) fn copy(&self, to: PathBuf) -> Result<Image> {
        let copy = Image { path: to };
        run(Command::new("cp").args(["--reflink=auto", "--sparse=always"]).arg(&self.path).arg(&copy.path))?;
        Ok(copy)
    }

    /// Leaves the file where it is.
    pub(crate) fn outlive(self) {
        std::mem::forget(self);
    }

    /// Copies it while it is mounted and nobody writes. A disk stops at one moment and copying takes a while, so a copy counts
    /// only if nothing reached the disk meanwhile.
    pub(crate) fn copy_at_rest(&self, mount: &Mount, to: PathBuf) -> Result<Image> {
        let until = Instant::now() + REST_PATIENCE;
        while Instant::now() < until {
            let before = mount.activity()?;
            if before.in_flight > 0 {
                std::thread::sleep(Duration::from_millis(1));
                continue;
            }
            let copy = self.copy(to.clone())?;
            if mount.activity()? == before {
                return Ok(copy);
            }
        }
        Err("the disk was never at rest although the writer is frozen".into())
    }
}

impl Drop for Image {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// A mounted image, unmounted when dropped.
#[derive(Debug)]
pub(crate) struct Mount {
    at: PathBuf,
}

/// What a block device has done and has yet to do.
#[derive(PartialEq, Eq, Debug)]
struct Activity {
    writes: u64,
    discards: u64,
    flushes: u64,
    in_flight: u64,
}

impl Mount {
    pub(crate) fn path(&self) -> &Path {
        &self.at
    }

    /// From the kernel's `Documentation/block/stat.rst`. Reads do not matter.
    fn activity(&self) -> Result<Activity> {
        let device = std::fs::metadata(&self.at)?.dev();
        let stat = format!("/sys/dev/block/{}:{}/stat", rustix::fs::major(device), rustix::fs::minor(device));
        let text = std::fs::read_to_string(&stat)?;
        let fields = text.split_whitespace().map(str::parse).collect::<std::result::Result<Vec<u64>, _>>()?;
        let field = |at: usize| fields.get(at).copied().ok_or_else(|| format!("{stat} has {} fields", fields.len()));
        Ok(Activity { writes: field(4)?, in_flight: field(8)?, discards: field(11)?, flushes: field(15)? })
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        if let Err(error) = run(Command::new("umount").arg(&self.at)) {
            // Somebody still holds a file of it. Lazily it goes as soon as that one does.
            eprintln!("power_cut: {error}; unmounting lazily");
            let _ = run(Command::new("umount").arg("--lazy").arg(&self.at));
        }
    }
}

fn run(command: &mut Command) -> Result<()> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("{command:?}: {}: {}", output.status, String::from_utf8_lossy(&output.stderr).trim()).into())
}
