//! A red packet as bytes, and the rule by which its money is handed out. Pure: values in, values out.
//!
//! The store keeps whatever bytes it is given; this is the format of ours. Integers are big-endian:
//!
//! ```text
//! byte    0        1       2        4        12       20      28       30
//!         | format | state | shares | sender | amount | left  | opened | opened times (user 8, cents 8)
//!           1        1       2        8        8        8       2
//! ```
//!
//! `left` could be worked out from the rest. It is kept all the same: written by those who open, and held against the sum of the
//! receive orders by the books, it is a second witness.

use fastrand::Rng;
use std::fmt;

/// Somebody who sends or receives.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct User(pub(crate) u64);

/// Money. Whole cents, so that nothing is ever rounded.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Debug)]
pub(crate) struct Cents(pub(crate) u64);

/// How far a packet has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum State {
    /// Written down, not paid for yet.
    Packed,
    /// Paid for: it may be opened.
    Sent,
}

/// Who got how much.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Receive {
    pub(crate) user: User,
    pub(crate) cents: Cents,
}

/// A packet with its receive orders.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) struct Packet {
    pub(crate) state: State,
    pub(crate) sender: User,
    pub(crate) amount: Cents,
    pub(crate) shares: u16,
    pub(crate) left: Cents,
    /// In the order in which it was opened.
    pub(crate) received: Vec<Receive>,
}

/// What somebody who opens a packet is told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Opened {
    /// So much is theirs.
    Received(Cents),
    /// So much was theirs already. Nobody receives twice.
    Already(Cents),
    /// Others were faster.
    Empty,
    /// Nobody has paid for it yet.
    NotSent,
}

/// Why some bytes are no packet.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Garbled {
    /// Too short, or longer or shorter than the count of receive orders says.
    Length,
    /// Another format than this one.
    Format(u8),
    /// No such state.
    State(u8),
    /// More shares, more receive orders or more money than there can be.
    Range,
    /// What was received and what is left is not what was paid.
    Sum,
}

const FORMAT: u8 = 1;
const HEAD: usize = 30;
const ENTRY: usize = 16;

impl Packet {
    /// The most shares of one packet.
    pub(crate) const SHARES_MAX: u16 = 440;
    /// The most money in one packet: far from where sums of it could overflow.
    pub(crate) const AMOUNT_MAX: Cents = Cents(1_000_000_000);
    /// The longest encoding. The store takes values of up to 7,168 bytes.
    pub(crate) const BYTES_MAX: usize = HEAD + Self::SHARES_MAX as usize * ENTRY;

    /// A packet that nobody has paid for yet.
    pub(crate) fn packed(sender: User, amount: Cents, shares: u16) -> Packet {
        assert!((1..=Self::SHARES_MAX).contains(&shares), "a packet has 1 to {} shares", Self::SHARES_MAX);
        assert!((Cents(shares.into())..=Self::AMOUNT_MAX).contains(&amount), "there is a cent for each share");
        Packet { state: State::Packed, sender, amount, shares, left: amount, received: Vec::new() }
    }

    /// The same packet, paid for.
    pub(crate) fn sent(self) -> Packet {
        Packet { state: State::Sent, ..self }
    }

    /// What `user` received from it.
    pub(crate) fn receive_of(&self, user: User) -> Option<Cents> {
        self.received.iter().find(|receive| receive.user == user).map(|receive| receive.cents)
    }

    /// Whether every share was opened. Once it is so it stays so.
    pub(crate) fn is_empty(&self) -> bool {
        self.received.len() == usize::from(self.shares)
    }

    /// Opens it for `user`. Changed only where the answer is [`Opened::Received`].
    pub(crate) fn open(&mut self, user: User, rng: &mut Rng) -> Opened {
        if self.state == State::Packed {
            return Opened::NotSent;
        }
        if let Some(cents) = self.receive_of(user) {
            return Opened::Already(cents);
        }
        if self.is_empty() {
            return Opened::Empty;
        }
        let shares_left = u64::from(self.shares) - self.received.len() as u64;
        let cents = draw(self.left, shares_left, rng);
        self.left.0 -= cents.0;
        self.received.push(Receive { user, cents });
        Opened::Received(cents)
    }

    pub(crate) fn encode(&self) -> Vec<u8> {
        let opened = u16::try_from(self.received.len()).expect("there are no more receive orders than shares");
        let mut bytes = Vec::with_capacity(HEAD + self.received.len() * ENTRY);
        let state = match self.state {
            State::Packed => 1,
            State::Sent => 2,
        };
        bytes.extend([FORMAT, state]);
        bytes.extend(self.shares.to_be_bytes());
        bytes.extend(self.sender.0.to_be_bytes());
        bytes.extend(self.amount.0.to_be_bytes());
        bytes.extend(self.left.0.to_be_bytes());
        bytes.extend(opened.to_be_bytes());
        for receive in &self.received {
            bytes.extend(receive.user.0.to_be_bytes());
            bytes.extend(receive.cents.0.to_be_bytes());
        }
        bytes
    }

    /// Believes nothing: also what comes from a store of our own may have been written by an older or a newer program.
    pub(crate) fn decode(bytes: &[u8]) -> Result<Packet, Garbled> {
        let (head, entries) = bytes.split_first_chunk::<HEAD>().ok_or(Garbled::Length)?;
        if head[0] != FORMAT {
            return Err(Garbled::Format(head[0]));
        }
        let state = match head[1] {
            1 => State::Packed,
            2 => State::Sent,
            other => return Err(Garbled::State(other)),
        };
        let shares = u16::from_be_bytes([head[2], head[3]]);
        let opened = u16::from_be_bytes([head[28], head[29]]);
        let (sender, amount, left) = (User(u64_at(head, 4)), Cents(u64_at(head, 12)), Cents(u64_at(head, 20)));
        if shares == 0 || shares > Self::SHARES_MAX || opened > shares || amount > Self::AMOUNT_MAX {
            return Err(Garbled::Range);
        }
        if entries.len() != usize::from(opened) * ENTRY {
            return Err(Garbled::Length);
        }
        let received: Vec<Receive> = entries
            .chunks_exact(ENTRY)
            .map(|entry| Receive { user: User(u64_at(entry, 0)), cents: Cents(u64_at(entry, 8)) })
            .collect();
        let sum = received.iter().try_fold(left.0, |sum, receive| sum.checked_add(receive.cents.0));
        // With less than a cent for each share that is left, the next one to open could not be given anything.
        if sum != Some(amount.0) || left.0 < u64::from(shares - opened) {
            return Err(Garbled::Sum);
        }
        Ok(Packet { state, sender, amount, shares, left, received })
    }
}

const _: () = assert!(Packet::BYTES_MAX < 7 * 1_024 + 1, "the store takes it");

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_be_bytes(bytes[at..at + 8].try_into().expect("eight bytes are eight bytes long"))
}

/// The published rule: between a cent and twice the average of what is left, a cent stays for everyone after, and the last one
/// takes the rest.
pub(crate) fn draw(left: Cents, shares_left: u64, rng: &mut Rng) -> Cents {
    assert!(shares_left >= 1 && left.0 >= shares_left, "there is a share left, and a cent for each");
    if shares_left == 1 {
        return left;
    }
    let twice_the_average = 2 * left.0 / shares_left - 1;
    let all_but_a_cent_each = left.0 - (shares_left - 1);
    Cents(rng.u64(1..=twice_the_average.min(all_but_a_cent_each)))
}

impl fmt::Display for Cents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{}.{:02}", indicatif::HumanCount(self.0 / 100), self.0 % 100);
        f.pad(&text)
    }
}

impl fmt::Display for User {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "user {}", self.0)
    }
}

impl fmt::Display for Garbled {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Garbled::Length => f.write_str("its length is wrong"),
            Garbled::Format(format) => write!(f, "it is of format {format}, not {FORMAT}"),
            Garbled::State(state) => write!(f, "there is no state {state}"),
            Garbled::Range => f.write_str("a count or an amount is out of range"),
            Garbled::Sum => f.write_str("it does not add up"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A packet after `opens` of its shares were opened.
    fn opened(amount: u64, shares: u16, opens: u16, rng: &mut Rng) -> Packet {
        let mut packet = Packet::packed(User(1), Cents(amount), shares).sent();
        for user in 0..u64::from(opens) {
            assert!(matches!(packet.open(User(100 + user), rng), Opened::Received(_)));
        }
        packet
    }

    #[test]
    fn the_rule_hands_out_every_cent_and_everybody_gets_one() {
        for seed in 0..2_000 {
            let mut rng = Rng::with_seed(seed);
            let shares = rng.u64(1..=u64::from(Packet::SHARES_MAX));
            // As often as not there is barely a cent for each: that is where a rule goes wrong.
            let spare = if rng.bool() { shares } else { Packet::AMOUNT_MAX.0 - shares };
            let amount = shares + rng.u64(0..=spare);
            let (mut left, mut handed_out) = (amount, 0);
            for shares_left in (1..=shares).rev() {
                let Cents(cents) = draw(Cents(left), shares_left, &mut rng);
                assert!(cents >= 1 && cents <= left, "seed {seed}: {cents} of {left}");
                assert!(shares_left == 1 || cents < 2 * left / shares_left, "seed {seed}: {cents} of {left} for {shares_left}");
                left -= cents;
                handed_out += cents;
                assert!(left >= shares_left - 1, "seed {seed}: {left} left for {}", shares_left - 1);
            }
            assert_eq!((left, handed_out), (0, amount), "seed {seed}");
        }
    }

    #[test]
    fn the_rule_gives_every_amount_that_it_allows_and_no_other() {
        let mut rng = Rng::with_seed(1);
        for (left, shares, most) in [(2, 2, 1), (3, 2, 2), (10, 2, 9), (10, 3, 5), (10, 9, 1), (12, 9, 1), (20, 9, 3)] {
            let seen: std::collections::BTreeSet<u64> = (0..1_000).map(|_| draw(Cents(left), shares, &mut rng).0).collect();
            assert_eq!(seen.into_iter().collect::<Vec<_>>(), (1..=most).collect::<Vec<_>>(), "{left} for {shares}");
        }
    }

    #[test]
    fn nobody_receives_twice_and_who_comes_late_gets_nothing() {
        let mut rng = Rng::with_seed(2);
        let mut packet = Packet::packed(User(1), Cents(500), 2);
        let fresh = packet.clone();
        assert_eq!(packet.open(User(7), &mut rng), Opened::NotSent);
        assert_eq!(packet, fresh, "nothing was taken from it");
        packet = packet.sent();
        let Opened::Received(first) = packet.open(User(7), &mut rng) else { panic!("the first one receives") };
        let half_full = packet.clone();
        assert_eq!(packet.open(User(7), &mut rng), Opened::Already(first));
        assert_eq!(packet, half_full, "nothing was taken from it");
        assert_eq!(packet.open(User(8), &mut rng), Opened::Received(Cents(500 - first.0)));
        assert!(packet.is_empty());
        assert_eq!(packet.open(User(9), &mut rng), Opened::Empty);
        assert_eq!(packet.receive_of(User(9)), None);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut rng = Rng::with_seed(3);
        for (amount, shares, opens) in [(1, 1, 0), (1, 1, 1), (500, 3, 2), (Packet::AMOUNT_MAX.0, Packet::SHARES_MAX, 440)] {
            let packet = opened(amount, shares, opens, &mut rng);
            let bytes = packet.encode();
            assert!(bytes.len() <= Packet::BYTES_MAX);
            assert_eq!(Packet::decode(&bytes), Ok(packet));
        }
    }

    #[test]
    fn the_bytes_are_as_drawn() {
        let mut packet = Packet::packed(User(0x0102), Cents(0x0304), 1).sent();
        assert_eq!(packet.open(User(0x0506), &mut Rng::with_seed(0)), Opened::Received(Cents(0x0304)));
        let expected = [
            &[1, 2, 0, 1][..],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 3, 4],
            &[0, 0, 0, 0, 0, 0, 0, 0],
            &[0, 1],
            &[0, 0, 0, 0, 0, 0, 5, 6],
            &[0, 0, 0, 0, 0, 0, 3, 4],
        ];
        assert_eq!(packet.encode(), expected.concat());
    }

    #[test]
    fn garbled_bytes_are_refused_and_never_panic() {
        let mut rng = Rng::with_seed(4);
        let bytes = opened(10_000, 5, 3, &mut rng).encode();
        for cut in 0..bytes.len() {
            assert_eq!(Packet::decode(&bytes[..cut]), Err(Garbled::Length), "cut to {cut}");
        }
        let with = |at: usize, byte: u8| {
            let mut bytes = bytes.clone();
            bytes[at] = byte;
            Packet::decode(&bytes)
        };
        assert_eq!(with(0, 9), Err(Garbled::Format(9)));
        assert_eq!(with(1, 0), Err(Garbled::State(0)));
        assert_eq!(with(3, 2), Err(Garbled::Range), "more opened than there are shares");
        assert_eq!(with(12, 255), Err(Garbled::Range), "more money than there can be");
        assert_eq!(with(20, 255), Err(Garbled::Sum), "and sums that would overflow");
        assert_eq!(with(27, bytes[27] ^ 1), Err(Garbled::Sum));
        assert_eq!(with(bytes.len() - 1, bytes[bytes.len() - 1] ^ 1), Err(Garbled::Sum));
        for _ in 0..20_000 {
            let mut bytes = bytes.clone();
            let at = rng.usize(..bytes.len());
            bytes[at] ^= rng.u8(1..);
            // Another sender or receiver is a packet too; whatever is accepted adds up and can go on being opened.
            if let Ok(mut packet) = Packet::decode(&bytes) {
                while let Opened::Received(cents) = packet.open(User(rng.u64(..)), &mut rng) {
                    assert!(cents >= Cents(1));
                }
            }
        }
    }

    #[test]
    fn money_is_printed_with_two_digits_behind_the_point() {
        for (cents, text) in [(0, "0.00"), (7, "0.07"), (123, "1.23"), (123_456_789, "1,234,567.89")] {
            assert_eq!(Cents(cents).to_string(), text);
        }
    }
}
