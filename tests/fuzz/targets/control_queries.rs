//! Queries and names of the control API.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::control::fuzz::queries(data));
