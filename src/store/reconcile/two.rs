//! What two orders of one request key say of each other, where the later one was placed when the SET of the earlier one could not be
//! asked. Pure.

use crate::set::Keyed;

/// An order so many days after another with its key has nothing to do with it, unless it says so: in between the key was forgotten.
const NEAR_DAYS: i64 = 1;

/// What two orders of one request key say of each other.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Two {
    /// The earlier one is made void, acknowledged or not.
    EarlierEnds,
    /// One of them stands in for the other, and its note says so; or the key was forgotten in between, and they have nothing to do
    /// with each other. Nothing more is to be done.
    Told,
    /// Each holds the other's SET unverified. Or they are a day further apart than a key is good for: at midnight the SETs need not be on
    /// the same day, nor on that of the clock from which the key was looked for; or the key was used again, as it may be.
    Alarm,
}

/// `later` was placed when the SET of `earlier` could not be asked; a key is good for the day of its first use and `window` more. Pure.
pub(super) fn of_two(earlier: &Keyed, later: &Keyed, window: i64) -> Two {
    let named = |one: &Keyed, other: &Keyed| {
        one.origin.supersedes.iter().find(|(number, _)| *number == other.number).map(|(_, version)| *version)
    };
    // Newer than the note says: somebody was told of the one that was given up, and it is the other that ends.
    let stands_in = named(earlier, later).is_some_and(|version| later.origin.asked_for(later.version) <= version);
    let doubts_it = earlier.origin.unverified.contains(&later.number.set_id());
    let days_after = earlier.number.day().to_unix_days() - later.number.day().to_unix_days();
    if named(later, earlier).is_some() || stands_in || (days_after > NEAR_DAYS && !doubts_it) {
        Two::Told
    } else if doubts_it || -days_after > window {
        Two::Alarm
    } else {
        Two::EarlierEnds
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::order::{Day, OrderNumber, SetId};
    use crate::replica::{Origin, Version};
    use std::sync::Arc;

    fn keyed(set: u16, sequence: u64, origin: Origin) -> Keyed {
        let number = OrderNumber::new(Day::MIN, sequence, SetId::from_checked(set)).expect("a number");
        Keyed { number, version: Version { epoch: 1, counter: 1 }, origin: Arc::new(origin) }
    }

    fn unverified(set: u16) -> Origin {
        Origin { unverified: vec![SetId::from_checked(set)], ..Origin::default() }
    }

    #[test]
    fn the_earlier_one_ends_unless_one_says_otherwise() {
        let plain = keyed(7, 1, Origin::default());
        let later = keyed(8, 1, unverified(7));
        assert_eq!(of_two(&plain, &later, 1), Two::EarlierEnds);
        let doubting = keyed(7, 1, unverified(8));
        assert_eq!(of_two(&doubting, &later, 1), Two::Alarm);
        let instead = |of: &Keyed, origin: Origin| Origin { supersedes: vec![(of.number, of.version)], ..origin };
        let standing_in = keyed(8, 1, instead(&plain, unverified(7)));
        assert_eq!(of_two(&plain, &standing_in, 1), Two::Told);
        let given_up_by = keyed(7, 1, instead(&later, Origin::default()));
        assert_eq!(of_two(&given_up_by, &later, 1), Two::Told);
        // It was confirmed since: somebody was told of it.
        let confirmed = Keyed { version: Version { epoch: 2, counter: 1 }, ..later.clone() };
        assert_eq!(of_two(&given_up_by, &confirmed, 1), Two::EarlierEnds);
    }

    #[test]
    fn a_key_that_was_forgotten_and_used_again_ends_no_order() {
        let later = keyed(8, 1, unverified(7));
        let day = |days: i64| Day::from_unix_days(Day::MIN.to_unix_days() + days).expect("a day");
        let on = |days: i64, origin: Origin| {
            let number = OrderNumber::new(day(days), 1, SetId::from_checked(7)).expect("a number");
            Keyed { number, ..keyed(7, 1, origin) }
        };
        assert_eq!(of_two(&on(1, Origin::default()), &later, 1), Two::EarlierEnds);
        assert_eq!(of_two(&on(2, Origin::default()), &later, 1), Two::Told);
        assert_eq!(of_two(&on(2, unverified(8)), &later, 1), Two::Alarm);
    }

    #[test]
    fn an_order_from_the_day_before_those_that_a_key_is_good_for_is_left_to_the_operator() {
        let earlier = keyed(7, 1, Origin::default());
        for (days, window, expected) in [(1, 1, Two::EarlierEnds), (2, 1, Two::Alarm), (2, 2, Two::EarlierEnds)] {
            let day = Day::from_unix_days(Day::MIN.to_unix_days() + days).expect("a day");
            let number = OrderNumber::new(day, 1, SetId::from_checked(8)).expect("a number");
            let later = Keyed { number, ..keyed(8, 1, unverified(7)) };
            assert_eq!(of_two(&earlier, &later, window), expected);
        }
    }
}
