//! The name of a write whose outcome may be asked for later.

use crate::order::OrderNumber;
use crate::replica::Version;
use std::fmt;
use std::str::FromStr;

/// Names one write of one order, for the time when its outcome is asked. Printed as `number@epoch.counter`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct WriteToken {
    /// The order.
    pub number: OrderNumber,
    /// The version of the write.
    pub version: Version,
}

impl fmt::Display for WriteToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.number, self.version)
    }
}

/// Not what a [`WriteToken`] prints as.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a write token is a number, @, epoch, a dot, counter")]
pub struct ParseWriteTokenError;

impl FromStr for WriteToken {
    type Err = ParseWriteTokenError;

    fn from_str(text: &str) -> Result<WriteToken, ParseWriteTokenError> {
        let (number, version) = text.split_once('@').ok_or(ParseWriteTokenError)?;
        let (epoch, counter) = version.split_once('.').ok_or(ParseWriteTokenError)?;
        let version = Version {
            epoch: epoch.parse().map_err(|_| ParseWriteTokenError)?,
            counter: counter.parse().map_err(|_| ParseWriteTokenError)?,
        };
        let token = WriteToken { number: number.parse().map_err(|_| ParseWriteTokenError)?, version };
        // One spelling only: `+1` and `01` parse as integers.
        if token.to_string() == text { Ok(token) } else { Err(ParseWriteTokenError) }
    }
}
