//! Watches the bytes of a client's requests for framing that hyper mends silently, and that we refuse.
//!
//! hyper takes a request with both Content-Length and Transfer-Encoding as chunked, drops what follows `#` in a target,
//! and merges equal Content-Lengths. Each is allowed, but whoever stands before us may have read the same bytes
//! differently, and that difference is how requests are smuggled. hyper shows none of it to its service, so this
//! stands between it and the socket: it changes nothing, remembers the first bad request of a connection, and the
//! service refuses that one and ends the connection.

use super::client::Client;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

/// The first ambiguous request of a connection, counted from 1; 0: none so far.
#[derive(Debug, Default)]
pub(super) struct Ambiguous(AtomicU32);

impl Ambiguous {
    /// Is the `nth` request of this connection, or one before it, to be refused?
    pub(super) fn reaches(&self, nth: u32) -> bool {
        let first = self.0.load(Ordering::Relaxed);
        first != 0 && nth >= first
    }
}

/// A client's socket, watched.
#[derive(Debug)]
pub(super) struct Watched {
    stream: Client,
    scan: Scan,
    ambiguous: Arc<Ambiguous>,
}

impl Watched {
    pub(super) fn new(stream: Client, ambiguous: Arc<Ambiguous>) -> Watched {
        Watched { stream, scan: Scan::default(), ambiguous }
    }

    pub(super) fn into_inner(self) -> Client {
        self.stream
    }
}

/// The longest part of a line that is looked at: enough for the names and numbers that matter.
const LINE: usize = 64;

#[derive(Debug)]
pub(super) struct Scan {
    at: At,
    /// Heads seen, the current one included.
    heads: u32,
    /// The beginning of the current line.
    line: [u8; LINE],
    length: usize,
    /// Of the current head.
    head: Head,
}

#[derive(Debug, Default, Clone, Copy)]
struct Head {
    begun: bool,
    content_length: Option<u64>,
    chunked: bool,
    bad: bool,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum At {
    Head,
    /// This many bytes of a body are still to come.
    Body(u64),
    /// No further head is ours to read: the connection ends with the current request.
    End,
}

impl Default for Scan {
    fn default() -> Scan {
        Scan { at: At::Head, heads: 0, line: [0; LINE], length: 0, head: Head::default() }
    }
}

impl Scan {
    /// Reads on; returns the number of the first bad head that ends in `bytes`.
    pub(super) fn feed(&mut self, mut bytes: &[u8]) -> Option<u32> {
        while !bytes.is_empty() {
            match self.at {
                At::End => return None,
                At::Body(left) => {
                    let skipped = left.min(bytes.len() as u64);
                    bytes = &bytes[skipped as usize..];
                    self.at = if skipped == left { At::Head } else { At::Body(left - skipped) };
                }
                At::Head => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    let part = &bytes[..end.unwrap_or(bytes.len())];
                    self.extend(part);
                    bytes = &bytes[end.map_or(bytes.len(), |end| end + 1)..];
                    if end.is_some() && self.end_line() {
                        self.at = At::End;
                        return Some(self.heads);
                    }
                }
            }
        }
        None
    }

    fn extend(&mut self, part: &[u8]) {
        // The target may be longer than what is kept of the line.
        if self.in_request_line() && part.contains(&b'#') {
            self.head.bad = true;
        }
        let kept = part.len().min(LINE - self.length);
        self.line[self.length..self.length + kept].copy_from_slice(&part[..kept]);
        self.length += kept;
    }

    /// Is the current line a request line?
    fn in_request_line(&self) -> bool {
        !self.head.begun
    }

    /// Takes a whole line; true: the head that it ends is bad.
    fn end_line(&mut self) -> bool {
        let whole = self.length < LINE;
        let line = self.line;
        let line = line[..self.length].strip_suffix(b"\r").unwrap_or(&line[..self.length]);
        self.length = 0;
        if !self.head.begun {
            // Empty lines before a request are skipped, as hyper does.
            self.head.begun = !line.is_empty();
            self.heads += u32::from(self.head.begun);
            return false;
        }
        if line.is_empty() {
            return self.end_head();
        }
        let name_end = line.iter().position(|byte| *byte == b':').unwrap_or(line.len());
        // Only spaces: a tab is allowed too, but there are servers for which it belongs to the value.
        let (name, value) = (&line[..name_end], trim_spaces(line.get(name_end + 1..).unwrap_or(b"")));
        if name.eq_ignore_ascii_case(b"transfer-encoding") {
            // Exactly one coding, and that is chunked: others would reach the app undeclared.
            self.head.bad |= self.head.chunked || !whole || !value.eq_ignore_ascii_case(b"chunked");
            self.head.chunked = true;
        } else if name.eq_ignore_ascii_case(b"content-length") {
            let digits = whole && !value.is_empty() && value.iter().all(u8::is_ascii_digit);
            let number = std::str::from_utf8(value).ok().and_then(|digits| digits.parse().ok());
            self.head.bad |= self.head.content_length.is_some() || !digits || number.is_none();
            self.head.content_length = number.or(Some(0));
        }
        false
    }

    fn end_head(&mut self) -> bool {
        let head = std::mem::take(&mut self.head);
        // After a chunked body the connection is closed (see `serve`), so its chunks needn't be followed here.
        self.at = match (head.chunked, head.content_length) {
            (true, _) => At::End,
            (false, Some(length)) if length > 0 => At::Body(length),
            (false, _) => At::Head,
        };
        head.bad || head.chunked && head.content_length.is_some()
    }
}

fn trim_spaces(text: &[u8]) -> &[u8] {
    let begin = text.iter().position(|byte| *byte != b' ').unwrap_or(text.len());
    let end = text.iter().rposition(|byte| *byte != b' ').map_or(begin, |last| last + 1);
    &text[begin..end]
}

impl AsyncRead for Watched {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(cx, buf);
        if let Some(nth) = self.scan.feed(&buf.filled()[before..]) {
            self.ambiguous.0.store(nth, Ordering::Relaxed);
        }
        polled
    }
}

impl AsyncWrite for Watched {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first bad request, however the bytes are cut.
    fn check(bytes: &str, expected: Option<u32>) {
        for size in [1, 2, 7, bytes.len()] {
            let mut scan = Scan::default();
            let found = bytes.as_bytes().chunks(size).find_map(|part| scan.feed(part));
            assert_eq!(found, expected, "{bytes:?} in pieces of {size}");
        }
    }

    #[test]
    fn plain_requests_pass_one_after_the_other() {
        check("GET / HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\nHost: a\n\n", None);
        check("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\nab#\nGET / HTTP/1.1\r\n\r\n", None);
        check("POST / HTTP/1.1\r\nTransfer-Encoding:  Chunked \r\n\r\n1\r\na\r\n0\r\n\r\n", None);
        check("\r\n\r\nGET / HTTP/1.1\r\nReferer: http://x/#y\r\n\r\n", None);
        check(&format!("GET /{} HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(500), "b".repeat(500)), None);
    }

    #[test]
    fn two_ways_to_say_where_a_body_ends_are_one_too_many() {
        check("POST / HTTP/1.1\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n", Some(1));
        check("POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\nCONTENT-LENGTH: 4\r\n\r\n", Some(1));
        check("POST / HTTP/1.1\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\n", Some(1));
        check("POST / HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Some(1));
        check("POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", Some(1));
        for coding in ["chunked\t", "\tchunked", " \t chunked", "chunked \x0b", "\"chunked\"", "", "identity"] {
            check(&format!("POST / HTTP/1.1\r\nTransfer-Encoding: {coding}\r\n\r\n"), Some(1));
        }
        for length in ["4\t", "\t4", "+4", "-4", "4, 4", "4x", "0x4", "", "99999999999999999999999", &"0".repeat(80)] {
            check(&format!("POST / HTTP/1.1\r\nContent-Length: {length}\r\n\r\n"), Some(1));
        }
    }

    #[test]
    fn a_bad_request_is_found_behind_good_ones() {
        let good = "POST / HTTP/1.1\r\nContent-Length: 3\r\n\r\nabcGET / HTTP/1.1\r\n\r\n";
        let bad = "GET / HTTP/1.1\r\nContent-Length: 0\r\nTransfer-Encoding: chunked\r\n\r\n";
        check(&format!("{good}{bad}"), Some(3));
        check("GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n", Some(1));
        check(&format!("GET /{}# HTTP/1.1\r\n\r\n", "a".repeat(300)), Some(1));
    }
}
