//! What has changed between two statuses, in lines for whoever watches the agent's log.

use super::now::spoken;
use super::status::{AppState, Mode, PhaseName, Status, StepState, StepStatus};
use std::time::Duration;

/// A line, and whether it is a failure.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Line {
    pub line: String,
    pub failure: bool,
}

/// The news, in the order in which a person wants them: steps, apps, then the space as a whole. `failed`: the space ends
/// because it has failed.
pub fn news(before: &Status, after: &Status, failed: bool) -> Vec<Line> {
    let steps = before.steps.iter().zip(&after.steps).filter(|(old, new)| old.state != new.state);
    let steps = steps.filter_map(|(_, new)| step(new));
    let apps = before.apps.iter().zip(&after.apps).filter(|(old, new)| old.state != new.state);
    let apps = apps.filter_map(|(_, app)| {
        let (line, failure) = match (app.state, &app.why) {
            (AppState::Starting, _) => (format!("{} is starting", app.label), false),
            (AppState::Restarting, Some(why)) => (format!("{} will be started again: {why}", app.label), true),
            (AppState::Restarting, None) => (format!("{} is ended, to be started anew", app.label), false),
            // Readiness and failure are the space's news.
            _ => return None,
        };
        Some(Line { line, failure })
    });
    let space = ((before.phase, before.mode) != (after.phase, after.mode)).then(|| space(before, after, failed));
    // That it stops is the reason for what follows; that it runs follows from the rest.
    let ends = matches!(after.phase, PhaseName::Stopping);
    let (first, last) = if ends { (space, None) } else { (None, space) };
    first.into_iter().chain(steps).chain(apps).chain(last).collect()
}

/// The line without what the app itself has printed: that may hold people's data, and goes to no log but the app's own.
pub fn without_output(line: &str) -> String {
    let Some((before, after)) = line.split_once(LAST_LINE) else { return line.to_owned() };
    // A page and a log that are named behind it are named still.
    let rest = after.rfind("; its output is in ").map_or("", |at| &after[at..]);
    format!("{before}{rest}")
}

/// What stands before an app's last line in a message.
pub const LAST_LINE: &str = "; its last line was: ";

fn step(step: &StepStatus) -> Option<Line> {
    let (name, why) = (&step.name, step.why.as_deref());
    let because = why.map(|why| format!(": {why}")).unwrap_or_default();
    let line = match step.state {
        StepState::Waiting => return None,
        StepState::Running => format!("step {name} runs"),
        StepState::Done => {
            let took = spoken(Duration::from_millis(step.took_ms.unwrap_or_default()));
            format!("step {name} is done after {took}{because}")
        }
        StepState::Skipped => format!("step {name} is skipped{because}"),
        StepState::Failed => format!("step {name} has failed{because}"),
        StepState::Dropped => format!("step {name} does not run{because}"),
    };
    Some(Line { line, failure: matches!(step.state, StepState::Failed | StepState::Dropped) })
}

/// A failure is told with its reason once: what follows from it is told in short.
fn space(before: &Status, after: &Status, failed: bool) -> Line {
    let why = after.reason.as_deref().unwrap_or("somebody asked for it");
    match after.mode {
        Some(Mode::Recovery) if before.mode != after.mode => {
            return Line { line: format!("the space turned to recovery mode: {why}"), failure: true };
        }
        Some(Mode::Parked) if before.mode != after.mode => {
            return Line { line: format!("parked: {why}"), failure: false };
        }
        _ => {}
    }
    let line = match after.phase {
        PhaseName::Stopping if failed => "the space stops after its failure".to_owned(),
        PhaseName::Stopped if failed => "the space has stopped after its failure".to_owned(),
        _ => after.sentence.clone(),
    };
    Line { line, failure: after.phase == PhaseName::Failed }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::Timestamp;

    fn steps(state: StepState, why: Option<&str>) -> Vec<StepStatus> {
        let (name, kind) = ("deps".to_owned(), "python".to_owned());
        let (started, took_ms) = (Some(Timestamp(0)), Some(17_300));
        vec![StepStatus { name, kind, blocks_app: true, state, why: why.map(str::to_owned), started, took_ms }]
    }

    fn told(change: impl Fn(&mut Status), failed: bool) -> Vec<(String, bool)> {
        let mut before = crate::model::status::tests::status();
        before.steps = steps(StepState::Waiting, None);
        let mut after = before.clone();
        change(&mut after);
        news(&before, &after, failed).into_iter().map(|news| (news.line, news.failure)).collect()
    }

    #[test]
    fn what_an_app_has_printed_is_left_out_and_what_is_said_about_it_is_not() {
        for (line, left) in [
            ("JupyterLab is ready", "JupyterLab is ready"),
            ("JupyterLab ended with exit code 1; its last line was: pay.ipynb", "JupyterLab ended with exit code 1"),
            (
                "x failed; its last line was: a; b (3 starts); its output is in /l/x.log",
                "x failed; its output is in /l/x.log",
            ),
        ] {
            assert_eq!(without_output(line), left);
        }
    }

    #[test]
    fn each_turn_of_a_step_is_told_once() {
        for (state, why, line, failure) in [
            (StepState::Running, None, "step deps runs", false),
            (StepState::Done, Some("installed x"), "step deps is done after 17 s: installed x", false),
            (StepState::Skipped, Some("unchanged"), "step deps is skipped: unchanged", false),
            (StepState::Failed, Some("no network"), "step deps has failed: no network", true),
        ] {
            assert_eq!(told(|status| status.steps = steps(state, why), false), [(line.to_owned(), failure)]);
        }
        assert_eq!(told(|_| {}, false), []);
    }

    #[test]
    fn a_change_of_mode_is_told_with_its_reason() {
        let turns =
            |mode| move |status: &mut Status| (status.mode, status.reason) = (Some(mode), Some("x broke".into()));
        let recovery = ("the space turned to recovery mode: x broke".to_owned(), true);
        assert_eq!(told(turns(Mode::Recovery), false), [recovery]);
        assert_eq!(told(turns(Mode::Parked), false), [("parked: x broke".to_owned(), false)]);
        let starts = |status: &mut Status| (status.phase, status.mode) = (PhaseName::Booting, None);
        assert_eq!(told(starts, false), [("what it does".to_owned(), false)]);
    }

    #[test]
    fn a_failure_is_told_with_its_reason_once() {
        let fails = |status: &mut Status| (status.phase, status.sentence) = (PhaseName::Failed, "It failed: x.".into());
        assert_eq!(told(fails, false), [("It failed: x.".to_owned(), true)]);
        let stops = |status: &mut Status| (status.phase, status.sentence) = (PhaseName::Stopping, "Stops: x.".into());
        assert_eq!(told(stops, true), [("the space stops after its failure".to_owned(), false)]);
        assert_eq!(told(stops, false), [("Stops: x.".to_owned(), false)]);
    }
}
