//! A process that changes and reads orders is killed with SIGKILL, again and again, also while it opens the store. Whatever it was
//! told, and whatever a read had shown it, no later read goes back behind; and every change that was acknowledged counts once.

use crate::bench::*;
use crate::common::{how_many, random, say};
use ordermint::{Change, Error, Order, OrderNumber, OrderStore, Pending, ReplicaState, SetId, Version, WriteToken};
use std::collections::{BTreeMap, VecDeque};
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

const HOME: &str = "ORDERMINT_ON_DISK_KILLED_IN";
const RECENT: &str = "ORDERMINT_ON_DISK_RECENT";
const ORDERS: usize = 50;
/// No wait for a child is longer.
const LIMIT: Duration = Duration::from_secs(120);

// What a child prints, a line each: one of these words, the token of a version, and more. `count` is how often the order was changed,
// `id` is drawn for each change, so that no two have the same content.
/// A change of the order is about to be asked for; the version says nothing.
const TRIES: &str = "tries";
/// `count id`: a read showed this.
const SAW: &str = "saw";
/// `count id`: a compare-and-set was acknowledged.
const UPDATED: &str = "updated";
/// `count`: a closure was acknowledged. Others behind it may share its version, so the content may be theirs.
const MODIFIED: &str = "modified";

fn open(home: &Path, recent: usize) -> Result<OrderStore, Error> {
    Disk::at(home.to_owned()).builder().recent_bytes(recent).open()
}

fn count_of(value: &[u8]) -> u64 {
    let text = std::str::from_utf8(value).expect("text");
    text.split(' ').next().and_then(|count| count.parse().ok()).unwrap_or_else(|| panic!("{text:?} was never written"))
}

fn tell(what: &str, number: OrderNumber, version: Version, rest: &str) {
    let line = format!("{what} {} {rest}\n", WriteToken { number, version });
    std::io::stdout().lock().write_all(line.as_bytes()).expect("the parent reads");
}

fn tell_read(order: &Order) {
    tell(SAW, order.number, order.version, &String::from_utf8_lossy(&order.value));
}

/// Not a test of its own: what the killed process does.
#[test]
fn in_a_process_that_is_killed() {
    let Some(home) = std::env::var_os(HOME) else { return };
    println!();
    let home = Path::new(&home);
    let recent = std::env::var(RECENT).expect("set").parse().expect("a number");
    let store = open(home, recent).expect("the store opens");
    let numbers = std::fs::read_to_string(home.join("numbers")).expect("the parent wrote it");
    let numbers: Vec<OrderNumber> = numbers.lines().map(|line| line.parse().expect("a number")).collect();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let (store, numbers) = (&store, &numbers);
            scope.spawn(move || if writer % 2 == 0 { update_for_ever(store, numbers) } else { modify_for_ever(store, numbers) });
        }
        // In half of the rounds the kill may come at any step of a replica's leaving and returning.
        if recent > 0 {
            scope.spawn(|| send_away_and_bring_back(&store, numbers[0].set_id()));
        }
        for _ in 0..2 {
            scope.spawn(|| {
                loop {
                    let number = numbers[fastrand::usize(..numbers.len())];
                    tell_read(&ends(store.get(number)).expect("read").expect("there"));
                }
            });
        }
    });
}

fn send_away_and_bring_back(store: &OrderStore, set: SetId) {
    let state = |index: u8| store.status().sets[0].replicas[usize::from(index)].state;
    loop {
        let index = fastrand::u8(0..3);
        store.take_out_replica(set, index).expect("all three are in use");
        std::thread::sleep(Duration::from_millis(fastrand::u64(0..20)));
        store.bring_back_replica(set, index).expect("it is away");
        let begun = Instant::now();
        while state(index) != ReplicaState::Voting {
            assert!(begun.elapsed() < Duration::from_secs(40), "it comes to {}", state(index));
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

fn update_for_ever(store: &OrderStore, numbers: &[OrderNumber]) {
    loop {
        // On the same few orders as all others, so that some come too late.
        let order = ends(store.get(numbers[fastrand::usize(..numbers.len())])).expect("read").expect("there");
        tell_read(&order);
        let payload = format!("{} {}", count_of(&order.value) + 1, fastrand::u64(..));
        tell(TRIES, order.number, order.version, "");
        match ends(store.update(order.number, order.version, &payload)) {
            Ok(version) => tell(UPDATED, order.number, version, &payload),
            Err(Error::VersionMismatch { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

fn modify_for_ever(store: &OrderStore, numbers: &[OrderNumber]) {
    let mut window: VecDeque<(OrderNumber, Pending<ordermint::Modified<u64>>)> = VecDeque::new();
    loop {
        while window.len() < 16 {
            // Several of one order, so that they share writes.
            let number = numbers[fastrand::usize(..numbers.len())];
            for _ in 0..fastrand::usize(1..4) {
                tell(TRIES, number, Version::default(), "");
                let closure = |order: &Order| {
                    let count = count_of(&order.value) + 1;
                    Change::write(format!("{count} {}", fastrand::u64(..)), count)
                };
                window.push_back((number, store.modify(number, closure)));
            }
        }
        let (number, pending) = window.pop_front().expect("it is full");
        let modified = ends(pending).unwrap_or_else(|error| panic!("{number}: {error}"));
        tell(MODIFIED, number, modified.version, &modified.output.to_string());
    }
}

/// All that was ever told of one order.
#[derive(Default)]
struct Told {
    /// No later read may show an older one.
    newest: Version,
    /// What is known to be the content of a version.
    contents: BTreeMap<Version, String>,
    count: u64,
    acknowledged: u64,
    tried: u64,
}

impl Told {
    fn content(&mut self, token: WriteToken, content: &str, told: &str) {
        let known = self.contents.entry(token.version).or_insert_with(|| content.to_owned());
        assert_eq!(known, content, "{told}: {token} has two contents");
        self.at_least(token.version, count_of(content.as_bytes()));
    }

    fn at_least(&mut self, version: Version, count: u64) {
        self.newest = self.newest.max(version);
        self.count = self.count.max(count);
    }
}

struct Round {
    child: Child,
    lines: Arc<AtomicUsize>,
    reader: std::thread::JoinHandle<Vec<String>>,
}

impl Round {
    fn start(home: &Path, recent: usize) -> Round {
        let mut command = Command::new(std::env::current_exe().expect("a test knows where it is"));
        command.args(["--exact", "killed::in_a_process_that_is_killed", "--nocapture"]).env(HOME, home);
        command.env(RECENT, recent.to_string()).stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("this program can be started");
        let stdout = child.stdout.take().expect("piped");
        let lines = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&lines);
        let reader = std::thread::spawn(move || {
            let (mut stdout, mut told, mut line) = (BufReader::new(stdout), Vec::new(), Vec::new());
            while stdout.read_until(b'\n', &mut line).is_ok_and(|bytes| bytes > 0) {
                // A line that the kill cut off was not told.
                if line.pop() == Some(b'\n') {
                    told.push(String::from_utf8_lossy(&line).into_owned());
                    if told.last().is_some_and(|line| line.contains('@')) {
                        counted.fetch_add(1, Ordering::Release);
                    }
                }
                line.clear();
            }
            told
        });
        Round { child, lines, reader }
    }

    fn wait_for(&mut self, lines: usize) {
        let begun = Instant::now();
        while self.lines.load(Ordering::Acquire) < lines {
            let ended = self.child.try_wait().expect("a child can be asked");
            assert!(ended.is_none(), "the child ended by itself: {ended:?}");
            assert!(begun.elapsed() < LIMIT, "{lines} lines did not come in time");
            std::thread::sleep(Duration::from_micros(200));
        }
    }

    /// Kills it; what it had told. Says whether that was before it told anything.
    fn kill(mut self, book: &mut BTreeMap<OrderNumber, Told>, told: &str) -> bool {
        self.child.kill().expect("a child can be killed");
        let status = self.child.wait().expect("a child can be waited for");
        assert_eq!(status.code(), None, "{told}: it ended by itself, not by the kill: {status}");
        for line in self.reader.join().expect("reading does not panic") {
            let mut parts = line.splitn(3, ' ');
            let (what, token, rest) = (parts.next().unwrap_or(""), parts.next().unwrap_or(""), parts.next().unwrap_or(""));
            let Ok(token) = token.parse::<WriteToken>() else { continue };
            let order = book.get_mut(&token.number).expect("one of ours");
            match what {
                TRIES => order.tried += 1,
                SAW => order.content(token, rest, told),
                UPDATED => {
                    order.acknowledged += 1;
                    order.content(token, rest, told);
                }
                MODIFIED => {
                    order.acknowledged += 1;
                    order.at_least(token.version, rest.parse().expect("a count"));
                }
                other => panic!("{other:?} is nothing that a child tells"),
            }
        }
        self.lines.load(Ordering::Acquire) == 0
    }
}

#[test]
fn what_was_acknowledged_or_shown_before_a_kill_is_never_taken_back() {
    let kills = how_many("ORDERMINT_KILLS", 30);
    let mut random = random("kills amid changes");
    let disk = Disk::new();
    let home = disk.dirs[0].parent().expect("below its home").to_owned();
    let mut book: BTreeMap<OrderNumber, Told> = BTreeMap::new();
    let store = disk.open();
    for placed in store.create_all((0..ORDERS).map(|at| format!("0 {at}"))) {
        book.insert(placed.expect("created").number, Told::default());
    }
    close(store);
    let numbers: String = book.keys().map(|number| format!("{number}\n")).collect();
    std::fs::write(home.join("numbers"), numbers).expect("written");

    let begun = Instant::now();
    let mut first = Round::start(&home, 0);
    first.wait_for(1);
    let open_us = u64::try_from(begun.elapsed().as_micros()).expect("not long");
    first.kill(&mut book, "the first");
    let mut early = 0;
    for at in 0..kills {
        let told = format!("kill {at}");
        // By turns without recent orders in memory and with them.
        let mut round = Round::start(&home, if at % 2 == 0 { 0 } else { 1 << 20 });
        if at % 5 == 4 {
            std::thread::sleep(Duration::from_micros(random.u64(0..open_us)));
        } else {
            round.wait_for(random.usize(1..3_000));
        }
        early += usize::from(round.kill(&mut book, &told));
        // With all three, or without one of them: W = 2 promise that.
        let away = random.usize(0..4);
        if away < 3 {
            disk.swap_away(away, "away");
        }
        let store = disk.open();
        assert_nothing_went_back(&store, &mut book, &format!("{told}, without {away}"));
        close(store);
        if away < 3 {
            disk.swap_back(away, "away");
        }
    }
    let store = disk.open();
    assert_nothing_went_back(&store, &mut book, "at the end");
    for (number, told) in &book {
        ends(store.update(*number, told.newest, "1000000 the end")).expect("and it goes on");
    }
    close(store);
    let acknowledged: u64 = book.values().map(|told| told.acknowledged).sum();
    let seen: usize = book.values().map(|told| told.contents.len()).sum();
    say(&format!(
        "{kills} kills, {early} of them early: {acknowledged} changes acknowledged, {seen} versions shown, none taken back"
    ));
    assert!(acknowledged > 50 * kills as u64, "only {acknowledged} changes were acknowledged");
}

/// Strong reads of all orders, one by one and in a scan.
fn assert_nothing_went_back(store: &OrderStore, book: &mut BTreeMap<OrderNumber, Told>, told: &str) {
    let reads: Vec<_> = book.keys().map(|number| store.get(*number)).collect();
    let mut orders: Vec<Order> = reads.into_iter().map(|read| ends(read).expect("read").expect("there")).collect();
    orders.extend(store.scan(SET, today()).map(|order| order.expect("scanned")));
    assert_eq!(orders.len(), 2 * book.len(), "{told}");
    for order in orders {
        let Order { number, version, value, .. } = &order;
        let known = book.get_mut(number).expect("one of ours");
        assert!(*version >= known.newest, "{told}: {number} stands at {version}, after {}", known.newest);
        let content = String::from_utf8_lossy(value);
        let count = count_of(value);
        assert!(count >= known.count, "{told}: {number} was changed {} times, and now {count} times", known.count);
        assert!(count >= known.acknowledged, "{told}: {number}: {} changes were acknowledged, {count} count", known.acknowledged);
        assert!(count <= known.tried, "{told}: {number}: {} changes were tried, {count} count", known.tried);
        known.content(WriteToken { number: *number, version: *version }, &content, told);
    }
}
