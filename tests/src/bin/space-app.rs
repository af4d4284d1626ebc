//! An app for stories that start one very often: there in a few milliseconds, and it ends as it is asked to.
//!
//! Listens on the socket $SPACE_AGENT_APP_SOCKET and answers each request with its pid. Paths, below whatever base path:
//!   …/exit/CODE       ends with that code           …/signal/NUMBER   ends itself by that signal
//!   …/limits          answers with /proc/self/limits
//! With the argument `ticks` it prints a numbered line every 10 ms.

use nix::sys::signal::{Signal, raise};
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::mpsc;

#[tokio::main(flavor = "current_thread")]
async fn main() -> ExitCode {
    println!("space-app: started");
    let socket = std::env::var_os("SPACE_AGENT_APP_SOCKET").map(PathBuf::from).expect("the agent names a socket");
    // The one before may have been killed.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("the agent's folder for sockets is ours");
    if std::env::args().any(|arg| arg == "ticks") {
        tokio::spawn(tick());
    }
    let (ends, mut end) = mpsc::channel(1);
    loop {
        tokio::select! {
            Ok((stream, _)) = listener.accept() => {
                tokio::spawn(answer(stream, ends.clone()));
            }
            Some(code) = end.recv() => return ExitCode::from(code),
        }
    }
}

/// Lines whose numbers show whether one is missing.
async fn tick() {
    let mut every = tokio::time::interval(Duration::from_millis(10));
    for number in 0u64.. {
        every.tick().await;
        if writeln!(std::io::stdout(), "tick {number}").is_err() {
            return;
        }
    }
}

/// One request for each connection.
async fn answer(mut stream: UnixStream, ends: mpsc::Sender<u8>) {
    let mut head = Vec::new();
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        match stream.read_buf(&mut head).await {
            Ok(read) if read > 0 => {}
            _ => return,
        }
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    let text = match path.rsplit('/').next() {
        Some("limits") => std::fs::read_to_string("/proc/self/limits").unwrap_or_default(),
        _ => std::process::id().to_string(),
    };
    let answer = format!(
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    );
    // Whoever asked may be gone.
    let _ = stream.write_all(answer.as_bytes()).await;
    let _ = stream.shutdown().await;
    if let Some(code) = number_after(path, "/exit/").and_then(|code| code.try_into().ok()) {
        let _ = ends.send(code).await;
    }
    if let Some(signal) = number_after(path, "/signal/").and_then(|signal| Signal::try_from(signal).ok()) {
        // The first SIGSEGV only removes the handler that Rust's runtime has for overflowing stacks.
        let _ = raise(signal);
        let _ = raise(signal);
    }
}

fn number_after(path: &str, what: &str) -> Option<i32> {
    path.split_once(what)?.1.parse().ok()
}
