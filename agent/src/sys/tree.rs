//! Looking at processes over /proc: a tree's members, and what an earlier boot of a space has left behind.
//!
//! Reads `stat` of every process, and `environ` of those of one uid only when asked for leftovers. Blocking: call it on
//! a sacrificial thread. A pid alone is never trusted: it travels with its start time.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs;

/// A process that can't be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks since the machine's boot.
    pub started: u64,
}

#[derive(Debug, Clone, Copy)]
struct Stat {
    process: Process,
    parent: i32,
    zombie: bool,
}

/// When the process with this pid was started; `None` if there is none.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.process.started)
}

/// All living descendants of `root`, without `root` and without `except` and its descendants.
pub fn descendants(root: i32, except: i32) -> Vec<Process> {
    let all = all();
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in &all {
        children.entry(stat.parent).or_default().push(*stat);
    }
    let (mut found, mut seen, mut next) = (Vec::new(), HashSet::new(), vec![root]);
    while let Some(pid) = next.pop() {
        for child in children.get(&pid).into_iter().flatten() {
            if child.process.pid != except && seen.insert(child.process.pid) {
                next.push(child.process.pid);
                if !child.zombie {
                    found.push(child.process);
                }
            }
        }
    }
    found
}

/// Processes of `uid` with an environment entry that begins with `prefix` and isn't `unless`; never this process or
/// one of its ancestors.
pub fn marked(uid: u32, prefix: &str, unless: &str) -> Vec<Process> {
    let all = all();
    let spared = ancestors(&all, i32::try_from(std::process::id()).unwrap_or(0));
    let candidates = all.iter().filter(|stat| !stat.zombie && !spared.contains(&stat.process.pid));
    candidates
        .filter(|stat| owner(stat.process.pid) == Some(uid))
        .filter(|stat| {
            let environ = fs::read(format!("/proc/{}/environ", stat.process.pid)).unwrap_or_default();
            let mut entries = environ.split(|byte| *byte == 0);
            entries.any(|entry| entry.starts_with(prefix.as_bytes()) && entry != unless.as_bytes())
        })
        .map(|stat| stat.process)
        .collect()
}

fn ancestors(all: &[Stat], pid: i32) -> HashSet<i32> {
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.process.pid, stat.parent)).collect();
    let (mut found, mut next) = (HashSet::new(), Some(pid));
    while let Some(pid) = next.filter(|pid| found.insert(*pid)) {
        next = parents.get(&pid).copied();
    }
    found
}

/// Sends a signal if the pid is still the same process. True if it was sent.
pub fn signal(process: Process, signal: i32) -> bool {
    let Ok(signal) = Signal::try_from(signal) else { return false };
    started(process.pid) == Some(process.started) && kill(Pid::from_raw(process.pid), signal).is_ok()
}

/// True while the process exists and is not a zombie.
pub fn alive(process: Process) -> bool {
    stat(process.pid).is_some_and(|stat| stat.process == process && !stat.zombie)
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn owner(pid: i32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// Fields of `/proc/<pid>/stat` after the command, which may hold any byte, even `)` and spaces.
fn stat(pid: i32) -> Option<Stat> {
    let text = String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/stat")).ok()?).into_owned();
    let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
    let state = *fields.first()?;
    Some(Stat {
        process: Process { pid, started: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        zombie: state == "Z" || state == "X",
    })
}
