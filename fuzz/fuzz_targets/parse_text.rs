//! Prometheus text: whatever the bytes are, they are read to their end without a panic, in whatever pieces they come.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::parse_text(data));
