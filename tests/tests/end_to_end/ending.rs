//! The end of a space: in order, within its deadline, whatever runs in it, and nothing is left.

use crate::documents::{ECHO, LAB, echo, jupyterlab};
use futures_util::StreamExt;
use nix::sys::signal::Signal;
use space_tests::client::Client;
use space_tests::jupyter::Jupyter;
use space_tests::places::{figure, full, project};
use space_tests::processes;
use space_tests::space::{Run, SOON, Space};
use space_tests::wait::wait_for;
use std::fs;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio::time::Instant;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;

/// Kinds of tests/parts/burdens.py, and how many processes each is at the least.
const BURDENS: [&str; 5] = ["stubborn", "descriptors", "children", "chain", "sessions"];

/// How much later than its deadline the end may be seen; in the fast run other stories take the processor meanwhile.
fn margin() -> Duration {
    Duration::from_millis(if full() { 500 } else { 1500 })
}

/// An app that ignores SIGTERM, as all do that it has started in the background.
fn burdened(burdens: &[&str], deadline: u64) -> String {
    let script = project().join("tests/parts/burdens.py");
    let start = |kind: &&str| format!("/usr/bin/python3 '{}' {kind} & ", script.display());
    let all: String = burdens.iter().map(start).collect();
    let app = env!("CARGO_BIN_EXE_space-app");
    format!(
        "apps:\n  - kind: command\n    name: app\n    command: [/bin/sh, -c, \"trap '' TERM; {all} exec '{app}'\"]\n\
         stop: {{ deadline: {deadline}s }}\n"
    )
}

/// Waits until every burden says that it has got going.
async fn going(space: &Space, burdens: &[&str]) {
    let going = async || match burdens.iter().find(|kind| !space.home.join(format!("burden-{kind}")).exists()) {
        Some(kind) => Err(format!("{kind} has not begun")),
        None => Ok(()),
    };
    wait_for(SOON, "the burdens", going).await.unwrap();
}

/// Ends the space by a signal; how long that took.
async fn stopped(space: &Space, run: &mut Run, deadline: Duration) -> Duration {
    let begin = Instant::now();
    run.signal(Signal::SIGTERM);
    assert_eq!(run.exit_code(deadline + SOON).await, 0);
    let took = begin.elapsed();
    space.assert_nothing_left();
    assert!(took < deadline + margin(), "the end took {took:?} of {deadline:?}");
    took
}

#[tokio::test]
async fn whatever_runs_in_a_space_is_gone_within_the_deadline() {
    let mut told = Vec::new();
    let deadlines: &[u64] = if full() { &[1, 5, 25] } else { &[1, 5] };
    for &deadline in deadlines {
        let mut space = Space::new(&burdened(&BURDENS, deadline));
        let mut run = space.start();
        run.ready().await;
        going(&space, &BURDENS).await;
        let took = stopped(&space, &mut run, Duration::from_secs(deadline)).await;
        told.push(format!("{:.1} s of {deadline} s", took.as_secs_f64()));
    }
    figure(&format!(
        "a stop while the app and another process ignore SIGTERM, three kinds of processes fork all the time and one \
         holds 2000 descriptors: everything gone, exit code 0, after {}",
        told.join(", ")
    ));
}

#[tokio::test]
async fn each_kind_of_process_alone_is_gone_within_a_second() {
    for kind in BURDENS {
        let mut space = Space::new(&burdened(&[kind], 1));
        let mut run = space.start();
        run.ready().await;
        going(&space, &[kind]).await;
        stopped(&space, &mut run, Duration::from_secs(1)).await;
    }
}

#[tokio::test]
async fn a_second_sigterm_makes_the_end_a_matter_of_a_second() {
    let burdens = ["stubborn", "children"];
    let mut space = Space::new(&burdened(&burdens, 60));
    let mut run = space.start();
    run.ready().await;
    going(&space, &burdens).await;
    run.signal(Signal::SIGTERM);
    let stopping = |status: &space_tests::status::Status| match status.phase() {
        "stopping" => Ok(()),
        other => Err(other.to_owned()),
    };
    run.until(SOON, "the stop to begin", stopping).await;
    let took = stopped(&space, &mut run, Duration::from_secs(1)).await;
    figure(&format!("a second SIGTERM during a stop of 60 s: gone after {:.1} s", took.as_secs_f64()));
}

#[tokio::test]
async fn steps_of_the_stop_run_first_and_see_the_apps_alive() {
    let ask = "import http.client, os, socket; s = socket.socket(socket.AF_UNIX); s.connect(os.environ['APP']); \
               s.sendall(b'GET /echo/from-the-step HTTP/1.1\\r\\nHost: a\\r\\nConnection: close\\r\\n\\r\\n'); \
               print(s.makefile().read())";
    let mut space = Space::new("");
    let socket = space.run.join("apps/echo.sock");
    let steps = format!(
        "lifecycle:\n  steps:\n    - name: ask\n      on: stop\n      env: {{ APP: \"{}\" }}\n      run: |\n        \
         /usr/bin/python3 -c \"{ask}\" > answer\n    - name: endless\n      on: stop\n      run: |\n        \
         echo begun > endless; sleep 60; echo over > endless\n    - name: late\n      on: stop\n      run: touch late\n\
         stop: {{ deadline: 10s }}\n",
        socket.display()
    );
    space.write(&(echo() + &steps));
    let mut run = space.start();
    run.ready().await;
    assert!(!space.home.join("answer").exists(), "a step of the stop ran at the start");
    let took = stopped(&space, &mut run, Duration::from_secs(10)).await;
    let answer = fs::read_to_string(space.home.join("answer")).unwrap();
    assert!(answer.contains("200 OK") && answer.contains("from-the-step"), "{answer}");
    // 20 % of the deadline are the steps'.
    assert_eq!(fs::read_to_string(space.home.join("endless")).unwrap(), "begun\n");
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(4), "the end took {took:?}");
    assert!(!space.home.join("late").exists(), "a step began when the time of steps was over");
}

#[tokio::test]
async fn a_web_socket_is_told_that_the_space_goes_away() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let client = run.signed_in().await;
    let mut socket = web_socket(&client, &format!("{ECHO}ws")).await;
    run.signal(Signal::SIGTERM);
    let last = tokio::time::timeout(SOON, socket.next()).await.expect("the WebSocket ends with the space");
    match last {
        Some(Ok(Message::Close(Some(frame)))) => assert_eq!(u16::from(frame.code), 1001),
        other => panic!("not a close frame: {other:?}"),
    }
    assert_eq!(run.exit_code(SOON).await, 0);
    space.assert_nothing_left();
}

async fn web_socket(client: &Client, path: &str) -> tokio_tungstenite::WebSocketStream<TcpStream> {
    let mut request = format!("ws://{}{path}", client.host()).into_client_request().unwrap();
    let headers = request.headers_mut();
    headers.insert("origin", client.origin().parse().unwrap());
    headers.insert("cookie", client.cookie_header().parse().unwrap());
    let stream = TcpStream::connect(("127.0.0.1", client.port)).await.unwrap();
    let (socket, _) = tokio_tungstenite::client_async(request, stream).await.unwrap();
    socket
}

#[tokio::test]
async fn jupyter_ends_in_its_own_way_and_kernels_get_to_run_what_they_have_registered() {
    let mut space = Space::new(&jupyterlab());
    let mut run = space.start();
    run.ready().await;
    let mut jupyter = Jupyter::new(run.signed_in().await, LAB).await;
    let mut kernel = jupyter.session("farewell.ipynb").await;
    let code = "import atexit; atexit.register(lambda: open('farewell', 'w').write('in order'))\nprint('registered')";
    assert_eq!(kernel.execute(code, SOON * 3).await, "registered\n");
    let kernels = processes::descendants(run.pid());
    assert!(kernels.iter().any(|pid| processes::command_line(*pid).contains("ipykernel")), "a kernel runs");
    stopped(&space, &mut run, Duration::from_secs(25)).await;
    assert_eq!(fs::read_to_string(space.home.join("farewell")).unwrap(), "in order");
}

#[tokio::test]
async fn what_is_not_committed_is_told_at_the_stop_and_at_the_next_start() {
    let mut space = Space::new(&echo());
    let mut git = std::process::Command::new("git");
    git.args(["init", "--quiet"]).arg(space.home.join("project"));
    assert_eq!(space_tests::command::run(git, SOON).await.code(), 0);
    fs::write(space.home.join("project/thesis.txt"), "a year's work").unwrap();
    let mut run = space.start();
    run.ready().await;
    let told = space_tests::command::run(space.command(&["stop"]), SOON).await;
    assert!(told.stdout.contains("project has 1 untracked file"), "{told:?}");
    assert_eq!(run.exit_code(SOON).await, 0);
    // It is the user's own: what collects the agent's output is not told.
    assert!(!run.stderr().contains("project"), "{}", run.stderr());
    let last = space_tests::command::run(space.command(&["status", "--last"]), SOON).await;
    assert!(last.stdout.contains("project has 1 untracked file"), "{last:?}");
    let mut again = space.start();
    let status = again.ready().await;
    let last = status.0["last_run"].as_str().unwrap_or_default();
    assert!(!last.is_empty(), "the next start does not know how the last run ended: {:#}", status.0);
    assert_eq!(again.stop().await, 0);
}
