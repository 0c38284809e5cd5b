//! Operations on a store, power cuts among them: whatever was acknowledged is there, as in a plain map.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| silverback::internals::fuzz::operations(data));
