//! A replica in memory: the contract in its shortest form.

use super::{Replica, ReplicaError};
use crate::config::OpenReplica;
use std::sync::Arc;

/// A replica that lives and dies with the process.
#[derive(Debug, Default)]
pub struct MemoryReplica {}

#[expect(clippy::todo, reason = "signatures first")]
impl MemoryReplica {
    /// An empty one.
    #[must_use]
    pub fn new() -> MemoryReplica {
        todo!()
    }
}

/// [`MemoryReplica::new`] as an [`OpenFn`](crate::config::OpenFn).
#[expect(unused_variables, clippy::todo, reason = "signatures first")]
pub(crate) fn open_memory(options: &OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> {
    todo!()
}
