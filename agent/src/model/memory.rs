//! Memory that runs short: when to warn, who was ended for it, and how a person is told.
//!
//! The process room's watcher reads the counters and the processes; what they mean is decided here.

use super::now::Monotonic;
use serde::{Deserialize, Serialize};
use std::cmp::Reverse;
use std::time::Duration;

/// Warned above this share of the limit, in percent; again only after the use has fallen below [`CALM`].
const SHORT: u64 = 85;
const CALM: u64 = 75;
/// Above this share of the limit, in percent, the space is looked at every second.
const FILLING: u64 = 60;
/// How long one sign of pressure keeps the watcher looking every second.
const WATCHFUL: Duration = Duration::from_secs(10);
/// How long there must be no sign of pressure before it may be warned of again.
const QUIET: Duration = Duration::from_secs(60);
/// What a process must have held to be suspected only because it ended then, if there is no limit to compare with.
const SUSPECT: u64 = 64 << 20;

/// What the watcher tells.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryNews {
    /// Memory is about to run short. Told once, until it was no longer short.
    Pressure {
        /// Bytes that can't be given back: caches that the system drops first are not in it.
        used: u64,
        /// In bytes. `None`: the space has no limit of its own, it is the machine's memory that is short.
        limit: Option<u64>,
        /// The kernel or job that holds the most.
        largest: Option<Victim>,
    },
    /// The system has ended processes to get memory back.
    Killed {
        /// Those that are known, at most `count`; empty if the agent can't tell.
        victims: Vec<Victim>,
        /// How many the system has ended.
        count: u64,
        /// In bytes, as in `Pressure`.
        limit: Option<u64>,
    },
}

/// A process that the system has ended for memory, or may.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Victim {
    pub pid: i32,
    /// Clock ticks since the machine's boot: pid and start name a process for good.
    pub started: u64,
    pub role: Role,
    /// Resident memory when it was last looked at; 0 if it never was. It may have grown since.
    pub bytes: u64,
    /// The child of the space that it is or descends from: `app/default#1`.
    pub child: Option<String>,
}

/// What a process is in the space.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// A direct child of the space: an app's server or a step.
    App,
    /// A Jupyter kernel, by Jupyter's id.
    Kernel { id: String },
    /// Anything else.
    Process {
        /// Its name as the kernel of the system knows it, at most 15 bytes.
        name: String,
        /// The Jupyter kernel that has started it, if one has.
        kernel: Option<String>,
    },
}

impl Role {
    /// The Jupyter kernel whose notebook this process works for.
    pub fn kernel(&self) -> Option<&str> {
        match self {
            Role::App => None,
            Role::Kernel { id } => Some(id),
            Role::Process { kernel, .. } => kernel.as_deref(),
        }
    }
}

/// How a process that has just ended did so, as far as it can be known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fate {
    /// By SIGKILL, which is how the system ends a process for memory.
    Killed,
    /// In another way.
    Otherwise,
    Unknown,
}

/// Decides when to warn, with hysteresis.
#[derive(Debug, Clone, Default)]
pub struct Alarm {
    warned: bool,
    /// The last sign of pressure that the system has given.
    sign: Option<Monotonic>,
    /// When the group was last at one of its marks.
    stirred: Option<Monotonic>,
}

impl Alarm {
    /// Takes one look in: `sign` is whether the system itself says that memory is short. True if a warning is due.
    pub fn look(&mut self, used: u64, limit: Option<u64>, sign: bool, now: Monotonic) -> bool {
        if sign {
            self.sign = Some(now);
        }
        let full = |percent| limit.is_some_and(|limit| share(used, limit) >= percent);
        if self.warned {
            self.warned = full(CALM) || self.signed(QUIET, now);
            return false;
        }
        self.warned = full(SHORT) || sign;
        self.warned
    }

    /// The group is at one of its marks, which may be for its caches alone: a reason to look, not to warn.
    pub fn stir(&mut self, now: Monotonic) {
        self.stirred = Some(now);
    }

    /// Whether to look again in a second, or only when something happens.
    pub fn watchful(&self, used: u64, limit: Option<u64>, now: Monotonic) -> bool {
        let stirred = self.stirred.is_some_and(|stirred| now.since(stirred) < WATCHFUL);
        limit.is_some_and(|limit| share(used, limit) >= FILLING) || stirred || self.signed(WATCHFUL, now)
    }

    fn signed(&self, within: Duration, now: Monotonic) -> bool {
        self.sign.is_some_and(|sign| now.since(sign) < within)
    }
}

/// Bytes at which the watcher wants to be woken, where the system can do that.
pub fn thresholds(limit: u64) -> [u64; 2] {
    [FILLING, SHORT].map(|percent| limit / 100 * percent)
}

/// In percent.
fn share(used: u64, limit: u64) -> u64 {
    u64::try_from(u128::from(used) * 100 / u128::from(limit.max(1))).unwrap_or(u64::MAX)
}

/// Which of the processes that have ended the system has killed for memory, given that it has killed `count`: first those
/// that ended by SIGKILL, then those of which nobody knows how they ended if they were kernels or large; of each the
/// largest. A kernel may have grown within a moment, so its size when it was last looked at says little.
pub fn victims(ended: &[(Victim, Fate)], count: u64, limit: Option<u64>) -> Vec<Victim> {
    let floor = limit.map_or(SUSPECT, |limit| limit / 10);
    let mut suspects: Vec<&(Victim, Fate)> = ended
        .iter()
        .filter(|(victim, fate)| match fate {
            Fate::Killed => true,
            Fate::Otherwise => false,
            Fate::Unknown => victim.bytes >= floor || matches!(victim.role, Role::Kernel { .. }),
        })
        .collect();
    suspects.sort_by_key(|(victim, fate)| (*fate != Fate::Killed, Reverse(victim.bytes)));
    suspects.truncate(usize::try_from(count).unwrap_or(usize::MAX));
    suspects.into_iter().map(|(victim, _)| victim.clone()).collect()
}

/// The id of the Jupyter kernel whose connection file (`kernel-<uuid>.json`) stands in one of a process's arguments.
pub fn kernel_in<'a>(mut args: impl Iterator<Item = &'a [u8]>) -> Option<String> {
    args.find_map(kernel_in_one)
}

fn kernel_in_one(arg: &[u8]) -> Option<String> {
    const BEFORE: &[u8] = b"kernel-";
    const AFTER: &[u8] = b".json";
    const ID: usize = 36;
    arg.windows(BEFORE.len() + ID + AFTER.len()).find_map(|part| {
        let id = part.strip_prefix(BEFORE)?.strip_suffix(AFTER)?;
        let fits = id.iter().enumerate().all(|(at, byte)| match at {
            8 | 13 | 18 | 23 => *byte == b'-',
            _ => byte.is_ascii_hexdigit(),
        });
        fits.then(|| String::from_utf8_lossy(id).into_owned())
    })
}

/// How a person is told of one victim. `notebook` is that of the victim's Jupyter kernel, if it has one.
pub fn killed_sentence(victim: &Victim, limit: Option<u64>, notebook: Option<&str>) -> String {
    let held = match victim.bytes {
        0 => String::new(),
        bytes => format!(" (it used {} when last looked at)", size(bytes)),
    };
    format!("{} was ended by the system: {}{held}", called(victim, notebook), short(limit))
}

/// How a person is told that `count` processes were ended and nobody knows which.
pub fn unknown_sentence(count: u64, limit: Option<u64>) -> String {
    let what = if count == 1 { "a process that the agent did not know was" } else { "processes were" };
    format!("{what} ended by the system: {}", short(limit))
}

/// How a person is warned. `notebook` is that of the largest process's Jupyter kernel, if it has one.
pub fn pressure_sentence(used: u64, limit: Option<u64>, largest: Option<&Victim>, notebook: Option<&str>) -> String {
    let state = match limit {
        Some(limit) => format!("the space uses {} of its {} of memory", size(used), size(limit)),
        None => "the machine's memory is short".to_owned(),
    };
    match largest {
        Some(largest) => format!("{state}; {} uses {}", called(largest, notebook), size(largest.bytes)),
        None => state,
    }
}

fn short(limit: Option<u64>) -> String {
    match limit {
        Some(limit) => format!("the space reached its memory limit of {}", size(limit)),
        None => "the machine ran out of memory".to_owned(),
    }
}

/// `the kernel of train.ipynb`, `python3, started by a kernel,`, `app default`.
fn called(victim: &Victim, notebook: Option<&str>) -> String {
    let kernel = notebook.map_or_else(|| "a kernel".to_owned(), |notebook| format!("the kernel of {notebook}"));
    let child = victim.child.as_deref().and_then(|child| child.parse::<super::child::ChildId>().ok());
    let (of, name) = match &child {
        Some(child @ super::child::ChildId::Step { .. }) => ("step", child.name()),
        Some(child) => ("app", child.name()),
        None => ("", ""),
    };
    match &victim.role {
        Role::Kernel { .. } => kernel,
        Role::Process { name, kernel: Some(_) } => format!("{name}, started by {kernel},"),
        Role::Process { name, kernel: None } if of.is_empty() => format!("the process {name}"),
        Role::Process { name: process, kernel: None } => format!("{process}, a process of {of} {name},"),
        Role::App if of.is_empty() => "an app".to_owned(),
        Role::App => format!("{of} {name}"),
    }
}

/// `256 MB`, `1.5 GB`: of 1024, as memory limits are given (`--memory 256m`).
fn size(bytes: u64) -> String {
    const MB: u64 = 1 << 20;
    match (bytes + MB / 2) / MB {
        mb @ 0..1024 => format!("{mb} MB"),
        mb if mb.is_multiple_of(1024) => format!("{} GB", mb / 1024),
        mb => format!("{}.{} GB", mb / 1024, mb % 1024 * 10 / 1024),
    }
}

#[cfg(test)]
mod tests;
