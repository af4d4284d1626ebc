//! One request: may it pass, and where does it lead. In this order: Host, Origin, session, form, place.

use super::access_log::AccessLog;
use super::answer::{self, Body};
use super::events::Tail;
use super::headers::Hop;
use super::keys::Keys;
use super::pool::Pool;
use super::pulse::Pulse;
use super::route::{self, Destination, Own};
use super::session::{self, Session};
use super::tls::Tls;
use super::tunnel::Agreed;
use super::watched::Busy;
use super::{admit, forward, own, page, ports, websocket};
use crate::model::now::{Now, Timestamp};
use crate::model::route::{Door, Route, RouteState};
use crate::model::status::Status;
use crate::sys::stop::Stop;
use hyper::body::{Body as _, Incoming};
use hyper::header::{ACCEPT, CONNECTION, CONTENT_TYPE, COOKIE, EXPECT, HOST, HeaderMap, HeaderValue, ORIGIN};
use hyper::{Method, Request, Response, StatusCode};
use space_lifecycle::SignIn;
use std::convert::Infallible;
use std::fmt;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::warn;

/// How long the hall may take to answer.
const HALL: Duration = Duration::from_secs(5);

/// What all connections share.
pub(super) struct Front {
    pub(super) door: watch::Receiver<Arc<Door>>,
    pub(super) status: watch::Receiver<Arc<Status>>,
    pub(super) keys: Keys,
    pub(super) now: fn() -> Now,
    pub(super) requests: mpsc::Sender<super::Request>,
    pub(super) tail: Tail,
    pub(super) pool: Arc<Pool>,
    pub(super) pulse: Arc<Pulse>,
    /// The listener's address is a loopback one.
    pub(super) loopback: bool,
    /// Where the door itself listens.
    pub(super) own_port: u16,
    pub(super) tls: Option<Tls>,
    pub(super) access: Option<AccessLog>,
    pub(super) stop: Stop,
}

impl fmt::Debug for Front {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Front").field("loopback", &self.loopback).finish_non_exhaustive()
    }
}

/// What the requests of one connection share.
#[derive(Debug)]
pub(super) struct Visit {
    pub(super) front: Arc<Front>,
    pub(super) peer: IpAddr,
    pub(super) hop: Hop,
    pub(super) busy: Arc<Busy>,
    /// One connection too many: it hears whether the agent lives, and no more.
    is_spare: bool,
    known: Mutex<Option<Known>>,
    /// Set by the request that turns this connection into a WebSocket; taken when hyper is done with it.
    tunnel: Mutex<Option<Agreed>>,
}

/// What the last request of a connection has proven. The next one usually says the same.
#[derive(Debug)]
struct Known {
    door: Arc<Door>,
    host: HeaderValue,
    cookie: Option<HeaderValue>,
    session: Option<Session>,
}

impl Known {
    /// Has a request with these headers proven the same already, at this door?
    fn covers(&self, door: &Arc<Door>, headers: &HeaderMap) -> bool {
        Arc::ptr_eq(&self.door, door)
            && only(headers, &HOST) == Some(Some(&self.host))
            && only(headers, &COOKIE) == Some(self.cookie.as_ref())
    }
}

/// The one value of a header, or none; `None`: there are more.
fn only<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> Option<Option<&'a HeaderValue>> {
    let mut values = headers.get_all(name).iter();
    let first = values.next();
    values.next().is_none().then_some(first)
}

impl Visit {
    pub(super) fn new(front: Arc<Front>, peer: IpAddr, busy: Arc<Busy>, is_spare: bool) -> Visit {
        let hop = Hop::new(peer, front.tls.is_some());
        Visit { front, peer, hop, busy, is_spare, known: Mutex::default(), tunnel: Mutex::new(None) }
    }

    /// The session of a request that says the same as the one before it on this connection. `Some(None)`: it has none.
    fn known(&self, door: &Arc<Door>, headers: &HeaderMap) -> Option<Option<Session>> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let session = known.as_ref().filter(|known| known.covers(door, headers))?.session;
        // It may have ended since; then it is looked at as if for the first time.
        let ended = |end: Timestamp| (self.front.now)().wall >= end;
        (!session.and_then(|session| session.expires).is_some_and(ended)).then_some(session)
    }

    /// Looks at Host, Origin (if the request `acts`) and the cookie.
    fn prove(&self, door: &Arc<Door>, headers: &HeaderMap, acts: bool) -> Result<Option<Session>, admit::Refused> {
        let host = admit::host(door, self.front.loopback, values(headers, &HOST))?;
        if acts {
            admit::origin(door, &host, values(headers, &ORIGIN))?;
        }
        let session = match door.sign_in {
            SignIn::Open => Some(Session { expires: None }),
            SignIn::Token => session::find(&self.front.keys, door, headers, (self.front.now)().wall),
        };
        if session.is_some() {
            self.busy.proven();
        }
        if let (Some(Some(host)), Some(cookie)) = (only(headers, &HOST), only(headers, &COOKIE)) {
            let known = Known { door: door.clone(), host: host.clone(), cookie: cookie.cloned(), session };
            *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Some(known);
        }
        Ok(session)
    }

    pub(super) fn agreed(&self, agreed: Agreed) {
        *self.tunnel.lock().unwrap_or_else(PoisonError::into_inner) = Some(agreed);
    }

    pub(super) fn take_agreed(&self) -> Option<Agreed> {
        self.tunnel.lock().unwrap_or_else(PoisonError::into_inner).take()
    }
}

/// What becomes of a request once it has been looked at.
enum Way<'a> {
    Answered(Box<Response<Body>>),
    /// It is on its way to an app.
    Asked(&'a Route, forward::Plain),
    /// What takes time and is rare has a future of its own, beside that of every request.
    Rare(Pin<Box<dyn Future<Output = Response<Body>> + Send + 'a>>),
}

impl From<Response<Body>> for Way<'_> {
    fn from(response: Response<Body>) -> Self {
        Way::Answered(Box::new(response))
    }
}

impl Way<'_> {
    async fn response(self, visit: &Visit) -> Response<Body> {
        match self {
            Way::Answered(response) => *response,
            Way::Asked(route, asked) => forward::answered(visit, route, asked).await,
            Way::Rare(answer) => answer.await,
        }
    }
}

/// Answers one request, whose framing is beyond doubt (see `framing`).
pub(super) async fn answer(visit: &Visit, request: Request<Incoming>) -> Result<Response<Body>, Infallible> {
    let front = &visit.front;
    let door = front.door.borrow().clone();
    let entry = front.access.as_ref().map(|log| Box::new(log.begin(&door, &request, visit.peer, front.now)));
    let (socket, has_body) = (websocket::is_wanted(request.headers()), !request.body().is_end_stream());
    let way = match visit.is_spare {
        true => Way::Rare(Box::pin(spare(visit, &door, request))),
        false => admitted(visit, &door, socket, request),
    };
    let mut response = way.response(visit).await;
    if response.headers().get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(b"text/event-stream")) {
        visit.busy.answers_without_end();
    }
    // Of a body that nobody has read it depends on how fast it comes whether it can be passed over.
    let is_unread = has_body && !response.status().is_success() && !matches!(response.body(), Body::App(_));
    // What follows a handshake was meant for a WebSocket, not for us; what follows the stop, for the next agent.
    if response.status() != StatusCode::SWITCHING_PROTOCOLS && (socket || is_unread || front.stop.is_wanted()) {
        response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    }
    Ok(match entry {
        None => response,
        Some(entry) => entry.answered(response),
    })
}

/// Only what a platform asks about is answered when all connections are in use.
async fn spare(visit: &Visit, door: &Arc<Door>, request: Request<Incoming>) -> Response<Body> {
    let response = match route::lead(door, request.uri().path()) {
        Destination::Own(own @ (Own::Live | Own::Ready | Own::Idle)) => {
            own::answer(&visit.front, door, own, None, request).await
        }
        _ => answer::later("too many connections to this space are open and busy: close some pages, or come again"),
    };
    answer::with(response, CONNECTION, "close")
}

fn admitted<'a>(visit: &'a Visit, door: &'a Arc<Door>, socket: bool, request: Request<Incoming>) -> Way<'a> {
    let front = &visit.front;
    let acts = socket || !is_read(request.method());
    let session = match visit.known(door, request.headers()) {
        Some(session) if !acts => session,
        _ => match visit.prove(door, request.headers(), acts) {
            Ok(session) => session,
            Err(refused) if refused.is_malformed() => return answer::bad(&refused.to_string()).into(),
            Err(refused) => return answer::text(StatusCode::FORBIDDEN, &refused.to_string()).into(),
        },
    };
    if let Some(refusal) = unusable(&request) {
        return refusal.into();
    }
    let response = match (route::lead(door, request.uri().path()), session) {
        (Destination::Own(own), session) if own.is_public() || session.is_some() => {
            return Way::Rare(Box::pin(own::answer(front, door, own, session, request)));
        }
        (_, None) | (Destination::Own(_), _) => own::sign_in_first(door, wants_page(&request)),
        (Destination::App(route), Some(session)) => return app(visit, door, route, session, socket, request),
        (Destination::Port(to), _) if to.port == front.own_port => {
            answer::text(StatusCode::BAD_REQUEST, &ports::own(to.port))
        }
        (Destination::Port(to), Some(session)) => {
            let answer = async move { port(visit, door, &to.route(door), session, socket, request).await };
            return Way::Rare(Box::pin(answer));
        }
        (Destination::NoPort, _) => answer::text(StatusCode::BAD_REQUEST, ports::NO_PORT),
        (Destination::Moved(to), _) => moved(to, request.uri().query()),
        (Destination::Unknown, _) => answer::text(StatusCode::NOT_FOUND, "nothing of this space is at this path"),
    };
    response.into()
}

/// Forms of requests that HTTP knows and a front door has no use for.
fn unusable(request: &Request<Incoming>) -> Option<Response<Body>> {
    let method = request.method();
    if *method == Method::TRACE {
        return Some(answer::not_allowed("GET, HEAD, POST, PUT, PATCH, DELETE and OPTIONS"));
    }
    let expects = |value: &HeaderValue| !value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if request.headers().get_all(EXPECT).iter().any(expects) {
        return Some(answer::text(StatusCode::EXPECTATION_FAILED, "nothing can be expected but 100-continue"));
    }
    None
}

fn app<'a>(
    visit: &'a Visit,
    door: &'a Door,
    route: &'a Route,
    session: Session,
    socket: bool,
    request: Request<Incoming>,
) -> Way<'a> {
    if socket && let Err(wrong) = websocket::check_request(request.method(), request.version(), request.headers()) {
        return answer::bad(wrong).into();
    }
    match route.state {
        RouteState::Ready if socket => Way::Rare(Box::pin(forward::websocket(visit, route, session, request))),
        RouteState::Ready => match forward::ask(visit, route, request) {
            Ok(asked) => Way::Asked(route, asked),
            Err(refusal) => Way::Answered(refusal),
        },
        _ => Way::Rare(Box::pin(not_there(visit, door, route, socket, request))),
    }
}

/// Whatever the user runs on a port: the route lives as long as the request.
async fn port(
    visit: &Visit,
    door: &Door,
    route: &Route,
    session: Session,
    socket: bool,
    request: Request<Incoming>,
) -> Response<Body> {
    app(visit, door, route, session, socket, request).response(visit).await
}

/// What the app's viewers see instead of it.
async fn not_there(
    visit: &Visit,
    door: &Door,
    route: &Route,
    socket: bool,
    request: Request<Incoming>,
) -> Response<Body> {
    if route.state == RouteState::Asleep {
        wake(&visit.front, route).await;
    }
    let status = visit.front.status.borrow().clone();
    match wants_page(&request) && !socket {
        true => page::start(door, &status, Some(route).filter(|route| route.port.is_none())),
        false => answer::later(&status.sentence),
    }
}

/// The request that wants it has a session: whoever has none gets no further than the sign-in page.
async fn wake(front: &Front, route: &Route) {
    let (reply, done) = oneshot::channel();
    let asked = timeout(HALL, async {
        front.requests.send(super::Request::Wake { app: route.app.clone(), reply }).await.ok()?;
        done.await.ok()
    });
    if !matches!(asked.await, Ok(Some(()))) {
        warn!(app = %route.app, "it could not be started: the hall does not answer");
    }
}

fn moved(to: String, query: Option<&str>) -> Response<Body> {
    let to = query.map_or(to.clone(), |query| format!("{to}?{query}"));
    answer::redirect(StatusCode::FOUND, &to)
}

fn is_read(method: &Method) -> bool {
    *method == Method::GET || *method == Method::HEAD
}

/// A person with a browser, as opposed to a program or a page's script.
fn wants_page(request: &Request<Incoming>) -> bool {
    let accepts = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains("text/html"));
    is_read(request.method()) && request.headers().get_all(ACCEPT).iter().any(accepts)
}

fn values<'a>(headers: &'a HeaderMap, name: &hyper::header::HeaderName) -> impl Iterator<Item = &'a [u8]> {
    headers.get_all(name).iter().map(HeaderValue::as_bytes)
}
