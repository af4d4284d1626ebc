//! The document itself and its small parts: version, space, user, storage, idle, front door, stop, agent.

use super::{At, Decoder, Fields};
use crate::duration::text as duration_text;
use crate::form;
use crate::mistake::quoted;
use crate::space::{
    AccessLog, Action, AgentPolicy, AppKind, Blocks, FrontDoor, Idle, Moment, Restart, SignIn, Space, SpaceInfo, Step,
    StepKind, Stop, Sudo, Tls, User,
};
use crate::tree::{Meaning, Node, Value};
use crate::vocabulary as words;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

/// The minor version that this decoder knows: 1.0.
const KNOWN_MINOR: u32 = 0;

const SECOND: Duration = Duration::from_secs(1);
const MINUTE: Duration = Duration::from_secs(60);
const HOUR: Duration = Duration::from_secs(3600);
const ZERO: Duration = Duration::ZERO;
const YEAR: Duration = Duration::from_secs(366 * 86_400);

impl Decoder<'_> {
    pub(super) fn document(&mut self, root: &Node) -> Option<Space> {
        let at = At::root(root);
        let Value::Map(entries) = &root.value else {
            let what = format!("a document is a mapping of fields, but here is {}", root.describe());
            self.fail(&at, what, "begin with `version: 1`; `space-agent schema config` lists the fields");
            return None;
        };
        // Before the other fields: it decides whether unknown ones are mistakes.
        self.version(&Fields { at: at.clone(), entries, objects: &[&words::DOCUMENT] });
        let fields = self.fields(at, &[&words::DOCUMENT])?;
        let front_door = fields.get("front_door").and_then(|at| self.front_door(at)).unwrap_or_else(FrontDoor::usual);
        let steps = match fields.get("lifecycle").and_then(|at| self.fields(at, &[&words::LIFECYCLE])) {
            Some(lifecycle) => lifecycle.get("steps").map_or_else(Vec::new, |at| self.steps(&at)),
            None => Vec::new(),
        };
        let apps = fields.get("apps").map_or_else(Vec::new, |at| self.apps(&at, front_door.base_path != "/"));
        let space = Space {
            info: fields.get("space").and_then(|at| self.info(at)).unwrap_or_default(),
            user: fields.get("user").and_then(|at| self.user(at)),
            home: fields.get("storage").and_then(|at| self.home(at)),
            steps,
            apps,
            idle: fields.get("idle").and_then(|at| self.idle(at)).unwrap_or_else(|| Idle::usual(Action::Exit)),
            front_door,
            stop: fields.get("stop").and_then(|at| self.stop(at)).unwrap_or_else(Stop::usual),
            agent: fields.get("agent").and_then(|at| self.agent(at)).unwrap_or_else(AgentPolicy::usual),
        };
        self.second_thoughts(&fields, &space);
        Some(space)
    }

    /// Valid, and probably not meant.
    fn second_thoughts(&mut self, fields: &Fields<'_>, space: &Space) {
        if fields.entry("apps").is_none() {
            let remedy = "add `apps: [{ kind: jupyterlab }]`, or `apps: []` if none is meant";
            self.warn(fields.at.place, "apps", "the document has no app, so there will be nothing to open", remedy);
        }
        for app in &space.apps {
            let environment = match &app.kind {
                AppKind::Jupyterlab(lab) => lab.environment.as_ref(),
                AppKind::CodeEditor(editor) => editor.environment.as_ref(),
                AppKind::Command(_) => continue,
            };
            let makes = |step: &&Step| match &step.kind {
                StepKind::Python(python) => Some(&python.environment) == environment,
                _ => false,
            };
            let late = |step: &&Step| makes(step) && step.on == Moment::Start && step.blocks == Blocks::Nothing;
            if let Some(step) = space.steps.iter().find(late) {
                let what = format!("the app {} starts from an environment that it doesn't wait for", quoted(&app.name));
                let remedy = format!("add `blocks: app` to the step {}", quoted(&step.name));
                self.warn(fields.key_place("apps"), "apps", what, remedy);
            }
        }
    }

    pub(super) fn version(&mut self, fields: &Fields<'_>) {
        let Some(at) = self.required(fields, "version", "begin the document with `version: 1`") else { return };
        let raw = at.node.raw();
        match at.node.meaning() {
            Some(Meaning::Integer(1)) => {}
            Some(Meaning::Float(1.0)) => {}
            Some(Meaning::Float(number)) if (1.0..2.0).contains(&number) => {
                let what = format!("the version {raw} must be text, since as numbers 1.1 and 1.10 are the same");
                self.fail(&at, what, format!("put it in quotes: {}", quoted(raw)));
            }
            Some(Meaning::Text(text)) => self.minor(&at, text),
            Some(Meaning::Integer(_) | Meaning::Float(_)) => self.other_version(&at, raw),
            _ => self.fail(&at, format!("{} is not a version", at.node.describe()), "write `version: 1`"),
        }
    }

    fn minor(&mut self, at: &At<'_>, text: &str) {
        let digits = text.strip_prefix("1.").filter(|minor| !minor.is_empty() && minor.len() <= 4);
        let plain = digits.filter(|minor| *minor == "0" || !minor.starts_with('0'));
        match plain
            .filter(|minor| minor.bytes().all(|b| b.is_ascii_digit()))
            .and_then(|minor| minor.parse::<u32>().ok())
        {
            Some(minor) => self.newer = minor > KNOWN_MINOR,
            None if text == "1" => self.fail(at, "version 1 is written as a number", "write `version: 1`"),
            None => self.other_version(at, text),
        }
    }

    fn other_version(&mut self, at: &At<'_>, text: &str) {
        let what = format!("{} is not a version that this agent reads", quoted(text));
        let remedy = match text.starts_with(|c: char| c.is_ascii_digit()) {
            true => "write `version: 1`, or use an agent that is as new as the document",
            false => "write `version: 1`",
        };
        self.fail(at, what, remedy);
    }

    pub(super) fn info(&mut self, at: At<'_>) -> Option<SpaceInfo> {
        let fields = self.fields(at, &[&words::SPACE])?;
        let name = fields.get("name").and_then(|at| self.formed(&at, form::space_name)).map(str::to_owned);
        let domain = fields.get("domain").and_then(|at| self.formed(&at, form::line)).map(str::to_owned);
        let owner = fields.get("owner").and_then(|at| self.formed(&at, form::line)).map(str::to_owned);
        let sharing = [("private", false), ("shared", true)];
        let shared = fields.get("sharing").and_then(|at| self.choice(&at, &sharing, &[])).unwrap_or(false);
        Some(SpaceInfo { name, domain, owner, shared })
    }

    pub(super) fn user(&mut self, at: At<'_>) -> Option<User> {
        let fields = self.fields(at, &[&words::USER])?;
        let name = fields.get("name").and_then(|at| self.formed(&at, form::user_name)).map(str::to_owned);
        let mut id = |key| {
            let number = fields.get(key).and_then(|at| self.integer(&at, 0..=4_294_967_294));
            number.and_then(|number| u32::try_from(number).ok())
        };
        let (uid, gid) = (id("uid"), id("gid"));
        let home = fields.get("home").and_then(|at| self.formed(&at, form::absolute)).map(PathBuf::from);
        let sudo = [("never", Sudo::Never), ("image", Sudo::Image)];
        let sudo = fields.get("sudo").and_then(|at| self.choice(&at, &sudo, &[])).unwrap_or_default();
        if fields.entry("name").is_none() && fields.entry("uid").is_none() {
            self.fail(&fields.at, "`user` says neither name nor uid", "write `name`, `uid`, or both");
        }
        Some(User { name, uid, gid, home, sudo })
    }

    pub(super) fn home(&mut self, at: At<'_>) -> Option<PathBuf> {
        let storage = self.fields(at, &[&words::STORAGE])?;
        let home = self.fields(storage.get("home")?, &[&words::HOME])?;
        let planned = home.entries.iter().any(|entry| words::HOME.later.contains(&entry.key.as_str()));
        if planned && home.entry("directory").is_none() {
            return None;
        }
        let directory = self.required(&home, "directory", "write the folder: directory: ./home")?;
        self.formed(&directory, form::line).map(PathBuf::from)
    }

    pub(super) fn idle(&mut self, at: At<'_>) -> Option<Idle> {
        let fields = self.fields(at, &[&words::IDLE])?;
        let usual = Idle::usual(Action::Exit);
        let shutdown = fields.get("shutdown").map(|at| self.duration_or_never(&at, SECOND..=YEAR));
        let notice = fields.get("notice").map(|at| (self.duration(&at, ZERO..=YEAR), at));
        let action = fields.get("action").and_then(|at| self.action(at)).unwrap_or(usual.action);
        if let Some(at) = fields.get("kernels") {
            self.kernels(&at);
        }
        let mut limit = |key, usual| fields.get(key).and_then(|at| self.duration(&at, SECOND..=YEAR)).unwrap_or(usual);
        let (blind_after, lease_max) = (limit("blind_after", usual.blind_after), limit("lease_max", usual.lease_max));
        // A `shutdown` that could not be read is a mistake already and not compared with.
        let shutdown = shutdown.unwrap_or(Some(usual.shutdown))?;
        if let (Some(shutdown), Some((Some(notice), at))) = (shutdown, &notice)
            && *notice > shutdown
        {
            let (notice, shutdown) = (duration_text(*notice), duration_text(shutdown));
            let what = format!("a notice of {notice} doesn't fit into the {shutdown} of `idle.shutdown`");
            self.fail(at, what, format!("write {shutdown} or less"));
        }
        let notice = notice.and_then(|(notice, _)| notice).unwrap_or_else(|| usual_notice(shutdown));
        Some(Idle { shutdown, notice, action, blind_after, lease_max })
    }

    fn action(&mut self, at: At<'_>) -> Option<Action> {
        if let Value::Map(_) = at.node.value {
            let fields = self.fields(at, &[&words::ACTION])?;
            let remedy = "write program and arguments: action: { command: [systemctl, poweroff] }";
            let command = self.required(&fields, "command", remedy)?;
            return self.command(&command).map(Action::Command);
        }
        if let Value::List(_) = at.node.value {
            self.fail(
                &at,
                "`idle.action` is a word or a mapping, but here is a list",
                "write action: { command: [ … ] }",
            );
            return None;
        }
        let choices = [("observe", 0), ("report", 1), ("exit", 2)];
        match at.node.raw() {
            "stop" | "shutdown" | "terminate" | "poweroff" => {
                let what = format!("{} is not a value of `action`", quoted(at.node.raw()));
                self.fail(&at, what, "write exit (the space stops), or { command: [systemctl, poweroff] }");
                None
            }
            _ => self.choice(&at, &choices, &[]).map(|choice| match choice {
                0 => Action::Observe,
                1 => Action::Report,
                _ => Action::Exit,
            }),
        }
    }

    fn kernels(&mut self, at: &At<'_>) {
        match at.node.meaning() {
            Some(Meaning::Text("never")) => {}
            Some(Meaning::Text(text)) if form::duration(text).is_ok() => {
                let what = "this version of the agent can't end single kernels yet";
                self.fail(at, what, "write never, or delete the field");
            }
            _ => self.fail(
                at,
                format!("{} is not possible here", at.node.describe()),
                "write never, or delete the field",
            ),
        }
    }

    pub(super) fn front_door(&mut self, at: At<'_>) -> Option<FrontDoor> {
        let fields = self.fields(at, &[&words::FRONT_DOOR])?;
        let usual = FrontDoor::usual();
        let listen = fields.get("listen").and_then(|at| self.listen(&at));
        let base_path = fields.get("base_path").and_then(|at| self.formed(&at, form::base_path)).map(str::to_owned);
        let sign_in = fields.get("sign_in").and_then(|at| self.sign_in(&at)).unwrap_or(usual.sign_in);
        let hosts = fields.get("hosts").and_then(|at| self.texts(&at, form::host)).unwrap_or_default();
        let origins = fields.get("origins").and_then(|at| self.texts(&at, form::origin)).unwrap_or_default();
        let tls = fields.get("tls").and_then(|at| self.tls(at));
        let logs = [("off", AccessLog::Off), ("file", AccessLog::File), ("stdout", AccessLog::Stdout)];
        let access_log = fields.get("access_log").and_then(|at| self.choice(&at, &logs, &[])).unwrap_or_default();
        if let (SignIn::Open, Some(address)) = (sign_in, listen)
            && !address.ip().to_canonical().is_loopback()
        {
            let what = format!("with `sign_in: open` everyone who reaches {address} gets in");
            let remedy = "listen on a loopback address (127.0.0.1:8888), or write `sign_in: token`";
            self.fail_at(fields.key_place("sign_in"), &fields.at.join("sign_in"), what, remedy);
        }
        let listen = listen.unwrap_or(usual.listen);
        let base_path = base_path.unwrap_or(usual.base_path);
        Some(FrontDoor { listen, base_path, sign_in, hosts, origins, tls, access_log })
    }

    /// Both or none: a door that was to be encrypted must not open without.
    fn tls(&mut self, at: At<'_>) -> Option<Tls> {
        let fields = self.fields(at, &[&words::TLS])?;
        let mut path = |key, remedy| {
            let at = self.required(&fields, key, remedy)?;
            self.formed(&at, form::line).map(PathBuf::from)
        };
        let cert = path("cert", "write the file of the certificate: cert: /etc/ssl/space.pem");
        let key = path("key", "write the file of its private key: key: /etc/ssl/private/space.key");
        Some(Tls { cert: cert?, key: key? })
    }

    fn listen(&mut self, at: &At<'_>) -> Option<SocketAddr> {
        if let Some(Meaning::Integer(port @ 0..=65_535)) = at.node.meaning() {
            self.fail(at, format!("{port} is a port without an address"), format!("write 127.0.0.1:{port}"));
            return None;
        }
        let text = self.text(at)?;
        match form::listen(text) {
            Ok(address) => Some(address),
            Err((what, remedy)) => {
                self.fail(at, what, remedy);
                None
            }
        }
    }

    fn sign_in(&mut self, at: &At<'_>) -> Option<SignIn> {
        if let Value::Map(entries) = &at.node.value {
            let kind = entries.first().map_or("signed", |entry| entry.key.as_str());
            let what = format!("sign-in of kind {} is not possible in this version of the agent", quoted(kind));
            self.fail(at, what, "write token or open");
            return None;
        }
        self.choice(at, &[("token", SignIn::Token), ("open", SignIn::Open)], &["signed", "jupyterhub"])
    }

    pub(super) fn stop(&mut self, at: At<'_>) -> Option<Stop> {
        let fields = self.fields(at, &[&words::STOP])?;
        let deadline = fields.get("deadline").and_then(|at| self.duration(&at, SECOND..=10 * MINUTE));
        Some(deadline.map_or_else(Stop::usual, |deadline| Stop { deadline }))
    }

    pub(super) fn agent(&mut self, at: At<'_>) -> Option<AgentPolicy> {
        let fields = self.fields(at, &[&words::AGENT])?;
        let mut policy = AgentPolicy::usual();
        if let Some(restart) = fields.get("restart").and_then(|at| self.fields(at, &[&words::RESTART])) {
            let max = restart.get("max").and_then(|at| self.integer(&at, 0..=10_000));
            policy.restart.max = max.and_then(|max| u32::try_from(max).ok()).unwrap_or(policy.restart.max);
            let within = restart.get("within").and_then(|at| self.duration(&at, SECOND..=YEAR));
            policy.restart.within = within.unwrap_or(policy.restart.within);
        }
        let log_apps = fields.get("log_apps").and_then(|at| self.boolean(&at));
        policy.log_apps = log_apps.unwrap_or(policy.log_apps);
        Some(policy)
    }
}

/// 5 minutes, or a quarter of `shutdown` if that is shorter.
fn usual_notice(shutdown: Option<Duration>) -> Duration {
    shutdown.map_or(5 * MINUTE, |shutdown| (5 * MINUTE).min(shutdown / 4))
}

/// What holds where a document says nothing.
impl Idle {
    pub(crate) fn usual(action: Action) -> Self {
        let shutdown = Some(HOUR);
        Self { shutdown, notice: usual_notice(shutdown), action, blind_after: 2 * HOUR, lease_max: 12 * HOUR }
    }
}

impl FrontDoor {
    pub(crate) fn usual() -> Self {
        Self {
            listen: SocketAddr::from(([127, 0, 0, 1], 8888)),
            base_path: "/".to_owned(),
            sign_in: SignIn::Token,
            hosts: Vec::new(),
            origins: Vec::new(),
            tls: None,
            access_log: AccessLog::Off,
        }
    }
}

impl Stop {
    pub(crate) fn usual() -> Self {
        Self { deadline: 25 * SECOND }
    }
}

impl AgentPolicy {
    pub(crate) fn usual() -> Self {
        Self { restart: Restart { max: 5, within: 10 * MINUTE }, log_apps: false }
    }
}
