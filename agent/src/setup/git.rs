//! A step of kind `git`: clone if absent, else leave it and say so.
//!
//! The clone is made in a folder beside its place, whose name only we use, and renamed when it is whole: a kill at any
//! moment leaves either nothing or everything, and what an earlier kill left is removed first. A repository is somebody
//! else's text: no hooks, no submodules, no transports but the known ones, and no question that nobody could answer.

use super::output::{self, mask, say, spoken};
use crate::model::child::StepOutcome;
use crate::sys::files::on_path;
use crate::sys::helper;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Transports that a URL may name.
const SCHEMES: &[&str] = &["https", "http", "ssh", "git", "file"];
/// What git may use on the way, by redirection or the user's own `url.<base>.insteadOf`: no local files, no helpers.
const REMOTE_SCHEMES: &str = "https:http:ssh:git";

/// How git is called for every act.
const SETTINGS: &[&str] = &[
    "core.hooksPath=/dev/null",
    "advice.detachedHead=false",
    // A connection that gives less than a kilobyte a second for half a minute is dead.
    "http.lowSpeedLimit=1000",
    "http.lowSpeedTime=30",
];

pub(super) fn carry_out(url: &str, reference: Option<&str>, into: &Path, home: &Path) -> Result<StepOutcome, String> {
    let shown = mask(url);
    let scheme = scheme(url).ok_or_else(|| {
        format!(
            "cannot clone {shown}: the URL must begin with https://, http://, ssh://, git:// or file://, or be \
             HOST:PATH"
        )
    })?;
    let target = home.join(into);
    let name = spoken(&target, home);
    if let Some(why) = there_already(&target, &name) {
        return Ok(StepOutcome::Skipped { why });
    }
    let git =
        on_path("git", std::env::var_os("PATH").as_ref()).into_iter().find(|path| path.is_file()).ok_or_else(|| {
            format!("cannot clone {shown}: git is not installed: install it (Debian, Ubuntu: apt-get install git)")
        })?;
    let fresh = make_room(&target)?;
    say(&format!("cloning {shown} into {name}"));
    let clone = Clone { git, scheme, url, fresh };
    clone.carry_out(reference)?;
    fs::rename(&clone.fresh, &target)
        .map_err(|error| format!("cannot move the clone of {shown} to {}: {error}", target.display()))?;
    Ok(StepOutcome::Done { why: Some(format!("cloned {shown} into {name}")) })
}

/// Why nothing is to be done. An empty folder is as good as none.
fn there_already(target: &Path, name: &str) -> Option<String> {
    target.symlink_metadata().ok()?;
    if target.join(".git").symlink_metadata().is_ok() {
        return Some(format!("{name} is there already; left as it is"));
    }
    let empty = !target.is_symlink() && fs::read_dir(target).is_ok_and(|mut entries| entries.next().is_none());
    (!empty).then(|| format!("{name} is there already, though not as a git repository; left as it is"))
}

/// The folder in which the clone is made, absent; and the folders above it, present.
fn make_room(target: &Path) -> Result<PathBuf, String> {
    let (Some(parent), Some(name)) = (target.parent(), target.file_name()) else {
        return Err(format!("cannot clone into {}: it has no name of its own", target.display()));
    };
    fs::create_dir_all(parent).map_err(|error| format!("cannot create {}: {error}", parent.display()))?;
    let fresh = parent.join(format!(".{}.space-agent-clone", name.to_string_lossy()));
    match fs::remove_dir_all(&fresh) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(format!("cannot remove {}, left by an earlier start: {error}", fresh.display()))
        }
        _ => Ok(fresh),
    }
}

/// The URL's scheme if it is one that we allow. `alice@host:path` and `host:path` are git's short form of ssh.
fn scheme(url: &str) -> Option<&'static str> {
    if url.starts_with('-') || url.chars().any(char::is_control) {
        return None;
    }
    if let Some((scheme, rest)) = url.split_once("://") {
        return SCHEMES.iter().find(|s| s.eq_ignore_ascii_case(scheme)).copied().filter(|_| !rest.starts_with('-'));
    }
    let (host, path) = url.split_once(':')?;
    // `ext::command` is git's form of running a program.
    let short = !host.is_empty() && !host.contains('/') && !path.is_empty() && !path.starts_with(':');
    short.then_some("ssh")
}

struct Clone<'a> {
    git: PathBuf,
    scheme: &'static str,
    url: &'a str,
    fresh: PathBuf,
}

impl Clone<'_> {
    fn carry_out(&self, reference: Option<&str>) -> Result<(), String> {
        let commit = reference.filter(|r| is_commit(r));
        let mut command = self.command();
        // --no-local: a clone of a folder shares no inodes with it. --progress: git is silent without a terminal.
        command.args(["clone", "--progress", "--no-local", "--no-recurse-submodules"]);
        match (reference, commit) {
            (_, Some(_)) => drop(command.arg("--no-checkout")),
            (Some(reference), None) => drop(command.arg(format!("--branch={reference}"))),
            (None, None) => {}
        }
        command.arg("--").arg(self.url).arg(&self.fresh);
        self.run(command, reference)?;
        match commit {
            Some(commit) => self.check_out(commit),
            None => Ok(()),
        }
    }

    /// A commit may be on no branch that the clone brought; then it is fetched by its name.
    fn check_out(&self, commit: &str) -> Result<(), String> {
        let mut probe = self.inside();
        probe.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
        if !probe.output().is_ok_and(|output| output.status.success()) {
            let mut fetch = self.inside();
            fetch.args(["fetch", "--no-recurse-submodules", "origin", commit]);
            self.run(fetch, Some(commit))?;
        }
        let mut checkout = self.inside();
        checkout.args(["checkout", "--detach", commit, "--"]);
        self.run(checkout, Some(commit))
    }

    fn inside(&self) -> Command {
        let mut command = self.command();
        command.arg("-C").arg(&self.fresh);
        command
    }

    fn command(&self) -> Command {
        let mut command = helper::command(&self.git);
        for setting in SETTINGS {
            command.args(["-c", setting]);
        }
        let schemes = if self.scheme == "file" { "file" } else { REMOTE_SCHEMES };
        command.env("GIT_ALLOW_PROTOCOL", schemes);
        // Whoever would answer a question is not here: no prompts, and an empty answer from whatever asks anyway.
        command.env("GIT_TERMINAL_PROMPT", "0").env("GIT_ASKPASS", "true").env("SSH_ASKPASS", "true");
        if std::env::var_os("GIT_SSH_COMMAND").is_none() {
            command.env("GIT_SSH_COMMAND", "ssh -oBatchMode=yes -oConnectTimeout=15");
        }
        // Messages are read below, so they must be in one language.
        command.env("LC_ALL", "C.UTF-8").env("LANGUAGE", "C");
        command
    }

    fn run(&self, command: Command, reference: Option<&str>) -> Result<(), String> {
        let shown = mask(self.url);
        let ended = output::run(command).map_err(|error| format!("cannot run {}: {error}", self.git.display()))?;
        if ended.status.success() {
            return Ok(());
        }
        // What is left of it goes now rather than at the next start; if that fails, then at the next start.
        let _ = fs::remove_dir_all(&self.fresh);
        let why = explain(&ended.tail, reference).unwrap_or_else(|| last_words(&ended.tail));
        Err(format!("cannot clone {shown}: {why}"))
    }
}

fn is_commit(reference: &str) -> bool {
    matches!(reference.len(), 40 | 64) && reference.bytes().all(|b| b.is_ascii_hexdigit())
}

/// What git's messages mean and what to do, from a table: the first line that fits.
fn explain(tail: &[String], reference: Option<&str>) -> Option<String> {
    const NETWORK: &str = "check the network and the URL's host, or name a proxy (https_proxy)";
    const ACCESS: &str = "check the URL, and that this space may read the repository (a token or an ssh key)";
    let meanings: &[(&str, &str, &str)] = &[
        ("Could not resolve host", "its host is not known", NETWORK),
        ("Couldn't connect to server", "its host does not answer", NETWORK),
        ("Failed to connect", "its host does not answer", NETWORK),
        ("Connection refused", "its host refuses the connection", NETWORK),
        ("Connection timed out", "its host does not answer", NETWORK),
        ("Operation too slow", "the connection is too slow (below 1 kB/s for 30 s)", NETWORK),
        ("certificate", "its host's certificate is not trusted", "name the authority's file in GIT_SSL_CAINFO"),
        ("Host key verification failed", "its host's key is not known", "add it to ~/.ssh/known_hosts (ssh-keyscan)"),
        ("Permission denied (publickey", "its host refuses this user's ssh key", ACCESS),
        ("Authentication failed", "the credentials were refused", ACCESS),
        ("could not read Username", "it does not exist, or asks for credentials", ACCESS),
        ("could not read Password", "it asks for a password", ACCESS),
        ("not found", "it does not exist, or not for this user", ACCESS),
        ("does not appear to be a git repository", "there is no git repository", "check the URL"),
        ("dubious ownership", "the repository belongs to another user", "git config --global safe.directory names it"),
        ("No space left on device", "the disk is full", "make room in the home folder"),
        ("Disk quota exceeded", "the disk quota is used up", "make room in the home folder"),
    ];
    if let Some(reference) = reference {
        let absent = ["Remote branch", "not our ref", "couldn't find remote ref", "reference is not a tree"];
        if tail.iter().any(|line| absent.iter().any(|mark| line.contains(mark))) {
            return Some(format!("it has no branch, tag or commit {reference}: check ref"));
        }
    }
    meanings.iter().find_map(|(mark, what, remedy)| {
        tail.iter().any(|line| line.contains(mark)).then(|| format!("{what}: {remedy}"))
    })
}

fn last_words(tail: &[String]) -> String {
    let fatal = tail.iter().rev().find_map(|line| line.strip_prefix("fatal: ").or(line.strip_prefix("error: ")));
    fatal.or(tail.last().map(String::as_str)).unwrap_or("git ended without a word").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_known_transports_are_cloned_from() {
        for (url, expected) in [
            ("https://git.example/x.git", Some("https")),
            ("HTTPS://git.example/x.git", Some("https")),
            ("ssh://git@git.example/x.git", Some("ssh")),
            ("git@git.example:team/x.git", Some("ssh")),
            ("file:///srv/x.git", Some("file")),
            ("ext::sh -c id", None),
            ("ext://sh", None),
            ("--upload-pack=id", None),
            ("ssh://-oProxyCommand=id/x", None),
            ("/srv/x.git", None),
            ("../x.git", None),
            ("https://h/\n", None),
            ("", None),
        ] {
            assert_eq!(scheme(url), expected, "{url}");
        }
    }

    #[test]
    fn git_s_messages_get_their_meaning() {
        for (line, ours) in [
            (
                "fatal: unable to access 'https://x.invalid/x.git/': Could not resolve host: x.invalid",
                "its host is not known",
            ),
            (
                "fatal: unable to access 'http://127.0.0.1:9/x.git/': Failed to connect to 127.0.0.1 port 9 after 0 ms: \
                 Couldn't connect to server",
                "its host does not answer",
            ),
            ("ssh: connect to host 127.0.0.1 port 9: Connection refused", "its host refuses the connection"),
            ("fatal: '/nowhere/x.git' does not appear to be a git repository", "there is no git repository"),
            ("fatal: Remote branch none not found in upstream origin", "it has no branch, tag or commit none"),
            ("fatal: Authentication failed for 'https://git.example/x.git/'", "the credentials were refused"),
            (
                "fatal: could not read Username for 'https://git.example': terminal prompts disabled",
                "it does not exist, or asks for credentials",
            ),
        ] {
            let why = explain(&[line.to_owned(), "fatal: Could not read from remote repository.".into()], Some("none"));
            assert!(why.as_deref().is_some_and(|why| why.starts_with(ours)), "{line}: {why:?}");
        }
    }
}
