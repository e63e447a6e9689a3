//! What README.md and docs/FORMATS.md say of the code is still so. (The README's programs are compiled and run as doc tests.)

use ordermint::{
    ConfigError, Day, Error, Faults, NotAttempted, OrderNumber, ParseOrderNumberError, ReplicaState, SetId, SetState, Version,
    WriteToken,
};
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

fn text_of(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect("a file of this repository")
}

/// The names of the variants of `pub enum <name>`.
fn variants(name: &str) -> Vec<String> {
    let source = text_of("src/error.rs") + &text_of("src/error/not_attempted.rs");
    let body = source.split_once(&format!("pub enum {name} {{\n")).expect("the enum is there").1;
    let body = body.split_once("\n}\n").expect("it ends").0;
    let names = body.lines().filter_map(|line| {
        // Variants stand four spaces in; their fields eight, their comments and attributes begin otherwise.
        let line = line.strip_prefix("    ")?;
        let end = line.find(|c: char| !c.is_alphanumeric()).unwrap_or(line.len());
        line.starts_with(|c: char| c.is_ascii_uppercase()).then(|| line[..end].to_owned())
    });
    names.collect()
}

/// The rows of the README's table under `| `<name>::` |`: the variant, and what stands under "retry?".
fn table(name: &str) -> BTreeMap<String, String> {
    let readme = text_of("README.md");
    let rows = readme.split_once(&format!("| `{name}::` |")).expect("the table is there").1;
    let mut found = BTreeMap::new();
    for row in rows.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [variant, changed, retry, who] = cells[..] else { panic!("four cells: {row}") };
        assert!(!changed.is_empty() && !retry.is_empty() && !who.is_empty(), "each question is answered: {row}");
        assert!(found.insert(variant.trim_matches('`').to_owned(), retry.to_owned()).is_none(), "twice: {row}");
    }
    found
}

#[test]
fn every_error_stands_in_the_table_and_nothing_else_does() {
    for (name, at_least) in [("Error", 18), ("NotAttempted", 6)] {
        let mut variants = variants(name);
        assert!(variants.len() >= at_least, "the variants of {name} are read from its source: {variants:?}");
        variants.sort_unstable();
        assert_eq!(table(name).into_keys().collect::<Vec<_>>(), variants, "{name}");
    }
}

/// One of each. Beside [`every_error_stands_in_the_table_and_nothing_else_does`] it is complete when it is as long as the tables.
fn one_of_each() -> Vec<(&'static str, Error)> {
    let (set, day) = (SetId::MAX, Day::MIN);
    let number = OrderNumber::new(day, 1, set).expect("a number");
    let version = Version::default();
    let dir = || "dir".into();
    let not_attempted = |reason| Error::NotAttempted { reason };
    vec![
        ("Config", ConfigError::NoSets.into()),
        ("ParseOrderNumber", ParseOrderNumberError::Length { found: 0 }.into()),
        ("UnknownSet", Error::UnknownSet { set }),
        ("SetRetired", Error::SetRetired { set }),
        ("WrongSetState", Error::WrongSetState { set, state: SetState::Active, wanted: SetState::Draining }),
        ("DayDropped", Error::DayDropped { set, day, floor: day }),
        ("SetUnavailable", Error::SetUnavailable { set, retry_after: Duration::from_secs(1) }),
        ("ValueTooLarge", Error::ValueTooLarge { bytes: 2, max: 1 }),
        ("Ambiguous", { Error::Ambiguous { token: WriteToken { number, version }, acked: 1, failed: 0, in_flight: 2, need: 2 } }),
        ("KeyReused", Error::KeyReused { number }),
        ("KeyUnverified", Error::KeyUnverified { sets: vec![set] }),
        ("KeyConflict", Error::KeyConflict { numbers: vec![number] }),
        ("QuorumLost", Error::QuorumLost { set, need: 2, of: 3, good: 1, missing: Faults::default() }),
        ("DeadlineExceeded", Error::DeadlineExceeded { set, need: 2, asked: 3, good: 1 }),
        ("Unconfirmed", Error::Unconfirmed { number, need: 2 }),
        ("NoSuchOrder", Error::NoSuchOrder { number }),
        ("VersionMismatch", Error::VersionMismatch { number, expected: version, actual: version }),
        ("Stale", Error::Stale { number, found: None, wanted: version }),
        ("ModifyPanicked", Error::ModifyPanicked { number, message: String::new() }),
        ("Reentrant", Error::Reentrant),
        ("AnswerTaken", Error::AnswerTaken),
        ("UnknownToken", Error::UnknownToken { token: WriteToken { number, version } }),
        ("Superseded", Error::Superseded { token: WriteToken { number, version }, current: version }),
        ("Corrupt", Error::Corrupt { set, number, faults: Faults::default() }),
        ("Diverged", Error::Diverged { number, version }),
        ("InUse", Error::InUse { dir: dir() }),
        ("ForeignReplica", Error::ForeignReplica { dir: dir(), expected: String::new(), found: String::new() }),
        ("NoSuchReplica", Error::NoSuchReplica { set, index: 3, of: 3 }),
        ("WrongState", Error::WrongState { set, index: 0, state: ReplicaState::Voting }),
        ("StillNeeded", Error::StillNeeded { set, left: 1, need: 2 }),
        ("NothingLost", Error::NothingLost { set }),
        ("MapMismatch", Error::MapMismatch { stored: String::new(), given: String::new() }),
        ("NoStore", Error::NoStore { home: dir() }),
        ("CannotForm", Error::CannotForm { set, faults: Faults::default() }),
        ("System", Error::System { action: String::new(), message: String::new() }),
        ("Closed", Error::Closed),
        ("Busy", not_attempted(NotAttempted::Busy { set, operations: 1, bytes: 1 })),
        ("NoSetTakesOrders", not_attempted(NotAttempted::NoSetTakesOrders)),
        ("NoQuorum", not_attempted(NotAttempted::NoQuorum { set, need: 2, of: 3, have: 1, missing: Faults::default() })),
        ("Unavailable", not_attempted(NotAttempted::Unavailable { set, retry_after: Duration::from_secs(1) })),
        ("NoSetLeft", not_attempted(NotAttempted::NoSetLeft { attempts: Vec::new(), retry_after: Duration::from_secs(1) })),
        ("NoLease", not_attempted(NotAttempted::NoLease { set })),
        ("NoTurn", not_attempted(NotAttempted::NoTurn { number })),
        ("NoKeyTurn", not_attempted(NotAttempted::NoKeyTurn)),
        ("KeysBusy", not_attempted(NotAttempted::KeysBusy { waiting: 1 })),
        ("DayFull", not_attempted(NotAttempted::DayFull { set, day })),
        ("ClockJump", not_attempted(NotAttempted::ClockJump { set, known: day, clock: Day::MAX })),
        ("BelowFloor", not_attempted(NotAttempted::BelowFloor { set, floor: day, clock: day })),
        ("ClockOutOfRange", not_attempted(NotAttempted::ClockOutOfRange { wall_ms: 0 })),
    ]
}

#[test]
fn the_table_says_of_each_error_what_the_code_says_about_trying_again() {
    let mut rows = table("Error");
    rows.extend(table("NotAttempted"));
    assert_eq!(rows.remove("NotAttempted").as_deref(), Some("see below"));
    for (name, error) in one_of_each() {
        let retry = rows.remove(name).unwrap_or_else(|| panic!("{name} has no row"));
        let word = retry.split([',', ';']).next().unwrap_or_default();
        assert_eq!(word, if error.is_retryable() { "yes" } else { "no" }, "{name}: {retry}");
    }
    assert!(rows.is_empty(), "not compared with the code: {rows:?}");
}

/// Each drawing stands under the name of the file whose front comment it is copied from.
#[test]
fn the_formats_are_drawn_as_in_the_code() {
    let formats = text_of("docs/FORMATS.md");
    let mut drawings = 0;
    for part in formats.split("\n`src/").skip(1) {
        let Some((path, rest)) = part.split_once("`\n\n```text\n") else { continue };
        let drawing = rest.split_once("```").expect("a drawing ends").0;
        let path = format!("src/{path}");
        let source = text_of(&path);
        let front: String = source
            .lines()
            .map_while(|line| line.strip_prefix("//!"))
            .flat_map(|line| [line.strip_prefix(' ').unwrap_or(line), "\n"])
            .collect();
        assert!(front.contains(drawing), "{path} draws it otherwise than docs/FORMATS.md:\n{drawing}");
        drawings += 1;
    }
    assert_eq!(drawings, 9, "number, directory, superblock, marks, index, map, run, record, origin");
}

/// The numbers in the README's tables of settings and limits are those of the one table of defaults.
#[test]
fn the_defaults_are_those_of_the_code() {
    let config = text_of("src/config.rs");
    let readme = text_of("README.md");
    for (in_code, in_readme) in [
        ("DEADLINE: Duration = Duration::from_secs(5);", "| `deadline` | 5 s |"),
        ("VALUE_BYTES_MAX: usize = 7 * 1024;", "| `value_bytes_max` | 7,168 |"),
        ("IN_FLIGHT_MAX: usize = 65_536;", "| `max_in_flight` | 65,536 operations, 64 MiB |"),
        ("IN_FLIGHT_BYTES_MAX: usize = 64 << 20;", "| `max_in_flight` | 65,536 operations, 64 MiB |"),
        ("OPEN_TIMEOUT: Duration = Duration::from_secs(60);", "| `open_timeout` | 60 s |"),
        ("CLOSE_TIMEOUT: Duration = Duration::from_secs(10);", "| `close_timeout` | 10 s |"),
        ("CACHE_BYTES: u64 = 64 << 20;", "| `cache_bytes` | 64 MiB |"),
        ("RECENT_BYTES: usize = 16 << 20;", "| `recent_bytes` | 16 MiB |"),
        ("JOIN_RAMP: Duration = Duration::from_secs(60);", "| `ramp` | 60 s |"),
        ("ATTEMPTS: u32 = 2;", "| `attempts` | 2 |"),
        ("ATTEMPT_TIMEOUT: Duration = Duration::from_secs(1);", "| `attempt_timeout` | 1 s |"),
        ("FAILURES_IN_A_ROW: u32 = 5;", "| `failures_in_a_row` | 5 |"),
        ("FAILED_PERCENT: u32 = 50;", "| `failed_percent` | 50 % |"),
        ("BREAKER_WINDOW: Duration = Duration::from_secs(10);", "| `window` | 10 s, at least 20 calls |"),
        ("CALLS_MIN: u32 = 20;", "| `window` | 10 s, at least 20 calls |"),
        ("SLOW_AFTER: Duration = Duration::from_millis(500);", "| `slow_calls` | 500 ms, 80 % |"),
        ("SLOW_PERCENT: u32 = 80;", "| `slow_calls` | 500 ms, 80 % |"),
        ("OPEN_TIME: Duration = Duration::from_secs(1);", "| `open_time` | 1 s, doubling to 60 s |"),
        ("OPEN_TIME_MAX: Duration = Duration::from_secs(60);", "| `open_time` | 1 s, doubling to 60 s |"),
        ("FORGET_AFTER: Duration = Duration::from_secs(300);", "| `forget_after` | 5 min |"),
        ("PROBES_AT_ONCE: u32 = 3;", "| `probes` | 3 at once, 2 to close |"),
        ("PROBES_TO_CLOSE: u32 = 2;", "| `probes` | 3 at once, 2 to close |"),
        ("PROBE_TIMEOUT: Duration = Duration::from_secs(5);", "| `probe_timeout` | 5 s |"),
        (" RAMP: Duration = Duration::from_secs(10);", "| `BreakerSettings::ramp` | 10 s, from 10 % |"),
        ("RAMP_FROM_PERCENT: u32 = 10;", "| `BreakerSettings::ramp` | 10 s, from 10 % |"),
        ("MODIFY_THREADS: usize = 2;", "| `modify_threads` | 2 |"),
        ("REQUEST_KEY_DAYS: u32 = 2;", "| `request_key_days` | 2 |"),
    ] {
        assert!(config.contains(in_code), "the default has changed, and the README has not: {in_code}");
        assert!(readme.contains(in_readme), "the README does not say: {in_readme}");
    }
}

/// What a reader is sent to is there.
#[test]
fn links_to_files_lead_somewhere() {
    let mut links = 0;
    for document in ["README.md", "ARCHITECTURE.md", "docs/FORMATS.md"] {
        let base = Path::new(env!("CARGO_MANIFEST_DIR")).join(document);
        for target in text_of(document).split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            let path = target.split('#').next().unwrap_or_default();
            if !path.is_empty() && !path.contains("://") {
                links += 1;
                assert!(base.with_file_name(path).exists(), "{document} links to {target}");
            }
        }
    }
    assert!(links > 4, "links were read: {links}");
}
