//! The processes of the space, each held by its pidfd: what they are and what they use, also after they have ended.

use crate::model::memory::{Fate, Role, Victim, kernel_in};
use crate::sys::pidfd::{self, Ended, PidFd};
use crate::sys::tree::{self, Process, Seen};
use crate::sys::{limits, oom};
use nix::sys::signal::Signal;
use std::cmp::Reverse;
use std::collections::{HashMap, HashSet};

/// Kernels and users' jobs are ended before the servers that show them, which start with less.
const VICTIMS_FIRST: i32 = 700;
/// After them; before the agent.
const SERVERS_NEXT: i32 = 300;
/// So many processes are held at most: of more, the largest.
const MOST: usize = 512;

#[derive(Debug)]
pub(super) struct Held {
    init_pid: i32,
    /// The space's direct children, by pid.
    children: HashMap<i32, String>,
    processes: HashMap<i32, Holding>,
}

/// A held process.
#[derive(Debug)]
pub(super) struct Holding {
    pidfd: PidFd,
    pub(super) victim: Victim,
    /// As the system knows it: another name is another program.
    name: String,
    /// A process that was forked a moment ago still has its parent's command line: it is read once more.
    settled: bool,
}

impl Held {
    pub(super) fn new(init_pid: i32) -> Held {
        Held { init_pid, children: HashMap::new(), processes: HashMap::new() }
    }

    pub(super) fn started(&mut self, child: String, pid: i32) {
        self.children.insert(pid, child);
    }

    pub(super) fn pidfds(&self) -> impl Iterator<Item = &PidFd> {
        self.processes.values().map(|holding| &holding.pidfd)
    }

    /// Takes out those that have ended.
    pub(super) fn take_ended(&mut self) -> Vec<Holding> {
        let ended = pidfd::ended(self.pidfds());
        let gone: Vec<i32> = self.processes.keys().zip(ended).filter_map(|(pid, gone)| gone.then_some(*pid)).collect();
        for pid in &gone {
            self.children.remove(pid);
        }
        gone.iter().filter_map(|pid| self.processes.remove(pid)).collect()
    }

    /// Looks at all processes of the space. What has ended since stays until it is taken out.
    pub(super) fn look(&mut self) {
        let own = i32::try_from(std::process::id()).unwrap_or(0);
        let mut seen = tree::below(self.init_pid, own);
        if seen.len() > most() {
            let children = &self.children;
            seen.sort_by_key(|seen| (!children.contains_key(&seen.process.pid), Reverse(seen.resident)));
            for small in seen.drain(most()..) {
                self.processes.remove(&small.process.pid);
            }
        }
        // One that ended before it could be held.
        let alive: HashSet<i32> = seen.iter().map(|seen| seen.process.pid).collect();
        self.children.retain(|pid, _| alive.contains(pid) || self.processes.contains_key(pid));
        for seen in seen {
            match self.processes.get_mut(&seen.process.pid) {
                Some(holding) if holding.victim.started == seen.process.started => {
                    // A process that is just ending has given its memory back already.
                    if seen.resident > 0 {
                        holding.victim.bytes = seen.resident;
                    }
                    let told = holding.victim.role != Role::App && self.children.contains_key(&seen.process.pid);
                    if !holding.settled || holding.name != seen.name || told {
                        self.hold(&seen);
                    }
                }
                // Its pid is another's by now, and its end is not taken yet.
                Some(_) => {}
                None => self.hold(&seen),
            }
        }
    }

    fn hold(&mut self, seen: &Seen) {
        let process = seen.process;
        let (role, child) = self.place(seen);
        let (pidfd, bytes, settled) = match self.processes.remove(&process.pid) {
            Some(known) => (known.pidfd, known.victim.bytes, true),
            None => match PidFd::open(process) {
                Some(pidfd) => (pidfd, seen.resident, role == Role::App),
                None => return,
            },
        };
        match role {
            // init sets it from birth where it is allowed to: without root it is not.
            Role::App => {
                oom::raise(process, SERVERS_NEXT);
            }
            // A direct child may be a server that the room has not told of yet; what has lost its parent has inherited.
            _ if seen.parent == self.init_pid => {}
            // Another user's process (sudo) may not be touched; then it keeps what it inherited.
            _ => {
                oom::raise(process, VICTIMS_FIRST);
            }
        }
        let victim = Victim { pid: process.pid, started: process.started, role, bytes, child };
        self.processes.insert(process.pid, Holding { pidfd, victim, name: seen.name.clone(), settled });
    }

    /// What a process is, and of which child. Its parent was held before it.
    fn place(&self, seen: &Seen) -> (Role, Option<String>) {
        if let Some(child) = self.children.get(&seen.process.pid) {
            return (Role::App, Some(child.clone()));
        }
        let parent = self.processes.get(&seen.parent).map(|holding| &holding.victim);
        // One that has lost its parent since keeps what it was known by.
        let before = self.processes.get(&seen.process.pid).map(|holding| &holding.victim);
        let child = parent.or(before).and_then(|victim| victim.child.clone());
        let args = tree::arguments(seen.process);
        let role = match kernel_in(args.iter().map(Vec::as_slice)) {
            Some(id) => Role::Kernel { id },
            None => {
                let kernel = parent.or(before).and_then(|victim| victim.role.kernel().map(str::to_owned));
                Role::Process { name: seen.name.clone(), kernel }
            }
        };
        (role, child)
    }

    /// The kernel or job that uses the most.
    pub(super) fn largest(&self) -> Option<Victim> {
        let jobs = self.processes.values().map(|holding| &holding.victim).filter(|victim| victim.role != Role::App);
        jobs.max_by_key(|victim| victim.bytes).cloned()
    }
}

impl Holding {
    /// Of one that has ended.
    pub(super) fn fate(&self) -> Fate {
        let process = Process { pid: self.victim.pid, started: self.victim.started };
        match self.pidfd.exit(process) {
            Some(Ended::Signal(signal)) if signal == Signal::SIGKILL as i32 => Fate::Killed,
            Some(_) => Fate::Otherwise,
            None => Fate::Unknown,
        }
    }

    /// Whether the system has forgotten it: what it hasn't told by then, it never will.
    pub(super) fn forgotten(&self) -> bool {
        tree::started(self.victim.pid) != Some(self.victim.started)
    }
}

/// Not more than a quarter of the descriptors that this process may have.
fn most() -> usize {
    usize::try_from(limits::descriptors() / 4).unwrap_or(MOST).min(MOST)
}
