//! Eight digits at a time: text as a `u64`, whose bytes are worked on side by side ("SIMD within a register").
//!
//! The first character is the lowest byte, on every machine (`from_le_bytes`). No step below lets one lane run over into the next:
//! each comment says how large a lane can get.

/// Four digits in front and four behind, both at most 9,999, as eight characters.
#[inline]
pub(super) const fn eight_digits(front: u32, behind: u32) -> u64 {
    // Two lanes of 32 bits hold a value below 10,000 each.
    let quads = front as u64 | (behind as u64) << 32;
    // v / 100 is v * 10,486 / 2^20 for every v below 10,000; the product takes 27 bits.
    let hundreds = ((quads * 10_486) >> 20) & 0x0000_007F_0000_007F;
    // Each lane becomes two of 16 bits, v / 100 below and v % 100 above: v * 2^16 + h - h * 100 * 2^16, where h is v / 100.
    let pairs = (quads << 16) - hundreds * ((100 << 16) - 1);
    // The same again: v / 10 is v * 103 / 2^10 for every v below 100; the product takes 14 bits of 16.
    let tens = ((pairs * 103) >> 10) & 0x000F_000F_000F_000F;
    let digits = (pairs << 8) - tens * ((10 << 8) - 1);
    digits + ZEROS
}

/// The value of `digit`, 0 to 9, added to the last of eight characters, which is a `0`.
#[inline]
pub(super) const fn with_last_digit(word: u64, digit: u8) -> u64 {
    word + ((digit as u64) << 56)
}

/// Eight characters, of which it is not yet known whether they are digits.
#[derive(Clone, Copy)]
pub(super) struct Eight(u64);

impl Eight {
    #[inline]
    pub(super) const fn new(characters: [u8; 8]) -> Eight {
        Eight(u64::from_le_bytes(characters))
    }

    /// Has bit 7 of some byte set exactly if one of the characters is no ASCII digit. To be masked with [`NOT_A_DIGIT`], which is
    /// left to the caller so that several words can be looked at together.
    ///
    /// A byte above `9` reaches 0x80 when 0x46 is added, or is above 0xAF; one below `0`, or above 0xAF, has bit 7 set when 0x30 is
    /// taken away. Carry and borrow can only come from a byte that is no digit itself, so the *lowest* flag is always a true one.
    #[inline]
    pub(super) const fn suspects(self) -> u64 {
        self.0.wrapping_add(0x4646_4646_4646_4646) | self.0.wrapping_sub(ZEROS)
    }

    /// Values of two digits in lanes of 16 bits: characters 0-1, 2-3, 4-5, 6-7. Meaningless unless all are digits.
    #[inline]
    pub(super) const fn pairs(self) -> u64 {
        let digits = self.0.wrapping_sub(ZEROS);
        // In every even byte: ten times itself, at most 90, and the byte above, at most 9.
        digits.wrapping_mul(10).wrapping_add(digits >> 8) & 0x00FF_00FF_00FF_00FF
    }
}

/// Values of four digits from the [`Eight::pairs`], in lanes of 16 bits: characters 0-3, 2-5, 4-7. Nothing has to be masked off, as
/// 9,999 fits a lane: 100 times itself and the lane above.
#[inline]
pub(super) const fn quads(pairs: u64) -> u64 {
    pairs.wrapping_mul(100).wrapping_add(pairs >> 16)
}

/// One lane of 16 bits.
#[inline]
pub(super) const fn lane(lanes: u64, at: u32) -> u32 {
    (lanes >> (16 * at)) as u16 as u32
}

/// See [`Eight::suspects`].
pub(super) const NOT_A_DIGIT: u64 = 0x8080_8080_8080_8080;

/// `00` to `99`.
pub(super) static PAIRS: [[u8; 2]; 100] = {
    let mut table = [[0; 2]; 100];
    let mut value = 0;
    while value < 100 {
        table[value] = [b'0' + value as u8 / 10, b'0' + value as u8 % 10];
        value += 1;
    }
    table
};

/// `00000000`.
const ZEROS: u64 = 0x3030_3030_3030_3030;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_four_digits_are_written_and_read_in_both_halves() {
        for value in 0..10_000 {
            let other = (value * 7 + 5) % 10_000;
            let word = eight_digits(value, other);
            assert_eq!(word.to_le_bytes(), format!("{value:04}{other:04}").as_bytes());
            let eight = Eight::new(word.to_le_bytes());
            assert_eq!(eight.suspects() & NOT_A_DIGIT, 0);
            let pairs = eight.pairs();
            let expected = [value / 100, value % 100, other / 100, other % 100];
            assert_eq!([0, 1, 2, 3].map(|at| lane(pairs, at)), expected);
            let middle = value % 100 * 100 + other / 100;
            assert_eq!([0, 1, 2].map(|at| lane(quads(pairs), at)), [value, middle, other]);
        }
    }

    #[test]
    fn the_first_flag_is_the_first_character_that_is_no_digit() {
        // Three neighbours, any byte each: all ways in which a carry or a borrow can start and be passed on.
        for low in 0..=255u8 {
            for high in 0..=255u8 {
                for beyond in [0x00, 0x2F, 0x30, 0x39, 0x3A, 0x7F, 0x80, 0xB9, 0xBA, 0xFF] {
                    let characters = [b'7', b'0', low, high, beyond, b'9', b'1', b'0'];
                    let flags = Eight::new(characters).suspects() & NOT_A_DIGIT;
                    let first = characters.iter().position(|c| !c.is_ascii_digit());
                    assert_eq!((flags != 0).then_some(flags.trailing_zeros() as usize / 8), first, "{characters:x?}");
                }
            }
        }
    }
}
