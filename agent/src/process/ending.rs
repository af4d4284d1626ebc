//! The end of everything that runs in the space: SIGTERM to all that is left of the tree, SIGKILL after the grace.
//!
//! The tree is init's descendants without the agent. It is looked at on a blocking thread, again and again, since a
//! process may fork while it is being killed: whole process groups are killed at once, which no fork escapes, and what
//! makes a session of its own with each fork becomes init's child by that, and is hunted there without a pause. The
//! model's deadline bounds it all.

use crate::sys::{clock, tree};
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, getpgid, getsid};
use std::collections::HashSet;
use std::fs;
use std::time::Duration;
use tokio::sync::watch;

/// Between two looks while the tree has its grace.
const AGAIN: Duration = Duration::from_millis(20);
/// Between two looks at the whole tree while it is killed.
const HUNT: Duration = Duration::from_millis(5);
/// And where a look has found the same as the one before.
const PATIENT: Duration = Duration::from_millis(20);

/// Held by the room.
pub(super) struct Ending(watch::Sender<bool>);

pub(super) struct Work {
    init: i32,
    agent: i32,
    grace: Duration,
    /// The grace is over.
    hurry: watch::Receiver<bool>,
}

impl Ending {
    pub(super) fn new(init: i32, grace: Duration) -> (Ending, Work) {
        let (sender, hurry) = watch::channel(grace.is_zero());
        let agent = i32::try_from(std::process::id()).unwrap_or(0);
        (Ending(sender), Work { init, agent, grace, hurry })
    }

    pub(super) fn hurry(&self) {
        self.0.send_replace(true);
    }
}

impl Work {
    /// Returns when nothing is left.
    pub(super) async fn run(mut self) {
        self.ask().await;
        // A look that panicked ends nothing; the deadline is the model's.
        let _ = tokio::task::spawn_blocking(move || self.kill()).await;
    }

    /// SIGTERM to each once, and time to obey.
    async fn ask(&mut self) {
        let begin = clock::monotonic();
        let mut asked: HashSet<tree::Process> = HashSet::new();
        while clock::monotonic().since(begin) < self.grace {
            let (init, agent) = (self.init, self.agent);
            let look = tokio::task::spawn_blocking(move || tree::descendants(init, agent));
            let left = look.await.unwrap_or_default();
            if left.is_empty() {
                return;
            }
            for process in left {
                if asked.insert(process) {
                    tree::signal(process, Signal::SIGTERM as i32);
                }
            }
            // Late is as it should be: nobody is in a hurry.
            if tokio::time::timeout(AGAIN, self.hurry.wait_for(|hurry| *hurry)).await.is_ok() {
                return;
            }
        }
    }

    fn kill(&self) {
        let mut before = Vec::new();
        loop {
            let left = tree::descendants(self.init, self.agent);
            if left.is_empty() {
                return;
            }
            if left == before {
                // They are dying, or hang in the system: whoever ends them needs the processor.
                std::thread::park_timeout(PATIENT);
            }
            before.clone_from(&left);
            for group in groups(&left, self.init) {
                // A group that has ended since is no failure.
                let _ = kill(Pid::from_raw(-group), Signal::SIGKILL);
            }
            for process in left {
                tree::signal(process, Signal::SIGKILL as i32);
            }
            let begin = clock::monotonic();
            while clock::monotonic().since(begin) < HUNT {
                self.kill_children_of_init();
            }
        }
    }

    /// Much faster than a look at the whole tree: between reading who is there and killing them there is hardly time to
    /// fork, and none for a pid to come round.
    fn kill_children_of_init(&self) {
        let path = format!("/proc/{0}/task/{0}/children", self.init);
        let children = fs::read_to_string(path).unwrap_or_default();
        let others =
            children.split_ascii_whitespace().filter_map(|pid| pid.parse().ok()).filter(|pid| *pid != self.agent);
        for pid in others {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        // init needs the processor too, to reap them.
        std::thread::yield_now();
    }
}

/// The process groups of these, but none that others than the space's may be in: those are in sessions of their own.
fn groups(left: &[tree::Process], init: i32) -> HashSet<i32> {
    let session = |pid| getsid(Some(Pid::from_raw(pid))).ok();
    let own = session(init);
    let strange = left.iter().filter(|process| session(process.pid) != own);
    strange.filter_map(|process| getpgid(Some(Pid::from_raw(process.pid))).ok().map(Pid::as_raw)).collect()
}
