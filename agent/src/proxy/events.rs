//! What the page listens to: one stream of server-sent events with the status, the log's tail, and the word that the
//! app has opened.
//!
//! The ring of recent lines belongs to the room's own loop; a new viewer asks for a copy of it. What goes out is made once
//! for all viewers and shared; nothing is kept for a slow one beyond the broadcast channel's bound: lines that it
//! missed are gone for it.

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
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, broadcast, mpsc, oneshot, watch};
use tokio::time::{Sleep, sleep};

/// The most lines that a new viewer gets, and their bytes: so much waits at most for a viewer that doesn't read.
const TAIL: usize = 300;
const TAIL_BYTES: usize = 64 * 1024;
/// Lines that wait for a slow viewer; shared by all.
const WAITING: usize = 256;
/// Streams at once.
const VIEWERS: usize = 64;
/// How often a silent stream says that it is alive, so that a dead viewer is noticed.
const PULSE: Duration = Duration::from_secs(15);

/// A line, and the event that tells it: made when the first viewer needs it.
#[derive(Debug)]
pub(super) struct Told {
    line: Arc<LogLine>,
    event: OnceLock<Bytes>,
}

impl Told {
    fn event(&self) -> Bytes {
        self.event.get_or_init(|| event("line", &*self.line)).clone()
    }
}

/// What a new viewer gets: the recent lines, and the coming ones without a gap between them.
#[derive(Debug)]
pub(super) struct Heard {
    recent: Vec<Arc<Told>>,
    coming: broadcast::Receiver<Arc<Told>>,
}

/// The last lines, in order, and who hears the next.
#[derive(Debug)]
pub(super) struct Ring {
    last: VecDeque<Arc<Told>>,
    viewers: broadcast::Sender<Arc<Told>>,
}

impl Ring {
    pub(super) fn new() -> Ring {
        Ring { last: VecDeque::new(), viewers: broadcast::channel(WAITING).0 }
    }

    pub(super) fn push(&mut self, line: Arc<LogLine>) {
        let told = Arc::new(Told { line, event: OnceLock::new() });
        if self.last.len() == TAIL {
            self.last.pop_front();
        }
        self.last.push_back(told.clone());
        // An error means that nobody views.
        let _ = self.viewers.send(told);
    }

    pub(super) fn hear(&self) -> Heard {
        Heard { recent: self.last.iter().cloned().collect(), coming: self.viewers.subscribe() }
    }
}

/// What all viewers share.
#[derive(Debug)]
pub(super) struct Tail {
    recent: mpsc::Sender<oneshot::Sender<Heard>>,
    /// The newest status that a viewer was told, and the event that told it.
    status: Mutex<Option<(Arc<Status>, Bytes)>>,
    places: Arc<Semaphore>,
}

impl Tail {
    pub(super) fn new(recent: mpsc::Sender<oneshot::Sender<Heard>>) -> Tail {
        Tail { recent, status: Mutex::default(), places: Arc::new(Semaphore::new(VIEWERS)) }
    }

    /// `None`: the room is closing.
    async fn hear(&self) -> Option<Heard> {
        let (reply, heard) = oneshot::channel();
        self.recent.send(reply).await.ok()?;
        heard.await.ok()
    }

    fn status(&self, status: &Arc<Status>) -> Bytes {
        // A value and its event are whole at every moment, whoever panicked beside them.
        let mut known = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        match &*known {
            Some((told, bytes)) if Arc::ptr_eq(told, status) => bytes.clone(),
            _ => known.insert((status.clone(), event("status", &**status))).1.clone(),
        }
    }
}

/// One viewer's stream.
struct Viewer {
    front: Arc<Front>,
    status: watch::Receiver<Arc<Status>>,
    door: watch::Receiver<Arc<Door>>,
    lines: broadcast::Receiver<Arc<Told>>,
    stop: Stop,
    /// The app that the page waits for.
    app: Option<String>,
    /// What goes out first.
    greeting: VecDeque<Bytes>,
    /// When the session ends.
    end: Option<Pin<Box<Sleep>>>,
    over: bool,
    _place: OwnedSemaphorePermit,
}

/// `query` may hold `app=NAME`: then a `ready` event says when that app takes requests.
pub(super) async fn stream(front: &Arc<Front>, session: Option<Session>, query: Option<&str>) -> Response<Body> {
    let Ok(place) = front.tail.places.clone().try_acquire_owned() else {
        return answer::later(&format!("{VIEWERS} pages look at this space already: close one of them"));
    };
    let Some(heard) = front.tail.hear().await else { return answer::later("the space stops") };
    let now = (front.now)().wall;
    let left = |end: crate::model::now::Timestamp| Duration::from_millis(end.0.saturating_sub(now.0));
    let mut viewer = Viewer {
        front: front.clone(),
        status: front.status.clone(),
        door: front.door.clone(),
        lines: heard.coming,
        stop: front.stop.clone(),
        app: query.and_then(app_of),
        greeting: VecDeque::new(),
        end: session.and_then(|session| session.expires).map(|end| Box::pin(sleep(left(end)))),
        over: false,
        _place: place,
    };
    viewer.greet(&heard.recent);
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

/// The newest of the lines whose events have room in a greeting, in order.
fn newest(recent: &[Arc<Told>]) -> impl Iterator<Item = Bytes> {
    let mut room = TAIL_BYTES;
    let fits = |told: &Arc<Told>| {
        let event = told.event();
        room = room.checked_sub(event.len())?;
        Some(event)
    };
    let newest_first: Vec<_> = recent.iter().rev().map_while(fits).collect();
    newest_first.into_iter().rev()
}

impl Viewer {
    fn greet(&mut self, recent: &[Arc<Told>]) {
        self.greeting.push_back(Bytes::from_static(b"retry: 1000\n\n"));
        let status = self.status();
        self.greeting.push_back(status);
        self.greeting.extend(newest(recent));
        self.door.mark_unchanged();
        let opened = self.opened();
        self.greeting.extend(opened);
    }

    /// The next piece of the stream; `None`: it is over.
    async fn next(&mut self) -> Option<Bytes> {
        if let Some(greeting) = self.greeting.pop_front() {
            return Some(greeting);
        }
        // A viewer may stay for days.
        self.greeting.shrink_to_fit();
        loop {
            if self.over {
                return None;
            }
            // Every arm is cancel-safe: channels lose nothing when their receive is dropped, sleeps hold nothing.
            let piece = tokio::select! {
                changed = self.status.changed() => match changed {
                    Ok(()) => Some(self.status()),
                    Err(_) => return None,
                },
                changed = self.door.changed() => match changed {
                    Ok(()) => self.opened(),
                    Err(_) => return None,
                },
                line = self.lines.recv() => match line {
                    Ok(line) => Some(line.event()),
                    Err(broadcast::error::RecvError::Lagged(_)) => None,
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                () = self.stop.wanted() => {
                    self.over = true;
                    Some(self.status())
                }
                () = ended(&mut self.end) => return None,
                () = sleep(PULSE) => Some(Bytes::from_static(b": still here\n\n")),
            };
            if piece.is_some() {
                return piece;
            }
        }
    }

    fn status(&mut self) -> Bytes {
        let status = self.status.borrow_and_update().clone();
        self.front.tail.status(&status)
    }

    fn opened(&mut self) -> Option<Bytes> {
        let door = self.door.borrow_and_update();
        let open = |app: &String| door.routes.iter().any(|route| route.app == *app && route.state == RouteState::Ready);
        let is_open = self.app.as_ref().is_some_and(open);
        is_open.then(|| Bytes::from_static(b"event: ready\ndata: {}\n\n"))
    }
}

async fn ended(end: &mut Option<Pin<Box<Sleep>>>) {
    match end {
        Some(sleep) => sleep.await,
        None => pending().await,
    }
}

/// JSON has no raw line feeds, so a value is one data line.
fn event(name: &str, value: &impl Serialize) -> Bytes {
    match serde_json::to_string(value) {
        Ok(json) => format!("event: {name}\ndata: {json}\n\n").into(),
        Err(_) => Bytes::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Timestamp;

    #[test]
    fn a_greeting_is_small_and_its_newest_lines_win() {
        let mut ring = Ring::new();
        for seq in 0..300 {
            let text = "x".repeat(4096);
            ring.push(Arc::new(LogLine { seq, at: Timestamp(0), of: "deps".into(), text }));
        }
        let heard = ring.hear();
        let greeting: Vec<_> = newest(&heard.recent).collect();
        let bytes: usize = greeting.iter().map(Bytes::len).sum();
        assert!(bytes <= TAIL_BYTES && bytes > TAIL_BYTES - 2 * 4096, "{bytes}");
        let last = std::str::from_utf8(greeting.last().unwrap()).unwrap();
        assert!(last.contains("\"seq\":299,"), "{last}");
        // The second viewer's is the same memory.
        let again: Vec<_> = newest(&ring.hear().recent).collect();
        assert_eq!(greeting.last().unwrap().as_ptr(), again.last().unwrap().as_ptr());
        assert_eq!(heard.recent.iter().filter(|told| told.event.get().is_some()).count(), greeting.len() + 1);
    }

    #[test]
    fn each_version_of_the_status_is_written_once() {
        let tail = Tail::new(mpsc::channel(1).0);
        let first = Arc::new(crate::proxy::tests::status());
        assert_eq!(tail.status(&first).as_ptr(), tail.status(&first).as_ptr());
        let second = Arc::new(Status { sentence: "later".into(), ..(*first).clone() });
        assert!(tail.status(&second).windows(5).any(|part| part == b"later"));
        assert_ne!(tail.status(&first), tail.status(&second));
    }
}
