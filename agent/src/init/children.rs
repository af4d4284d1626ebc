//! init's table of children: the truth about what runs, how it ended, and what the agent has been told of it.
//!
//! There is no queue of news: each child carries what is still untold, so a slow agent costs nothing, and a new one is
//! introduced to all. Every event finds its child by its name or pid, however many there are; of a child that has ended
//! and is acknowledged nothing stays.

use super::ground::Ground;
use super::patience::{Patience, no_room};
use crate::model::child::{ChildSpec, Exit};
use crate::model::now::Monotonic;
use crate::sys::link::ToAgent;
use crate::sys::spawn::{self, Descriptors, Failure};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// A child for which there has been no room for so long is not started.
const NO_ROOM: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Children {
    /// By a number of init's own, in the order in which they were asked for.
    all: BTreeMap<u64, Child>,
    by_id: HashMap<String, u64>,
    by_pid: HashMap<i32, u64>,
    /// Those for which there was no room yet.
    waiting: BTreeSet<u64>,
    patience: Patience,
    /// Those that the present agent is still to be introduced to.
    strange: BTreeSet<u64>,
    /// Those of which it does not know all.
    untold: BTreeSet<u64>,
    next: u64,
}

#[derive(Debug)]
struct Child {
    id: String,
    state: State,
    output: Option<OwnedFd>,
    program: String,
    folder: String,
    told: Told,
}

#[derive(Debug)]
enum State {
    /// There was no room for it, or for those before it. Once it is its turn, it is tried so long.
    Waiting { spec: Box<ChildSpec>, until: Option<Monotonic> },
    /// It may have told why it will not run.
    Running { pid: i32, not_started: Option<String> },
    /// The pid is 0 if it could not even be forked.
    Ended { pid: i32, exit: Exit },
}

/// How much of a child the present agent knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Started,
    Ended,
}

impl Children {
    /// Starts a child; a failure becomes its exit. Nothing happens if the id is known: the request was asked before.
    pub(super) fn spawn(&mut self, id: String, spec: Box<ChildSpec>, ground: &Ground, now: Monotonic) {
        if self.by_id.contains_key(&id) {
            return;
        }
        let number = self.next;
        self.next += 1;
        let child = Child {
            id: id.clone(),
            program: spec.program.display().to_string(),
            folder: spec.folder.display().to_string(),
            state: State::Waiting { spec, until: None },
            output: None,
            told: Told::Nothing,
        };
        self.all.insert(number, child);
        self.by_id.insert(id, number);
        self.waiting.insert(number);
        if !self.patience.tried() {
            self.start_waiting(ground, now);
        }
    }

    /// Starts those for which there was no room, in their order, until there is none again.
    pub(super) fn start_waiting(&mut self, ground: &Ground, now: Monotonic) {
        while let Some(number) = self.waiting.first().copied() {
            if self.start(number, ground, now).is_none() {
                self.patience.failed(now);
                return;
            }
            self.patience.succeeded();
            self.waiting.remove(&number);
            self.untold.insert(number);
        }
    }

    /// `None` if there is no room for it, but may be later.
    fn start(&mut self, number: u64, ground: &Ground, now: Monotonic) -> Option<()> {
        let child = self.all.get_mut(&number)?;
        let State::Waiting { spec, until } = &mut child.state else { return Some(()) };
        match fork(spec, ground) {
            Ok((pid, output)) => {
                self.by_pid.insert(pid, number);
                child.output = Some(output);
                child.state = State::Running { pid, not_started: None };
            }
            Err(error) if no_room(&error) && now < *until.get_or_insert(now.plus(NO_ROOM)) => return None,
            Err(error) => {
                let exit = Exit::NotStarted(format!("cannot start {}: {error}", child.program));
                child.state = State::Ended { pid: 0, exit };
            }
        }
        Some(())
    }

    /// When to try again to start those for which there was no room.
    pub(super) fn due(&self) -> Option<Monotonic> {
        (!self.waiting.is_empty()).then(|| self.patience.until())
    }

    /// To the child's process group. A leader that is not reaped holds its pid, so the group can't be another's.
    pub(super) fn signal(&mut self, id: &str, signal: i32) {
        let Some(number) = self.by_id.get(id).copied() else { return };
        let Some(child) = self.all.get_mut(&number) else { return };
        match &child.state {
            State::Running { pid, .. } => {
                if let Ok(signal) = Signal::try_from(signal) {
                    // It may have ended this moment; its exit will be told.
                    let _ = kill(Pid::from_raw(-pid), signal);
                }
            }
            State::Waiting { .. } => {
                child.state = State::Ended { pid: 0, exit: Exit::Signal(signal) };
                self.waiting.remove(&number);
                self.untold.insert(number);
            }
            State::Ended { .. } => {}
        }
    }

    pub(super) fn kill_all(&self) {
        for pid in self.by_pid.keys() {
            let _ = kill(Pid::from_raw(-pid), Signal::SIGKILL);
        }
    }

    /// Once it has ended.
    pub(super) fn forget(&mut self, id: &str) {
        let Some(number) = self.by_id.get(id).copied() else { return };
        if self.all.get(&number).is_some_and(|child| matches!(child.state, State::Ended { .. })) {
            self.all.remove(&number);
            self.by_id.remove(id);
            self.untold.remove(&number);
            self.strange.remove(&number);
        }
        if self.all.is_empty() {
            *self = Children { next: self.next, ..Children::default() };
        }
    }

    /// Its failure comes before its end.
    pub(super) fn failed(&mut self, pid: i32, failure: Failure) {
        let child = self.by_pid.get(&pid).and_then(|number| self.all.get_mut(number));
        if let Some(Child { state: State::Running { not_started, .. }, program, folder, .. }) = child {
            *not_started = Some(failure.text(program, folder));
        }
    }

    /// Or an orphan has, of which nobody but init knows.
    pub(super) fn ended(&mut self, pid: i32, exit: Exit) {
        self.patience.try_now();
        let Some(number) = self.by_pid.remove(&pid) else { return };
        if let Some(child) = self.all.get_mut(&number)
            && let State::Running { not_started, .. } = &mut child.state
        {
            let exit = not_started.take().map_or(exit, Exit::NotStarted);
            child.state = State::Ended { pid, exit };
            self.untold.insert(number);
        }
    }

    /// For a new agent, who knows nothing.
    pub(super) fn become_strange(&mut self) {
        for (number, child) in &mut self.all {
            child.told = Told::Nothing;
            if !matches!(child.state, State::Waiting { .. }) {
                self.strange.insert(*number);
                self.untold.insert(*number);
            }
        }
    }

    /// Introduces those whom the agent does not know, until its buffer is full.
    pub(super) fn introduce(&mut self, send: Send<'_>) -> io::Result<()> {
        while let Some(number) = self.strange.first().copied() {
            if let Some(child) = self.all.get_mut(&number) {
                let (message, told) = child.introduction();
                send(&message, child.output.as_ref().map(AsFd::as_fd))?;
                child.told = told;
                self.untold.remove(&number);
            }
            self.strange.remove(&number);
        }
        Ok(())
    }

    /// Tells the news of each child, until the agent's buffer is full.
    pub(super) fn tell(&mut self, send: Send<'_>) -> io::Result<()> {
        while let Some(number) = self.untold.first().copied() {
            if let Some(child) = self.all.get_mut(&number) {
                child.tell(send)?;
            }
            self.untold.remove(&number);
        }
        Ok(())
    }
}

/// Sends one message to the agent, or says why it can't.
pub(super) type Send<'a> = &'a dyn Fn(&ToAgent, Option<BorrowedFd<'_>>) -> io::Result<()>;

fn fork(spec: &ChildSpec, ground: &Ground) -> io::Result<(i32, OwnedFd)> {
    let prepared = ground.child(spec)?;
    let (output, input) = pipe2(OFlag::O_CLOEXEC)?;
    let descriptors = Descriptors { output: Some(input.as_fd()), third: None };
    Ok((spawn::spawn(&prepared, &descriptors, &ground.reports)?, output))
}

impl Child {
    fn tell(&mut self, send: Send<'_>) -> io::Result<()> {
        while let Some((message, told)) = self.news() {
            let fd = self.output.as_ref().filter(|_| told == Told::Started).map(AsFd::as_fd);
            send(&message, fd)?;
            self.told = told;
        }
        Ok(())
    }

    fn news(&self) -> Option<(ToAgent, Told)> {
        let id = self.id.clone();
        match (self.told, &self.state) {
            (Told::Nothing, State::Running { pid, .. } | State::Ended { pid, .. }) => {
                Some((ToAgent::Spawned { id, pid: *pid }, Told::Started))
            }
            (Told::Started, State::Ended { exit, .. }) => {
                Some((ToAgent::Ended { id, exit: exit.clone() }, Told::Ended))
            }
            _ => None,
        }
    }

    /// What a new agent is told of this child, and what it then knows.
    fn introduction(&self) -> (ToAgent, Told) {
        let (pid, exit, told) = match &self.state {
            State::Waiting { .. } => (0, None, Told::Nothing),
            State::Running { pid, .. } => (*pid, None, Told::Started),
            State::Ended { pid, exit } => (*pid, Some(exit.clone()), Told::Ended),
        };
        (ToAgent::Child { id: self.id.clone(), pid, exit }, told)
    }
}
