//! Hazard: I/O errors are sticky, and what a failed group left behind is not known. The replica is out at the first one, goes
//! on reading, and shows nothing of the failed group.

use super::bench::*;
use ordermint::{Lookup, Replica, ReplicaError, Scanned};
use std::process::Command;

const CHILD: &str = "ORDERMINT_FAILING_WRITES_IN";

fn payload(counter: u64) -> Vec<u8> {
    vec![counter as u8; 7000]
}

/// Groups of 30 orders, one after the other.
fn orders(first: u64) -> Vec<(ordermint::OrderNumber, ordermint::Record, bool)> {
    (first..first + 30).map(|at| (number(day(0), at), record(at, payload(at)), true)).collect()
}

/// The limit on the size of files makes the writes of sled's own threads fail, in a process of its own.
#[test]
fn the_first_failed_write_puts_the_replica_out_and_hides_its_group() {
    let home = Home::new();
    home.formed().close().unwrap();
    let script = "trap '' XFSZ; ulimit -f 9000; exec \"$0\" --exact failing::in_a_process_whose_writes_fail --nocapture";
    let test_binary = std::env::current_exe().unwrap();
    let output = Command::new("sh").args(["-c", script]).arg(test_binary).env(CHILD, home.dir()).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
    let acknowledged = text.lines().find_map(|line| line.strip_prefix("acknowledged ")).expect("the child tells how far it came");
    let acknowledged: u64 = acknowledged.parse().unwrap();
    assert!(acknowledged > 60);
    let replica = home.open();
    assert_voting(&replica);
    for first in (1..acknowledged).step_by(30) {
        assert_found(&replica, &orders(first));
    }
}

#[test]
fn in_a_process_whose_writes_fail() {
    let Some(home) = std::env::var_os(CHILD) else { return };
    let replica = ordermint::SledReplica::open(&ordermint::OpenReplica::new(SET, 1, home.clone())).unwrap();
    let mut first = 1;
    let error = loop {
        match replica.apply(&group(&orders(first))) {
            Ok(_) => first += 30,
            Err(error) => break error,
        }
        assert!(first < 10_000, "the limit on file sizes does not work");
    };
    assert!(matches!(&error, ReplicaError::Io { .. }), "{error:?}");
    for _ in 0..2 {
        let again = replica.apply(&group(&orders(first)));
        assert_eq!(again, Err(ReplicaError::Out { reason: error.to_string() }));
    }
    for acknowledged in (1..first).step_by(30) {
        assert_found(&replica, &orders(acknowledged));
    }
    for (number, ..) in orders(first) {
        let shown = replica.get(number);
        assert!(matches!(shown, Ok(Lookup::Absent) | Err(ReplicaError::Out { .. })), "{shown:?}");
    }
    if let Ok(chunk) = replica.scan(day(0), None, ALL) {
        assert!(!chunk.items.iter().any(|item| matches!(item, Scanned::Found(found, _) if found.sequence() >= first)));
    }
    assert!(matches!(replica.close(), Err(ReplicaError::Out { .. })));
    assert_eq!(replica.get(number(day(0), 1)), Err(ReplicaError::Closed));
    // Closed is closed, although nobody has dropped it yet.
    let again = ordermint::SledReplica::open(&ordermint::OpenReplica::new(SET, 1, home));
    assert!(!matches!(again, Err(ReplicaError::InUse { .. })), "{again:?}");
    println!("\nacknowledged {first}");
}
