//! The worker: the process of one step, run as the space's user.
//!
//! It dies with init (parent-death signal) and its helpers die with it, and the agent ends it by killing its process
//! group; so nothing here waits with a deadline of its own, and everything must come out right when it is killed at
//! any moment and started again.

use super::order::{self, Order};
use super::{git, output, python, run};
use crate::model::child::StepOutcome;
use space_lifecycle::StepKind;
use std::path::Path;

/// Carries out the order in `folder`. The exit code: 0 done or skipped, 1 failed; that of the script for a step of
/// kind `run`, whose shell takes this process over.
pub fn main(folder: &Path) -> u8 {
    let outcome = match Order::read(folder) {
        Ok(order) => carry_out(&order, folder),
        Err(why) => StepOutcome::Failed { why },
    };
    if let Err(error) = order::write_result(folder, &outcome) {
        output::say(&format!("cannot write the result to {}: {error}", folder.display()));
    }
    match outcome {
        StepOutcome::Done { why: None } => 0,
        StepOutcome::Done { why: Some(why) } | StepOutcome::Skipped { why } => {
            output::say(&why);
            0
        }
        StepOutcome::Failed { why } => {
            output::say(&why);
            1
        }
    }
}

fn carry_out(order: &Order, folder: &Path) -> StepOutcome {
    let result = match &order.step.kind {
        StepKind::Run(script) => run::carry_out(script, folder),
        StepKind::Git { url, r#ref, into } => git::carry_out(url, r#ref.as_deref(), into, &order.home),
        StepKind::Python(python) => python::carry_out(python, order),
    };
    result.unwrap_or_else(|why| StepOutcome::Failed { why })
}
