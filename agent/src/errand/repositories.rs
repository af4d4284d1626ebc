//! What would be missed: git repositories with something that is not committed or not pushed.
//!
//! Given folders are looked at first, then what a bounded search of the home finds. git is asked for nothing that writes,
//! asks, fetches, or runs a program of the repository's own; all of it together has one deadline.

use crate::model::now::Monotonic;
use crate::sys::files::on_path;
use crate::sys::{clock, helper};
use std::collections::VecDeque;
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// How deep the search goes, and how many folders it looks into.
const DEEP: u32 = 3;
const FOLDERS: usize = 2000;
/// More output than this is not read: so many files that their number says nothing.
const OUTPUT: usize = 4 << 20;
/// Folders of programs, not of people.
const NOT_INTO: &[&str] = &["node_modules", "__pycache__", "site-packages", "venv"];

/// Says one sentence for each repository, as soon as it is known.
pub(super) fn say(home: &Path, folders: &[PathBuf], within: Duration) -> io::Result<()> {
    let deadline = clock::monotonic().plus(within);
    let programs = on_path("git", std::env::var_os("PATH").as_ref());
    let Some(git) = programs.into_iter().find(|path| path.is_file()) else { return Ok(()) };
    let mut found: Vec<PathBuf> = folders.iter().map(|folder| home.join(folder)).filter(|f| is_repository(f)).collect();
    for repository in search(home, deadline) {
        if !found.contains(&repository) {
            found.push(repository);
        }
    }
    let mut late = 0;
    for repository in found {
        let look = Look { git: &git, repository: &repository, deadline };
        match look.state() {
            Ok(state) => {
                if let Some(what) = state.sentence() {
                    // Nobody listens any more: there is nothing else to be done.
                    writeln!(io::stdout(), "{} has {what}", name(&repository, home))?;
                }
            }
            Err(Trouble::Late) => late += 1,
            Err(Trouble::Broken) => {}
        }
    }
    match late {
        0 => Ok(()),
        1 => writeln!(io::stdout(), "one more repository could not be looked at in time"),
        many => writeln!(io::stdout(), "{many} more repositories could not be looked at in time"),
    }
}

/// As people know it: below the home, from there.
fn name(repository: &Path, home: &Path) -> String {
    match repository.strip_prefix(home) {
        Ok(below) if below.as_os_str().is_empty() => "the home folder".to_owned(),
        Ok(below) => below.display().to_string(),
        Err(_) => repository.display().to_string(),
    }
}

fn is_repository(folder: &Path) -> bool {
    fs::symlink_metadata(folder.join(".git")).is_ok()
}

/// Repositories below the home, the shallow ones first. Follows no link, leaves no file system, and looks into no
/// repository, unless it is the home itself.
fn search(home: &Path, deadline: Monotonic) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = VecDeque::from([(home.to_owned(), 0)]);
    let Ok(device) = fs::metadata(home).map(|home| home.dev()) else { return found };
    for _ in 0..FOLDERS {
        let Some((folder, depth)) = folders.pop_front().filter(|_| clock::monotonic() < deadline) else { break };
        let repository = is_repository(&folder);
        if repository {
            found.push(folder.clone());
        }
        if depth < DEEP && (!repository || depth == 0) {
            folders.extend(below(&folder, device).into_iter().map(|below| (below, depth + 1)));
        }
    }
    found
}

fn below(folder: &Path, device: u64) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten().take(FOLDERS);
    let mut folders: Vec<PathBuf> = entries
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            !name.starts_with('.') && !NOT_INTO.contains(&&*name)
        })
        // Of a link, the link's own.
        .filter(|entry| entry.metadata().is_ok_and(|about| about.is_dir() && about.dev() == device))
        .map(|entry| entry.path())
        .collect();
    folders.sort();
    folders
}

/// Why nothing is known of a repository.
#[derive(Debug)]
enum Trouble {
    Late,
    /// git does not take it for one, or for one that this user may trust.
    Broken,
}

struct Look<'a> {
    git: &'a Path,
    repository: &'a Path,
    deadline: Monotonic,
}

impl Look<'_> {
    fn state(&self) -> Result<State, Trouble> {
        // What lies in submodules is theirs to say, and takes a look at each.
        let mut state = State::parse(&self.ask(&[
            "status",
            "--porcelain=v2",
            "--branch",
            "--ignore-submodules=dirty",
            "--untracked-files=normal",
        ])?);
        if state.branch && state.commits && !state.upstream {
            state.remotes = !self.ask(&["remote"])?.trim().is_empty();
        }
        Ok(state)
    }

    fn ask(&self, args: &[&str]) -> Result<String, Trouble> {
        let left = self.deadline.since(clock::monotonic());
        let told = helper::ask(self.command().args(args), Vec::new(), OUTPUT, left).map_err(|_| Trouble::Broken)?;
        match told.ended {
            None => Err(Trouble::Late),
            Some(status) if status.success() => Ok(String::from_utf8_lossy(&told.output).into_owned()),
            Some(_) => Err(Trouble::Broken),
        }
    }

    fn command(&self) -> Command {
        let mut command = helper::command(self.git);
        command.args(["-c", "core.fsmonitor=false", "-c", "core.hooksPath=/dev/null", "-C"]).arg(self.repository);
        // It takes no lock that a person's git would meet, asks nobody, and fetches nothing.
        command.env("GIT_OPTIONAL_LOCKS", "0").env("GIT_TERMINAL_PROMPT", "0").env("GIT_NO_LAZY_FETCH", "1");
        // A broken repository is not the one around it.
        command.env("GIT_CEILING_DIRECTORIES", self.repository.parent().unwrap_or(Path::new("/")));
        command.env("LC_ALL", "C.UTF-8").env("LANGUAGE", "C");
        command
    }
}

/// What a repository has that nobody else has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct State {
    /// Changed, staged or in conflict.
    uncommitted: u64,
    untracked: u64,
    /// Commits that the upstream does not have.
    unpushed: u64,
    /// A branch is checked out.
    branch: bool,
    commits: bool,
    /// The branch has one on a remote.
    upstream: bool,
    remotes: bool,
}

impl State {
    /// Reads what `git status --porcelain=v2 --branch` says.
    fn parse(text: &str) -> State {
        let mut state = State::default();
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("1" | "2" | "u", _)) => state.uncommitted += 1,
                Some(("?", _)) => state.untracked += 1,
                Some(("#", header)) => state.header(header),
                _ => {}
            }
        }
        state
    }

    fn header(&mut self, header: &str) {
        match header.split_once(' ') {
            Some(("branch.oid", oid)) => self.commits = oid != "(initial)",
            Some(("branch.head", head)) => self.branch = head != "(detached)",
            // Without it the upstream has gone.
            Some(("branch.ab", counts)) => {
                self.upstream = true;
                let ahead = counts.split(' ').next().and_then(|ahead| ahead.strip_prefix('+'));
                self.unpushed = ahead.and_then(|ahead| ahead.parse().ok()).unwrap_or(0);
            }
            _ => {}
        }
    }

    /// What it has, behind `handbook has`; `None`: nothing that would be missed.
    fn sentence(self) -> Option<String> {
        let mut parts = Vec::new();
        let count = |number: u64, one: &str, many: &str| match number {
            0 => None,
            1 => Some(format!("1 {one}")),
            number => Some(format!("{number} {many}")),
        };
        parts.extend(count(self.uncommitted, "uncommitted file", "uncommitted files"));
        parts.extend(count(self.untracked, "untracked file", "untracked files"));
        parts.extend(count(self.unpushed, "commit that is not pushed", "commits that are not pushed"));
        if self.branch && self.commits && !self.upstream && self.remotes {
            parts.push("no remote branch to push to".to_owned());
        }
        let last = parts.pop()?;
        Some(if parts.is_empty() { last } else { format!("{} and {last}", parts.join(", ")) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PUSHED: &str = "# branch.oid 34ac\n# branch.head main\n# branch.upstream origin/main\n";

    #[test]
    fn what_git_says_becomes_what_a_person_would_miss() {
        let remotes = |text: &str| State { remotes: true, ..State::parse(text) }.sentence();
        for (text, expected) in [
            (format!("{PUSHED}# branch.ab +0 -3\n"), None),
            (
                format!(
                    "{PUSHED}# branch.ab +2 -0\n1 .M N... 1 1 1 a a a\n2 R. N... 1 1 1 a a R100 b\tc\nu UU N... x\n"
                ),
                Some("3 uncommitted files and 2 commits that are not pushed"),
            ),
            (
                format!("{PUSHED}# branch.ab +1 -0\n1 .M x\n? new file\n! ignored\n"),
                Some("1 uncommitted file, 1 untracked file and 1 commit that is not pushed"),
            ),
            (format!("{PUSHED}? a\n? b\n"), Some("2 untracked files and no remote branch to push to")),
            ("# branch.oid 34ac\n# branch.head main\n".to_owned(), Some("no remote branch to push to")),
            ("# branch.oid 34ac\n# branch.head (detached)\n".to_owned(), None),
            ("# branch.oid (initial)\n# branch.head main\n".to_owned(), None),
            ("# branch.oid (initial)\n# branch.head main\n? x\n".to_owned(), Some("1 untracked file")),
            (String::new(), None),
        ] {
            assert_eq!(remotes(&text).as_deref(), expected, "{text}");
        }
        assert_eq!(State::parse("# branch.oid 34ac\n# branch.head main\n").sentence(), None, "no remotes");
    }
}
