//! The steps of a boot: which is next, and whether the apps may start. Pure. Their order is the document's reader's: those
//! that the apps wait for come first, each after the ones it needs.

use super::child::StepOutcome;
use super::now::Now;
use serde::{Deserialize, Serialize};
use space_lifecycle::{Moment, Step, awaited};

/// Where a step stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum StepRun {
    Waiting,
    Running {
        child: String,
        since: Now,
        timed_out: bool,
    },
    Ended {
        outcome: StepOutcome,
        since: Now,
        took_ms: u64,
    },
    /// Not run, since a step that it needs has failed.
    Dropped {
        why: String,
    },
}

impl StepRun {
    pub fn over(&self) -> bool {
        matches!(self, StepRun::Ended { .. } | StepRun::Dropped { .. })
    }

    fn failed(&self) -> bool {
        matches!(self, StepRun::Ended { outcome: StepOutcome::Failed { .. }, .. } | StepRun::Dropped { .. })
    }
}

/// What is to be done about the steps.
#[derive(Debug, PartialEq, Eq)]
pub enum Next {
    Start(usize),
    Drop(usize, String),
    /// One is running, or all are over.
    Nothing,
}

/// Of the steps of one moment, one after another: the first that waits and whose needs are over.
pub fn next(steps: &[Step], runs: &[StepRun], moment: Moment) -> Next {
    if running(steps, runs, moment).next().is_some() {
        return Next::Nothing;
    }
    for index in of(steps, moment).filter(|index| runs[*index] == StepRun::Waiting) {
        let needs: Vec<usize> = positions(steps, &steps[index].needs);
        if let Some(need) = needs.iter().find(|need| runs[**need].failed()) {
            let why = match &runs[*need] {
                StepRun::Ended { outcome: StepOutcome::Failed { why }, .. } | StepRun::Dropped { why } => why.as_str(),
                _ => "",
            };
            return Next::Drop(index, format!("the step {} that it needs has failed: {why}", steps[*need].name));
        }
        if needs.iter().all(|need| runs[*need].over()) {
            return Next::Start(index);
        }
    }
    Next::Nothing
}

/// Before any has run. A step of the stop is none that waits, so that no agent, an older one either, takes it for one of
/// the start.
pub fn not_run(steps: &[Step]) -> Vec<StepRun> {
    let not_yet = |step: &Step| match step.on {
        Moment::Start => StepRun::Waiting,
        Moment::Stop => StepRun::Dropped { why: AT_THE_STOP.into() },
    };
    steps.iter().map(not_yet).collect()
}

/// Why a step of the stop has not run yet.
pub const AT_THE_STOP: &str = "it runs when the space stops";

/// The steps of this moment that run.
pub fn running(steps: &[Step], runs: &[StepRun], moment: Moment) -> impl Iterator<Item = usize> {
    of(steps, moment).filter(|index| matches!(runs[*index], StepRun::Running { .. }))
}

/// The steps of this moment, in the order in which they run.
pub fn of(steps: &[Step], moment: Moment) -> impl Iterator<Item = usize> {
    (0..steps.len()).filter(move |index| steps[*index].on == moment)
}

/// Whether every step that the apps wait for is over.
pub fn apps_may_start(steps: &[Step], runs: &[StepRun]) -> bool {
    let awaited = awaited(steps);
    of(steps, Moment::Start).all(|index| !awaited[index] || runs[index].over())
}

fn positions(steps: &[Step], names: &[String]) -> Vec<usize> {
    names.iter().filter_map(|name| steps.iter().position(|step| step.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::{Monotonic, Timestamp};
    use space_lifecycle::{Blocks, OnFailure, StepKind};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn step(name: &str, needs: &[&str], blocks: Blocks) -> Step {
        Step {
            on: space_lifecycle::Moment::Start,
            name: name.into(),
            kind: StepKind::Run("true".into()),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            blocks,
            timeout: Duration::from_secs(600),
            on_failure: OnFailure::Recovery,
            env: BTreeMap::new(),
        }
    }

    fn ended(failed: bool) -> StepRun {
        let outcome = if failed { StepOutcome::Failed { why: "x".into() } } else { StepOutcome::Done { why: None } };
        StepRun::Ended { outcome, since: Now { monotonic: Monotonic(0), wall: Timestamp(0), boot_id: 0 }, took_ms: 1 }
    }

    #[test]
    fn steps_run_one_after_another_and_the_apps_may_start_when_those_that_they_wait_for_are_over() {
        let steps = [
            step("repo", &[], Blocks::Nothing),
            step("deps", &["repo"], Blocks::App),
            step("dotfiles", &[], Blocks::Nothing),
        ];
        let next = |runs: &[StepRun]| next(&steps, runs, Moment::Start);
        assert_eq!(next(&[StepRun::Waiting, StepRun::Waiting, StepRun::Waiting]), Next::Start(0));
        assert_eq!(next(&[ended(false), StepRun::Waiting, StepRun::Waiting]), Next::Start(1));
        assert!(!apps_may_start(&steps, &[ended(false), StepRun::Waiting, StepRun::Waiting]));
        assert!(apps_may_start(&steps, &[ended(false), ended(false), StepRun::Waiting]));
        assert_eq!(next(&[ended(false), ended(false), StepRun::Waiting]), Next::Start(2));
    }

    #[test]
    fn a_step_whose_need_failed_is_dropped_and_says_so() {
        let steps = [step("repo", &[], Blocks::Nothing), step("deps", &["repo"], Blocks::App)];
        let next = next(&steps, &[ended(true), StepRun::Waiting], Moment::Start);
        assert_eq!(next, Next::Drop(1, "the step repo that it needs has failed: x".into()));
    }
}
