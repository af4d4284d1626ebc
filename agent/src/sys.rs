//! The cellar: nix, unsafe, the clock. Everyone may use it; it knows nothing but itself and `model`'s values.
#![allow(unsafe_code)]

pub mod account;
pub mod clock;
pub mod keys;
pub mod link;
pub mod memory_file;
pub mod spawn;
pub mod stop;
pub mod tree;
