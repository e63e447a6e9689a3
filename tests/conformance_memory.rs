//! The conformance suite holds of the replica in memory.

use ordermint::MemoryReplica;
use ordermint::testing::conformance;
use std::sync::Arc;

#[test]
fn the_replica_in_memory_keeps_the_contract() {
    conformance::run_all(&|| {
        let memory = MemoryReplica::new();
        Box::new(move || Ok(Arc::new(memory.clone()) as Arc<_>))
    });
}
