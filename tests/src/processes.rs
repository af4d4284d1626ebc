//! Processes as /proc shows them: who is whose child, what bears a space's mark, what it costs.

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

/// Every process (not zombies) with its parent.
pub fn parents() -> BTreeMap<i32, i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter_map(|pid| {
        let (state, parent) = state_and_parent(pid)?;
        (state != 'Z').then_some((pid, parent))
    })
    .collect()
}

/// The state letter and the parent of a process that is there.
fn state_and_parent(pid: i32) -> Option<(char, i32)> {
    let fields = stat_fields(pid)?;
    Some((fields.first()?.chars().next()?, fields.get(1)?.parse().ok()?))
}

/// The fields of /proc/<pid>/stat after the name (which may hold blanks and parentheses).
fn stat_fields(pid: i32) -> Option<Vec<String>> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let (_, rest) = stat.rsplit_once(") ")?;
    Some(rest.split_whitespace().map(str::to_owned).collect())
}

/// When the process started, in ticks since the machine did: with the pid, its identity.
pub fn started(pid: i32) -> Option<u64> {
    stat_fields(pid)?.get(19)?.parse().ok()
}

/// The processor time that the process has taken so far, to 10 ms.
pub fn cpu(pid: i32) -> Option<std::time::Duration> {
    let fields = stat_fields(pid)?;
    let ticks = fields.get(11)?.parse::<u64>().ok()? + fields.get(12)?.parse::<u64>().ok()?;
    Some(std::time::Duration::from_millis(ticks * 10))
}

/// True while the process is there and not a zombie.
pub fn alive(pid: i32) -> bool {
    state_and_parent(pid).is_some_and(|(state, _)| state != 'Z')
}

/// Children of `pid`, directly.
pub fn children(pid: i32) -> Vec<i32> {
    parents().into_iter().filter(|&(_, parent)| parent == pid).map(|(child, _)| child).collect()
}

/// Children of `pid` that have ended and that it has not reaped.
pub fn zombies(pid: i32) -> Vec<i32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|child| state_and_parent(*child) == Some(('Z', pid))).collect()
}

/// Children of `pid`, theirs, and so on; without itself.
pub fn descendants(pid: i32) -> BTreeSet<i32> {
    let parents = parents();
    let mut found = BTreeSet::from([pid]);
    loop {
        let more: Vec<i32> =
            parents.iter().filter(|(_, parent)| found.contains(parent)).map(|(child, _)| *child).collect();
        let before = found.len();
        found.extend(more);
        if found.len() == before {
            found.remove(&pid);
            return found;
        }
    }
}

/// Processes that have one of `marks` (a space's own folders) in their command line, environment or working folder.
///
/// A child that the agent gave a clean environment still runs in the space's home, or was told a path in it.
pub fn marked(marks: &[&Path]) -> BTreeSet<i32> {
    let own = std::process::id().cast_signed();
    parents().into_keys().filter(|&pid| pid != own && is_marked(pid, marks)).collect()
}

fn is_marked(pid: i32, marks: &[&Path]) -> bool {
    let texts = ["cmdline", "environ"].map(|file| fs::read(format!("/proc/{pid}/{file}")).unwrap_or_default());
    let folder = fs::read_link(format!("/proc/{pid}/cwd")).unwrap_or_default();
    marks.iter().any(|mark| {
        let bytes = mark.as_os_str().as_encoded_bytes();
        folder.starts_with(mark) || texts.iter().any(|text| text.windows(bytes.len()).any(|part| part == bytes))
    })
}

/// The command line, for messages.
pub fn command_line(pid: i32) -> String {
    let bytes = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    String::from_utf8_lossy(&bytes).replace('\0', " ").trim_end().to_owned()
}

/// Sends a signal; a process that is gone already is no mistake.
pub fn signal(pid: i32, signal: Signal) {
    assert!(pid > 1, "no test signals pid {pid}");
    let _ = kill(Pid::from_raw(pid), signal);
}

/// Ends processes at once.
pub fn kill_all(pids: impl IntoIterator<Item = i32>) {
    pids.into_iter().for_each(|pid| signal(pid, Signal::SIGKILL));
}

/// A line `Name: 123 kB` of one of a process's files, in kB.
fn kilobytes(pid: i32, file: &str, name: &str) -> Option<u64> {
    let text = fs::read_to_string(format!("/proc/{pid}/{file}")).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Resident memory in kB.
pub fn resident(pid: i32) -> Option<u64> {
    kilobytes(pid, "status", "VmRSS")
}

/// Highest resident memory so far in kB, since the last [`forget_peak`].
pub fn resident_peak(pid: i32) -> Option<u64> {
    kilobytes(pid, "status", "VmHWM")
}

/// Begins a new measurement of [`resident_peak`].
pub fn forget_peak(pid: i32) {
    let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
}

/// Resident memory in kB, with what is shared between processes counted in parts.
pub fn proportional(pid: i32) -> Option<u64> {
    kilobytes(pid, "smaps_rollup", "Pss")
}

/// How many descriptors a process has open.
pub fn descriptors(pid: i32) -> Option<usize> {
    Some(fs::read_dir(format!("/proc/{pid}/fd")).ok()?.count())
}

/// How often the process's threads went to sleep of their own accord so far: each one is a wake-up.
pub fn sleeps(pid: i32) -> u64 {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let counts = threads.filter_map(|thread| {
        let status = fs::read_to_string(thread.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
    });
    counts.sum()
}

/// The program that a process runs, by the path at which it was when the process began.
pub fn program(pid: i32) -> Option<std::path::PathBuf> {
    let path = fs::read_link(format!("/proc/{pid}/exe")).ok()?;
    // The file may have been replaced since.
    let replaced = path.to_str().and_then(|path| path.strip_suffix(" (deleted)")).map(std::path::PathBuf::from);
    Some(replaced.unwrap_or(path))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::command::spawn_quiet;

    #[test]
    fn a_child_is_found_by_parent_by_mark_and_not_once_it_is_gone() {
        let folder = std::env::temp_dir().join(format!("space-tests-mark-{}", std::process::id()));
        fs::create_dir_all(&folder).unwrap();
        let mut child = spawn_quiet(std::process::Command::new("sleep").arg("60").current_dir(&folder)).unwrap();
        let pid = child.id().cast_signed();
        assert!(descendants(std::process::id().cast_signed()).contains(&pid));
        assert_eq!(marked(&[&folder]), BTreeSet::from([pid]));
        assert!(alive(pid) && started(pid).is_some() && resident(pid) > Some(0));
        kill_all([pid]);
        child.wait().unwrap();
        assert!(!alive(pid));
        assert_eq!(marked(&[&folder]), BTreeSet::new());
        fs::remove_dir(&folder).unwrap();
    }
}
