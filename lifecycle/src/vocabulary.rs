//! Which fields there are, and where: one table for the decoder, its suggestions, and the test that compares the table
//! with the schema.

/// A mapping of the document and its fields.
#[derive(Debug)]
pub(crate) struct Object {
    /// Where it stands, as messages name it; empty for the document itself.
    pub(crate) path: &'static str,
    pub(crate) fields: &'static [&'static str],
    /// Fields that are planned: known, and refused with that word.
    pub(crate) later: &'static [&'static str],
    /// The field that a bare value most likely stands for: `idle: 60m`.
    pub(crate) shorthand: Option<&'static str>,
    /// Also refused in `run`, from newer documents too: here a field that is dropped would open or endanger something.
    pub(crate) strict: bool,
}

const fn object(path: &'static str, fields: &'static [&'static str], later: &'static [&'static str]) -> Object {
    Object { path, fields, later, shorthand: None, strict: false }
}

impl Object {
    const fn short(self, field: &'static str) -> Self {
        Self { shorthand: Some(field), ..self }
    }

    const fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    /// "the document" or "`idle`".
    pub(crate) fn title(&self) -> String {
        if self.path.is_empty() { "the document".to_owned() } else { format!("`{}`", self.path) }
    }
}

pub(crate) const DOCUMENT: Object = object(
    "",
    &["version", "space", "user", "storage", "lifecycle", "apps", "idle", "front_door", "stop", "agent"],
    &["control", "report", "plane", "locked", "start_deadline", "log_apps"],
);
pub(crate) const SPACE: Object = object("space", &["name", "domain", "owner", "sharing"], &[]).short("name");
pub(crate) const USER: Object = object("user", &["name", "uid", "gid", "home", "sudo"], &[]).short("name").strict();
pub(crate) const STORAGE: Object = object("storage", &["home"], &["shared"]);
pub(crate) const HOME: Object =
    object("storage.home", &["directory"], &["device", "volume", "mount", "filesystem", "format"])
        .short("directory")
        .strict();
pub(crate) const LIFECYCLE: Object = object("lifecycle", &["steps"], &[]);
pub(crate) const STEP: Object = object(
    "lifecycle.steps[]",
    &["name", "run", "git", "python", "on", "needs", "blocks", "timeout", "on_failure", "env"],
    &["as", "retries", "when", "every", "script", "conda", "dotfiles"],
);
pub(crate) const GIT: Object = object("git", &["url", "ref", "into"], &[]).short("url");
pub(crate) const PYTHON: Object = object("python", &["requirements", "packages", "environment"], &[]);
pub(crate) const APP: Object = object("apps[]", &["kind", "name", "base_path", "env"], &["start", "managed"]);
pub(crate) const JUPYTERLAB: Object = object("an app of kind jupyterlab", &["environment"], &[]);
pub(crate) const COMMAND: Object =
    object("an app of kind command", &["command", "port", "socket", "strip_base_path", "ready"], &[]);
pub(crate) const READY: Object = object("ready", &["path"], &[]).short("path");
pub(crate) const IDLE: Object = object(
    "idle",
    &["shutdown", "notice", "action", "kernels", "blind_after", "lease_max"],
    &["max_busy", "max_session", "price_per_hour", "sources"],
)
.short("shutdown");
pub(crate) const ACTION: Object = object("idle.action", &["command"], &[]).short("command");
pub(crate) const FRONT_DOOR: Object = object(
    "front_door",
    &["listen", "base_path", "sign_in", "hosts", "origins"],
    &["trusted_proxy", "port_host", "tls"],
)
.short("listen")
.strict();
pub(crate) const STOP: Object = object("stop", &["deadline"], &[]).short("deadline");
pub(crate) const AGENT: Object = object("agent", &["restart"], &[]);
pub(crate) const RESTART: Object = object("agent.restart", &["max", "within"], &[]).short("max");

/// Every mapping, for "`steps` is a field of `lifecycle`".
pub(crate) const ALL: [&Object; 19] = [
    &DOCUMENT,
    &SPACE,
    &USER,
    &STORAGE,
    &HOME,
    &LIFECYCLE,
    &STEP,
    &GIT,
    &PYTHON,
    &APP,
    &JUPYTERLAB,
    &COMMAND,
    &READY,
    &IDLE,
    &ACTION,
    &FRONT_DOOR,
    &STOP,
    &AGENT,
    &RESTART,
];
