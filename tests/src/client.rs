//! An HTTP client as a program would be one: a jar of cookies, an Origin, one connection per request.
//!
//! One connection per request keeps stories independent of each other; connections that are kept have their own story.

use bytes::Bytes;
use futures_util::Stream;
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};

/// No single request of a story takes longer, big bodies aside.
const PATIENCE: Duration = Duration::from_secs(30);

pub type Body = BoxBody<Bytes, Infallible>;

/// An answer with its whole body.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("not JSON ({error}): {}", self.text()))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }

    /// Fails the test if the answer isn't a good one.
    #[track_caller]
    pub fn good(self, what: &str) -> Answer {
        assert!(self.status.is_success(), "{what}: {} {}", self.status, self.text());
        self
    }
}

/// A body that is sent at once.
pub fn whole(bytes: impl Into<Bytes>) -> Body {
    Full::new(bytes.into()).boxed()
}

/// A body that is sent piece by piece, without a Content-Length.
pub fn pieces(stream: impl Stream<Item = Bytes> + Send + Sync + 'static) -> Body {
    use futures_util::StreamExt;
    BodyExt::boxed(StreamBody::new(stream.map(|bytes| Ok(Frame::data(bytes)))))
}

/// Someone at the front door of 127.0.0.1:port.
#[derive(Debug, Clone)]
pub struct Client {
    pub port: u16,
    pub cookies: BTreeMap<String, String>,
    /// Every `Set-Cookie` that was seen, as it was written.
    pub set_cookies: Vec<String>,
}

impl Client {
    pub fn new(port: u16) -> Client {
        Client { port, cookies: BTreeMap::new(), set_cookies: Vec::new() }
    }

    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.host())
    }

    /// What a browser would send as `Cookie`.
    pub fn cookie_header(&self) -> String {
        self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join("; ")
    }

    /// Signs in with the link that `run` printed, as a program does: POST of the token, with an Origin.
    pub async fn sign_in(&mut self, link: &str) -> Answer {
        let (url, token) = link.split_once('#').expect("a sign-in link has its token in the fragment");
        let path = url.strip_prefix(&self.origin()).expect("a sign-in link leads to the front door").to_owned();
        self.post_form(&path, &format!("token={token}")).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.send(Method::GET, path, &[], whole("")).await
    }

    /// A GET as a browser does it when someone goes to a page.
    pub async fn visit(&mut self, path: &str) -> Answer {
        let accept = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
        self.send(Method::GET, path, &[("accept", accept)], whole("")).await
    }

    pub async fn post_form(&mut self, path: &str, form: &str) -> Answer {
        let headers = [("content-type", "application/x-www-form-urlencoded"), ("origin", &self.origin())];
        self.send(Method::POST, path, &headers, whole(form.to_owned())).await
    }

    /// JSON with an Origin and, if Jupyter gave one, its cross-site token.
    pub async fn send_json(&mut self, method: Method, path: &str, body: &serde_json::Value) -> Answer {
        let (origin, xsrf) = (self.origin(), self.cookies.get("_xsrf").cloned());
        let mut headers = vec![("content-type", "application/json"), ("origin", origin.as_str())];
        headers.extend(xsrf.as_deref().map(|xsrf| ("x-xsrftoken", xsrf)));
        self.send(method, path, &headers, whole(body.to_string())).await
    }

    /// Sends a request and collects the answer. The test fails if there is none.
    pub async fn send(&mut self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Answer {
        let told = format!("{method} {path}");
        self.try_send(method, path, headers, body).await.unwrap_or_else(|error| panic!("{told}: {error}"))
    }

    /// As [`Client::send`]; for moments when nobody may listen.
    pub async fn try_send(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<Answer, String> {
        let exchange = async {
            let answer = self.begin(method, path, headers, body).await?;
            let (parts, body) = answer.into_parts();
            let body = body.collect().await.map_err(|error| format!("the body ended early: {error}"))?.to_bytes();
            Ok(Answer { status: parts.status, headers: parts.headers, body })
        };
        tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?
    }

    /// Sends a request and returns once the answer's head is there; its body can be read as it comes.
    pub async fn begin(
        &mut self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Body,
    ) -> Result<hyper::Response<Incoming>, String> {
        let stream = TcpStream::connect(("127.0.0.1", self.port)).await;
        let stream = stream.map_err(|error| format!("cannot connect to {}: {error}", self.host()))?;
        let request = self.request(method, path, headers, body);
        let answer = exchange(stream, request).await?;
        for cookie in answer.headers().get_all("set-cookie") {
            self.keep(cookie.to_str().unwrap_or_default());
        }
        Ok(answer)
    }

    fn request(&self, method: Method, path: &str, headers: &[(&str, &str)], body: Body) -> Request<Body> {
        let mut request = Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().unwrap_or_else(|error| panic!("no path: {path}: {error}"));
        let map = request.headers_mut();
        map.insert("host", HeaderValue::from_str(&self.host()).expect("a host and a port"));
        if !self.cookies.is_empty() {
            map.insert("cookie", HeaderValue::from_str(&self.cookie_header()).expect("cookies are plain text"));
        }
        for (name, value) in headers {
            // What a story writes replaces what is usual (a strange Host, no cookies).
            map.insert(
                HeaderName::from_bytes(name.as_bytes()).expect("a header's name"),
                HeaderValue::from_str(value).expect("a header's value"),
            );
        }
        request
    }

    fn keep(&mut self, cookie: &str) {
        self.set_cookies.push(cookie.to_owned());
        let pair = cookie.split(';').next().unwrap_or_default();
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let gone = value.is_empty() || cookie.to_ascii_lowercase().contains("max-age=0");
        if gone {
            self.cookies.remove(name.trim());
        } else {
            self.cookies.insert(name.trim().to_owned(), value.trim().to_owned());
        }
    }
}

/// One request over one connection, which ends with the answer's body.
async fn exchange<S>(stream: S, request: Request<Body>) -> Result<hyper::Response<Incoming>, String>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| format!("no HTTP connection: {error}"))?;
    // It ends by itself once the answer is read or dropped: the sender is gone by then.
    tokio::spawn(connection);
    sender.send_request(request).await.map_err(|error| match std::error::Error::source(&error) {
        Some(source) => format!("no answer: {error}: {source}"),
        None => format!("no answer: {error}"),
    })
}

/// A request over a unix socket: the control API.
pub async fn over_unix(
    socket: &Path,
    method: Method,
    path: &str,
    body: Option<&serde_json::Value>,
) -> Result<Answer, String> {
    let exchange = async {
        let stream = UnixStream::connect(socket).await;
        let stream = stream.map_err(|error| format!("cannot connect to {}: {error}", socket.display()))?;
        let mut request = Request::new(whole(body.map(ToString::to_string).unwrap_or_default()));
        *request.method_mut() = method;
        *request.uri_mut() = path.parse().map_err(|error| format!("no path: {path}: {error}"))?;
        request.headers_mut().insert("host", HeaderValue::from_static("localhost"));
        if body.is_some() {
            request.headers_mut().insert("content-type", HeaderValue::from_static("application/json"));
        }
        let (parts, body) = exchange(stream, request).await?.into_parts();
        let body = body.collect().await.map_err(|error| format!("the body ended early: {error}"))?.to_bytes();
        Ok(Answer { status: parts.status, headers: parts.headers, body })
    };
    tokio::time::timeout(PATIENCE, exchange).await.map_err(|_| format!("no answer within {PATIENCE:?}"))?
}

/// Bytes as they are, to the front door and back until it closes: for requests that no client library would send.
///
/// The request should ask for `Connection: close`, or be one that is refused.
pub async fn raw(port: u16, bytes: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(("127.0.0.1", port)).await.expect("the front door listens");
        // A door that refuses may close while we still write: what it said counts.
        let _ = stream.write_all(bytes).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    let answer = tokio::time::timeout(PATIENCE, exchange).await;
    answer.unwrap_or_else(|_| panic!("no end of the answer to {:?}", String::from_utf8_lossy(bytes)))
}
