//! See `reelfleet_notifier::fuzzed::last_event_id`.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| reelfleet_notifier::fuzzed::last_event_id(data));
