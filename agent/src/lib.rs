//! The space runtime agent as a library: the rooms of the house, as README's map names them.
//!
//! Who may use whom: `main -> cli, init, agent -> rooms -> sys, model, space-lifecycle`. Rooms don't use rooms. The
//! structure tests in the `tests` crate keep these rules.

pub mod activity;
pub mod agent;
pub mod apps;
pub mod cli;
pub mod control;
pub mod errand;
pub mod init;
pub mod model;
pub mod process;
pub mod proxy;
pub mod setup;
pub mod sys;
