//! An app as the model knows it: what it is called, and where it stands between waiting and given up.

use super::now::Now;
use super::restart::History;
use serde::{Deserialize, Serialize};
use space_lifecycle::Start;

/// What the model must know of an app beside its document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppFacts {
    /// What people call it: `JupyterLab`.
    pub label: String,
    /// Joined to the front door's.
    pub base_path: String,
    /// Whether its kernels are an activity source.
    pub kernels: bool,
}

/// One app's way through this boot: where it stands, and what came before.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AppRun {
    pub state: State,
    /// How often it has ended by itself, which decides whether it is started again.
    pub history: History,
    /// How often it was started in this boot; names its processes.
    pub attempts: u32,
    /// How it last ended, or why it isn't ready.
    pub why: Option<String>,
    /// Its end was asked for, so that it is started anew: no failure of its own, and no wait.
    #[serde(default)]
    pub asked: bool,
    /// It has stopped answering since it was ready.
    #[serde(default)]
    pub silent: bool,
    /// Nobody has asked for it yet, and it does not start before: it stays `Waiting`.
    #[serde(default)]
    pub asleep: bool,
}

/// Where an app stands. Each state owns its data.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum State {
    Waiting,
    Starting {
        child: String,
        pid: Option<i32>,
        since: Now,
        /// It took too long and is being ended.
        too_slow: bool,
    },
    Ready {
        child: String,
        pid: Option<i32>,
        since: Now,
    },
    Backoff {
        until: super::now::Monotonic,
    },
    GivenUp,
    Stopped,
}

impl AppRun {
    /// Before anything has happened.
    pub fn new(start: Start) -> AppRun {
        AppRun {
            asleep: start == Start::OnDemand,
            state: State::Waiting,
            history: History::default(),
            attempts: 0,
            why: None,
            asked: false,
            silent: false,
        }
    }

    pub fn child(&self) -> Option<&str> {
        match &self.state {
            State::Starting { child, .. } | State::Ready { child, .. } => Some(child),
            _ => None,
        }
    }

    /// It is on its way to being ready, and will get there or be given up.
    pub fn coming(&self) -> bool {
        let coming = matches!(self.state, State::Waiting | State::Starting { .. } | State::Backoff { .. });
        self.asked || coming && !self.sleeps()
    }

    /// It waits for somebody to ask for it.
    pub fn sleeps(&self) -> bool {
        self.asleep && self.state == State::Waiting
    }

    pub fn ready(&self) -> bool {
        !self.asked && matches!(self.state, State::Ready { .. })
    }
}
