//! What others ask of the space over the control API and at the front door, answered from the state.

use super::hall::{Done, Hall};
use crate::control::{self, Refusal};
use crate::model::now::Monotonic;
use crate::model::space::Event;
use crate::model::status::{LeaseStatus, Mode};
use crate::proxy;
use crate::sys::{clock, keys};
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a wish to stop waits for a look at what works.
const LOOK: Duration = Duration::from_secs(3);

/// Somebody wants the space to stop, unless something works in it.
#[derive(Debug)]
pub(super) struct StopWish {
    since: Monotonic,
    by: String,
    reason: Option<String>,
    reply: oneshot::Sender<Result<(), Refusal>>,
}

impl Hall {
    /// An answer that nobody waits for any more is dropped.
    pub(super) fn control(&mut self, request: control::Request) -> io::Result<()> {
        match request {
            control::Request::TakeLease { id, duration, reason, by, reply } => {
                let taken = self.take_or_renew(id, duration, reason, &by)?;
                let _ = reply.send(taken);
            }
            control::Request::EndLease { id, reply } => {
                let known = self.space.lease(&id).is_some();
                self.happen(Event::LeaseEnded { id: id.clone() })?;
                let _ = reply.send(if known { Ok(()) } else { Err(no_such_lease(&id)) });
            }
            control::Request::Stop { reason, force, by, reply } => {
                self.stop_wished(StopWish { since: clock::monotonic(), by, reason, reply }, force)?;
            }
            control::Request::SignIn { to, lifetime, reply } => {
                let _ = reply.send(Ok(self.link(to.as_deref(), lifetime)));
            }
        }
        Ok(())
    }

    /// What was last seen may be a tick old: a cell that has begun since must not be ended by mistake.
    fn stop_wished(&mut self, wish: StopWish, force: bool) -> io::Result<()> {
        if force || !self.space.up() || self.space.watched().next().is_none() {
            return self.decide_stop(wish, force);
        }
        self.wishes.push(wish);
        self.look();
        self.tasks.spawn(async {
            tokio::time::sleep(LOOK).await;
            Done::LookedLongEnough
        });
        Ok(())
    }

    /// Decides on the wishes for which everything was looked at since, or has had its time to be.
    pub(super) fn decide_stops(&mut self) -> io::Result<()> {
        let now = clock::monotonic();
        let (ripe, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wishes)
            .into_iter()
            .partition(|wish| self.space.looked_since(wish.since) || now.since(wish.since) >= LOOK);
        self.wishes = waiting;
        ripe.into_iter().try_for_each(|wish| self.decide_stop(wish, false))
    }

    fn decide_stop(&mut self, wish: StopWish, force: bool) -> io::Result<()> {
        let StopWish { by, reason, reply, .. } = wish;
        let busy = self.space.busy();
        if self.space.up() && !force && !busy.is_empty() {
            let _ = reply.send(Err(still_busy(&busy)));
            return Ok(());
        }
        let _ = reply.send(Ok(()));
        // A space that is on its way out already is not hurried by one more wish.
        if !self.space.up() {
            return Ok(());
        }
        let reason = reason.map_or_else(String::new, |reason| format!(" ({reason})"));
        self.happen(Event::StopAsked { reason: format!("{by} asked for it{reason}") })
    }

    pub(super) fn proxy(&mut self, request: proxy::Request) -> io::Result<()> {
        match request {
            proxy::Request::RedeemLink { id, expires, reply } => {
                let fresh = self.space.link_is_fresh(&id);
                if fresh {
                    // Stored before it is answered: a link is not good again because the agent crashed.
                    self.happen(Event::LinkUsed { id, expires })?;
                }
                let _ = reply.send(fresh);
            }
            proxy::Request::Keep { duration, reply } => {
                let taken =
                    self.take_lease(Some("page".into()), duration, "keep working, on the space's page".into())?;
                let _ = reply.send(taken.map(drop));
            }
            proxy::Request::Start { reply } => self.start_wished("the space's page".into(), reply),
            proxy::Request::Rescue { command, reply } => {
                let recovers = self.space.mode() == Some(Mode::Recovery);
                if recovers {
                    self.happen(Event::RescueAsked { command })?;
                }
                let refused = || "the console is there in recovery mode only".to_owned();
                let _ = reply.send(recovers.then_some(()).ok_or_else(refused));
            }
        }
        Ok(())
    }

    /// A lease under an id that its taker names is a renewal: one that has ended meanwhile is not to be had again, so
    /// that its taker hears of it.
    fn take_or_renew(
        &mut self,
        id: Option<String>,
        duration: Duration,
        reason: Option<String>,
        by: &str,
    ) -> io::Result<Result<LeaseStatus, Refusal>> {
        let renewed = id.as_deref().map(|id| self.space.lease(id).ok_or_else(|| no_such_lease(id)));
        let renewed = match renewed.transpose() {
            Ok(renewed) => renewed,
            Err(refusal) => return Ok(Err(refusal)),
        };
        let reason = match (reason, renewed) {
            (Some(reason), _) => format!("{reason}, by {by}"),
            (None, Some(lease)) => lease.reason.clone(),
            (None, None) => format!("kept by {by}"),
        };
        let taken = self.take_lease(id, duration, reason)?;
        Ok(taken.map_err(|why| refused(409, "no lease", why)))
    }

    /// Takes the lease, or renews the one that has this id.
    fn take_lease(
        &mut self,
        id: Option<String>,
        duration: Duration,
        reason: String,
    ) -> io::Result<Result<LeaseStatus, String>> {
        let now = clock::now();
        let id = id.unwrap_or_else(|| keys::new_id(8));
        match self.space.offer_lease(id, reason, duration, now) {
            Ok(lease) => {
                let status = lease.status(&now);
                self.happen(Event::LeaseTaken(lease))?;
                Ok(Ok(status))
            }
            Err(why) => Ok(Err(why)),
        }
    }

    /// A one-time link for a browser on this machine.
    pub(super) fn link(&self, to: Option<&str>, lifetime: Duration) -> String {
        let token = proxy::link::mint(&self.place.key.into(), clock::now().wall, lifetime);
        proxy::link::url(&self.space.url(), to, &token)
    }
}

fn refused(status: u16, title: &str, detail: impl Into<String>) -> Refusal {
    Refusal { status, title: title.to_owned(), detail: detail.into() }
}

fn no_such_lease(id: &str) -> Refusal {
    refused(404, "no such lease", format!("there is no lease {id}; it may have ended already"))
}

fn still_busy(busy: &[String]) -> Refusal {
    let names = busy.join(", ");
    refused(409, "kernels are busy", format!("these notebooks are running: {names}; stopping now would end them"))
}
