//! From the command line to a space that can boot: read the document, find out who and where, open the doors.
//!
//! Everything that can be refused is refused here, before anything has happened in the home.

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
use crate::model::space::{Facts, Space};
use crate::process::{self, Attached};
use crate::sys::{account, clock, keys};
use space_lifecycle::Sudo;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};

/// The first agent of a boot, or the next one if that was killed before it had stored anything: what it had opened is
/// with init, and is taken from there.
pub(super) fn begin(args: &RunArgs, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
    process::end_known(attached).map_err(|error| refusal(CRASHED, format!("cannot end what is left: {error}")))?;
    let plan = Plan::read(args)?;
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
    spec: space_lifecycle::Space,
    listen: SocketAddr,
    home: PathBuf,
    account: Account,
    warnings: Vec<String>,
    name: String,
    run: PathBuf,
    own_uid: u32,
}

impl Plan {
    fn read(args: &RunArgs) -> Result<Plan, Refusal> {
        let (spec, folder, mut warnings) = read_document(args)?;
        let (own_uid, _) = account::own();
        let listen = spec.front_door.listen;
        let home = home(&spec, &folder)?;
        let (account, warning) = identity::user(spec.user.as_ref(), &home, listen.ip().is_loopback())
            .map_err(|message| refusal(INVALID, message))?;
        warnings.extend(warning);
        let name = args.space.clone().or(spec.info.name.clone()).unwrap_or_else(|| identity::space_name(&home));
        let run = run_folder(&name, own_uid)?;
        Ok(Plan { spec, listen, home, account, warnings, name, run, own_uid })
    }

    /// Opens the front door first: it answers from then on.
    fn begin(mut self, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
        let restart = &self.spec.agent.restart;
        process::set_policy(&attached.socket, restart.max, restart.within)
            .map_err(|error| refusal(CRASHED, format!("init does not listen: {error}")))?;
        let front = doors::open_front_door(self.listen, attached)?;
        self.spec.front_door.listen = front.local_addr().unwrap_or(self.listen);
        place::make_home(&self.home, &self.account)
            .map_err(|error| failed(format!("cannot make the home folder {}: {error}", self.home.display())))?;
        let place = Place {
            logs: place::log_folder(&self.run, &self.name, self.own_uid),
            may_gain_privileges: sudo(&self.spec) == Sudo::Image,
            key: keys::new_key().map_err(|error| failed(format!("cannot make a key: {error}")))?,
            binary: binary()?,
            run: self.run,
            home: self.home,
            account: self.account,
        };
        let boot = keys::new_id(12);
        leftovers::end_earlier(&place, &boot);
        make_run_folder(&place)?;
        let doors = Doors::open(front, &place, attached)?;
        let facts = Facts {
            id: keys::fingerprint(place.run.as_os_str().as_encoded_bytes(), 8),
            user: place.account.name.clone(),
            home: place.home.display().to_string(),
            logs: place.logs.display().to_string(),
            listen: self.spec.front_door.listen,
            name: self.name,
            boot,
            strict: false,
            isolation: Isolation::of(self.own_uid, place.account.uid, sudo(&self.spec)),
            last_run: None,
        };
        let app_facts = app_facts(&self.spec, &place);
        let mut space = Space::new(self.spec, facts, app_facts, clock::now());
        for warning in self.warnings {
            space.warn(warning);
        }
        Ok((Snapshot::new(space, place, 0), doors))
    }
}

/// Where nobody is named, nobody may gain rights.
fn sudo(spec: &space_lifecycle::Space) -> Sudo {
    spec.user.as_ref().map_or(Sudo::Never, |user| user.sudo)
}

/// The space that the document describes, the folder that its paths are relative to, and warnings.
fn read_document(args: &RunArgs) -> Result<(space_lifecycle::Space, PathBuf, Vec<String>), Refusal> {
    let here = std::env::current_dir().map_err(|error| failed(format!("cannot find the current folder: {error}")))?;
    let Some(document) = args.documents.first() else {
        return Ok((space_lifecycle::default_space(), here, Vec::new()));
    };
    let name = document.display().to_string();
    let text = crate::sys::document::read_document(document).map_err(|error| {
        let remedy = "check the path, or leave it out for a plain JupyterLab";
        refusal(INVALID, format!("cannot read the document {name}: {error}; {remedy}"))
    })?;
    let read = space_lifecycle::read(&text, &name, space_lifecycle::Mode::Run);
    let read = read.map_err(|mistakes| refusal(INVALID, format!("the document cannot be used\n{mistakes}")))?;
    let warnings = read.warnings.iter().map(ToString::to_string).collect();
    let folder = here.join(document).parent().map_or(here, Path::to_owned);
    Ok((read.space, folder, warnings))
}

/// As written, relative to the document's folder; else `./home` where `run` was called.
fn home(spec: &space_lifecycle::Space, folder: &Path) -> Result<PathBuf, Refusal> {
    let here = std::env::current_dir().map_err(|error| failed(format!("cannot find the current folder: {error}")))?;
    let home = match &spec.home {
        Some(home) => folder.join(home),
        None => here.join("home"),
    };
    // A home that is there is named as it is; one that is not there yet is named without `.` and `..`.
    Ok(home.canonicalize().unwrap_or_else(|_| plain(&home)))
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
    let env = |name: &str| std::env::var(name).ok();
    let candidates = folders::run_folders_of(name, &env, own_uid);
    place::make_run_folder(&candidates, own_uid).map_err(failed)
}

fn binary() -> Result<PathBuf, Refusal> {
    std::env::current_exe().map_err(|error| failed(format!("cannot find this program's own file: {error}")))
}

fn make_run_folder(place: &Place) -> Result<(), Refusal> {
    let make = || {
        place::fresh_folder(&place.apps(), &place.account)?;
        place::own_folder(&place.steps(), 0o711)?;
        place::write_jupyter_config(place)?;
        place::admin_folder(&place.run.join("admin"))
    };
    make().map_err(|error| failed(format!("cannot prepare the run folder {}: {error}", place.run.display())))
}

fn app_facts(spec: &space_lifecycle::Space, place: &Place) -> Vec<AppFacts> {
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
