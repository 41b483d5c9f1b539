//! See `reelfleet_domain::fuzzed::playlist`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_domain::fuzzed::playlist(data));
