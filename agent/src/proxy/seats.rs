//! How many clients are in at once, and what happens when one more knocks.
//!
//! A connection over which nobody has proven a session is the first to make room, once it has had time to, whatever it is
//! busy with: so nobody without one keeps viewers out. A connection between two requests costs its client nothing to
//! lose, so the oldest of these is next. Where all are busy, a few spare ones are let in for a moment: they hear whether
//! the agent lives, and everything else is told to come later. One descriptor is kept back, so that the same holds when
//! this process has no other left. Beyond that clients wait in the listener's backlog, and nothing spins.

use super::watched::Busy;
use crate::sys::clock;
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinError, JoinSet};
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tracing::warn;

/// Open connections at most, however many descriptors there may be.
const CONNECTIONS: usize = 16_384;
/// And at least, however few.
const CONNECTIONS_AT_LEAST: usize = 64;
/// Descriptors for everything else than clients and the connections to apps that their requests need.
const OTHER_DESCRIPTORS: u64 = 256;
/// Connections beyond the limit, each for [`SPARE_TIME`] at most.
const SPARE: usize = 16;
pub(super) const SPARE_TIME: Duration = Duration::from_secs(2);
/// What a client gets to prove a session before it is the first to make room.
const PROOF: Duration = Duration::from_millis(if cfg!(test) { 100 } else { 2000 });
/// Before the next look for room, and after an accept that failed for want of descriptors or memory.
const BREATH: Duration = Duration::from_millis(20);
/// What answers in flight get when the door closes, unless there is less time for all of it.
const GRACE: Duration = Duration::from_secs(2);

/// How many connections fit into a limit on descriptors: each may have one to an app beside it, for as long as it is
/// open.
pub(super) fn connections(descriptors: u64) -> usize {
    let fit = descriptors.saturating_sub(OTHER_DESCRIPTORS) / 2;
    usize::try_from(fit).unwrap_or(CONNECTIONS).clamp(CONNECTIONS_AT_LEAST, CONNECTIONS)
}

/// All open connections.
#[derive(Debug)]
pub(super) struct Seats {
    listener: TcpListener,
    most: usize,
    open: JoinSet<()>,
    /// Of these, told to end.
    told: usize,
    /// In the order in which they came.
    guests: Vec<Guest>,
    /// Stands for the descriptor of one more connection.
    reserve: Option<OwnedFd>,
    /// Nobody could be let in: all are busy.
    full: bool,
}

#[derive(Debug)]
struct Guest {
    busy: Arc<Busy>,
    task: AbortHandle,
    since: Instant,
}

/// Somebody who comes in.
#[derive(Debug)]
pub(super) struct Arrival {
    pub(super) stream: TcpStream,
    pub(super) peer: SocketAddr,
    pub(super) busy: Arc<Busy>,
    /// One connection too many, which is to end soon.
    pub(super) is_spare: bool,
}

impl Seats {
    pub(super) fn new(listener: TcpListener, descriptors: u64) -> Seats {
        let most = connections(descriptors);
        let mut seats =
            Seats { listener, most, open: JoinSet::new(), told: 0, guests: Vec::new(), reserve: None, full: false };
        seats.keep_reserve();
        seats
    }

    /// Waits for the next client. Cancel-safe: whoever was accepted is returned.
    pub(super) async fn next(&mut self) -> Arrival {
        loop {
            self.keep_reserve();
            // Room is made before anybody knocks, so that the next client finds its descriptor free.
            if self.taken() >= self.most && !self.make_room() && self.taken() >= self.most + SPARE {
                self.wait().await;
                continue;
            }
            // Both are cancel-safe: whoever is accepted is returned, and a joined task needs no farewell.
            let accepted = tokio::select! {
                accepted = self.listener.accept() => accepted,
                Some(left) = self.open.join_next(), if !self.open.is_empty() => {
                    self.left(left);
                    continue;
                }
            };
            match accepted {
                Ok((stream, peer)) => {
                    // Meanwhile one may have become idle.
                    let is_spare = self.reserve.is_none() || self.taken() >= self.most && !self.make_room();
                    return Arrival { stream, peer, busy: Arc::default(), is_spare };
                }
                Err(error) => {
                    if let Some(arrival) = self.refused(&error).await {
                        return arrival;
                    }
                }
            }
        }
    }

    /// Open connections, without those that have been told to end.
    fn taken(&mut self) -> usize {
        while let Some(left) = self.open.try_join_next() {
            self.left(left);
        }
        self.open.len().saturating_sub(self.told)
    }

    fn left(&mut self, left: Result<(), JoinError>) {
        if left.is_err_and(|error| error.is_cancelled()) {
            self.told = self.told.saturating_sub(1);
        }
    }

    pub(super) fn spawn(&mut self, busy: Arc<Busy>, connection: impl Future<Output = ()> + Send + 'static) {
        let task = self.open.spawn(connection);
        if self.guests.len() >= 64 + 2 * self.open.len() {
            self.guests.retain(|guest| !guest.task.is_finished());
        }
        self.guests.push(Guest { busy, task, since: clock::instant() });
    }

    /// Ends the oldest connection of a stranger, or else the oldest that nothing happens on.
    fn make_room(&mut self) -> bool {
        self.guests.retain(|guest| !guest.task.is_finished());
        let now = clock::instant();
        let stranger = |guest: &Guest| !guest.busy.is_viewer() && now.duration_since(guest.since) >= PROOF;
        let stranger = self.guests.iter().position(stranger);
        let last = stranger.or_else(|| self.guests.iter().position(|guest| !guest.busy.is()));
        let Some(last) = last else { return false };
        self.guests.remove(last).task.abort();
        self.told += 1;
        true
    }

    /// Until one has left, or one may have become idle.
    async fn wait(&mut self) {
        if !self.full {
            warn!(open = self.open.len(), "no more connections are accepted for now: all are busy");
        }
        self.full = true;
        // Both are cancel-safe: a joined task needs no farewell.
        tokio::select! {
            Some(left) = self.open.join_next() => self.left(left),
            () = sleep(BREATH) => {}
        }
    }

    /// A client that went away before it was accepted is nothing; without descriptors or memory it takes a moment.
    async fn refused(&mut self, error: &io::Error) -> Option<Arrival> {
        use io::ErrorKind::{ConnectionAborted, ConnectionReset, Interrupted};
        if matches!(error.kind(), ConnectionAborted | ConnectionReset | Interrupted) {
            return None;
        }
        if !self.full {
            warn!(%error, "no connection can be accepted just now");
        }
        self.full = true;
        if self.make_room() {
            // Its descriptor is free once its task has been ended.
            tokio::task::yield_now().await;
            return None;
        }
        // The next client gets the descriptor that was kept back.
        if self.reserve.take().is_some()
            && let Ok(Ok((stream, peer))) = timeout(BREATH, self.listener.accept()).await
        {
            return Some(Arrival { stream, peer, busy: Arc::default(), is_spare: true });
        }
        sleep(BREATH).await;
        None
    }

    fn keep_reserve(&mut self) {
        if self.reserve.is_none() {
            self.reserve = self.listener.as_fd().try_clone_to_owned().ok();
        }
        if self.reserve.is_some() && self.taken() < self.most {
            self.full = false;
        }
    }

    /// Lets nobody in any more. Every connection has heard of the stop itself, and is cut `until` at the latest.
    pub(super) async fn drain(self, until: Option<Instant>) {
        let Seats { listener, mut open, reserve, .. } = self;
        drop((listener, reserve));
        let all = async { while open.join_next().await.is_some() {} };
        let grace = clock::instant() + GRACE;
        if timeout_at(until.map_or(grace, |until| until.min(grace)), all).await.is_err() {
            open.shutdown().await;
        }
    }
}
