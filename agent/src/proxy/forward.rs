//! A request on its way to an app, and the answer on its way back. Bodies stream; nothing is held whole, nothing has
//! a time limit but the connect.

use super::answer::{self, Body, BoxError};
use super::body::{AppBody, ToApp};
use super::fault::{Fault, Side};
use super::headers::{self, Hop};
use super::pool::{self, Asked, Pool};
use super::ports;
use super::route::upstream_target;
use super::serve::Visit;
use super::session::Session;
use super::speech::Reader;
use super::tunnel::Agreed;
use super::upstream;
use super::websocket::Offer;
use crate::model::route::{Route, RouteState};
use crate::sys::clock;
use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header::{
    CONNECTION, CONTENT_LENGTH, HeaderName, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, TRANSFER_ENCODING, UPGRADE,
};
use hyper::http::request::Parts;
use hyper::{Request, Response, StatusCode, Uri};
use tokio::time::Instant;
use tracing::{debug, warn};

const FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// A plain request that has begun.
pub(super) struct Plain {
    asked: Asked,
    is_safe: bool,
    began: Instant,
}

/// Begins a plain request; [`answered`] streams the answer.
pub(super) fn ask(visit: &Visit, route: &Route, request: Request<Incoming>) -> Result<Plain, Box<Response<Body>>> {
    count(route, &request);
    let (parts, body) = outgoing(request, route, &visit.hop)
        .map_err(|error| Box::new(answer::bad(&format!("the path is not one that can be passed on: {error}"))))?;
    let (is_safe, began) = (parts.method.is_safe(), clock::instant());
    Ok(Plain { asked: visit.front.pool.ask(route, parts, body), is_safe, began })
}

pub(super) async fn answered(visit: &Visit, route: &Route, plain: Plain) -> Response<Body> {
    let Plain { asked, is_safe, began } = plain;
    let response = match Pool::answer(route, asked).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            no_answer(visit, route, &Fault::Switched, is_safe)
        }
        Ok(response) => incoming(response, route),
        Err(fault) => no_answer(visit, route, &fault, is_safe),
    };
    route.traffic.answered(response.status().as_u16(), began.elapsed());
    response
}

/// Counts a request by what it says about whether anybody works.
fn count(route: &Route, request: &Request<Incoming>) {
    let path = request.uri().path();
    let rest = path.strip_prefix(&*route.base_path).unwrap_or(path);
    let navigates = request.headers().get(FETCH_USER).is_some_and(|value| value.as_bytes() == b"?1");
    route.traffic.request(route.rules.request(request.method().as_str(), rest, navigates));
}

/// Passes a WebSocket handshake on over a connection of its own. Only if the app agrees to it does the client get its
/// 101; any other answer passes as what it is.
pub(super) async fn websocket(
    visit: &Visit,
    route: &Route,
    session: Session,
    request: Request<Incoming>,
) -> Response<Body> {
    count(route, &request);
    let began = clock::instant();
    let response = handshake(visit, route, session, request).await;
    route.traffic.answered(response.status().as_u16(), began.elapsed());
    response
}

async fn handshake(visit: &Visit, route: &Route, session: Session, mut request: Request<Incoming>) -> Response<Body> {
    let speech = request.uri().path().strip_prefix(&*route.base_path).and_then(|rest| route.rules.socket(rest));
    let client = hyper::upgrade::on(&mut request);
    let (mut parts, body) = match outgoing(request, route, &visit.hop) {
        Ok(outgoing) => outgoing,
        Err(error) => return answer::bad(&format!("the path is not one that can be passed on: {error}")),
    };
    ask_for_websocket(&mut parts.headers);
    if Reader::needs_payload(speech) {
        // Whoever compresses can't be read.
        parts.headers.remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let offer = Offer::of(&parts.headers);
    let asked = async {
        let mut upstream = upstream::connect(route).await?;
        upstream.ask(parts, body);
        let head = upstream.answer().await?;
        Ok((upstream, head))
    };
    let (upstream, mut head) = match asked.await {
        Ok(asked) => asked,
        Err(fault) => return no_answer(visit, route, &fault, true),
    };
    if head.status != StatusCode::SWITCHING_PROTOCOLS {
        return incoming(pool::response(head, upstream, None, route), route);
    }
    if let Err(wrong) = offer.check_answer(head.status, &head.headers) {
        return no_answer(visit, route, &Fault::Handshake(wrong), true);
    }
    let presence = visit.front.pulse.presence(&visit.front.door.borrow(), route, session.expires);
    visit.agreed(Agreed { client, app: upstream.into_stream(), presence, speech });
    headers::to_browser(&mut head.headers, route);
    ask_for_websocket(&mut head.headers);
    let mut response = Response::new(Body::Whole(Bytes::new()));
    (*response.status_mut(), *response.headers_mut()) = (head.status, head.headers);
    response
}

fn ask_for_websocket(headers: &mut hyper::HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The request as the app gets it.
fn outgoing(request: Request<Incoming>, route: &Route, hop: &Hop) -> Result<(Parts, ToApp), BoxError> {
    let (mut parts, body) = request.into_parts();
    if route.strip_base_path {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = Uri::builder().path_and_query(upstream_target(route, target)).build()?;
    }
    headers::to_app(&mut parts.headers, route, hop);
    let body = if body.is_end_stream() { ToApp::Nothing } else { ToApp::Some(body, route.traffic.clone()) };
    measure(&mut parts.headers, &body);
    Ok((parts, body))
}

/// Says how long a body is, also where the client's word for it was for this hop only.
fn measure(headers: &mut hyper::HeaderMap, body: &ToApp) {
    let ToApp::Some(body, _) = body else { return };
    match body.size_hint().exact() {
        Some(length) => headers.insert(CONTENT_LENGTH, HeaderValue::from(length)),
        None => headers.insert(TRANSFER_ENCODING, HeaderValue::from_static("chunked")),
    };
}

/// The answer as the browser gets it.
fn incoming(response: Response<AppBody>, route: &Route) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // The chunks say it (RFC 9112, 6.3); a length beside them is somebody's lie.
        parts.headers.remove(CONTENT_LENGTH);
    }
    headers::to_browser(&mut parts.headers, route);
    Response::from_parts(parts, Body::App(body))
}

/// What the client is told instead of an answer. The app may have ended since the table was read: then that is what
/// there is to say. `is_safe`: asking again does nothing twice.
fn no_answer(visit: &Visit, route: &Route, fault: &Fault, is_safe: bool) -> Response<Body> {
    let verdict = fault.verdict(is_safe);
    match verdict.is_loud {
        true => warn!(app = %route.app, %fault, "no answer"),
        false => debug!(app = %route.app, %fault, "no answer"),
    }
    if fault.side() == Side::Client {
        return answer::last(verdict.status, &fault.to_string());
    }
    if let Some(port) = route.port {
        return ports::no_answer(port, fault);
    }
    let ready = |now: &Route| now.app == route.app && now.state == RouteState::Ready;
    if !visit.front.door.borrow().routes.iter().any(ready) {
        return answer::later(&visit.front.status.borrow().sentence);
    }
    match verdict.status {
        StatusCode::SERVICE_UNAVAILABLE => answer::later(&sentence(route, &fault.to_string())),
        status => answer::text(status, &sentence(route, &fault.to_string())),
    }
}

fn sentence(route: &Route, why: &str) -> String {
    let (label, app) = (&route.label, &route.app);
    format!(
        "{label} does not answer: {why}; try again in a moment, and if it stays so look at `space-agent logs {app}`"
    )
}
