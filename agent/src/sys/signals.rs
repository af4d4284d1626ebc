//! Signals of this process: dispositions it was started with, or changes for itself, and the terminal that sends some.
//! Children get the defaults (spawn).

use nix::fcntl::{OFlag, open};
use nix::libc;
use nix::sys::signal::{SigHandler, Signal, signal};
use nix::sys::stat::Mode;
use std::io;
use std::mem::MaybeUninit;

/// Whether whoever started this process had it ignore the signal, as `nohup` does with SIGHUP.
pub fn is_ignored(signal: Signal) -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: only reads the disposition into memory of the right size; a zeroed sigaction is a valid one.
    let (result, action) = unsafe {
        let result = libc::sigaction(signal as i32, std::ptr::null(), action.as_mut_ptr());
        (result, action.assume_init())
    };
    result == 0 && action.sa_sigaction == libc::SIG_IGN
}

/// Whether this process has a controlling terminal: then SIGHUP says that it has been closed.
pub fn have_terminal() -> bool {
    let flags = OFlag::O_RDONLY | OFlag::O_NOCTTY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    open("/dev/tty", flags, Mode::empty()).is_ok()
}

/// Lets this process, which is not in the terminal's foreground group, write to it all the same (`stty tostop`).
pub fn ignore_terminal_stop() -> io::Result<()> {
    // SAFETY: ignoring runs no code of ours.
    unsafe { signal(Signal::SIGTTOU, SigHandler::SigIgn) }?;
    Ok(())
}

/// Keeps other processes of the same user from reading this one's memory and descriptors.
pub fn forbid_inspection() -> io::Result<()> {
    Ok(nix::sys::prctl::set_dumpable(false)?)
}
