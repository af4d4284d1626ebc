//! Several apps in one space, of which one starts when somebody wants it.

use crate::documents::echo;
use hyper::StatusCode;
use space_tests::client::Client;
use space_tests::command;
use space_tests::space::{BOOT, SOON, Space};
use space_tests::wait::wait_for;

/// The echo, and a second one on demand at `/later/`.
fn document() -> String {
    echo() + &echo().replace("apps:\n", "").replace("name: echo", "name: later\n    start: on-demand")
}

fn state(status: &space_tests::status::Status) -> String {
    status.apps()[1]["state"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn an_app_on_demand_starts_when_somebody_who_has_signed_in_opens_it() {
    let mut space = Space::new(&document());
    let mut run = space.start();
    let up = |status: &space_tests::status::Status| match status.phase() {
        "running" => Ok(()),
        phase => Err(phase.to_owned()),
    };
    run.until(BOOT, "the space to run", up).await;
    let mut client = run.signed_in().await;
    let mut stranger = Client::new(run.port);
    for path in ["/later/", "/later/x", "/later/_space/readyz", "/later/api/idle"] {
        stranger.get(path).await;
        stranger.visit(path).await;
    }
    client.get("/echo/x").await.good("the app beside it");
    assert_eq!(state(&run.status().await.unwrap()), "asleep", "nobody who may has asked for it");

    // A program is told to come again; a person would see the page.
    let told = client.get("/later/x").await;
    assert_eq!(told.status, StatusCode::SERVICE_UNAVAILABLE, "{}", told.text());
    assert!(told.header("retry-after").is_some(), "{:?}", told.headers);
    let answers = wait_for(BOOT, "the app on demand", async || match client.visit("/later/x").await {
        answer if answer.text().contains("\"path\"") => Ok(()),
        answer => Err(format!("{} {}", answer.status, answer.text())),
    });
    answers.await.unwrap_or_else(|seen| panic!("{seen}"));
    assert_eq!(run.status().await.unwrap().phase(), "running");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_restart_starts_an_app_that_sleeps_and_a_new_agent_leaves_it_asleep() {
    let mut space = Space::new(&document());
    let mut run = space.start();
    run.until(BOOT, "the app to sleep in a space that runs", |status| match (status.phase(), &*state(status)) {
        ("running", "asleep") => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    let first = run.status().await.unwrap().agent_pid();
    space_tests::processes::kill_all([first]);
    run.until(BOOT, "another agent", |status| match (status.agent_pid() != first, &*state(status)) {
        (true, "asleep") => Ok(()),
        seen => Err(format!("{seen:?}")),
    })
    .await;
    let told = command::run(space.command(&["restart", "later"]), SOON).await;
    assert_eq!((told.code(), told.stdout.as_str()), (0, "later was started and is ready\n"), "{}", told.stderr);
    assert_eq!(state(&run.status().await.unwrap()), "ready");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
