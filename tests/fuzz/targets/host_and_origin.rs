//! The Host and Origin headers.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::host_and_origin(data));
