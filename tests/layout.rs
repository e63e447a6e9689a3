//! The architecture as a table: which folder may import which. Read from the source, so that it cannot drift from it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// A folder or file of `src/`, and what it may import of the crate beside `error` and `time`.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("order", &[]),
    ("topology", &["order", "config"]),
    ("health", &["order", "config", "topology"]),
    ("replica", &["order", "config"]),
    ("quorum", &["order", "config", "replica"]),
    ("heal", &["order", "quorum", "replica"]),
    ("set", &["order", "config", "pending", "replica", "quorum", "heal"]),
    ("store", &["order", "config", "pending", "job", "replica", "heal", "set", "topology", "health"]),
    ("testing", &["order", "config", "health", "replica", "set"]),
    ("config", &["order", "replica", "topology"]),
    ("error", &["order", "config", "replica", "set", "topology"]),
    ("job", &["pending"]),
    ("pending", &[]),
    ("time", &[]),
];

/// Files without clock, lock, disk or thread: values in, values out.
const PURE: &[&str] = &[
    "order/check.rs",
    "order/day.rs",
    "order/lease.rs",
    "order/number.rs",
    "order/set_id.rs",
    "topology",
    "health/breaker.rs",
    "health/budget.rs",
    "health/permit.rs",
    "health/window.rs",
    "quorum",
    "heal",
    "replica/group.rs",
    "replica/origin.rs",
    "replica/record.rs",
    "replica/values.rs",
    "replica/sled/runs.rs",
    "replica/sled/superblock.rs",
    "store/keys/decide.rs",
];

fn sources(dir: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(dir).expect("src is readable") {
        let path = entry.expect("src is readable").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
}

fn all_sources() -> Vec<(String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    sources(&src, &mut paths);
    // Tests in a file of their own may use what they like.
    paths.retain(|path| path.file_name().is_none_or(|name| name != "tests.rs"));
    paths.sort();
    let relative = |path: &Path| path.strip_prefix(&src).expect("below src").to_string_lossy().into_owned();
    paths.iter().map(|path| (relative(path), std::fs::read_to_string(path).expect("readable"))).collect()
}

/// Code without comments and without the tests at its end.
fn code(text: &str) -> String {
    let text = text.split("#[cfg(test)]\nmod ").next().unwrap_or(text);
    text.lines().map(|line| line.split("//").next().unwrap_or("")).collect::<Vec<_>>().join("\n")
}

/// The first names after each `crate::`.
fn imports(text: &str) -> BTreeSet<String> {
    let name = |rest: &str| rest.split(|c: char| !c.is_alphanumeric() && c != '_').next().unwrap_or("").to_owned();
    text.split("crate::").skip(1).map(name).filter(|name| !name.is_empty()).collect()
}

#[test]
fn every_folder_imports_only_what_the_table_allows() {
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, text) in all_sources() {
        let room = path.split(['/', '.']).next().expect("a path has a first part").to_owned();
        if room == "lib" {
            continue;
        }
        let Some((_, allowed)) = MAY_IMPORT.iter().find(|(name, _)| *name == room) else {
            panic!("src/{path} stands in no room of the table");
        };
        for import in imports(&code(&text)) {
            checked += 1;
            let own = import == room || import == "error" || import == "time";
            if !own && !allowed.contains(&import.as_str()) {
                wrong.push(format!("src/{path} imports crate::{import}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked > 50, "the test reads the imports: found {checked}");
}

#[test]
fn pure_files_know_no_clock_lock_disk_or_thread() {
    let forbidden =
        ["std::fs", "std::thread", "std::net", "parking_lot", "Instant::now", "SystemTime", "fastrand", "rustix", "sled::"];
    let mut wrong = Vec::new();
    let mut checked = 0;
    for (path, text) in all_sources() {
        if !PURE.iter().any(|pure| path == *pure || path.starts_with(&format!("{pure}/"))) {
            continue;
        }
        checked += 1;
        let code = code(&text);
        wrong.extend(forbidden.iter().filter(|word| code.contains(**word)).map(|word| format!("src/{path} uses {word}")));
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(checked >= PURE.len(), "every pure place of the table exists");
}

#[test]
fn one_file_alone_names_sled() {
    let names: Vec<String> = all_sources()
        .into_iter()
        .filter(|(path, text)| path != "replica/sled/engine.rs" && code(text).replace("self::sled::", "").contains(" sled::"))
        .map(|(path, _)| path)
        .collect();
    assert!(names.is_empty(), "{names:?} name sled; only replica/sled/engine.rs may");
}
