//! The space of somebody who wrote nothing.

use crate::space::{
    Action, AgentPolicy, App, AppKind, AppRestart, Blocks, FrontDoor, Idle, JupyterLab, Limits, Moment, OnFailure,
    Python, Space, SpaceInfo, Step, StepKind, Stop,
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
    let app = App {
        name: "default".to_owned(),
        kind: AppKind::Jupyterlab(JupyterLab { environment: Some(environment) }),
        base_path: "/jupyterlab/default/".to_owned(),
        env: BTreeMap::new(),
        restart: AppRestart::default(),
        ready_deadline: Duration::from_secs(120),
        live: None,
        limits: Limits::default(),
    };
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
