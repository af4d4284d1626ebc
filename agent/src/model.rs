//! What the agent *thinks*: phases, idleness, restarts, routes, status. No I/O, no clock, no async.
//!
//! Uses only std, serde, utoipa's derive and `space-lifecycle`; a test keeps that.

pub mod app;
pub mod child;
pub mod environment;
pub mod events;
pub mod folders;
pub mod idle;
pub mod isolation;
pub mod lease;
pub mod log;
pub mod memory;
pub mod news;
pub mod now;
pub mod reading;
pub mod record;
pub mod restart;
pub mod route;
pub mod secrets;
pub mod space;
pub mod status;
pub mod step;
pub mod traffic;
mod view;
