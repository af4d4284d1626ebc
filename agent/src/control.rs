//! The control room: the HTTP API that the command line, the space's user and a plane call, over two unix sockets.
//!
//! It receives requests and turns them into answers from the published status, or into a [`Request`] to the hall. It
//! decides nothing about the space itself. Who may do what follows from the peer's uid, which the kernel tells
//! ([`rights`]). Routes and the OpenAPI document come from the same handlers ([`routes`]).
//!
//! It stops when told: running answers get two seconds to go out, streams end by themselves. It never touches a path
//! but the log folder, and that on blocking threads with a deadline ([`log`]); what is in the home is read by errand
//! ([`boots`]). Whatever hangs, status is answered.

pub mod api;
mod ask;
mod boots;
mod extract;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzz;
mod log;
mod metrics;
mod problem;
pub mod rights;
mod routes;
mod serve;

use crate::errand::Errands;
use crate::model::status::{LeaseStatus, Status};
use crate::sys::stop::Stop;
use rights::{Door, Owners};
use std::fmt;
use std::io;
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot, watch};

pub use metrics::Counters;
pub use routes::openapi;

/// What the room needs; sockets are bound by the caller, who also owns their paths.
#[derive(Debug)]
pub struct Config {
    /// `$RUN/user.sock`, mode 0666.
    pub user_socket: UnixListener,
    /// `$RUN/admin/control.sock`, mode 0600 in a folder of mode 0700.
    pub admin_socket: UnixListener,
    /// The space's user.
    pub user_uid: u32,
    pub agent_uid: u32,
    pub status: watch::Receiver<Arc<Status>>,
    /// Holds `<step or app>.log` and, once rotated, `<step or app>.log.1`.
    pub log_folder: PathBuf,
    /// Reads the boot record in the home.
    pub errands: Errands,
    /// What has passed the front door.
    pub counters: Counters,
}

/// What somebody with the right to it wants from the hall. An answer that nobody waits for any more may be dropped.
#[derive(Debug)]
pub enum Request {
    TakeLease {
        /// Renew this one; 404 if it has ended.
        id: Option<String>,
        /// At least a second; the longest one is the hall's to decide.
        duration: Duration,
        /// One line of at most 200 bytes. A renewal without one keeps the one it has.
        reason: Option<String>,
        /// Who takes it; the hall says so with the reason.
        by: String,
        reply: oneshot::Sender<Result<LeaseStatus, Refusal>>,
    },
    EndLease {
        id: String,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    Stop {
        reason: Option<String>,
        /// Even when kernels are busy; otherwise the hall refuses with 409 and names them.
        force: bool,
        by: String,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// End an app and start it anew; one that was given up gets all its tries again.
    Restart {
        app: String,
        /// Even when its kernels are busy; otherwise the hall refuses with 409 and names them.
        force: bool,
        by: String,
        reply: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Leave recovery or parked mode.
    Start {
        by: String,
        /// Whether it starts now; false: it runs, or is on its way, already.
        reply: oneshot::Sender<Result<bool, Refusal>>,
    },
    SignIn {
        /// A path on the front door, checked: begins with one `/`.
        to: Option<String>,
        /// 5 to 300 seconds.
        lifetime: Duration,
        /// The link.
        reply: oneshot::Sender<Result<String, Refusal>>,
    },
}

/// Why the hall doesn't do it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// An HTTP status: 404 no such object, 409 not now, 422 not so.
    pub status: u16,
    /// Two or three words: `kernels are busy`.
    pub title: String,
    /// What happened, to which object, what to do.
    pub detail: String,
}

/// Why the room could not open.
#[derive(Debug)]
pub enum Error {
    Listen { door: Door, source: io::Error },
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Listen { door, .. } => write!(f, "cannot serve the {door} socket of the control API"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Error::Listen { source, .. } => Some(source),
        }
    }
}

/// Serves both sockets until told to stop.
pub async fn run(config: Config, requests: mpsc::Sender<Request>, stop: Stop) -> Result<(), Error> {
    let room =
        routes::Room::new(config.status, requests, config.log_folder, config.errands, config.counters, stop.clone());
    let router = routes::router(room);
    let owners = Owners { user_uid: config.user_uid, agent_uid: config.agent_uid };
    let user = serve::Served::new(Door::User, config.user_socket, owners, router.clone())?;
    let admin = serve::Served::new(Door::Admin, config.admin_socket, owners, router)?;
    tokio::join!(user.until(stop.clone()), admin.until(stop));
    Ok(())
}

#[cfg(test)]
pub(crate) mod tests;
