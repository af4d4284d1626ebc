//! The front door: the only way to an app. Accepts connections, decides who may pass, forwards.
//!
//! It receives the door's table and the status over `watch`, log lines over `broadcast`, and a listener that init keeps;
//! it asks the hall for what must outlive the agent (a link's only use) or changes the space (a lease). It holds no
//! state of the space. It stops when told to: no new connections, answers in flight get a short grace, the rest is cut.
//!
//! A connection is let in by [`seats`] and read by [`watched`], which holds bytes back until [`framing`] has passed them.
//! A request's way: hyper -> [`serve`] (may it pass, where does it lead) -> [`own`] or [`forward`] -> an idle connection
//! of the [`pool`] or a new one of [`upstream`], which sends ([`sending`]) and reads the answer ([`reply`]); what goes wrong
//! there is judged by [`fault`]. A WebSocket becomes a
//! [`tunnel`]: two [`flow`]s of bytes, followed by [`observer`] ([`frames`], and what they say: [`speech`]), and one
//! [`pulse`] for all. What decides is pure and tested by tables: [`admit`], [`route`], [`headers`], [`websocket`].

mod access_log;
mod admit;
mod answer;
mod body;
mod client;
mod events;
mod fault;
mod flow;
mod forward;
mod frames;
mod framing;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod headers;
mod keys;
pub mod link;
mod observer;
mod own;
mod page;
mod pool;
mod ports;
mod pulse;
mod reply;
mod route;
mod seats;
mod sending;
mod serve;
mod session;
mod speech;
mod stream;
#[cfg(test)]
mod tests;
mod tls;
mod tunnel;
mod turn;
mod upstream;
mod watched;
mod websocket;

pub use access_log::AccessLog;
pub use keys::Keys;
pub use tls::Pair;

use crate::model::log::LogLine;
use crate::model::now::{Now, Timestamp};
use crate::model::route::Door;
use crate::model::status::Status;
use crate::model::traffic::{Connections, Open};
use crate::sys::clock;
use crate::sys::stop::Stop;
use client::Client;
use events::{Ring, Tail};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use pool::Pool;
use pulse::Pulse;
use seats::{Arrival, SPARE_TIME, Seats};
use serve::{Front, Visit};
use std::fmt;
use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tls::Tls;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tracing::debug;
use tunnel::Agreed;
use watched::Watched;

const MAX_BUFFER: usize = 64 * 1024;

/// What the front door needs.
pub struct Config {
    /// Bound and listening already.
    pub listener: std::net::TcpListener,
    pub door: watch::Receiver<Arc<Door>>,
    pub status: watch::Receiver<Arc<Status>>,
    pub lines: broadcast::Sender<Arc<LogLine>>,
    /// New at each boot of the space; the same after a restart of the agent.
    pub keys: Keys,
    pub now: fn() -> Now,
    /// `None`: the door speaks plain HTTP.
    pub tls: Option<Pair>,
    pub access: Option<AccessLog>,
    pub connections: Arc<Connections>,
    /// How many this process may have open.
    pub descriptors: u64,
}

/// What the front door asks of the hall.
#[derive(Debug)]
pub enum Request {
    /// Answered with true if this is the link's first use. The id needs to be remembered until `expires` and 10 s more.
    RedeemLink { id: String, expires: Timestamp, reply: oneshot::Sender<bool> },
    /// "Keep working" on the page. Refused with a sentence.
    Keep { duration: Duration, reply: oneshot::Sender<Result<(), String>> },
    /// "Start" on the page of recovery and parked mode. Refused with a sentence.
    Start { reply: oneshot::Sender<Result<(), String>> },
    /// Somebody who may use this app, by its name, wants it: answered once the status shows that it is on its way.
    Wake { app: String, reply: oneshot::Sender<()> },
    /// A command for the console of recovery mode. Refused with a sentence.
    Rescue { command: String, reply: oneshot::Sender<Result<(), String>> },
    /// Something that belongs into the space's events.
    Note { text: String, failure: bool },
}

#[derive(Debug)]
pub enum Error {
    /// The listener can't be used.
    Listener(io::Error),
}

/// Serves until `stop` is wanted. Needs a tokio runtime with time and I/O; one thread is enough.
pub async fn run(config: Config, requests: mpsc::Sender<Request>, mut stop: Stop) -> Result<(), Error> {
    config.listener.set_nonblocking(true).map_err(Error::Listener)?;
    let listener = TcpListener::from_std(config.listener).map_err(Error::Listener)?;
    let at = listener.local_addr().map_err(Error::Listener)?;
    let (recent, mut viewers) = mpsc::channel(16);
    let (mut lines, mut ring, mut door) = (config.lines.subscribe(), Ring::new(), config.door.clone());
    let (mut keepers, mut tls) = (JoinSet::new(), None);
    if let Some(pair) = config.tls {
        let (begun, keep) = Tls::begin(pair, requests.clone(), stop.clone()).await;
        keepers.spawn(keep);
        tls = Some(begun);
    }
    let front = Arc::new(Front {
        door: config.door,
        status: config.status,
        keys: config.keys,
        now: config.now,
        requests,
        tail: Tail::new(recent),
        pool: Arc::new(Pool::default()),
        pulse: Arc::new(Pulse::new(config.now)),
        loopback: at.ip().is_loopback(),
        own_port: at.port(),
        tls,
        access: config.access,
        stop: stop.clone(),
    });
    let mut beats = pin!(front.pulse.beats());
    let mut seats = Seats::new(listener, config.descriptors);
    loop {
        // Every arm is cancel-safe: whoever was accepted is returned, and the channels lose nothing.
        tokio::select! {
            () = stop.wanted() => break,
            arrival = seats.next() => {
                let busy = arrival.busy.clone();
                seats.spawn(busy, connection(front.clone(), arrival, config.connections.opened()));
            }
            Ok(()) = door.changed() => {
                let door = door.borrow_and_update().clone();
                front.pool.keep_only(&door);
                front.pulse.keep_only(&door);
            }
            () = &mut beats => {}
            line = lines.recv() => match line {
                Ok(line) => ring.push(line),
                Err(broadcast::error::RecvError::Lagged(lost)) => debug!(lost, "the page's log skips lines"),
                // `config` holds a sender.
                Err(broadcast::error::RecvError::Closed) => {}
            },
            Some(viewer) = viewers.recv() => {
                // A viewer that has left already needs no answer.
                let _ = viewer.send(ring.hear());
            }
        }
    }
    front.pulse.end();
    seats.drain(stop.until()).await;
    keepers.shutdown().await;
    Ok(())
}

/// One client, from its first request to its last or to the end of its WebSocket.
async fn connection(front: Arc<Front>, arrival: Arrival, _counted: Open) {
    let Arrival { stream, peer, busy, is_spare } = arrival;
    let visit = Arc::new(Visit::new(front, peer.ip(), busy, is_spare));
    // Boxed, so that a WebSocket that lives for days doesn't keep the room that HTTP needed.
    let agreed = match is_spare {
        true => timeout(SPARE_TIME, Box::pin(requests(visit, stream))).await.ok().flatten(),
        false => Box::pin(requests(visit, stream)).await,
    };
    if let Some(agreed) = agreed {
        agreed.join().await;
    }
}

/// Serves requests until the client leaves, or one of them has become a WebSocket.
async fn requests(visit: Arc<Visit>, stream: TcpStream) -> Option<Agreed> {
    // Without it, small answers wait for acknowledgements; it fails only on a socket that is closed already.
    stream.set_nodelay(true).ok()?;
    let came = clock::instant();
    let client = match visit.front.tls.clone() {
        None => Client::Plain(stream),
        Some(tls) => tls.accept(stream, came, visit.front.stop.clone()).await?,
    };
    let mut stop = visit.front.stop.clone();
    let io = TokioIo::new(Watched::new(client, visit.busy.clone()));
    let service = service_fn(|request| serve::answer(&visit, request));
    let mut builder = http1::Builder::new();
    // Time and the size of heads are watched before hyper (see `watched`).
    builder.half_close(true).max_buf_size(MAX_BUFFER);
    let mut served = pin!(builder.serve_connection(io, service).with_upgrades());
    let ended = tokio::select! {
        biased;
        ended = served.as_mut() => ended,
        () = stop.wanted() => tokio::select! {
            biased;
            ended = served.as_mut() => ended,
            () = visit.busy.has_no_request_coming(came) => {
                served.as_mut().graceful_shutdown();
                served.await
            }
        },
    };
    if let Err(error) = ended {
        debug!(%error, "a connection ended early");
    }
    visit.take_agreed()
}

impl fmt::Debug for Config {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Config").field("listener", &self.listener).finish_non_exhaustive()
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Listener(_) => f.write_str("cannot serve on the front door's socket"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listener(error) => Some(error),
        }
    }
}
