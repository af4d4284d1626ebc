//! The app behind every proxy of `tests/bench front-door`: answers as cheaply as can be, so that the proxy is what is
//! measured. Listens on 127.0.0.1:$PORT, one thread. By the last part of the path:
//!   small       128 bytes             mega         1 MB
//!   stream/N    N megabytes           echo         a WebSocket that sends every message back
//!
//! It knows just enough HTTP for requests without bodies and of one read each.

use std::io;
use std::sync::OnceLock;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

const MEGABYTE: usize = 1_000_000;

#[tokio::main(flavor = "current_thread")]
async fn main() -> io::Result<()> {
    let port: u16 = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).expect("$PORT is a port");
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            // A client that leaves is no concern of the app's.
            let _ = serve(stream).await;
        });
    }
}

async fn serve(mut stream: TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    let mut head = Vec::with_capacity(2048);
    loop {
        head.clear();
        while !head.ends_with(b"\r\n\r\n") {
            if stream.read_buf(&mut head).await? == 0 {
                return Ok(());
            }
        }
        let text = String::from_utf8_lossy(&head);
        let path = text.split(' ').nth(1).unwrap_or("");
        match path.rsplit('/').next().unwrap_or("") {
            "mega" => stream.write_all(mega()).await?,
            "echo" => {
                let accept = accept(&text);
                drop(std::mem::take(&mut head));
                return echo(stream, &accept).await;
            }
            count if path.contains("/stream/") => {
                let megabytes: u64 = count.parse().unwrap_or(1);
                let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", megabytes * MEGABYTE as u64);
                stream.write_all(head.as_bytes()).await?;
                let body = &mega()[mega().len() - MEGABYTE..];
                for _ in 0..megabytes {
                    stream.write_all(body).await?;
                    // As an app does that serves others meanwhile: what is measured beside this is the door's.
                    tokio::task::yield_now().await;
                }
            }
            _ => stream.write_all(small()).await?,
        }
    }
}

fn small() -> &'static [u8] {
    static ANSWER: OnceLock<Vec<u8>> = OnceLock::new();
    ANSWER.get_or_init(|| answer(128))
}

fn mega() -> &'static [u8] {
    static ANSWER: OnceLock<Vec<u8>> = OnceLock::new();
    ANSWER.get_or_init(|| answer(MEGABYTE))
}

fn answer(length: usize) -> Vec<u8> {
    let mut answer =
        format!("HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: {length}\r\n\r\n")
            .into_bytes();
    answer.resize(answer.len() + length, b'x');
    answer
}

/// RFC 6455, section 4.2.2.
fn accept(request: &str) -> String {
    let line = request.lines().find(|line| line.to_ascii_lowercase().starts_with("sec-websocket-key:"));
    let key = line.and_then(|line| line.split(':').nth(1)).unwrap_or("").trim();
    tokio_tungstenite::tungstenite::handshake::derive_accept_key(key.as_bytes())
}

/// Frames of up to 64 kB, each sent back unmasked as soon as it is whole. Holds no buffer while nothing comes.
async fn echo(mut stream: TcpStream, accept: &str) -> io::Result<()> {
    let head = format!(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
    );
    stream.write_all(head.as_bytes()).await?;
    let mut held = Vec::new();
    loop {
        stream.readable().await?;
        if held.capacity() == 0 {
            held.reserve(4096);
        }
        match stream.try_read_buf(&mut held) {
            Ok(0) => return Ok(()),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => continue,
            Err(error) => return Err(error),
        }
        let mut sent = 0;
        while let Some((frame, length)) = frame(&held[sent..]) {
            stream.write_all(&frame).await?;
            sent += length;
            if frame[0] & 0x0f == 8 {
                return Ok(());
            }
        }
        held.drain(..sent);
        if held.is_empty() {
            held = Vec::new();
        }
    }
}

/// The answer to the first whole frame, and the frame's length. A ping is answered with a pong.
fn frame(bytes: &[u8]) -> Option<(Vec<u8>, usize)> {
    let (first, second) = (*bytes.first()?, *bytes.get(1)?);
    let (length, start) = match second & 0x7f {
        126 => (usize::from(u16::from_be_bytes([*bytes.get(2)?, *bytes.get(3)?])), 4),
        127 => return None,
        short => (usize::from(short), 2),
    };
    let mask = bytes.get(start..start + 4)?;
    let payload = bytes.get(start + 4..start + 4 + length)?;
    let first = if first & 0x0f == 9 { first & 0xf0 | 10 } else { first };
    let mut answer = vec![first, second & 0x7f];
    answer.extend_from_slice(&bytes[2..start]);
    answer.extend(payload.iter().zip(mask.iter().cycle()).map(|(byte, mask)| byte ^ mask));
    Some((answer, start + 4 + length))
}
