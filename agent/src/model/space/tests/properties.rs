//! The whole state machine under random events.

use super::*;
use crate::model::status::Mode;
use proptest::prelude::*;
use space_lifecycle::Moment;

/// Two start steps, one stop step, an app, and another that starts on demand; begins in any way.
fn any_story() -> impl Strategy<Value = Story> {
    let beginning = prop_oneof![
        6 => Just(Beginning::Boot),
        1 => Just(Beginning::Recovery("it was asked for".into())),
        1 => Just(Beginning::Parked("it was idle".into())),
    ];
    (beginning, any::<bool>()).prop_map(|(beginning, strict)| {
        let mut spec = Story::new().space.spec;
        let tool = space_lifecycle::App {
            name: "tool".into(),
            start: space_lifecycle::Start::OnDemand,
            ..spec.apps[0].clone()
        };
        spec.apps.push(tool);
        let mut story = Story::of(spec);
        let save = Step { on: Moment::Stop, kind: StepKind::Run("save".into()), ..git_step("save") };
        story.space.spec.steps.push(save);
        story.space.steps.push(crate::model::step::StepRun::Waiting);
        story.space.facts.strict = strict;
        story.space.begin(beginning, at(0));
        story
    })
}

fn any_event() -> impl Strategy<Value = Event> {
    let attempt = 1u32..5;
    let name = prop_oneof![3 => Just("default"), 1 => Just("tool")];
    let app = (name, attempt).prop_map(|(name, attempt)| format!("app/{name}#{attempt}"));
    let names = ["jupyterlab", "handbook", "save", "jupyterlab#2", "handbook#2", "save#2"];
    let step = proptest::sample::select(names.to_vec()).prop_map(|name| format!("step/{name}"));
    let outcome = prop_oneof![Just(done()), Just(failed()), Just(StepOutcome::Skipped { why: "same".into() })];
    let exit = prop_oneof![Just(Exit::Code(0)), Just(Exit::Signal(9)), Just(Exit::NotStarted("x".into()))];
    let state = prop_oneof![Just(KernelState::Idle), Just(KernelState::Busy), Just(KernelState::Dead)];
    prop_oneof![
        4 => Just(Event::Tick),
        2 => (step, outcome).prop_map(|(child, outcome)| Event::StepEnded { child, outcome }),
        2 => (app.clone(), exit).prop_map(|(child, exit)| Event::AppEnded { child, exit, last_line: None }),
        2 => app.clone().prop_map(|child| Event::AppReady { child }),
        1 => (app.clone(), 1..9999).prop_map(|(child, pid)| Event::Started { child, pid }),
        2 => (state, "[ab]").prop_map(|(state, last_activity)| Event::Seen(Reading {
            app: "default".into(),
            seen: Ok(vec![Kernel { id: "k".into(), name: "n".into(), state, last_activity }]),
        })),
        1 => Just(Event::Seen(Reading { app: "default".into(), seen: Err("it hangs".into()) })),
        1 => Just(Event::Resumed { known: vec!["app/default#1".into()] }),
        1 => Just(Event::StopAsked { reason: "x".into() }),
        1 => Just(Event::StartAsked { by: "x".into() }),
        1 => (0usize..3).prop_map(|app| Event::RestartAsked { app, by: "x".into() }),
        1 => (0usize..3).prop_map(|app| Event::AppWanted { app }),
        1 => Just(Event::RescueAsked { command: "true".into() }),
        1 => Just(Event::RepositoriesSeen(vec!["x".into()])),
        1 => app.clone().prop_map(|child| Event::AppSilent { child }),
        1 => app.prop_map(|child| Event::AppAnswers { child }),
        1 => Just(Event::TreeEnded),
    ]
}

/// Phase and mode, and whether DESIGN draws an arrow from one to the other.
fn arrow(from: (PhaseName, Option<Mode>), to: (PhaseName, Option<Mode>)) -> bool {
    use Mode::{Normal, Parked, Recovery};
    use PhaseName::{Booting, Failed, Notice, Running, Stopped, Stopping};
    match (from, to) {
        (from, to) if from == to => true,
        ((Booting, None), (Running, Some(Normal | Recovery)) | (Stopping | Failed, None)) => true,
        ((Running | Notice, Some(Normal)), (Running, Some(Recovery))) => true,
        ((Running, mode), (Notice, other)) | ((Notice, mode), (Running, other)) => {
            mode == other && mode != Some(Parked)
        }
        ((Running | Notice, Some(Recovery | Parked)), (Booting, None)) => true,
        ((Running | Notice, _), (Stopping | Failed, None)) => true,
        ((Failed, None), (Stopping, None)) | ((Stopping, None), (Stopped, None)) => true,
        _ => false,
    }
}

/// One event may bring two arrows: the last look ends the notice, a late agent finds the deadline over, a start runs
/// into a step that cannot run.
fn arrows(from: (PhaseName, Option<Mode>), to: (PhaseName, Option<Mode>)) -> bool {
    use PhaseName::{Booting, Failed, Notice, Running, Stopping};
    let mut between = vec![(Booting, None), (Failed, None), (Stopping, None)];
    for mode in [Mode::Normal, Mode::Recovery] {
        between.extend([(Running, Some(mode)), (Notice, Some(mode))]);
    }
    arrow(from, to) || between.iter().any(|via| arrow(from, *via) && arrow(*via, to))
}

fn ends_something(effect: &Effect) -> bool {
    !matches!(effect, Effect::StartApp { .. } | Effect::RunRescue { .. } | Effect::RunIdleCommand { .. })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(cases()))]

    #[test]
    fn phases_move_only_along_the_arrows_and_the_end_is_the_end(
        mut story in any_story(),
        events in proptest::collection::vec((any_event(), 0u64..40), 1..150)
    ) {
        let stands = |story: &Story| (story.status().phase, story.status().mode);
        let mut before = stands(&story);
        for (event, seconds) in events {
            story.ms += seconds * 1000;
            let resumed = matches!(event, Event::Resumed { .. });
            let effects = story.happens(event);
            let now = stands(&story);
            prop_assert!(arrows(before, now), "{before:?} -> {now:?}");
            if before.0 == PhaseName::Stopped && !resumed {
                prop_assert_eq!(&effects, &[]);
            }
            if matches!(now.0, PhaseName::Failed | PhaseName::Stopping | PhaseName::Stopped) {
                prop_assert!(effects.iter().all(ends_something), "{:?} in {:?}", effects, now);
            }
            if now.1 == Some(Mode::Parked) {
                prop_assert!(story.space.apps.iter().all(|app| app.state == State::Stopped));
            }
            let leaves = effects.iter().filter(|effect| matches!(effect, Effect::Leave { .. })).count();
            prop_assert_eq!(leaves > 0, now.0 == PhaseName::Stopped && (before.0 != now.0 || resumed));
            before = now;
        }
    }

    #[test]
    fn what_is_told_to_start_is_what_the_state_says_runs(
        mut story in any_story(),
        events in proptest::collection::vec((any_event(), 0u64..40), 1..100)
    ) {
        for (event, seconds) in events {
            story.ms += seconds * 1000;
            for effect in story.happens(event) {
                match effect {
                    Effect::StartApp { app, child, .. } => {
                        prop_assert_eq!(story.space.app_of_child(&child), Some(app), "{}", child);
                        prop_assert!(!story.space.apps[app].asleep, "{child}");
                    }
                    Effect::StartStep { child, .. } => prop_assert!(story.space.step_of_child(&child).is_some(), "{child}"),
                    _ => {}
                }
            }
            // An agent that is killed here is followed by one that knows the same.
            let stored = serde_json::to_vec(&story.space).unwrap();
            prop_assert_eq!(&serde_json::from_slice::<Space>(&stored).unwrap(), &story.space);
        }
    }

    #[test]
    fn stopping_always_ends_by_its_deadline_and_its_stages_never_go_back(
        mut story in any_story(),
        before in proptest::collection::vec((any_event(), 0u64..40), 0..30),
        events in proptest::collection::vec((any_event(), 0u64..5), 0..60)
    ) {
        for (event, seconds) in before {
            story.ms += seconds * 1000;
            story.happens(event);
        }
        story.happens(Event::StopAsked { reason: "x".into() });
        let ends = story.ms + 25_000;
        let number = |story: &Story| match story.space.stopping() {
            Some((Stage::Steps { .. }, ..)) => 0,
            Some((Stage::Apps { .. }, ..)) => 1,
            Some((Stage::Tree, ..)) => 2,
            Some((Stage::Over, ..)) => 3,
            None => 4,
        };
        let mut stage = number(&story);
        for (event, seconds) in events {
            story.ms = (story.ms + seconds * 1000).min(ends);
            story.happens(event);
            prop_assert!(number(&story) >= stage);
            stage = number(&story);
            // Whatever happens, it wakes by itself before its deadline is over.
            let wakes = story.space.wakes_at(at(story.ms));
            prop_assert!(stage == 4 || wakes.is_some_and(|wakes| wakes <= at(ends).monotonic));
        }
        story.ms = ends;
        story.happens(Event::Tick);
        prop_assert_eq!(story.status().phase, PhaseName::Stopped);
    }
}

/// More with PROPTEST_CASES; the soak sets it.
fn cases() -> u32 {
    std::env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(64)
}
