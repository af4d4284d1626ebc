//! Who may pass: framing, Host, Origin, sign-in.

use super::ground::{Client, Space, accept, ok, pass, serve};
use crate::model::route::RouteState;
use space_lifecycle::SignIn;
use std::time::Duration;
use tokio::io::AsyncWriteExt;

/// The pair of the session cookie that an answer sets.
fn session(answer: &super::ground::Answer) -> String {
    let cookie = answer.header("set-cookie").expect("a cookie");
    assert!(cookie.starts_with("space-0123abcd=") && cookie.contains("HttpOnly; SameSite=Lax"), "{cookie}");
    cookie.split(';').next().unwrap().to_owned()
}

fn form(space: &Space, body: &str) -> String {
    let (origin, length) = (space.origin(), body.len());
    format!("POST /_space/sign-in HTTP/1.1\r\n{origin}\r\nContent-Length: {length}\r\n\r\n{body}")
}

#[tokio::test]
async fn a_request_that_can_be_read_in_two_ways_is_refused_and_ends_the_connection() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("reached"));
    let origin = space.origin();
    for bad in [
        "POST /app/ HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
        "POST /app/ HTTP/1.1\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabc",
        "POST /app/ HTTP/1.1\r\nContent-Length: +3\r\n\r\nabc",
        "POST /app/ HTTP/1.1\r\nContent-Length: \r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding: chunked\t\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.1\r\nTransfer-Encoding:\tchunked\r\n\r\n0\r\n\r\n",
        "POST /app/ HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
        "GET /app/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
        "GET /app/ HTTP/1.1\r\n: empty\r\n\r\n",
        "GET /app/#x HTTP/1.1\r\n\r\n",
        "GET /app/ x HTTP/1.1\r\n\r\n",
        "GET /app/\u{1} HTTP/1.1\r\n\r\n",
        "GET http://localhost/app/ HTTP/1.1\r\n\r\n",
        "GET * HTTP/1.1\r\n\r\n",
    ] {
        let bad = bad.replacen("\r\n", &format!("\r\n{origin}\r\n"), 1);
        let mut client = space.connect().await;
        client.send(&(space.request(&bad) + "GET /app/ HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let answer = client.answer().await;
        assert_eq!(answer.status, 400, "{bad:?}: {answer:?}");
        assert!(!client.drained().await.contains("reached"), "{bad:?}");
    }
}

#[tokio::test]
async fn a_head_without_measure_is_refused() {
    let space = Space::open();
    let many = format!("GET /app/ HTTP/1.1\r\n{}", "X-A: b\r\n".repeat(2000).trim_end());
    assert_eq!(space.ask(&many).await.status, 431);
    let long = format!("GET /app/ HTTP/1.1\r\nX-A: {}", "b".repeat(1 << 20));
    assert_eq!(space.ask(&long).await.status, 431);
}

#[tokio::test]
async fn a_foreign_host_or_origin_is_refused_with_both_values() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("reached"));
    let mut client = space.connect().await;
    client.send("GET /app/ HTTP/1.1\r\nHost: evil.example\r\n\r\n").await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("\"evil.example\"") && answer.body.contains("\"localhost\""), "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("text/plain; charset=utf-8"));
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"));

    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"] {
        let head = format!("{method} /app/x HTTP/1.1\r\nContent-Length: 0");
        let missing = space.ask(&head).await;
        assert_eq!(missing.status, 403, "{method}");
        assert!(missing.body.contains(&format!("Origin: http://{}", space.at)), "{missing:?}");
        let foreign = space.ask(&format!("{head}\r\nOrigin: http://evil.example")).await;
        assert_eq!(foreign.status, 403, "{method}");
        assert!(foreign.body.contains("evil.example") && foreign.body.contains(&space.at.to_string()), "{foreign:?}");
        assert_eq!(space.ask(&format!("{head}\r\nOrigin: null")).await.status, 403, "{method}");
        assert_eq!(space.ask(&format!("{head}\r\n{}", space.origin())).await.body, "reached", "{method}");
    }
    assert_eq!(space.ask("GET /app/x HTTP/1.1\r\nOrigin: http://evil.example").await.body, "reached");
}

#[tokio::test]
async fn without_a_session_only_probes_and_the_sign_in_page_answer() {
    let space = Space::with(SignIn::Token);
    let _app = serve(space.listen(), |_| ok("reached"));
    for (path, body) in [("/_space/livez", "ok"), ("/app/_space/livez", "ok"), ("/_space/readyz", "ready")] {
        let answer = space.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.body.as_str()), (200, body), "{path}");
    }
    for path in ["/api/idle", "/app/api/idle"] {
        let answer = space.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!(answer.header("content-type"), Some("application/json"));
        assert_eq!(answer.body, "{\"lastActiveTimestamp\":\"2026-11-20T10:00:00.000Z\"}");
    }
    for path in ["/", "/app/", "/app", "/_space/", "/_space/events", "/unknown", "/app/_space/"] {
        let program = space.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((program.status, program.header("location")), (401, None), "{path}");
        assert!(program.body.contains("space-agent sign-in"), "{program:?}");
        let browser = space.ask(&format!("GET {path} HTTP/1.1\r\nAccept: text/html,*/*;q=0.8")).await;
        assert_eq!(browser.status, 401, "{path}");
        assert!(browser.body.contains("<form") && !browser.body.contains("deps"), "{path}");
        assert_eq!(browser.header("referrer-policy"), Some("no-referrer"));
    }
    for path in ["/app/x", "/_space/keep", "/_space/sign-out"] {
        let head = format!("POST {path} HTTP/1.1\r\nContent-Length: 0\r\n{}", space.origin());
        assert_eq!(space.ask(&head).await.status, 401, "{path}");
    }
}

#[tokio::test]
async fn a_link_signs_in_once_and_its_cookie_opens_the_app() {
    let space = Space::with(SignIn::Token);
    let _app = serve(space.listen(), ok);
    let token = space.token(60);
    let answer = space.ask(&form(&space, &format!("token={token}&to=%2Fapp%2Flab%3Fa%3Db"))).await;
    assert_eq!((answer.status, answer.header("location")), (303, Some("/app/lab?a=b")), "{answer:?}");
    let cookie = session(&answer);

    let seen = space.ask(&format!("GET /app/ HTTP/1.1\r\nCookie: _xsrf=1; {cookie}; b=2")).await;
    assert_eq!(seen.status, 200);
    assert!(seen.body.contains("cookie: _xsrf=1; b=2\r\n") && !seen.body.contains("space-0123abcd"), "{}", seen.body);

    let again = space.ask(&form(&space, &format!("token={token}"))).await;
    assert_eq!((again.status, again.header("set-cookie")), (403, None));
    assert!(again.body.contains("used already") && again.body.contains("space-agent sign-in"), "{again:?}");

    pass(Duration::from_secs(12 * 3600));
    assert_eq!(space.ask(&format!("GET /app/ HTTP/1.1\r\nCookie: {cookie}")).await.status, 401);
}

#[tokio::test]
async fn the_pages_script_signs_in_with_json() {
    let space = Space::with(SignIn::Token);
    let body = format!("{{\"token\":\"{}\",\"to\":\"//evil.example\"}}", space.token(60));
    let head =
        form(&space, &body).replacen("\r\n", "\r\nContent-Type: application/json\r\nAccept: application/json\r\n", 1);
    let answer = space.ask(&head).await;
    assert_eq!((answer.status, answer.body.as_str()), (200, "{\"to\":\"/app/\"}"), "{answer:?}");
    session(&answer);
}

#[tokio::test]
async fn an_expired_altered_or_foreign_link_signs_nobody_in() {
    let space = Space::with(SignIn::Token);
    let token = space.token(60);
    let altered = token.replacen(&token[..1], if token.starts_with('0') { "1" } else { "0" }, 1);
    for bad in ["", "x", &altered, &token[..token.len() - 1]] {
        let answer = space.ask(&form(&space, &format!("token={bad}"))).await;
        assert_eq!((answer.status, answer.header("set-cookie")), (403, None), "{bad}");
    }
    assert_eq!(space.ask(&form(&space, "x=y")).await.status, 400);
    assert_eq!(space.ask(&form(&space, &"x".repeat(20_000))).await.status, 400);
    let head = format!("POST /_space/sign-in HTTP/1.1\r\nContent-Length: {}\r\n\r\ntoken={token}", token.len() + 6);
    assert_eq!(space.ask(&head).await.status, 403, "without an Origin");
    pass(Duration::from_secs(71));
    let answer = space.ask(&form(&space, &format!("token={token}"))).await;
    assert_eq!(answer.status, 403);
    assert!(answer.body.contains("expired"), "{answer:?}");
}

#[tokio::test]
async fn whoever_signs_in_is_never_sent_elsewhere() {
    let space = Space::with(SignIn::Token);
    for to in
        ["//evil.example", "/%5Cevil.example", "https:evil", "https%3A%2F%2Fevil", "%2F%0D%0ASet-Cookie:%20a=b", ""]
    {
        let answer = space.ask(&form(&space, &format!("token={}&to={to}", space.token(60)))).await;
        assert_eq!((answer.status, answer.header("location")), (303, Some("/app/")), "{to}: {answer:?}");
    }
}

#[tokio::test]
async fn signing_out_ends_the_cookie() {
    let space = Space::with(SignIn::Token);
    let cookie = session(&space.ask(&form(&space, &format!("token={}", space.token(60)))).await);
    let head = format!("POST /_space/sign-out HTTP/1.1\r\n{}\r\nCookie: {cookie}\r\nContent-Length: 0", space.origin());
    let answer = space.ask(&head).await;
    assert_eq!(answer.header("set-cookie"), Some("space-0123abcd=; Path=/; Max-Age=0; HttpOnly; SameSite=Lax"));
}

#[tokio::test]
async fn redirects_stay_at_the_door() {
    let space = Space::open();
    space.set(RouteState::Ready);
    for (path, to) in
        [("/", "/app/"), ("/?a=b", "/app/?a=b"), ("/app?x=//evil", "/app/?x=//evil"), ("/_space", "/_space/")]
    {
        let answer = space.ask(&format!("GET {path} HTTP/1.1")).await;
        assert_eq!((answer.status, answer.header("location")), (302, Some(to)), "{path}");
        assert_eq!(answer.header("cache-control"), Some("no-store"));
    }
    for path in ["//evil.example", "//evil.example/app", "/%2f%2fevil", "/unknown"] {
        assert_eq!(space.ask(&format!("GET {path} HTTP/1.1")).await.status, 404, "{path}");
    }
}

/// The paused clock jumps to the next timer whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_head_that_trickles_in_is_not_waited_for() {
    let space = Space::open();
    let mut client = space.connect().await;
    client.send("GET /app/ HTTP/1.1\r\nHost: local").await;
    let begun = tokio::time::Instant::now();
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (408, Some("close")), "{answer:?}");
    assert!((9..12).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    assert_eq!(client.drained().await, "");
}

#[tokio::test(start_paused = true)]
async fn an_idle_connection_is_closed_without_a_word() {
    let space = Space::open();
    for (before, patience) in [("", 10), ("GET /_space/livez HTTP/1.1", 75)] {
        let mut client = space.connect().await;
        if !before.is_empty() {
            client.send(&space.request(before)).await;
            assert_eq!(client.answer().await.status, 200);
        }
        let begun = tokio::time::Instant::now();
        while client.stream.readable().await.is_ok() && client.stream.try_read(&mut [0; 16]).is_err() {}
        assert!((patience - 1..patience + 2).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    }
}

/// One byte at a time, and with pauses: what counts is the whole head's time.
#[tokio::test]
async fn requests_may_come_in_any_pieces() {
    let space = Space::open();
    let _app = serve(space.listen(), |head| ok(head.split(' ').nth(1).unwrap()));
    let mut client = space.connect().await;
    let chunked = format!("POST /app/b HTTP/1.1\r\n{}\r\nTransfer-Encoding: chunked", space.origin());
    let requests = [
        space.request("GET /app/a HTTP/1.1"),
        space.request(&chunked) + "3;x=y\r\nabc\r\n0\r\nX-Sum: 1\r\n\r\n",
        space.request("GET /app/c HTTP/1.0\r\nConnection: keep-alive"),
    ];
    let all = requests.concat();
    for size in [1, 3, 50, all.len()] {
        for part in all.as_bytes().chunks(size) {
            client.stream.write_all(part).await.unwrap();
            tokio::task::yield_now().await;
        }
        for path in ["/app/a", "/app/b", "/app/c"] {
            assert_eq!(client.answer().await.body, path, "in pieces of {size}");
        }
    }
}

#[tokio::test]
async fn a_refusal_comes_after_the_answers_that_are_due_and_says_why() {
    let space = Space::open();
    let _app = serve(space.listen(), |head| ok(head.split(' ').nth(1).unwrap()));
    for (bad, status) in [
        ("GET /app/ HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "a".repeat(9000)), 414),
        (format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "a".repeat(20_000)), 431),
        ("GET / HTTP/1.2\r\n\r\n".to_owned(), 505),
        ("\u{16}\u{3}\u{1}".repeat(10_000), 431),
    ] {
        let mut client = space.connect().await;
        let good = space.request("GET /app/one HTTP/1.1") + &space.request("GET /app/two HTTP/1.1");
        client.send(&(good + &bad + &space.request("GET /app/three HTTP/1.1"))).await;
        assert_eq!(client.answer().await.body, "/app/one");
        assert_eq!(client.answer().await.body, "/app/two");
        let refusal = client.answer().await;
        assert_eq!((refusal.status, refusal.header("connection")), (status, Some("close")), "{refusal:?}");
        assert_eq!(refusal.header("content-type"), Some("text/plain; charset=utf-8"));
        assert_eq!(refusal.header("x-content-type-options"), Some("nosniff"));
        assert!(refusal.body.ends_with('\n') && refusal.body.len() > 20, "{refusal:?}");
        assert_eq!(client.drained().await, "");
    }
}

#[tokio::test]
async fn a_head_of_twenty_megabytes_is_refused_and_its_sender_hears_it() {
    let space = Space::open();
    let mut client = space.connect().await;
    client.send(&format!("GET /app/ HTTP/1.1\r\nX-A: {}\r\n\r\n", "b".repeat(20 << 20))).await;
    let answer = client.answer().await;
    assert_eq!(answer.status, 431);
    assert_eq!(client.drained().await, "");
}

#[tokio::test]
async fn chunks_that_are_not_well_formed_are_refused_and_end_both_connections() {
    let space = Space::open();
    let listener = space.listen();
    for bad in [
        "ffffffffffffffff1\r\n",
        "-1\r\nabc\r\n",
        "0x3\r\nabc\r\n",
        "3\r\nabcd\r\n0\r\n\r\n",
        "3;a=\nb\r\nabc\r\n0\r\n\r\n",
        "\r\nabc",
        &format!("3;{}\r\nabc\r\n0\r\n\r\n", "a".repeat(20_000)),
    ] {
        let mut client = space.connect().await;
        let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nTransfer-Encoding: chunked", space.origin());
        client.send(&space.request(&head)).await;
        let (stream, _) = listener.accept().await.unwrap();
        client.send(&(bad.to_owned() + "GET /app/next HTTP/1.1\r\nHost: localhost\r\n\r\n")).await;
        let mut app = Client { stream, read: Vec::new() };
        assert_eq!(client.answer().await.status, 400, "{bad:.40?}");
        assert_eq!(client.drained().await, "");
        let seen = app.drained().await;
        assert!(!seen.contains("next") && !seen.ends_with("0\r\n\r\n"), "{bad:.40?}: {seen}");
    }
}

#[tokio::test]
async fn an_upload_that_breaks_off_ends_the_connection_to_the_app() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 100", space.origin());
    client.send(&(space.request(&head) + "only this")).await;
    let mut app = accept(&listener).await;
    app.until("only this").await;
    drop(client);
    assert!(app.drained().await.ends_with("only this"));
}

#[test]
fn there_are_as_many_connections_as_descriptors_allow() {
    for (descriptors, connections) in
        [(0, 64), (256, 64), (512, 128), (1024, 384), (8448, 4096), (20_000, 9872), (u64::MAX, 16_384)]
    {
        assert_eq!(crate::proxy::seats::connections(descriptors), connections, "{descriptors}");
    }
}

#[tokio::test]
async fn a_refused_head_has_an_answer_without_a_body() {
    let space = Space::open();
    for (bad, status) in [
        ("HEAD /app/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: x\r\n\r\n", "400"),
        ("HEAD /app/ HTTP/0.9\r\n\r\n", "505"),
    ] {
        for pieces in [bad.len(), 7] {
            let mut client = space.connect().await;
            for piece in bad.as_bytes().chunks(pieces) {
                client.send(std::str::from_utf8(piece).unwrap()).await;
                tokio::task::yield_now().await;
            }
            let head = client.head().await.unwrap();
            assert_eq!(head.split(' ').nth(1), Some(status));
            assert_eq!(client.drained().await, "", "{bad:?}");
        }
    }
}

#[tokio::test]
async fn a_refusal_ends_the_connection_wherever_the_body_is() {
    let space = Space::open();
    let listener = space.listen();
    let post = space.request("POST /app/ HTTP/1.1\r\nContent-Length: 3\r\n\r\n");
    for body in ["", "a", "abc"] {
        let mut client = space.connect().await;
        client.send(&format!("{post}{body}")).await;
        let answer = client.answer().await;
        assert_eq!((answer.status, answer.header("connection")), (403, Some("close")), "{body:?}");
        assert_eq!(client.drained().await, "", "{body:?}");
    }
    drop(listener);
    space.set(RouteState::Gone);
    let mut client = space.connect().await;
    client
        .send(&space.request(&format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 3\r\n\r\n", space.origin())))
        .await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (503, Some("close")));
}
