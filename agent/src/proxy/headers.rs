//! What of a message's head crosses the front door: pure functions on header maps.
//!
//! Towards the app: nothing that concerns this hop only, nothing that proves who the viewer is (any agent's cookie,
//! Authorization), and what says where the request came from is ours. Towards the browser: nothing that would let one
//! app speak for the whole origin.

use super::ports;
use crate::model::route::Route;
use hyper::header::{
    AUTHORIZATION, CACHE_CONTROL, CONNECTION, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE, COOKIE,
    EXPECT, HOST, HeaderMap, HeaderName, HeaderValue, MAX_FORWARDS, SET_COOKIE, TE, TRAILER, TRANSFER_ENCODING,
    UPGRADE,
};
use std::net::IpAddr;

const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");

/// Headers by which an app would rule over every app of this origin, and over the agent's page.
const ORIGIN_WIDE: [HeaderName; 5] = [
    HeaderName::from_static("clear-site-data"),
    HeaderName::from_static("strict-transport-security"),
    HeaderName::from_static("service-worker-allowed"),
    HeaderName::from_static("alt-svc"),
    // Tells somebody of every failed request to the origin, with its path.
    HeaderName::from_static("nel"),
];

/// What this hop says about where a request came from.
#[derive(Debug)]
pub(super) struct Hop {
    peer: HeaderValue,
    proto: HeaderValue,
}

impl Hop {
    /// `is_tls`: the viewer's way to the door was encrypted.
    pub(super) fn new(peer: IpAddr, is_tls: bool) -> Hop {
        let proto = HeaderValue::from_static(if is_tls { "https" } else { "http" });
        Hop { peer: value(&peer.to_canonical().to_string()), proto }
    }
}

/// Makes a request's head fit for the app behind `route`.
pub(super) fn to_app(headers: &mut HeaderMap, route: &Route, hop: &Hop) {
    let takes_trailers = tokens(headers, &TE).any(|coding| coding.eq_ignore_ascii_case("trailers"));
    drop_connection(headers);
    // Expect is answered by us: hyper sends 100 Continue once the app's side takes the body.
    let is_ours = |name: &HeaderName| matches!(*name, AUTHORIZATION | EXPECT);
    drop_all(headers, |name| ends_here(name) || is_claim(name) || is_ours(name));
    if takes_trailers {
        headers.insert(TE, HeaderValue::from_static("trailers"));
        headers.insert(CONNECTION, HeaderValue::from_static("TE"));
    }
    drop_agent_cookies(headers);
    let host = headers.get(HOST).cloned();
    headers.insert(FORWARDED_FOR, hop.peer.clone());
    headers.insert(FORWARDED_PROTO, hop.proto.clone());
    if let Some(host) = host {
        headers.insert(FORWARDED_HOST, host);
    }
    // Only for an app that doesn't see its base path: others would put it in front twice.
    if route.strip_base_path {
        headers.insert(FORWARDED_PREFIX, value(route.base_path.trim_end_matches('/')));
    }
    if let Some(port) = route.port {
        ports::speak_locally(headers, port);
    }
}

/// What may follow a body is less than what may be before it; who the viewer is belongs to the latter, and what a body is
/// (RFC 9110, 6.5.1): an app may take a trailer for a header.
pub(super) fn trailers_to_app(trailers: &mut HeaderMap) {
    drop_connection(trailers);
    let is_viewer = |name: &HeaderName| matches!(*name, AUTHORIZATION | COOKIE | SET_COOKIE | HOST);
    let is_asking = |name: &HeaderName| matches!(*name, CACHE_CONTROL | EXPECT | MAX_FORWARDS | TRAILER);
    let is_form = |name: &HeaderName| matches!(*name, CONTENT_ENCODING | CONTENT_LENGTH | CONTENT_RANGE | CONTENT_TYPE);
    let is_before = |name: &HeaderName| is_viewer(name) || is_asking(name) || is_form(name);
    drop_all(trailers, |name| ends_here(name) || is_claim(name) || is_before(name));
}

/// Makes the answer of the app behind `route` fit for the browser.
pub(super) fn to_browser(headers: &mut HeaderMap, route: &Route) {
    drop_connection(headers);
    drop_all(headers, |name| ends_here(name) || ORIGIN_WIDE.contains(name));
    if let Some(port) = route.port {
        ports::relocate(headers, route, port);
    }
    if !headers.contains_key(SET_COOKIE) {
        return;
    }
    let fit = |cookie: &HeaderValue| match is_agent_cookie(cookie.as_bytes()) {
        true => None,
        false if route.confined => Some(narrowed(cookie, &route.base_path)),
        false => Some(cookie.clone()),
    };
    let kept: Vec<_> = headers.get_all(SET_COOKIE).iter().filter_map(fit).collect();
    headers.remove(SET_COOKIE);
    for cookie in kept {
        headers.append(SET_COOKIE, cookie);
    }
}

/// A cookie that goes only to this app: without Domain, and with no Path outside of `base_path`. One without a Path is
/// for the folder of the request that set it, which is the app's.
fn narrowed(cookie: &HeaderValue, base_path: &str) -> HeaderValue {
    let mut attributes = cookie.as_bytes().split(|byte| *byte == b';');
    let mut narrowed = attributes.next().unwrap_or(b"").to_vec();
    for attribute in attributes {
        let end = attribute.iter().position(|byte| *byte == b'=').unwrap_or(attribute.len());
        let (name, value) = (attribute[..end].trim_ascii(), attribute.get(end + 1..).unwrap_or(b"").trim_ascii());
        if name.eq_ignore_ascii_case(b"domain") {
            continue;
        }
        narrowed.push(b';');
        if name.eq_ignore_ascii_case(b"path") && !is_below(value, base_path.as_bytes()) {
            narrowed.extend_from_slice(b" Path=");
            narrowed.extend_from_slice(base_path.as_bytes());
        } else {
            narrowed.extend_from_slice(attribute);
        }
    }
    // Made of parts of a value and of a path, so it is a value.
    HeaderValue::from_bytes(&narrowed).unwrap_or_else(|_| HeaderValue::from_static(""))
}

/// A cookie's path is matched as it is written, by whole segments: `/app` is `/app/` and what is below.
fn is_below(path: &[u8], base_path: &[u8]) -> bool {
    path.starts_with(base_path) || base_path.strip_suffix(b"/").is_some_and(|base| !base.is_empty() && path == base)
}

/// Connection, and the headers that it names.
fn drop_connection(headers: &mut HeaderMap) {
    let Some(first) = headers.get(CONNECTION) else { return };
    let is_plain = first.as_bytes().eq_ignore_ascii_case(b"keep-alive") || first.as_bytes() == b"close";
    let is_one = headers.get_all(CONNECTION).iter().nth(1).is_none();
    if !(is_plain && is_one) {
        drop_named(headers);
    }
    headers.remove(CONNECTION);
}

/// Does this header end at this hop (RFC 9110, 7.6.1), whatever Connection says? `Trailer` stays: the next hop's trailers
/// are those that it names.
fn ends_here(name: &HeaderName) -> bool {
    matches!(*name, TE | TRANSFER_ENCODING | UPGRADE) || *name == KEEP_ALIVE || name.as_str().starts_with("proxy-")
}

/// Those that Connection names.
fn drop_named(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = tokens(headers, &CONNECTION)
        .filter_map(|token| HeaderName::from_bytes(token.as_bytes()).ok())
        .filter(|name| name != HOST)
        .collect();
    for name in named {
        headers.remove(name);
    }
}

/// Removes all that fit. Usually none does, so this is made for looking.
fn drop_all(headers: &mut HeaderMap, fits: impl Fn(&HeaderName) -> bool) {
    while let Some(name) = headers.keys().find(|name| fits(name)).cloned() {
        headers.remove(name);
    }
}

/// Beginnings and whole names of headers by which proxies tell where a request came from and what it was; many servers
/// (Jupyter's too, which we have told to trust ours) take them for the truth.
const CLAIM_PREFIXES: [&str; 4] = ["x-forwarded", "x-original-", "x-rewrite-", "x-space-"];
const CLAIMS: [&str; 8] = [
    "forwarded",
    "front-end-https",
    "true-client-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "x-real-ip",
    "x-scheme",
    "x-url-scheme",
];

/// A server that reads `_` as `-` would take these for the length of the body.
const LOOK_ALIKES: [&str; 2] = ["content_length", "transfer_encoding"];

/// Does this say where a client comes from, however spelt? Many servers read `_` as `-`.
fn is_claim(name: &HeaderName) -> bool {
    let dashed = |byte: u8| if byte == b'_' { b'-' } else { byte };
    let begins = |name: &[u8], claim: &str| {
        name.len() >= claim.len() && name.iter().zip(claim.as_bytes()).all(|(found, known)| dashed(*found) == *known)
    };
    if LOOK_ALIKES.contains(&name.as_str()) {
        return true;
    }
    let name = name.as_str().as_bytes();
    // Few names begin so.
    matches!(name.first(), Some(b'x' | b'f' | b't'))
        && (CLAIM_PREFIXES.iter().any(|prefix| begins(name, prefix))
            || CLAIMS.iter().any(|claim| name.len() == claim.len() && begins(name, claim)))
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
    let name = behind(name, b"__secure-").or_else(|| behind(name, b"__host-")).unwrap_or(name);
    behind(name, b"space-").is_some_and(|id| id.len() == 8 && id.iter().all(u8::is_ascii_hexdigit))
}

/// The rest of a text that begins so, in upper or lower case.
fn behind<'a>(text: &'a [u8], begin: &[u8]) -> Option<&'a [u8]> {
    let (found, rest) = text.split_at_checked(begin.len())?;
    found.eq_ignore_ascii_case(begin).then_some(rest)
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
        to_app(&mut headers, &route, &Hop::new("::ffff:127.0.0.1".parse().unwrap(), false));
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
                "te: gzip",
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
                "x-forwarded: for=10.0.0.1",
                "x-real-ip: 10.0.0.1",
                "X_Real_IP: 10.0.0.1",
                "X-Scheme: https",
                "x_scheme: https",
                "x-original-url: /admin",
                "X-Original_Host: evil.example",
                "x-rewrite-url: /admin",
                "x-client-ip: 10.0.0.1",
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
            "nel: {\"report_to\":\"x\",\"max_age\":1}",
            "service-worker-allowed: /",
            "connection: close",
            "content-type: text/plain",
        ]);
        to_browser(&mut headers, &route("default", "/jupyterlab/default/"));
        assert_eq!(
            lines(&headers),
            [
                "content-type: text/plain",
                "set-cookie: _xsrf=2; Path=/jupyterlab/default/",
                "set-cookie: username=alice"
            ]
        );
    }

    fn check_cookie(base_path: &str, before: &str, after: &str) {
        let mut headers = map(&["set-cookie: other=1; Path=/", &format!("set-cookie: {before}")]);
        to_browser(&mut headers, &Route { confined: true, ..route("dashboard", base_path) });
        let expected = [format!("set-cookie: {after}"), format!("set-cookie: other=1; Path={base_path}")];
        let mut lines = lines(&headers);
        lines.sort_by_key(|line| line.contains("other"));
        assert_eq!(lines, expected);
    }

    #[test]
    fn the_cookies_of_any_app_stay_below_its_base_path() {
        for (before, after) in [
            ("a=1", "a=1"),
            ("a=1; Path=/", "a=1; Path=/app/"),
            ("a=/; path = / ; HttpOnly", "a=/; Path=/app/; HttpOnly"),
            ("a=1; Path=/app; Secure", "a=1; Path=/app; Secure"),
            ("a=1; PATH=/app/x", "a=1; PATH=/app/x"),
            ("a=1; Path=/application/", "a=1; Path=/app/"),
            ("a=1; Path=/jupyterlab/default/; Path=/app/", "a=1; Path=/app/; Path=/app/"),
            ("a=1; Path=; Path", "a=1; Path=/app/; Path=/app/"),
            ("a=1; Domain=example.com; Max-Age=5", "a=1; Max-Age=5"),
            ("a=1;domain=.example.com;Path=/", "a=1; Path=/app/"),
            ("a=\"x; Path=/; SameSite=Lax", "a=\"x; Path=/app/; SameSite=Lax"),
        ] {
            check_cookie("/app/", before, after);
        }
        check_cookie("/", "a=1; Path=/x; Domain=b", "a=1; Path=/x");
    }
}
