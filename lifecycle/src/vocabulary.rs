//! Which fields there are, and where: one table for the decoder, its suggestions, and the test that compares the table
//! with the schema.

/// A mapping of the document and its fields.
#[derive(Debug)]
pub(crate) struct Object {
    /// As messages name it: "a step", "`idle`".
    pub(crate) title: &'static str,
    pub(crate) fields: &'static [&'static str],
    /// Fields that are planned: known, and refused with that word.
    pub(crate) later: &'static [&'static str],
    /// The field that a bare value most likely stands for: `idle: 60m`.
    pub(crate) shorthand: Option<&'static str>,
    /// Other words that people use for its fields.
    pub(crate) synonyms: &'static [(&'static str, &'static str)],
    /// Also refused in `run`, from newer documents too: here a field that is dropped would open or endanger something.
    pub(crate) strict: bool,
}

const fn object(title: &'static str, fields: &'static [&'static str], later: &'static [&'static str]) -> Object {
    Object { title, fields, later, shorthand: None, synonyms: &[], strict: false }
}

impl Object {
    const fn short(self, field: &'static str) -> Self {
        Self { shorthand: Some(field), ..self }
    }

    const fn strict(self) -> Self {
        Self { strict: true, ..self }
    }

    const fn also(self, synonyms: &'static [(&'static str, &'static str)]) -> Self {
        Self { synonyms, ..self }
    }
}

pub(crate) const DOCUMENT: Object = object(
    "the document",
    &["version", "space", "user", "storage", "lifecycle", "apps", "idle", "front_door", "stop", "agent"],
    &["control", "report", "plane", "locked", "start_deadline"],
);
pub(crate) const SPACE: Object = object("`space`", &["name", "domain", "owner", "sharing"], &[]).short("name");
pub(crate) const USER: Object = object("`user`", &["name", "uid", "gid", "home", "sudo"], &[]).short("name").strict();
pub(crate) const STORAGE: Object = object("`storage`", &["home"], &["shared"]);
pub(crate) const HOME: Object =
    object("`storage.home`", &["directory"], &["device", "volume", "mount", "filesystem", "format"])
        .short("directory")
        .strict();
pub(crate) const LIFECYCLE: Object = object("`lifecycle`", &["steps"], &[]);
pub(crate) const STEP: Object = object(
    "a step",
    &["name", "run", "git", "python", "on", "needs", "blocks", "timeout", "on_failure", "env"],
    &["as", "retries", "when", "every", "script", "conda", "dotfiles"],
)
.also(&[
    ("shell", "run"),
    ("bash", "run"),
    ("sh", "run"),
    ("command", "run"),
    ("cmd", "run"),
    ("pip", "python"),
    ("depends_on", "needs"),
    ("after", "needs"),
    ("requires", "needs"),
    ("id", "name"),
    ("environment", "env"),
]);
pub(crate) const GIT: Object = object("`git`", &["url", "ref", "into"], &[]).short("url").also(&[
    ("repo", "url"),
    ("repository", "url"),
    ("remote", "url"),
    ("branch", "ref"),
    ("tag", "ref"),
    ("commit", "ref"),
    ("revision", "ref"),
    ("directory", "into"),
    ("folder", "into"),
    ("path", "into"),
    ("target", "into"),
    ("to", "into"),
]);
pub(crate) const PYTHON: Object = object("`python`", &["requirements", "packages", "environment"], &[]).also(&[
    ("install", "packages"),
    ("dependencies", "packages"),
    ("libraries", "packages"),
    ("pip", "packages"),
    ("file", "requirements"),
    ("env", "environment"),
    ("venv", "environment"),
    ("virtualenv", "environment"),
]);
pub(crate) const APP: Object = object(
    "an app",
    &["kind", "name", "base_path", "env", "start", "ready", "restart", "live", "limits"],
    &["managed"],
)
.also(&[
    ("type", "kind"),
    ("id", "name"),
    ("prefix", "base_path"),
    ("base_url", "base_path"),
    ("path", "base_path"),
    ("cmd", "command"),
    ("run", "command"),
    ("exec", "command"),
    ("venv", "environment"),
    ("autostart", "start"),
    ("workspace", "folder"),
    ("readiness", "ready"),
    ("health", "ready"),
    ("liveness", "live"),
    ("healthcheck", "live"),
    ("ulimits", "limits"),
    ("resources", "limits"),
]);
pub(crate) const JUPYTERLAB: Object = object("an app of kind jupyterlab", &["environment"], &[]);
pub(crate) const CODE_EDITOR: Object = object("an app of kind code-editor", &["environment", "folder"], &[]);
pub(crate) const COMMAND: Object =
    object("an app of kind command", &["command", "port", "socket", "strip_base_path"], &[]);
pub(crate) const READY: Object = object("`ready`", &["path", "deadline"], &[])
    .short("path")
    .also(&[("timeout", "deadline"), ("within", "deadline")]);
/// Of an app that the agent knows itself how to ask.
pub(crate) const READY_KNOWN: Object =
    object("`ready` of an app of kind jupyterlab or code-editor", &["deadline"], &[])
        .short("deadline")
        .also(&[("timeout", "deadline"), ("within", "deadline")]);
pub(crate) const APP_RESTART: Object = object("an app's `restart`", &["max", "within", "backoff"], &[]).also(&[
    ("wait", "backoff"),
    ("delay", "backoff"),
    ("retries", "max"),
    ("attempts", "max"),
]);
pub(crate) const LIVE: Object = object("`live`", &["path", "every", "failures"], &[]).also(&[
    ("url", "path"),
    ("interval", "every"),
    ("period", "every"),
    ("threshold", "failures"),
    ("retries", "failures"),
]);
pub(crate) const LIMITS: Object = object("`limits`", &["open_files", "processes"], &[]).also(&[
    ("nofile", "open_files"),
    ("files", "open_files"),
    ("nproc", "processes"),
    ("threads", "processes"),
    ("pids", "processes"),
]);
pub(crate) const IDLE: Object = object(
    "`idle`",
    &["shutdown", "notice", "action", "kernels", "blind_after", "lease_max"],
    &["max_busy", "max_session", "price_per_hour", "sources"],
)
.short("shutdown")
.also(&[("timeout", "shutdown"), ("after", "shutdown"), ("warning", "notice"), ("max_lease", "lease_max")]);
pub(crate) const ACTION: Object = object("`idle.action`", &["command"], &[]).short("command");
pub(crate) const FRONT_DOOR: Object = object(
    "`front_door`",
    &["listen", "base_path", "sign_in", "hosts", "origins", "tls", "access_log"],
    &["trusted_proxy", "port_host"],
)
.short("listen")
.also(&[("bind", "listen"), ("address", "listen"), ("port", "listen"), ("auth", "sign_in"), ("base_url", "base_path")])
.strict();
pub(crate) const TLS: Object = object("`front_door.tls`", &["cert", "key"], &[])
    .also(&[
        ("certificate", "cert"),
        ("chain", "cert"),
        ("cert_file", "cert"),
        ("certfile", "cert"),
        ("private_key", "key"),
        ("key_file", "key"),
        ("keyfile", "key"),
    ])
    .strict();
pub(crate) const STOP: Object = object("`stop`", &["deadline"], &[]).short("deadline");
pub(crate) const AGENT: Object = object("`agent`", &["restart", "log_apps"], &[]);
pub(crate) const RESTART: Object = object("`agent.restart`", &["max", "within"], &[]).short("max");

/// Every mapping, for "`steps` is a field of `lifecycle`".
pub(crate) const ALL: [&Object; 25] = [
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
    &CODE_EDITOR,
    &COMMAND,
    &READY,
    &READY_KNOWN,
    &APP_RESTART,
    &LIVE,
    &LIMITS,
    &IDLE,
    &ACTION,
    &FRONT_DOOR,
    &TLS,
    &STOP,
    &AGENT,
    &RESTART,
];
