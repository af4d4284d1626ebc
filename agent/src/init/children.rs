//! init's table of children: the truth about what runs, how it ended, and what the agent has been told of it.
//!
//! There is no queue of news: each child carries what is still untold, so a slow agent costs nothing, and a new one is
//! introduced to all.

use crate::model::child::{ChildSpec, Exit};
use crate::sys::account;
use crate::sys::link::ToAgent;
use crate::sys::spawn::{self, Descriptors, Failure, Identity, Prepared};
use nix::fcntl::OFlag;
use nix::sys::signal::{Signal, kill};
use nix::unistd::{Pid, pipe2};
use std::ffi::{CString, NulError};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

#[derive(Debug, Default)]
pub(super) struct Children(Vec<Child>);

#[derive(Debug)]
pub(super) struct Child {
    id: String,
    /// 0 if it could not even be forked.
    pid: i32,
    output: Option<OwnedFd>,
    /// Open until exec has succeeded or its failure is known.
    failure: Option<OwnedFd>,
    program: String,
    folder: String,
    not_started: Option<String>,
    exit: Option<Exit>,
    told: Told,
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
    pub(super) fn spawn(&mut self, id: String, spec: &ChildSpec) {
        if self.0.iter().any(|child| child.id == id) {
            return;
        }
        let mut child = Child {
            id,
            pid: 0,
            output: None,
            failure: None,
            program: spec.program.display().to_string(),
            folder: spec.folder.display().to_string(),
            not_started: None,
            exit: None,
            told: Told::Nothing,
        };
        if let Err(error) = child.start(spec) {
            child.exit = Some(Exit::NotStarted(format!("cannot start {}: {error}", child.program)));
        }
        self.0.push(child);
    }

    /// To the child's process group. A leader that is not reaped holds its pid, so the group can't be another's.
    pub(super) fn signal(&self, id: &str, signal: i32) {
        let Some(child) = self.0.iter().find(|child| child.id == id && child.running()) else { return };
        if let Ok(signal) = Signal::try_from(signal) {
            // It may have ended this moment; its exit will be told.
            let _ = kill(Pid::from_raw(-child.pid), signal);
        }
    }

    pub(super) fn kill_all(&self) {
        for child in self.0.iter().filter(|child| child.running()) {
            let _ = kill(Pid::from_raw(-child.pid), Signal::SIGKILL);
        }
    }

    pub(super) fn forget(&mut self, id: &str) {
        self.0.retain(|child| child.id != id || child.running());
    }

    pub(super) fn ended(&mut self, pid: i32, exit: Exit) {
        if let Some(child) = self.0.iter_mut().find(|child| child.pid == pid && child.running()) {
            child.take_failure();
            child.exit = Some(child.not_started.take().map_or(exit, Exit::NotStarted));
        }
    }

    pub(super) fn take_failures(&mut self) {
        for child in &mut self.0 {
            child.take_failure();
        }
    }

    /// The pipes on which a failed exec would be told.
    pub(super) fn failures(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.0.iter().filter_map(|child| child.failure.as_ref().map(AsFd::as_fd))
    }

    pub(super) fn untold(&self) -> bool {
        self.0.iter().any(|child| child.news().is_some())
    }

    /// For the introduction to a new agent, which tells everything.
    pub(super) fn all_told(&mut self) -> impl Iterator<Item = &Child> {
        self.0.iter_mut().map(|child| {
            child.told = if child.exit.is_some() { Told::Ended } else { Told::Started };
            &*child
        })
    }

    /// Tells the news of each child, until the agent's buffer is full.
    pub(super) fn tell(&mut self, send: impl Fn(&ToAgent, Option<BorrowedFd<'_>>) -> io::Result<()>) {
        for child in &mut self.0 {
            while let Some((message, told)) = child.news() {
                let fd = child.output.as_ref().filter(|_| told == Told::Started).map(AsFd::as_fd);
                if send(&message, fd).is_err() {
                    return;
                }
                child.told = told;
            }
        }
    }
}

impl Child {
    fn running(&self) -> bool {
        self.exit.is_none()
    }

    fn start(&mut self, spec: &ChildSpec) -> io::Result<()> {
        let prepared = prepare(spec)?;
        let (output, input) = pipe2(OFlag::O_CLOEXEC)?;
        let descriptors = Descriptors { output: Some(input.as_fd()), third: None };
        let child = spawn::spawn(&prepared, &descriptors)?;
        self.pid = child.pid;
        self.failure = Some(child.failure);
        self.output = Some(output);
        Ok(())
    }

    /// Until the child has execed, its failure is not known; then the pipe is at its end.
    fn take_failure(&mut self) {
        let Some(failure) = &self.failure else { return };
        match Failure::read(failure, &self.program, &self.folder) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Ok(Some(failure)) => {
                self.not_started = Some(failure.into_text());
                self.failure = None;
            }
            Ok(None) | Err(_) => self.failure = None,
        }
    }

    fn news(&self) -> Option<(ToAgent, Told)> {
        let id = self.id.clone();
        match (self.told, &self.exit) {
            (Told::Nothing, _) => Some((ToAgent::Spawned { id, pid: self.pid }, Told::Started)),
            (Told::Started, Some(exit)) => Some((ToAgent::Ended { id, exit: exit.clone() }, Told::Ended)),
            _ => None,
        }
    }

    /// What a new agent is told of this child.
    pub(super) fn introduction(&self) -> (ToAgent, Option<BorrowedFd<'_>>) {
        let message = ToAgent::Child { id: self.id.clone(), pid: self.pid, exit: self.exit.clone() };
        (message, self.output.as_ref().map(AsFd::as_fd))
    }
}

fn prepare(spec: &ChildSpec) -> io::Result<Prepared> {
    let nul = |_: NulError| io::Error::new(io::ErrorKind::InvalidInput, "an argument or variable holds a zero byte");
    let program = spawn::c_path(&spec.program).map_err(nul)?;
    let mut argv = vec![program.clone()];
    let mut envp: Vec<CString> = Vec::new();
    for arg in &spec.args {
        argv.push(spawn::c_string(arg).map_err(nul)?);
    }
    for (name, value) in &spec.env {
        envp.push(spawn::c_string(format!("{name}={value}")).map_err(nul)?);
    }
    let account = &spec.account;
    let identity = Identity { uid: account.uid, gid: account.gid, groups: account.groups.clone() };
    Ok(Prepared {
        program,
        argv,
        envp,
        folder: Some(spawn::c_path(&spec.folder).map_err(nul)?),
        // Only root can change who it is, and need not when it stays root.
        identity: (account::own().0 == 0 && account.uid != 0).then_some(identity),
        new_session: true,
        no_new_privs: !spec.may_gain_privileges,
        parent_death: Signal::SIGKILL,
    })
}
