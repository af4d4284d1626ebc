//! What has gone wrong in other proxies of notebooks and editors, and in HTTP itself: one story per advisory, each named
//! in its story. Where the table of raw requests (conformance.rs) has rows for one, they are sent here by its name.

use crate::conformance::{Ground, recording, told};
use hyper::{Method, StatusCode};
use space_tests::client::{Answer, Client, raw, whole};
use space_tests::listener::Listener;
use space_tests::processes;
use space_tests::record::{Record, Seen};
use space_tests::rogue::Rogue;
use space_tests::space::{Run, SOON, Space};
use space_tests::{places, wait::wait_for};
use std::time::Duration;

const HANDSHAKE: [(&str, &str); 4] = [
    ("connection", "Upgrade"),
    ("upgrade", "websocket"),
    ("sec-websocket-version", "13"),
    ("sec-websocket-key", "dGhlIHNhbXBsZSBub25jZQ=="),
];

/// Few in the fast run, all in the soak.
fn some<T>(all: Vec<T>, few: usize) -> Vec<T> {
    let step = if places::full() { 1 } else { all.len().div_ceil(few).max(1) };
    all.into_iter().step_by(step).collect()
}

/// What the app has seen beside the agent's own question whether it is ready.
fn seen(record: &mut Record) -> Vec<&Seen> {
    record.read().iter().filter(|seen| !seen.target.ends_with("/ready")).collect()
}

async fn token_space() -> (Space, Run, Record, Client) {
    let (space, mut run, record) = recording("hyper", "token").await;
    let client = run.signed_in().await;
    (space, run, record, client)
}

/// The rows of the table that name this advisory hold, for an app with hyper's parser.
async fn rows_hold(id: &str) {
    let (_space, mut run, mut record) = recording("hyper", "open").await;
    let ground = Ground { port: run.port, base: "/hyper/".to_owned(), cookie: String::new() };
    told(&ground, &mut record, usize::MAX, |row| row.name.contains(id)).await;
    assert_eq!(run.stop().await, 0);
}

/// CVE-2024-28179, GHSA-w3vc-fx9p-wp4v (jupyter-server-proxy).
#[tokio::test]
async fn cve_2024_28179_a_websocket_needs_the_session_that_http_needs() {
    let (_space, mut run, mut record, _) = token_space().await;
    let listener = Listener::start().await;
    let port = listener.port;
    let (mut stranger, origin) = (Client::new(run.port), format!("http://127.0.0.1:{}", run.port));
    for path in [
        "/hyper/ws".to_owned(),
        "/_space/events".to_owned(),
        format!("/proxy/{port}/ws"),
        format!("/proxy/absolute/{port}/ws"),
        format!("/ports/{port}/ws"),
        format!("/hyper/proxy/{port}/ws"),
    ] {
        let headers = [&HANDSHAKE[..], &[("origin", &*origin)]].concat();
        let refused = stranger.send(Method::GET, &path, &headers, whole("")).await;
        assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{path}: {}", refused.text());
    }
    assert_eq!(seen(&mut record), Vec::<&Seen>::new());
    assert_eq!(listener.heard(), Vec::<String>::new());
    assert_eq!(run.stop().await, 0);
}

/// GHSA-gcv9-6737-pjqw, CVE-2022-21697 (jupyter-server-proxy): whatever a request says, the door connects to its apps
/// and to the ports of loopback that are named in digits, and to nothing else.
#[tokio::test]
async fn ghsa_gcv9_6737_pjqw_no_request_says_where_the_door_connects() {
    let (_space, mut run, _, mut client) = token_space().await;
    let listener = Listener::start().await;
    let elsewhere = ["127.0.0.1", "localhost", "[::1]", "0.0.0.0", "127.1", "2130706433", "evil.example", "10.0.0.1"];
    let mut paths = Vec::new();
    for host in elsewhere {
        let at = format!("{host}:{}", listener.port);
        for form in ["proxy", "proxy/absolute", "ports", "hyper/proxy", "proxy/http:", "proxy/http:/", "proxy//"] {
            paths.extend([format!("/{form}/{at}/"), format!("/{form}/{}/", at.replace(':', "%3a"))]);
            paths.extend([format!("/{form}/@{at}/"), format!("/{form}/8080@{at}/"), format!("/{form}/{at}#@8080/")]);
        }
        paths.push(format!("//{at}/"));
    }
    let count = paths.len();
    for path in some(paths, 100) {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nX-Forwarded-Host: localhost:{}\r\nConnection: close\r\n\r\n",
            client.host(),
            client.cookie_header(),
            listener.port
        );
        let answer = raw(run.port, request.as_bytes()).await;
        assert!(answer.starts_with("HTTP/1.1 40") || answer.starts_with("HTTP/1.1 302"), "{path}: {answer}");
    }
    assert!(count >= 200, "{count} paths");
    assert_eq!(listener.heard(), Vec::<String>::new());
    // The listener does answer when it is asked for by its number.
    let good = client.get(&format!("/proxy/{}/x", listener.port)).await.good("a port of the user's");
    assert_eq!((good.text().as_str(), listener.heard().len()), ("port\n", 1));
    assert_eq!(run.stop().await, 0);
}

/// CVE-2024-35225, GHSA-fvcq-4x64-hqxr (jupyter-server-proxy), CVE-2021-42648 (code-server): errors reflect nothing.
#[tokio::test]
async fn cve_2024_35225_cve_2021_42648_no_error_reflects_what_was_sent() {
    let (_space, mut run, _, mut client) = token_space().await;
    let mut stranger = Client::new(run.port);
    let codes = [
        "<script>alert(1)</script>",
        "\"><img src=x onerror=alert(1)>",
        "'-alert(1)-'",
        "%3Cscript%3Ealert(1)%3C/script%3E",
        "javascript:alert(1)",
    ];
    let mut all = Vec::new();
    for number in 0..40 {
        for code in codes {
            let code = code.replace('1', &(7000 + number).to_string());
            let encoded = code.replace('<', "%3C").replace('>', "%3E").replace('"', "%22").replace(' ', "%20");
            for place in ["path", "port", "query", "host", "origin"] {
                all.push((place, code.clone(), encoded.clone()));
            }
        }
    }
    assert_eq!(all.len(), 1000);
    for (place, code, encoded) in some(all, 100) {
        let (path, headers) = match place {
            "path" => (format!("/nothing/{encoded}"), vec![]),
            "port" => (format!("/proxy/{encoded}/"), vec![]),
            "query" => (format!("/_space/sign-in?to={encoded}&{encoded}"), vec![]),
            "host" => ("/hyper/x".to_owned(), vec![("host", code.as_str())]),
            _ => ("/hyper/x".to_owned(), vec![("origin", code.as_str())]),
        };
        for client in [&mut client, &mut stranger] {
            let answer = client.send(Method::POST, &path, &headers, whole("")).await;
            reflects_nothing(&answer, &code);
            let headers = [&headers[..], &[("accept", "text/html")]].concat();
            let answer = client.send(Method::GET, &path, &headers, whole("")).await;
            if !(place == "origin" && answer.status.is_success()) {
                reflects_nothing(&answer, &code);
            }
        }
    }
    assert_eq!(run.stop().await, 0);
}

#[track_caller]
fn reflects_nothing(answer: &Answer, code: &str) {
    let (text, kind) = (answer.text(), answer.header("content-type").unwrap_or_default());
    assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{code}: {text}");
    let page = kind.starts_with("text/html") && answer.header("content-security-policy").is_some();
    assert!(page || kind.starts_with("text/plain"), "{code}: {kind}");
    let number = code.split(['(', ')']).nth(1).unwrap_or(code);
    assert!(!text.contains(code) && !text.contains(&format!("alert({number}")), "{code}: {text}");
}

/// GHSA-q52h-2389-h4hv (jupyter-server-proxy), code-server 4.124.2: no app and no port gets the session.
#[tokio::test]
async fn ghsa_q52h_2389_h4hv_the_session_reaches_neither_an_app_nor_a_port() {
    let (_space, mut run, mut record, mut client) = token_space().await;
    let listener = Listener::start().await;
    let port = listener.port;
    let headers = [("authorization", "Bearer secret"), ("proxy-authorization", "Basic secret")];
    for path in ["/hyper/x".to_owned(), format!("/proxy/{port}/x"), format!("/proxy/absolute/{port}/x")] {
        client.send(Method::GET, &path, &headers, whole("")).await.good(&path);
    }
    client.cookies.insert("theirs".to_owned(), "1".to_owned());
    client.get(&format!("/ports/{port}/y")).await.good("a port");
    let session = client.cookie_header();
    let secret = session.split("; ").find_map(|pair| pair.strip_prefix("space-")).expect("a session");
    let told = listener.heard().join("\n") + &format!("{:?}", seen(&mut record));
    assert!(!told.contains(secret) && !told.to_lowercase().contains("authorization"), "{told}");
    assert!(told.contains("theirs=1"), "{told}");
    assert_eq!((seen(&mut record).len(), listener.heard().len()), (1, 3));
    assert_eq!(run.stop().await, 0);
}

/// CVE-2025-47269 (code-server 4.99.4): a port is digits, and neither the system's nor the door's own.
#[tokio::test]
async fn cve_2025_47269_a_port_is_a_number() {
    let (_space, mut run, mut record, mut client) = token_space().await;
    let own = run.port.to_string();
    let wrong = [
        "8080@evil.example",
        "8080%40evil.example",
        "8080.evil.example",
        "8080:evil",
        "evil.example",
        "[::1]",
        "::1",
        "+8080",
        "-1",
        "0",
        "1",
        "80",
        "1023",
        "65536",
        "99999",
        "100000",
        "0x1f90",
        "8e3",
        "8080x",
        "x8080",
        "%38080",
        "%D9%A8%D9%A0%D9%A8%D9%A0",
        "8080%00",
        "8080;x",
        "8080%2f..",
        "..",
        "%2e%2e",
        "",
        "8080%20",
        "localhost:8080",
        "127.0.0.1",
        own.as_str(),
    ];
    for port in wrong {
        for form in ["proxy", "proxy/absolute", "ports", "hyper/proxy", "hyper/ports"] {
            let path = format!("/{form}/{port}/x");
            let answer = client.get(&path).await;
            assert_eq!(answer.status, StatusCode::BAD_REQUEST, "{path}: {}", answer.text());
        }
    }
    assert_eq!(seen(&mut record), Vec::<&Seen>::new());
    assert_eq!(run.stop().await, 0);
}

/// CVE-2023-26114 (code-server 4.10.1), CVE-2026-40110 (jupyter_server): an origin is compared whole, for equality.
#[tokio::test]
async fn cve_2023_26114_cve_2026_40110_no_look_alike_of_the_origin_opens_a_websocket() {
    let (_space, mut run, mut record, mut client) = token_space().await;
    let (own, port) = (client.origin(), run.port);
    let mut evil: Vec<String> = [
        "null",
        "NULL",
        "",
        " ",
        "file://",
        "*",
        "http://",
        "https://",
        "http://evil.example",
        "https://evil.example",
        "chrome-extension://abcdef",
        "about:blank",
        "data:",
        "//127.0.0.1",
        "http:127.0.0.1",
        "http:/127.0.0.1",
        "http://127.0.0.1",
        "https://127.0.0.1",
        "http://localhost",
        "http://[::1]",
        "http://0.0.0.0",
        "http://127.1",
        "http://2130706433",
        "http://0x7f.1",
        "ftp://127.0.0.1",
        "127.0.0.1",
        "localhost",
    ]
    .map(str::to_owned)
    .to_vec();
    for end in [".evil.example", "@evil.example", "/", "/evil", "#", "?", "%20", ",http://evil.example", "0", ".", ":1"]
    {
        evil.push(format!("{own}{end}"));
    }
    for begin in ["http://evil.example#", "http://evil.example/", "http://evil@", "evil", "x", "http://", "ws://"] {
        evil.push(format!("{begin}{own}"));
    }
    for host in ["localhost", "[::1]", "127.0.0.2", "127.0.0.1.", "127.0.0.1.evil.example", "xn--127", "evil-127.0.0.1"]
    {
        evil.push(format!("http://{host}:{port}"));
    }
    assert!(evil.len() >= 50, "{} origins", evil.len());
    for origin in &evil {
        let headers = [&HANDSHAKE[..], &[("origin", origin.as_str())]].concat();
        let refused = client.send(Method::GET, "/hyper/ws", &headers, whole("")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}: {}", refused.text());
        let refused = client.send(Method::DELETE, "/hyper/x", &[("origin", origin)], whole("")).await;
        assert_eq!(refused.status, StatusCode::FORBIDDEN, "{origin:?}: {}", refused.text());
    }
    let missing = client.send(Method::GET, "/hyper/ws", &HANDSHAKE, whole("")).await;
    assert_eq!(missing.status, StatusCode::FORBIDDEN, "{}", missing.text());
    assert_eq!(seen(&mut record), Vec::<&Seen>::new());
    assert_eq!(run.stop().await, 0);
}

/// code-server 4.5.2: the way to a port asks who one is, by every method.
#[tokio::test]
async fn code_server_4_5_2_a_port_needs_a_session() {
    let (_space, mut run, _, _) = token_space().await;
    let listener = Listener::start().await;
    let port = listener.port;
    let mut stranger = Client::new(run.port);
    let origin = stranger.origin();
    for form in ["proxy", "proxy/absolute", "ports", "hyper/proxy", "hyper/proxy/absolute", "hyper/ports"] {
        for method in [Method::GET, Method::HEAD, Method::POST, Method::PUT, Method::DELETE, Method::OPTIONS] {
            let path = format!("/{form}/{port}/");
            let refused = stranger.send(method.clone(), &path, &[("origin", &origin)], whole("")).await;
            assert_eq!(refused.status, StatusCode::UNAUTHORIZED, "{method} {path}: {}", refused.text());
        }
    }
    assert_eq!(listener.heard(), Vec::<String>::new());
    assert_eq!(run.stop().await, 0);
}

/// GHSA-grfj-wjv9-4f9v, CVE-2020-26232 (jupyter_server), CVE-2026-33709 (JupyterHub): nobody is sent elsewhere.
#[tokio::test]
async fn cve_2020_26232_no_redirect_of_the_door_leaves_it() {
    let (_space, mut run, _, mut client) = token_space().await;
    let evil = [
        "//evil.example",
        "/\\evil.example",
        "\\\\evil.example",
        "/%5cevil.example",
        "%2f%2fevil.example",
        "https:evil.example",
        "https://evil.example/",
        "http://evil.example",
        "javascript:alert(1)",
        "data:text/html,x",
        "/\t/evil.example",
        "/%09/evil.example",
        "///evil.example",
        "/.//evil.example",
        "/x%0d%0aLocation:%20//evil.example",
        "evil.example",
        "@evil.example",
        "/@evil.example",
        "?//evil.example",
        "#//evil.example",
        "/%2f/evil.example",
        "/;@evil.example",
    ];
    for to in evil {
        let link = link(&run).await;
        let token = link.rsplit('#').next().expect("a link has a token");
        let mut viewer = Client::new(run.port);
        let form = format!("token={token}&to={}", to.replace('%', "%25").replace('&', "%26").replace('+', "%2B"));
        let answer = viewer.post_form("/_space/sign-in", &form).await;
        stays(&answer, to);
        for path in [format!("/_space/open?path={to}"), format!("/hyper/_space/open?path={to}")] {
            let request = format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nCookie: {}\r\nConnection: close\r\n\r\n",
                path.replace(['\t', '\\', '#'], "%5c"),
                client.host(),
                client.cookie_header()
            );
            let answer = raw(run.port, request.as_bytes()).await;
            let to = answer.lines().find_map(|line| line.strip_prefix("location: ")).unwrap_or("/");
            assert!(to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'), "{path}: {answer}");
        }
    }
    for path in
        ["//evil.example", "//evil.example/_space", "/hyper", "//evil.example/%2f..", "/HYPER/", "//hyper", "/hyper//"]
    {
        stays(&client.visit(path).await, path);
    }
    assert_eq!(run.stop().await, 0);
}

async fn link(run: &Run) -> String {
    let answer = run.control(Method::POST, "/v1/sign-in", Some(serde_json::json!({}))).await.expect("an answer");
    answer.good("a link").json()["link"].as_str().expect("a link").to_owned()
}

#[track_caller]
fn stays(answer: &Answer, what: &str) {
    let to = answer.header("location").unwrap_or("/");
    assert!(to.starts_with('/') && !to.starts_with("//") && !to.contains('\\'), "{what}: sent to {to}");
    assert_eq!(answer.headers.get_all("location").iter().count().min(1), usize::from(answer.status.is_redirection()));
}

/// GHSA-p43p-whwx-q52h, CVE-2026-54338 (JupyterHub): what somebody sends does not fill the log.
#[tokio::test]
async fn cve_2026_54338_a_long_value_makes_a_short_line_in_the_log() {
    let (space, mut run, _, client) = token_space().await;
    let before = logged(&space, &run);
    let long = "a".repeat(1 << 20);
    let (host, cookie) = (client.host(), client.cookie_header());
    for request in [
        format!("GET /hyper/x HTTP/1.1\r\nHost: {host}\r\nX-A: {long}\r\n\r\n"),
        format!("GET /hyper/{long} HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /hyper/x HTTP/1.1\r\nHost: {long}\r\n\r\n"),
        format!("GET /hyper/x HTTP/1.1\r\nHost: {host}\r\nCookie: {cookie}{long}\r\n\r\n"),
        format!("{long} /hyper/x HTTP/1.1\r\nHost: {host}\r\n\r\n"),
        format!("GET /hyper/{} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n", &long[..7000]),
    ] {
        raw(run.port, request.as_bytes()).await;
        let grown = logged(&space, &run) - before;
        assert!(grown <= 6 * 512, "{:.60}…: the log grew by {grown} bytes: {}", request, run.told());
    }
    assert_eq!(run.stop().await, 0);
}

/// Bytes of all logs.
fn logged(space: &Space, run: &Run) -> u64 {
    let mut folders = vec![space.run.join("log")];
    let mut bytes = (run.stderr().len() + run.stdout().len()) as u64;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            match entry.metadata() {
                Ok(found) if found.is_dir() => folders.push(entry.path()),
                Ok(found) => bytes += found.len(),
                Err(_) => {}
            }
        }
    }
    bytes
}

/// CVE-2025-4366 (Pingora): the body that an early answer left unread is no request.
#[tokio::test]
async fn cve_2025_4366_a_body_left_unread_is_no_request() {
    rows_hold("early answer").await;
}

/// CVE-2026-2833 (Pingora): what a client sends behind its wish to upgrade waits for the app's agreement.
#[tokio::test]
async fn cve_2026_2833_nothing_is_tunnelled_before_the_app_agrees() {
    let rogue = Rogue::start().await;
    let Rogue { run, .. } = &rogue;
    let host = format!("127.0.0.1:{}", run.port);
    for (what, behind) in
        [("fine", "GET /rogue/smuggled HTTP/1.1\r\n\r\n"), ("stalls", "\u{1}frames"), ("twice", "frames")]
    {
        let head = format!(
            "GET /rogue/{what} HTTP/1.1\r\nHost: {host}\r\nOrigin: http://{host}\r\nConnection: Upgrade\r\nUpgrade: \
             websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        );
        let mut stream = tokio::net::TcpStream::connect(&host).await.unwrap();
        use tokio::io::{AsyncReadExt, AsyncWriteExt};
        stream.write_all((head + behind).as_bytes()).await.unwrap();
        let asked = async || rogue.heard().iter().any(|heard| heard.contains(what)).then_some(()).ok_or("not asked");
        wait_for(SOON, "the app to be asked", asked).await.unwrap();
        if what != "stalls" {
            // The answer is there: what was behind the request has had its chance.
            assert!(stream.read(&mut [0; 64]).await.unwrap() > 0);
        }
        let heard = rogue.heard().join("|");
        assert!(!heard.contains("smuggled") && !heard.contains("frames"), "{what}: {heard}");
    }
    rogue.stop().await;
}

/// CVE-2026-2835 (Pingora): chunks in HTTP/1.0, and several codings.
#[tokio::test]
async fn cve_2026_2835_http_1_0_has_no_chunks() {
    rows_hold("CVE-2026-2835").await;
}

/// CVE-2026-2836 (Pingora): nothing is answered from a cache, since there is none.
#[tokio::test]
async fn cve_2026_2836_every_request_reaches_the_app() {
    let rogue = Rogue::start().await;
    let mut client = Client::new(rogue.run.port);
    for _ in 0..3 {
        client.get("/rogue/cacheable").await.good("what may be stored");
    }
    let asked = rogue.heard().iter().map(|heard| heard.matches("GET /rogue/cacheable").count()).sum::<usize>();
    assert_eq!(asked, 3);
    rogue.stop().await;
}

/// CVE-2021-21299, RUSTSEC-2021-0020 (hyper).
#[tokio::test]
async fn rustsec_2021_0020_several_codings_are_refused() {
    rows_hold("RUSTSEC-2021-0020").await;
}

/// CVE-2021-32715, RUSTSEC-2021-0078 (hyper).
#[tokio::test]
async fn rustsec_2021_0078_a_length_has_no_sign() {
    rows_hold("RUSTSEC-2021-0078").await;
}

/// CVE-2021-32714, RUSTSEC-2021-0079 (hyper).
#[tokio::test]
async fn rustsec_2021_0079_a_chunk_size_does_not_overflow() {
    rows_hold("RUSTSEC-2021-0079").await;
}

/// CVE-2020-35863, RUSTSEC-2020-0008 (hyper).
#[tokio::test]
async fn rustsec_2020_0008_the_body_of_a_get_is_no_request() {
    rows_hold("a GET").await;
}

/// hyper#4123.
#[tokio::test]
async fn hyper_4123_a_length_and_chunks_are_refused() {
    rows_hold("hyper#4123").await;
}

/// CVE-2017-18587, RUSTSEC-2017-0002 (hyper): no header is split, neither towards the app nor towards the browser.
#[tokio::test]
async fn rustsec_2017_0002_no_header_is_split() {
    rows_hold("RUSTSEC-2017-0002").await;
}

/// CVE-2024-37890 (ws), and the fragments of CVE-2026-48779 (ws): many headers, many tiny frames.
#[tokio::test]
async fn cve_2024_37890_cve_2026_48779_many_headers_and_tiny_frames_cost_no_memory() {
    rows_hold("CVE-2024-37890").await;
    let rogue = Rogue::start().await;
    let agent = rogue.run.agent_pid().expect("the agent runs");
    let mut socket = rogue.websocket("/rogue/agrees").await;
    use tokio::io::AsyncWriteExt;
    let (frames, before) = (if places::full() { 1_000_000 } else { 100_000 }, processes::resident(agent).unwrap());
    // A message that never ends, of empty fragments.
    socket.write_all(&[0x01, 0x80, 1, 2, 3, 4]).await.unwrap();
    for _ in 0..frames / 1000 {
        let fragments = [0x00, 0x80, 1, 2, 3, 4].repeat(1000);
        socket.write_all(&fragments).await.expect("the app reads");
    }
    let heard = async || {
        let bytes: usize = rogue.heard().iter().map(|heard| heard.chars().count()).sum();
        (bytes >= 6 * frames).then_some(()).ok_or(format!("{bytes} bytes have arrived"))
    };
    wait_for(Duration::from_secs(60), "all fragments to arrive", heard).await.unwrap();
    let grown = processes::resident(agent).unwrap().saturating_sub(before);
    assert!(grown < 1024, "the agent's memory grew by {grown} kB");
    rogue.stop().await;
}

/// RUSTSEC-2024-0332, RUSTSEC-2026-0258, RUSTSEC-2024-0003, CVE-2023-44487: there is no HTTP/2 to flood.
#[tokio::test]
async fn cve_2023_44487_there_is_no_http_2() {
    rows_hold("HTTP/2").await;
    rows_hold("h2c").await;
}

/// CVE-2023-25725 (HAProxy).
#[tokio::test]
async fn cve_2023_25725_a_header_has_a_name() {
    rows_hold("CVE-2023-25725").await;
}

/// CVE-2023-40225 (HAProxy).
#[tokio::test]
async fn cve_2023_40225_a_length_is_not_empty() {
    rows_hold("CVE-2023-40225").await;
}

/// CVE-2021-40346, CVE-2023-45539 (HAProxy): what is no part of a target is refused in one.
#[tokio::test]
async fn cve_2023_45539_cve_2021_40346_a_target_has_no_fragment_and_a_name_has_a_measure() {
    rows_hold("fragment").await;
    rows_hold("a name of").await;
}

/// CVE-2026-33555 (HAProxy): a body that ends early leaves nothing behind on a connection to the app.
#[tokio::test]
async fn cve_2026_33555_a_body_that_ends_early_ends_its_connection() {
    rows_hold("CVE-2026-33555").await;
}

/// CVE-2025-55315 (Kestrel).
#[tokio::test]
async fn cve_2025_55315_a_chunk_extension_has_no_line_ends() {
    rows_hold("CVE-2025-55315").await;
}

/// CVE-2023-39326 (Go).
#[tokio::test]
async fn cve_2023_39326_chunk_extensions_have_a_measure() {
    rows_hold("CVE-2023-39326").await;
}

/// The denial of service by `Expect: 100-continue` in Go: an app that answers at once and reads no body gets no further
/// request over that connection, which would be read as the body.
#[tokio::test]
async fn go_100_continue_a_connection_with_an_unread_body_is_not_used_again() {
    let rogue = Rogue::start().await;
    let mut client = Client::new(rogue.run.port);
    let origin = client.origin();
    for _ in 0..5 {
        let headers = [("expect", "100-continue"), ("origin", &*origin)];
        let answer = client.send(Method::POST, "/rogue/final", &headers, whole("x".repeat(10_000_000))).await;
        assert!(matches!(answer.status.as_u16(), 417 | 502), "{} {}", answer.status, answer.text());
        let next = client.get("/rogue/fine").await.good("the next request");
        assert_eq!(next.text(), "fine\n");
    }
    for heard in rogue.heard() {
        let behind = heard.split_once("/rogue/final").map_or("", |(_, behind)| behind);
        assert!(!behind.contains("HTTP/1.1\r\n") || behind.matches("HTTP/1.1\r\n").count() == 1, "{behind:.300}");
    }
    rogue.stop().await;
}

/// sozu#726, tiny-http#173, RUSTSEC-2021-0081 (actix).
#[tokio::test]
async fn rustsec_2021_0081_a_coding_is_written_exactly() {
    rows_hold("coding").await;
}
