//! Commands that change how a space runs, or say what is wrong with it: `restart`, `start`, `events`, `doctor`, and what
//! `run` can be told.

use crate::documents::{ECHO, echo, echo_with};
use serde_json::Value;
use space_tests::command::{self, Done};
use space_tests::places;
use space_tests::space::{BOOT, SOON, Space};
use std::fs;
use std::os::unix::fs::chown;

async fn called(space: &Space, args: &[&str]) -> Done {
    command::run(space.command(args), BOOT).await
}

/// What `doctor --json` says of one thing; the exit code says whether anything is wrong.
async fn doctor(space: &Space, name: &str) -> (i32, Value) {
    let done = called(space, &["doctor", "--json"]).await;
    let document: Value = serde_json::from_str(&done.stdout).unwrap_or_else(|error| panic!("{error}: {done:?}"));
    let checks = document["checks"].as_array().unwrap();
    let check = checks.iter().find(|check| check["name"] == name).cloned();
    (done.code(), check.unwrap_or_else(|| panic!("no check {name}: {document:#}")))
}

#[tokio::test]
async fn an_app_that_is_restarted_has_a_new_process_and_counts_no_failure() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    let before = run.ready().await.app_pid().unwrap();
    for (args, says) in [
        (&["restart"][..], "echo was restarted and is ready\n"),
        (&["restart", "echo", "--yes"], "echo was restarted and is ready\n"),
    ] {
        let done = called(&space, args).await;
        assert_eq!((done.code(), done.stdout.as_str()), (0, says), "{done:?}");
    }
    let status = run.status().await.unwrap();
    assert_ne!(status.app_pid(), Some(before));
    assert_eq!(status.apps()[0]["restarts"], 0, "{:#}", status.0);
    assert!(!space_tests::processes::alive(before), "the app from before still runs");
    run.signed_in().await.get(&format!("{ECHO}x")).await.good("the echo");

    let events = called(&space, &["events"]).await;
    assert_eq!((events.code(), events.stdout.matches("asked for a restart of echo").count()), (0, 2), "{events:?}");
    let start = called(&space, &["start"]).await;
    assert!(start.code() == 0 && start.stdout.contains("runs already"), "{start:?}");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn who_restarts_what_is_not_there_is_told_what_is() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let done = called(&space, &["restart", "jupyterlabserver"]).await;
    assert_eq!(done.code(), 1, "{done:?}");
    assert_eq!(done.stderr, "space-agent: this space has no app jupyterlabserver; it has echo\n");
    let unknown = run.control(hyper::Method::POST, "/v1/apps/other/restart", None).await.unwrap();
    assert_eq!(unknown.status, 404);
    assert!(unknown.text().contains("this space has echo"), "{}", unknown.text());
    assert_eq!(run.stop().await, 0);
    assert_eq!(called(&space, &["restart"]).await.code(), 69);
}

#[tokio::test]
async fn an_app_that_does_not_come_back_is_told_with_its_reason() {
    let mut space = Space::new(&echo());
    fs::copy(places::project().join("tests/parts/echo.py"), space.home.join("echo.py")).unwrap();
    space.write("apps:\n  - kind: command\n    name: echo\n    command: [/usr/bin/python3, echo.py]\n");
    let mut run = space.start();
    run.ready().await;
    fs::write(space.home.join("echo.py"), "raise SystemExit('it is broken')").unwrap();
    let done = called(&space, &["restart"]).await;
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stderr.contains("it is broken"), "{done:?}");
    drop(run);
}

#[tokio::test]
async fn doctor_names_the_isolation_mode_and_what_is_wrong() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let (code, isolation) = doctor(&space, "isolation").await;
    // Agent and user are one: whoever runs the tests.
    assert!(isolation["sentence"].as_str().unwrap().starts_with("none: "), "{isolation}");
    assert_eq!((code, &isolation["standing"]), (0, &"warning".into()));
    let status = called(&space, &["status"]).await;
    assert!(status.stdout.contains("\nisolation: none — the user runs as the agent does"), "{status:?}");
    for name in ["space", "version", "init", "run folder", "home", "clock"] {
        assert_eq!(doctor(&space, name).await.1["standing"], "ok", "{name}");
    }
    assert_eq!(run.stop().await, 0);
    let listener = std::net::TcpListener::bind(("127.0.0.1", space.port)).unwrap();
    let done = called(&space, &["doctor", "space.yaml"]).await;
    assert_eq!(done.code(), 1, "{done:?}");
    assert!(done.stdout.contains(&format!("127.0.0.1:{}: another program listens there\n", space.port)), "{done:?}");
    drop(listener);
    let done = called(&space, &["doctor", "space.yaml"]).await;
    assert!(
        done.code() == 0 && done.stdout.contains(" is free\n") && done.stdout.contains("ok       home: "),
        "{done:?}"
    );
    space.write("apps: nonsense\n");
    let done = called(&space, &["doctor", "space.yaml"]).await;
    assert_eq!(done.code(), 1);
    assert!(done.stdout.contains("wrong    document: space.yaml: it has a mistake\n"), "{done:?}");
}

#[tokio::test]
async fn a_root_agents_user_is_kept_away_as_isolation_mode_uid_promises() {
    if !nix::unistd::geteuid().is_root() {
        eprintln!("not run: only root can become somebody else");
        return;
    }
    const USER: u32 = 64_242;
    let mut space = Space::new(&echo());
    fs::copy(places::project().join("tests/parts/echo.py"), space.home.join("echo.py")).unwrap();
    chown(&space.home, Some(USER), Some(USER)).unwrap();
    let app = "apps:\n  - kind: command\n    name: echo\n    command: [/usr/bin/python3, echo.py]\n";
    for (sudo, mode, standing) in [("never", "uid", "ok"), ("image", "none", "warning")] {
        space.write(&format!("user: {{ uid: {USER}, sudo: {sudo} }}\n{app}"));
        let mut run = space.start();
        let status = run.ready().await;
        assert_eq!(status.0["isolation"], mode, "{:#}", status.0);
        let (_, isolation) = doctor(&space, "isolation").await;
        assert_eq!(
            (isolation["standing"].as_str(), isolation["sentence"].as_str().map(|s| s.starts_with(mode))),
            (Some(standing), Some(true))
        );
        // What no process of the user can do, the kernel is asked about the app's.
        let app = fs::read_to_string(format!("/proc/{}/status", status.app_pid().unwrap())).unwrap();
        let field = |name: &str| app.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned();
        assert_eq!(field("Uid:"), [USER; 4].map(|uid| uid.to_string()).join("\t"));
        assert_eq!(field("NoNewPrivs:"), if sudo == "never" { "1" } else { "0" });
        if sudo == "never" {
            assert_eq!(doctor(&space, "apps' rights").await.1["standing"], "ok");
        }
        // As the user, not as root: their app takes their signals, the agent does not.
        let as_user = || {
            let mut command = std::process::Command::new("setpriv");
            command.args([&format!("--reuid={USER}"), &format!("--regid={USER}"), "--clear-groups"]);
            command
        };
        for (pid, code) in [(status.app_pid().unwrap(), 0), (status.agent_pid(), 1), (status.init_pid(), 1)] {
            let mut kill = as_user();
            kill.args(["kill", "-0", &pid.to_string()]);
            assert_eq!(command::run(kill, SOON).await.code(), code, "kill -0 {pid}");
        }
        // The user may do what concerns the space alone.
        let mut restart = as_user();
        let agent = space.folder.join("space-agent");
        command::copy_program(&places::agent(), &agent);
        restart.arg(agent).args(["restart", "--yes"]).env("SPACE_AGENT_SOCKET", space.socket());
        let restarted = command::run(restart, BOOT).await;
        assert_eq!(restarted.code(), 0, "{restarted:?}");
        assert_eq!(run.stop().await, 0);
    }
}

#[tokio::test]
async fn a_strict_run_with_a_mistake_in_its_document_ends_with_78() {
    let mut space = Space::new("apps: nonsense\n");
    let document = space.document.to_string_lossy().into_owned();
    let mut run = space.start_with(&["--strict", &document]);
    assert_eq!(run.exit_code(SOON).await, 78);
    assert!(run.stderr().contains("apps"), "{}", run.stderr());
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_strict_run_whose_app_cannot_be_kept_running_ends_with_3() {
    let mut space = Space::new(&echo_with("dies"));
    let document = space.document.to_string_lossy().into_owned();
    let mut run = space.start_with(&["--strict", &document]);
    assert_eq!(run.exit_code(BOOT).await, 3);
    space.assert_nothing_left();
}

#[tokio::test]
async fn any_command_that_serves_http_is_put_behind_the_front_door() {
    let mut space = Space::new("");
    let (document, echo) = (space.document.clone(), places::project().join("tests/parts/echo.py"));
    let [document, echo] = [document, echo].map(|path| path.to_string_lossy().into_owned());
    let mut run = space.start_with(&[&document, "--", "/usr/bin/python3", &echo, "--strict"]);
    let status = run.ready().await;
    assert_eq!(status.apps().len(), 1, "{:#}", status.0);
    let path = status.apps()[0]["base_path"].as_str().unwrap().to_owned();
    run.signed_in().await.get(&format!("{path}x")).await.good("the echo");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn recovery_mode_that_was_asked_for_is_told_and_left_by_a_start() {
    let mut space = Space::new(&echo());
    let document = space.document.to_string_lossy().into_owned();
    let mut run = space.start_with(&["--recovery", &document]);
    run.until(BOOT, "recovery mode", |status| match status.0["mode"].as_str() {
        Some("recovery") => status.ready(),
        mode => Err(format!("the mode is {mode:?}")),
    })
    .await;
    let said = called(&space, &["status"]).await;
    assert!(said.stdout.contains(": recovery mode for ") && said.stdout.contains("then space-agent start"), "{said:?}");
    let (code, check) = doctor(&space, "space").await;
    assert_eq!((code, check["standing"].as_str()), (1, Some("wrong")), "{check:#}");
    let restarted = called(&space, &["restart"]).await;
    assert_eq!((restarted.code(), restarted.stdout.as_str()), (0, "echo was restarted and is ready\n"));
    let started = called(&space, &["start"]).await;
    assert!(started.code() == 0 && started.stdout.contains("has started"), "{started:?}");
    assert_eq!(run.status().await.unwrap().0["mode"], "normal");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}
