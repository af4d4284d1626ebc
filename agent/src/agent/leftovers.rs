//! Processes that outlived their space: found by a mark in their environment, and ended.
//!
//! What a killed init's children have put into sessions of their own lives on; the next start ends it. (Cgroups will
//! close the gap until then.)

use super::place::Place;
use crate::sys::tree;
use std::time::Duration;

/// The name and value that every child of this boot carries, so that a later start finds what outlived it.
pub(super) fn mark(place: &Place, boot: &str) -> (String, String) {
    (MARK.to_owned(), format!("{}:{boot}", place.run.display()))
}

const MARK: &str = "SPACE_AGENT_CHILD_OF";

/// Ends what an earlier boot of this space has left: its init was killed, and what had made its own session lived on.
pub(super) fn end_earlier(place: &Place, boot: &str) {
    let (name, value) = mark(place, boot);
    let prefix = format!("{name}={}:", place.run.display());
    end_marked(place.account.uid, prefix, format!("{name}={value}"));
}

/// Ends all that this boot has started, when init is gone and cannot.
pub(super) fn end_own(place: &Place, boot: &str) {
    let (name, value) = mark(place, boot);
    end_marked(place.account.uid, format!("{name}={value}"), String::new());
}

/// On a thread of its own, since reading /proc of a process that hangs may hang.
fn end_marked(uid: u32, prefix: String, unless: String) {
    const DEADLINE: Duration = Duration::from_secs(3);
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..20 {
            let left = tree::marked(uid, &prefix, &unless);
            if left.is_empty() {
                break;
            }
            for process in left {
                tracing::warn!(pid = process.pid, "ending a process that outlived the space");
                tree::signal(process, 9);
            }
        }
        let _ = done.send(());
    });
    if wait.recv_timeout(DEADLINE).is_err() {
        tracing::warn!("looking for processes that outlived the space took too long; some may be left");
    }
}
