//! A running agent, as a client of its control API sees it: one connection per request, a deadline on each answer.

use super::failure::Failure;
use super::output::printable;
use crate::control::api::{KERNELS_BUSY, ProblemDocument};
use bytes::Bytes;
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper::{Method, Request, Response};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixStream;
use tokio::time::timeout;

/// For connecting, and for each answer up to its body; longer than the 5 s after which the agent itself gives up on its
/// hall, so that its reason is heard. Streams may then take as long as they like.
const DEADLINE: Duration = Duration::from_secs(8);
const KNOCK: Duration = Duration::from_secs(1);
const ANSWER_MAX: usize = 4 << 20;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Agent {
    pub(super) socket: PathBuf,
}

impl Agent {
    /// Connects and does nothing: whether somebody listens, and may be talked to.
    pub(super) async fn knock(&self) -> Result<(), ErrorKind> {
        let connected = timeout(KNOCK, connect(&self.socket)).await.map_err(|_| ErrorKind::TimedOut)?;
        connected.map(drop).map_err(|error| error.kind())
    }

    /// Only a missing or a dead socket is nobody: one that is full or hangs still has an owner.
    pub(super) async fn listens(&self) -> bool {
        !matches!(self.knock().await, Err(ErrorKind::NotFound | ErrorKind::ConnectionRefused))
    }

    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        let response = self.send(Method::GET, path, None).await?;
        self.read(response).await
    }

    /// Sends a JSON document and returns the answer's.
    pub(super) async fn post<T: DeserializeOwned>(&self, path: &str, body: &impl Serialize) -> Result<T, Failure> {
        let response = self.send(Method::POST, path, Some(json(body)?)).await?;
        self.read(response).await
    }

    /// Sends a JSON document; the answer has nothing in it but its status.
    pub(super) async fn tell(&self, path: &str, body: &impl Serialize) -> Result<(), Failure> {
        self.send(Method::POST, path, Some(json(body)?)).await.map(drop)
    }

    pub(super) async fn delete(&self, path: &str) -> Result<(), Failure> {
        self.send(Method::DELETE, path, None).await.map(drop)
    }

    pub(super) async fn stream(&self, path: &str) -> Result<Stream, Failure> {
        let response = self.send(Method::GET, path, None).await?;
        Ok(Stream { body: response.into_body(), agent: self.clone() })
    }

    async fn send(&self, method: Method, path: &str, body: Option<Vec<u8>>) -> Result<Response<Incoming>, Failure> {
        let exchange = async {
            let stream = connect(&self.socket).await.map_err(|error| self.unreachable(&error))?;
            let handshake = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await;
            let (mut sender, connection) = handshake.map_err(|error| self.broken(&error))?;
            // Ends with the answer's body, or with the runtime; its errors show at the sender and in the body.
            tokio::spawn(connection);
            let request = Request::builder().method(method).uri(path).header("host", "space-agent");
            let request = request.body(Full::new(Bytes::from(body.unwrap_or_default())));
            let request = request.map_err(|error| Failure::failed(format!("cannot ask for {path}: {error}")))?;
            let response = sender.send_request(request).await.map_err(|error| self.broken(&error))?;
            if response.status().is_success() { Ok(response) } else { Err(self.refused(response).await) }
        };
        timeout(DEADLINE, exchange).await.unwrap_or_else(|_| Err(self.late()))
    }

    async fn read<T: DeserializeOwned>(&self, response: Response<Incoming>) -> Result<T, Failure> {
        let collected = Limited::new(response.into_body(), ANSWER_MAX).collect();
        let body = timeout(DEADLINE, collected).await.map_err(|_| self.late())?;
        let bytes = body.map_err(|error| self.broken(&*error))?.to_bytes();
        serde_json::from_slice(&bytes).map_err(|error| {
            let socket = self.socket.display();
            Failure::failed(format!("{socket} answers in a way that this space-agent doesn't understand: {error}; use the space's own version"))
        })
    }

    async fn refused(&self, response: Response<Incoming>) -> Failure {
        let status = response.status();
        let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
        let bytes = body.map(|body| body.to_bytes()).unwrap_or_default();
        let (message, busy) = match serde_json::from_slice::<ProblemDocument>(&bytes) {
            Ok(problem) => (printable(&problem.detail, false), problem.title == KERNELS_BUSY),
            Err(_) => (format!("{} answers {status}", self.socket.display()), false),
        };
        Failure { busy, ..Failure::answered(status.as_u16(), message) }
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let socket = self.socket.display();
        match error.kind() {
            ErrorKind::PermissionDenied => Failure::not_permitted(format!(
                "you may not talk to {socket}; its space's user, the agent's user and root may"
            )),
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => Failure::no_agent(format!(
                "no agent answers at {socket}: the space is not running; start it with space-agent run"
            )),
            _ => Failure::no_agent(format!("no agent answers at {socket}: {error}")),
        }
    }

    fn broken(&self, error: &(dyn std::error::Error + 'static)) -> Failure {
        let mut cause = error;
        while let Some(next) = cause.source() {
            cause = next;
        }
        let socket = self.socket.display();
        Failure::no_agent(format!(
            "the agent at {socket} broke off: {cause}; it may be ending or restarting: try again"
        ))
    }

    fn late(&self) -> Failure {
        let (socket, seconds) = (self.socket.display(), DEADLINE.as_secs());
        Failure::no_agent(format!(
            "the agent at {socket} did not answer within {seconds} s; it may be overloaded: try again"
        ))
    }
}

/// A body that comes bit by bit for as long as the agent sends.
#[derive(Debug)]
pub(super) struct Stream {
    body: Incoming,
    agent: Agent,
}

impl Stream {
    /// The next bytes; `None` at the end. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Bytes>, Failure> {
        loop {
            match self.body.frame().await {
                None => return Ok(None),
                Some(Err(error)) => return Err(self.agent.broken(&error)),
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Ok(Some(data));
                    }
                }
            }
        }
    }
}

/// A stream cut into lines.
#[derive(Debug)]
pub(super) struct Lines {
    stream: Stream,
    held: Vec<u8>,
    ended: bool,
}

/// A line that doesn't end is cut here: a log of a progress bar is one.
const LINE_MAX: usize = 1 << 20;

impl Lines {
    pub(super) fn of(stream: Stream) -> Lines {
        Lines { stream, held: Vec::new(), ended: false }
    }

    /// The next line without its end; `None` after the last one. Cancel-safe.
    pub(super) async fn next(&mut self) -> Result<Option<Vec<u8>>, Failure> {
        loop {
            if let Some(end) = self.held.iter().position(|byte| *byte == b'\n') {
                let mut line: Vec<u8> = self.held.drain(..=end).collect();
                line.pop();
                return Ok(Some(line));
            }
            if self.ended || self.held.len() > LINE_MAX {
                return Ok((!self.held.is_empty()).then(|| std::mem::take(&mut self.held)));
            }
            match self.stream.next().await? {
                Some(bytes) => self.held.extend(&bytes),
                None => self.ended = true,
            }
        }
    }
}

async fn connect(socket: &Path) -> io::Result<UnixStream> {
    UnixStream::connect(socket).await
}

fn json(body: &impl Serialize) -> Result<Vec<u8>, Failure> {
    serde_json::to_vec(body).map_err(|error| Failure::failed(format!("cannot write the request: {error}")))
}
