//! The environment's folder: whose it is, whether it is whole, making and removing it.
//!
//! Our stamp, a file inside, tells. A new environment appears under its name together with its stamp (`building`) by
//! one rename; an old one disappears by one rename, and is removed under a name that only we use.

use super::interpreter::{self, Candidate};
use crate::setup::output;
use crate::sys::{files, helper, keys};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

const STAMP: &str = ".space-agent.json";
/// As many links as one may follow to the environment.
const LINKS: usize = 8;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Stamp {
    /// Names this environment, so that a record of another one under the same name does not fit.
    pub id: String,
    /// We made it, so we may remove it.
    pub ours: bool,
    pub state: State,
    /// The version it was made with.
    pub python: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum State {
    /// Until its first packages are in it.
    Building,
    /// pip is changing it.
    Updating,
    Ready,
}

impl Stamp {
    pub(super) fn foreign() -> Stamp {
        Stamp { id: keys::new_id(32), ours: false, state: State::Updating, python: String::new() }
    }

    pub(super) fn read(folder: &Path) -> Option<Stamp> {
        serde_json::from_slice(&fs::read(folder.join(STAMP)).ok()?).ok()
    }

    pub(super) fn write(self, folder: &Path) -> Result<Stamp, String> {
        let path = folder.join(STAMP);
        let text = serde_json::to_vec(&self).expect("a stamp is plain strings");
        files::write_atomically(&path, &text).map_err(|error| format!("cannot write {}: {error}", path.display()))?;
        Ok(self)
    }
}

/// What is at the environment's place.
#[derive(Debug)]
pub(super) enum Found {
    /// Nothing, or an empty folder.
    Nothing,
    /// Stamped and usable.
    Whole(Stamp),
    /// Ours and unusable: why.
    Broken(String),
    /// Not made by us, usable.
    Foreign,
}

/// The folder to work on: `folder`, or where the link in its place leads. It must be one of its own: removing it must
/// never take the home along.
pub(super) fn place(folder: PathBuf, home: &Path) -> Result<PathBuf, String> {
    let mut place = folder;
    for _ in 0..LINKS {
        // Not `canonicalize`: the link may lead to where an earlier start has just taken the environment away.
        match fs::read_link(&place) {
            Ok(target) => place = place.parent().unwrap_or(Path::new("/")).join(target),
            Err(_) => break,
        }
    }
    let own = match (fs::canonicalize(&place), fs::canonicalize(home)) {
        (Ok(place), Ok(home)) => !home.starts_with(place),
        _ => place.components().all(|part| part != Component::ParentDir) && !home.starts_with(&place),
    };
    if own && place.file_name().is_some() && !place.is_symlink() {
        return Ok(place);
    }
    Err(format!("the environment {} must be a folder of its own, such as .venv", place.display()))
}

pub(super) fn find(folder: &Path) -> Result<Found, String> {
    let shown = folder.display();
    match folder.symlink_metadata() {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Found::Nothing),
        Err(error) => return Err(format!("cannot look at {shown}: {error}")),
        Ok(_) => {}
    }
    let mut entries = fs::read_dir(folder).map_err(|error| format!("cannot use {shown} as environment: {error}"))?;
    if entries.next().is_none() {
        return Ok(Found::Nothing);
    }
    let python = interpreter::of_environment(folder).map(|python| python.version);
    match (Stamp::read(folder), python) {
        (Some(Stamp { ours: true, state: State::Building, .. }), _) => {
            Ok(Found::Broken("an earlier start did not come to the end of making it".into()))
        }
        (Some(stamp), Ok(version)) if !stamp.ours || same_minor(&stamp.python, &version) => Ok(Found::Whole(stamp)),
        (Some(stamp), Ok(version)) => {
            Ok(Found::Broken(format!("it was made with Python {}, now {version}", stamp.python)))
        }
        (Some(Stamp { ours: true, .. }), Err(why)) => Ok(Found::Broken(why)),
        (None, Ok(_)) => Ok(Found::Foreign),
        (_, Err(why)) => Err(format!(
            "cannot use the folder {shown} as environment: it was there already and {why}: remove it, or name another"
        )),
    }
}

/// Packages of an environment live below `lib/python3.11`: another minor version does not see them.
fn same_minor(one: &str, other: &str) -> bool {
    let minor = |version: &str| version.rsplit_once('.').map(|(minor, _)| minor.to_owned());
    minor(one) == minor(other)
}

pub(super) fn create(folder: &Path, python: &Candidate) -> Result<Stamp, String> {
    let shown = folder.display();
    let fresh = beside(folder, "new");
    let stamp = Stamp { id: keys::new_id(32), ours: true, state: State::Building, python: python.version.clone() };
    fs::create_dir_all(&fresh).map_err(|error| format!("cannot create {}: {error}", fresh.display()))?;
    let stamp = stamp.write(&fresh)?;
    fs::rename(&fresh, folder).map_err(|error| format!("cannot create {shown}: {error}"))?;
    let mut command = helper::command(&python.path);
    command.args(["-I", "-m", "venv"]).arg(folder);
    let ended = output::run(command).map_err(|error| format!("cannot run {}: {error}", python.path.display()))?;
    if ended.status.success() {
        return Ok(stamp);
    }
    let why = super::pip::explain(&ended.tail, None).unwrap_or_else(|| ended.tail.last().cloned().unwrap_or_default());
    Err(format!("cannot make the environment {shown} with {}: {why}", python.path.display()))
}

/// Takes our own environment away.
pub(super) fn remove(folder: &Path) -> Result<(), String> {
    fs::rename(folder, beside(folder, "old")).map_err(|error| cannot_remove(folder, &error))?;
    remove_leftover(folder)
}

/// Removes what an earlier start left beside the environment when it was killed.
pub(super) fn remove_leftover(folder: &Path) -> Result<(), String> {
    for path in [beside(folder, "old"), beside(folder, "new")] {
        match fs::remove_dir_all(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(cannot_remove(&path, &error)),
            _ => {}
        }
    }
    Ok(())
}

/// After a kill of pip: a package that is only half there, but that pip would take for installed. Without its
/// `.dist-info` pip installs it again. Only what is newer than the stamp is ours.
pub(super) fn mend(folder: &Path) {
    let Ok(since) = fs::metadata(folder.join(STAMP)).and_then(|about| about.modified()) else { return };
    for package in site_packages(folder).iter().filter_map(|path| fs::read_dir(path).ok()).flatten().flatten() {
        let path = package.path();
        let newer = package.metadata().and_then(|about| about.modified()).is_ok_and(|at| at >= since);
        if newer && path.extension().is_some_and(|end| end == "dist-info") && !is_whole(&path) {
            output::say(&format!("removing the half-installed {}", path.display()));
            let _ = fs::remove_dir_all(path);
        }
    }
}

/// pip copies the wheel's RECORD with the wheel's other files, then makes the package's programs, and last writes RECORD
/// anew with what it has made itself, among it INSTALLER.
fn is_whole(dist_info: &Path) -> bool {
    fs::read(dist_info.join("RECORD")).is_ok_and(|record| String::from_utf8_lossy(&record).contains("/INSTALLER,"))
}

fn site_packages(folder: &Path) -> Vec<PathBuf> {
    let versions = fs::read_dir(folder.join("lib")).into_iter().flatten().flatten();
    versions.map(|version| version.path().join("site-packages")).collect()
}

/// A name beside the environment's that only we use.
fn beside(folder: &Path, what: &str) -> PathBuf {
    let name = folder.file_name().unwrap_or_default().to_string_lossy();
    folder.with_file_name(format!(".{}.space-agent-{what}", name.trim_start_matches('.')))
}

fn cannot_remove(path: &Path, error: &io::Error) -> String {
    format!("cannot remove {}, left by an earlier start: {error}", path.display())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::Folder;
    use std::os::unix::fs::symlink;

    #[test]
    fn a_link_that_leads_nowhere_yet_names_the_place() {
        let folder = Folder::new("environment-link");
        let home = folder.path();
        symlink("scratch/venv", home.join(".venv")).unwrap();
        let place = place(home.join(".venv"), home).unwrap();
        assert_eq!(place, home.join("scratch/venv"));
        assert!(matches!(find(&place), Ok(Found::Nothing)));
    }
}
