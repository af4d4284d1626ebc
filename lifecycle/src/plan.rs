//! The boot plan: what a boot of a space will do, as data that one can print, compare and send.
//!
//! Made from a valid [`Space`] alone, before anything has happened; the agent carries it out, `check` shows it. It names
//! no secret: passwords in URLs are left out, environments are counted.

use crate::duration::text as duration_text;
use crate::mistake::{printable, without_credentials};
use crate::order::awaited;
use crate::space::{
    AccessLog, Action, App, AppKind, AppRestart, Blocks, Limits, Moment, OnFailure, SignIn, Space, Start, Step,
    StepKind, Tls, Upstream, User, usual_ready_deadline,
};
use serde::Serialize;
use std::fmt;
use std::net::SocketAddr;

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct BootPlan {
    /// As written; `None`: the agent names the space after its home.
    pub space: Option<String>,
    pub shared: bool,
    /// As written; `None`: `./home` where `run` is called.
    pub home: Option<String>,
    /// As written; `None`: the agent finds out.
    pub user: Option<String>,
    /// In the order in which they run, those of the stop last.
    pub steps: Vec<PlannedStep>,
    pub apps: Vec<PlannedApp>,
    pub front_door: PlannedDoor,
    pub idle: PlannedIdle,
    /// `25s`: from the wish to stop to the end of everything.
    pub stop_deadline: String,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedStep {
    pub name: String,
    pub kind: &'static str,
    /// In a few words: what is cloned, installed or run.
    pub does: String,
    pub on: Moment,
    /// The steps it runs after.
    pub after: Vec<String>,
    pub blocks: Blocks,
    /// Do the apps wait for it: because it blocks them, or because a step that does needs it?
    pub apps_wait: bool,
    pub timeout: String,
    pub on_failure: OnFailure,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedApp {
    pub name: String,
    pub kind: &'static str,
    /// In a few words: what is started, and where it listens.
    pub does: String,
    /// As a browser sees it: below the front door's base path.
    pub path: String,
    pub start: Start,
    /// The steps it waits for, those that these need among them.
    pub after: Vec<String>,
    /// `2m`: how long a start may take until the app answers.
    pub ready_deadline: String,
    pub restart: PlannedRestart,
    /// `None`: an app that does not answer any more is left alone.
    pub live: Option<PlannedLive>,
    pub limits: Limits,
}

/// How often an app may end by itself.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedRestart {
    pub max: u32,
    pub within: String,
    /// `1s..60s`
    pub backoff: String,
}

/// When an app that does not answer is ended and started again.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedLive {
    pub path: String,
    pub every: String,
    pub failures: u32,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedDoor {
    pub listen: SocketAddr,
    pub base_path: String,
    pub sign_in: SignIn,
    pub tls: Option<Tls>,
    pub access_log: AccessLog,
}

#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct PlannedIdle {
    /// `60m`; `None`: never.
    pub shutdown: Option<String>,
    pub notice: String,
    pub action: Action,
}

/// What a boot of `space` will do.
pub fn boot_plan(space: &Space) -> BootPlan {
    let awaited = awaited(&space.steps);
    let names = space.steps.iter().zip(&awaited).filter(|(_, awaited)| **awaited).map(|(step, _)| step.name.clone());
    let names: Vec<String> = names.collect();
    BootPlan {
        space: space.info.name.clone(),
        shared: space.info.shared,
        home: space.home.as_ref().map(|home| home.display().to_string()),
        user: space.user.as_ref().map(user_text),
        steps: space.steps.iter().zip(awaited).map(|(step, awaited)| planned_step(step, awaited)).collect(),
        apps: space.apps.iter().map(|app| planned_app(app, &space.front_door.base_path, &names)).collect(),
        front_door: PlannedDoor {
            listen: space.front_door.listen,
            base_path: space.front_door.base_path.clone(),
            sign_in: space.front_door.sign_in,
            tls: space.front_door.tls.clone(),
            access_log: space.front_door.access_log,
        },
        idle: PlannedIdle {
            shutdown: space.idle.shutdown.map(duration_text),
            notice: duration_text(space.idle.notice),
            action: space.idle.action.clone(),
        },
        stop_deadline: duration_text(space.stop.deadline),
    }
}

fn planned_step(step: &Step, awaited: bool) -> PlannedStep {
    PlannedStep {
        name: step.name.clone(),
        kind: step.kind.name(),
        does: step_text(&step.kind),
        on: step.on,
        after: step.needs.clone(),
        blocks: step.blocks,
        apps_wait: awaited,
        timeout: duration_text(step.timeout),
        on_failure: step.on_failure,
    }
}

fn planned_app(app: &App, base_path: &str, awaited: &[String]) -> PlannedApp {
    PlannedApp {
        name: app.name.clone(),
        kind: app.kind_name(),
        does: app_text(&app.kind),
        path: format!("{}{}", base_path.trim_end_matches('/'), app.base_path),
        start: app.start,
        after: awaited.to_vec(),
        ready_deadline: duration_text(app.ready_deadline),
        restart: PlannedRestart::of(&app.restart),
        live: app.live.as_ref().map(|live| PlannedLive {
            path: live.path.clone(),
            every: duration_text(live.every),
            failures: live.failures,
        }),
        limits: app.limits.clone(),
    }
}

fn user_text(user: &User) -> String {
    match (&user.name, user.uid) {
        (Some(name), Some(uid)) => format!("{name} (uid {uid})"),
        (Some(name), None) => name.clone(),
        (None, Some(uid)) => format!("uid {uid}"),
        (None, None) => String::new(),
    }
}

fn step_text(kind: &StepKind) -> String {
    match kind {
        StepKind::Run(script) => {
            let lines = script.lines().filter(|line| !line.trim().is_empty()).count();
            let first = script.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
            match (lines, first) {
                (1, Some(line)) => shortened(line, 48),
                (lines, _) => format!("a script of {lines} lines"),
            }
        }
        StepKind::Git { url, r#ref, into } => {
            let at = r#ref.as_ref().map(|name| format!(" at {name}")).unwrap_or_default();
            format!("{}{at} into {}", without_credentials(url), into.display())
        }
        StepKind::Python(python) => {
            let file = python.requirements.iter().map(|path| path.display().to_string());
            let what: Vec<String> =
                file.chain(python.packages.iter().map(|package| without_credentials(package))).collect();
            format!("{} into {}", shortened(&what.join(", "), 48), python.environment.display())
        }
    }
}

fn app_text(kind: &AppKind) -> String {
    match kind {
        AppKind::Jupyterlab(lab) => match &lab.environment {
            Some(environment) => format!("jupyter-lab from {}", environment.display()),
            None => "jupyter-lab from PATH".to_owned(),
        },
        AppKind::CodeEditor(editor) => {
            let place = editor.environment.as_ref().map_or("PATH".to_owned(), |path| path.display().to_string());
            let folder = editor.folder.as_ref().map(|path| format!(", opens {}", path.display()));
            format!("VS Code's server from {place}{}", folder.unwrap_or_default())
        }
        AppKind::Command(command) => {
            let place = match &command.upstream {
                Upstream::Port(port) => format!("on port {port}"),
                Upstream::Socket(path) => format!("on the socket {}", path.display()),
                Upstream::Own => "on $SPACE_AGENT_APP_SOCKET".to_owned(),
                Upstream::Any => "on $PORT or $SPACE_AGENT_APP_SOCKET".to_owned(),
            };
            format!("{} {place}", shortened(command.command.first().map_or("", String::as_str), 48))
        }
    }
}

fn shortened(text: &str, most: usize) -> String {
    let text = printable(text);
    if text.chars().count() <= most { text } else { text.chars().take(most - 1).chain(['…']).collect() }
}

impl fmt::Display for BootPlan {
    /// Aligned, one thing a line, the heads in a column of their own.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sharing = if self.shared { " (shared)" } else { "" };
        writeln!(f, "space       {}{sharing}", self.space.as_deref().unwrap_or("named after its home"))?;
        writeln!(f, "home        {}", self.home.as_deref().unwrap_or("./home"))?;
        writeln!(f, "user        {}", self.user.as_deref().unwrap_or("found out at the start"))?;
        table(f, "steps", &self.steps.iter().map(PlannedStep::row).collect::<Vec<_>>())?;
        table(f, "apps", &self.apps.iter().flat_map(PlannedApp::rows).collect::<Vec<_>>())?;
        let sign_in = match self.front_door.sign_in {
            SignIn::Token => "sign-in by a one-time link",
            SignIn::Open => "no sign-in",
        };
        let PlannedDoor { listen, base_path, tls, access_log, .. } = &self.front_door;
        let scheme = if tls.is_some() { "https" } else { "http" };
        let log = match access_log {
            AccessLog::Off => "",
            AccessLog::File => "; requests are logged to a file",
            AccessLog::Stdout => "; requests are logged to standard output",
        };
        writeln!(f, "front door  {scheme}://{listen}{base_path}  {sign_in}{log}")?;
        writeln!(f, "idle        {}", self.idle)?;
        write!(f, "stop        within {}", self.stop_deadline)
    }
}

impl PlannedStep {
    fn row(&self) -> Vec<String> {
        let mut notes = Vec::new();
        if !self.after.is_empty() {
            notes.push(format!("after {}", self.after.join(", ")));
        }
        let moment = match self.on {
            Moment::Stop => "at the stop",
            Moment::Start if self.apps_wait => "apps wait",
            Moment::Start => "apps don't wait",
        };
        notes.push(moment.to_owned());
        notes.push(format!("at most {}", self.timeout));
        match self.on_failure {
            // At the stop that goes without saying.
            OnFailure::Continue if self.on == Moment::Stop => {}
            OnFailure::Continue => notes.push("may fail".to_owned()),
            OnFailure::Abort => notes.push("must not fail".to_owned()),
            OnFailure::Recovery => {}
        }
        vec![self.name.clone(), self.kind.to_owned(), self.does.clone(), notes.join("; ")]
    }
}

impl PlannedApp {
    /// What is unusual about its running has a row of its own each.
    fn rows(&self) -> Vec<Vec<String>> {
        let mut notes = vec![match (self.start, self.after.as_slice()) {
            (Start::Boot, []) => "at once".to_owned(),
            (Start::Boot, steps) => format!("after {}", steps.join(", ")),
            (Start::OnDemand, []) => "at its first request".to_owned(),
            (Start::OnDemand, steps) => format!("at its first request, after {}", steps.join(", ")),
        }];
        if self.ready_deadline != duration_text(usual_ready_deadline()) {
            notes.push(format!("ready within {}", self.ready_deadline));
        }
        if self.restart != PlannedRestart::of(&AppRestart::default()) {
            notes.push(self.restart.to_string());
        }
        notes.extend(self.live.as_ref().map(ToString::to_string));
        let limit = |limit: Option<u64>, what| limit.map(|most| format!("at most {most} {what}"));
        notes.extend(limit(self.limits.open_files, "open files a process"));
        notes.extend(limit(self.limits.processes, "processes"));
        let cells = |index: usize| {
            if index == 0 { [&self.name, &self.path, &self.does].map(String::clone) } else { Default::default() }
        };
        notes.into_iter().enumerate().map(|(index, note)| [&cells(index)[..], &[note]].concat()).collect()
    }
}

impl PlannedRestart {
    fn of(restart: &AppRestart) -> Self {
        let (first, longest) = (duration_text(restart.first_wait), duration_text(restart.longest_wait));
        let backoff = if first == longest { first } else { format!("{first}..{longest}") };
        Self { max: restart.max, within: duration_text(restart.within), backoff }
    }
}

impl fmt::Display for PlannedRestart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.max {
            0 => write!(f, "never started again"),
            max => write!(f, "started again after {}, up to {max} times in {}", self.backoff, self.within),
        }
    }
}

impl fmt::Display for PlannedLive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { path, every, failures } = self;
        let times = if *failures == 1 { "once".to_owned() } else { format!("{failures} times in a row") };
        write!(f, "ended if {path}, asked every {every}, is silent {times}")
    }
}

impl fmt::Display for PlannedIdle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(shutdown) = &self.shutdown else { return write!(f, "never stopped for idleness") };
        write!(f, "after {shutdown} without work ({} of it announced): ", self.notice)?;
        match &self.action {
            Action::Observe => write!(f, "say so, stop nothing"),
            Action::Report => write!(f, "tell who asks, stop nothing"),
            Action::Exit => write!(f, "stop the space"),
            Action::Command(command) => write!(f, "run {}", shortened(&command.join(" "), 48)),
        }
    }
}

/// Rows in aligned columns, under a head; "none" where there are none.
fn table(f: &mut fmt::Formatter<'_>, head: &str, rows: &[Vec<String>]) -> fmt::Result {
    if rows.is_empty() {
        return writeln!(f, "{head:<12}none");
    }
    let columns = rows[0].len();
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
    let widths: Vec<usize> = (0..columns).map(width).collect();
    for (index, row) in rows.iter().enumerate() {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        let head = if index == 0 { head } else { "" };
        writeln!(f, "{}", format!("{head:<12}{}", cells.join("  ")).trim_end())?;
    }
    Ok(())
}
