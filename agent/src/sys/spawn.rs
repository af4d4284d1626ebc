//! Starting a process, as init does it: fork, become who it shall be, exec.
//!
//! init forks on the agent's request (the other way, `clone3(CLONE_PARENT)` in the agent, leaves a moment in which a
//! killed agent has made a child that init cannot name). init is single-threaded, so the child may run ordinary code
//! between fork and exec; it still only makes system calls on what was prepared before. A child that fails tells so
//! over one pipe of all, before it ends: whoever has reaped it finds the failure there, and never blocks on it.

use super::limits::Allowance;
use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl, open};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SigSet, SigmaskHow, Signal, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getpid, getppid, pipe2, setgroups,
    setpgid, setsid,
};
use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What to start; everything prepared, nothing left to allocate after the fork.
#[derive(Debug)]
pub struct Prepared {
    pub program: CString,
    pub argv: Vec<CString>,
    pub envp: Vec<CString>,
    pub folder: Option<CString>,
    pub allowance: Allowance,
    /// Whom to become; `None`: stay who we are.
    pub identity: Option<Identity>,
    /// A new session (apps, steps: no controlling terminal to ask for passwords on) or only a new process group.
    pub new_session: bool,
    /// The child cannot gain privileges by setuid programs.
    pub no_new_privs: bool,
    /// Sent to the child when its parent, init, dies.
    pub parent_death: Signal,
}

#[derive(Debug, Clone)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    pub groups: Vec<u32>,
}

/// The child's descriptors.
#[derive(Debug)]
pub struct Descriptors<'a> {
    /// 1 and 2; `None`: the parent's.
    pub output: Option<BorrowedFd<'a>>,
    /// 3, if the child gets one.
    pub third: Option<BorrowedFd<'a>>,
}

/// The pipe over which children tell why they never ran.
#[derive(Debug)]
pub struct Reports {
    read: OwnedFd,
    write: OwnedFd,
}

/// Process, act and error number of a child that never ran.
type Report = [u8; 9];

impl Reports {
    pub fn new() -> io::Result<Reports> {
        let (read, write) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
        // Above 3, which a child may be given something else as.
        let number = fcntl(&write, FcntlArg::F_DUPFD_CLOEXEC(4))?;
        // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
        Ok(Reports { read, write: unsafe { OwnedFd::from_raw_fd(number) } })
    }

    /// The next failure, with the pid of the child. Whatever a child had to tell is here once it has ended.
    pub fn next(&self) -> Option<(i32, Failure)> {
        let mut report: Report = [0; 9];
        match nix::unistd::read(&self.read, &mut report) {
            Ok(length) if length == report.len() => {
                let number =
                    |at: usize| i32::from_le_bytes([report[at], report[at + 1], report[at + 2], report[at + 3]]);
                Some((number(0), Failure { act: report[8], errno: Errno::from_raw(number(4)) }))
            }
            _ => None,
        }
    }

    /// In the child.
    fn tell(&self, (act, errno): (Act, Errno)) {
        let mut report: Report = [0; 9];
        report[..4].copy_from_slice(&getpid().as_raw().to_le_bytes());
        report[4..8].copy_from_slice(&(errno as i32).to_le_bytes());
        report[8] = act as u8;
        // Nobody to tell if this fails: the exit code 127 remains.
        let _ = nix::unistd::write(&self.write, &report);
    }
}

/// `text` as a C string; an error if it holds a zero byte.
pub fn c_string(text: impl AsRef<[u8]>) -> Result<CString, NulError> {
    CString::new(text.as_ref())
}

pub fn c_path(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

/// Forks and execs. Returns the child's pid as soon as the child exists.
pub fn spawn(prepared: &Prepared, descriptors: &Descriptors<'_>, reports: &Reports) -> io::Result<i32> {
    let parent = getpid();
    let argv = pointers(&prepared.argv);
    let envp = pointers(&prepared.envp);
    // SAFETY: the caller is single-threaded (init), so the child's memory, allocator and locks are consistent.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(child.as_raw()),
        ForkResult::Child => {
            reports.tell(become_child(prepared, descriptors, parent, &argv, &envp));
            // SAFETY: _exit ends the process at once, without the parent's destructors.
            unsafe { libc::_exit(127) }
        }
    }
}

fn pointers(strings: &[CString]) -> Vec<*const libc::c_char> {
    strings.iter().map(|string| string.as_ptr()).chain([std::ptr::null()]).collect()
}

/// What could not be done, in the child, before exec or by it.
#[derive(Debug, Clone, Copy)]
#[repr(u8)]
enum Act {
    Prepare = 0,
    Become = 1,
    Enter = 2,
    Exec = 3,
}

/// Only returns if it failed.
fn become_child(
    prepared: &Prepared,
    descriptors: &Descriptors<'_>,
    parent: Pid,
    argv: &[*const libc::c_char],
    envp: &[*const libc::c_char],
) -> (Act, Errno) {
    if let Err(errno) = detach(prepared, descriptors).and_then(|()| prepared.allowance.take_on()) {
        return (Act::Prepare, errno);
    }
    if let Err(errno) = change_identity(prepared) {
        return (Act::Become, errno);
    }
    // After the change of identity, which clears it. The parent may have died meanwhile: then nobody would tell us.
    if prctl::set_pdeathsig(prepared.parent_death).is_err() || getppid() != parent {
        return (Act::Prepare, Errno::ESRCH);
    }
    if let Some(Err(errno)) = prepared.folder.as_ref().map(|folder| chdir(folder.as_c_str())) {
        return (Act::Enter, errno);
    }
    // SAFETY: the pointers are to strings that `prepared` owns, each list ends in null.
    unsafe { libc::execve(prepared.program.as_ptr(), argv.as_ptr(), envp.as_ptr()) };
    (Act::Exec, Errno::last())
}

fn detach(prepared: &Prepared, descriptors: &Descriptors<'_>) -> Result<(), Errno> {
    if prepared.new_session {
        setsid()?;
    } else {
        setpgid(Pid::from_raw(0), Pid::from_raw(0))?;
    }
    default_signals()?;
    let null = open(c"/dev/null", OFlag::O_RDWR | OFlag::O_CLOEXEC, Mode::empty())?;
    dup2_stdin(&null)?;
    if let Some(output) = descriptors.output {
        dup2_stdout(output)?;
        dup2_stderr(output)?;
    }
    // SAFETY: closes nothing now; marks every descriptor from 3 on to be closed by exec.
    let closed = unsafe { libc::syscall(libc::SYS_close_range, 3u32, u32::MAX, libc::CLOSE_RANGE_CLOEXEC) };
    Errno::result(closed)?;
    if let Some(third) = descriptors.third {
        third_descriptor(third)?;
    }
    // SAFETY: umask cannot fail and touches this process only.
    unsafe { libc::umask(0o022) };
    Ok(())
}

fn third_descriptor(third: BorrowedFd<'_>) -> Result<(), Errno> {
    if third.as_raw_fd() == 3 {
        // SAFETY: 3 is open; this clears its close-on-exec flag.
        return Errno::result(unsafe { libc::fcntl(3, libc::F_SETFD, 0) }).map(drop);
    }
    // SAFETY: whatever 3 was belongs to the parent's copy and would have been closed by exec.
    Errno::result(unsafe { libc::dup2(third.as_raw_fd(), 3) }).map(drop)
}

fn default_signals() -> Result<(), Errno> {
    // The kernel's own form of an action, all zero: the default, no flags, an empty mask.
    let default = [0u64; 4];
    for number in 1..=64 {
        // Not by the library, which keeps two signals to itself. What has no other action (SIGKILL, SIGSTOP) refuses.
        // SAFETY: the kernel only reads `default`, which is as large as its form; the default runs no code of ours.
        unsafe { libc::syscall(libc::SYS_rt_sigaction, number, default.as_ptr(), std::ptr::null::<u64>(), 8usize) };
    }
    sigprocmask(SigmaskHow::SIG_SETMASK, Some(&SigSet::empty()), None)
}

fn change_identity(prepared: &Prepared) -> Result<(), Errno> {
    if let Some(identity) = &prepared.identity {
        let groups: Vec<Gid> = identity.groups.iter().map(|gid| Gid::from_raw(*gid)).collect();
        setgroups(&groups)?;
        let (uid, gid) = (Uid::from_raw(identity.uid), Gid::from_raw(identity.gid));
        nix::unistd::setresgid(gid, gid, gid)?;
        nix::unistd::setresuid(uid, uid, uid)?;
    }
    if prepared.no_new_privs {
        prctl::set_no_new_privs()?;
    }
    Ok(())
}

/// Why a child never ran.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Failure {
    act: u8,
    errno: Errno,
}

impl Failure {
    pub fn text(self, program: &str, folder: &str) -> String {
        let why = self.errno.desc().to_lowercase();
        match self.act {
            0 => format!("cannot prepare a process for {program}: {why}"),
            1 => format!("cannot become the space's user for {program}: {why}"),
            2 => format!("cannot enter the folder {folder}: {why}"),
            _ => format!("cannot execute {program}: {why}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::child::ChildLimits;
    use crate::sys::limits::Start;
    use nix::sys::wait::{WaitStatus, waitpid};

    fn prepared(program: &str, arg: &str) -> Prepared {
        let limits = ChildLimits { open_files: Some(77), processes: Some(u64::MAX - 1) };
        let allowance = Start::read().child(limits, Some(321));
        Prepared {
            program: c_string(program).unwrap(),
            argv: vec![c_string(program).unwrap(), c_string("-c").unwrap(), c_string(arg).unwrap()],
            envp: vec![c_string("PATH=/usr/bin:/bin").unwrap()],
            folder: Some(c_string("/").unwrap()),
            allowance,
            identity: None,
            new_session: true,
            no_new_privs: true,
            parent_death: Signal::SIGKILL,
        }
    }

    fn run(prepared: &Prepared) -> (WaitStatus, Option<String>) {
        let reports = Reports::new().unwrap();
        let pid = spawn(prepared, &Descriptors { output: None, third: None }, &reports).unwrap();
        let status = waitpid(Pid::from_raw(pid), None).unwrap();
        let failure = reports.next().map(|(told, failure)| {
            assert_eq!(told, pid);
            failure.text(&prepared.program.to_string_lossy(), "/")
        });
        (status, failure)
    }

    #[test]
    fn a_child_has_three_descriptors_its_own_session_and_its_exit_code() {
        // `[` is built into the shell: what it sees in /proc/self is what the shell was given.
        let script = "for n in 3 4 5 6 7 8 9 10 11 12; do [ -e /proc/self/fd/$n ] && exit 10; done; \
                      [ $(cut -d' ' -f6 /proc/$$/stat) = $$ ] || exit 11; exit 42";
        let (status, failure) = run(&prepared("/bin/sh", script));
        assert!(matches!(status, WaitStatus::Exited(_, 42)), "{status:?}");
        assert_eq!(failure, None);
    }

    #[test]
    fn a_child_begins_with_its_own_limits_default_signals_and_a_clean_environment() {
        // A shell blocks signals for a moment while it waits; what it starts has what it was given.
        let script = "[ $(ulimit -Hn):$(ulimit -Sn) = 77:77 ] || exit 10; [ $(umask) = 0022 ] || exit 11; \
                      [ $(cat /proc/$$/oom_score_adj) = 321 ] || exit 12; \
                      [ $(tr '\\0' ' ' < /proc/$$/environ) = PATH=/usr/bin:/bin ] || exit 13; \
                      grep -q '^SigIgn:[[:space:]]*0*$' /proc/self/status || exit 14; \
                      grep -q '^SigBlk:[[:space:]]*0*$' /proc/self/status || exit 15; \
                      grep -q '^NoNewPrivs:[[:space:]]*1$' /proc/$$/status || exit 16";
        let (status, failure) = run(&prepared("/bin/sh", script));
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
        assert_eq!(failure, None);
    }

    #[test]
    fn a_program_that_is_not_there_is_told_with_its_name() {
        let (_, failure) = run(&prepared("/no/such/program", ""));
        assert_eq!(failure.unwrap(), "cannot execute /no/such/program: no such file or directory");
    }

    #[test]
    fn a_child_becomes_its_user_with_exactly_its_groups() {
        if crate::sys::account::own().0 != 0 {
            println!("not here: only root can become somebody else");
            return;
        }
        let script = "[ $(id -u):$(id -g) = 61234:61235 ] && [ \"$(id -G)\" = '61235 61236 61237' ] || exit 1; \
                      grep -q '^CapEff:[[:space:]]*0*$' /proc/$$/status || exit 2";
        let identity = Identity { uid: 61_234, gid: 61_235, groups: vec![61_236, 61_237] };
        let (status, _) = run(&Prepared { identity: Some(identity), ..prepared("/bin/sh", script) });
        assert!(matches!(status, WaitStatus::Exited(_, 0)), "{status:?}");
    }
}
