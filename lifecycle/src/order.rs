//! The order of the steps: what the apps wait for comes first, and every step after the ones it needs.

use crate::space::{Blocks, Step};

/// For each step: do the apps wait for it, because it blocks them or because a step that does needs it? The steps are
/// in an order in which every step comes after the ones it needs.
pub fn awaited(steps: &[Step]) -> Vec<bool> {
    let mut awaited: Vec<bool> = steps.iter().map(|step| step.blocks == Blocks::App).collect();
    // One pass from the end finds all.
    for index in (0..steps.len()).rev() {
        if awaited[index] {
            for need in &steps[index].needs {
                if let Some(need) = steps.iter().position(|step| step.name == *need) {
                    awaited[need] = true;
                }
            }
        }
    }
    awaited
}

/// First the steps that the apps wait for, then the others; otherwise as they come. What an awaited step needs is
/// awaited too, so every step still comes after the ones it needs.
pub(crate) fn awaited_first(steps: Vec<Step>) -> Vec<Step> {
    let awaited = awaited(&steps);
    let mut marked: Vec<(bool, Step)> = awaited.into_iter().zip(steps).collect();
    marked.sort_by_key(|(awaited, _)| !awaited);
    marked.into_iter().map(|(_, step)| step).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::{OnFailure, StepKind};

    fn step(name: &str, needs: &[&str], blocks: Blocks) -> Step {
        Step {
            on: crate::space::Moment::Start,
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
}
