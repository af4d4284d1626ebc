//! Running programs in tests: always with a deadline, always ended.

use std::io::{self, Write};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

/// What a finished program left.
#[derive(Debug, Clone)]
pub struct Done {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
    pub took: Duration,
}

impl Done {
    /// The exit code; a program that was killed has none and fails the test.
    pub fn code(&self) -> i32 {
        self.status.code().unwrap_or_else(|| panic!("it was killed: {}\n{}", self.status, self.stderr))
    }
}

/// Starts a program without input and output.
pub fn spawn_quiet(command: &mut Command) -> io::Result<Child> {
    spawn(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()))
}

/// Starts a program. The only place in the tests that does.
#[expect(clippy::disallowed_methods, reason = "the test process has no reaper but its own wait calls")]
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    command.spawn()
}

/// Puts a script at `path` that can be run at once.
///
/// This process must not write it itself: what another test starts at that moment has a copy of every descriptor until
/// it has become another program, and a file that anybody can write to is not executed (`ETXTBSY`).
pub fn put_script(path: &Path, text: &str) {
    let mut write = Command::new("sh");
    write.args(["-c", "cat >\"$0\" && chmod 755 \"$0\""]).arg(path).stdin(Stdio::piped());
    let mut child = spawn(&mut write).unwrap_or_else(|error| panic!("cannot start {write:?}: {error}"));
    child.stdin.take().expect("it has a pipe").write_all(text.as_bytes()).expect("the shell reads");
    assert!(child.wait().is_ok_and(|status| status.success()), "cannot write {}", path.display());
}

/// Copies a program, as [`put_script`] puts one.
pub fn copy_program(from: &Path, to: &Path) {
    let mut copy = Command::new("cp");
    let child = spawn(copy.arg(from).arg(to));
    let status = child.and_then(|mut child| child.wait());
    assert!(status.is_ok_and(|status| status.success()), "cannot copy {} to {}", from.display(), to.display());
}

/// Runs a program to its end and returns what it printed; past the deadline it is killed and the test fails.
#[expect(clippy::disallowed_methods, reason = "the test process has no reaper but tokio's; killed when dropped")]
pub async fn run(command: Command, deadline: Duration) -> Done {
    let told = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
    let begin = tokio::time::Instant::now();
    let child = command.spawn().unwrap_or_else(|error| panic!("cannot start {told}: {error}"));
    let output = tokio::time::timeout(deadline, child.wait_with_output()).await;
    let output = output.unwrap_or_else(|_| panic!("{told} did not end within {deadline:?}"));
    let output = output.expect("the output of a child can be read");
    Done {
        status: output.status,
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        took: begin.elapsed(),
    }
}
