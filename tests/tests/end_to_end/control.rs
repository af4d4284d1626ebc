//! The control API and the command line that speaks it.

use crate::documents::echo;
use hyper::{Method, StatusCode};
use serde_json::json;
use space_tests::command;
use space_tests::space::{SOON, Space};

#[tokio::test]
async fn the_control_api_answers_over_both_sockets() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    for path in ["/v1/status", "/v1/activity", "/v1/steps", "/v1/leases", "/v1/openapi.json"] {
        let over_user = run.control(Method::GET, path, None).await.unwrap().good(path);
        assert!(over_user.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "{path}");
        over_user.json();
        let admin = space.run.join("admin/control.sock");
        space_tests::client::over_unix(&admin, Method::GET, path, None).await.unwrap().good(path);
    }
    let openapi = run.control(Method::GET, "/v1/openapi.json", None).await.unwrap().json();
    assert!(openapi["paths"]["/v1/stop"].is_object(), "{openapi:#}");
    let missing = run.control(Method::GET, "/v1/nothing", None).await.unwrap();
    assert_eq!(missing.status, StatusCode::NOT_FOUND);
    assert_eq!(missing.header("content-type"), Some("application/problem+json"));
    let bad = run.control(Method::POST, "/v1/leases", Some(json!({"duration": "soon"}))).await.unwrap();
    assert!(bad.status.is_client_error(), "{}", bad.text());
    assert_eq!(bad.header("content-type"), Some("application/problem+json"));

    let stop = run.control(Method::POST, "/v1/stop", Some(json!({"reason": "enough"}))).await.unwrap();
    assert!(stop.status.is_success(), "{}", stop.text());
    assert_eq!(run.exit_code(space_tests::space::STOP).await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn the_command_line_shows_what_the_space_does() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let json = command::run(space.command(&["status", "--json"]), SOON).await;
    let status: serde_json::Value = serde_json::from_str(&json.stdout).expect("status --json prints JSON");
    assert_eq!(status["phase"], "running");
    for (args, word) in [
        (&["status"][..], "echo"),
        (&["why"], ""),
        (&["logs", "echo"], "echo: started"),
        (&["schema", "config"], "\"$schema\""),
        (&["schema", "openapi"], "/v1/status"),
        (&["check", "space.yaml"], "echo"),
        (&["--help"], "sign-in"),
    ] {
        let done = command::run(space.command(args), SOON).await;
        assert!(done.code() == 0 && done.stdout.contains(word) && !done.stdout.is_empty(), "{args:?}: {done:?}");
    }
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
