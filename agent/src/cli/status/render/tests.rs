//! Status as a person reads it, as snapshots.

use super::*;
use crate::model::status::{ActivityStatus, KernelStatus, Mode};

const NOW: Timestamp = Timestamp(1_795_168_800_000);

fn ago(seconds: u64) -> Timestamp {
    Timestamp(NOW.0 - seconds * 1000)
}

fn step(name: &str, kind: &str, state: StepState, took_ms: Option<u64>, why: Option<&str>) -> StepStatus {
    let (name, kind, why) = (name.to_owned(), kind.to_owned(), why.map(str::to_owned));
    StepStatus { name, kind, blocks_app: true, state, why, started: Some(ago(75)), took_ms }
}

fn status() -> Status {
    let mut status = crate::control::tests::status();
    status.phase = PhaseName::Running;
    status.mode = Some(Mode::Normal);
    status.since = ago(7800);
    status.sentence =
        "JupyterLab is ready, and active: the kernel of train.ipynb has been busy since 09:00:00 UTC.".to_owned();
    status.steps = vec![
        step("handbook", "git", StepState::Skipped, Some(3), Some("handbook is there already")),
        step("deps", "python", StepState::Done, Some(61_300), None),
        step("data", "run", StepState::Running, None, None),
        step("extra", "run", StepState::Failed, Some(1234), Some("ended with exit code 1\u{1b}[2J")),
    ];
    status.apps[0].state = AppState::Ready;
    status.apps[0].pid = Some(4242);
    status.apps[0].since = Some(ago(600));
    status.apps[0].restarts = 2;
    status.activity = ActivityStatus {
        sentence: "Active: the kernel of train.ipynb has been busy since 09:00:00 UTC.".to_owned(),
        kernels: vec![KernelStatus {
            app: "default".to_owned(),
            name: "train.ipynb".to_owned(),
            state: KernelState::Busy,
        }],
        blind: vec!["dashboard: no answer within 5 s".to_owned()],
        ..status.activity
    };
    status.leases = vec![LeaseStatus {
        id: "ab12".to_owned(),
        reason: "night run".to_owned(),
        until: Timestamp(NOW.0 + 5_400_000),
    }];
    status.last_run = Some("it ended on 2026-11-19 at 18:00 UTC, after 2 h: idle".to_owned());
    let event =
        |seq: u64| EventStatus { seq, at: ago(700 - seq * 100), failure: seq == 6, text: format!("thing {seq}") };
    status.events = (1..=6).map(event).collect();
    status.warnings = vec!["the user is root".to_owned()];
    status.listen = ([0, 0, 0, 0], 8888).into();
    status.path = "/jupyterlab/default/".to_owned();
    status
}

#[test]
fn a_running_space_is_told_on_one_screen() {
    let expected = "\
lab: running for 2 h 10 min
JupyterLab is ready, and active: the kernel of train.ipynb has been busy since 09:00:00 UTC.

http://127.0.0.1:8888/jupyterlab/default/  (alice, /home/alice)
isolation: none — the user runs as the agent does, or may become root: they can stop and trace it, read its keys of \
this boot, and forge activity
last run: it ended on 2026-11-19 at 18:00 UTC, after 2 h: idle

steps
  skipped  handbook  git     3 ms   handbook is there already
  done     deps      python  61 s
  running  data      run     75 s
  failed   extra     run     1.2 s  ended with exit code 1\\u{1b}[2J

apps
  ready  default  JupyterLab  /jupyterlab/default/  pid 4242, for 10 min, restarted 2 times

activity
  Active: the kernel of train.ipynb has been busy since 09:00:00 UTC.
  kernel of train.ipynb (default): busy
  cannot be read: dashboard: no answer within 5 s

leases
  90 min left  night run  id ab12

warnings
  the user is root

events
  8 min 20 s ago  thing 2
  6 min 40 s ago  thing 3
  5 min ago       thing 4
  3 min 20 s ago  thing 5
  100 s ago       thing 6
";
    assert_eq!(screen(&status(), NOW, Paint { colour: false }), expected);
}

#[test]
fn another_mode_is_told_first_with_what_to_do() {
    let mut status = status();
    for (mode, head, first) in [
        (
            Mode::Recovery,
            "lab: recovery mode for 2 h 10 min\n",
            "\n\nfirst: space-agent logs and space-agent events say",
        ),
        (Mode::Parked, "lab: parked for 2 h 10 min\n", "\n\nfirst: space-agent start starts its apps again"),
    ] {
        status.mode = Some(mode);
        let screen = screen(&status, NOW, Paint { colour: false });
        assert!(screen.starts_with(head) && screen.contains(first), "{screen}");
    }
}

#[test]
fn a_silent_app_is_told_with_what_is_known_of_it() {
    let mut status = status();
    status.apps[0].why = Some("JupyterLab runs but has not answered for a while".to_owned());
    let screen = screen(&status, NOW, Paint { colour: false });
    assert!(screen.contains("restarted 2 times, JupyterLab runs but has not answered for a while\n"), "{screen}");
}

#[test]
fn colours_change_no_word_and_no_column() {
    let coloured = screen(&status(), NOW, Paint { colour: true });
    assert!(coloured.contains("\u{1b}[32mready\u{1b}[0m  default"), "{coloured}");
    let mut plain = coloured;
    for code in ["0", "1", "2", "31", "32", "33"] {
        plain = plain.replace(&format!("\u{1b}[{code}m"), "");
    }
    assert_eq!(plain, screen(&status(), NOW, Paint { colour: false }));
}

#[test]
fn a_short_time_is_told_with_its_parts() {
    for (ms, text) in
        [(0, "0 ms"), (999, "999 ms"), (1000, "1.0 s"), (12_345, "12.3 s"), (60_000, "60 s"), (200_000, "3 min 20 s")]
    {
        assert_eq!(took(ms), text);
    }
}
