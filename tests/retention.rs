//! Days that were given up stay given up.

use ordermint::testing::ManualClock;
use ordermint::{ConfigError, Day, Error, MemoryReplica, NotAttempted, OrderStore, Quorum, Replica, SetConfig, SetId};
use std::sync::Arc;

const DAY_MS: i64 = 86_400_000;

fn clock_at(day: Day) -> ManualClock {
    ManualClock::new(day.to_unix_days() * DAY_MS + DAY_MS / 2)
}

fn open(memory: &[MemoryReplica], clock: &ManualClock) -> Result<OrderStore, Error> {
    let mut set = SetConfig::new(SetId::new(7)?);
    for replica in memory {
        let replica = replica.clone();
        set = set.replica_with(move |_| Ok(Arc::new(replica.clone()) as Arc<dyn Replica>));
    }
    OrderStore::builder().quorum(Quorum::new(3, 2, 2)?).add_set(set).clock(clock.clone()).open()
}

#[test]
fn a_day_given_up_is_neither_read_nor_minted_on_not_even_by_a_clock_put_back() -> Result<(), Error> {
    let set = SetId::new(7)?;
    let (first, second) = ("2026-11-21".parse::<Day>()?, "2026-11-22".parse::<Day>()?);
    let memory: Vec<MemoryReplica> = (0..3).map(|_| MemoryReplica::new()).collect();

    let store = open(&memory, &clock_at(first))?;
    let old = store.create("of the first day").wait()?;
    let too_high = store.raise_floor(first).wait();
    assert_eq!(too_high, Err(ConfigError::FloorTooHigh { set, given: first, minting_on: first }.into()));
    store.close().wait()?;

    let store = open(&memory, &clock_at(second))?;
    let new = store.create("of the second day").wait()?;
    assert_eq!((old.number.day(), new.number.day()), (first, second));
    assert!(store.get(old.number).wait()?.is_some());
    // The lower of two that are under way at once is not the one that stays.
    let (high, low) = (store.raise_floor(first), store.raise_floor(first.previous().expect("2026-11-20")));
    high.wait()?;
    low.wait()?;
    let dropped = Error::DayDropped { set, day: first, floor: first };
    assert_eq!(store.get(old.number).wait(), Err(dropped.clone()));
    assert_eq!(store.scan(set, first).next(), Some(Err(dropped.clone())));
    assert_eq!(store.days(set).wait()?, vec![second]);
    assert!(store.get(new.number).wait()?.is_some());
    store.close().wait()?;

    // Found again after reopening, on a machine whose clock was put back.
    let store = open(&memory, &clock_at(first.previous().expect("2026-11-20")))?;
    assert_eq!(store.get(old.number).wait(), Err(dropped));
    let refused = store.create("of a day given up").wait();
    let reason = match &refused {
        Err(Error::NotAttempted { reason }) => reason,
        other => panic!("{other:?}"),
    };
    assert!(matches!(reason, NotAttempted::ClockJump { .. } | NotAttempted::BelowFloor { .. }), "{reason}");
    store.accept_clock();
    for _ in 0..100 {
        let refused = store.create("of a day given up").wait();
        assert!(matches!(refused, Err(Error::NotAttempted { .. })), "{refused:?}");
    }
    store.close().wait()
}
