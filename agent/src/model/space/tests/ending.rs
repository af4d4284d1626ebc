//! A stop, stage by stage.

use super::*;
use space_lifecycle::Moment;

fn asked() -> Event {
    Event::StopAsked { reason: "x".into() }
}

/// A space with a step that runs when it stops.
fn saving() -> Story {
    let mut spec = space_lifecycle::default_space();
    spec.idle.action = Action::Exit;
    spec.steps.push(Step { on: Moment::Stop, kind: StepKind::Run("save".into()), ..git_step("save") });
    let mut story = Story::of(spec);
    story.happens(Event::Tick);
    story.step_ends("jupyterlab", done());
    story.happens(Event::AppReady { child: "app/default#1".into() });
    assert_eq!(story.status().phase, PhaseName::Running, "nothing waits for a stop step");
    story
}

#[test]
fn stop_steps_come_first_then_the_apps_in_their_own_way_then_the_rest() {
    let mut story = saving();
    assert_eq!(story.happens(asked()), [start_step(1, "save")]);
    assert_eq!(story.step_ends("save", done()), [Effect::LookAtRepositories, end_app(1, 10, false)]);
    assert_eq!(story.app_ends(1), [END_TREE]);
    story.happens(Event::RepositoriesSeen(vec!["handbook has 3 uncommitted files".into()]));
    assert_eq!(story.happens(Event::TreeEnded), [Effect::Leave { code: 0 }]);
    assert!(story.status().events.iter().any(|event| event.text == "handbook has 3 uncommitted files"));
}

#[test]
fn no_stage_takes_more_than_its_share() {
    let mut story = saving();
    story.happens(asked());
    assert_eq!(story.after(4), []);
    let end_step = Effect::EndChild { child: "step/save".into(), grace: Duration::ZERO };
    assert_eq!(story.after(1), [end_step, Effect::LookAtRepositories, end_app(1, 10, false)]);
    assert_eq!(story.after(9), []);
    assert_eq!(story.after(1), [END_TREE]);
    assert_eq!(story.after(7), []);
    assert_eq!(story.after(1), [Effect::Leave { code: 0 }], "the record and the last word have their share too");
}

#[test]
fn a_second_wish_to_stop_makes_it_short() {
    let mut story = saving();
    story.happens(asked());
    assert_eq!(story.happens(asked()), [Effect::EndTree { grace: Duration::from_millis(500) }]);
    assert_eq!(story.happens(asked()), [Effect::EndTree { grace: Duration::ZERO }]);
    assert_eq!(story.after(1), [Effect::Leave { code: 0 }]);
}

#[test]
fn the_end_waits_for_the_look_at_repositories_but_not_for_long() {
    let mut story = Story::new().ready();
    story.happens(asked());
    story.app_ends(1);
    assert_eq!(story.happens(Event::TreeEnded), []);
    assert_eq!(story.after(3), [Effect::Leave { code: 0 }]);
}

#[test]
fn a_step_that_still_sets_the_space_up_is_ended_and_what_saves_work_is_not_run_where_nobody_worked() {
    let mut story = Story::new();
    story.space.spec.steps[1].on = Moment::Stop;
    story.happens(Event::Tick);
    let end = Effect::EndChild { child: "step/jupyterlab".into(), grace: Duration::from_secs(5) };
    assert_eq!(story.happens(asked()), [end, Effect::LookAtRepositories, END_TREE]);
    assert_eq!(story.status().steps[1].state, StepState::Dropped);
}

#[test]
fn an_agent_that_comes_back_during_a_stop_goes_on_where_it_was() {
    let known = |ids: &[&str]| Event::Resumed { known: ids.iter().map(|id| (*id).to_owned()).collect() };
    let mut story = saving();
    story.happens(asked());
    assert_eq!(story.happens(known(&["app/default#1"])), [start_step(1, "save")]);
    story.step_ends("save", done());
    let effects = story.happens(known(&["app/default#1"]));
    assert_eq!(effects, [Effect::LookAtRepositories, end_app(1, 10, false)]);
    story.app_ends(1);
    assert_eq!(story.happens(known(&[])), [Effect::LookAtRepositories, END_TREE]);
}
