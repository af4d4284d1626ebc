//! Requests to an app from the agent itself: is it ready, what do its kernels do, please end.
//!
//! Whoever answers must be the app's user, and that is looked at before a byte is sent: a socket lies where the user can
//! place anything, also a link to somebody else's socket, and anybody can listen on a port. One deadline holds for a connection and all that
//! is asked over it. The front door has connections of its own, which live by other rules.

use crate::model::route::Upstream;
use crate::sys::peer;
use bytes::Bytes;
use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{ACCEPT, HOST};
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use std::fmt;
use std::io;
use std::net::Ipv4Addr;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout_at};

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    Unreachable(io::Error),
    /// Somebody else listens where the app should.
    Stranger {
        uid: u32,
        expected: u32,
    },
    /// The path is none, the connection ended, what came over it is not HTTP, or it is larger than allowed.
    Broken(Box<dyn std::error::Error + Send + Sync>),
    Late(Duration),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreachable(_) => write!(f, "cannot be reached"),
            Error::Stranger { uid, expected } => {
                write!(f, "has another user on its socket: uid {uid}, not {expected}")
            }
            Error::Broken(_) => write!(f, "cannot be talked to"),
            Error::Late(deadline) => write!(f, "has not answered for {} s", deadline.as_secs()),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Unreachable(error) => Some(error),
            Error::Broken(error) => Some(&**error),
            Error::Stranger { .. } | Error::Late(_) => None,
        }
    }
}

fn broken(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
    Error::Broken(error.into())
}

/// A connection to an app; dropping it closes it.
#[derive(Debug)]
pub struct Connection {
    sender: SendRequest<Empty<Bytes>>,
    /// Holds the task that drives the connection, which ends with it.
    _driver: JoinSet<()>,
    until: Instant,
    deadline: Duration,
}

impl Connection {
    /// Connects to where the app of this user listens. All that is asked over it must be answered within `deadline`.
    pub async fn open(upstream: &Upstream, uid: u32, deadline: Duration) -> Result<Connection, Error> {
        let until = Instant::now() + deadline;
        let mut driver = JoinSet::new();
        let sender =
            timeout_at(until, connect(upstream, uid, &mut driver)).await.map_err(|_| Error::Late(deadline))??;
        Ok(Connection { sender, _driver: driver, until, deadline })
    }

    /// The status of the answer to a GET; its body is of no interest, and nothing can be asked after it.
    pub async fn status(mut self, path: &str) -> Result<StatusCode, Error> {
        let (until, deadline) = (self.until, self.deadline);
        let response = timeout_at(until, self.ask(path)).await.map_err(|_| Error::Late(deadline))??;
        Ok(response.status())
    }

    /// The status and the body of the answer to a GET, of at most `limit` bytes.
    pub async fn get(&mut self, path: &str, limit: usize) -> Result<(StatusCode, Bytes), Error> {
        let (until, deadline) = (self.until, self.deadline);
        let answer = async {
            let response = self.ask(path).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), limit).collect().await.map_err(Error::Broken)?;
            Ok((status, body.to_bytes()))
        };
        timeout_at(until, answer).await.map_err(|_| Error::Late(deadline))?
    }

    /// The status of the answer to a POST without a body, with these headers; nothing can be asked after it.
    pub async fn post(mut self, path: &str, headers: &[(&str, &str)]) -> Result<StatusCode, Error> {
        let (until, deadline) = (self.until, self.deadline);
        let mut request = Request::post(path).header(HOST, "localhost");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let request = request.body(Empty::new()).map_err(broken)?;
        let response = timeout_at(until, self.send(request)).await.map_err(|_| Error::Late(deadline))??;
        Ok(response.status())
    }

    async fn ask(&mut self, path: &str) -> Result<Response<Incoming>, Error> {
        let request = Request::get(path).header(HOST, "localhost").header(ACCEPT, "application/json, */*;q=0.1");
        self.send(request.body(Empty::new()).map_err(broken)?).await
    }

    async fn send(&mut self, request: Request<Empty<Bytes>>) -> Result<Response<Incoming>, Error> {
        self.sender.ready().await.map_err(broken)?;
        self.sender.send_request(request).await.map_err(broken)
    }
}

async fn connect(upstream: &Upstream, uid: u32, driver: &mut JoinSet<()>) -> Result<SendRequest<Empty<Bytes>>, Error> {
    match upstream {
        Upstream::Unix(path) => {
            let stream = UnixStream::connect(path).await.map_err(Error::Unreachable)?;
            check(stream.peer_cred().map_err(Error::Unreachable)?.uid(), uid)?;
            drive(stream, driver).await
        }
        Upstream::Port(port) => {
            let stream = TcpStream::connect((Ipv4Addr::LOCALHOST, *port)).await.map_err(Error::Unreachable)?;
            check(peer::uid(&stream).await.map_err(Error::Unreachable)?, uid)?;
            drive(stream, driver).await
        }
    }
}

fn check(uid: u32, expected: u32) -> Result<(), Error> {
    if uid == expected { Ok(()) } else { Err(Error::Stranger { uid, expected }) }
}

async fn drive<S>(stream: S, driver: &mut JoinSet<()>) -> Result<SendRequest<Empty<Bytes>>, Error>
where
    S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(broken)?;
    // Its errors come out at the sender too.
    driver.spawn(async move { drop(connection.await) });
    Ok(sender)
}
