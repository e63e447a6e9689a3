//! The check digit: Verhoeff's code over the dihedral group of the pentagon (J. Verhoeff, "Error Detecting Decimal Codes",
//! Mathematical Centre Tracts 29, Amsterdam 1969). It finds every single wrong digit and every swap of unlike neighbours.
//!
//! Places are counted from the right, the check digit being place 0. A digit `d` at place `i` stands for the symmetry
//! `P[i % 8][d]` of the pentagon, and a text is right when the product of all its symmetries, from place 0 upwards, is the
//! identity. So the check digit is the inverse of the product of the others: with `s[i]` for the symmetry at place `i`,
//!
//! ```text
//! check = (s[1] * s[2] * .. * s[21])⁻¹ = s[21]⁻¹ * .. * s[2]⁻¹ * s[1]⁻¹
//! ```
//!
//! Read from right to left the formula has one look-up after the other, each waiting for the one before. Three things make it fast:
//!
//! 1. The right-hand side runs in the order of the text and has no inverse left to take at the end. So the tables hold inverses.
//! 2. The group is associative: the product of two or four neighbouring digits can be looked up in one step, and the parts may be
//!    combined in any grouping, a tree instead of a chain.
//! 3. `P` repeats after eight places, so that two tables of four digits serve the whole text: one for places 0 to 3, 8 to 11 and
//!    16 to 19, one for places 4 to 7 and 12 to 15. That is 20 KB, of which numbers of one day and SET touch a few cache lines.
//!
//! The definition itself, digit by digit, stands in the tests, where the two must agree.

/// A symmetry of the pentagon as Verhoeff numbers them: 0 to 4 turn it, 5 to 9 turn it over; 0 leaves it as it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Symmetry(u8);

impl Symmetry {
    pub(super) const IDENTITY: Symmetry = Symmetry(0);

    /// The check digit as a product of all the other digits; the other way round of [`Symmetry::digit`].
    ///
    /// # Panics
    /// Above 9.
    pub(super) const fn of_digit(check_digit: u8) -> Symmetry {
        assert!(check_digit <= 9, "a check digit is a digit");
        Symmetry(check_digit)
    }

    #[inline]
    pub(super) const fn inverse(self) -> Symmetry {
        Symmetry(INVERSE[self.0 as usize])
    }

    /// The product in the order of the text.
    #[inline]
    pub(super) const fn then(self, right: Symmetry) -> Symmetry {
        // The index is a byte and the table has 256 entries, so there is no bound to check; only the first ten of sixteen are used.
        Symmetry(PRODUCT[(self.0 << 4 | right.0) as usize])
    }

    /// Whether the text was right.
    #[inline]
    pub(super) const fn is_identity(self) -> bool {
        self.0 == 0
    }

    /// The check digit that this is, once it is the product of all the other digits.
    #[inline]
    pub(super) const fn digit(self) -> u8 {
        self.0
    }
}

/// The product of a whole text but for the digits that the caller leaves at 0 in place 0, where 0 is the identity.
///
/// `century` is the value of the first two digits, 0 to 99; `quads` are the values of the next five groups of four, 0 to 9,999.
/// With 0 for the check digit the product is the check digit; with the check digit in its place it is 0 exactly if that is right.
///
/// # Panics
/// When a value is out of its range.
// Not inlined, the array is written to the stack and read again, which costs a fifth of the whole.
#[inline(always)]
pub(super) const fn product(century: u32, quads: [u32; 5]) -> Symmetry {
    let [year_and_month, day_and_top, middle, low, set_and_check] = quads;
    let front = pair_at_4(century).then(quad_at_0(year_and_month));
    let centre = quad_at_4(day_and_top).then(quad_at_0(middle));
    let back = quad_at_4(low).then(quad_at_0(set_and_check));
    front.then(centre).then(back)
}

/// Two digits at places 5 and 4, or 21 and 20.
#[inline]
pub(super) const fn pair_at_4(value: u32) -> Symmetry {
    Symmetry(PAIR_AT_4[value as usize])
}

/// Four digits at places 3 to 0, or eight or sixteen higher.
#[inline]
pub(super) const fn quad_at_0(value: u32) -> Symmetry {
    Symmetry(QUAD_AT_0[value as usize])
}

/// Four digits at places 7 to 4, or 15 to 12.
#[inline]
pub(super) const fn quad_at_4(value: u32) -> Symmetry {
    Symmetry(QUAD_AT_4[value as usize])
}

/// The multiplication table of the group.
const D: [[u8; 10]; 10] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 2, 3, 4, 0, 6, 7, 8, 9, 5],
    [2, 3, 4, 0, 1, 7, 8, 9, 5, 6],
    [3, 4, 0, 1, 2, 8, 9, 5, 6, 7],
    [4, 0, 1, 2, 3, 9, 5, 6, 7, 8],
    [5, 9, 8, 7, 6, 0, 4, 3, 2, 1],
    [6, 5, 9, 8, 7, 1, 0, 4, 3, 2],
    [7, 6, 5, 9, 8, 2, 1, 0, 4, 3],
    [8, 7, 6, 5, 9, 3, 2, 1, 0, 4],
    [9, 8, 7, 6, 5, 4, 3, 2, 1, 0],
];

/// What a digit stands for at each place. Verhoeff's choice; row `i` is row 1 applied `i` times.
const P: [[u8; 10]; 8] = [
    [0, 1, 2, 3, 4, 5, 6, 7, 8, 9],
    [1, 5, 7, 6, 2, 8, 3, 0, 9, 4],
    [5, 8, 0, 3, 7, 9, 6, 1, 4, 2],
    [8, 9, 1, 6, 0, 4, 3, 5, 2, 7],
    [9, 4, 5, 3, 1, 2, 6, 8, 7, 0],
    [4, 2, 8, 6, 5, 7, 3, 9, 0, 1],
    [2, 7, 9, 3, 8, 0, 6, 4, 1, 5],
    [7, 0, 4, 6, 9, 1, 3, 2, 5, 8],
];

/// Turns backwards; turning over is its own inverse.
const INVERSE: [u8; 10] = [0, 4, 3, 2, 1, 5, 6, 7, 8, 9];

static PRODUCT: [u8; 256] = product_table();
static PAIR_AT_4: [u8; 100] = pair_table(4);
static QUAD_AT_0: [u8; 10_000] = quad_table(0);
static QUAD_AT_4: [u8; 10_000] = quad_table(4);

/// `D` with rows of sixteen, so that an index is put together by a shift.
const fn product_table() -> [u8; 256] {
    let mut table = [0; 256];
    let mut at = 0;
    while at < 100 {
        table[((at / 10) << 4) | (at % 10)] = D[at / 10][at % 10];
        at += 1;
    }
    table
}

/// The inverse product of two digits, the second of which is at `place`.
const fn pair_table(place: usize) -> [u8; 100] {
    let mut table = [0; 100];
    let mut value = 0;
    while value < 100 {
        let left = INVERSE[P[place + 1][value / 10] as usize];
        let right = INVERSE[P[place][value % 10] as usize];
        table[value] = D[left as usize][right as usize];
        value += 1;
    }
    table
}

/// The inverse product of four digits, the last of which is at `place`.
const fn quad_table(place: usize) -> [u8; 10_000] {
    let (left, right) = (pair_table(place + 2), pair_table(place));
    let mut table = [0; 10_000];
    let mut value = 0;
    while value < 10_000 {
        table[value] = D[left[value / 100] as usize][right[value % 100] as usize];
        value += 1;
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The inverse product of `digits` in the order of the text, the last of them at `place`, straight from the definition.
    fn by_definition(digits: &[u8], place: usize) -> u8 {
        let from_the_right = digits.iter().rev().enumerate();
        let product = from_the_right.fold(0u8, |c, (i, d)| D[c as usize][P[(place + i) % 8][*d as usize] as usize]);
        INVERSE[product as usize]
    }

    fn digits(value: u32) -> [u8; 4] {
        [1_000, 100, 10, 1].map(|power| (value / power % 10) as u8)
    }

    #[test]
    fn the_tables_of_verhoeff_are_a_group_and_a_permutation_of_order_eight() {
        for a in 0..10 {
            assert_eq!((D[0][a], D[a][0]), (a as u8, a as u8), "0 is the identity");
            assert_eq!(D[a][INVERSE[a] as usize], 0);
            assert_eq!(Symmetry(a as u8).inverse().then(Symmetry(a as u8)), Symmetry::IDENTITY);
            for b in 0..10 {
                for c in 0..10 {
                    assert_eq!(D[D[a][b] as usize][c], D[a][D[b][c] as usize], "associative at {a}, {b}, {c}");
                }
            }
        }
        for place in 0..8 {
            for digit in 0..10 {
                assert_eq!(P[(place + 1) % 8][digit], P[1][P[place][digit] as usize]);
            }
        }
    }

    #[test]
    fn composed_tables_agree_with_the_definition_everywhere() {
        for value in 0..10_000 {
            let four = digits(value);
            for place in [0, 8, 16] {
                assert_eq!(quad_at_0(value).0, by_definition(&four, place));
            }
            for place in [4, 12] {
                assert_eq!(quad_at_4(value).0, by_definition(&four, place));
            }
            if value < 100 {
                assert_eq!(pair_at_4(value).0, by_definition(&four[2..], 4));
                assert_eq!(pair_at_4(value).0, by_definition(&four[2..], 20));
            }
        }
    }

    /// A group lets us cancel: what stands left and right of the altered digits is the same before and after, so a table entry
    /// that changes proves that the check digit changes, whatever the rest of the number is.
    #[test]
    fn no_single_wrong_digit_and_no_swap_leaves_a_group_of_four_as_it_was() {
        for table in [quad_at_0, quad_at_4] {
            for value in 0..10_000 {
                let four = digits(value);
                for (at, power) in [1_000, 100, 10, 1].into_iter().enumerate() {
                    let without = value - u32::from(four[at]) * power;
                    for wrong in (0..10).filter(|wrong| *wrong != u32::from(four[at])) {
                        assert_ne!(table(without + wrong * power), table(value));
                    }
                    if at < 3 && four[at] != four[at + 1] {
                        let (a, b) = (u32::from(four[at]), u32::from(four[at + 1]));
                        let swapped = value - a * power - b * (power / 10) + b * power + a * (power / 10);
                        assert_ne!(table(swapped), table(value));
                    }
                }
            }
        }
    }

    #[test]
    fn no_swap_over_the_border_of_two_groups_goes_unseen() {
        for a in 0..10 {
            for b in (0..10).filter(|b| *b != a) {
                assert_ne!(quad_at_0(a).then(quad_at_4(b * 1_000)), quad_at_0(b).then(quad_at_4(a * 1_000)));
                assert_ne!(quad_at_4(a).then(quad_at_0(b * 1_000)), quad_at_4(b).then(quad_at_0(a * 1_000)));
                assert_ne!(pair_at_4(a).then(quad_at_0(b * 1_000)), pair_at_4(b).then(quad_at_0(a * 1_000)));
            }
        }
    }
}
