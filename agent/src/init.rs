//! PID 1, or a child subreaper: the parent of everything in the space.
//!
//! Four things and no fifth: parent and reaper of the agent, every app and every step; keeper of what must outlive an
//! agent (listening sockets, read ends of output pipes, the memory file with its state); teller of exit statuses, until
//! they are acknowledged; restarter of the agent. Synchronous, single-threaded, and it touches no path: what can hang
//! is done by a child after the fork.
//!
//! It receives requests from the agent ([`ToInit`]), SIGCHLD, and the signals that ask to stop; it stops when the agent
//! ends with an exit code of its own, or when it has crashed too often.

mod agent_process;
mod children;

use crate::model::child::Exit;
use crate::sys::link::{self, ToAgent, ToInit};
use crate::sys::{clock, memory_file, signals};
use agent_process::{AgentProcess, Fate};
use children::Children;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;

/// How the agent is started: this binary, with these arguments.
#[derive(Debug)]
pub struct AgentCommand {
    pub binary: PathBuf,
    pub args: Vec<OsString>,
}

/// Runs until the space has ended; returns the exit code of `run`.
pub fn run(command: AgentCommand) -> io::Result<u8> {
    prctl::set_child_subreaper(true)?;
    signals::forbid_inspection()?;
    let signals = block_signals()?;
    let mut init = Init {
        agent: AgentProcess::new(command)?,
        children: Children::default(),
        kept: Vec::new(),
        state: memory_file::create()?,
        stops_asked: 0,
        buffer: Vec::new(),
    };
    let code = init.serve(&signals);
    // Whatever is left of the space's own groups must not outlive its parent.
    init.children.kill_all();
    code
}

struct Init {
    agent: AgentProcess,
    children: Children,
    kept: Vec<(String, OwnedFd)>,
    state: OwnedFd,
    stops_asked: u32,
    buffer: Vec<u8>,
}

fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    // What is blocked and read is no longer ignored, so what `nohup` and the like want ignored stays out.
    for signal in [Signal::SIGINT, Signal::SIGQUIT, Signal::SIGHUP] {
        if !signals::is_ignored(signal) {
            set.add(signal);
        }
    }
    set.thread_block()?;
    Ok(SignalFd::with_flags(&set, SfdFlags::SFD_NONBLOCK | SfdFlags::SFD_CLOEXEC)?)
}

impl Init {
    fn serve(&mut self, signals: &SignalFd) -> io::Result<u8> {
        loop {
            if let Some(code) = self.agent.start_if_due(clock::monotonic())? {
                return Ok(code);
            }
            self.wait(signals)?;
            self.take_signals(signals)?;
            self.take_failures();
            self.take_requests();
            if let Some(code) = self.reap() {
                return Ok(code);
            }
            self.tell();
        }
    }

    /// Sleeps until something happens: a signal, a request, a child's failed exec, or the time to start the agent again.
    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(socket) = self.agent.socket() {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, self.agent.listener().is_some() && self.children.untold());
            fds.push(PollFd::new(socket.as_fd(), flags));
        }
        fds.extend(self.children.failures().map(|fd| PollFd::new(fd, PollFlags::POLLIN)));
        let timeout = match self.agent.due_in(clock::monotonic()) {
            Some(wait) => PollTimeout::try_from(wait + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX),
            None => PollTimeout::NONE,
        };
        match poll(&mut fds, timeout) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn take_signals(&mut self, signals: &SignalFd) -> io::Result<()> {
        while let Some(signal) = signals.read_signal()? {
            if i32::try_from(signal.ssi_signo) != Ok(Signal::SIGCHLD as i32) {
                self.stops_asked += 1;
                let message = ToAgent::StopAsked { times: self.stops_asked };
                if let Some(socket) = self.agent.listener() {
                    // An agent that does not read is told again by the next signal, or by its successor's welcome.
                    let _ = link::send(socket, &message, None);
                }
                self.agent.stop_asked();
            }
        }
        Ok(())
    }

    fn take_failures(&mut self) {
        self.children.take_failures();
    }

    fn take_requests(&mut self) {
        while let Some(socket) = self.agent.socket() {
            match link::receive::<ToInit>(socket, &mut self.buffer) {
                Ok(Some((request, fd))) => self.answer(request, fd),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The agent is gone, or speaks another language: its end, or the next agent, decides.
                Ok(None) | Err(_) => self.agent.hang_up(),
            }
        }
    }

    fn answer(&mut self, request: ToInit, fd: Option<OwnedFd>) {
        match request {
            ToInit::Hello { .. } => self.welcome(),
            ToInit::Policy { max, within_ms } => self.agent.set_policy(max, Duration::from_millis(within_ms)),
            ToInit::Keep { name } => {
                self.kept.retain(|(kept, _)| *kept != name);
                self.kept.extend(fd.map(|fd| (name, fd)));
            }
            ToInit::Spawn { id, spec } => self.children.spawn(id, &spec),
            ToInit::Signal { id, signal } => self.children.signal(&id, signal),
            ToInit::Acknowledge { id } => self.children.forget(&id),
        }
    }

    /// A new agent learns all there is; its socket's buffer holds it, or it hangs up and tries again.
    fn welcome(&mut self) {
        let welcome = ToAgent::Welcome {
            version: link::VERSION,
            starts: self.agent.starts(),
            init_pid: nix::unistd::getpid().as_raw(),
            stops_asked: self.stops_asked,
        };
        let mut told = self.agent.send(&welcome, Some(self.state.as_fd()));
        for (name, fd) in &self.kept {
            told = told.and_then(|()| self.agent.send(&ToAgent::Kept { name: name.clone() }, Some(fd.as_fd())));
        }
        for child in self.children.all_told() {
            let (message, output) = child.introduction();
            told = told.and_then(|()| self.agent.send(&message, output));
        }
        if told.and_then(|()| self.agent.send(&ToAgent::Complete, None)).is_err() {
            self.agent.hang_up();
        }
        self.agent.greeted();
    }

    /// Reaps whoever has ended: the agent, children, and orphans that became ours.
    fn reap(&mut self) -> Option<u8> {
        loop {
            let (pid, exit) = match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
                Ok(WaitStatus::Exited(pid, code)) => (pid.as_raw(), Exit::Code(code)),
                Ok(WaitStatus::Signaled(pid, signal, _)) => (pid.as_raw(), Exit::Signal(signal as i32)),
                Ok(WaitStatus::StillAlive) | Err(_) => return None,
                Ok(_) => continue,
            };
            if !self.agent.is(pid) {
                self.children.ended(pid, exit);
                continue;
            }
            // What it still said is in the socket: a request may stand between its last word and its end.
            self.take_requests();
            if let Fate::Leave(code) = self.agent.ended(&exit, clock::monotonic()) {
                return Some(code);
            }
        }
    }

    fn tell(&mut self) {
        if let Some(socket) = self.agent.listener() {
            self.children.tell(|message, fd| link::send(socket, message, fd));
        }
    }
}
