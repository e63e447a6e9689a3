//! What a check came to.

use crate::Result;
use std::collections::HashSet;
use std::fmt;

/// How many findings are told in words.
const TOLD: usize = 5;

/// Counts, and some of the findings in words. Printed by a checker, parsed by whoever started it.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Verdict {
    /// Acknowledged writes looked for.
    pub(crate) checked: u64,
    /// Numbers minted after the cut.
    pub(crate) minted: u64,
    /// Acknowledged, and not there or not readable, or not durable on as many replicas as was promised.
    pub(crate) lost: u64,
    /// There, and not what was written.
    pub(crate) wrong: u64,
    /// Numbers given out twice, or payloads stored twice.
    pub(crate) repeated: u64,
    /// Replicas that do not vote although their disks are sound; stores that do not go on.
    pub(crate) sick: u64,
    told: Vec<String>,
    /// By number: what several ways of reading miss is lost once.
    missed: HashSet<u64>,
}

impl Verdict {
    /// Of a check that came to no end: what it would have found is anybody's guess.
    pub(crate) fn broken(what: String) -> Verdict {
        let mut verdict = Verdict::default();
        verdict.sick(what);
        verdict
    }

    /// `number` is of an order, or of anything else that one order has.
    pub(crate) fn lost(&mut self, number: u64, what: impl fmt::Display) {
        if self.missed.insert(number) {
            self.lost += 1;
            self.tell(format_args!("lost: {what}"));
        }
    }

    pub(crate) fn wrong(&mut self, what: impl fmt::Display) {
        self.wrong += 1;
        self.tell(format_args!("wrong: {what}"));
    }

    pub(crate) fn repeated(&mut self, what: impl fmt::Display) {
        self.repeated += 1;
        self.tell(format_args!("repeated: {what}"));
    }

    pub(crate) fn sick(&mut self, what: impl fmt::Display) {
        self.sick += 1;
        self.tell(format_args!("sick: {what}"));
    }

    fn tell(&mut self, what: fmt::Arguments<'_>) {
        if self.told.len() < TOLD {
            // One finding, one line.
            self.told.push(what.to_string().replace('\n', " "));
        }
    }

    pub(crate) fn is_good(&self) -> bool {
        self.lost + self.wrong + self.repeated + self.sick == 0
    }

    pub(crate) fn add(&mut self, other: &Verdict) {
        self.checked += other.checked;
        self.minted += other.minted;
        self.lost += other.lost;
        self.wrong += other.wrong;
        self.repeated += other.repeated;
        self.sick += other.sick;
    }

    pub(crate) fn findings(&self) -> &[String] {
        &self.told
    }

    /// What a checker prints.
    pub(crate) fn report(&self) -> String {
        let counts = [self.checked, self.minted, self.lost, self.wrong, self.repeated, self.sick];
        let counts: Vec<String> = counts.iter().map(u64::to_string).collect();
        let told: String = self.told.iter().map(|told| format!("{told}\n")).collect();
        format!("{}\n{told}", counts.join(" "))
    }

    /// Reads what [`Verdict::report`] printed.
    pub(crate) fn parse(report: &str) -> Result<Verdict> {
        let mut lines = report.lines();
        let counts = lines.next().unwrap_or_default().split(' ').map(str::parse).collect::<std::result::Result<Vec<u64>, _>>();
        let Ok([checked, minted, lost, wrong, repeated, sick]) = counts.as_deref() else {
            return Err(format!("no verdict: {report:?}").into());
        };
        let (checked, minted, lost, wrong, repeated, sick) = (*checked, *minted, *lost, *wrong, *repeated, *sick);
        let told = lines.map(str::to_owned).collect();
        Ok(Verdict { checked, minted, lost, wrong, repeated, sick, told, missed: HashSet::new() })
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} checked, {} minted after; {} lost, {} wrong, {} repeated, {} sick",
            self.checked, self.minted, self.lost, self.wrong, self.repeated, self.sick
        )
    }
}
