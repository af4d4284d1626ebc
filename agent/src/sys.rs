//! The cellar: nix, unsafe, the clock.
#![allow(unsafe_code)]

pub mod account;
pub mod clock;
pub mod stop;
pub mod tree;
