//! WebSockets: the handshake on both sides, the bytes after it.

use super::ground::{Answer, Client, Space, header};
use crate::proxy::websocket::accept_of;
use space_lifecycle::SignIn;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixListener, UnixStream};
use tokio::time::timeout;

const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";

fn handshake(space: &Space, origin: &str) -> String {
    let head = format!(
        "GET /app/api/kernels/1/channels?session_id=%20x HTTP/1.1\r\n{origin}Connection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\
         Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\nSec-WebSocket-Extensions: permessage-deflate"
    );
    space.request(&head)
}

async fn accept(listener: &UnixListener) -> Client<UnixStream> {
    let (stream, _) = timeout(Duration::from_secs(10), listener.accept()).await.expect("a connection").unwrap();
    Client { stream, read: Vec::new() }
}

fn agreement(key: &str) -> String {
    let accept = accept_of(key.as_bytes());
    format!(
        "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\
         Sec-WebSocket-Accept: {accept}\r\nSec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org\r\n\r\n"
    )
}

/// A tunnel through the door: the client's end and the app's end.
async fn tunnel(space: &Space) -> (Client<TcpStream>, Client<UnixStream>) {
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&handshake(space, &(space.origin() + "\r\n"))).await;
    let mut app = accept(&listener).await;
    app.head().await.unwrap();
    app.send(&agreement(KEY)).await;
    assert_eq!(client.answer().await.status, 101);
    (client, app)
}

#[tokio::test]
async fn a_websocket_is_a_tunnel_after_a_handshake_of_both_sides() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&handshake(&space, &(space.origin() + "\r\n"))).await;
    // What a hasty client sends before the app has agreed waits here.
    client.send("hasty\0").await;
    let mut app = accept(&listener).await;
    let head = app.head().await.unwrap();
    assert!(head.starts_with("GET /app/api/kernels/1/channels?session_id=%20x HTTP/1.1\r\n"), "{head}");
    for (name, value) in [
        ("upgrade", "websocket"),
        ("connection", "Upgrade"),
        ("sec-websocket-key", KEY),
        ("sec-websocket-version", "13"),
        ("sec-websocket-extensions", "permessage-deflate"),
        ("sec-websocket-protocol", "v1.kernel.websocket.jupyter.org"),
        ("x-forwarded-for", "127.0.0.1"),
    ] {
        assert_eq!(header(&head, name), Some(value), "{head}");
    }
    assert!(timeout(Duration::from_millis(200), app.more()).await.is_err(), "nothing passes before the 101");
    // The app's first bytes may follow its 101 at once.
    app.send(&(agreement(KEY) + "\u{1}first")).await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("upgrade")), (101, Some("websocket")));
    assert_eq!(answer.header("sec-websocket-accept"), Some(accept_of(KEY.as_bytes()).as_str()));
    assert_eq!(answer.header("sec-websocket-protocol"), Some("v1.kernel.websocket.jupyter.org"));
    assert_eq!(client.exactly(6).await, "\u{1}first");
    assert_eq!(app.exactly(6).await, "hasty\0");
    for text in ["\r\n\r\n", "GET / HTTP/1.1\r\n\r\n", "\0\u{7f}#"] {
        client.send(text).await;
        assert_eq!(app.exactly(text.len()).await, text);
        app.send(text).await;
        assert_eq!(client.exactly(text.len()).await, text);
    }
}

#[tokio::test]
async fn a_tunnel_carries_much_in_both_directions_at_once() {
    const SIZE: usize = 8 << 20;
    let space = Space::open();
    let (client, app) = tunnel(&space).await;
    let (mut client_read, mut client_write) = client.stream.into_split();
    let (mut app_read, mut app_write) = app.stream.into_split();
    let piece: Vec<u8> = (0..1 << 16).map(|nth| (nth * 31 % 251) as u8).collect();
    let pieces = SIZE / piece.len();
    let fill = |piece: Vec<u8>| move || piece.clone();
    let (one, two) = (fill(piece.clone()), fill(piece.clone()));
    let there = tokio::spawn(async move {
        for _ in 0..pieces {
            client_write.write_all(&one()).await.unwrap();
        }
        client_write
    });
    let back = tokio::spawn(async move {
        for _ in 0..pieces {
            app_write.write_all(&two()).await.unwrap();
        }
        app_write
    });
    let all = async {
        let mut buffer = vec![0; piece.len()];
        for _ in 0..pieces {
            tokio::io::AsyncReadExt::read_exact(&mut app_read, &mut buffer).await.unwrap();
            assert_eq!(buffer, piece);
            tokio::io::AsyncReadExt::read_exact(&mut client_read, &mut buffer).await.unwrap();
            assert_eq!(buffer, piece);
        }
    };
    timeout(Duration::from_secs(60), all).await.expect("both directions flow");
    let _ends = (there.await.unwrap(), back.await.unwrap());
}

#[tokio::test]
async fn one_side_may_end_before_the_other() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    client.send("last words").await;
    client.stream.shutdown().await.unwrap();
    assert_eq!(app.drained().await, "last words");
    app.send("an answer still").await;
    assert_eq!(client.exactly(15).await, "an answer still");
    drop(app);
    assert_eq!(client.drained().await, "");
}

#[tokio::test]
async fn a_websocket_without_origin_session_or_proper_handshake_never_reaches_the_app() {
    let space = Space::with(SignIn::Token);
    let listener = space.listen();
    let ask = async |head: String| -> Answer {
        let mut client = space.connect().await;
        client.send(&head).await;
        client.answer().await
    };
    assert_eq!(ask(handshake(&space, "")).await.status, 403, "no Origin");
    assert_eq!(ask(handshake(&space, "Origin: null\r\n")).await.status, 403);
    let foreign = ask(handshake(&space, "Origin: http://evil.example\r\n")).await;
    assert!(foreign.status == 403 && foreign.body.contains("evil.example"), "{foreign:?}");
    let own = handshake(&space, &(space.origin() + "\r\n"));
    assert_eq!(ask(own.clone()).await.status, 401, "no session");
    space.change(|door| door.sign_in = SignIn::Open);
    for (good, bad) in [
        ("Sec-WebSocket-Version: 13", "Sec-WebSocket-Version: 8"),
        (KEY, "bm90IDE2"),
        ("GET /app", "POST /app"),
        ("HTTP/1.1", "HTTP/1.0"),
        ("Connection: Upgrade\r\n", "Connection: Upgrade\r\nContent-Length: 3\r\n"),
    ] {
        assert_eq!(ask(own.replacen(good, bad, 1)).await.status, 400, "{bad}");
    }
    assert!(timeout(Duration::from_millis(100), listener.accept()).await.is_err(), "the app was asked");
}

#[tokio::test]
async fn an_answer_that_is_no_agreement_opens_nothing() {
    let space = Space::open();
    let listener = space.listen();
    for (said, status) in [
        (agreement("x3JJHMbDL1EzLkh9GBhXDw=="), 502),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".to_owned(), 502),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_owned(), 200),
    ] {
        let mut client = space.connect().await;
        // The pipelined request must be read as a request, not as the tunnel's bytes.
        let next = space.request("GET /_space/livez HTTP/1.1\r\nConnection: close");
        client.send(&(handshake(&space, &(space.origin() + "\r\n")) + &next)).await;
        let mut app = accept(&listener).await;
        app.head().await.unwrap();
        app.send(&said).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{said}");
        assert_eq!(app.drained().await, "", "nothing more reaches the app: {said}");
        let rest = client.drained().await;
        assert!(rest.is_empty() || rest.ends_with("ok"), "{rest}");
    }
}

#[tokio::test]
async fn a_101_that_nobody_asked_for_is_an_error() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/ HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: h2c")).await;
    let mut app = accept(&listener).await;
    assert_eq!(header(&app.head().await.unwrap(), "upgrade"), None);
    app.send(&agreement(KEY)).await;
    assert_eq!(client.answer().await.status, 502);
}

#[tokio::test]
async fn tunnels_end_with_a_close_frame_when_the_door_closes() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    space.switch.stop();
    assert_eq!((client.drained_bytes().await, app.drained().await), (GOING_AWAY.to_vec(), String::new()));
}

#[tokio::test]
async fn an_app_that_is_gone_without_a_word_has_its_last_one_said_for_it() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.send("\u{1}\u{2}hi").await;
    drop(app);
    assert_eq!(client.drained_bytes().await, [&[1, 2, b'h', b'i'], &GOING_AWAY[..]].concat());
}

#[tokio::test]
async fn nothing_is_put_into_the_middle_of_a_frame() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.send("\u{1}\u{5}hel").await;
    drop(app);
    assert_eq!(client.drained_bytes().await, [1, 5, b'h', b'e', b'l']);
}

const GOING_AWAY: [u8; 4] = [0x88, 2, 0x03, 0xe9];
