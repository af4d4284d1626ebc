//! Lifecycle documents: text, layers' types, the plan, and what is printed of them.
#![no_main]

use space_lifecycle::{Mode, plan::boot_plan, read, salvage};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(text) = std::str::from_utf8(data) else { return };
    for mode in [Mode::Check, Mode::Run] {
        match read(text, "fuzz.yaml", mode) {
            Ok(found) => drop(format!("{:?}", boot_plan(&found.space))),
            Err(mistakes) => assert!(!mistakes.to_string().is_empty(), "a refusal that says nothing"),
        }
    }
    let _ = salvage(text, "fuzz.yaml");
    let _ = space_lifecycle::duration::parse(text).map(space_lifecycle::duration::text);
});
