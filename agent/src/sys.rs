//! The cellar: nix, unsafe, the clock.
#![allow(unsafe_code)]

pub mod stop;
