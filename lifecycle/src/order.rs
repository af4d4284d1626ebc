//! The order of the steps: what the apps wait for comes first, what runs at the stop last, and every step after the
//! ones it needs.

use crate::space::{Blocks, Moment, Step};

/// For each step: do the apps wait for it, because it blocks them or because a step that does needs it? The steps are
/// in an order in which every step comes after the ones it needs. Nothing waits for a step of the stop.
pub fn awaited(steps: &[Step]) -> Vec<bool> {
    let at_start = |step: &Step| step.on == Moment::Start;
    let mut awaited: Vec<bool> = steps.iter().map(|step| at_start(step) && step.blocks == Blocks::App).collect();
    // One pass from the end finds all.
    for index in (0..steps.len()).rev() {
        if awaited[index] {
            for need in &steps[index].needs {
                if let Some(need) = steps.iter().position(|step| step.name == *need && at_start(step)) {
                    awaited[need] = true;
                }
            }
        }
    }
    awaited
}

/// First the steps that the apps wait for, then the other ones of the start, then those of the stop; otherwise as they
/// come. What an awaited step needs is awaited too, and steps need none of the other moment, so every step still comes
/// after the ones it needs.
pub(crate) fn awaited_first(steps: Vec<Step>) -> Vec<Step> {
    let awaited = awaited(&steps);
    let mut marked: Vec<(bool, Step)> = awaited.into_iter().zip(steps).collect();
    marked.sort_by_key(|(awaited, step)| (step.on == Moment::Stop, !awaited));
    marked.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{OnFailure, StepKind};

    fn step(name: &str, needs: &[&str], blocks: Blocks) -> Step {
        Step {
            on: Moment::Start,
            name: name.to_owned(),
            kind: StepKind::Run("true".to_owned()),
            needs: needs.iter().map(|need| (*need).to_owned()).collect(),
            blocks,
            timeout: std::time::Duration::from_secs(1),
            on_failure: OnFailure::Recovery,
            env: Default::default(),
        }
    }

    #[test]
    fn an_app_waits_for_blocking_steps_and_for_what_they_need_and_these_run_first() {
        let steps = vec![
            step("other", &[], Blocks::Nothing),
            step("clone", &[], Blocks::Nothing),
            step("data", &["clone"], Blocks::Nothing),
            step("report", &["data"], Blocks::Nothing),
            step("deps", &["data"], Blocks::App),
            step("last", &[], Blocks::App),
        ];
        assert_eq!(awaited(&steps), [false, true, true, false, true, true]);
        let ordered = awaited_first(steps);
        let names: Vec<&str> = ordered.iter().map(|step| step.name.as_str()).collect();
        assert_eq!(names, ["clone", "data", "deps", "last", "other", "report"]);
        assert_eq!(awaited(&ordered), [true, true, true, true, false, false]);
    }

    #[test]
    fn nothing_waits_for_a_step_of_the_stop_and_these_run_last() {
        let at_stop = |step: Step| Step { on: Moment::Stop, ..step };
        let steps = vec![
            at_stop(step("push", &[], Blocks::App)),
            step("other", &[], Blocks::Nothing),
            at_stop(step("tell", &["push"], Blocks::App)),
            step("deps", &[], Blocks::App),
        ];
        assert_eq!(awaited(&steps), [false, false, false, true]);
        let names: Vec<String> = awaited_first(steps).into_iter().map(|step| step.name).collect();
        assert_eq!(names, ["deps", "other", "push", "tell"]);
    }
}
