//! The rules of the house's structure (DESIGN §2, STYLE) as functions over source text.
//!
//! Each rule takes a file's path (relative to the project's root) and text and returns what it finds wrong. They read
//! text and not syntax: a comment is cut off first, and what then looks like a use of something forbidden is one. Test
//! modules at a file's end (`#[cfg(test)]`) may do what tests need: rules about code look only at what comes before.

use std::fmt;
use std::path::Path;

/// A line that breaks a rule.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    pub path: String,
    /// Counted from 1.
    pub line: usize,
    pub what: String,
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

/// A rule: what it says, and the function that checks one file.
#[derive(Debug, Clone, Copy)]
pub struct Rule {
    pub says: &'static str,
    check: fn(&str, &str) -> Vec<Violation>,
    /// Whether it holds for tests as well.
    tests_too: bool,
}

impl Rule {
    /// What is wrong with one file.
    pub fn check(&self, path: &str, text: &str) -> Vec<Violation> {
        let excused = !self.tests_too && is_test_file(path);
        if excused { Vec::new() } else { (self.check)(path, text) }
    }
}

const fn code(says: &'static str, check: fn(&str, &str) -> Vec<Violation>) -> Rule {
    Rule { says, check, tests_too: false }
}

const fn file(says: &'static str, check: fn(&str, &str) -> Vec<Violation>) -> Rule {
    Rule { says, check, tests_too: true }
}

/// All rules over Rust files.
pub const RULES: &[Rule] = &[
    code("model uses only std, serde, utoipa's derive and space-lifecycle", model_is_pure),
    code("lifecycle does no I/O and asks for no time", lifecycle_is_pure),
    file("unsafe stands only in agent/src/sys", unsafe_only_in_sys),
    code("only sys, init, storage and process name nix", nix_only_where_it_belongs),
    code("rooms don't use rooms", rooms_do_not_use_rooms),
    code("only the hall, init and the command line open rooms", only_the_hall_opens_rooms),
    code("only sys asks for the time", only_sys_asks_for_time),
    file("a module is foo.rs with foo/, not foo/mod.rs", no_mod_files),
    file("a file has at most 600 lines", files_are_short),
    file("a file begins with //!", files_say_their_purpose),
];

/// `apps` is data and `errand` a way into a home, neither of them a room: everyone may use them.
const ROOMS: [&str; 6] = ["storage", "setup", "process", "proxy", "activity", "control"];
const LONGEST: usize = 600;

fn model_is_pure(path: &str, text: &str) -> Vec<Violation> {
    if !in_module(path, "model") {
        return Vec::new();
    }
    let allowed = |name: &str| ["std", "core", "serde", "utoipa", "space_lifecycle", "super", "self"].contains(&name);
    const WHY: &str = "model does no I/O, has no threads and is not async";
    let mut found = forbid(path, text, &["async", "tokio", "Instant", "SystemTime"], WHY);
    found.extend(forbid_std_io(path, text, WHY));
    for (line, code) in &code_lines(text) {
        if let Some(root) = used_root(code).filter(|root| *root != "crate" && !allowed(root)) {
            // A name that begins with a capital is a type of this module (`use Phase::*`).
            if !root.starts_with(char::is_uppercase) && !declares_module(text, root) {
                found.push(violation(path, *line, format!("model may not use {root}")));
            }
        }
        for module in names_after(code, "crate::").filter(|module| *module != "model") {
            found.push(violation(path, *line, format!("model may not use crate::{module}")));
        }
    }
    found
}

fn lifecycle_is_pure(path: &str, text: &str) -> Vec<Violation> {
    if !path.starts_with("lifecycle/src/") {
        return Vec::new();
    }
    const WHY: &str = "lifecycle is pure: text in, values out";
    let mut found = forbid(path, text, &["tokio", "nix", "hyper", "Instant", "SystemTime", "async"], WHY);
    found.extend(forbid_std_io(path, text, WHY));
    found
}

fn unsafe_only_in_sys(path: &str, text: &str) -> Vec<Violation> {
    if in_module(path, "sys") {
        return Vec::new();
    }
    forbid(path, text, &["unsafe"], "unsafe stands only in agent/src/sys")
}

fn nix_only_where_it_belongs(path: &str, text: &str) -> Vec<Violation> {
    if !path.starts_with("agent/src/") || ["sys", "init", "storage", "process"].iter().any(|m| in_module(path, m)) {
        return Vec::new();
    }
    forbid(path, text, &["nix", "libc"], "only sys, init, storage and process name nix")
}

fn rooms_do_not_use_rooms(path: &str, text: &str) -> Vec<Violation> {
    let Some(own) = ROOMS.into_iter().find(|room| in_module(path, room)) else { return Vec::new() };
    let mut found = Vec::new();
    for (line, code) in &code_lines(text) {
        for other in names_after(code, "crate::").filter(|module| *module != own) {
            if !["sys", "model", "apps", "errand"].contains(&other) {
                found.push(violation(path, *line, format!("{own} may not use crate::{other}")));
            }
        }
    }
    found
}

fn only_the_hall_opens_rooms(path: &str, text: &str) -> Vec<Violation> {
    let hall = ["cli", "init", "agent", "main", "lib"].iter().any(|module| in_module(path, module));
    if !path.starts_with("agent/src/") || hall || ROOMS.iter().any(|room| in_module(path, room)) {
        return Vec::new();
    }
    let mut found = Vec::new();
    for (line, code) in &code_lines(text) {
        for room in names_after(code, "crate::").filter(|module| ROOMS.contains(module)) {
            found.push(violation(path, *line, format!("only cli, init and agent may use crate::{room}")));
        }
    }
    found
}

fn only_sys_asks_for_time(path: &str, text: &str) -> Vec<Violation> {
    // A test may measure; what it tests may not.
    let test = path.ends_with("/tests.rs") || path.contains("/tests/");
    if !path.starts_with("agent/src/") && !path.starts_with("lifecycle/src/") || in_module(path, "sys") || test {
        return Vec::new();
    }
    let asks = ["Instant::now", "SystemTime::now", "clock_gettime", "UNIX_EPOCH"];
    forbid(path, text, &asks, "only sys asks for the time; take a model::now::Now as an argument")
}

fn no_mod_files(path: &str, _: &str) -> Vec<Violation> {
    let is_mod = path.ends_with("/mod.rs");
    is_mod.then(|| violation(path, 1, "name it after its folder, beside the folder".to_owned())).into_iter().collect()
}

fn files_are_short(path: &str, text: &str) -> Vec<Violation> {
    let lines = text.lines().count();
    let long = lines > LONGEST;
    long.then(|| violation(path, lines, format!("{lines} lines: more than one story"))).into_iter().collect()
}

fn files_say_their_purpose(path: &str, text: &str) -> Vec<Violation> {
    let silent = !text.starts_with("//!");
    silent.then(|| violation(path, 1, "begin with `//!`: purpose and theory".to_owned())).into_iter().collect()
}

/// For every committed text file: nobody's machine is named in it.
pub fn names_no_machine(path: &str, text: &str) -> Vec<Violation> {
    // Put together here, so that this file doesn't break its own rule.
    let places = ["work/wt", "work/main", "work/shared", "root/.cargo", "root/.pyenv", "home/runner"];
    let places: Vec<String> = places.iter().map(|place| format!("/{place}")).collect();
    let mut found = Vec::new();
    for (line, code) in text.lines().enumerate() {
        for place in places.iter().filter(|place| code.contains(place.as_str())) {
            found.push(violation(path, line + 1, format!("names a place of one machine: {place}")));
        }
    }
    found
}

fn violation(path: &str, line: usize, what: String) -> Violation {
    Violation { path: path.to_owned(), line, what }
}

/// True for a module of tests that is a file of its own.
fn is_test_file(path: &str) -> bool {
    path.ends_with("/tests.rs") || path.contains("/src/") && path.contains("/tests/")
}

/// True for `agent/src/NAME.rs` and everything in `agent/src/NAME/`.
fn in_module(path: &str, name: &str) -> bool {
    let Some(rest) = path.strip_prefix("agent/src/") else { return false };
    rest == format!("{name}.rs") || rest.starts_with(&format!("{name}/"))
}

/// The lines of code before the test module, numbered from 1, without comments. A `use` over several lines is one line.
fn code_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines: Vec<(usize, String)> = Vec::new();
    let mut open_use = false;
    for (number, line) in text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]") {
        let code = line.split("//").next().unwrap_or_default();
        match lines.last_mut().filter(|_| open_use) {
            Some((_, statement)) => *statement += code.trim_start(),
            None => lines.push((number + 1, code.to_owned())),
        }
        let (_, statement) = lines.last().expect("a line was just put there");
        open_use = used_root(statement).is_some() && !statement.contains(';');
    }
    lines
}

/// Every use of one of `words` as a word of its own.
fn forbid(path: &str, text: &str, words: &[&str], why: &str) -> Vec<Violation> {
    let mut found = Vec::new();
    for (line, code) in &code_lines(text) {
        for word in words.iter().filter(|word| has_word(code, word)) {
            found.push(violation(path, *line, format!("`{word}`: {why}")));
        }
    }
    found
}

/// True if `word` stands in `code` outside string literals and not as a part of a longer name.
fn has_word(code: &str, word: &str) -> bool {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    code.match_indices(word).any(|(at, _)| {
        let before = code[..at].chars().next_back();
        let after = code[at + word.len()..].chars().next();
        let in_text = code[..at].matches('"').count() % 2 == 1;
        let ends_in_name = word.ends_with(is_name);
        !(in_text || before.is_some_and(is_name) || ends_in_name && after.is_some_and(is_name))
    })
}

/// The first name of a `use` line: `use serde::Serialize;` gives `serde`.
fn used_root(code: &str) -> Option<&str> {
    let code = code.trim_start();
    let code = ["pub(crate) use ", "pub(super) use ", "pub use ", "use "].iter().find_map(|p| code.strip_prefix(p))?;
    code.trim_start_matches("::").split([':', ';', '{', ' ']).next().filter(|name| !name.is_empty())
}

fn declares_module(text: &str, name: &str) -> bool {
    code_lines(text).iter().any(|(_, code)| code.trim_end().ends_with(&format!("mod {name};")))
}

/// The names that a line has after `prefix`, in braces too: `use crate::{model::now::Now, sys}` gives `model`, `sys`.
fn names_after<'a>(code: &'a str, prefix: &'static str) -> impl Iterator<Item = &'a str> {
    code.match_indices(prefix).flat_map(move |(at, _)| {
        let rest = &code[at + prefix.len()..];
        match rest.strip_prefix('{') {
            Some(list) => top_level_names(list),
            None => vec![leading_name(rest)],
        }
    })
}

/// Every use of a part of std that reaches the outside.
fn forbid_std_io(path: &str, text: &str, why: &str) -> Vec<Violation> {
    const OUTSIDE: [&str; 7] = ["fs", "net", "env", "process", "thread", "io", "os"];
    let mut found = Vec::new();
    for (line, code) in &code_lines(text) {
        // An address is a value; only sockets reach the outside.
        let address = code.contains("std::net::SocketAddr;") || code.contains("std::net::{IpAddr, SocketAddr};");
        for part in names_after(code, "std::").filter(|part| OUTSIDE.contains(part) && !(*part == "net" && address)) {
            found.push(violation(path, *line, format!("`std::{part}`: {why}")));
        }
    }
    found
}

fn leading_name(text: &str) -> &str {
    let end = text.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(text.len());
    &text[..end]
}

/// The first names of a brace list's entries, nested braces left out.
fn top_level_names(list: &str) -> Vec<&str> {
    let (mut depth, mut begin, mut names) = (0, 0, Vec::new());
    for (at, c) in list.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => {
                names.push(leading_name(list[begin..at].trim_start()));
                names.retain(|name| !name.is_empty());
                return names;
            }
            '}' => depth -= 1,
            ',' if depth == 0 => {
                names.push(leading_name(list[begin..at].trim_start()));
                begin = at + 1;
            }
            _ => {}
        }
    }
    names.push(leading_name(list[begin..].trim_start()));
    names.retain(|name| !name.is_empty());
    names
}

/// Rust files below a folder, as paths relative to `root`, in order.
pub fn rust_files(root: &Path, folder: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![root.join(folder)];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                folders.push(path);
            } else if path.extension().is_some_and(|end| end == "rs") {
                let relative = path.strip_prefix(root).expect("it was found below the root");
                found.push(relative.to_string_lossy().into_owned());
            }
        }
    }
    found.sort();
    found
}
