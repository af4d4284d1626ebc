//! The front door: who may come in, what passes, and what it says while the app isn't there yet.

use crate::documents::{ECHO, echo, script};
use hyper::{Method, StatusCode};
use serde_json::Value;
use space_tests::client::{Client, pieces, raw, whole};
use space_tests::space::{Run, SOON, Space};

async fn up() -> (Space, Run, Client) {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let client = run.signed_in().await;
    (space, run, client)
}

/// The headers that the app got, by name.
fn headers<'a>(told: &'a Value, name: &str) -> Vec<&'a str> {
    let all = told["headers"].as_array().expect("the echo tells headers");
    all.iter().filter(|pair| pair[0] == name).filter_map(|pair| pair[1].as_str()).collect()
}

#[tokio::test]
async fn without_a_session_nothing_of_the_app_is_seen() {
    let (_space, mut run, _) = up().await;
    let mut stranger = Client::new(run.port);
    for path in ["/", ECHO, "/echo/x", "/echo/status/418", "/_space/", "/_space/events", "/nothing"] {
        let program = stranger.get(path).await;
        assert_eq!(program.status, StatusCode::UNAUTHORIZED, "{path}: {}", program.text());
        let person = stranger.visit(path).await;
        assert!(!person.text().contains("\"pid\""), "{path}: {}", person.text());
    }
    let page = stranger.visit("/echo/x").await;
    assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    assert!(page.text().contains("<html") && page.text().to_lowercase().contains("sign"), "{}", page.text());
    let posted = stranger.post_form("/echo/x", "a=b").await;
    assert_eq!(posted.status, StatusCode::UNAUTHORIZED);
    // A cookie of the right name with the wrong content is no session.
    let client = run.signed_in_again().await;
    stranger.cookies = client.cookies.keys().map(|name| (name.clone(), "bm8.bm8".to_owned())).collect();
    assert_eq!(stranger.get("/echo/x").await.status, StatusCode::UNAUTHORIZED);
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn a_link_signs_in_once() {
    let (space, mut run, _) = up().await;
    let link = run.link().await;
    let mut second = Client::new(run.port);
    let again = second.sign_in(&link).await;
    assert!(again.status.is_client_error() && second.cookies.is_empty(), "a used link signed in: {again:?}");
    let wrong = second.post_form("/_space/sign-in", "token=wrong").await;
    assert!(wrong.status.is_client_error() && second.cookies.is_empty(), "{wrong:?}");

    // The command line makes another one.
    let printed = space_tests::command::run(space.command(&["sign-in"]), SOON).await;
    assert_eq!(printed.code(), 0, "{}", printed.stderr);
    second.sign_in(printed.stdout.trim()).await;
    second.get("/echo/x").await.good("the second session");
    let cookie = second.set_cookies.first().expect("sign-in sets a cookie").to_lowercase();
    for attribute in ["httponly", "samesite=lax", "path=/"] {
        assert!(cookie.contains(attribute), "{cookie}");
    }
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn the_session_stays_at_the_door() {
    let (_space, mut run, mut client) = up().await;
    let session = client.cookie_header();
    client.cookies.insert("theirs".to_owned(), "1".to_owned());
    let sent = [("authorization", "Bearer abc"), ("x-forwarded-for", "6.6.6.6"), ("x-forwarded-host", "evil.example")];
    let told = client.send(Method::GET, "/echo/x", &sent, whole("")).await.good("the echo").json();
    assert_eq!(headers(&told, "cookie"), ["theirs=1"], "the app saw the session ({session})");
    assert_eq!(headers(&told, "authorization"), Vec::<&str>::new());
    assert_eq!(headers(&told, "host"), [client.host()]);
    assert_eq!(headers(&told, "x-forwarded-for"), ["127.0.0.1"]);
    assert_eq!(headers(&told, "x-forwarded-host"), [client.host()]);
    assert_eq!(headers(&told, "x-forwarded-proto"), ["http"]);

    // An app can't set the agent's cookies either, its own it can.
    let name = session.split('=').next().unwrap();
    client.get(&format!("/echo/set-cookie?{name}=mine")).await.good("the echo");
    assert_eq!(client.cookie_header().split("; ").find(|pair| pair.starts_with(name)), Some(session.as_str()));
    client.get("/echo/set-cookie?own=1").await.good("the echo");
    assert_eq!(client.cookies.get("own").map(String::as_str), Some("1"));
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn another_origin_is_refused() {
    let (_space, mut run, mut client) = up().await;
    let own = client.origin();
    let evil =
        ["http://evil.example", "null", "", "http://127.0.0.1", "http://127.0.0.1:1", "http://127.0.0.1.evil.example"];
    let suffix = format!("{own}.evil.example");
    for origin in evil.into_iter().chain([suffix.as_str()]) {
        let refused = client.send(Method::POST, "/echo/x", &[("origin", origin)], whole("a")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin}: {}", refused.text());
        let socket = [("origin", origin), ("connection", "Upgrade"), ("upgrade", "websocket")];
        let key = [("sec-websocket-version", "13"), ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ==")];
        let refused = client.send(Method::GET, "/echo/ws", &[&socket[..], &key[..]].concat(), whole("")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "a WebSocket from {origin}: {}", refused.text());
    }
    let missing = client.send(Method::POST, "/echo/x", &[], whole("a")).await;
    assert_eq!(missing.status, StatusCode::FORBIDDEN, "a POST without an Origin: {}", missing.text());
    client.send(Method::POST, "/echo/x", &[("origin", &own)], whole("a")).await.good("the own origin");
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn another_host_is_refused() {
    let (_space, mut run, mut client) = up().await;
    for host in ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80"] {
        let refused = client.send(Method::GET, "/echo/x", &[("host", host)], whole("")).await;
        assert!(refused.status.is_client_error(), "{host}: {} {}", refused.status, refused.text());
        assert!(!refused.text().contains("\"pid\""), "{host}: {}", refused.text());
    }
    let port = run.port;
    for host in [format!("localhost:{port}"), format!("127.0.0.1:{port}"), format!("[::1]:{port}")] {
        client.send(Method::GET, "/echo/x", &[("host", &host)], whole("")).await.good(&host);
    }
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn bodies_and_bytes_pass_both_ways() {
    let (_space, mut run, mut client) = up().await;
    // A body without a length, sent piece by piece, arrives whole.
    let body = pieces(futures_util::stream::iter((0..100).map(|_| bytes::Bytes::from(vec![b'x'; 10_000]))));
    let origin = client.origin();
    let told = client.send(Method::PUT, "/echo/x", &[("origin", &origin)], body).await.good("the echo").json();
    assert_eq!((told["length"].as_u64(), told["method"].as_str()), (Some(1_000_000), Some("PUT")));

    // An answer that drips arrives as it drips: the first line is there long before the last.
    let begin = tokio::time::Instant::now();
    let mut answer = client.begin(Method::GET, "/echo/drip?10", &[], whole("")).await.unwrap();
    use http_body_util::BodyExt;
    answer.body_mut().frame().await.unwrap().unwrap();
    assert!(begin.elapsed().as_millis() < 600, "the first line came after {:?}", begin.elapsed());
    assert_eq!(answer.into_body().collect().await.unwrap().to_bytes().iter().filter(|&&byte| byte == b'\n').count(), 9);

    // After a 101 bytes pass as they are.
    let head = format!(
        "GET /echo/ws HTTP/1.1\r\nHost: {}\r\nOrigin: {origin}\r\nCookie: {}\r\nConnection: Upgrade\r\n\
         Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        client.host(),
        client.cookie_header()
    );
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let mut socket = tokio::net::TcpStream::connect(("127.0.0.1", run.port)).await.unwrap();
    socket.write_all(head.as_bytes()).await.unwrap();
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        seen.push(socket.read_u8().await.unwrap());
    }
    assert!(seen.starts_with(b"HTTP/1.1 101"), "{}", String::from_utf8_lossy(&seen));
    // A masked text frame "hi", as the echo sends it back: byte for byte.
    let frame = [0x81, 0x82, 1, 2, 3, 4, b'h' ^ 1, b'i' ^ 2];
    socket.write_all(&frame).await.unwrap();
    let mut back = [0; 8];
    socket.read_exact(&mut back).await.unwrap();
    assert_eq!(back, frame);
    drop(socket);
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn ambiguous_requests_are_refused_at_the_door() {
    let (_space, mut run, client) = up().await;
    let (host, cookie) = (client.host(), client.cookie_header());
    let about = format!("Host: {host}\r\nOrigin: http://{host}\r\nCookie: {cookie}\r\nConnection: close\r\n");
    let bad = [
        format!("POST /echo/x HTTP/1.1\r\n{about}Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("POST /echo/x HTTP/1.1\r\n{about}Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd"),
        format!("POST /echo/x HTTP/1.1\r\n{about}Content-Length: +3\r\n\r\nabc"),
        format!("POST /echo/x HTTP/1.1\r\n{about}Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n"),
        format!("POST /echo/x HTTP/1.0\r\n{about}Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n"),
        format!("GET /echo/x HTTP/1.1\r\n{about}Host: evil.example\r\n\r\n"),
        format!("GET /echo/x HTTP/1.1\r\n{about}: empty\r\n\r\n"),
    ];
    for request in bad {
        let answer = raw(run.port, request.as_bytes()).await;
        assert!(
            answer.starts_with("HTTP/1.1 4") || answer.starts_with("HTTP/1.0 4") || answer.is_empty(),
            "{request}{answer}"
        );
        assert!(!answer.contains("\"pid\""), "the app got {request}");
    }
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn probes_answer_with_a_word_and_never_ask_who_you_are() {
    let (_space, mut run, _) = up().await;
    let mut stranger = Client::new(run.port);
    for base in ["/", ECHO] {
        stranger.get(&format!("{base}_space/livez")).await.good("livez");
        stranger.get(&format!("{base}_space/readyz")).await.good("readyz");
        let idle = stranger.get(&format!("{base}api/idle")).await.good("api/idle");
        assert_eq!(idle.header("content-type"), Some("application/json"));
        let body = idle.json();
        assert_eq!(body.as_object().map(serde_json::Map::len), Some(1), "{body}");
        let time = body["lastActiveTimestamp"].as_str().expect("a time");
        // 2026-11-20T10:00:00.123Z
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00.000Z");
    }
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn while_the_space_boots_people_see_it_and_programs_are_told_to_come_back() {
    let mut space =
        Space::new(&(script("slow", "echo preparing the ground\nuntil [ -e go ]; do sleep 0.1; done") + &echo()));
    let mut run = space.start();
    let mut client = run.signed_in().await;
    client.get("/_space/livez").await.good("livez");
    assert_eq!(client.get("/_space/readyz").await.status, StatusCode::SERVICE_UNAVAILABLE);
    let program = client.get("/echo/x").await;
    assert_eq!(program.status, StatusCode::SERVICE_UNAVAILABLE);
    let after: u32 = program.header("retry-after").expect("Retry-After").parse().expect("seconds");
    assert!((1..=60).contains(&after));
    assert_eq!(client.visit("/").await.header("location"), Some("/echo/"));
    for path in ["/echo/x", "/echo/"] {
        let person = client.visit(path).await;
        assert!(person.text().contains("<html"), "{path}: {} {}", person.status, person.text());
        assert!(person.text().contains("slow"), "the page doesn't name the step: {}", person.text());
    }
    // To somebody without a session the boot says nothing.
    let stranger = Client::new(run.port).visit("/echo/x").await;
    assert!(!stranger.text().contains("preparing the ground"), "{}", stranger.text());

    // api/idle is now while the space boots.
    let seen = crate::idle::last_active(&mut client, "/api/idle").await;
    assert!(seen.age_ms.abs() < 2000, "{seen:?}");

    std::fs::write(space.home.join("go"), "").unwrap();
    run.ready().await;
    client.get("/echo/x").await.good("the echo");
    client.get("/_space/readyz").await.good("readyz");
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn the_first_app_owns_the_root() {
    let (_space, mut run, mut client) = up().await;
    let root = client.visit("/").await;
    assert!(root.status.is_redirection(), "{} {}", root.status, root.text());
    assert_eq!(root.header("location"), Some(ECHO));
    assert_eq!(run.stop().await, 0);
}
