//! The stories: a real agent, real apps, a real browser. `tests/run WORDS` runs those whose names contain WORDS.
//!
//! Each story is one function whose name is a sentence. Fast counts as they stand; full counts with `tests/soak`.
#![allow(clippy::unwrap_used, reason = "all of this is tests, also what is not marked so")]

mod advisories;
mod bad_input;
mod boot;
mod browsers;
mod commands;
mod compatibility;
mod conformance;
mod containers;
mod control;
mod crash;
mod credentials;
mod documents;
mod ending;
mod faults;
mod front_door;
mod idle;
mod init;
mod jupyter;
mod lifecycle;
mod notebook;
mod on_demand;
mod ports;
mod record;
mod recovery;
mod secrets;
mod start_failures;
mod supervision;
mod testers;
mod tls;
mod upgrade;
mod vm;
mod websockets;
