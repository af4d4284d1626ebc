//! Pythons: which can make an environment, and which one an environment has.

use crate::sys::files::on_path;
use crate::sys::helper;
use serde::{Deserialize, Serialize};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// The oldest Python that current packages of this field still install on.
const OLDEST: (u32, u32) = (3, 9);

/// Prints the version and which of the needed modules are missing. `-I` keeps the user's own files out of it.
const PROBE: &str = "import sys, importlib.util as u; \
    print('.'.join(map(str, sys.version_info[:3])), *[m for m in ('venv', 'ensurepip') if u.find_spec(m) is None])";

/// A Python that runs for this user.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Candidate {
    pub path: PathBuf,
    /// `3.11.2`
    pub version: String,
}

/// The Python of an environment, as the record keeps it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Interpreter {
    pub version: String,
    pub file: Identity,
}

/// A file, so that a change of it shows without running it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Identity {
    /// Without links.
    pub path: PathBuf,
    pub size: u64,
    /// Nanoseconds since 1970.
    pub modified: i64,
}

impl Identity {
    /// Of the program that the environment's `bin/python` leads to; `None` if it leads nowhere.
    pub(super) fn of_environment(folder: &Path) -> Option<Identity> {
        let path = fs::canonicalize(folder.join("bin/python")).ok()?;
        let about = fs::metadata(&path).ok()?;
        let modified = about.mtime().saturating_mul(1_000_000_000).saturating_add(about.mtime_nsec());
        Some(Identity { path, size: about.size(), modified })
    }
}

/// The environment's Python, by running it.
pub(super) fn of_environment(folder: &Path) -> Result<Interpreter, String> {
    let path = folder.join("bin/python");
    let (version, _) = probe(&path).map_err(|why| format!("{} {why}", path.display()))?;
    let file = Identity::of_environment(folder).ok_or_else(|| format!("{} has gone", path.display()))?;
    Ok(Interpreter { version, file })
}

/// The first Python that can make the environment `name`: the system's own, then as PATH says. A `python3` on PATH may
/// be a version manager's shim that runs for one user only, so each is tried.
pub(super) fn find(name: &str) -> Result<Candidate, String> {
    let mut refused = Vec::new();
    let mut tried = Vec::new();
    let on_path = on_path("python3", std::env::var_os("PATH").as_ref());
    for path in std::iter::once(PathBuf::from("/usr/bin/python3")).chain(on_path) {
        let Ok(file) = fs::canonicalize(&path) else { continue };
        if tried.contains(&file) {
            continue;
        }
        tried.push(file);
        match probe(&path).and_then(|(version, missing)| suits(&version, &missing).map(|()| version)) {
            Ok(version) => return Ok(Candidate { path, version }),
            Err(why) => refused.push(format!("{} {why}", path.display())),
        }
    }
    if refused.is_empty() {
        return Err(format!(
            "cannot make the environment {name}: there is no python3 in /usr/bin or on PATH: install Python \
             {}.{} or newer (Debian, Ubuntu: apt-get install python3 python3-venv)",
            OLDEST.0, OLDEST.1
        ));
    }
    Err(format!("cannot make the environment {name}: {}", refused.join("; ")))
}

/// Runs it: its version and what it misses, or why not.
fn probe(python: &Path) -> Result<(String, Vec<String>), String> {
    let output = helper::command(python)
        .args(["-I", "-c", PROBE])
        .output()
        .map_err(|error| format!("does not run for this user: {error}"))?;
    if !output.status.success() {
        let words = String::from_utf8_lossy(&output.stderr);
        let last = words.lines().rev().find(|line| !line.trim().is_empty()).unwrap_or("it says nothing");
        return Err(format!("does not run for this user: {}", last.trim()));
    }
    let printed = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut words = printed.split_whitespace().map(str::to_owned);
    let version = words.next().ok_or("does not tell its version")?;
    Ok((version, words.collect()))
}

fn suits(version: &str, missing: &[String]) -> Result<(), String> {
    let mut numbers = version.split('.').map(|number| number.parse().unwrap_or(0));
    let version_of = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version_of < OLDEST {
        return Err(format!("is {version}, too old: install Python {}.{} or newer", OLDEST.0, OLDEST.1));
    }
    if missing.is_empty() {
        return Ok(());
    }
    Err(format!(
        "({version}) has no {}: install python3-venv (Debian, Ubuntu: apt-get install python3-venv)",
        missing.join(" and no ")
    ))
}

#[cfg(test)]
impl Interpreter {
    pub(super) fn sample() -> Interpreter {
        let file = Identity { path: "/usr/bin/python3.11".into(), size: 1, modified: 2 };
        Interpreter { version: "3.11.2".into(), file }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_shortcoming_has_its_remedy() {
        assert_eq!(suits("3.9.0", &[]), Ok(()));
        assert_eq!(suits("3.14.0", &[]), Ok(()));
        assert_eq!(suits("3.8.10", &[]).unwrap_err(), "is 3.8.10, too old: install Python 3.9 or newer");
        assert_eq!(
            suits("3.11.2", &["ensurepip".into()]).unwrap_err(),
            "(3.11.2) has no ensurepip: install python3-venv (Debian, Ubuntu: apt-get install python3-venv)"
        );
    }

    #[test]
    fn a_shim_that_does_not_run_says_so() {
        let why = probe(Path::new("/bin/false")).unwrap_err();
        assert_eq!(why, "does not run for this user: it says nothing");
        assert!(probe(Path::new("/nonexistent/python3")).unwrap_err().starts_with("does not run for this user"));
    }
}
