//! What the run came to, for people: numbers, and a plot of opens per second.

use crate::run::Ran;
use crate::tally::{AT_ONCE, Tally};
use crate::watch::{Mark, Sample};
use indicatif::HumanCount;
use ordermint::SetId;
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The report. Percentiles sort what was measured.
pub(crate) fn report(ran: &mut Ran, lost: SetId, tally: &Tally) -> String {
    let count = |count: &AtomicU64| HumanCount(count.load(Relaxed));
    let rate = |count: usize| HumanCount((count as f64 / ran.seconds.max(0.001)) as u64);
    let many = |count: usize| HumanCount(count as u64);
    let opens = tally.opens.load(Relaxed) as usize;
    let mut text = String::new();
    let mut line = |line: std::fmt::Arguments<'_>| {
        // Writing into a string does not fail.
        let _ = writeln!(text, "{line}");
    };
    let packets = ran.create_us.len();
    line(format_args!("{} visits to {} packets in {:.1} s", many(ran.visits), many(packets), ran.seconds));
    let [p50, p99] = percentiles(&mut ran.create_us);
    line(format_args!(
        "packed  {:>11}  {:>9}/s  p50 {p50} ms  p99 {p99} ms",
        many(packets).to_string(),
        rate(packets).to_string()
    ));
    let acknowledged = ran.open_us.len() + ran.lost_open_us.len();
    let [p50, p99] = percentiles(&mut ran.open_us);
    line(format_args!("opened  {:>11}  {:>9}/s  p50 {p50} ms  p99 {p99} ms", many(opens).to_string(), rate(opens).to_string()));
    if !ran.lost_open_us.is_empty() {
        let [p50, p99] = percentiles(&mut ran.lost_open_us);
        let away = tally.away_ms.load(Relaxed) as f64 / 1_000.0;
        let slowest = f64::from(ran.lost_open_us.last().copied().unwrap_or(0)) / 1_000_000.0;
        line(format_args!(
            "        on SET {lost}, which was away for {away:.1} s: p50 {p50} ms  p99 {p99} ms  slowest {slowest:.1} s"
        ));
    }
    let each = acknowledged as f64 / ran.writes.max(1) as f64;
    line(format_args!(
        "        in {} shared writes: {each:.1} opens in each, {} in the fullest",
        many(ran.writes),
        many(ran.fullest)
    ));
    let told = tally.told_away.load(Relaxed);
    if told > 0 {
        let at_once = tally.told_at_once.load(Relaxed) as f64 * 100.0 / told as f64;
        line(format_args!(
            "away    {} times somebody was told that the packet's SET is away, {at_once:.1} % within {} ms, and came again",
            HumanCount(told),
            AT_ONCE.as_millis()
        ));
        line(format_args!(
            "        {} packets were placed anew on another SET, {} while it could not be asked for their request key",
            count(&tally.reminted),
            count(&tally.unverified)
        ));
    }
    line(format_args!("refused {} who came too late, {} who had received already", count(&tally.empty), count(&tally.again)));
    line(format_args!("        {} updates made for a version that stood no longer", count(&tally.mismatches)));
    line(format_args!(
        "doubt   {} ambiguous answers: {} applied, {} not applied, {} to be seen in the packet, {} not settled",
        count(&tally.ambiguous),
        count(&tally.applied),
        count(&tally.not_applied),
        count(&tally.superseded),
        count(&tally.unsettled)
    ));
    line(format_args!("        {} packets that were sent again under their request key", count(&tally.asked_again)));
    line(format_args!("        {} tries that changed nothing and were repeated", count(&tally.tries)));
    if let Some(reason) = tally.last_reason() {
        line(format_args!("        the last because: {reason}"));
    }
    text.push('\n');
    text += &plot(&ran.samples, &ran.marks);
    text
}

/// The 50th and the 99th percentile in milliseconds, by nearest rank.
fn percentiles(micros: &mut [u32]) -> [String; 2] {
    micros.sort_unstable();
    [50, 99].map(|percent| {
        let rank = (micros.len() * percent).div_ceil(100).max(1);
        micros.get(rank - 1).map_or_else(|| "-".to_owned(), |us| format!("{:.1}", f64::from(*us) / 1_000.0))
    })
}

const COLUMNS: usize = 72;
const ROWS: usize = 8;
const EIGHTHS: [char; 9] = [' ', '▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// Opens per second over the run, with a letter under the time of each mark.
fn plot(samples: &[Sample], marks: &[Mark]) -> String {
    let Some(end) = samples.last().map(|sample| sample.seconds).filter(|end| *end > 0.0) else { return String::new() };
    let edge = |column: usize| opens_at(samples, end * column as f64 / COLUMNS as f64);
    let width = end / COLUMNS as f64;
    let rates: Vec<f64> = (0..COLUMNS).map(|column| (edge(column + 1) - edge(column)) / width).collect();
    let top = round_up(rates.iter().copied().fold(1.0, f64::max));
    let mut text = String::new();
    for row in (0..ROWS).rev() {
        // A label at the foot of every other row, at the top of what the row below shows.
        let label = if row % 2 == 0 { HumanCount((top * row as f64 / ROWS as f64) as u64).to_string() } else { String::new() };
        let bars: String = rates
            .iter()
            .map(|rate| {
                let eighths = rate / top * (ROWS * 8) as f64 - (row * 8) as f64;
                EIGHTHS[eighths.round().clamp(0.0, 8.0) as usize]
            })
            .collect();
        text += &format!("{label:>9} ┤{}\n", bars.trim_end());
    }
    let mut letters = vec![' '; COLUMNS];
    for (letter, mark) in ('a'..='z').zip(marks) {
        let column = ((mark.seconds / width) as usize).min(COLUMNS - 1);
        // Two at the same place stand beside each other, as far as there is room.
        if let Some(free) = (column..COLUMNS).find(|column| letters[*column] == ' ') {
            letters[free] = letter;
        }
    }
    text += &format!("{:>9} └{}\n", "opens/s", "─".repeat(COLUMNS));
    if !marks.is_empty() {
        text += &format!("{:>11}{}\n", "", letters.into_iter().collect::<String>().trim_end());
    }
    for (letter, mark) in ('a'..='z').zip(marks) {
        text += &format!("{:>11}{letter} {:.1} s: {}\n", "", mark.seconds, mark.what);
    }
    text
}

/// How many opens there were by then, with even progress between two samples.
fn opens_at(samples: &[Sample], seconds: f64) -> f64 {
    let after = samples.partition_point(|sample| sample.seconds < seconds);
    let (Some(to), Some(from)) = (samples.get(after), samples.get(after.saturating_sub(1))) else {
        return samples.last().map_or(0.0, |sample| sample.opens as f64);
    };
    let part = (seconds - from.seconds) / (to.seconds - from.seconds).max(f64::EPSILON);
    from.opens as f64 + (to.opens - from.opens) as f64 * part.clamp(0.0, 1.0)
}

/// The next number that reads well on an axis.
fn round_up(rate: f64) -> f64 {
    let power = 10_f64.powf(rate.log10().floor());
    // A thousandth over the top is not seen, and may be no more than how floating-point numbers add up.
    let steps = [1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0];
    steps.into_iter().map(|step| step * power).find(|top| top * 1.001 >= rate).unwrap_or(10.0 * power)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_what_was_measured() {
        assert_eq!(percentiles(&mut []), ["-", "-"]);
        assert_eq!(percentiles(&mut [1_500]), ["1.5", "1.5"]);
        let mut hundred: Vec<u32> = (1..=100).rev().map(|n| n * 1_000).collect();
        assert_eq!(percentiles(&mut hundred), ["50.0", "99.0"]);
    }

    #[test]
    fn the_plot_is_as_high_as_the_rate_and_marks_stand_under_their_time() {
        // 100 a second for a second, nothing for a second, 400 a second for two.
        let samples = [(0.0, 0), (1.0, 100), (2.0, 100), (4.0, 900)];
        let samples = samples.map(|(seconds, opens)| Sample { seconds, opens });
        let marks = [(1.0, "left"), (1.0, "right"), (4.0, "end")];
        let marks = marks.map(|(seconds, what)| Mark { seconds, what: what.into() });
        let text = plot(&samples, &marks);
        let lines: Vec<&str> = text.lines().collect();
        assert_eq!(lines[0], format!("          ┤{}{}", " ".repeat(36), "█".repeat(36)), "{text}");
        assert_eq!(lines[7], format!("        0 ┤{}{}{}", "█".repeat(18), " ".repeat(18), "█".repeat(36)), "{text}");
        assert_eq!(lines[9], format!("{}ab{}c", " ".repeat(29), " ".repeat(51)), "{text}");
        assert_eq!(lines[12], "           c 4.0 s: end", "{text}");
        assert_eq!(plot(&[], &[]), "");
    }

    #[test]
    fn an_axis_ends_at_a_number_that_reads_well() {
        for (rate, top) in [(1.0, 1.0), (1.1, 1.5), (400.0000001, 400.0), (410.0, 600.0), (81_000.0, 100_000.0)] {
            assert_eq!(round_up(rate), top);
        }
    }
}
