//! Cookies, sessions and links of somebody who has none.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::credentials(data));
