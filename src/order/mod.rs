//! Order numbers, days and sequences. Pure: no disk, no lock, no thread but those of [`Minter`].

mod check;
mod day;
mod digits;
mod lease;
mod mint;
mod minter;
mod number;
#[cfg(feature = "serde")]
mod serde;
mod set_id;
mod writer;

pub use day::{Day, InvalidDay};
pub use lease::{Block, LeaseError, LeaseStore};
pub(crate) use lease::{LeaseAction, LeaseBook, LeaseEvent, MintState};
pub(crate) use mint::MintCore;
pub use minter::{MintError, Minter};
pub use number::{OrderNumber, ParseOrderNumberError};
pub use set_id::{InvalidSetId, SetId};
pub use writer::NumberWriter;
