//! The request key in a line: one of its fields. Pure.

use std::fmt;
use std::num::NonZeroUsize;

/// The longest key in bytes.
const BYTES_MAX: usize = 255;

/// Why a line has no request key.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Keyless {
    /// It has fewer fields.
    Absent { column: NonZeroUsize },
    /// The field is longer than a key may be.
    TooLong { column: NonZeroUsize, bytes: usize },
}

/// The `column`-th field of `line`, from 1, between blanks: spaces, tabs and the like.
pub(crate) fn of(line: &[u8], column: NonZeroUsize) -> Result<&[u8], Keyless> {
    let mut fields = line.split(u8::is_ascii_whitespace).filter(|field| !field.is_empty());
    match fields.nth(column.get() - 1) {
        None => Err(Keyless::Absent { column }),
        Some(key) if key.len() > BYTES_MAX => Err(Keyless::TooLong { column, bytes: key.len() }),
        Some(key) => Ok(key),
    }
}

impl fmt::Display for Keyless {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Keyless::Absent { column } => write!(f, "it has no field {column} for its request key"),
            Keyless::TooLong { column, bytes } => {
                write!(f, "field {column} has {bytes} bytes, and a request key at most {BYTES_MAX}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_a_field_between_blanks() {
        let key = |line: &'static [u8], column| of(line, NonZeroUsize::new(column).expect("from 1"));
        assert_eq!(key(b"pay-1 two tickets", 1), Ok(&b"pay-1"[..]));
        assert_eq!(key(b"  pay-1\t\ttwo  \r", 2), Ok(&b"two"[..]));
        assert_eq!(key(b"a \xff\x00 c", 2), Ok(&b"\xff\x00"[..]));
        let absent = |column| Err(Keyless::Absent { column: NonZeroUsize::new(column).expect("from 1") });
        for line in [&b""[..], b" \t ", b"one", b"one \r"] {
            assert_eq!(key(line, 2), absent(2), "{line:?}");
        }
        assert_eq!(key(b" ", 1), absent(1));
    }

    #[test]
    fn a_key_has_at_most_255_bytes() {
        let column = NonZeroUsize::MIN;
        assert_eq!(of(&[b'k'; 255], column), Ok(&[b'k'; 255][..]));
        assert_eq!(of(&[b'k'; 256], column), Err(Keyless::TooLong { column, bytes: 256 }));
    }
}
