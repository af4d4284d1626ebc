//! What the front door does with bytes of strangers, as functions that a fuzzer can call (`tests/fuzz`): each takes any
//! bytes and panics when what must hold for all of them doesn't. The unit tests below throw some at them as well.

use super::flow::ROOM;
use super::frames::Frames;
use super::framing::{Refusal, Scan};
use super::keys::Keys;
use super::observer::Observer;
use super::reply::Heads;
use super::route::{self, Destination};
use super::{admit, headers, link, own, session};
use crate::model::now::Timestamp;
use crate::model::route::{Door, Opens, Ports, Route, RouteState, Upstream};
use crate::model::traffic::{Class, Rules, Speech};
use bytes::{Bytes, BytesMut};
use http_body_util::{BodyExt, Empty};
use hyper::body::Incoming;
use hyper::header::{
    AUTHORIZATION, CONNECTION, COOKIE, HeaderMap, HeaderName, HeaderValue, SET_COOKIE, TRANSFER_ENCODING,
};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, client, server};
use hyper_util::rt::TokioIo;
use space_lifecycle::SignIn;
use std::cell::Cell;
use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const NOW: Timestamp = Timestamp(1_795_168_800_000);

fn route(app: &str, base_path: &str, strip_base_path: bool) -> Route {
    Route {
        app: app.to_owned(),
        label: app.to_owned(),
        base_path: base_path.to_owned(),
        strip_base_path,
        upstream: Upstream::Unix("/nonexistent".into()),
        uid: 0,
        confined: true,
        rules: &Rules::UNKNOWN,
        traffic: Arc::default(),
        opens: Opens::Folder,
        port: None,
        state: RouteState::Ready,
    }
}

fn door() -> Door {
    Door {
        space_id: "0123abcd".to_owned(),
        space: "fuzz".to_owned(),
        base_path: "/base/".to_owned(),
        sign_in: SignIn::Token,
        hosts: vec!["space.example".to_owned(), "pinned.example:8443".to_owned()],
        origins: vec!["https://portal.example".to_owned()],
        tls: false,
        routes: vec![route("a", "/base/a/", false), route("b", "/base/b/", true)],
        ports: Ports { uid: 0, traffic: Arc::default(), state: RouteState::Ready },
    }
}

/// `Host` and `Origin`: the two halves of `data` around its first line feed.
pub fn host_and_origin(data: &[u8]) {
    let (host, origin) = halves(data);
    let door = door();
    let Ok(found) = admit::host(&door, true, [host].into_iter()) else { return };
    let named = ["localhost", "127.0.0.1", "[::1]", "space.example", "pinned.example"];
    assert!(named.contains(&found.host.as_str()), "{found} is no name of this space");
    assert!(!host.iter().any(|byte| b"@/\\%# ".contains(byte)), "{found} was read out of something else");
    if admit::origin(&door, &found, [origin].into_iter()).is_ok() {
        let origin = String::from_utf8_lossy(origin).to_ascii_lowercase();
        let rest = origin.strip_prefix("http://").or(origin.strip_prefix("https://")).expect("a page's origin");
        assert!(!rest.contains(['/', '@', '\\', '?', '#', '%', ' ', ',']), "{origin} is no origin");
        assert!(
            rest.starts_with(&found.host) || rest == "portal.example" || found.host == "[::1]",
            "{origin}, {found}"
        );
    }
}

/// A path: where it leads, what the app is asked for, and whether a browser may be sent there.
pub fn paths(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let door = door();
    let path = format!("/{text}");
    match route::lead(&door, path.split('?').next().unwrap_or("")) {
        Destination::App(route) => {
            let target = route::upstream_target(route, &path);
            assert!(target.starts_with('/') && path.ends_with(target.trim_start_matches('/')), "{path} -> {target}");
        }
        Destination::Moved(to) => assert!(to.starts_with('/') && !to.starts_with("//"), "{path} -> {to}"),
        Destination::Port(port) => {
            assert!(port.port >= 1024 && path.starts_with(&port.prefix), "{path} -> {port:?}");
            let digits = port.prefix.trim_end_matches('/').rsplit('/').next().unwrap_or("");
            assert!(digits.len() <= 5 && digits.bytes().all(|byte| byte.is_ascii_digit()), "{path} -> {port:?}");
        }
        _ => {}
    }
    if let Some(to) = route::opened(&door, "/home/alice", text) {
        assert!(to.starts_with('/') && !to.starts_with("//"), "opened {text} at {to}");
    }
    for to in [text, &path] {
        if let Some(to) = route::landing(&door, to) {
            assert!(to.starts_with("/base/") && !to.contains('\\') && to.is_ascii(), "sent to {to}");
        }
    }
}

/// Cookies of somebody who has none of ours, and a link of somebody who was given none.
pub fn credentials(data: &[u8]) {
    let (keys, door) = (Keys::new([7; 32]), door());
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(COOKIE, value);
        }
    }
    assert_eq!(session::find(&keys, &door, &headers, NOW), None, "a session out of nothing");
    if let Ok(text) = std::str::from_utf8(data) {
        assert!(link::read(&keys, text, NOW).is_err(), "a link out of nothing");
        // What is beside a good one changes nothing, except that two sessions are none.
        let good = session::sign_in(&keys, &door, NOW);
        let good = good.split(';').next().unwrap_or_default();
        let beside = HeaderValue::from_str(&format!("{}; {good}", text.trim_matches(';'))).map(|value| (COOKIE, value));
        let found = beside.ok().and_then(|pair| session::find(&keys, &door, &HeaderMap::from_iter([pair]), NOW));
        assert!(found.is_none_or(|found| found.expires > Some(NOW)));
    }
}

/// A form's body.
pub fn forms(data: &[u8]) {
    assert!(own::decoded(data).len() <= data.len() * 3, "a form is not longer than what was sent");
    let form = own::form(data);
    assert!(form.len() <= data.split(|byte| *byte == b'&').count());
}

/// A head on its way to an app and one on its way back: a line each, as `name: value`.
pub fn heads(data: &[u8]) {
    let (headers, hop) = (head(data), headers::Hop::new(IpAddr::V4(Ipv4Addr::LOCALHOST), false));
    for strip in [false, true] {
        let route = route("a", "/base/a/", strip);
        let mut sent = headers.clone();
        headers::to_app(&mut sent, &route, &hop);
        assert!(!sent.contains_key(AUTHORIZATION) && !sent.contains_key(CONNECTION));
        for cookie in sent.get_all(COOKIE) {
            let text = String::from_utf8_lossy(cookie.as_bytes()).to_ascii_lowercase();
            let ours = |pair: &str| pair.trim().starts_with("space-0123abcd=");
            assert!(!text.split(';').any(ours), "our cookie went to an app: {text}");
        }
        let mut again = sent.clone();
        headers::to_app(&mut again, &route, &hop);
        assert_eq!(again, sent, "the same head once more is the same");
        let mut back = headers.clone();
        headers::to_browser(&mut back, &route);
        for cookie in back.get_all(SET_COOKIE) {
            let text = String::from_utf8_lossy(cookie.as_bytes()).to_ascii_lowercase();
            assert!(!text.starts_with("space-0123abcd="), "an app set our cookie: {text}");
            let wide = |attribute: &str| attribute.trim().starts_with("domain=") || attribute.trim() == "path=/";
            assert!(!text.split(';').skip(1).any(wide), "a cookie for the whole origin: {text}");
        }
    }
}

/// The bytes of a connection: however they are cut, the same request is refused. And hyper, which reads what has passed, finds
/// no request in it that was not found before.
pub fn framing(data: &[u8]) {
    let (cut, bytes) = data.split_first().map_or((1, data), |(first, rest)| (usize::from(*first).max(1), rest));
    let whole = scanned(bytes, bytes.len().max(1));
    let cut_up = scanned(bytes, cut);
    assert_eq!(whole.refused, cut_up.refused);
    match whole.refused {
        None => assert_eq!((whole.passed, whole.requests), (cut_up.passed, cut_up.requests)),
        // What came together with the mistake does not pass either.
        Some(_) => assert!(whole.passed <= cut_up.passed && whole.requests <= cut_up.requests),
    }
    let found = hyper_finds(&bytes[..cut_up.passed]);
    assert!(found <= cut_up.requests, "hyper has found {found} requests in {}", bytes[..cut_up.passed].escape_ascii());
}

/// What has become of some bytes.
#[derive(Debug, Default)]
struct Scanned {
    passed: usize,
    /// Heads that have passed.
    requests: u32,
    refused: Option<Refusal>,
}

/// As `watched` does it: what has not passed is shown again, with what has come since.
fn scanned(bytes: &[u8], cut: usize) -> Scanned {
    let (mut scan, mut scanned, mut there) = (Scan::default(), Scanned::default(), 0);
    while there < bytes.len() {
        there = (there + cut).min(bytes.len());
        while scanned.passed < there {
            let at_head = scan.is_at_head();
            match scan.pass(&bytes[scanned.passed..there]) {
                Ok(0) => break,
                Ok(passed) => {
                    scanned.passed += passed;
                    scanned.requests += u32::from(at_head);
                    assert!(scanned.passed <= there, "more has passed than there is");
                }
                Err(refused) => {
                    scanned.refused = Some(refused);
                    return scanned;
                }
            }
        }
    }
    scanned
}

/// How many requests hyper reads, with their bodies, out of a connection that says this.
fn hyper_finds(bytes: &[u8]) -> u32 {
    let count = Cell::new(0);
    let service = service_fn(|request: Request<Incoming>| {
        count.set(count.get() + 1);
        async move {
            let _ = request.into_body().collect().await;
            Ok::<_, Infallible>(Response::new(Empty::<Bytes>::new()))
        }
    });
    block_on(async {
        let mut builder = server::conn::http1::Builder::new();
        builder.half_close(true).max_buf_size(super::MAX_BUFFER);
        let io = tokio::io::join(bytes, tokio::io::sink());
        let _ = builder.serve_connection(TokioIo::new(io), service).await;
    });
    count.get()
}

fn block_on<T>(what: impl Future<Output = T>) -> T {
    thread_local! {
        static RUNTIME: Option<tokio::runtime::Runtime> = tokio::runtime::Builder::new_current_thread().build().ok();
    }
    RUNTIME.with(|runtime| runtime.as_ref().expect("a runtime without I/O needs nothing").block_on(what))
}

/// What an app says after a request: however it is cut, the answer is the same. And where we read one, hyper reads no
/// other. It may well read one where we refuse.
pub fn answers(data: &[u8]) {
    let (first, bytes) = data.split_first().map_or((1, data), |(first, rest)| (*first, rest));
    let (is_head, cut) = (first & 0x80 != 0, usize::from(first & 0x7f).max(1));
    let whole = answered(bytes, bytes.len().max(1), is_head);
    assert_eq!(answered(bytes, cut, is_head), whole);
    let Answered { answer: Some(ours), end: Some(_) } = whole else { return };
    let mut theirs = hyper_reads(bytes, is_head);
    if ends_with_nothing(&ours.headers) {
        theirs = theirs.map(|head| Answer { body: ours.body.clone(), trailers: ours.trailers.clone(), ..head });
    }
    assert_eq!(theirs, Some(ours), "{}", bytes.escape_ascii());
}

/// A member of a list that has nothing in it is to be ignored (RFC 9110, 5.6.1.2). For hyper it is a coding like others:
/// where it is the last, chunks are data.
fn ends_with_nothing(headers: &HeaderMap) -> bool {
    let codings = headers.get_all(TRANSFER_ENCODING).iter().next_back().map(HeaderValue::as_bytes);
    codings.and_then(|codings| codings.rsplit(|byte| *byte == b',').next()).is_some_and(|last| last.trim_ascii() == b"")
}

/// An answer as somebody has read it.
#[derive(Debug, PartialEq)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: Vec<u8>,
    trailers: Option<HeaderMap>,
}

/// What has become of some bytes.
#[derive(Debug, Default, PartialEq)]
struct Answered {
    /// As far as it was read.
    answer: Option<Answer>,
    /// How many bytes there are up to its end, and whether the connection goes on.
    end: Option<(usize, bool)>,
}

/// As `upstream` does it.
fn answered(bytes: &[u8], cut: usize, is_head: bool) -> Answered {
    let (mut pieces, mut read, mut inbox) = (bytes.chunks(cut), 0, BytesMut::new());
    let mut more = |inbox: &mut BytesMut| {
        let piece = pieces.next();
        inbox.extend_from_slice(piece.unwrap_or_default());
        read += piece.unwrap_or_default().len();
        piece.is_some()
    };
    let (mut heads, mut room) = (Heads::default(), HeaderMap::new());
    let mut head = loop {
        if !more(&mut inbox) {
            return Answered::default();
        }
        match heads.read(&mut inbox, is_head, &mut room) {
            Ok(Some(head)) => break head,
            Ok(None) => {}
            Err(_) => return Answered::default(),
        }
    };
    let (mut body, mut trailers) = (Vec::new(), None);
    let is_whole = loop {
        match head.extent.read(&mut inbox) {
            Ok(Some(frame)) => match frame.into_data() {
                Ok(data) => body.extend_from_slice(&data),
                Err(frame) => trailers = frame.into_trailers().ok(),
            },
            Ok(None) if head.extent.is_over() => break true,
            Ok(None) if more(&mut inbox) => {}
            Ok(None) => break head.extent.ends(),
            Err(_) => break false,
        }
    };
    let answer = Answer { status: head.status, headers: head.headers, body, trailers };
    Answered { answer: Some(answer), end: is_whole.then(|| (read - inbox.len(), head.goes_on)) }
}

/// What hyper reads from an app that says this and ends the connection.
fn hyper_reads(bytes: &[u8], is_head: bool) -> Option<Answer> {
    let mut request = Request::new(Empty::<Bytes>::new());
    *request.method_mut() = if is_head { Method::HEAD } else { Method::GET };
    let (io, mut app) = tokio::io::duplex(bytes.len().max(1024));
    let app = async {
        // Before the request there is nothing to answer.
        let _ = app.read(&mut [0; 1024]).await;
        let _ = app.write_all(bytes).await;
        let _ = app.shutdown().await;
    };
    let mut builder = client::conn::http1::Builder::new();
    builder.max_headers(100).max_header_size(64 * 1024);
    block_on(async {
        let (mut sender, connection) = builder.handshake(TokioIo::new(io)).await.ok()?;
        let answer = async {
            let (head, body) = sender.send_request(request).await.ok()?.into_parts();
            let body = body.collect().await.ok()?;
            let trailers = body.trailers().cloned();
            Some(Answer { status: head.status, headers: head.headers, body: body.to_bytes().to_vec(), trailers })
        };
        tokio::join!(connection, app, answer).2
    })
}

/// A stream of WebSocket frames: wherever it is cut, it is followed to the same place, the same messages are counted,
/// and what goes on to the app is all of it, but for the answers to our own pings.
pub fn websocket_frames(data: &[u8]) {
    let (&[cut, how], bytes) = data.split_first_chunk().unwrap_or((&[0, 0], data));
    let whole = observed(bytes, bytes.len().max(1), how);
    assert_eq!(observed(bytes, usize::from(cut).max(1), how), whole);
    if how & 1 == 0 {
        assert!(whole.passed == bytes, "without a ping of ours every byte goes on");
    }
    let (mut app, mut cut_up) = (Frames::of_app(), Frames::of_app());
    app.passed(bytes);
    bytes.chunks(usize::from(cut).max(1)).for_each(|piece| cut_up.passed(piece));
    let seen = |frames: &Frames| (frames.is_between(), frames.is_open(), frames.closed());
    assert_eq!(seen(&app), seen(&cut_up));
    let gap = Frames::of_app().pass_to_gap(bytes);
    assert!(gap.is_none_or(|gap| (1..=bytes.len()).contains(&gap)));
}

/// What goes on to the app, the classes that were counted, and where the stream stands.
#[derive(Debug, PartialEq)]
struct Observed {
    passed: Vec<u8>,
    classes: Vec<Class>,
    between: bool,
    closed: Option<u16>,
}

fn observed(bytes: &[u8], cut: usize, how: u8) -> Observed {
    let speech =
        [None, Some(Speech::JupyterKernel), Some(Speech::JupyterTerminal), Some(Speech::VsCode), Some(Speech::Any)];
    let mut observer = Observer::new(speech[usize::from(how >> 1) % speech.len()]);
    if how & 1 == 1 {
        observer.expect(b"space-agent!");
    }
    let (mut passed, mut classes) = (Vec::new(), Vec::new());
    for piece in bytes.chunks(cut) {
        let mut buffer = [&[0; ROOM], piece].concat();
        let went = observer.pass(&mut buffer, |class| classes.push(class));
        passed.extend_from_slice(&buffer[went]);
    }
    let between = observer.is_between();
    passed.extend_from_slice(observer.last());
    Observed { passed, classes, between, closed: observer.frames.closed() }
}

fn halves(data: &[u8]) -> (&[u8], &[u8]) {
    let end = data.iter().position(|byte| *byte == b'\n').unwrap_or(data.len());
    (&data[..end], data.get(end + 1..).unwrap_or(b""))
}

fn head(data: &[u8]) -> HeaderMap {
    let mut headers = HeaderMap::new();
    for line in data.split(|byte| *byte == b'\n').take(200) {
        let end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        let value = HeaderValue::from_bytes(line.get(end + 1..).unwrap_or(b"").trim_ascii());
        if let (Ok(name), Ok(value)) = (HeaderName::from_bytes(&line[..end]), value) {
            headers.append(name, value);
        }
    }
    headers
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Pieces that mean something to one of the parsers, in any order, and bytes between them.
    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        let words = proptest::sample::select(
            &[
                "localhost",
                "127.0.0.1",
                "[::1]",
                ":8443",
                "http://",
                "https://",
                "\n",
                "/",
                "//",
                "\\",
                "..",
                "%2f",
                "base/a/",
                "base/b/",
                "_space/",
                "proxy/",
                "absolute/",
                "ports/",
                "8501",
                "65536",
                "٣",
                "?",
                "#",
                "@",
                "space-0123abcd",
                "__Host-",
                "=",
                ";",
                " ",
                ".",
                "cookie:",
                "set-cookie:",
                "connection:",
                "Path=",
                "Domain=",
                "authorization:",
                ",",
                "&",
                "+",
                "%",
                "zz",
                "\u{81}",
                "\u{7f}",
                "GET ",
                " HTTP/1.1\r\n",
                "Content-Length: 3\r\n",
                "Transfer-Encoding: chunked\r\n",
                "\r\n",
                "0\r\n",
                "ffffffff",
            ][..],
        );
        let word = words.prop_map(|word| word.as_bytes().to_vec());
        let any = proptest::collection::vec(any::<u8>(), 0..6);
        proptest::collection::vec(prop_oneof![4 => word, 1 => any], 0..24).prop_map(|pieces| pieces.concat())
    }

    /// What looks like answers, with a first byte that says how they are cut.
    fn answers_of_apps() -> impl Strategy<Value = Vec<u8>> {
        let (firsts, lines, bodies) = (
            &["", "\r\n", "HTTP/1.1 103 \r\nLink: a\r\n\r\n", "HTTP/1.0 100\n\n"],
            &[
                "Content-Length: 3\r\n",
                "content-length:3,  3\r\n",
                "Content-Length: 4\n",
                "Content-Length: 03,\r\n",
                "Content-Length: +3\r\n",
                "Transfer-Encoding: chunked\r\n",
                "Transfer-Encoding: gzip, Chunked \r\n",
                "transfer-encoding: chunked,\r\n",
                "Transfer-Encoding: , \r\n",
                "Transfer-Encoding: \u{e9}\r\n",
                "Transfer-Encoding: chunked;a\r\n",
                "Connection: close\r\n",
                "Connection: keep-alive\r\n",
                "Trailer: a\r\n",
                "a:\r\n",
                "A: \t b \u{81} \r\n",
                " folded\r\n",
                "a : b\r\n",
                "\r\n",
            ],
            &[
                "3\r\n",
                "3;a=\"b\"\r\n",
                "03 \t\r\n",
                "3 ; a\r\n",
                "3\n",
                "abc",
                "abc\r\n",
                "0\r\n",
                "0 ;\r\n",
                "\r\n",
                "\n",
                "a: b\r\n",
                "A:\r\n",
                "a:\u{e9}\t\r\n",
                "a : b\r\n",
                ": b\r\n",
                "ffffffffffffffff\r\n",
                "HTTP/1.1 200 OK\r\n\r\n",
            ],
        );
        let some = |words: &'static [&'static str], most| {
            proptest::collection::vec(proptest::sample::select(words), 0..most).prop_map(|words| words.concat())
        };
        let status = proptest::sample::select(&[200, 200, 200, 204, 304, 101, 404, 99, 999][..]);
        let line = (0..=1, status).prop_map(|(version, status)| format!("HTTP/1.{version} {status} OK\r\n"));
        (any::<u8>(), some(firsts, 3), line, some(lines, 4), some(bodies, 10)).prop_map(
            |(first, before, line, lines, body)| {
                [&[first], before.as_bytes(), line.as_bytes(), lines.as_bytes(), b"\r\n", body.as_bytes()].concat()
            },
        )
    }

    #[test]
    fn seeds_hold() {
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 8] = [
            ("host_and_origin", host_and_origin),
            ("paths", paths),
            ("credentials", credentials),
            ("forms", forms),
            ("heads", heads),
            ("framing", framing),
            ("answers", answers),
            ("websocket_frames", websocket_frames),
        ];
        for (name, target) in targets {
            let seeds = format!("{}/../tests/fuzz/seeds/{name}", env!("CARGO_MANIFEST_DIR"));
            for seed in std::fs::read_dir(seeds).expect("seeds") {
                target(&std::fs::read(seed.expect("a seed").path()).expect("a file"));
            }
        }
    }

    proptest! {
        #[test]
        fn an_answer_is_read_in_one_way(data in answers_of_apps()) {
            answers(&data);
        }

        #[test]
        fn nothing_that_a_stranger_sends_breaks_what_must_hold(data in bytes()) {
            host_and_origin(&data);
            paths(&data);
            credentials(&data);
            forms(&data);
            heads(&data);
            framing(&data);
            websocket_frames(&data);
        }
    }
}
