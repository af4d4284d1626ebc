//! Paths: routes, ports, where a browser is sent after it has signed in.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::paths(data));
