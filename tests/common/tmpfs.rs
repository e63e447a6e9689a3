//! A small file system in memory, for tests of full and of read-only disks.

use super::say;
use std::path::PathBuf;
use std::process::Command;

/// A small file system of its own, gone at the end.
pub struct Tmpfs {
    pub dir: PathBuf,
    _scratch: tempfile::TempDir,
}

impl Tmpfs {
    /// `None`, said aloud, where mounting is not allowed.
    pub fn mount(size: &str) -> Option<Tmpfs> {
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let dir = scratch.path().join("mount");
        std::fs::create_dir(&dir).expect("a directory can be made");
        let options = format!("size={size}");
        match mount(&["-t", "tmpfs", "-o", &options, "ordermint-test", path(&dir)]) {
            Ok(()) => Some(Tmpfs { dir, _scratch: scratch }),
            Err(reason) => {
                say(&format!("SKIPPED: no tmpfs can be mounted here: {reason}"));
                None
            }
        }
    }

    pub fn remount(&self, options: &str) {
        mount(&["-o", &format!("remount,{options}"), path(&self.dir)]).expect("what was mounted can be remounted");
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.dir).status();
    }
}

fn mount(arguments: &[&str]) -> Result<(), String> {
    match Command::new("mount").args(arguments).output() {
        Ok(output) if output.status.success() => Ok(()),
        Ok(output) => Err(String::from_utf8_lossy(&output.stderr).trim().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn path(dir: &std::path::Path) -> &str {
    dir.to_str().expect("a temporary directory has a plain name")
}
