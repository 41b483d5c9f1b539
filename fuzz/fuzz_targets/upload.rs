//! See `reelfleet_gateway::fuzzed::upload`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_gateway::fuzzed::upload(data));
