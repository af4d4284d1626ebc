//! Random bytes, names made of them, and digests. One crypto provider: ring.

use ring::digest::{SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};

/// 32 bytes that sign this boot's links and sessions. They live in init's memory file only.
pub type Key = [u8; 32];

/// A new key from the kernel's random source.
pub fn new_key() -> Key {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).expect("getrandom works on every supported kernel");
    key
}

/// A random name of `digits` hexadecimal digits (at most 64).
pub fn new_id(digits: usize) -> String {
    let mut text = hex(&new_key());
    text.truncate(digits);
    text
}

/// The first `digits` hexadecimal digits of the SHA-256 of `bytes`.
pub fn fingerprint(bytes: &[u8], digits: usize) -> String {
    let mut text = hex(digest(&SHA256, bytes).as_ref());
    text.truncate(digits);
    text
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
