//! Selectors: text is parsed or refused; what is parsed is written back, and matches as a plain automaton says.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::selector(data));
