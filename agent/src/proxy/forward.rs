//! A request on its way to an app, and the answer on its way back. Bodies stream; nothing is held whole, nothing has
//! a time limit but the connect.

use super::answer::{self, Body, BoxError};
use super::headers;
use super::ports;
use super::route::upstream_target;
use super::serve::Visit;
use super::session::Session;
use super::speech::Reader;
use super::tunnel::Agreed;
use super::upstream::{self, AppBody, ToApp};
use super::websocket::Offer;
use crate::model::route::{Door, Route, RouteState};
use http_body_util::{Either, Empty};
use hyper::body::{Body as _, Incoming};
use hyper::header::{CONNECTION, HeaderValue, SEC_WEBSOCKET_EXTENSIONS, UPGRADE};
use hyper::{Request, Response, StatusCode, Uri, Version};
use std::net::IpAddr;
use tracing::debug;

/// Sends a plain request and streams the answer.
pub(super) async fn plain(visit: &Visit, route: &Route, request: Request<Incoming>) -> Response<Body> {
    let request = match outgoing(request, route, visit.peer) {
        Ok(request) => request,
        Err(error) => return answer::bad(&format!("the path is not one that can be passed on: {error}")),
    };
    let safe = request.method().is_safe();
    match visit.front.pool.send(route, request).await {
        Ok(response) if response.status() == StatusCode::SWITCHING_PROTOCOLS => {
            failed(route, "it switches to a protocol that nobody asked for")
        }
        Ok(response) => incoming(response, route),
        Err(error) => no_answer(visit, route, &error, safe),
    }
}

/// Passes a WebSocket handshake on over a connection of its own. Only if the app agrees to it does the client get its
/// 101; any other answer passes as what it is.
pub(super) async fn websocket(
    visit: &Visit,
    door: &Door,
    route: &Route,
    session: Session,
    mut request: Request<Incoming>,
) -> Response<Body> {
    let speech = request.uri().path().strip_prefix(&*route.base_path).and_then(|rest| route.rules.socket(rest));
    let client = hyper::upgrade::on(&mut request);
    let mut request = match outgoing(request, route, visit.peer) {
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
        let mut upstream = upstream::connect(route).await?;
        let response = upstream.send(request).await?;
        Ok((upstream, response))
    };
    let (upstream, mut response) = match asked.await {
        Ok(asked) => asked,
        Err(error) => return no_answer(visit, route, &error, true),
    };
    if response.status() != StatusCode::SWITCHING_PROTOCOLS {
        return incoming(response.map(|body| AppBody::last(body, upstream)), route);
    }
    if let Err(wrong) = offer.check_answer(response.status(), response.headers()) {
        return failed(route, &format!("its answer to the WebSocket handshake is not valid: {wrong}"));
    }
    let app = hyper::upgrade::on(&mut response);
    let seat = visit.front.pulse.seat(door, route, session.expires);
    visit.agreed(Agreed { client, app, upstream, seat, speech });
    let mut response = response.map(|_| answer::boxed(Empty::new()));
    headers::to_browser(response.headers_mut(), route);
    ask_for_websocket(response.headers_mut());
    response
}

fn ask_for_websocket(headers: &mut hyper::HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("Upgrade"));
    headers.insert(UPGRADE, HeaderValue::from_static("websocket"));
}

/// The request as the app gets it.
fn outgoing(request: Request<Incoming>, route: &Route, peer: IpAddr) -> Result<Request<ToApp>, BoxError> {
    let (mut parts, body) = request.into_parts();
    if route.strip_base_path {
        let target = parts.uri.path_and_query().map_or("/", |target| target.as_str());
        parts.uri = Uri::builder().path_and_query(upstream_target(route, target)).build()?;
    }
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    headers::to_app(&mut parts.headers, route, peer);
    let body = if body.is_end_stream() { Either::Right(Empty::new()) } else { Either::Left(body) };
    Ok(Request::from_parts(parts, body))
}

/// The answer as the browser gets it.
fn incoming(response: Response<AppBody>, route: &Route) -> Response<Body> {
    let (mut parts, body) = response.into_parts();
    parts.version = Version::HTTP_11;
    parts.extensions.clear();
    headers::to_browser(&mut parts.headers, route);
    Response::from_parts(parts, answer::boxed(body))
}

/// The app may have ended since the table was read: then that is what there is to say. `safe`: asking again does nothing
/// twice.
fn no_answer(visit: &Visit, route: &Route, error: &upstream::Error, safe: bool) -> Response<Body> {
    debug!(app = %route.app, %error, "no answer");
    if error.is_the_clients() {
        return answer::bad("the request's body broke off, or its chunks are not well formed");
    }
    if let Some(port) = route.port {
        return ports::no_answer(port, error);
    }
    let ready = |now: &Route| now.app == route.app && now.state == RouteState::Ready;
    if !visit.front.door.borrow().routes.iter().any(ready) {
        return answer::later(&visit.front.status.borrow().sentence);
    }
    // It may have ended this moment, which nobody has told yet.
    if error.is_unheard() || safe && error.is_an_end() {
        return answer::later(&sentence(route, &error.to_string()));
    }
    failed(route, &error.to_string())
}

fn failed(route: &Route, why: &str) -> Response<Body> {
    answer::text(StatusCode::BAD_GATEWAY, &sentence(route, why))
}

fn sentence(route: &Route, why: &str) -> String {
    let (label, app) = (&route.label, &route.app);
    if let Some(port) = route.port {
        return ports::broken(port, why);
    }
    format!(
        "{label} does not answer: {why}; try again in a moment, and if it stays so look at `space-agent logs {app}`"
    )
}
