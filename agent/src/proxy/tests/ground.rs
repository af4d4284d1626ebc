//! What the tests stand on: a space with its front door on port 0, apps on unix sockets, clients that write bytes.

use super::super::{AccessLog, Config, Keys, Pair, Request, link, run};
use super::{door, route, status};
use crate::model::log::LogLine;
use crate::model::now::{Monotonic, Now, Timestamp};
use crate::model::route::{Door, RouteState, Upstream};
use crate::model::status::Status;
use crate::sys::stop::{StopSwitch, stop};
use space_lifecycle::SignIn;
use std::cell::Cell;
use std::collections::HashSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::timeout;

/// No wait of a test is longer.
const LONG: Duration = Duration::from_secs(20);

thread_local! {
    static WALL: Cell<u64> = const { Cell::new(1_795_168_800_000) };
}

pub(super) fn now() -> Now {
    Now { monotonic: Monotonic(0), wall: Timestamp(WALL.get()), boot_id: 0 }
}

/// The clock of this test goes on.
pub(super) fn pass(duration: Duration) {
    WALL.set(WALL.get() + duration.as_millis() as u64);
}

/// The clock of this test is set back.
pub(super) fn back(duration: Duration) {
    WALL.set(WALL.get() - duration.as_millis() as u64);
}

pub(super) fn wall() -> Timestamp {
    now().wall
}

pub(super) struct Space {
    pub(super) at: SocketAddr,
    pub(super) door: watch::Sender<Arc<Door>>,
    pub(super) status: watch::Sender<Arc<Status>>,
    pub(super) lines: broadcast::Sender<Arc<LogLine>>,
    pub(super) keys: Keys,
    /// The apps that the hall was asked to start.
    pub(super) woken: Arc<Mutex<Vec<String>>>,
    pub(super) switch: StopSwitch,
    pub(super) running: JoinHandle<()>,
    notes: watch::Receiver<Vec<String>>,
    folder: PathBuf,
}

impl Drop for Space {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Space {
    /// An open space with one app at `/app/`, whose socket is `app.sock`.
    pub(super) fn open() -> Space {
        Space::with(SignIn::Open)
    }

    pub(super) fn with(sign_in: SignIn) -> Space {
        Space::of(sign_in, None, None)
    }

    pub(super) fn of(sign_in: SignIn, tls: Option<Pair>, access: Option<AccessLog>) -> Space {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("space-agent-door-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let mut route = route("app", "/app/");
        route.upstream = Upstream::Unix(folder.join("app.sock"));
        route.uid = UnixStream::pair().unwrap().0.peer_cred().unwrap().uid();
        let door = Door { sign_in, tls: tls.is_some(), routes: vec![route], ..door() };

        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let at = listener.local_addr().unwrap();
        let keys = Keys::new([9; 32]);
        let (door, door_seen) = watch::channel(Arc::new(door));
        let (status, status_seen) = watch::channel(Arc::new(status()));
        let (lines, _) = broadcast::channel(64);
        let (requests, hall) = mpsc::channel(8);
        let (switch, stop) = stop();
        let config = Config {
            listener,
            door: door_seen,
            status: status_seen,
            lines: lines.clone(),
            keys: keys.clone(),
            now,
            tls,
            access,
            connections: Arc::default(),
            // For 128 connections.
            descriptors: 512,
        };
        let (noted, notes) = watch::channel(Vec::new());
        let woken = Arc::default();
        tokio::spawn(answer_requests(hall, noted, Arc::clone(&woken)));
        let running = tokio::spawn(async move { run(config, requests, stop).await.unwrap() });
        Space { at, door, status, lines, keys, woken, switch, running, notes, folder }
    }

    /// What the hall was told that has this in it.
    pub(super) async fn noted(&self, part: &str) -> String {
        let mut notes = self.notes.clone();
        let told = |notes: &Vec<String>| notes.iter().any(|note| note.contains(part));
        let notes = timeout(LONG, notes.wait_for(told)).await.expect("nobody says it").unwrap();
        notes.iter().find(|note| note.contains(part)).unwrap().clone()
    }

    pub(super) fn change(&self, change: impl FnOnce(&mut Door)) {
        let mut door = (**self.door.borrow()).clone();
        change(&mut door);
        self.door.send_replace(Arc::new(door));
    }

    pub(super) fn set(&self, state: RouteState) {
        self.change(|door| door.routes[0].state = state);
    }

    pub(super) fn token(&self, lifetime: u64) -> String {
        link::mint(&self.keys, now().wall, Duration::from_secs(lifetime))
    }

    pub(super) fn listen(&self) -> UnixListener {
        let path = self.folder.join("app.sock");
        let _ = std::fs::remove_file(&path);
        UnixListener::bind(path).unwrap()
    }

    pub(super) async fn connect(&self) -> Client {
        Client { stream: TcpStream::connect(self.at).await.unwrap(), read: Vec::new() }
    }

    /// One request on a connection of its own. `head` is the request line and headers without Host; a body may follow
    /// after an empty line.
    pub(super) async fn ask(&self, head: &str) -> Answer {
        let mut client = self.connect().await;
        client.send(&self.request(head)).await;
        client.answer().await
    }

    /// Adds the Host header, and the end of the head if it has none.
    pub(super) fn request(&self, head: &str) -> String {
        let (line, rest) = head.split_once("\r\n").unwrap_or((head, ""));
        let end = if rest.contains("\r\n\r\n") { "" } else { "\r\n\r\n" };
        let gap = if rest.is_empty() { "" } else { "\r\n" };
        format!("{line}\r\nHost: {}{gap}{rest}{end}", self.at)
    }

    /// The header that lets a program act.
    pub(super) fn origin(&self) -> String {
        format!("Origin: http://{}", self.at)
    }
}

/// The hall: a link is good once, a lease is good up to 12 hours.
async fn answer_requests(
    mut requests: mpsc::Receiver<Request>,
    noted: watch::Sender<Vec<String>>,
    woken: Arc<Mutex<Vec<String>>>,
) {
    let mut used = HashSet::new();
    while let Some(request) = requests.recv().await {
        match request {
            Request::RedeemLink { id, reply, .. } => drop(reply.send(used.insert(id))),
            Request::Keep { duration, reply } => {
                let fits = duration <= Duration::from_secs(12 * 3600);
                drop(reply.send(if fits { Ok(()) } else { Err("the longest lease is 12 h".to_owned()) }));
            }
            Request::Start { reply } => drop(reply.send(Err("the document still has a mistake".to_owned()))),
            Request::Rescue { reply, .. } => drop(reply.send(Ok(()))),
            Request::Wake { app, reply } => {
                woken.lock().unwrap().push(app);
                let _ = reply.send(());
            }
            Request::Note { text, .. } => noted.send_modify(|notes| notes.push(text)),
        }
    }
}

/// An app's end of the next connection to it.
pub(super) async fn accept(listener: &UnixListener) -> Client<UnixStream> {
    let (stream, _) = timeout(LONG, listener.accept()).await.expect("a connection").unwrap();
    Client { stream, read: Vec::new() }
}

/// An app: answers the requests of each of its connections with `answer`, in order; each answer is whole bytes.
pub(super) fn serve(
    listener: UnixListener,
    answer: impl Fn(&str) -> String + Clone + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone()));
        }
    })
}

/// As [`serve`], on a port.
pub(super) fn serve_on(
    listener: TcpListener,
    answer: impl Fn(&str) -> String + Clone + Send + 'static,
) -> JoinHandle<()> {
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(answer_all(stream, answer.clone()));
        }
    })
}

async fn answer_all<S>(stream: S, answer: impl Fn(&str) -> String)
where
    S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
{
    let mut app = Client { stream, read: Vec::new() };
    while let Some(head) = app.head().await {
        let length = number(&head, "content-length").unwrap_or(0);
        app.exactly(length).await;
        if header(&head, "transfer-encoding").is_some() {
            app.until("0\r\n\r\n").await;
            app.read.clear();
        }
        app.send(&answer(&head)).await;
    }
}

/// `200` with this body.
pub(super) fn ok(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

/// One end of a connection, reading as little as it must.
pub(super) struct Client<S = TcpStream> {
    pub(super) stream: S,
    pub(super) read: Vec<u8>,
}

#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) head: String,
    pub(super) body: String,
}

impl Answer {
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        header(&self.head, name)
    }
}

pub(super) fn header<'a>(head: &'a str, name: &str) -> Option<&'a str> {
    let value = |line: &'a str| line.split_once(": ").filter(|(found, _)| found.eq_ignore_ascii_case(name));
    head.lines().find_map(value).map(|(_, value)| value)
}

fn number(head: &str, name: &str) -> Option<usize> {
    header(head, name).and_then(|value| value.parse().ok())
}

impl<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin> Client<S> {
    /// A peer that has closed already doesn't read: its answer, if any, is what the test looks at.
    pub(super) async fn send(&mut self, text: &str) {
        let _ = self.stream.write_all(text.as_bytes()).await;
    }

    /// Reads once more; false at the end of the stream, or when it was reset.
    pub(super) async fn more(&mut self) -> bool {
        let mut buffer = [0; 16 * 1024];
        let read = timeout(LONG, self.stream.read(&mut buffer)).await.expect("the peer says nothing").unwrap_or(0);
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }

    /// The next head with its empty line; `None` if the stream ends before.
    pub(super) async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.read.windows(4).position(|window| window == b"\r\n\r\n") {
                let head: Vec<u8> = self.read.drain(..end + 4).collect();
                return Some(String::from_utf8_lossy(&head).into_owned());
            }
            if !self.more().await {
                return None;
            }
        }
    }

    pub(super) async fn exactly(&mut self, length: usize) -> String {
        while self.read.len() < length && self.more().await {}
        let length = length.min(self.read.len());
        String::from_utf8_lossy(&self.read.drain(..length).collect::<Vec<_>>()).into_owned()
    }

    pub(super) async fn until(&mut self, text: &str) -> String {
        loop {
            let read = String::from_utf8_lossy(&self.read).into_owned();
            if read.contains(text) {
                return read;
            }
            assert!(self.more().await, "the stream ended without {text:?}: {read}");
        }
    }

    pub(super) async fn drained(&mut self) -> String {
        String::from_utf8_lossy(&self.drained_bytes().await).into_owned()
    }

    /// As [`Self::drained`], unread.
    pub(super) async fn drained_bytes(&mut self) -> Vec<u8> {
        while self.more().await {}
        std::mem::take(&mut self.read)
    }

    /// The answer to a request that isn't HEAD.
    pub(super) async fn answer(&mut self) -> Answer {
        let head = self.head().await.expect("an answer");
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        let body = match number(&head, "content-length") {
            Some(length) => self.exactly(length).await,
            None if header(&head, "transfer-encoding").is_some() => self.until("0\r\n\r\n").await,
            None if status == 101 => String::new(),
            None => self.drained().await,
        };
        Answer { status, head, body }
    }
}
