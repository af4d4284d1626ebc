//! The checks as a table: each a name and a pure function of what was found, which judges it or has nothing to say.

use super::look::{Found, Home, NOT_THERE, Place, Process, Role, Space};
use super::{Check, Standing};
use crate::model::child::Account;
use crate::model::isolation::Isolation;
use crate::model::status::{AppState, Mode, PhaseName, Status};
use crate::sys::room::Room;

const MB: u64 = 1 << 20;
/// All logs together take at most this.
const LOGS: u64 = 64 * MB;
/// A JupyterLab writes a few small files when it starts, and a notebook when it is saved.
const HOME_WRONG: u64 = 10 * MB;
const HOME_FEW: u64 = 500 * MB;
const FILES_FEW: u64 = 1000;
/// Python, JupyterLab, one kernel.
const MEMORY_FEW: u64 = 512 * MB;
/// 2024-01-01: this program is younger.
const EARLIEST: u64 = 1_704_067_200_000;

type Judge = fn(&Found) -> Option<Finding>;

/// In the order in which they are told.
const CHECKS: [(&str, Judge); 17] = [
    ("space", space),
    ("version", version),
    ("isolation", isolation),
    ("apps' rights", rights),
    ("init", init),
    ("run folder", run_folder),
    ("logs", logs),
    ("home", home),
    ("memory", memory),
    ("oom protection", oom),
    ("document", document),
    ("front door", front_door),
    ("python3", |found| program(found, "python3", "environments cannot be made")),
    ("git", |found| program(found, "git", "git steps cannot run")),
    ("jupyter-lab", |found| program(found, "jupyter-lab", "JupyterLab must come from a python step's environment")),
    ("last words", last_words),
    ("clock", clock),
];

struct Finding {
    standing: Standing,
    sentence: String,
    remedy: Option<String>,
}

pub(super) fn judge(found: &Found) -> Vec<Check> {
    let checks = CHECKS.iter().filter_map(|(name, judge)| {
        let Finding { standing, sentence, remedy } = judge(found)?;
        Some(Check { name, standing, sentence, remedy })
    });
    checks.collect()
}

fn ok(sentence: impl Into<String>) -> Option<Finding> {
    Some(Finding { standing: Standing::Ok, sentence: sentence.into(), remedy: None })
}

fn warning(sentence: impl Into<String>, remedy: impl Into<String>) -> Option<Finding> {
    Some(Finding { standing: Standing::Warning, sentence: sentence.into(), remedy: Some(remedy.into()) })
}

fn wrong(sentence: impl Into<String>, remedy: impl Into<String>) -> Option<Finding> {
    Some(Finding { standing: Standing::Wrong, sentence: sentence.into(), remedy: Some(remedy.into()) })
}

impl Found {
    fn status(&self) -> Option<&Status> {
        match &self.space {
            Space::Running(status) => Some(status),
            Space::Nobody(_) | Space::Unclear(_) => None,
        }
    }

    fn process(&self, role: &Role) -> Option<&Process> {
        self.processes.iter().find(|process| process.role == *role)
    }

    fn apps(&self) -> impl Iterator<Item = (&str, &Process)> {
        self.processes.iter().filter_map(|process| match &process.role {
            Role::App(name) => Some((name.as_str(), process)),
            Role::Init | Role::Agent => None,
        })
    }
}

fn space(found: &Found) -> Option<Finding> {
    let status = match &found.space {
        Space::Running(status) => status,
        Space::Nobody(why) => return ok(why),
        Space::Unclear(why) => return wrong(why, "ask the one that is meant, as somebody who may: --space NAME"),
    };
    let says = format!("{} answers: {}", status.space, status.sentence.trim_end_matches('.'));
    match (status.phase, status.mode) {
        (PhaseName::Failed, _) => wrong(says, "space-agent logs says what was told last; then start the space anew"),
        (_, Some(Mode::Recovery)) => {
            wrong(says, "space-agent logs and space-agent events say what failed; repair it, then space-agent start")
        }
        (_, Some(Mode::Parked)) => warning(says, "space-agent start starts its apps again"),
        _ => match status.apps.iter().find(|app| app.state == AppState::Failed || silent(app)) {
            Some(app) => wrong(
                format!("{says}; but {}", app.why.clone().unwrap_or_else(|| format!("{} does not run", app.label))),
                format!("space-agent logs {} says why; space-agent restart {} starts it anew", app.name, app.name),
            ),
            None => ok(says),
        },
    }
}

/// It runs, and there is something to be said about it.
fn silent(app: &crate::model::status::AppStatus) -> bool {
    app.state == AppState::Ready && app.why.is_some()
}

fn version(found: &Found) -> Option<Finding> {
    let own = found.version;
    match found.status().map(|status| (&status.agent.version, status.agent.init_pid)) {
        None => ok(format!("this is space-agent {own}")),
        Some((version, _)) if version == own => ok(format!("this program and the space's agent are both {own}")),
        Some((version, init)) => warning(
            format!("this program is {own}, the space's agent is {version}"),
            format!("kill -USR2 {init} replaces the agent by the program that it was started from; nothing else ends"),
        ),
    }
}

fn isolation(found: &Found) -> Option<Finding> {
    let isolation = found.status()?.isolation;
    let sentence = format!("{isolation}: {}", isolation.meaning());
    match isolation {
        Isolation::Container | Isolation::Uid => ok(sentence),
        Isolation::None => warning(
            sentence,
            "where that matters, run the agent as root and the space as a user who cannot become it (user: { name: …, sudo: never })",
        ),
    }
}

/// Whether what isolation mode uid promises is so: the kernel is asked about each app's process.
fn rights(found: &Found) -> Option<Finding> {
    let status = found.status().filter(|status| status.isolation == Isolation::Uid)?;
    let agent = found.process(&Role::Agent)?;
    let free = |process: &Process| [0, agent.uid].contains(&process.uid) || !process.no_new_privs;
    match found.apps().find(|(_, process)| free(process)) {
        Some((name, process)) => wrong(
            format!("{name} (pid {}) runs as uid {} and could gain rights", process.pid, process.uid),
            "stop the space, and report this as a bug of space-agent",
        ),
        None => ok(format!("what runs as {} cannot gain rights (no_new_privs)", status.user)),
    }
}

fn init(found: &Found) -> Option<Finding> {
    let init = found.status()?.agent.init_pid;
    match (init, found.process(&Role::Init)) {
        (_, None) => warning(
            format!("the space's init has pid {init} where it runs, and is not seen from here"),
            "call doctor in the space's own container: what concerns its processes and folders is left out here",
        ),
        (1, _) => ok("init is PID 1: it takes in every orphan of the container"),
        (pid, _) => ok(format!("init is process {pid} and a subreaper: it takes in every orphan of the space")),
    }
}

fn run_folder(found: &Found) -> Option<Finding> {
    let run = found.run.as_ref()?;
    ok(format!("{} ({})", run.path.display(), run.kind))
}

fn logs(found: &Found) -> Option<Finding> {
    let Place { path, room } = found.logs.as_ref()?;
    let path = path.display();
    match room {
        Err(why) => warning(format!("{path} cannot be looked at: {why}"), "call doctor as root or the agent's user"),
        Ok(room) if room.bytes < MB => {
            wrong(format!("{path} is full ({} left): output is lost", size(room.bytes)), "make room on its disk")
        }
        Ok(room) if room.bytes < LOGS => warning(
            format!("{path} has {} left, and logs take up to {}", size(room.bytes), size(LOGS)),
            "make room on its disk",
        ),
        Ok(room) => ok(format!("{path} has {} left", size(room.bytes))),
    }
}

fn home(found: &Found) -> Option<Finding> {
    let home = found.home.as_ref()?;
    let path = home.place.path.display();
    let folder = match &home.folder {
        Ok(folder) if folder.is_folder => folder,
        Ok(_) => return wrong(format!("{path} is no folder"), "name a folder in storage.home.directory"),
        Err(why) if home.planned && why == NOT_THERE => return ok(format!("{path} is not there yet: run makes it")),
        Err(why) => return wrong(format!("{path}: {why}"), "check storage.home.directory and what is mounted there"),
    };
    if let Some(user) = home.user.as_ref().filter(|user| !may_write(folder.uid, folder.gid, folder.mode, user)) {
        return wrong(
            format!("{path} belongs to uid {}, and {} may not write to it", folder.uid, user.name),
            format!("as root: chown {}:{} {path}", user.uid, user.gid),
        );
    }
    match &home.place.room {
        Err(why) => wrong(format!("{path} cannot be looked at: {why}"), "check what is mounted there"),
        Ok(room) => home_room(home, *room),
    }
}

fn home_room(home: &Home, room: Room) -> Option<Finding> {
    let path = home.place.path.display();
    let files = room.files.map(|files| format!(" and {files} files")).unwrap_or_default();
    let left = format!("{path} has {}{files} left", size(room.bytes));
    let remedy = "delete what is not needed: du -xh --max-depth 2 HOME | sort -h shows where it is";
    let remedy = remedy.replace("HOME", &path.to_string());
    if room.bytes < HOME_WRONG || room.files == Some(0) {
        return wrong(format!("{left}: it is full, notebooks cannot be saved"), remedy);
    }
    if room.bytes < HOME_FEW || room.files.is_some_and(|files| files < FILES_FEW) {
        return warning(left, remedy);
    }
    ok(left)
}

/// By the mode bits alone, as the kernel decides without ACLs.
fn may_write(uid: u32, gid: u32, mode: u32, user: &Account) -> bool {
    let bit = match () {
        () if user.uid == 0 => return true,
        () if user.uid == uid => 0o200,
        () if user.gid == gid || user.groups.contains(&gid) => 0o020,
        () => 0o002,
    };
    mode & bit != 0
}

fn memory(found: &Found) -> Option<Finding> {
    match found.memory {
        None => ok("no limit is set: the machine's memory is what there is"),
        Some(limit) if limit.bytes < MEMORY_FEW => warning(
            format!(
                "the limit is {} (cgroup v{}): little for JupyterLab and a kernel",
                size(limit.bytes),
                limit.version
            ),
            "give the container more memory, or expect kernels to be ended",
        ),
        Some(limit) => ok(format!("the limit is {} (cgroup v{})", size(limit.bytes), limit.version)),
    }
}

/// The kernel ends first what has the highest number: init and the agent must be below the apps, or below nought.
fn oom(found: &Found) -> Option<Finding> {
    let own =
        [Role::Init, Role::Agent].iter().filter_map(|role| found.process(role)).map(|own| own.oom_score_adj).max()?;
    let apps = found.apps().map(|(_, process)| process.oom_score_adj).min();
    let sentence = match apps {
        Some(apps) => format!("oom_score_adj is {own} for init and the agent, {apps} for apps"),
        None => format!("oom_score_adj is {own} for init and the agent"),
    };
    if own < apps.unwrap_or(0) {
        return ok(sentence);
    }
    warning(
        format!("{sentence}: without memory the kernel may end the agent as soon as a notebook"),
        "start the agent with the right to lower it (CAP_SYS_RESOURCE), or set a memory limit for the container",
    )
}

fn document(found: &Found) -> Option<Finding> {
    match found.document.as_ref()? {
        (name, Ok(0)) => ok(format!("{name} is valid")),
        (name, Ok(_)) => {
            warning(format!("{name} is valid, with warnings"), format!("space-agent check {name} tells them"))
        }
        (name, Err(why)) => wrong(format!("{name}: {why}"), format!("space-agent check {name} says what to write")),
    }
}

fn front_door(found: &Found) -> Option<Finding> {
    match found.front_door.as_ref()? {
        (listen, None) => ok(format!("{listen} is free")),
        (listen, Some(why)) => wrong(
            format!("nobody can listen on {listen}: {why}"),
            "end what listens there, or write another address: front_door: { listen: … }",
        ),
    }
}

fn program(found: &Found, name: &str, without: &str) -> Option<Finding> {
    let program = found.programs.iter().find(|program| program.name == name)?;
    match (&program.path, &program.lacks) {
        (Some(path), None) => ok(path.display().to_string()),
        (Some(path), Some(lacks)) => warning(
            format!("{} lacks {lacks}: {without}", path.display()),
            "install them (Debian: apt-get install python3-venv)",
        ),
        (None, _) => {
            warning(format!("it is not on PATH: {without}"), format!("install {name}, if a space is to use it"))
        }
    }
}

fn last_words(found: &Found) -> Option<Finding> {
    match found.last_words? {
        true => ok("/dev/termination-log takes the last message for the platform"),
        false => warning(
            "/dev/termination-log cannot be written to by this user: the platform may not learn why a space ended",
            "let the agent's user write to it",
        ),
    }
}

fn clock(found: &Found) -> Option<Finding> {
    if found.now.0 < EARLIEST {
        return wrong(
            format!("it is {} here: sign-in links and TLS fail", found.now),
            "set the machine's clock (timedatectl set-ntp true)",
        );
    }
    ok(found.now.to_string())
}

fn size(bytes: u64) -> String {
    match bytes / MB {
        0..10_240 => format!("{} MB", bytes / MB),
        _ => format!("{} GB", bytes / MB / 1024),
    }
}

#[cfg(test)]
mod tests;
