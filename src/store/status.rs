//! What an operator asks.

use crate::config::Quorum;
use crate::set::SetStatus;

/// The state of a store.
#[derive(Clone, PartialEq, Debug)]
#[non_exhaustive]
pub struct Status {
    /// The id of the store, 32 hexadecimal digits.
    pub store: String,
    /// The version of the SET map.
    pub map_version: u64,
    /// N, R, W.
    pub quorum: Quorum,
    /// By id.
    pub sets: Vec<SetStatus>,
}
