//! Idle connections of all apps, kept for the next request.
//!
//! A connection belongs to one request until its answer has been read to the end; only then it comes back. What is
//! dropped earlier is closed, so that no rest of one answer can be read as the beginning of another. Nobody drives an
//! idle connection: whether it has ended, or anything came over it that nobody asked for, shows when it is used.

use super::body::{AppBody, ToApp};
use super::fault::Fault;
use super::reply::Head;
use super::sending::Sending;
use super::upstream::{self, Place, Upstream};
use crate::model::route::{Door, Route, RouteState};
use crate::sys::clock;
use hyper::http::request::Parts;
use hyper::{Method, Response};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
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

    /// The newest. Whether it still stands shows when it is used.
    fn take(&self, route: &Route) -> Option<Box<Upstream>> {
        let mut idle = self.idle();
        let newest = idle.iter().rposition(|kept| kept.upstream.leads_to(route))?;
        Some(idle.remove(newest).upstream)
    }

    pub(super) fn give(&self, mut upstream: Box<Upstream>) {
        if !upstream.is_ready() {
            return;
        }
        upstream.rest();
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

    /// Begins a request, over an idle connection if there is one; [`answer`](Pool::answer) waits for what comes of it.
    pub(super) fn ask(self: &Arc<Pool>, route: &Route, parts: Parts, body: ToApp) -> Asked {
        let home = may_return(&parts.method, &body).then(|| self.clone());
        let over = match self.take(route) {
            None => Over::New(Box::new(Sending::new(Sending::default(), &parts, body))),
            Some(mut upstream) => {
                upstream.ask(parts, body);
                Over::Idle(upstream)
            }
        };
        Asked { over, home }
    }

    /// An idle connection may have been closed by the app at this very moment: then the request goes out once more, over
    /// a new one, if none of it was sent, or if it is safe to repeat.
    pub(super) async fn answer(route: &Route, asked: Asked) -> Result<Response<AppBody>, Fault> {
        let Asked { over, home } = asked;
        let sending = match over {
            Over::New(sending) => *sending,
            Over::Idle(mut upstream) => match upstream.answer().await {
                Ok(head) => return Ok(response(head, upstream, home, route)),
                Err(fault) => upstream.again(&fault).ok_or(fault)?,
            },
        };
        // Rare, and so not within the future of every request.
        Box::pin(anew(route, sending, home)).await
    }
}

/// A request that has begun.
#[derive(Debug)]
pub(super) struct Asked {
    over: Over,
    /// Where its connection goes afterwards; `None`: nowhere.
    home: Option<Arc<Pool>>,
}

#[derive(Debug)]
enum Over {
    /// It has still to be made.
    New(Box<Sending>),
    Idle(Box<Upstream>),
}

async fn anew(route: &Route, sending: Sending, home: Option<Arc<Pool>>) -> Result<Response<AppBody>, Fault> {
    let mut upstream = upstream::connect(route).await?;
    upstream.take_over(sending);
    let head = upstream.answer().await?;
    Ok(response(head, upstream, home, route))
}

/// An answer with its body, and the connection that it comes over.
pub(super) fn response(
    head: Head,
    upstream: Box<Upstream>,
    home: Option<Arc<Pool>>,
    route: &Route,
) -> Response<AppBody> {
    let mut response = Response::new(AppBody::new(upstream, home, route.traffic.clone()));
    (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
    response
}

/// May the connection carry another request after this one? Many apps don't read a body where none is usual, and would
/// take it for the next request, whose answer somebody else would get.
fn may_return(method: &Method, body: &ToApp) -> bool {
    let usual = matches!(*method, Method::POST | Method::PUT | Method::PATCH);
    usual || body.is_nothing()
}
