//! What the tests that run `orderctl` share: finding it, running it with a time limit, directories that go away.

#![allow(dead_code, unreachable_pub, reason = "each test uses a part of it")]

pub mod tmpfs;

use ordermint::{OpenReplica, OrderNumber, Record, Replica, ReplicaError, ScanLimit, Scanned, SetId, SledReplica};
use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::sync::mpsc::channel;
use std::time::{Duration, SystemTime};

/// No single run may take longer; one that hangs is killed and fails its test.
pub const RUN_LIMIT: Duration = Duration::from_secs(300);

/// Where `orderctl` is. `cargo test` builds it; a run of one test alone does not, so it is built here where it is missing or old.
pub fn orderctl_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        let here = std::env::current_exe().expect("a test knows where it is");
        let profile = here.parent().and_then(Path::parent).expect("tests are built into <profile>/deps");
        let tool = profile.join("examples").join(format!("orderctl{}", std::env::consts::EXE_SUFFIX));
        let built = fs::metadata(&tool).and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let newest = newest_change(&root.join("src")).max(newest_change(&root.join("examples/orderctl")));
        if built < newest {
            say(&format!("building {}", tool.display()));
            let mut cargo = Command::new(env!("CARGO"));
            cargo.current_dir(root).args(["build", "--quiet", "--example", "orderctl"]);
            if profile.file_name() == Some(OsStr::new("release")) {
                cargo.arg("--release");
            }
            assert!(cargo.status().expect("cargo can be started").success(), "orderctl does not build");
        }
        tool
    })
}

fn newest_change(dir: &Path) -> SystemTime {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    let changes = entries.map(|entry| {
        let path = entry.path();
        let own = entry.metadata().and_then(|meta| meta.modified()).unwrap_or(SystemTime::UNIX_EPOCH);
        if path.is_dir() { newest_change(&path) } else { own }
    });
    changes.max().unwrap_or(SystemTime::UNIX_EPOCH)
}

/// What a run came to.
#[derive(Clone, Debug)]
pub struct Ran {
    /// `None` where a signal ended it.
    pub code: Option<i32>,
    pub stdout: Vec<u8>,
    pub stderr: Vec<u8>,
}

impl Ran {
    pub fn out(&self) -> String {
        String::from_utf8_lossy(&self.stdout).into_owned()
    }

    pub fn err(&self) -> String {
        String::from_utf8_lossy(&self.stderr).into_owned()
    }

    /// The lines of standard output, each as `number TAB payload`.
    pub fn records(&self) -> Vec<(String, Vec<u8>)> {
        let lines = self.stdout.split_inclusive(|byte| *byte == b'\n');
        lines.map(|line| record(line.strip_suffix(b"\n").expect("every record ends its line"))).collect()
    }

    #[track_caller]
    pub fn expect(self, code: i32) -> Ran {
        assert_eq!(self.code, Some(code), "exit code; standard error: {}", self.err());
        self
    }
}

/// `number TAB payload`, taken apart.
pub fn record(line: &[u8]) -> (String, Vec<u8>) {
    let tab = line.iter().position(|byte| *byte == b'\t').expect("number TAB payload");
    (String::from_utf8(line[..tab].to_vec()).expect("a number is digits"), line[tab + 1..].to_vec())
}

/// Runs `orderctl` to its end.
#[track_caller]
pub fn orderctl<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>, input: &[u8]) -> Ran {
    let mut command = Command::new(orderctl_path());
    command.args(arguments);
    run(command, input)
}

/// Runs a command to its end, or to `RUN_LIMIT`.
#[track_caller]
pub fn run(mut command: Command, input: &[u8]) -> Ran {
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let (stdout, stderr) = (child.stdout.take().expect("piped"), child.stderr.take().expect("piped"));
    let (done, finished) = channel();
    std::thread::scope(|scope| {
        let out = scope.spawn({
            let done = done.clone();
            move || drained(stdout, &done)
        });
        let err = scope.spawn(move || drained(stderr, &done));
        scope.spawn(move || {
            // The child may end before it has read everything.
            let _ = stdin.write_all(input);
        });
        let in_time = (0..2).all(|_| finished.recv_timeout(RUN_LIMIT).is_ok());
        if !in_time {
            let _ = child.kill();
        }
        let status = child.wait().expect("a child can be waited for");
        let ran = Ran {
            code: status.code(),
            stdout: out.join().expect("reading does not panic"),
            stderr: err.join().expect("reading does not panic"),
        };
        assert!(in_time, "{command:?} took longer than {RUN_LIMIT:?}: {}", ran.err());
        ran
    })
}

fn drained(mut from: impl Read, done: &std::sync::mpsc::Sender<()>) -> Vec<u8> {
    let mut bytes = Vec::new();
    let _ = from.read_to_end(&mut bytes);
    let _ = done.send(());
    bytes
}

/// Starts `orderctl` with pipes for all three. The caller ends it.
pub fn start<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Child {
    let mut command = Command::new(orderctl_path());
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command.spawn().expect("orderctl can be started")
}

/// Copies a directory with everything below it.
pub fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("a directory can be made");
    for entry in fs::read_dir(from).expect("a directory can be read") {
        let entry = entry.expect("a directory can be read");
        let target = to.join(entry.file_name());
        if entry.path().is_dir() {
            copy_tree(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), &target).expect("a file can be copied");
        }
    }
}

/// Every file below `dir`, sorted by path.
pub fn files_below(dir: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    let mut dirs = vec![dir.to_path_buf()];
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).into_iter().flatten().filter_map(Result::ok) {
            let path = entry.path();
            if path.is_dir() { dirs.push(path) } else { files.push(path) }
        }
    }
    files.sort();
    files
}

/// How much to do: `default`, or what the environment says.
pub fn how_many(variable: &str, default: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{variable}={text} is no number")),
        Err(_) => default,
    }
}

/// Random numbers from a seed that is printed, or that the environment gives as `ORDERMINT_SEED`. Where `CI` is set the seed is
/// always the same one, which has found something before: whether a change may land must not hang on the luck of a draw. New draws
/// are made everywhere else.
pub fn random(what: &str) -> fastrand::Rng {
    let seed = match std::env::var("ORDERMINT_SEED") {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("ORDERMINT_SEED={text} is no number")),
        Err(_) if std::env::var_os("CI").is_some() => 9_754_433_634_498_123_109,
        Err(_) => fastrand::u64(..),
    };
    say(&format!("{what}: ORDERMINT_SEED={seed}"));
    fastrand::Rng::with_seed(seed)
}

/// Says how much was done, or that something was skipped. Seen also when the test passes, which `println!` is not.
pub fn say(line: &str) {
    let _ = writeln!(std::io::stderr(), "    {line}");
}

/// Opens the replica of `set` at `index` in the home that `orderctl` laid out, as the store would.
pub fn open_replica(home: &Path, set: u16, index: u8) -> Result<SledReplica, ReplicaError> {
    let set = SetId::new(set).expect("below 1,000");
    SledReplica::open(&OpenReplica::new(set, index, home.join(set.to_string()).join(index.to_string())))
}

/// Every record that a replica holds, and whether anything in it is damaged.
pub fn held_by(replica: &SledReplica) -> Result<(BTreeMap<OrderNumber, Record>, bool), ReplicaError> {
    let limit = ScanLimit { records: 10_000, bytes: 4 << 20 };
    let (mut held, mut damaged) = (BTreeMap::new(), false);
    for day in replica.days()? {
        let mut after = None;
        loop {
            let chunk = replica.scan(day, after, limit)?;
            for item in chunk.items {
                match item {
                    Scanned::Found(number, record) => {
                        held.insert(number, record);
                    }
                    Scanned::Damaged { .. } => damaged = true,
                }
            }
            match chunk.upto {
                Some(upto) => after = Some(upto),
                None => break,
            }
        }
    }
    Ok((held, damaged))
}
