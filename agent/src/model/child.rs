//! What is started (steps and apps), as whom, and how it ended. Shared by setup and apps, which say what to start,
//! and process, which starts it.

use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Which child of the space a process is. Written as `step/deps`, `step/deps#2`, `app/default#3`, `idle-command#1`: these
/// names travel to init and back, which keeps them without reading them, and events and effects carry them so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ChildId {
    /// A step runs once in a round: the first boot is round 1, and each `start` out of recovery or parked mode begins
    /// another.
    Step { name: String, round: u32 },
    /// An app may be started again: each attempt is a child of its own.
    App { name: String, attempt: u32 },
    /// Each run of `idle.action`'s command.
    IdleCommand(u32),
    /// Each command of the console that recovery mode has.
    Rescue(u32),
}

impl ChildId {
    /// What people know it by: the step's or app's name.
    pub fn name(&self) -> &str {
        match self {
            ChildId::Step { name, .. } | ChildId::App { name, .. } => name,
            ChildId::IdleCommand(_) => IDLE_COMMAND,
            ChildId::Rescue(_) => RESCUE,
        }
    }

    /// Its log below the log folder, without `.log`. A step and an app of one name have logs of their own; an app's
    /// attempts share one.
    pub fn log(&self) -> String {
        let folder = if matches!(self, ChildId::Step { .. }) { "steps" } else { "apps" };
        format!("{folder}/{}", self.name())
    }
}

const IDLE_COMMAND: &str = "idle-command";
const RESCUE: &str = "rescue";

impl fmt::Display for ChildId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            // As agents before the first round with a number wrote it.
            ChildId::Step { name, round: 1 } => write!(f, "step/{name}"),
            ChildId::Step { name, round } => write!(f, "step/{name}#{round}"),
            ChildId::App { name, attempt } => write!(f, "app/{name}#{attempt}"),
            ChildId::IdleCommand(number) => write!(f, "{IDLE_COMMAND}#{number}"),
            ChildId::Rescue(number) => write!(f, "{RESCUE}#{number}"),
        }
    }
}

/// A name that no child of a space has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnknownChild(pub String);

impl fmt::Display for UnknownChild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} names no step, app or idle command", self.0)
    }
}

impl std::error::Error for UnknownChild {}

impl FromStr for ChildId {
    type Err = UnknownChild;

    /// Reads what `Display` writes, and nothing else.
    fn from_str(text: &str) -> Result<ChildId, UnknownChild> {
        let id = match text.split_once('/') {
            Some(("step", step)) => {
                let named = if step.contains('#') { numbered(step) } else { Some((step, 1)) };
                named.map(|(name, round)| ChildId::Step { name: name.to_owned(), round })
            }
            Some(("app", app)) => numbered(app).map(|(name, attempt)| ChildId::App { name: name.to_owned(), attempt }),
            Some(_) => None,
            None => match numbered(text) {
                Some((IDLE_COMMAND, number)) => Some(ChildId::IdleCommand(number)),
                Some((RESCUE, number)) => Some(ChildId::Rescue(number)),
                _ => None,
            },
        };
        // A name is a log's too: neither empty nor a path.
        id.filter(|id| !id.name().is_empty() && !id.name().contains(['/', '#']) && id.to_string() == text)
            .ok_or_else(|| UnknownChild(text.to_owned()))
    }
}

fn numbered(text: &str) -> Option<(&str, u32)> {
    let (name, number) = text.rsplit_once('#')?;
    Some((name, number.parse().ok()?))
}

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
    /// How readily the kernel kills it when memory runs out, from -1000 to 1000; `None`: 0, as for any program. What may
    /// not be lowered stays as it was when the space was started.
    #[serde(default)]
    pub oom_score_adj: Option<i32>,
    #[serde(default)]
    pub limits: ChildLimits,
}

/// What a child may have at most; `None`: as when the space was started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildLimits {
    /// Open descriptors of one process.
    #[serde(default)]
    pub open_files: Option<u64>,
    /// Processes and threads of its user, in the whole space.
    #[serde(default)]
    pub processes: Option<u64>,
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
    /// It was killed because the space's memory is limited, to this many bytes if that is known. Never told by init: the
    /// agent finds it out.
    OutOfMemory {
        limit: Option<u64>,
    },
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
            Exit::OutOfMemory { limit: Some(limit) } => {
                write!(f, "was killed since the space reached its memory limit of {} MB", limit / 1_000_000)
            }
            Exit::OutOfMemory { limit: None } => f.write_str("was killed for want of memory"),
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_childs_name_is_read_as_it_is_written_and_says_where_its_log_is() {
        for (id, text, name, log) in [
            (ChildId::Step { name: "deps".into(), round: 1 }, "step/deps", "deps", "steps/deps"),
            (ChildId::Step { name: "deps".into(), round: 2 }, "step/deps#2", "deps", "steps/deps"),
            (ChildId::App { name: "deps".into(), attempt: 3 }, "app/deps#3", "deps", "apps/deps"),
            (ChildId::IdleCommand(1), "idle-command#1", "idle-command", "apps/idle-command"),
            (ChildId::Rescue(4), "rescue#4", "rescue", "apps/rescue"),
        ] {
            assert_eq!((id.to_string().as_str(), id.name(), id.log().as_str()), (text, name, log));
            assert_eq!(text.parse(), Ok(id));
        }
    }

    #[test]
    fn what_names_no_child_is_none() {
        for text in [
            "",
            "step",
            "step/",
            "step/../x",
            "step/a#1",
            "step/a#0x2",
            "app/default",
            "app/#1",
            "app/default#",
            "app/default#+1",
            "app/default#01",
            "app/default#-1",
            "app/default#4294967296",
            "app/a/b#1",
            "idle-command",
            "other#1",
            "other/x",
        ] {
            assert_eq!(text.parse::<ChildId>(), Err(UnknownChild(text.into())));
        }
    }
}
