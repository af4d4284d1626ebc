//! The document, read again: when somebody asks for it (SIGHUP), and before a space leaves recovery or parked mode, since
//! the repair may have been one of the document.
//!
//! While a space runs, only what nothing was built on can change: limits and lists. What steps, apps and the home are is
//! settled at a start. Reading is done on a blocking thread; the hall goes on with [`Reread`].

use super::document::{self, Document};
use super::effects::Workshop;
use super::hall::{Done, Hall};
use super::place::{self, Place};
use super::rooms::discretion;
use super::{identity, prepare};
use crate::cli::RunArgs;
use crate::model::app::AppFacts;
use crate::model::space::Event;
use crate::model::status::Mode;
use crate::process::Command;
use space_lifecycle::Space as Spec;
use std::io;
use tokio::sync::oneshot;

/// Who hears whether the space starts; refused with a sentence.
pub(super) type Reply = oneshot::Sender<Result<(), String>>;

/// What reading the document again has come to.
#[derive(Debug)]
pub(super) enum Reread {
    /// For a start out of recovery or parked mode.
    Start { by: String, reply: Reply, read: Result<Box<Start>, String> },
    /// While the space runs.
    Reload { read: Result<Box<Document>, String> },
}

/// What a space begins its next boot with.
#[derive(Debug)]
pub(super) struct Start {
    spec: Spec,
    app_facts: Vec<AppFacts>,
    warnings: Vec<String>,
}

/// Reads what `run` was called with. With all mistakes, if it cannot be used.
pub(super) fn read(args: &RunArgs) -> Result<Document, String> {
    let document = document::read(args, false).map_err(|refused| refused.message)?;
    match &document.trouble {
        Some(trouble) => Err(trouble.told()),
        None => Ok(document),
    }
}

/// What the space can be next, in the place where it is. Blocking.
fn read_for_start(args: &RunArgs, place: &Place, old: &Spec) -> Result<Box<Start>, String> {
    let document = read(args)?;
    let Document { mut spec, folder, text, warnings, .. } = document;
    let here = prepare::current_folder().map_err(|refused| refused.message)?;
    let home = prepare::home(&spec, &folder, &here);
    let elsewhere = |what: &str| {
        format!("the document names another {what} by now: end this with `space-agent stop`, and start the space again")
    };
    if home != place.home {
        return Err(elsewhere("home"));
    }
    let found = identity::user(spec.user.as_ref(), &home, spec.front_door.listen.ip().is_loopback());
    if found?.0.uid != place.account.uid {
        return Err(elsewhere("user"));
    }
    let wanted = spec.front_door.listen;
    if wanted.ip() != old.front_door.listen.ip() || ![0, old.front_door.listen.port()].contains(&wanted.port()) {
        return Err(elsewhere("address for the front door"));
    }
    let (tls, log) = (&spec.front_door.tls, spec.front_door.access_log);
    if (tls, log) != (&old.front_door.tls, old.front_door.access_log) {
        return Err(elsewhere("certificate or access log for the front door"));
    }
    prepare::usable_home(&home, &place.account)?;
    spec.front_door.listen = old.front_door.listen;
    spec.user = old.user.clone();
    place::write_document(place, text.as_deref()).map_err(|error| format!("cannot put the document by: {error}"))?;
    let app_facts = prepare::app_facts(&spec, place);
    Ok(Box::new(Start { spec, app_facts, warnings }))
}

/// Takes over what can change while a space runs, and says in sentences what has changed and what will only at its next
/// start.
pub(super) fn apply(spec: &mut Spec, new: Spec) -> Vec<String> {
    let mut told = Vec::new();
    let mut take = |changed: bool, what: &str| {
        if changed {
            told.push(format!("{what} holds from now on, as the document has it by now"));
        }
    };
    take(spec.idle != new.idle, "idle");
    take(spec.stop != new.stop, "stop.deadline");
    take(spec.front_door.hosts != new.front_door.hosts, "front_door.hosts");
    take(spec.front_door.origins != new.front_door.origins, "front_door.origins");
    take(spec.agent != new.agent, "agent");
    (spec.idle, spec.stop, spec.agent) = (new.idle, new.stop, new.agent);
    spec.front_door.hosts.clone_from(&new.front_door.hosts);
    spec.front_door.origins.clone_from(&new.front_door.origins);
    // Port 0 has become a port since.
    let listen = new.front_door.listen;
    let moved = listen != spec.front_door.listen && (listen.port() != 0 || listen.ip() != spec.front_door.listen.ip());
    let door = &spec.front_door;
    let fixed =
        |door: &space_lifecycle::FrontDoor| (door.base_path.clone(), door.sign_in, door.tls.clone(), door.access_log);
    let door_changed = moved || fixed(door) != fixed(&new.front_door);
    for (changed, what) in [
        (spec.info != new.info, "space"),
        (spec.user != new.user, "user"),
        (spec.home != new.home, "storage"),
        (spec.steps != new.steps, "lifecycle.steps"),
        (spec.apps != new.apps, "apps"),
        (door_changed, "front_door"),
    ] {
        if changed {
            told.push(format!("{what} has changed in the document; that takes effect at the space's next start"));
        }
    }
    if told.is_empty() {
        told.push("the document was read again; nothing in it has changed".into());
    }
    told
}

impl Hall {
    /// Somebody wants the space to leave recovery or parked mode.
    pub(super) fn start_wished(&mut self, by: String, reply: Reply) {
        if !matches!(self.space.mode(), Some(Mode::Recovery | Mode::Parked)) {
            // Nobody may wait for it any more.
            let _ =
                reply.send(Err("the space is neither in recovery mode nor parked: there is nothing to start".into()));
            return;
        }
        let (args, place, old) = (self.args.clone(), self.place.clone(), self.space.spec.clone());
        self.tasks.spawn(async move {
            let thread = tokio::task::spawn_blocking(move || read_for_start(&args, &place, &old));
            let read = late(tokio::time::timeout(super::hall::BLOCKING, thread).await);
            Done::Reread(Reread::Start { by, reply, read })
        });
    }

    /// Somebody wants the document to be read again while the space runs.
    pub(super) fn reload_wished(&mut self) {
        let args = self.args.clone();
        self.tasks.spawn(async move {
            let thread = tokio::task::spawn_blocking(move || read(&args).map(Box::new));
            let read = late(tokio::time::timeout(super::hall::BLOCKING, thread).await);
            Done::Reread(Reread::Reload { read })
        });
    }

    /// What is started from now on, and what is shown of its output, is as the document now says.
    fn refit(&mut self, spec: &Spec) {
        self.workshop =
            Workshop::new(spec.clone(), self.place.clone(), &self.space.facts.boot, self.workshop.meters.clone());
        self.pending.push_back(Command::Discretion(Box::new(discretion(spec))));
    }

    pub(super) fn reread(&mut self, reread: Reread) -> io::Result<()> {
        match reread {
            Reread::Start { reply, read: Err(why), .. } => drop(reply.send(Err(why))),
            Reread::Start { reply, .. } if self.space.may_start_anew() != Ok(true) => {
                drop(reply.send(Err("the space turned to something else meanwhile".into())));
            }
            Reread::Start { by, reply, read: Ok(start) } => {
                let Start { spec, app_facts, warnings } = *start;
                if spec != self.space.spec {
                    self.refit(&spec);
                    self.happen(Event::Replaced { spec: Box::new(spec), app_facts })?;
                }
                self.happen(Event::StartAsked { by })?;
                for warning in warnings {
                    self.happen(Event::Warned(warning))?;
                }
                let _ = reply.send(Ok(()));
            }
            Reread::Reload { read: Err(why) } => {
                let text = format!("the document cannot be used, and the space goes on as it was: {why}");
                self.happen(Event::Noted { text, failure: true })?;
            }
            Reread::Reload { read: Ok(document) } => {
                let mut spec = self.space.spec.clone();
                let told = apply(&mut spec, document.spec);
                self.refit(&spec);
                self.happen(Event::Reloaded { spec: Box::new(spec), told })?;
            }
        }
        Ok(())
    }
}

type Late<T> = Result<Result<Result<T, String>, tokio::task::JoinError>, tokio::time::error::Elapsed>;

fn late<T>(read: Late<T>) -> Result<T, String> {
    match read {
        Ok(Ok(read)) => read,
        Ok(Err(_)) => Err("the document could not be read: the agent has a bug; please report its log".into()),
        Err(_) => Err("the document could not be read in time: a disk hangs".into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_nothing_was_built_on_changes_at_once_and_the_rest_is_told() {
        let mut spec = space_lifecycle::default_space();
        let mut new = spec.clone();
        assert_eq!(apply(&mut spec, new.clone()), ["the document was read again; nothing in it has changed"]);
        new.idle.shutdown = Some(Duration::from_secs(60));
        new.front_door.hosts = vec!["lab.example".into()];
        new.front_door.sign_in = space_lifecycle::SignIn::Open;
        new.apps.clear();
        let told = apply(&mut spec, new.clone());
        let found = |what: &str, when: &str| told.iter().any(|line| line.starts_with(what) && line.contains(when));
        assert!(found("idle", "from now on") && found("front_door.hosts", "from now on"), "{told:?}");
        assert!(found("apps", "next start") && found("front_door ", "next start") && told.len() == 4, "{told:?}");
        assert_eq!((&spec.idle, &spec.front_door.hosts), (&new.idle, &new.front_door.hosts));
        assert_eq!((spec.apps.len(), spec.front_door.sign_in), (1, space_lifecycle::SignIn::Token), "no door opens");
    }
}
