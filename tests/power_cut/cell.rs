//! A process and mount namespace of its own. Whatever way the test ends, also by a kill, the system then ends the frozen writer,
//! unmounts what was mounted and detaches the loop devices; and nobody else on the machine sees the mounts.

use crate::{ROLE, Result};
use std::io::Read;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};

/// Starts this program again inside, as `cuts`. Says SKIPPED where that is not possible.
pub(crate) fn run_in_a_cell() -> Result<ExitCode> {
    if let Some(reason) = what_is_missing() {
        eprintln!("power_cut: SKIPPED, nothing was proven: {reason}");
        return Ok(ExitCode::SUCCESS);
    }
    let home = tempfile::Builder::new().prefix("ordermint-power-cut-").tempdir()?;
    let mut inside = unshare().arg(std::env::current_exe()?).arg(home.path()).env(ROLE, "cuts").stdin(Stdio::piped()).spawn()?;
    // Held, not used: it closes when this process ends, whatever ends it, and then those inside end too.
    let _leash = inside.stdin.take();
    let status = inside.wait()?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// The end of [`run_in_a_cell`]'s pipe inside: when whoever started the test is gone, so is everything here.
pub(crate) fn follow_the_leash(home: &Path) {
    let home = home.to_owned();
    std::thread::spawn(move || {
        let _ = std::io::stdin().read(&mut [0]);
        // Whoever would have removed the images is gone. The mounts go with this process, the first of its namespace.
        for entry in std::fs::read_dir(&home).into_iter().flatten().flatten() {
            let _ = std::fs::remove_file(entry.path());
        }
        std::process::exit(130);
    });
}

fn unshare() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc", "--kill-child"]);
    command
}

/// Why no power can be cut here, if it cannot.
fn what_is_missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("mounting images needs root".to_owned());
    }
    if !Path::new("/dev/loop-control").exists() {
        return Some("this system has no loop devices".to_owned());
    }
    for (tool, arg) in [("mkfs.ext4", "-V"), ("mount", "-V"), ("umount", "-V"), ("cp", "--version"), ("unshare", "-V")] {
        if Command::new(tool).arg(arg).output().is_err() {
            return Some(format!("there is no {tool}"));
        }
    }
    match unshare().arg("true").output() {
        Ok(output) if output.status.success() => None,
        Ok(output) => Some(String::from_utf8_lossy(&output.stderr).trim().to_owned()),
        Err(error) => Some(format!("unshare: {error}")),
    }
}
