//! WebSockets through the front door are what they are without it: the same bytes, the same ends, on both sides.

use serde_json::Value;
use space_tests::command::run as told_by;
use space_tests::places::{artefact, environment, figure, full, project};
use space_tests::space::{Run, Space};
use std::process::Command;
use std::time::Duration;

/// A space with the app of one of the two parts, at `/app/`.
fn space(part: &str) -> Space {
    let [python, script] = [environment().join("bin/python"), project().join("tests/parts").join(part)];
    let command = format!("[\"{}\", \"{}\", app]", python.display(), script.display());
    // It answers no plain request but one, and that with 200.
    Space::new(&format!(
        "apps:\n  - kind: command\n    name: app\n    command: {command}\n    ready: {{ path: /told }}\n"
    ))
}

/// Plays all cases of a part twice and returns the lines that it printed.
async fn compare(space: &Space, run: &mut Run, part: &str, more: &[&str]) -> Vec<Value> {
    let cookie = run.signed_in().await.cookie_header();
    let mut command = Command::new(environment().join("bin/python"));
    command.arg(project().join("tests/parts").join(part)).arg("compare");
    command.arg(space.run.join("apps/app.sock")).arg(space.port.to_string()).arg("/app/").arg(cookie).args(more);
    let done = told_by(command, Duration::from_secs(if full() { 600 } else { 120 })).await;
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    done.stdout.lines().map(line).collect()
}

/// Every case went the same way, and went its way at all.
fn check(rows: &[Value], name: &str, at_least: usize) {
    let mut table = String::new();
    let mut wrong = Vec::new();
    for row in rows {
        let list = |field: &str| row[field].as_array().expect("a list").clone();
        let found = [list("differs"), list("stuck")].concat();
        let told = if found.is_empty() { "the same" } else { "NOT THE SAME" };
        table.push_str(&format!("{}: {told}\n", row["case"].as_str().expect("a case")));
        if !found.is_empty() {
            wrong.push(format!("{}: {found:?}", row["case"]));
        }
    }
    std::fs::write(artefact(name), table).expect("an artefact can be written");
    assert!(wrong.is_empty(), "{} of {} cases: {}", wrong.len(), rows.len(), wrong[..wrong.len().min(10)].join("\n"));
    assert!(rows.len() >= at_least, "only {} cases", rows.len());
}

#[tokio::test]
async fn bytes_of_every_kind_pass_a_websocket_as_if_there_were_no_door() {
    let mut space = space("websocket_raw.py");
    let mut run = space.start();
    run.ready().await;
    let rows = compare(&space, &mut run, "websocket_raw.py", &[]).await;
    check(&rows, "websockets-raw.txt", 450);
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn a_librarys_client_and_server_do_not_see_the_door_between_them() {
    let mut space = space("websocket_library.py");
    let mut run = space.start();
    run.ready().await;
    let length: u64 = if full() { 100_000_000 } else { 1_000_000 };
    let mut rows = compare(&space, &mut run, "websocket_library.py", &[&length.to_string()]).await;
    let took = rows.pop().expect("a last line")["took"].clone();
    check(&rows, "websockets-library.txt", 125);
    for (compression, seconds) in took.as_object().expect("two compressions") {
        let [direct, door] = [&seconds[0], &seconds[1]].map(|seconds| seconds.as_f64().expect("seconds"));
        figure(&format!(
            "a WebSocket message of {length} bytes ({compression}): {direct:.2} s direct, {door:.2} s through the front door"
        ));
        assert!(!full() || door < 2.0 * direct + 0.5, "{compression}: {door} s for {direct} s direct");
    }
    assert_eq!(run.stop().await, 0);
}

/// The library's own tests of connections, each with the door between its two ends. They are not in its packages: a
/// checkout of its repository at the installed version is named by `SPACE_TESTS_WEBSOCKETS`.
#[tokio::test]
async fn a_librarys_own_tests_pass_with_the_door_between() {
    let Some(checkout) = std::env::var_os("SPACE_TESTS_WEBSOCKETS") else {
        println!("not run: SPACE_TESTS_WEBSOCKETS names no checkout of github.com/python-websockets/websockets");
        return;
    };
    let mut space = space("websocket_suite.py");
    let mut run = space.start();
    run.ready().await;
    let cookie = run.signed_in().await.cookie_header();
    let checkout = checkout.into_string().expect("a path in UTF-8");
    assert!(!format!("{checkout}{cookie}").contains(['&', '%', ' ']), "nothing that a query can't hold");
    let path = format!("/app/run?{}&{checkout}&{cookie}", space.port);
    let socket = space.run.join("apps/app.sock");
    let mut command = Command::new("curl");
    command.args(["--silent", "--show-error", "--fail", "--unix-socket"]).arg(socket).arg(format!("http://app{path}"));
    let done = told_by(command, Duration::from_secs(300)).await;
    assert_eq!(done.code(), 0, "{}", done.stderr);
    let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
    let rows: Vec<Value> = done.stdout.lines().map(line).collect();
    check(&rows, "websockets-suite.txt", 400);
    let passed = rows.iter().filter(|row| row["passes"] == true).count();
    figure(&format!("tests of the library websockets through the front door: {passed} of {} pass", rows.len()));
    assert_eq!(run.stop().await, 0);
}
