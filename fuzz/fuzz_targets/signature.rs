//! See `reelfleet_local::fuzzed::signature`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_local::fuzzed::signature(data));
