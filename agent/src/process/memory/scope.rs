//! Whose memory it is that runs short: the space's own group's, or the machine's.

use crate::model::memory;
use crate::sys::cgroup::{Group, Signal};
use crate::sys::pressure;
use std::fs::File;
use std::path::Path;

/// Where use, limit and ended processes are counted.
#[derive(Debug, Clone)]
pub enum Scope {
    Group(Group),
    /// The space is in no group that can be seen.
    Machine,
}

/// What can wake the watch, as far as the system has and allows it.
#[derive(Debug, Default)]
pub(super) struct Signals {
    pub(super) group: Option<Signal>,
    pub(super) pressure: Option<File>,
}

impl Scope {
    /// The scope of the space whose init this is.
    pub fn of(init_pid: i32) -> Scope {
        Group::of(&init_pid.to_string()).map_or(Scope::Machine, Scope::Group)
    }

    /// Used, limit. A group without a limit is as full as the machine.
    pub(super) fn usage(&self) -> Option<(u64, Option<u64>)> {
        match self {
            Scope::Group(group) => {
                let usage = group.usage()?;
                if usage.limit.is_some() { Some((usage.used, usage.limit)) } else { Scope::Machine.usage() }
            }
            Scope::Machine => pressure::machine().map(|(used, _)| (used, None)),
        }
    }

    pub(super) fn kills(&self) -> Option<u64> {
        match self {
            Scope::Group(group) => group.kills(),
            Scope::Machine => pressure::kills(),
        }
    }

    pub(super) fn ends_as_one(&self) -> bool {
        matches!(self, Scope::Group(group) if group.ends_as_one())
    }

    /// The machine's pressure says nothing about a space that has a limit of its own.
    pub(super) fn signals(&self, limit: Option<u64>) -> Signals {
        let machine = Path::new(pressure::MACHINE);
        match (self, limit) {
            (Scope::Group(group), Some(limit)) => Signals {
                group: group.signal(&memory::thresholds(limit)),
                pressure: group.pressure().and_then(|file| pressure::trigger(&file)),
            },
            (Scope::Group(group), None) => Signals { group: group.signal(&[]), pressure: pressure::trigger(machine) },
            (Scope::Machine, _) => Signals { group: None, pressure: pressure::trigger(machine) },
        }
    }
}
