//! See `reelfleet_messages::fuzzed::task`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_messages::fuzzed::task(data));
