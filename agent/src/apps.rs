//! What each app *is*, as data: program, arguments, where it listens, when it is ready.
//!
//! Pure but for [`find_program`], which looks whether a program is there. Nothing is started here: the process room
//! takes the [`ChildSpec`](crate::model::child::ChildSpec), the front door the upstream, the activity room the
//! kernels interface.

mod code_editor;
mod command;
mod jupyterlab;
pub mod recovery;

use crate::model::child::{Account, ChildLimits, ChildSpec};
use crate::model::route::{Opens, Upstream};
use crate::model::traffic::Rules;
use crate::sys::{account, files, keys};
use space_lifecycle::{App, AppKind};
use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

pub use code_editor::VSCODE_WORK;
pub use jupyterlab::{QUIET_KERNEL, config_files};

/// The longest path of a unix socket: `sun_path` is 108 bytes with its ending zero.
const SOCKET_PATH_MAX: usize = 107;

/// Where the space puts its apps.
#[derive(Debug, Clone)]
pub struct Place {
    /// The home folder.
    pub home: PathBuf,
    pub account: Account,
    /// `$RUN`; the app sockets are in `apps/` below it.
    pub run_folder: PathBuf,
    /// The front door's base path; begins and ends with `/`.
    pub front_base: String,
    /// The clean environment, see [`crate::model::environment`].
    pub base_env: BTreeMap<String, String>,
    /// Where the caller has put [`config_files`], readable by the account.
    pub config_folder: PathBuf,
    /// Where the caller makes the clean home of recovery mode, see [`recovery`].
    pub recovery: PathBuf,
}

/// An app in its place.
#[derive(Debug, Clone, PartialEq)]
pub struct Definition {
    /// The app's name in the document.
    pub name: String,
    /// What people call it: `JupyterLab`, or the app's name.
    pub label: String,
    pub program: Program,
    pub args: Vec<String>,
    /// What programs of other file names are told instead.
    pub other_args: Vec<(&'static str, Vec<String>)>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working folder.
    pub folder: PathBuf,
    pub account: Account,
    /// Joined to the front door's base path; begins and ends with `/`.
    pub base_path: String,
    pub strip_base_path: bool,
    pub upstream: Upstream,
    pub ready: Ready,
    /// A POST to this path makes it end in its own way.
    pub farewell: Option<String>,
    /// It has Jupyter's REST interface, with `api/kernels`, below its base path.
    pub kernels: bool,
    /// Which of its requests and messages are a person's or a client's work.
    pub rules: &'static Rules,
    /// How its page is told to show a file.
    pub opens: Opens,
}

/// Where an app's program may be.
#[derive(Debug, Clone, PartialEq)]
pub struct Program {
    /// As people say it: `jupyter-lab`.
    pub name: String,
    /// Absolute paths in order; the first that can be executed is taken.
    pub candidates: Vec<PathBuf>,
    /// What to do if none can be.
    pub remedy: String,
}

/// A GET of `path` that is answered with a status below `below`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ready {
    /// As the app sees it (without the base path if that is stripped).
    pub path: String,
    pub below: u16,
}

/// There is no program for an app.
#[derive(Debug, Clone, PartialEq)]
pub struct Error {
    app: String,
    /// For whom it was looked, if that is not the agent's own user.
    account: Option<String>,
    program: Program,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let places = places(&self.program.candidates);
        let Program { name, remedy, .. } = &self.program;
        write!(
            f,
            "cannot start the app {}: there is no {name} that can be executed{} (looked {places}): {remedy}",
            self.app,
            self.account.as_ref().map_or(String::new(), |account| format!(" by {account}"))
        )
    }
}

impl std::error::Error for Error {}

/// Where a program was looked for, behind the word `looked`: its places, or the folders if it has several names.
fn places(candidates: &[PathBuf]) -> String {
    let Some(first) = candidates.first() else { return "at PATH, which is empty".into() };
    if candidates.iter().all(|path| path.file_name() == first.file_name()) {
        let places: Vec<_> = candidates.iter().map(|path| path.display().to_string()).collect();
        return format!("at {}", places.join(", "));
    }
    let mut folders: Vec<_> = Vec::new();
    for folder in candidates.iter().filter_map(|path| path.parent()).map(|folder| folder.display().to_string()) {
        if !folders.contains(&folder) {
            folders.push(folder);
        }
    }
    format!("in {}", folders.join(", "))
}

/// What `app` is in `place`.
pub fn definition(app: &App, place: &Place) -> Definition {
    match &app.kind {
        AppKind::Jupyterlab(kind) => jupyterlab::definition(app, kind, place),
        AppKind::CodeEditor(kind) => code_editor::definition(app, kind, place),
        AppKind::Command(kind) => command::definition(app, kind, place),
    }
}

/// What `app` is in recovery mode.
pub fn recovery_definition(app: &App, place: &Place) -> Definition {
    let normal = definition(app, place);
    match &app.kind {
        AppKind::Jupyterlab(kind) => recovery::jupyterlab(normal, kind, place),
        AppKind::CodeEditor(kind) => recovery::code_editor(normal, kind, place),
        AppKind::Command(_) => recovery::command(normal, place),
    }
}

/// The first of the program's places that holds a file which the app's account can execute. Blocks for a few `stat`s.
pub fn find_program(definition: &Definition) -> Result<PathBuf, Error> {
    // An agent that is root sees programs that the account can't reach, and would take them before those that it can.
    let for_another = account::own().0 == 0 && definition.account.uid != 0;
    let executable = |path: &&PathBuf| match for_another {
        true => files::executable_by(path, &definition.account),
        false => fs::metadata(path).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0),
    };
    let found = definition.program.candidates.iter().find(executable);
    found.cloned().ok_or_else(|| Error {
        app: definition.name.clone(),
        account: for_another.then(|| definition.account.name.clone()),
        program: definition.program.clone(),
    })
}

/// Removes what an app that was killed has left of its socket in the run folder: some servers would not take its place.
pub fn forget_socket(definition: &Definition, run_folder: &Path) {
    if let Upstream::Unix(path) = &definition.upstream
        && path.starts_with(run_folder)
    {
        // Mostly there is none; and what cannot be removed is told by the server that finds it in its way.
        let _ = fs::remove_file(path);
    }
}

pub fn into_spec(definition: Definition, program: PathBuf) -> ChildSpec {
    let Definition { args, other_args, env, folder, account, .. } = definition;
    let other = other_args.into_iter().find(|(name, _)| program.file_name() == Some(name.as_ref()));
    let args = other.map_or(args, |(_, args)| args);
    ChildSpec {
        program,
        args,
        env,
        folder,
        account,
        may_gain_privileges: false,
        oom_score_adj: None,
        limits: ChildLimits::default(),
    }
}

/// The app's own socket in the run folder.
fn own_socket(name: &str, run_folder: &Path) -> PathBuf {
    let folder = run_folder.join("apps");
    let path = folder.join(format!("{name}.sock"));
    if path.as_os_str().len() <= SOCKET_PATH_MAX {
        return path;
    }
    folder.join(keys::fingerprint(name.as_bytes(), 16))
}

/// Programs of the environment are found in terminals and by `!` in notebooks.
fn put_on_path(env: &mut BTreeMap<String, String>, environment: &Path) {
    let path = env.get("PATH").map_or("", String::as_str);
    env.insert("PATH".into(), format!("{}:{path}", environment.join("bin").display()));
}

/// `path` below the app's base path, as the app sees it.
pub fn below_base(definition: &Definition, path: &str) -> String {
    let seen = if definition.strip_base_path { "/" } else { &definition.base_path };
    join_base(seen, path)
}

/// `/base/` and `/app/` make `/base/app/`.
fn join_base(front_base: &str, base_path: &str) -> String {
    format!("{}{base_path}", front_base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests;
