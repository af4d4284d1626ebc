//! What the agent and the worker tell each other through the step's folder.

use super::files;
use crate::model::child::StepOutcome;
use serde::{Deserialize, Serialize};
use space_lifecycle::Step;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// The order, from the agent.
pub(super) const FILE: &str = "step.json";
/// The result, from the worker. Written beside and renamed, so that it is whole or absent.
const RESULT: &str = "result.json";
/// A result is one sentence; more than this is not from our worker.
const RESULT_LIMIT: u64 = 64 * 1024;
/// The longest sentence that goes on to status, in characters.
const WHY_LIMIT: usize = 2000;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    pub step: Step,
    pub home: PathBuf,
    pub state: PathBuf,
}

impl Order {
    pub(super) fn to_json(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("an order holds strings, numbers and UTF-8 paths only")
    }

    pub(super) fn read(folder: &Path) -> Result<Order, String> {
        let path = folder.join(FILE);
        let text = fs::read(&path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
        serde_json::from_slice(&text).map_err(|error| format!("cannot understand {}: {error}", path.display()))
    }
}

pub(super) fn write_result(folder: &Path, outcome: &StepOutcome) -> io::Result<()> {
    files::write_atomically(&folder.join(RESULT), &serde_json::to_vec(outcome)?)
}

/// The result, if there is one that can be understood. Its sentence is cut and cleaned: it comes from the user's side.
pub(super) fn read_result(folder: &Path) -> Option<StepOutcome> {
    let text = files::read_untrusted(&folder.join(RESULT), RESULT_LIMIT).ok()?;
    let outcome = serde_json::from_slice(&text).ok()?;
    Some(match outcome {
        StepOutcome::Done { why } => StepOutcome::Done { why: why.as_deref().map(clean) },
        StepOutcome::Skipped { why } => StepOutcome::Skipped { why: clean(&why) },
        StepOutcome::Failed { why } => StepOutcome::Failed { why: clean(&why) },
    })
}

fn clean(why: &str) -> String {
    why.chars().take(WHY_LIMIT).map(|c| if c.is_control() { ' ' } else { c }).collect()
}
