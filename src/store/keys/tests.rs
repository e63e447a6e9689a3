//! What the store's keeper has to do for creates that wait.

use super::*;
use crate::testing::{FaultControl, Faulty};
use crate::{CreateOptions, MemoryReplica, OrderStore, SetConfig};
use std::time::Duration;

#[test]
fn a_create_that_waits_for_its_turn_ends_at_its_deadline() {
    let faults = FaultControl::new();
    let switches = faults.clone();
    let set = SetConfig::new(SetId::from_checked(7))
        .replica_with(move |_| Ok(Faulty::new(Arc::new(MemoryReplica::new()), switches.clone())));
    let store = OrderStore::builder().add_set(set).open().expect("it opens");
    faults.hang_reads();
    let with = |seconds| CreateOptions::new().request_key("k").deadline(Duration::from_secs(seconds));
    let first = store.create_with("once", with(3_000));
    let (second, third) = (store.create_with("once", with(60)), store.create_with("once", with(3_000)));
    let now = Instant::now();
    let next = expire(&store.inner.0, now).expect("two wait");
    assert!(next > now && next < now + Duration::from_secs(61));
    let later = expire(&store.inner.0, now + Duration::from_secs(61)).expect("one waits");
    assert!(later > next);
    assert_eq!(second.wait(), Err(no_turn()));
    faults.release();
    let first = first.wait().expect("it is placed");
    assert_eq!(third.wait().map(|placed| placed.number), Ok(first.number));
    assert_eq!(expire(&store.inner.0, Instant::now()), None);
}
