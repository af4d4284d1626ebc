//! Spaces that nobody wrote: without a document, and around a command of the command line.

use crate::space::{
    Action, AgentPolicy, App, AppKind, AppRestart, Blocks, Command, FrontDoor, Idle, JupyterLab, Limits, Moment,
    OnFailure, Python, Space, SpaceInfo, Start, Step, StepKind, Stop, Upstream, usual_ready_deadline,
};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

/// JupyterLab in its own environment, in `./home`; never stopped by itself, since nobody asked for that.
pub fn default_space() -> Space {
    let environment = PathBuf::from(".venv");
    let step = Step {
        name: "jupyterlab".to_owned(),
        kind: StepKind::Python(Python {
            requirements: None,
            packages: vec!["jupyterlab".to_owned(), "ipykernel".to_owned()],
            environment: environment.clone(),
        }),
        on: Moment::Start,
        needs: Vec::new(),
        blocks: Blocks::App,
        timeout: Duration::from_secs(600),
        on_failure: OnFailure::Recovery,
        env: BTreeMap::new(),
    };
    let kind = AppKind::Jupyterlab(JupyterLab { environment: Some(environment) });
    let app = app("default", kind, "/jupyterlab/default/");
    Space {
        info: SpaceInfo::default(),
        user: None,
        home: None,
        steps: vec![step],
        apps: vec![app],
        idle: Idle::usual(Action::Observe),
        front_door: FrontDoor::usual(),
        stop: Stop::usual(),
        agent: AgentPolicy::usual(),
    }
}

/// The space of `run -- COMMAND…`: `base` with this command as its only app, at `/`.
pub fn command_space(command: Vec<String>, base: Space) -> Space {
    let ready_path = "/".to_owned();
    let kind = AppKind::Command(Command { command, upstream: Upstream::Any, strip_base_path: false, ready_path });
    Space { apps: vec![app("app", kind, "/")], ..base }
}

/// An app of which nothing but this is said.
pub(crate) fn app(name: &str, kind: AppKind, base_path: &str) -> App {
    App {
        name: name.to_owned(),
        kind,
        base_path: base_path.to_owned(),
        env: BTreeMap::new(),
        start: Start::Boot,
        ready_deadline: usual_ready_deadline(),
        restart: AppRestart::default(),
        live: None,
        limits: Limits::default(),
    }
}
