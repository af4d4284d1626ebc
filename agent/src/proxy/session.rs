//! Who a request comes from: the agent's session cookie, its making and its reading.
//!
//! The cookie says an id and an end, sealed under the space's id: nothing is kept, so a restarted agent knows its
//! viewers. It is never forwarded (see `headers`), and an app that could set one would only sign its viewer out.

use super::keys::{Keys, random_id};
use crate::model::now::Timestamp;
use crate::model::route::Door;
use hyper::header::{COOKIE, HeaderMap, HeaderValue};
use std::time::Duration;

/// 12 hours, the longest that the design allows.
pub(super) const LIFETIME: Duration = Duration::from_secs(12 * 3600);
/// Milliseconds by which the clock may have been set back since the cookie was made.
const SKEW: u64 = 60_000;

/// A viewer who has signed in, or who needn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Session {
    /// `None`: the space is open.
    pub(super) expires: Option<Timestamp>,
}

/// `space-` and the space's id. With https a prefix, by which browsers keep anybody from setting it who is not this host
/// (`__Host-`, for the whole of it only) or has no TLS (`__Secure-`).
pub(super) fn cookie_name(door: &Door) -> String {
    let prefix = match (door.tls, door.base_path.as_str()) {
        (false, _) => "",
        (true, "/") => "__Host-",
        (true, _) => "__Secure-",
    };
    format!("{prefix}space-{}", door.space_id)
}

/// The value of Set-Cookie that signs a viewer in.
pub(super) fn sign_in(keys: &Keys, door: &Door, now: Timestamp) -> String {
    let expires = now.0.saturating_add(u64::try_from(LIFETIME.as_millis()).unwrap_or(0));
    let value = keys.seal(&purpose(door), &format!("{}.{expires}", random_id()));
    set_cookie(door, &value, LIFETIME.as_secs())
}

/// The value of Set-Cookie that signs a viewer out.
pub(super) fn sign_out(door: &Door) -> String {
    set_cookie(door, "", 0)
}

fn set_cookie(door: &Door, value: &str, age: u64) -> String {
    let (name, path) = (cookie_name(door), &door.base_path);
    let secure = if door.tls { "; Secure" } else { "" };
    format!("{name}={value}; Path={path}; Max-Age={age}; HttpOnly; SameSite=Lax{secure}")
}

/// The session that a request's cookies prove. Two agent cookies prove none: one of them was put there by another
/// page of this host, and nobody can say which.
pub(super) fn find(keys: &Keys, door: &Door, headers: &HeaderMap, now: Timestamp) -> Option<Session> {
    let name = cookie_name(door);
    let mut values = cookies(headers).filter(|(found, _)| *found == name.as_bytes()).map(|(_, value)| value);
    let (value, None) = (values.next()?, values.next()) else { return None };
    let (_, expires) = keys.unseal(&purpose(door), std::str::from_utf8(value).ok()?)?.split_once('.')?;
    let expires: u64 = expires.parse().ok()?;
    let made = expires.saturating_sub(u64::try_from(LIFETIME.as_millis()).unwrap_or(0));
    (now.0 < expires && now.0.saturating_add(SKEW) >= made).then_some(Session { expires: Some(Timestamp(expires)) })
}

fn purpose(door: &Door) -> String {
    format!("session {}", door.space_id)
}

/// Names and values of all cookies, trimmed. As bytes: pages give their cookies any text, and browsers send it beside
/// ours as it is.
fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&[u8], &[u8])> {
    let all = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes);
    all.flat_map(|header| header.split(|byte| *byte == b';')).map(|pair| {
        let end = pair.iter().position(|byte| *byte == b'=');
        let (name, value) = end.map_or((&b""[..], pair), |end| (&pair[..end], &pair[end + 1..]));
        (name.trim_ascii(), value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::door;

    const NOW: Timestamp = Timestamp(1_795_168_800_000);

    fn with(cookies: &[&str]) -> HeaderMap {
        cookies.iter().map(|text| (COOKIE, HeaderValue::from_str(text).unwrap())).collect()
    }

    fn after(seconds: u64) -> Timestamp {
        Timestamp(NOW.0 + seconds * 1000)
    }

    #[test]
    fn a_session_lasts_twelve_hours() {
        let (keys, door) = (Keys::new([1; 32]), door());
        let cookie = sign_in(&keys, &door, NOW);
        assert!(cookie.ends_with("; Path=/; Max-Age=43200; HttpOnly; SameSite=Lax"), "{cookie}");
        let headers = with(&[&format!("_xsrf=2; {}; theme=dark", cookie.split(';').next().unwrap())]);
        assert!(find(&keys, &door, &headers, NOW).is_some());
        assert!(find(&keys, &door, &headers, after(12 * 3600 - 1)).is_some());
        assert_eq!(find(&keys, &door, &headers, after(12 * 3600)), None);
        assert_eq!(find(&keys, &door, &headers, Timestamp(NOW.0 - 61_000)), None, "made in the future");
    }

    #[test]
    fn a_session_of_another_key_space_or_kind_proves_nothing() {
        let (keys, door) = (Keys::new([1; 32]), door());
        let pair = sign_in(&keys, &door, NOW).split(';').next().unwrap().to_owned();
        let other = Door { space_id: "ffffffff".into(), ..door.clone() };
        let renamed = pair.replace("space-0123abcd", "space-ffffffff");
        assert_eq!(find(&Keys::new([2; 32]), &door, &with(&[&pair]), NOW), None);
        assert_eq!(find(&keys, &other, &with(&[&renamed]), NOW), None);
        let link = super::super::link::mint(&keys, NOW, Duration::from_secs(60));
        assert_eq!(find(&keys, &door, &with(&[&format!("space-0123abcd={link}")]), NOW), None);
    }

    #[test]
    fn with_https_the_cookie_is_bound_to_it() {
        let keys = Keys::new([1; 32]);
        for (base_path, prefix) in [("/", "__Host-"), ("/user/alice/", "__Secure-")] {
            let door = Door { tls: true, base_path: base_path.into(), ..door() };
            let cookie = sign_in(&keys, &door, NOW);
            assert!(
                cookie.starts_with(&format!("{prefix}space-0123abcd=")) && cookie.ends_with("; Secure"),
                "{cookie}"
            );
            let pair = cookie.split(';').next().unwrap();
            assert!(find(&keys, &door, &with(&[pair]), NOW).is_some());
            let bare = pair.strip_prefix(prefix).unwrap();
            assert_eq!(find(&keys, &door, &with(&[bare]), NOW), None, "set by somebody without TLS");
        }
    }

    #[test]
    fn what_an_app_writes_into_its_cookies_signs_nobody_out() {
        let (keys, door) = (Keys::new([1; 32]), door());
        let pair = sign_in(&keys, &door, NOW).split(';').next().unwrap().to_owned();
        for other in [&b"name=Jos\xc3\xa9"[..], b"\xff\xfe", b"a=\"x\ty\"", b"=", b"space-0123abcde=x"] {
            for cookies in [[other, pair.as_bytes()].join(&b"; "[..]), [pair.as_bytes(), other].join(&b"; "[..])] {
                let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&cookies).unwrap())]);
                assert!(find(&keys, &door, &headers, NOW).is_some(), "{cookies:?}");
            }
        }
        let altered = [pair.as_bytes(), &b"\xc3\xa9"[..]].concat();
        let headers = HeaderMap::from_iter([(COOKIE, HeaderValue::from_bytes(&altered).unwrap())]);
        assert_eq!(find(&keys, &door, &headers, NOW), None);
    }

    #[test]
    fn two_agent_cookies_prove_nothing() {
        let (keys, door) = (Keys::new([1; 32]), door());
        let pair = sign_in(&keys, &door, NOW).split(';').next().unwrap().to_owned();
        assert_eq!(find(&keys, &door, &with(&[&format!("{pair}; space-0123abcd=x")]), NOW), None);
        assert_eq!(find(&keys, &door, &with(&["space-0123abcd=x", &pair]), NOW), None);
        assert_eq!(find(&keys, &door, &with(&[&pair, &pair]), NOW), None);
        assert_eq!(find(&keys, &door, &HeaderMap::new(), NOW), None);
    }
}
