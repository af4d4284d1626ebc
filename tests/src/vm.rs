//! The test VM: another Linux than this machine's, for what only that one has. See `tests/vm`.

use crate::command::{Done, run};
use crate::places;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// How long the VM's disk may take to be made: a small Debian is fetched and installed.
const MAKE: Duration = Duration::from_secs(30 * 60);
/// What starts and ends the emulator, beside what runs in the VM.
const MARGIN: Duration = Duration::from_secs(60);

/// How a job in the VM ended, and what it left. Dropping it removes that, unless the test failed.
#[derive(Debug)]
pub struct Job {
    /// Of the script that ran the VM: its exit code is the job's, its output the console.
    pub done: Done,
    out: PathBuf,
}

/// Why this story isn't told, if it isn't: the VM is emulated and slow, and making it takes root.
pub fn cannot_run() -> Option<&'static str> {
    let reason = if !places::full() {
        "it boots a virtual machine, which is for tests/soak"
    } else if !nix::unistd::geteuid().is_root() {
        "only root can make the virtual machine's disk"
    } else {
        return None;
    };
    println!("skipped: {reason}");
    Some(reason)
}

/// Boots the VM and runs `run.sh` of the folder `tests/vm/NAME` in it; `files` lie beside the script.
pub async fn job(name: &str, files: &[&Path], deadline: Duration) -> Job {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let scripts = places::project().join("tests/vm");
    let made = run(Command::new(scripts.join("make")), MAKE).await;
    assert_eq!(made.code(), 0, "the VM could not be made:\n{}{}", made.stdout, made.stderr);
    let number = NEXT.fetch_add(1, Ordering::Relaxed);
    let out = std::env::temp_dir().join(format!("space-vm-{}-{number}", std::process::id()));
    let mut command = Command::new(scripts.join("run"));
    command.arg(scripts.join(name)).arg(&out).args(files).env("VM_TIMEOUT", deadline.as_secs().to_string());
    let done = run(command, deadline + MARGIN).await;
    Job { done, out }
}

impl Job {
    /// A file that the job has left in its `/out`; empty if it has not.
    pub fn left(&self, name: &str) -> String {
        fs::read_to_string(self.out.join(name)).unwrap_or_default()
    }

    /// The console, and why there may be no more of it.
    pub fn told(&self) -> String {
        format!("{}{}", self.done.stdout, self.done.stderr)
    }
}

impl Drop for Job {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("what the VM left stays for a look: {}", self.out.display());
        } else {
            let _ = fs::remove_dir_all(&self.out);
        }
    }
}
