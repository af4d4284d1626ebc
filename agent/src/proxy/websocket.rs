//! The WebSocket handshake (RFC 6455, section 4), checked on both sides: pure functions on heads.
//!
//! Strict, because after it bytes flow unread: nothing is passed in either direction before the app has proven, with
//! the hash of this client's own key, that it understood the request as a handshake.

use super::headers::tokens;
use super::keys::base64;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_VERSION,
    TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, StatusCode, Version};
use ring::digest;

/// Does the request ask for a WebSocket? Any other wish to upgrade is a plain request.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket") && names(headers, &CONNECTION, "upgrade")
}

/// Is the wish for a WebSocket a proper one? Else what is wrong with it.
pub(super) fn check_request(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    let single = |name| {
        let mut values = headers.get_all(name).iter();
        values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
    };
    if method != Method::GET || version != Version::HTTP_11 {
        return Err("a WebSocket handshake is a GET of HTTP/1.1");
    }
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Err("a WebSocket handshake has no body");
    }
    if single(SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err("a WebSocket handshake has Sec-WebSocket-Version: 13");
    }
    if !single(SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err("a WebSocket handshake has one Sec-WebSocket-Key of 16 bytes in base64");
    }
    Ok(())
}

/// Has the app agreed to the handshake with `key`?
pub(super) fn is_agreed(status: StatusCode, headers: &HeaderMap, key: &[u8]) -> bool {
    let mut accepts = headers.get_all(SEC_WEBSOCKET_ACCEPT).iter();
    let accept = accepts.next().filter(|_| accepts.next().is_none());
    status == StatusCode::SWITCHING_PROTOCOLS
        && is_wanted(headers)
        && accept.is_some_and(|accept| accept.as_bytes() == accept_of(key).as_bytes())
}

/// The proof that whoever answers has read `key` as part of a WebSocket handshake.
pub(super) fn accept_of(key: &[u8]) -> String {
    let mut hash = digest::Context::new(&digest::SHA1_FOR_LEGACY_USE_ONLY);
    hash.update(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64(hash.finish().as_ref())
}

/// 16 bytes in base64 are 22 digits and two of padding.
fn is_key(key: &[u8]) -> bool {
    let digit = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'+' || *byte == b'/';
    key.len() == 24 && key.ends_with(b"==") && key[..22].iter().all(digit)
}

fn names(headers: &HeaderMap, header: &hyper::header::HeaderName, token: &str) -> bool {
    tokens(headers, header).any(|found| found.eq_ignore_ascii_case(token))
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

    fn handshake() -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("WebSocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("keep-alive, Upgrade"));
        headers.insert(SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
        headers.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY));
        headers
    }

    #[test]
    fn the_proof_is_that_of_rfc_6455() {
        assert_eq!(accept_of(KEY.as_bytes()), "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=");
    }

    #[test]
    fn only_a_whole_handshake_is_one() {
        assert!(is_wanted(&handshake()));
        assert_eq!(check_request(&Method::GET, Version::HTTP_11, &handshake()), Ok(()));
        assert!(check_request(&Method::POST, Version::HTTP_11, &handshake()).is_err());
        assert!(check_request(&Method::GET, Version::HTTP_10, &handshake()).is_err());
        for (name, value) in [
            ("sec-websocket-version", "12"),
            ("sec-websocket-version", "13, 13"),
            ("sec-websocket-key", "short"),
            ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=!"),
            ("content-length", "0"),
            ("transfer-encoding", "chunked"),
        ] {
            let mut headers = handshake();
            headers.insert(name, HeaderValue::from_static(value));
            assert!(check_request(&Method::GET, Version::HTTP_11, &headers).is_err(), "{name}: {value}");
        }
        let mut twice = handshake();
        twice.append(SEC_WEBSOCKET_KEY, HeaderValue::from_static(KEY));
        assert!(check_request(&Method::GET, Version::HTTP_11, &twice).is_err());
        let mut plain = handshake();
        plain.insert(UPGRADE, HeaderValue::from_static("h2c"));
        assert!(!is_wanted(&plain));
    }

    #[test]
    fn only_the_hash_of_this_clients_key_is_an_agreement() {
        let mut headers = handshake();
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept_of(KEY.as_bytes())).unwrap());
        assert!(is_agreed(StatusCode::SWITCHING_PROTOCOLS, &headers, KEY.as_bytes()));
        assert!(!is_agreed(StatusCode::OK, &headers, KEY.as_bytes()));
        assert!(!is_agreed(StatusCode::SWITCHING_PROTOCOLS, &headers, b"x3JJHMbDL1EzLkh9GBhXDw=="));
        headers.remove(UPGRADE);
        assert!(!is_agreed(StatusCode::SWITCHING_PROTOCOLS, &headers, KEY.as_bytes()));
    }
}
