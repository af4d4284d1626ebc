//! The house keeps its shape: each rule of structure holds for every file, and each rule would notice if it didn't.
#![allow(clippy::unwrap_used, reason = "all of this is tests, also what is not marked so")]

use space_tests::places::project;
use space_tests::rules::{RULES, Violation, names_no_machine, rust_files};
use std::fs;
use std::process::Command;

fn all_rust_files() -> Vec<(String, String)> {
    let root = project();
    let paths = ["lifecycle", "agent", "tests/src", "tests/tests"].iter().flat_map(|folder| rust_files(&root, folder));
    let files: Vec<_> = paths.map(|path| (path.clone(), fs::read_to_string(root.join(&path)).unwrap())).collect();
    assert!(files.len() > 10, "the rules must see the code");
    files
}

#[test]
fn every_rule_of_structure_holds() {
    let files = all_rust_files();
    let mut broken = Vec::new();
    for rule in RULES {
        let found: Vec<Violation> = files.iter().flat_map(|(path, text)| rule.check(path, text)).collect();
        broken.extend(found.iter().map(|violation| format!("{violation} (rule: {})", rule.says)));
    }
    assert!(broken.is_empty(), "{}", broken.join("\n"));
}

/// Every committed file, as git lists them; a folder that is no git checkout has its Rust files checked.
#[test]
fn no_committed_file_names_a_machine() {
    let root = project();
    let listed = Command::new("git").args(["ls-files", "-z"]).current_dir(&root).output();
    let listed = listed.ok().filter(|output| output.status.success());
    let paths: Vec<String> = match listed {
        Some(output) => String::from_utf8(output.stdout).unwrap().split_terminator('\0').map(str::to_owned).collect(),
        None => all_rust_files().into_iter().map(|(path, _)| path).collect(),
    };
    assert!(paths.len() > 10);
    let texts = paths.iter().filter_map(|path| Some((path, fs::read_to_string(root.join(path)).ok()?)));
    let found: Vec<String> =
        texts.flat_map(|(path, text)| names_no_machine(path, &text)).map(|violation| violation.to_string()).collect();
    assert!(found.is_empty(), "{}", found.join("\n"));
}

/// Broken samples: what rule must object (a part of what it says), where, to which text, how often.
const BROKEN: &[(&str, &str, &str, usize)] = &[
    ("model uses only", "agent/src/model/idle.rs", "use tokio::sync::watch;", 2),
    ("model uses only", "agent/src/model/idle.rs", "use std::fs;", 1),
    ("model uses only", "agent/src/model/idle.rs", "use std::{collections::BTreeMap, fs::File, io};", 2),
    ("model uses only", "agent/src/model.rs", "use std::{\n    env,\n    fmt,\n};", 1),
    ("model uses only", "agent/src/model/idle.rs", "use crate::process::Handle;", 1),
    ("model uses only", "agent/src/model/idle.rs", "use crate::{model::now::Now, sys};", 1),
    ("model uses only", "agent/src/model/idle.rs", "fn f() -> crate::sys::stop::Stop {}", 1),
    ("model uses only", "agent/src/model/idle.rs", "use hyper::Method;", 1),
    ("model uses only", "agent/src/model/idle.rs", "pub async fn decide() {}", 1),
    ("lifecycle does no", "lifecycle/src/plan.rs", "let text = std::fs::read_to_string(path);", 1),
    ("lifecycle does no", "lifecycle/src/plan.rs", "use std::time::{Duration, Instant};", 1),
    ("lifecycle does no", "lifecycle/src/plan.rs", "use tokio::fs;", 1),
    ("unsafe stands", "agent/src/proxy/tunnel.rs", "unsafe { libc::close(3) };", 1),
    ("unsafe stands", "lifecycle/src/read.rs", "unsafe impl Send for Node {}", 1),
    ("name nix", "agent/src/proxy.rs", "use nix::sys::socket::getsockopt;", 1),
    ("name nix", "agent/src/cli/stop.rs", "let pid = nix::unistd::getpid();", 1),
    ("rooms don't", "agent/src/proxy/pages.rs", "use crate::control::events;", 1),
    (
        "rooms don't",
        "agent/src/setup.rs",
        "use crate::{\n    model::child::ChildSpec,\n    process::{self, Handle},\n};",
        1,
    ),
    ("rooms don't", "agent/src/activity/jupyter.rs", "crate::agent::tell(event);", 1),
    ("open rooms", "agent/src/sys/spawn.rs", "use crate::process::supervise;", 1),
    ("open rooms", "agent/src/apps/jupyterlab.rs", "use crate::proxy::Route;", 1),
    ("asks for the time", "agent/src/activity.rs", "let begin = tokio::time::Instant::now();", 1),
    ("asks for the time", "agent/src/agent.rs", "let wall = SystemTime::now();", 1),
    ("foo.rs", "agent/src/setup/mod.rs", "//! Steps.", 1),
    ("at most 600 lines", "agent/src/setup/git.rs", LONG, 1),
    ("begins with", "agent/src/setup/git.rs", "use std::fmt;\n//! Late.", 1),
];

/// 601 lines.
const LONG: &str = {
    const BYTES: [u8; 601] = [b'\n'; 601];
    match std::str::from_utf8(&BYTES) {
        Ok(text) => text,
        Err(_) => panic!("newlines are text"),
    }
};

#[test]
fn every_rule_objects_to_what_breaks_it() {
    for (says, path, text, times) in BROKEN {
        let rule = RULES.iter().find(|rule| rule.says.contains(says)).unwrap_or_else(|| panic!("no rule {says}"));
        let found = rule.check(path, text);
        assert_eq!(found.len(), *times, "rule {:?} on {text:?}: {found:?}", rule.says);
    }
    for rule in RULES {
        let tried = BROKEN.iter().any(|(says, ..)| rule.says.contains(says));
        assert!(tried, "no broken sample for the rule: {}", rule.says);
    }
}

#[test]
fn rules_do_not_object_to_what_is_allowed() {
    let good = [
        ("agent/src/model/idle.rs", "//! Why `async fn` isn't here.\nuse super::now::Now;\nuse serde::Serialize;"),
        ("agent/src/model/status.rs", "//! x\nuse utoipa::ToSchema; use space_lifecycle::Space;"),
        ("agent/src/model.rs", "//! x\npub mod now;\npub use now::Now;"),
        ("agent/src/sys/spawn.rs", "//! x\nuse nix::unistd::fork;\nunsafe { fork() }; Instant::now();"),
        ("agent/src/model/space/tests.rs", "//! x\nuse proptest::prelude::*;\nuse std::fs;"),
        ("agent/src/proxy/pages.rs", "//! x\nuse crate::{apps, model::{route::Door, log::LogLine}, sys::stop::Stop};"),
        ("agent/src/proxy/pages.rs", "//! x\nuse crate::proxy::session::Sessions;\nlet text = \"unsafe\";"),
        ("agent/src/agent.rs", "//! x\nuse crate::{activity, control, process, proxy, setup};"),
        (
            "agent/src/setup/git.rs",
            "//! x\n#[cfg(test)]\nmod tests { use std::time::Instant; fn t() { Instant::now() } }",
        ),
        ("lifecycle/src/read.rs", "//! x\n#![forbid(unsafe_code)]\nuse std::{fmt, time::Duration};"),
    ];
    for (path, text) in good {
        let found: Vec<_> = RULES.iter().flat_map(|rule| rule.check(path, text)).collect();
        assert_eq!(found, [], "{text}");
    }
}

#[test]
fn a_machine_that_is_named_is_noticed() {
    let text = format!("first\nsee {}work/shared/DESIGN.md", '/');
    let found = names_no_machine("README.md", &text);
    assert_eq!(found.len(), 1);
    assert_eq!(found[0].to_string(), format!("README.md:2: names a place of one machine: {}work/shared", '/'));
}
