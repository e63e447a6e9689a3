//! Order numbers, days and sequences. Pure: no disk, no lock, no thread but those of [`Minter`].

pub(crate) mod check;
mod day;
mod lease;
mod mint;
mod number;
mod set_id;

pub use day::{Day, InvalidDay};
pub use lease::{Block, LeaseError, LeaseStore};
pub(crate) use lease::{LeaseAction, LeaseBook, LeaseEvent, MintState, Now};
pub(crate) use mint::MintCore;
pub use mint::{MintError, Minter};
pub use number::{OrderNumber, ParseOrderNumberError};
pub use set_id::{InvalidSetId, SetId};
