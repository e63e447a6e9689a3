//! Are the histories of orders linearizable, whatever happens to the replicas?
//!
//! Eight threads create, update, modify and read some fifty orders, while replicas are slowed, fail, hang, leave and return, and the
//! program is closed or killed and started again. Each order's history is then put in line by a checker that knows nothing of
//! quorums. `ORDERMINT_HISTORIES` says how many such histories, `ORDERMINT_SEED` which; threads run as they like all the same.

#[path = "../common/mod.rs"]
mod common;
mod planted;
mod register;
mod rivals;
mod sessions;
mod tally;
mod trouble;
mod weak;
mod world;

use ordermint::testing::{Asked, Recorder};
use ordermint::{Error, Pending, Quorum};
use sessions::{ASKED_FOR, Desk, Session};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tally::Tally;
use trouble::Trouble;
use world::{AGES, World};

const SESSIONS: u64 = 8;

/// What must have happened at least once in a run of some length, or it was too tame to prove anything. Below that length chance
/// may leave out some of it.
const ENOUGH: usize = 50;
const MUST_HAPPEN: &[&str] = &[
    "creates",
    "updates",
    "modifies",
    "modifies that shared a write",
    "strong reads",
    "weak reads",
    "degraded reads",
    "Ambiguous",
    "VersionMismatch",
    "ModifyPanicked",
    "NotAttempted",
    "settled as done",
    "settled as not done",
    "write-backs",
    "restarts",
    "kills",
    "operations cut off by a kill",
    "replicas taken out",
    "replicas brought back",
    "hanging writers",
    "slow writers",
    "failed writes",
];

#[test]
fn every_history_is_linearizable_whatever_happens_to_the_replicas() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let default = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        if !panic.payload_as_str().is_some_and(|message| message.contains(ASKED_FOR)) {
            PANICS.fetch_add(1, Ordering::SeqCst);
            default(panic);
        }
    }));
    let mut rng = common::random("linearizable");
    let histories = common::how_many("ORDERMINT_HISTORIES", 20);
    let (start, tally) = (Instant::now(), Arc::new(Tally::default()));
    for at in 0..histories {
        let quorum = match at % 10 {
            4 => (5, 3, 3),
            6 => (3, 1, 3),
            8 => (3, 3, 1),
            _ => (3, 2, 2),
        };
        let quorum = Quorum::new(quorum.0, quorum.1, quorum.2).expect("a quorum");
        one_history(at, quorum, &tally, rng.fork());
        assert_eq!(PANICS.load(Ordering::SeqCst), 0, "history {at}: a thread of the store panicked");
    }
    common::say(&format!("{histories} histories in {} s: {tally}", start.elapsed().as_secs()));
    let never: Vec<&&str> = MUST_HAPPEN.iter().filter(|what| tally.of(what) == 0).collect();
    assert!(histories < ENOUGH || never.is_empty(), "too tame a run: {never:?} never happened");
}

fn one_history(at: usize, quorum: Quorum, tally: &Arc<Tally>, mut rng: fastrand::Rng) {
    let world = World::new(quorum, Arc::clone(tally));
    let desk =
        Desk { world: &world, recorder: Recorder::new(), orders: Mutex::default(), closing_time: AtomicBool::new(false), tally };
    std::thread::scope(|scope| {
        let sessions: Vec<_> = (1..=SESSIONS)
            .map(|id| {
                let session = Session::new(&desk, id, rng.fork());
                scope.spawn(|| session.run())
            })
            .collect();
        Trouble::new(&world, tally, rng.fork()).run();
        desk.closing_time.store(true, Ordering::SeqCst);
        sessions.into_iter().for_each(|session| session.join().expect("a session does not panic"));
    });
    world.heal();
    settle_all(&world, &desk.recorder, tally);
    read_all(&desk);
    for (number, history) in desk.recorder.history().by_order() {
        tally.add("orders checked");
        if let Err(wrong) = register::linearizable(&history) {
            panic!("history {at} with {quorum:?}, {number}: {wrong}");
        }
        if let Err(wrong) = weak::weak_reads_hold(&history, weak::Overlap::of(quorum)) {
            panic!("history {at} with {quorum:?}, {number}: {wrong}");
        }
    }
    drop(desk);
    world.end();
}

/// Asks again where a retry may help: the machine may be slow, and deadlines are short here.
fn persistently<T>(ask: impl Fn() -> Pending<T>) -> Result<T, Error> {
    let start = Instant::now();
    loop {
        let result = ask().wait_timeout(AGES).unwrap_or_else(|_| panic!("an operation never ends"));
        match result {
            Err(error) if error.is_retryable() && start.elapsed() < AGES => std::thread::sleep(Duration::from_millis(5)),
            result => return result,
        }
    }
}

/// Every write in doubt can be settled once the replicas are back, and the answer is final.
fn settle_all(world: &World, recorder: &Recorder, tally: &Tally) {
    let store = world.life().store;
    for token in recorder.history().in_doubt() {
        let again = || persistently(|| store.resolve(token));
        match again() {
            Ok(resolved) => {
                let what = match resolved {
                    ordermint::Resolved::Applied => "settled as done",
                    ordermint::Resolved::NotApplied => "settled as not done",
                };
                tally.add(what);
                assert!(recorder.settle(token, resolved), "{token} was settled otherwise before than {resolved:?}");
                let repeated = again();
                assert!(
                    matches!(repeated, Ok(same) if same == resolved) || matches!(repeated, Err(Error::Superseded { .. })),
                    "{token} was {resolved:?}, and then {repeated:?}"
                );
            }
            // The process that could have told has ended.
            Err(Error::Superseded { .. }) => tally.add("superseded"),
            Err(error) => {
                let history = recorder.history().by_order().remove(&token.number).unwrap_or_default();
                panic!("with all replicas back {token} cannot be settled: {error}\n{history}");
            }
        }
    }
}

/// The last word on every order.
fn read_all(desk: &Desk<'_>) {
    let store = desk.world.life().store;
    let mut orders = desk.orders.lock().unwrap_or_else(PoisonError::into_inner).clone();
    orders.sort_unstable();
    orders.dedup();
    for number in orders {
        let call = desk.recorder.call(0, Some(number), Asked::Read);
        let result = persistently(|| store.get(number));
        assert!(result.is_ok(), "with all replicas back {number} cannot be read: {result:?}");
        call.ended(&result);
    }
}
