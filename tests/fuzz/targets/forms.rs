//! Forms of the own pages.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::forms(data));
