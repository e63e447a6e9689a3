//! Keys in directories: the index is made of the records, and found again with them.

use crate::bench::{ends, key, placed, set};
use ordermint::{Error, OrderStore, SetConfig};
use std::path::Path;

fn open(home: &Path) -> OrderStore {
    let dirs = |id: u16| ["a", "b", "c"].map(|dir| format!("{dir}/{id:03}"));
    let sets = [7, 8].map(|id| SetConfig::new(set(id)).replicas(dirs(id)));
    let builder = OrderStore::builder().home(home).cache_bytes(1 << 20).recent_bytes(0);
    sets.into_iter().fold(builder, |builder, set| builder.add_set(set)).open().expect("it opens")
}

#[test]
fn keys_are_found_again_in_directories_and_while_a_replica_is_away() {
    let home = tempfile::tempdir().expect("a directory");
    let store = open(home.path());
    let names: Vec<String> = (0..200).map(|at| format!("pay-{at}")).collect();
    let first: Vec<_> = names.iter().map(|name| store.create_with(name, key(name))).collect();
    let first: Vec<_> = first.into_iter().map(placed).collect();
    for (order, name) in first.iter().zip(&names).step_by(3) {
        ends(store.update(order.number, order.version, format!("{name}, paid"))).expect("it is updated");
    }
    for round in 0..2 {
        ends(store.close()).expect("it closes");
        let store = open(home.path());
        if round == 1 {
            ends(store.compared()).expect("they are compared");
            store.take_out_replica(set(7), 0).expect("two are enough");
        }
        let again: Vec<_> = names.iter().map(|name| store.create_with(name, key(name))).collect();
        for (order, again) in first.iter().zip(again.into_iter().map(placed)) {
            assert_eq!((again.number, again.repeated, again.unverified), (order.number, true, vec![]));
        }
        let refused = ends(store.create_with("pay-0, paid", key("pay-0")));
        assert_eq!(refused, Err(Error::KeyReused { number: first[0].number }));
        ends(store.close()).expect("it closes");
    }
}
