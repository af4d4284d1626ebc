//! What can be read of an invalid document without guessing: the space in which it can be repaired.
//!
//! A section counts only as a whole. Each is read by a decoder of its own, and one in which anything is wrong is as if
//! nobody had written it. So no slip opens a door: half a front door could be one without sign-in.

use super::{At, Decoder, Fields, Mode, read};
use crate::mistake::{Collected, Mistakes, Source};
use crate::space::{Action, AgentPolicy, App, AppKind, FrontDoor, Idle, JupyterLab, Space, Stop};
use crate::tree::{self, Entry, Node, Value};
use crate::vocabulary::DOCUMENT;

/// An invalid document's remains.
#[derive(Debug, Clone, PartialEq)]
pub struct Salvage {
    /// Without steps, and with one app.
    pub space: Space,
    /// What is wrong with the document; empty only if nothing is.
    pub mistakes: Mistakes,
}

/// What can be read of a document that [`read`](read()) refuses.
///
/// The space has those sections that are valid in themselves, and what holds without them in place of the others; of
/// the apps it has the first one, or else the JupyterLab that is found on PATH. Steps are left out. Of a text that is no
/// tree, or of a version that this agent does not read, there is nothing to be had.
pub fn salvage(text: &str, name: &str) -> Salvage {
    let sources = [Source::new(name, text)];
    let tree = tree::parse(text, 0, &sources[0], &mut Collected::default());
    let root = tree.map(crate::merge::merge);
    let sections = root.as_ref().and_then(|root| Sections::of(root, &sources));
    let space = sections.unwrap_or(Sections { sources: &sources, entries: &[], newer: false }).space();
    let mistakes = read(text, name, Mode::Run).err().unwrap_or(Mistakes { mistakes: Vec::new(), more: 0 });
    Salvage { space, mistakes }
}

/// The parts of a document, each to be read apart from the others.
struct Sections<'s> {
    sources: &'s [Source<'s>],
    entries: &'s [Entry],
    /// As the decoder's.
    newer: bool,
}

impl<'s> Sections<'s> {
    /// `None`: each word of the document may mean something else. A version that isn't written at all was forgotten.
    fn of(root: &'s Node, sources: &'s [Source<'s>]) -> Option<Self> {
        let Value::Map(entries) = &root.value else { return None };
        let fields = Fields { at: At::root(root), entries, objects: &[&DOCUMENT] };
        let one = |version: &Node| version.is_sound() && version.raw().split('.').next() == Some("1");
        if fields.entry("version").is_some_and(|entry| !one(&entry.value)) {
            return None;
        }
        let mut decoder = Decoder::new(sources, Mode::Run);
        decoder.version(&fields);
        Some(Self { sources, entries, newer: decoder.newer })
    }

    fn space(&self) -> Space {
        let front_door = self.whole("front_door", |decoder, at| decoder.front_door(at));
        let front_door = front_door.unwrap_or_else(FrontDoor::usual);
        let own_base = front_door.base_path != "/";
        Space {
            info: self.whole("space", |decoder, at| decoder.info(at)).unwrap_or_default(),
            user: self.whole("user", |decoder, at| decoder.user(at)),
            home: self.whole("storage", |decoder, at| decoder.home(at)),
            steps: Vec::new(),
            apps: vec![self.first_app(own_base).unwrap_or_else(|| usual_app(own_base))],
            idle: self.whole("idle", |decoder, at| decoder.idle(at)).unwrap_or_else(|| Idle::usual(Action::Exit)),
            front_door,
            stop: self.whole("stop", |decoder, at| decoder.stop(at)).unwrap_or_else(Stop::usual),
            agent: self.whole("agent", |decoder, at| decoder.agent(at)).unwrap_or_else(AgentPolicy::usual),
        }
    }

    /// What a section says, if nothing in it is wrong.
    fn whole<T>(&self, key: &str, value: impl FnOnce(&mut Decoder<'_>, At<'_>) -> Option<T>) -> Option<T> {
        let entry = self.entry(key).filter(|entry| entry.value.is_sound())?;
        self.without_mistakes(|decoder| value(decoder, at(entry)))
    }

    /// The first app, whatever is wrong with those after it.
    fn first_app(&self, own_base: bool) -> Option<App> {
        let entry = self.entry("apps")?;
        let Value::List(apps) = &entry.value.value else { return None };
        apps.first().filter(|app| app.is_sound())?;
        self.without_mistakes(|decoder| decoder.first_app(&at(entry), own_base))
    }

    fn entry(&self, key: &str) -> Option<&'s Entry> {
        self.entries.iter().find(|entry| entry.key == key)
    }

    fn without_mistakes<T>(&self, read: impl FnOnce(&mut Decoder<'_>) -> Option<T>) -> Option<T> {
        let mut decoder = Decoder { newer: self.newer, ..Decoder::new(self.sources, Mode::Run) };
        read(&mut decoder).filter(|_| decoder.mistakes.is_empty())
    }
}

fn at(entry: &Entry) -> At<'_> {
    At { node: &entry.value, field: entry.key.clone(), place: entry.value.place }
}

/// The app without a document, but no environment of its own: none of the steps is there that would make it.
fn usual_app(own_base: bool) -> App {
    let kind = AppKind::Jupyterlab(JupyterLab { environment: None });
    let base_path = if own_base { "/" } else { "/jupyterlab/default/" };
    crate::preset::app("default", kind, base_path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::space::SignIn;
    use std::time::Duration;

    fn checked(text: &str) -> Result<crate::Read, Mistakes> {
        read(text, "space.yaml", Mode::Check)
    }

    /// An invalid document's space, in which only what is said here is not as usual.
    fn salvaged(text: &str, change: impl FnOnce(&mut Space)) {
        let mut expected = checked("version: 1\napps: [{ kind: jupyterlab }]\n").unwrap().space;
        change(&mut expected);
        let salvage = salvage(text, "space.yaml");
        assert_eq!(salvage.space, expected, "{text}");
        assert_eq!(Err(salvage.mistakes), read(text, "space.yaml", Mode::Run), "{text}");
    }

    #[test]
    fn an_invalid_document_is_salvaged_section_by_section() {
        let name = |name: &str| Some(name.to_owned());
        salvaged(
            "version: 1\nspace: { name: alice }\nstop: { deadline: 5s }\nlifecycle: { steps: [{ name: a }] }\n",
            |space| {
                space.info.name = name("alice");
                space.stop.deadline = Duration::from_secs(5);
            },
        );
        salvaged("version: 1\nspace: { name: alice, owner: 5 }\nstorage: { home: { directory: /data } }\n", |space| {
            space.home = Some("/data".into());
        });
        salvaged("version: 1\nuser: { name: alice, uid: -1 }\nidle: { shutdown: never }\n", |space| {
            space.idle.shutdown = None;
            space.idle.notice = Duration::from_secs(300);
        });
        salvaged("version: 1\nstorage: { home: { volume: vol-1 } }\nagent: { log_apps: true }\n", |space| {
            space.agent.log_apps = true;
        });
    }

    #[test]
    fn a_front_door_is_salvaged_as_a_whole_or_not_at_all() {
        let whole = "version: 1\nfront_door: { listen: 127.0.0.1:9000, sign_in: open, base_path: /team/ }\nidel: 60m\n";
        salvaged(whole, |space| {
            space.front_door.listen = "127.0.0.1:9000".parse().unwrap();
            space.front_door.base_path = "/team/".into();
            space.front_door.sign_in = SignIn::Open;
            space.apps[0].base_path = "/".into();
        });
        for broken in [
            "front_door: { sign_in: open, listen: 0.0.0.0:9000 }",
            "front_door: { sign_in: open, hosts: here }",
            "front_door: { sign_in: open }\nfront_door: { sign_in: token }",
            "front_door: { sign_in: open, listen: 127.0.0.1:1, listen: 127.0.0.1:2 }",
            "front_door: !door { sign_in: open }",
            "!key front_door: { sign_in: open }",
            "x-door: &door { sign_in: open, <<: { listen: 127.0.0.1:1 } }\nfront_door: *door",
            "front_door: { sign_in: open }\nversion: 1",
        ] {
            salvaged(&format!("version: 1\n{broken}\n"), |_| ());
        }
    }

    #[test]
    fn the_first_app_is_salvaged_whatever_is_wrong_with_the_others() {
        let first = "version: 1\napps:\n  - { kind: jupyterlab, name: lab, environment: .venv }\n";
        salvaged(&format!("{first}  - {{ kind: command, env: {{ A: 1, A: 2 }} }}\n"), |space| {
            space.apps = checked(first).unwrap().space.apps;
        });
        for first in [
            "kind: jupyterlab, environment: /venv",
            "kind: command, command: [a], command: [b]",
            "kind: x",
            "kind: jupyterlab, base_path: /proxy/",
        ] {
            salvaged(&format!("version: 1\napps: [{{ {first} }}, {{ kind: jupyterlab }}]\n"), |_| ());
        }
        salvaged("version: 1\napps: []\nidel: 60m\n", |_| ());
    }

    #[test]
    fn of_what_is_no_document_of_ours_nothing_is_salvaged() {
        let rest = "space: { name: alice }\nfront_door: { sign_in: open }\n";
        for text in [
            String::new(),
            "#!/bin/bash\necho hello\n".to_owned(),
            "- version: 1\n".to_owned(),
            format!("version: 1\n{rest}apps: [{{ kind: jupyterlab }}\n"),
            format!("version: 2\n{rest}"),
            format!("version: \"2.0\"\n{rest}"),
            format!("version: [1]\n{rest}"),
        ] {
            salvaged(&text, |_| ());
        }
        // That it is a document was forgotten, or that versions are text: it is clear what is meant.
        for text in ["space: { name: alice }\n", "version: 1.4\nspace: { name: alice }\n"] {
            salvaged(text, |space| space.info.name = Some("alice".to_owned()));
        }
    }
}
