//! A descriptor that means one process for good, and how that process ended.

use super::tree::{self, Process};
use nix::libc;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};

/// Readable once the process has ended, whether or not its parent knows already.
#[derive(Debug)]
pub struct PidFd(OwnedFd);

impl PidFd {
    /// `None` if the process has gone, or the system gives no more descriptors.
    pub fn open(process: Process) -> Option<PidFd> {
        // SAFETY: takes two numbers and returns a descriptor or an error; it touches no memory.
        let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, process.pid, 0) };
        let fd = RawFd::try_from(fd).ok().filter(|fd| *fd >= 0)?;
        // SAFETY: the system has just given this descriptor (closed on exec) to nobody else.
        let fd = unsafe { OwnedFd::from_raw_fd(fd) };
        // If the pid is that process's now, it was when the descriptor was opened.
        (tree::started(process.pid) == Some(process.started)).then_some(PidFd(fd))
    }

    /// How the process, which has ended, did so. `None` if the system doesn't tell (yet): before its parent has asked, it
    /// tells those who may trace it; after that, Linux 6.15 and newer tell everyone.
    pub fn exit(&self, process: Process) -> Option<Ended> {
        self.told().or_else(|| tree::zombies_exit(process)).map(Ended::from_wait_status)
    }

    /// The wait status, if the process has been reaped and this kernel keeps it.
    fn told(&self) -> Option<i32> {
        let mut info = Info { mask: INFO_EXIT, ..Info::default() };
        // SAFETY: the request says how large `info` is, and the system writes no more than that.
        let result = unsafe { libc::ioctl(self.0.as_raw_fd(), GET_INFO, &raw mut info) };
        (result == 0 && info.mask & INFO_EXIT != 0).then_some(info.exit_code)
    }
}

impl AsFd for PidFd {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Which of these have ended, in their order. Does not wait.
pub fn ended<'a>(pidfds: impl Iterator<Item = &'a PidFd>) -> Vec<bool> {
    let mut asked: Vec<PollFd<'_>> = pidfds.map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN)).collect();
    // If it fails, nothing is known to have ended; the next look asks again.
    let _ = poll(&mut asked, PollTimeout::ZERO);
    asked.iter().map(|fd| fd.any().unwrap_or(false)).collect()
}

/// How a process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ended {
    Code(i32),
    Signal(i32),
}

impl Ended {
    fn from_wait_status(status: i32) -> Ended {
        match status & 0x7f {
            0 => Ended::Code((status >> 8) & 0xff),
            signal => Ended::Signal(signal),
        }
    }
}

/// `struct pidfd_info` of linux/pidfd.h in its first version, which later kernels take too.
#[repr(C)]
#[derive(Default)]
struct Info {
    /// What is asked for, then what was answered.
    mask: u64,
    cgroup: u64,
    /// pid, thread group, parent, and eight uids and gids.
    ids: [u32; 11],
    /// A wait status.
    exit_code: i32,
}

const INFO_EXIT: u64 = 1 << 3;
const GET_INFO: libc::Ioctl = libc::_IOWR::<Info>(0xff, 11);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sys::helper;
    use std::process::Child;

    fn shell(script: &str) -> (Child, Process, PidFd) {
        let child = helper::spawn(helper::command("/bin/sh").args(["-c", script])).unwrap();
        let pid = i32::try_from(child.id()).unwrap();
        let process = Process { pid, started: tree::started(pid).unwrap() };
        let pidfd = PidFd::open(process).unwrap();
        (child, process, pidfd)
    }

    fn wait(pidfd: &PidFd) {
        poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], 10_000u16).unwrap();
    }

    #[test]
    fn an_end_is_told_before_its_parent_has_asked() {
        for (script, told) in [("kill -9 $$", Some(Ended::Signal(9))), ("exit 42", Some(Ended::Code(42)))] {
            let (mut child, process, pidfd) = shell(script);
            wait(&pidfd);
            assert_eq!(ended([&pidfd].into_iter()), [true]);
            assert_eq!(pidfd.exit(process), told, "{script}");
            child.wait().unwrap();
        }
    }

    #[test]
    fn an_end_is_told_after_that_where_the_kernel_keeps_it_and_never_wrongly() {
        let (mut child, process, pidfd) = shell("kill -9 $$");
        child.wait().unwrap();
        assert!(matches!(pidfd.exit(process), None | Some(Ended::Signal(9))), "{:?}", pidfd.exit(process));
    }

    #[test]
    fn a_process_that_lives_has_not_ended_and_another_with_its_pid_is_not_it() {
        let (mut child, process, pidfd) = shell("read x");
        let _ = child.kill();
        let other = Process { started: process.started + 1, ..process };
        assert!(PidFd::open(other).is_none());
        child.wait().unwrap();
        assert_eq!(ended([&pidfd].into_iter()), [true]);
        assert!(PidFd::open(process).is_none());
    }
}
