//! The state machine as stories: events in, effects and phases out, time given.

use super::*;
use crate::model::app::State;
use crate::model::now::Timestamp;
use crate::model::reading::{Kernel, KernelState};
use crate::model::status::{AgentStatus, AppState, PhaseName, Status, StepState, VerdictName};
use space_lifecycle::{Action, Blocks, OnFailure, Step, StepKind};
use std::collections::BTreeMap;

mod detour;
mod ending;
mod on_demand;
mod properties;

/// A space whose clock the test moves.
#[derive(Debug)]
struct Story {
    space: Space,
    ms: u64,
}

impl Story {
    /// One python step that blocks, one git step that doesn't, JupyterLab; stops after 60 s with 10 s of notice.
    fn new() -> Story {
        let mut spec = space_lifecycle::default_space();
        spec.idle.shutdown = Some(Duration::from_secs(60));
        spec.idle.notice = Duration::from_secs(10);
        spec.idle.action = Action::Exit;
        spec.steps.push(git_step("handbook"));
        Story::of(spec)
    }

    fn of(spec: space_lifecycle::Space) -> Story {
        let facts = Facts {
            name: "lab".into(),
            id: "01234567".into(),
            boot: "b".into(),
            user: "alice".into(),
            home: "/home/alice".into(),
            logs: "/log".into(),
            listen: ([127, 0, 0, 1], 8888).into(),
            strict: false,
            isolation: Default::default(),
            last_run: None,
        };
        let facts_of = |_: &space_lifecycle::App| AppFacts {
            label: "JupyterLab".into(),
            base_path: "/jupyterlab/default/".into(),
            kernels: true,
        };
        let app_facts = spec.apps.iter().map(facts_of).collect();
        Story { space: Space::new(spec, facts, app_facts, at(0)), ms: 0 }
    }

    fn happens(&mut self, event: Event) -> Vec<Effect> {
        self.space.handle(event, at(self.ms))
    }

    fn after(&mut self, seconds: u64) -> Vec<Effect> {
        self.ms += seconds * 1000;
        self.happens(Event::Tick)
    }

    fn status(&self) -> Status {
        let agent = AgentStatus { version: "0".into(), pid: 2, init_pid: 1, starts: 1 };
        self.space.status(at(self.ms), agent)
    }

    fn step_ends(&mut self, name: &str, outcome: StepOutcome) -> Vec<Effect> {
        self.happens(Event::StepEnded { child: format!("step/{name}"), outcome })
    }

    fn app_ends(&mut self, attempt: u32) -> Vec<Effect> {
        let child = format!("app/default#{attempt}");
        self.happens(Event::AppEnded { child, exit: Exit::Code(1), last_line: Some("no module".into()) })
    }

    fn sees(&mut self, state: KernelState, last_activity: &str) -> Vec<Effect> {
        let kernel = Kernel { id: "k".into(), name: "work.ipynb".into(), state, last_activity: last_activity.into() };
        self.happens(Event::Seen(Reading { app: "default".into(), seen: Ok(vec![kernel]) }))
    }

    /// From the wish to stop to the end, for an app that obeys.
    fn ends(&mut self, attempt: u32) -> Vec<Effect> {
        self.happens(Event::RepositoriesSeen(Vec::new()));
        assert_eq!(self.app_ends(attempt), [END_TREE]);
        self.happens(Event::TreeEnded)
    }

    /// Up to a space that is ready.
    fn ready(mut self) -> Story {
        self.happens(Event::Tick);
        self.step_ends("jupyterlab", done());
        self.step_ends("handbook", done());
        self.happens(Event::AppReady { child: "app/default#1".into() });
        assert_eq!(self.status().phase, PhaseName::Running);
        self
    }
}

fn at(ms: u64) -> Now {
    Now { monotonic: Monotonic(1_000_000 + ms), wall: Timestamp(1_795_168_800_000 + ms), boot_id: 7 }
}

fn done() -> StepOutcome {
    StepOutcome::Done { why: None }
}

fn failed() -> StepOutcome {
    StepOutcome::Failed { why: "cannot reach the index; check the network".into() }
}

fn git_step(name: &str) -> Step {
    Step {
        on: space_lifecycle::Moment::Start,
        name: name.into(),
        kind: StepKind::Git { url: "https://git.example/x.git".into(), r#ref: None, into: name.into() },
        needs: Vec::new(),
        blocks: Blocks::Nothing,
        timeout: Duration::from_secs(600),
        on_failure: OnFailure::Continue,
        env: BTreeMap::new(),
    }
}

fn start_step(step: usize, name: &str) -> Effect {
    Effect::StartStep { step, child: format!("step/{name}") }
}

fn start_app(attempt: u32) -> Effect {
    Effect::StartApp { app: 0, child: format!("app/default#{attempt}"), recovery: false }
}

/// What is left behind gets half a second.
const END_TREE: Effect = Effect::EndTree { grace: Duration::from_millis(500) };

/// The beginning of a stop of a space without stop steps whose app runs.
fn stopping(attempt: u32) -> [Effect; 2] {
    [Effect::LookAtRepositories, end_app(attempt, 10, false)]
}

fn end_app(attempt: u32, seconds: u64, recovery: bool) -> Effect {
    let (child, grace) = (format!("app/default#{attempt}"), Duration::from_secs(seconds));
    Effect::EndApp { app: 0, child, grace, recovery }
}

#[test]
fn the_app_starts_when_its_steps_are_over_and_beside_the_others() {
    let mut story = Story::new();
    assert_eq!(story.happens(Event::Tick), [start_step(0, "jupyterlab")]);
    assert_eq!(story.step_ends("jupyterlab", done()), [start_step(1, "handbook"), start_app(1)]);
    let child = "app/default#1".to_owned();
    let probe = Effect::ProbeApp { app: 0, child: child.clone(), recovery: false };
    assert_eq!(story.happens(Event::Started { child, pid: 7 }), [probe]);
    assert_eq!(story.status().sentence, "JupyterLab is starting.");
    story.happens(Event::AppReady { child: "app/default#1".into() });
    assert_eq!((story.status().phase, story.status().steps[1].state), (PhaseName::Running, StepState::Running));
}

#[test]
fn a_space_without_steps_and_apps_is_ready_at_once() {
    let mut spec = space_lifecycle::default_space();
    (spec.steps, spec.apps) = (Vec::new(), Vec::new());
    let mut story = Story::of(spec);
    assert_eq!(story.happens(Event::Tick), []);
    assert_eq!(story.status().phase, PhaseName::Running);
}

#[test]
fn a_failed_step_that_may_fail_is_a_warning() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    story.step_ends("jupyterlab", done());
    story.step_ends("handbook", failed());
    let status = story.status();
    assert_eq!((status.phase, status.warnings.len()), (PhaseName::Booting, 1));
}

#[test]
fn a_step_that_matters_and_cannot_run_for_want_of_another_tells_the_first_reason() {
    let mut story = Story::new();
    story.space.spec.steps.swap(0, 1);
    story.space.spec.steps[1].needs = vec!["handbook".into()];
    story.happens(Event::Tick);
    story.step_ends("handbook", failed());
    let reason = story.status().reason.unwrap();
    let expected = "the step jupyterlab cannot run: the step handbook that it needs has failed: cannot reach the index";
    assert!(reason.starts_with(expected), "{reason}");
}

#[test]
fn a_step_that_takes_too_long_is_ended_once_and_told_so() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    let end = Effect::EndChild { child: "step/jupyterlab".into(), grace: Duration::from_secs(5) };
    assert_eq!(story.space.wakes_at(at(0)), Some(at(600_000).monotonic));
    assert_eq!(story.after(600), [end]);
    assert_eq!(story.after(1), []);
    story.step_ends("jupyterlab", done());
    assert!(story.status().reason.unwrap().contains("did not end within 10 min"));
}

#[test]
fn an_app_that_crashes_while_it_is_used_comes_back_and_holds_the_space_meanwhile() {
    let mut story = Story::new().ready();
    story.app_ends(1);
    assert_eq!((story.status().phase, story.status().activity.verdict), (PhaseName::Running, VerdictName::Active));
    assert_eq!(story.after(2), [start_app(2)]);
    story.happens(Event::AppReady { child: "app/default#2".into() });
    assert_eq!((story.status().apps[0].state, story.status().apps[0].restarts), (AppState::Ready, 1));
}

#[test]
fn an_untouched_space_is_warned_of_looked_at_and_then_stopped_with_code_0() {
    let mut story = Story::new().ready();
    assert_eq!(story.after(49), []);
    assert_eq!(story.status().phase, PhaseName::Running);
    story.after(1);
    assert_eq!(story.status().phase, PhaseName::Notice);
    assert_eq!(story.after(10), [Effect::Look], "nothing was looked at since: not on old evidence");
    let reading = Reading { app: "default".into(), seen: Ok(Vec::new()) };
    assert_eq!(story.happens(Event::Seen(reading)), stopping(1));
    assert!(story.status().sentence.contains("nothing has run in it for 60 s"));
    assert_eq!(story.ends(1), [Effect::Leave { code: 0 }]);
}

#[test]
fn somebody_who_works_in_an_app_wakes_a_space_that_was_about_to_stop() {
    let mut story = Story::new().ready();
    story.after(55);
    assert_eq!(story.status().phase, PhaseName::Notice);
    assert_eq!(story.happens(Event::Worked { app: "default".into() }), []);
    assert_eq!(story.status().phase, PhaseName::Running);
    let label = story.space.app_facts[0].label.clone();
    assert!(story.status().activity.sentence.starts_with(&format!("Active: somebody worked in {label} 0 s ago")));
    story.after(10);
    assert!(story.status().activity.sentence.contains(&format!("when somebody worked in {label}")));
    assert_eq!(story.status().activity.stops_at, Some(at(story.ms + 50_000).wall));
    story.happens(Event::Worked { app: "proxy/".into() });
    assert!(story.status().activity.sentence.contains("somebody worked in a server on a port"));
}

#[test]
fn who_could_not_be_seen_for_long_still_gets_the_whole_notice() {
    let mut story = Story::new().ready();
    let hangs = || Event::Seen(Reading { app: "default".into(), seen: Err("it hangs".into()) });
    story.happens(hangs());
    assert_eq!(story.after(500), []);
    let back = || Event::Seen(Reading { app: "default".into(), seen: Ok(Vec::new()) });
    assert_eq!(story.happens(back()), []);
    assert_eq!(story.status().phase, PhaseName::Notice);
    assert_eq!(story.status().activity.stops_at, Some(at(510_000).wall));
    assert_eq!(story.after(9), []);
    assert_eq!(story.after(1), [Effect::Look]);
    assert_eq!(story.happens(back()), stopping(1));
}

#[test]
fn a_cell_that_starts_just_before_the_end_is_seen_by_the_last_look() {
    let mut story = Story::new().ready();
    story.after(50);
    assert_eq!(story.after(10), [Effect::Look]);
    story.sees(KernelState::Busy, "x");
    assert_eq!(story.status().phase, PhaseName::Running);
}

#[test]
fn activity_during_the_notice_wakes_the_space_and_its_clock_begins_anew() {
    let mut story = Story::new().ready();
    story.sees(KernelState::Idle, "a");
    story.after(52);
    assert_eq!(story.status().phase, PhaseName::Notice);
    story.sees(KernelState::Idle, "b");
    assert_eq!(story.status().phase, PhaseName::Running);
    story.after(49);
    assert_eq!(story.status().phase, PhaseName::Running);
    story.after(1);
    assert_eq!(story.status().phase, PhaseName::Notice);
}

#[test]
fn a_notice_as_long_as_the_timeout_tells_the_end_as_it_moves() {
    let mut story = Story::new().ready();
    story.space.spec.idle.notice = Duration::from_secs(60);
    story.sees(KernelState::Idle, "a");
    story.after(30);
    story.sees(KernelState::Idle, "b");
    let status = story.status();
    assert_eq!((status.phase, status.activity.stops_at), (PhaseName::Notice, Some(at(90_000).wall)));
    assert!(status.sentence.contains("it stops at 10:01:30 UTC"), "{}", status.sentence);
}

#[test]
fn a_silent_busy_cell_is_never_stopped_and_why_says_so() {
    let mut story = Story::new().ready();
    for _ in 0..1000 {
        story.sees(KernelState::Busy, "frozen");
        assert_eq!(story.after(6), []);
    }
    let activity = story.status().activity;
    let sentence =
        "Active: the kernel of work.ipynb has been busy since 10:00:00 UTC; it stops 60 s after the last activity.";
    assert_eq!((activity.sentence.as_str(), activity.last_active), (sentence, at(story.ms).wall));
}

#[test]
fn a_lease_calls_the_stop_off_and_its_end_begins_the_clock() {
    let mut story = Story::new().ready();
    story.after(55);
    let lease = story.space.offer_lease("l".into(), "demo".into(), Duration::from_secs(100), at(story.ms)).unwrap();
    story.happens(Event::LeaseTaken(lease));
    assert_eq!(story.status().phase, PhaseName::Running);
    story.after(101);
    assert_eq!((story.status().phase, story.status().leases.len()), (PhaseName::Running, 0));
    story.after(48);
    assert_eq!(story.status().phase, PhaseName::Running);
    story.after(2);
    assert_eq!(story.status().phase, PhaseName::Notice);
}

#[test]
fn a_lease_is_no_longer_than_the_policy_allows() {
    let story = Story::new().ready();
    let lease = story.space.offer_lease("l".into(), "x".into(), Duration::from_secs(1_000_000), at(0)).unwrap();
    assert_eq!(lease.until, at(12 * 3_600_000).monotonic);
}

#[test]
fn observe_never_stops_and_says_so() {
    let mut story = Story::new();
    story.space.spec.idle.action = Action::Observe;
    let mut story = story.ready();
    assert_eq!(story.after(1_000_000), []);
    assert!(story.status().activity.sentence.ends_with("it does not stop by itself (idle.action: observe)."));
}

#[test]
fn an_idle_command_runs_once_and_the_clock_begins_anew() {
    let mut story = Story::new();
    story.space.spec.idle.action = Action::Command(vec!["poweroff".into()]);
    let mut story = story.ready();
    story.after(50);
    story.after(11);
    let reading = Reading { app: "default".into(), seen: Ok(Vec::new()) };
    let effects = story.happens(Event::Seen(reading));
    let command = vec!["poweroff".into()];
    assert_eq!(effects, [Effect::RunIdleCommand { child: "idle-command#1".into(), command }]);
    assert_eq!((story.status().phase, story.after(49)), (PhaseName::Running, Vec::new()));
}

#[test]
fn an_idle_command_that_was_lost_with_the_agent_is_asked_for_again_and_one_that_ended_is_not() {
    let mut story = Story::new();
    story.space.spec.idle.action = Action::Command(vec!["poweroff".into()]);
    let mut story = story.ready();
    story.after(60);
    story.after(1);
    let asked = story.happens(Event::Seen(Reading { app: "default".into(), seen: Ok(Vec::new()) }));
    let known = |ids: &[&str]| Event::Resumed { known: ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(story.happens(known(&["app/default#1"])), asked);
    assert_eq!(story.happens(known(&["app/default#1", "idle-command#1"])), []);
    story.happens(Event::OtherEnded { child: "idle-command#1".into(), exit: Exit::Code(0) });
    assert_eq!(story.happens(known(&["app/default#1"])), []);
}

#[test]
fn a_resumed_agent_asks_again_for_what_init_does_not_know_and_takes_up_the_rest() {
    let mut story = Story::new();
    story.happens(Event::Tick);
    let known = |ids: &[&str]| Event::Resumed { known: ids.iter().map(|id| (*id).to_owned()).collect() };
    assert_eq!(story.happens(known(&[])), [start_step(0, "jupyterlab")]);
    assert_eq!(story.happens(known(&["step/jupyterlab"])), []);
    story.step_ends("jupyterlab", done());
    assert_eq!(story.happens(known(&["step/handbook"])), [start_app(1)]);
    assert_eq!(story.happens(known(&["step/handbook", "app/default#1"])), []);
    story.happens(Event::AppReady { child: "app/default#1".into() });
    assert_eq!(story.happens(known(&["step/handbook", "app/default#1"])), []);
    let stranger = Effect::EndChild { child: "app/default#7".into(), grace: Duration::ZERO };
    assert_eq!(story.happens(known(&["step/handbook", "app/default#1", "app/default#7"])), [stranger]);
}

#[test]
fn a_link_is_good_once() {
    let mut story = Story::new();
    let expires = Timestamp(at(60_000).wall.0);
    let used = |id: &str| Event::LinkUsed { id: id.into(), expires };
    assert!(story.space.link_is_fresh("a"));
    story.happens(used("a"));
    assert!(!story.space.link_is_fresh("a") && story.space.link_is_fresh("b"));
    story.ms = 110_000;
    story.happens(used("b"));
    assert!(!story.space.link_is_fresh("a"), "it has expired, but not on every clock");
    story.ms = 121_000;
    story.happens(used("c"));
    assert_eq!(story.space.used_links.len(), 1, "what has expired on every clock is forgotten");
}

#[test]
fn the_state_comes_back_from_its_stored_form() {
    let mut story = Story::new().ready();
    story.sees(KernelState::Busy, "x");
    let stored = serde_json::to_vec(&story.space).unwrap();
    assert_eq!(serde_json::from_slice::<Space>(&stored).unwrap(), story.space);
}
