//! Which requests may speak to this space at all: the rules on Host and Origin, as pure functions.
//!
//! The Host rule stops DNS rebinding: a page on `evil.example` that resolves to 127.0.0.1 sends its own name. The
//! Origin rule stops other pages from acting in a viewer's name: browsers name the page's origin on every WebSocket
//! and every request that changes something, and can't be made to lie. Both compare parsed values for equality.

use crate::model::route::Door;
use std::fmt;

/// A host (lower case, IPv6 in brackets) and the port, if it is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Authority {
    pub(super) host: String,
    pub(super) port: Option<u16>,
}

/// Why a request may not pass. Prints both values that did not fit, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Refused {
    HostMissing,
    HostTwice,
    HostUnreadable(String),
    HostUnknown(String),
    /// `own`: the one that would do.
    OriginMissing {
        own: String,
    },
    OriginTwice,
    OriginForeign {
        origin: String,
        host: String,
    },
}

/// The Host header's value, if a request with it may pass. `loopback`: the door listens on a loopback address.
pub(super) fn host<'a>(
    door: &Door,
    loopback: bool,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<Authority, Refused> {
    let value = values.next().ok_or(Refused::HostMissing)?;
    if values.next().is_some() {
        return Err(Refused::HostTwice);
    }
    let host = text(value).and_then(authority).ok_or_else(|| Refused::HostUnreadable(shown(value)))?;
    let ours = matches!(host.host.as_str(), "localhost" | "127.0.0.1" | "[::1]");
    let named = || door.hosts.iter().filter_map(|known| authority(known)).any(|known| known.covers(&host));
    if loopback && !ours && !named() {
        return Err(Refused::HostUnknown(shown(value)));
    }
    Ok(host)
}

/// May a page of this origin act on the space that it reached as `host`?
pub(super) fn origin<'a>(
    door: &Door,
    host: &Authority,
    mut values: impl Iterator<Item = &'a [u8]>,
) -> Result<(), Refused> {
    let value = values.next().ok_or_else(|| Refused::OriginMissing { own: format!("{}://{host}", scheme(door)) })?;
    if values.next().is_some() {
        return Err(Refused::OriginTwice);
    }
    let foreign = || Refused::OriginForeign { origin: shown(value), host: host.to_string() };
    let written = text(value).ok_or_else(foreign)?;
    let lower = written.to_ascii_lowercase();
    if lower != "null" && door.origins.contains(&lower) {
        return Ok(());
    }
    let (authority, default_port) = page(written).ok_or_else(foreign)?;
    let port = |authority: &Authority| authority.port.unwrap_or(default_port);
    // Without TLS of our own the scheme that the viewer's browser used isn't known: a proxy before us may have ended it.
    let fits = !door.tls || default_port == 443;
    if fits && authority.host == host.host && port(&authority) == port(host) { Ok(()) } else { Err(foreign()) }
}

/// Of the door's own addresses.
fn scheme(door: &Door) -> &'static str {
    if door.tls { "https" } else { "http" }
}

/// An http or https origin as browsers write it: scheme, host, port, nothing after. With the scheme's own port.
fn page(origin: &str) -> Option<(Authority, u16)> {
    let (scheme, rest) = origin.split_once("://")?;
    let default_port = match scheme {
        "http" => 80,
        "https" => 443,
        _ => return None,
    };
    Some((authority(rest)?, default_port))
}

/// Reads `host`, `host:port`, `[v6]` or `[v6]:port`; nothing else (no user, no path, no percent signs).
fn authority(text: &str) -> Option<Authority> {
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (address, port) = rest.split_once(']')?;
            let address: std::net::Ipv6Addr = address.parse().ok()?;
            (format!("[{address}]"), port)
        }
        None => {
            let end = text.find(':').unwrap_or(text.len());
            let (host, port) = text.split_at(end);
            let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            if host.is_empty() || host.len() > 253 || !host.bytes().all(fits) {
                return None;
            }
            (host.to_ascii_lowercase(), port)
        }
    };
    Some(Authority { host, port: if port.is_empty() { None } else { Some(port_number(port.strip_prefix(':')?)?) } })
}

/// One to five digits and nothing else.
pub(super) fn port_number(digits: &str) -> Option<u16> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| digits.parse().ok()).flatten()
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

/// A value as a refusal may show it: at most 80 characters, those that could mean something elsewhere replaced.
fn shown(value: &[u8]) -> String {
    let safe = |byte: &u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'.' | b':' | b'-' | b'_' | b'/' | b'[' | b']' => char::from(*byte),
        _ => '?',
    };
    let mut text: String = value.iter().take(80).map(safe).collect();
    if value.len() > 80 {
        text.push_str("...");
    }
    text
}

impl Authority {
    /// As an entry of `front_door.hosts`: without a port it stands for every port.
    fn covers(&self, host: &Authority) -> bool {
        self.host == host.host && (self.port.is_none() || self.port == host.port)
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.host)?;
        self.port.map_or(Ok(()), |port| write!(f, ":{port}"))
    }
}

impl Refused {
    /// The request is not one of HTTP (RFC 9112, 3.2), rather than one that may not be made here.
    pub(super) fn is_malformed(&self) -> bool {
        matches!(self, Refused::HostMissing | Refused::HostTwice | Refused::HostUnreadable(_))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refused::HostMissing => f.write_str("the request has no Host header: name the space's host in it"),
            Refused::HostTwice => f.write_str("the request has more than one Host header: send one"),
            Refused::HostUnreadable(host) => {
                write!(f, "the Host header \"{host}\" is not a host with or without a port")
            }
            Refused::HostUnknown(host) => write!(
                f,
                "the Host header \"{host}\" is not \"localhost\", \"127.0.0.1\" or \"[::1]\", and this space listens on \
                 a loopback address: use one of these names, or add yours to front_door.hosts"
            ),
            Refused::OriginMissing { own } => write!(
                f,
                "the request has no Origin header, which a WebSocket and every request that changes something need: a \
                 program sends \"Origin: {own}\""
            ),
            Refused::OriginTwice => f.write_str("the request has more than one Origin header: send one"),
            Refused::OriginForeign { origin, host } => write!(
                f,
                "the Origin header \"{origin}\" is not that of the Host header \"{host}\": pages of another origin may \
                 not act on this space, unless front_door.origins names them"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::door;

    fn host_of(value: &str) -> Result<Authority, Refused> {
        let mut door = door();
        door.hosts = vec!["space.example".into(), "pinned.example:8443".into()];
        host(&door, true, [value.as_bytes()].into_iter())
    }

    fn origin_of(value: &str, host: &str) -> Result<(), Refused> {
        let mut door = door();
        door.origins = vec!["https://portal.example".into(), "null".into()];
        origin(&door, &authority(host).unwrap(), [value.as_bytes()].into_iter())
    }

    #[test]
    fn a_loopback_door_answers_to_its_own_names() {
        for good in [
            "localhost",
            "localhost:8888",
            "LocalHost:1",
            "127.0.0.1",
            "127.0.0.1:8888",
            "[::1]",
            "[::1]:8888",
            "[0:0:0:0:0:0:0:1]:8888",
            "space.example",
            "space.example:99",
            "pinned.example:8443",
        ] {
            assert!(host_of(good).is_ok(), "{good}");
        }
    }

    #[test]
    fn a_loopback_door_refuses_look_alikes_of_its_names() {
        for bad in [
            "",
            ":8888",
            "localhost.",
            "localhost.evil.example",
            "evil.localhost",
            "localhost:8888.evil",
            "localhost:",
            "localhost:x",
            "localhost:99999",
            "localhost:+80",
            "localhost@evil",
            "evil@localhost",
            "127.0.0.1.evil",
            "127.0.0.2",
            "127.1",
            "2130706433",
            "0x7f.0.0.1",
            "0.0.0.0",
            "[::]",
            "[::ffff:127.0.0.1]",
            "::1",
            "[::1",
            "[::1]evil",
            "[::1]:",
            "[::1%25lo]",
            "localhost/",
            "localhost#",
            "local host",
            "localhost,evil",
            "pinned.example",
            "pinned.example:8444",
            "xspace.example",
            "space.example.evil",
            "l\u{f6}calhost",
            "evil.example",
            "localhost\\",
            "%6cocalhost",
        ] {
            assert!(host_of(bad).is_err(), "{bad}");
        }
        let two: [&[u8]; 2] = [b"localhost", b"localhost"];
        assert_eq!(host(&door(), true, two.into_iter()), Err(Refused::HostTwice));
        assert_eq!(host(&door(), true, [].into_iter()), Err(Refused::HostMissing));
        assert!(host(&door(), false, [&b"any.example"[..]].into_iter()).is_ok(), "elsewhere the name isn't known");
    }

    #[test]
    fn an_origin_passes_if_it_is_the_hosts_own() {
        for (value, host) in [
            ("http://localhost:8888", "localhost:8888"),
            ("https://localhost:8888", "localhost:8888"),
            ("http://127.0.0.1:8888", "127.0.0.1:8888"),
            ("http://[::1]:8888", "[::1]:8888"),
            ("http://localhost", "localhost"),
            ("http://localhost", "localhost:80"),
            ("https://space.example", "space.example"),
            ("https://space.example", "space.example:443"),
            ("https://portal.example", "localhost:8888"),
            ("HTTPS://Portal.Example", "localhost:8888"),
        ] {
            assert_eq!(origin_of(value, host), Ok(()), "{value} at {host}");
        }
    }

    #[test]
    fn with_tls_of_our_own_the_scheme_counts() {
        let door = Door { tls: true, ..door() };
        let host = authority("localhost:8888").unwrap();
        let check = |value: &str| origin(&door, &host, [value.as_bytes()].into_iter());
        assert_eq!(check("https://localhost:8888"), Ok(()));
        assert!(check("http://localhost:8888").is_err());
        let missing = origin(&door, &host, [].into_iter()).unwrap_err().to_string();
        assert!(missing.contains("\"Origin: https://localhost:8888\""), "{missing}");
    }

    #[test]
    fn an_origin_that_only_looks_like_the_hosts_is_refused() {
        for bad in [
            "",
            "null",
            "NULL",
            "localhost:8888",
            "//localhost:8888",
            "http:localhost:8888",
            "http:/localhost:8888",
            "http://localhost",
            "http://localhost:8889",
            "http://localhost:88888",
            "http://localhost:08888x",
            "http://127.0.0.1:8888",
            "http://localhost.:8888",
            "http://localhost:8888/",
            "http://localhost:8888#",
            "http://localhost:8888?x",
            "http://localhost:8888.evil.example",
            "http://localhost.evil.example:8888",
            "http://evil-localhost:8888",
            "http://evil@localhost:8888",
            "http://localhost:8888@evil.example",
            "http://localhost:8888 http://evil.example",
            "http://localhost:8888, http://evil.example",
            "http://evil.example:8888",
            "ws://localhost:8888",
            "file://",
            "chrome-extension://abc",
            "http://localhost%3a8888",
            "http://localhost\\:8888",
            "http://loc\u{430}lhost:8888",
            "http://[::1]:8888",
            "https://portal.example.evil.example",
            "https://portal.example:444",
            "http://portal.example",
            "https://evilportal.example",
            "https://portal.example/",
            " http://localhost:8888",
        ] {
            assert!(origin_of(bad, "localhost:8888").is_err(), "{bad}");
        }
        let own: [&[u8]; 2] = [b"http://localhost:8888", b"http://localhost:8888"];
        let host = authority("localhost:8888").unwrap();
        assert_eq!(origin(&door(), &host, own.into_iter()), Err(Refused::OriginTwice));
    }

    #[test]
    fn a_refusal_names_both_values_and_reflects_nothing_that_could_be_read_as_code() {
        let text = origin_of("http://evil.example", "localhost:8888").unwrap_err().to_string();
        assert!(text.contains("\"http://evil.example\"") && text.contains("\"localhost:8888\""), "{text}");
        let text = host_of("<script>alert(1)</script>\u{1b}[31m").unwrap_err().to_string();
        assert!(!text.contains(['<', '>', '(', '\u{1b}']), "{text}");
        assert!(host_of(&"a".repeat(5000)).unwrap_err().to_string().len() < 300);
    }
}
