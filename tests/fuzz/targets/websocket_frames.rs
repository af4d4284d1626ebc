//! Where the frames of a WebSocket begin and end.
#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| space_agent::proxy::fuzz::websocket_frames(data));
