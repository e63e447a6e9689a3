//! Days and clocks, while some SET is sick or has no numbers left.

use crate::bench::{World, create_in, ends, id, today, until, until_nothing_is_owed};
use ordermint::{CreateOptions, Group, OrderNumber, Pending, Placed, Replica};
use std::collections::BTreeSet;
use std::time::Duration;

#[test]
fn when_the_day_of_one_set_is_full_the_others_take_its_orders() {
    let world = World::near_and_far(7, &[8]);
    drop(world.open());
    let mark = OrderNumber::SEQUENCE_MAX + 1 - 5;
    for memory in &world.set(7).memory {
        let replica = (**memory).clone();
        let mut group = Group::new(replica.epoch());
        group.push_meta(format!("lease/{}", today()), mark.to_be_bytes().to_vec()).expect("room");
        replica.apply(&group).expect("memory takes it");
    }
    let age = Duration::from_secs(60);
    let store = world.builder().attempt_timeout(age).deadline(2 * age).open().expect("the store opens");
    let under_way: Vec<Pending<Placed>> = (0..200).map(|at| store.create(format!("order {at}"))).collect();
    let placed: Vec<Placed> = under_way.into_iter().map(|pending| ends(pending).expect("the other SET has room")).collect();
    let numbers: BTreeSet<OrderNumber> = placed.iter().map(|placed| placed.number).collect();
    assert_eq!(numbers.len(), placed.len(), "a number was given out twice");
    let of_full: Vec<_> = numbers.iter().filter(|number| number.set_id() == id(7)).collect();
    assert!(of_full.len() <= 5, "{of_full:?}");
    assert!(placed.iter().all(|placed| placed.superseded.is_empty()), "what was not sent leaves nothing behind");
    // It still serves what it has, and its breaker has nothing to do with that.
    for number in of_full {
        assert!(ends(store.get(*number)).expect("it is well").is_some());
    }
    let full = store.status().sets.into_iter().find(|set| set.id == id(7)).expect("it is there");
    assert_eq!(full.writes_opened, 0);
    assert!(full.closed_for_creates.is_some(), "{full:?}");
}

#[test]
fn clocks_that_go_back_and_forward_during_a_fail_over_give_no_number_twice() {
    const HOUR_MS: i64 = 3_600_000;
    let world = World::near_and_far(7, &[8]);
    let store = world.patient().open().expect("the store opens");
    create_in(&store, 7, "leased");
    let mut placed: Vec<Placed> = Vec::new();
    let patience = CreateOptions::new().deadline(Duration::from_secs(20));
    for (round, hours) in [-2, -11, 12, 13, -3, 2, -1].into_iter().enumerate() {
        world.set(7).hang();
        let send = |what: &str| -> Vec<Pending<Placed>> {
            (0..5).map(|at| store.create_with(format!("{what} {round} {at}"), patience.clone())).collect()
        };
        let mut under_way = send("before");
        world.clock.jump_wall(hours * HOUR_MS);
        under_way.extend(send("after"));
        placed.extend(under_way.into_iter().map(|pending| ends(pending).expect("the other SET is well")));
        world.set(7).release();
    }
    let mut numbers: Vec<OrderNumber> =
        placed.iter().flat_map(|placed| [vec![placed.number], placed.superseded.clone()].concat()).collect();
    let count = numbers.len();
    numbers.sort_unstable();
    numbers.dedup();
    assert_eq!(numbers.len(), count, "a number was given out twice");
    assert!(numbers.iter().any(|number| number.day() > today()), "midnight never came");
    until_nothing_is_owed(&store);
    for placed in &placed {
        assert!(ends(store.get(placed.number)).expect("all are well").is_some(), "an acknowledged order is gone");
        for number in &placed.superseded {
            until("it is void everywhere", || world.void_on(*number) == 3);
        }
    }
}
