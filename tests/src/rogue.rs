//! A space with an app that does what no app should (tests/parts/rogue.py), at `/rogue/`, open to everybody.

use crate::places;
use crate::space::{Run, Space};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::PathBuf;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

#[derive(Debug)]
pub struct Rogue {
    pub run: Run,
    pub space: Space,
    record: PathBuf,
}

impl Rogue {
    pub async fn start() -> Rogue {
        Rogue::start_behind(&[]).await
    }

    /// `before` becomes the agent (`prlimit …`).
    pub async fn start_behind(before: &[&str]) -> Rogue {
        let mut space = Space::new("");
        space.before = before.iter().map(|&part| part.to_owned()).collect();
        let record = space.folder.join("record.jsonl");
        let script = places::project().join("tests/parts/rogue.py");
        let command =
            ["/usr/bin/python3".into(), script, record.clone()].map(|part: PathBuf| part.display().to_string());
        let Space { name, port, .. } = &space;
        space.write_verbatim(&format!(
            "version: 1\nspace: {{ name: {name} }}\nstorage: {{ home: {{ directory: ./home }} }}\n\
             front_door: {{ listen: \"127.0.0.1:{port}\", sign_in: open }}\n\
             apps:\n  - kind: command\n    name: rogue\n    command: {command:?}\n    ready: {{ path: /rogue/ready }}\n"
        ));
        let mut run = space.start();
        run.ready().await;
        Rogue { run, space, record }
    }

    /// What each connection to the app has said so far, as characters; the agent's question whether it is ready aside.
    pub fn heard(&self) -> Vec<String> {
        let text = std::fs::read_to_string(&self.record).unwrap_or_default();
        let mut heard: BTreeMap<u64, String> = BTreeMap::new();
        for line in text.lines() {
            // The last one may be half written.
            let Ok(line) = serde_json::from_str::<Value>(line) else { continue };
            let bytes = line["bytes"].as_str().unwrap_or_default();
            heard.entry(line["connection"].as_u64().unwrap_or(0)).or_default().push_str(bytes);
        }
        heard.into_values().filter(|heard| !heard.contains("/rogue/ready")).collect()
    }

    /// A WebSocket to the app, after its handshake.
    pub async fn websocket(&self, path: &str) -> TcpStream {
        let host = format!("127.0.0.1:{}", self.run.port);
        let head = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = TcpStream::connect(host).await.expect("the front door listens");
        stream.write_all(head.as_bytes()).await.expect("the front door reads");
        let mut answer = Vec::new();
        while !answer.ends_with(b"\r\n\r\n") {
            answer.push(stream.read_u8().await.expect("an answer to the handshake"));
        }
        assert!(answer.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&answer));
        stream
    }

    /// Ends the space, which must have come through without a panic.
    pub async fn stop(mut self) {
        assert!(!self.run.stderr().contains("panicked"), "{}", self.run.told());
        assert_eq!(self.run.stop().await, 0);
    }
}
