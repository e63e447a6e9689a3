//! Who sends what to whom. Drawn from a seed, packet by packet, so that a run can be repeated whatever its threads do.

use crate::packet::{Cents, Packet, User};
use fastrand::Rng;

/// One packet and the people who come for it.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Plan {
    /// Names the request to send it, as the number of a payment would.
    pub(crate) key: String,
    pub(crate) sender: User,
    pub(crate) amount: Cents,
    pub(crate) shares: u16,
    /// Come all at once, some of them twice.
    pub(crate) crowd: Vec<User>,
    /// Come when the crowd has been answered.
    pub(crate) latecomers: Vec<User>,
    /// The news that it was paid for arrives a second time, in the middle of everything: such news is delivered at least once.
    pub(crate) paid_twice: bool,
    /// For the draws of the amounts.
    pub(crate) seed: u64,
}

const USERS: u64 = 1_000_000;

impl Plan {
    /// The plan of packet `n`.
    pub(crate) fn draw(seed: u64, n: usize) -> Plan {
        // Each packet has a generator of its own: what one draws moves no other.
        let mut rng = Rng::with_seed(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15).wrapping_add(n as u64));
        // Most are for a table of friends, some for a group, a few for everybody who is there: the hot ones.
        let shares = match rng.u8(..100) {
            0 => rng.u16(200..=Packet::SHARES_MAX),
            1..=29 => rng.u16(20..=100),
            _ => rng.u16(1..=19),
        };
        // A cent for each share is allowed, and the tightest case of the rule.
        let amount = Cents(u64::from(shares) * rng.u64(1..=2_000));

        let (sender, first) = (rng.u64(..USERS), rng.u64(..USERS));
        // One packet in eight is not wanted by enough; to the others a tenth more come than there are shares.
        let people = if rng.u8(..8) == 0 { shares.div_ceil(2) } else { shares + shares.div_ceil(10) };
        let mut users = (0..u64::from(people)).map(|nth| User((first + nth) % USERS));
        let late = usize::from(people).div_ceil(20);
        let latecomers = users.by_ref().take(late).collect();
        let mut crowd: Vec<User> = users.collect();
        let impatient: Vec<User> = crowd.iter().copied().filter(|_| rng.u8(..20) == 0).collect();
        crowd.extend(impatient);
        rng.shuffle(&mut crowd);
        let (key, paid_twice) = (format!("pay-{seed}-{n}"), rng.u8(..20) == 0);
        Plan { key, sender: User(sender), amount, shares, crowd, latecomers, paid_twice, seed: rng.u64(..) }
    }

    /// Visits, which is what takes room while it is under way.
    pub(crate) fn visits(&self) -> usize {
        self.crowd.len() + self.latecomers.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn a_plan_is_the_same_each_time_and_never_asks_for_what_cannot_be() {
        let (mut hot, mut twice, mut unwanted) = (0, 0, 0);
        for n in 0..5_000 {
            let plan = Plan::draw(7, n);
            assert_eq!(plan, Plan::draw(7, n));
            // Packing it checks shares and amount.
            let _ = Packet::packed(plan.sender, plan.amount, plan.shares);
            let people: HashSet<User> = plan.crowd.iter().chain(&plan.latecomers).copied().collect();
            assert!(plan.latecomers.iter().all(|late| !plan.crowd.contains(late)));
            hot += usize::from(plan.shares >= 200);
            twice += usize::from(people.len() < plan.visits());
            unwanted += usize::from(people.len() < usize::from(plan.shares));
        }
        assert!(hot > 0 && twice > 0 && unwanted > 0, "every case comes about: {hot} {twice} {unwanted}");
        assert_ne!(Plan::draw(7, 1), Plan::draw(8, 1));
    }
}
