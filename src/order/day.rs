//! A calendar day, the unit in which orders are numbered, scanned, archived and dropped.

use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar from 2000-01-01 to 3023-12-31, printed as `2026-11-22`.
///
/// ```
/// use ordermint::Day;
/// let day: Day = "2024-02-29".parse()?;
/// assert_eq!(day.next(), Some(Day::new(2024, 3, 1)?));
/// assert!("2026-02-29".parse::<Day>().is_err());
/// # Ok::<(), ordermint::InvalidDay>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32); // year-2000:10 | month:4 | day:5, as in an order number. Invariant: a day of the calendar.

/// No day of the calendar between 2000-01-01 and 3023-12-31.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no day between 2000-01-01 and 3023-12-31: {given:?}")]
pub struct InvalidDay {
    /// What was given; of a text the first 32 characters.
    pub given: String,
}

impl Day {
    /// 2000-01-01.
    pub const MIN: Day = Day(1 << 5 | 1);
    /// 3023-12-31.
    pub const MAX: Day = Day(1023 << 9 | 12 << 5 | 31);

    /// How many bits [`Day::to_bits`] can have.
    pub(crate) const BITS: u32 = 19;

    /// # Errors
    /// [`InvalidDay`] when the calendar has no such day or it lies outside [`Day::MIN`] to [`Day::MAX`].
    pub fn new(year: u16, month: u8, day: u8) -> Result<Day, InvalidDay> {
        Day::from_ymd(u32::from(year), u32::from(month), u32::from(day))
            .ok_or_else(|| InvalidDay { given: format!("{year:04}-{month:02}-{day:02}") })
    }

    /// As [`Day::new`], for numbers of any size and without a word about what is wrong.
    #[inline]
    pub(super) const fn from_ymd(year: u32, month: u32, day: u32) -> Option<Day> {
        if year < 2000 || year > 3023 || !calendar_has(year, month, day) {
            return None;
        }
        Some(Day((year - 2000) << 9 | month << 5 | day))
    }

    /// 2000 to 3023.
    #[must_use]
    pub const fn year(self) -> u16 {
        (self.0 >> 9) as u16 + 2000
    }

    /// 1 to 12.
    #[must_use]
    pub const fn month(self) -> u8 {
        (self.0 >> 5 & 15) as u8
    }

    /// 1 to 31.
    #[must_use]
    pub const fn day(self) -> u8 {
        (self.0 & 31) as u8
    }

    /// The 19 bits `year-2000:10 | month:4 | day:5` with which an order number begins.
    pub(crate) const fn to_bits(self) -> u32 {
        self.0
    }

    /// The other way round; `None` where the bits name no day.
    pub(crate) const fn from_bits(bits: u32) -> Option<Day> {
        // Every year of 10 bits is one of ours, so that only bits beyond the 19 have to be refused here.
        if bits >> Day::BITS != 0 {
            return None;
        }
        Day::from_ymd((bits >> 9) + 2000, bits >> 5 & 15, bits & 31)
    }

    /// For bits taken out of a number that was checked before.
    #[inline]
    pub(super) const fn from_checked_bits(bits: u32) -> Day {
        debug_assert!(Day::from_bits(bits).is_some(), "an order number always holds a day of the calendar");
        Day(bits)
    }

    /// The day that begins `days` after 1970-01-01; `None` outside the range.
    #[must_use]
    pub const fn from_unix_days(days: i64) -> Option<Day> {
        const FIRST: i64 = Day::MIN.to_unix_days();
        const LAST: i64 = Day::MAX.to_unix_days();
        if days < FIRST || days > LAST {
            return None;
        }
        // The civil calendar from a day count, after Howard Hinnant, "chrono-Compatible Low-Level Date Algorithms". Years begin in
        // March there, so that the leap day is the last of its year; 719,468 days lie between 0000-03-01 and 1970-01-01.
        let z = days + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 };
        let year = year_of_era + era * 400 + (month <= 2) as i64;
        Day::from_ymd(year as u32, month as u32, day as u32)
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub const fn to_unix_days(self) -> i64 {
        let month = self.month() as i64;
        let year = self.year() as i64 - (month <= 2) as i64;
        let era = year / 400;
        let year_of_era = year % 400;
        let shifted_month = if month > 2 { month - 3 } else { month + 9 };
        let day_of_year = (153 * shifted_month + 2) / 5 + self.day() as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The next day; `None` after [`Day::MAX`].
    #[must_use]
    pub const fn next(self) -> Option<Day> {
        Day::from_unix_days(self.to_unix_days() + 1)
    }

    /// The day before; `None` before [`Day::MIN`].
    #[must_use]
    pub const fn previous(self) -> Option<Day> {
        Day::from_unix_days(self.to_unix_days() - 1)
    }
}

/// Whether a month has such a day; for any year of the Gregorian calendar.
#[inline]
const fn calendar_has(year: u32, month: u32, day: u32) -> bool {
    // Every month has 28 days, so most days are settled by the first comparison.
    month >= 1 && month <= 12 && day >= 1 && (day <= 28 || day <= days_in_month(year, month))
}

const fn days_in_month(year: u32, month: u32) -> u32 {
    match month {
        2 if year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400)) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // As a whole, so that width and alignment apply to it and not to the year.
        f.pad(&format!("{:04}-{:02}-{:02}", self.year(), self.month(), self.day()))
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Day {
    type Err = InvalidDay;

    /// Exactly `YYYY-MM-DD`.
    fn from_str(text: &str) -> Result<Day, InvalidDay> {
        let invalid = || InvalidDay { given: text.chars().take(32).collect() };
        let bytes = text.as_bytes();
        let shaped = bytes.len() == 10
            && bytes.iter().enumerate().all(|(at, b)| if at == 4 || at == 7 { *b == b'-' } else { b.is_ascii_digit() });
        if !shaped {
            return Err(invalid());
        }
        let number = |part: &[u8]| part.iter().fold(0u16, |sum, b| sum * 10 + u16::from(b - b'0'));
        Day::new(number(&bytes[..4]), number(&bytes[5..7]) as u8, number(&bytes[8..]) as u8).map_err(|_| invalid())
    }
}
