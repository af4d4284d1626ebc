//! Apps that start when somebody asks for them.

use super::*;
use crate::model::status::Mode;
use space_lifecycle::Start;

/// JupyterLab, and `tool` on demand; a step before both.
fn story() -> Story {
    let mut spec = space_lifecycle::default_space();
    spec.idle.shutdown = Some(Duration::from_secs(60));
    spec.idle.notice = Duration::from_secs(10);
    spec.idle.action = Action::Exit;
    let tool = space_lifecycle::App { name: "tool".into(), start: Start::OnDemand, ..spec.apps[0].clone() };
    spec.apps.push(tool);
    Story::of(spec)
}

fn start_tool(attempt: u32) -> Effect {
    Effect::StartApp { app: 1, child: format!("app/tool#{attempt}"), recovery: false }
}

fn states(story: &Story) -> Vec<AppState> {
    story.status().apps.iter().map(|app| app.state).collect()
}

#[test]
fn the_space_is_ready_without_it_and_its_first_request_starts_it() {
    let mut story = story().ready();
    assert_eq!(states(&story), [AppState::Ready, AppState::Asleep]);
    assert_eq!(story.status().activity.verdict, VerdictName::Idle);
    assert_eq!(story.happens(Event::AppWanted { app: 1 }), [start_tool(1)]);
    assert_eq!(story.happens(Event::AppWanted { app: 1 }), [], "it is on its way");
    let status = story.status();
    assert_eq!((status.phase, status.sentence.as_str()), (PhaseName::Running, "JupyterLab is starting."));
    assert_eq!(status.activity.verdict, VerdictName::Active, "somebody waits for it");
    story.happens(Event::AppReady { child: "app/tool#1".into() });
    assert_eq!(states(&story), [AppState::Ready, AppState::Ready]);
}

#[test]
fn wanted_during_the_boot_it_starts_after_its_steps_and_the_boot_does_not_wait_for_it() {
    let mut story = story();
    story.happens(Event::Tick);
    assert_eq!(story.happens(Event::AppWanted { app: 1 }), []);
    assert_eq!(states(&story), [AppState::Waiting, AppState::Waiting]);
    assert_eq!(story.step_ends("jupyterlab", done()), [start_app(1), start_tool(1)]);
    story.happens(Event::AppReady { child: "app/default#1".into() });
    assert_eq!(story.status().phase, PhaseName::Running);
    assert_eq!(states(&story), [AppState::Ready, AppState::Starting]);
}

#[test]
fn a_space_whose_only_app_sleeps_is_ready_and_stops_for_idleness_without_it() {
    let mut spec = story().space.spec;
    spec.steps.clear();
    spec.apps.remove(0);
    let mut story = Story::of(spec);
    assert_eq!(story.happens(Event::Tick), []);
    let status = story.status();
    assert!(status.ready());
    assert_eq!(status.sentence, "JupyterLab starts at its first request; nothing is running in it.");
    story.after(50);
    assert_eq!(story.status().phase, PhaseName::Notice);
    story.after(10);
    assert_eq!(story.status().phase, PhaseName::Stopping);
}

#[test]
fn a_restart_starts_it_and_an_end_by_itself_is_followed_by_a_new_start() {
    let mut story = story().ready();
    assert_eq!(story.happens(Event::RestartAsked { app: 1, by: "root".into() }), [start_tool(1)]);
    story.happens(Event::AppReady { child: "app/tool#1".into() });
    let child = "app/tool#1".to_owned();
    story.happens(Event::AppEnded { child, exit: Exit::Code(0), last_line: None });
    assert_eq!(states(&story)[1], AppState::Restarting);
    assert_eq!(story.after(2), [start_tool(2)]);
}

#[test]
fn an_agent_that_follows_knows_that_it_sleeps_and_an_older_one_would_start_it() {
    let story = story().ready();
    let mut stored = serde_json::to_value(&story.space).unwrap();
    let again: Space = serde_json::from_value(stored.clone()).unwrap();
    assert_eq!(again, story.space);
    // What an older agent reads: the same without the fields that it does not know.
    for app in stored["apps"].as_array_mut().unwrap() {
        app.as_object_mut().unwrap().remove("asleep");
    }
    let older: Space = serde_json::from_value(stored).unwrap();
    assert_eq!(older.apps[1].state, State::Waiting);
}

#[test]
fn in_recovery_and_parked_mode_nobody_wakes_it_and_a_start_puts_it_to_sleep_again() {
    let mut story = story().ready();
    story.happens(Event::AppWanted { app: 1 });
    story.space.recover("broken".into(), 3, at(0), &mut Vec::new());
    for child in ["app/default#1", "app/tool#1"] {
        story.happens(Event::AppEnded { child: child.into(), exit: Exit::Signal(15), last_line: None });
    }
    assert_eq!(story.status().mode, Some(Mode::Recovery));
    assert_eq!(states(&story), [AppState::Starting, AppState::Stopped]);
    assert_eq!(story.happens(Event::AppWanted { app: 1 }), []);
    story.happens(Event::StartAsked { by: "alice".into() });
    assert_eq!(states(&story)[1], AppState::Asleep);
}

#[test]
fn whose_end_was_asked_for_before_init_heard_of_its_start_is_not_started_by_an_agent_that_follows() {
    let mut story = story();
    story.happens(Event::AppWanted { app: 1 });
    story.happens(Event::Tick);
    story.step_ends("jupyterlab", done());
    let exit = Exit::NotStarted("no such file".into());
    story.happens(Event::AppEnded { child: "app/default#1".into(), exit, last_line: None });
    assert_eq!(story.status().mode, Some(Mode::Recovery));
    story.happens(Event::StartAsked { by: "alice".into() });
    let effects = story.happens(Event::Resumed { known: Vec::new() });
    assert!(!effects.iter().any(|effect| matches!(effect, Effect::StartApp { app: 1, .. })), "{effects:?}");
    assert_eq!(states(&story)[1], AppState::Asleep);
}

#[test]
fn the_first_app_starts_in_recovery_mode_whether_or_not_anybody_asks_for_it() {
    let mut spec = story().space.spec;
    spec.apps[0].start = Start::OnDemand;
    let mut story = Story::of(spec);
    story.space.begin(Beginning::Recovery("it was asked for".into()), at(0));
    let recovery = Effect::StartApp { app: 0, child: "app/default#1".into(), recovery: true };
    assert_eq!(story.happens(Event::Tick), [recovery]);
    story.happens(Event::StartAsked { by: "alice".into() });
    let child = "app/default#1".to_owned();
    story.happens(Event::AppEnded { child, exit: Exit::Signal(15), last_line: None });
    assert_eq!(states(&story), [AppState::Asleep, AppState::Asleep]);
}
