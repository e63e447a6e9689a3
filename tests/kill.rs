//! `orderctl create` killed with SIGKILL, again and again: every printed number stays, none comes twice, the next run just starts.

mod common;

use common::{files_below, how_many, orderctl, random, say, start};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

/// Lines fed in a round; it is killed before it has answered them all, or while it waits for more.
const LINES: usize = 4_000;
/// No wait for a child is longer.
const LIMIT: Duration = Duration::from_secs(120);

#[test]
fn three_replicas_survive_kills() {
    survives_kills("3,2,2");
}

#[test]
fn one_replica_survives_kills() {
    survives_kills("1,1,1");
}

/// When a round is killed.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Moment {
    /// Before it has opened the store.
    Open,
    /// When it has begun to write a lease.
    Lease,
    /// After some number or other.
    Number,
}

/// All that was ever printed.
#[derive(Default)]
struct Book {
    payloads: HashMap<String, String>,
    /// Where each number was printed.
    rounds: HashMap<String, usize>,
    kills: BTreeMap<Moment, usize>,
}

fn survives_kills(quorum: &str) {
    let kills = how_many("ORDERMINT_KILLS", 30);
    let mut random = random(&format!("kills at {quorum}"));
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let home = scratch.path().join("store");
    let arguments = ["create", "--data", text(&home), "--quorum", quorum];

    // How long opening takes, to know when to kill during it. The first run makes the store.
    let mut open_ms = 0;
    let mut book = Book::default();
    for warm in 0..2 {
        let begun = Instant::now();
        let mut round = Round::start(&arguments, &format!("warm{warm}"), 1);
        round.wait_for(1);
        open_ms = begun.elapsed().as_millis() as u64;
        round.child.kill().expect("a child can be killed");
        round.enter(&mut book, warm);
    }

    // A moment that was missed is tried again; a kill that came at another moment than meant counts for that one.
    let mut at = 0;
    let wanted = [(Moment::Open, kills.div_ceil(5)), (Moment::Lease, kills.div_ceil(5)), (Moment::Number, kills / 2)];
    loop {
        let lacking = |(moment, count): &&(Moment, usize)| book.kills.get(moment).copied().unwrap_or(0) < *count;
        let open: Vec<Moment> = wanted.iter().filter(lacking).map(|(moment, _)| *moment).collect();
        if at >= kills && open.is_empty() {
            break;
        }
        assert!(at < 4 * kills, "after {at} kills still none of {open:?}: {:?}", book.kills);
        let moment = random.choice(&open).copied().unwrap_or(Moment::Number);
        let mut round = Round::start(&arguments, &at.to_string(), LINES);
        let happened = round.kill_at(moment, &home, open_ms, &mut random);
        *book.kills.entry(happened).or_default() += 1;
        round.enter(&mut book, at + 2);
        at += 1;
        if at % 10 == 0 {
            assert_all_there(&home, &book);
        }
    }
    assert_all_there(&home, &book);
    say(&format!("N,R,W={quorum}: {at} kills {:?}, {} orders acknowledged, all there", book.kills, book.payloads.len()));
    assert!(book.payloads.len() >= 250 * kills, "only {} orders were acknowledged", book.payloads.len());
}

/// A run of `orderctl create`, fed and read along.
struct Round {
    child: Child,
    payloads: Vec<String>,
    answered: Arc<AtomicUsize>,
    reader: std::thread::JoinHandle<Vec<String>>,
    feeder: std::thread::JoinHandle<std::process::ChildStdin>,
}

impl Round {
    fn start(arguments: &[&str], name: &str, lines: usize) -> Round {
        let mut child = start(arguments);
        let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        let payloads: Vec<String> =
            (0..lines).map(|line| format!("round {name} line {line} {}", ".".repeat(line % 100))).collect();
        let input = payloads.join("\n") + "\n";
        // Fed to the end and left open: the child waits for more until it is killed.
        let feeder = std::thread::spawn(move || {
            let _ = stdin.write_all(input.as_bytes());
            stdin
        });
        let answered = Arc::new(AtomicUsize::new(0));
        let reader = std::thread::spawn({
            let answered = Arc::clone(&answered);
            move || {
                let (mut stdout, mut lines, mut line) = (BufReader::new(stdout), Vec::new(), Vec::new());
                while stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                    // The last one may have been cut off by the kill: a number that was not printed to its end was not printed.
                    if line.pop() == Some(b'\n') {
                        lines.push(String::from_utf8_lossy(&line).into_owned());
                        answered.store(lines.len(), Ordering::Release);
                    }
                    line.clear();
                }
                lines
            }
        });
        Round { child, payloads, answered, reader, feeder }
    }

    /// Waits until so many numbers were printed, or the child ended.
    fn wait_for(&mut self, numbers: usize) {
        let begun = Instant::now();
        while self.answered.load(Ordering::Acquire) < numbers {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the child ended by itself: {ended:?} {}", self.stderr());
            assert!(begun.elapsed() < LIMIT, "{numbers} numbers did not come in time");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    fn stderr(&mut self) -> String {
        let mut text = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = std::io::Read::read_to_string(&mut stderr, &mut text);
        }
        text
    }

    /// Kills, at `moment` if it can be hit; says at which it was.
    fn kill_at(&mut self, moment: Moment, home: &Path, open_ms: u64, random: &mut fastrand::Rng) -> Moment {
        let mut happened = moment;
        match moment {
            Moment::Open => {
                std::thread::sleep(Duration::from_micros(random.u64(0..open_ms * 1_000)));
                if self.answered.load(Ordering::Acquire) > 0 {
                    happened = Moment::Number;
                }
            }
            Moment::Lease => {
                self.wait_for(1);
                // Leases are meta values; once orders flow nothing else is written there.
                let before = meta_files(home);
                let begun = Instant::now();
                while meta_files(home) == before && happened == moment {
                    if begun.elapsed() > Duration::from_secs(5) || self.answered.load(Ordering::Acquire) == LINES {
                        happened = Moment::Number;
                    }
                }
                // The first replica writes it: some are killed there, some on the way to a majority, some just after.
                std::thread::sleep(Duration::from_micros(random.u64(0..3_000).saturating_sub(1_000)));
            }
            Moment::Number => self.wait_for(random.usize(1..LINES)),
        }
        self.child.kill().expect("a child can be killed");
        happened
    }

    /// Waits for the end and writes down what was printed.
    fn enter(mut self, book: &mut Book, round: usize) {
        let status = self.child.wait().expect("a child can be waited for");
        let stderr = self.stderr();
        assert_eq!(status.code(), None, "it ended by itself, not by the kill: {status} {stderr}");
        drop(self.feeder.join());
        let numbers = self.reader.join().expect("reading does not panic");
        assert!(numbers.len() <= self.payloads.len(), "more numbers than lines");
        for (number, payload) in numbers.into_iter().zip(self.payloads) {
            assert!(number.parse::<ordermint::OrderNumber>().is_ok(), "{number:?} was printed in round {round}: {stderr}");
            let earlier = book.rounds.insert(number.clone(), round);
            assert_eq!(earlier, None, "{number} was printed in round {earlier:?} and again in round {round}");
            book.payloads.insert(number, payload);
        }
    }
}

/// Length and time of every database of meta data.
fn meta_files(home: &Path) -> Vec<(PathBuf, u64, SystemTime)> {
    let dirs = (0..9).map(|index| home.join("001").join(index.to_string()).join("meta"));
    let files = dirs.map(|dir| dir.join("db")).filter_map(|file| {
        let meta = file.metadata().ok()?;
        Some((file, meta.len(), meta.modified().ok()?))
    });
    files.collect()
}

/// Every printed number is there with its payload; what else is there was fed, and only once.
fn assert_all_there(home: &Path, book: &Book) {
    let scanned = orderctl(["scan", "--data", text(home)], b"").expect(0);
    let mut payloads = HashSet::new();
    let mut found = HashMap::new();
    for (number, payload) in scanned.records() {
        let payload = String::from_utf8(payload).expect("what was fed is text");
        assert!(payload.starts_with("round "), "{number} holds {payload:?}, which nobody fed");
        assert!(payloads.insert(payload.clone()), "{payload:?} is there twice");
        found.insert(number, payload);
    }
    for (number, payload) in &book.payloads {
        assert_eq!(found.get(number), Some(payload), "{number}, printed in round {}", book.rounds[number]);
    }
}

/// A store that was killed while it was being made is made by the next run.
#[test]
fn a_store_killed_while_it_is_made_is_made_by_the_next_run() {
    let rounds = how_many("ORDERMINT_KILLS", 30) / 3;
    let mut random = random("kills while making");
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let mut made_ms = 50;
    let mut files = 0;
    for round in 0..rounds {
        let home = scratch.path().join(round.to_string());
        let arguments = ["create", "--data", text(&home), "--sets", "1,2"];
        let mut first = Round::start(&arguments, "first", 1);
        let mut book = Book::default();
        if round == 0 {
            let begun = Instant::now();
            first.wait_for(1);
            made_ms = begun.elapsed().as_millis() as u64;
        } else {
            std::thread::sleep(Duration::from_micros(random.u64(0..made_ms * 1_000)));
        }
        first.child.kill().expect("a child can be killed");
        first.enter(&mut book, 0);
        files += files_below(&home).len();
        let second = orderctl(arguments, b"round second line 0\nround second line 1").expect(0);
        assert_eq!(second.err(), "", "round {round}");
        for (number, line) in second.out().lines().zip(0..) {
            book.rounds.insert(number.to_string(), 1);
            book.payloads.insert(number.to_string(), format!("round second line {line}"));
        }
        assert_all_there(&home, &book);
        std::fs::remove_dir_all(&home).expect("a closed store can be removed");
    }
    say(&format!("{rounds} stores killed while being made, {files} files left lying, all made by the next run"));
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory has a plain name")
}
