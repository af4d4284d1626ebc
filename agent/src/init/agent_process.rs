//! The agent, as init sees it: one child that is started again when it crashes, and replaced when it is asked to be.
//!
//! The binary at the configured path is run. When that cannot be executed, or its agent ends before it has greeted, or
//! comes back as a loop of crashes after an upgrade, init goes on with the binary that it runs itself.

use super::AgentCommand;
use super::ground::Ground;
use super::patience::{Patience, no_room};
use super::restarts::{HEALTHY, Restarts};
use crate::model::child::Exit;
use crate::model::now::Monotonic;
use crate::sys::link::{self, HANDED_OVER};
use crate::sys::program;
use crate::sys::spawn::{self, Descriptors, Failure, Prepared};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use std::ffi::{CStr, OsStr, OsString};
use std::io::{self, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

/// The exit codes with which an agent says that the space has ended (DESIGN §4); anything else is a crash.
const CODES: [i32; 7] = [0, 1, 2, 3, 4, 5, 78];

/// The code with which init leaves when the agent crashed too often.
pub(super) const CRASHED_TOO_OFTEN: u8 = 5;

/// The argument that makes an agent end what runs, clean up, and leave.
const CLEAN_UP: &CStr = c"--clean-up";

/// How long an agent that is replaced has to hand over.
const HAND_OVER: Duration = Duration::from_secs(2);

/// So many crashes of a new binary, without health between them, and init goes back to its own.
const TRIALS: u32 = 3;

#[derive(Debug)]
pub(super) struct AgentProcess {
    prepared: Prepared,
    /// What is executed next.
    program: Program,
    /// How often the binary of the last upgrade has crashed; `None` once it has been healthy, and before any upgrade.
    trial: Option<u32>,
    state: State,
    starts: u32,
    restarts: Restarts,
    patience: Patience,
    gave_up: GaveUp,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Program {
    Configured,
    /// What init itself runs.
    Own,
}

/// Whether it crashed too often; one last agent then ends what runs, and cleans up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum GaveUp {
    No,
    Now,
    CleanerRuns,
}

#[derive(Debug)]
enum State {
    Due(Monotonic),
    Running(Running),
}

#[derive(Debug)]
pub(super) struct Running {
    pid: i32,
    since: Monotonic,
    pub(super) socket: Option<OwnedFd>,
    pub(super) met: Met,
    /// Which of init's messages it knows (see [`link::MINOR`]).
    pub(super) minor: u32,
    pub(super) replaced: Replaced,
    /// Why it never ran, if it didn't.
    failure: Option<Failure>,
}

/// How far the introduction has come. Before it is over, the agent is told nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Met {
    Silent,
    Greeted,
    /// It has been welcomed, and knows so many of the kept descriptors.
    Welcomed(usize),
    Introduced,
}

/// Whether the agent is to make room for its successor, and when it is made to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Replaced {
    No,
    Untold(Monotonic),
    Told(Monotonic),
    Killed,
}

pub(super) enum Fate {
    /// The space has ended with this code.
    Leave(u8),
    StartAgain,
}

impl AgentProcess {
    pub(super) fn new(command: &AgentCommand, ground: &Ground) -> io::Result<AgentProcess> {
        let env: Vec<(OsString, OsString)> = std::env::vars_os().collect();
        let variables = env.iter().map(|(name, value)| (name.as_os_str(), value.as_os_str()));
        let prepared = ground.agent(&command.binary, command.args.iter().map(OsStr::new), variables)?;
        Ok(AgentProcess {
            prepared,
            program: Program::Configured,
            trial: None,
            state: State::Due(Monotonic(0)),
            starts: 0,
            restarts: Restarts::default(),
            patience: Patience::default(),
            gave_up: GaveUp::No,
        })
    }

    pub(super) fn set_policy(&mut self, max: u32, within: Duration) {
        self.restarts.set_policy(max, within);
    }

    pub(super) fn running(&mut self) -> Option<&mut Running> {
        match &mut self.state {
            State::Running(running) => Some(running),
            State::Due(_) => None,
        }
    }

    pub(super) fn socket(&self) -> Option<&OwnedFd> {
        match &self.state {
            State::Running(running) => running.socket.as_ref(),
            State::Due(_) => None,
        }
    }

    /// It is told nothing more, and asked nothing: its end decides.
    pub(super) fn hang_up(&mut self) {
        if let Some(running) = self.running() {
            running.socket = None;
        }
    }

    pub(super) fn starts(&self) -> u32 {
        self.starts
    }

    pub(super) fn is(&self, pid: i32) -> bool {
        matches!(&self.state, State::Running(running) if running.pid == pid)
    }

    /// Whether it will do nothing but end what runs.
    pub(super) fn gave_up(&self) -> bool {
        self.gave_up != GaveUp::No
    }

    /// Whether a stop is answered: the first release's agents do not know how.
    pub(super) fn answers(&self) -> bool {
        !matches!(&self.state, State::Running(running) if running.met != Met::Silent && running.minor == 0)
    }

    /// An agent that waits for its backoff is started at once, to end the space in order or as the next version.
    pub(super) fn hurry(&mut self) {
        if let State::Due(when) = &mut self.state {
            *when = Monotonic(0);
        }
    }

    /// Makes room for the binary that is now at the configured path. Asking twice changes nothing.
    pub(super) fn replace(&mut self, now: Monotonic) {
        if self.gave_up() {
            return;
        }
        self.program = Program::Configured;
        self.hurry();
        match &mut self.state {
            State::Due(_) => self.trial = Some(0),
            State::Running(running) if running.replaced == Replaced::No => {
                running.replaced = Replaced::Untold(now.plus(HAND_OVER));
                self.replace_what_cannot_hand_over();
            }
            State::Running(_) => {}
        }
    }

    /// The first release's agents do not know what to be replaced is: they lose nothing by being killed.
    pub(super) fn replace_what_cannot_hand_over(&mut self) {
        if let State::Running(running) = &self.state
            && matches!(running.replaced, Replaced::Untold(_))
            && running.met != Met::Silent
            && running.minor == 0
        {
            self.kill_replaced();
        }
    }

    fn kill_replaced(&mut self) {
        self.kill();
        if let Some(running) = self.running() {
            running.replaced = Replaced::Killed;
        }
    }

    pub(super) fn kill(&self) {
        if let State::Running(running) = &self.state {
            let _ = kill(Pid::from_raw(running.pid), Signal::SIGKILL);
        }
    }

    /// The agent with what it has started for itself: only at the end.
    pub(super) fn kill_group(&self) {
        if let State::Running(running) = &self.state {
            let _ = kill(Pid::from_raw(-running.pid), Signal::SIGKILL);
        }
        self.kill();
    }

    /// When something is to be done: it is started, or killed because it does not make room.
    pub(super) fn due(&self) -> Option<Monotonic> {
        match &self.state {
            State::Due(when) => Some((*when).max(self.patience.until())),
            State::Running(running) => match running.replaced {
                Replaced::Untold(until) | Replaced::Told(until) => Some(until),
                Replaced::No | Replaced::Killed => None,
            },
        }
    }

    /// Does what is due; true if the agent has been started.
    pub(super) fn act_if_due(&mut self, ground: &Ground, now: Monotonic) -> io::Result<bool> {
        if self.due().is_none_or(|due| due > now) {
            return Ok(false);
        }
        match self.state {
            State::Running(_) => {
                self.kill_replaced();
                Ok(false)
            }
            State::Due(_) => self.start_with_patience(ground, now),
        }
    }

    fn start_with_patience(&mut self, ground: &Ground, now: Monotonic) -> io::Result<bool> {
        match self.start(ground, now) {
            Ok(()) => {
                self.patience.succeeded();
                Ok(true)
            }
            Err(error) if no_room(&error) => {
                if !self.patience.tried() {
                    say(&format!("there is no room to start the agent: {error}; trying again until there is"));
                }
                self.patience.failed(now);
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    fn start(&mut self, ground: &Ground, now: Monotonic) -> io::Result<()> {
        if self.gave_up == GaveUp::Now {
            // Behind the program and `agent`, before anything that is a document's name.
            self.prepared.argv.insert(2, CLEAN_UP.to_owned());
            self.program = Program::Own;
            self.gave_up = GaveUp::CleanerRuns;
        }
        let (ours, theirs) = link::pair()?;
        self.prepared.program = match self.program {
            Program::Configured => self.prepared.argv[0].clone(),
            Program::Own => program::OWN.to_owned(),
        };
        let descriptors = Descriptors { output: None, third: Some(theirs.as_fd()) };
        let pid = spawn::spawn(&self.prepared, &descriptors, &ground.reports)?;
        self.starts += 1;
        self.state = State::Running(Running {
            pid,
            since: now,
            socket: Some(ours),
            met: Met::Silent,
            minor: 0,
            replaced: Replaced::No,
            failure: None,
        });
        Ok(())
    }

    /// Its failure comes before its end.
    pub(super) fn failed(&mut self, failure: Failure) {
        if let Some(running) = self.running() {
            running.failure = Some(failure);
        }
    }

    /// What its end means. `random` spreads what waits.
    pub(super) fn ended(&mut self, exit: &Exit, now: Monotonic, random: u64) -> Fate {
        let State::Running(running) = std::mem::replace(&mut self.state, State::Due(now)) else {
            return Fate::StartAgain;
        };
        if self.gave_up == GaveUp::CleanerRuns {
            return Fate::Leave(CRASHED_TOO_OFTEN);
        }
        if let Some(code) = self.final_code(&running, exit) {
            return Fate::Leave(code);
        }
        if running.replaced != Replaced::No {
            tell_unusual_hand_over(exit);
            self.trial = Some(0);
            return Fate::StartAgain;
        }
        let lived = now.since(running.since);
        if self.upgrade_failed(&running, lived, exit) {
            return Fate::StartAgain;
        }
        match self.restarts.crashed(lived, now, random) {
            Ok(wait) => self.state = State::Due(now.plus(wait)),
            Err(too_often) => {
                say(&format!("{too_often}; the space ends"));
                self.gave_up = GaveUp::Now;
            }
        }
        Fate::StartAgain
    }

    /// The code with which the space has ended. What has just been put at the configured path, and has not greeted, may be
    /// anything: its exit code says nothing about the space.
    fn final_code(&self, running: &Running, exit: &Exit) -> Option<u8> {
        let stranger = running.met == Met::Silent && self.trial == Some(0);
        match exit {
            Exit::Code(code) if !stranger && CODES.contains(code) => u8::try_from(*code).ok(),
            _ => None,
        }
    }

    /// Goes back to init's own binary if the configured one does not work. True if that was an upgrade's first start:
    /// then it is no crash, and the space goes on at once.
    fn upgrade_failed(&mut self, running: &Running, lived: Duration, exit: &Exit) -> bool {
        let path = self.prepared.argv[0].to_string_lossy();
        let why = match running.failure {
            Some(failure) => failure.text(&self.prepared.program.to_string_lossy(), "/"),
            None => format!("the agent {exit}"),
        };
        if lived >= HEALTHY {
            self.trial = None;
        }
        let silent = running.met == Met::Silent;
        let fresh = self.trial == Some(0);
        self.trial = self.trial.map(|crashes| crashes + 1);
        let looped = self.trial.is_some_and(|crashes| crashes >= TRIALS);
        if self.program == Program::Configured && (silent || looped) {
            self.program = Program::Own;
            self.trial = None;
            say(&format!("{why}; going on with the agent that init was started as, not with {path}"));
            return silent && fresh;
        }
        if running.failure.is_some() {
            say(&format!("the agent could not be started: {why}"));
        }
        false
    }
}

fn tell_unusual_hand_over(exit: &Exit) {
    if *exit != Exit::Code(HANDED_OVER) {
        say(&format!("the agent that is replaced {exit}; its successor goes on"));
    }
}

/// To standard error, if somebody reads it.
pub(super) fn say(message: &str) {
    let _ = writeln!(io::stderr(), "space-agent: {message}");
}

#[cfg(test)]
mod tests;
