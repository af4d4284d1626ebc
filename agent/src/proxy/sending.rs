//! A request as it goes out to an app: its head, and its body piece by piece, each sent before the next is asked for.

use super::body::ToApp;
use super::fault::Fault;
use super::reply::announced;
use super::stream::Stream;
use super::turn::{TURN, rest};
use bytes::Bytes;
use hyper::Method;
use hyper::body::{Body, Frame};
use hyper::header::{HeaderMap, HeaderName, TRANSFER_ENCODING};
use hyper::http::request::Parts;
use std::io::{IoSlice, Write};
use std::mem::take;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use tokio::io::AsyncWrite;

/// A buffer that is kept for the next head, in bytes.
const KEPT: usize = 4 * 1024;

/// A request, and how much of it has been sent.
#[derive(Debug, Default)]
pub(super) struct Sending {
    /// The head; later, what stands before a piece of the body.
    out: Vec<u8>,
    /// A piece of the body, and what stands behind it.
    data: Bytes,
    tail: &'static [u8],
    /// Of the three together, in bytes.
    written: usize,
    /// Nothing of the request has been sent.
    is_whole: bool,
    /// Sending it twice does nothing twice, and all of it is still here.
    is_spare: bool,
    is_head: bool,
    body: ToApp,
    /// The body goes out in chunks, and then those trailers that the head announces.
    chunked: Option<Vec<HeaderName>>,
    /// Nothing follows behind the three.
    is_last: bool,
    /// Since others had their turn, in bytes.
    turn: usize,
}

impl Sending {
    /// `used`: an earlier one, whose memory is used. A body has its length in the head, or `Transfer-Encoding`.
    pub(super) fn new(used: Sending, parts: &Parts, body: ToApp) -> Sending {
        let mut out = used.out;
        out.clear();
        write_head(&mut out, parts);
        let is_chunked = !body.is_nothing() && parts.headers.contains_key(TRANSFER_ENCODING);
        Sending {
            out,
            is_whole: true,
            is_spare: parts.method.is_safe() && body.is_nothing(),
            is_head: parts.method == Method::HEAD,
            is_last: body.is_nothing(),
            chunked: is_chunked.then(|| announced(&parts.headers)),
            body,
            ..Sending::default()
        }
    }

    /// Nothing of it has been sent.
    pub(super) fn is_whole(&self) -> bool {
        self.is_whole
    }

    /// A HEAD, whose answer has no body.
    pub(super) fn is_head(&self) -> bool {
        self.is_head
    }

    /// All of it has been sent.
    pub(super) fn is_done(&self) -> bool {
        self.is_last && self.left() == 0
    }

    /// The same request from its beginning, if that may go out once more after a fault: none of it was sent, or sending it
    /// twice does no harm.
    pub(super) fn again(self, fault: &Fault) -> Option<Sending> {
        let may = fault.allows_retry() && (self.is_whole || self.is_spare);
        may.then(|| Sending { written: 0, is_whole: true, ..self })
    }

    /// Gives back what an idle connection needs no longer: all of a request that is done but the room for its head.
    pub(super) fn rest(&mut self) {
        let mut out = take(&mut self.out);
        out.clear();
        out.shrink_to(KEPT);
        *self = Sending { out, is_last: true, ..Sending::default() };
    }

    fn left(&self) -> usize {
        self.out.len() + self.data.len() + self.tail.len() - self.written
    }

    /// Sends what there is. Ready: all of it.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Fault>> {
        loop {
            if !self.is_last && self.data.is_empty() && self.tail.is_empty() {
                match Pin::new(&mut self.body).poll_frame(cx) {
                    Poll::Ready(Some(Ok(frame))) => self.put(frame),
                    Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(Fault::of_body(error))),
                    Poll::Ready(None) => self.put_end(None),
                    Poll::Pending if self.left() == 0 => return Poll::Pending,
                    // The head goes without it.
                    Poll::Pending => {}
                }
            }
            while self.left() > 0 {
                ready!(self.poll_write(cx, stream))?;
            }
            if self.is_last {
                return Poll::Ready(Ok(()));
            }
            (self.written, self.data, self.tail) = (0, Bytes::new(), b"");
            self.out.clear();
            if self.turn >= TURN {
                self.turn = 0;
                return rest(cx);
            }
        }
    }

    fn poll_write(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<Result<(), Fault>> {
        let mut parts = [IoSlice::new(&self.out), IoSlice::new(&self.data), IoSlice::new(self.tail)];
        // Most requests are a head and no more.
        let there = if self.data.is_empty() && self.tail.is_empty() { 1 } else { parts.len() };
        let mut left = &mut parts[..there];
        IoSlice::advance_slices(&mut left, self.written);
        let stream = Pin::new(stream);
        let written = match left {
            [one] => stream.poll_write(cx, one),
            several => stream.poll_write_vectored(cx, several),
        };
        let written = ready!(written).map_err(Fault::Ended)?;
        self.is_whole = false;
        self.written += written;
        self.turn += written;
        Poll::Ready(match written {
            0 => Err(Fault::Ended(std::io::ErrorKind::WriteZero.into())),
            _ => Ok(()),
        })
    }

    fn put(&mut self, frame: Frame<Bytes>) {
        match frame.into_data() {
            Ok(data) if data.is_empty() => {}
            Ok(data) => {
                if self.chunked.is_some() {
                    // To memory nothing fails.
                    let _ = write!(self.out, "{:x}\r\n", data.len());
                    self.tail = b"\r\n";
                }
                self.data = data;
                if self.body.is_end_stream() && self.chunked.is_none() {
                    self.is_last = true;
                }
            }
            Err(frame) => self.put_end(frame.into_trailers().ok()),
        }
    }

    fn put_end(&mut self, trailers: Option<HeaderMap>) {
        self.is_last = true;
        let Some(announced) = self.chunked.take() else { return };
        self.out.extend_from_slice(b"0\r\n");
        for (name, value) in trailers.iter().flatten().filter(|(name, _)| announced.contains(name)) {
            write_line(&mut self.out, name.as_str(), value.as_bytes());
        }
        self.out.extend_from_slice(b"\r\n");
    }
}

/// The target as the client wrote it, and what headers there are, in their order.
fn write_head(out: &mut Vec<u8>, parts: &Parts) {
    let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
    out.extend_from_slice(parts.method.as_str().as_bytes());
    out.push(b' ');
    out.extend_from_slice(target.as_bytes());
    out.extend_from_slice(b" HTTP/1.1\r\n");
    for (name, value) in &parts.headers {
        write_line(out, name.as_str(), value.as_bytes());
    }
    out.extend_from_slice(b"\r\n");
}

fn write_line(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::Request;

    fn head(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
        let mut request = Request::builder().method(method).uri(target);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    #[test]
    fn a_head_goes_out_as_it_is() {
        let parts = head("PATCH", "/a%2F/b?c=%zz", &[("host", "localhost"), ("x-a", "1"), ("x-a", "\u{e9}")]);
        let sending = Sending::new(Sending::default(), &parts, ToApp::Nothing);
        let expected = "PATCH /a%2F/b?c=%zz HTTP/1.1\r\nhost: localhost\r\nx-a: 1\r\nx-a: \u{e9}\r\n\r\n";
        assert_eq!(String::from_utf8(sending.out).unwrap(), expected);
    }

    #[test]
    fn only_what_does_nothing_twice_is_sent_twice() {
        let ended = || Fault::Ended(std::io::ErrorKind::UnexpectedEof.into());
        for (method, is_whole, fault, may) in [
            ("GET", false, ended(), true),
            ("GET", false, Fault::NotHttp(""), false),
            ("GET", true, ended(), true),
            ("HEAD", false, ended(), true),
            ("POST", false, ended(), false),
            ("DELETE", false, ended(), false),
            ("POST", true, ended(), true),
            // What is left of a broken body is no body.
            ("POST", true, Fault::BodyStill, false),
        ] {
            let parts = head(method, "/", &[("host", "localhost")]);
            let mut sending = Sending::new(Sending::default(), &parts, ToApp::Nothing);
            sending.written = if is_whole { 0 } else { sending.left() };
            sending.is_whole = is_whole;
            let again = sending.again(&fault);
            assert_eq!(again.is_some(), may, "{method} {is_whole} {fault}");
            assert!(again.is_none_or(|again| again.is_whole() && !again.is_done() && again.out.ends_with(b"\r\n\r\n")));
        }
    }

    #[test]
    fn a_chunked_body_ends_with_the_trailers_that_were_announced() {
        let parts = head("POST", "/", &[("transfer-encoding", "chunked"), ("trailer", "X-Sum, x-other")]);
        let mut sending = Sending::new(Sending::default(), &parts, ToApp::Nothing);
        (sending.out, sending.is_last) = (Vec::new(), false);
        sending.chunked = Some(announced(&parts.headers));
        sending.put(Frame::data(Bytes::from_static(&[b'x'; 31])));
        assert_eq!((&*sending.out, &*sending.data, sending.tail), (&b"1f\r\n"[..], &[b'x'; 31][..], &b"\r\n"[..]));
        sending.out.clear();
        sending.put(Frame::data(Bytes::new()));
        assert!(sending.out.is_empty(), "a chunk of nothing would be the last");
        let trailers = [("x-sum", "7"), ("x-secret", "1")]
            .map(|(name, value)| (HeaderName::from_static(name), hyper::header::HeaderValue::from_static(value)));
        sending.put(Frame::trailers(trailers.into_iter().collect()));
        assert_eq!(String::from_utf8(sending.out).unwrap(), "0\r\nx-sum: 7\r\n\r\n");
        assert!(sending.is_last);
    }
}
