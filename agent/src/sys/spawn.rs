//! Starting a process, as init does it: fork, become who it shall be, exec.
//!
//! init forks on the agent's request (the other way, `clone3(CLONE_PARENT)` in the agent, leaves a moment in which a
//! killed agent has made a child that init cannot name). init is single-threaded, so the child may run ordinary code
//! between fork and exec; it still only makes system calls on what was prepared before. The child tells a failure over
//! a pipe that exec closes: the parent reads `Failure` or end of file, and never blocks on it.

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::prctl;
use nix::sys::signal::{SaFlags, SigAction, SigHandler, SigSet, SigmaskHow, Signal, sigaction, sigprocmask};
use nix::sys::stat::Mode;
use nix::unistd::{
    ForkResult, Gid, Pid, Uid, chdir, dup2_stderr, dup2_stdin, dup2_stdout, fork, getppid, pipe2, setgroups, setpgid,
    setsid,
};
use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// What to start; everything prepared, nothing left to allocate after the fork.
#[derive(Debug)]
pub struct Prepared {
    pub program: CString,
    pub argv: Vec<CString>,
    pub envp: Vec<CString>,
    pub folder: Option<CString>,
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

/// A child, from the parent's point of view.
#[derive(Debug)]
pub struct Child {
    pub pid: i32,
    /// Readable: end of file once exec has succeeded, else one [`Failure`].
    pub failure: OwnedFd,
}

/// `text` as a C string; an error if it holds a zero byte.
pub fn c_string(text: impl AsRef<[u8]>) -> Result<CString, NulError> {
    CString::new(text.as_ref())
}

pub fn c_path(path: &Path) -> Result<CString, NulError> {
    CString::new(path.as_os_str().as_bytes())
}

/// Forks and execs. Returns as soon as the child exists.
pub fn spawn(prepared: &Prepared, descriptors: &Descriptors<'_>) -> io::Result<Child> {
    let (failure, report) = pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK)?;
    let parent = nix::unistd::getpid();
    let argv = pointers(&prepared.argv);
    let envp = pointers(&prepared.envp);
    // SAFETY: the caller is single-threaded (init), so the child's memory, allocator and locks are consistent.
    match unsafe { fork() }? {
        ForkResult::Parent { child } => Ok(Child { pid: child.as_raw(), failure }),
        ForkResult::Child => {
            let error = become_child(prepared, descriptors, parent, &argv, &envp);
            tell(&report, error);
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
    if let Err(errno) = detach(prepared, descriptors) {
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
    let default = SigAction::new(SigHandler::SigDfl, SaFlags::empty(), SigSet::empty());
    for signal in Signal::iterator().filter(|signal| !matches!(signal, Signal::SIGKILL | Signal::SIGSTOP)) {
        // SAFETY: the default action runs no code of ours.
        unsafe { sigaction(signal, &default) }?;
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

fn tell(report: &OwnedFd, (act, errno): (Act, Errno)) {
    let code = (errno as i32).to_le_bytes();
    let message = [act as u8, code[0], code[1], code[2], code[3]];
    // Nobody to tell if this fails: the exit code 127 remains.
    let _ = nix::unistd::write(report, &message);
}

/// Why a child never ran.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure(String);

impl Failure {
    /// Reads what the child told: `None` if exec succeeded (end of file), an error of kind `WouldBlock` if it is not known yet.
    pub fn read(from: &OwnedFd, program: &str, folder: &str) -> io::Result<Option<Failure>> {
        let mut message = [0; 5];
        let length = nix::unistd::read(from, &mut message)?;
        if length < message.len() {
            return Ok(None);
        }
        let errno = Errno::from_raw(i32::from_le_bytes([message[1], message[2], message[3], message[4]]));
        let why = errno.desc().to_lowercase();
        Ok(Some(Failure(match message[0] {
            0 => format!("cannot prepare a process for {program}: {why}"),
            1 => format!("cannot become the space's user for {program}: {why}"),
            2 => format!("cannot enter the folder {folder}: {why}"),
            _ => format!("cannot execute {program}: {why}"),
        })))
    }

    pub fn into_text(self) -> String {
        self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use nix::sys::wait::{WaitStatus, waitpid};

    fn prepared(program: &str, arg: &str) -> Prepared {
        Prepared {
            program: c_string(program).unwrap(),
            argv: vec![c_string(program).unwrap(), c_string("-c").unwrap(), c_string(arg).unwrap()],
            envp: vec![c_string("PATH=/usr/bin:/bin").unwrap()],
            folder: Some(c_string("/").unwrap()),
            identity: None,
            new_session: true,
            no_new_privs: true,
            parent_death: Signal::SIGKILL,
        }
    }

    fn run(prepared: &Prepared) -> (WaitStatus, Option<Failure>) {
        let child = spawn(prepared, &Descriptors { output: None, third: None }).unwrap();
        let status = waitpid(Pid::from_raw(child.pid), None).unwrap();
        (status, Failure::read(&child.failure, &prepared.program.to_string_lossy(), "/").unwrap())
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
    fn a_program_that_is_not_there_is_told_with_its_name() {
        let (_, failure) = run(&prepared("/no/such/program", ""));
        assert_eq!(failure.unwrap().into_text(), "cannot execute /no/such/program: no such file or directory");
    }
}
