//! What a transcript cannot show of `orderctl`: pipes, signals, memory, two at once.

mod common;

use common::{copy_tree, held_by, open_replica, orderctl, orderctl_path, run, start};
use ordermint::testing::{FaultControl, Faulty};
use ordermint::{Group, OrderNumber, OrderStore, Origin, Quorum, Replica, SetConfig, SetId, SledReplica};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command};
use std::sync::Arc;
use tempfile::TempDir;

fn scratch() -> (TempDir, PathBuf) {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let home = scratch.path().join("store");
    (scratch, home)
}

fn text(path: &Path) -> &str {
    path.to_str().expect("a temporary directory has a plain name")
}

/// A running `create` with its ends.
fn creating(home: &Path) -> (Child, ChildStdin, BufReader<ChildStdout>) {
    let mut child = start(["create", "--data", text(home)]);
    let (stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    (child, stdin, BufReader::new(stdout))
}

fn line(from: &mut impl BufRead) -> String {
    let mut line = String::new();
    from.read_line(&mut line).expect("text");
    line.trim_end().to_string()
}

fn stderr(child: &mut Child) -> String {
    let mut told = String::new();
    child.stderr.take().expect("piped").read_to_string(&mut told).expect("text");
    told
}

fn signal(child: &Child, name: &str) {
    let sent = Command::new("sh").args(["-c", &format!("kill -{name} {}", child.id())]).status();
    assert!(sent.is_ok_and(|status| status.success()), "the signal is sent");
}

#[test]
fn one_line_in_is_one_number_out_without_more_input() {
    let (_scratch, home) = scratch();
    let (mut child, mut stdin, mut stdout) = creating(&home);
    let mut seen = Vec::new();
    for n in 0..20 {
        writeln!(stdin, "order {n}").expect("the child reads");
        seen.push(line(&mut stdout));
        assert_eq!(seen[n].len(), 22, "{:?}", seen[n]);
    }
    // Half a line is no order yet; the end makes it one.
    write!(stdin, "the last").expect("the child reads");
    drop(stdin);
    seen.push(line(&mut stdout));
    assert!(child.wait().is_ok_and(|status| status.success()));
    assert!(seen.is_sorted(), "one SET, one after the other: the numbers ascend");
    let got = orderctl(["get", "--data", text(&home), &seen[20]], b"").expect(0);
    assert_eq!(got.out(), format!("{}\tthe last\n", seen[20]));
}

#[test]
fn numbers_come_in_the_order_of_the_lines_however_many_are_in_flight() {
    let (_scratch, home) = scratch();
    let lines: Vec<String> = (0..20_000).map(|n| format!("{n} {}", "x".repeat(n % 50))).collect();
    let input = lines.join("\n");
    let created = orderctl(["create", "--data", text(&home), "--sets", "1,2,3", "--quorum", "1,1,1"], input.as_bytes()).expect(0);
    let mut expected: Vec<String> = created.out().lines().zip(&lines).map(|(number, line)| format!("{number}\t{line}")).collect();
    assert_eq!(expected.len(), lines.len());
    expected.sort();
    let scanned = orderctl(["scan", "--data", text(&home)], b"").expect(0).out();
    assert!(scanned.lines().eq(expected.iter().map(String::as_str)));
}

#[test]
fn a_signal_finishes_what_is_in_flight_prints_it_and_tells_the_shell() {
    for (name, code) in [("INT", 130), ("TERM", 143)] {
        let (_scratch, home) = scratch();
        let (mut child, mut stdin, mut stdout) = creating(&home);
        writeln!(stdin, "first").expect("the child reads");
        let mut numbers = vec![line(&mut stdout)];
        let feeder = std::thread::spawn(move || {
            // Goes on until nobody reads any more.
            while stdin.write_all(b"another\n").is_ok() {}
        });
        for _ in 0..100 {
            numbers.push(line(&mut stdout));
        }
        signal(&child, name);
        numbers.extend(stdout.lines().map_while(Result::ok));
        let ended = child.wait().expect("a child can be waited for");
        assert_eq!((ended.code(), stderr(&mut child)), (Some(code), String::new()), "{name}");
        feeder.join().expect("feeding does not panic");
        // Everything that is there was printed: nothing in flight was left without a number.
        let scanned = orderctl(["scan", "--data", text(&home)], b"").expect(0);
        let kept: Vec<String> = scanned.records().into_iter().map(|(number, _)| number).collect();
        assert_eq!(kept, numbers, "{name}");
    }
}

#[test]
fn a_signal_ends_a_create_that_waits_for_input() {
    let (_scratch, home) = scratch();
    let (mut child, mut stdin, mut stdout) = creating(&home);
    writeln!(stdin, "only").expect("the child reads");
    assert_eq!(line(&mut stdout).len(), 22);
    signal(&child, "INT");
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(130));
    // It ended cleanly: nothing has to be brought back.
    assert_eq!(orderctl(["verify", "--data", text(&home)], b"").expect(0).out(), "");
}

#[test]
fn a_signal_ends_a_scan_after_a_whole_line() {
    let (_scratch, home) = scratch();
    let input: String = (0..20_000).map(|n| format!("order {n} {}\n", "x".repeat(100))).collect();
    orderctl(["create", "--data", text(&home), "--quorum", "1,1,1"], input.as_bytes()).expect(0);
    let whole = orderctl(["scan", "--data", text(&home)], b"").expect(0).out();
    let mut child = start(["scan", "--data", text(&home)]);
    let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
    // It is in the middle of it: nobody reads, and a pipe does not hold so much.
    let mut printed = line(&mut stdout) + "\n";
    signal(&child, "TERM");
    // What was printed until the signal was seen is read here: slowly, since on a busy machine that takes its time.
    let mut chunk = vec![0; 32 << 10];
    loop {
        std::thread::sleep(std::time::Duration::from_millis(50));
        match stdout.read(&mut chunk).expect("it reads") {
            0 => break,
            length => printed.push_str(std::str::from_utf8(&chunk[..length]).expect("text")),
        }
    }
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(143));
    assert!(whole.starts_with(&printed) && printed.ends_with('\n') && printed.len() < whole.len());
}

#[test]
fn a_closed_standard_output_ends_quietly() {
    let (_scratch, home) = scratch();
    let input: String = (0..20_000).map(|n| format!("order {n}\n")).collect();
    orderctl(["create", "--data", text(&home), "--quorum", "1,1,1"], input.as_bytes()).expect(0);
    for command in ["scan --data", "create --data"] {
        // The shell's own exit code is that of `head`; what the tool says goes to standard error.
        let script =
            format!("{{ yes | {} {command} {}; echo \"exit $?\" >&2; }} | head -n 1", text(orderctl_path()), text(&home));
        let mut shell = Command::new("sh");
        shell.args(["-c", &script]);
        let ran = run(shell, b"");
        assert_eq!(ran.err(), "exit 0\n", "{command}");
        assert_eq!(ran.out().lines().count(), 1, "{command}");
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_told() {
    if !Path::new("/dev/full").exists() {
        common::say("SKIPPED: there is no /dev/full here");
        return;
    }
    let mut shell = Command::new("sh");
    shell.args(["-c", &format!("{} parse 2026112200000000420076 > /dev/full", text(orderctl_path()))]);
    let ran = run(shell, b"");
    assert_eq!(ran.code, Some(3));
    assert!(ran.err().starts_with("orderctl: cannot write to standard output: "), "{}", ran.err());
}

#[test]
fn a_line_over_the_cap_is_refused_without_being_kept() {
    let (_scratch, home) = scratch();
    let (mut child, mut stdin, mut stdout) = creating(&home);
    writeln!(stdin, "before").expect("the child reads");
    assert_eq!(line(&mut stdout).len(), 22);
    let before = memory_peak(&child);
    let chunk = vec![b'x'; 1 << 20];
    for _ in 0..300 {
        stdin.write_all(&chunk).expect("the child reads");
    }
    stdin.write_all(b"\nafter\n").expect("the child reads");
    assert_eq!(line(&mut stdout), "-");
    assert_eq!(line(&mut stdout).len(), 22);
    if let (Some(before), Some(after)) = (before, memory_peak(&child)) {
        assert!(after < before + (64 << 20), "300 MiB of line took {} bytes", after - before);
    }
    drop(stdin);
    assert_eq!(child.wait().expect("a child can be waited for").code(), Some(1));
    assert_eq!(stderr(&mut child), "orderctl: line 2: a payload of 314572800 bytes is over the cap of 7168\n");
}

/// The most memory the child ever had, where the system tells.
fn memory_peak(child: &Child) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).ok()?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    peak.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib * 1024)
}

#[test]
fn a_store_is_open_once() {
    let (_scratch, home) = scratch();
    let (mut child, mut stdin, mut stdout) = creating(&home);
    writeln!(stdin, "one").expect("the child reads");
    let number = line(&mut stdout);
    for arguments in [
        vec!["create", "--data", text(&home)],
        vec!["get", "--data", text(&home), &number],
        vec!["scan", "--data", text(&home)],
        vec!["verify", "--data", text(&home)],
        vec!["status", "--data", text(&home)],
        vec!["reconcile", "--data", text(&home)],
        vec!["drain", "--data", text(&home), "1"],
        vec!["weights", "--data", text(&home)],
    ] {
        let ran = orderctl(&arguments, b"").expect(4);
        assert_eq!(ran.out(), "");
        assert!(ran.err().contains("in use by another process"), "{}", ran.err());
    }
    // The one that has it open did not notice.
    writeln!(stdin, "two").expect("the child reads");
    assert_eq!(line(&mut stdout).len(), 22);
    drop(stdin);
    assert!(child.wait().is_ok_and(|status| status.success()));
    assert_eq!(orderctl(["scan", "--data", text(&home)], b"").expect(0).out().lines().count(), 2);
}

#[test]
fn a_closed_store_may_be_copied_and_moved() {
    let (scratch, home) = scratch();
    let first = orderctl(["create", "--data", text(&home), "--sets", "7,8"], b"a\nb\nc\n").expect(0).out();
    let (copy, moved) = (scratch.path().join("copy"), scratch.path().join("moved"));
    copy_tree(&home, &copy);
    std::fs::rename(&home, &moved).expect("a directory can be moved");
    for place in [&copy, &moved] {
        assert_eq!(orderctl(["verify", "--data", text(place)], b"").expect(0).out(), "");
        let more = orderctl(["create", "--data", text(place)], b"d\n").expect(0).out();
        assert!(!first.contains(more.trim_end()));
        assert_eq!(orderctl(["scan", "--data", text(place)], b"").expect(0).out().lines().count(), 4);
    }
}

/// Three replicas where `orderctl` would have them, which can be made to fail.
fn failing(home: &Path, set: SetId, faults: &FaultControl) -> SetConfig {
    (0..3u8).fold(SetConfig::new(set), |config, index| {
        let (dir, faults) = (home.join(format!("{set}/{index}")), faults.clone());
        config.replica_with(move |options| {
            let mut options = options.clone();
            options.dir = Some(dir.clone());
            Ok(Faulty::new(Arc::new(SledReplica::open(&options)?), faults.clone()))
        })
    })
}

#[test]
fn reconcile_ends_what_was_given_up_and_says_what_is_left() {
    let (scratch, home) = scratch();
    let [sick, well] = [7, 8].map(|id| SetId::new(id).expect("below 1,000"));
    let (faults, none) = (FaultControl::new(), FaultControl::new());
    let builder = OrderStore::builder().home(&home).quorum(Quorum::new(3, 2, 2).expect("a quorum"));
    let store = builder.add_set(failing(&home, sick, &faults)).add_set(failing(&home, well, &none)).open().expect("it opens");
    let placed = store.create("before").wait().expect("all is well");
    // Whoever is sent there from now on is placed on the other SET, whose record says so.
    faults.fail_applies(usize::MAX);
    let superseded = (0..1_000).find_map(|n| {
        let placed = store.create(format!("order {n}")).wait().expect("one SET is well");
        assert_eq!(placed.number.set_id(), well);
        placed.superseded.first().copied()
    });
    let superseded = superseded.expect("a SET that seems well takes half of the orders at first");
    store.close().wait().expect("closed");

    // The SET cannot be reached: that is what is left.
    let aside = scratch.path().join("aside");
    std::fs::rename(home.join(sick.to_string()), &aside).expect("a directory can be moved");
    let ran = orderctl(["reconcile", "--data", text(&home)], b"").expect(1);
    let lines: Vec<String> = ran.out().lines().map(str::to_owned).collect();
    assert!(lines[0].starts_with("notes "), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("open {superseded}"))), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with(&format!("unreachable set {sick}"))), "{lines:?}");
    assert_eq!(ran.err(), "", "no progress where there is no terminal");
    let ran = orderctl(["reconcile", "--json", "--data", text(&home)], b"").expect(1);
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert_eq!(told["unreachable"], serde_json::json!([7]));
    let ran = orderctl(["status", "--json", "--data", text(&home)], b"").expect(0);
    let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
    assert!(told["sets"][0]["notes_waiting"].as_u64().is_some_and(|waiting| waiting > 0), "{told}");
    assert!(told["sets"][0]["closed_for_creates"].is_string(), "{told}");

    // It is back: the number becomes void on all of its replicas.
    std::fs::rename(&aside, home.join(sick.to_string())).expect("a directory can be moved");
    let ran = orderctl(["reconcile", "--data", text(&home)], b"").expect(0);
    assert_eq!(ran.out().lines().count(), 1, "{}", ran.out());
    orderctl(["get", "--data", text(&home), &superseded.to_string()], b"").expect(1);
    orderctl(["get", "--data", text(&home), &placed.number.to_string()], b"").expect(0);
    assert_eq!(orderctl(["verify", "--data", text(&home)], b"").expect(0).out(), "");
}

#[test]
fn reconcile_names_a_number_that_was_given_up_and_changed_since_and_touches_neither_order() {
    let (_scratch, home) = scratch();
    let input: String = (0..100).map(|n| format!("order {n}\n")).collect();
    let created = orderctl(["create", "--data", text(&home), "--sets", "7,8"], input.as_bytes()).expect(0).out();
    let numbers: Vec<OrderNumber> = created.lines().map(|number| number.parse().expect("a number")).collect();
    let [first, second] = [7, 8].map(|set| *numbers.iter().find(|number| number.set_id().get() == set).expect("both have some"));
    let store = OrderStore::builder().home(&home).open().expect("it opens");
    let given_up = store.get(first).wait().expect("read").expect("there").version;
    let changed = store.update(first, given_up, "changed").wait().expect("written");
    store.close().wait().expect("closed");
    // As if the second order had been placed in the place of the first, as that was before it was changed.
    for index in 0..3 {
        let replica = open_replica(&home, 8, index).expect("it opens");
        let mut record = held_by(&replica).expect("read").0.remove(&second).expect("all hold it");
        record.version.counter += 1_000_000;
        record.origin = Some(Arc::new(Origin { supersedes: vec![(first, given_up)], ..Origin::default() }));
        let mut group = Group::new(replica.epoch());
        group.push(ordermint::Write::new(second, &record, false)).expect("room");
        replica.apply(&group).expect("applied");
        replica.close().expect("closed");
    }

    let alarm = format!("{first} was given up, and stands at version {changed}: somebody was told of it");
    // It says so each time, as nothing is done about it.
    for _ in 0..2 {
        let ran = orderctl(["reconcile", "--data", text(&home)], b"").expect(1);
        let counts = "notes 1 keys 0 voided 0 open 0 unverified 0 undecided 0 unreachable 0 alarms 1";
        assert_eq!((ran.out(), ran.err()), (format!("{counts}\nalarm: {alarm}\n"), String::new()));
        let ran = orderctl(["reconcile", "--json", "--data", text(&home)], b"").expect(1);
        let told: serde_json::Value = serde_json::from_slice(&ran.stdout).expect("JSON");
        let expected = serde_json::json!([{ "kind": "alive", "numbers": [first.to_string()], "what": alarm }]);
        assert_eq!(told["alarms"], expected);
        let got = orderctl(["get", "--data", text(&home), &first.to_string(), &second.to_string()], b"").expect(0).records();
        let place = numbers.iter().position(|number| *number == second).expect("it was created");
        let payloads = [b"changed".to_vec(), format!("order {place}").into_bytes()];
        assert_eq!(got, [first, second].map(|number| number.to_string()).into_iter().zip(payloads).collect::<Vec<_>>());
    }
    assert_eq!(orderctl(["verify", "--data", text(&home)], b"").expect(0).out(), "");
    for index in 0..3 {
        let replica = open_replica(&home, 7, index).expect("it opens");
        let record = held_by(&replica).expect("read").0.remove(&first).expect("all hold it");
        assert_eq!((record.version, &record.value[..]), (changed, &b"changed"[..]));
        replica.close().expect("closed");
    }
}

#[test]
fn an_input_with_request_keys_that_was_cut_short_by_a_kill_is_simply_run_again() {
    let (_scratch, home) = scratch();
    let lines: Vec<String> = (0..3_000).map(|n| format!("order {n} pay-{n}")).collect();
    let input = lines.join("\n");
    let arguments = ["create", "--data", text(&home), "--sets", "7,8", "--request-key-column", "3"];
    let mut child = start(arguments);
    let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let feeder = std::thread::spawn({
        let input = input.clone();
        // The child is killed before it has read everything, or at the end of it.
        move || drop(stdin.write_all(input.as_bytes()))
    });
    let mut stdout = BufReader::new(stdout);
    let mut seen: Vec<String> = (0..300).map(|_| line(&mut stdout)).collect();
    child.kill().expect("a child can be killed");
    child.wait().expect("a child can be waited for");
    feeder.join().expect("feeding does not panic");
    // What was printed until then; a last line may be cut.
    let mut rest = String::new();
    stdout.read_to_string(&mut rest).expect("text");
    seen.extend(rest.split_inclusive('\n').filter_map(|line| line.strip_suffix('\n')).map(str::to_owned));

    let again = orderctl(arguments, input.as_bytes()).expect(0).out();
    let numbers: Vec<&str> = again.lines().collect();
    assert_eq!(numbers.len(), lines.len());
    assert!(numbers.iter().zip(&seen).all(|(number, seen)| number == seen), "what was printed is printed again");
    assert_eq!(orderctl(arguments, input.as_bytes()).expect(0).out(), again, "the same numbers in the same order");
    let scanned = orderctl(["scan", "--data", text(&home)], b"").expect(0).records();
    let mut expected: Vec<_> = numbers.iter().zip(&lines).map(|(n, line)| ((*n).to_owned(), line.clone().into_bytes())).collect();
    expected.sort();
    assert_eq!(scanned, expected, "and nothing else");
}
