//! What a replica in limbo says, and what is answered when the time is up. The stories of weak reads are in `tests/stories`.

use super::*;
use crate::config::{Quorum, Settings};
use crate::order::{Day, SetId};
use crate::pending::Pending;
use crate::replica::{Group, Kind, MemoryReplica, Replica, Write};
use crate::set::replicated::lanes::lane::Role;
use crate::set::replicated::{LaneSeed, ReplicatedSet, Seed};
use crate::set::{Caller, FailedCreate, Listener, Shard};
use crate::testing::{FaultControl, Faulty, ManualClock};
use std::time::Duration;

const STRONG: Reading = Reading { strength: Strength::Strong, at_least: None };
const DEGRADED: Reading = Reading { strength: Strength::Degraded, at_least: None };
const PLANTED: Version = Version { epoch: 1, counter: 7 };

fn day() -> Day {
    "2026-11-22".parse().expect("a day")
}

fn number(sequence: u64) -> OrderNumber {
    OrderNumber::new(day(), sequence, SetId::from_checked(7)).expect("a number")
}

/// Nobody is told anything.
struct Nobody;

impl Listener for Nobody {
    fn stored(&self, _permit: u64, _good: u32, _slow: u32) {}

    fn placed(&self, _caller: Caller, _number: OrderNumber, _version: Version) {}

    fn failed(&self, _create: FailedCreate) {}

    fn alternatives(&self) -> u64 {
        0
    }
}

fn get(set: &ReplicatedSet, reading: Reading, sequence: u64) -> Pending<Option<Order>> {
    let (promise, pending) = Pending::new();
    set.get(number(sequence), reading, far(), promise);
    pending
}

fn begin_weakly(set: &ReplicatedSet) -> (Arc<WeakOp>, Pending<Option<Order>>) {
    let (promise, pending) = Pending::new();
    (set.core.begin_weakly(number(500), DEGRADED, far(), Held::default(), promise), pending)
}

fn far() -> Instant {
    Instant::now() + Duration::from_secs(3_600)
}

/// A SET of three, R = W = 2, of which replica 1 alone holds number 500.
fn planted() -> (ReplicatedSet, Vec<FaultControl>) {
    let faults: Vec<FaultControl> = (0..3).map(|_| FaultControl::new()).collect();
    let lanes = (0..3).map(|index| {
        let memory = MemoryReplica::new();
        memory.claim(1).expect("claimed");
        if index == 1 {
            let record = Record { kind: Kind::Order, version: PLANTED, generation: 0, value: "only here".into(), origin: None };
            let mut group = Group::new(1);
            group.push(Write::new(number(500), &record, false)).expect("room");
            memory.apply(&group).expect("memory takes it");
        }
        let replica = Faulty::new(Arc::new(memory), faults[index].clone());
        let reopen = Arc::new(|| Err(ReplicaError::Missing { dir: "(memory)".into() }));
        LaneSeed { dir: None, replica: Some(replica), role: Role::Voting, applied: 0, reopen }
    });
    let set = ReplicatedSet::start(Seed {
        id: SetId::from_checked(7),
        quorum: Quorum::new(3, 2, 2).expect("a quorum"),
        settings: Settings::default(),
        clock: Arc::new(ManualClock::at_noon(day())),
        listener: Arc::new(Nobody),
        epoch: 1,
        map_yields: false,
        map: ("map".to_owned(), None),
        lanes: lanes.collect(),
        lease_marks: Vec::new(),
        floor: None,
    });
    let set = set.expect("it starts");
    set.compared().wait().expect("compared");
    (set, faults)
}

/// A strong read asks it as a voter; by the time it answers it is one no more.
#[test]
fn a_strong_read_does_not_count_a_voter_put_into_limbo_while_it_was_asked() {
    let (set, faults) = planted();
    faults[1].hang_reads();
    let before = faults[1].reads();
    // The second read waits behind the first, and is begun by the reader when the replica is in limbo.
    let reads: Vec<_> = (0..2).map(|_| get(&set, STRONG, 500)).collect();
    while faults[1].reads() == before {
        std::thread::yield_now();
    }
    set.core.lane(1).put_into_limbo("witnessed");
    faults[1].release();
    for read in reads {
        assert_eq!(read.wait(), Ok(None), "the two that vote have nothing");
    }
    let wanted = Reading { strength: Strength::Weak, at_least: Some(PLANTED) };
    let stale = Error::Stale { number: number(500), found: None, wanted: PLANTED };
    assert_eq!(get(&set, wanted, 500).wait(), Err(stale), "nor does a weak read");
    let order = get(&set, DEGRADED, 500);
    // Two may have said that they have nothing when the third is slow to say that it has: it is waited for.
    assert_eq!(order.wait().expect("read").expect("in limbo").version, PLANTED);
}

#[test]
fn absence_in_limbo_says_nothing() {
    let (set, _) = planted();
    assert_eq!(get(&set, DEGRADED, 1).wait(), Ok(None));
    set.core.lane(1).put_into_limbo("witnessed");
    assert_eq!(get(&set, DEGRADED, 1).wait(), Ok(None), "two voters are R");
    set.core.lane(2).put_into_limbo("witnessed");
    match get(&set, DEGRADED, 1).wait() {
        Err(Error::QuorumLost { need: 2, good: 1, missing, .. }) => {
            assert_eq!(missing.0.len(), 2);
            assert!(missing.to_string().contains("in limbo: witnessed"), "{missing}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_degraded_read_answers_with_what_it_has_when_it_looks_and_at_its_deadline() {
    for late in [false, true] {
        let (set, faults) = planted();
        for index in [0, 2] {
            faults[index].hang_reads();
        }
        // Its time is not watched, so that nobody looks before this test does.
        let (op, pending) = begin_weakly(&set);
        while op.state.lock().round.good() == 0 {
            std::thread::yield_now();
        }
        assert!(!op.is_finished(), "the others are waited for");
        let again = Arc::clone(&op).tick(&set.core, if late { far() + Duration::from_secs(1) } else { Instant::now() });
        assert_eq!(again.is_none(), late, "after the deadline nobody looks again");
        assert_eq!(pending.wait().expect("read").expect("there").version, PLANTED);
        for index in [0, 2] {
            faults[index].release();
        }
    }
}

#[test]
fn a_degraded_read_with_nothing_in_hand_ends_at_its_deadline() {
    let (set, faults) = planted();
    faults[1].hang_reads();
    faults[2].hang_reads();
    let (op, pending) = begin_weakly(&set);
    while op.state.lock().round.good() == 0 {
        std::thread::yield_now();
    }
    Arc::clone(&op).tick(&set.core, Instant::now());
    assert!(!op.is_finished(), "the absence of one is no answer");
    Arc::clone(&op).tick(&set.core, far() + Duration::from_secs(1));
    assert_eq!(pending.wait(), Err(Error::DeadlineExceeded { set: set.core.id, need: 2, asked: 3, good: 1 }));
    faults[1].release();
    faults[2].release();
}

#[test]
fn an_order_is_stale_when_a_newer_version_is_known() {
    let record = |kind| Record { kind, version: PLANTED, generation: 0, value: "shown".into(), origin: None };
    let newer = Version { counter: 8, ..PLANTED };
    let older = Version { counter: 6, ..PLANTED };
    for (known, stale) in [(None, false), (Some(older), false), (Some(PLANTED), false), (Some(newer), true)] {
        let order = shown(number(1), record(Kind::Order), known).expect("an order");
        assert_eq!((order.version, order.stale), (PLANTED, stale));
        assert_eq!(shown(number(1), record(Kind::Void), known), None);
    }
}
