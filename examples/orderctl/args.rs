//! The command line, taken apart. Pure: nothing is opened, nothing printed.

use ordermint::{Day, Quorum, SetId};
use std::ffi::OsString;
use std::path::PathBuf;

/// What was asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    /// Each line of standard input becomes an order.
    Create { data: PathBuf, sets: Option<Vec<SetId>>, quorum: Option<Quorum> },
    /// Print these orders.
    Get { data: PathBuf, numbers: Vec<OsString> },
    /// Print all orders, or those of a SET, a day, or both.
    Scan { data: PathBuf, set: Option<SetId>, date: Option<Day> },
    /// Read every record of every replica.
    Verify { data: PathBuf },
    /// Say how the store is.
    Status { data: PathBuf, json: bool },
    /// Take numbers apart.
    Parse { numbers: Vec<OsString> },
    /// Print the usage.
    Help,
}

/// Why the command line makes no sense, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Misuse(pub(crate) String);

/// What `--help` prints, and what follows every complaint about the command line.
pub(crate) const USAGE: &str = "\
usage: orderctl create --data DIR [--sets 7,8] [--quorum N,R,W]   each line of standard input is an order
       orderctl get    --data DIR NUMBER...                       print orders: number TAB payload
       orderctl scan   --data DIR [--set 7] [--date 2026-11-22]   print all orders in order of number
       orderctl verify --data DIR                                 read every record of every replica
       orderctl status --data DIR [--json]                        say how the store is
       orderctl parse  NUMBER...                                  number TAB date TAB sequence TAB set TAB check
";

/// Takes the arguments apart; `arguments` is without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Misuse> {
    let mut arguments = arguments.into_iter();
    let Some(name) = arguments.next() else { return Err(Misuse("a command is missing".into())) };
    let allowed: &[&str] = match name.to_str() {
        Some("create") => &["--data", "--sets", "--quorum"],
        Some("get" | "verify") => &["--data"],
        Some("scan") => &["--data", "--set", "--date"],
        Some("status") => &["--data", "--json"],
        Some("parse") => &[],
        Some("help" | "--help" | "-h") => return Ok(Command::Help),
        _ => return Err(Misuse(format!("{name:?} is no command"))),
    };
    let Some(given) = Given::collect(arguments, allowed)? else { return Ok(Command::Help) };
    match name.to_str().unwrap_or_default() {
        "create" => {
            let sets = given.parsed("--sets", set_list)?;
            let quorum = given.parsed("--quorum", |text| text.parse::<Quorum>().map_err(|e| e.to_string()))?;
            Ok(Command::Create { data: given.data()?, sets, quorum }).and_then(|c| given.without_words(c))
        }
        "get" => Ok(Command::Get { data: given.data()?, numbers: given.numbers()? }),
        "scan" => {
            let set = given.parsed("--set", |text| text.parse::<SetId>().map_err(|e| e.to_string()))?;
            let date = given.parsed("--date", |text| text.parse::<Day>().map_err(|e| e.to_string()))?;
            Ok(Command::Scan { data: given.data()?, set, date }).and_then(|c| given.without_words(c))
        }
        "verify" => Ok(Command::Verify { data: given.data()? }).and_then(|c| given.without_words(c)),
        "status" => {
            let json = given.options.iter().any(|(name, _)| *name == "--json");
            Ok(Command::Status { data: given.data()?, json }).and_then(|c| given.without_words(c))
        }
        _ => Ok(Command::Parse { numbers: given.numbers()? }),
    }
}

/// Options and words, not yet looked into.
struct Given {
    options: Vec<(&'static str, OsString)>,
    words: Vec<OsString>,
}

/// The one option without a value.
const FLAG: &str = "--json";
const ALL: [&str; 6] = ["--data", "--sets", "--quorum", "--set", "--date", FLAG];

impl Given {
    /// `None` where help was asked for.
    fn collect(mut arguments: impl Iterator<Item = OsString>, allowed: &[&str]) -> Result<Option<Given>, Misuse> {
        let mut given = Given { options: Vec::new(), words: Vec::new() };
        while let Some(argument) = arguments.next() {
            let bytes = argument.as_encoded_bytes();
            if bytes == b"--" {
                given.words.extend(arguments);
                break;
            }
            if bytes == b"--help" || bytes == b"-h" {
                return Ok(None);
            }
            if bytes.len() < 2 || bytes[0] != b'-' {
                given.words.push(argument);
                continue;
            }
            let (name, inline) = split_at_equals(&argument);
            let Some(name) = ALL.into_iter().find(|known| name == *known && allowed.contains(known)) else {
                return Err(Misuse(format!("{argument:?} is no option of this command")));
            };
            if given.options.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Misuse(format!("{name} was given twice")));
            }
            let value = match (name, inline) {
                (FLAG, Some(_)) => return Err(Misuse(format!("{name} takes no value"))),
                (FLAG, None) => OsString::new(),
                (_, Some(value)) => value,
                (_, None) => arguments.next().ok_or_else(|| Misuse(format!("{name} needs a value")))?,
            };
            given.options.push((name, value));
        }
        Ok(Some(given))
    }

    fn value(&self, name: &str) -> Option<&OsString> {
        self.options.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    fn data(&self) -> Result<PathBuf, Misuse> {
        match self.value("--data") {
            Some(dir) if !dir.is_empty() => Ok(PathBuf::from(dir)),
            Some(_) => Err(Misuse("--data needs a directory".into())),
            None => Err(Misuse("--data DIR is missing".into())),
        }
    }

    /// The value of option `name`, read by `read`, where it was given.
    fn parsed<T>(&self, name: &str, read: impl FnOnce(&str) -> Result<T, String>) -> Result<Option<T>, Misuse> {
        let Some(value) = self.value(name) else { return Ok(None) };
        let text = value.to_str().ok_or_else(|| Misuse(format!("{name} {value:?} is no text")))?;
        read(text).map(Some).map_err(|reason| Misuse(format!("{name} {text:?}: {reason}")))
    }

    fn numbers(self) -> Result<Vec<OsString>, Misuse> {
        if self.words.is_empty() { Err(Misuse("a NUMBER is missing".into())) } else { Ok(self.words) }
    }

    fn without_words(self, command: Command) -> Result<Command, Misuse> {
        match self.words.first() {
            None => Ok(command),
            Some(word) => Err(Misuse(format!("{word:?} is one word too many"))),
        }
    }
}

/// `--name=value` as name and value. Only text before the `=` can name an option.
fn split_at_equals(argument: &OsString) -> (&str, Option<OsString>) {
    match argument.to_str() {
        Some(text) => match text.split_once('=') {
            Some((name, value)) => (name, Some(value.into())),
            None => (text, None),
        },
        // An option's value may be a path that is no UTF-8; it is then given as a word of its own.
        None => ("", None),
    }
}

/// `7,8` as SETs, none twice.
fn set_list(text: &str) -> Result<Vec<SetId>, String> {
    let mut sets = Vec::new();
    for part in text.split(',') {
        let set = part.parse::<SetId>().map_err(|_| format!("{part:?} is no SET, which is a number from 0 to 999"))?;
        if sets.contains(&set) {
            return Err(format!("SET {set} stands there twice"));
        }
        sets.push(set);
    }
    Ok(sets)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Misuse> {
        parse(line.split_whitespace().map(OsString::from))
    }

    fn sets(ids: &[u16]) -> Option<Vec<SetId>> {
        Some(ids.iter().map(|id| SetId::new(*id).expect("below 1,000")).collect())
    }

    #[test]
    fn every_command_of_the_contract_is_understood() {
        let data = PathBuf::from("d");
        let quorum = Quorum::new(3, 2, 2).ok();
        let numbers = || vec![OsString::from("1"), OsString::from("2")];
        let day = Day::new(2026, 11, 22).ok();
        for (line, command) in [
            ("create --data d", Command::Create { data: data.clone(), sets: None, quorum: None }),
            ("create --sets 7,008 --data d --quorum 3,2,2", Command::Create { data: data.clone(), sets: sets(&[7, 8]), quorum }),
            ("create --data=d --sets=0", Command::Create { data: data.clone(), sets: sets(&[0]), quorum: None }),
            ("get 1 --data d 2", Command::Get { data: data.clone(), numbers: numbers() }),
            ("get --data d -- 1 2", Command::Get { data: data.clone(), numbers: numbers() }),
            ("scan --data d", Command::Scan { data: data.clone(), set: None, date: None }),
            ("scan --data d --set 7 --date 2026-11-22", Command::Scan { data: data.clone(), set: SetId::new(7).ok(), date: day }),
            ("verify --data d", Command::Verify { data: data.clone() }),
            ("status --data d", Command::Status { data: data.clone(), json: false }),
            ("status --json --data d", Command::Status { data, json: true }),
            ("parse 1 2", Command::Parse { numbers: numbers() }),
            ("--help", Command::Help),
            ("scan --help", Command::Help),
        ] {
            assert_eq!(parsed(line), Ok(command), "{line}");
        }
    }

    #[test]
    fn whatever_else_is_refused_with_a_reason() {
        for (line, reason) in [
            ("", "a command is missing"),
            ("destroy", "\"destroy\" is no command"),
            ("create", "--data DIR is missing"),
            ("create --data", "--data needs a value"),
            ("create --data=", "--data needs a directory"),
            ("create --data d --data e", "--data was given twice"),
            ("create --data d orders.txt", "\"orders.txt\" is one word too many"),
            ("create --data d --json", "\"--json\" is no option of this command"),
            ("create --data d --sets", "--sets needs a value"),
            ("create --data d --sets=", "--sets \"\": \"\" is no SET, which is a number from 0 to 999"),
            ("create --data d --sets 7,7", "--sets \"7,7\": SET 007 stands there twice"),
            ("create --data d --sets 1000", "--sets \"1000\": \"1000\" is no SET, which is a number from 0 to 999"),
            ("create --data d --sets 1,,2", "--sets \"1,,2\": \"\" is no SET, which is a number from 0 to 999"),
            (
                "create --data d --quorum 0,0,0",
                "--quorum \"0,0,0\": a quorum needs 1 <= R <= N, 1 <= W <= N and N <= 9, got N=0 R=0 W=0",
            ),
            ("create --data d --quorum 3", "--quorum \"3\": a quorum is written N,R,W, got \"3\""),
            ("get --data d", "a NUMBER is missing"),
            ("get 1", "--data DIR is missing"),
            (
                "scan --data d --date 2026-02-30",
                "--date \"2026-02-30\": no day between 2000-01-01 and 3023-12-31: \"2026-02-30\"",
            ),
            ("scan --data d --set x", "--set \"x\": a SET id has one to three digits, 000 to 999"),
            ("status --data d --json=yes", "--json takes no value"),
            ("parse", "a NUMBER is missing"),
            ("parse --data d 1", "\"--data\" is no option of this command"),
        ] {
            assert_eq!(parsed(line), Err(Misuse(reason.into())), "{line}");
        }
    }
}
