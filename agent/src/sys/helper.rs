//! Helpers: short programs that a step runs for itself (git, pip). Unlike apps and steps they belong to whoever
//! started them and must not outlive it, so each gets SIGKILL when its parent dies.

use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, getpid, getppid};
use std::ffi::OsStr;
use std::io;
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};

/// A command that dies with its parent: with the *thread* that starts it, as the kernel counts it. Standard input is
/// closed. Starting it from a thread that ends early kills it.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    let parent = getpid();
    command.stdin(Stdio::null());
    // SAFETY: between fork and exec the closure makes two system calls and allocates nothing.
    unsafe { command.pre_exec(move || die_with(parent)) };
    command
}

#[allow(clippy::disallowed_methods, reason = "this is the one place where helpers are spawned")]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above; then nobody would ever send the signal.
    if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
}
