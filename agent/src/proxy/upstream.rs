//! Connections to apps: made, checked, driven.
//!
//! A connection for plain requests has no task of its own: whoever waits for an answer over it drives it, in the
//! client's own task. That of a WebSocket has one, until it is a tunnel.

use super::body::ToApp;
use super::drive::Driven;
use super::fault::Fault;
use super::stream::{Measure, Socket, Stream};
use crate::model::route::{Route, Upstream as Target};
use crate::sys::peer;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, Connection, SendRequest};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use std::future::{Future, poll_fn};
use std::io;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::pin::pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinHandle;
use tokio::time::timeout;

const CONNECT: Duration = Duration::from_secs(5);
/// The longest read, and the most that waits to be written.
const MAX_BUFFER: usize = 256 * 1024;
/// The longest head of an answer.
const MAX_HEAD: usize = 64 * 1024;
const MAX_HEADERS: usize = 100;

/// One connection to an app. Dropping it closes it, unless it has become a tunnel.
#[derive(Debug)]
pub(super) struct Upstream {
    sender: SendRequest<ToApp>,
    drive: Drive,
    measure: Measure,
    place: Place,
}

#[derive(Debug)]
enum Drive {
    Here(Driven<Connection<TokioIo<Stream>, ToApp>>),
    Task(JoinHandle<()>),
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

impl Drop for Upstream {
    fn drop(&mut self) {
        if let Drive::Task(driver) = &self.drive {
            driver.abort();
        }
    }
}

/// Connects, and makes sure that it is the app's user who answers.
pub(super) async fn connect(route: &Route) -> Result<Upstream, Fault> {
    let (sender, connection, measure) = begin(route).await?;
    Ok(Upstream { sender, drive: Drive::Here(Driven::new(connection)), measure, place: Place::of(route) })
}

/// As [`connect`], for a connection that may become a WebSocket.
pub(super) async fn connect_for_upgrade(route: &Route) -> Result<Upstream, Fault> {
    let (sender, connection, measure) = begin(route).await?;
    // Owned by `Upstream`, which ends it; its error reaches whoever waits for the answer.
    let driver = tokio::spawn(async move {
        let _ = connection.with_upgrades().await;
    });
    Ok(Upstream { sender, drive: Drive::Task(driver), measure, place: Place::of(route) })
}

async fn begin(route: &Route) -> Result<(SendRequest<ToApp>, Connection<TokioIo<Stream>, ToApp>, Measure), Fault> {
    let stream = timeout(CONNECT, dial(route)).await.map_err(|_| Fault::ConnectTimeout)??;
    let measure = stream.measure();
    let mut builder = http1::Builder::new();
    builder.max_buf_size(MAX_BUFFER).max_header_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let (sender, connection) = builder.handshake(TokioIo::new(stream)).await.map_err(Fault::Ended)?;
    Ok((sender, connection, measure))
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
        self.sender.is_ready()
    }

    /// Lets the connection do what it can, and then `use_it`; the connection's errors reach whoever waits for the
    /// answer or its body.
    pub(super) fn poll_with<T>(
        &mut self,
        cx: &mut Context<'_>,
        use_it: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        self.drive.poll_with(cx, use_it)
    }

    /// See [`Driven::quietly`].
    pub(super) fn quietly<T>(&self, act: impl FnOnce() -> T) -> T {
        self.drive.quietly(act)
    }

    pub(super) async fn send(&mut self, request: Request<ToApp>) -> Result<Response<Incoming>, Fault> {
        self.try_send(request).await.map_err(|(fault, _)| fault)
    }

    /// An error has the request with it if none of it was sent.
    pub(super) async fn try_send(
        &mut self,
        request: Request<ToApp>,
    ) -> Result<Response<Incoming>, (Fault, Option<Request<ToApp>>)> {
        let Upstream { sender, drive, measure, .. } = self;
        measure.begin();
        let mut answer = pin!(drive.quietly(|| sender.try_send_request(request)));
        let answer = poll_fn(|cx| drive.poll_with(cx, |cx| answer.as_mut().poll(cx))).await;
        measure.end();
        answer.map_err(|mut error| {
            let unsent = error.take_message();
            (Fault::of(error.into_error()), unsent)
        })
    }
}

impl Drive {
    fn poll_with<T>(&mut self, cx: &mut Context<'_>, mut use_it: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Poll<T> {
        match self {
            Drive::Here(connection) => connection.poll_with(cx, use_it),
            Drive::Task(_) => use_it(cx),
        }
    }

    fn quietly<T>(&self, act: impl FnOnce() -> T) -> T {
        match self {
            Drive::Here(connection) => connection.quietly(act),
            Drive::Task(_) => act(),
        }
    }
}
