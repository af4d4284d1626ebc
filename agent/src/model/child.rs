//! What is started (steps and apps), as whom, and how it ended. Shared by setup and apps, which say what to start,
//! and process, which starts it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;

/// A process to start: descriptors 0 (/dev/null), 1 and 2 (one pipe that init keeps), its own process group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ChildSpec {
    /// Absolute path of the program.
    pub program: PathBuf,
    /// Without the program's own name.
    pub args: Vec<String>,
    /// The whole environment.
    pub env: BTreeMap<String, String>,
    /// Working folder, absolute.
    pub folder: PathBuf,
    pub account: Account,
    /// Whether setuid programs (sudo) work for it: `user.sudo: image`.
    pub may_gain_privileges: bool,
}

/// Whom the space's steps and apps run as.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Account {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// Supplementary groups.
    pub groups: Vec<u32>,
    /// HOME, absolute.
    pub home: PathBuf,
    pub shell: PathBuf,
}

/// How a child ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Exit {
    Code(i32),
    Signal(i32),
    /// It never ran: why, in one clause with the object in it.
    NotStarted(String),
}

impl Exit {
    pub fn success(&self) -> bool {
        *self == Exit::Code(0)
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Exit::Code(code) => write!(f, "ended with exit code {code}"),
            Exit::Signal(signal) => write!(f, "was killed by signal {signal}{}", signal_name(*signal)),
            Exit::NotStarted(why) => write!(f, "could not be started: {why}"),
        }
    }
}

fn signal_name(signal: i32) -> &'static str {
    match signal {
        1 => " (SIGHUP)",
        2 => " (SIGINT)",
        3 => " (SIGQUIT)",
        4 => " (SIGILL)",
        6 => " (SIGABRT)",
        7 => " (SIGBUS)",
        9 => " (SIGKILL)",
        11 => " (SIGSEGV)",
        13 => " (SIGPIPE)",
        15 => " (SIGTERM)",
        _ => "",
    }
}

/// How a step ended. `why` is one sentence a person can act on: what happened, to which object, what to do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    Done {
        why: Option<String>,
    },
    /// Nothing to do; `why` says so (`its inputs have not changed since 2026-11-20 10:00 UTC`).
    Skipped {
        why: String,
    },
    Failed {
        why: String,
    },
}
