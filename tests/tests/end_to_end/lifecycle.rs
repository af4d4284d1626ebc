//! A space comes up and goes down: whoever ends it, however, nothing is left of it.

use crate::documents::{ECHO, echo, echo_with, script};
use nix::sys::signal::Signal;
use space_tests::client::Client;
use space_tests::command;
use space_tests::processes;
use space_tests::space::{Run, SOON, STOP, Space};
use std::time::Duration;

/// A space with an echo that is up, and is shown to be up.
async fn up(body: &str) -> (Space, Run) {
    let mut space = Space::new(body);
    let mut run = space.start();
    run.ready().await;
    let mut client = run.signed_in().await;
    let told = client.get(&format!("{ECHO}hello?x=1")).await.good("the echo").json();
    assert_eq!(told["path"], format!("{ECHO}hello?x=1"));
    (space, run)
}

async fn is_gone(space: &Space) {
    space.assert_nothing_left();
    let mut client = Client::new(space.port);
    let answer = client.try_send(hyper::Method::GET, "/", &[], space_tests::client::whole("")).await;
    assert!(answer.is_err(), "the front door still answers: {answer:?}");
}

#[tokio::test]
async fn ctrl_c_ends_everything() {
    let (space, mut run) = up(&echo()).await;
    run.press_ctrl_c();
    assert_eq!(run.exit_code(STOP).await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn a_sigterm_ends_everything() {
    let (space, mut run) = up(&echo()).await;
    run.signal(Signal::SIGTERM);
    assert_eq!(run.exit_code(STOP).await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn the_stop_command_waits_for_the_end_of_everything() {
    let (space, mut run) = up(&echo()).await;
    let stopped = command::run(space.command(&["stop", "--reason", "the story ends"]), STOP).await;
    assert_eq!(stopped.code(), 0, "{}", stopped.stderr);
    // `stop` has waited: now there is nothing to wait for any more, except that the kernel tells us.
    assert_eq!(run.exit_code(SOON).await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn a_stop_during_the_boot_ends_everything_too() {
    let mut space = Space::new(&(script("slow", "sleep 60 & sleep 60; wait") + &echo()));
    let mut run = space.start();
    run.until(SOON, "the step to run", |status| match status.step("slow")["state"].as_str() {
        Some("running") => Ok(()),
        other => Err(format!("it is {other:?}")),
    })
    .await;
    assert_eq!(run.stop().await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn an_app_that_ignores_sigterm_is_killed_within_the_deadline() {
    let (space, mut run) = up(&format!("{}stop: {{ deadline: 3s }}\n", echo_with("stubborn"))).await;
    let begin = tokio::time::Instant::now();
    assert_eq!(run.stop().await, 0);
    assert!(begin.elapsed() < Duration::from_millis(3500), "it took {:?}", begin.elapsed());
    is_gone(&space).await;
}

#[tokio::test]
async fn what_an_app_has_put_into_a_session_of_its_own_is_ended_too() {
    let (space, mut run) = up(&echo_with("daemon")).await;
    let sleeps = |pid: &i32| processes::command_line(*pid) == "sleep 3600";
    assert_eq!(processes::descendants(run.pid()).iter().filter(|pid| sleeps(pid)).count(), 1);
    assert_eq!(run.stop().await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn an_app_that_dies_is_started_again() {
    let (_space, mut run) = up(&echo()).await;
    let first = run.status().await.unwrap().app_pid().unwrap();
    processes::signal(first, Signal::SIGKILL);
    let second = run
        .until(SOON, "the app to be ready again", |status| match status.app_pid() {
            Some(pid) if pid != first => status.ready().map(|()| pid),
            _ => Err(format!("{:#}", status.0["apps"])),
        })
        .await;
    assert_ne!(first, second);
    assert_eq!(run.status().await.unwrap().apps()[0]["restarts"], 1);
    let mut client = run.signed_in_again().await;
    assert_eq!(client.get(&format!("{ECHO}x")).await.good("the echo").json()["pid"], second);
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn an_app_may_listen_on_a_port_and_see_paths_without_its_base_path() {
    let port = space_tests::space::free_port();
    let body = echo() + &format!("    port: {port}\n    base_path: /other/\n    strip_base_path: true\n");
    let mut space = Space::new(&body);
    let mut run = space.start();
    run.ready().await;
    let mut client = run.signed_in().await;
    assert_eq!(client.get("/other/a/b?c").await.good("the echo").json()["path"], "/a/b?c");
    assert_eq!(run.stop().await, 0);
    is_gone(&space).await;
}

#[tokio::test]
async fn steps_run_in_the_order_of_their_needs_and_leave_their_output() {
    let body = "lifecycle:\n  steps:\n    - name: second\n      needs: [first]\n      run: cat word; echo there\n    \
                - name: first\n      run: echo hello | tee word\napps: []\n";
    let mut space = Space::new(body);
    let mut run = space.start();
    let status = run.ready().await;
    for step in ["first", "second"] {
        assert_eq!(status.step(step)["state"], "done", "{:#}", status.0);
    }
    let log = run.control(hyper::Method::GET, "/v1/steps/second/log", None).await.unwrap().good("its log").text();
    assert!(log.contains("hello") && log.contains("there"), "{log}");
    let logs = command::run(space.command(&["logs", "first"]), SOON).await;
    assert!(logs.code() == 0 && logs.stdout.contains("hello"), "{logs:?}");
    assert_eq!(run.stop().await, 0);
    is_gone(&space).await;
}
