//! WebSockets: the handshake on both sides, the bytes after it.

use super::ground::{Answer, Client, Space, accept, header, now, pass};
use crate::model::route::{Door, RouteState};
use crate::model::traffic::{Pattern, Rules, Side, Socket, Speech};
use crate::proxy::session;
use crate::proxy::websocket::accept_of;
use space_lifecycle::SignIn;
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpStream, UnixStream};
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
    let agreed = agreement(KEY);
    let with = |line: &str| agreed.replacen("\r\n\r\n", &format!("\r\n{line}\r\n\r\n"), 1);
    let protocol = "Sec-WebSocket-Protocol: v1.kernel.websocket.jupyter.org";
    for (said, status) in [
        (agreed.replace(protocol, "Sec-WebSocket-Protocol: other"), 502),
        (with(protocol), 502),
        (with("Sec-WebSocket-Extensions: permessage-bzip2"), 502),
        (with(&format!("Sec-WebSocket-Accept: {}", accept_of(KEY.as_bytes()))), 502),
        (agreement("x3JJHMbDL1EzLkh9GBhXDw=="), 502),
        ("HTTP/1.1 101 Switching Protocols\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n".to_owned(), 502),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".to_owned(), 502),
        ("HTTP/1.1 403 Forbidden\r\nContent-Length: 2\r\n\r\nno".to_owned(), 403),
        ("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nno".to_owned(), 200),
    ] {
        let mut client = space.connect().await;
        // What was meant for a WebSocket is neither the tunnel's bytes nor a request.
        let next = space.request("GET /_space/livez HTTP/1.1\r\nConnection: close");
        client.send(&(handshake(&space, &(space.origin() + "\r\n")) + &next)).await;
        let mut app = accept(&listener).await;
        app.head().await.unwrap();
        app.send(&said).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, status, "{said}");
        assert_eq!(app.drained().await, "", "nothing more reaches the app: {said}");
        assert_eq!(client.drained().await, "", "nothing more is answered: {said}");
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
    assert_eq!((client.drained_bytes().await, app.drained_bytes().await), (close(1001), close_masked(1001)));
}

#[tokio::test]
async fn an_app_that_is_gone_without_a_word_has_its_last_one_said_for_it() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.send("\u{1}\u{2}hi").await;
    drop(app);
    assert_eq!(client.drained_bytes().await, [&[1, 2, b'h', b'i'], &close(1001)[..]].concat());
}

#[tokio::test]
async fn nothing_is_put_into_the_middle_of_a_frame() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.send("\u{1}\u{5}hel").await;
    drop(app);
    assert_eq!(client.drained_bytes().await, [1, 5, b'h', b'e', b'l']);
}

fn close(code: u16) -> Vec<u8> {
    [&[0x88, 2][..], &code.to_be_bytes()].concat()
}

fn close_masked(code: u16) -> Vec<u8> {
    [&[0x88, 0x82, 0, 0, 0, 0][..], &code.to_be_bytes()].concat()
}

/// A short frame, masked with zeros where `masked`.
fn frame(first: u8, masked: bool, payload: &[u8]) -> Vec<u8> {
    let length = u8::try_from(payload.len()).unwrap();
    let (head, mask) = if masked { ([first, 0x80 | length], &[0; 4][..]) } else { ([first, length], &[][..]) };
    [&head, mask, payload].concat()
}

/// The pulse beats this often, at once. (A clock that stands still would go on by itself while a test waits for bytes.)
async fn beats(count: usize) {
    tokio::time::pause();
    for _ in 0..count {
        tokio::time::advance(Duration::from_millis(10_001)).await;
        for _ in 0..50 {
            tokio::task::yield_now().await;
        }
    }
    tokio::time::resume();
}

async fn bytes<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(side: &mut Client<S>, count: usize) -> Vec<u8> {
    while side.read.len() < count && side.more().await {}
    let count = count.min(side.read.len());
    side.read.drain(..count).collect()
}

fn ends(space: &Space) -> Vec<(Side, &'static str, u64)> {
    space.door.borrow().routes[0].traffic.sample().ends.counts().collect()
}

/// Waits for what a task of the door does once a connection is gone.
async fn until(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..1000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("{what} did not come");
}

#[tokio::test]
async fn a_silent_client_is_asked_and_only_its_answer_to_us_stays_here() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    beats(3).await;
    let ping = bytes(&mut client, 14).await;
    assert_eq!(ping[..2], [0x89, 12]);
    let sign = &ping[2..];
    let own = frame(0x8a, true, sign);
    let (word, theirs) = (frame(0x81, true, b"word"), frame(0x8a, true, b"app's own"));
    client.stream.write_all(&[&word[..], &own, &theirs, &own[..9]].concat()).await.unwrap();
    assert_eq!(bytes(&mut app, word.len() + theirs.len()).await, [word.clone(), theirs].concat());
    client.stream.write_all(&[&own[9..], &word].concat()).await.unwrap();
    assert_eq!(bytes(&mut app, word.len()).await, word);
    // A client that speaks is not asked.
    for _ in 0..5 {
        beats(2).await;
        client.stream.write_all(&word).await.unwrap();
        assert_eq!(bytes(&mut app, word.len()).await, word);
    }
    beats(2).await;
    app.stream.write_all(&frame(0x81, false, b"end")).await.unwrap();
    assert_eq!(bytes(&mut client, 5).await, frame(0x81, false, b"end"));
}

#[tokio::test]
async fn a_ping_waits_for_the_end_of_a_frame() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.stream.write_all(&[0x82, 10, 1, 2, 3]).await.unwrap();
    assert_eq!(bytes(&mut client, 5).await, [0x82, 10, 1, 2, 3]);
    beats(3).await;
    assert_eq!(client.read, b"");
    app.stream.write_all(&[4, 5, 6, 7, 8, 9, 10, 0x01, 3, b'a']).await.unwrap();
    let got = bytes(&mut client, 7 + 14 + 3).await;
    assert_eq!(
        (&got[..7], &got[7..9], &got[21..]),
        (&[4, 5, 6, 7, 8, 9, 10][..], &[0x89, 12][..], &[0x01, 3, b'a'][..])
    );
    app.stream.write_all(b"bc").await.unwrap();
    assert_eq!(bytes(&mut client, 2).await, b"bc");
}

#[tokio::test]
async fn a_client_that_does_not_answer_is_gone() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    beats(11).await;
    assert_eq!((client.read.len(), space.door.borrow().routes[0].traffic.sample().tunnels), (0, 1));
    beats(1).await;
    assert_eq!(client.drained_bytes().await.len(), 3 * 14);
    assert_eq!(app.drained().await, "");
    assert_eq!(ends(&space), [(Side::Client, "1006", 1)]);
}

#[tokio::test]
async fn nobody_is_asked_where_frames_can_not_be_followed() {
    for (client_says, app_says) in [(&b"\xf3 no frame"[..], &b""[..]), (b"", b"\x83\x01a"), (b"\x88\x80\0\0\0\0", b"")]
    {
        let space = Space::open();
        let (mut client, mut app) = tunnel(&space).await;
        client.stream.write_all(client_says).await.unwrap();
        app.stream.write_all(app_says).await.unwrap();
        assert_eq!(bytes(&mut app, client_says.len()).await, client_says);
        assert_eq!(bytes(&mut client, app_says.len()).await, app_says);
        beats(9).await;
        app.stream.write_all(b"?").await.unwrap();
        assert_eq!(bytes(&mut client, 1).await, b"?");
    }
}

#[tokio::test]
async fn one_side_that_never_ends_does_not_keep_the_other() {
    let space = Space::open();
    let (mut client, mut app) = tunnel(&space).await;
    app.stream.write_all(&close(1000)).await.unwrap();
    app.stream.shutdown().await.unwrap();
    assert_eq!(client.drained_bytes().await, close(1000));
    beats(15).await;
    assert_eq!(app.drained().await, "");
    assert_eq!(ends(&space), [(Side::App, "1000", 1)]);
}

#[tokio::test]
async fn an_open_websocket_ends_with_the_session() {
    let space = Space::with(SignIn::Token);
    let listener = space.listen();
    let cookie = session::sign_in(&space.keys, &space.door.borrow(), now().wall);
    let cookie = cookie.split(';').next().unwrap();
    let mut client = space.connect().await;
    client.send(&handshake(&space, &format!("{}\r\nCookie: {cookie}\r\n", space.origin()))).await;
    let mut app = accept(&listener).await;
    app.head().await.unwrap();
    app.send(&agreement(KEY)).await;
    assert_eq!(client.answer().await.status, 101);
    pass(Duration::from_secs(12 * 3600 - 1));
    beats(2).await;
    client.stream.write_all(&frame(0x81, true, b"still")).await.unwrap();
    assert_eq!(bytes(&mut app, 11).await, frame(0x81, true, b"still"));
    pass(Duration::from_secs(1));
    beats(1).await;
    assert_eq!((client.drained_bytes().await, app.drained_bytes().await), (close(1008), close_masked(1008)));
    until("the end", || ends(&space) == [(Side::Agent, "1008", 1)]).await;
}

#[tokio::test]
async fn an_open_websocket_ends_with_the_apps_place_at_the_door() {
    for change in [
        (|door: &mut Door| door.routes[0].state = RouteState::Gone) as fn(&mut Door),
        |door| door.routes[0].uid += 1,
        |door| door.routes.clear(),
    ] {
        let space = Space::open();
        let (mut client, mut app) = tunnel(&space).await;
        space.change(|door| door.routes[0].label = "another label".to_owned());
        app.send("\u{1}\u{2}hi").await;
        assert_eq!(client.exactly(4).await, "\u{1}\u{2}hi");
        space.change(change);
        assert_eq!((client.drained_bytes().await, app.drained_bytes().await), (close(1001), close_masked(1001)));
    }
}

#[tokio::test]
async fn the_first_close_says_who_ended_a_websocket() {
    let space = Space::open();
    for (by_client, code, label) in [(true, 1000, "1000"), (false, 1011, "1011"), (true, 4001, "3000-4999")] {
        let (mut client, mut app) = tunnel(&space).await;
        let (first, answer) = (close_masked(code), close(code));
        if by_client {
            client.stream.write_all(&first).await.unwrap();
            assert_eq!(bytes(&mut app, first.len()).await, first);
        }
        app.stream.write_all(&answer).await.unwrap();
        assert_eq!(bytes(&mut client, answer.len()).await, answer);
        drop(app);
        drop(client);
        let side = if by_client { Side::Client } else { Side::App };
        until(label, || ends(&space).contains(&(side, label, 1))).await;
    }
    let (client, mut app) = tunnel(&space).await;
    drop(client);
    assert_eq!(app.drained().await, "");
    drop(app);
    until("its end", || ends(&space).contains(&(Side::Client, "1006", 1))).await;
    let sample = space.door.borrow().routes[0].traffic.sample();
    assert_eq!((sample.tunnels, sample.tunnels_ever), (0, 4));
}

#[tokio::test]
async fn messages_are_counted_by_what_they_say_and_then_nobody_may_compress() {
    const RULES: Rules = Rules {
        requests: &[],
        sockets: &[
            Socket { path: Pattern("api/kernels/*/channels"), speech: Speech::JupyterKernel },
            Socket { path: Pattern("any"), speech: Speech::Any },
        ],
    };
    for (path, extensions, work, quiet) in [
        ("api/kernels/1/channels", None, 1, 1),
        ("any", Some("permessage-deflate"), 2, 0),
        ("other", Some("permessage-deflate"), 0, 2),
    ] {
        let space = Space::open();
        space.change(|door| door.routes[0].rules = &RULES);
        let listener = space.listen();
        let mut client = space.connect().await;
        let head = handshake(&space, &(space.origin() + "\r\n")).replace("api/kernels/1/channels", path);
        client.send(&head).await;
        // One message is there before the app has agreed.
        client.stream.write_all(&frame(0x81, true, br#"{"msg_type":"execute_request"}"#)).await.unwrap();
        let mut app = accept(&listener).await;
        assert_eq!(header(&app.head().await.unwrap(), "sec-websocket-extensions"), extensions, "{path}");
        app.send(&agreement(KEY)).await;
        assert_eq!(client.answer().await.status, 101);
        client.stream.write_all(&frame(0x82, true, br#"{"msg_type":"kernel_info_request"}"#)).await.unwrap();
        bytes(&mut app, 36 + 40).await;
        let sample = space.door.borrow().routes[0].traffic.sample();
        assert_eq!((sample.messages_work, sample.messages_quiet), (work, quiet), "{path}");
    }
}
