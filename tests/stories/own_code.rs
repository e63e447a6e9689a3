//! Code of the user's, called by the store: a replica that panics when it is asked what it is, a clock that asks the store.

use crate::bench::*;
use ordermint::{
    Clock, Error, Marks, MemoryReplica, OrderStore, Replica, ReplicaError, ReplicaState, SetConfig, SetId, Standing,
};
use std::cell::Cell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::Duration;

fn seven() -> SetConfig {
    SetConfig::new(SetId::new(7).expect("an id"))
}

/// What it is asked about itself.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Asked {
    Standing,
    Marks,
    Epoch,
}

/// A replica that panics once, after so many such questions.
struct Touchy {
    inner: MemoryReplica,
    about: Asked,
    patience: Arc<AtomicUsize>,
}

impl Touchy {
    fn asked(&self, about: Asked) {
        if about == self.about && self.patience.fetch_sub(1, Ordering::SeqCst) == 1 {
            panic!("asked once too often about its {about:?}");
        }
    }
}

impl Replica for Touchy {
    fn standing(&self) -> Standing {
        self.asked(Asked::Standing);
        self.inner.standing()
    }
    fn marks(&self) -> Marks {
        self.asked(Asked::Marks);
        self.inner.marks()
    }
    fn epoch(&self) -> u32 {
        self.asked(Asked::Epoch);
        self.inner.epoch()
    }
    pass_on_the_rest!();
}

/// Opens a store over these, of which the second is touchy.
fn open(memory: &[MemoryReplica], about: Asked, patience: usize) -> Result<OrderStore, Error> {
    let patience = Arc::new(AtomicUsize::new(patience));
    let add = |config: SetConfig, (index, memory): (usize, &MemoryReplica)| {
        let (memory, patience) = (memory.clone(), Arc::clone(&patience));
        config.replica_with(move |_| match index {
            1 => Ok(Arc::new(Touchy { inner: memory.clone(), about, patience: Arc::clone(&patience) }) as Arc<dyn Replica>),
            _ => Ok(Arc::new(memory.clone()) as Arc<dyn Replica>),
        })
    };
    OrderStore::builder().add_set(memory.iter().enumerate().fold(seven(), add)).open()
}

const NEVER: usize = usize::MAX;

#[test]
fn a_replica_that_panics_when_it_is_asked_what_it_is_is_out_and_the_store_opens() {
    for about in [Asked::Standing, Asked::Marks, Asked::Epoch] {
        let mut panicked = 0;
        for patience in 1..=8 {
            let memory: Vec<MemoryReplica> = (0..3).map(|_| MemoryReplica::new()).collect();
            drop(open(&memory, about, NEVER).expect("it is made"));
            let store = open(&memory, about, patience).expect("two of three are well");
            ends(store.create("an order")).expect("two of three are well");
            if status(&store).replicas[1].state != ReplicaState::Voting {
                panicked += 1;
                // As often as it may be touchy again; each is an answer.
                until("it is back", || {
                    let _ = store.bring_back_replica(SetId::new(7).expect("an id"), 1);
                    status(&store).replicas[1].state == ReplicaState::Voting
                });
                ends(store.create("another one")).expect("all are well");
            }
        }
        assert!(panicked > 0, "it was never asked about its {about:?}");
    }
}

#[test]
fn a_set_one_of_whose_replicas_panics_when_it_is_asked_what_it_is_cannot_be_made() {
    for about in [Asked::Standing, Asked::Epoch] {
        let memory: Vec<MemoryReplica> = (0..3).map(|_| MemoryReplica::new()).collect();
        let error = open(&memory, about, 1).expect_err("it cannot be made without it");
        assert!(matches!(error, Error::CannotForm { .. }), "{error}");
        open(&memory, about, NEVER).expect("it is made now");
    }
}

thread_local! {
    /// The clock asks the store once when it is read on this thread.
    static ASKS: Cell<bool> = const { Cell::new(false) };
}

/// A clock that asks the store how it is.
#[derive(Default)]
struct Curious {
    store: Mutex<Option<OrderStore>>,
}

impl Clock for Curious {
    fn wall_ms(&self) -> i64 {
        if ASKS.replace(false)
            && let Some(store) = self.store.lock().expect("no panic").clone()
        {
            assert_eq!(store.status().sets.len(), 1);
        }
        1_795_348_800_000
    }

    fn boot_ms(&self) -> u64 {
        1_000_000
    }
}

#[test]
fn a_clock_that_asks_the_store_how_it_is_does_not_wait_for_itself() {
    let gone = Arc::new(AtomicBool::new(false));
    let clock = Arc::new(Curious::default());
    let memory: Vec<MemoryReplica> = (0..3).map(|_| MemoryReplica::new()).collect();
    let open = || {
        let add = |config: SetConfig, (index, memory): (usize, &MemoryReplica)| {
            let (memory, gone) = (memory.clone(), Arc::clone(&gone));
            config.replica_with(move |_| match index > 0 && gone.load(Ordering::SeqCst) {
                true => Err(ReplicaError::Out { reason: "gone".to_owned() }),
                false => Ok(Arc::new(memory.clone()) as Arc<dyn Replica>),
            })
        };
        let set = memory.iter().enumerate().fold(seven(), add);
        OrderStore::builder().clock(Arc::clone(&clock)).add_set(set).open().expect("the store opens")
    };
    ends(open().close()).expect("closed");
    // Nothing can be leased, so only the clock knows what day it is.
    gone.store(true, Ordering::SeqCst);
    let store = open();
    *clock.store.lock().expect("no panic") = Some(store.clone());
    let (told, tells) = mpsc::channel();
    std::thread::spawn(move || {
        ASKS.set(true);
        let status = store.status();
        let _ = told.send((status.sets[0].day, ASKS.get()));
    });
    let told = tells.recv_timeout(Duration::from_secs(20)).expect("it waits for itself");
    assert_eq!(told, (None, false), "the clock was never read");
    clock.store.lock().expect("no panic").take();
}
