//! `format-spec/pairs_filter.md`: whatever the bytes are, a page answers or is refused; what a filter was given, it has.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::pairs_filter(data));
