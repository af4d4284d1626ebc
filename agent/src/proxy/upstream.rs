//! Connections to apps: made, checked, kept for the next request.
//!
//! One plain list of idle connections per app. A connection belongs to one request until its answer has been read to
//! the end; only then it comes back. What is dropped earlier is closed, so that no rest of one answer can be read as
//! the beginning of another.

use crate::model::route::{Door, Route, RouteState, Upstream as Target};
use crate::sys::peer;
use bytes::Bytes;
use http_body_util::{Either, Empty};
use hyper::body::{Body, Frame, Incoming, SizeHint};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);
/// Idle connections that are kept for each app.
const KEPT: usize = 32;
const MAX_BUFFER: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// A request's body as it goes to an app.
pub(super) type ToApp = Either<Incoming, Empty<Bytes>>;

/// Why an app gave no answer.
#[derive(Debug)]
pub(super) enum Error {
    Connect(io::Error),
    ConnectTimeout,
    /// Somebody else listens where the app should.
    Stranger {
        uid: u32,
        expected: u32,
        at: Target,
    },
    /// The connection ended, or what came over it is not HTTP.
    Broken(hyper::Error),
}

/// One connection to an app. Dropping it closes it, unless it has become a tunnel.
#[derive(Debug)]
pub(super) struct Upstream {
    sender: SendRequest<ToApp>,
    driver: JoinHandle<()>,
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

/// Connects, and makes sure that it is the app's user who answers.
pub(super) async fn connect(route: &Route) -> Result<Upstream, Error> {
    let stream = timeout(CONNECT, dial(route)).await.map_err(|_| Error::ConnectTimeout)??;
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER).max_headers(MAX_HEADERS);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Error::Broken)?;
    // Owned by `Upstream`, which ends it; its error reaches whoever waits for the answer.
    let driver = tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Upstream { sender, driver })
}

async fn dial(route: &Route) -> Result<Stream, Error> {
    let (stream, uid) = match &route.upstream {
        Target::Port(port) => {
            let stream = loopback(*port).await.map_err(Error::Connect)?;
            stream.set_nodelay(true).map_err(Error::Connect)?;
            let uid = peer::uid(&stream).await.map_err(Error::Connect)?;
            (Stream::Tcp(stream), uid)
        }
        Target::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Error::Connect)?;
            let uid = stream.peer_cred().map_err(Error::Connect)?.uid();
            (Stream::Unix(stream), uid)
        }
    };
    if uid != route.uid {
        return Err(Error::Stranger { uid, expected: route.uid, at: route.upstream.clone() });
    }
    Ok(stream)
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
    /// Sends a request over a connection of its own.
    pub(super) async fn send(&mut self, request: Request<ToApp>) -> Result<Response<Incoming>, Error> {
        self.sender.send_request(request).await.map_err(Error::Broken)
    }
}

/// Idle connections of all apps.
#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    place: Place,
    upstream: Upstream,
}

/// Where a connection leads. A connection is only ever used for the place that it was made to.
#[derive(Debug, Clone, PartialEq)]
struct Place {
    target: Target,
    uid: u32,
}

impl Place {
    fn of(route: &Route) -> Place {
        Place { target: route.upstream.clone(), uid: route.uid }
    }
}

impl Pool {
    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole at every moment, whoever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(&self, route: &Route) -> Option<Upstream> {
        let place = Place::of(route);
        let mut idle = self.idle();
        idle.retain(|kept| !kept.upstream.sender.is_closed());
        let newest = idle.iter().rposition(|kept| kept.place == place && kept.upstream.sender.is_ready())?;
        Some(idle.swap_remove(newest).upstream)
    }

    fn give(&self, place: Place, upstream: Upstream) {
        let mut idle = self.idle();
        let many = idle.iter().filter(|kept| kept.place == place).count() >= KEPT;
        if !many && !upstream.sender.is_closed() {
            idle.push(Idle { place, upstream });
        }
    }

    /// Closes the connections to apps that are no longer behind this door, or not ready.
    pub(super) fn keep_only(&self, door: &Door) {
        let ready: Vec<_> =
            door.routes.iter().filter(|route| route.state == RouteState::Ready).map(Place::of).collect();
        self.idle().retain(|kept| ready.contains(&kept.place));
    }

    /// Sends a request over an idle connection or a new one. An idle one may have been closed by the app at this very
    /// moment: then the request goes out once more, if none of it was sent, or if it is safe to repeat (`spare`).
    pub(super) async fn send(
        self: &Arc<Pool>,
        route: &Route,
        mut request: Request<ToApp>,
    ) -> Result<Response<AppBody>, Error> {
        let home = may_return(&request).then(|| (self.clone(), Place::of(route)));
        if let Some(mut upstream) = self.take(route) {
            let spare = copy(&request);
            match upstream.sender.try_send_request(request).await {
                Ok(response) => return Ok(lend(upstream, response, home)),
                Err(mut error) => match error.take_message().or(spare) {
                    Some(again) => request = again,
                    None => return Err(Error::Broken(error.into_error())),
                },
            }
        }
        let mut upstream = connect(route).await?;
        let response = upstream.send(request).await?;
        Ok(lend(upstream, response, home))
    }
}

/// Where a connection goes once the answer has been read; `None`: nowhere.
type Home = Option<(Arc<Pool>, Place)>;

fn lend(upstream: Upstream, response: Response<Incoming>, home: Home) -> Response<AppBody> {
    response.map(|incoming| AppBody { incoming, upstream: Some(upstream), home, ended: false })
}

/// May the connection carry another request after this one? Many apps don't read a body where none is usual, and would
/// take it for the next request, whose answer somebody else would get.
fn may_return(request: &Request<ToApp>) -> bool {
    let usual = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    usual || matches!(request.body(), Either::Right(_))
}

/// The same request once more, if asking twice is the same as asking once and it has no body.
fn copy(request: &Request<ToApp>) -> Option<Request<ToApp>> {
    if !request.method().is_safe() || !matches!(request.body(), Either::Right(_)) {
        return None;
    }
    let mut copy = Request::new(Either::Right(Empty::new()));
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}

/// An app's answer on its way, with the connection that it comes over.
#[derive(Debug)]
pub(super) struct AppBody {
    incoming: Incoming,
    upstream: Option<Upstream>,
    home: Home,
    ended: bool,
}

impl AppBody {
    /// An answer whose connection is used for nothing else.
    pub(super) fn last(incoming: Incoming, upstream: Upstream) -> AppBody {
        AppBody { incoming, upstream: Some(upstream), home: None, ended: false }
    }
}

impl Body for AppBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
        match &polled {
            Poll::Ready(None) => self.ended = true,
            Poll::Ready(Some(Err(_))) => self.home = None,
            _ => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl Drop for AppBody {
    fn drop(&mut self) {
        let read = self.ended || self.incoming.is_end_stream();
        if let (true, Some(upstream), Some((pool, place))) = (read, self.upstream.take(), self.home.take()) {
            pool.give(place, upstream);
        }
    }
}

/// A byte stream to an app.
#[derive(Debug)]
pub(super) enum Stream {
    Unix(UnixStream),
    Tcp(TcpStream),
}

impl AsyncRead for Stream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_read(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_read(cx, buf),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write(cx, buf),
            Stream::Tcp(stream) => Pin::new(stream).poll_write(cx, buf),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
            Stream::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, bufs),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_flush(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Stream::Unix(stream) => Pin::new(stream).poll_shutdown(cx),
            Stream::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}

impl Error {
    /// Was it the client's body that failed, rather than the app?
    pub(super) fn is_the_clients(&self) -> bool {
        matches!(self, Error::Broken(error) if error.is_user())
    }

    /// Nobody was there: the app has not seen the request.
    pub(super) fn is_unheard(&self) -> bool {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        matches!(self, Error::Connect(error) if matches!(error.kind(), ConnectionRefused | NotFound))
    }

    /// As it is seen of an app that has ended this moment.
    pub(super) fn is_an_end(&self) -> bool {
        match self {
            Error::Connect(_) => true,
            Error::Broken(error) => !error.is_parse(),
            Error::ConnectTimeout | Error::Stranger { .. } => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Connect(error) if error.kind() == io::ErrorKind::NotFound => f.write_str("its socket is gone"),
            Error::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("nobody listens where it should")
            }
            Error::Connect(error) => write!(f, "it can not be reached ({})", error.kind()),
            Error::ConnectTimeout => f.write_str("it accepts no connection within 5 s"),
            Error::Stranger { uid, expected, at: Target::Unix(_) } => {
                write!(f, "uid {uid} listens on its socket, where uid {expected} should")
            }
            Error::Stranger { uid, expected, at: Target::Port(port) } => write!(
                f,
                "uid {uid} listens on its port {port}, where uid {expected} should; end that program, or give the app \
                 another port"
            ),
            Error::Broken(error) if error.is_parse() => f.write_str("what it answers is not HTTP"),
            Error::Broken(_) => f.write_str("it closed the connection without an answer"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Connect(error) => Some(error),
            Error::Broken(error) => Some(error),
            Error::ConnectTimeout | Error::Stranger { .. } => None,
        }
    }
}
