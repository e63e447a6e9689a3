//! A SET whose breaker has closed again takes a share of new orders that grows; but orders that nobody else would take are no flood.

use crate::bench::{World, ends, status_of, until};
use ordermint::{BreakerSettings, BreakerState, CreateOptions, Error};
use std::time::Duration;

#[test]
fn sets_that_are_coming_back_take_every_order_where_there_is_no_other() {
    for sets in [&[7][..], &[7, 8]] {
        let world = World::new(sets);
        let hour = Duration::from_secs(3_600);
        let open = Duration::from_millis(50);
        let breaker = BreakerSettings::new().open_time(open, open).ramp(hour, 1);
        let store = world.builder().breaker(breaker).open().expect("the store opens");
        ends(store.create("leased")).expect("all are well");
        let soon = || CreateOptions::new().deadline(Duration::from_millis(200));
        world.sets.iter().for_each(|set| set.hang());
        let sent: Vec<_> = (0..100).map(|at| store.create_with(format!("in vain {at}"), soon())).collect();
        let failed = sent.into_iter().map(ends).filter(|answer| matches!(answer, Err(Error::Ambiguous { .. }))).count();
        assert!(failed > 0, "they hang");
        world.release_all();
        for set in sets {
            until("it comes back", || {
                let _ = ends(store.create_with("a probe", soon()));
                matches!(status_of(&store, *set).writes, BreakerState::Ramping { .. })
            });
        }
        for at in 0..200 {
            ends(store.create(format!("order {at}"))).unwrap_or_else(|error| panic!("{sets:?}: {error}"));
        }
        for set in sets {
            assert!(matches!(status_of(&store, *set).writes, BreakerState::Ramping { .. }), "none has its whole share");
        }
    }
}
