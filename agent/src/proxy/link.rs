//! Sign-in links: one use, 5 to 300 seconds, the token in the fragment so that no log on the way sees it.
//!
//! The token says its id and its end and is sealed; that it is used once is the hall's to remember, because that must
//! survive the agent.

use super::keys::{Keys, random_id};
use crate::model::now::Timestamp;
use std::fmt;
use std::time::Duration;

const PURPOSE: &str = "link";
const SHORTEST: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(300);
/// How far the clocks of whoever minted and whoever redeems may differ, in milliseconds.
const SKEW: u64 = 10_000;

/// What a token says, once its seal is proven.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    pub id: String,
    pub expires: Timestamp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// Not a token of this boot of this space: altered, cut, or from before the last start.
    Unknown,
    Expired,
}

/// A new token. `lifetime` is held within 5 to 300 seconds.
pub fn mint(keys: &Keys, now: Timestamp, lifetime: Duration) -> String {
    let lifetime = lifetime.clamp(SHORTEST, LONGEST);
    let expires = now.0.saturating_add(u64::try_from(lifetime.as_millis()).unwrap_or(0));
    keys.seal(PURPOSE, &format!("{}.{expires}", random_id()))
}

/// Where a browser opens `token`, and then `to`, a path on the front door. `space`: where the space is (`http://…/`).
pub fn url(space: &str, to: Option<&str>, token: &str) -> String {
    let to = to.map(|to| format!("?to={}", percent_encoded(to))).unwrap_or_default();
    format!("{space}_space/sign-in{to}#{token}")
}

fn percent_encoded(text: &str) -> String {
    let plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"/-._~".contains(byte);
    text.bytes().map(|byte| if plain(&byte) { char::from(byte).to_string() } else { format!("%{byte:02X}") }).collect()
}

/// Reads what [`mint`] made, whole link or token alone.
pub(super) fn read(keys: &Keys, text: &str, now: Timestamp) -> Result<Link, Refused> {
    let token = text.rsplit('#').next().unwrap_or(text).trim();
    let (id, expires) = keys.unseal(PURPOSE, token).and_then(|text| text.split_once('.')).ok_or(Refused::Unknown)?;
    let expires: u64 = expires.parse().map_err(|_| Refused::Unknown)?;
    if now.0 > expires.saturating_add(SKEW) {
        return Err(Refused::Expired);
    }
    Ok(Link { id: id.to_owned(), expires: Timestamp(expires) })
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refused::Unknown => "this is not a sign-in link of this space as it runs now",
            Refused::Expired => "this sign-in link has expired",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(1_795_168_800_000);

    fn after(seconds: u64) -> Timestamp {
        Timestamp(NOW.0 + seconds * 1000)
    }

    #[test]
    fn a_link_holds_until_its_end_and_ten_seconds_of_skew() {
        let keys = Keys::new([3; 32]);
        let token = mint(&keys, NOW, Duration::from_secs(60));
        assert!(read(&keys, &token, after(70)).is_ok());
        assert_eq!(read(&keys, &token, Timestamp(after(70).0 + 1)), Err(Refused::Expired));
    }

    #[test]
    fn a_lifetime_is_held_within_its_bounds() {
        let keys = Keys::new([3; 32]);
        for (asked, given) in [(0, 5), (5, 5), (60, 60), (300, 300), (86_400, 300)] {
            let token = mint(&keys, NOW, Duration::from_secs(asked));
            assert_eq!(read(&keys, &token, NOW).unwrap().expires, after(given), "asked for {asked} s");
        }
    }

    #[test]
    fn an_altered_or_foreign_link_is_unknown() {
        let keys = Keys::new([3; 32]);
        let token = mint(&keys, NOW, Duration::from_secs(60));
        for at in 0..token.len() {
            let mut altered = token.clone().into_bytes();
            altered[at] = if altered[at] == b'0' { b'1' } else { b'0' };
            assert_eq!(read(&keys, &String::from_utf8(altered).unwrap(), NOW), Err(Refused::Unknown), "byte {at}");
        }
        assert_eq!(read(&Keys::new([4; 32]), &token, NOW), Err(Refused::Unknown));
        for text in ["", "#", ".", "..", "a.b.c", &token[1..], &format!("{token}0")] {
            assert_eq!(read(&keys, text, NOW), Err(Refused::Unknown), "{text}");
        }
    }

    #[test]
    fn a_path_to_go_to_is_encoded_into_the_link() {
        let link = url("http://a/lab/", Some("/lab/tree/my notes.ipynb?x=1#2"), "t");
        assert_eq!(link, "http://a/lab/_space/sign-in?to=/lab/tree/my%20notes.ipynb%3Fx%3D1%232#t");
        assert_eq!(url("http://a/", None, "t"), "http://a/_space/sign-in#t");
    }

    #[test]
    fn the_whole_link_is_read_like_its_token() {
        let keys = Keys::new([3; 32]);
        let token = mint(&keys, NOW, Duration::from_secs(60));
        let link = url("http://127.0.0.1:8888/", Some("/lab/tree/x"), &token);
        assert!(link.starts_with("http://127.0.0.1:8888/_space/sign-in?to=/lab/tree/x#"));
        assert_eq!(read(&keys, &format!(" {link}\n"), NOW), read(&keys, &token, NOW));
        assert_ne!(token, mint(&keys, NOW, Duration::from_secs(60)), "every link is its own");
    }
}
