//! Bad input: one clear message (what, which object, what to do), the right exit code, and nothing half-made that
//! breaks the next start. With `--strict`: what happens without it is told in `recovery` and `start_failures`.

use crate::documents::{ECHO, echo, jupyterlab};
use space_tests::command::{self, Done};
use space_tests::space::{SOON, Space};
use std::fs;
use std::net::TcpListener;

/// For an app at the end of a document: it is soon given up.
const SHORT: &str = "    restart: { max: 1, backoff: 100ms..200ms }\n";

/// Fails the test unless `run` has ended with `code` and said all of `words`.
#[track_caller]
fn assert_refused(done: &Done, code: i32, words: &[&str]) {
    assert_eq!(done.code(), code, "{}\n{}", done.stdout, done.stderr);
    for word in words {
        assert!(done.stderr.contains(word), "the message lacks {word:?}:\n{}", done.stderr);
    }
    assert!(!done.stderr.contains("panicked"), "{}", done.stderr);
}

/// The same space starts once the cause is gone.
async fn starts_now(space: &mut Space) {
    let mut run = space.start();
    run.ready().await;
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_port_that_is_taken() {
    let mut space = Space::new(&echo());
    let other = TcpListener::bind(("127.0.0.1", space.port)).unwrap();
    let done = space.start_and_fail().await;
    assert_refused(&done, 78, &[&format!("127.0.0.1:{}", space.port), "front_door: { listen:"]);
    assert!(done.took < SOON);
    space.assert_nothing_left();
    drop(other);
    starts_now(&mut space).await;
}

#[tokio::test]
async fn a_document_that_is_not_there() {
    let mut space = Space::new(&echo());
    let text = fs::read_to_string(&space.document).unwrap();
    fs::remove_file(&space.document).unwrap();
    let done = space.start_and_fail().await;
    assert_refused(&done, 78, &["space.yaml"]);
    space.assert_nothing_left();
    space.write_verbatim(&text);
    starts_now(&mut space).await;
}

#[tokio::test]
async fn a_document_with_mistakes() {
    let mut space = Space::new("apps:\n  - kind: jupyterlab\n    enviroment: .venv\nidle: { shutdown: soon }\n");
    let done = space.start_and_fail().await;
    // Every mistake at once, each with its place and its remedy.
    assert_refused(&done, 78, &["space.yaml:7:5", "enviroment", "environment", "idle.shutdown", "soon"]);
    let checked = command::run(space.command(&["check", "space.yaml"]), SOON).await;
    assert_eq!(checked.code(), 78, "{checked:?}");
    space.assert_nothing_left();
    space.write(&echo());
    let checked = command::run(space.command(&["check", "space.yaml"]), SOON).await;
    assert!(checked.code() == 0 && checked.stdout.contains("echo"), "{checked:?}");
    starts_now(&mut space).await;
}

#[tokio::test]
async fn a_git_url_that_is_wrong() {
    let step = |folder: &str| {
        format!(
            "lifecycle:\n  steps:\n    - name: handbook\n      git: {{ url: \"file://{folder}\", into: handbook }}\n      blocks: app\n"
        )
    };
    let mut space = Space::new(&(step("/nowhere/handbook.git") + &echo()));
    let done = space.start_and_fail().await;
    assert_refused(&done, 1, &["handbook", "/nowhere/handbook.git"]);
    assert!(!space.home.join("handbook").exists(), "a half-made clone is left");
    space.assert_nothing_left();

    let origin = space.folder.join("origin");
    for args in [
        vec!["init", "-q"],
        vec!["-c", "user.name=x", "-c", "user.email=x@example", "commit", "-q", "--allow-empty", "-m", "x"],
    ] {
        fs::create_dir_all(&origin).unwrap();
        let mut git = std::process::Command::new("git");
        git.args(args).current_dir(&origin);
        assert_eq!(command::run(git, SOON).await.code(), 0);
    }
    space.write(&(step(&origin.to_string_lossy()) + &echo()));
    starts_now(&mut space).await;
    assert!(space.home.join("handbook/.git").exists());
    // The second start leaves it as it is, and says so.
    let mut run = space.start();
    let status = run.ready().await;
    let step = status.step("handbook");
    assert!(step["state"] == "skipped" && step["why"].as_str().is_some_and(|why| why.contains("handbook")), "{step:#}");
    assert_eq!(run.stop().await, 0);
}

#[tokio::test]
async fn a_script_that_fails() {
    let step = |script: &str| format!("lifecycle:\n  steps:\n    - name: prepare\n      run: {script}\n");
    let mut space = Space::new(&(step("echo no luck; exit 9") + &echo()));
    let done = space.start_and_fail().await;
    assert_refused(&done, 1, &["prepare", "exit code 9"]);
    space.assert_nothing_left();
    // With `on_failure: continue` the space goes on without it, and says so.
    space.write(&(step("exit 9") + "      on_failure: continue\n" + &echo()));
    let mut run = space.start();
    let status = run.ready().await;
    assert_eq!(status.step("prepare")["state"], "failed");
    assert_eq!(run.stop().await, 0);
    // And with a timeout it is ended.
    space.write(&(step("sleep 600") + "      timeout: 1s\n" + &echo()));
    let done = space.start_and_fail().await;
    assert_refused(&done, 1, &["prepare", "timeout"]);
    space.assert_nothing_left();
}

#[tokio::test]
async fn an_app_that_dies_at_once() {
    let mut space = Space::new(&(crate::documents::echo_with("dies") + SHORT));
    let done = space.start_and_fail().await;
    assert_refused(&done, 3, &["echo", "exit code 7"]);
    space.assert_nothing_left();
    space.write(&echo());
    starts_now(&mut space).await;
}

#[tokio::test]
async fn a_jupyterlab_that_dies_at_once() {
    let mut space = Space::new(&format!("apps:\n  - kind: jupyterlab\n    environment: broken\n{SHORT}"));
    let program = space.home.join("broken/bin/jupyter-lab");
    fs::create_dir_all(program.parent().unwrap()).unwrap();
    command::put_script(&program, "#!/bin/sh\necho 'ImportError: no jupyterlab here' >&2\nexit 1\n");
    let done = space.start_and_fail().await;
    assert_refused(&done, 3, &["exit code 1"]);
    space.assert_nothing_left();
    space.write(&jupyterlab());
    starts_now(&mut space).await;
}

#[tokio::test]
async fn an_app_whose_program_is_missing() {
    let mut space = Space::new("apps:\n  - kind: command\n    name: dashboard\n    command: [no-such-program]\n");
    let done = space.start_and_fail().await;
    assert_refused(&done, 3, &["no-such-program"]);
    space.assert_nothing_left();
}

#[tokio::test]
async fn no_network_during_the_python_step() {
    let closed = space_tests::space::free_port();
    let step = |index: String| {
        format!(
            "lifecycle:\n  steps:\n    - name: tools\n      python: {{ packages: [six], environment: .tools }}\n      \
             blocks: app\n{index}"
        )
    };
    let nowhere = format!(
        "      env: {{ PIP_INDEX_URL: \"http://127.0.0.1:{closed}/simple\", PIP_FIND_LINKS: \"\", \
         PIP_CONFIG_FILE: /dev/null, PIP_NO_CACHE_DIR: \"1\" }}\n"
    );
    let mut space = Space::new(&(step(nowhere) + &echo()));
    let done = space.start_and_fail().await;
    assert_refused(&done, 1, &["tools", "cannot reach", "network"]);
    space.assert_nothing_left();
    space.write(&(step(String::new()) + &echo()));
    starts_now(&mut space).await;
}

#[tokio::test]
async fn a_second_start_of_a_space_that_runs() {
    let mut space = Space::new(&echo());
    let mut run = space.start();
    run.ready().await;
    let mut second = space.start();
    let status = second.end(SOON).await;
    assert!(!status.success());
    assert!(!second.stderr().contains("panicked"), "{}", second.stderr());
    // The first one doesn't notice.
    let mut client = run.signed_in().await;
    client.get(&format!("{ECHO}x")).await.good("the echo");
    assert_eq!(run.stop().await, 0);
    space.assert_nothing_left();
}

#[tokio::test]
async fn a_wrong_command_line_and_a_space_that_does_not_run() {
    let space = Space::new(&echo());
    for args in [&["run", "--no-such-option"][..], &["dance"]] {
        let done = command::run(space.command(args), SOON).await;
        assert_eq!(done.code(), 2, "{args:?}: {done:?}");
    }
    for args in [&["status"][..], &["why"], &["stop"], &["keep", "1h"], &["sign-in"]] {
        let done = command::run(space.command(args), SOON).await;
        assert_eq!(done.code(), 69, "{args:?}: {done:?}");
        assert!(!done.stderr.is_empty());
    }
}
