//! Requests on their way to an app, answers on their way back.

use super::ground::{Client, Space, accept, header, ok, serve};
use crate::model::route::{RouteState, Upstream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::time::timeout;

#[tokio::test]
async fn the_app_sees_the_path_and_the_host_that_came_and_none_of_this_hops_headers() {
    let space = Space::open();
    let _app = serve(space.listen(), ok);
    let answer = space
        .ask(
            "GET /app/a%2Fb//../c?x=%20&y=[1]&z={} HTTP/1.1\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\n\
             Keep-Alive: 5\r\nTE: gzip\r\nProxy-Authorization: x\r\nAuthorization: Bearer x\r\nUpgrade: h2c\r\n\
             X-Forwarded-For: 10.1.2.3\r\nForwarded: for=10.1.2.3\r\nX-Mine: 1",
        )
        .await;
    assert_eq!(answer.status, 200);
    let head = answer.body;
    assert!(head.starts_with("GET /app/a%2Fb//../c?x=%20&y=[1]&z={} HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "host"), Some(space.at.to_string().as_str()));
    assert_eq!(header(&head, "x-forwarded-for"), Some("127.0.0.1"));
    assert_eq!(header(&head, "x-forwarded-proto"), Some("http"));
    assert_eq!(header(&head, "x-mine"), Some("1"));
    for gone in
        ["connection", "x-hop", "keep-alive", "te", "authorization", "proxy-authorization", "upgrade", "forwarded"]
    {
        assert_eq!(header(&head, gone), None, "{gone}");
    }
}

#[tokio::test]
async fn an_app_may_ask_for_paths_without_its_base() {
    let space = Space::open();
    space.change(|door| door.routes[0].strip_base_path = true);
    let _app = serve(space.listen(), ok);
    let head = space.ask("GET /app/a%2Fb?q HTTP/1.1").await.body;
    assert!(head.starts_with("GET /a%2Fb?q HTTP/1.1\r\n"), "{head}");
    assert_eq!(header(&head, "x-forwarded-prefix"), Some("/app"));
}

#[tokio::test]
async fn answers_keep_their_headers_but_not_the_agents_cookie() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| {
        "HTTP/1.1 404 Not Here\r\nSet-Cookie: space-0123abcd=x\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\nX-A: y\r\n\
         Connection: X-Hop\r\nX-Hop: 1\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 2\r\n\r\nno"
            .to_owned()
    });
    let answer = space.ask("GET /app/ HTTP/1.1").await;
    assert_eq!((answer.status, answer.body.as_str()), (404, "no"));
    let cookies: Vec<_> = answer.head.lines().filter(|line| line.starts_with("set-cookie")).collect();
    assert_eq!(cookies, ["set-cookie: a=1", "set-cookie: b=2"]);
    assert_eq!((answer.header("x-a"), answer.header("x-hop")), (Some("y"), None));
    assert_eq!(answer.header("strict-transport-security"), None);
}

#[tokio::test]
async fn head_and_empty_answers_keep_their_shape() {
    let space = Space::open();
    let _app = serve(space.listen(), |head| match head.starts_with("HEAD") {
        true => "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n".to_owned(),
        false => "HTTP/1.1 304 Not Modified\r\nEtag: \"x\"\r\n\r\n".to_owned(),
    });
    let mut client = space.connect().await;
    client.send(&space.request("HEAD /app/ HTTP/1.1")).await;
    assert_eq!(header(&client.head().await.unwrap(), "content-length"), Some("1234"));
    client.send(&space.request("GET /app/ HTTP/1.1\r\nIf-None-Match: \"x\"")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.1 304") && header(&head, "etag") == Some("\"x\""), "{head}");
}

#[tokio::test]
async fn connections_to_an_app_are_used_again_and_dropped_when_its_route_changes() {
    let space = Space::open();
    let listener = space.listen();
    let (accepted, count) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicU32::new(0)));
    let seen = accepted.clone();
    let ended = count.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            seen.fetch_add(1, Ordering::Relaxed);
            let ended = ended.clone();
            tokio::spawn(async move {
                let mut app = Client { stream, read: Vec::new() };
                while app.head().await.is_some() {
                    app.send(&ok("x")).await;
                }
                ended.fetch_add(1, Ordering::Relaxed);
            });
        }
    });
    for _ in 0..10 {
        assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "x");
    }
    assert!(accepted.load(Ordering::Relaxed) <= 2, "{accepted:?} connections for ten requests");
    space.set(RouteState::NotYet);
    let closed = async {
        while ended_of(&count) < ended_of(&accepted) {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(5), closed).await.expect("idle connections are closed");
}

fn ended_of(count: &AtomicU32) -> u32 {
    count.load(Ordering::Relaxed)
}

#[tokio::test]
async fn a_get_survives_an_idle_connection_that_the_app_closes_unheard() {
    let space = Space::open();
    let listener = space.listen();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut app = Client { stream, read: Vec::new() };
            // One answer, then the next request is read and the connection dropped without a word.
            app.head().await;
            app.send(&ok("once")).await;
            tokio::spawn(async move { app.head().await });
        }
    });
    for _ in 0..3 {
        assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "once");
    }
}

/// An app that reads no body of a GET takes it for the next request on the connection: nobody may get that answer.
#[tokio::test]
async fn a_body_where_none_is_usual_is_nobodys_next_request() {
    const SMUGGLED: &str = "GET /app/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let space = Space::open();
    let listener = space.listen();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut app = Client { stream, read: Vec::new() };
                while let Some(head) = app.head().await {
                    let path = head.split(' ').nth(1).unwrap();
                    if path == "/app/smuggled" {
                        // Long enough for somebody else's request to come before the answer.
                        tokio::time::sleep(Duration::from_millis(200)).await;
                    }
                    app.send(&ok(path)).await;
                }
            });
        }
    });
    for method in ["GET", "HEAD", "OPTIONS", "DELETE"] {
        let (origin, length) = (space.origin(), SMUGGLED.len());
        let head = format!("{method} /app/ HTTP/1.1\r\n{origin}\r\nContent-Length: {length}\r\n\r\n{SMUGGLED}");
        let mut client = space.connect().await;
        client.send(&space.request(&head)).await;
        assert!(client.head().await.unwrap().starts_with("HTTP/1.1 200"), "{method}");
        for _ in 0..3 {
            assert_eq!(space.ask("GET /app/mine HTTP/1.1").await.body, "/app/mine", "after {method}");
        }
    }
}

#[tokio::test]
async fn a_post_is_never_sent_twice() {
    let space = Space::open();
    let listener = space.listen();
    let posts = Arc::new(AtomicU32::new(0));
    let seen = posts.clone();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let seen = seen.clone();
            tokio::spawn(async move {
                let mut app = Client { stream, read: Vec::new() };
                while let Some(head) = app.head().await {
                    if head.starts_with("POST") {
                        seen.fetch_add(1, Ordering::Relaxed);
                        return;
                    }
                    app.send(&ok("x")).await;
                }
            });
        }
    });
    space.ask("GET /app/ HTTP/1.1").await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 3\r\n\r\nabc", space.origin());
    assert_eq!(space.ask(&head).await.status, 502);
    assert_eq!(posts.load(Ordering::Relaxed), 1);
}

#[tokio::test]
async fn a_large_upload_and_download_stream_with_back_pressure() {
    const SIZE: usize = 64 << 20;
    let space = Space::open();
    let listener = space.listen();
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let (go, mut gone) = tokio::sync::watch::channel(false);
    tokio::spawn(async move {
        let mut app = accept(&listener).await;
        app.head().await;
        gone.wait_for(|go| *go).await.unwrap();
        let mut read = app.read.len();
        let mut buffer = vec![0; 1 << 16];
        while read < SIZE {
            read += app.stream.read(&mut buffer).await.unwrap();
            count.store(read, Ordering::Relaxed);
        }
        app.send(&format!("HTTP/1.1 200 OK\r\nContent-Length: {SIZE}\r\n\r\n")).await;
        for _ in 0..SIZE >> 16 {
            app.stream.write_all(&buffer).await.unwrap();
        }
    });
    let client = space.connect().await;
    let head = space.request(&format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: {SIZE}", space.origin()));
    let (mut from, mut to) = client.stream.into_split();
    let sent = Arc::new(AtomicUsize::new(0));
    let progress = sent.clone();
    let upload = tokio::spawn(async move {
        to.write_all(head.as_bytes()).await.unwrap();
        let buffer = vec![7; 1 << 16];
        for _ in 0..SIZE >> 16 {
            to.write_all(&buffer).await.unwrap();
            progress.fetch_add(1 << 16, Ordering::Relaxed);
        }
        to
    });
    // While the app takes nothing, the client soon can't send any more: nobody between them piles it up.
    let mut last = usize::MAX;
    while last != sent.load(Ordering::Relaxed) {
        last = sent.load(Ordering::Relaxed);
        tokio::time::sleep(Duration::from_millis(300)).await;
    }
    assert!(last < SIZE / 2, "{last} bytes went in before the app took one");
    go.send_replace(true);
    let _to = timeout(Duration::from_secs(60), upload).await.unwrap().unwrap();
    let mut received = 0;
    let mut buffer = vec![0; 1 << 16];
    while received < SIZE {
        let read = timeout(Duration::from_secs(20), from.read(&mut buffer)).await.unwrap().unwrap();
        assert!(read > 0, "the answer ends after {received} bytes");
        received += read;
    }
    assert_eq!(taken.load(Ordering::Relaxed), SIZE);
}

#[tokio::test]
async fn a_stream_of_events_passes_at_once_and_ends_with_its_reader() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/events HTTP/1.1")).await;
    let mut app = accept(&listener).await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for nth in 0..5 {
        app.send(&format!("b\r\ndata: no {nth}\n\r\n")).await;
        client.until(&format!("data: no {nth}\n")).await;
    }
    drop(client);
    assert!(!timeout(Duration::from_secs(5), app.more()).await.expect("the app hears that its reader left"));
}

#[tokio::test]
async fn a_chunked_upload_passes_and_its_connections_go_on() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nTransfer-Encoding: chunked", space.origin());
    client.send(&(space.request(&head) + "3\r\nabc\r\n0\r\n\r\n")).await;
    let mut app = accept(&listener).await;
    let head = app.head().await.unwrap();
    assert_eq!((header(&head, "transfer-encoding"), header(&head, "content-length")), (Some("chunked"), None));
    app.until("0\r\n\r\n").await;
    app.send(&ok("done")).await;
    let answer = client.answer().await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("done", None));
    app.read.clear();
    client.send(&space.request("GET /app/next HTTP/1.1")).await;
    assert!(app.head().await.unwrap().starts_with("GET /app/next"));
    app.send(&ok("next")).await;
    assert_eq!(client.answer().await.body, "next");
}

#[tokio::test]
async fn an_idle_connection_keeps_nothing_of_an_upload() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("x"));
    let traffic = space.door.borrow().routes[0].traffic.clone();
    let before = Arc::strong_count(&traffic);
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 3\r\n\r\nabc", space.origin());
    assert_eq!(space.ask(&head).await.status, 200);
    // Whoever counts what passes has the body with it.
    space.ask("GET /_space/livez HTTP/1.1").await;
    assert_eq!(Arc::strong_count(&traffic), before);
}

#[tokio::test]
async fn an_early_answer_to_an_upload_does_not_poison_the_connection() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("x"));
    space.change(|door| door.routes[0].state = RouteState::NotYet);
    let mut client = space.connect().await;
    let smuggled = "GET /app/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n";
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: {}", space.origin(), smuggled.len());
    client.send(&(space.request(&head) + smuggled)).await;
    assert_eq!(client.answer().await.status, 503);
    client.send(&space.request("GET /_space/livez HTTP/1.1\r\nConnection: close")).await;
    let rest = client.drained().await;
    assert!(rest.is_empty() || rest.matches("HTTP/1.1").count() == 1 && rest.ends_with("ok"), "{rest}");
}

#[tokio::test]
async fn an_app_that_can_not_be_reached_is_named() {
    let space = Space::open();
    let answer = space.ask("GET /app/ HTTP/1.1").await;
    // It is started again, as far as anybody knows.
    assert_eq!(answer.status, 503);
    assert!(answer.body.contains("app does not answer: its socket is gone"), "{}", answer.body);
    assert!(answer.body.contains("space-agent logs app"), "{}", answer.body);
    drop(space.listen());
    assert!(space.ask("GET /app/ HTTP/1.1").await.body.contains("nobody listens"));
    let listener = space.listen();
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut app = Client { stream, read: Vec::new() };
            app.head().await;
            app.send("what?\r\n\r\n").await;
        }
    });
    let answer = space.ask("GET /app/ HTTP/1.1").await;
    assert!(answer.status == 502 && answer.body.contains("not HTTP"), "{answer:?}");
}

#[tokio::test]
async fn only_the_apps_own_user_may_answer_for_it() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("stranger"));
    space.change(|door| door.routes[0].uid += 1);
    let answer = space.ask("GET /app/ HTTP/1.1").await;
    assert_eq!(answer.status, 502);
    assert!(answer.body.contains("listens on its socket, where uid"), "{answer:?}");
}

#[tokio::test]
async fn an_app_may_listen_on_a_port() {
    let space = Space::open();
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    space.change(|door| door.routes[0].upstream = Upstream::Port(port));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let mut app = Client { stream, read: Vec::new() };
            app.head().await;
            app.send(&ok("by port")).await;
            app.more().await;
        }
    });
    assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "by port");
    space.change(|door| door.routes[0].uid += 1);
    let refused = space.ask("GET /app/ HTTP/1.1").await;
    assert_eq!(refused.status, 502);
    assert!(refused.body.contains(&format!("listens on its port {port}, where uid")), "{refused:?}");
}

#[tokio::test]
async fn an_app_that_ends_under_a_request_is_on_its_way_back() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/ HTTP/1.1")).await;
    let mut app = accept(&listener).await;
    app.head().await;
    space.set(RouteState::NotYet);
    drop(app);
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
}

#[tokio::test]
async fn a_client_that_waits_to_be_asked_for_its_body_is_asked() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("PUT /app/ HTTP/1.1\r\n{}\r\nExpect: 100-continue\r\nContent-Length: 4", space.origin());
    client.send(&space.request(&head)).await;
    client.until("HTTP/1.1 100 Continue\r\n\r\n").await;
    client.head().await;
    client.send("body").await;
    let mut app = accept(&listener).await;
    assert_eq!(header(&app.head().await.unwrap(), "expect"), None);
    assert_eq!(app.exactly(4).await, "body");
    app.send(&ok("thanks")).await;
    assert_eq!(client.answer().await.body, "thanks");
    let other = format!("PUT /app/ HTTP/1.1\r\n{}\r\nExpect: a-miracle", space.origin());
    assert_eq!(space.ask(&other).await.status, 417);
}
