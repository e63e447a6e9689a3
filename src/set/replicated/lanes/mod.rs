//! The replicas of a SET, each with a lane of its own: what it is to do, and the two threads that have it done.

pub(super) mod lane;
pub(super) mod worker;
