//! The order number: date, sequence, SET and check digit in 22 digits of text or 8 bytes.
//!
//! ```text
//! text     20261122 0000000042 007 C        date 8 | sequence 10 | SET 3 | check digit 1
//! integer  year-2000:10 | month:4 | day:5 | sequence:34 | set:10          63 bits
//! ```
//!
//! The work on text goes by groups of four digits, which is how [`check`] has its tables. They are counted from the right, so that
//! the text is three words of eight characters, the first two of which overlap:
//!
//! ```text
//! characters  0 1 2 3 4 5 6 7 8 9 . . . . . . . . . . . .
//! text        Y Y Y Y M M D D s s s s s s s s s s S S S C
//! groups      --- ------- ------- ------- ------- -------     century, year and month, day and top, middle, low, SET and check
//! words       front----------                                 0 to 7
//!                         middle---------                     6 to 13
//!                                         back-----------     14 to 21
//! ```

use super::check;
use super::digits::{Eight, NOT_A_DIGIT, eight_digits, lane, quads, with_last_digit};
use super::{Day, SetId};
use std::fmt;
use std::num::NonZeroU64;
use std::str::FromStr;

/// The number of an order: 22 digits that say when it was placed and in which SET it lives, in 8 bytes.
///
/// ```text
/// 20261122 0000000042 007 6        date | sequence | SET | check digit, written without the spaces
/// ```
///
/// The order of numbers is the order of their texts, and of their [`to_be_bytes`](OrderNumber::to_be_bytes). Each number has exactly
/// one text. The check digit finds every single wrong digit and every swap of unlike neighbours; it is no signature.
///
/// ```
/// use ordermint::{Day, OrderNumber, ParseOrderNumberError, SetId};
///
/// let number = OrderNumber::new(Day::new(2026, 11, 22)?, 42, SetId::new(7)?)?;
/// assert_eq!(number.to_string(), "2026112200000000420076");
/// assert_eq!("2026112200000000420076".parse(), Ok(number));
/// assert_eq!(number.set_id().to_string(), "007");
///
/// let typo = "2026112200000100420076".parse::<OrderNumber>();
/// assert_eq!(typo, Err(ParseOrderNumberError::CheckDigit { expected: 5, found: 6 }));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct OrderNumber(NonZeroU64); // Invariant: a day of the calendar, a sequence below 10^10, a SET below 1,000.

const SET_BITS: u32 = SetId::BITS;
const SEQUENCE_BITS: u32 = 34;
const DAY_SHIFT: u32 = SET_BITS + SEQUENCE_BITS;
const SET_MASK: u64 = (1 << SET_BITS) - 1;
const SEQUENCE_MASK: u64 = (1 << SEQUENCE_BITS) - 1;
const _: () = assert!(DAY_SHIFT + Day::BITS == 63, "the sign bit stays free, for languages without unsigned integers");

/// Why a text, or an integer, is no order number.
///
/// When several things are wrong with a text the first of this list is told: its length, the first byte from the left that is no
/// digit, the day, the check digit. A typo in the date may so be told as a wrong day or as a wrong check digit.
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
    /// A sequence above [`OrderNumber::SEQUENCE_MAX`], given to [`OrderNumber::new`].
    #[error("a sequence is at most 9999999999, got {given}")]
    Sequence {
        /// The sequence.
        given: u64,
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
    /// [`ParseOrderNumberError::Sequence`] when `sequence` is above [`OrderNumber::SEQUENCE_MAX`].
    pub const fn new(day: Day, sequence: u64, set: SetId) -> Result<OrderNumber, ParseOrderNumberError> {
        if sequence > Self::SEQUENCE_MAX {
            return Err(ParseOrderNumberError::Sequence { given: sequence });
        }
        Ok(Self::from_parts(day, sequence, set))
    }

    /// Reads exactly 22 ASCII digits: no space, sign or separator.
    ///
    /// # Errors
    /// [`Length`](ParseOrderNumberError::Length), [`Digit`](ParseOrderNumberError::Digit), [`Day`](ParseOrderNumberError::Day) or
    /// [`CheckDigit`](ParseOrderNumberError::CheckDigit), the first of them in this order. Any input is safe to give; nothing is
    /// allocated.
    ///
    /// ```
    /// use ordermint::{OrderNumber, ParseOrderNumberError};
    ///
    /// assert!(OrderNumber::parse(b"2026112200000000420076").is_ok());
    /// assert_eq!(OrderNumber::parse(b"2026"), Err(ParseOrderNumberError::Length { found: 4 }));
    /// let error = OrderNumber::parse(b"20261122-0000000042007").unwrap_err();
    /// assert_eq!(error, ParseOrderNumberError::Digit { position: 8, found: b'-' });
    /// ```
    pub fn parse(text: &[u8]) -> Result<OrderNumber, ParseOrderNumberError> {
        let Ok(text) = <&[u8; 22]>::try_from(text) else {
            return Err(ParseOrderNumberError::Length { found: text.len() });
        };
        let (front, middle, back) = (eight_at::<0>(text), eight_at::<6>(text), eight_at::<14>(text));
        if (front.suspects() | middle.suspects() | back.suspects()) & NOT_A_DIGIT != 0 {
            return Err(first_wrong_byte(text));
        }
        let (front, middle, back) = (front.pairs(), middle.pairs(), back.pairs());
        let (front_quads, middle_quads, back_quads) = (quads(front), quads(middle), quads(back));

        let (year, month, day) = (lane(front_quads, 0), lane(front, 2), lane(front, 3));
        let Some(date) = Day::from_ymd(year, month, day) else {
            return Err(ParseOrderNumberError::Day { year: year as u16, month: month as u8, day: day as u8 });
        };

        let (day_and_top, middle_quad) = (lane(middle_quads, 0), lane(middle_quads, 2));
        let (low, set_and_check) = (lane(back_quads, 0), lane(back_quads, 2));
        let sequence = u64::from(lane(middle, 1)) * 100_000_000 + u64::from(middle_quad) * 10_000 + u64::from(low);
        let number = Self::from_parts(date, sequence, SetId::from_checked((set_and_check / 10) as u16));

        let groups = [lane(front_quads, 1), day_and_top, middle_quad, low, set_and_check];
        if !check::product(lane(front, 0), groups).is_identity() {
            return Err(wrong_check_digit(number, text));
        }
        Ok(number)
    }

    /// The 22 digits.
    #[must_use]
    pub fn encode(self) -> [u8; 22] {
        let Groups { year, month_and_day, century, quads } = self.groups();
        let [_, day_and_top, middle, low, set_and_zero] = quads;
        let check_digit = check::product(century, quads).digit();
        let mut text = [0; 22];
        text[..8].copy_from_slice(&eight_digits(year, month_and_day).to_le_bytes());
        text[6..14].copy_from_slice(&eight_digits(day_and_top, middle).to_le_bytes());
        text[14..].copy_from_slice(&with_last_digit(eight_digits(low, set_and_zero), check_digit).to_le_bytes());
        text
    }

    /// The 22 digits, written into `buffer`.
    ///
    /// ```
    /// # use ordermint::OrderNumber;
    /// let number: OrderNumber = "2026112200000000420076".parse()?;
    /// assert_eq!(number.encode_str(&mut [0; 22]), "2026112200000000420076");
    /// # Ok::<(), ordermint::ParseOrderNumberError>(())
    /// ```
    pub fn encode_str(self, buffer: &mut [u8; 22]) -> &str {
        *buffer = self.encode();
        std::str::from_utf8(buffer).expect("22 ASCII digits are UTF-8")
    }

    /// The day on which the number was minted.
    #[must_use]
    pub const fn day(self) -> Day {
        Day::from_checked_bits((self.0.get() >> DAY_SHIFT) as u32)
    }

    /// The sequence within day and SET, 0 to [`OrderNumber::SEQUENCE_MAX`].
    #[must_use]
    pub const fn sequence(self) -> u64 {
        self.0.get() >> SET_BITS & SEQUENCE_MASK
    }

    /// The SET where the order lives.
    #[must_use]
    pub const fn set_id(self) -> SetId {
        SetId::from_checked((self.0.get() & SET_MASK) as u16)
    }

    /// The last digit of the text, 0 to 9.
    #[must_use]
    pub const fn check_digit(self) -> u8 {
        let groups = self.groups();
        check::product(groups.century, groups.quads).digit()
    }

    /// The 63-bit integer `year-2000:10 | month:4 | day:5 | sequence:34 | set:10`, without the check digit.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0.get()
    }

    /// The integer, most significant byte first: the order of the bytes is the order of the numbers.
    #[must_use]
    pub const fn to_be_bytes(self) -> [u8; 8] {
        self.0.get().to_be_bytes()
    }

    /// The number with these [`to_be_bytes`](OrderNumber::to_be_bytes).
    ///
    /// # Errors
    /// [`ParseOrderNumberError::Integer`] when there is none.
    pub const fn from_be_bytes(bytes: [u8; 8]) -> Result<OrderNumber, ParseOrderNumberError> {
        Self::from_u64(u64::from_be_bytes(bytes))
    }

    /// An integer that is known to be a number, such as the next one of a leased block. `None` only for 0, which costs nothing: the
    /// `Option` is the integer itself.
    #[inline]
    pub(crate) const fn from_checked(raw: u64) -> Option<OrderNumber> {
        debug_assert!(raw == 0 || is_number(raw), "an integer that was said to be an order number is none");
        match NonZeroU64::new(raw) {
            Some(raw) => Some(OrderNumber(raw)),
            None => None,
        }
    }

    const fn from_u64(given: u64) -> Result<OrderNumber, ParseOrderNumberError> {
        if is_number(given)
            && let Some(number) = Self::from_checked(given)
        {
            return Ok(number);
        }
        Err(ParseOrderNumberError::Integer { given })
    }

    #[inline]
    const fn from_parts(day: Day, sequence: u64, set: SetId) -> OrderNumber {
        let raw = (day.to_bits() as u64) << DAY_SHIFT | sequence << SET_BITS | set.get() as u64;
        Self::from_checked(raw).expect("a day is at least 2000-01-01, whose bits are not 0")
    }

    /// The text in groups of four digits, the check digit still 0.
    #[inline]
    const fn groups(self) -> Groups {
        let raw = self.0.get();
        let day = self.day();
        let (year, month, day) = (day.year() as u32, day.month() as u32, day.day() as u32);
        let century = year / 100;
        let sequence = raw >> SET_BITS & SEQUENCE_MASK;
        let (high, low) = (sequence / 10_000, (sequence % 10_000) as u32);
        // Below 10^6, so that the rest is work for 32 bits.
        let (top, middle) = (high as u32 / 10_000, high as u32 % 10_000);
        let set = (raw & SET_MASK) as u32;
        Groups {
            year,
            month_and_day: month * 100 + day,
            century,
            quads: [(year - century * 100) * 100 + month, day * 100 + top, middle, low, set * 10],
        }
    }
}

/// See the module page.
struct Groups {
    year: u32,
    month_and_day: u32,
    century: u32,
    quads: [u32; 5],
}

/// Whether an integer has a day of the calendar, a sequence and a SET where an order number has them.
const fn is_number(raw: u64) -> bool {
    Day::from_bits((raw >> DAY_SHIFT) as u32).is_some()
        && raw >> SET_BITS & SEQUENCE_MASK <= OrderNumber::SEQUENCE_MAX
        && raw & SET_MASK <= SetId::MAX.get() as u64
}

#[inline]
fn eight_at<const AT: usize>(text: &[u8; 22]) -> Eight {
    Eight::new(*text[AT..].first_chunk().expect("eight characters from 14 at the latest"))
}

// The errors are worked out apart from the way that numbers normally take, which so stays short.

#[cold]
fn first_wrong_byte(text: &[u8; 22]) -> ParseOrderNumberError {
    let wrong = text.iter().copied().enumerate().find(|(_, byte)| !byte.is_ascii_digit());
    let (position, found) = wrong.expect("called only for a text with a byte that is no digit");
    ParseOrderNumberError::Digit { position, found }
}

#[cold]
fn wrong_check_digit(number: OrderNumber, text: &[u8; 22]) -> ParseOrderNumberError {
    ParseOrderNumberError::CheckDigit { expected: number.check_digit(), found: text[21] - b'0' }
}

impl TryFrom<u64> for OrderNumber {
    type Error = ParseOrderNumberError;

    /// The number with this [`to_u64`](OrderNumber::to_u64).
    fn try_from(given: u64) -> Result<OrderNumber, ParseOrderNumberError> {
        OrderNumber::from_u64(given)
    }
}

impl From<OrderNumber> for u64 {
    fn from(number: OrderNumber) -> u64 {
        number.to_u64()
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
