//! Heads of requests and answers, as they are changed on their way.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::heads(data));
