//! pip: installing, and what its messages mean.

use crate::setup::output;
use crate::sys::helper;
use space_lifecycle::Python;
use std::path::Path;

pub(super) fn install(python: &Python, environment: &Path, home: &Path) -> Result<(), String> {
    let program = environment.join("bin/python");
    let mut command = helper::command(&program);
    command.current_dir(home).env("PYTHONUNBUFFERED", "1");
    command.args(["-m", "pip", "install", "--disable-pip-version-check", "--no-input", "--progress-bar", "off"]);
    if std::env::var_os("PIP_RETRIES").is_none() {
        // pip's own 5, with growing pauses, take over a minute where there is no network.
        command.args(["--retries", "2"]);
    }
    if let Some(requirements) = &python.requirements {
        command.arg("-r").arg(home.join(requirements));
    }
    if !python.packages.is_empty() {
        command.arg("--").args(&python.packages);
    }
    let ended = output::run(command).map_err(|error| format!("cannot run {}: {error}", program.display()))?;
    if ended.status.success() {
        return Ok(());
    }
    let index = std::env::var("PIP_INDEX_URL").ok();
    let why = explain(&ended.tail, index.as_deref().and_then(host)).unwrap_or_else(|| last_words(&ended.tail));
    Err(format!("cannot install packages into {}: {why}", output::spoken(environment, home)))
}

/// What went wrong and what to do, from pip's last lines; `None` if they are not known.
///
/// The order matters: a package that is not there and an index that can't be reached end in the same words.
/// `index` is the host of the package index, if it is known; newer pips tell it themselves.
pub(super) fn explain(tail: &[String], index: Option<&str>) -> Option<String> {
    let find = |mark: &str| tail.iter().rev().find(|line| line.contains(mark)).map(String::as_str);
    let missing = find("No matching distribution found for");
    if missing.is_some() && find("(from versions: none)").is_none() {
        return missing.map(|line| no_version(line, find("require a different python version").is_some()));
    }
    if let Some((_, cause)) = NETWORK.iter().find(|(mark, _)| find(mark).is_some()) {
        return Some(unreachable(cause, tail, index));
    }
    if let Some(line) = missing {
        let name = after(line, "No matching distribution found for");
        return Some(format!(
            "the package index has no package {name}, or none for this Python: correct its name, or name another index \
             (PIP_INDEX_URL)"
        ));
    }
    let clean = |line: &str| line.trim().trim_start_matches("ERROR: ").to_owned();
    OTHERS.iter().find_map(|(mark, meaning)| find(mark).map(|line| meaning.replace("{line}", &clean(line))))
}

/// Marks of a connection that failed, and what they mean.
const NETWORK: &[(&str, &str)] = &[
    ("Cannot connect to proxy", "the proxy does not answer"),
    ("Temporary failure in name resolution", "its name cannot be resolved"),
    ("Name or service not known", "its name cannot be resolved"),
    ("NameResolutionError", "its name cannot be resolved"),
    ("Could not resolve host", "its name cannot be resolved"),
    ("Connection refused", "the connection is refused"),
    ("Network is unreachable", "the network is unreachable"),
    ("No route to host", "there is no route to it"),
    ("Read timed out", "it does not answer in time"),
    ("ConnectTimeoutError", "it does not answer in time"),
    ("CERTIFICATE_VERIFY_FAILED", "its certificate is not trusted (PIP_CERT or SSL_CERT_FILE name an authority)"),
    ("SSLError", "it does not speak TLS as expected"),
    ("RemoteDisconnected", "it ends the connection"),
    ("Connection reset by peer", "it ends the connection"),
    ("IncompleteRead", "the connection breaks off"),
    ("Max retries exceeded", "it does not answer"),
];

/// Marks of everything else; `{line}` is the line with the mark.
const OTHERS: &[(&str, &str)] = &[
    ("No space left on device", "the disk is full: make room in the home folder or in /tmp"),
    ("Disk quota exceeded", "the disk quota is used up: make room in the home folder"),
    ("ResolutionImpossible", "these packages cannot be installed together: loosen their versions (the log says which)"),
    ("Cannot install", "{line}"),
    ("Invalid requirement", "{line}: correct it"),
    ("Could not open requirements file", "{line}"),
    ("requires a different Python", "{line}: take another version of the package, or another Python"),
    (
        "DO NOT MATCH THE HASHES",
        "a package does not have the hash that the requirements say: correct it, or find out who changed the package",
    ),
    ("No module named pip", "the environment has no pip: run its python with -m ensurepip, or remove the environment"),
    (
        "ensurepip is not available",
        "ensurepip is missing: install python3-venv (Debian, Ubuntu: apt-get install python3-venv)",
    ),
    (
        "externally-managed-environment",
        "the environment belongs to the system's package manager: name another environment",
    ),
    ("Permission denied", "{line}: the folder must belong to the space's user"),
    (
        "metadata-generation-failed",
        "a package cannot be built (the log says which): take a version that has a wheel for this Python",
    ),
    (
        "Failed building wheel",
        "{line}: take a version that has a wheel for this Python, or install what its build needs",
    ),
    ("Failed to build", "{line}: take a version that has a wheel for this Python, or install what its build needs"),
];

fn no_version(line: &str, other_python: bool) -> String {
    let name = after(line, "No matching distribution found for");
    let hint = if other_python { ", some are for another version of Python" } else { "" };
    format!("the package index has no version of {name} for this Python{hint}: correct the version")
}

/// One sentence for an index that can't be reached, with its address if pip told it.
fn unreachable(cause: &str, tail: &[String], index: Option<&str>) -> String {
    let host = tail.iter().rev().find_map(|line| quoted_host(line)).or(index);
    let index = host.map_or("the package index".to_owned(), |host| format!("the package index at {host}"));
    format!("cannot reach {index}: {cause}: check the network, a proxy (HTTPS_PROXY) or PIP_INDEX_URL")
}

/// `x.example` of `HTTPSConnection(host='x.example', port=443)`.
fn quoted_host(line: &str) -> Option<&str> {
    line.split_once("host='")?.1.split_once('\'').map(|(host, _)| host)
}

/// `x.example:8080` of `https://alice:secret@x.example:8080/simple`.
fn host(url: &str) -> Option<&str> {
    let authority = url.split_once("://")?.1.split(['/', '?', '#']).next()?;
    Some(authority.rsplit_once('@').map_or(authority, |(_, host)| host))
}

fn after<'a>(line: &'a str, mark: &str) -> &'a str {
    line.split_once(mark).map_or("", |(_, rest)| rest).trim()
}

fn last_words(tail: &[String]) -> String {
    let error = tail.iter().rev().find_map(|line| line.trim().strip_prefix("ERROR: "));
    error.or(tail.last().map(String::as_str)).unwrap_or("pip ended without a word").to_owned()
}

#[cfg(test)]
mod tests;
