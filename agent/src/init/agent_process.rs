//! The agent, as init sees it: one child that is started again when it crashes.

use super::AgentCommand;
use crate::model::child::Exit;
use crate::model::now::Monotonic;
use crate::sys::link::{self, ToAgent};
use crate::sys::spawn::{self, Descriptors, Failure, Prepared};
use nix::sys::signal::Signal;
use std::collections::VecDeque;
use std::ffi::{CStr, NulError};
use std::io::{self, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::time::Duration;

/// The exit codes with which an agent says that the space has ended (DESIGN §4); anything else is a crash.
const CODES: [i32; 7] = [0, 1, 2, 3, 4, 5, 78];

/// The code with which init leaves when the agent crashed too often.
const CRASHED_TOO_OFTEN: u8 = 5;

/// The argument that makes an agent end what runs, clean up, and leave.
const CLEAN_UP: &CStr = c"--clean-up";

const LONGEST_BACKOFF: Duration = Duration::from_secs(60);

/// An agent that lived this long was healthy: the backoff begins anew.
const HEALTHY: Duration = Duration::from_secs(60);

#[derive(Debug)]
pub(super) struct AgentProcess {
    prepared: Prepared,
    state: State,
    socket: Option<OwnedFd>,
    /// The present agent has had its welcome: before that it is told nothing.
    greeted: bool,
    starts: u32,
    crashes: VecDeque<Monotonic>,
    backoff: Duration,
    max: usize,
    within: Duration,
    /// Whether it crashed too often; one last agent then ends what runs, and cleans up.
    gave_up: GaveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GaveUp {
    No,
    Now,
    CleanerRuns,
}

#[derive(Debug)]
enum State {
    Due(Monotonic),
    /// `failure` tells why it never ran, if it didn't.
    Running {
        pid: i32,
        since: Monotonic,
        failure: Option<OwnedFd>,
    },
}

pub(super) enum Fate {
    /// The space has ended with this code.
    Leave(u8),
    StartAgain,
}

impl AgentProcess {
    pub(super) fn new(command: AgentCommand) -> io::Result<AgentProcess> {
        let nul = |_: NulError| io::Error::new(io::ErrorKind::InvalidInput, "an argument holds a zero byte");
        let program = spawn::c_path(&command.binary).map_err(nul)?;
        let mut argv = vec![program.clone()];
        for arg in &command.args {
            argv.push(spawn::c_string(arg.as_bytes()).map_err(nul)?);
        }
        let mut envp = Vec::new();
        for (name, value) in std::env::vars_os() {
            let mut entry = name.into_vec();
            entry.push(b'=');
            entry.extend(value.into_vec());
            envp.push(spawn::c_string(entry).map_err(nul)?);
        }
        let prepared = Prepared {
            program,
            argv,
            envp,
            folder: None,
            identity: None,
            new_session: false,
            no_new_privs: false,
            parent_death: Signal::SIGTERM,
        };
        Ok(AgentProcess {
            prepared,
            state: State::Due(Monotonic(0)),
            socket: None,
            greeted: false,
            starts: 0,
            crashes: VecDeque::new(),
            backoff: Duration::ZERO,
            max: 5,
            within: Duration::from_secs(600),
            gave_up: GaveUp::No,
        })
    }

    pub(super) fn set_policy(&mut self, max: u32, within: Duration) {
        self.max = max as usize;
        self.within = within;
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        self.socket.as_ref()
    }

    /// The socket, once the agent can be told news.
    pub(super) fn listener(&self) -> Option<&OwnedFd> {
        self.socket.as_ref().filter(|_| self.greeted)
    }

    pub(super) fn greeted(&mut self) {
        self.greeted = true;
    }

    pub(super) fn hang_up(&mut self) {
        self.socket = None;
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    pub(super) fn is(&self, pid: i32) -> bool {
        matches!(self.state, State::Running { pid: own, .. } if own == pid)
    }

    pub(super) fn send(&self, message: &ToAgent, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
        match &self.socket {
            Some(socket) => link::send(socket, message, fd),
            None => Ok(()),
        }
    }

    /// Asked to stop: an agent that waits for its backoff is started at once, to end the space in order.
    pub(super) fn stop_asked(&mut self) {
        if let State::Due(when) = &mut self.state {
            *when = Monotonic(0);
        }
    }

    /// How long until the agent is to be started again; `None` while it runs.
    pub(super) fn due_in(&self, now: Monotonic) -> Option<Duration> {
        match self.state {
            State::Due(when) => Some(when.since(now)),
            State::Running { .. } => None,
        }
    }

    /// Starts the agent if it is time to; the code to leave with if it crashed too often.
    pub(super) fn start_if_due(&mut self, now: Monotonic) -> io::Result<Option<u8>> {
        if !matches!(self.state, State::Due(when) if when <= now) {
            return Ok(None);
        }
        match self.gave_up {
            GaveUp::No => {}
            GaveUp::Now => {
                // Behind the program and `agent`, before anything that is a document's name.
                self.prepared.argv.insert(2, CLEAN_UP.to_owned());
                self.gave_up = GaveUp::CleanerRuns;
            }
            GaveUp::CleanerRuns => return Ok(Some(CRASHED_TOO_OFTEN)),
        }
        let (ours, theirs) = link::pair()?;
        let child = spawn::spawn(&self.prepared, &Descriptors { output: None, third: Some(theirs.as_fd()) })?;
        self.socket = Some(ours);
        self.greeted = false;
        self.starts += 1;
        self.state = State::Running { pid: child.pid, since: now, failure: Some(child.failure) };
        Ok(None)
    }

    pub(super) fn ended(&mut self, exit: &Exit, now: Monotonic) -> Fate {
        let State::Running { since, failure, .. } = std::mem::replace(&mut self.state, State::Due(now)) else {
            return Fate::StartAgain;
        };
        self.socket = None;
        if self.gave_up == GaveUp::CleanerRuns {
            return Fate::Leave(CRASHED_TOO_OFTEN);
        }
        self.tell_failure(failure);
        if let Exit::Code(code) = exit
            && CODES.contains(code)
        {
            return Fate::Leave(u8::try_from(*code).unwrap_or(1));
        }
        let wait = self.after_crash(since, now);
        self.state = State::Due(now.plus(wait));
        Fate::StartAgain
    }

    fn tell_failure(&self, failure: Option<OwnedFd>) {
        let program = self.prepared.program.to_string_lossy();
        if let Some(Ok(Some(failure))) = failure.map(|failure| Failure::read(&failure, &program, "/")) {
            say(&format!("the agent could not be started: {}", failure.into_text()));
        }
    }

    /// At once, then after 1 s doubling to 60 s.
    fn after_crash(&mut self, since: Monotonic, now: Monotonic) -> Duration {
        if now.since(since) >= HEALTHY {
            self.backoff = Duration::ZERO;
        }
        self.crashes.push_back(now);
        while self.crashes.front().is_some_and(|crash| now.since(*crash) > self.within) {
            self.crashes.pop_front();
        }
        if self.crashes.len() > self.max {
            self.gave_up = GaveUp::Now;
            let (times, within, max) = (self.crashes.len(), self.within.as_secs(), self.max);
            say(&format!(
                "the agent crashed {times} times within {within} s (agent.restart allows {max}); the space ends"
            ));
            return Duration::ZERO;
        }
        let wait = self.backoff;
        self.backoff = (self.backoff * 2).clamp(Duration::from_secs(1), LONGEST_BACKOFF);
        wait
    }
}

/// To standard error, if somebody reads it.
fn say(message: &str) {
    let _ = writeln!(io::stderr(), "space-agent: {message}");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running() -> AgentProcess {
        let command = AgentCommand { binary: "/bin/true".into(), args: Vec::new() };
        let mut agent = AgentProcess::new(command).unwrap();
        agent.state = State::Running { pid: 1, since: Monotonic(0), failure: None };
        agent
    }

    #[test]
    fn an_exit_code_of_the_space_ends_it_and_everything_else_is_a_crash() {
        for code in CODES {
            assert!(
                matches!(running().ended(&Exit::Code(code), Monotonic(5)), Fate::Leave(left) if i32::from(left) == code)
            );
        }
        for exit in [Exit::Signal(9), Exit::Code(101), Exit::Code(127)] {
            assert!(matches!(running().ended(&exit, Monotonic(5)), Fate::StartAgain));
        }
    }

    #[test]
    fn a_crashed_agent_comes_back_at_once_then_after_a_doubling_wait_until_init_gives_up() {
        let mut agent = running();
        let mut waits = Vec::new();
        for _ in 0..5 {
            agent.state = State::Running { pid: 1, since: Monotonic(1000), failure: None };
            agent.ended(&Exit::Signal(9), Monotonic(2000));
            waits.push(agent.due_in(Monotonic(2000)).unwrap().as_secs());
            assert_eq!(agent.gave_up, GaveUp::No);
        }
        assert_eq!(waits, [0, 1, 2, 4, 8]);
        agent.state = State::Running { pid: 1, since: Monotonic(1000), failure: None };
        agent.ended(&Exit::Signal(9), Monotonic(2000));
        assert_eq!((agent.gave_up, agent.due_in(Monotonic(2000))), (GaveUp::Now, Some(Duration::ZERO)));
        agent.gave_up = GaveUp::CleanerRuns;
        agent.state = State::Running { pid: 1, since: Monotonic(2000), failure: None };
        let fate = agent.ended(&Exit::Code(0), Monotonic(2100));
        assert!(matches!(fate, Fate::Leave(CRASHED_TOO_OFTEN)));
    }

    #[test]
    fn old_crashes_are_forgotten_and_health_resets_the_backoff() {
        let mut agent = running();
        for minute in 0..20 {
            agent.state = State::Running { pid: 1, since: Monotonic(minute * 200_000), failure: None };
            agent.ended(&Exit::Signal(11), Monotonic((minute + 1) * 200_000));
            assert_eq!(agent.gave_up, GaveUp::No);
            assert_eq!(agent.due_in(Monotonic((minute + 1) * 200_000)), Some(Duration::ZERO));
        }
    }
}
