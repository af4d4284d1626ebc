//! Looking at processes over /proc: a tree's members, and what an earlier boot of a space has left behind.
//!
//! Reads `stat` of every process, which never waits for the process; `environ` of those of one uid only when asked for
//! leftovers, and the command line only when asked for one: both can wait for a process that hangs. Blocking: call it on
//! a sacrificial thread. A pid alone is never trusted: it travels with its start time.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;

/// A process that can't be mistaken for a later one with the same pid.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Process {
    pub pid: i32,
    /// Clock ticks since the machine's boot.
    pub started: u64,
}

/// A process as one look has seen it.
#[derive(Debug, Clone)]
pub struct Seen {
    pub process: Process,
    pub parent: i32,
    /// As the system knows it, at most 15 bytes.
    pub name: String,
    /// Resident memory in bytes.
    pub resident: u64,
}

#[derive(Debug, Clone)]
struct Stat {
    seen: Seen,
    zombie: bool,
    /// Of a zombie; 0 also where this process may not know.
    wait_status: i32,
}

/// When the process with this pid was started; `None` if there is none.
pub fn started(pid: i32) -> Option<u64> {
    stat(pid).map(|stat| stat.seen.process.started)
}

/// All living descendants of `root`, without `root` and without `except` and its descendants.
pub fn descendants(root: i32, except: i32) -> Vec<Process> {
    below(root, except).into_iter().map(|seen| seen.process).collect()
}

/// As [`descendants`], with what was seen of them; a parent comes before its children.
pub fn below(root: i32, except: i32) -> Vec<Seen> {
    let mut children: HashMap<i32, Vec<Stat>> = HashMap::new();
    for stat in all() {
        children.entry(stat.seen.parent).or_default().push(stat);
    }
    let (mut found, mut next) = (Vec::new(), vec![root]);
    while let Some(pid) = next.pop() {
        for child in children.remove(&pid).into_iter().flatten() {
            if child.seen.process.pid != except {
                next.push(child.seen.process.pid);
                if !child.zombie {
                    found.push(child.seen);
                }
            }
        }
    }
    found
}

/// The arguments of a process, its own name first, of at most 16 KiB in all. Can wait for the process.
pub fn arguments(process: Process) -> Vec<Vec<u8>> {
    const LIMIT: u64 = 16 << 10;
    let mut line = Vec::new();
    let Ok(file) = File::open(format!("/proc/{}/cmdline", process.pid)) else { return Vec::new() };
    if file.take(LIMIT).read_to_end(&mut line).is_err() || started(process.pid) != Some(process.started) {
        return Vec::new();
    }
    line.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect()
}

/// The wait status of a process that has ended and whose parent has not asked yet, if this process may know it.
pub fn zombies_exit(process: Process) -> Option<i32> {
    let stat = stat(process.pid).filter(|stat| stat.zombie && stat.seen.process == process)?;
    // To those who may not know, the system says 0.
    (stat.wait_status != 0).then_some(stat.wait_status)
}

/// Processes of `uid` with an environment entry that begins with `prefix` and isn't `unless`; never this process or
/// one of its ancestors.
pub fn marked(uid: u32, prefix: &str, unless: &str) -> Vec<Process> {
    let all = all();
    let spared = ancestors(&all, i32::try_from(std::process::id()).unwrap_or(0));
    let candidates = all.iter().filter(|stat| !stat.zombie).map(|stat| stat.seen.process);
    candidates
        .filter(|process| !spared.contains(&process.pid) && owner(process.pid) == Some(uid))
        .filter(|process| {
            let environ = fs::read(format!("/proc/{}/environ", process.pid)).unwrap_or_default();
            let mut entries = environ.split(|byte| *byte == 0);
            entries.any(|entry| entry.starts_with(prefix.as_bytes()) && entry != unless.as_bytes())
        })
        .collect()
}

fn ancestors(all: &[Stat], pid: i32) -> HashSet<i32> {
    let parents: HashMap<i32, i32> = all.iter().map(|stat| (stat.seen.process.pid, stat.seen.parent)).collect();
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
    stat(process.pid).is_some_and(|stat| stat.seen.process == process && !stat.zombie)
}

fn all() -> Vec<Stat> {
    let Ok(entries) = fs::read_dir("/proc") else { return Vec::new() };
    entries.flatten().filter_map(|entry| stat(entry.file_name().to_str()?.parse().ok()?)).collect()
}

fn owner(pid: i32) -> Option<u32> {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/{pid}")).ok().map(|metadata| metadata.uid())
}

/// Fields of `/proc/<pid>/stat`: the command may hold any byte, even `)` and spaces; what comes after it is numbers.
fn stat(pid: i32) -> Option<Stat> {
    // Longer than any, so that one read is enough: there may be many processes.
    let mut line = [0; 2048];
    let length = File::open(format!("/proc/{pid}/stat")).ok()?.read(&mut line).ok()?;
    let text = String::from_utf8_lossy(&line[..length]);
    let (name, rest) = text.rsplit_once(')')?;
    let fields: Vec<&str> = rest.split_whitespace().collect();
    let state = *fields.first()?;
    let pages: u64 = fields.get(21)?.parse().ok()?;
    let seen = Seen {
        process: Process { pid, started: fields.get(19)?.parse().ok()? },
        parent: fields.get(1)?.parse().ok()?,
        name: name.split_once('(')?.1.to_owned(),
        resident: pages.saturating_mul(page_size()),
    };
    let wait_status = fields.get(49).and_then(|status| status.parse().ok()).unwrap_or(0);
    Some(Stat { seen, zombie: state == "Z" || state == "X", wait_status })
}

fn page_size() -> u64 {
    // SAFETY: asks for a number.
    let size = unsafe { nix::libc::sysconf(nix::libc::_SC_PAGESIZE) };
    u64::try_from(size).unwrap_or(4096)
}
