//! Clients and apps that do wrong, many at a time: nothing of the agent breaks, grows or spins, and who does right is
//! served meanwhile. Small counts here; the full ones, and what they may cost, in `tests/soak front-door`.

use hyper::{Method, StatusCode};
use space_tests::client::{Client, raw, whole};
use space_tests::places::{figure, full};
use space_tests::processes;
use space_tests::rogue::Rogue;
use space_tests::space::SOON;
use space_tests::wait::wait_for;
use std::path::Path;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};

/// Of all connections, what each may cost the agent at most, in kB.
const EACH: u64 = 64;

fn agent(rogue: &Rogue) -> i32 {
    rogue.run.agent_pid().expect("the agent runs")
}

/// Plain requests one after the other, each answered well: how long the slowest of a hundred took.
async fn healthy(rogue: &Rogue) -> Duration {
    let mut client = Client::new(rogue.run.port);
    let mut took = Vec::new();
    for _ in 0..if full() { 1000 } else { 50 } {
        let begin = Instant::now();
        assert_eq!(client.get("/rogue/fine").await.good("a healthy request").text(), "fine\n");
        took.push(begin.elapsed());
    }
    took.sort();
    took[took.len() * 99 / 100]
}

/// Healthy requests take at most twice as long as before (or 5 ms, below which this machine measures itself).
fn compare(what: &str, before: Duration, during: Duration) {
    figure(&format!("{what}: p99 of healthy requests {before:.1?} before, {during:.1?} during"));
    if full() {
        assert!(during <= 2 * before + Duration::from_millis(5), "{what}: {during:?} instead of {before:?}");
    }
}

/// What the slow ones take at once, which is what their sockets hold, has reached them.
async fn at_rest(rogue: &Rogue) {
    let rests = async || {
        let before = processes::cpu(agent(rogue)).unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        let used = processes::cpu(agent(rogue)).unwrap() - before;
        (used <= Duration::from_millis(20)).then_some(()).ok_or(format!("it used {used:.0?} in 300 ms"))
    };
    wait_for(Duration::from_secs(30), "the agent to have nothing to do", rests).await.unwrap();
}

/// What the agent's memory has grown by since, in kB.
fn grown(rogue: &Rogue, before: u64) -> u64 {
    processes::resident(agent(rogue)).unwrap_or(u64::MAX).saturating_sub(before)
}

async fn connect(rogue: &Rogue, says: &[u8]) -> Option<TcpStream> {
    let mut stream = TcpStream::connect(("127.0.0.1", rogue.run.port)).await.ok()?;
    stream.write_all(says).await.ok()?;
    Some(stream)
}

/// Many connections that have said this.
async fn connections(rogue: &Rogue, count: usize, says: &[u8]) -> Vec<TcpStream> {
    let mut open = Vec::new();
    for _ in 0..count {
        // Where the door is full, connections wait in its backlog or are closed.
        open.extend(timeout(SOON, connect(rogue, says)).await.ok().flatten());
    }
    open
}

/// What each connection still says until it is closed, all at a time.
async fn closed(open: Vec<TcpStream>, patience: Duration) -> Vec<String> {
    let read = open.into_iter().map(|mut stream| async move {
        let mut heard = Vec::new();
        let ended = timeout(patience, async { while matches!(stream.read_buf(&mut heard).await, Ok(1..)) {} }).await;
        assert!(ended.is_ok(), "a connection is still open: {}", String::from_utf8_lossy(&heard));
        String::from_utf8_lossy(&heard).into_owned()
    });
    futures_util::future::join_all(read).await
}

/// Of the open files that this machine allows, as many connections as asked for.
fn at_most(count: usize) -> usize {
    let limit = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE);
    let (_, most) = limit.expect("a process knows its limits");
    let _ = nix::sys::resource::setrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE, most, most);
    let fits = usize::try_from(most).unwrap_or(usize::MAX).saturating_sub(500);
    if fits < count {
        figure(&format!("only {fits} of {count} connections: this machine allows no more open files"));
    }
    count.min(fits)
}

#[tokio::test]
async fn slow_heads_are_cut_after_ten_seconds_and_hold_nobody_up() {
    let rogue = Rogue::start().await;
    let before = healthy(&rogue).await;
    let (memory, count) = (processes::resident(agent(&rogue)).unwrap(), at_most(if full() { 5000 } else { 300 }));
    let open = connections(&rogue, count, b"GET /rogue/fine HTTP/1.1\r\nHost: localho").await;
    assert_eq!(open.len(), count);
    let (during, kilobytes) = (healthy(&rogue).await, grown(&rogue, memory));
    compare(&format!("{count} slow heads"), before, during);
    figure(&format!("{count} slow heads: {} kB each", kilobytes / count as u64));
    assert!(kilobytes <= EACH * count as u64, "{kilobytes} kB for {count} connections");
    let said = closed(open, Duration::from_secs(if full() { 60 } else { 20 })).await;
    let late = said.iter().filter(|said| said.starts_with("HTTP/1.1 408")).count();
    assert!(late * 10 >= said.len() * 5, "only {late} of {count} were told 408, the first {:?}", said.first());
    healthy(&rogue).await;
    rogue.stop().await;
}

#[tokio::test]
async fn slow_bodies_and_slow_readers_hold_nobody_up() {
    let rogue = Rogue::start().await;
    let before = healthy(&rogue).await;
    let (memory, count) = (processes::resident(agent(&rogue)).unwrap(), at_most(if full() { 500 } else { 40 }));
    let at = format!("Host: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\n", rogue.run.port);
    let body = format!("POST /rogue/fine HTTP/1.1\r\n{at}Content-Length: 1000000\r\n\r\nx");
    let chunks = format!("POST /rogue/fine HTTP/1.1\r\n{at}Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n");
    let big = format!("GET /rogue/big HTTP/1.1\r\n{at}\r\n");
    let mut open = Vec::new();
    for says in [body, chunks, big] {
        open.extend(connections(&rogue, count, says.as_bytes()).await);
    }
    assert_eq!(open.len(), 3 * count);
    for stream in &mut open {
        let _ = stream.write_all(b"x").await;
    }
    at_rest(&rogue).await;
    let (during, kilobytes) = (healthy(&rogue).await, grown(&rogue, memory));
    compare(&format!("{count} each of slow bodies, chunks, readers"), before, during);
    figure(&format!("slow bodies and readers: {} kB each", kilobytes / (3 * count as u64)));
    // A slow reader's answer waits in the kernel; what the agent holds of it has a bound.
    assert!(kilobytes <= 4 * EACH * 3 * count as u64, "{kilobytes} kB for {} connections", 3 * count);
    drop(open);
    healthy(&rogue).await;
    rogue.stop().await;
}

/// RUSTSEC-2023-0065 (tungstenite): no head costs more for being long.
#[tokio::test]
async fn heads_without_measure_cost_nothing() {
    let rogue = Rogue::start().await;
    let at = format!("Host: 127.0.0.1:{}\r\n", rogue.run.port);
    let long = |length: usize| "a".repeat(length);
    let heads = [
        ("a header of 64 KiB", format!("GET /rogue/fine HTTP/1.1\r\n{at}X-A: {}\r\n\r\n", long(1 << 16)), 431),
        ("a header of 1 MiB", format!("GET /rogue/fine HTTP/1.1\r\n{at}X-A: {}\r\n\r\n", long(1 << 20)), 431),
        ("a header of 20 MB", format!("GET /rogue/fine HTTP/1.1\r\n{at}X-A: {}\r\n\r\n", long(20_000_000)), 431),
        ("headers of 20 MB", format!("GET /rogue/fine HTTP/1.1\r\n{at}{}\r\n", "X-A: b\r\n".repeat(2_500_000)), 431),
        ("10 000 headers", format!("GET /rogue/fine HTTP/1.1\r\n{at}{}\r\n", "X-A: b\r\n".repeat(10_000)), 431),
        ("a target of 20 MB", format!("GET /rogue/{} HTTP/1.1\r\n{at}\r\n", long(20_000_000)), 414),
    ];
    for (what, head, code) in heads {
        let (before, memory) = (processes::cpu(agent(&rogue)).unwrap(), processes::resident(agent(&rogue)).unwrap());
        let answer = raw(rogue.run.port, head.as_bytes()).await;
        let took = processes::cpu(agent(&rogue)).unwrap().saturating_sub(before);
        figure(&format!("{what}: {} ms of processor time", took.as_millis()));
        assert!(answer.starts_with(&format!("HTTP/1.1 {code}")), "{what}: {answer:.200}");
        if full() {
            assert!(took <= Duration::from_millis(50), "{what} took {took:?}");
        }
        assert!(grown(&rogue, memory) < 2048, "{what}: {} kB more", grown(&rogue, memory));
    }
    assert_eq!(rogue.heard(), Vec::<String>::new());
    rogue.stop().await;
}

#[tokio::test]
async fn a_request_in_segments_of_one_byte_is_a_request() {
    let rogue = Rogue::start().await;
    let head = format!(
        "POST /rogue/fine HTTP/1.1\r\nHost: 127.0.0.1:{0}\r\nOrigin: http://127.0.0.1:{0}\r\nX-A: {1}\r\nContent-Length: \
         1000\r\nConnection: close\r\n\r\n{2}",
        rogue.run.port,
        "b".repeat(3000),
        "x".repeat(1000)
    );
    let before = processes::cpu(agent(&rogue)).unwrap();
    let mut stream = TcpStream::connect(("127.0.0.1", rogue.run.port)).await.unwrap();
    stream.set_nodelay(true).unwrap();
    for byte in head.as_bytes() {
        stream.write_all(&[*byte]).await.unwrap();
        tokio::task::yield_now().await;
    }
    let mut answer = String::new();
    timeout(SOON, stream.read_to_string(&mut answer)).await.unwrap().unwrap();
    assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("fine\n"), "{answer}");
    let took = processes::cpu(agent(&rogue)).unwrap().saturating_sub(before);
    figure(&format!("{} segments of one byte: {} ms of processor time", head.len(), took.as_millis()));
    rogue.stop().await;
}

/// The first numbers of a sequence that looks like none.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed | 1;
    let step = |_| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_be_bytes()[3]
    };
    (0..length).map(step).collect()
}

/// Sends this, says that it was all, and hears the other side out.
async fn throw<S: AsyncReadExt + AsyncWriteExt + Unpin>(mut stream: S, bytes: &[u8]) {
    let _ = stream.write_all(bytes).await;
    let _ = stream.shutdown().await;
    let mut heard = Vec::new();
    let read = async { while matches!(stream.read_buf(&mut heard).await, Ok(1..)) {} };
    assert!(
        timeout(SOON, read).await.is_ok(),
        "noise is listened to without an end: {:?}",
        bytes.escape_ascii().to_string()
    );
}

#[tokio::test]
async fn random_bytes_on_every_listener_break_nothing() {
    let rogue = Rogue::start().await;
    let (pid, total, size) = (agent(&rogue), if full() { 1_000_000 } else { 60_000 }, 500);
    let seed = u64::from(std::process::id());
    let sockets = [rogue.space.run.join("user.sock"), rogue.space.run.join("admin/control.sock")];
    for (nth, seed) in (0..total / size).zip(seed * 1_000_000..) {
        // Every other one begins as HTTP does.
        let begin: &[u8] = if nth % 2 == 0 { b"" } else { b"GET /rogue/fine HTTP/1.1\r\nHost: localhost\r\n" };
        let bytes = [begin, &noise(size, seed)].concat();
        throw(TcpStream::connect(("127.0.0.1", rogue.run.port)).await.unwrap(), &bytes).await;
        for socket in &sockets {
            throw(unix(socket).await, &bytes).await;
        }
    }
    healthy(&rogue).await;
    let status = rogue.run.status().await.unwrap();
    assert_eq!((status.agent_starts(), rogue.run.agent_pid()), (1, Some(pid)), "seed {seed}");
    rogue.stop().await;
}

async fn unix(path: &Path) -> UnixStream {
    UnixStream::connect(path).await.unwrap_or_else(|error| panic!("cannot connect to {}: {error}", path.display()))
}

#[tokio::test]
async fn an_app_that_does_wrong_harms_only_its_own_answer() {
    let rogue = Rogue::start().await;
    let mut client = Client::new(rogue.run.port);
    let memory = processes::resident(agent(&rogue)).unwrap();
    let rounds = if full() { 50 } else { 2 };
    for _ in 0..rounds {
        for what in [
            "nothing",
            "half-a-line",
            "garbage",
            "two-lengths",
            "no-headers-end",
            "long-header",
            "many-headers",
            "code-0",
            "switches",
            "only-100",
        ] {
            let answer = client.get(&format!("/rogue/{what}")).await;
            let failed = matches!(answer.status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE);
            assert!(failed, "{what}: {} {}", answer.status, answer.text());
            assert!(!answer.text().contains("first"), "{what}: {}", answer.text());
            assert_eq!(client.get("/rogue/fine").await.good("the next request").text(), "fine\n", "after {what}");
        }
        for what in ["dies", "dies-in-a-chunk", "dies-between-chunks", "bad-chunks"] {
            let cut = client.try_send(Method::GET, &format!("/rogue/{what}"), &[], whole("")).await;
            assert!(cut.is_err(), "{what}: an answer that broke off looks whole: {cut:?}");
            assert_eq!(client.get("/rogue/fine").await.good("the next request").text(), "fine\n", "after {what}");
        }
        // The chunks hold, and the client hears of no other length.
        let chunked = client.get("/rogue/length-and-chunks").await.good("a length beside chunks");
        assert_eq!((chunked.text().as_str(), chunked.header("content-length")), ("", None));
        for what in ["twice", "too-much"] {
            let first = client.get(&format!("/rogue/{what}")).await.good(what);
            assert_eq!(first.text(), "first\n", "{what}");
            for _ in 0..3 {
                assert_eq!(client.get("/rogue/fine").await.good("the next request").text(), "fine\n", "after {what}");
            }
        }
        for what in ["stalls", "half-a-head", "stalls-in-a-body"] {
            let open = connections(&rogue, 10, ask(&rogue, what).as_bytes()).await;
            let asked = async || {
                let asked = rogue.heard().iter().filter(|heard| heard.contains(&format!("/rogue/{what} "))).count();
                (asked >= 10).then_some(()).ok_or(format!("{asked} have reached the app"))
            };
            wait_for(SOON, "the app to be asked", asked).await.unwrap();
            assert_eq!(client.get("/rogue/fine").await.good("beside them").text(), "fine\n", "while it {what}");
            drop(open);
        }
    }
    // Who has left without an answer may have said only that nothing more comes: such a connection waits for 30 s.
    assert!(grown(&rogue, memory) < 8 * 1024 + 30 * rounds * EACH, "{} kB more", grown(&rogue, memory));
    rogue.stop().await;
}

fn ask(rogue: &Rogue, what: &str) -> String {
    format!("GET /rogue/{what} HTTP/1.1\r\nHost: 127.0.0.1:{}\r\n\r\n", rogue.run.port)
}

/// With 256 descriptors there is no room for everybody: the agent says that it lives, rests, and recovers.
#[tokio::test]
async fn without_descriptors_the_door_still_says_that_it_lives() {
    let rogue = Rogue::start_behind(&["prlimit", "--nofile=256"]).await;
    let (pid, count) = (agent(&rogue), at_most(if full() { 2000 } else { 400 }));
    let open = connections(&rogue, count, ask(&rogue, "stalls").as_bytes()).await;
    let before = processes::cpu(pid).unwrap();
    let begin = Instant::now();
    let live = async || {
        let answer = Client::new(rogue.run.port).try_send(Method::GET, "/_space/livez", &[], whole("")).await?;
        (answer.status == StatusCode::OK).then_some(()).ok_or(format!("{} {}", answer.status, answer.text()))
    };
    for _ in 0..if full() { 50 } else { 5 } {
        wait_for(SOON, "the agent to say that it lives", live).await.unwrap();
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let share = processes::cpu(pid).unwrap().saturating_sub(before).as_secs_f64() / begin.elapsed().as_secs_f64();
    figure(&format!("{count} connections and 256 descriptors: {:.0} % of a processor", share * 100.0));
    assert!(share < 0.2, "the agent spins: {:.0} % of a processor", share * 100.0);
    // They leave for good: of those that only say their last, an answer might still be wanted.
    open.iter().for_each(|stream| stream.set_zero_linger().unwrap());
    drop(open);
    let served = async || {
        let mut client = Client::new(rogue.run.port);
        let answer = client.try_send(Method::GET, "/rogue/fine", &[], whole("")).await?;
        answer.status.is_success().then_some(()).ok_or(format!("{} {}", answer.status, answer.text()))
    };
    wait_for(SOON, "the app to be served again", served).await.unwrap();
    healthy(&rogue).await;
    assert_eq!(rogue.run.agent_pid(), Some(pid));
    rogue.stop().await;
}
