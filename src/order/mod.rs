//! Order numbers, days and sequences. Pure: no disk, no lock, no thread but those of [`Minter`].

pub(crate) mod check;
mod day;
pub(crate) mod lease;
pub(crate) mod mint;
mod minter;
mod number;
mod set_id;

pub use day::{Day, InvalidDay};
pub use lease::{Block, LeaseError, LeaseStore};
pub use minter::{MintError, Minter};
pub use number::{OrderNumber, ParseOrderNumberError};
pub use set_id::{InvalidSetId, SetId};
