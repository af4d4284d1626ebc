//! The sockets and the lock: opened once in a boot and given to init, taken from init by every later agent.

use super::place::{self, Place};
use super::{BOOT_FAILED, CRASHED, INVALID, Refusal, refusal};
use crate::process::{self, Attached};
use crate::sys::lock;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::time::Duration;

/// How long a start waits for an earlier agent of the same space that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(5);

const FRONT_DOOR: &str = "front door";
const USER_SOCKET: &str = "user socket";
const ADMIN_SOCKET: &str = "admin socket";
const LOCK: &str = "lock";

/// The listening sockets.
#[derive(Debug)]
pub(super) struct Doors {
    pub(super) front: TcpListener,
    pub(super) user: UnixListener,
    pub(super) admin: UnixListener,
}

impl Doors {
    /// The control sockets beside an open front door.
    pub(super) fn open(front: TcpListener, place: &Place, attached: &mut Attached) -> Result<Doors, Refusal> {
        let bind = |path: &Path, mode: u32| {
            let refused = |error| refusal(BOOT_FAILED, format!("cannot listen on {}: {error}", path.display()));
            place::bind(path, mode).map_err(refused)
        };
        let user = kept_or(attached, USER_SOCKET, || bind(&place.user_socket(), 0o666))?;
        let admin = kept_or(attached, ADMIN_SOCKET, || bind(&place.admin_socket(), 0o600))?;
        Ok(Doors { front, user, admin })
    }

    /// What init keeps, for a later agent of a boot.
    pub(super) fn kept(attached: &mut Attached) -> Result<Doors, Refusal> {
        let mut taken = |name: &str| {
            let missing =
                || refusal(BOOT_FAILED, format!("init does not have the {name} any more; start the space again"));
            take(attached, name).ok_or_else(missing)
        };
        Ok(Doors {
            front: taken(FRONT_DOOR)?.into(),
            user: taken(USER_SOCKET)?.into(),
            admin: taken(ADMIN_SOCKET)?.into(),
        })
    }
}

/// One agent for each space. init holds the lock too, so it ends with the last process that could act for the space.
pub(super) fn take_lock(run: &Path, name: &str, attached: &mut Attached) -> Result<OwnedFd, Refusal> {
    kept_or(attached, LOCK, || {
        let path = run.join("lock");
        let lock = lock::take(&path, LOCK_WAIT)
            .map_err(|error| refusal(BOOT_FAILED, format!("cannot lock {}: {error}", path.display())))?;
        let taken = || {
            let run = run.display();
            format!(
                "the space {name} runs already (run folder {run}); see it with `space-agent status`, end it with \
                 `space-agent stop`, or give this one another name with `--space NAME`"
            )
        };
        lock.ok_or_else(|| refusal(BOOT_FAILED, taken()))
    })
}

pub(super) fn open_front_door(listen: SocketAddr, attached: &mut Attached) -> Result<TcpListener, Refusal> {
    kept_or(attached, FRONT_DOOR, || {
        TcpListener::bind(listen).map_err(|error| {
            let why = match error.kind() {
                std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
                _ => error.to_string().to_lowercase(),
            };
            let remedy = "end that program, or write another address: front_door: { listen: 127.0.0.1:8899 }";
            refusal(INVALID, format!("cannot open the front door on {listen}: {why}; {remedy}"))
        })
    })
}

/// What an agent before this one had opened, else newly opened and given to init at once: an agent that is killed
/// between any two of them is followed by one that has what it needs.
fn kept_or<T: From<OwnedFd> + AsFd>(
    attached: &mut Attached,
    name: &str,
    open: impl FnOnce() -> Result<T, Refusal>,
) -> Result<T, Refusal> {
    if let Some(kept) = take(attached, name) {
        return Ok(T::from(kept));
    }
    let opened = open()?;
    process::keep(&attached.socket, name, opened.as_fd())
        .map_err(|error| refusal(CRASHED, format!("init does not take the {name}: {error}")))?;
    Ok(opened)
}

fn take(attached: &mut Attached, name: &str) -> Option<OwnedFd> {
    let index = attached.kept.iter().position(|(kept, _)| kept == name)?;
    Some(attached.kept.remove(index).1)
}
