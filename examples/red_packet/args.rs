//! The command line, taken apart. Pure: nothing is opened, nothing printed.

use std::ffi::OsString;
use std::path::PathBuf;
use std::str::FromStr;

/// What was asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Options {
    pub(crate) packets: usize,
    pub(crate) threads: usize,
    pub(crate) seed: u64,
    /// Where the store's own directory is made; `None` for the system's place for temporary files.
    pub(crate) dir: Option<PathBuf>,
    /// Whether that directory stays.
    pub(crate) keep: bool,
}

/// A run, or an explanation.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Command {
    Run(Options),
    Help,
}

/// Why the command line makes no sense, in a sentence.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Misuse(pub(crate) String);

/// What `--help` prints, and what follows every complaint about the command line.
pub(crate) const USAGE: &str = "\
usage: red_packet [options]
  --packets N   packets that are sent (60000)
  --threads T   threads on which senders and receivers run (2)
  --seed S      draws who sends what to whom (1)
  --dir D       make the store in a new directory below D (the system's directory for temporary files)
  --keep        leave that directory there
exit code: 0 the books balance, 1 they do not or somebody was turned away, 2 wrong usage, 3 the store cannot be used
";

const PACKETS_MAX: usize = 10_000_000;
const THREADS_MAX: usize = 64;

impl Default for Options {
    fn default() -> Options {
        Options { packets: 60_000, threads: 2, seed: 1, dir: None, keep: false }
    }
}

/// Takes the arguments apart; `arguments` is without the program's name.
pub(crate) fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, Misuse> {
    let mut arguments = arguments.into_iter();
    let mut options = Options::default();
    let mut seen = Vec::new();
    while let Some(argument) = arguments.next() {
        // Only text can name an option; a path that is no UTF-8 is given as a word of its own.
        let text = argument.to_str().unwrap_or_default();
        let (name, inline) = match text.split_once('=') {
            Some((name, value)) => (name, Some(OsString::from(value))),
            None => (text, None),
        };
        if seen.iter().any(|earlier| earlier == name) {
            return Err(Misuse(format!("{name} was given twice")));
        }
        seen.push(name.to_owned());
        let mut value = || match inline.clone().or_else(|| arguments.next()) {
            Some(value) if !value.is_empty() => Ok(value),
            _ => Err(Misuse(format!("{name} needs a value"))),
        };
        match name {
            "--packets" => options.packets = number(name, &value()?, 1, PACKETS_MAX)?,
            "--threads" => options.threads = number(name, &value()?, 1, THREADS_MAX)?,
            "--seed" => options.seed = number(name, &value()?, 0, u64::MAX)?,
            "--dir" => options.dir = Some(value()?.into()),
            "--keep" | "--help" | "-h" if inline.is_some() => return Err(Misuse(format!("{name} takes no value"))),
            "--keep" => options.keep = true,
            "--help" | "-h" => return Ok(Command::Help),
            _ => return Err(Misuse(format!("{argument:?} is no option"))),
        }
    }
    Ok(Command::Run(options))
}

fn number<T>(name: &str, value: &OsString, min: T, max: T) -> Result<T, Misuse>
where
    T: FromStr + PartialOrd + std::fmt::Display,
{
    match value.to_str().and_then(|text| text.parse::<T>().ok()) {
        Some(number) if min <= number && number <= max => Ok(number),
        _ => Err(Misuse(format!("{name} {value:?}: a number from {min} to {max} is wanted"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, Misuse> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn every_option_is_understood() {
        let default = Options::default;
        for (line, options) in [
            ("", default()),
            ("--packets 7", Options { packets: 7, ..default() }),
            ("--packets=7 --keep", Options { packets: 7, keep: true, ..default() }),
            ("--threads 64 --seed 18446744073709551615", Options { threads: 64, seed: u64::MAX, ..default() }),
            ("--dir /disk", Options { dir: Some("/disk".into()), ..default() }),
        ] {
            assert_eq!(parsed(line), Ok(Command::Run(options)), "{line}");
        }
        assert_eq!(parsed("--help"), Ok(Command::Help));
        assert_eq!(parsed("--keep -h"), Ok(Command::Help));
    }

    #[test]
    fn whatever_else_is_refused_with_a_reason() {
        for (line, reason) in [
            ("100", "\"100\" is no option"),
            ("--orders 100", "\"--orders\" is no option"),
            ("--packets", "--packets needs a value"),
            ("--dir=", "--dir needs a value"),
            ("--packets 0", "--packets \"0\": a number from 1 to 10000000 is wanted"),
            ("--packets many", "--packets \"many\": a number from 1 to 10000000 is wanted"),
            ("--threads -1", "--threads \"-1\": a number from 1 to 64 is wanted"),
            ("--seed 1 --seed 2", "--seed was given twice"),
            ("--keep=yes", "--keep takes no value"),
        ] {
            assert_eq!(parsed(line), Err(Misuse(reason.into())), "{line}");
        }
    }

    #[test]
    fn the_usage_tells_the_defaults() {
        let Options { packets, threads, seed, .. } = Options::default();
        for default in [format!("are sent ({packets})"), format!("run ({threads})"), format!("to whom ({seed})")] {
            assert!(USAGE.contains(&default), "{default}");
        }
    }
}
