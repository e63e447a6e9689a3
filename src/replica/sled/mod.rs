//! A replica on sled: one database for each day, one for meta data, a superblock beside them.

use crate::config::OpenReplica;
use crate::replica::{Replica, ReplicaError};
use std::sync::Arc;

/// A replica in a directory, on sled 0.34.7.
#[derive(Debug)]
pub struct SledReplica {}

#[expect(unused_variables, clippy::todo, reason = "signatures first")]
impl SledReplica {
    /// Opens, or makes where `options.create` says so, the replica in `options.dir`.
    ///
    /// # Errors
    /// [`ReplicaError::InUse`], [`ReplicaError::Missing`], [`ReplicaError::Panicked`] when sled panicked on what is there, and others.
    pub fn open(options: &OpenReplica) -> Result<SledReplica, ReplicaError> {
        todo!()
    }
}

/// [`SledReplica::open`] as an [`OpenFn`](crate::config::OpenFn).
#[expect(unused_variables, clippy::todo, reason = "signatures first")]
pub(crate) fn open_sled(options: &OpenReplica) -> Result<Arc<dyn Replica>, ReplicaError> {
    todo!()
}

/// Who the replica in `dir` is, as far as its superblock can be read; nothing is opened or changed.
pub(crate) fn peek_identity(_dir: &std::path::Path) -> Option<crate::replica::Identity> {
    None
}
