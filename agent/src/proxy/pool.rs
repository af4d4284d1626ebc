//! Idle connections of all apps, kept for the next request.
//!
//! A connection belongs to one request until its answer has been read to the end; only then it comes back. What is
//! dropped earlier is closed, so that no rest of one answer can be read as the beginning of another. Nobody drives an
//! idle connection: whether it has ended, or anything came over it that nobody asked for, shows when it is taken.

use super::body::{AppBody, ToApp};
use super::fault::Fault;
use super::upstream::{self, Place, Upstream};
use crate::model::route::{Door, Route, RouteState};
use crate::sys::clock;
use hyper::{Method, Request, Response};
use std::future::poll_fn;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::Instant;

/// Idle connections that are kept for each app.
const KEPT: usize = 32;
/// And for how long: most servers close theirs later, and Node's after 5 s.
const IDLE: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
pub(super) struct Pool(Mutex<Vec<Idle>>);

#[derive(Debug)]
struct Idle {
    since: Instant,
    upstream: Box<Upstream>,
}

impl Pool {
    fn idle(&self) -> MutexGuard<'_, Vec<Idle>> {
        // A list of connections is whole at every moment, whoever panicked beside it.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The newest that still stands.
    fn take(&self, route: &Route, cx: &mut Context<'_>) -> Option<Box<Upstream>> {
        let mut idle = self.idle();
        while let Some(newest) = idle.iter().rposition(|kept| kept.upstream.leads_to(route)) {
            let mut upstream = idle.remove(newest).upstream;
            // Its wakes are this task's from now on.
            let _ = upstream.poll_with(cx, |_| Poll::Ready(()));
            if upstream.is_ready() {
                return Some(upstream);
            }
        }
        None
    }

    pub(super) fn give(&self, upstream: Box<Upstream>) {
        if !upstream.is_ready() {
            return;
        }
        let now = clock::instant();
        let mut idle = self.idle();
        // They are in the order in which they came, but for a few.
        while idle.first().is_some_and(|kept| now.duration_since(kept.since) > IDLE) {
            idle.remove(0);
        }
        let many = idle.len() >= KEPT && idle.iter().filter(|kept| kept.upstream.is_beside(&upstream)).count() >= KEPT;
        if !many {
            idle.push(Idle { since: now, upstream });
        }
    }

    /// Closes the connections to apps that are no longer behind this door, or not ready.
    pub(super) fn keep_only(&self, door: &Door) {
        let ready: Vec<_> =
            door.routes.iter().filter(|route| route.state == RouteState::Ready).map(Place::of).collect();
        self.idle().retain(|kept| ready.contains(kept.upstream.place()));
    }

    /// Sends a request over an idle connection or a new one. An idle one may have been closed by the app at this very
    /// moment: then the request goes out once more, if none of it was sent, or if it is safe to repeat (`spare`).
    pub(super) async fn send(
        self: &Arc<Pool>,
        route: &Route,
        mut request: Request<ToApp>,
    ) -> Result<Response<AppBody>, Fault> {
        let home = may_return(&request).then(|| self.clone());
        if let Some(mut upstream) = poll_fn(|cx| Poll::Ready(self.take(route, cx))).await {
            let spare = copy(&request);
            match upstream.try_send(request).await {
                Ok(response) => return Ok(response.map(|body| lend(body, upstream, home, route))),
                Err((fault, unsent)) => match unsent.or(spare.filter(|_| fault.allows_retry())) {
                    Some(again) => request = again,
                    None => return Err(fault),
                },
            }
        }
        let mut upstream = Box::new(upstream::connect(route).await?);
        let response = upstream.send(request).await?;
        Ok(response.map(|body| lend(body, upstream, home, route)))
    }
}

fn lend(body: hyper::body::Incoming, upstream: Box<Upstream>, home: Option<Arc<Pool>>, route: &Route) -> AppBody {
    AppBody::new(body, upstream, home, route.traffic.clone())
}

/// May the connection carry another request after this one? Many apps don't read a body where none is usual, and would
/// take it for the next request, whose answer somebody else would get.
fn may_return(request: &Request<ToApp>) -> bool {
    let usual = matches!(*request.method(), Method::POST | Method::PUT | Method::PATCH);
    usual || request.body().is_nothing()
}

/// The same request once more, if asking twice is the same as asking once and it has no body.
fn copy(request: &Request<ToApp>) -> Option<Request<ToApp>> {
    if !request.method().is_safe() || !request.body().is_nothing() {
        return None;
    }
    let mut copy = Request::new(ToApp::Nothing);
    *copy.method_mut() = request.method().clone();
    *copy.uri_mut() = request.uri().clone();
    *copy.headers_mut() = request.headers().clone();
    Some(copy)
}
