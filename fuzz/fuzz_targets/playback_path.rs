//! See `reelfleet_gateway::fuzzed::playback_path`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_gateway::fuzzed::playback_path(data));
