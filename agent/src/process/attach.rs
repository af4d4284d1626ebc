//! The agent's end of the link to init: the introduction at the start, then messages as they come.

use crate::model::child::Exit;
use crate::sys::link::{self, ToAgent, ToInit};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::Duration;
use tokio::io::unix::AsyncFd;

/// init answers at once, or it isn't init.
const INTRODUCTION: Duration = Duration::from_secs(5);

/// What init tells a new agent.
#[derive(Debug)]
pub struct Attached {
    pub socket: OwnedFd,
    /// 1 for the first agent of this boot of the space.
    pub starts: u32,
    pub init_pid: i32,
    /// How often init was asked to stop before this agent came.
    pub stops_asked: u32,
    /// Which of [`ToInit`]'s messages init knows (see [`link::MINOR`]).
    pub minor: u32,
    /// The memory file with the state.
    pub state: OwnedFd,
    pub kept: Vec<(String, OwnedFd)>,
    pub children: Vec<KnownChild>,
}

#[derive(Debug)]
pub struct KnownChild {
    pub id: String,
    pub pid: i32,
    pub exit: Option<Exit>,
    /// The read end of its output.
    pub output: Option<OwnedFd>,
}

/// Says hello to init and takes in all it knows. Blocking, before the runtime.
pub fn attach(socket: OwnedFd) -> io::Result<Attached> {
    link::send(&socket, &ToInit::Hello { version: link::VERSION, minor: link::MINOR }, None)?;
    let (mut welcome, mut kept, mut children) = (None, Vec::new(), Vec::new());
    loop {
        match next(&socket)? {
            (ToAgent::Welcome { version, starts, init_pid, stops_asked, minor }, Some(state)) => {
                speak(version)?;
                welcome = Some((starts, init_pid, stops_asked, minor, state));
            }
            (ToAgent::Kept { name }, Some(fd)) => kept.push((name, fd)),
            (ToAgent::Child { id, pid, exit }, output) => children.push(KnownChild { id, pid, exit, output }),
            (ToAgent::Complete, _) => break,
            (other, _) => return Err(unexpected(&other)),
        }
    }
    let (starts, init_pid, stops_asked, minor, state) = welcome.ok_or_else(|| unexpected(&ToAgent::Complete))?;
    Ok(Attached { socket, starts, init_pid, stops_asked, minor, state, kept, children })
}

/// Gives init a descriptor to keep. Blocking, before the runtime.
pub fn keep(socket: &OwnedFd, name: &str, fd: BorrowedFd<'_>) -> io::Result<()> {
    link::send(socket, &ToInit::Keep { name: name.to_owned() }, Some(fd))
}

/// Tells init how often the agent may crash. Blocking, before the runtime.
pub fn set_policy(socket: &OwnedFd, max: u32, within: Duration) -> io::Result<()> {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    link::send(socket, &ToInit::Policy { max, within_ms }, None)
}

/// What to tell init when the space begins to end: it ends by itself with `code` what is left after `within`, and a
/// quarter of a second of grace. `None` for an init that would not understand.
pub fn promise_end(minor: u32, within: Duration, code: u8) -> Option<ToInit> {
    let within_ms = u64::try_from(within.as_millis()).unwrap_or(u64::MAX);
    (minor >= 1).then_some(ToInit::Ending { within_ms, code })
}

/// Ends children whose state nobody can read any more, and lets init forget them. Blocking, before the runtime.
pub fn end_known(attached: &mut Attached) -> io::Result<()> {
    let socket = &attached.socket;
    let mut left: Vec<String> = Vec::new();
    for child in attached.children.drain(..) {
        match child.exit {
            Some(_) => link::send_patiently(socket, &ToInit::Acknowledge { id: child.id }, None)?,
            None => {
                link::send_patiently(
                    socket,
                    &ToInit::Signal { id: child.id.clone(), signal: Signal::SIGKILL as i32 },
                    None,
                )?;
                left.push(child.id);
            }
        }
    }
    while !left.is_empty() {
        if let (ToAgent::Ended { id, .. }, _) = next(socket)? {
            link::send_patiently(socket, &ToInit::Acknowledge { id: id.clone() }, None)?;
            left.retain(|left| *left != id);
        }
    }
    Ok(())
}

fn speak(version: u32) -> io::Result<()> {
    if version == link::VERSION {
        return Ok(());
    }
    let text = format!(
        "init speaks version {version} of the protocol, this agent speaks {}; restart the space",
        link::VERSION
    );
    Err(io::Error::other(text))
}

fn unexpected(message: &ToAgent) -> io::Error {
    io::Error::other(format!("init introduced itself in an unexpected order: {message:?}"))
}

fn next(socket: &OwnedFd) -> io::Result<(ToAgent, Option<OwnedFd>)> {
    let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
    let timeout = PollTimeout::try_from(INTRODUCTION).unwrap_or(PollTimeout::MAX);
    if poll(&mut fds, timeout)? == 0 {
        return Err(io::Error::new(io::ErrorKind::TimedOut, "init does not answer"));
    }
    let gone = || io::Error::new(io::ErrorKind::UnexpectedEof, "init is gone");
    link::receive(socket, &mut Vec::new())?.ok_or_else(gone)
}

/// The link once the introduction is over.
#[derive(Debug)]
pub struct Link {
    socket: AsyncFd<OwnedFd>,
    buffer: Vec<u8>,
}

impl Link {
    /// Inside a runtime.
    pub fn new(socket: OwnedFd) -> io::Result<Link> {
        Ok(Link { socket: link::watch(socket)?, buffer: Vec::new() })
    }

    /// init reads whatever it is sent, at once: a full buffer is waited for, which takes it milliseconds, and if it stays
    /// full then init hangs, which nothing here can mend.
    pub fn send(&self, message: &ToInit) -> io::Result<()> {
        link::send_patiently(self.socket.get_ref(), message, None)
    }

    /// The next message; `None` once init is gone. Cancel-safe: a message is taken in one system call.
    pub async fn receive(&mut self) -> io::Result<Option<(ToAgent, Option<OwnedFd>)>> {
        loop {
            let mut ready = self.socket.readable().await?;
            match link::receive(self.socket.get_ref(), &mut self.buffer) {
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => ready.clear_ready(),
                received => return received,
            }
        }
    }
}
