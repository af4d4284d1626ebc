//! The types of a valid space: what a document means, every default filled in.
//!
//! These are the resolved types. What is not written in a document has its default here already, except where only the
//! machine can answer (who the user is, which folder is the home): those are `Option`, and the agent resolves them at
//! the edge. They serialize, because the agent keeps the space it booted in its snapshot: a restarted agent resumes
//! what it booted, not what the document says by then.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// One space, valid: every default filled in, every name unique, every path as written (relative to the document).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Space {
    pub info: SpaceInfo,
    /// Who the apps and steps run as; `None`: the agent finds out (see DESIGN, who the user is).
    pub user: Option<User>,
    /// `storage.home.directory`, absolute or relative to the document's folder; `None`: `./home` where `run` was called.
    pub home: Option<PathBuf>,
    /// In the order in which they run: those that the apps wait for first, each after the ones it needs.
    pub steps: Vec<Step>,
    /// The first one owns `/` of the front door. May be empty.
    pub apps: Vec<App>,
    pub idle: Idle,
    pub front_door: FrontDoor,
    pub stop: Stop,
    pub agent: AgentPolicy,
}

/// What the space is called and whose it is.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SpaceInfo {
    /// `[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?`; `None`: the agent names the space after its home.
    pub name: Option<String>,
    pub domain: Option<String>,
    pub owner: Option<String>,
    /// `private` (default) or `shared`.
    pub shared: bool,
}

/// `user:` as written. At least a name or a uid is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct User {
    pub name: Option<String>,
    pub uid: Option<u32>,
    pub gid: Option<u32>,
    /// HOME of what runs; absolute; default: the space's home folder.
    pub home: Option<PathBuf>,
    /// Default `never`.
    #[serde(default)]
    pub sudo: Sudo,
}

/// May what runs as the user gain rights?
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Sudo {
    /// No: `no_new_privs` is set.
    #[default]
    Never,
    /// As the image has it.
    Image,
}

/// A unit of set-up work.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    /// Unique; `[A-Za-z0-9][A-Za-z0-9._-]{0,62}`.
    pub name: String,
    pub kind: StepKind,
    /// When it runs. Default `start`.
    #[serde(default)]
    pub on: Moment,
    pub needs: Vec<String>,
    /// What waits for the step. Default: the app for `run`, nothing for `git` and `python`. At the stop always nothing.
    pub blocks: Blocks,
    /// Default 10 minutes; at the stop 1 minute, of which the stop's deadline leaves what it can.
    pub timeout: Duration,
    /// Default `recovery` if the app waits for the step, else `continue`. At the stop always `continue`.
    pub on_failure: OnFailure,
    pub env: BTreeMap<String, String>,
}

/// When a step runs.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Moment {
    /// At each start of the space.
    #[default]
    Start,
    /// When the space stops, before the apps are ended. Nothing waits for it longer than its share of `stop.deadline`.
    Stop,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepKind {
    /// A shell script's text; run with `bash FILE` in the home folder, standard input closed.
    Run(String),
    Git {
        url: String,
        r#ref: Option<String>,
        /// Relative to the home folder. Default: the last part of the URL.
        into: PathBuf,
    },
    Python(Python),
}

/// A virtual environment with packages in it. Paths are relative to the home folder.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Python {
    /// A requirements file; at least one of this and `packages` is given.
    pub requirements: Option<PathBuf>,
    /// Requirement specifiers as pip takes them.
    pub packages: Vec<String>,
    /// Default `.venv`.
    pub environment: PathBuf,
}

/// What waits for a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Blocks {
    App,
    Nothing,
}

/// What a failed step does to the boot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum OnFailure {
    /// The space goes on without it, and says so.
    Continue,
    /// Recovery mode: the app with a clean home, so that the space can be repaired.
    Recovery,
    /// The boot fails: exit 1.
    Abort,
}

/// A program that serves HTTP behind the front door.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct App {
    /// Unique; default: `default` for the first app without a name of kind jupyterlab or code-editor, else the kind.
    pub name: String,
    pub kind: AppKind,
    /// Begins and ends with `/`; relative to `front_door.base_path`. Default `/jupyterlab/default/` for the first app of
    /// kind jupyterlab, `/codeeditor/default/` for the first of kind code-editor, else `/<name>/`;
    /// if `front_door.base_path` isn't `/`, the first app's default is `/` (that is, the front door's own base path).
    pub base_path: String,
    pub env: BTreeMap<String, String>,
    /// When it is started. Default `boot`.
    #[serde(default)]
    pub start: Start,
    /// How long a start may take until the app answers. Default 2 minutes.
    #[serde(default = "usual_ready_deadline")]
    pub ready_deadline: Duration,
    /// When it is started again after it ended by itself.
    #[serde(default)]
    pub restart: AppRestart,
    /// Whether it is ended and started again when it does not answer any more. Default: it is only said to be silent.
    #[serde(default)]
    pub live: Option<Live>,
    /// What the app and all that it starts may use.
    #[serde(default)]
    pub limits: Limits,
}

/// When an app is started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Start {
    /// When the space boots, after the steps that the apps wait for.
    #[default]
    Boot,
    /// When somebody who has signed in asks for it at the front door. The space is ready without it.
    OnDemand,
}

/// `apps[].restart`: more ends by itself than `max` within `within`, and the app is given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AppRestart {
    /// Default 5. 0: it is never started again.
    pub max: u32,
    /// Default 5 minutes.
    pub within: Duration,
    /// The wait before the first start after an end; doubles with each. Default 1 s.
    pub first_wait: Duration,
    /// The longest wait. Default 60 s.
    pub longest_wait: Duration,
}

/// `apps[].live`: an app that does not answer this often in a row is ended and started again.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Live {
    /// Below the base path, begins with `/`. Default: what is asked to see that the app is ready (`ready.path`; `/api` of
    /// jupyterlab, `/healthz` of code-editor).
    pub path: String,
    /// Default 30 s, at least 1 s.
    pub every: Duration,
    /// Default 5.
    pub failures: u32,
}

/// `apps[].limits`; `None`: as the agent's surroundings have it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Limits {
    /// Open descriptors of one process, at least 64 (RLIMIT_NOFILE).
    pub open_files: Option<u64>,
    /// Processes and threads of the app's user (RLIMIT_NPROC), at least 16.
    pub processes: Option<u64>,
}

/// Which program, and what it alone can be told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AppKind {
    Jupyterlab(JupyterLab),
    CodeEditor(CodeEditor),
    Command(Command),
}

/// JupyterLab, started and known by the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct JupyterLab {
    /// The virtual environment in which `jupyter-lab` is looked for first, relative to the home; then PATH.
    pub environment: Option<PathBuf>,
}

/// VS Code for browsers, by whichever of its servers is there, started and known by the agent.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CodeEditor {
    /// The environment in which its program is looked for first, relative to the home; then PATH, then where images keep
    /// such programs.
    pub environment: Option<PathBuf>,
    /// What is opened, relative to the home; default: the home.
    pub folder: Option<PathBuf>,
}

/// Anything that serves HTTP.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Command {
    /// Program and arguments, at least the program.
    pub command: Vec<String>,
    /// Where it listens. Not written: the agent's own unix socket, its path in `$SPACE_AGENT_APP_SOCKET`.
    pub upstream: Upstream,
    /// True: the app sees paths without its base path.
    pub strip_base_path: bool,
    /// The path below the base path that answers below 500 once the app is ready; begins with `/`. Default `/`.
    pub ready_path: String,
}

/// Where a command listens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Upstream {
    /// `port:`, on 127.0.0.1. The command gets it as `$PORT`.
    Port(u16),
    /// `socket:`, relative to the home folder.
    Socket(PathBuf),
    /// A socket in the run folder, its path in `$SPACE_AGENT_APP_SOCKET`.
    Own,
    /// Of `run -- COMMAND…` only; no document says it. Meant to be a free port in `$PORT` or a socket in
    /// `$SPACE_AGENT_APP_SOCKET`, whichever the command listens on; the agent gives the socket only, as with `Own`.
    Any,
}

/// When is a space stopped for idleness, and how.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Idle {
    /// `None`: never. Default 60 minutes.
    pub shutdown: Option<Duration>,
    /// How long viewers are warned before; not longer than `shutdown`. Default: 5 minutes, or a quarter of `shutdown` if that is shorter.
    pub notice: Duration,
    /// Default `exit` with a document, `observe` without one.
    pub action: Action,
    /// How long an activity source that can't be read holds the space. Default 2 hours.
    pub blind_after: Duration,
    /// The longest lease that anyone can take. Default 12 hours.
    pub lease_max: Duration,
}

/// What is done with a space that is idle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Action {
    /// Say it, do nothing.
    Observe,
    /// Tell whoever polls `api/idle`; they stop the space.
    Report,
    /// Stop the space: `run` ends with 0.
    Exit,
    /// Run a command (program and arguments) instead of exiting.
    Command(Vec<String>),
}

/// The one way in from outside, for browsers and programs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FrontDoor {
    /// An address and a port, `127.0.0.1:8888` by default.
    pub listen: SocketAddr,
    /// Begins and ends with `/`; prefixes everything.
    pub base_path: String,
    pub sign_in: SignIn,
    /// Further values of the Host header that are this space (host or host:port).
    pub hosts: Vec<String>,
    /// Further origins (scheme://host[:port]) whose pages may act on this space.
    pub origins: Vec<String>,
    /// `None`: plain HTTP.
    #[serde(default)]
    pub tls: Option<Tls>,
    #[serde(default)]
    pub access_log: AccessLog,
}

/// Where the front door's certificate chain and private key are, in PEM form; as written, relative to the document's
/// folder.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tls {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Where the front door writes a line for each request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AccessLog {
    #[default]
    Off,
    /// In the space's log folder.
    File,
    /// On the agent's standard output.
    Stdout,
}

/// How a viewer shows who they are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SignIn {
    /// A one-time link, then a session cookie.
    Token,
    /// Nobody is asked. Only on a loopback address, until there is a trusted proxy to be named.
    Open,
}

/// How the space ends.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stop {
    /// From the wish to stop to the end of everything. Default 25 s, at least 1 s.
    pub deadline: Duration,
}

/// What holds for the agent itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AgentPolicy {
    /// How often the agent may crash before init gives up. Default 5 within 10 minutes.
    pub restart: Restart,
    /// What the apps print goes to the agent's standard output too. Default false: it may hold people's data.
    #[serde(default)]
    pub log_apps: bool,
}

/// More crashes than `max` within this time, and init gives up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Restart {
    pub max: u32,
    pub within: Duration,
}

impl App {
    /// `jupyterlab`, `code-editor` or `command`.
    pub fn kind_name(&self) -> &'static str {
        match self.kind {
            AppKind::Jupyterlab(_) => "jupyterlab",
            AppKind::CodeEditor(_) => "code-editor",
            AppKind::Command(_) => "command",
        }
    }
}

pub(crate) fn usual_ready_deadline() -> Duration {
    Duration::from_secs(120)
}

impl Default for AppRestart {
    fn default() -> AppRestart {
        AppRestart {
            max: 5,
            within: Duration::from_secs(300),
            first_wait: Duration::from_secs(1),
            longest_wait: Duration::from_secs(60),
        }
    }
}

impl OnFailure {
    /// What holds at the start if nothing is written: a space that opens without waiting for a step does not end for want of it.
    pub fn usual(blocks: Blocks) -> OnFailure {
        match blocks {
            Blocks::App => OnFailure::Recovery,
            Blocks::Nothing => OnFailure::Continue,
        }
    }
}

impl StepKind {
    /// `run`, `git` or `python`.
    pub fn name(&self) -> &'static str {
        match self {
            StepKind::Run(_) => "run",
            StepKind::Git { .. } => "git",
            StepKind::Python(_) => "python",
        }
    }
}
