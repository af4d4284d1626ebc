//! The access log: a line for each request once its answer has ended, in the combined format with the app and the
//! seconds behind it, or as a JSON object.
//!
//! Of a query nothing is written, for it may hold a token, of a header at most [`FIELD`] bytes. The lines go over a
//! bounded channel to whoever writes them (the hall's), and none of it waits: what finds the channel full is counted and
//! lost.

use super::answer::{self, Body, BoxError};
use super::route::{self, Destination};
use crate::model::now::Now;
use crate::model::route::Door;
use crate::model::traffic::PORTS;
use bytes::Bytes;
use hyper::body::{Body as HttpBody, Frame, Incoming, SizeHint};
use hyper::header::{HeaderName, REFERER, USER_AGENT};
use hyper::{Request, Response};
use serde::Serialize;
use std::fmt::Write;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The longest field of a line, in bytes.
const FIELD: usize = 256;
const MONTHS: [&str; 12] = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

/// Where the lines go. A cheap clone.
#[derive(Debug, Clone)]
pub struct AccessLog {
    pub lines: mpsc::Sender<String>,
    /// Lines that found no room.
    pub lost: Arc<AtomicU64>,
    pub json: bool,
}

/// A request that is being answered.
#[derive(Debug)]
pub(super) struct Entry {
    log: AccessLog,
    now: fn() -> Now,
    began: Now,
    line: Line,
}

/// What is told of one request.
#[derive(Debug, Serialize)]
struct Line {
    time: String,
    client: String,
    method: String,
    path: String,
    protocol: &'static str,
    status: u16,
    bytes: u64,
    referer: String,
    agent: String,
    app: String,
    seconds: f64,
}

impl AccessLog {
    pub(super) fn begin(&self, door: &Door, request: &Request<Incoming>, peer: IpAddr, now: fn() -> Now) -> Entry {
        let header = |name: HeaderName| request.headers().get(name).map_or(&b""[..], |value| value.as_bytes());
        let path = request.uri().path();
        let app = match route::lead(door, path) {
            Destination::App(route) => route.app.clone(),
            Destination::Port(_) => PORTS.to_owned(),
            _ => String::new(),
        };
        let began = now();
        let line = Line {
            time: String::new(),
            client: peer.to_canonical().to_string(),
            method: field(request.method().as_str().as_bytes()),
            path: field(path.as_bytes()),
            protocol: match request.version() {
                hyper::Version::HTTP_10 => "HTTP/1.0",
                _ => "HTTP/1.1",
            },
            status: 0,
            bytes: 0,
            referer: field(header(REFERER).split(|byte| matches!(byte, b'?' | b'#')).next().unwrap_or(b"")),
            agent: field(header(USER_AGENT)),
            app,
            seconds: 0.0,
        };
        Entry { log: self.clone(), now, began, line }
    }
}

impl Entry {
    /// The line is written when the answer's body has ended, or nobody wants it any more.
    pub(super) fn answered(mut self, response: Response<Body>) -> Response<Body> {
        self.line.status = response.status().as_u16();
        response.map(|body| answer::boxed(Logged { body, entry: Some(self) }))
    }

    fn write(mut self) {
        let took = (self.now)().monotonic.since(self.began.monotonic);
        self.line.seconds = took.as_secs_f64();
        let time = self.began.wall.to_string();
        let line = match self.log.json {
            true => {
                self.line.time = time;
                serde_json::to_string(&self.line).unwrap_or_default()
            }
            false => self.line.combined(&time),
        };
        if self.log.lines.try_send(line + "\n").is_err() {
            self.log.lost.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Line {
    /// `time`: as RFC 3339 writes it.
    fn combined(&self, time: &str) -> String {
        let or_dash = |text: &str| if text.is_empty() { "-".to_owned() } else { text.to_owned() };
        let Line { client, method, path, protocol, status, bytes, seconds, .. } = self;
        let (referer, agent, app) = (or_dash(&self.referer), or_dash(&self.agent), or_dash(&self.app));
        let mut line = String::with_capacity(256);
        // To a text nothing can fail.
        let _ = write!(
            line,
            "{client} - - [{}] \"{method} {path} {protocol}\" {status} {bytes} \"{referer}\" \"{agent}\" {app} {seconds:.3}",
            common_time(time)
        );
        line
    }
}

/// `2026-11-20T10:00:00.123Z` as `20/Nov/2026:10:00:00 +0000`.
fn common_time(time: &str) -> String {
    let part = |from: usize, to: usize| time.get(from..to).unwrap_or("");
    let month = part(5, 7).parse::<usize>().ok().and_then(|month| MONTHS.get(month.checked_sub(1)?)).unwrap_or(&"");
    format!("{}/{month}/{}:{} +0000", part(8, 10), part(0, 4), part(11, 19))
}

/// At most [`FIELD`] bytes of visible ASCII; everything else, and what could end a field, as `\xNN`.
fn field(value: &[u8]) -> String {
    let mut field = String::with_capacity(value.len().min(FIELD));
    for byte in value {
        match byte {
            b'"' | b'\\' => _ = write!(field, "\\x{byte:02x}"),
            b' '..=b'~' => field.push(char::from(*byte)),
            _ => _ = write!(field, "\\x{byte:02x}"),
        }
        if field.len() > FIELD {
            field.truncate(FIELD - 3);
            return field + "...";
        }
    }
    field
}

/// An answer's body that is counted.
struct Logged {
    body: Body,
    /// Taken at the end.
    entry: Option<Entry>,
}

impl HttpBody for Logged {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        if let (Poll::Ready(Some(Ok(frame))), Some(entry)) = (&polled, &mut self.entry) {
            entry.line.bytes += frame.data_ref().map_or(0, |data| data.len() as u64);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Logged {
    fn drop(&mut self) {
        if let Some(entry) = self.entry.take() {
            entry.write();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line() -> Line {
        Line {
            time: String::new(),
            client: "127.0.0.1".into(),
            method: "GET".into(),
            path: field(b"/lab/a%20b"),
            protocol: "HTTP/1.1",
            status: 200,
            bytes: 12,
            referer: String::new(),
            agent: field(b"curl/8 \"x\""),
            app: "lab".into(),
            seconds: 0.0125,
        }
    }

    #[test]
    fn a_line_has_the_combined_format() {
        assert_eq!(
            line().combined("2026-11-20T10:00:00.123Z"),
            "127.0.0.1 - - [20/Nov/2026:10:00:00 +0000] \"GET /lab/a%20b HTTP/1.1\" 200 12 \"-\" \"curl/8 \\x22x\\x22\" lab \
             0.013"
        );
    }

    #[test]
    fn nothing_that_a_terminal_or_a_parser_obeys_is_in_a_field() {
        assert_eq!(field(b"a\x1b[31m\r\n\"\\\xc3\xa9\x7f"), "a\\x1b[31m\\x0d\\x0a\\x22\\x5c\\xc3\\xa9\\x7f");
        for byte in [b'a', 0, b'"', 0xff] {
            let long = field(&vec![byte; 1 << 20]);
            assert!(long.len() <= FIELD && long.ends_with("..."), "{}", long.len());
        }
        assert_eq!(field(&[b'a'; FIELD]).len(), FIELD);
    }
}
