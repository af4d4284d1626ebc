//! Each check over what may be found: how it stands, and that there is a remedy where it isn't ok.

use super::super::look::{Folder, MemoryLimit, Program, RunFolder};
use super::*;
use crate::model::now::Timestamp;
use std::path::PathBuf;

fn process(role: Role, uid: u32, oom_score_adj: i32) -> Process {
    Process { role, pid: 7, uid, no_new_privs: true, oom_score_adj }
}

fn place(path: &str, bytes: u64) -> Place {
    Place { path: PathBuf::from(path), room: Ok(Room { bytes, files: Some(100_000) }) }
}

fn alice() -> Account {
    let (name, home, shell) = ("alice".to_owned(), PathBuf::from("/home/alice"), PathBuf::from("/bin/sh"));
    Account { name, uid: 1000, gid: 100, groups: vec![44], home, shell }
}

/// A space where nothing is wrong.
fn found() -> Found {
    let mut status = crate::control::tests::status();
    status.agent.version = "1.0".to_owned();
    status.isolation = Isolation::Uid;
    (status.phase, status.mode, status.apps[0].state) = (PhaseName::Running, Some(Mode::Normal), AppState::Ready);
    Found {
        version: "1.0",
        now: Timestamp(1_795_168_800_000),
        space: Space::Running(Box::new(status)),
        processes: vec![
            process(Role::Init, 0, -900),
            process(Role::Agent, 0, -900),
            process(Role::App("default".to_owned()), 1000, 0),
        ],
        run: Some(RunFolder { path: PathBuf::from("/run/space-agent/lab"), kind: "the system's" }),
        logs: Some(place("/var/log/space-agent/lab", 9_000 * MB)),
        home: Some(Home {
            place: place("/home/alice", 9_000 * MB),
            planned: false,
            user: Some(alice()),
            folder: Ok(Folder { is_folder: true, uid: 1000, gid: 100, mode: 0o40750 }),
        }),
        memory: Some(MemoryLimit { bytes: 4096 * MB, version: 2 }),
        document: Some(("space.yaml".to_owned(), Ok(0))),
        front_door: Some((([127, 0, 0, 1], 8888).into(), None)),
        programs: ["python3", "git", "jupyter-lab"]
            .map(|name| Program { name, path: Some(PathBuf::from("/usr/bin").join(name)), lacks: None })
            .into(),
        last_words: Some(true),
    }
}

fn status(found: &mut Found) -> &mut Status {
    match &mut found.space {
        Space::Running(status) => status,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(change: impl FnOnce(&mut Found), name: &str, standing: Standing, says: &str) {
    let mut found = found();
    change(&mut found);
    let checks = judge(&found);
    let check = checks.iter().find(|check| check.name == name).unwrap_or_else(|| panic!("no check {name}"));
    assert_eq!(check.standing, standing, "{check:?}");
    assert!(check.sentence.contains(says), "{check:?}");
    assert_eq!(check.remedy.is_some(), standing != Standing::Ok, "{check:?}");
}

#[test]
fn of_a_space_where_nothing_is_wrong_every_check_says_so() {
    let checks = judge(&found());
    assert_eq!(checks.len(), CHECKS.len());
    assert!(checks.iter().all(|check| check.standing == Standing::Ok), "{checks:#?}");
}

#[test]
fn the_readers_table_of_promises_is_the_codes() {
    use crate::model::isolation::{PROMISES, Promise};
    let readme = include_str!("../../../../../README.md");
    for Promise { question, container, uid, none } in PROMISES {
        let row = format!("| {question} | {container} | {uid} | {none} |");
        assert!(readme.contains(&row), "README lacks: {row}");
    }
}

#[test]
fn the_space_and_its_agent() {
    use Standing::{Ok, Warning, Wrong};
    check(|found| found.version = "2.0", "version", Warning, "this program is 2.0, the space's agent is 1.0");
    check(|found| status(found).mode = Some(Mode::Recovery), "space", Wrong, "lab answers");
    check(|found| status(found).mode = Some(Mode::Parked), "space", Warning, "lab answers");
    check(|found| status(found).phase = PhaseName::Failed, "space", Wrong, "lab answers");
    check(|found| status(found).apps[0].why = Some("it is silent".into()), "space", Wrong, "but it is silent");
    check(|found| status(found).apps[0].state = AppState::Failed, "space", Wrong, "JupyterLab does not run");
    check(|found| found.space = Space::Unclear("several run".into()), "space", Wrong, "several run");
    check(|found| found.space = Space::Nobody("no space is running".into()), "space", Ok, "no space is running");
    check(|found| status(found).isolation = Isolation::None, "isolation", Warning, "none: the user runs as the agent");
    let free = |found: &mut Found| found.processes[2].no_new_privs = false;
    check(free, "apps' rights", Wrong, "default (pid 7) runs as uid 1000 and could gain rights");
    check(|found| found.processes[2].uid = 0, "apps' rights", Wrong, "uid 0");
    check(|found| status(found).agent.init_pid = 40, "init", Ok, "process 40 and a subreaper");
    check(|found| found.processes.clear(), "init", Warning, "not seen from here");
}

#[test]
fn folders_and_memory() {
    use Standing::{Ok, Warning, Wrong};
    let home = |found: &mut Found, change: fn(&mut Home)| found.home.as_mut().map(change).unwrap();
    check(|found| home(found, |home| home.folder = Err("it is not there".into())), "home", Wrong, "is not there");
    let not_there = |found: &mut Found| {
        home(found, |home| (home.planned, home.folder) = (true, Err(NOT_THERE.into())));
    };
    check(not_there, "home", Ok, "run makes it");
    let folder = |uid, gid, mode| Result::Ok(Folder { is_folder: true, uid, gid, mode });
    check(|found| found.home.as_mut().unwrap().folder = folder(0, 0, 0o40755), "home", Wrong, "alice may not write");
    check(|found| found.home.as_mut().unwrap().folder = folder(0, 44, 0o40775), "home", Ok, "9000 MB");
    check(|found| found.home.as_mut().unwrap().folder = folder(1000, 100, 0o40500), "home", Wrong, "may not write");
    check(|found| found.home.as_mut().unwrap().place = place("/h", MB), "home", Wrong, "it is full");
    check(|found| found.home.as_mut().unwrap().place = place("/h", 100 * MB), "home", Warning, "/h has 100 MB");
    let no_files = Result::Ok(Room { bytes: 9_000 * MB, files: Some(0) });
    check(|found| found.home.as_mut().unwrap().place.room = no_files, "home", Wrong, "and 0 files left");
    check(|found| found.logs = Some(place("/log", 10)), "logs", Wrong, "output is lost");
    check(|found| found.logs = Some(place("/log", 20 * MB)), "logs", Warning, "20 MB left");
    check(|found| found.memory = None, "memory", Ok, "no limit");
    check(|found| found.memory.as_mut().unwrap().bytes = 256 * MB, "memory", Warning, "256 MB (cgroup v2)");
    check(
        |found| found.processes[1].oom_score_adj = 0,
        "oom protection",
        Warning,
        "0 for init and the agent, 0 for apps",
    );
    check(|found| found.processes[2].oom_score_adj = -900, "oom protection", Warning, "-900 for apps");
}

#[test]
fn the_document_programs_and_the_surroundings() {
    use Standing::{Ok, Warning, Wrong};
    let document = |found: &mut Found, read| found.document = Some(("space.yaml".to_owned(), read));
    check(|found| document(found, Err("it has 2 mistakes".into())), "document", Wrong, "it has 2 mistakes");
    check(|found| document(found, Result::Ok(1)), "document", Warning, "with warnings");
    let door = |why: &str| Some((([127, 0, 0, 1], 8888).into(), Some(why.to_owned())));
    check(
        |found| found.front_door = door("another program listens there"),
        "front door",
        Wrong,
        "127.0.0.1:8888: another",
    );
    check(|found| found.programs[1].path = None, "git", Warning, "not on PATH");
    check(|found| found.programs[0].lacks = Some("venv".into()), "python3", Warning, "lacks venv");
    check(|found| found.last_words = Some(false), "last words", Warning, "cannot be written to");
    check(|found| found.now = Timestamp(0), "clock", Wrong, "1970");
    check(|_| {}, "clock", Ok, "2026");
}

#[test]
fn without_a_space_only_what_can_be_known_is_told() {
    let mut found = found();
    found.space = Space::Nobody("no space is running here".to_owned());
    (found.processes, found.run, found.logs, found.home) = (Vec::new(), None, None, None);
    (found.document, found.front_door, found.last_words) = (None, None, None);
    let names: Vec<&str> = judge(&found).iter().map(|check| check.name).collect();
    assert_eq!(names, ["space", "version", "memory", "python3", "git", "jupyter-lab", "clock"]);
}
