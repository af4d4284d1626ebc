//! Peers that do wrong: apps that die, stall, babble or answer twice; clients that leave, wait or are too many.

use super::ground::{Client, Space, accept, header, ok, serve};
use space_lifecycle::SignIn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;
use tokio::io::AsyncWriteExt;
use tokio::net::{UnixListener, UnixStream};
use tokio::time::{Instant, timeout};

/// An app that says the same to every request, in one piece, and then ends the connection or holds it open.
fn says(listener: UnixListener, text: &'static [u8], ends: bool) {
    tokio::spawn(async move {
        let mut held = Vec::new();
        while let Ok((stream, _)) = listener.accept().await {
            let mut app = Client { stream, read: Vec::new() };
            app.head().await;
            let _ = app.stream.write_all(text).await;
            if !ends {
                held.push(app);
            }
        }
    });
}

#[tokio::test]
async fn an_answer_that_breaks_off_breaks_off_for_the_client_too() {
    for text in [
        &b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this"[..],
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\n",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nonly this\r\nnonsense",
    ] {
        let space = Space::open();
        says(space.listen(), text, true);
        let mut client = space.connect().await;
        client.send(&space.request("GET /app/ HTTP/1.1")).await;
        let head = client.head().await.unwrap();
        assert!(head.starts_with("HTTP/1.1 200"), "{head}");
        let rest = client.drained().await;
        assert!(rest.contains("only this") && !rest.ends_with("0\r\n\r\n"), "{rest}");
    }
}

#[tokio::test]
async fn what_is_no_answer_is_a_502_and_never_somebody_elses() {
    for text in [
        &b"garbage\r\n\r\n"[..],
        b"HTTP/1.1 200 OK\nX: a\rb\n\n",
        b"HTTP/1.1 200 OK\r\nX: y\r\n folded\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
        b"HTTP/1.1 200 OK\r\nContent-Length: +3\r\n\r\nabc",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"HTTP/2.0 200 OK\r\n\r\n",
    ] {
        let space = Space::open();
        says(space.listen(), text, false);
        let answer = space.ask("GET /app/ HTTP/1.1").await;
        assert_eq!(answer.status, 502, "{}: {answer:?}", String::from_utf8_lossy(text));
        assert!(answer.body.contains("not HTTP"), "{answer:?}");
    }
}

/// What follows is another protocol, also for whoever comes next.
#[tokio::test]
async fn a_switch_that_nobody_asked_for_ends_the_connection() {
    let space = Space::open();
    let listener = space.listen();
    let ask = async || space.ask("GET /app/ HTTP/1.1").await;
    for _ in 0..2 {
        let switch = async {
            let mut app = accept(&listener).await;
            app.head().await;
            app.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: other\r\n\r\n").await;
            app.drained().await
        };
        let (answer, rest) = tokio::join!(ask(), switch);
        assert_eq!((answer.status, rest.as_str()), (502, ""), "{answer:?}");
    }
}

/// It answers what it has not read to the end; what would go over its connection next goes nowhere.
#[tokio::test]
async fn an_app_that_takes_no_more_is_asked_no_more() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 3", space.origin());
    client.send(&space.request(&head)).await;
    let mut app = accept(&listener).await;
    app.head().await;
    let stream = app.stream.into_std().unwrap();
    stream.shutdown(std::net::Shutdown::Read).unwrap();
    app.stream = UnixStream::from_std(stream).unwrap();
    client.send("abc").await;
    // Time for the body to come to nothing.
    space.ask("GET /_space/livez HTTP/1.1").await;
    app.send(&ok("enough")).await;
    assert_eq!(client.answer().await.body, "enough");
    let _app = serve(listener, |_| ok("next"));
    assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "next");
}

#[tokio::test]
async fn heads_without_end_are_cut_short() {
    let space = Space::open();
    let listener = space.listen();
    for (unit, first) in [
        ("HTTP/1.1 100 Continue\r\n\r\n", ""),
        ("X-Header: a value of some length, to get on\r\n", "HTTP/1.1 200 OK\r\n"),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "HTTP/1.1 200 OK\r\nX: "),
    ] {
        let mut client = space.connect().await;
        client.send(&space.request("GET /app/ HTTP/1.1")).await;
        let mut app = accept(&listener).await;
        app.head().await;
        let flood = tokio::spawn(async move {
            let part = unit.repeat(1000);
            app.stream.write_all(first.as_bytes()).await?;
            let mut written = 0;
            while written < 64 << 20 {
                app.stream.write_all(part.as_bytes()).await?;
                written += part.len();
            }
            std::io::Result::Ok(())
        });
        assert_eq!(client.answer().await.status, 502, "{unit}");
        assert!(timeout(Duration::from_secs(10), flood).await.unwrap().unwrap().is_err(), "nobody reads all of it");
    }
}

#[tokio::test]
async fn an_app_that_answers_twice_is_heard_once() {
    const TWICE: &[u8] =
        b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\noneHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo";
    let space = Space::open();
    says(space.listen(), TWICE, false);
    let mut client = space.connect().await;
    for _ in 0..5 {
        client.send(&space.request("GET /app/ HTTP/1.1")).await;
        assert_eq!(client.answer().await.body, "one");
        assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "one");
    }
}

/// Bytes that come over an idle connection.
#[tokio::test]
async fn an_answer_that_nobody_asked_for_is_nobodys() {
    let space = Space::open();
    let listener = space.listen();
    let accepted = Arc::new(AtomicU32::new(0));
    let count = accepted.clone();
    let (late, mut said) = tokio::sync::mpsc::channel(8);
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            count.fetch_add(1, Ordering::Relaxed);
            let late = late.clone();
            tokio::spawn(async move {
                let mut app = Client { stream, read: Vec::new() };
                while app.head().await.is_some() {
                    app.send(&ok("asked")).await;
                    tokio::task::yield_now().await;
                    app.send(&ok("unasked")).await;
                    late.send(()).await.unwrap();
                }
            });
        }
    });
    for nth in 1..5 {
        assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "asked");
        said.recv().await.unwrap();
        // Time for the kernel to tell that there is something to read.
        space.ask("GET /_space/livez HTTP/1.1").await;
        assert_eq!(accepted.load(Ordering::Relaxed), nth);
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_has_said_its_last_still_gets_its_answer() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/ HTTP/1.1")).await;
    client.stream.shutdown().await.unwrap();
    let mut app = accept(&listener).await;
    app.head().await;
    tokio::time::sleep(Duration::from_secs(20)).await;
    app.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    for _ in 0..4 {
        tokio::time::sleep(Duration::from_secs(20)).await;
        app.send("1\r\nx\r\n").await;
    }
    app.send("0\r\n\r\n").await;
    let rest = client.drained().await;
    assert!(rest.ends_with("1\r\nx\r\n0\r\n\r\n"), "{rest}");
}

#[tokio::test(start_paused = true)]
async fn an_app_hears_when_a_client_has_left_for_good() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/ HTTP/1.1")).await;
    let mut app = accept(&listener).await;
    app.head().await;
    let begun = Instant::now();
    drop(client);
    let mut byte = [0];
    assert_eq!(tokio::io::AsyncReadExt::read(&mut app.stream, &mut byte).await.unwrap(), 0);
    assert!((29..32).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_body_that_stands_still_is_not_waited_for() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 10", space.origin());
    client.send(&(space.request(&head) + "part")).await;
    let mut app = accept(&listener).await;
    app.until("part").await;
    let begun = Instant::now();
    let mut byte = [0];
    assert_eq!(tokio::io::AsyncReadExt::read(&mut client.stream, &mut byte).await.unwrap(), 1);
    assert!((299..302).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
    let rest = client.drained().await;
    assert!(rest.starts_with("TTP/1.1 408") && rest.contains("5 min"), "{rest}");
    app.drained().await;
}

#[tokio::test]
async fn a_client_of_the_old_protocol_gets_what_it_can_read() {
    let space = Space::open();
    says(
        space.listen(),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n",
        false,
    );
    let mut client = space.connect().await;
    client.send(&space.request("GET /app/ HTTP/1.0")).await;
    let head = client.head().await.unwrap();
    assert!(head.starts_with("HTTP/1.0 200") && header(&head, "transfer-encoding").is_none(), "{head}");
    assert_eq!(client.drained().await, "abcde");
}

#[tokio::test]
async fn trailers_pass_both_ways_where_they_are_announced() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!(
        "POST /app/ HTTP/1.1\r\n{}\r\nTE: trailers\r\nConnection: TE\r\n\
         Trailer: X-Sum, X-Forwarded-For, Cookie, Content-Length, Content-Type, Trailer\r\nTransfer-Encoding: chunked",
        space.origin()
    );
    let body = "3\r\nabc\r\n0\r\nX-Sum: 7\r\nX-Forwarded-For: 1.2.3.4\r\nCookie: space-0123abcd=x\r\nX-Other: 1\r\n\
                Content-Length: 9\r\nContent-Type: text/html\r\nTrailer: X-Other\r\n\r\n";
    client.send(&(space.request(&head) + body)).await;
    let mut app = accept(&listener).await;
    let head = app.head().await.unwrap();
    assert_eq!(header(&head, "te"), Some("trailers"), "{head}");
    let body = app.until("\r\n0\r\n").await + &app.until("\r\n\r\n").await;
    let trailers = body.rsplit("\r\n0\r\n").next().unwrap().to_lowercase();
    assert_eq!(trailers, "x-sum: 7\r\n\r\n");
    let answer =
        "HTTP/1.1 200 OK\r\nTrailer: X-Time\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX-Time: 5\r\n\r\n";
    app.send(answer).await;
    let answer = client.until("\r\n0\r\n").await + &client.until("\r\n\r\n").await;
    assert!(answer.to_lowercase().ends_with("0\r\nx-time: 5\r\n\r\n"), "{answer}");
}

#[tokio::test]
async fn the_bytes_of_a_path_and_parts_of_a_file_pass_as_they_are() {
    let space = Space::open();
    let _app = serve(space.listen(), |head| {
        let target = head.split(' ').nth(1).unwrap();
        let range = header(head, "range").unwrap_or("none");
        let body = format!("{target} {range}");
        let length = body.len();
        format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes 1-9/99\r\nContent-Length: {length}\r\n\r\n{body}")
    });
    for target in
        ["/app/a%2Fb//c", "/app/;x=1", "/app/%zz?%zz", "/app/a|b^c`d?`|", "/app/..%2f../x", "/app/\u{e9}?\u{e9}"]
    {
        let answer = space.ask(&format!("GET {target} HTTP/1.1\r\nRange: bytes=1-9")).await;
        match target.contains('`') && target.starts_with("/app/a|b^c`") {
            true => assert_eq!(answer.status, 400, "{target}"),
            false => {
                assert_eq!((answer.status, answer.header("content-range")), (206, Some("bytes 1-9/99")), "{target}");
                assert_eq!(answer.body, format!("{target} bytes=1-9"));
            }
        }
    }
}

#[tokio::test]
async fn an_early_answer_to_a_long_upload_arrives_and_ends_the_connection() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let head = format!("POST /app/ HTTP/1.1\r\n{}\r\nContent-Length: 100000000", space.origin());
    client.send(&space.request(&head)).await;
    let mut app = accept(&listener).await;
    app.head().await;
    app.send("HTTP/1.1 413 Too Much\r\nContent-Length: 2\r\n\r\nno").await;
    let answer = client.answer().await;
    assert_eq!((answer.status, answer.body.as_str()), (413, "no"));
    // Whatever the client still sends, its answer is not taken away, and nobody reads it as a request.
    client.send(&"GET /app/smuggled HTTP/1.1\r\nHost: localhost\r\n\r\n".repeat(1000)).await;
    assert_eq!(client.drained().await, "");
    assert!(!app.drained().await.contains("HTTP/1.1"));
}

#[tokio::test]
async fn requests_are_counted_with_their_class_status_and_bytes() {
    let space = Space::open();
    let traffic = space.door.borrow().routes[0].traffic.clone();
    let _app = serve(space.listen(), |_| ok("12345"));
    let post = format!("POST /app/x HTTP/1.1\r\n{}\r\nContent-Length: 3\r\n\r\nabc", space.origin());
    assert_eq!(space.ask(&post).await.status, 200);
    assert_eq!(space.ask("GET /app/y HTTP/1.1").await.status, 200);
    assert_eq!(space.ask("GET /app/y HTTP/1.1\r\nSec-Fetch-User: ?1").await.status, 200);
    // Refused by us, or our own.
    assert_eq!(space.ask("POST /app/y HTTP/1.1\r\nContent-Length: 0").await.status, 403);
    assert_eq!(space.ask("GET /_space/livez HTTP/1.1").await.status, 200);
    let sample = traffic.sample();
    assert_eq!((sample.requests_work, sample.requests_quiet), (2, 1));
    assert_eq!(sample.statuses, [0, 3, 0, 0, 0]);
    assert_eq!((sample.bytes_to_app, sample.bytes_to_client), (3, 15));
    assert_eq!(sample.latencies.iter().sum::<u64>(), 3);
}

#[tokio::test]
async fn an_idle_client_makes_room_for_another() {
    let space = Space::open();
    let _app = serve(space.listen(), |_| ok("here"));
    let mut idle = Vec::new();
    for _ in 0..200 {
        let mut client = space.connect().await;
        client.send(&space.request("GET /app/ HTTP/1.1")).await;
        assert_eq!(client.answer().await.body, "here");
        idle.push(client);
    }
    assert_eq!(idle[0].drained().await, "", "the oldest has made room");
    let last = idle.last_mut().unwrap();
    last.send(&space.request("GET /app/ HTTP/1.1")).await;
    assert_eq!(last.answer().await.body, "here", "the newest has not");
}

#[tokio::test]
async fn a_client_that_asked_ahead_and_left_is_gone_for_the_app_too() {
    let space = Space::open();
    let listener = space.listen();
    let mut client = space.connect().await;
    let twice = space.request("GET /app/stream HTTP/1.1") + &space.request("GET /app/never HTTP/1.1");
    client.send(&twice).await;
    let mut app = accept(&listener).await;
    app.head().await;
    app.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n").await;
    assert!(client.head().await.unwrap().contains("event-stream"));
    drop(client);
    assert_eq!(app.drained().await, "", "nobody reads the stream any more");
}

#[tokio::test(start_paused = true)]
async fn a_stranger_who_takes_no_answers_is_soon_gone() {
    let space = Space::with(SignIn::Token);
    let mut client = space.connect().await;
    let asked = space.request("GET /app/ HTTP/1.1\r\nAccept: text/html").repeat(100);
    let begun = Instant::now();
    // Until neither side takes any more, and then until it is cut off.
    while client.stream.write_all(asked.as_bytes()).await.is_ok() {}
    assert!((29..35).contains(&begun.elapsed().as_secs()), "{:?}", begun.elapsed());
}

#[tokio::test]
async fn strangers_keep_no_viewer_out_whatever_they_are_busy_with() {
    let space = Space::with(SignIn::Token);
    let _app = serve(space.listen(), |_| ok("here"));
    let form = format!("POST /_space/sign-in HTTP/1.1\r\n{}\r\nContent-Length: ", space.origin());
    let token = format!("token={}", space.token(60));
    let answer = space.ask(&format!("{form}{}\r\n\r\n{token}", token.len())).await;
    let cookie = answer.header("set-cookie").unwrap().split(';').next().unwrap();
    let request = space.request(&format!("GET /app/ HTTP/1.1\r\nCookie: {cookie}"));
    let mut strangers = Vec::new();
    for _ in 0..150 {
        let mut stranger = space.connect().await;
        // A form that never comes.
        stranger.send(&space.request(&format!("{form}100\r\n\r\ntoken="))).await;
        strangers.push(stranger);
    }
    let another = async {
        loop {
            let mut client = space.connect().await;
            client.send(&request).await;
            if client.head().await.is_some_and(|head| head.starts_with("HTTP/1.1 200")) {
                break;
            }
        }
    };
    timeout(Duration::from_secs(5), another).await.expect("strangers make room for a viewer");
}

#[tokio::test]
async fn where_all_are_busy_the_agent_still_says_that_it_lives() {
    let space = Space::open();
    let listener = space.listen();
    let (mut clients, mut apps) = (Vec::new(), Vec::new());
    for _ in 0..128 {
        let mut client = space.connect().await;
        client.send(&space.request("GET /app/ HTTP/1.1")).await;
        let mut app = accept(&listener).await;
        app.head().await;
        clients.push(client);
        apps.push(app);
    }
    let live = space.ask("GET /_space/livez HTTP/1.1").await;
    assert_eq!((live.status, live.body.as_str(), live.header("connection")), (200, "ok", Some("close")));
    let other = space.ask("GET /app/ HTTP/1.1").await;
    assert_eq!(other.status, 503);
    assert!(other.body.contains("too many connections"), "{other:?}");
    for (client, app) in clients.iter_mut().zip(&mut apps) {
        app.send(&ok("at last")).await;
        assert_eq!(client.answer().await.body, "at last");
    }
    drop((clients, apps, listener));
    let _app = serve(space.listen(), |_| ok("again"));
    assert_eq!(space.ask("GET /app/ HTTP/1.1").await.body, "again");
}

#[tokio::test]
async fn who_has_come_before_the_door_closes_is_answered() {
    let space = Space::open();
    let (mut silent, mut new, mut half, mut again) =
        (space.connect().await, space.connect().await, space.connect().await, space.connect().await);
    let (live, begun) = (space.request("GET /_space/livez HTTP/1.1"), Instant::now());
    let (first, rest) = live.split_at(20);
    half.send(first).await;
    again.send(&live).await;
    assert_eq!(again.answer().await.body, "ok");
    again.send(first).await;
    // Those who came before are in, and have been looked at.
    assert_eq!(space.ask("GET /_space/livez HTTP/1.1").await.status, 200);
    space.switch.stop();
    tokio::task::yield_now().await;
    new.send(&live).await;
    for client in [&mut half, &mut again] {
        client.send(rest).await;
    }
    for client in [&mut new, &mut half, &mut again] {
        let answer = client.answer().await;
        assert_eq!((answer.body.as_str(), answer.header("connection")), ("ok", Some("close")));
        assert_eq!(client.drained().await, "");
    }
    assert_eq!(silent.drained().await, "");
    assert!(begun.elapsed() < Duration::from_secs(2), "one who says nothing is not waited for: {:?}", begun.elapsed());
}

#[tokio::test]
async fn a_door_that_has_little_time_to_close_cuts_what_takes_longer() {
    let mut space = Space::open();
    let listener = space.listen();
    let (mut asks, mut half) = (space.connect().await, space.connect().await);
    asks.send(&space.request("GET /app/ HTTP/1.1")).await;
    let mut app = accept(&listener).await;
    app.head().await;
    half.send("GET /app/ HT").await;
    assert_eq!(space.ask("GET /_space/livez HTTP/1.1").await.status, 200);
    let begun = Instant::now();
    space.switch.stop_by(begun + Duration::from_millis(300));
    (&mut space.running).await.unwrap();
    let took = begun.elapsed();
    assert!((300..1500).contains(&took.as_millis()), "the door closed after {took:?}");
    for client in [&mut asks, &mut half] {
        assert_eq!(client.drained().await, "");
    }
}

#[tokio::test]
async fn who_asks_all_the_time_hears_that_the_door_closes() {
    let space = Space::open();
    let (mut asks, mut idle) = (space.connect().await, space.connect().await);
    let live = space.request("GET /_space/livez HTTP/1.1");
    for client in [&mut asks, &mut idle] {
        client.send(&live).await;
        assert_eq!(client.answer().await.header("connection"), None);
    }
    space.switch.stop();
    tokio::task::yield_now().await;
    asks.send(&live).await;
    let answer = asks.answer().await;
    assert_eq!((answer.body.as_str(), answer.header("connection")), ("ok", Some("close")));
    let begun = Instant::now();
    for client in [&mut asks, &mut idle] {
        assert_eq!(client.drained().await, "");
    }
    assert!(begun.elapsed() < Duration::from_secs(1), "who says nothing is not waited for: {:?}", begun.elapsed());
}
