//! TLS at the front door, and its access log.

use super::super::{AccessLog, Pair};
use super::ground::{Client, Space, ok, serve};
use crate::model::child::Account;
use rcgen::{CertifiedKey, generate_simple_self_signed};
use space_lifecycle::SignIn;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::pki_types::{CertificateDer, ServerName};
use tokio_rustls::rustls::{ClientConfig, RootCertStore};

/// A certificate for `localhost` in a folder of its own.
struct Files {
    folder: PathBuf,
}

impl Drop for Files {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
    }
}

impl Files {
    fn new() -> (Files, CertificateDer<'static>) {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let nth = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let folder = std::env::temp_dir().join(format!("space-agent-tls-{}-{nth}", std::process::id()));
        std::fs::create_dir_all(&folder).unwrap();
        let files = Files { folder };
        let certificate = files.renew();
        (files, certificate)
    }

    fn pair(&self) -> Pair {
        Pair { cert: self.folder.join("cert.pem"), key: self.folder.join("key.pem"), not_for: None }
    }

    fn renew(&self) -> CertificateDer<'static> {
        let CertifiedKey { cert, signing_key } = generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let Pair { cert: at, key, .. } = self.pair();
        std::fs::write(&key, signing_key.serialize_pem()).unwrap();
        std::fs::write(at, cert.pem()).unwrap();
        std::fs::set_permissions(key, std::fs::Permissions::from_mode(0o600)).unwrap();
        cert.der().clone()
    }
}

async fn connect(
    space: &Space,
    trusted: &CertificateDer<'static>,
    alpn: &[&str],
) -> std::io::Result<TlsStream<TcpStream>> {
    let mut roots = RootCertStore::empty();
    roots.add(trusted.clone()).unwrap();
    let provider = Arc::new(tokio_rustls::rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let mut config = builder.with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = alpn.iter().map(|name| name.as_bytes().to_vec()).collect();
    let stream = TcpStream::connect(space.at).await.unwrap();
    TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
}

#[tokio::test]
async fn a_door_with_a_certificate_speaks_https_only() {
    let (files, certificate) = Files::new();
    let space = Space::of(SignIn::Open, Some(files.pair()), None);
    serve(space.listen(), |head| ok(&head.to_lowercase()));
    let stream = connect(&space, &certificate, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    let mut client = Client { stream, read: Vec::new() };
    // Two requests, one connection; the second with a body that fills more than one record.
    client.send(&space.request("GET /app/x HTTP/1.1")).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 200);
    assert!(answer.body.contains("\r\nx-forwarded-proto: https\r\n"), "{}", answer.body);
    let origin = format!("Origin: https://{}", space.at);
    let body = "x".repeat(300_000);
    client
        .send(&space.request(&format!("POST /app/x HTTP/1.1\r\n{origin}\r\nContent-Length: 300000\r\n\r\n{body}")))
        .await;
    assert_eq!(client.answer().await.status, 200);
    // The scheme of an origin is known here.
    client.send(&space.request(&format!("POST /app/x HTTP/1.1\r\n{}\r\nContent-Length: 0", space.origin()))).await;
    assert_eq!(client.answer().await.status, 403);
    assert!(connect(&space, &certificate, &["h2"]).await.is_err(), "nothing but HTTP/1.1 is spoken");

    let plain = space.ask("GET /app/x HTTP/1.1").await;
    assert_eq!((plain.status, plain.body.contains("https://")), (400, true), "{plain:?}");
}

#[tokio::test]
async fn a_client_that_leaves_by_tls_is_gone_for_the_app_too_and_one_that_asks_ahead_is_not() {
    let (files, certificate) = Files::new();
    let space = Space::of(SignIn::Open, Some(files.pair()), None);
    let listener = space.listen();
    let mut client = Client { stream: connect(&space, &certificate, &[]).await.unwrap(), read: Vec::new() };
    client.send(&space.request("GET /app/first HTTP/1.1")).await;
    let mut app = Client { stream: listener.accept().await.unwrap().0, read: Vec::new() };
    app.head().await.unwrap();
    client.send(&(space.request("GET /app/second HTTP/1.1") + &space.request("GET /app/stream HTTP/1.1"))).await;
    for path in ["second", "stream"] {
        app.send(&ok("here")).await;
        assert_eq!(client.answer().await.body, "here");
        assert!(app.head().await.unwrap().contains(path));
    }
    app.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(client.head().await.unwrap().contains("event-stream"));
    // First the farewell of TLS, then the connection's end.
    client.stream.shutdown().await.unwrap();
    drop(client);
    assert_eq!(app.drained().await, "", "nobody reads the stream any more");
}

#[tokio::test]
async fn a_websocket_passes_through_tls_whole() {
    let (files, certificate) = Files::new();
    let space = Space::of(SignIn::Open, Some(files.pair()), None);
    let app = space.listen();
    let mut client = Client { stream: connect(&space, &certificate, &[]).await.unwrap(), read: Vec::new() };
    let head = format!(
        "GET /app/ws HTTP/1.1\r\nOrigin: https://{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        space.at
    );
    client.send(&space.request(&head)).await;
    let mut app = Client { stream: app.accept().await.unwrap().0, read: Vec::new() };
    app.head().await.unwrap();
    app.send(
        "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n",
    )
    .await;
    assert_eq!(client.answer().await.status, 101);
    // More than the sockets take at once, while nobody reads; then silence: the last byte has to come by itself.
    let mut frame = vec![0x82, 127];
    frame.extend((4_000_000_u64).to_be_bytes());
    frame.extend(vec![b'm'; 4_000_000]);
    let whole = frame.len();
    let sent = tokio::spawn(async move {
        tokio::io::AsyncWriteExt::write_all(&mut app.stream, &frame).await.unwrap();
        app
    });
    while client.read.len() < whole && client.more().await {}
    assert_eq!(client.read.len(), whole);
    drop(sent.await.unwrap());
    assert_eq!(client.drained_bytes().await[whole..], [0x88, 2, 3, 0xe9]);
}

#[tokio::test]
async fn a_new_certificate_is_taken_and_a_broken_one_is_not() {
    let (files, first) = Files::new();
    let space = Space::of(SignIn::Open, Some(files.pair()), None);
    assert!(connect(&space, &first, &[]).await.is_ok());
    std::fs::write(files.pair().cert, "no certificate").unwrap();
    let told = space.noted("can not be used").await;
    assert!(told.contains("keeps the certificate that it has") && told.contains("cert.pem"), "{told}");
    assert!(connect(&space, &first, &[]).await.is_ok());
    let second = files.renew();
    space.noted("has a new certificate").await;
    assert!(connect(&space, &second, &[]).await.is_ok());
    assert!(connect(&space, &first, &[]).await.is_err());
}

#[test]
fn what_is_no_file_is_no_certificate_and_nobody_waits_for_it() {
    let (files, _) = Files::new();
    let pair = files.pair();
    for make in ["mkfifo", "mkdir", "truncate -s 9G"] {
        let _ = std::fs::remove_file(&pair.cert);
        let made = std::process::Command::new("sh").arg("-c").arg(format!("{make} {}", pair.cert.display())).status();
        assert!(made.unwrap().success());
        let error = pair.read().unwrap_err().to_string();
        assert!(error.contains("not a regular file") || error.contains("larger than"), "{make}: {error}");
        let _ = std::fs::remove_dir(&pair.cert);
    }
}

#[test]
fn a_key_that_the_spaces_user_can_read_is_no_key() {
    let (files, _) = Files::new();
    let account = Account {
        name: "alice".into(),
        uid: 64_321,
        gid: 64_321,
        groups: Vec::new(),
        home: "/nonexistent".into(),
        shell: "/bin/sh".into(),
    };
    let pair = Pair { not_for: Some(account), ..files.pair() };
    assert!(pair.read().is_ok());
    std::fs::set_permissions(&pair.key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let error = pair.read().unwrap_err().to_string();
    assert!(error.contains("alice") && error.contains("chmod 600"), "{error}");
    let (other, _) = Files::new();
    let mixed = Pair { key: other.pair().key, ..files.pair() };
    assert!(mixed.read().unwrap_err().to_string().contains("can not be used with the key"));
}

#[tokio::test]
async fn each_request_is_a_line_without_its_query_and_long_ones_are_cut() {
    let (lines, mut told) = mpsc::channel(16);
    let log = AccessLog { lines, lost: Arc::new(AtomicU64::new(0)), json: false };
    let space = Space::of(SignIn::Open, None, Some(log));
    serve(space.listen(), |_| ok("12345"));
    let long = "a".repeat(12_000);
    space
        .ask(&format!(
            "GET /app/x?token=secret HTTP/1.1\r\nUser-Agent: \u{e9}\t{long}\r\nReferer: http://a/b?token=secret"
        ))
        .await;
    let line = tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
    assert!(
        line.starts_with("127.0.0.1 - - [")
            && line.contains("] \"GET /app/x HTTP/1.1\" 200 5 \"http://a/b\" \"\\xc3\\xa9\\x09aaa"),
        "{line}"
    );
    assert!(
        line.contains("...\" app 0.") && line.ends_with('\n') && line.len() < 512 && !line.contains("secret"),
        "{line}"
    );
    space.ask("GET /nothing HTTP/1.1").await;
    let line = tokio::time::timeout(Duration::from_secs(10), told.recv()).await.unwrap().unwrap();
    assert!(line.contains("\"GET /nothing HTTP/1.1\" 404 ") && line.contains("\"-\" \"-\" - "), "{line}");
}

#[tokio::test]
async fn a_door_that_closes_does_not_wait_for_a_handshake_that_does_not_end() {
    let (files, certificate) = Files::new();
    let mut space = Space::of(SignIn::Open, Some(files.pair()), None);
    let begun = Instant::now();
    let (mut silent, mut half) =
        (TcpStream::connect(space.at).await.unwrap(), TcpStream::connect(space.at).await.unwrap());
    half.write_all(&[22, 3, 1, 2]).await.unwrap();
    // Those who came before are in.
    assert!(connect(&space, &certificate, &[]).await.is_ok());
    space.switch.stop();
    (&mut space.running).await.unwrap();
    assert!(begun.elapsed() < Duration::from_millis(1800), "the door closed after {:?}", begun.elapsed());
    assert_eq!(silent.read(&mut [0]).await.unwrap(), 0);
    // What it has sent was not read.
    let _ = half.read(&mut [0]).await;
}
