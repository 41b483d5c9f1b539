//! See `reelfleet_messages::fuzzed::notification`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_messages::fuzzed::notification(data));
