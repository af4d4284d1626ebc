//! `apps`: each app, then their names and base paths against each other.

use super::supervision::Ready;
use super::{At, Decoder, Fields};
use crate::form;
use crate::mistake::{Place, quoted};
use crate::space::{
    App, AppKind, AppRestart, CodeEditor, Command, JupyterLab, Limits, Live, Start, Upstream, usual_ready_deadline,
};
use crate::vocabulary::{APP, CODE_EDITOR, COMMAND, JUPYTERLAB, Object, READY, READY_KNOWN};
use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::time::Duration;

const PLANNED_KINDS: [&str; 3] = ["rstudio", "mlflow", "tensorboard"];
/// The most apps.
const APPS: usize = 50;
/// Below every base path these are the agent's own.
const RESERVED: [&str; 3] = ["_space", "proxy", "ports"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Jupyterlab,
    CodeEditor,
    Command,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Jupyterlab => "jupyterlab",
            Kind::CodeEditor => "code-editor",
            Kind::Command => "command",
        }
    }

    /// The fields of its `ready`.
    fn ready(self) -> &'static [&'static Object] {
        if self == Kind::Command { &[&READY] } else { &[&READY_KNOWN] }
    }

    /// Below the base path: what is asked to see that the app is ready, where the document does not say it.
    fn ready_path(self) -> &'static str {
        match self {
            Kind::Jupyterlab => "/api",
            Kind::CodeEditor => "/healthz",
            Kind::Command => "/",
        }
    }

    /// Where platforms expect the only app of this kind, which they call `default`.
    fn usual_base_path(self) -> Option<&'static str> {
        match self {
            Kind::Jupyterlab => Some("/jupyterlab/default/"),
            Kind::CodeEditor => Some("/codeeditor/default/"),
            Kind::Command => None,
        }
    }
}

/// An app as written: what defaults depend on is still open.
struct Written {
    kind: Kind,
    what: Option<AppKind>,
    name: Option<String>,
    base_path: Option<String>,
    env: BTreeMap<String, String>,
    start: Start,
    ready_deadline: Duration,
    restart: AppRestart,
    live: Option<Live>,
    limits: Limits,
    /// Where to show a mistake about its name or base path.
    name_place: (Place, String),
    path_place: (Place, String),
}

impl Decoder<'_> {
    /// `own_base`: the front door's base path isn't `/`, so it is the first app's by default.
    pub(super) fn apps(&mut self, at: &At<'_>, own_base: bool) -> Vec<App> {
        let items = self.items(at, APPS).unwrap_or_default();
        self.apps_of(items, own_base)
    }

    /// The first app alone, as if no other followed.
    pub(super) fn first_app(&mut self, at: &At<'_>, own_base: bool) -> Option<App> {
        let first = self.items(at, APPS)?.into_iter().take(1).collect();
        self.apps_of(first, own_base).pop()
    }

    fn apps_of(&mut self, items: Vec<At<'_>>, own_base: bool) -> Vec<App> {
        let written: Vec<Written> = items.into_iter().filter_map(|item| self.app(item)).collect();
        let named = self.app_names(written);
        let apps = with_base_paths(named, own_base);
        self.base_paths(&apps);
        apps.into_iter().map(|(app, _)| app).collect()
    }

    fn app(&mut self, at: At<'_>) -> Option<Written> {
        let kind = self.app_kind(&at);
        let objects: &'static [&'static _] = match kind {
            Some(Kind::Jupyterlab) => &[&APP, &JUPYTERLAB],
            Some(Kind::CodeEditor) => &[&APP, &CODE_EDITOR],
            Some(Kind::Command) => &[&APP, &COMMAND],
            // Those of jupyterlab are among code-editor's.
            None => &[&APP, &CODE_EDITOR, &COMMAND],
        };
        let fields = self.fields(at, objects)?;
        let name = fields.get("name").and_then(|at| self.formed(&at, form::name)).map(str::to_owned);
        let base_path = fields.get("base_path").and_then(|at| self.formed(&at, form::base_path)).map(str::to_owned);
        let env = fields.get("env").map_or_else(BTreeMap::new, |at| self.env(&at));
        let starts = [("boot", Start::Boot), ("on-demand", Start::OnDemand)];
        let start = fields.get("start").and_then(|at| self.choice(&at, &starts, &[])).unwrap_or_default();
        let ready_fields = kind.unwrap_or(Kind::Command).ready();
        let ready = fields.get("ready").and_then(|at| self.ready(at, ready_fields)).unwrap_or_default();
        let Ready { path: ready_path, deadline } = ready;
        let ready_path = ready_path.unwrap_or_else(|| kind.unwrap_or(Kind::Command).ready_path().to_owned());
        let restart = fields.get("restart").and_then(|at| self.app_restart(at)).unwrap_or_default();
        let live = fields.get("live").and_then(|at| self.live(at, &ready_path));
        let limits = fields.get("limits").and_then(|at| self.limits(at)).unwrap_or_default();
        let what = match kind? {
            Kind::Jupyterlab => self.jupyterlab(&fields),
            Kind::CodeEditor => self.code_editor(&fields),
            Kind::Command => self.command_app(&fields, ready_path),
        };
        let place = |key: &str| {
            let written = fields.get(key).map(|at| (at.place, at.field));
            written.unwrap_or_else(|| (fields.key_place("kind"), fields.at.field.clone()))
        };
        let (name_place, path_place) = (place("name"), place("base_path"));
        let ready_deadline = deadline.unwrap_or_else(usual_ready_deadline);
        Some(Written {
            kind: kind?,
            what,
            name,
            base_path,
            env,
            start,
            ready_deadline,
            restart,
            live,
            limits,
            name_place,
            path_place,
        })
    }

    fn app_kind(&mut self, at: &At<'_>) -> Option<Kind> {
        let crate::tree::Value::Map(entries) = &at.node.value else { return None };
        let fields = Fields { at: at.clone(), entries, objects: &[&APP] };
        let kind = match fields.entry("command") {
            Some(_) => self.required(&fields, "kind", "write `kind: command`")?,
            None => {
                self.required(&fields, "kind", "write `kind: jupyterlab`, `kind: code-editor` or `kind: command`")?
            }
        };
        let words = [("jupyterlab", Kind::Jupyterlab), ("code-editor", Kind::CodeEditor), ("command", Kind::Command)];
        match kind.node.raw().to_lowercase().as_str() {
            "jupyter" | "lab" | "notebook" | "jupyter-lab" | "jupyter-notebook" => {
                let what = format!("{} is not a kind of app", quoted(kind.node.raw()));
                self.fail(&kind, what, "did you mean \"jupyterlab\"?");
                None
            }
            "vscode"
            | "vs-code"
            | "code"
            | "code-server"
            | "codeeditor"
            | "openvscode-server"
            | "sagemaker-code-editor" => {
                let what = format!("{} is not a kind of app", quoted(kind.node.raw()));
                self.fail(&kind, what, "did you mean \"code-editor\"?");
                None
            }
            "streamlit" | "gradio" | "dash" | "shiny" | "panel" | "voila" => {
                let what = format!("{} is not a kind of app", quoted(kind.node.raw()));
                self.fail(&kind, what, "write `kind: command` and its program as `command: [ … ]`");
                None
            }
            _ => self.choice(&kind, &words, &PLANNED_KINDS),
        }
    }

    fn jupyterlab(&mut self, fields: &Fields<'_>) -> Option<AppKind> {
        let environment = self.path_below_home(fields, "environment")?;
        Some(AppKind::Jupyterlab(JupyterLab { environment }))
    }

    fn code_editor(&mut self, fields: &Fields<'_>) -> Option<AppKind> {
        let (environment, folder) =
            (self.path_below_home(fields, "environment"), self.path_below_home(fields, "folder"));
        Some(AppKind::CodeEditor(CodeEditor { environment: environment?, folder: folder? }))
    }

    /// `None`: it is written, and no such path.
    fn path_below_home(&mut self, fields: &Fields<'_>, key: &str) -> Option<Option<PathBuf>> {
        match fields.get(key) {
            Some(at) => self.formed(&at, form::below_home).map(|path| Some(PathBuf::from(path))),
            None => Some(None),
        }
    }

    fn command_app(&mut self, fields: &Fields<'_>, ready_path: String) -> Option<AppKind> {
        let remedy = "write program and arguments: command: [streamlit, run, app.py]";
        let command = self.required(fields, "command", remedy).and_then(|at| self.command(&at));
        let port =
            fields.get("port").and_then(|at| self.integer(&at, 1..=65_535)).and_then(|port| u16::try_from(port).ok());
        let socket = fields.get("socket").and_then(|at| self.formed(&at, form::below_home)).map(PathBuf::from);
        if let (Some(_), Some(socket)) = (fields.entry("port"), fields.entry("socket")) {
            let remedy = "delete one; with neither, the app listens on the socket in $SPACE_AGENT_APP_SOCKET";
            let field = fields.at.join("socket");
            self.fail_at(socket.place, &field, "an app listens on a port or on a socket, not on both", remedy);
        }
        let strip_base_path = fields.get("strip_base_path").and_then(|at| self.boolean(&at)).unwrap_or(false);
        let upstream = port.map(Upstream::Port).or(socket.map(Upstream::Socket)).unwrap_or(Upstream::Own);
        Some(AppKind::Command(Command { command: command?, upstream, strip_base_path, ready_path }))
    }

    /// Names as written or by default; unique.
    fn app_names(&mut self, written: Vec<Written>) -> Vec<(String, Written)> {
        let mut default_taken = false;
        let mut first: HashMap<String, Place> = HashMap::new();
        let mut named = Vec::new();
        for app in written {
            let name = match (&app.name, app.kind) {
                (Some(name), _) => name.clone(),
                (None, Kind::Jupyterlab | Kind::CodeEditor) if !default_taken => {
                    default_taken = true;
                    "default".to_owned()
                }
                (None, kind) => kind.name().to_owned(),
            };
            let (place, field) = &app.name_place;
            if let Some(earlier) = first.get(&name) {
                let what = format!("two apps are named {}, the first in line {}", quoted(&name), earlier.line);
                self.fail_at(*place, field, what, "give each app a `name` of its own");
            } else {
                first.insert(name.clone(), *place);
                named.push((name, app));
            }
        }
        named
    }

    fn base_paths(&mut self, apps: &[(App, (Place, String))]) {
        for (index, (app, (place, field))) in apps.iter().enumerate() {
            let path = app.base_path.as_str();
            if let Some(part) = path.split('/').find(|part| RESERVED.contains(part)) {
                let what = format!("the base path {path} contains `{part}`, which is the agent's own");
                self.fail_at(*place, field, what, "choose another `base_path`");
            }
            if path == "/" && index > 0 {
                let remedy = "put this app first, or give it a base path like /dashboard/";
                self.fail_at(*place, field, "only the first app can have the base path /", remedy);
                continue;
            }
            let clash = apps[..index].iter().find(|(other, _)| overlap(&other.base_path, path));
            if let Some((other, _)) = clash {
                let what = match other.base_path == path {
                    true => format!("the app {} has the base path {path} already", quoted(&other.name)),
                    false => {
                        format!("the base path {path} overlaps {} of the app {}", other.base_path, quoted(&other.name))
                    }
                };
                self.fail_at(*place, field, what, "give each app a `base_path` of its own");
            }
        }
    }
}

/// Would a request belong to both? `/` is the first app's and yields to longer ones.
fn overlap(a: &str, b: &str) -> bool {
    a == b || (a != "/" && b != "/" && (a.starts_with(b) || b.starts_with(a)))
}

fn with_base_paths(named: Vec<(String, Written)>, own_base: bool) -> Vec<(App, (Place, String))> {
    let mut taken = Vec::new();
    let mut apps = Vec::new();
    for (index, (name, app)) in named.into_iter().enumerate() {
        let usual = app.kind.usual_base_path().filter(|_| !taken.contains(&app.kind));
        taken.push(app.kind);
        let base_path = match (app.base_path, usual) {
            (Some(path), _) => path,
            (None, _) if own_base && index == 0 => "/".to_owned(),
            (None, Some(usual)) => usual.to_owned(),
            (None, None) => format!("/{name}/"),
        };
        // An app whose kind could not be read is a mistake already; its place in the list stays.
        let kind = app.what.unwrap_or(AppKind::Jupyterlab(JupyterLab { environment: None }));
        let Written { env, start, ready_deadline, restart, live, limits, path_place, .. } = app;
        apps.push((App { name, kind, base_path, env, start, ready_deadline, restart, live, limits }, path_place));
    }
    apps
}
