//! A small store with damaged files: right answers or typed errors, and nothing lost in silence.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::directory(data));
