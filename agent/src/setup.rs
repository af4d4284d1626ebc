//! How a step of the set-up is carried out.
//!
//! A step is one child of init, so that it survives a crash of the agent: this same binary, run as the space's user as
//! `space-agent step FOLDER`. The agent prepares the folder ([`prepare`]: the order, `step.json`), the worker in it
//! does the work ([`worker::main`]), writes to its standard output what a person wants to read meanwhile, and leaves
//! `result.json`; the agent reads that once the child has ended ([`outcome`]). Whatever lies inside the home is touched
//! by the worker only, that is, with the user's rights: a link in the home leads a root agent nowhere.
//!
//! `prepare` and `outcome` block for as long as a few small files take; they know no clock and keep no state.

mod git;
mod order;
mod output;
mod python;
mod run;
pub mod worker;

use crate::model::child::{Account, ChildSpec, Exit, StepOutcome};
use crate::sys::files;
use order::Order;
use space_lifecycle::Step;
use std::collections::BTreeMap;
use std::fmt;
use std::fs::{self, DirBuilder, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, chown};
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
    /// `$RUN/steps`: temporary, the agent's own.
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
/// The folder above belongs to the agent, so nobody else can put a link in the place of the step's folder; that one is
/// handed over to the account last, when everything is in it.
pub fn prepare(step: &Step, context: &Context) -> Result<ChildSpec, Error> {
    let folder = context.steps_folder.join(&step.name);
    make_passable(&context.steps_folder).map_err(failing("create", &context.steps_folder))?;
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failing("clear", &folder)(error)),
        _ => DirBuilder::new().mode(0o700).create(&folder).map_err(failing("create", &folder))?,
    }
    let order = Order { step: step.clone(), home: context.home.clone(), state: context.state.clone() };
    let file = folder.join(order::FILE);
    write_new(&file, &order.to_json()).map_err(failing("write", &file))?;
    for path in [&file, &folder] {
        chown(path, Some(context.account.uid), Some(context.account.gid)).map_err(failing("hand over", path))?;
    }
    let mut env = context.env.clone();
    env.extend(step.env.clone());
    Ok(ChildSpec {
        program: context.binary.clone(),
        args: vec!["step".into(), folder.display().to_string()],
        env,
        folder: context.home.clone(),
        account: context.account.clone(),
        may_gain_privileges: false,
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

/// The account passes through it to its step's folder, whatever the agent's umask.
fn make_passable(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)?;
    fs::set_permissions(folder, Permissions::from_mode(0o711))
}

fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?.write_all(content)
}

#[cfg(test)]
mod tests;
