//! Recovery and parked mode, and the ways in and out.

use super::*;
use crate::model::status::Mode;

fn in_recovery(attempt: u32) -> Effect {
    Effect::StartApp { app: 0, child: format!("app/default#{attempt}"), recovery: true }
}

fn start() -> Event {
    Event::StartAsked { by: "alice".into() }
}

impl Story {
    fn mode(&self) -> Option<Mode> {
        self.status().mode
    }

    /// The app dies as often as it may.
    fn crashes(&mut self) -> Vec<Effect> {
        self.happens(Event::Tick);
        self.step_ends("jupyterlab", done());
        assert_eq!(self.app_ends(1), []);
        assert_eq!(self.status().apps[0].state, AppState::Restarting);
        assert_eq!(self.after(2), [start_app(2)]);
        self.app_ends(2);
        assert_eq!(self.after(3), [start_app(3)]);
        self.app_ends(3)
    }
}

#[test]
fn a_failed_step_that_matters_leads_to_recovery_mode_with_its_reason() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    assert_eq!(story.step_ends("jupyterlab", failed()), [in_recovery(1)]);
    let status = story.status();
    assert_eq!((status.phase, status.mode), (PhaseName::Running, Some(Mode::Recovery)));
    assert!(status.reason.unwrap().starts_with("the step jupyterlab failed: cannot reach the index"));
    story.happens(Event::AppReady { child: "app/default#1".into() });
    assert!(story.status().sentence.contains("runs with a clean home. After the repair: space-agent start."));
    assert_eq!(story.status().steps[1].state, StepState::Waiting, "the rest of the set-up is not run");
}

#[test]
fn a_strict_space_ends_instead_with_the_code_of_what_failed() {
    let mut story = Story::new();
    story.space.facts.strict = true;
    story.happens(Event::Tick);
    assert_eq!(story.step_ends("jupyterlab", failed()), []);
    assert_eq!(story.status().phase, PhaseName::Failed);
    assert_eq!(story.after(FAILED_SHOWN.as_secs()), [Effect::LookAtRepositories, END_TREE]);
    story.happens(Event::TreeEnded);
    assert_eq!(story.happens(Event::RepositoriesSeen(vec![])), [Effect::Leave { code: 1 }]);
    let mut story = Story::new();
    story.space.facts.strict = true;
    story.crashes();
    assert_eq!(story.status().phase, PhaseName::Failed);
    story.after(FAILED_SHOWN.as_secs());
    story.happens(Event::TreeEnded);
    assert_eq!(story.after(5), [Effect::Leave { code: 3 }]);
}

#[test]
fn a_step_that_says_abort_ends_the_space() {
    let mut story = Story::new();
    story.space.spec.steps[0].on_failure = OnFailure::Abort;
    story.happens(Event::Tick);
    assert_eq!(story.step_ends("jupyterlab", failed()), []);
    assert_eq!(story.status().phase, PhaseName::Failed);
}

#[test]
fn a_crash_loop_leads_to_recovery_mode_with_fresh_tries() {
    let mut story = Story::new();
    assert_eq!(story.crashes(), [Effect::EndChild { child: "step/handbook".into(), grace: TURN }, in_recovery(4)]);
    let reason = story.status().reason.unwrap();
    assert!(reason.contains("JupyterLab ended with exit code 1; its last line was: no module (3 starts)"), "{reason}");
    story.app_ends(4);
    assert_eq!(story.status().apps[0].state, AppState::Restarting);
}

const TURN: Duration = Duration::from_secs(5);

#[test]
fn where_the_app_cannot_run_in_recovery_mode_either_the_space_stays_until_it_is_idle_and_ends_with_3() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    story.step_ends("jupyterlab", failed());
    let exit = Exit::NotStarted("no jupyter-lab".into());
    story.happens(Event::AppEnded { child: "app/default#1".into(), exit, last_line: None });
    assert_eq!((story.mode(), story.status().apps[0].state), (Some(Mode::Recovery), AppState::Failed));
    assert!(story.status().sentence.contains("cannot run with a clean home either"));
    story.after(50);
    assert_eq!(story.status().phase, PhaseName::Notice);
    assert_eq!(story.after(11), [Effect::LookAtRepositories, END_TREE]);
    story.happens(Event::TreeEnded);
    assert_eq!(story.after(5), [Effect::Leave { code: 3 }]);
}

#[test]
fn a_start_ends_the_recovery_app_and_boots_anew_with_all_steps() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    story.step_ends("jupyterlab", failed());
    story.happens(Event::AppReady { child: "app/default#1".into() });
    let step = Effect::StartStep { step: 0, child: "step/jupyterlab#2".into() };
    assert_eq!(story.happens(start()), [end_app(1, 5, true), step]);
    assert_eq!((story.status().phase, story.mode()), (PhaseName::Booting, None));
    story.happens(Event::StepEnded { child: "step/jupyterlab#2".into(), outcome: done() });
    assert_eq!(story.status().apps[0].state, AppState::Restarting, "the recovery app has not ended yet");
    assert_eq!(story.app_ends(1), [start_app(2)]);
    story.happens(Event::AppReady { child: "app/default#2".into() });
    assert_eq!((story.mode(), story.status().reason), (Some(Mode::Normal), None));
    assert_eq!(story.happens(start()), [], "it runs already");
}

#[test]
fn a_parked_space_starts_nothing_and_never_stops_for_idleness_until_somebody_starts_it() {
    let mut story = Story::new();
    story.space.begin(Beginning::Parked("it was stopped at 10:00 since nothing ran".into()), at(0));
    assert_eq!(story.happens(Event::Tick), []);
    assert_eq!(story.after(1_000_000), []);
    assert_eq!((story.status().phase, story.mode()), (PhaseName::Running, Some(Mode::Parked)));
    assert!(
        story.status().sentence.starts_with("The space is parked, and nothing runs in it: it was stopped at 10:00")
    );
    assert_eq!(story.happens(Event::RestartAsked { app: 0, by: "alice".into() }), []);
    assert_eq!(story.happens(start()), [Effect::StartStep { step: 0, child: "step/jupyterlab#2".into() }]);
}

#[test]
fn recovery_mode_on_request_starts_the_first_app_alone() {
    let mut spec = space_lifecycle::default_space();
    let mut second = spec.apps[0].clone();
    second.name = "second".into();
    spec.apps.push(second);
    let mut story = Story::of(spec);
    story.space.begin(Beginning::Recovery("it was asked for".into()), at(0));
    assert_eq!(story.happens(Event::Tick), [in_recovery(1)]);
    assert_eq!(story.status().apps[1].state, AppState::Stopped);
}

#[test]
fn the_console_is_for_recovery_mode_only() {
    let mut story = Story::new().ready();
    let asked = || Event::RescueAsked { command: "df -h".into() };
    assert_eq!(story.happens(asked()), []);
    story.space.begin(Beginning::Recovery("x".into()), at(0));
    let run = Effect::RunRescue { child: "rescue#1".into(), command: "df -h".into() };
    assert_eq!(story.happens(asked()), [run]);
}

#[test]
fn a_space_is_not_stopped_for_idleness_while_somebody_uses_the_console() {
    let mut story = Story::new();
    story.space.begin(Beginning::Recovery("x".into()), at(0));
    story.happens(Event::Tick);
    let exit = Exit::NotStarted("no such file".into());
    story.happens(Event::AppEnded { child: "app/default#1".into(), exit, last_line: None });
    for command in 1..=3 {
        story.ms += 59_000;
        let run = Effect::RunRescue { child: format!("rescue#{command}"), command: "df -h".into() };
        assert_eq!(story.happens(Event::RescueAsked { command: "df -h".into() }), [run]);
    }
    story.after(50);
    assert_eq!(story.status().phase, PhaseName::Notice);
    story.after(10);
    assert_eq!(story.status().phase, PhaseName::Stopping);
}

#[test]
fn a_restart_that_is_asked_for_is_no_failure_and_waits_for_nothing() {
    let mut story = Story::new().ready();
    let asked = || Event::RestartAsked { app: 0, by: "alice".into() };
    assert_eq!(story.happens(asked()), [end_app(1, 10, false)]);
    assert_eq!(story.happens(asked()), [], "once is enough");
    assert_eq!(story.app_ends(1), [start_app(2)]);
    let app = &story.status().apps[0];
    assert_eq!((app.state, app.restarts, app.why.as_deref()), (AppState::Starting, 0, None));
}

#[test]
fn a_silent_app_is_said_to_be_and_ended_only_where_the_document_says_so() {
    let child = || "app/default#1".to_owned();
    let mut story = Story::new().ready();
    assert_eq!(story.happens(Event::AppSilent { child: child() }), []);
    assert!(story.status().apps[0].why.as_ref().unwrap().contains("has not answered for a while"));
    story.happens(Event::AppAnswers { child: child() });
    assert_eq!(story.status().apps[0].why, None);
    let (path, every) = ("/".to_owned(), Duration::from_secs(30));
    story.space.spec.apps[0].live = Some(space_lifecycle::Live { path, every, failures: 5 });
    let end = Effect::EndChild { child: child(), grace: Duration::from_secs(5) };
    assert_eq!(story.happens(Event::AppSilent { child: child() }), [end]);
    story.happens(Event::AppEnded { child: child(), exit: Exit::Signal(15), last_line: None });
    assert_eq!(story.status().apps[0].why.as_deref(), Some("JupyterLab did not answer any more and was ended"));
}
