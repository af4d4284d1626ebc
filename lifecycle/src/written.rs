//! The document as it is written: types that exist for the JSON Schema alone.
//!
//! [`Space`](crate::Space) is what a document means, with every default filled in; these say what may stand in one. The
//! schema is generated from them, their comments are its descriptions. Nothing decodes into them: a test holds the
//! hand-written decoder and this schema together on every good and bad document.

use crate::form::pattern;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use std::borrow::Cow;
use std::collections::BTreeMap;

/// What a space should be.
#[derive(Debug, JsonSchema)]
#[schemars(title = "space-agent lifecycle configuration", deny_unknown_fields)]
pub struct Document {
    pub version: Version,
    pub space: Option<Space>,
    pub user: Option<User>,
    pub storage: Option<Storage>,
    pub lifecycle: Option<Lifecycle>,
    /// The apps of the space; the first one owns `/` of the front door. May be empty.
    #[schemars(length(max = 50))]
    pub apps: Option<Vec<App>>,
    pub idle: Option<Idle>,
    pub front_door: Option<FrontDoor>,
    pub stop: Option<Stop>,
    pub agent: Option<Agent>,
}

/// What the space is called and whose it is.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Space {
    /// Default: named after its home folder.
    pub name: Option<SpaceName>,
    pub domain: Option<Line>,
    pub owner: Option<Line>,
    /// Default: private.
    pub sharing: Option<Sharing>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum Sharing {
    /// The owner's only.
    Private,
    /// Everyone's in the domain.
    Shared,
}

/// Who apps and steps run as; a name or a uid.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = [{"required": ["name"]}, {"required": ["uid"]}]))]
pub struct User {
    pub name: Option<UserName>,
    #[schemars(range(max = 4_294_967_294_u32))]
    pub uid: Option<u32>,
    #[schemars(range(max = 4_294_967_294_u32))]
    pub gid: Option<u32>,
    /// HOME of what runs. Default: the space's home folder.
    pub home: Option<AbsolutePath>,
    /// May what runs gain rights? Default: never.
    pub sudo: Option<Sudo>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum Sudo {
    Never,
    /// As the image has it.
    Image,
}

/// Where the files are.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Storage {
    pub home: Option<Home>,
}

/// The home folder.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Home {
    /// Absolute, or relative to the document's folder.
    pub directory: Line,
}

/// What is done to set the space up.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Lifecycle {
    /// Run in the order of their needs, else as written.
    #[schemars(length(max = 200))]
    pub steps: Option<Vec<Step>>,
}

/// A unit of work. It has exactly one of `run`, `git` and `python`. Nothing waits for one that runs at the stop, and its
/// failure changes nothing.
#[derive(Debug, JsonSchema)]
#[schemars(
    deny_unknown_fields,
    extend(
        "oneOf" = [{"required": ["run"]}, {"required": ["git"]}, {"required": ["python"]}],
        "if" = {"required": ["on"], "properties": {"on": {"const": "stop"}}},
        "then" = {"not": {"required": ["blocks"]}, "properties": {"on_failure": {"const": "continue"}}}
    )
)]
pub struct Step {
    pub name: Name,
    pub run: Option<Script>,
    pub git: Option<Git>,
    pub python: Option<Python>,
    /// When it runs. Default: start.
    pub on: Option<Moment>,
    /// The names of the steps that must be done before, of those that run at the same moment.
    #[schemars(length(max = 200))]
    pub needs: Option<Vec<Name>>,
    /// What waits for the step. Default: the app for `run`, nothing for `git` and `python`.
    pub blocks: Option<Blocks>,
    /// Default: 10m; at the stop 1m, within the stop's deadline.
    pub timeout: Option<PositiveDuration>,
    /// Default: recovery if the app waits for the step, else continue.
    pub on_failure: Option<OnFailure>,
    pub env: Option<Env>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum Moment {
    /// At each start of the space.
    Start,
    /// When the space stops, before the apps end.
    Stop,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum Blocks {
    /// The apps start after it.
    App,
    /// The space opens meanwhile.
    Nothing,
}

/// What a failed step does to the boot.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum OnFailure {
    /// The space goes on without it, and says so.
    Continue,
    /// The space opens in recovery mode.
    Recovery,
    /// The boot fails.
    Abort,
}

/// A repository to be cloned.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Git {
    pub url: GitUrl,
    /// A branch, tag or commit. Default: the repository's own.
    #[schemars(rename = "ref")]
    pub r#ref: Option<GitRef>,
    /// The folder, relative to the home. Default: the last part of the URL.
    pub into: Option<PathBelowHome>,
}

/// A virtual environment with packages in it.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("anyOf" = [{"required": ["requirements"]}, {"required": ["packages"]}]))]
pub struct Python {
    /// A requirements file, relative to the home.
    pub requirements: Option<PathBelowHome>,
    /// Requirement specifiers as pip takes them.
    #[schemars(length(min = 1, max = 1000))]
    pub packages: Option<Vec<Package>>,
    /// The folder, relative to the home. Default: .venv
    pub environment: Option<PathBelowHome>,
}

/// What the space's person works with; `kind` says what it is.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum App {
    Jupyterlab(JupyterlabApp),
    CodeEditor(CodeEditorApp),
    Command(CommandApp),
}

/// JupyterLab.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct JupyterlabApp {
    pub kind: JupyterlabKind,
    /// Default: default.
    pub name: Option<Name>,
    /// Default: /jupyterlab/default/
    pub base_path: Option<BasePath>,
    pub env: Option<Env>,
    /// Default: boot.
    pub start: Option<Start>,
    /// The virtual environment in which it is looked for first, relative to the home. Default: PATH.
    pub environment: Option<PathBelowHome>,
    pub ready: Option<KnownReady>,
    pub restart: Option<AppRestart>,
    pub live: Option<Live>,
    pub limits: Option<Limits>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum JupyterlabKind {
    Jupyterlab,
}

/// When the app is started.
#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum Start {
    /// When the space boots.
    Boot,
    /// At its first request.
    OnDemand,
}

/// VS Code for browsers: sagemaker-code-editor, code-server or openvscode-server, whichever is there.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct CodeEditorApp {
    pub kind: CodeEditorKind,
    /// Default: default.
    pub name: Option<Name>,
    /// Default: /codeeditor/default/
    pub base_path: Option<BasePath>,
    pub env: Option<Env>,
    /// Default: boot.
    pub start: Option<Start>,
    /// The environment in which it is looked for first, relative to the home. Default: PATH.
    pub environment: Option<PathBelowHome>,
    /// What is opened, relative to the home. Default: the home.
    pub folder: Option<PathBelowHome>,
    pub ready: Option<KnownReady>,
    pub restart: Option<AppRestart>,
    pub live: Option<Live>,
    pub limits: Option<Limits>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "kebab-case", inline)]
pub enum CodeEditorKind {
    CodeEditor,
}

/// Anything that serves HTTP.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields, extend("not" = {"required": ["port", "socket"]}))]
pub struct CommandApp {
    pub kind: CommandKind,
    /// Default: command.
    pub name: Option<Name>,
    /// Default: its name between slashes.
    pub base_path: Option<BasePath>,
    pub env: Option<Env>,
    /// Default: boot.
    pub start: Option<Start>,
    pub command: CommandLine,
    /// The port that it listens on, on 127.0.0.1; in its environment as $PORT.
    #[schemars(range(min = 1, max = 65_535))]
    pub port: Option<u32>,
    /// The unix socket that it listens on, relative to the home. Default: $SPACE_AGENT_APP_SOCKET.
    pub socket: Option<PathBelowHome>,
    /// true: it sees paths without its base path.
    pub strip_base_path: Option<bool>,
    pub ready: Option<Ready>,
    pub restart: Option<AppRestart>,
    pub live: Option<Live>,
    pub limits: Option<Limits>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum CommandKind {
    Command,
}

/// How one sees that the app is ready.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Ready {
    /// Below the base path; ready is any answer below 500. Default: /
    pub path: Option<ReadyPath>,
    /// How long a start may take until then, 1s to 1h. Default: 2m.
    pub deadline: Option<WithinHour>,
}

/// How long an app may take to be ready that the agent knows itself how to ask.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct KnownReady {
    /// 1s to 1h. Default: 2m.
    pub deadline: Option<WithinHour>,
}

/// How often the app may end by itself before it is given up, and how long it stays away each time.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct AppRestart {
    /// 0: it is never started again. Default: 5.
    #[schemars(range(max = 100_000))]
    pub max: Option<u32>,
    /// Default: 5m.
    pub within: Option<PositiveDuration>,
    /// The first wait, which doubles, and the longest one. Default: 1s..60s
    pub backoff: Option<Backoff>,
}

/// The app is ended and started again when it does not answer any more.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Live {
    /// Below the base path. Default: what is asked to see that the app is ready.
    pub path: Option<ReadyPath>,
    /// How often it is asked, 1s to 1h. Default: 30s.
    pub every: Option<WithinHour>,
    /// How many questions in a row it leaves unanswered before. Default: 5.
    #[schemars(range(min = 1, max = 1000))]
    pub failures: Option<u32>,
}

/// What the app and all that it starts may use.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Limits {
    /// Open descriptors of one process.
    #[schemars(range(min = 64, max = 1_000_000_000))]
    pub open_files: Option<u64>,
    /// Processes and threads of the app's user.
    #[schemars(range(min = 16, max = 1_000_000_000))]
    pub processes: Option<u64>,
}

/// When the space is stopped because nobody and nothing works in it.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Idle {
    /// After how long. Default: 60m.
    pub shutdown: Option<DurationOrNever>,
    /// How long viewers are warned before, within `shutdown`. Default: 5m, or a quarter of `shutdown`.
    pub notice: Option<Duration>,
    /// Default: exit.
    pub action: Option<Action>,
    /// When single idle kernels end.
    pub kernels: Option<Never>,
    /// How long an activity source that can't be read holds the space. Default: 2h.
    pub blind_after: Option<PositiveDuration>,
    /// The longest lease that anyone can take. Default: 12h.
    pub lease_max: Option<PositiveDuration>,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum Never {
    Never,
}

/// What happens then.
#[derive(Debug, JsonSchema)]
#[schemars(untagged)]
pub enum Action {
    Word(ActionWord),
    Command(ActionCommand),
}

/// Run a command instead.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct ActionCommand {
    pub command: CommandLine,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum ActionWord {
    /// Say it, do nothing.
    Observe,
    /// Tell whoever asks; they stop the space.
    Report,
    /// Stop the space.
    Exit,
}

/// The only way to the apps.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct FrontDoor {
    /// An address and a port. Default: 127.0.0.1:8888
    pub listen: Option<Listen>,
    /// Prefixes everything. Default: /
    pub base_path: Option<BasePath>,
    /// Default: token.
    pub sign_in: Option<SignIn>,
    /// Further values of the Host header that are this space.
    #[schemars(length(max = 1000))]
    pub hosts: Option<Vec<Host>>,
    /// Further origins whose pages may act on this space.
    #[schemars(length(max = 1000))]
    pub origins: Option<Vec<Origin>>,
    /// Encrypts the way to the door. Default: it speaks plain HTTP.
    pub tls: Option<Tls>,
    /// A line for each request. Default: off.
    pub access_log: Option<AccessLog>,
}

/// A certificate and its private key, as files in PEM form; looked at again when they change.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Tls {
    /// The certificate, then those that lead to its root. Relative to the document's folder.
    pub cert: Line,
    /// The private key. Relative to the document's folder; where the agent is root, nobody else's to read.
    pub key: Line,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum AccessLog {
    Off,
    /// front-door/access.log in the space's log folder.
    File,
    /// The agent's standard output.
    Stdout,
}

#[derive(Debug, JsonSchema)]
#[schemars(rename_all = "lowercase", inline)]
pub enum SignIn {
    /// A one-time link, then a session.
    Token,
    /// Nobody is asked; on a loopback address only.
    Open,
}

/// How the space ends.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Stop {
    /// From the wish to stop to the end of everything, 1s to 10m. Default: 25s.
    pub deadline: Option<Deadline>,
}

/// About the agent itself.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Agent {
    pub restart: Option<Restart>,
    /// true: what the apps print goes to the agent's standard output too. Default: false, since it may hold people's data.
    pub log_apps: Option<bool>,
}

/// How often the agent may crash before the space is given up.
#[derive(Debug, JsonSchema)]
#[schemars(deny_unknown_fields)]
pub struct Restart {
    /// Default: 5.
    #[schemars(range(max = 10_000))]
    pub max: Option<u32>,
    /// Default: 10m.
    pub within: Option<PositiveDuration>,
}

/// `1` is 1.0; later versions are text, like "1.4".
#[derive(Debug)]
pub struct Version;

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "`1` is 1.0; later versions are text, like \"1.4\".",
            "oneOf": [{ "const": 1 }, { "type": "string", "pattern": pattern::VERSION }],
        })
    }
}

/// Environment variables.
#[derive(Debug)]
pub struct Env(pub BTreeMap<String, String>);

impl JsonSchema for Env {
    fn schema_name() -> Cow<'static, str> {
        "Env".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Environment variables; SPACE_AGENT_… are the agent's own.",
            "type": "object",
            "propertyNames": { "pattern": pattern::VARIABLE },
            "additionalProperties": { "type": "string", "pattern": pattern::TEXT },
        })
    }
}

/// Program and arguments.
#[derive(Debug)]
pub struct CommandLine(pub Vec<String>);

impl JsonSchema for CommandLine {
    fn schema_name() -> Cow<'static, str> {
        "CommandLine".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "Program and arguments.",
            "type": "array",
            "prefixItems": [{ "type": "string", "minLength": 1, "pattern": pattern::TEXT }],
            "items": { "type": "string", "pattern": pattern::TEXT },
            "minItems": 1,
            "maxItems": 1000,
        })
    }
}

/// Text of a certain form.
macro_rules! text {
    ($($(#[doc = $about:literal])* $name:ident: $pattern:expr;)*) => { $(
        $(#[doc = $about])*
        #[derive(Debug)]
        pub struct $name(pub String);

        impl JsonSchema for $name {
            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                let about = concat!($($about),*).trim();
                json_schema!({ "type": "string", "description": about, "pattern": $pattern })
            }
        }
    )* };
}

text! {
    /// One line of text.
    Line: pattern::LINE;
    /// A shell script's text.
    Script: r"^[^\x00]*[^\s\x00][^\x00]*$";
    /// Lower-case letters, digits and inner `-`.
    SpaceName: pattern::SPACE_NAME;
    /// Letters, digits, `.`, `_` and `-`, beginning with a letter or digit.
    Name: pattern::NAME;
    /// A user's name.
    UserName: pattern::USER;
    /// A path from `/`.
    AbsolutePath: pattern::ABSOLUTE;
    /// A path relative to the home folder that stays in it.
    PathBelowHome: pattern::BELOW_HOME;
    /// A part of the address; begins and ends with `/`.
    BasePath: pattern::BASE_PATH;
    /// A path that begins with `/`.
    ReadyPath: pattern::READY;
    /// A URL (https, http, ssh, git, file), git@host:path, or a path.
    GitUrl: pattern::GIT_URL;
    /// A branch, tag or commit.
    GitRef: pattern::GIT_REF;
    /// A requirement specifier.
    Package: pattern::PACKAGE;
    /// 90s, 5m, 2h, 250ms.
    Duration: pattern::DURATION;
    /// 90s, 5m, 2h; at least 1s.
    PositiveDuration: pattern::POSITIVE;
    /// 1s to 10m.
    Deadline: pattern::DEADLINE;
    /// 1s to 1h.
    WithinHour: pattern::WITHIN_HOUR;
    /// Two durations from 10ms to 1h, the shorter one first: 1s..60s; or one.
    Backoff: pattern::BACKOFF;
    /// 90s, 5m, 2h, or never.
    DurationOrNever: format!("{}|^never$", pattern::POSITIVE);
    /// An address and a port: 127.0.0.1:8888, [::1]:8888.
    Listen: pattern::LISTEN;
    /// host or host:port.
    Host: pattern::HOST;
    /// scheme://host or scheme://host:port.
    Origin: pattern::ORIGIN;
}
