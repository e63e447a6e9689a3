//! Runs the transcripts in `tests/transcripts`: commands, and exactly what they print and how they exit.
//!
//! ```text
//! # a comment
//! $ orderctl create --data store     a command, run in an empty directory of the transcript's own
//! < a line                           of standard input; `<|` is one without an end of line
//! > {a}                              a line of standard output
//! ! orderctl: ...                    a line of standard error
//! ? 1                                the exit code; 0 where it is not said
//! ```
//! `{name}` stands for letters, digits and hyphens: whatever is there the first time, the same ever after, in commands too.
//! `{*}` stands for anything. `\t`, `\\` and `\xNN` are bytes. Beside `orderctl` there are `rm`, `mv`, `cp` and `write FILE`.

mod common;

use common::{Ran, copy_tree, orderctl_path, run, say};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::Command;

/// A command and what is expected of it.
#[derive(Default)]
struct Step {
    at: usize,
    command: String,
    input: Vec<u8>,
    output: Vec<String>,
    errors: Vec<String>,
    code: i32,
}

#[test]
fn every_transcript_is_what_the_tool_does() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transcripts");
    let mut paths: Vec<_> = fs::read_dir(dir).expect("there are transcripts").map(|e| e.expect("readable").path()).collect();
    paths.sort();
    let (mut steps, mut failures) = (0, String::new());
    for path in &paths {
        let text = fs::read_to_string(path).expect("a transcript is text");
        let scratch = tempfile::tempdir().expect("a temporary directory");
        let mut names = BTreeMap::new();
        for step in read(&text) {
            steps += 1;
            if let Err(difference) = play(&step, scratch.path(), &mut names) {
                // What follows builds on this step.
                let _ = writeln!(failures, "{}:{}: {}\n{difference}", path.display(), step.at, step.command);
                break;
            }
        }
    }
    assert!(failures.is_empty(), "\n{failures}");
    say(&format!("{} transcripts, {steps} commands", paths.len()));
    assert!(steps > 0, "there is something to play");
}

fn read(text: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let at = at + 1;
        let (mark, rest) = line.split_at(line.len().min(1));
        if mark.is_empty() || mark == "#" {
            continue;
        }
        let content = rest.strip_prefix(' ').unwrap_or(rest);
        if mark == "$" {
            steps.push(Step { at, command: content.to_string(), ..Step::default() });
            continue;
        }
        let step = steps.last_mut().unwrap_or_else(|| panic!("line {at}: no command yet"));
        match mark {
            "<" => match rest.strip_prefix('|') {
                Some(unfinished) => step.input.extend(bytes(unfinished)),
                None => step.input.extend([bytes(content), vec![b'\n']].concat()),
            },
            ">" => step.output.push(content.to_string()),
            "!" => step.errors.push(content.to_string()),
            "?" => step.code = content.parse().unwrap_or_else(|_| panic!("line {at}: no exit code")),
            _ => panic!("line {at}: begins with none of # $ < > ! ?"),
        }
    }
    steps
}

type Names = BTreeMap<String, Vec<u8>>;

fn play(step: &Step, dir: &Path, names: &mut Names) -> Result<(), String> {
    let words = words(&step.command, names);
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let ran = match words[..] {
        ["orderctl", ref arguments @ ..] => {
            let mut command = Command::new(orderctl_path());
            command.current_dir(dir).args(arguments);
            run(command, &step.input)
        }
        ["rm", path] => done(fs::remove_dir_all(dir.join(path)).or_else(|_| fs::remove_file(dir.join(path)))),
        ["mv", from, to] => done(fs::rename(dir.join(from), dir.join(to))),
        ["cp", from, to] => {
            copy_tree(&dir.join(from), &dir.join(to));
            done(Ok(()))
        }
        ["write", path] => done(fs::write(dir.join(path), &step.input)),
        _ => return Err(format!("unknown command {:?}", step.command)),
    };
    let mut difference = String::new();
    compare("standard output", &step.output, &ran.stdout, names, &mut difference);
    compare("standard error", &step.errors, &ran.stderr, names, &mut difference);
    if ran.code != Some(step.code) {
        let _ = writeln!(difference, "exit code {:?} where {} belongs", ran.code, step.code);
    }
    if difference.is_empty() { Ok(()) } else { Err(difference) }
}

fn done(result: std::io::Result<()>) -> Ran {
    match result {
        Ok(()) => Ran { code: Some(0), stdout: Vec::new(), stderr: Vec::new() },
        Err(error) => Ran { code: Some(1), stdout: Vec::new(), stderr: format!("{error}\n").into() },
    }
}

/// Words between spaces; single quotes keep them together; names are filled in.
fn words(command: &str, names: &Names) -> Vec<String> {
    let mut filled = command.to_string();
    for (name, value) in names {
        filled = filled.replace(&format!("{{{name}}}"), &String::from_utf8_lossy(value));
    }
    let (mut words, mut word, mut quoted, mut started) = (Vec::new(), String::new(), false, false);
    for letter in filled.chars() {
        match letter {
            '\'' => (quoted, started) = (!quoted, true),
            ' ' if !quoted => {
                if started {
                    words.push(std::mem::take(&mut word));
                }
                started = false;
            }
            _ => {
                word.push(letter);
                started = true;
            }
        }
    }
    if started {
        words.push(word);
    }
    words
}

fn compare(what: &str, expected: &[String], got: &[u8], names: &mut Names, difference: &mut String) {
    let mut lines = got.split_inclusive(|byte| *byte == b'\n');
    for expected in expected {
        match lines.next() {
            None => {
                let _ = writeln!(difference, "{what} lacks: {expected}");
            }
            Some(line) => match line.strip_suffix(b"\n") {
                Some(line) if matches(expected, line, names) => {}
                _ => {
                    let _ = writeln!(difference, "{what} expected: {expected}\n{what} got:      {}", line.escape_ascii());
                }
            },
        }
    }
    for line in lines {
        let _ = writeln!(difference, "{what} has too much: {}", line.escape_ascii());
    }
}

/// Whether `line` is what `pattern` says; on success the names met for the first time are kept.
fn matches(pattern: &str, line: &[u8], names: &mut Names) -> bool {
    let mut bound = names.clone();
    if matches_from(&parts(pattern), line, &mut bound) {
        *names = bound;
        return true;
    }
    false
}

#[derive(Debug, PartialEq)]
enum Part {
    Bytes(Vec<u8>),
    Name(String),
    Anything,
}

fn parts(pattern: &str) -> Vec<Part> {
    let mut parts = Vec::new();
    let mut rest = pattern;
    while !rest.is_empty() {
        let named = rest.match_indices('{').find_map(|(open, _)| {
            let inside = &rest[open + 1..];
            let name = &inside[..inside.find('}')?];
            let is_name = name == "*" || !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric());
            is_name.then_some((open, name))
        });
        let (literal, after) = match named {
            Some((open, name)) => (&rest[..open], &rest[open + name.len() + 2..]),
            None => (rest, ""),
        };
        if !literal.is_empty() {
            parts.push(Part::Bytes(bytes(literal)));
        }
        if let Some((_, name)) = named {
            parts.push(if name == "*" { Part::Anything } else { Part::Name(name.to_string()) });
        }
        rest = after;
    }
    parts
}

fn matches_from(parts: &[Part], line: &[u8], names: &mut Names) -> bool {
    let Some((part, parts)) = parts.split_first() else { return line.is_empty() };
    match part {
        Part::Bytes(bytes) => line.strip_prefix(&bytes[..]).is_some_and(|line| matches_from(parts, line, names)),
        Part::Anything => (0..=line.len()).any(|skip| {
            // A try that fails must leave no name behind.
            let mut tried = names.clone();
            let fits = matches_from(parts, &line[skip..], &mut tried);
            if fits {
                *names = tried;
            }
            fits
        }),
        Part::Name(name) => match names.get(name).cloned() {
            Some(value) => line.strip_prefix(&value[..]).is_some_and(|line| matches_from(parts, line, names)),
            None => {
                let length = line.iter().take_while(|b| b.is_ascii_alphanumeric() || **b == b'-').count();
                names.insert(name.clone(), line[..length].to_vec());
                length > 0 && matches_from(parts, &line[length..], names)
            }
        },
    }
}

/// Text with `\t`, `\\` and `\xNN` as bytes.
fn bytes(text: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        rest = after;
        match (first, after) {
            (b'\\', [b't', after @ ..]) => {
                bytes.push(b'\t');
                rest = after;
            }
            (b'\\', [b'\\', after @ ..]) => {
                bytes.push(b'\\');
                rest = after;
            }
            (b'\\', [b'x', high, low, after @ ..]) => {
                let digit = |d: &u8| char::from(*d).to_digit(16).unwrap_or_else(|| panic!("\\x needs two digits: {text}"));
                bytes.push((digit(high) * 16 + digit(low)) as u8);
                rest = after;
            }
            (b'\\', _) => panic!("an escape that is none: {text}"),
            _ => bytes.push(*first),
        }
    }
    bytes
}

#[test]
fn the_runner_itself_sees_differences() {
    let mut names = Names::new();
    assert!(matches("{a}\\t{b} x", b"12\t2026-11-22 x", &mut names));
    assert!(matches("{b} {a}", b"2026-11-22 12", &mut names));
    assert!(!matches("{a}", b"13", &mut names));
    assert!(!matches("{a}", b"", &mut Names::new()));
    assert!(matches("{\"k\":[{*}]}", b"{\"k\":[1,2]}", &mut names));
    assert!(!matches("{\"k\":1}", b"{\"k\":1} ", &mut names));
    assert_eq!(names.len(), 2, "only what matched is kept");
    assert_eq!(words("a '' 'b c' {a}", &names), ["a", "", "b c", "12"]);
    let mut difference = String::new();
    compare("it", &["x".into(), "y".into()], b"x\nz", &mut names, &mut difference);
    assert_eq!(difference, "it expected: y\nit got:      z\n");
    let steps = read("# c\n$ orderctl create\n< one\n<|two\n> {a}\n! e\n? 1\n\n$ rm x\n");
    assert_eq!((steps.len(), steps[0].code, &steps[0].input[..]), (2, 1, &b"one\ntwo"[..]));
}
