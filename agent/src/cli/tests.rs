//! What can be typed, and the commands against a real control room on real sockets.

use super::*;
use crate::control::tests::Live;
use crate::model::events::EventStatus;
use crate::model::now::Timestamp;
use crate::model::status::{AppState, Mode, PhaseName};
use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::time::timeout;

fn typed(line: &str) -> Result<Parsed, (String, u8)> {
    let words = std::iter::once("space-agent").chain(line.split_whitespace());
    parse(words.map(OsString::from))
}

#[test]
fn what_is_typed_is_understood_or_ends_with_2() {
    for good in [
        "run",
        "run a.yaml",
        "run --strict --print-link --log json --space lab a.yaml",
        "run --recovery ./-odd.yaml",
        "run -- python3 -m http.server --bind 127.0.0.1",
        "run --strict a.yaml -- streamlit run app.py",
        "check",
        "check --json a.yaml",
        "status",
        "status --json --watch --space lab",
        "why",
        "logs",
        "logs deps --follow --tail 20",
        "logs -f -n 0",
        "keep 90s",
        "keep 2h --reason night",
        "keep --reason x -- python train.py --epochs 3",
        "stop",
        "stop --reason done --yes --no-wait",
        "restart",
        "restart default --yes --no-wait --space lab",
        "start --no-wait",
        "events -f",
        "doctor",
        "doctor --json a.yaml",
        "sign-in",
        "sign-in --to /lab --expires 30s",
        "schema config",
        "schema openapi",
        "agent --init-fd 3",
        "step /tmp/x",
    ] {
        assert!(typed(good).is_ok(), "{good}: {:?}", typed(good));
    }
    for (bad, says) in [
        ("", "Usage:"),
        ("begin", "unrecognized subcommand"),
        ("restart a b", "unexpected argument"),
        ("run a.yaml b.yaml", "layers"),
        ("run -odd.yaml", "unexpected argument"),
        ("run --recovery --strict", "cannot be used with"),
        ("check --yaml", "unexpected argument"),
        ("run --log xml", "text, json"),
        ("run --space ../x", "a space's name"),
        ("status --space Lab", "a space's name"),
        ("logs --tail some", "--tail"),
        ("keep", "required"),
        ("keep soon", "90s, 5m or 2h"),
        ("keep 0s", "keeps nothing awake"),
        ("keep 5m -- sleep 1", "cannot be used with"),
        ("sign-in --expires 1d", "write 24h"),
        ("schema", "required"),
        ("schema yaml", "config, openapi"),
        ("agent", "--init-fd"),
    ] {
        match typed(bad) {
            Err((message, code)) => assert!(code == 2 && message.contains(says), "{bad}: {code} {message}"),
            Ok(parsed) => panic!("{bad}: {parsed:?}"),
        }
    }
}

#[test]
fn help_is_no_mistake_and_hides_what_only_the_agent_calls() {
    let (help, code) = typed("--help").unwrap_err();
    assert_eq!(code, 0);
    const COMMANDS: &str = "run check status why events logs keep restart start stop doctor sign-in schema";
    for command in COMMANDS.split(' ') {
        assert!(help.contains(&format!("\n  {command} ")), "{command}: {help}");
    }
    assert!(!help.contains("\n  step") && !help.contains("\n  agent"), "{help}");
    let (run, _) = typed("run --help").unwrap_err();
    for argument in ["[DOCUMENT]", "[-- <COMMAND>...]", "--strict", "--recovery"] {
        assert!(run.contains(argument), "{argument}: {run}");
    }
    assert_eq!(typed("--version").unwrap_err().1, 0);
}

fn passed_on(run: &RunArgs) -> RunArgs {
    let head = ["space-agent", "agent", "--init-fd", "7"].map(OsString::from);
    match parse(head.into_iter().chain(run.to_args())) {
        Ok(Parsed::Agent(AgentArgs { init_fd: 7, clean_up: false, run })) => run,
        other => panic!("{run:?}: {other:?}"),
    }
}

#[test]
fn init_passes_the_arguments_on_to_the_agent_unchanged() {
    for line in [
        "",
        "a.yaml",
        "-",
        "--strict a.yaml",
        "--recovery --print-link --log json --space lab-1 ./-odd.yaml",
        "-- sh -c --strict",
        "a.yaml --print-link -- --odd -- --recovery",
    ] {
        let Ok(Parsed::Run(run)) = typed(&format!("run {line}")) else { panic!("{line}") };
        assert_eq!(passed_on(&run), run, "{line}");
    }
    let odd = |name: &str| RunArgs { documents: vec![name.into()], ..RunArgs::default() };
    assert_eq!(passed_on(&odd("--strict")), odd("./--strict"));
}

/// Collects what a command prints.
#[derive(Clone, Default)]
struct Printed(Arc<Mutex<Vec<u8>>>);

impl Write for Printed {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Runs a command against this space; what it printed, or its failure.
async fn called(live: &Live, line: &str) -> (Result<u8, Failure>, String) {
    let Ok(Parsed::Client(command)) = typed(line) else { panic!("not a client's command: {line}") };
    let socket = live.socket().display().to_string();
    let env = |name: &str| (name == "SPACE_AGENT_SOCKET").then(|| socket.clone());
    let surroundings = Surroundings { env: &env, uid: 0, interactive: false };
    let printed = Printed::default();
    let mut output = Output::into(printed.clone());
    let done = timeout(Duration::from_secs(20), carry_out(command, &surroundings, &mut output)).await;
    let text = String::from_utf8(printed.0.lock().unwrap().clone()).unwrap();
    (done.expect("the command ends within 20 s"), text)
}

#[tokio::test]
async fn the_commands_say_what_the_space_does() {
    let live = Live::new("cli");
    live.append("steps/deps", "one\ntwo\n");
    live.append("apps/default", "hello\n");
    for (line, printed) in [
        ("why", "the space boots\n"),
        ("logs deps", "one\ntwo\n"),
        ("logs deps --tail 1", "two\n"),
        ("logs", "deps    | one\ndeps    | two\ndefault | hello\n"),
        ("logs -n 1", "deps    | two\ndefault | hello\n"),
        ("sign-in --to /lab --expires 1m", "http://x//lab#60\n"),
    ] {
        assert_eq!(called(&live, line).await, (Ok(0), printed.to_owned()), "{line}");
    }
    let (code, printed) = called(&live, "status --json").await;
    assert_eq!(code, Ok(0));
    let status: crate::model::status::Status = serde_json::from_str(&printed).unwrap();
    assert_eq!(status, crate::control::tests::status());
    assert!(called(&live, "status").await.1.starts_with("lab: booting for "));
}

#[tokio::test]
async fn a_refusal_is_told_with_its_exit_code() {
    let live = Live::new("refusals");
    let (stop, _) = called(&live, "stop").await;
    let failure = stop.unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (1, "busy: train.ipynb; add --yes to stop it all the same"));
    let (logs, _) = called(&live, "logs other").await;
    assert_eq!(logs.unwrap_err().message, "this space has no step or app other; it has deps, default");
    let (sign_in, _) = called(&live, "sign-in --to //evil").await;
    assert_eq!(sign_in.unwrap_err().code, 1);
    std::fs::remove_file(live.socket()).unwrap();
    assert_eq!(called(&live, "why").await.0.unwrap_err().code, 69);
    // A socket that nobody listens on any more.
    drop(std::os::unix::net::UnixListener::bind(live.socket()).unwrap());
    assert_eq!(called(&live, "why").await.0.unwrap_err().code, 69);
}

#[tokio::test]
async fn a_restart_ends_with_another_app_that_is_ready_or_says_why_not() {
    let live = Live::new("restart");
    let (waiting, printed) = called(&live, "restart --yes").await;
    assert_eq!(
        (waiting, printed),
        (Ok(0), "JupyterLab is not started yet; it starts when the set-up is done\n".into())
    );
    let became = |state, since: u64, mode| {
        live.change(|status| {
            (status.phase, status.mode) = (PhaseName::Running, Some(mode));
            (status.apps[0].state, status.apps[0].since) = (state, Some(Timestamp(since)));
            status.sentence = "it runs in some mode".to_owned();
        });
    };
    became(AppState::Ready, 1, Mode::Normal);
    let failure = called(&live, "restart").await.0.unwrap_err();
    assert_eq!(
        (failure.code, failure.message.as_str()),
        (1, "default is busy: train.ipynb; add --yes to restart it all the same")
    );
    let failure = called(&live, "restart other").await.0.unwrap_err();
    assert_eq!((failure.code, failure.message.as_str()), (1, "this space has no app other; it has default"));
    assert_eq!(called(&live, "restart -y --no-wait").await, (Ok(0), "JupyterLab is being restarted\n".to_owned()));
    let early = timeout(Duration::from_millis(300), called(&live, "restart -y")).await;
    assert!(early.is_err(), "it is still the one from before");
    let later = async |state, mode| {
        tokio::time::sleep(Duration::from_millis(100)).await;
        became(state, 2, mode);
    };
    let (done, ()) = tokio::join!(called(&live, "restart -y"), later(AppState::Ready, Mode::Normal));
    assert_eq!(done, (Ok(0), "JupyterLab was restarted and is ready\n".to_owned()));
    let (done, ()) = tokio::join!(called(&live, "restart -y"), later(AppState::Starting, Mode::Recovery));
    assert_eq!(done.0.unwrap_err().message, "it runs in some mode");
}

#[tokio::test]
async fn a_start_says_what_came_of_it() {
    let live = Live::new("start");
    let turns = |phase, mode, app| {
        live.change(|status| {
            (status.phase, status.mode, status.apps[0].state) = (phase, mode, app);
            status.sentence = "it does something".to_owned();
        });
    };
    turns(PhaseName::Running, Some(Mode::Normal), AppState::Ready);
    assert_eq!(called(&live, "start").await, (Ok(0), "lab runs already: it does something\n".to_owned()));
    turns(PhaseName::Booting, None, AppState::Waiting);
    assert_eq!(called(&live, "start --no-wait").await, (Ok(0), "lab is starting\n".to_owned()));
    for (mode, expected) in [(Mode::Normal, Ok(0)), (Mode::Recovery, Err("it does something".to_owned()))] {
        turns(PhaseName::Booting, None, AppState::Waiting);
        let later = async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            turns(PhaseName::Running, Some(mode), AppState::Ready);
        };
        let ((done, _), ()) = tokio::join!(called(&live, "start"), later);
        assert_eq!(done.map_err(|failure| failure.message), expected);
    }
}

#[tokio::test]
async fn events_are_told_in_order_and_followed_without_a_gap() {
    let live = Live::new("events");
    let happens = |seq: u64| {
        let event = EventStatus { seq, at: Timestamp(seq), failure: false, text: format!("thing {seq}\u{1b}[2J") };
        live.change(|status| status.events.push(event));
    };
    assert_eq!(called(&live, "events").await, (Ok(0), String::new()));
    (1..=2).for_each(happens);
    let two = "1970-01-01T00:00:00.001Z thing 1\\u{1b}[2J\n1970-01-01T00:00:00.002Z thing 2\\u{1b}[2J\n";
    assert_eq!(called(&live, "events").await, (Ok(0), two.to_owned()));
    let ending = async {
        tokio::time::sleep(Duration::from_millis(300)).await;
        happens(3);
        live.switch.stop();
    };
    let (followed, ()) = tokio::join!(called(&live, "events -f"), ending);
    assert_eq!(followed, (Ok(0), format!("{two}1970-01-01T00:00:00.003Z thing 3\\u{{1b}}[2J\n")));
}

#[tokio::test]
async fn doctor_ends_with_1_when_something_is_wrong() {
    let live = Live::new("doctor");
    let (code, printed) = called(&live, "doctor --json").await;
    let document: serde_json::Value = serde_json::from_str(&printed).unwrap();
    assert_eq!((code, &document["ok"]), (Ok(0), &true.into()), "{document:#}");
    live.change(|status| (status.phase, status.mode) = (PhaseName::Running, Some(Mode::Recovery)));
    let (code, printed) = called(&live, "doctor").await;
    assert_eq!(code, Ok(1), "{printed}");
    assert!(
        printed.starts_with("wrong    space: lab answers: the space boots\n         space-agent logs"),
        "{printed}"
    );
    std::fs::remove_file(live.socket()).unwrap();
    let (code, printed) = called(&live, "doctor /nonexistent/space.yaml").await;
    assert_eq!(code, Ok(1), "{printed}");
    assert!(printed.contains("wrong    document: /nonexistent/space.yaml: it cannot be read"), "{printed}");
}

#[tokio::test]
async fn stop_waits_until_nobody_answers() {
    let live = Live::new("stops");
    let (done, printed) = called(&live, "stop --yes --no-wait").await;
    assert_eq!((done, printed.as_str()), (Ok(0), "lab is stopping\n"));
    let early = timeout(Duration::from_millis(300), called(&live, "stop --yes")).await;
    assert!(early.is_err(), "it still answers");
    let (stopped, ()) = tokio::join!(called(&live, "stop --yes"), async {
        tokio::time::sleep(Duration::from_millis(100)).await;
        live.switch.stop();
    });
    assert_eq!(stopped, (Ok(0), "lab has stopped\n".to_owned()));
}

#[tokio::test]
async fn followed_logs_and_a_watched_status_end_with_the_space() {
    let live = Live::new("follows");
    live.append("steps/deps", "one\n");
    let ending = async {
        tokio::time::sleep(Duration::from_millis(400)).await;
        live.append("apps/default", "bye\n");
        live.change(|status| {
            status.sentence = "it stops".to_owned();
            status.phase = PhaseName::Stopping;
        });
        live.switch.stop();
    };
    let (all, watched, ()) = tokio::join!(called(&live, "logs -f"), called(&live, "status --watch"), ending);
    let mut lines: Vec<&str> = all.1.lines().collect();
    lines.sort_unstable();
    assert_eq!((all.0, lines), (Ok(0), vec!["default | bye", "deps    | one"]));
    let sentences: Vec<&str> =
        watched.1.lines().filter_map(|line| line.split_once(' ')).map(|(_, said)| said).collect();
    assert_eq!((watched.0, sentences), (Ok(0), vec!["lab: the space boots", "lab: it stops"]));
}

#[tokio::test]
async fn keep_passes_the_exit_code_of_its_command_on() {
    let live = Live::new("keep");
    for (command, code) in [("true", Ok(0)), ("false", Ok(1)), ("sh -c kill${IFS}$$", Ok(143))] {
        assert_eq!(called(&live, &format!("keep -- {command}")).await.0, code, "{command}");
    }
    assert_eq!(called(&live, "keep -- /nonexistent/x").await.0.unwrap_err().code, 127);
    assert_eq!(called(&live, "keep -- /etc/hostname").await.0.unwrap_err().code, 126);
}

#[tokio::test]
async fn a_space_is_found_by_its_run_folder_and_its_name() {
    let live = Live::new("found");
    let folder = live.folder.display().to_string();
    let env = |name: &str| (name == "SPACE_AGENT_RUN").then(|| folder.clone());
    let surroundings = Surroundings { env: &env, uid: 0, interactive: false };
    let named = |name: &str| Target { space: Some(name.to_owned()) };
    assert_eq!(find::agent(&named("lab"), &surroundings).await.unwrap().socket, live.socket());
    assert_eq!(find::agent(&named("other-space"), &surroundings).await.unwrap_err().code, 69);
}
