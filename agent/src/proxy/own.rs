//! The agent's own paths: probes, `api/idle`, sign-in and -out, keep, the page and its events.

use super::answer::{self, Body};
use super::route::{self, Own};
use super::serve::Front;
use super::session::{self, Session};
use super::{events, link, page};
use crate::model::now::{Timestamp, spoken};
use crate::model::route::Door;
use bytes::Bytes;
use http_body_util::{BodyExt, Limited};
use hyper::body::Incoming;
use hyper::header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderName, SET_COOKIE};
use hyper::{Method, Request, Response, StatusCode};
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::oneshot;
use tokio::time::timeout;

/// The longest form that is read, and how long it may take.
const FORM: usize = 16 * 1024;
const FORM_TIME: Duration = Duration::from_secs(10);
/// How long the hall may take to answer.
const HALL: Duration = Duration::from_secs(5);
/// A start reads the document again, which may be on a slow disk.
const START: Duration = Duration::from_secs(35);
const KEEP_DEFAULT_MINUTES: u64 = 60;
/// The longest command that the console takes, in bytes.
const COMMAND: usize = 8 * 1024;

pub(super) async fn answer(
    front: &Arc<Front>,
    door: &Door,
    own: Own,
    session: Option<Session>,
    request: Request<Incoming>,
) -> Response<Body> {
    let read = matches!(*request.method(), Method::GET | Method::HEAD);
    let post = *request.method() == Method::POST;
    let status = front.status.borrow().clone();
    match own {
        Own::SignIn if read => page::sign_in(door, StatusCode::OK),
        Own::SignIn if post => sign_in(front, door, request).await,
        Own::SignIn => answer::not_allowed("GET and POST"),
        Own::SignOut if post => sign_out(door, &request),
        Own::Keep if post => keep(front, request).await,
        Own::Start if post => start(front, door, &request).await,
        Own::Rescue if post => rescue(front, door, request).await,
        Own::SignOut | Own::Keep | Own::Start | Own::Rescue => answer::not_allowed("POST"),
        _ if !read => answer::not_allowed("GET and HEAD"),
        Own::Live => answer::word(StatusCode::OK, "ok"),
        Own::Ready if status.ready() => answer::word(StatusCode::OK, "ready"),
        Own::Ready => answer::word(StatusCode::SERVICE_UNAVAILABLE, "not ready"),
        Own::Idle => answer::json(StatusCode::OK, idle(status.last_active((front.now)().wall))),
        Own::Open => open(door, &status.home, request.uri().query().unwrap_or("")),
        Own::Page => page::start(door, &status, None),
        Own::Events => events::stream(front, session, request.uri().query()).await,
    }
}

/// Somebody without a session wants what needs one.
pub(super) fn sign_in_first(door: &Door, wants_page: bool) -> Response<Body> {
    if wants_page {
        return page::sign_in(door, StatusCode::UNAUTHORIZED);
    }
    let sentence = format!(
        "this space asks who you are: run `space-agent sign-in`, then POST its token to {}_space/sign-in as the form \
         field \"token\", with an Origin header, and send the cookie that you get",
        door.base_path
    );
    answer::text(StatusCode::UNAUTHORIZED, &sentence)
}

/// Leads to the page of an app that shows a file.
fn open(door: &Door, home: &str, query: &str) -> Response<Body> {
    let wanted = query.split('&').map(|field| pair(field.as_bytes())).find(|(name, _)| name == "path");
    let Some((_, path)) = wanted else {
        return answer::text(StatusCode::BAD_REQUEST, "say which file: _space/open?path=FILE");
    };
    match route::opened(door, home, &path) {
        Some(to) => answer::redirect(StatusCode::FOUND, &to),
        None => answer::text(
            StatusCode::NOT_FOUND,
            "no app of this space shows this file: give a path below the home, without \"..\", in a space with JupyterLab \
             or Code Editor",
        ),
    }
}

/// What platforms poll. Its form is theirs: one key, a time with milliseconds and `Z`.
fn idle(last_active: Timestamp) -> String {
    format!("{{\"lastActiveTimestamp\":\"{last_active}\"}}")
}

/// Redeems a link: from our page's script (JSON), its form, or a program.
async fn sign_in(front: &Front, door: &Door, request: Request<Incoming>) -> Response<Body> {
    let (page, json) = (accepts(request.headers(), "text/html"), accepts(request.headers(), "application/json"));
    let form = match read_form(request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let refused = |why: &str| match page && !json {
        true => page::sign_in_again(door, why),
        false => answer::text(StatusCode::FORBIDDEN, why),
    };
    let Some(token) = form.get("token") else {
        return answer::text(StatusCode::BAD_REQUEST, "the form has no field \"token\"");
    };
    let now = (front.now)().wall;
    let again = "run `space-agent sign-in` in a terminal of this machine for a new one";
    let link = match link::read(&front.keys, token, now) {
        Ok(link) => link,
        Err(why) => return refused(&format!("{why}: {again}")),
    };
    match redeem(front, link).await {
        Some(true) => {}
        Some(false) => return refused(&format!("this sign-in link has been used already: {again}")),
        None => return answer::later("the space can not take sign-ins just now"),
    }
    let wanted = form.get("to").and_then(|to| route::landing(door, to));
    let to = wanted.map_or_else(|| route::first_page(door), str::to_owned);
    let response = match json {
        true => answer::json(StatusCode::OK, serde_json::json!({ "to": to }).to_string()),
        false => answer::redirect(StatusCode::SEE_OTHER, &to),
    };
    answer::with(response, SET_COOKIE, &session::sign_in(&front.keys, door, now))
}

/// True: this was the link's first use. `None`: nobody can say.
async fn redeem(front: &Front, link: link::Link) -> Option<bool> {
    let (reply, answer) = oneshot::channel();
    let request = super::Request::RedeemLink { id: link.id, expires: link.expires, reply };
    timeout(HALL, async {
        front.requests.send(request).await.ok()?;
        answer.await.ok()
    })
    .await
    .ok()?
}

fn sign_out(door: &Door, request: &Request<Incoming>) -> Response<Body> {
    let response = match accepts(request.headers(), "text/html") {
        true => answer::redirect(StatusCode::SEE_OTHER, &format!("{}_space/sign-in", door.base_path)),
        false => answer::text(StatusCode::OK, "signed out"),
    };
    answer::with(response, SET_COOKIE, &session::sign_out(door))
}

/// "Keep working": a lease, within what the space allows.
async fn keep(front: &Front, request: Request<Incoming>) -> Response<Body> {
    let form = match read_form(request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let minutes = match form.get("minutes").map(|text| text.parse::<u64>()) {
        None => KEEP_DEFAULT_MINUTES,
        Some(Ok(minutes @ 1..=525_600)) => minutes,
        Some(_) => return answer::text(StatusCode::BAD_REQUEST, "the field \"minutes\" is not a number of minutes"),
    };
    let duration = Duration::from_secs(minutes * 60);
    match asked(front, HALL, |reply| super::Request::Keep { duration, reply }).await {
        Ok(()) => answer::text(StatusCode::OK, &format!("kept for {}", spoken(duration))),
        Err(refusal) => refusal,
    }
}

/// "Start", out of recovery or parked mode.
async fn start(front: &Front, door: &Door, request: &Request<Incoming>) -> Response<Body> {
    let page = accepts(request.headers(), "text/html");
    match asked(front, START, |reply| super::Request::Start { reply }).await {
        Ok(()) => back_or(page, door, "the space starts"),
        Err(refusal) => refusal,
    }
}

/// A line of the console. What it prints comes with the events.
async fn rescue(front: &Front, door: &Door, request: Request<Incoming>) -> Response<Body> {
    let page = accepts(request.headers(), "text/html");
    let mut form = match read_form(request).await {
        Ok(form) => form,
        Err(refusal) => return refusal,
    };
    let command = form.remove("command").unwrap_or_default();
    if command.trim().is_empty() || command.len() > COMMAND || command.contains('\0') {
        let wrong = "the field \"command\" holds no command of 1 to 8192 bytes without NUL";
        return answer::text(StatusCode::BAD_REQUEST, wrong);
    }
    match asked(front, HALL, |reply| super::Request::Rescue { command, reply }).await {
        Ok(()) => back_or(page, door, "the command runs; its output is on the space's page"),
        Err(refusal) => refusal,
    }
}

/// A form without scripts comes from the page, and goes back to it.
fn back_or(page: bool, door: &Door, sentence: &str) -> Response<Body> {
    match page {
        true => answer::redirect(StatusCode::SEE_OTHER, &format!("{}_space/", door.base_path)),
        false => answer::text(StatusCode::OK, sentence),
    }
}

/// Asks the hall for something that it may refuse with a sentence.
async fn asked(
    front: &Front,
    patience: Duration,
    request: impl FnOnce(oneshot::Sender<Result<(), String>>) -> super::Request,
) -> Result<(), Response<Body>> {
    let (reply, hall) = oneshot::channel();
    let asked = async {
        front.requests.send(request(reply)).await.ok()?;
        hall.await.ok()
    };
    match timeout(patience, asked).await.ok().flatten() {
        Some(Ok(())) => Ok(()),
        Some(Err(why)) => Err(answer::text(StatusCode::CONFLICT, &why)),
        None => Err(answer::later("the space can not take this just now")),
    }
}

pub(super) type Form = HashMap<String, String>;

/// A small form, as JSON (an object of strings) or as browsers send forms.
async fn read_form(request: Request<Incoming>) -> Result<Form, Response<Body>> {
    let is_json = has(request.headers(), &CONTENT_TYPE, "application/json");
    let body = timeout(FORM_TIME, Limited::new(request.into_body(), FORM).collect()).await;
    let bytes: Bytes = match body {
        Ok(Ok(body)) => body.to_bytes(),
        Ok(Err(_)) => return Err(answer::bad("the form is longer than 16 KiB, or was cut off")),
        Err(_) => return Err(answer::bad("the form did not arrive within 10 s")),
    };
    if is_json {
        let wrong = |_| answer::text(StatusCode::BAD_REQUEST, "the body is not a JSON object of strings");
        return serde_json::from_slice(&bytes).map_err(wrong);
    }
    Ok(form(&bytes))
}

pub(super) fn form(body: &[u8]) -> Form {
    body.split(|byte| *byte == b'&').filter(|pair| !pair.is_empty()).map(pair).collect()
}

fn pair(pair: &[u8]) -> (String, String) {
    let end = pair.iter().position(|byte| *byte == b'=').unwrap_or(pair.len());
    (decoded(&pair[..end]), decoded(pair.get(end + 1..).unwrap_or(b"")))
}

/// `+` and percent signs of a form (WHATWG URL, application/x-www-form-urlencoded).
pub(super) fn decoded(text: &[u8]) -> String {
    let digit = |byte: Option<&u8>| byte.and_then(|byte| char::from(*byte).to_digit(16));
    let (mut bytes, mut at) = (Vec::with_capacity(text.len()), 0);
    while let Some(byte) = text.get(at) {
        at += 1;
        match (byte, digit(text.get(at)), digit(text.get(at + 1))) {
            (b'+', ..) => bytes.push(b' '),
            (b'%', Some(high), Some(low)) => {
                bytes.push((high * 16 + low) as u8);
                at += 2;
            }
            _ => bytes.push(*byte),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn accepts(headers: &HeaderMap, content_type: &str) -> bool {
    has(headers, &ACCEPT, content_type)
}

fn has(headers: &HeaderMap, name: &HeaderName, text: &str) -> bool {
    headers.get_all(name).iter().any(|value| value.to_str().is_ok_and(|value| value.contains(text)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn api_idle_has_the_form_that_platforms_read() {
        let expected = "{\"lastActiveTimestamp\":\"2026-11-20T10:00:00.123Z\"}";
        assert_eq!(idle(Timestamp(1_795_168_800_123)), expected);
    }

    #[test]
    fn a_form_is_decoded_as_browsers_encode_it() {
        for (coded, text) in
            [("a+b", "a b"), ("%2Fx%3f", "/x?"), ("100%", "100%"), ("%zz%4", "%zz%4"), ("%ff", "\u{fffd}")]
        {
            assert_eq!(decoded(coded.as_bytes()), text);
        }
    }
}
