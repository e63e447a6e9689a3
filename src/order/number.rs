//! The order number: date, sequence, SET and check digit in 22 digits of text or 8 bytes.
//!
//! ```text
//! text     20261122 0000000042 007 C        date 8 | sequence 10 | SET 3 | check digit 1
//! integer  year-2000:10 | month:4 | day:5 | sequence:34 | set:10          63 bits
//! ```

use super::check::check_digit;
use super::{Day, SetId};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// The number of an order. See the module page for its layout; the order of numbers is the order of their texts.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNumber(NonZeroU64);

/// Why a text is no order number.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ParseOrderNumberError {
    /// Not 22 bytes long.
    #[error("an order number has 22 digits, got {found} bytes")]
    Length {
        /// How many bytes there were.
        found: usize,
    },
    /// A byte that is no ASCII digit.
    #[error("byte {position} of an order number is {found:#04x}, not a digit")]
    Digit {
        /// Where, from 0.
        position: usize,
        /// The byte.
        found: u8,
    },
    /// The first eight digits are no day from 2000-01-01 to 3023-12-31.
    #[error("no day between 2000-01-01 and 3023-12-31: {year:04}-{month:02}-{day:02}")]
    Day {
        /// The first four digits.
        year: u16,
        /// The next two.
        month: u8,
        /// The next two.
        day: u8,
    },
    /// The last digit does not fit the 21 before it: at least one digit is wrong.
    #[error("wrong check digit: expected {expected}, got {found}")]
    CheckDigit {
        /// What the 21 digits before ask for.
        expected: u8,
        /// What stands there.
        found: u8,
    },
    /// An integer that no order number encodes to.
    #[error("{given:#x} is not the integer of an order number")]
    Integer {
        /// The integer.
        given: u64,
    },
}

impl OrderNumber {
    /// The largest sequence of a day in a SET: 9,999,999,999.
    pub const SEQUENCE_MAX: u64 = 9_999_999_999;

    /// Puts a number together.
    ///
    /// # Errors
    /// [`ParseOrderNumberError::Integer`] when `sequence` is above [`OrderNumber::SEQUENCE_MAX`].
    pub fn new(day: Day, sequence: u64, set: SetId) -> Result<OrderNumber, ParseOrderNumberError> {
        if sequence > Self::SEQUENCE_MAX {
            return Err(ParseOrderNumberError::Integer { given: sequence });
        }
        Self::try_from(u64::from(day.to_bits()) << 44 | sequence << 10 | u64::from(set.get()))
    }

    /// For integers counted up from a leased block, whose day, sequences and SET were checked when it was leased; `None` for 0.
    #[inline]
    pub(super) fn from_minted(integer: u64) -> Option<OrderNumber> {
        debug_assert!(Self::try_from(integer).is_ok(), "{integer:#x} was minted from no leased block");
        NonZeroU64::new(integer).map(OrderNumber)
    }

    /// Reads exactly 22 ASCII digits.
    ///
    /// # Errors
    /// See [`ParseOrderNumberError`].
    pub fn parse(text: &[u8]) -> Result<OrderNumber, ParseOrderNumberError> {
        if text.len() != 22 {
            return Err(ParseOrderNumberError::Length { found: text.len() });
        }
        let mut digits = [0u8; 21];
        for (position, &found) in text.iter().enumerate() {
            if !found.is_ascii_digit() {
                return Err(ParseOrderNumberError::Digit { position, found });
            }
            if position < 21 {
                digits[position] = found - b'0';
            }
        }
        let number = |part: &[u8]| part.iter().fold(0u64, |sum, d| sum * 10 + u64::from(*d));
        let (year, month, day) = (number(&digits[..4]) as u16, number(&digits[4..6]) as u8, number(&digits[6..8]) as u8);
        let date = Day::new(year, month, day).map_err(|_| ParseOrderNumberError::Day { year, month, day })?;
        let (expected, found) = (check_digit(&digits), text[21] - b'0');
        if expected != found {
            return Err(ParseOrderNumberError::CheckDigit { expected, found });
        }
        let set = SetId::from_checked(number(&digits[18..]) as u16);
        OrderNumber::new(date, number(&digits[8..18]), set)
    }

    /// The 22 digits.
    #[must_use]
    pub fn encode(self) -> [u8; 22] {
        let mut text = [0u8; 22];
        let mut put = |range: std::ops::Range<usize>, mut value: u64| {
            for at in range.rev() {
                text[at] = (value % 10) as u8;
                value /= 10;
            }
        };
        let day = self.day();
        put(0..4, u64::from(day.year()));
        put(4..6, u64::from(day.month()));
        put(6..8, u64::from(day.day()));
        put(8..18, self.sequence());
        put(18..21, u64::from(self.set_id().get()));
        let mut digits = [0u8; 21];
        digits.copy_from_slice(&text[..21]);
        text[21] = check_digit(&digits);
        text.map(|digit| digit + b'0')
    }

    /// The 22 digits, written into `buffer`.
    pub fn encode_str(self, buffer: &mut [u8; 22]) -> &str {
        *buffer = self.encode();
        std::str::from_utf8(buffer).expect("22 ASCII digits are UTF-8")
    }

    /// The day on which the number was minted.
    #[must_use]
    pub fn day(self) -> Day {
        Day::from_bits((self.0.get() >> 44) as u32).expect("an order number holds a day of the calendar")
    }

    /// The sequence within day and SET, 0 to [`OrderNumber::SEQUENCE_MAX`].
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0.get() >> 10 & ((1 << 34) - 1)
    }

    /// The SET where the order lives.
    #[must_use]
    pub const fn set_id(self) -> SetId {
        SetId::from_checked((self.0.get() & 1023) as u16)
    }

    /// The last digit of the text.
    #[must_use]
    pub fn check_digit(self) -> u8 {
        self.encode()[21] - b'0'
    }

    /// The 63-bit integer.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The integer, most significant byte first: the order of the bytes is the order of the numbers.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }
}

impl TryFrom<u64> for OrderNumber {
    type Error = ParseOrderNumberError;

    fn try_from(given: u64) -> Result<OrderNumber, ParseOrderNumberError> {
        let invalid = ParseOrderNumberError::Integer { given };
        let day = Day::from_bits(u32::try_from(given >> 44).unwrap_or(u32::MAX));
        if day.is_none() || given >> 10 & ((1 << 34) - 1) > Self::SEQUENCE_MAX || given & 1023 > 999 {
            return Err(invalid);
        }
        NonZeroU64::new(given).map(OrderNumber).ok_or(invalid)
    }
}

impl fmt::Display for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.encode_str(&mut [0; 22]))
    }
}

impl fmt::Debug for OrderNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for OrderNumber {
    type Err = ParseOrderNumberError;

    fn from_str(text: &str) -> Result<OrderNumber, ParseOrderNumberError> {
        OrderNumber::parse(text.as_bytes())
    }
}
