//! What others ask of the space over the control API and at the front door, answered from the state.

use super::hall::{Done, Hall};
use crate::control::api::KERNELS_BUSY;
use crate::control::{self, Refusal};
use crate::model::now::Monotonic;
use crate::model::space::Event;
use crate::model::status::{LeaseStatus, Mode};
use crate::proxy;
use crate::sys::{clock, keys};
use std::io;
use std::time::Duration;
use tokio::sync::oneshot;

/// How long a wish for an end waits for a look at what works.
const LOOK: Duration = Duration::from_secs(3);

/// Somebody wants something to end, unless it works.
#[derive(Debug)]
pub(super) struct Wish {
    since: Monotonic,
    of: Ending,
    by: String,
    /// Even what works.
    force: bool,
    reply: Reply,
}

type Reply = oneshot::Sender<Result<(), Refusal>>;

#[derive(Debug)]
enum Ending {
    Space {
        reason: Option<String>,
    },
    /// To be started anew; by its place in the document.
    App(usize),
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
                self.wished(Wish { since: clock::monotonic(), of: Ending::Space { reason }, by, force, reply })?;
            }
            control::Request::Restart { app, force, by, reply } => match self.restartable(&app) {
                Ok(app) => {
                    self.wished(Wish { since: clock::monotonic(), of: Ending::App(app), by, force, reply })?;
                }
                Err(refusal) => drop(reply.send(Err(refusal))),
            },
            control::Request::Start { by, reply } => match self.space.may_start_anew() {
                Ok(true) => self.start_anew(by, reply),
                starts => {
                    let _ = reply.send(starts.map_err(|why| refused(409, "the space is ending", why)));
                }
            },
            control::Request::SignIn { to, lifetime, reply } => {
                let _ = reply.send(Ok(self.link(to.as_deref(), lifetime)));
            }
        }
        Ok(())
    }

    /// The document is read again first: it may be what was mended.
    fn start_anew(&mut self, by: String, reply: oneshot::Sender<Result<bool, Refusal>>) {
        let (read, starts) = oneshot::channel();
        self.start_wished(by, read);
        self.tasks.spawn(async move {
            let starts = starts.await.unwrap_or_else(|_| Err("the space turned to something else meanwhile".into()));
            let _ = reply.send(starts.map(|()| true).map_err(|why| refused(409, "the space cannot start", why)));
            Done::Answered
        });
    }

    /// What was last seen may be a tick old: a cell that has begun since must not be ended by mistake.
    fn wished(&mut self, wish: Wish) -> io::Result<()> {
        if wish.force || !self.space.up() || self.space.watched().next().is_none() {
            return self.decide(wish);
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
    pub(super) fn decide_wishes(&mut self) -> io::Result<()> {
        let now = clock::monotonic();
        let (ripe, waiting): (Vec<_>, Vec<_>) = std::mem::take(&mut self.wishes)
            .into_iter()
            .partition(|wish| self.space.looked_since(wish.since) || now.since(wish.since) >= LOOK);
        self.wishes = waiting;
        ripe.into_iter().try_for_each(|wish| self.decide(wish))
    }

    fn decide(&mut self, wish: Wish) -> io::Result<()> {
        let Wish { of, by, force, reply, .. } = wish;
        match of {
            Ending::Space { reason } => self.decide_stop(reason, &by, force, reply),
            Ending::App(app) => self.decide_restart(app, by, force, reply),
        }
    }

    fn decide_stop(&mut self, reason: Option<String>, by: &str, force: bool, reply: Reply) -> io::Result<()> {
        let busy = self.space.busy();
        if self.space.up() && !force && !busy.is_empty() {
            let _ = reply.send(Err(still_busy(&busy, "stopping now")));
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

    fn restartable(&self, name: &str) -> Result<usize, Refusal> {
        let apps = &self.space.spec.apps;
        let app = apps.iter().position(|app| app.name == name);
        let app = app.ok_or_else(|| refused(404, "no such app", format!("this space has no app {name}")))?;
        self.space.may_restart(app).map(|()| app).map_err(|why| refused(409, "not now", why))
    }

    /// Once more, since it may have waited for a look. The status that shows the restart is out before the answer.
    fn decide_restart(&mut self, app: usize, by: String, force: bool, reply: Reply) -> io::Result<()> {
        let busy = self.space.busy_in(app);
        let may = match self.space.may_restart(app) {
            Err(why) => Err(refused(409, "not now", why)),
            Ok(()) if !force && !busy.is_empty() => Err(still_busy(&busy, "restarting their app now")),
            Ok(()) => Ok(()),
        };
        if may.is_ok() {
            self.happen(Event::RestartAsked { app, by })?;
        }
        let _ = reply.send(may);
        Ok(())
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
            proxy::Request::Wake { app, reply } => {
                if let Some(app) = self.space.spec.apps.iter().position(|known| known.name == app) {
                    self.happen(Event::AppWanted { app })?;
                }
                let _ = reply.send(());
            }
            proxy::Request::Note { text, failure } => self.happen(Event::Noted { text, failure })?,
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

fn still_busy(busy: &[String], ending: &str) -> Refusal {
    let names = busy.join(", ");
    refused(409, KERNELS_BUSY, format!("these notebooks are running: {names}; {ending} would end them"))
}
