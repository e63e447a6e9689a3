//! What keeps a SET going beside its requests: opening, leases, deadlines, comparisons, replicas that return, closing, and telling callers.

pub(super) mod compare;
pub(super) mod coordinator;
pub(super) mod floor;
pub(super) mod leases;
pub(super) mod notify;
pub(super) mod open;
pub(super) mod probe;
pub(super) mod regroup;
pub(super) mod reopen;
pub(super) mod spread;
