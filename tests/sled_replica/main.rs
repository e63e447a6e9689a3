//! The replica on sled: the contract, the directory, and what happens when files are not as they were left.

mod bench;
mod damage;
mod directory;
mod failing;
mod index;
mod killed;
mod losses;

use bench::{Home, SET, day};
use ordermint::testing::conformance::{self, Place};
use ordermint::{OrderNumber, Replica, ReplicaError, SledReplica};
use std::sync::Arc;

/// A directory of its own for each clause.
struct Directory(Home);

impl Place for Directory {
    fn open(&self) -> Result<Arc<dyn Replica>, ReplicaError> {
        SledReplica::open(&self.0.options(true)).map(|replica| Arc::new(replica) as Arc<dyn Replica>)
    }

    fn rot(&self, number: OrderNumber) -> bool {
        self.0.rot(number);
        true
    }
}

#[test]
fn the_replica_on_sled_keeps_the_contract() {
    conformance::run_all(&|| Box::new(Directory(Home::new())));
}

#[test]
fn one_more_random_world_agrees_with_the_model() {
    conformance::run_seed(&|| Box::new(Directory(Home::new())), 20_261_122);
}

#[test]
fn the_conformance_suite_and_these_tests_speak_of_the_same_set() {
    assert_eq!((SET.get(), day(0).to_string().as_str()), (7, "2026-11-22"));
}
