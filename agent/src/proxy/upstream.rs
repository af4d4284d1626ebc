//! Connections to apps: made, checked, and one request at a time over each.
//!
//! A connection has no task of its own: whoever waits for an answer over it, or reads the answer's body, sends and reads
//! in the client's own task. Both ways go on at once: an app may answer before it has the whole request.

use super::body::ToApp;
use super::fault::Fault;
use super::reply::{Extent, Head, Heads};
use super::sending::Sending;
use super::stream::{Socket, Stream};
use crate::model::route::{Route, Upstream as Target};
use crate::sys::{clock, peer};
use bytes::{BufMut, Bytes, BytesMut};
use hyper::body::{Frame, SizeHint};
use hyper::header::HeaderMap;
use hyper::http::request::Parts;
use std::future::poll_fn;
use std::io;
use std::mem::{replace, take};
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::AsyncReadExt;
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

const CONNECT: Duration = Duration::from_secs(5);
/// What is read at first, and kept by an idle connection, in bytes; and the most that is read at a time: the fewer reads,
/// the fewer times both sides are woken.
const FIRST_READ: usize = 8 * 1024;
const LARGEST_READ: usize = 512 * 1024;
/// Who takes longer for what was read last gets less at a time: what waits for slow clients is memory.
const PROMPT: Duration = Duration::from_millis(10);

/// One connection to an app. Dropping it closes it.
#[derive(Debug)]
pub(super) struct Upstream {
    stream: Stream,
    place: Place,
    sending: Sending,
    /// Read and not yet used.
    inbox: BytesMut,
    /// It may be what is left of a large piece of memory.
    is_large: bool,
    /// How much is read next, in bytes: more after a read that had no room for all, less after one that had much too much,
    /// and for whoever takes it slowly.
    reads: usize,
    /// Since when a piece of the body is on its way to the client.
    passed: Option<Instant>,
    heads: Heads,
    /// An empty map: the last request's, for the next answer.
    headers: HeaderMap,
    extent: Extent,
    /// The app keeps the connection for another request.
    goes_on: bool,
}

/// Where a connection leads. A connection is only ever used for the place that it was made to.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Place {
    target: Target,
    uid: u32,
}

impl Place {
    pub(super) fn of(route: &Route) -> Place {
        Place { target: route.upstream.clone(), uid: route.uid }
    }
}

/// Connects, and makes sure that it is the app's user who answers.
pub(super) async fn connect(route: &Route) -> Result<Box<Upstream>, Fault> {
    let stream = timeout(CONNECT, dial(route)).await.map_err(|_| Fault::ConnectTimeout)??;
    Ok(Box::new(Upstream::over(stream, Place::of(route))))
}

async fn dial(route: &Route) -> Result<Stream, Fault> {
    let (socket, uid) = match &route.upstream {
        Target::Port(port) => {
            let stream = loopback(*port).await.map_err(Fault::of_connect)?;
            stream.set_nodelay(true).map_err(Fault::Connect)?;
            let uid = peer::uid(&stream).await.map_err(Fault::of_connect)?;
            (Socket::Tcp(stream), uid)
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Fault::of_connect)?;
            let uid = stream.peer_cred().map_err(Fault::Connect)?.uid();
            (Socket::Unix(stream), uid)
        }
    };
    if uid != route.uid {
        return Err(Fault::Stranger { uid, expected: route.uid, at: route.upstream.clone() });
    }
    Ok(Stream::new(socket))
}

/// Many servers take `localhost` for only one of its two addresses.
async fn loopback(port: u16) -> io::Result<TcpStream> {
    match TcpStream::connect((Ipv4Addr::LOCALHOST, port)).await {
        Err(refused) if refused.kind() == io::ErrorKind::ConnectionRefused => {
            TcpStream::connect((Ipv6Addr::LOCALHOST, port)).await.map_err(|_| refused)
        }
        connected => connected,
    }
}

impl Upstream {
    fn over(stream: Stream, place: Place) -> Upstream {
        Upstream {
            stream,
            place,
            sending: Sending::default(),
            inbox: BytesMut::new(),
            is_large: false,
            reads: FIRST_READ,
            passed: None,
            heads: Heads::default(),
            headers: HeaderMap::new(),
            extent: Extent::Length(0),
            goes_on: true,
        }
    }

    pub(super) fn place(&self) -> &Place {
        &self.place
    }

    pub(super) fn leads_to(&self, route: &Route) -> bool {
        self.place.uid == route.uid && self.place.target == route.upstream
    }

    pub(super) fn is_beside(&self, other: &Upstream) -> bool {
        self.place == other.place
    }

    /// Whole, and done with its last request.
    pub(super) fn is_ready(&self) -> bool {
        self.goes_on && self.extent.is_over() && self.sending.is_done() && self.inbox.is_empty()
    }

    /// Keeps no more than an idle connection needs.
    pub(super) fn rest(&mut self) {
        self.sending.rest();
        if replace(&mut self.is_large, false) {
            self.inbox = BytesMut::new();
        }
    }

    /// Begins a request over a connection that is done with its last one; [`answer`](Upstream::answer) sends it.
    pub(super) fn ask(&mut self, mut parts: Parts, body: ToApp) {
        let sending = Sending::new(take(&mut self.sending), &parts, body);
        self.headers = take(&mut parts.headers);
        self.headers.clear();
        self.take_over(sending);
    }

    /// As [`ask`](Upstream::ask), for a request that has been begun elsewhere.
    pub(super) fn take_over(&mut self, sending: Sending) {
        self.sending = sending;
        (self.heads, self.reads, self.passed) = (Heads::default(), FIRST_READ, None);
        self.extent = Extent::UntilEnd;
    }

    /// The request as it was begun, where that may go out once more after a fault.
    pub(super) fn again(&mut self, fault: &Fault) -> Option<Sending> {
        take(&mut self.sending).again(fault)
    }

    /// Sends the request and waits for the answer's head.
    pub(super) async fn answer(&mut self) -> Result<Head, Fault> {
        let mut is_first = true;
        let head = poll_fn(|cx| {
            if replace(&mut is_first, false) {
                // Requests that have come together go out together: an app that sleeps is woken once for all of them.
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.poll_answer(cx)
        });
        let mut head = head.await?;
        self.extent = replace(&mut head.extent, Extent::Length(0));
        // An app that has not waited for the whole request may read the rest of it as it likes.
        self.goes_on = head.goes_on && self.sending.is_done() && !self.stream.is_deaf();
        if let Extent::Length(length) = self.extent {
            self.reads = usize::try_from(length).unwrap_or(usize::MAX).clamp(FIRST_READ, LARGEST_READ);
        }
        Ok(head)
    }

    fn poll_answer(&mut self, cx: &mut Context<'_>) -> Poll<Result<Head, Fault>> {
        if self.sending.is_whole() && self.poll_read(cx).is_ready() {
            // Whoever speaks before it was asked has nothing to say to this request; most have just gone.
            return Poll::Ready(Err(Fault::Ended(io::ErrorKind::UnexpectedEof.into())));
        }
        if let Poll::Ready(Err(fault)) = self.sending.poll(cx, &mut self.stream) {
            return Poll::Ready(Err(fault));
        }
        loop {
            if !self.inbox.is_empty() {
                let head = self.heads.read(&mut self.inbox, self.sending.is_head(), &mut self.headers);
                if let Some(head) = head.map_err(Fault::NotHttp)? {
                    return Poll::Ready(Ok(head));
                }
            }
            if ready!(self.poll_read(cx)).map_err(Fault::Ended)? == 0 {
                return Poll::Ready(Err(Fault::Ended(io::ErrorKind::UnexpectedEof.into())));
            }
        }
    }

    /// The next part of the answer's body, and what is left to send meanwhile.
    pub(super) fn poll_frame(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        if !self.sending.is_done()
            && let Poll::Ready(Err(fault)) = self.sending.poll(cx, &mut self.stream)
        {
            return Poll::Ready(Some(Err(io::Error::other(fault))));
        }
        if self.passed.take().is_some_and(|since| since.elapsed() > PROMPT) {
            self.reads = (self.reads / 2).max(FIRST_READ);
        }
        loop {
            match self.extent.read(&mut self.inbox) {
                Ok(Some(frame)) => {
                    self.passed = (!self.extent.is_over()).then(clock::instant);
                    return Poll::Ready(Some(Ok(frame)));
                }
                Err(wrong) => return Poll::Ready(Some(Err(io::Error::new(io::ErrorKind::InvalidData, wrong)))),
                Ok(None) if self.extent.is_over() => return Poll::Ready(None),
                Ok(None) => {}
            }
            if ready!(self.poll_read(cx))? == 0 {
                return Poll::Ready(match self.extent.ends() {
                    true => None,
                    false => Some(Err(io::ErrorKind::UnexpectedEof.into())),
                });
            }
        }
    }

    /// Nothing of the answer's body is missing.
    pub(super) fn is_read(&self) -> bool {
        self.extent.is_over()
    }

    pub(super) fn size_hint(&self) -> SizeHint {
        match self.extent {
            Extent::Length(length) => SizeHint::with_exact(length),
            Extent::Chunks(..) | Extent::UntilEnd => SizeHint::default(),
        }
    }

    /// What comes of a connection that speaks another protocol from here on, and what was read of that.
    pub(super) fn into_stream(self) -> (Stream, Bytes) {
        // A copy, so that a whole buffer isn't kept for a few bytes.
        (self.stream, Bytes::copy_from_slice(&self.inbox))
    }

    /// Reads once; 0: the app has ended the connection.
    fn poll_read(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
        self.is_large |= self.reads > FIRST_READ;
        self.inbox.reserve(self.reads);
        let mut room = (&mut self.inbox).limit(self.reads);
        let read = ready!(pin!(self.stream.read_buf(&mut room)).poll(cx))?;
        if read == self.reads {
            self.reads = (2 * self.reads).min(LARGEST_READ);
        } else if read < self.reads / 4 {
            self.reads = (self.reads / 2).max(FIRST_READ);
        }
        Poll::Ready(Ok(read))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proxy::tests::route;
    use hyper::Request;
    use tokio::io::AsyncWriteExt;

    fn asked() -> (Upstream, UnixStream) {
        let (door, app) = UnixStream::pair().unwrap();
        let mut upstream = Upstream::over(Stream::new(Socket::Unix(door)), Place::of(&route("app", "/app/")));
        upstream.ask(Request::get("/app/").body(()).unwrap().into_parts().0, ToApp::Nothing);
        (upstream, app)
    }

    #[tokio::test]
    async fn an_idle_connection_keeps_no_large_buffer() {
        for length in [100, FIRST_READ, 300_000, 3 * LARGEST_READ] {
            let (mut upstream, mut app) = asked();
            let answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n{}", "x".repeat(length));
            let held = tokio::spawn(async move {
                app.read_u8().await.unwrap();
                app.write_all(answer.as_bytes()).await.unwrap();
                app
            });
            upstream.answer().await.unwrap();
            while poll_fn(|cx| upstream.poll_frame(cx)).await.is_some() {}
            let _app = held.await.unwrap();
            assert!(upstream.is_ready());
            upstream.rest();
            assert!(!upstream.inbox.try_reclaim(2 * FIRST_READ), "after {length} bytes");
            assert!(upstream.is_ready(), "after {length} bytes");
        }
    }

    /// What can no longer be read to its end would look whole the second time.
    #[tokio::test]
    async fn a_request_that_its_client_spoils_goes_out_once_at_most() {
        assert!(asked().0.again(&Fault::BodyStill).is_none());
        assert!(asked().0.again(&Fault::Ended(io::ErrorKind::UnexpectedEof.into())).is_some());
    }
}
