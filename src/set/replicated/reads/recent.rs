//! Recent orders in memory.

use crate::order::OrderNumber;
use crate::replica::Version;
use crate::set::replicated::Core;

impl Core {
    /// The newest version of `number` that this coordinator knows to exist.
    pub(crate) fn newest_known(&self, _number: OrderNumber) -> Option<Version> {
        None
    }
}
