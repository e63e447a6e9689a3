//! Writing to the replicas: new orders, and in turns the changes of those that exist.

pub(super) mod closures;
pub(super) mod create;
pub(super) mod doubts;
pub(super) mod end;
pub(super) mod modify;
pub(super) mod settle;
pub(super) mod turns;
pub(super) mod update;
pub(super) mod write;
