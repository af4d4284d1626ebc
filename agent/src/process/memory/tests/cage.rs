//! A memory group for a test, with a small space in it: a stand-in for init, and one server below it.

use crate::sys::cgroup::{Group, Version};
use crate::sys::helper;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

pub(super) struct Cage {
    pub(super) init: i32,
    version: Version,
    group: PathBuf,
    top: PathBuf,
    /// Where scripts and pid files are.
    folder: PathBuf,
    processes: Vec<Child>,
}

/// Takes so many MB, 1 MB at a time, once it is watched or, without `go`, once it was made a victim. Then it waits.
const EAT: &str = "\
import os, sys, time
mb, when = int(sys.argv[1]), sys.argv[2]
def may():
    return os.path.exists('go') if when == 'go' else open('/proc/self/oom_score_adj').read().strip() == '700'
while not may():
    time.sleep(0.005)
taken = []
for _ in range(mb):
    taken.append(bytearray(b'x') * (1 << 20))
    time.sleep(0.003)
open('full-%d' % os.getpid(), 'w').close()
time.sleep(1000)
";

impl Cage {
    /// `None`, and the reason on standard output, where groups can't be made.
    pub(super) fn new(limit: u64, server: &str) -> Option<Cage> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("space-agent-test-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let Some((version, top)) = hierarchy() else { return skip("no memory controller is mounted") };
        let group = top.join(&name);
        if let Err(error) = make(version, &group, limit) {
            return skip(&format!("cannot make {}: {error}", group.display()));
        }
        let folder = std::env::temp_dir().join(name);
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("eat.py"), EAT).unwrap();
        let functions = "memory() { exec /usr/bin/python3 eat.py \"$@\"; }\nexport -f memory\n";
        fs::write(folder.join("server"), format!("{functions}{server}\n")).unwrap();
        let mut cage = Cage { init: 0, version, group, top, folder, processes: Vec::new() };
        cage.init = cage.stranger("bash server & echo $! > server.pid; sleep 1000");
        Some(cage)
    }

    /// A process in the group that is not below the stand-in for init.
    pub(super) fn stranger(&mut self, script: &str) -> i32 {
        let script = format!("echo $$ > {}/cgroup.procs || exit 1\n{script}", self.group.display());
        let child =
            helper::spawn(helper::command("/bin/bash").args(["-c", &script]).current_dir(&self.folder)).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        self.processes.push(child);
        pid
    }

    /// The watch has begun.
    pub(super) fn go(&self) {
        fs::write(self.folder.join("go"), "").unwrap();
    }

    /// From so many bytes on, processes wait for memory. False where that can't be had.
    pub(super) fn slow_down_at(&self, bytes: u64) -> bool {
        self.version == Version::Two
            && Path::new("/proc/pressure/memory").exists()
            && fs::write(self.group.join("memory.high"), bytes.to_string()).is_ok()
    }

    pub(super) fn group(&self) -> Group {
        Group::at(self.version, &self.group, &self.top)
    }

    /// The pid in a file that a script has written.
    pub(super) async fn pid(&self, name: &str) -> i32 {
        let file = self.folder.join(format!("{name}.pid"));
        let read = || fs::read_to_string(&file).ok()?.trim().parse().ok();
        self.until(name, || read().is_some()).await;
        read().unwrap()
    }

    /// Whether that process has taken all that it wants.
    pub(super) fn full(&self, name: &str) -> bool {
        let pid = fs::read_to_string(self.folder.join(format!("{name}.pid"))).unwrap_or_default();
        self.folder.join(format!("full-{}", pid.trim())).exists()
    }

    pub(super) async fn ended(&self, pid: i32) {
        let gone = || fs::read_to_string(format!("/proc/{pid}/stat")).map_or(true, |stat| stat.contains(") Z "));
        self.until("it has ended", gone).await;
    }

    pub(super) async fn until(&self, what: &str, condition: impl Fn() -> bool) {
        let wait = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(30), wait).await.unwrap_or_else(|_| panic!("not in 30 s: {what}"));
    }

    fn members(&self) -> Vec<i32> {
        let members = fs::read_to_string(self.group.join("cgroup.procs")).unwrap_or_default();
        members.lines().filter_map(|pid| pid.parse().ok()).collect()
    }
}

impl Drop for Cage {
    /// Ends all that is in the group, which nobody else uses, and removes it.
    fn drop(&mut self) {
        for child in &mut self.processes {
            let _ = child.kill();
            let _ = child.wait();
        }
        for _ in 0..1000 {
            for pid in self.members() {
                let _ = nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL);
            }
            if fs::remove_dir(&self.group).is_ok() {
                break;
            }
            #[expect(clippy::disallowed_methods, reason = "a destructor can't wait otherwise")]
            std::thread::sleep(Duration::from_millis(10));
        }
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn hierarchy() -> Option<(Version, PathBuf)> {
    let one = Path::new("/sys/fs/cgroup/memory");
    if one.join("memory.limit_in_bytes").exists() {
        return Some((Version::One, one.to_owned()));
    }
    let two = Path::new("/sys/fs/cgroup");
    let controllers = fs::read_to_string(two.join("cgroup.subtree_control")).ok()?;
    controllers.split_whitespace().any(|name| name == "memory").then(|| (Version::Two, two.to_owned()))
}

fn make(version: Version, group: &Path, limit: u64) -> std::io::Result<()> {
    fs::create_dir(group)?;
    let (file, swap) = match version {
        Version::One => ("memory.limit_in_bytes", ("memory.swappiness", "0")),
        Version::Two => ("memory.max", ("memory.swap.max", "0")),
    };
    // Absent where there is no swap.
    let _ = fs::write(group.join(swap.0), swap.1);
    fs::write(group.join(file), limit.to_string()).inspect_err(|_| {
        let _ = fs::remove_dir(group);
    })
}

/// A machine for tests must be able to run them.
fn skip(why: &str) -> Option<Cage> {
    let must = std::env::var_os("CI").is_some() && nix::unistd::geteuid().is_root();
    assert!(!must, "the test of memory groups can't run here: {why}");
    println!("skipped: {why}");
    None
}
