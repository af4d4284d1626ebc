//! One socket's accept loop: who connects, how many at once, and the end.
//!
//! Everything that a peer can do to the agent by connecting is bounded here: connections by kind of peer, the time for
//! a request's head, its size. Strangers have a few places of their own, so that they can't take the owner's.

use super::extract::Caller;
use super::rights::{self, Door, Owners, Right};
use super::{Error, problem::Problem};
use crate::sys::stop::Stop;
use axum::Router;
use axum::http::{HeaderValue, Request, Response, header};
use axum::response::IntoResponse;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::{Service, service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

const CONNECTIONS: usize = 256;
const STRANGERS: usize = 8;
/// Also for the next request of a connection that is kept: an idle one is closed.
const HEAD_DEADLINE: Duration = Duration::from_secs(10);
const HEAD_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;
const END_DEADLINE: Duration = Duration::from_secs(2);
/// After an accept that failed (too many open files, as a rule): nothing gets better at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Served {
    door: Door,
    listener: UnixListener,
    owners: Owners,
    router: Router,
    connections: Arc<Semaphore>,
    strangers: Arc<Semaphore>,
}

impl Served {
    pub(super) fn new(
        door: Door,
        socket: std::os::unix::net::UnixListener,
        owners: Owners,
        router: Router,
    ) -> Result<Served, Error> {
        let listener = socket.set_nonblocking(true).and_then(|()| UnixListener::from_std(socket));
        Ok(Served {
            door,
            listener: listener.map_err(|source| Error::Listen { door, source })?,
            owners,
            router,
            connections: Arc::new(Semaphore::new(CONNECTIONS)),
            strangers: Arc::new(Semaphore::new(STRANGERS)),
        })
    }

    /// Accepts until told to stop, then waits for the connections, which end themselves within two seconds.
    pub(super) async fn until(self, mut stop: Stop) {
        let mut tasks = JoinSet::new();
        loop {
            // Cancel-safe: `accept` loses no connection, `join_next` no task, `wanted` holds nothing.
            tokio::select! {
                () = stop.wanted() => break,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.admit(stream, &mut tasks, &stop),
                    Err(error) => {
                        tracing::warn!(door = %self.door, %error, "cannot accept on the control socket");
                        sleep(ACCEPT_PAUSE).await;
                    }
                },
                Some(_) = tasks.join_next() => {}
            }
        }
        while tasks.join_next().await.is_some() {}
    }

    fn admit(&self, stream: UnixStream, tasks: &mut JoinSet<()>, stop: &Stop) {
        let Ok(peer) = stream.peer_cred() else { return };
        let caller = Caller { uid: peer.uid(), role: rights::role(self.door, peer.uid(), self.owners) };
        let places = if caller.role.is_some() { &self.connections } else { &self.strangers };
        let Ok(place) = places.clone().try_acquire_owned() else {
            refuse(&stream);
            return;
        };
        tasks.spawn(serve(stream, caller, self.router.clone(), place, stop.clone()));
    }
}

/// No place: a short answer if it fits into the socket's buffer, then the end.
fn refuse(stream: &UnixStream) {
    const BODY: &str = r#"{"type":"about:blank","title":"too many connections","status":503,"detail":"the agent serves as many connections as it can; close some and try again"}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let _: io::Result<usize> = stream.try_write(answer.as_bytes());
}

async fn serve(stream: UnixStream, caller: Caller, router: Router, _place: OwnedSemaphorePermit, mut stop: Stop) {
    let router = TowerToHyperService::new(router);
    let service = service_fn(move |request| answer(router.clone(), caller, request));
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_DEADLINE)
        .max_buf_size(HEAD_MAX)
        .max_headers(HEADERS_MAX)
        .serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    // A connection's error is its peer's affair: it went away or sent no HTTP. Cancel-safe: the connection is pinned.
    tokio::select! {
        _ = connection.as_mut() => return,
        () = stop.wanted() => connection.as_mut().graceful_shutdown(),
    }
    let _ = timeout(END_DEADLINE, connection).await;
}

async fn answer(
    router: TowerToHyperService<Router>,
    caller: Caller,
    mut request: Request<Incoming>,
) -> Result<Response<axum::body::Body>, Infallible> {
    let mut response = if caller.role.is_none() {
        let problem: Problem = caller.refused(Right::Read);
        problem.into_response()
    } else {
        request.extensions_mut().insert(caller);
        router.call(request).await?
    };
    let headers = response.headers_mut();
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    Ok(response)
}
