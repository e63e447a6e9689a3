//! In a system-call trace every printed number is preceded by the syncs that it needs; `trace/check_fdatasync.py` looks.

mod common;

use common::{Ran, orderctl_path, run, say};
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

const PATTERN: &str = "<trace-[0-9]{6}>";

/// Runs the script; `None`, said aloud, where there is no Python.
fn check(log: &Path, lines: &Path, w: u8) -> Option<Ran> {
    if !has("python3") {
        return None;
    }
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/trace/check_fdatasync.py");
    let mut command = Command::new("python3");
    command.arg(script).args(["--pattern", PATTERN, "--w", &w.to_string()]).args([log, lines]);
    Some(run(command, b""))
}

fn has(tool: &str) -> bool {
    let mut command = Command::new(tool);
    command.arg("--version").stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let found = command.status().is_ok_and(|status| status.success());
    if !found {
        say(&format!("SKIPPED: there is no {tool} here"));
    }
    found
}

/// The small log as it is passes; whatever is changed so that a sync is missing, late, failed or too early is found.
#[test]
fn the_script_finds_every_planted_fault() {
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let (log, lines) = (scratch.path().join("log"), scratch.path().join("lines"));
    let good = include_str!("trace/small.log");
    fs::write(&lines, "a <trace-000000>\nb <trace-000001>\nc <trace-000002>\nd <trace-000003>\n").expect("written");
    let judge = |text: &str| {
        fs::write(&log, text).expect("written");
        check(&log, &lines, 2)
    };
    let Some(ran) = judge(good) else { return };
    assert_eq!((ran.code, ran.out().trim()), (Some(0), "3 numbers, 5 syncs, 0 numbers printed too early"), "{}", ran.err());

    let synced_early = "101 fdatasync(19</s/007/0/days/2026-11-22/db>) = 0\n";
    let faults: [(&str, String, &str); 7] = [
        ("a sync is missing", good.replacen("102 fdatasync(20</s/007/1/days/2026-11-22/db>) = 0\n", "", 1), "durable on 0"),
        (
            "both syncs of the second group are missing",
            {
                let (head, tail) = good.split_at(good.rfind("101 fdatasync").expect("it is there"));
                format!("{head}{}", &tail[tail.find("100 write").expect("it is there")..])
            },
            "durable on no replica",
        ),
        (
            "a sync failed",
            good.replacen("101 <... fdatasync resumed>) = 0", "101 <... fdatasync resumed>) = -1 EIO (Input/output error)", 1),
            "durable on 1",
        ),
        (
            "a sync began before its write had returned",
            {
                let line = "102 fdatasync(20</s/007/1/days/2026-11-22/db>) = 0\n";
                good.replacen(line, "", 1).replacen("102 <... pwrite64", &format!("{line}102 <... pwrite64"), 1)
            },
            "durable on 0",
        ),
        (
            "a sync returned after the number was printed",
            {
                let line = "101 <... fdatasync resumed>) = 0\n";
                good.replacen(line, "", 1).replacen("103 fdatasync", &format!("{line}103 fdatasync"), 1)
            },
            "durable on 1",
        ),
        (
            "another write was in flight when the sync began",
            {
                let write = "109 pwrite64(9</s/007/0/days/2026-11-22/db>, \"mark\", 4, 46";
                let late = format!("{synced_early}109 <... pwrite64 resumed>) = 4\n");
                good.replacen(synced_early, &format!("{write} <unfinished ...>\n{late}"), 1)
            },
            "durable on 1",
        ),
        (
            "the sync was of another database",
            {
                let other = synced_early.replace("/days/2026-11-22/db", "/meta/db");
                good.replacen(synced_early, &other, 1)
            },
            "durable on 1",
        ),
    ];
    for (fault, text, told) in faults {
        assert_ne!(text, good, "{fault}: nothing was changed");
        let ran = judge(&text).expect("Python was there before");
        assert_eq!(ran.code, Some(1), "{fault}: {}{}", ran.out(), ran.err());
        assert!(ran.out().contains(told), "{fault}: {}", ran.out());
    }
    for (fault, text) in [
        ("bytes were cut short", good.replacen("<trace-000000>\", 14", "<trace-\"..., 14", 1)),
        ("nothing was printed", good.lines().filter(|line| !line.contains("write(1<")).collect::<Vec<_>>().join("\n")),
    ] {
        let ran = judge(&text).expect("Python was there before");
        assert_eq!(ran.code, Some(2), "{fault}: {}{}", ran.out(), ran.err());
    }
}

#[test]
fn every_number_is_synced_on_two_of_three_replicas_before_it_is_printed() {
    traced("3,2,2", 2);
}

#[test]
fn every_number_is_synced_on_the_only_replica_before_it_is_printed() {
    traced("1,1,1", 1);
}

/// Orders one by one, so that each has a group of its own, and then many at once.
fn traced(quorum: &str, w: u8) {
    if !has("strace") {
        return;
    }
    let scratch = tempfile::tempdir().expect("a temporary directory");
    let path = |name: &str| -> PathBuf { scratch.path().join(name) };
    let (log, lines_path) = (path("log"), path("lines"));
    let lines: Vec<String> = (0..1_050).map(|n| format!("order <trace-{n:06}> {}", "x".repeat(n % 90))).collect();
    fs::write(&lines_path, lines.join("\n")).expect("written");

    let mut command = Command::new("strace");
    command.args([
        "-f",
        "-y",
        "-s",
        "4194304",
        "-e",
        "trace=write,pwrite64,pwritev,pwritev2,writev,fdatasync,fsync,sync_file_range",
    ]);
    command.arg("-o").arg(&log).arg(orderctl_path()).args(["create", "--quorum", quorum, "--data"]).arg(path("store"));
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("strace starts");
    let (mut stdin, stdout) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
    let mut numbers = BufReader::new(stdout).lines();
    let (singly, at_once) = lines.split_at(50);
    for line in singly {
        if writeln!(stdin, "{line}").is_err() {
            break;
        }
        if numbers.next().is_none() {
            break;
        }
    }
    let _ = stdin.write_all(at_once.join("\n").as_bytes());
    drop(stdin);
    let rest = numbers.map_while(Result::ok).count();
    let ended = child.wait_with_output().expect("a child can be waited for");
    let told = String::from_utf8_lossy(&ended.stderr);
    if !ended.status.success() && told.contains("ptrace") {
        say(&format!("SKIPPED: strace may not trace here: {told}"));
        return;
    }
    assert!(ended.status.success(), "{} {told}", ended.status);
    assert_eq!(rest, at_once.len(), "{told}");

    let Some(ran) = check(&log, &lines_path, w) else { return };
    assert_eq!(ran.code, Some(0), "{}{}", ran.out(), ran.err());
    assert!(ran.out().starts_with("1050 numbers, "), "{}", ran.out());
    say(&format!("N,R,W={quorum}: {}", ran.out().trim()));

    // The same log without a sync that the first number needs must not pass, or the check is blind.
    let text = fs::read_to_string(&log).expect("the log is text");
    let begins = |line: &str| line.contains(" fdatasync(") && line.contains("/days/");
    let first_number = text.lines().position(|line| line.contains(" write(1<") && line.contains("\"20")).expect("a number");
    let doctored: Vec<&str> =
        text.lines().enumerate().filter(|(at, line)| *at > first_number || !begins(line)).map(|(_, l)| l).collect();
    let doctored_path = path("doctored");
    fs::write(&doctored_path, doctored.join("\n")).expect("written");
    let ran = check(&doctored_path, &lines_path, w).expect("Python was there before");
    assert_eq!(ran.code, Some(1), "{}{}", ran.out(), ran.err());
}
