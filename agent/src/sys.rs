//! The cellar: nix, unsafe, the clock. Everyone may use it; it knows nothing but itself and `model`'s values.
#![allow(unsafe_code)]

pub mod account;
pub mod cgroup;
pub mod clock;
mod diag;
pub mod document;
pub mod errors;
pub mod files;
pub mod heap;
pub mod helper;
pub mod http;
pub mod keys;
pub mod limits;
pub mod link;
pub mod lock;
pub mod memory_file;
pub mod oom;
pub mod patient;
pub mod peer;
pub mod pidfd;
pub mod pressure;
pub mod program;
pub mod room;
pub mod signals;
pub mod spawn;
pub mod stop;
pub mod tree;

/// Lets the calling thread wait, before there is a runtime: the one place where a thread sleeps.
#[expect(clippy::disallowed_methods, reason = "before the runtime; callers have a deadline")]
fn pause(duration: std::time::Duration) {
    std::thread::sleep(duration);
}
