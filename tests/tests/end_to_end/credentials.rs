//! Every way through the front door with every credential that is none: denied before the app hears a byte. And what
//! proves who somebody is never reaches an app, however it is spelt.

use crate::conformance::recording;
use hyper::Method;
use space_tests::client::{Client, raw};
use space_tests::listener::Listener;
use space_tests::places;
use space_tests::record::{Record, Seen};
use space_tests::space::Run;

const METHODS: [&str; 8] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "PROPFIND"];
const HANDSHAKE: &str = "Connection: Upgrade, close\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                         Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n";
/// Answers anybody, with a word at most.
const PUBLIC: [&str; 6] =
    ["/_space/livez", "/_space/readyz", "/api/idle", "/_space/sign-in", "/hyper/_space/livez", "/hyper/api/idle"];

/// Everything else that there is.
fn private(port: u16) -> Vec<String> {
    let mut all: Vec<String> = [
        "/",
        "/hyper",
        "/hyper/",
        "/hyper/x",
        "/hyper/x?token=abc",
        "/nothing",
        "/%68yper/x",
        "/_space",
        "/_space/",
        "/_space/events",
        "/_space/keep",
        "/_space/start",
        "/_space/rescue",
        "/_space/sign-out",
        "/_space/open?path=x",
        "/_space/nothing",
        "/hyper/_space/",
        "/hyper/_space/events",
        "/hyper/_space/keep",
        "/proxy/",
        "/proxy/x/",
    ]
    .map(str::to_owned)
    .to_vec();
    for base in ["/", "/hyper/"] {
        for form in ["proxy", "proxy/absolute", "ports"] {
            all.push(format!("{base}{form}/{port}/x"));
        }
    }
    all
}

fn request(port: u16, method: &str, path: &str, more: &str, close: &str) -> String {
    let at = format!("127.0.0.1:{port}");
    format!("{method} {path} HTTP/1.1\r\nHost: {at}\r\nOrigin: http://{at}\r\n{more}{close}\r\n")
}

/// The answer's code, and all of it.
async fn ask(port: u16, method: &str, path: &str, more: &str, socket: bool) -> (u16, String) {
    let close = if socket { HANDSHAKE } else { "Connection: close\r\n" };
    let answer = raw(port, request(port, method, path, more, close).as_bytes()).await;
    let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
    (code.unwrap_or_else(|| panic!("{method} {path}: no answer: {answer:?}")), answer)
}

fn seen(record: &mut Record) -> Vec<&Seen> {
    record.read().iter().filter(|seen| !seen.target.ends_with("/ready")).collect()
}

/// Name and value of the session.
fn session(client: &Client) -> (String, String) {
    let found = client.cookies.iter().find(|(name, _)| name.starts_with("space-"));
    found.map(|(name, value)| (name.clone(), value.clone())).expect("a session")
}

/// Headers of somebody who has no session of this space, each with what it is.
async fn strangers(run: &Run, own: (&str, &str), other: (&str, &str)) -> Vec<(String, String)> {
    let ((name, value), (other_name, other_value)) = (own, other);
    let link = run.control(Method::POST, "/v1/sign-in", Some(serde_json::json!({}))).await.expect("an answer").json();
    let token = link["link"].as_str().and_then(|link| link.split_once('#')).expect("a link").1.to_owned();
    let mut used = Client::new(run.port);
    used.post_form("/_space/sign-in", &format!("token={token}")).await;
    assert!(!used.cookies.is_empty(), "the link signs in once");
    let cookie = |text: String| format!("Cookie: {text}\r\n");
    let altered = |at: usize| {
        let mut bytes = value.as_bytes().to_vec();
        bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
        String::from_utf8(bytes).expect("a session is plain text")
    };
    let mut all = vec![
        ("none".to_owned(), String::new()),
        ("sealed with another key".to_owned(), cookie(format!("{name}={other_value}"))),
        ("another space's".to_owned(), cookie(format!("{other_name}={other_value}"))),
        ("a used link".to_owned(), cookie(format!("{name}={token}"))),
        ("two of them".to_owned(), cookie(format!("{name}={value}; {name}={value}"))),
        ("one beside a wrong one".to_owned(), cookie(format!("{name}=x; {name}={value}"))),
        ("in two headers".to_owned(), cookie(format!("{name}={value}")) + &cookie(format!("{name}=x"))),
        ("empty".to_owned(), cookie(format!("{name}="))),
        ("under another name".to_owned(), cookie(format!("{}={value}", name.to_uppercase()))),
        ("as a bearer".to_owned(), format!("Authorization: Bearer {value}\r\n")),
        ("cut".to_owned(), cookie(format!("{name}={}", &value[..value.len() - 1]))),
        ("with more behind".to_owned(), cookie(format!("{name}={value}0"))),
    ];
    let (end, seal) = (value.rfind('.').expect("a seal") - 1, value.len() - 1);
    all.extend([0, end, seal].map(|at| (format!("altered at {at}"), cookie(format!("{name}={}", altered(at))))));
    all
}

#[tokio::test]
async fn every_route_denies_every_credential_that_is_none_before_the_app_hears_a_byte() {
    let (_space, mut run, mut record) = recording("hyper", "token").await;
    let (_other_space, mut other_run, _) = recording("hyper", "token").await;
    let listener = Listener::start().await;
    let client = run.signed_in().await;
    let (own, other) = (session(&client), session(&other_run.signed_in().await));
    let strangers = strangers(&run, (&own.0, &own.1), (&other.0, &other.1)).await;
    let mut wrong = Vec::new();
    let paths = private(listener.port);
    for (nth, (what, headers)) in strangers.iter().enumerate() {
        // In the fast run every third path with each credential, so that each path meets some.
        let few = paths.iter().enumerate().filter(|(at, _)| places::full() || (at + nth) % 3 == 0);
        for (path, (method, socket)) in few.flat_map(|(_, path)| kinds().map(move |kind| (path, kind))) {
            let (code, answer) = ask(run.port, method, path, headers, socket).await;
            if code != 401 {
                wrong.push(format!("{method} {path} (socket: {socket}) with {what}: {answer:.200}"));
            }
        }
        for (path, (method, socket)) in PUBLIC.iter().flat_map(|path| kinds().map(move |kind| (path, kind))) {
            let (code, answer) = ask(run.port, method, path, headers, socket).await;
            let page = path.ends_with("sign-in");
            if !matches!(code, 200 | 400 | 405 | 415) || answer.len() > if page { 20_000 } else { 400 } {
                wrong.push(format!("{method} {path} (socket: {socket}) with {what}: {answer:.200}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} were not denied:\n{}", wrong.len(), wrong.join("\n"));
    assert_eq!(seen(&mut record), Vec::<&Seen>::new());
    assert_eq!(listener.heard(), Vec::<String>::new());

    // And the one that is good opens what it should.
    let good = format!("Cookie: {}={}\r\n", own.0, own.1);
    for method in METHODS {
        assert_eq!(ask(run.port, method, "/hyper/x", &good, false).await.0, 200, "{method}");
        assert_eq!(
            ask(run.port, method, &format!("/proxy/{}/x", listener.port), &good, false).await.0,
            200,
            "{method}"
        );
    }
    assert_eq!((seen(&mut record).len(), listener.heard().len()), (METHODS.len(), METHODS.len()));
    assert_eq!((run.stop().await, other_run.stop().await), (0, 0));
}

/// Each method as a plain request, and those that could open a WebSocket as one.
fn kinds() -> impl Iterator<Item = (&'static str, bool)> {
    METHODS.into_iter().map(|method| (method, false)).chain([("GET", true), ("POST", true)])
}

/// Headers that prove something, in spellings that some server may read as it.
fn proofs(random: &mut Random, id: &str) -> String {
    let names = [
        format!("space-{id}"),
        format!("SPACE-{}", id.to_uppercase()),
        format!("__Host-space-{id}"),
        format!("__Secure-space-{id}"),
        format!("__host-Space-{id}"),
        "space-ffffffff".to_owned(),
        format!("=space-{id}"),
        format!("==space-{id}"),
        format!(" =space-{id}"),
    ];
    let headers = [
        "Authorization: Bearer SECRET",
        "authorization: Basic SECRET",
        "AUTHORIZATION: SECRET",
        "Proxy-Authorization: SECRET",
        "proxy-authorization: SECRET",
        "X-Space-Viewer: SECRET",
        "x_space_viewer: SECRET",
        "X-SPACE_Token: SECRET",
        "Connection: Authorization\r\nAuthorization: SECRET",
        "X-Forwarded-User: SECRET",
        "X_Forwarded_User: SECRET",
    ];
    let mut text = String::new();
    for _ in 0..=random.below(4) {
        if random.below(3) == 0 {
            text += &format!("{}\r\n", headers[random.below(headers.len())]);
            continue;
        }
        let mut pairs = Vec::new();
        for _ in 0..=random.below(4) {
            let name = &names[random.below(names.len())];
            let (before, after) = (["", " ", "\t"][random.below(3)], ["=", " =", "= ", "=\""][random.below(4)]);
            pairs.push(match random.below(4) {
                0 => format!("theirs{}=1", random.below(100)),
                1 => format!("a={}", ["\"", "%3B", "x,y", ""][random.below(4)]),
                _ => format!("{before}{name}{after}SECRET"),
            });
        }
        let separator = ["; ", ";", " ;", ";; ", ";\t"][random.below(5)];
        text += &format!("{}: {}\r\n", ["Cookie", "cookie", "COOKIE"][random.below(3)], pairs.join(separator));
    }
    text
}

/// Requests with proofs in all spellings, to the app, to ports, as WebSockets: none of them arrives.
#[tokio::test]
async fn what_proves_who_somebody_is_reaches_no_app_however_it_is_spelt() {
    let (_space, mut run, mut record) = recording("hyper", "open").await;
    let listener = Listener::start().await;
    let id = id_of(&run).await;
    let seed = std::process::id();
    let mut random = Random(u64::from(seed));
    let count = if places::full() { 10_000 } else { 500 };
    for nth in 0..count {
        let (proofs, socket) = (proofs(&mut random, &id), random.below(5) == 0);
        let path = match random.below(4) {
            0 => format!("/proxy/{}/x{nth}", listener.port),
            1 => format!("/hyper/ports/{}/x{nth}", listener.port),
            _ => format!("/hyper/x{nth}"),
        };
        let method = if socket { "GET" } else { METHODS[random.below(METHODS.len())] };
        let (code, answer) = ask(run.port, method, &path, &proofs, socket).await;
        assert!(code == 200 || code == 502 && socket, "{method} {path} with {proofs:?} (seed {seed}): {answer:.300}");
        let app = record.read().last().map(|seen| format!("{seen:?}")).unwrap_or_default();
        let port = listener.heard().pop().unwrap_or_default();
        let seen = app + &port;
        assert!(!seen.contains("SECRET"), "{proofs:?} (seed {seed}): {seen}");
    }
    assert!(seen(&mut record).len() + listener.heard().len() >= count, "not all of them arrived");
    assert_eq!(run.stop().await, 0);
}

/// The space's id, which names its cookie: found out by asking for a session.
async fn id_of(run: &Run) -> String {
    let link = run.control(Method::POST, "/v1/sign-in", Some(serde_json::json!({}))).await.expect("an answer");
    let mut client = Client::new(run.port);
    if link.status.is_success() {
        client.sign_in(link.json()["link"].as_str().expect("a link")).await;
    }
    let name = client.cookies.into_keys().find_map(|name| name.strip_prefix("space-").map(str::to_owned));
    name.unwrap_or_else(|| "0123abcd".to_owned())
}

/// Numbers without a pattern that matters, the same for the same seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % end as u64).expect("a remainder of a usize")
    }
}
