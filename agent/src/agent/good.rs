//! The last good document: one with which the space has come up. `run` takes it when the document that it was given
//! cannot be used.
//!
//! A root agent keeps it where only root can write, since it decides about what only root may. An agent of the user's
//! keeps it with the home, where it also finds it on another machine.

use super::place::Place;
use crate::model::now::Timestamp;
use crate::sys::{account, files};
use std::io;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

const NAME: &str = "document.yaml";
const SYSTEM: &str = "/var/lib/space-agent";
/// As the largest document that is read.
const LARGEST: u64 = 1 << 20;

/// A document that was good once.
#[derive(Debug)]
pub(super) struct Good {
    pub(super) text: String,
    /// When it was kept.
    pub(super) at: Timestamp,
}

/// What is kept for the space of this name with this home. One that cannot be read is as none.
pub(super) fn find(space: &str, home: &Path) -> Option<Good> {
    let file = folder(space, home).join(NAME);
    let text = String::from_utf8(files::read_untrusted(&file, LARGEST).ok()?).ok()?;
    let kept = std::fs::symlink_metadata(&file).and_then(|about| about.modified()).ok()?;
    let at = kept.duration_since(UNIX_EPOCH).ok()?;
    Some(Good { text, at: Timestamp(u64::try_from(at.as_millis()).unwrap_or(0)) })
}

/// Keeps the document with which the space has begun, now that it is known to be a good one. Blocks.
pub(super) fn keep(place: &Place, space: &str) -> io::Result<()> {
    let text = match files::read_untrusted(&place.document(), LARGEST) {
        // It began without a document, or with what was kept.
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        text => text?,
    };
    let folder = folder(space, &place.home);
    std::fs::create_dir_all(folder.parent().unwrap_or(&folder))?;
    files::own_folder(&folder, if folder.starts_with(&place.home) { 0o755 } else { 0o700 })?;
    let file = folder.join(NAME);
    if files::read_untrusted(&file, LARGEST).is_ok_and(|known| known == text) {
        return Ok(());
    }
    files::write_atomically(&file, &text)
}

fn folder(space: &str, home: &Path) -> PathBuf {
    let given = std::env::var_os("SPACE_AGENT_STATE").map(PathBuf::from).filter(|folder| folder.is_absolute());
    match given {
        Some(given) => given.join(space),
        None if account::own().0 == 0 => Path::new(SYSTEM).join(space),
        None => home.join(".space-agent"),
    }
}
