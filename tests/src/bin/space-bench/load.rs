//! What is asked of the proxies: plain requests (wrk), messages over WebSockets, one long download.

use crate::peers::Peer;
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

/// What one run of wrk saw.
pub(crate) struct Wrk {
    pub(crate) requests: f64,
    /// In seconds.
    pub(crate) median: f64,
}

/// `seconds` of requests for `path` over as many connections.
pub(crate) fn wrk(peer: &Peer, path: &str, connections: u32, seconds: u32, core: usize) -> Wrk {
    let mut command = Command::new("taskset");
    command.args(["-c", &core.to_string(), "wrk", "-t1", "--latency"]);
    command.args([format!("-c{connections}"), format!("-d{seconds}s")]);
    command.args([
        "-H",
        &format!("Cookie: {}", peer.cookie),
        "-H",
        "Accept: */*",
        "-H",
        "User-Agent: Mozilla/5.0 (X11; Linux x86_64)",
    ]);
    command.arg(format!("http://127.0.0.1:{}{}/app/{path}", peer.port, peer.prefix));
    let output = command.output().expect("wrk and taskset are installed");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(!text.contains("Non-2xx"), "{} refuses: {text}", peer.name);
    let word = |line: &str, nth: usize| line.split_whitespace().nth(nth).unwrap_or("").to_owned();
    let line =
        |with: &str| text.lines().find(|line| line.trim_start().starts_with(with) || line.contains(with)).unwrap_or("");
    let requests = word(line("requests in"), 0).parse().unwrap_or_else(|_| panic!("{}: wrk says {text}", peer.name));
    Wrk { requests, median: duration(&word(line("50%"), 1)) }
}

/// As wrk writes it: `141.00us`, `1.02ms`, `1.10s`.
fn duration(text: &str) -> f64 {
    let end = text.find(|byte: char| byte.is_ascii_alphabetic()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let factor = match unit {
        "us" => 1e-6,
        "ms" => 1e-3,
        _ => 1.0,
    };
    number.parse::<f64>().unwrap_or(f64::NAN) * factor
}

/// A WebSocket through `port`, its handshake done.
pub(crate) async fn socket(port: u16, path: &str, cookie: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    stream.set_nodelay(true)?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nOrigin: http://127.0.0.1:{port}\r\nCookie: {cookie}\r\n\
         Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let mut head = Vec::with_capacity(512);
    while !head.ends_with(b"\r\n\r\n") {
        if stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    match head.starts_with(b"HTTP/1.1 101") {
        true => Ok(stream),
        false => Err(io::Error::other(String::from_utf8_lossy(&head).into_owned())),
    }
}

impl Peer {
    pub(crate) async fn socket(&self) -> TcpStream {
        let opened = socket(self.port, &format!("{}/app/echo", self.prefix), &self.cookie).await;
        opened.unwrap_or_else(|error| panic!("{}: {error}", self.name))
    }
}

/// One binary message of a client, masked with zeros, and how long its echo is.
pub(crate) fn message(payload: usize) -> (Vec<u8>, usize) {
    let mut frame = vec![0x82];
    match u8::try_from(payload) {
        Ok(short) if short < 126 => frame.push(0x80 | short),
        _ => {
            frame.push(0x80 | 126);
            frame.extend(u16::try_from(payload).expect("at most 64 kB").to_be_bytes());
        }
    }
    let echo = frame.len() + payload;
    frame.extend([0; 4]);
    frame.resize(frame.len() + payload, b'm');
    (frame, echo)
}

/// One message there and back. A ping of the proxy's in between is skipped.
pub(crate) async fn exchange(
    stream: &mut TcpStream,
    message: &(Vec<u8>, usize),
    into: &mut Vec<u8>,
) -> io::Result<Duration> {
    let begin = Instant::now();
    stream.write_all(&message.0).await?;
    into.resize(message.1, 0);
    loop {
        stream.read_exact(&mut into[..2]).await?;
        if into[0] & 0x0f == 9 {
            let length = usize::from(into[1] & 0x7f);
            stream.read_exact(&mut into[..length]).await?;
            continue;
        }
        stream.read_exact(&mut into[2..]).await?;
        return Ok(begin.elapsed());
    }
}

/// As many echoes as there can be over so many sockets; returns the messages that have passed, both ways.
pub(crate) async fn chatter(peer: &Peer, sockets: usize, payload: usize, time: Duration) -> f64 {
    let (count, over) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicBool::new(false)));
    let mut tasks = JoinSet::new();
    for _ in 0..sockets {
        let mut stream = peer.socket().await;
        let (count, over, message) = (count.clone(), over.clone(), message(payload));
        tasks.spawn(async move {
            let mut buffer = Vec::new();
            while !over.load(Ordering::Relaxed) {
                exchange(&mut stream, &message, &mut buffer).await.expect("an echo");
                count.fetch_add(2, Ordering::Relaxed);
            }
        });
    }
    tokio::time::sleep(time).await;
    over.store(true, Ordering::Relaxed);
    while tasks.join_next().await.is_some() {}
    count.load(Ordering::Relaxed) as f64
}

/// So many messages a second over each of the sockets, for some time: how long each took, sorted.
pub(crate) async fn paced(streams: Vec<TcpStream>, per_second: u32, payload: usize, time: Duration) -> Vec<Duration> {
    let mut tasks = JoinSet::new();
    let count = streams.len() as u32;
    let every = Duration::from_secs(1) / per_second;
    for (nth, mut stream) in streams.into_iter().enumerate() {
        let (message, begin) = (message(payload), tokio::time::Instant::now() + every * nth as u32 / count);
        tasks.spawn(async move {
            let (mut buffer, mut took, mut ticks) = (Vec::new(), Vec::new(), tokio::time::interval_at(begin, every));
            while begin.elapsed() < time {
                ticks.tick().await;
                took.push(exchange(&mut stream, &message, &mut buffer).await.expect("an echo"));
            }
            took
        });
    }
    let mut all = Vec::new();
    while let Some(took) = tasks.join_next().await {
        all.extend(took.expect("the task does not panic"));
    }
    all.sort();
    all
}

/// Reads so many megabytes as fast as they come; returns when all are there.
pub(crate) async fn download(port: u16, cookie: &str, megabytes: u64) -> io::Result<u64> {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).await?;
    let request = format!(
        "GET /app/stream/{megabytes} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nCookie: {cookie}\r\nConnection: close\r\n\r\n"
    );
    stream.write_all(request.as_bytes()).await?;
    let (mut buffer, mut all) = (vec![0; 256 * 1024], 0);
    while all < megabytes * 1_000_000 {
        match stream.read(&mut buffer).await? {
            0 => break,
            read => all += read as u64,
        }
    }
    Ok(all)
}

pub(crate) fn quantile(sorted: &[Duration], of: f64) -> f64 {
    let at = ((sorted.len() - 1) as f64 * of).round() as usize;
    sorted.get(at).map_or(f64::NAN, Duration::as_secs_f64) * 1000.0
}
