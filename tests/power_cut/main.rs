//! What was acknowledged survives a power cut.
//!
//! `kill -9` keeps the page cache, so it proves nothing about syncing. Here the store lies on an ext4 file system in an image
//! file. While a writer is at work it is frozen and the image is copied: what the writer's system had not yet sent to the disk
//! is not in the copy, just as after a power cut. The copy is mounted elsewhere and opened, and every order that the writer
//! had printed must be there. The next writer goes on with a copy too, so that it starts on what a cut left, not on what a
//! check tidied up.
//!
//! ```text
//! writer ── prints ──> acks          frozen at a random moment
//!   │                                      │
//! live/  <── mount ── 0.img ── copy ──> 1.img ── copy ──> check.img ── mount ──> check/ <── checker
//!                                          └── the next writer's
//! ```
//!
//! | workload | what | file |
//! |---|---|---|
//! | creates | `OrderStore::create_all` on N=3 W=2 and on N=1; packed runs at the end of the day | `creates.rs` |
//! | scattered | one sled replica: groups at the cap, of updates all over a growing set | `scattered.rs` |
//!
//! A test like this can be blind. So the crate can be built with a planted bug (`ordermint_planted`), without our `fdatasync` or
//! without the cap on groups; such a build must lose data, and this test then fails if it does not. `.ci/power_cut` runs all three.
//! Where there is no root, no loop device or a tool is missing it says SKIPPED.
//!
//! What this cannot show: a cut *within* one system call (a thread in `fdatasync` stops at its end), and a disk that forgets
//! its own cache although it was flushed.
//!
//! | variable | default | |
//! |---|---|---|
//! | `ORDERMINT_POWER_CUTS` | 10; 60 with a planted bug | cuts under load; a planted build stops once each workload has lost |
//! | `ORDERMINT_POWER_SEED` | random | payloads and moments; the disk's pace is not in it |
//! | `ORDERMINT_POWER_KEEP` | - | a directory for the images after cuts that lost something |
//! | `ORDERMINT_POWER_EXPECT` | what the build says | `loss` or `none`: fails when the build is another one |

mod cell;
mod creates;
mod cuts;
mod disk;
mod process;
mod scattered;
mod verdict;

use std::error::Error;
use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// What this process is, in the environment of the processes that this program starts.
const ROLE: &str = "ORDERMINT_POWER_ROLE";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let role = std::env::var(ROLE).unwrap_or_default();
    let done = match role.as_str() {
        "" if !is_asked_for(&args) => Ok(ExitCode::SUCCESS),
        "" => cell::run_in_a_cell(),
        "cuts" => cuts::run(&args),
        "creates writer" => creates::write(&args),
        "creates checker" => creates::check(&args),
        "scattered writer" => scattered::write(&args),
        "scattered checker" => scattered::check(&args),
        other => Err(format!("{ROLE} is {other:?}").into()),
    };
    done.unwrap_or_else(|error| {
        eprintln!("power_cut{}{role}: {error}", if role.is_empty() { "" } else { ", " });
        ExitCode::FAILURE
    })
}

/// The part of the test harness's command line that matters for a single test.
fn is_asked_for(args: &[String]) -> bool {
    const NAME: &str = "power_cuts_lose_nothing";
    const WITH_VALUE: [&str; 6] = ["--test-threads", "--format", "--color", "--logfile", "--shuffle-seed", "-Z"];
    let (mut is_listing, mut is_ignored, mut is_skipped) = (false, false, false);
    let mut is_named = None;
    let mut args = args.iter().map(String::as_str);
    while let Some(arg) = args.next() {
        match arg {
            "--list" => is_listing = true,
            "--ignored" => is_ignored = true,
            "--skip" => is_skipped |= args.next().is_some_and(|name| NAME.contains(name)),
            arg if WITH_VALUE.contains(&arg) => drop(args.next()),
            arg if arg.starts_with('-') => {}
            name => is_named = Some(is_named.unwrap_or(false) || NAME.contains(name)),
        }
    }
    let is_asked_for = is_named.unwrap_or(true) && !is_skipped && !is_ignored;
    if is_listing && is_asked_for {
        println!("{NAME}: test");
    }
    is_asked_for && !is_listing
}

/// The bug that this build was planted with.
fn planted() -> Option<&'static str> {
    if cfg!(ordermint_planted = "no_fdatasync") {
        Some("no_fdatasync")
    } else if cfg!(ordermint_planted = "no_group_cap") {
        Some("no_group_cap")
    } else {
        None
    }
}
