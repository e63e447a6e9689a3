//! Numbers, days and SETs as serde values: what is written, and that nothing wrong is read (feature `serde`).

use ordermint::{Day, OrderNumber, SetId};
use serde_test::{Configure, Token, assert_de_tokens_error, assert_tokens};
use std::collections::BTreeMap;

const TEXT: &str = "2026112200000000420076";

fn number() -> OrderNumber {
    TEXT.parse().expect("a number")
}

fn day() -> Day {
    "2026-11-22".parse().expect("a day")
}

#[test]
fn a_number_is_a_string_where_people_read_and_an_integer_elsewhere() {
    assert_tokens(&number().readable(), &[Token::Str(TEXT)]);
    assert_tokens(&number().compact(), &[Token::U64(number().to_u64())]);
    let json = serde_json::to_string(&number()).expect("JSON");
    assert_eq!(json, format!("\"{TEXT}\""));
    assert_eq!(serde_json::from_str::<OrderNumber>(&json).expect("a number"), number());
    // An owned value goes another way through serde than text does.
    let value = serde_json::to_value(number()).expect("a value");
    assert_eq!(serde_json::from_value::<OrderNumber>(value).expect("a number"), number());
}

#[test]
fn a_json_number_is_refused() {
    for json in [TEXT, "42", "4.2e21", &number().to_u64().to_string()] {
        let error = serde_json::from_str::<OrderNumber>(json).expect_err("no string").to_string();
        assert!(error.contains("expected an order number as a string of 22 digits"), "{error}");
    }
    for json in ["null", "true", "[]", "{}", "[50]", ""] {
        assert!(serde_json::from_str::<OrderNumber>(json).is_err(), "{json}");
    }
}

#[test]
fn a_wrong_number_is_refused_with_its_reason_both_ways() {
    let error = serde_json::from_str::<OrderNumber>("\"2026112200000000420075\"").expect_err("wrong").to_string();
    assert!(error.starts_with("wrong check digit: expected 6, got 5"), "{error}");
    let error = serde_json::from_str::<OrderNumber>("\"2026\"").expect_err("short").to_string();
    assert!(error.starts_with("an order number has 22 digits, got 4 bytes"), "{error}");
    let told = "0x3e7 is not the integer of an order number";
    assert_de_tokens_error::<serde_test::Compact<OrderNumber>>(&[Token::U64(999)], told);
    let told = "invalid type: string \"2026112200000000420076\", expected u64";
    assert_de_tokens_error::<serde_test::Compact<OrderNumber>>(&[Token::Str(TEXT)], told);
}

#[test]
fn a_day_is_a_string_where_people_read_and_its_bits_elsewhere() {
    assert_tokens(&day().readable(), &[Token::Str("2026-11-22")]);
    assert_tokens(&day().compact(), &[Token::U32(26 << 9 | 11 << 5 | 22)]);
    for json in ["\"2026-11-31\"", "\"2026-1-1\"", "20261122", "null"] {
        assert!(serde_json::from_str::<Day>(json).is_err(), "{json}");
    }
    let told = "invalid value: integer `0`, expected a day from 2000-01-01 to 3023-12-31";
    assert_de_tokens_error::<serde_test::Compact<Day>>(&[Token::U32(0)], told);
    assert_de_tokens_error::<serde_test::Compact<Day>>(
        &[Token::U32(u32::MAX)],
        "invalid value: integer `4294967295`, expected a day from 2000-01-01 to 3023-12-31",
    );
}

#[test]
fn a_set_is_an_integer_everywhere() {
    let set = SetId::new(7).expect("a SET");
    assert_tokens(&set.readable(), &[Token::U16(7)]);
    assert_tokens(&set.compact(), &[Token::U16(7)]);
    assert_eq!(serde_json::to_string(&set).expect("JSON"), "7");
    for json in ["1000", "-1", "70000", "7.0", "\"007\"", "null"] {
        assert!(serde_json::from_str::<SetId>(json).is_err(), "{json}");
    }
    assert_de_tokens_error::<SetId>(&[Token::U16(1_000)], "a SET id is a number from 0 to 999, got 1000");
}

#[test]
fn all_three_are_keys_of_a_json_map() {
    assert_eq!(serde_json::to_string(&BTreeMap::from([(number(), 1)])).expect("JSON"), format!("{{\"{TEXT}\":1}}"));
    assert_eq!(serde_json::to_string(&BTreeMap::from([(day(), 1)])).expect("JSON"), "{\"2026-11-22\":1}");
    let sets = BTreeMap::from([(SetId::new(7).expect("a SET"), 1)]);
    let json = serde_json::to_string(&sets).expect("JSON");
    assert_eq!((json.as_str(), serde_json::from_str(&json).ok()), ("{\"7\":1}", Some(sets)));
}
