//! A Jupyter client as a program is one: REST and the kernel's WebSocket, through the front door.

use crate::client::{Answer, Client};
use futures_util::{SinkExt, StreamExt};
use hyper::Method;
use serde_json::{Value, json};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// A Jupyter server below a base path.
#[derive(Debug, Clone)]
pub struct Jupyter {
    pub client: Client,
    /// Begins and ends with `/`.
    pub base: String,
}

impl Jupyter {
    /// Fetches the cross-site token (`_xsrf`) first: without it Jupyter refuses every POST.
    pub async fn new(client: Client, base: &str) -> Jupyter {
        let mut jupyter = Jupyter { client, base: base.to_owned() };
        let page = jupyter.client.visit(&format!("{base}lab")).await;
        assert!(jupyter.client.cookies.contains_key("_xsrf"), "no _xsrf cookie from {base}lab: {:?}", page.headers);
        jupyter
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.client.get(&format!("{}{path}", self.base)).await
    }

    async fn send(&mut self, method: Method, path: &str, body: &Value) -> Answer {
        let path = format!("{}{path}", self.base);
        self.client.send_json(method, &path, body).await
    }

    /// Opens a notebook's session with a new kernel.
    pub async fn session(&mut self, notebook: &str) -> Kernel {
        let body = json!({"path": notebook, "name": notebook, "type": "notebook", "kernel": {"name": "python3"}});
        let answer = self.send(Method::POST, "api/sessions", &body).await.good("cannot open a session").json();
        self.connect(answer["kernel"]["id"].as_str().expect("a session has a kernel")).await
    }

    /// The ids of all kernels.
    pub async fn kernels(&mut self) -> Vec<String> {
        let answer = self.get("api/kernels").await.good("cannot list kernels").json();
        let kernels = answer.as_array().cloned().unwrap_or_default();
        kernels.iter().filter_map(|kernel| kernel["id"].as_str().map(str::to_owned)).collect()
    }

    /// Opens the WebSocket of a kernel that runs.
    pub async fn connect(&self, id: &str) -> Kernel {
        let path = format!("{}api/kernels/{id}/channels?session_id={}", self.base, unique("session"));
        let url = format!("ws://{}{path}", self.client.host());
        let mut request = url.into_client_request().expect("a WebSocket's URL");
        let headers = request.headers_mut();
        headers.insert("origin", self.client.origin().parse().expect("an origin"));
        if !self.client.cookies.is_empty() {
            headers.insert("cookie", self.client.cookie_header().parse().expect("cookies are plain text"));
        }
        let stream = TcpStream::connect(("127.0.0.1", self.client.port)).await.expect("the front door listens");
        let opened = tokio_tungstenite::client_async(request, stream).await;
        let (socket, _) = opened.unwrap_or_else(|error| panic!("no WebSocket to kernel {id}: {error:?}"));
        Kernel { id: id.to_owned(), socket }
    }

    pub async fn delete_kernel(&mut self, id: &str) {
        self.send(Method::DELETE, &format!("api/kernels/{id}"), &json!({})).await.good("cannot end the kernel");
    }

    /// Uploads a file as JupyterLab does: base64 pieces of 1 MB through the contents interface.
    /// `piece(n)` is the n-th piece's bytes, each one a multiple of 3 long except the last.
    pub async fn upload(&mut self, path: &str, pieces: usize, piece: impl Fn(usize) -> Vec<u8>) {
        for number in 1..=pieces {
            let last = number == pieces;
            let body = json!({
                "type": "file", "format": "base64", "name": path, "path": path,
                "content": base64(&piece(number - 1)),
                "chunk": if last { -1 } else { i64::try_from(number).expect("a small number") },
            });
            let answer = self.send(Method::PUT, &format!("api/contents/{path}"), &body).await;
            answer.good(&format!("piece {number} of {pieces} was refused"));
        }
    }

    /// Downloads a file and gives each piece to `take` as it comes; returns how many bytes there were.
    pub async fn download(&mut self, path: &str, mut take: impl FnMut(&[u8])) -> u64 {
        use http_body_util::BodyExt;
        // JupyterLab's own download links carry the cross-site token as well.
        let xsrf = self.client.cookies.get("_xsrf").cloned().unwrap_or_default();
        let path = format!("{}files/{path}?_xsrf={xsrf}", self.base);
        let begun = self.client.begin(Method::GET, &path, &[], crate::client::whole("")).await;
        let mut answer = begun.unwrap_or_else(|error| panic!("cannot download: {error}"));
        assert!(answer.status().is_success(), "cannot download {path}: {}", answer.status());
        let mut bytes = 0;
        while let Some(frame) = answer.body_mut().frame().await {
            let frame = frame.unwrap_or_else(|error| panic!("the download ended after {bytes} bytes: {error}"));
            if let Ok(data) = frame.into_data() {
                bytes += data.len() as u64;
                take(&data);
            }
        }
        bytes
    }
}

/// A kernel's WebSocket.
#[derive(Debug)]
pub struct Kernel {
    pub id: String,
    socket: tokio_tungstenite::WebSocketStream<TcpStream>,
}

impl Kernel {
    /// Runs code to its end and returns what it printed; an error in the code fails the test.
    pub async fn execute(&mut self, code: &str, deadline: Duration) -> String {
        let id = self.begin(code).await;
        let told = tokio::time::timeout(deadline, self.collect(&id)).await;
        told.unwrap_or_else(|_| panic!("the cell did not end within {deadline:?}: {code}"))
    }

    /// Asks until the kernel has answered over what it publishes too. Jupyter does so itself when a WebSocket is opened,
    /// but not while it takes the kernel for busy, as it does one that has died at work: what the next one publishes
    /// before Jupyter has found it is lost, the end of a cell as well.
    pub async fn heard(&mut self, deadline: Duration) {
        let asked = async {
            loop {
                let id = self.ask("kernel_info_request", &json!({})).await;
                if tokio::time::timeout(Duration::from_secs(1), self.collect(&id)).await.is_ok() {
                    return;
                }
            }
        };
        tokio::time::timeout(deadline, asked)
            .await
            .unwrap_or_else(|_| panic!("the kernel is silent after {deadline:?}"));
    }

    /// Sends code to be run and returns the request's id.
    pub async fn begin(&mut self, code: &str) -> String {
        let content = json!({"code": code, "silent": false, "store_history": true, "user_expressions": {},
                             "allow_stdin": false, "stop_on_error": true});
        self.ask("execute_request", &content).await
    }

    async fn ask(&mut self, kind: &str, content: &Value) -> String {
        let id = unique("request");
        let message = json!({
            "channel": "shell",
            "header": {"msg_id": id, "msg_type": kind, "username": "story", "session": unique("client"),
                       "date": "2026-01-01T00:00:00Z", "version": "5.3"},
            "parent_header": {}, "metadata": {}, "buffers": [],
            "content": content,
        });
        self.socket.send(Message::text(message.to_string())).await.expect("the kernel's WebSocket is open");
        id
    }

    /// Collects what a request prints until it has ended.
    pub async fn collect(&mut self, id: &str) -> String {
        let mut printed = String::new();
        loop {
            let message = self.next_of(id).await.unwrap_or_else(|error| panic!("{error}; printed so far: {printed:?}"));
            match message["msg_type"].as_str() {
                Some("stream") => printed += message["content"]["text"].as_str().unwrap_or_default(),
                Some("error") => panic!("the cell failed: {:#}", message["content"]),
                Some("status") if message["content"]["execution_state"] == "idle" => return printed,
                _ => {}
            }
        }
    }

    /// The next message that answers request `id`.
    pub async fn next_of(&mut self, id: &str) -> Result<Value, String> {
        loop {
            let message = self.socket.next().await.ok_or("the kernel's WebSocket has closed")?;
            let message = message.map_err(|error| format!("the kernel's WebSocket has broken: {error}"))?;
            let Message::Text(text) = message else { continue };
            let message: Value = serde_json::from_str(&text).map_err(|error| format!("not JSON: {error}"))?;
            if message["parent_header"]["msg_id"] == id {
                return Ok(message);
            }
        }
    }
}

/// An id that no other request of this test process has.
fn unique(what: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{what}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Standard base64 with padding (RFC 4648).
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let padded = [group[0], *group.get(1).unwrap_or(&0), *group.get(2).unwrap_or(&0)];
        let number = u32::from_be_bytes([0, padded[0], padded[1], padded[2]]);
        for place in 0..4 {
            match place <= group.len() {
                true => text.push(char::from(DIGITS[(number >> (18 - 6 * place) & 63) as usize])),
                false => text.push('='),
            }
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::base64;

    #[test]
    fn base64_is_as_rfc_4648_writes_it() {
        for (bytes, text) in [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")] {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }
}
