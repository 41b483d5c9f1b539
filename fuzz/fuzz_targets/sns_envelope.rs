//! See `reelfleet_messages::fuzzed::sns_envelope`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_messages::fuzzed::sns_envelope(data));
