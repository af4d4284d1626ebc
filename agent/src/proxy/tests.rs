//! The front door as its clients and apps see it: real sockets on both sides.

use crate::model::now::Timestamp;
use crate::model::route::{Door, Opens, Ports, Route, RouteState, Upstream};
use crate::model::status::{
    ActivityStatus, AgentStatus, AppState, AppStatus, Mode, PhaseName, Status, StepState, StepStatus, VerdictName,
};
use crate::model::traffic::Rules;
use crate::sys::account;
use space_lifecycle::SignIn;
use std::sync::Arc;

pub(super) fn route(app: &str, base_path: &str) -> Route {
    Route {
        app: app.to_owned(),
        label: app.to_owned(),
        base_path: base_path.to_owned(),
        strip_base_path: false,
        upstream: Upstream::Unix("/nonexistent".into()),
        uid: 0,
        confined: false,
        rules: &Rules::UNKNOWN,
        traffic: Arc::default(),
        opens: Opens::Nothing,
        port: None,
        state: RouteState::Ready,
    }
}

pub(super) fn door() -> Door {
    Door {
        space_id: "0123abcd".to_owned(),
        space: "alice-research".to_owned(),
        base_path: "/".to_owned(),
        tls: false,
        sign_in: SignIn::Token,
        hosts: Vec::new(),
        origins: Vec::new(),
        routes: vec![route("default", "/jupyterlab/default/"), route("dashboard", "/dashboard/")],
        ports: Ports { uid: account::own().0, traffic: Arc::default(), state: RouteState::Ready },
    }
}

pub(super) fn status() -> Status {
    let at = Timestamp(1_795_168_800_000);
    Status {
        space: "alice-research".to_owned(),
        boot: "b1".to_owned(),
        phase: PhaseName::Running,
        mode: Some(Mode::Normal),
        since: at,
        sentence: "JupyterLab is ready".to_owned(),
        reason: None,
        steps: vec![StepStatus {
            name: "deps".to_owned(),
            kind: "python".to_owned(),
            blocks_app: true,
            state: StepState::Done,
            why: None,
            started: Some(at),
            took_ms: Some(1200),
        }],
        apps: vec![AppStatus {
            name: "default".to_owned(),
            kind: "jupyterlab".to_owned(),
            label: "JupyterLab".to_owned(),
            base_path: "/jupyterlab/default/".to_owned(),
            state: AppState::Ready,
            pid: None,
            restarts: 0,
            why: None,
            since: None,
        }],
        activity: ActivityStatus {
            verdict: VerdictName::Idle,
            sentence: "nothing has worked for 5 min".to_owned(),
            last_active: at,
            stops_at: None,
            shutdown_s: Some(3600),
            action: "exit".to_owned(),
            kernels: Vec::new(),
            blind: Vec::new(),
        },
        leases: Vec::new(),
        warnings: Vec::new(),
        events: Vec::new(),
        isolation: Default::default(),
        last_run: None,
        user: "alice".to_owned(),
        home: "/home/alice".to_owned(),
        listen: ([127, 0, 0, 1], 8888).into(),
        tls: false,
        path: "/jupyterlab/default/".to_owned(),
        agent: AgentStatus { version: "0.1.0".to_owned(), pid: 2, init_pid: 1, starts: 1 },
    }
}

mod admission;
mod credentials;
mod faults;
mod forwarding;
mod ground;
mod pages;
mod ports;
mod sockets;
mod tls;
