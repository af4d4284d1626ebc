//! What the agent says itself: until an app is ready, when it won't be, and on its page.

use super::ground::{Space, accept, ok, serve};
use super::status;
use crate::model::log::LogLine;
use crate::model::now::Timestamp;
use crate::model::route::RouteState;
use crate::model::status::{Mode, PhaseName};
use space_lifecycle::SignIn;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::timeout;

const BROWSER: &str = "Accept: text/html,application/xhtml+xml,*/*;q=0.8";

fn line(seq: u64, text: &str) -> Arc<LogLine> {
    Arc::new(LogLine { seq, at: Timestamp(0), of: "deps".to_owned(), text: text.to_owned() })
}

#[tokio::test]
async fn until_the_app_is_ready_people_get_a_page_and_programs_a_503() {
    let space = Space::open();
    space.set(RouteState::NotYet);
    space.status.send_modify(|status| {
        let status = Arc::make_mut(status);
        status.phase = PhaseName::Booting;
        status.sentence = "installing <jupyterlab>".to_owned();
    });
    let page = space.ask(&format!("GET /app/lab/tree/x HTTP/1.1\r\n{BROWSER}")).await;
    assert_eq!((page.status, page.header("cache-control")), (200, Some("no-store")));
    assert!(page.body.contains("installing &lt;jupyterlab&gt;") && page.body.contains("http-equiv=\"refresh\""));
    let policy = page.header("content-security-policy").unwrap();
    assert!(policy.contains("default-src 'none'") && policy.contains("frame-ancestors 'self'"), "{policy}");
    let program = space.ask("GET /app/api HTTP/1.1\r\nAccept: application/json").await;
    assert_eq!((program.status, program.header("retry-after")), (503, Some("1")));
    assert_eq!(program.body, "installing <jupyterlab>\n");
    assert_eq!(program.header("content-type"), Some("text/plain; charset=utf-8"));
    let socket = space
        .ask(&format!(
            "GET /app/ HTTP/1.1\r\n{}\r\n{BROWSER}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
            space.origin()
        ))
        .await;
    assert_eq!(socket.status, 503);
    assert_eq!(space.ask("GET /_space/readyz HTTP/1.1").await.status, 503);
    assert_eq!(space.ask("GET /_space/livez HTTP/1.1").await.status, 200);
    space.set(RouteState::Gone);
    assert_eq!(space.ask(&format!("GET /app/ HTTP/1.1\r\n{BROWSER}")).await.status, 503);
}

#[tokio::test]
async fn an_app_that_sleeps_is_woken_by_whoever_has_signed_in_and_by_nobody_else() {
    let space = Space::with(SignIn::Token);
    space.set(RouteState::Asleep);
    let post = format!("POST /app/run HTTP/1.1\r\n{}\r\nContent-Length: 0", space.origin());
    let strangers = [&format!("GET /app/ HTTP/1.1\r\n{BROWSER}"), "GET /app/api HTTP/1.1", &post];
    for request in strangers {
        assert_eq!(space.ask(request).await.status, 401, "{request}");
    }
    // What anybody may ask below its base path is the agent's own.
    for path in ["_space/livez", "_space/readyz", "api/idle", "_space/sign-in"] {
        assert_eq!(space.ask(&format!("GET /app/{path} HTTP/1.1")).await.status, 200, "{path}");
    }
    assert_eq!(*space.woken.lock().unwrap(), Vec::<String>::new());

    let space = Space::open();
    space.set(RouteState::Asleep);
    let page = space.ask(&format!("GET /app/lab HTTP/1.1\r\n{BROWSER}")).await;
    assert_eq!((page.status, page.body.contains("data-app=\"app\"")), (200, true), "{}", page.body);
    let program = space.ask("GET /app/api HTTP/1.1\r\nAccept: application/json").await;
    assert_eq!((program.status, program.header("retry-after")), (503, Some("1")));
    assert_eq!(*space.woken.lock().unwrap(), ["app", "app"]);
}

#[tokio::test]
async fn in_recovery_mode_people_get_a_page_to_repair_with_and_programs_a_503() {
    let space = Space::open();
    space.set(RouteState::Gone);
    space.status.send_modify(|status| {
        let status = Arc::make_mut(status);
        status.mode = Some(Mode::Recovery);
        status.reason = Some("JupyterLab <ended> with exit code 1".to_owned());
        status.home = "/home/alice".to_owned();
    });
    let page = space.ask(&format!("GET /app/lab HTTP/1.1\r\n{BROWSER}")).await;
    assert_eq!(page.status, 200, "a platform puts its own page in the place of a 503");
    for part in
        ["data-mode=\"recovery\"", "JupyterLab &lt;ended&gt; with exit code 1", "/_space/rescue", "/_space/start"]
    {
        assert!(page.body.contains(part), "{part}: {}", page.body);
    }
    assert!(!page.body.contains("http-equiv=\"refresh\""), "what is being typed would be lost");
    let program = space.ask("GET /app/api HTTP/1.1\r\nAccept: application/json").await;
    assert_eq!((program.status, program.header("retry-after")), (503, Some("1")));
    let own = space.ask(&format!("GET /_space/ HTTP/1.1\r\n{BROWSER}")).await;
    assert!(own.status == 200 && own.body.contains("data-mode=\"recovery\""));
}

#[tokio::test]
async fn the_console_takes_a_command_from_this_origin_with_a_session_only() {
    let space = Space::open();
    let origin = space.origin();
    let post = |path: &str, origin: &str, kind: &str, body: &str| {
        let length = body.len();
        format!("POST {path} HTTP/1.1\r\n{origin}\r\n{kind}\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let form = "Content-Type: application/x-www-form-urlencoded";
    let json = "Content-Type: application/json";
    let ask = async |head: String| space.ask(&head).await;
    let good = ask(post("/_space/rescue", &origin, json, "{\"command\":\"ls -la\"}")).await;
    assert_eq!(good.status, 200, "{}", good.body);
    let paged = post("/app/_space/rescue", &format!("{origin}\r\n{BROWSER}"), form, "command=ls");
    let paged = ask(paged).await;
    assert_eq!((paged.status, paged.header("location")), (303, Some("/_space/")));
    for (body, what) in
        [("command=", "nothing"), ("command=%00", "NUL"), (&*format!("command={}", "x".repeat(8193)), "too long")]
    {
        assert_eq!(ask(post("/_space/rescue", &origin, form, body)).await.status, 400, "{what}");
    }
    let refused = ask(post("/_space/start", &origin, form, "")).await;
    assert_eq!((refused.status, &*refused.body), (409, "the document still has a mistake\n"));
    for path in ["/_space/rescue", "/_space/start"] {
        assert_eq!(ask(post(path, "Origin: http://evil.example", form, "command=ls")).await.status, 403);
        assert_eq!(ask(post(path, "X-No: origin", form, "command=ls")).await.status, 403);
        assert_eq!(ask(format!("GET {path} HTTP/1.1")).await.status, 405);
    }
    let closed = Space::with(space_lifecycle::SignIn::Token);
    let head = post("/_space/rescue", &closed.origin(), json, "{\"command\":\"ls\"}");
    assert_eq!(closed.ask(&head).await.status, 401);
}

#[tokio::test]
async fn the_spaces_page_stays_though_the_app_is_ready() {
    let space = Space::open();
    let page = space.ask("GET /app/_space/ HTTP/1.1").await;
    assert!(page.body.contains("data-app=\"\"") && !page.body.contains("http-equiv=\"refresh\""));
    assert!(page.body.contains("alice-research"));
}

#[tokio::test]
async fn the_page_hears_status_lines_and_the_opening_in_one_stream() {
    let space = Space::open();
    space.set(RouteState::NotYet);
    // The first answer shows that the room listens to the lines.
    space.ask("GET /_space/livez HTTP/1.1").await;
    space.lines.send(line(1, "Collecting jupyterlab")).unwrap();
    space.lines.send(line(2, "</script> \u{1f600}")).unwrap();
    let mut client = space.connect().await;
    client.send(&space.request("GET /_space/events?app=app HTTP/1.1")).await;
    let text = client.until("\"seq\":2").await;
    assert!(text.contains("content-type: text/event-stream") && text.contains("event: status\ndata: {"), "{text}");
    assert!(text.find("Collecting").unwrap() < text.find("</script>").unwrap(), "{text}");
    assert!(!text.contains("event: ready"), "{text}");
    space.lines.send(line(3, "done")).unwrap();
    client.until("\"seq\":3").await;
    space.status.send_modify(|status| Arc::make_mut(status).sentence = "almost there".to_owned());
    client.until("almost there").await;
    space.set(RouteState::Ready);
    client.until("event: ready\n").await;
    let text = String::from_utf8_lossy(&client.read).into_owned();
    for seq in 1..=3 {
        assert_eq!(text.matches(&format!("\"seq\":{seq},")).count(), 1, "line {seq} comes once: {text}");
    }
}

#[tokio::test]
async fn a_new_viewer_gets_the_last_three_hundred_lines() {
    let space = Space::open();
    space.ask("GET /_space/livez HTTP/1.1").await;
    for seq in 0..1000 {
        space.lines.send(line(seq, "x")).unwrap();
        tokio::task::yield_now().await;
    }
    let mut client = space.connect().await;
    client.send(&space.request("GET /_space/events HTTP/1.1")).await;
    let text = client.until("\"seq\":999,").await;
    assert_eq!(text.matches("event: line").count(), 300);
    assert!(text.contains("\"seq\":700,") && !text.contains("\"seq\":699,"));
}

#[tokio::test]
async fn a_viewer_too_many_is_told_so_until_another_leaves() {
    let space = Space::open();
    let mut viewers = Vec::new();
    for _ in 0..64 {
        let mut viewer = space.connect().await;
        viewer.send(&space.request("GET /_space/events HTTP/1.1")).await;
        viewer.until("event: status").await;
        viewers.push(viewer);
    }
    let answer = space.ask("GET /_space/events HTTP/1.1").await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")));
    assert_eq!(answer.body, "64 pages look at this space already: close one of them\n");
    viewers.pop();
    let mut next = space.connect().await;
    let comes_in = async {
        loop {
            next.send(&space.request("GET /_space/events HTTP/1.1")).await;
            if next.head().await.unwrap().starts_with("HTTP/1.1 200") {
                break;
            }
            next.exactly(answer.body.len()).await;
        }
    };
    timeout(Duration::from_secs(5), comes_in).await.expect("its place is free");
}

#[tokio::test]
async fn keep_working_takes_a_lease_within_what_the_space_allows() {
    let space = Space::open();
    let keep = async |body: &str| {
        let (origin, length) = (space.origin(), body.len());
        space
            .ask(&format!("POST /app/_space/keep HTTP/1.1\r\n{origin}\r\nContent-Length: {length}\r\n\r\n{body}"))
            .await
    };
    let kept = keep("minutes=60").await;
    assert_eq!((kept.status, kept.body.as_str()), (200, "kept for 60 min\n"));
    let refused = keep("minutes=100000").await;
    assert_eq!((refused.status, refused.body.as_str()), (409, "the longest lease is 12 h\n"));
    assert_eq!(keep("minutes=-1").await.status, 400);
    assert_eq!(space.ask("GET /_space/keep HTTP/1.1").await.status, 405);
}

#[tokio::test]
async fn the_door_closes_with_a_grace_for_answers_in_flight() {
    let space = Space::open();
    let listener = space.listen();
    let mut busy = space.connect().await;
    busy.send(&space.request("GET /app/ HTTP/1.1")).await;
    let mut app = accept(&listener).await;
    app.head().await;
    let mut idle = space.connect().await;
    idle.send(&space.request("GET /_space/livez HTTP/1.1")).await;
    idle.answer().await;
    let mut viewer = space.connect().await;
    viewer.send(&space.request("GET /_space/events HTTP/1.1")).await;
    viewer.until("event: status").await;
    space.status.send_modify(|status| Arc::make_mut(status).phase = PhaseName::Stopped);
    space.switch.stop();
    assert!(viewer.drained().await.contains("\"phase\":\"stopped\""));
    assert_eq!(idle.drained().await, "");
    app.send(&ok("in time")).await;
    assert_eq!(busy.answer().await.body, "in time");
    let mut space = space;
    let running = std::mem::replace(&mut space.running, tokio::spawn(async {}));
    timeout(Duration::from_secs(5), running).await.expect("run ends").unwrap();
    assert!(tokio::net::TcpStream::connect(space.at).await.is_err());
}

#[tokio::test]
async fn nothing_that_a_request_says_comes_back_as_markup() {
    let space = Space::open();
    space.set(RouteState::NotYet);
    let _app = serve(space.listen(), |_| ok("x"));
    for place in ["/app/", "/_space/", "/unknown/", "/_space/sign-in"] {
        for payload in ["%3Cscript%3Ealert(1)%3C/script%3E", "\"onload=alert(1)", "{{script}}"] {
            let answer = space.ask(&format!("GET {place}?to={payload} HTTP/1.1\r\n{BROWSER}")).await;
            assert!(!answer.body.contains("alert(1)") && !answer.body.contains("{{"), "{place}{payload}");
        }
    }
    assert_eq!(status().space, "alice-research");
}
