//! A request on its way to an app, and the answer on its way back. Bodies stream; nothing is held whole, nothing has
//! a time limit but the connect.

use super::answer::{self, Body, BoxError};
use super::body::{AppBody, ToApp};
use super::fault::{Fault, Side};
use super::headers::{self, Hop};
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
use hyper::{Request, Response, StatusCode, Uri, Version};
use tracing::{debug, warn};

const FETCH_USER: HeaderName = HeaderName::from_static("sec-fetch-user");

/// Sends a plain request and streams the answer.
pub(super) async fn plain(visit: &Visit, route: &Route, request: Request<Incoming>) -> Response<Body> {
    count(route, &request);
    let request = match outgoing(request, route, &visit.hop) {
        Ok(request) => request,
        Err(error) => return answer::bad(&format!("the path is not one that can be passed on: {error}")),
    };
    let (is_safe, began) = (request.method().is_safe(), clock::instant());
    let response = match visit.front.pool.send(route, request).await {
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
    let mut request = match outgoing(request, route, &visit.hop) {
        Ok(request) => request,
        Err(error) => return answer::bad(&format!("the path is not one that can be passed on: {error}")),
    };
    ask_for_websocket(request.headers_mut());
    if Reader::needs_payload(speech) {
        // Whoever compresses can't be read.
        request.headers_mut().remove(SEC_WEBSOCKET_EXTENSIONS);
    }
    let offer = Offer::of(request.headers());
    let asked = async {
        let mut upstream = upstream::connect_for_upgrade(route).await?;
        let response = upstream.send(request).await?;
        Ok((upstream, response))
    };
    let (upstream, mut response) = match asked.await {
        Ok(asked) => asked,
        Err(fault) => return no_answer(visit, route, &fault, true),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        let traffic = route.traffic.clone();
        return incoming(response.map(|body| AppBody::new(body, Box::new(upstream), None, traffic)), route);
    }
    if let Err(wrong) = offer.check_answer(response.status(), response.headers()) {
        return no_answer(visit, route, &Fault::Handshake(wrong), true);
    }
    let app = hyper::upgrade::on(&mut response);
    let presence = visit.front.pulse.presence(&visit.front.door.borrow(), route, session.expires);
    visit.agreed(Agreed { client, app, upstream, presence, speech });
    let mut response = response.map(|_| Body::Whole(Bytes::new()));
    headers::to_browser(response.headers_mut(), route);
    ask_for_websocket(response.headers_mut());
    response
}

fn ask_for_websocket(headers: &mut hyper::HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The request as the app gets it.
fn outgoing(request: Request<Incoming>, route: &Route, hop: &Hop) -> Result<Request<ToApp>, BoxError> {
    let (mut parts, body) = request.into_parts();
    if route.strip_base_path {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = Uri::builder().path_and_query(upstream_target(route, target)).build()?;
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    headers::to_app(&mut parts.headers, route, hop);
    let body = if body.is_end_stream() { ToApp::Nothing } else { ToApp::Some(body, route.traffic.clone()) };
    measure(&mut parts.headers, &body);
    Ok(Request::from_parts(parts, body))
}

/// Says how long a body is, also where the client's word for it was for this hop only: without one, hyper sends a GET
/// without its body.
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
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    if parts.headers.contains_key(TRANSFER_ENCODING) {
        // The chunks say it, as hyper has read them (RFC 9112, 6.3); a length beside them is somebody's lie.
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
