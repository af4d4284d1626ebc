//! An upstream with hyper's parser: records every request that it parsed. As tests/parts/recorder.py.

use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Request, Response};
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use std::convert::Infallible;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use tokio::net::UnixListener;

/// As much of a body is recorded.
const KEPT: usize = 4096;

struct Record {
    file: File,
    count: AtomicU64,
}

#[tokio::main(flavor = "current_thread")]
async fn main() {
    let socket = std::env::var_os("SPACE_AGENT_APP_SOCKET").map(PathBuf::from).expect("the agent names a socket");
    let path = std::env::args_os().nth(1).expect("the argument names the file of the record");
    let file = OpenOptions::new().create(true).append(true).open(path).expect("the record can be written");
    let record = Arc::new(Record { file, count: AtomicU64::new(0) });
    // The one before may have been killed.
    let _ = std::fs::remove_file(&socket);
    let listener = UnixListener::bind(&socket).expect("the agent's folder for sockets is ours");
    while let Ok((stream, _)) = listener.accept().await {
        let record = record.clone();
        tokio::spawn(async move {
            let service = service_fn(|request| {
                let record = record.clone();
                async move { Ok::<_, Infallible>(answer(&record, request).await) }
            });
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(record: &Record, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let number = record.count.fetch_add(1, Ordering::Relaxed) + 1;
    let (parts, body) = request.into_parts();
    let (method, target) = (parts.method.as_str(), text(parts.uri.to_string().as_bytes()));
    record.tell(
        &json!({"event": "head", "id": number, "method": method, "target": target, "headers": pairs(&parts.headers)}),
    );
    if target.ends_with("/early") {
        return seen(number, 413);
    }
    // None: it broke off.
    if let Ok(whole) = body.collect().await {
        let trailers = whole.trailers().map(pairs).unwrap_or_default();
        let bytes = whole.to_bytes();
        let body = text(&bytes[..bytes.len().min(KEPT)]);
        record.tell(&json!({"event": "end", "id": number, "length": bytes.len(), "body": body, "trailers": trailers}));
    }
    seen(number, 200)
}

fn pairs(headers: &HeaderMap) -> Vec<[String; 2]> {
    headers.iter().map(|(name, value)| [name.as_str().to_owned(), text(value.as_bytes())]).collect()
}

/// Each byte as the character of its number.
fn text(bytes: &[u8]) -> String {
    bytes.iter().copied().map(char::from).collect()
}

fn seen(number: u64, status: u16) -> Response<Full<Bytes>> {
    let answer = Response::builder().status(status).header("x-mark", number);
    answer.body(Full::from(format!("seen {number}\n"))).expect("a status, a number and a line are an answer")
}

impl Record {
    fn tell(&self, line: &Value) {
        (&self.file).write_all(format!("{line}\n").as_bytes()).expect("the record can be written");
    }
}
