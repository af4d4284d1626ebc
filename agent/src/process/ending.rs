//! The end of everything that runs in the space: wait for the children, then end what is left of the tree.
//!
//! The tree is init's descendants without the agent. It is looked at on a blocking thread, again and again, since a
//! process may fork while it is being killed. The model's deadline bounds it all.

use crate::sys::{clock, tree};
use nix::sys::signal::Signal;
use std::collections::HashSet;
use std::time::Duration;
use tokio::sync::watch;

/// What the children left behind gets this long between SIGTERM and SIGKILL.
const ORPHANS: Duration = Duration::from_millis(500);
const AGAIN: Duration = Duration::from_millis(30);

/// Held by the room.
pub(super) struct Ending(watch::Sender<bool>);

pub(super) struct Work {
    init_pid: i32,
    grace: Duration,
    /// Whether to wait no longer for the children.
    go_on: watch::Receiver<bool>,
}

impl Ending {
    pub(super) fn new(init_pid: i32, grace: Duration) -> (Ending, Work) {
        let (sender, go_on) = watch::channel(grace.is_zero());
        (Ending(sender), Work { init_pid, grace, go_on })
    }

    pub(super) fn hurry(&self) {
        self.0.send_replace(true);
    }

    pub(super) fn children_ended(&self) {
        self.0.send_replace(true);
    }
}

impl Work {
    pub(super) async fn run(mut self) {
        // Either end of the wait is fine: the children have ended, or their grace has.
        let _ = tokio::time::timeout(self.grace, self.go_on.wait_for(|go_on| *go_on)).await;
        let mut asked: HashSet<tree::Process> = HashSet::new();
        let asked_at = clock::monotonic();
        loop {
            let left = self.left().await;
            if left.is_empty() {
                return;
            }
            let signal = if clock::monotonic().since(asked_at) < ORPHANS { Signal::SIGTERM } else { Signal::SIGKILL };
            for process in left {
                if signal == Signal::SIGKILL || asked.insert(process) {
                    tree::signal(process, signal as i32);
                }
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    async fn left(&self) -> Vec<tree::Process> {
        let (init, agent) = (self.init_pid, i32::try_from(std::process::id()).unwrap_or(0));
        let look = tokio::task::spawn_blocking(move || tree::descendants(init, agent));
        // A look that panicked saw nothing; the deadline is the model's.
        look.await.unwrap_or_default()
    }
}
