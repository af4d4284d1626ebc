//! One question to the kernel about one TCP socket of this network namespace (sock_diag(7)): who owns it. Answered at
//! once, however many sockets there are.

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::AsRawFd;

/// A socket as the kernel tells of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Known {
    pub(super) uid: u32,
    pub(super) listens: bool,
    /// Some program has it open. One that waits to be accepted, or was closed, nobody has.
    pub(super) open: bool,
}

const BY_FAMILY: u16 = 20;
const ERROR: u16 = 2;
const REQUEST: u16 = 1;
const HEADER: usize = 16;
const MESSAGE: usize = 72;
const LISTEN: u8 = 10;
const TCP: u8 = 6;

/// The socket at `local` that is connected to `remote`; without such a one, the listener that would accept it. `None`:
/// neither is there.
pub(super) fn find(local: SocketAddr, remote: SocketAddr) -> io::Result<Option<Known>> {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let kernel = socket(AddressFamily::Netlink, SockType::Datagram, flags, SockProtocol::NetlinkSockDiag)?;
    send(kernel.as_raw_fd(), &question(local, remote), MsgFlags::empty())?;
    // The kernel has answered when `send` returns.
    let mut reply = [0; 512];
    let length = recv(kernel.as_raw_fd(), &mut reply, MsgFlags::empty())?;
    answer(&reply[..length])
}

/// The listener that accepts connections to `local`.
pub(super) fn listener(local: SocketAddr) -> io::Result<Option<Known>> {
    let nobody: IpAddr = if local.is_ipv4() { [0; 4].into() } else { [0; 16].into() };
    find(local, SocketAddr::new(nobody, 0)).map(|known| known.filter(|known| known.listens))
}

/// `nlmsghdr` and `inet_diag_req_v2` (linux/inet_diag.h).
fn question(local: SocketAddr, remote: SocketAddr) -> Vec<u8> {
    let family = if local.is_ipv4() { AddressFamily::Inet } else { AddressFamily::Inet6 };
    let mut bytes = Vec::with_capacity(MESSAGE);
    bytes.extend((MESSAGE as u32).to_ne_bytes());
    bytes.extend(BY_FAMILY.to_ne_bytes());
    bytes.extend(REQUEST.to_ne_bytes());
    // Number and sender: one question, one answer.
    bytes.extend([0; 8]);
    bytes.extend([family as i32 as u8, TCP, 0, 0]);
    // In any state.
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(local.port().to_be_bytes());
    bytes.extend(remote.port().to_be_bytes());
    bytes.extend(sixteen(local.ip()));
    bytes.extend(sixteen(remote.ip()));
    // Over any interface, and no cookie.
    bytes.extend(0u32.to_ne_bytes());
    bytes.extend([0xff; 8]);
    bytes
}

fn sixteen(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&ip.octets());
            bytes
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// `nlmsghdr` and `inet_diag_msg`, or an error's number.
fn answer(reply: &[u8]) -> io::Result<Option<Known>> {
    let short = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer about a socket is too short");
    let word = |at: usize| {
        let bytes = reply.get(at..at + 4).and_then(|bytes| bytes.try_into().ok());
        bytes.map(u32::from_ne_bytes).ok_or_else(short)
    };
    let kind = reply.get(4..6).and_then(|bytes| bytes.try_into().ok()).map(u16::from_ne_bytes).ok_or_else(short)?;
    match kind {
        BY_FAMILY => {
            let state = *reply.get(HEADER + 1).ok_or_else(short)?;
            let (uid, inode) = (word(HEADER + 64)?, word(HEADER + 68)?);
            Ok(Some(Known { uid, listens: state == LISTEN, open: inode != 0 }))
        }
        ERROR => match io::Error::from_raw_os_error(word(HEADER)?.cast_signed().wrapping_neg()) {
            none if none.kind() == io::ErrorKind::NotFound => Ok(None),
            error => Err(error),
        },
        _ => Err(io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is not about a socket")),
    }
}
