//! The WebSocket handshake (RFC 6455, section 4), checked on both sides: pure functions on heads.
//!
//! Strict, because after it bytes flow unread: nothing is passed in either direction before the app has proven, with
//! the hash of this client's own key, that it understood the request as a handshake.

use super::headers::tokens;
use super::keys::base64;
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, SEC_WEBSOCKET_ACCEPT, SEC_WEBSOCKET_EXTENSIONS,
    SEC_WEBSOCKET_KEY, SEC_WEBSOCKET_PROTOCOL, SEC_WEBSOCKET_VERSION, TRANSFER_ENCODING, UPGRADE,
};
use hyper::{Method, StatusCode, Version};
use ring::digest;

/// Does the request ask for a WebSocket? Any other wish to upgrade is a plain request.
pub(super) fn is_wanted(headers: &HeaderMap) -> bool {
    names(headers, &UPGRADE, "websocket") && names(headers, &CONNECTION, "upgrade")
}

/// Is the wish for a WebSocket a proper one? Else what is wrong with it.
pub(super) fn check_request(method: &Method, version: Version, headers: &HeaderMap) -> Result<(), &'static str> {
    if method != Method::GET || version != Version::HTTP_11 {
        return Err("a WebSocket handshake is a GET of HTTP/1.1");
    }
    if headers.contains_key(CONTENT_LENGTH) || headers.contains_key(TRANSFER_ENCODING) {
        return Err("a WebSocket handshake has no body");
    }
    if single(headers, &SEC_WEBSOCKET_VERSION) != Some(b"13") {
        return Err("a WebSocket handshake has Sec-WebSocket-Version: 13");
    }
    if !single(headers, &SEC_WEBSOCKET_KEY).is_some_and(is_key) {
        return Err("a WebSocket handshake has one Sec-WebSocket-Key of 16 bytes in base64");
    }
    Ok(())
}

/// What a client offers in its handshake, as the app gets to see it.
#[derive(Debug)]
pub(super) struct Offer {
    key: Option<HeaderValue>,
    protocols: Vec<HeaderValue>,
    extensions: Vec<HeaderValue>,
}

impl Offer {
    pub(super) fn of(headers: &HeaderMap) -> Offer {
        let all = |name| headers.get_all(name).iter().cloned().collect();
        Offer {
            key: headers.get(SEC_WEBSOCKET_KEY).cloned(),
            protocols: all(SEC_WEBSOCKET_PROTOCOL),
            extensions: all(SEC_WEBSOCKET_EXTENSIONS),
        }
    }

    /// Has the app agreed to it, and to nothing else? Else what is wrong with its answer.
    pub(super) fn check_answer(&self, status: StatusCode, headers: &HeaderMap) -> Result<(), &'static str> {
        if status != StatusCode::SWITCHING_PROTOCOLS || !is_wanted(headers) {
            return Err("it does not switch to the WebSocket protocol");
        }
        let accept = single(headers, &SEC_WEBSOCKET_ACCEPT);
        let proof = self.key.as_ref().map(|key| accept_of(key.as_bytes()));
        if proof.is_none() || accept != proof.as_ref().map(String::as_bytes) {
            return Err("its Sec-WebSocket-Accept is not the proof that it has read the key");
        }
        let protocol = headers.get_all(SEC_WEBSOCKET_PROTOCOL).iter().count();
        let chosen = single(headers, &SEC_WEBSOCKET_PROTOCOL);
        let offered = |chosen: &[u8]| members(&self.protocols).any(|offered| offered == chosen);
        if protocol > 1 || chosen.is_some_and(|chosen| !offered(chosen)) {
            return Err("it chooses a Sec-WebSocket-Protocol that was not offered");
        }
        let agreed: Vec<_> = headers.get_all(SEC_WEBSOCKET_EXTENSIONS).iter().cloned().collect();
        let known = |name: &[u8]| members(&self.extensions).any(|offered| name_of(offered) == name);
        if members(&agreed).any(|agreed| !known(name_of(agreed))) {
            return Err("it agrees to a Sec-WebSocket-Extensions that was not offered");
        }
        Ok(())
    }
}

/// The value of a header that is there exactly once.
fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a [u8]> {
    let mut values = headers.get_all(name).iter();
    values.next().filter(|_| values.next().is_none()).map(HeaderValue::as_bytes)
}

/// The parts of comma-separated lists, trimmed; empty ones are skipped. A comma within quotes parts nothing.
fn members(values: &[HeaderValue]) -> impl Iterator<Item = &[u8]> {
    let parts = values.iter().flat_map(|value| {
        let mut quoted = false;
        value.as_bytes().split(move |byte| {
            quoted ^= *byte == b'"';
            !quoted && *byte == b','
        })
    });
    parts.map(<[u8]>::trim_ascii).filter(|part| !part.is_empty())
}

/// Of an extension, without its parameters.
fn name_of(extension: &[u8]) -> &[u8] {
    extension.split(|byte| *byte == b';').next().unwrap_or_default().trim_ascii()
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

fn names(headers: &HeaderMap, header: &HeaderName, token: &str) -> bool {
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

    fn answer(lines: &[(&'static str, &str)]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
        headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
        headers.insert(SEC_WEBSOCKET_ACCEPT, HeaderValue::from_str(&accept_of(KEY.as_bytes())).unwrap());
        for (name, value) in lines {
            headers.append(*name, HeaderValue::from_str(value).unwrap());
        }
        headers
    }

    #[test]
    fn only_the_hash_of_this_clients_key_is_an_agreement() {
        let offer = Offer::of(&handshake());
        assert_eq!(offer.check_answer(StatusCode::SWITCHING_PROTOCOLS, &answer(&[])), Ok(()));
        assert!(offer.check_answer(StatusCode::OK, &answer(&[])).is_err());
        let mut other = handshake();
        other.insert(SEC_WEBSOCKET_KEY, HeaderValue::from_static("x3JJHMbDL1EzLkh9GBhXDw=="));
        assert!(Offer::of(&other).check_answer(StatusCode::SWITCHING_PROTOCOLS, &answer(&[])).is_err());
        for name in [UPGRADE, CONNECTION, SEC_WEBSOCKET_ACCEPT] {
            let mut headers = answer(&[]);
            headers.remove(&name);
            assert!(offer.check_answer(StatusCode::SWITCHING_PROTOCOLS, &headers).is_err(), "without {name}");
        }
        let twice = answer(&[("sec-websocket-accept", &accept_of(KEY.as_bytes()))]);
        assert!(offer.check_answer(StatusCode::SWITCHING_PROTOCOLS, &twice).is_err());
    }

    #[test]
    fn what_an_app_chooses_was_offered() {
        const PROTOCOL: &str = "sec-websocket-protocol";
        const EXTENSIONS: &str = "sec-websocket-extensions";
        let mut offered = handshake();
        for (name, value) in [
            (PROTOCOL, "chat, v1.kernel.websocket.jupyter.org"),
            (PROTOCOL, "superchat"),
            (EXTENSIONS, "permessage-deflate; client_max_window_bits, x-one; a=\"b, x-quoted\""),
            (EXTENSIONS, "x-two"),
        ] {
            offered.append(name, HeaderValue::from_static(value));
        }
        let offer = Offer::of(&offered);
        let check = |lines: &[(&'static str, &str)]| {
            offer.check_answer(StatusCode::SWITCHING_PROTOCOLS, &answer(lines)).is_ok()
        };
        for good in [
            &[(PROTOCOL, "chat")][..],
            &[(PROTOCOL, "v1.kernel.websocket.jupyter.org"), (EXTENSIONS, "permessage-deflate")],
            &[(PROTOCOL, "superchat"), (EXTENSIONS, "x-two; c, x-one")],
            &[(EXTENSIONS, "permessage-deflate; server_max_window_bits=10"), (EXTENSIONS, "x-two")],
        ] {
            assert!(check(good), "{good:?}");
        }
        for bad in [
            &[(PROTOCOL, "Chat")][..],
            &[(PROTOCOL, "chat, superchat")],
            &[(PROTOCOL, "chat"), (PROTOCOL, "superchat")],
            &[(PROTOCOL, "")],
            &[(PROTOCOL, "other")],
            &[(EXTENSIONS, "x-quoted")],
            &[(EXTENSIONS, "x-three")],
            &[(EXTENSIONS, "permessage-deflate, x-three; a")],
        ] {
            assert!(!check(bad), "{bad:?}");
        }
        let nothing = Offer::of(&handshake());
        for line in [(PROTOCOL, "chat"), (EXTENSIONS, "permessage-deflate")] {
            assert!(nothing.check_answer(StatusCode::SWITCHING_PROTOCOLS, &answer(&[line])).is_err(), "{line:?}");
        }
    }
}
