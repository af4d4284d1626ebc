//! What the end-to-end stories are told with: real spaces, real processes, a real Jupyter, a real browser.
//!
//! Nothing here knows the agent's code: the harness sees what a user, a program and a control plane see (command line,
//! HTTP, files, processes), so that a story can only pass for the reasons that they would have.

pub mod browser;
pub mod client;
pub mod command;
pub mod conformance;
pub mod containers;
pub mod jupyter;
pub mod listener;
pub mod places;
pub mod prober;
pub mod processes;
pub mod record;
pub mod rogue;
pub mod rules;
pub mod space;
pub mod status;
pub mod vm;
pub mod wait;
