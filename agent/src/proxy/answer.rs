//! The answers that the agent gives itself: short, never stored, never more than text unless they are its pages.

use super::body::AppBody;
use bytes::Bytes;
use http_body_util::BodyExt;
use http_body_util::combinators::UnsyncBoxBody;
use hyper::body::{Body as HttpBody, Frame, SizeHint};
use hyper::header::{
    ALLOW, CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HeaderName, HeaderValue, LOCATION, RETRY_AFTER,
    X_CONTENT_TYPE_OPTIONS,
};
use hyper::{Response, StatusCode};
use std::pin::Pin;
use std::task::{Context, Poll};

pub(super) type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// What follows an answer's head.
#[derive(Debug)]
pub(super) enum Body {
    /// Empty: nothing, or no more.
    Whole(Bytes),
    /// An app's.
    App(AppBody),
    Other(UnsyncBoxBody<Bytes, BoxError>),
}

pub(super) fn boxed<B>(body: B) -> Body
where
    B: HttpBody<Data = Bytes> + Send + 'static,
    B::Error: Into<BoxError>,
{
    Body::Other(body.map_err(Into::into).boxed_unsync())
}

impl HttpBody for Body {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        match self.get_mut() {
            Body::Whole(bytes) if bytes.is_empty() => Poll::Ready(None),
            Body::Whole(bytes) => Poll::Ready(Some(Ok(Frame::data(std::mem::take(bytes))))),
            Body::App(body) => Pin::new(body).poll_frame(cx).map_err(Into::into),
            Body::Other(body) => Pin::new(body).poll_frame(cx),
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(bytes) => bytes.is_empty(),
            Body::App(body) => body.is_end_stream(),
            Body::Other(body) => body.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(bytes) => SizeHint::with_exact(bytes.len() as u64),
            Body::App(body) => body.size_hint(),
            Body::Other(body) => body.size_hint(),
        }
    }
}

/// An answer of one content type with the headers that every answer of ours has.
pub(super) fn whole(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Body::Whole(body.into()));
    *response.status_mut() = status;
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// One plain sentence.
pub(super) fn text(status: StatusCode, sentence: &str) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", format!("{sentence}\n"))
}

/// One word, for probes.
pub(super) fn word(status: StatusCode, word: &'static str) -> Response<Body> {
    whole(status, "text/plain; charset=utf-8", word)
}

pub(super) fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    whole(status, "application/json", body)
}

/// 503 for a program: come again in a second.
pub(super) fn later(sentence: &str) -> Response<Body> {
    with(text(StatusCode::SERVICE_UNAVAILABLE, sentence), RETRY_AFTER, "1")
}

/// The request can't be trusted to end where we think: nothing more is read from this connection.
pub(super) fn bad(sentence: &str) -> Response<Body> {
    last(StatusCode::BAD_REQUEST, sentence)
}

/// The last answer of this connection.
pub(super) fn last(status: StatusCode, sentence: &str) -> Response<Body> {
    with(text(status, sentence), CONNECTION, "close")
}

pub(super) fn not_allowed(allowed: &'static str) -> Response<Body> {
    let sentence = format!("this path takes {allowed} only");
    with(text(StatusCode::METHOD_NOT_ALLOWED, &sentence), ALLOW, allowed)
}

/// `to` is a path of this door. 302 keeps a GET a GET; 303 makes one.
pub(super) fn redirect(status: StatusCode, to: &str) -> Response<Body> {
    with(text(status, "see the Location header"), LOCATION, to)
}

/// Sets a header; a value that no header can hold leaves it unset.
pub(super) fn with(mut response: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().append(name, value);
    }
    response
}
