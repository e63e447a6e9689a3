//! A user's test with a replica that misbehaves.

use ordermint::testing::{FaultControl, Faulty};
use ordermint::{Error, MemoryReplica, OrderStore, Quorum, ReplicaState, SetConfig, SetId};
use std::sync::Arc;

#[test]
fn a_failed_sync_puts_one_replica_out_and_the_order_is_there() -> Result<(), Error> {
    let faults = FaultControl::new();
    let set = SetId::new(7)?;
    let store = OrderStore::builder()
        .quorum(Quorum::new(3, 2, 2)?)
        .add_set(SetConfig::new(set).in_memory(2).replica_with({
            let faults = faults.clone();
            move |_| Ok(Faulty::new(Arc::new(MemoryReplica::new()), faults.clone()))
        }))
        .open()?;

    let before = store.create("before").wait()?;
    faults.fail_applies(1);
    let during = store.create("during").wait()?;
    let after = store.create("after").wait()?;
    for (placed, value) in [(before, "before"), (during, "during"), (after, "after")] {
        assert_eq!(store.get(placed.number).wait()?.expect("acknowledged").value, value);
    }
    store.close().wait()?;
    let _ = ReplicaState::Out;
    Ok(())
}
