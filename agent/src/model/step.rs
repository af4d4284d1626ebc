//! The steps of a boot: which is next, which the apps wait for. Pure.

use super::child::StepOutcome;
use super::now::Now;
use serde::{Deserialize, Serialize};
use space_lifecycle::{Blocks, Step};

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

/// One after another: first those that the apps wait for, each after the ones it needs.
pub fn next(steps: &[Step], runs: &[StepRun]) -> Next {
    if runs.iter().any(|run| matches!(run, StepRun::Running { .. })) {
        return Next::Nothing;
    }
    let awaited = awaited(steps);
    let waiting = |index: &usize| runs[*index] == StepRun::Waiting;
    let (first, then): (Vec<usize>, Vec<usize>) = (0..steps.len()).filter(waiting).partition(|index| awaited[*index]);
    for index in first.into_iter().chain(then) {
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

/// For each step: do the apps wait for it, itself or through a step that needs it?
pub fn awaited(steps: &[Step]) -> Vec<bool> {
    let mut awaited: Vec<bool> = steps.iter().map(|step| step.blocks == Blocks::App).collect();
    // Steps come after the ones they need, so one pass from the end finds all.
    for index in (0..steps.len()).rev().collect::<Vec<_>>() {
        if awaited[index] {
            for need in positions(steps, &steps[index].needs) {
                awaited[need] = true;
            }
        }
    }
    awaited
}

/// Whether every step that the apps wait for is over.
pub fn apps_may_start(steps: &[Step], runs: &[StepRun]) -> bool {
    awaited(steps).into_iter().zip(runs).all(|(awaited, run)| !awaited || run.over())
}

fn positions(steps: &[Step], names: &[String]) -> Vec<usize> {
    names.iter().filter_map(|name| steps.iter().position(|step| step.name == *name)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::now::{Monotonic, Timestamp};
    use space_lifecycle::{OnFailure, StepKind};
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn step(name: &str, needs: &[&str], blocks: Blocks) -> Step {
        Step {
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
    fn what_the_apps_wait_for_comes_first_with_what_it_needs() {
        let steps = [
            step("dotfiles", &[], Blocks::Nothing),
            step("repo", &[], Blocks::Nothing),
            step("deps", &["repo"], Blocks::App),
        ];
        assert_eq!(awaited(&steps), [false, true, true]);
        assert_eq!(next(&steps, &[StepRun::Waiting, StepRun::Waiting, StepRun::Waiting]), Next::Start(1));
        assert_eq!(next(&steps, &[StepRun::Waiting, ended(false), StepRun::Waiting]), Next::Start(2));
        assert!(!apps_may_start(&steps, &[StepRun::Waiting, ended(false), StepRun::Waiting]));
        assert!(apps_may_start(&steps, &[StepRun::Waiting, ended(false), ended(false)]));
        assert_eq!(next(&steps, &[StepRun::Waiting, ended(false), ended(false)]), Next::Start(0));
    }

    #[test]
    fn a_step_whose_need_failed_is_dropped_and_says_so() {
        let steps = [step("repo", &[], Blocks::Nothing), step("deps", &["repo"], Blocks::App)];
        let next = next(&steps, &[ended(true), StepRun::Waiting]);
        assert_eq!(next, Next::Drop(1, "the step repo that it needs has failed: x".into()));
    }
}
