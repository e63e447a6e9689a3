//! Records from bytes nobody vouches for. What is checked stands beside the tests, which replay the corpus on stable.

#![no_main]

#[path = "../../tests/properties/record_decode.rs"]
mod record_decode;

libfuzzer_sys::fuzz_target!(|data: &[u8]| record_decode::check(data));
