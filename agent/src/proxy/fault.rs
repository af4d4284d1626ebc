//! What goes wrong between a client and an app, and whose fault it is: one place decides what the client is told, how
//! loudly it is logged, and whether the request may go out again.

use super::reply::Wrong;
use crate::model::route::Upstream as Target;
use crate::sys::errors;
use hyper::StatusCode;
use std::fmt;
use std::io;

/// Why an app gave no answer that can be passed on.
#[derive(Debug)]
pub(super) enum Fault {
    Connect(io::Error),
    ConnectTimeout,
    /// Somebody else listens where the app should.
    Stranger {
        uid: u32,
        expected: u32,
        at: Target,
    },
    /// The connection ended before an answer.
    Ended(io::Error),
    /// What came is not HTTP, or without measure.
    NotHttp(Wrong),
    /// It switches to a protocol that nobody asked for.
    Switched,
    /// Its answer to a WebSocket's handshake is not valid.
    Handshake(&'static str),
    /// The client's body broke off or was not well formed.
    Body(hyper::Error),
    /// The client's body stood still for too long.
    BodyStill,
    /// This process has no descriptor or memory left.
    Exhausted(io::Error),
}

/// Whose fault it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    /// Nobody was there: the app has not seen the request.
    Absent,
    /// As it is seen of an app that has ended this moment.
    AppEnded,
    App,
    Client,
    Us,
}

/// What follows from a fault.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) status: StatusCode,
    /// Worth a line in the log of a healthy space.
    pub(super) is_loud: bool,
}

impl Fault {
    /// From reading a client's body.
    pub(super) fn of_body(error: hyper::Error) -> Fault {
        let still = cause::<io::Error>(&error).is_some_and(|error| error.kind() == io::ErrorKind::TimedOut);
        if still { Fault::BodyStill } else { Fault::Body(error) }
    }

    /// From connecting.
    pub(super) fn of_connect(error: io::Error) -> Fault {
        match errors::is_shortage(&error) {
            true => Fault::Exhausted(error),
            false => Fault::Connect(error),
        }
    }

    pub(super) fn side(&self) -> Side {
        use io::ErrorKind::{ConnectionRefused, NotFound};
        match self {
            Fault::Connect(error) if matches!(error.kind(), ConnectionRefused | NotFound) => Side::Absent,
            Fault::Connect(_) | Fault::Ended(_) => Side::AppEnded,
            Fault::ConnectTimeout | Fault::Stranger { .. } | Fault::NotHttp(_) => Side::App,
            Fault::Switched | Fault::Handshake(_) => Side::App,
            Fault::Body(_) | Fault::BodyStill => Side::Client,
            Fault::Exhausted(_) => Side::Us,
        }
    }

    /// `is_safe`: the request changes nothing, so asking again does nothing twice.
    pub(super) fn verdict(&self, is_safe: bool) -> Verdict {
        let (status, is_loud) = match (self, self.side()) {
            (Fault::BodyStill, _) => (StatusCode::REQUEST_TIMEOUT, false),
            (_, Side::Client) => (StatusCode::BAD_REQUEST, false),
            // It may come back this moment.
            (_, Side::Absent) => (StatusCode::SERVICE_UNAVAILABLE, false),
            (_, Side::AppEnded) if is_safe => (StatusCode::SERVICE_UNAVAILABLE, false),
            (_, Side::AppEnded) => (StatusCode::BAD_GATEWAY, false),
            (Fault::Stranger { .. }, Side::App) => (StatusCode::BAD_GATEWAY, true),
            (_, Side::App) => (StatusCode::BAD_GATEWAY, false),
            (_, Side::Us) => (StatusCode::SERVICE_UNAVAILABLE, true),
        };
        Verdict { status, is_loud }
    }

    /// May the same request go out once more, over a new connection, after an idle one has failed so? Only if the app
    /// closed it, and whoever asks knows that none of it was sent, or that asking twice does no harm.
    pub(super) fn allows_retry(&self) -> bool {
        matches!(self, Fault::Ended(_))
    }
}

/// The first cause of a kind below an error.
fn cause<'a, E: std::error::Error + 'static>(error: &'a (dyn std::error::Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |error| error.source()).find_map(|error| error.downcast_ref())
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Connect(error) if error.kind() == io::ErrorKind::NotFound => f.write_str("its socket is gone"),
            Fault::Connect(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
                f.write_str("nobody listens where it should")
            }
            Fault::Connect(error) => write!(f, "it can not be reached ({})", error.kind()),
            Fault::ConnectTimeout => f.write_str("it accepts no connection within 5 s"),
            Fault::Stranger { uid, expected, at: Target::Unix(_) } => {
                write!(f, "uid {uid} listens on its socket, where uid {expected} should")
            }
            Fault::Stranger { uid, expected, at: Target::Port(port) } => write!(
                f,
                "uid {uid} listens on its port {port}, where uid {expected} should; end that program, or give the app \
                 another port"
            ),
            Fault::Ended(_) => f.write_str("it closed the connection without an answer"),
            Fault::NotHttp(wrong) => write!(f, "what it answers is not HTTP ({wrong})"),
            Fault::Switched => f.write_str("it switches to a protocol that nobody asked for"),
            Fault::Handshake(wrong) => write!(f, "its answer to the WebSocket handshake is not valid: {wrong}"),
            Fault::Body(_) => f.write_str("the request's body broke off, or its chunks are not well formed"),
            Fault::BodyStill => f.write_str("nothing of the request's body came for 5 min"),
            Fault::Exhausted(error) => write!(f, "the agent has no connection left ({error}); close some pages"),
        }
    }
}

impl std::error::Error for Fault {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Fault::Connect(error) | Fault::Exhausted(error) | Fault::Ended(error) => Some(error),
            Fault::Body(error) => Some(error),
            Fault::ConnectTimeout | Fault::Stranger { .. } | Fault::NotHttp(_) | Fault::Switched => None,
            Fault::Handshake(_) | Fault::BodyStill => None,
        }
    }
}
