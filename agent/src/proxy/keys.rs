//! The front door's secret: what it seals (links, sessions) only it can have made.
//!
//! The key is new at each boot of the space and survives the agent, so a restarted agent knows its viewers and a new
//! boot knows nobody. Every seal names its purpose, so that a link is never a session.

use crate::sys::keys::{hex, new_id};
use ring::hmac;
use std::fmt;

/// The sealing key. Cheap to clone; never printed.
#[derive(Clone)]
pub struct Keys(hmac::Key);

impl Keys {
    pub fn new(secret: [u8; 32]) -> Keys {
        Keys(hmac::Key::new(hmac::HMAC_SHA256, &secret))
    }

    /// `<text>.<seal in hex>`; `text` has no line feed in it.
    pub(super) fn seal(&self, purpose: &str, text: &str) -> String {
        let tag = hmac::sign(&self.0, format!("{purpose}\n{text}").as_bytes());
        format!("{text}.{}", hex(tag.as_ref()))
    }

    /// The text of what [`Keys::seal`] made for the same purpose; compared in constant time.
    pub(super) fn unseal<'a>(&self, purpose: &str, sealed: &'a str) -> Option<&'a str> {
        let (text, seal) = sealed.rsplit_once('.')?;
        hmac::verify(&self.0, format!("{purpose}\n{text}").as_bytes(), &unhex(seal)?).ok()?;
        Some(text)
    }
}

impl From<[u8; 32]> for Keys {
    fn from(secret: [u8; 32]) -> Keys {
        Keys::new(secret)
    }
}

impl fmt::Debug for Keys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Keys(..)")
    }
}

/// Names a link or a session in its sealed text: the seal is the secret, not the name.
pub(super) fn random_id() -> String {
    new_id(32)
}

/// Lower-case digits only, so that one seal has one spelling.
fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let digits = text.as_bytes();
    if digits.len() % 2 == 1 {
        return None;
    }
    digits.chunks(2).map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect()
}

/// Standard alphabet with padding (RFC 4648): for Sec-WebSocket-Accept and content security policies.
pub(super) fn base64(bytes: &[u8]) -> String {
    const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - group.len()));
        for place in 0..4 {
            let sextet = bits >> (18 - 6 * place) & 63;
            text.push(if place <= group.len() { char::from(ALPHABET[sextet as usize]) } else { '=' });
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_same_key_and_purpose_open_a_seal() {
        let keys = Keys::new([7; 32]);
        let sealed = keys.seal("link", "abc.123");
        assert_eq!(keys.unseal("link", &sealed), Some("abc.123"));
        assert_eq!(keys.unseal("session", &sealed), None);
        assert_eq!(Keys::new([8; 32]).unseal("link", &sealed), None);
        assert_eq!(keys.unseal("link", &sealed.to_uppercase()), None);
        for end in 0..sealed.len() {
            assert_eq!(keys.unseal("link", &sealed[..end]), None, "cut at {end}");
        }
    }

    #[test]
    fn base64_is_that_of_rfc_4648() {
        for (text, coded) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(text.as_bytes()), coded);
        }
    }

    #[test]
    fn the_secret_is_never_printed() {
        assert_eq!(format!("{:?}", Keys::new([1; 32])), "Keys(..)");
    }
}
