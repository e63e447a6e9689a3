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

/// A SET id outside 0 to 999.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a SET id is a number from 0 to 999, got {given}")]
pub struct InvalidSetId {
    /// What was given; `u64::MAX` when it was no number at all.
    pub given: u64,
}

impl SetId {
    /// The largest id.
    pub const MAX: SetId = SetId(999);

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
        assert!(id <= 999, "an order number never holds a SET id above 999");
        SetId(id)
    }
}

impl fmt::Display for SetId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:03}", self.0)
    }
}

impl FromStr for SetId {
    type Err = InvalidSetId;

    /// One to three ASCII digits.
    fn from_str(text: &str) -> Result<SetId, InvalidSetId> {
        let digits_only = !text.is_empty() && text.len() <= 3 && text.bytes().all(|b| b.is_ascii_digit());
        match text.parse::<u16>() {
            Ok(id) if digits_only => SetId::new(id),
            _ => Err(InvalidSetId { given: text.parse().unwrap_or(u64::MAX) }),
        }
    }
}
