//! What the agent *thinks*: phases, idleness, restarts, routes, status. No I/O, no clock, no async.
//!
//! Uses only std, serde, utoipa's derive and `space-lifecycle`; a test keeps that.

pub mod child;
pub mod duration;
pub mod folders;
pub mod log;
pub mod now;
pub mod reading;
pub mod route;
pub mod status;
