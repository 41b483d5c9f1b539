//! See `reelfleet_local::fuzzed::sqs_request`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_local::fuzzed::sqs_request(data));
