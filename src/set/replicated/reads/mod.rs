//! Asking the replicas.

pub(super) mod days;
pub(super) mod get;
pub(super) mod keyed;
pub(super) mod page;
pub(super) mod pages;
pub(super) mod recent;
pub(super) mod weak;
