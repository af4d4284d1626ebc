//! The end: nothing of the space's outlives init, and init waits for nobody who will not die.

use crate::model::now::Monotonic;
use crate::sys::{clock, tree};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::sys::signalfd::SignalFd;
use nix::sys::wait::{WaitPidFlag, waitpid};
use nix::unistd::{Pid, getpgid, getpid, getsid};
use std::os::fd::AsFd;
use std::time::Duration;

/// What can be killed is gone long before; what hangs in the kernel is left to it.
const LONGEST: Duration = Duration::from_millis(200);

/// Between two looks, unless a child ends before.
const AGAIN: u16 = 10;

/// Kills and reaps all descendants. They become children of init when their parents die, so that it ends with init
/// having no child. This alone looks at /proc, and only when init is not the first process of its namespace.
pub(super) fn end_everything(signals: &SignalFd) {
    let begin = clock::monotonic();
    loop {
        kill_everything();
        if nobody_left() || over(begin) {
            return;
        }
        let mut fds = [PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        // Whatever it says, the next look tells.
        let _ = poll(&mut fds, PollTimeout::from(AGAIN));
        while let Ok(Some(_)) = signals.read_signal() {}
    }
}

fn over(begin: Monotonic) -> bool {
    clock::monotonic().since(begin) >= LONGEST
}

fn kill_everything() {
    if getpid() == Pid::from_raw(1) {
        // Everybody else in the namespace, at one stroke: nobody can fork away from it.
        let _ = kill(Pid::from_raw(-1), Signal::SIGKILL);
        return;
    }
    match children() {
        Some(children) => children.into_iter().for_each(kill_with_group),
        None => {
            for process in tree::descendants(getpid().as_raw(), 0) {
                tree::signal(process, Signal::SIGKILL as i32);
            }
        }
    }
}

/// A child that is not reaped keeps its pid, and its group's id with it. A group in another session than init's holds
/// only descendants; a process that forks constantly dies with it before it can fork again.
fn kill_with_group(child: Pid) {
    let own = getsid(None);
    if let (Ok(group), Ok(session)) = (getpgid(Some(child)), getsid(Some(child)))
        && Ok(session) != own
        && group.as_raw() > 1
    {
        let _ = kill(Pid::from_raw(-group.as_raw()), Signal::SIGKILL);
    }
    let _ = kill(child, Signal::SIGKILL);
}

/// Direct children as the kernel lists them; `None` if it does not.
fn children() -> Option<Vec<Pid>> {
    let own = getpid();
    let text = std::fs::read_to_string(format!("/proc/self/task/{own}/children")).ok()?;
    Some(text.split_whitespace().filter_map(|pid| pid.parse().ok().map(Pid::from_raw)).collect())
}

/// Reaps what has ended; true once there is no child at all.
fn nobody_left() -> bool {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return true,
            Ok(status) if status.pid().is_none() => return false,
            Ok(_) | Err(Errno::EINTR) => {}
            Err(_) => return false,
        }
    }
}
