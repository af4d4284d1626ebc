//! From the command line to a space that can boot: read the document, find out who and where, open the doors.
//!
//! Everything that can be refused is refused here, before anything has happened in the home.

use super::identity;
use super::place::{self, Place};
use super::snapshot::Snapshot;
use super::{ADMIN_SOCKET, BOOT_FAILED, Doors, FRONT_DOOR, INVALID, LOCK, Refusal, USER_SOCKET, refusal};
use crate::apps;
use crate::cli::RunArgs;
use crate::model::app::AppFacts;
use crate::model::folders;
use crate::model::space::{Facts, Space};
use crate::process::{self, Attached};
use crate::sys::{account, clock, keys, lock, tree};
use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How long a start waits for an earlier agent of the same space that is about to end.
const LOCK_WAIT: Duration = Duration::from_secs(5);

/// The first agent of a boot.
pub(super) fn begin(args: &RunArgs, attached: &Attached) -> Result<(Snapshot, Doors), Refusal> {
    let (mut spec, folder) = read_document(args)?;
    let (own_uid, _) = account::own();
    let listen = spec.front_door.listen;
    let home = home(&spec, &folder)?;
    let (account, warning) = identity::user(spec.user.as_ref(), &home, listen.ip().is_loopback())
        .map_err(|message| refusal(INVALID, message))?;
    let name = args.space.clone().or(spec.info.name.clone()).unwrap_or_else(|| identity::space_name(&home));
    let run = run_folder(&name, own_uid)?;
    let lock = take_lock(&run, &name)?;
    let front = open_front_door(listen)?;
    spec.front_door.listen = front.local_addr().unwrap_or(listen);
    place::make_home(&home, &account, own_uid)
        .map_err(|error| failed(format!("cannot make the home folder {}: {error}", home.display())))?;
    let place = Place {
        logs: place::log_folder(&run, &name, own_uid),
        may_gain_privileges: spec.user.as_ref().is_some_and(|user| user.sudo == space_lifecycle::Sudo::Image),
        key: keys::new_key(),
        binary: binary()?,
        run,
        home,
        account,
    };
    let boot = keys::new_id(12);
    end_leftovers(&place, &boot);
    let (user, admin) = make_run_folder(&place, own_uid)?;
    let facts = Facts {
        id: keys::fingerprint(place.run.as_os_str().as_encoded_bytes(), 8),
        user: place.account.name.clone(),
        home: place.home.display().to_string(),
        listen: spec.front_door.listen,
        name,
        boot,
    };
    let app_facts = app_facts(&spec, &place);
    let doors = Doors { front, user, admin };
    keep(attached, &doors, &lock, &spec).map_err(|error| failed(format!("init does not keep the sockets: {error}")))?;
    let mut space = Space::new(spec, facts, app_facts, clock::now());
    if let Some(warning) = warning {
        space.warn(warning);
    }
    Ok((Snapshot::new(space, place), doors))
}

/// A later agent of a boot: the doors are open already.
pub(super) fn resume(snapshot: Snapshot, attached: &mut Attached) -> Result<(Snapshot, Doors), Refusal> {
    let mut take = |name: &str| -> Result<OwnedFd, Refusal> {
        let index = attached.kept.iter().position(|(kept, _)| kept == name);
        let index = index.ok_or_else(|| refusal(BOOT_FAILED, format!("init does not have the {name} any more")))?;
        Ok(attached.kept.remove(index).1)
    };
    let doors =
        Doors { front: take(FRONT_DOOR)?.into(), user: take(USER_SOCKET)?.into(), admin: take(ADMIN_SOCKET)?.into() };
    Ok((snapshot, doors))
}

/// The space that the document describes, and the folder that its paths are relative to.
fn read_document(args: &RunArgs) -> Result<(space_lifecycle::Space, PathBuf), Refusal> {
    let here = std::env::current_dir().map_err(|error| failed(format!("cannot find the current folder: {error}")))?;
    let Some(document) = args.documents.first() else {
        return Ok((space_lifecycle::default_space(), here));
    };
    let name = document.display().to_string();
    let text = std::fs::read_to_string(document).map_err(|error| {
        refusal(
            INVALID,
            format!("cannot read the document {name}: {error}; check the path, or leave it out for a plain JupyterLab"),
        )
    })?;
    let read = space_lifecycle::read(&text, &name, space_lifecycle::Mode::Run);
    let read = read.map_err(|mistakes| refusal(INVALID, format!("the document cannot be used\n{mistakes}")))?;
    for warning in &read.warnings {
        tracing::warn!("{warning}");
    }
    let folder = here.join(document).parent().map_or(here, Path::to_owned);
    Ok((read.space, folder))
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

/// One agent for each space. The lock is held by init, so it ends with the last process that could act for the space.
fn take_lock(run: &Path, name: &str) -> Result<OwnedFd, Refusal> {
    let path = run.join("lock");
    let lock =
        lock::take(&path, LOCK_WAIT).map_err(|error| failed(format!("cannot lock {}: {error}", path.display())))?;
    lock.ok_or_else(|| {
        failed(format!(
            "the space {name} runs already (run folder {}); see it with `space-agent status`, end it with `space-agent stop`, \
             or give this one another name with `--space NAME`",
            run.display()
        ))
    })
}

fn open_front_door(listen: SocketAddr) -> Result<TcpListener, Refusal> {
    TcpListener::bind(listen).map_err(|error| {
        let why = match error.kind() {
            std::io::ErrorKind::AddrInUse => "another program listens there".to_owned(),
            _ => error.to_string().to_lowercase(),
        };
        refusal(INVALID, format!("cannot open the front door on {listen}: {why}; end that program, or write another address: front_door: {{ listen: 127.0.0.1:8899 }}"))
    })
}

fn binary() -> Result<PathBuf, Refusal> {
    std::env::current_exe().map_err(|error| failed(format!("cannot find this program's own file: {error}")))
}

fn make_run_folder(
    place: &Place,
    own_uid: u32,
) -> Result<(std::os::unix::net::UnixListener, std::os::unix::net::UnixListener), Refusal> {
    let make = || {
        for folder in [place.apps(), place.steps(), place.jupyter_config()] {
            place::fresh_folder(&folder, &place.account, own_uid)?;
        }
        place::admin_folder(&place.run.join("admin"))?;
        Ok((place::bind(&place.user_socket(), 0o666)?, place::bind(&place.admin_socket(), 0o600)?))
    };
    make().map_err(|error: std::io::Error| {
        failed(format!("cannot prepare the run folder {}: {error}", place.run.display()))
    })
}

fn app_facts(spec: &space_lifecycle::Space, place: &Place) -> Vec<AppFacts> {
    let apps_place = super::effects::apps_place(spec, place, &Default::default());
    let definitions = spec.apps.iter().map(|app| apps::definition(app, &apps_place));
    definitions
        .map(|definition| AppFacts {
            label: definition.label,
            base_path: definition.base_path,
            kernels: definition.kernels_api.is_some(),
        })
        .collect()
}

fn keep(attached: &Attached, doors: &Doors, lock: &OwnedFd, spec: &space_lifecycle::Space) -> std::io::Result<()> {
    let init = &attached.socket;
    process::set_policy(init, spec.agent.restart.max, spec.agent.restart.within)?;
    process::keep(init, FRONT_DOOR, doors.front.as_fd())?;
    process::keep(init, USER_SOCKET, doors.user.as_fd())?;
    process::keep(init, ADMIN_SOCKET, doors.admin.as_fd())?;
    process::keep(init, LOCK, lock.as_fd())
}

/// The name and value that every child of this boot carries, so that a later start finds what outlived it.
pub(super) fn mark(place: &Place, boot: &str) -> (String, String) {
    (MARK.to_owned(), format!("{}:{boot}", place.run.display()))
}

const MARK: &str = "SPACE_AGENT_CHILD_OF";

/// Ends what an earlier boot of this space has left: its init was killed, and what had made its own session lived on.
pub(super) fn end_leftovers(place: &Place, boot: &str) {
    let (name, value) = mark(place, boot);
    let prefix = format!("{name}={}:", place.run.display());
    end_marked(place.account.uid, prefix, format!("{name}={value}"));
}

/// Ends all that this boot has started, when init is gone and cannot.
pub(super) fn end_own(place: &Place, boot: &str) {
    let (name, value) = mark(place, boot);
    end_marked(place.account.uid, format!("{name}={value}"), String::new());
}

/// On a thread of its own, since reading /proc of a process that hangs may hang.
fn end_marked(uid: u32, prefix: String, unless: String) {
    const DEADLINE: Duration = Duration::from_secs(3);
    let (done, wait) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for _ in 0..20 {
            let left = tree::marked(uid, &prefix, &unless);
            if left.is_empty() {
                break;
            }
            for process in left {
                tracing::warn!(pid = process.pid, "ending a process that outlived the space");
                tree::signal(process, 9);
            }
        }
        let _ = done.send(());
    });
    if wait.recv_timeout(DEADLINE).is_err() {
        tracing::warn!("looking for processes that outlived the space took too long; some may be left");
    }
}

fn failed(message: impl Into<String>) -> Refusal {
    refusal(BOOT_FAILED, message)
}
