//! Numbers, days and SETs as serde values (feature `serde`), checked on the way in.
//!
//! | type | where people read (JSON, TOML) | elsewhere |
//! |---|---|---|
//! | [`OrderNumber`] | its 22 digits as a string; a JSON number is refused, as many readers would round it | its `u64` |
//! | [`Day`] | `"2026-11-22"` | its bits as in a number, `u32` |
//! | [`SetId`] | an integer, 0 to 999 | the same, `u16` |

use super::{Day, OrderNumber, SetId};
use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;

impl Serialize for OrderNumber {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() {
            serializer.serialize_str(self.encode_str(&mut [0; 22]))
        } else {
            serializer.serialize_u64(self.to_u64())
        }
    }
}

impl<'de> Deserialize<'de> for OrderNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<OrderNumber, D::Error> {
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text("an order number as a string of 22 digits", str::parse::<OrderNumber>))
        } else {
            OrderNumber::try_from(u64::deserialize(deserializer)?).map_err(Error::custom)
        }
    }
}

impl Serialize for Day {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if serializer.is_human_readable() { serializer.collect_str(self) } else { serializer.serialize_u32(self.to_bits()) }
    }
}

impl<'de> Deserialize<'de> for Day {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Day, D::Error> {
        const EXPECTED: &str = "a day from 2000-01-01 to 3023-12-31";
        if deserializer.is_human_readable() {
            deserializer.deserialize_str(Text(EXPECTED, str::parse::<Day>))
        } else {
            let bits = u32::deserialize(deserializer)?;
            Day::from_bits(bits).ok_or_else(|| Error::invalid_value(Unexpected::Unsigned(u64::from(bits)), &EXPECTED))
        }
    }
}

impl Serialize for SetId {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_u16(self.get())
    }
}

impl<'de> Deserialize<'de> for SetId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<SetId, D::Error> {
        SetId::new(u16::deserialize(deserializer)?).map_err(Error::custom)
    }
}

/// Takes strings only, and says what it expected and how to read them.
struct Text<F>(&'static str, F);

impl<T, E: fmt::Display, F: FnOnce(&str) -> Result<T, E>> Visitor<'_> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0)
    }

    fn visit_str<X: Error>(self, text: &str) -> Result<T, X> {
        (self.1)(text).map_err(X::custom)
    }
}
