//! See `reelfleet_wire::fuzzed::frames`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_wire::fuzzed::frames(data));
