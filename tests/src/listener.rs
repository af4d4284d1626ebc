//! Something that listens on a port of loopback, as a user's own server would, and remembers who came.

use std::sync::{Arc, Mutex, PoisonError};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

/// Answers every request with "port" and closes. Dropping it ends it.
#[derive(Debug)]
pub struct Listener {
    pub port: u16,
    /// What each connection has said.
    heard: Arc<Mutex<Vec<Vec<u8>>>>,
    serving: JoinHandle<()>,
}

impl Listener {
    pub async fn start() -> Listener {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port is free");
        let port = listener.local_addr().expect("a bound socket has an address").port();
        let heard = Arc::new(Mutex::new(Vec::new()));
        let remembered = heard.clone();
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let at = {
                    let mut heard = lock(&remembered);
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                let remembered = remembered.clone();
                tokio::spawn(async move { serve(stream, &remembered, at).await });
            }
        });
        Listener { port, heard, serving }
    }

    /// What each connection so far has said, as characters.
    pub fn heard(&self) -> Vec<String> {
        lock(&self.heard).iter().map(|bytes| bytes.iter().copied().map(char::from).collect()).collect()
    }
}

async fn serve(mut stream: TcpStream, heard: &Mutex<Vec<Vec<u8>>>, at: usize) {
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stream.read(&mut buffer).await {
        let ended = {
            let mut heard = lock(heard);
            heard[at].extend_from_slice(&buffer[..read]);
            heard[at].windows(4).any(|end| end == b"\r\n\r\n")
        };
        if ended {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nport\n").await;
            return;
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Drop for Listener {
    fn drop(&mut self) {
        self.serving.abort();
    }
}
