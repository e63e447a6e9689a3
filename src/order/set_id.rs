//! The name of a SET: three digits, 000 to 999.

use std::fmt;
use std::str::FromStr;

/// The id of a SET, 0 to 999, printed as three digits. Every order number carries the id of the SET where its order lives.
///
/// ```
/// use ordermint::SetId;
/// assert_eq!(SetId::new(7).unwrap().to_string(), "007");
/// assert!(SetId::new(1000).is_err());
/// ```
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct SetId(u16);

/// No SET id.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct InvalidSetId {
    /// The number above 999 that was given; `u64::MAX` when it was no number of one to three digits.
    pub given: u64,
}

impl std::error::Error for InvalidSetId {}

impl fmt::Display for InvalidSetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.given {
            u64::MAX => f.write_str("a SET id has one to three digits, 000 to 999"),
            given => write!(f, "a SET id is a number from 0 to 999, got {given}"),
        }
    }
}

impl SetId {
    /// The largest id.
    pub const MAX: SetId = SetId(999);

    /// How many bits an id takes in an order number.
    pub(super) const BITS: u32 = 10;

    /// # Errors
    /// [`InvalidSetId`] above 999.
    pub const fn new(id: u16) -> Result<SetId, InvalidSetId> {
        if id <= 999 { Ok(SetId(id)) } else { Err(InvalidSetId { given: id as u64 }) }
    }

    /// The id as an integer, 0 to 999.
    #[must_use]
    pub const fn get(self) -> u16 {
        self.0
    }

    /// For ids taken out of a number that was checked before.
    pub(crate) const fn from_checked(id: u16) -> SetId {
        debug_assert!(id <= 999, "an order number never holds a SET id above 999");
        SetId(id)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{:03}", self.0))
    }
}

impl FromStr for SetId {
    type Err = InvalidSetId;

    /// One to three ASCII digits.
    fn from_str(text: &str) -> Result<SetId, InvalidSetId> {
        let digits_only = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let value = if digits_only { text.parse::<u64>().unwrap_or(u64::MAX) } else { u64::MAX };
        match u16::try_from(value) {
            Ok(id) if text.len() <= 3 => SetId::new(id),
            // Four digits and more that are 999 at most have zeros in front: not a number too large, but not a spelling of ours.
            Ok(0..=999) => Err(InvalidSetId { given: u64::MAX }),
            _ => Err(InvalidSetId { given: value }),
        }
    }
}
