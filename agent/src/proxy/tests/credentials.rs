//! Credentials over time, on a clock that the test moves: what end-to-end stories can't wait for.

use super::super::{link, session};
use super::ground::{Client, Space, ok, pass, serve};
use crate::proxy::Keys;
use space_lifecycle::SignIn;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

const HANDSHAKE: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

fn pair(space: &Space, keys: &Keys) -> String {
    let door = space.door.borrow().clone();
    session::sign_in(keys, &door, super::ground::wall()).split(';').next().unwrap().to_owned()
}

/// The code of an answer to somebody with this cookie.
async fn code(space: &Space, method: &str, path: &str, cookie: &str, socket: bool) -> u16 {
    let wish = if socket { HANDSHAKE } else { "Connection: close" };
    let mut client: Client = space.connect().await;
    let head = format!("{method} {path} HTTP/1.1\r\n{}\r\nCookie: {cookie}\r\n{wish}", space.origin());
    client.send(&space.request(&head)).await;
    client.head().await.expect("an answer").split(' ').nth(1).unwrap().parse().unwrap()
}

const PATHS: [&str; 14] = [
    "/",
    "/app/",
    "/app/x",
    "/app/_space/",
    "/_space/",
    "/_space/events",
    "/_space/keep",
    "/_space/start",
    "/_space/rescue",
    "/_space/sign-out",
    "/nothing",
    "/proxy/8501/",
    "/proxy/absolute/8501/",
    "/app/ports/8501/",
];

#[tokio::test]
async fn an_expired_premature_or_foreign_session_opens_nothing_by_any_method_nor_a_websocket() {
    let space = Space::with(SignIn::Token);
    let asked = Arc::new(AtomicU32::new(0));
    let count = asked.clone();
    let _app = serve(space.listen(), move |_| {
        count.fetch_add(1, Ordering::Relaxed);
        ok("reached")
    });
    let old = pair(&space, &space.keys);
    pass(Duration::from_secs(12 * 3600));
    let other_boot = pair(&space, &Keys::new([8; 32]));
    let a_link = format!("space-0123abcd={}", link::mint(&space.keys, super::ground::wall(), Duration::from_secs(60)));
    // As if it had been made an hour later.
    pass(Duration::from_secs(3600));
    let premature = pair(&space, &space.keys);
    super::ground::back(Duration::from_secs(3600));
    for cookie in [&old, &other_boot, &a_link, &premature] {
        for path in PATHS {
            for method in ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "FROB"] {
                assert_eq!(code(&space, method, path, cookie, false).await, 401, "{method} {path} with {cookie}");
            }
            assert_eq!(code(&space, "GET", path, cookie, true).await, 401, "a WebSocket at {path} with {cookie}");
        }
    }
    assert_eq!(asked.load(Ordering::Relaxed), 0);
    let good = pair(&space, &space.keys);
    assert_eq!(code(&space, "GET", "/app/x", &good, false).await, 200);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
}
