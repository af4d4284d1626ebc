//! The protocol between init and the agent: JSON messages with descriptors over a sequenced-packet socket pair.
//!
//! init is the truth about children and kept descriptors; the agent asks and is told. The order after the start of an
//! agent: it says [`ToInit::Hello`]; init answers [`ToAgent::Welcome`] (with the state's memory file), one
//! [`ToAgent::Kept`] for each kept descriptor and one [`ToAgent::Child`] for each child, then [`ToAgent::Complete`].
//! From then on news as it happens. An exit is told to each new agent again until it is acknowledged.
//!
//! Versioned, since an upgrade replaces the agent and not init: a new agent must speak the version of an old init. A
//! field may be added (the other side ignores it). A message may be added with a new [`MINOR`]: each side says its own
//! in the greeting, and is never sent a message that came after it. Anything else needs a new [`VERSION`].

use crate::model::child::{ChildSpec, Exit};
use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, poll};
use nix::sys::socket::{
    AddressFamily, ControlMessage, ControlMessageOwned, MsgFlags, SockFlag, SockType, recvmsg, sendmsg, socketpair,
};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use tokio::io::unix::AsyncFd;

/// The protocol's version that this binary speaks.
pub const VERSION: u32 = 1;

/// The newest messages of the version that this binary knows. 0 is a peer that does not say: it knows none of those
/// marked with a minor version below.
pub const MINOR: u32 = 1;

/// The exit code of an agent that was asked to make room for its successor ([`ToAgent::Replace`]), and has.
pub const HANDED_OVER: i32 = 75;

/// The largest message in bytes; a sequenced packet must fit the socket's send buffer (208 KiB by default).
pub const LARGEST: usize = 160 * 1024;

/// What most messages fit, in bytes.
const SMALL: usize = 4096;

/// How long the agent waits for init to read: init does nothing that takes long.
const PATIENCE: u16 = 5_000;

/// What the agent asks of init.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToInit {
    Hello {
        version: u32,
        #[serde(default)]
        minor: u32,
    },
    /// How often the agent may crash before init gives up.
    Policy { max: u32, within_ms: u64 },
    /// Keep the descriptor that comes with this message, under this name (replaces an older one).
    Keep { name: String },
    /// Start a child. Refused if a child with this id is known, so that asking twice never starts two.
    Spawn { id: String, spec: Box<ChildSpec> },
    /// Send a signal to a child's process group, which can't be mistaken while its leader is not reaped, or, once the
    /// leader has ended, to nobody.
    Signal { id: String, signal: i32 },
    /// The exit of this child is stored: forget the child.
    Acknowledge { id: String },
    /// Minor 1. The space ends: it has this long, and then init ends what is left and leaves with this code, whatever
    /// the agent does. A later one replaces an earlier one. An agent that was asked to stop says this at once.
    Ending { within_ms: u64, code: u8 },
}

/// What init tells the agent.
#[derive(Debug, Serialize, Deserialize)]
pub enum ToAgent {
    /// With the memory file.
    Welcome {
        version: u32,
        /// 1 for the first agent.
        starts: u32,
        init_pid: i32,
        /// How often init was asked to stop by a signal.
        stops_asked: u32,
        #[serde(default)]
        minor: u32,
    },
    /// With the descriptor.
    Kept {
        name: String,
    },
    /// A child that init has, with the read end of its output pipe.
    Child {
        id: String,
        pid: i32,
        exit: Option<Exit>,
    },
    Complete,
    /// With the read end of its output pipe.
    Spawned {
        id: String,
        pid: i32,
    },
    Ended {
        id: String,
        exit: Exit,
    },
    StopAsked {
        times: u32,
    },
    /// Minor 1. Store the state, write out what is not written, and leave with [`HANDED_OVER`]; the successor goes on.
    Replace,
    /// Minor 1. Read the documents again.
    Reload,
}

/// A connected pair; closed on exec, not blocking.
pub fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    Ok(socketpair(AddressFamily::Unix, SockType::SeqPacket, None, flags)?)
}

/// The socket, watched by the runtime that this is called in.
pub fn watch(socket: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the descriptor is owned by what is returned, so it stays open and the same while it is watched.
    unsafe { AsyncFd::register(socket) }.map_err(Into::into)
}

/// The descriptor that init has given this process under this number.
pub fn inherited(number: i32) -> io::Result<OwnedFd> {
    if number < 3 || nix::fcntl::fcntl(borrow(number), nix::fcntl::FcntlArg::F_GETFD).is_err() {
        return Err(io::Error::other(format!("descriptor {number} is not one that init has given")));
    }
    // SAFETY: it is open (checked above), and nothing else in this process knows its number.
    let socket = unsafe { OwnedFd::from_raw_fd(number) };
    nix::fcntl::fcntl(&socket, nix::fcntl::FcntlArg::F_SETFD(nix::fcntl::FdFlag::FD_CLOEXEC))?;
    Ok(socket)
}

fn borrow(number: i32) -> BorrowedFd<'static> {
    // SAFETY: only looked at by the call that asks whether it is open.
    unsafe { BorrowedFd::borrow_raw(number) }
}

/// Sends one message, with at most one descriptor. `WouldBlock` if the other side does not read.
pub fn send(socket: &OwnedFd, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    let bytes = serde_json::to_vec(message)?;
    if bytes.len() > LARGEST {
        let text =
            format!("a message of {} bytes is larger than the {LARGEST} that fit between agent and init", bytes.len());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, text));
    }
    let fds: Vec<_> = fd.iter().map(AsRawFd::as_raw_fd).collect();
    let control: Vec<ControlMessage<'_>> =
        if fds.is_empty() { Vec::new() } else { vec![ControlMessage::ScmRights(&fds)] };
    loop {
        let flags = MsgFlags::MSG_NOSIGNAL | MsgFlags::MSG_DONTWAIT;
        match sendmsg::<()>(socket.as_raw_fd(), &[IoSlice::new(&bytes)], &control, flags, None) {
            Ok(_) => return Ok(()),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// As [`send`], for the agent: init takes in whatever it is sent, so a full buffer is waited for, this long at most.
pub fn send_patiently(socket: &OwnedFd, message: &impl Serialize, fd: Option<BorrowedFd<'_>>) -> io::Result<()> {
    loop {
        match send(socket, message, fd) {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            sent => return sent,
        }
        let mut fds = [PollFd::new(socket.as_fd(), PollFlags::POLLOUT)];
        match poll(&mut fds, PATIENCE) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "init does not read what it is sent")),
            Ok(_) | Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// The length of the next message, which stays where it is.
fn waiting(socket: &impl AsFd) -> Result<usize, Errno> {
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_PEEK | MsgFlags::MSG_TRUNC;
    nix::sys::socket::recv(socket.as_fd().as_raw_fd(), &mut [], flags)
}

/// Receives one message; `None` at the end (the other side is gone), `WouldBlock` if there is none yet.
pub fn receive<M: DeserializeOwned>(
    socket: &impl AsFd,
    buffer: &mut Vec<u8>,
) -> io::Result<Option<(M, Option<OwnedFd>)>> {
    // A large message is rare: the buffer has the size of the largest that came.
    let pending = match waiting(socket) {
        Ok(length) => length,
        Err(Errno::ECONNRESET) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    if pending > LARGEST {
        let text = "a message between agent and init is larger than agreed";
        return Err(io::Error::new(io::ErrorKind::InvalidData, text));
    }
    buffer.resize(pending.max(buffer.len()).max(SMALL), 0);
    let mut space = nix::cmsg_space!([i32; 1]);
    let mut slices = [IoSliceMut::new(buffer)];
    let flags = MsgFlags::MSG_DONTWAIT | MsgFlags::MSG_CMSG_CLOEXEC;
    let (length, fd, truncated) = {
        let received = match recvmsg::<()>(socket.as_fd().as_raw_fd(), &mut slices, Some(&mut space), flags) {
            Ok(received) => received,
            Err(Errno::ECONNRESET) => return Ok(None),
            Err(errno) => return Err(errno.into()),
        };
        let fd = received.cmsgs()?.find_map(|message| match message {
            // SAFETY: the kernel has just made this descriptor for us; nobody else owns it.
            ControlMessageOwned::ScmRights(fds) => fds.first().map(|fd| unsafe { OwnedFd::from_raw_fd(*fd) }),
            _ => None,
        });
        (received.bytes, fd, received.flags.contains(MsgFlags::MSG_TRUNC))
    };
    if length == 0 && fd.is_none() {
        return Ok(None);
    }
    if truncated {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "a message between agent and init is larger than agreed",
        ));
    }
    let message = serde_json::from_slice(&buffer[..length]).map_err(|error| {
        let text = format!("agent and init do not understand each other: {error}");
        io::Error::new(io::ErrorKind::InvalidData, text)
    })?;
    Ok(Some((message, fd)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_arrives_with_its_descriptor_and_the_end_is_seen() {
        let (here, there) = pair().unwrap();
        let mut buffer = Vec::new();
        let pipe = nix::unistd::pipe().unwrap();
        send(&here, &ToInit::Keep { name: "door".into() }, Some(pipe.0.as_fd())).unwrap();
        send(&here, &ToInit::Acknowledge { id: "app/default".into() }, None).unwrap();
        drop(here);
        let (message, fd) = receive::<ToInit>(&there, &mut buffer).unwrap().unwrap();
        assert!(matches!(message, ToInit::Keep { name } if name == "door"));
        assert!(fd.is_some());
        let (message, fd) = receive::<ToInit>(&there, &mut buffer).unwrap().unwrap();
        assert!(matches!(message, ToInit::Acknowledge { .. }) && fd.is_none());
        assert!(receive::<ToInit>(&there, &mut buffer).unwrap().is_none());
    }

    #[test]
    fn a_peer_that_says_no_minor_version_has_none_and_ours_is_passed_over() {
        // What the first release says, and how it reads what it is told.
        #[derive(Deserialize)]
        enum First {
            Welcome { version: u32, starts: u32, init_pid: i32, stops_asked: u32 },
        }
        let hello: ToInit = serde_json::from_str(r#"{"Hello":{"version":1}}"#).unwrap();
        assert!(matches!(hello, ToInit::Hello { version: VERSION, minor: 0 }));
        let welcome = ToAgent::Welcome { version: VERSION, starts: 2, init_pid: 3, stops_asked: 4, minor: MINOR };
        let First::Welcome { version, starts, init_pid, stops_asked } =
            serde_json::from_slice(&serde_json::to_vec(&welcome).unwrap()).unwrap();
        assert_eq!((version, starts, init_pid, stops_asked), (1, 2, 3, 4));
    }

    #[test]
    fn a_message_that_is_too_large_is_refused_before_it_is_sent() {
        let (here, _there) = pair().unwrap();
        let message = ToInit::Acknowledge { id: "x".repeat(LARGEST) };
        assert_eq!(send(&here, &message, None).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
