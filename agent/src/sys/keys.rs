//! Random bytes, names made of them, and digests. One crypto provider: ring.
//!
//! A secret needs the kernel's random source: without it there is none, and whoever asks is told. A name needs only to
//! be another one than all before it, so it never fails.

use super::clock;
use ring::digest::{Context, SHA256, digest};
use ring::rand::{SecureRandom, SystemRandom};
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};

/// 32 bytes that sign this boot's links and sessions. They live in init's memory file only.
pub type Key = [u8; 32];

/// A new key from the kernel's random source.
pub fn new_key() -> io::Result<Key> {
    let mut key = [0; 32];
    SystemRandom::new().fill(&mut key).map_err(|_| io::Error::other("the kernel gives no random bytes"))?;
    Ok(key)
}

/// A new name of `digits` hexadecimal digits (at most 64). Random as long as the kernel gives random bytes, and even
/// without them another one at each call, in each process and at each time. Not for secrets.
pub fn new_id(digits: usize) -> String {
    static CALLS: AtomicU64 = AtomicU64::new(0);
    let random = new_key().unwrap_or_default();
    let calls = CALLS.fetch_add(1, Ordering::Relaxed);
    let time = clock::now().wall.0;
    let parts = [&random[..], &time.to_le_bytes(), &std::process::id().to_le_bytes(), &calls.to_le_bytes()];
    let mut text = digest_of(parts);
    text.truncate(digits);
    text
}

/// The first `digits` hexadecimal digits of the SHA-256 of `bytes`.
pub fn fingerprint(bytes: &[u8], digits: usize) -> String {
    let mut text = hex(digest(&SHA256, bytes).as_ref());
    text.truncate(digits);
    text
}

/// The SHA-256 of the parts, each with its length before it so that `a, b` is not `ab`, in hexadecimal.
pub fn digest_of<T: AsRef<[u8]>>(parts: impl IntoIterator<Item = T>) -> String {
    let mut context = Context::new(&SHA256);
    for part in parts {
        let part = part.as_ref();
        context.update(&(part.len() as u64).to_le_bytes());
        context.update(part);
    }
    hex(context.finish().as_ref())
}

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_new_and_as_long_as_asked() {
        let names: BTreeSet<String> = (0..1000).map(|_| new_id(12)).collect();
        assert_eq!(names.len(), 1000);
        assert!(names.iter().all(|name| name.len() == 12 && name.bytes().all(|byte| byte.is_ascii_hexdigit())));
    }

    #[test]
    fn a_digest_knows_where_a_part_ends() {
        assert_ne!(digest_of(["a", "b"]), digest_of(["ab"]));
        assert_eq!(digest_of(["a", "b"]), digest_of([b"a", b"b"]));
        let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(fingerprint(b"abc", 64), abc);
        assert_eq!(fingerprint(b"abc", 4), "ba78");
    }
}
