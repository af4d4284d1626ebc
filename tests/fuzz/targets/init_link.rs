//! Messages between init and the agent, both ways.
#![no_main]

use space_agent::sys::link::{ToAgent, ToInit};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    if let Ok(message) = serde_json::from_slice::<ToInit>(data) {
        let again = serde_json::to_vec(&message).expect("what was read can be written");
        serde_json::from_slice::<ToInit>(&again).expect("what was written can be read");
    }
    if let Ok(message) = serde_json::from_slice::<ToAgent>(data) {
        let again = serde_json::to_vec(&message).expect("what was read can be written");
        serde_json::from_slice::<ToAgent>(&again).expect("what was written can be read");
    }
});
