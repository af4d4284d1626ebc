//! How a step of the set-up is carried out.
//!
//! A step is one child of init, so that it survives a crash of the agent: this same binary, run as the space's user as
//! `space-agent step FOLDER`. The agent prepares the folder ([`prepare`]: the order, `step.json`), the worker in it
//! does the work ([`worker::main`]), writes to its standard output what a person wants to read meanwhile, and leaves
//! `result.json`; the agent reads that once the child has ended ([`outcome`]). Whatever lies inside the home is touched
//! by the worker only, that is, with the user's rights: a link in the home, or in the step's folder, leads a root agent
//! nowhere.
//!
//! `prepare` and `outcome` block for as long as a few small files take; they know no clock and keep no state.

mod git;
mod order;
mod output;
mod python;
mod run;
pub mod worker;

use crate::model::child::{Account, ChildLimits, ChildSpec, Exit, StepOutcome};
use crate::sys::files;
use order::Order;
use space_lifecycle::Step;
use std::collections::BTreeMap;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// What all steps of a space have in common.
#[derive(Debug, Clone)]
pub struct Context {
    /// Whom the steps run as.
    pub account: Account,
    /// The home folder: where steps run, and what their paths are relative to.
    pub home: PathBuf,
    /// The state of the volume, `<home>/.space-agent`.
    pub state: PathBuf,
    /// `$RUN/steps`: temporary, the agent's own; each step's folder in it is the account's.
    pub steps_folder: PathBuf,
    /// This program, at a path that `account` can execute.
    pub binary: PathBuf,
    /// The clean environment, see [`crate::model::environment`].
    pub env: BTreeMap<String, String>,
}

/// A step's folder could not be prepared.
#[derive(Debug)]
pub struct Error {
    act: &'static str,
    path: PathBuf,
    source: io::Error,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "cannot {} {}", self.act, self.path.display())
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// Makes the step's folder anew and says what to start.
///
/// The folder above belongs to the agent, so nobody else can put a link in the place of the step's folder. That one is
/// the agent's until the order is in it, and then the account's: from then on the agent writes nothing in it.
pub fn prepare(step: &Step, context: &Context) -> Result<ChildSpec, Error> {
    let (folder, account) = (context.steps_folder.join(&step.name), &context.account);
    // The account passes through it to its step's folder and lists nothing.
    files::own_folder(&context.steps_folder, 0o711).map_err(failing("create", &context.steps_folder))?;
    files::remove_folder(&folder).map_err(failing("clear", &folder))?;
    files::own_folder(&folder, 0o700).map_err(failing("create", &folder))?;
    let order = Order { step: step.clone(), home: context.home.clone(), state: context.state.clone() };
    let path = folder.join(order::FILE);
    let file = files::write_new(&path, &order.to_json(), 0o600).map_err(failing("write", &path))?;
    files::hand_over(&file, account.uid, account.gid).map_err(failing("hand over", &path))?;
    files::hand_over_folder(&folder, account.uid, account.gid).map_err(failing("hand over", &folder))?;
    let mut env = context.env.clone();
    env.extend(step.env.clone());
    Ok(ChildSpec {
        program: context.binary.clone(),
        args: vec!["step".into(), folder.display().to_string()],
        env,
        folder: context.home.clone(),
        account: context.account.clone(),
        may_gain_privileges: false,
        oom_score_adj: None,
        limits: ChildLimits::default(),
    })
}

/// How the step ended, from what its worker left and how its process ended.
///
/// The user could have written the result too, so it can only be one of two things: how a process that ended well did,
/// or why one that ended badly did not.
pub fn outcome(step: &Step, context: &Context, exit: &Exit) -> StepOutcome {
    let result = order::read_result(&context.steps_folder.join(&step.name));
    match (exit.success(), result) {
        (true, Some(done @ (StepOutcome::Done { .. } | StepOutcome::Skipped { .. }))) => done,
        (true, _) => StepOutcome::Done { why: None },
        (false, Some(failed @ StepOutcome::Failed { .. })) => failed,
        (false, _) => StepOutcome::Failed { why: format!("the {} step {} {exit}", step.kind.name(), step.name) },
    }
}

fn failing(act: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error { act, path, source }
}

#[cfg(test)]
mod tests;
