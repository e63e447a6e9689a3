//! A calendar day, the unit in which orders are numbered, scanned, archived and dropped.

use std::fmt;
use std::str::FromStr;

/// A day of the Gregorian calendar from 2000-01-01 to 3023-12-31, printed as `2026-11-22`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(u32); // year-2000:10 | month:4 | day:5, as in an order number.

/// No day of the calendar between 2000-01-01 and 3023-12-31.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no day between 2000-01-01 and 3023-12-31: {given}")]
pub struct InvalidDay {
    /// What was given.
    pub given: String,
}

impl Day {
    /// 2000-01-01.
    pub const MIN: Day = Day(1 << 5 | 1);
    /// 3023-12-31.
    pub const MAX: Day = Day(1023 << 9 | 12 << 5 | 31);

    /// # Errors
    /// [`InvalidDay`] when the calendar has no such day or it lies outside [`Day::MIN`] to [`Day::MAX`].
    pub fn new(year: u16, month: u8, day: u8) -> Result<Day, InvalidDay> {
        let invalid = || InvalidDay { given: format!("{year:04}-{month:02}-{day:02}") };
        if !(2000..=3023).contains(&year) || !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
            return Err(invalid());
        }
        Ok(Day(u32::from(year - 2000) << 9 | u32::from(month) << 5 | u32::from(day)))
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
    pub(crate) fn from_bits(bits: u32) -> Option<Day> {
        if bits >> 19 != 0 {
            return None;
        }
        Day::new((bits >> 9) as u16 + 2000, (bits >> 5 & 15) as u8, (bits & 31) as u8).ok()
    }

    /// The day that begins `days` after 1970-01-01; `None` outside the range.
    #[must_use]
    pub fn from_unix_days(days: i64) -> Option<Day> {
        // The civil calendar from a day count, after Howard Hinnant, "chrono-compatible low-level date algorithms".
        if !(10_957..=384_964).contains(&days) {
            return None;
        }
        let z = days + 719_468;
        let era = z / 146_097;
        let day_of_era = z % 146_097;
        let year_of_era = (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let shifted_month = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * shifted_month + 2) / 5 + 1) as u8;
        let month = if shifted_month < 10 { shifted_month + 3 } else { shifted_month - 9 } as u8;
        let year = (year_of_era + era * 400 + i64::from(month <= 2)) as u16;
        Day::new(year, month, day).ok()
    }

    /// Days since 1970-01-01.
    #[must_use]
    pub fn to_unix_days(self) -> i64 {
        let month = i64::from(self.month());
        let year = i64::from(self.year()) - i64::from(month <= 2);
        let era = year / 400;
        let year_of_era = year % 400;
        let day_of_year = (153 * (if month > 2 { month - 3 } else { month + 9 }) + 2) / 5 + i64::from(self.day()) - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        era * 146_097 + day_of_era - 719_468
    }

    /// The next day; `None` after [`Day::MAX`].
    #[must_use]
    pub fn next(self) -> Option<Day> {
        Day::from_unix_days(self.to_unix_days() + 1)
    }

    /// The day before; `None` before [`Day::MIN`].
    #[must_use]
    pub fn previous(self) -> Option<Day> {
        Day::from_unix_days(self.to_unix_days() - 1)
    }
}

const fn days_in_month(year: u16, month: u8) -> u8 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04}-{:02}-{:02}", self.year(), self.month(), self.day())
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
