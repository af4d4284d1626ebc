//! Helpers: short programs that a step runs for itself (git, pip). Unlike apps and steps they belong to whoever
//! started them and must not outlive it, so each gets SIGKILL when its parent dies.

use super::clock;
use crate::model::now::Monotonic;
use nix::sys::prctl;
use nix::sys::signal::Signal;
use nix::unistd::{Pid, geteuid, getpid, getppid};
use std::ffi::OsStr;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread;
use std::time::Duration;

/// Between two looks whether a helper that says nothing more has ended.
const LOOK: Duration = Duration::from_millis(2);

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

/// Has the command run as somebody else, in no group but this one, and without a way to gain rights. Only root can have
/// it become another than itself.
pub fn as_user(command: &mut Command, uid: u32, gid: u32) {
    if geteuid().as_raw() != uid {
        // Gives up the other groups too.
        command.uid(uid).gid(gid);
    }
    // SAFETY: between fork and exec the closure makes one system call and allocates nothing.
    unsafe { command.pre_exec(|| Ok(prctl::set_no_new_privs()?)) };
}

/// What a helper has said.
#[derive(Debug)]
pub struct Told {
    /// Standard output, as far as it came.
    pub output: Vec<u8>,
    /// `None`: it was killed, since it took too long or said too much.
    pub ended: Option<ExitStatus>,
}

impl Told {
    /// It ended by itself, and well.
    pub fn well(&self) -> bool {
        self.ended.is_some_and(|status| status.success())
    }
}

/// Runs the command with this input. It is killed when it says more than `largest` bytes or has not ended `within`; this
/// returns then, also if the kernel cannot end it (a disk hangs). Blocking.
pub fn ask(command: &mut Command, input: Vec<u8>, largest: usize, within: Duration) -> io::Result<Told> {
    let deadline = clock::monotonic().plus(within);
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = spawn(command)?;
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (sender, received) = sync_channel(4);
    let talk = move || {
        // A helper that does not read it says or shows why.
        let _ = stdin.map(|mut stdin| stdin.write_all(&input));
        pass_on(stdout, &sender);
    };
    let talking = thread::Builder::new().name("helper".into()).spawn(talk);
    let mut output = Vec::new();
    let whole = talking.is_ok() && listen(&received, &mut output, largest, deadline);
    let ended = if whole { wait(&mut child, deadline)? } else { None };
    if ended.is_none() {
        let _ = child.kill();
        // The kernel may take its time to end it; nobody waits for that.
        let _ = thread::Builder::new().name("helper".into()).spawn(move || child.wait());
    }
    talking.map(|_| Told { output, ended })
}

/// To the end of the output, or until nobody listens.
fn pass_on(output: Option<impl Read>, to: &SyncSender<Vec<u8>>) {
    let mut chunk = vec![0; 64 * 1024];
    let Some(mut output) = output else { return };
    while let Ok(length @ 1..) = output.read(&mut chunk) {
        if to.send(chunk[..length].to_vec()).is_err() {
            return;
        }
    }
}

/// True at the end of the output; false if it is too long or comes too late.
fn listen(from: &Receiver<Vec<u8>>, output: &mut Vec<u8>, largest: usize, deadline: Monotonic) -> bool {
    loop {
        match from.recv_timeout(deadline.since(clock::monotonic())) {
            Ok(chunk) => output.extend(chunk),
            Err(RecvTimeoutError::Disconnected) => return true,
            Err(RecvTimeoutError::Timeout) => return false,
        }
        if output.len() > largest {
            output.truncate(largest);
            return false;
        }
    }
}

/// For the end of a helper that has closed its output.
fn wait(child: &mut Child, deadline: Monotonic) -> io::Result<Option<ExitStatus>> {
    loop {
        let ended = child.try_wait()?;
        if ended.is_some() || clock::monotonic() >= deadline {
            return Ok(ended);
        }
        super::pause(LOOK);
    }
}

fn die_with(parent: Pid) -> io::Result<()> {
    prctl::set_pdeathsig(Signal::SIGKILL)?;
    // The parent may have died before the line above; then nobody would ever send the signal.
    if getppid() == parent { Ok(()) } else { Err(io::Error::from_raw_os_error(nix::libc::ESRCH)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, largest: usize, within: Duration) -> Told {
        ask(command("/bin/sh").args(["-c", script]), b"some input".to_vec(), largest, within).unwrap()
    }

    #[test]
    fn a_helper_is_heard_and_its_end_is_known() {
        let told = sh("cat; echo -n .; exit 3", 100, Duration::from_secs(60));
        assert_eq!((told.output.as_slice(), told.ended.and_then(|ended| ended.code())), (&b"some input."[..], Some(3)));
        assert!(!told.well() && sh("", 0, Duration::from_secs(60)).well());
    }

    #[test]
    fn a_helper_that_takes_too_long_or_says_too_much_is_ended_and_what_it_said_remains() {
        let begun = clock::monotonic();
        let told = sh("echo -n early; exec sleep 600", 100, Duration::from_millis(500));
        assert_eq!((told.output.as_slice(), told.ended), (&b"early"[..], None));
        let told = sh("exec 1>&-; exec sleep 600", 100, Duration::from_millis(200));
        assert_eq!((told.output.as_slice(), told.ended), (&b""[..], None));
        let told = sh("yes", 1000, Duration::from_secs(600));
        assert_eq!((told.output.len(), told.ended), (1000, None));
        assert!(clock::monotonic().since(begun) < Duration::from_secs(300));
    }

    #[test]
    fn who_runs_as_somebody_else_has_no_rights_but_theirs() {
        if geteuid().as_raw() != 0 {
            println!("not here: only root can become somebody else");
            return;
        }
        let mut id = command("/bin/sh");
        id.args(["-c", "id -u; id -g; id -G; grep -E '^(NoNewPrivs|CapEff)' /proc/self/status"]);
        as_user(&mut id, 61_234, 61_235);
        let told = ask(&mut id, Vec::new(), 1000, Duration::from_secs(60)).unwrap();
        let expected = "61234\n61235\n61235\nCapEff:\t0000000000000000\nNoNewPrivs:\t1\n";
        assert_eq!(String::from_utf8(told.output).unwrap(), expected);
    }
}
