//! `format-spec/packed.md`: whatever the bytes are, decoding answers or refuses; what it accepts, it writes back.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::packed(data));
