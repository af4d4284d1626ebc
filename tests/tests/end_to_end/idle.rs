//! Idle: an untouched space stops, one that works never does, and each says why in one true sentence.

use crate::documents::{LAB, echo, jupyterlab};
use hyper::Method;
use serde_json::json;
use space_tests::client::Client;
use space_tests::command;
use space_tests::jupyter::Jupyter;
use space_tests::places::full;
use space_tests::space::{SOON, STOP, Space};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// What `api/idle` says.
#[derive(Debug)]
pub(crate) struct LastActive {
    pub(crate) text: String,
    /// Milliseconds before now; negative: in the future.
    pub(crate) age_ms: i64,
}

pub(crate) async fn last_active(client: &mut Client, path: &str) -> LastActive {
    let body = client.get(path).await.good("api/idle").json();
    let text = body["lastActiveTimestamp"].as_str().expect("a time").to_owned();
    let age_ms = wall_ms() - read_time(&text);
    LastActive { text, age_ms }
}

#[expect(clippy::disallowed_methods, reason = "the tests compare what the agent says with the machine's clock")]
fn wall_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("the clock is past 1970");
    i64::try_from(since.as_millis()).expect("a time of this age")
}

/// `2026-11-20T10:00:00.123Z` in milliseconds since 1970.
fn read_time(text: &str) -> i64 {
    let number = |range: std::ops::Range<usize>| text[range].parse::<i64>().expect("digits");
    let (year, month, day) = (number(0..4), number(5..7), number(8..10));
    let shifted = if month <= 2 { year - 1 } else { year };
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = shifted * 365 + shifted / 4 - shifted / 100 + shifted / 400 + day_of_year - 719_468;
    let seconds = number(11..13) * 3600 + number(14..16) * 60 + number(17..19);
    (days * 86_400 + seconds) * 1000 + number(20..23)
}

#[test]
fn times_are_read_as_they_are_written() {
    assert_eq!(read_time("1970-01-01T00:00:00.000Z"), 0);
    assert_eq!(read_time("2026-11-20T10:00:00.123Z"), 1_795_168_800_123);
}

#[tokio::test]
async fn an_untouched_space_stops_by_itself() {
    let mut space = Space::new(&(echo() + "idle: { shutdown: 3s, notice: 1s, action: exit }\n"));
    let mut run = space.start();
    run.ready().await;
    let ready = tokio::time::Instant::now();
    assert_eq!(run.exit_code(STOP).await, 0);
    let took = ready.elapsed();
    assert!(took > Duration::from_millis(2500) && took < Duration::from_secs(8), "it stopped after {took:?}");
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_untouched_jupyterlab_stops_by_itself() {
    let mut space = Space::new(&(jupyterlab() + "idle: { shutdown: 4s, notice: 1s, action: exit }\n"));
    let mut run = space.start();
    run.ready().await;
    // Looking at status and activity doesn't count, nor does whoever polls api/idle.
    let mut poller = Client::new(run.port);
    let ready = tokio::time::Instant::now();
    while run.ended().is_none() {
        let _ = run.status().await;
        let _ = poller.try_send(Method::GET, "/api/idle", &[], space_tests::client::whole("")).await;
        assert!(ready.elapsed() < Duration::from_secs(25), "it never stops: {:?}", run.status().await);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert_eq!(run.exit_code(STOP).await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_silent_cell_keeps_the_space_for_as_long_as_it_runs() {
    let timeout = if full() { 30 } else { 6 };
    let idle = format!("idle: {{ shutdown: {timeout}s, notice: 1s, action: exit }}\n");
    let mut space = Space::new(&(jupyterlab() + &idle));
    let mut run = space.start();
    run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("silent.ipynb").await;
    let cell = 3 * timeout;
    let request = kernel.begin(&format!("import time; time.sleep({cell})")).await;
    let begin = tokio::time::Instant::now();

    // In the middle of it: busy, now, and said so.
    tokio::time::sleep(Duration::from_secs(timeout + timeout / 2)).await;
    for path in ["/api/idle".to_owned(), format!("{LAB}api/idle")] {
        let seen = last_active(&mut jupyter.client, &path).await;
        assert!((-50..2000).contains(&seen.age_ms), "{path} while a cell runs: {seen:?}");
    }
    let why = command::run(space.command(&["why"]), SOON).await;
    assert_eq!(why.code(), 0, "{}", why.stderr);
    assert!(why.stdout.contains("silent.ipynb") && why.stdout.trim().lines().count() == 1, "{}", why.stdout);
    let status = run.status().await.unwrap();
    assert_eq!((status.verdict(), status.phase()), ("active", "running"), "{}", status.why());

    kernel.collect(&request).await;
    assert!(begin.elapsed() >= Duration::from_secs(cell), "the cell was cut short");
    let ended = tokio::time::Instant::now();
    drop(kernel);
    assert_eq!(run.exit_code(Duration::from_secs(4 * timeout) + STOP).await, 0);
    let after = ended.elapsed().as_secs_f64();
    assert!(after > (timeout as f64) * 0.7, "the space stopped {after:.1} s after the cell");
    space_tests::places::figure(&format!(
        "idle: a silent cell of {cell} s held a space with a timeout of {timeout} s; it stopped {after:.1} s after the cell"
    ));
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_lease_holds_the_space_and_its_end_lets_it_go() {
    let mut space = Space::new(&(echo() + "idle: { shutdown: 2s, notice: 1s, action: exit }\n"));
    let mut run = space.start();
    run.ready().await;
    let kept = command::run(space.command(&["keep", "5s", "--reason", "a long look"]), SOON).await;
    assert_eq!(kept.code(), 0, "{}", kept.stderr);
    let begin = tokio::time::Instant::now();
    let why = command::run(space.command(&["why"]), SOON).await;
    assert!(why.stdout.contains("a long look"), "{}", why.stdout);
    let leases = run.control(Method::GET, "/v1/leases", None).await.unwrap().good("leases").json();
    assert_eq!(leases.as_array().map(Vec::len), Some(1), "{leases}");
    assert_eq!(run.exit_code(STOP).await, 0);
    assert!(begin.elapsed() > Duration::from_secs(5), "it stopped after {:?}", begin.elapsed());
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_lease_that_is_given_back_holds_no_longer() {
    let mut space = Space::new(&(echo() + "idle: { shutdown: 2s, notice: 1s, action: exit }\n"));
    let mut run = space.start();
    run.ready().await;
    let body = json!({"duration": "1h", "reason": "for good"});
    let lease = run.control(Method::POST, "/v1/leases", Some(body)).await.unwrap().good("a lease").json();
    let id = lease["id"].as_str().expect("a lease has an id").to_owned();
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert_eq!(run.status().await.unwrap().phase(), "running");
    run.control(Method::DELETE, &format!("/v1/leases/{id}"), None).await.unwrap().good("the end of the lease");
    assert_eq!(run.exit_code(STOP).await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn someone_who_only_observes_stops_nothing() {
    let mut space = Space::new(&(echo() + "idle: { shutdown: 1s, notice: 1s, action: observe }\n"));
    let mut run = space.start();
    run.ready().await;
    let idle = |status: &space_tests::status::Status| match status.verdict() {
        "idle" => Ok(()),
        _ => Err(status.why().to_owned()),
    };
    run.until(SOON, "the space to be idle", idle).await;
    tokio::time::sleep(Duration::from_secs(4)).await;
    assert!(matches!(run.status().await.unwrap().phase(), "running" | "notice"));
    let mut client = Client::new(run.port);
    let first = last_active(&mut client, "/api/idle").await;
    let second = last_active(&mut client, "/api/idle").await;
    assert_eq!(first.text, second.text, "the end of the last activity stands still");
    assert!(first.age_ms > 2000, "{first:?}");
    assert_eq!(run.stop().await, 0);
}
