//! Writing numbers that follow one another.

use super::check::{Symmetry, pair_at_4, quad_at_0};
use super::digits::PAIRS;
use super::{OrderNumber, SetId};

/// Writes numbers as text, and fastest when they follow one another, as minted numbers do.
///
/// It keeps the text of the number before. While day, SET and all of the sequence but its last two digits stay the same, only these
/// two and the check digit are written again; any other number is [encoded](OrderNumber::encode) whole. So the order of the numbers
/// matters for speed only: keep one writer for each SET that is minted from.
///
/// ```
/// use ordermint::{Day, NumberWriter, OrderNumber, SetId};
///
/// let (day, set) = (Day::new(2026, 11, 22)?, SetId::new(7)?);
/// let mut writer = NumberWriter::new();
/// let mut text = Vec::new();
/// for sequence in 0..1_000 {
///     text.extend_from_slice(writer.write(OrderNumber::new(day, sequence, set)?));
///     text.push(b'\n');
/// }
/// assert_eq!(text.len(), 23_000);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
pub struct NumberWriter {
    /// The number before. Invariant: every number from `first` to 99 sequences above it differs from it in characters 16, 17 and 21
    /// at most; no number at all does while `first` is 0.
    text: [u8; 22],
    /// The integer of the number before with the last two digits of its sequence at 0.
    first: u64,
    /// What the characters before these two are to the check digit.
    front: Symmetry,
    /// What the SET, behind them, is to it.
    back: Symmetry,
}

/// One up in the sequence.
const STEP_BITS: u32 = SetId::BITS;

impl NumberWriter {
    /// A writer that has written nothing yet.
    #[must_use]
    pub const fn new() -> NumberWriter {
        // Every number is far above 0: see `Day::MIN`.
        NumberWriter { text: [b'0'; 22], first: 0, front: Symmetry::IDENTITY, back: Symmetry::IDENTITY }
    }

    /// The 22 digits of `number`.
    #[inline]
    pub fn write(&mut self, number: OrderNumber) -> &[u8; 22] {
        let steps = self.steps_from_first(number);
        if steps >= 100 {
            return self.write_whole(number);
        }
        let last_two = steps as u32;
        [self.text[16], self.text[17]] = PAIRS[last_two as usize];
        self.text[21] = b'0' + self.front.then(pair_at_4(last_two)).then(self.back).digit();
        &self.text
    }

    /// The 22 digits of `number`, as a string.
    pub fn write_str(&mut self, number: OrderNumber) -> &str {
        std::str::from_utf8(self.write(number)).expect("22 ASCII digits are UTF-8")
    }

    /// How many sequences `number` is above `first`, if it has the day and the SET of `first`; else something huge.
    #[inline]
    fn steps_from_first(&self, number: OrderNumber) -> u64 {
        // Another SET leaves something in the lowest ten bits of the difference. Rotated, these become the highest, so that one
        // comparison is enough for day, sequence and SET together.
        number.to_u64().wrapping_sub(self.first).rotate_right(STEP_BITS)
    }

    /// The number is the first of its hundred here, or out of order.
    #[cold]
    #[inline(never)]
    fn write_whole(&mut self, number: OrderNumber) -> &[u8; 22] {
        let last_two = (number.sequence() % 100) as u32;
        self.first = number.to_u64() - (u64::from(last_two) << STEP_BITS);
        self.text = number.encode();
        self.back = quad_at_0(u32::from(number.set_id().get()) * 10);
        // The check digit is front * last two * back. All but the front are known, so it follows.
        let check = Symmetry::of_digit(self.text[21] - b'0');
        self.front = check.then(self.back.inverse()).then(pair_at_4(last_two).inverse());
        &self.text
    }
}

impl Default for NumberWriter {
    fn default() -> NumberWriter {
        NumberWriter::new()
    }
}
