//! What of a message's head crosses the front door: pure functions on header maps.
//!
//! Towards the app: nothing that concerns this hop only, nothing that proves who the viewer is (any agent's cookie,
//! Authorization), and what says where the request came from is ours. Towards the browser: nothing that would let one
//! app speak for the whole origin.

use crate::model::route::Route;
use hyper::header::{
    AUTHORIZATION, CONNECTION, COOKIE, EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TE, TRAILER,
    TRANSFER_ENCODING, UPGRADE,
};
use std::net::IpAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Headers by which an app would rule over every app of this origin, and over the agent's page.
const ORIGIN_WIDE: [HeaderName; 4] = [
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("strict-transport-security"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("alt-svc"),
];

/// Makes a request's head fit for the app behind `route`.
pub(super) fn to_app(headers: &mut HeaderMap, route: &Route, peer: IpAddr) {
    drop_hop_by_hop(headers);
    drop_claims(headers);
    headers.remove(AUTHORIZATION);
    // Answered by us: hyper sends 100 Continue once the app's side takes the body.
    headers.remove(EXPECT);
    drop_agent_cookies(headers);
    let host = headers.get(HOST).cloned();
    headers.insert(FORWARDED_FOR, value(&peer.to_canonical().to_string()));
    headers.insert(FORWARDED_PROTO, HeaderValue::from_static("http"));
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
    // Only for an app that doesn't see its base path: others would put it in front twice.
    if route.strip_base_path {
        headers.insert(FORWARDED_PREFIX, value(route.base_path.trim_end_matches('/')));
    }
}

/// Makes an app's answer fit for the browser.
pub(super) fn to_browser(headers: &mut HeaderMap) {
    drop_hop_by_hop(headers);
    for name in ORIGIN_WIDE {
        headers.remove(name);
    }
    if headers.get_all(SET_COOKIE).iter().any(|cookie| is_agent_cookie(cookie.as_bytes())) {
        let kept: Vec<_> =
            headers.get_all(SET_COOKIE).iter().filter(|cookie| !is_agent_cookie(cookie.as_bytes())).cloned().collect();
        headers.remove(SET_COOKIE);
        for cookie in kept {
            headers.append(SET_COOKIE, cookie);
        }
    }
}

/// Headers that end at this hop (RFC 9110, 7.6.1): Connection, those that it names, and the known ones.
fn drop_hop_by_hop(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| name != HOST)
        .collect();
    let proxy = headers.keys().filter(|name| name.as_str().starts_with("proxy-")).cloned();
    let known = [CONNECTION, KEEP_ALIVE, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
    for name in known.into_iter().chain(proxy.collect::<Vec<_>>()).chain(named) {
        headers.remove(name);
    }
}

/// What a client says about where it comes from, however spelt: many servers read `_` as `-`.
fn drop_claims(headers: &mut HeaderMap) {
    let is_claim = |name: &str| {
        let name = name.replace('_', "-");
        name.starts_with("x-forwarded-") || name.starts_with("x-space-") || name == "x-real-ip" || name == "forwarded"
    };
    let claims: Vec<_> = headers.keys().filter(|name| is_claim(name.as_str())).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

/// Removes every agent's cookie, also of other spaces: cookies of one host don't know ports.
fn drop_agent_cookies(headers: &mut HeaderMap) {
    let ours = |header: &HeaderValue| header.as_bytes().split(|byte| *byte == b';').any(is_agent_cookie);
    if !headers.get_all(COOKIE).iter().any(ours) {
        return;
    }
    let without = |header: &HeaderValue| {
        let pairs = header.as_bytes().split(|byte| *byte == b';').map(<[u8]>::trim_ascii);
        let kept: Vec<_> = pairs.filter(|pair| !pair.is_empty() && !is_agent_cookie(pair)).collect();
        (!kept.is_empty()).then(|| HeaderValue::from_bytes(&kept.join(&b"; "[..])).ok()).flatten()
    };
    let kept: Vec<_> = headers.get_all(COOKIE).iter().filter_map(without).collect();
    headers.remove(COOKIE);
    for cookie in kept {
        headers.append(COOKIE, cookie);
    }
}

/// Does `name=value…` name an agent's cookie: `space-` and 8 hexadecimal digits, with or without a prefix? A nameless
/// cookie (`=space-…=…`) comes back from browsers as if it had the name.
fn is_agent_cookie(pair: &[u8]) -> bool {
    let pair = pair.trim_ascii();
    let unnamed = pair.iter().position(|byte| *byte != b'=').map_or(&b""[..], |start| pair[start..].trim_ascii());
    let name = unnamed.split(|byte| *byte == b'=' || *byte == b';').next().unwrap_or(b"").trim_ascii();
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix(b"__secure-").or(name.strip_prefix(b"__host-")).unwrap_or(&name);
    name.strip_prefix(b"space-").is_some_and(|id| id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit))
}

/// The members of a comma-separated header, trimmed; parts that aren't text are skipped.
pub(super) fn tokens<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let texts = headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
    texts.flat_map(|text| text.split(',')).map(str::trim).filter(|token| !token.is_empty())
}

/// A value that we made ourselves.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::route;

    fn map(lines: &[&str]) -> HeaderMap {
        let pair = |line: &&str| {
            let (name, value) = line.split_once(": ").unwrap();
            (HeaderName::from_bytes(name.as_bytes()).unwrap(), HeaderValue::from_str(value).unwrap())
        };
        lines.iter().map(pair).collect()
    }

    fn lines(headers: &HeaderMap) -> Vec<String> {
        let mut lines: Vec<_> =
            headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines
    }

    fn check_request(strip_base_path: bool, before: &[&str], after: &[&str]) {
        let mut headers = map(before);
        let mut route = route("dashboard", "/dashboard/");
        route.strip_base_path = strip_base_path;
        to_app(&mut headers, &route, "::ffff:127.0.0.1".parse().unwrap());
        assert_eq!(lines(&headers), after);
    }

    #[test]
    fn what_ends_at_this_hop_does_not_reach_the_app() {
        check_request(
            false,
            &[
                "host: localhost:8888",
                "connection: keep-alive, X-Secret-Hop, host",
                "connection: x-other",
                "x-secret-hop: 1",
                "x-other: 1",
                "keep-alive: timeout=5",
                "te: trailers",
                "trailer: x",
                "upgrade: h2c",
                "proxy-authorization: Basic eA==",
                "proxy-connection: close",
                "expect: 100-continue",
                "accept: */*",
            ],
            &[
                "accept: */*",
                "host: localhost:8888",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: localhost:8888",
                "x-forwarded-proto: http",
            ],
        );
    }

    #[test]
    fn what_a_client_says_about_its_way_here_is_replaced() {
        check_request(
            true,
            &[
                "host: localhost",
                "x-forwarded-for: 10.0.0.1",
                "x_forwarded_for: 10.0.0.1",
                "X-Forwarded-Proto: https",
                "x-forwarded-host: evil.example",
                "x-forwarded-prefix: /evil",
                "x-forwarded-user: root",
                "x-real-ip: 10.0.0.1",
                "forwarded: for=10.0.0.1",
                "X_Space-User: root",
            ],
            &[
                "host: localhost",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-host: localhost",
                "x-forwarded-prefix: /dashboard",
                "x-forwarded-proto: http",
            ],
        );
    }

    #[test]
    fn no_agents_cookie_and_no_authorization_reaches_an_app() {
        check_request(
            false,
            &[
                "authorization: Bearer x",
                "cookie: _xsrf=2|a|b; space-0123abcd=secret; theme=dark",
                "cookie: space-0123abcd=secret",
                "cookie: SPACE-ffffffff=other; __Host-space-0123abcd=x;__Secure-space-0123abcd=y; =space-0123abcd=z",
                "cookie: space-ship=enterprise; spaceship=1; xspace-0123abcd=1",
            ],
            &[
                "cookie: _xsrf=2|a|b; theme=dark",
                "cookie: space-ship=enterprise; spaceship=1; xspace-0123abcd=1",
                "x-forwarded-for: 127.0.0.1",
                "x-forwarded-proto: http",
            ],
        );
        let untouched = "cookie: a=b;c=d ;  e";
        check_request(false, &[untouched], &[untouched, "x-forwarded-for: 127.0.0.1", "x-forwarded-proto: http"]);
    }

    #[test]
    fn an_app_can_not_set_an_agents_cookie_nor_rule_over_the_origin() {
        let mut headers = map(&[
            "set-cookie: _xsrf=2; Path=/jupyterlab/default/",
            "set-cookie: space-0123abcd=evil; Path=/",
            "set-cookie: \tspace-0123abcd =evil",
            "set-cookie: =space-0123abcd=evil",
            "set-cookie: __Host-space-0123abcd=evil; Secure",
            "set-cookie: username=alice",
            "clear-site-data: \"*\"",
            "strict-transport-security: max-age=1",
            "service-worker-allowed: /",
            "connection: close",
            "content-type: text/plain",
        ]);
        to_browser(&mut headers);
        assert_eq!(
            lines(&headers),
            [
                "content-type: text/plain",
                "set-cookie: _xsrf=2; Path=/jupyterlab/default/",
                "set-cookie: username=alice"
            ]
        );
    }
}
