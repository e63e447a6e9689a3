//! The command line, taken apart. Pure: nothing is opened, nothing printed.

use ordermint::{Day, Quorum, Retire, SetId, Zone};
use std::ffi::OsString;
use std::num::NonZeroUsize;
use std::path::PathBuf;

/// What was asked for.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Command {
    /// Each line of standard input becomes an order.
    Create { data: PathBuf, sets: Option<Vec<SetId>>, quorum: Option<Quorum>, key_column: Option<NonZeroUsize> },
    /// Print these orders.
    Get { data: PathBuf, numbers: Vec<OsString> },
    /// Print all orders, or those of a SET, a day, or both.
    Scan { data: PathBuf, set: Option<SetId>, date: Option<Day> },
    /// Read every record of every replica.
    Verify { data: PathBuf },
    /// Say how the store is.
    Status { data: PathBuf, json: bool },
    /// Do what records say is still to be done about other numbers.
    Reconcile { data: PathBuf, json: bool },
    /// Change the SETs of the store.
    Sets { data: PathBuf, change: Change },
    /// Take numbers apart.
    Parse { numbers: Vec<OsString> },
    /// Print the usage.
    Help,
}

/// What is asked about the SETs of a store.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Change {
    /// A new one.
    Add { set: SetId, weight: Option<u32>, zone: Option<Zone> },
    /// No new orders there any more.
    Drain { set: SetId },
    /// Out of the store for good.
    Retire { set: SetId, how: Retire },
    /// Other shares of new orders; none: print those that they have.
    Weights { given: Vec<(SetId, u32)> },
}

/// Why the command line makes no sense, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Misuse(pub(crate) String);

/// What `--help` prints, and what follows every complaint about the command line.
pub(crate) const USAGE: &str = "\
usage: orderctl create    --data DIR [--sets 7,8] [--quorum N,R,W] [--request-key-column C]
                                                                each line of standard input is an order
       orderctl get       --data DIR NUMBER...                  print orders: number TAB payload
       orderctl scan      --data DIR [--set 7] [--date 2026-11-22]
                                                                print all orders in order of number
       orderctl verify    --data DIR                            read every record of every replica
       orderctl status    --data DIR [--json]                   say how the store is
       orderctl reconcile --data DIR [--json]                   end numbers that were given up; say what is left
       orderctl add-set   --data DIR SET [--weight W] [--zone city/campus]
                                                                a new SET takes its share of new orders
       orderctl drain     --data DIR SET                        a SET takes no new orders any more
       orderctl retire    --data DIR SET [--lost]               a SET that is drained, or lost, leaves for good
       orderctl weights   --data DIR [SET=W...]                 give shares of new orders; without: set TAB weight
       orderctl parse     NUMBER...                             number TAB date TAB sequence TAB set TAB check
";

/// Takes the arguments apart; `arguments` is without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Misuse> {
    let mut arguments = arguments.into_iter();
    let Some(name) = arguments.next() else { return Err(Misuse("a command is missing".into())) };
    let allowed: &[&str] = match name.to_str() {
        Some("create") => &["--data", "--sets", "--quorum", "--request-key-column"],
        Some("get" | "verify" | "drain" | "weights") => &["--data"],
        Some("scan") => &["--data", "--set", "--date"],
        Some("status" | "reconcile") => &["--data", "--json"],
        Some("add-set") => &["--data", "--weight", "--zone"],
        Some("retire") => &["--data", "--lost"],
        Some("parse") => &[],
        Some("help" | "--help" | "-h") => return Ok(Command::Help),
        _ => return Err(Misuse(format!("{name:?} is no command"))),
    };
    let Some(given) = Given::collect(arguments, allowed)? else { return Ok(Command::Help) };
    match name.to_str().unwrap_or_default() {
        "create" => {
            let sets = given.parsed("--sets", set_list)?;
            let quorum = given.parsed("--quorum", |text| text.parse::<Quorum>().map_err(|e| e.to_string()))?;
            let key_column = given.parsed("--request-key-column", column)?;
            Ok(Command::Create { data: given.data()?, sets, quorum, key_column }).and_then(|c| given.without_words(c))
        }
        "get" => Ok(Command::Get { data: given.data()?, numbers: given.numbers()? }),
        "scan" => {
            let set = given.parsed("--set", |text| text.parse::<SetId>().map_err(|e| e.to_string()))?;
            let date = given.parsed("--date", |text| text.parse::<Day>().map_err(|e| e.to_string()))?;
            Ok(Command::Scan { data: given.data()?, set, date }).and_then(|c| given.without_words(c))
        }
        "verify" => Ok(Command::Verify { data: given.data()? }).and_then(|c| given.without_words(c)),
        "status" => {
            let json = given.has("--json");
            Ok(Command::Status { data: given.data()?, json }).and_then(|c| given.without_words(c))
        }
        "reconcile" => {
            let json = given.has("--json");
            Ok(Command::Reconcile { data: given.data()?, json }).and_then(|c| given.without_words(c))
        }
        "add-set" => {
            let weight = given.parsed("--weight", weight)?;
            let zone = given.parsed("--zone", |text| text.parse::<Zone>().map_err(|e| e.to_string()))?;
            Ok(Command::Sets { data: given.data()?, change: Change::Add { set: given.set()?, weight, zone } })
        }
        "drain" => Ok(Command::Sets { data: given.data()?, change: Change::Drain { set: given.set()? } }),
        "retire" => {
            let how = if given.has("--lost") { Retire::Lost } else { Retire::Drained };
            Ok(Command::Sets { data: given.data()?, change: Change::Retire { set: given.set()?, how } })
        }
        "weights" => Ok(Command::Sets { data: given.data()?, change: Change::Weights { given: given.weights()? } }),
        _ => Ok(Command::Parse { numbers: given.numbers()? }),
    }
}

/// Options and words, not yet looked into.
struct Given {
    options: Vec<(&'static str, OsString)>,
    words: Vec<OsString>,
}

/// The options without a value.
const FLAGS: [&str; 2] = ["--json", "--lost"];
const WITH_VALUE: [&str; 8] = ["--data", "--sets", "--quorum", "--request-key-column", "--set", "--date", "--weight", "--zone"];

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
            let Some(name) = WITH_VALUE.into_iter().chain(FLAGS).find(|known| name == *known && allowed.contains(known)) else {
                return Err(Misuse(format!("{argument:?} is no option of this command")));
            };
            if given.options.iter().any(|(earlier, _)| *earlier == name) {
                return Err(Misuse(format!("{name} was given twice")));
            }
            let value = match (FLAGS.contains(&name), inline) {
                (true, Some(_)) => return Err(Misuse(format!("{name} takes no value"))),
                (true, None) => OsString::new(),
                (false, Some(value)) => value,
                (false, None) => arguments.next().ok_or_else(|| Misuse(format!("{name} needs a value")))?,
            };
            given.options.push((name, value));
        }
        Ok(Some(given))
    }

    fn value(&self, name: &str) -> Option<&OsString> {
        self.options.iter().find(|(given, _)| *given == name).map(|(_, value)| value)
    }

    fn has(&self, flag: &str) -> bool {
        self.value(flag).is_some()
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

    /// The only word, which names a SET.
    fn set(&self) -> Result<SetId, Misuse> {
        let [word] = &self.words[..] else {
            return Err(match self.words.get(1) {
                None => Misuse("a SET is missing".into()),
                Some(word) => Misuse(format!("{word:?} is one word too many")),
            });
        };
        let set = word.to_str().and_then(|text| set_id(text).ok());
        set.ok_or_else(|| Misuse(format!("{word:?} is no SET, which is a number from 0 to 999")))
    }

    /// Words of the form `SET=WEIGHT`, no SET twice.
    fn weights(&self) -> Result<Vec<(SetId, u32)>, Misuse> {
        let mut given: Vec<(SetId, u32)> = Vec::new();
        for word in &self.words {
            let pair = word.to_str().and_then(|text| text.split_once('='));
            let (set, text) = pair.ok_or_else(|| Misuse(format!("{word:?} is not of the form SET=WEIGHT")))?;
            let told = |reason| Misuse(format!("{word:?}: {reason}"));
            let (set, weight) = (set_id(set).map_err(told)?, weight(text).map_err(told)?);
            if given.iter().any(|(earlier, _)| *earlier == set) {
                return Err(told(format!("SET {set} stands there twice")));
            }
            given.push((set, weight));
        }
        Ok(given)
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

fn set_id(text: &str) -> Result<SetId, String> {
    text.parse::<SetId>().map_err(|_| format!("{text:?} is no SET, which is a number from 0 to 999"))
}

fn weight(text: &str) -> Result<u32, String> {
    in_range(text, 1, 1_000).ok_or_else(|| "a weight is a number from 1 to 1000".into())
}

/// A column, counted from 1.
fn column(text: &str) -> Result<NonZeroUsize, String> {
    // No line has more fields than this.
    let column = in_range(text, 1, 7 * 1024).and_then(|column| NonZeroUsize::new(column as usize));
    column.ok_or_else(|| "a column is a number from 1 to 7168".into())
}

/// Digits alone: no sign, no space.
fn in_range(text: &str, min: u32, max: u32) -> Option<u32> {
    let digits = text.bytes().all(|b| b.is_ascii_digit());
    text.parse::<u32>().ok().filter(|number| digits && (min..=max).contains(number))
}

/// `7,8` as SETs, none twice.
fn set_list(text: &str) -> Result<Vec<SetId>, String> {
    let mut sets = Vec::new();
    for part in text.split(',') {
        let set = set_id(part)?;
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
        let set = |id| SetId::new(id).expect("below 1,000");
        let sets_of = |change| Command::Sets { data: PathBuf::from("d"), change };
        let add = |set, weight, zone: Option<&str>| {
            sets_of(Change::Add { set, weight, zone: zone.map(|zone| zone.parse().expect("a zone")) })
        };
        let keyed = Command::Create { data: data.clone(), sets: None, quorum: None, key_column: NonZeroUsize::new(2) };
        for (line, command) in [
            ("create --data d", Command::Create { data: data.clone(), sets: None, quorum: None, key_column: None }),
            (
                "create --sets 7,008 --data d --quorum 3,2,2",
                Command::Create { data: data.clone(), sets: sets(&[7, 8]), quorum, key_column: None },
            ),
            (
                "create --data=d --sets=0",
                Command::Create { data: data.clone(), sets: sets(&[0]), quorum: None, key_column: None },
            ),
            ("get 1 --data d 2", Command::Get { data: data.clone(), numbers: numbers() }),
            ("get --data d -- 1 2", Command::Get { data: data.clone(), numbers: numbers() }),
            ("scan --data d", Command::Scan { data: data.clone(), set: None, date: None }),
            ("scan --data d --set 7 --date 2026-11-22", Command::Scan { data: data.clone(), set: SetId::new(7).ok(), date: day }),
            ("verify --data d", Command::Verify { data: data.clone() }),
            ("status --data d", Command::Status { data: data.clone(), json: false }),
            ("status --json --data d", Command::Status { data: data.clone(), json: true }),
            ("create --data d --request-key-column 2", keyed),
            ("reconcile --data d", Command::Reconcile { data: data.clone(), json: false }),
            ("reconcile --data d --json", Command::Reconcile { data, json: true }),
            ("add-set --data d 8", add(set(8), None, None)),
            ("add-set 009 --data d --weight 3 --zone shenzhen/2", add(set(9), Some(3), Some("shenzhen/2"))),
            ("drain --data d 8", sets_of(Change::Drain { set: set(8) })),
            ("retire --data d 8", sets_of(Change::Retire { set: set(8), how: Retire::Drained })),
            ("retire --lost 8 --data d", sets_of(Change::Retire { set: set(8), how: Retire::Lost })),
            ("weights --data d", sets_of(Change::Weights { given: Vec::new() })),
            ("weights --data d 8=3 009=1000", sets_of(Change::Weights { given: vec![(set(8), 3), (set(9), 1_000)] })),
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
            ("create --data d --request-key-column 0", "--request-key-column \"0\": a column is a number from 1 to 7168"),
            ("create --data d --request-key-column +1", "--request-key-column \"+1\": a column is a number from 1 to 7168"),
            ("reconcile --data d 7", "\"7\" is one word too many"),
            ("drain --data d", "a SET is missing"),
            ("drain 7", "--data DIR is missing"),
            ("drain --data d 7 8", "\"8\" is one word too many"),
            ("drain --data d seven", "\"seven\" is no SET, which is a number from 0 to 999"),
            ("drain --data d 7 --lost", "\"--lost\" is no option of this command"),
            ("retire --data d 7 --lost=yes", "--lost takes no value"),
            ("retire --data d 1000", "\"1000\" is no SET, which is a number from 0 to 999"),
            ("add-set --data d 7 --weight 0", "--weight \"0\": a weight is a number from 1 to 1000"),
            (
                "add-set --data d 7 --zone a/b/c",
                "--zone \"a/b/c\": a zone is city/campus or a city, 1 to 64 bytes of printable ASCII, got \"a/b/c\"",
            ),
            ("weights --data d 7", "\"7\" is not of the form SET=WEIGHT"),
            ("weights --data d 7=1001", "\"7=1001\": a weight is a number from 1 to 1000"),
            ("weights --data d x=1", "\"x=1\": \"x\" is no SET, which is a number from 0 to 999"),
            ("weights --data d 7=1 007=2", "\"007=2\": SET 007 stands there twice"),
            ("parse", "a NUMBER is missing"),
            ("parse --data d 1", "\"--data\" is no option of this command"),
        ] {
            assert_eq!(parsed(line), Err(Misuse(reason.into())), "{line}");
        }
    }
}
