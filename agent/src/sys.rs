//! The cellar: nix, unsafe, the clock.
#![allow(unsafe_code)]

pub mod files;
pub mod helper;
pub mod stop;
