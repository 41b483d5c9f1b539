//! See `reelfleet_local::fuzzed::rds_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_local::fuzzed::rds_request(data));
