//! See `reelfleet_messages::fuzzed::realtime`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_messages::fuzzed::realtime(data));
