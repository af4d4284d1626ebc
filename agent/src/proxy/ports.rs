//! What the user runs on loopback beside the apps: a development server, a dashboard, a debugger.
//!
//! Three forms, below the door's base path and every app's. `proxy/<port>/` and `ports/<port>/` show the server at its
//! root: it sees paths without them, and its redirects are put below them again. `proxy/absolute/<port>/` is for servers
//! that know their base path: they see paths whole. Whoever answers must have the user's uid, which
//! [`upstream`](super::upstream) asks the kernel about each connection before a byte goes over it.
//!
//! Development servers answer to `localhost` only, so as not to be reached by names that somebody has pointed at them.
//! The door has looked at Host and Origin already; so a server hears its own name in both, and the viewer's in
//! X-Forwarded-Host.

use super::admit;
use super::answer::{self, Body};
use super::fault::{Fault, Side};
use super::route::Destination;
use crate::model::route::{Door, Opens, Route, Upstream};
use crate::model::traffic::Rules;
use hyper::header::{HOST, HeaderMap, HeaderValue, LOCATION, ORIGIN};
use hyper::{Response, StatusCode};

/// The first that programs without rights may listen on.
const LOWEST: u16 = 1024;

pub(super) const NO_PORT: &str =
    "after proxy/, proxy/absolute/ and ports/ comes a port in digits, from 1024 to 65535, and a slash: proxy/8501/";

/// A path that leads to a port.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct PortPath {
    /// Of the request's path: up to the slash behind the port.
    pub(super) prefix: String,
    pub(super) port: u16,
    /// The server sees the path as it came.
    pub(super) absolute: bool,
}

/// `None`: the path is not below `proxy/` or `ports/` of this base path.
pub(super) fn lead(base: &str, path: &str) -> Option<Destination<'static>> {
    let rest = path.strip_prefix(base)?;
    let proxied = rest.strip_prefix("proxy/");
    let absolute = proxied.and_then(|rest| rest.strip_prefix("absolute/"));
    let rest = absolute.or(proxied).or_else(|| rest.strip_prefix("ports/"))?;
    let digits = rest.split('/').next().unwrap_or(rest);
    let Some(port) = number(digits) else { return Some(Destination::NoPort) };
    let end = path.len() - rest.len() + digits.len();
    Some(match path.get(..=end) {
        Some(prefix) => Destination::Port(PortPath { prefix: prefix.to_owned(), port, absolute: absolute.is_some() }),
        None => Destination::Moved(format!("{path}/")),
    })
}

fn number(digits: &str) -> Option<u16> {
    admit::port_number(digits).filter(|port| *port >= LOWEST)
}

/// What is said to who asks for the front door's own port.
pub(super) fn own(port: u16) -> String {
    format!("port {port} is the space's own front door: name the port of your server")
}

impl PortPath {
    pub(super) fn route(self, door: &Door) -> Route {
        Route {
            app: String::new(),
            label: String::new(),
            base_path: self.prefix,
            strip_base_path: !self.absolute,
            upstream: Upstream::Port(self.port),
            uid: door.ports.uid,
            confined: true,
            rules: &Rules::UNKNOWN,
            traffic: door.ports.traffic.clone(),
            opens: Opens::Nothing,
            port: Some(self.port),
            state: door.ports.state,
        }
    }
}

/// The server hears its own name in Host; and in Origin, if that is the door's own.
pub(super) fn speak_locally(headers: &mut HeaderMap, port: u16) {
    let Ok(local) = HeaderValue::from_str(&format!("http://localhost:{port}")) else { return };
    let host = HeaderValue::from_bytes(&local.as_bytes()["http://".len()..]);
    let before = host.ok().and_then(|host| headers.insert(HOST, host));
    let (Some(before), Some(origin)) = (before, headers.get_mut(ORIGIN)) else { return };
    let authority = |origin: &[u8]| origin.windows(3).position(|part| part == b"://").map(|at| at + 3);
    if authority(origin.as_bytes()).is_some_and(|at| origin.as_bytes()[at..].eq_ignore_ascii_case(before.as_bytes())) {
        *origin = local;
    }
}

/// A redirect to the server itself is one to its place at this door. Others are its own affair.
pub(super) fn relocate(headers: &mut HeaderMap, route: &Route, port: u16) {
    let placed = |to: &HeaderValue| HeaderValue::from_bytes(&place(to.as_bytes(), route, port)?).ok();
    if let Some(to) = headers.get(LOCATION).and_then(placed) {
        headers.insert(LOCATION, to);
    }
}

/// `None`: as it is.
fn place(to: &[u8], route: &Route, port: u16) -> Option<Vec<u8>> {
    let local = path_of_local(to, port);
    let path = local.unwrap_or(to);
    // Two slashes begin another host, in any of the ways in which browsers write them.
    let is_path = path.first() == Some(&b'/') && (local.is_some() || !matches!(path.get(1), Some(b'/' | b'\\')));
    if !is_path || path.starts_with(route.base_path.as_bytes()) {
        return local.filter(|_| is_path).map(<[u8]>::to_vec);
    }
    match route.strip_base_path {
        true => Some([route.base_path.trim_end_matches('/').as_bytes(), path].concat()),
        // Of a server that knows its base path: a place of this door, which no redirect of ours leaves.
        false => local.filter(|path| !matches!(path.get(1), Some(b'/' | b'\\'))).map(<[u8]>::to_vec),
    }
}

/// Of `http://localhost:<port>/path`, by any of its names, the path.
fn path_of_local(to: &[u8], port: u16) -> Option<&[u8]> {
    let rest = to.strip_prefix(b"http://")?;
    let names = ["localhost", "127.0.0.1", "[::1]", "0.0.0.0"];
    let rest = names.iter().find_map(|name| rest.strip_prefix(name.as_bytes()))?;
    let rest = rest.strip_prefix(b":")?.strip_prefix(port.to_string().as_bytes())?;
    match rest.first() {
        None => Some(b"/"),
        Some(b'/') => Some(rest),
        Some(_) => None,
    }
}

/// Nothing came from the port.
pub(super) fn no_answer(port: u16, fault: &Fault) -> Response<Body> {
    match fault {
        Fault::Stranger { uid, expected, .. } => answer::text(
            StatusCode::FORBIDDEN,
            &format!(
                "port {port} belongs to uid {uid}, and only what the space's user (uid {expected}) runs can be seen here"
            ),
        ),
        fault if fault.side() == Side::Absent => answer::later(&format!(
            "nothing listens on port {port}: start your server there, on 127.0.0.1 or localhost, and load this again"
        )),
        fault => answer::text(
            fault.verdict(false).status,
            &format!("what listens on port {port} does not answer: {fault}; look at what your server prints"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::route;

    #[test]
    fn only_a_port_in_plain_digits_is_one() {
        for (digits, port) in [("1024", 1024), ("8501", 8501), ("65535", 65535), ("08501", 8501)] {
            assert_eq!(number(digits), Some(port), "{digits}");
        }
        for bad in [
            "",
            "0",
            "80",
            "1023",
            "65536",
            "99999",
            "008501",
            "8080@evil",
            "8080%40evil",
            "8080.evil",
            "8080:80",
            "[::1]",
            "[::1]:8080",
            "localhost",
            "127.0.0.1:8080",
            "+8080",
            "-8080",
            " 8080",
            "8080 ",
            "8_080",
            "0x1f90",
            "8080%00",
            "8080;",
            "8080,",
            "8e3",
            "\u{0668}\u{0660}\u{0668}\u{0660}",
            "\u{ff18}\u{ff10}\u{ff18}\u{ff10}",
            "8080\\",
            "8080#",
            "8080?",
            "%38080",
            "absolute",
            "..",
            "evil",
        ] {
            assert_eq!(number(bad), None, "{bad:?}");
            let path = format!("/proxy/{bad}/x");
            assert_eq!(lead("/", &path), Some(Destination::NoPort), "{path}");
        }
    }

    fn port_route(strip: bool) -> Route {
        Route { strip_base_path: strip, port: Some(8501), ..route("", "/b/proxy/8501/") }
    }

    fn check(strip: bool, table: &[(&str, &str)]) {
        for (before, after) in table {
            let mut headers = HeaderMap::new();
            headers.insert(LOCATION, HeaderValue::from_str(before).unwrap());
            relocate(&mut headers, &port_route(strip), 8501);
            assert_eq!(headers[LOCATION], *after, "{before}");
        }
    }

    #[test]
    fn a_servers_redirect_to_itself_stays_below_its_port() {
        check(
            true,
            &[
                ("/login?next=/a", "/b/proxy/8501/login?next=/a"),
                ("/", "/b/proxy/8501/"),
                ("/b/proxy/8501/x", "/b/proxy/8501/x"),
                ("http://localhost:8501/x?y", "/b/proxy/8501/x?y"),
                ("http://127.0.0.1:8501", "/b/proxy/8501/"),
                ("http://localhost:8501//evil", "/b/proxy/8501//evil"),
                ("http://localhost:8501/\\evil", "/b/proxy/8501/\\evil"),
                ("login", "login"),
                ("../x", "../x"),
                ("?a=b", "?a=b"),
                ("//evil.example/", "//evil.example/"),
                ("https://example.org/oauth", "https://example.org/oauth"),
                ("http://localhost:8501.evil/", "http://localhost:8501.evil/"),
                ("http://localhost:85010/", "http://localhost:85010/"),
                ("http://localhost:8501@evil/", "http://localhost:8501@evil/"),
                ("http://localhost:9000/x", "http://localhost:9000/x"),
            ],
        );
    }

    #[test]
    fn a_server_that_knows_its_base_path_is_believed() {
        check(
            false,
            &[
                ("/login", "/login"),
                ("/b/proxy/8501/x", "/b/proxy/8501/x"),
                ("http://localhost:8501/b/proxy/8501/x", "/b/proxy/8501/x"),
                ("http://localhost:8501/x", "/x"),
                ("http://localhost:8501//evil", "http://localhost:8501//evil"),
                ("http://localhost:8501/\\evil", "http://localhost:8501/\\evil"),
            ],
        );
    }

    #[test]
    fn a_server_hears_its_own_name_and_foreign_origins_as_they_are() {
        for (origin, heard) in [
            ("http://space.example:8888", "http://localhost:8501"),
            ("https://space.example:8888", "http://localhost:8501"),
            ("https://portal.example", "https://portal.example"),
            ("null", "null"),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(HOST, HeaderValue::from_static("space.example:8888"));
            headers.insert(ORIGIN, HeaderValue::from_str(origin).unwrap());
            speak_locally(&mut headers, 8501);
            assert_eq!(
                (&headers[HOST], &headers[ORIGIN]),
                (&"localhost:8501".parse().unwrap(), &heard.parse().unwrap())
            );
        }
    }
}
