//! Where the requests of one connection begin and end.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::framing(data));
