//! From the command line to a space that can boot: read the document, find out who and where, open the doors.
//!
//! Everything that can be refused is refused here, before anything has happened in the home.

use super::access;
use super::beginning::{LastRun, Surroundings, beginning, surroundings};
use super::document::{self, Document};
use super::doors::{self, Doors};
use super::place::{self, Place};
use super::snapshot::Snapshot;
use super::{BOOT_FAILED, CRASHED, INVALID, Refusal, identity, leftovers, refusal};
use crate::apps;
use crate::cli::RunArgs;
use crate::model::app::AppFacts;
use crate::model::child::Account;
use crate::model::folders;
use crate::model::isolation::Isolation;
use crate::model::space::{Beginning, Facts, Space};
use crate::process::{self, Attached};
use crate::sys::{account, clock, files, keys};
use space_lifecycle::Sudo;
use std::io::IsTerminal;
use std::path::{Path, PathBuf};

/// The first agent of a boot, or the next one if that was killed before it had stored anything: what it had opened is
/// with init, and is taken from there.
pub(super) fn begin(args: &RunArgs, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
    process::end_known(attached).map_err(|error| refusal(CRASHED, format!("cannot end what is left: {error}")))?;
    let (marked, terminal) = (Path::new("/.dockerenv").exists(), std::io::stdin().is_terminal());
    let surroundings = surroundings(&env, attached.init_pid == 1, marked, terminal);
    let plan = Plan::read(args, surroundings)?;
    let lock = doors::take_lock(&plan.run, &plan.name, attached)?;
    let run = plan.run.clone();
    let begun = plan.begin(attached);
    if begun.is_err() {
        place::leave(&run);
    }
    drop(lock);
    begun
}

/// A later agent of a boot: the doors are open already.
pub(super) fn resume(snapshot: Snapshot, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
    Ok((snapshot, Doors::kept(attached)?))
}

/// What was found out before anything is done.
struct Plan {
    document: Document,
    args: RunArgs,
    surroundings: Surroundings,
    home: PathBuf,
    account: Account,
    name: String,
    run: PathBuf,
    own_uid: u32,
}

impl Plan {
    fn read(args: &RunArgs, surroundings: Surroundings) -> Result<Plan, Refusal> {
        let mut document = document::read(args, true)?;
        let (own_uid, _) = account::own();
        let spec = &document.spec;
        let home = home(spec, &document.folder, &current_folder()?);
        let found = identity::user(spec.user.as_ref(), &home, spec.front_door.listen.ip().is_loopback());
        let (account, warning) = found.map_err(|message| refusal(INVALID, message))?;
        if let Some(trouble) = document.trouble.as_ref().filter(|trouble| !trouble.allows(account.uid)) {
            return Err(refusal(INVALID, trouble.told()));
        }
        let name = space_name(args, spec, &home);
        document.warnings.extend(warning);
        let run = run_folder(&name, own_uid)?;
        Ok(Plan { document, args: args.clone(), surroundings, home, account, name, run, own_uid })
    }

    /// Opens the front door first: it answers from then on.
    fn begin(self, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
        let mut spec = self.document.spec;
        let restart = &spec.agent.restart;
        process::set_policy(&attached.socket, restart.max, restart.within)
            .map_err(|error| refusal(CRASHED, format!("init does not listen: {error}")))?;
        if let Some(pair) = access::pair(&spec, &self.account) {
            let refused = |error| refusal(INVALID, format!("cannot open the front door with TLS: {error}"));
            pair.read().map_err(refused)?;
        }
        let front = doors::open_front_door(spec.front_door.listen, attached).map_err(|refused| {
            // Why the door is where it is can be the document's fault.
            let trouble = self.document.trouble.iter().map(|trouble| format!("\n\n{}", trouble.told()));
            refusal(refused.code, trouble.fold(refused.message, |message, trouble| message + &trouble))
        })?;
        spec.front_door.listen = front.local_addr().unwrap_or(spec.front_door.listen);
        let usable = match self.document.trouble {
            None => usable_home(&self.home, &self.account),
            Some(_) => Ok(()),
        };
        if let (true, Err(why)) = (self.args.strict, &usable) {
            return Err(failed(why));
        }
        let place = Place {
            logs: place::log_folder(&self.run, &self.name, self.own_uid),
            may_gain_privileges: sudo(&spec) == Sudo::Image,
            key: keys::new_key().map_err(|error| failed(format!("cannot make a key: {error}")))?,
            binary: binary()?,
            run: self.run,
            home: self.home,
            account: self.account,
        };
        let last = LastRun::of(&place);
        let beginning = match (&self.document.trouble, usable) {
            (Some(trouble), _) => trouble.beginning(),
            (None, Err(why)) => Beginning::Recovery(why),
            (None, Ok(())) => beginning(&self.args, &env, last.as_ref(), &clock::now(), self.surroundings),
        };
        let boot = keys::new_id(12);
        leftovers::end_earlier(&place, &boot);
        make_run_folder(&place, self.document.text.as_deref())?;
        let doors = Doors::open(front, &place, attached)?;
        let facts = Facts {
            id: keys::fingerprint(place.run.as_os_str().as_encoded_bytes(), 8),
            user: place.account.name.clone(),
            home: place.home.display().to_string(),
            logs: place.logs.display().to_string(),
            listen: spec.front_door.listen,
            name: self.name,
            boot,
            strict: self.args.strict,
            isolation: Isolation::of(self.own_uid, place.account.uid, sudo(&spec)),
            last_run: last.map(|last| last.sentence),
        };
        let (app_facts, now) = (app_facts(&spec, &place), clock::now());
        let mut space = Space::new(spec, facts, app_facts, now);
        space.begin(beginning, now);
        for warning in self.document.trouble.map_or(self.document.warnings, |trouble| trouble.mistakes) {
            space.warn(warning);
        }
        Ok((Snapshot::new(space, place, 0), doors))
    }
}

/// Where nobody is named, nobody may gain rights.
fn sudo(spec: &space_lifecycle::Space) -> Sudo {
    spec.user.as_ref().map_or(Sudo::Never, |user| user.sudo)
}

pub(super) fn current_folder() -> Result<PathBuf, Refusal> {
    std::env::current_dir().map_err(|error| failed(format!("cannot find the current folder: {error}")))
}

fn env(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

pub(super) fn space_name(args: &RunArgs, spec: &space_lifecycle::Space, home: &Path) -> String {
    args.space.clone().or(spec.info.name.clone()).unwrap_or_else(|| identity::space_name(home))
}

/// Makes the home if it is not there, and sees whether somebody can work in it; else why not, and what to do.
pub(super) fn usable_home(home: &Path, account: &Account) -> Result<(), String> {
    let shown = home.display();
    if std::fs::metadata(home).is_ok_and(|about| !about.is_dir()) {
        return Err(format!(
            "the home {shown} is a file, not a folder; move the file away, or name another home: \
             storage: {{ home: {{ directory: … }} }}"
        ));
    }
    place::make_home(home, account).map_err(|error| {
        format!(
            "cannot make the home folder {shown}: {error}; make it yourself, or name another home: \
             storage: {{ home: {{ directory: … }} }}"
        )
    })?;
    let Account { name, uid, gid, .. } = account;
    let refuses = files::disk_refuses(home).map_err(|error| format!("cannot look at the home {shown}: {error}"))?;
    match refuses {
        Some(why @ files::Refuses::ReadOnly) => {
            Err(format!("nothing can be written to the home {shown}: {why}; mount it so that it can be written to"))
        }
        Some(why) => Err(format!("nothing can be written to the home {shown}: {why}; delete what is not needed there")),
        None if !files::writable_by(home, account) => Err(format!(
            "the user {name} cannot write to the home {shown}; give it to the user: chown -R {uid}:{gid} {shown}"
        )),
        None => Ok(()),
    }
}

/// As written, relative to the document's folder; else `./home` where `run` was called, which is `here`.
pub(super) fn home(spec: &space_lifecycle::Space, folder: &Path, here: &Path) -> PathBuf {
    let home = match &spec.home {
        Some(home) => folder.join(home),
        None => here.join("home"),
    };
    // A home that is there is named as it is; one that is not there yet is named without `.` and `..`.
    home.canonicalize().unwrap_or_else(|_| plain(&home))
}

fn plain(path: &Path) -> PathBuf {
    use std::path::Component;
    path.components().fold(PathBuf::new(), |mut plain, component| {
        match component {
            Component::CurDir => {}
            Component::ParentDir => {
                plain.pop();
            }
            other => plain.push(other),
        }
        plain
    })
}

fn run_folder(name: &str, own_uid: u32) -> Result<PathBuf, Refusal> {
    let candidates = folders::run_folders_of(name, &env, own_uid);
    place::make_run_folder(&candidates, own_uid).map_err(failed)
}

fn binary() -> Result<PathBuf, Refusal> {
    std::env::current_exe().map_err(|error| failed(format!("cannot find this program's own file: {error}")))
}

fn make_run_folder(place: &Place, document: Option<&str>) -> Result<(), Refusal> {
    let make = || {
        place::fresh_folder(&place.apps(), &place.account)?;
        place::own_folder(&place.steps(), 0o711)?;
        place::write_jupyter_config(place)?;
        place::leave_recovery(place);
        place::write_document(place, document)?;
        place::admin_folder(&place.run.join("admin"))
    };
    make().map_err(|error| failed(format!("cannot prepare the run folder {}: {error}", place.run.display())))
}

pub(super) fn app_facts(spec: &space_lifecycle::Space, place: &Place) -> Vec<AppFacts> {
    let apps_place = super::effects::apps_place(spec, place, &Default::default());
    let definitions = spec.apps.iter().map(|app| apps::definition(app, &apps_place));
    definitions
        .map(|definition| AppFacts {
            label: definition.label,
            base_path: definition.base_path,
            kernels: definition.kernels,
        })
        .collect()
}

fn failed(message: impl Into<String>) -> Refusal {
    refusal(BOOT_FAILED, message)
}
