//! Writing to the replicas.

pub(super) mod create;
