//! Any bytes as an order number: if it parses, it prints the same.

#![no_main]

#[path = "../../tests/properties/order_parse.rs"]
mod order_parse;

libfuzzer_sys::fuzz_target!(|data: &[u8]| order_parse::holds(data));
