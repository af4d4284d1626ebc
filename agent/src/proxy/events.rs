//! What the page listens to: one stream of server-sent events with the status, the log's tail, and the word that the
//! app has opened.
//!
//! The ring of recent lines belongs to the room's own loop; a new viewer asks for a copy of it. Nothing is kept for a
//! slow viewer beyond the broadcast channel's bound: lines that it missed are gone for it.

use super::answer::{self, Body};
use super::own::decoded;
use super::serve::Front;
use super::session::Session;
use crate::model::log::LogLine;
use crate::model::route::{Door, RouteState};
use crate::model::status::Status;
use crate::sys::stop::Stop;
use bytes::Bytes;
use futures_util::stream;
use http_body_util::StreamBody;
use hyper::Response;
use hyper::body::Frame;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use std::collections::VecDeque;
use std::convert::Infallible;
use std::future::pending;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{broadcast, mpsc, oneshot, watch};
use tokio::time::{Sleep, sleep};

/// Lines that a new viewer gets.
const TAIL: usize = 300;
/// Lines that go out as one piece.
const BATCH: usize = 64;
/// How often a silent stream says that it is alive, so that a dead viewer is noticed.
const PULSE: Duration = Duration::from_secs(15);

/// Where new viewers get the recent lines and the coming ones.
#[derive(Debug)]
pub(super) struct Tail {
    pub(super) lines: broadcast::Sender<Arc<LogLine>>,
    pub(super) recent: mpsc::Sender<oneshot::Sender<Vec<Arc<LogLine>>>>,
}

/// The last lines, in order.
#[derive(Debug, Default)]
pub(super) struct Ring(VecDeque<Arc<LogLine>>);

impl Ring {
    pub(super) fn push(&mut self, line: Arc<LogLine>) {
        if self.0.len() == TAIL {
            self.0.pop_front();
        }
        self.0.push_back(line);
    }

    pub(super) fn copy(&self) -> Vec<Arc<LogLine>> {
        self.0.iter().cloned().collect()
    }
}

/// One viewer's stream.
struct Viewer {
    status: watch::Receiver<Arc<Status>>,
    door: watch::Receiver<Arc<Door>>,
    lines: broadcast::Receiver<Arc<LogLine>>,
    stop: Stop,
    /// The app that the page waits for.
    app: Option<String>,
    /// The newest line that went out.
    seen: Option<u64>,
    /// What goes out first.
    greeting: Option<Bytes>,
    /// When the session ends.
    end: Option<Pin<Box<Sleep>>>,
    over: bool,
}

/// `query` may hold `app=NAME`: then a `ready` event says when that app takes requests.
pub(super) async fn stream(front: &Front, session: Option<Session>, query: Option<&str>) -> Response<Body> {
    let lines = front.tail.lines.subscribe();
    let (reply, recent) = oneshot::channel();
    let asked = front.tail.recent.send(reply).await;
    let recent = match asked {
        Ok(()) => recent.await.unwrap_or_default(),
        Err(_) => Vec::new(),
    };
    let now = (front.now)().wall;
    let left = |end: crate::model::now::Timestamp| Duration::from_millis(end.0.saturating_sub(now.0));
    let mut viewer = Viewer {
        status: front.status.clone(),
        door: front.door.clone(),
        lines,
        stop: front.stop.clone(),
        app: query.and_then(app_of),
        seen: None,
        greeting: None,
        end: session.and_then(|session| session.expires).map(|end| Box::pin(sleep(left(end)))),
        over: false,
    };
    viewer.greet(&recent);
    let events = stream::unfold(viewer, |mut viewer| async move {
        viewer.next().await.map(|bytes| (Ok::<_, Infallible>(Frame::data(bytes)), viewer))
    });
    let mut response = Response::new(answer::boxed(StreamBody::new(Box::pin(events))));
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

fn app_of(query: &str) -> Option<String> {
    query.split('&').find_map(|pair| pair.strip_prefix("app=")).map(|name| decoded(name.as_bytes()))
}

impl Viewer {
    fn greet(&mut self, recent: &[Arc<LogLine>]) {
        let mut text = String::from("retry: 1000\n\n");
        text.push_str(&event("status", &**self.status.borrow_and_update()));
        for line in recent {
            self.say(&mut text, line);
        }
        self.door.mark_unchanged();
        text.push_str(&self.opened());
        self.greeting = Some(text.into());
    }

    /// The next piece of the stream; `None`: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.take() {
            return Some(greeting);
        }
        loop {
            if self.over {
                return None;
            }
            // Every arm is cancel-safe: channels lose nothing when their receive is dropped, sleeps hold nothing.
            let text = tokio::select! {
                changed = self.status.changed() => match changed {
                    Ok(()) => event("status", &**self.status.borrow_and_update()),
                    Err(_) => return None,
                },
                changed = self.door.changed() => match changed {
                    Ok(()) => self.opened(),
                    Err(_) => return None,
                },
                line = self.lines.recv() => match line {
                    Ok(line) => self.batch(&line),
                    Err(broadcast::error::RecvError::Lagged(_)) => String::new(),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                () = self.stop.wanted() => {
                    self.over = true;
                    event("status", &**self.status.borrow_and_update())
                }
                () = ended(&mut self.end) => return None,
                () = sleep(PULSE) => String::from(": still here\n\n"),
            };
            if !text.is_empty() {
                return Some(text.into());
            }
        }
    }

    /// `line` and those that wait behind it.
    fn batch(&mut self, line: &Arc<LogLine>) -> String {
        let mut text = String::new();
        self.say(&mut text, line);
        for _ in 1..BATCH {
            match self.lines.try_recv() {
                Ok(line) => self.say(&mut text, &line),
                Err(_) => break,
            }
        }
        text
    }

    /// A line may come twice, from the ring and from the channel; it goes out once.
    fn say(&mut self, text: &mut String, line: &Arc<LogLine>) {
        if self.seen.is_none_or(|seen| line.seq > seen) {
            self.seen = Some(line.seq);
            text.push_str(&event("line", &**line));
        }
    }

    fn opened(&mut self) -> String {
        let door = self.door.borrow_and_update();
        let open = |app: &String| door.routes.iter().any(|route| route.app == *app && route.state == RouteState::Ready);
        match self.app.as_ref().is_some_and(open) {
            true => "event: ready\ndata: {}\n\n".to_owned(),
            false => String::new(),
        }
    }
}

async fn ended(end: &mut Option<Pin<Box<Sleep>>>) {
    match end {
        Some(sleep) => sleep.await,
        None => pending().await,
    }
}

/// JSON has no raw line feeds, so a value is one data line.
fn event(name: &str, value: &impl Serialize) -> String {
    match serde_json::to_string(value) {
        Ok(json) => format!("event: {name}\ndata: {json}\n\n"),
        Err(_) => String::new(),
    }
}
