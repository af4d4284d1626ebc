//! What the user runs on a port, as a browser sees it through the door.

use super::ground::{Client, Space, ok, serve_on};
use crate::model::route::RouteState;
use tokio::net::{TcpListener, TcpStream};

/// A server of the user's that tells the head of what it is asked.
async fn server(at: &str) -> u16 {
    let listener = TcpListener::bind(at).await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve_on(listener, |head| ok(&head.to_lowercase()));
    port
}

#[tokio::test]
async fn a_port_is_shown_at_its_root_or_as_the_path_came() {
    let space = Space::open();
    let port = server("127.0.0.1:0").await;
    for (path, seen) in [
        (format!("/proxy/{port}/a%2Fb?c"), "/a%2fb?c".to_owned()),
        (format!("/app/proxy/{port}/a"), "/a".to_owned()),
        (format!("/ports/{port}/"), "/".to_owned()),
        (format!("/proxy/absolute/{port}/a?c"), format!("/proxy/absolute/{port}/a?c")),
        (format!("/app/proxy/absolute/{port}/"), format!("/app/proxy/absolute/{port}/")),
    ] {
        let answer = space.ask(&format!("GET {path} HTTP/1.1\r\nCookie: a=b; space-0123abcd=secret")).await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        assert!(answer.body.starts_with(&format!("get {seen} http/1.1\r\n")), "{path}: {}", answer.body);
        assert!(answer.body.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{}", answer.body);
        assert!(answer.body.contains(&format!("\r\nx-forwarded-host: {}\r\n", space.at)), "{}", answer.body);
        assert!(answer.body.contains("\r\ncookie: a=b\r\n"), "{}", answer.body);
        let prefix = path.split_inclusive(&port.to_string()).next().unwrap();
        let told = answer.body.contains(&format!("\r\nx-forwarded-prefix: {prefix}\r\n"));
        assert_eq!(told, !path.contains("absolute"), "{}", answer.body);
    }
    let moved = space.ask(&format!("GET /proxy/{port}?a=b HTTP/1.1")).await;
    assert_eq!((moved.status, moved.header("location")), (302, Some(&*format!("/proxy/{port}/?a=b"))));
}

#[tokio::test]
async fn a_server_on_the_other_loopback_address_is_found() {
    let space = Space::open();
    let Ok(probe) = TcpListener::bind("[::1]:0").await else { return eprintln!("not run: there is no IPv6 here") };
    drop(probe);
    let port = server("[::1]:0").await;
    assert_eq!(space.ask(&format!("GET /proxy/{port}/ HTTP/1.1")).await.status, 200);
}

#[tokio::test]
async fn what_is_no_port_of_the_users_is_refused() {
    let space = Space::open();
    let own = space.at.port();
    for port in ["8080@evil", "8080%40evil", "8080.evil", "[::1]", "80", "65536", "%D9%A8", "localhost", ""] {
        for form in ["proxy", "ports", "proxy/absolute", "app/proxy"] {
            let answer = space.ask(&format!("GET /{form}/{port}/x HTTP/1.1")).await;
            assert_eq!(answer.status, 400, "{form}/{port}: {answer:?}");
        }
    }
    let answer = space.ask(&format!("GET /proxy/{own}/_space/ HTTP/1.1")).await;
    assert_eq!((answer.status, answer.body.contains("front door")), (400, true), "{answer:?}");

    let free = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().port();
    let answer = space.ask(&format!("GET /proxy/{free}/ HTTP/1.1")).await;
    assert_eq!((answer.status, answer.header("retry-after")), (503, Some("1")), "{answer:?}");
    assert!(answer.body.contains(&format!("nothing listens on port {free}")), "{answer:?}");

    space.change(|door| door.ports.state = RouteState::NotYet);
    let port = server("127.0.0.1:0").await;
    assert_eq!(space.ask(&format!("GET /proxy/{port}/ HTTP/1.1")).await.status, 503);
}

#[tokio::test]
async fn a_port_of_somebody_else_gets_not_a_byte() {
    let space = Space::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    space.change(|door| door.ports.uid += 1);
    let (uid, expected) = (space.door.borrow().ports.uid - 1, space.door.borrow().ports.uid);
    let answer = space.ask(&format!("GET /proxy/{port}/ HTTP/1.1")).await;
    assert_eq!(answer.status, 403, "{answer:?}");
    assert!(
        answer.body.contains(&format!("uid {uid}")) && answer.body.contains(&format!("uid {expected}")),
        "{answer:?}"
    );
    let mut stranger = Client { stream: listener.accept().await.unwrap().0, read: Vec::new() };
    assert_eq!(stranger.drained().await, "");
}

#[tokio::test]
async fn nobody_reaches_a_port_without_a_session() {
    let space = Space::with(space_lifecycle::SignIn::Token);
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let socket = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                  Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";
    for path in [format!("/proxy/{port}/"), format!("/ports/{port}/"), format!("/app/proxy/absolute/{port}/x")] {
        for more in [String::new(), format!("{}\r\n{socket}", space.origin())] {
            assert_eq!(space.ask(&format!("GET {path} HTTP/1.1\r\n{more}")).await.status, 401, "{path}");
        }
    }
    let evil = format!("GET /proxy/{port}/ HTTP/1.1\r\nOrigin: http://evil.example\r\n{socket}");
    assert_eq!(space.ask(&evil).await.status, 403);
    TcpStream::connect(("127.0.0.1", port)).await.unwrap();
    let (_, first) = listener.accept().await.unwrap();
    let ours = std::net::SocketAddr::from(([127, 0, 0, 1], first.port()));
    assert_eq!(first, ours, "the first connection is the test's own");
    let waiting = tokio::time::timeout(std::time::Duration::from_millis(1), listener.accept()).await;
    assert!(waiting.is_err(), "nobody else has come");
}

#[tokio::test]
async fn the_websocket_of_a_development_server_passes() {
    let space = Space::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let mut client = space.connect().await;
    let head = format!(
        "GET /proxy/{port}/ws?token=1 HTTP/1.1\r\n{}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: vite-hmr",
        space.origin()
    );
    client.send(&space.request(&head)).await;
    let mut server = Client { stream: listener.accept().await.unwrap().0, read: Vec::new() };
    let asked = server.head().await.unwrap().to_lowercase();
    assert!(asked.starts_with("get /ws?token=1 http/1.1\r\n"), "{asked}");
    assert!(asked.contains(&format!("\r\norigin: http://localhost:{port}\r\n")), "{asked}");
    assert!(asked.contains(&format!("\r\nhost: localhost:{port}\r\n")), "{asked}");
    server
        .send(
            "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Protocol: vite-hmr\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n\u{1}",
        )
        .await;
    assert_eq!(client.answer().await.status, 101);
    client.until("\u{1}").await;
}

#[tokio::test]
async fn a_server_on_a_port_rules_over_its_own_paths_only() {
    let space = Space::open();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    serve_on(listener, |_| {
        "HTTP/1.1 302 Found\r\nLocation: /login\r\nSet-Cookie: a=1; Path=/; Domain=x\r\nClear-Site-Data: \"*\"\r\n\
         Service-Worker-Allowed: /\r\nStrict-Transport-Security: max-age=1\r\nContent-Length: 0\r\n\r\n"
            .to_owned()
    });
    let answer = space.ask(&format!("GET /app/proxy/{port}/x HTTP/1.1")).await;
    assert_eq!(answer.header("location"), Some(&*format!("/app/proxy/{port}/login")));
    assert_eq!(answer.header("set-cookie"), Some(&*format!("a=1; Path=/app/proxy/{port}/")));
    for name in ["clear-site-data", "service-worker-allowed", "strict-transport-security"] {
        assert_eq!(answer.header(name), None);
    }
}
