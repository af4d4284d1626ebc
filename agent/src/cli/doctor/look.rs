//! What there is: the running space, its processes, folders, programs. Looks, and judges nothing.
//!
//! Everything that touches a path is done on threads that are given up when a disk or a network file system hangs.

use super::super::client::Agent;
use super::super::failure::Failure;
use super::super::{Surroundings, find};
use super::DoctorArgs;
use crate::model::child::Account;
use crate::model::folders::given_run_folder;
use crate::model::now::Timestamp;
use crate::model::status::Status;
use crate::sys::cgroup::{Group, Version};
use crate::sys::document::read_document;
use crate::sys::room::{Room, may_write, room};
use crate::sys::{account, clock, files, helper};
use space_lifecycle::Read;
use std::fs;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::time::timeout;

pub(super) const NOT_THERE: &str = "it is not there";
const HANGS: Duration = Duration::from_secs(5);

/// What was found.
#[derive(Debug, Clone)]
pub(super) struct Found {
    pub(super) version: &'static str,
    pub(super) now: Timestamp,
    pub(super) space: Space,
    /// Of the running space's processes, as far as they are seen from here.
    pub(super) processes: Vec<Process>,
    pub(super) run: Option<RunFolder>,
    pub(super) logs: Option<Place>,
    pub(super) home: Option<Home>,
    pub(super) memory: Option<MemoryLimit>,
    /// The one that was named, and its warnings, or why it cannot be used.
    pub(super) document: Option<(String, Result<usize, String>)>,
    /// Where a space of the document would listen, and why it cannot: while none runs.
    pub(super) front_door: Option<(SocketAddr, Option<String>)>,
    pub(super) programs: Vec<Program>,
    /// `/dev/termination-log`: whether it can be written to; `None`: there is none.
    pub(super) last_words: Option<bool>,
}

#[derive(Debug, Clone)]
pub(super) enum Space {
    Running(Box<Status>),
    /// None that could be asked, for this reason.
    Nobody(String),
    /// One that answers badly, or several.
    Unclear(String),
}

/// A process of the space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Process {
    pub(super) role: Role,
    pub(super) pid: i32,
    pub(super) uid: u32,
    pub(super) no_new_privs: bool,
    pub(super) oom_score_adj: i32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Role {
    Init,
    Agent,
    /// Of this name.
    App(String),
}

#[derive(Debug, Clone)]
pub(super) struct RunFolder {
    pub(super) path: PathBuf,
    /// Why it is there: `SPACE_AGENT_RUN names it`.
    pub(super) kind: &'static str,
}

/// A folder and the room that it has.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) path: PathBuf,
    pub(super) room: Result<Room, String>,
}

#[derive(Debug, Clone)]
pub(super) struct Home {
    pub(super) place: Place,
    /// No space runs in it yet: one that is not there will be made.
    pub(super) planned: bool,
    /// Whose it should be.
    pub(super) user: Option<Account>,
    /// What is there, or why that is not known.
    pub(super) folder: Result<Folder, String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Folder {
    pub(super) is_folder: bool,
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct MemoryLimit {
    pub(super) bytes: u64,
    /// Of the control groups: 1 or 2.
    pub(super) version: u8,
}

#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) name: &'static str,
    /// Where PATH has it.
    pub(super) path: Option<PathBuf>,
    /// What it needs and lacks.
    pub(super) lacks: Option<String>,
}

pub(super) async fn look(args: &DoctorArgs, surroundings: &Surroundings<'_>) -> Found {
    let (space, agent) = space(args, surroundings).await;
    let status = match &space {
        Space::Running(status) => Some(status.as_ref().clone()),
        _ => None,
    };
    let processes = status.as_ref().map(processes).unwrap_or_default();
    // A space in another container has other folders under the same names.
    let here = status.as_ref().filter(|_| !processes.is_empty());
    let document = args.document.as_deref().map(|path| (path, document(path)));
    let plan = document.as_ref().filter(|_| matches!(space, Space::Nobody(_)));
    let plan = plan.and_then(|(path, read)| Some((*path, &read.as_ref().ok()?.space)));
    let run = agent.filter(|_| here.is_some()).and_then(|agent| run_folder(&agent, surroundings));
    let logs = match (&run, here) {
        (Some(run), Some(status)) => Some(place(log_folder(&run.path, &status.space)).await),
        _ => None,
    };
    let home = match (here, plan) {
        (Some(status), _) => Some(home(PathBuf::from(&status.home), user(&status.user), false).await),
        (None, Some((path, spec))) => Some(home(planned_home(path, spec), planned_user(spec), true).await),
        (None, None) => None,
    };
    let front_door = plan.map(|(_, spec)| (spec.front_door.listen, taken(spec.front_door.listen)));
    let document = document.map(|(path, read)| (path.display().to_string(), read.map(|read| read.warnings.len())));
    let path = (surroundings.env)("PATH");
    Found {
        version: env!("CARGO_PKG_VERSION"),
        now: clock::now().wall,
        memory: memory_limit(here.map(|status| status.agent.init_pid)),
        programs: within(move || programs(path.as_deref())).await.unwrap_or_default(),
        last_words: last_words(Path::new("/dev/termination-log")),
        space,
        processes,
        run,
        logs,
        home,
        document,
        front_door,
    }
}

async fn space(args: &DoctorArgs, surroundings: &Surroundings<'_>) -> (Space, Option<Agent>) {
    const NO_AGENT: u8 = 69;
    let asked = async {
        let agent = find::agent(&args.target, surroundings).await?;
        let status: Status = agent.get("/v1/status").await?;
        Ok::<_, Failure>((agent, status))
    };
    match asked.await {
        Ok((agent, status)) => (Space::Running(Box::new(status)), Some(agent)),
        Err(failure) if failure.code == NO_AGENT && failure.answered.is_none() => {
            (Space::Nobody(failure.message), None)
        }
        Err(failure) => (Space::Unclear(failure.message), None),
    }
}

/// Those that are seen here as what the agent says they are: in another container its pids mean other processes.
fn processes(status: &Status) -> Vec<Process> {
    let comm = |pid: &str| fs::read_to_string(format!("/proc/{pid}/comm")).ok();
    let init = status.agent.init_pid;
    let is_init = comm(&init.to_string()).is_some_and(|its| comm("self") == Some(its));
    let is_parent = parent(status.agent.pid) == Some(init);
    if !is_init || !is_parent {
        return Vec::new();
    }
    let apps = status.apps.iter().filter_map(|app| Some((Role::App(app.name.clone()), app.pid?)));
    let all = [(Role::Init, init), (Role::Agent, status.agent.pid)].into_iter().chain(apps);
    all.filter_map(|(role, pid)| process(role, pid)).collect()
}

fn parent(pid: i32) -> Option<i32> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    field(&status, "PPid:")?.parse().ok()
}

fn process(role: Role, pid: i32) -> Option<Process> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let adjusted = fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).ok()?;
    Some(Process {
        role,
        pid,
        uid: field(&status, "Uid:")?.parse().ok()?,
        no_new_privs: field(&status, "NoNewPrivs:")? == "1",
        oom_score_adj: adjusted.trim().parse().ok()?,
    })
}

/// The first word behind a name, as `/proc/PID/status` writes it.
fn field<'a>(status: &'a str, name: &str) -> Option<&'a str> {
    status.lines().find_map(|line| line.strip_prefix(name))?.split_whitespace().next()
}

fn run_folder(agent: &Agent, surroundings: &Surroundings<'_>) -> Option<RunFolder> {
    let path = agent.socket.parent()?.to_owned();
    let kind = if given_run_folder(surroundings.env).is_some_and(|given| given == path) {
        "SPACE_AGENT_RUN names it"
    } else if path.starts_with("/run/space-agent") {
        "the system's"
    } else if (surroundings.env)("XDG_RUNTIME_DIR").is_some_and(|folder| path.starts_with(folder)) {
        "of this login session (XDG_RUNTIME_DIR)"
    } else {
        "in the temporary directory, or named by SPACE_AGENT_RUN"
    };
    Some(RunFolder { path, kind })
}

/// As the agent chooses it.
fn log_folder(run: &Path, space: &str) -> PathBuf {
    let own = run.join("log");
    if own.is_dir() { own } else { Path::new("/var/log/space-agent").join(space) }
}

fn user(name: &str) -> Option<Account> {
    match account::by_name(name, None) {
        Ok(Some(account)) => Some(account),
        // A user without an entry is called by its number.
        _ => account::by_uid(name.parse().ok()?, None).ok(),
    }
}

async fn place(path: PathBuf) -> Place {
    let looked = path.clone();
    let found = within(move || room(&looked).map_err(|error| error.to_string())).await;
    Place { path, room: found.unwrap_or_else(Err) }
}

/// As `run` finds it.
fn planned_home(document: &Path, spec: &space_lifecycle::Space) -> PathBuf {
    let folder = document.parent().unwrap_or(Path::new(""));
    let home = spec.home.as_ref().map_or_else(|| PathBuf::from("home"), |home| folder.join(home));
    std::path::absolute(&home).unwrap_or(home)
}

/// The one that is written, or whoever calls; `None`: root would take the home's owner.
fn planned_user(spec: &space_lifecycle::Space) -> Option<Account> {
    let (own, _) = account::own();
    match spec.user.as_ref().map(|written| (&written.name, written.uid)) {
        Some((Some(name), _)) => user(name),
        Some((None, uid)) => account::by_uid(uid?, None).ok(),
        None if own != 0 => account::by_uid(own, None).ok(),
        None => None,
    }
}

/// Why nobody can listen there.
fn taken(listen: SocketAddr) -> Option<String> {
    TcpListener::bind(listen).err().map(|error| match error.kind() {
        ErrorKind::AddrInUse => "another program listens there".to_owned(),
        _ => error.to_string(),
    })
}

async fn home(path: PathBuf, user: Option<Account>, planned: bool) -> Home {
    let looked = path.clone();
    let folder = within(move || {
        let metadata = fs::metadata(&looked).map_err(|error| match error.kind() {
            ErrorKind::NotFound => NOT_THERE.to_owned(),
            _ => error.to_string(),
        })?;
        let (uid, gid, mode) = (metadata.uid(), metadata.gid(), metadata.mode());
        Ok(Folder { is_folder: metadata.is_dir(), uid, gid, mode })
    });
    let folder = folder.await.unwrap_or_else(Err);
    Home { place: place(path).await, planned, user, folder }
}

/// On a thread that is given up when it takes too long.
async fn within<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, String> {
    match timeout(HANGS, tokio::task::spawn_blocking(work)).await {
        Ok(Ok(done)) => Ok(done),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer within {} s: a disk or a network file system hangs", HANGS.as_secs())),
    }
}

fn document(path: &Path) -> Result<Read, String> {
    let text = read_document(path).map_err(|why| format!("it cannot be read: {why}"))?;
    let read = space_lifecycle::read(&text, &path.display().to_string(), space_lifecycle::Mode::Check);
    read.map_err(|mistakes| match mistakes.mistakes.len() + mistakes.more {
        1 => "it has a mistake".to_owned(),
        many => format!("it has {many} mistakes"),
    })
}

/// What holds for the control group of `pid`, or of this process.
fn memory_limit(pid: Option<i32>) -> Option<MemoryLimit> {
    let group = Group::of(&pid.map_or("self".to_owned(), |pid| pid.to_string()))?;
    let bytes = group.usage()?.limit?;
    Some(MemoryLimit { bytes, version: if group.version() == Version::One { 1 } else { 2 } })
}

fn programs(path: Option<&str>) -> Vec<Program> {
    let find = |name: &'static str| {
        let path = files::on_path(name, path.as_ref()).into_iter().find(|path| path.is_file());
        Program { name, path, lacks: None }
    };
    let mut python = find("python3");
    python.lacks = python.path.as_deref().and_then(python_lacks);
    vec![python, find("git"), find("jupyter-lab")]
}

/// What this Python lacks to make an environment.
fn python_lacks(python: &Path) -> Option<String> {
    let mut command = helper::command(python);
    command.args(["-I", "-c", "import venv, ensurepip"]).stdout(Stdio::null()).stderr(Stdio::null());
    let ended = helper::spawn(&mut command).and_then(|mut child| child.wait());
    match ended {
        Ok(status) if status.success() => None,
        Ok(_) => Some("the modules venv and ensurepip".to_owned()),
        Err(error) => Some(format!("the right to run ({error})")),
    }
}

fn last_words(path: &Path) -> Option<bool> {
    path.exists().then(|| may_write(path))
}
