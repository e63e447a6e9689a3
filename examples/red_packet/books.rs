//! The proof: what everybody was told, held against what the store kept. Pure, so that wrong books can be planted and must be found.
//!
//! The two sides know nothing of each other. The accounts are written by the callers, from answers alone; the packets are read from the
//! store after it was closed and opened again. If an acknowledged open were lost, applied twice or changed on its way, they would differ.

use crate::packet::{Cents, Packet, State, User};
use ordermint::OrderNumber;
use std::collections::HashMap;
use std::fmt;

/// What a visitor was told in the end.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Told {
    /// So much is yours: acknowledged, or in doubt at first and then resolved as applied.
    Yours(Cents),
    /// It was empty.
    Empty,
    /// An error, and that nothing was written.
    Refused,
    /// Nothing certain: in doubt, and it could not be resolved.
    Unknown,
}

impl Told {
    /// Of the answers to somebody who came twice, the weightiest stands for all: one that is theirs whatever the others said, then
    /// one that leaves it open.
    fn weight(self) -> u8 {
        match self {
            Told::Yours(_) => 2,
            Told::Unknown => 1,
            Told::Empty | Told::Refused => 0,
        }
    }
}

/// How much of a packet's way its sender knows of.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Known {
    /// It may be there or not.
    Nothing,
    /// It is there. Whether it was sent is not known.
    Packed,
    /// It was sent.
    Sent,
}

/// The account of one packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Account {
    pub(crate) number: OrderNumber,
    pub(crate) sender: User,
    pub(crate) amount: Cents,
    pub(crate) shares: u16,
    pub(crate) known: Known,
    pub(crate) told: Vec<(User, Told)>,
}

/// What the books came to.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub(crate) struct Balance {
    pub(crate) packets: usize,
    pub(crate) receive_orders: usize,
    /// By the accounts of the senders, and by the packets of those that nothing certain could be told.
    pub(crate) paid_in: Cents,
    /// By what the receivers were told, and what is in the packets of those that nothing certain could be told.
    pub(crate) received: Cents,
    /// By the packets.
    pub(crate) left: Cents,
    /// What is wrong. Empty: every packet was found right.
    pub(crate) faults: Vec<Fault>,
}

/// Something wrong with a packet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Fault {
    pub(crate) number: OrderNumber,
    pub(crate) what: Wrong,
}

/// What can be wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Wrong {
    /// Its sender was told that it is there.
    Lost,
    /// It cannot be read or makes no sense.
    Unreadable(String),
    /// Nobody was told of it.
    Nobodys,
    /// It was found before.
    Twice,
    /// Sender, amount or shares are not those that were sent.
    Changed,
    /// Its sender was told that it was sent.
    NotSent,
    /// More receive orders than shares.
    TooMany { received: usize, shares: u16 },
    /// What was received and what is left is not what was paid.
    Sum { received: Cents, left: Cents, amount: Cents },
    /// Somebody received twice.
    Doubled(User),
    /// Somebody was told an amount, and there is another or none.
    Differs { user: User, told: Cents, found: Option<Cents> },
    /// A receive order of somebody who was not told of it.
    NotTold { user: User, found: Cents },
    /// Somebody was told that it was empty.
    NotEmpty { user: User, opened: usize, shares: u16 },
}

impl Balance {
    /// Every packet right, and the totals too.
    pub(crate) fn is_balanced(&self) -> bool {
        self.faults.is_empty() && self.paid_in.0 == self.received.0 + self.left.0
    }
}

/// Holds the accounts against the packets as they were found; `Err` is a packet that makes no sense.
pub(crate) fn check(accounts: &[Account], found: impl IntoIterator<Item = (OrderNumber, Result<Packet, String>)>) -> Balance {
    let mut balance = Balance::default();
    let mut expected: HashMap<OrderNumber, (&Account, bool)> =
        accounts.iter().map(|account| (account.number, (account, false))).collect();
    for (number, packet) in found {
        balance.packets += 1;
        let mut wrong = Vec::new();
        match (expected.get_mut(&number), packet) {
            (None, _) => wrong.push(Wrong::Nobodys),
            (Some((_, true)), _) => wrong.push(Wrong::Twice),
            (Some((_, seen)), Err(reason)) => {
                *seen = true;
                wrong.push(Wrong::Unreadable(reason));
            }
            (Some((account, seen)), Ok(packet)) => {
                *seen = true;
                compare(account, &packet, &mut balance, &mut wrong);
            }
        }
        balance.faults.extend(wrong.into_iter().map(|what| Fault { number, what }));
    }
    for account in accounts {
        if account.known == Known::Sent {
            balance.paid_in.0 += account.amount.0;
        }
        if account.known != Known::Nothing && !expected[&account.number].1 {
            balance.faults.push(Fault { number: account.number, what: Wrong::Lost });
        }
    }
    balance
}

/// One packet beside its account.
fn compare(account: &Account, packet: &Packet, balance: &mut Balance, wrong: &mut Vec<Wrong>) {
    if (packet.sender, packet.amount, packet.shares) != (account.sender, account.amount, account.shares) {
        wrong.push(Wrong::Changed);
    }
    if account.known == Known::Sent && packet.state != State::Sent {
        wrong.push(Wrong::NotSent);
    }
    if packet.state == State::Sent {
        balance.left.0 += packet.left.0;
        if account.known != Known::Sent {
            // Nobody could tell its sender, so the packet has the word. (The others were added from the accounts.)
            balance.paid_in.0 += packet.amount.0;
        }
    }
    let (opened, shares) = (packet.received.len(), packet.shares);
    if opened > usize::from(shares) {
        wrong.push(Wrong::TooMany { received: opened, shares });
    }
    let sum = Cents(packet.received.iter().map(|receive| receive.cents.0).sum());
    if sum.0 + packet.left.0 != packet.amount.0 {
        wrong.push(Wrong::Sum { received: sum, left: packet.left, amount: packet.amount });
    }
    balance.receive_orders += opened;

    let mut received: HashMap<User, Cents> = HashMap::with_capacity(opened);
    for receive in &packet.received {
        if received.insert(receive.user, receive.cents).is_some() {
            wrong.push(Wrong::Doubled(receive.user));
        }
    }
    // Somebody who came twice was told twice, and is paid once.
    let mut told: HashMap<User, Told> = HashMap::with_capacity(account.told.len());
    for &(user, what) in &account.told {
        let found = received.get(&user).copied();
        match what {
            Told::Yours(cents) if found != Some(cents) => wrong.push(Wrong::Differs { user, told: cents, found }),
            Told::Empty if opened < usize::from(shares) => wrong.push(Wrong::NotEmpty { user, opened, shares }),
            _ => {}
        }
        let most = told.entry(user).or_insert(what);
        if what.weight() > most.weight() {
            *most = what;
        }
    }
    for (&user, &found) in &received {
        match told.get(&user) {
            Some(Told::Yours(_)) => {}
            // It was in doubt to the end; the packet says what became of it.
            Some(Told::Unknown) => balance.received.0 += found.0,
            _ => wrong.push(Wrong::NotTold { user, found }),
        }
    }
    let yours = told.values().map(|told| if let Told::Yours(cents) = told { cents.0 } else { 0 });
    balance.received.0 += yours.sum::<u64>();
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "packet {}: {}", self.number, self.what)
    }
}

impl fmt::Display for Wrong {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wrong::Lost => f.write_str("its sender was told that it is there, and it is not"),
            Wrong::Unreadable(reason) => write!(f, "cannot be read: {reason}"),
            Wrong::Nobodys => f.write_str("nobody was told of it"),
            Wrong::Twice => f.write_str("was found twice"),
            Wrong::Changed => f.write_str("its sender, amount or number of shares is not what was sent"),
            Wrong::NotSent => f.write_str("its sender was told that it was sent, and it was not"),
            Wrong::TooMany { received, shares } => write!(f, "{received} receive orders and {shares} shares"),
            Wrong::Sum { received, left, amount } => write!(f, "{received} received + {left} left is not {amount}"),
            Wrong::Doubled(user) => write!(f, "{user} received twice"),
            Wrong::Differs { user, told, found: Some(found) } => write!(f, "{user} was told {told} and has {found}"),
            Wrong::Differs { user, told, found: None } => write!(f, "{user} was told {told} and has nothing"),
            Wrong::NotTold { user, found } => write!(f, "{user} has {found} and was not told so"),
            Wrong::NotEmpty { user, opened, shares } => {
                write!(f, "{user} was told that it was empty, and {opened} of {shares} shares were opened")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::packet::{Opened, Receive};
    use fastrand::Rng;
    use ordermint::{Day, SetId};

    type Found = Vec<(OrderNumber, Result<Packet, String>)>;

    /// Packets as they come about, and what everybody was told. The first has all shares opened, the second has some left.
    fn right_books(seed: u64) -> (Vec<Account>, Found) {
        let mut rng = Rng::with_seed(seed);
        let (mut accounts, mut found) = (Vec::new(), Vec::new());
        for sequence in 0..10 {
            let number = OrderNumber::new(Day::MIN, sequence, SetId::MAX).expect("a number");
            let shares = rng.u16(4..=20);
            let amount = Cents(rng.u64(1_000..=100_000));
            let visitors = match sequence {
                0 => shares + 3,
                1 => shares - 2,
                _ => rng.u16(1..=2 * shares),
            };
            let mut packet = Packet::packed(User(sequence), amount, shares).sent();
            let mut told = Vec::new();
            for visitor in 0..u64::from(visitors) {
                // Every fourth comes again.
                for user in std::iter::once(visitor).chain((visitor % 4 == 3).then_some(visitor)) {
                    let what = match packet.open(User(user), &mut rng) {
                        Opened::Received(cents) | Opened::Already(cents) => Told::Yours(cents),
                        Opened::Empty => Told::Empty,
                        Opened::NotSent => panic!("it was sent"),
                    };
                    told.push((User(user), what));
                }
            }
            accounts.push(Account { number, sender: User(sequence), amount, shares, known: Known::Sent, told });
            found.push((number, Ok(packet)));
        }
        (accounts, found)
    }

    #[test]
    fn right_books_balance() {
        for seed in 0..200 {
            let (accounts, found) = right_books(seed);
            let balance = check(&accounts, found);
            assert_eq!(balance.faults, [], "seed {seed}");
            assert!(balance.is_balanced(), "seed {seed}: {balance:?}");
            assert_eq!(balance.packets, 10);
            assert_eq!(balance.paid_in.0, accounts.iter().map(|account| account.amount.0).sum::<u64>());
            assert!(balance.left > Cents(0) && balance.received > Cents(0));
        }
    }

    /// Plants something in right books, into the packet or account at `at`, and says what must be found.
    fn planted(at: usize, plant: impl Fn(&mut Account, &mut Packet) -> Vec<Wrong>) {
        for seed in 0..50 {
            let (mut accounts, mut found) = right_books(seed);
            let packet = found[at].1.as_mut().expect("it is right");
            let expected = plant(&mut accounts[at], packet);
            let number = accounts[at].number;
            let balance = check(&accounts, found);
            let mut faults = balance.faults.clone();
            faults.sort_by_key(ToString::to_string);
            let mut expected: Vec<Fault> = expected.into_iter().map(|what| Fault { number, what }).collect();
            expected.sort_by_key(ToString::to_string);
            assert_eq!(faults, expected, "seed {seed}");
            assert!(!balance.is_balanced(), "seed {seed}");
        }
    }

    fn sum(packet: &Packet) -> Wrong {
        let received = Cents(packet.received.iter().map(|receive| receive.cents.0).sum());
        Wrong::Sum { received, left: packet.left, amount: packet.amount }
    }

    /// What those who were told of `user`'s share must say when it is not as told: one who came twice says it twice.
    fn differs(account: &Account, user: User, found: Option<Cents>) -> Vec<Wrong> {
        let told = account.told.iter().filter(|(who, _)| *who == user);
        told.filter_map(|(_, told)| match told {
            Told::Yours(told) => Some(Wrong::Differs { user, told: *told, found }),
            _ => None,
        })
        .collect()
    }

    #[test]
    fn a_lost_open_is_found() {
        planted(1, |account, packet| {
            let lost = packet.received.pop().expect("some were opened");
            [differs(account, lost.user, None), vec![sum(packet)]].concat()
        });
    }

    #[test]
    fn a_lost_open_is_found_also_where_its_money_went_back_into_the_packet() {
        planted(1, |account, packet| {
            let lost = packet.received.pop().expect("some were opened");
            packet.left.0 += lost.cents.0;
            differs(account, lost.user, None)
        });
    }

    #[test]
    fn a_share_that_somebody_got_twice_is_found() {
        planted(1, |_, packet| {
            let again = packet.received[0];
            packet.received.push(again);
            vec![Wrong::Doubled(again.user), sum(packet)]
        });
    }

    #[test]
    fn amounts_swapped_between_two_are_found_though_the_sum_is_right() {
        planted(1, |account, packet| {
            let (one, other) = (packet.received[0], packet.received[1]);
            // Equal amounts swapped are no change: a cent moves then.
            let moved = if one.cents == other.cents { Cents(one.cents.0 + 1) } else { other.cents };
            packet.received[0].cents = moved;
            packet.received[1].cents.0 = one.cents.0 + other.cents.0 - moved.0;
            let second = packet.received[1].cents;
            [differs(account, one.user, Some(moved)), differs(account, other.user, Some(second))].concat()
        });
    }

    #[test]
    fn a_cent_more_or_less_left_is_found() {
        planted(1, |_, packet| {
            packet.left.0 += 1;
            vec![sum(packet)]
        });
    }

    #[test]
    fn a_receive_order_that_nobody_was_told_of_is_found() {
        planted(1, |_, packet| {
            let (user, found) = (User(999), Cents(1));
            packet.left.0 -= 1;
            packet.received.push(Receive { user, cents: found });
            vec![Wrong::NotTold { user, found }]
        });
        // Also of somebody who was told of an error that changed nothing.
        planted(1, |account, packet| {
            let Receive { user, cents: found } = packet.received[0];
            account.told.retain(|(who, _)| *who != user);
            account.told.push((user, Told::Refused));
            vec![Wrong::NotTold { user, found }]
        });
    }

    #[test]
    fn an_empty_answer_from_a_packet_with_shares_left_is_found() {
        planted(1, |account, packet| {
            let user = User(999);
            account.told.push((user, Told::Empty));
            vec![Wrong::NotEmpty { user, opened: packet.received.len(), shares: packet.shares }]
        });
    }

    #[test]
    fn one_receive_order_too_many_is_found() {
        planted(0, |account, packet| {
            packet.received.push(Receive { user: User(999), cents: Cents(0) });
            account.told.push((User(999), Told::Yours(Cents(0))));
            vec![Wrong::TooMany { received: packet.received.len(), shares: packet.shares }]
        });
    }

    #[test]
    fn a_packet_that_went_back_to_packed_or_was_changed_is_found() {
        planted(0, |_, packet| {
            packet.state = State::Packed;
            vec![Wrong::NotSent]
        });
        planted(0, |_, packet| {
            packet.sender = User(999);
            vec![Wrong::Changed]
        });
    }

    #[test]
    fn packets_that_are_missing_garbled_doubled_or_nobodys_are_found() {
        let (accounts, found) = right_books(1);
        let faults = |accounts: &[Account], found: &Found| -> Vec<Wrong> {
            check(accounts, found.clone()).faults.into_iter().map(|fault| fault.what).collect()
        };
        assert_eq!(faults(&accounts, &found[1..].to_vec()), [Wrong::Lost]);
        assert_eq!(faults(&accounts[1..], &found), [Wrong::Nobodys]);
        assert_eq!(faults(&accounts, &[found.clone(), vec![found[3].clone()]].concat()), [Wrong::Twice]);
        let mut garbled = found.clone();
        garbled[4].1 = Err("rubbish".into());
        assert_eq!(faults(&accounts, &garbled), [Wrong::Unreadable("rubbish".into())]);
    }

    #[test]
    fn what_was_in_doubt_to_the_end_may_be_there_or_not() {
        let (mut accounts, mut found) = right_books(2);
        // One open each that was applied and that was not.
        let applied = found[1].1.as_ref().expect("it is right").received[0].user;
        accounts[1].told.retain(|(user, _)| *user != applied);
        accounts[1].told.push((applied, Told::Unknown));
        accounts[1].told.push((User(999), Told::Unknown));
        // A packet that may be there and is, one that is not, and one that may have been sent and was not.
        let packed = Packet::packed(User(1), Cents(5), 5);
        for (sequence, there, known) in [(20, true, Known::Nothing), (21, false, Known::Nothing), (22, true, Known::Packed)] {
            let number = OrderNumber::new(Day::MIN, sequence, SetId::MAX).expect("a number");
            let Packet { sender, amount, shares, .. } = packed;
            accounts.push(Account { number, sender, amount, shares, known, told: Vec::new() });
            if there {
                found.push((number, Ok(packed.clone())));
            }
        }
        let balance = check(&accounts, found);
        assert_eq!(balance.faults, []);
        assert!(balance.is_balanced(), "{balance:?}");
    }
}
