//! PID 1, or a child subreaper: the parent of everything in the space.
//!
//! Four things and no fifth: parent and reaper of the agent, every app and every step; keeper of what must outlive an
//! agent (listening sockets, read ends of output pipes, the memory file with its state); teller of exit statuses, until
//! they are acknowledged; restarter of the agent. Synchronous, single-threaded, and it touches no path: what can hang
//! is done by a child after the fork, and /proc is looked at before the loop and after it.
//!
//! It receives requests from the agent ([`ToInit`]), SIGCHLD, and these signals, each unless it was ignored when init
//! was started:
//!
//! | SIGTERM, SIGINT, SIGQUIT | the space is to stop: the agent is told how often                            |
//! | SIGHUP                   | with a controlling terminal a stop too; else the agent reads its documents   |
//! | SIGUSR2                  | the agent is replaced by the binary at its configured path                   |
//!
//! All others do what they do to any program, which is nothing while init is the first process of its namespace. It
//! stops when the agent ends with an exit code of its own, when it has crashed too often, or when the agent has said
//! how long the end takes and that time is over.

mod agent_process;
mod children;
mod ground;
mod last;
mod patience;
mod restarts;
mod watchdog;

use crate::model::child::Exit;
use crate::model::now::Monotonic;
use crate::sys::limits::{self, Start};
use crate::sys::link::{self, ToAgent, ToInit};
use crate::sys::spawn::Reports;
use crate::sys::{clock, heap, memory_file, signals};
use agent_process::{AgentProcess, CRASHED_TOO_OFTEN, Fate, Met, Replaced};
use children::{Children, Send};
use ground::Ground;
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::prctl;
use nix::sys::signal::{SigSet, Signal};
use nix::sys::signalfd::{SfdFlags, SignalFd};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use std::ffi::OsString;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::time::Duration;
use watchdog::Watchdog;

/// How many requests are taken in one round, so that an agent that asks without end does not keep init from reaping.
const REQUESTS: usize = 64;

/// When the kernel has no room for a message, it is tried again after this.
const AGAIN: Duration = Duration::from_millis(100);

/// How the agent is started: this binary, with these arguments.
#[derive(Debug)]
pub struct AgentCommand {
    pub binary: PathBuf,
    pub args: Vec<OsString>,
}

/// Runs until the space has ended; returns the exit code of `run`.
pub fn run(command: &AgentCommand) -> io::Result<u8> {
    // First: a stop that comes before would be lost on the first process of a namespace.
    let signals = block_signals()?;
    prctl::set_child_subreaper(true)?;
    let ground = Ground { start: Start::read(), reports: Reports::new()? };
    limits::raise_descriptors();
    limits::protect();
    signals::forbid_inspection()?;
    let terminal = signals::have_terminal();
    let mut init = Init {
        agent: AgentProcess::new(command, &ground)?,
        ground,
        children: Children::default(),
        watchdog: Watchdog::default(),
        kept: Vec::new(),
        state: memory_file::create()?,
        terminal,
        stops_asked: 0,
        stops_told: 0,
        reload: false,
        telling: Telling::Possible,
        buffer: Vec::new(),
    };
    let code = init.serve(&signals);
    init.agent.kill_group();
    init.children.kill_all();
    last::end_everything(&signals);
    code
}

struct Init {
    agent: AgentProcess,
    ground: Ground,
    children: Children,
    watchdog: Watchdog,
    kept: Vec<(String, OwnedFd)>,
    state: OwnedFd,
    /// Whether SIGHUP says that the terminal has been closed.
    terminal: bool,
    stops_asked: u32,
    /// How many of them the present agent knows of.
    stops_told: u32,
    /// Whether the documents are to be read again, and no agent has been told so.
    reload: bool,
    telling: Telling,
    buffer: Vec<u8>,
}

/// Whether the agent can be told something.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Telling {
    Possible,
    /// Not before it reads.
    Full,
    NoRoomUntil(Monotonic),
}

fn block_signals() -> io::Result<SignalFd> {
    let mut set = SigSet::empty();
    set.add(Signal::SIGCHLD);
    set.add(Signal::SIGTERM);
    set.add(Signal::SIGUSR2);
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
            if let Some(code) = self.act_if_due(clock::monotonic())? {
                return Ok(code);
            }
            self.wait(signals)?;
            self.take_signals(signals)?;
            self.take_requests(REQUESTS);
            if let Some(code) = self.reap() {
                return Ok(code);
            }
            self.tell();
        }
    }

    /// What the clock asks for; the code to leave with if the space is over.
    fn act_if_due(&mut self, now: Monotonic) -> io::Result<Option<u8>> {
        if let Some(code) = self.watchdog.overdue(now) {
            agent_process::say("the space has not ended in the time that the agent had said; ending what is left");
            return Ok(Some(if self.agent.gave_up() { CRASHED_TOO_OFTEN } else { code }));
        }
        if self.unanswered_until().is_some_and(|until| until <= now) {
            if self.agent.running().is_none() {
                agent_process::say("asked to stop, but there was no room to start the agent");
                return Ok(Some(CRASHED_TOO_OFTEN));
            }
            agent_process::say("the agent does not answer to a stop; killing it");
            self.agent.kill();
            // The end of a killed process takes no answer; its successor has its own time.
            self.watchdog.agent_started(false, now);
        }
        if self.children.due().is_some_and(|due| due <= now) {
            self.children.start_waiting(&self.ground, now);
        }
        if self.agent.act_if_due(&self.ground, now)? {
            self.telling = Telling::Possible;
            self.watchdog.agent_started(self.stops_asked > 0 || self.agent.gave_up(), now);
        }
        Ok(None)
    }

    fn unanswered_until(&self) -> Option<Monotonic> {
        self.watchdog.answer_until().filter(|_| self.agent.answers())
    }

    /// Sleeps until something happens: a signal, a request, room for news, or something becomes due.
    fn wait(&self, signals: &SignalFd) -> io::Result<()> {
        let mut fds = vec![PollFd::new(signals.as_fd(), PollFlags::POLLIN)];
        if let Some(socket) = self.agent.socket() {
            let mut flags = PollFlags::POLLIN;
            flags.set(PollFlags::POLLOUT, self.telling == Telling::Full);
            fds.push(PollFd::new(socket.as_fd(), flags));
        }
        match poll(&mut fds, self.timeout()) {
            Ok(_) | Err(Errno::EINTR) => Ok(()),
            Err(errno) => Err(errno.into()),
        }
    }

    fn timeout(&self) -> PollTimeout {
        let room = match self.telling {
            Telling::NoRoomUntil(until) => Some(until),
            Telling::Possible | Telling::Full => None,
        };
        let own = [self.agent.due(), self.children.due(), self.watchdog.ends_at(), self.unanswered_until(), room];
        match own.into_iter().flatten().min() {
            Some(due) => {
                let wait = due.since(clock::monotonic()) + Duration::from_millis(1);
                PollTimeout::try_from(wait).unwrap_or(PollTimeout::MAX)
            }
            None => PollTimeout::NONE,
        }
    }

    fn take_signals(&mut self, signals: &SignalFd) -> io::Result<()> {
        while let Some(signal) = signals.read_signal()? {
            let now = clock::monotonic();
            match i32::try_from(signal.ssi_signo).map(Signal::try_from) {
                Ok(Ok(Signal::SIGHUP)) if !self.terminal => self.reload = true,
                Ok(Ok(Signal::SIGTERM | Signal::SIGINT | Signal::SIGQUIT | Signal::SIGHUP)) => {
                    self.stops_asked += 1;
                    self.watchdog.stop_asked(now);
                    self.agent.hurry();
                }
                // Whoever ends anyway is not replaced any more.
                Ok(Ok(Signal::SIGUSR2)) if !self.watchdog.ending() => self.agent.replace(now),
                _ => {}
            }
        }
        Ok(())
    }

    fn take_requests(&mut self, most: usize) {
        for _ in 0..most {
            let Some(socket) = self.agent.socket() else { return };
            match link::receive::<ToInit>(socket, &mut self.buffer) {
                Ok(Some((request, fd))) => self.answer(request, fd),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                // The agent is gone, or speaks another language: its end, or the next agent, decides.
                Ok(None) | Err(_) => self.agent.hang_up(),
            }
        }
    }

    fn answer(&mut self, request: ToInit, fd: Option<OwnedFd>) {
        let now = clock::monotonic();
        match request {
            ToInit::Hello { minor, .. } => self.greeted(minor),
            ToInit::Policy { max, within_ms } => self.agent.set_policy(max, Duration::from_millis(within_ms)),
            ToInit::Keep { name } => {
                self.kept.retain(|(kept, _)| *kept != name);
                self.kept.extend(fd.map(|fd| (name, fd)));
                // A boot gives these last; what init does from then on takes little of its code.
                heap::forget_code();
            }
            ToInit::Spawn { id, spec } => self.children.spawn(id, spec, &self.ground, now),
            ToInit::Signal { id, signal } => self.children.signal(&id, signal),
            ToInit::Acknowledge { id } => self.children.forget(&id),
            ToInit::Ending { within_ms, code } => self.watchdog.promise(Duration::from_millis(within_ms), code, now),
        }
    }

    fn greeted(&mut self, minor: u32) {
        if let Some(running) = self.agent.running() {
            running.met = Met::Greeted;
            running.minor = minor;
            self.children.become_strange();
            self.agent.replace_what_cannot_hand_over();
        }
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
            self.take_failures();
            if !self.agent.is(pid) {
                self.children.ended(pid, exit);
                continue;
            }
            // What it still said is in the socket: a request may stand between its last word and its end.
            self.take_requests(usize::MAX);
            let (now, random) = (clock::monotonic(), RandomState::new().hash_one(pid));
            if let Fate::Leave(code) = self.agent.ended(&exit, now, random) {
                return Some(code);
            }
            if self.stops_asked > 0 {
                self.agent.hurry();
            }
        }
    }

    /// Whoever has ended had told before why it never ran, if that was so; others may have, too.
    fn take_failures(&mut self) {
        while let Some((teller, failure)) = self.ground.reports.next() {
            match self.agent.is(teller) {
                true => self.agent.failed(failure),
                false => self.children.failed(teller, failure),
            }
        }
    }

    /// Tells the agent what it does not know yet, as far as it takes it in.
    fn tell(&mut self) {
        if self.agent.socket().is_none() {
            return;
        }
        self.telling = match self.tell_all() {
            Ok(()) => Telling::Possible,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Telling::Full,
            Err(error) if patience::no_room(&error) => Telling::NoRoomUntil(clock::monotonic().plus(AGAIN)),
            Err(_) => {
                self.agent.hang_up();
                Telling::Possible
            }
        };
    }

    fn tell_all(&mut self) -> io::Result<()> {
        let starts = self.agent.starts();
        let Some(running) = self.agent.running() else { return Ok(()) };
        let Some(socket) = &running.socket else { return Ok(()) };
        let send: Send<'_> = &|message, fd| link::send(socket, message, fd);
        if running.met == Met::Silent {
            return Ok(());
        }
        if running.met == Met::Greeted {
            let (init_pid, stops_asked) = (nix::unistd::getpid().as_raw(), self.stops_asked);
            let (version, minor) = (link::VERSION, link::MINOR);
            let welcome = ToAgent::Welcome { version, starts, init_pid, stops_asked, minor };
            send(&welcome, Some(self.state.as_fd()))?;
            self.stops_told = stops_asked;
            running.met = Met::Welcomed(0);
        }
        if let Met::Welcomed(known) = &mut running.met {
            while let Some((name, fd)) = self.kept.get(*known) {
                send(&ToAgent::Kept { name: name.clone() }, Some(fd.as_fd()))?;
                *known += 1;
            }
            self.children.introduce(send)?;
            send(&ToAgent::Complete, None)?;
            running.met = Met::Introduced;
        }
        if self.stops_told < self.stops_asked {
            send(&ToAgent::StopAsked { times: self.stops_asked }, None)?;
            self.stops_told = self.stops_asked;
        }
        if self.reload {
            if running.minor >= 1 {
                send(&ToAgent::Reload, None)?;
            }
            self.reload = false;
        }
        if let Replaced::Untold(until) = running.replaced {
            send(&ToAgent::Replace, None)?;
            running.replaced = Replaced::Told(until);
        }
        self.children.tell(send)
    }
}
