//! The boot record's file, `.space-agent/boots.json`: written atomically with a checksum; a broken one counts as absent.

use super::state;
use crate::model::record::{Boots, LARGEST, Record};
use crate::sys::{files, keys};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

const VERSION: u32 = 1;
/// The file, and the record that an agent sends.
const LIMIT: u64 = LARGEST as u64 + 1000;

#[derive(Debug, Serialize, Deserialize)]
struct Stored {
    version: u32,
    /// Of `boots` as JSON without spaces, its keys in order.
    sha256: String,
    /// As it was written, also what only another version understands.
    boots: Value,
}

/// The record of this home, read by whoever calls; an empty one if there is none that is whole and can be understood.
pub fn read(home: &Path) -> Boots {
    let known = || {
        let stored: Stored = serde_json::from_slice(&files::read_untrusted(&file(home), LIMIT).ok()?).ok()?;
        let whole = stored.version == VERSION && stored.sha256 == checksum(&stored.boots);
        if whole { serde_json::from_value(stored.boots).ok() } else { None }
    };
    known().unwrap_or_default()
}

pub(super) fn print(home: &Path) -> io::Result<()> {
    io::stdout().write_all(&serde_json::to_vec(&read(home))?)
}

/// Takes the record on standard input into the file.
pub(super) fn keep(home: &Path) -> io::Result<()> {
    let mut text = Vec::new();
    io::stdin().take(LIMIT).read_to_end(&mut text)?;
    let record: Record = serde_json::from_slice(&text)?;
    take_in(home, record)
        .map_err(|error| io::Error::new(error.kind(), format!("cannot write {}: {error}", file(home).display())))
}

/// One at a time, so that none undoes another's.
fn take_in(home: &Path, record: Record) -> io::Result<()> {
    match fs::create_dir(state(home)) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = File::open(state(home))?;
    folder.lock()?;
    write(home, &read(home).with(record))
}

fn write(home: &Path, boots: &Boots) -> io::Result<()> {
    let boots = serde_json::to_value(boots)?;
    let stored = Stored { version: VERSION, sha256: checksum(&boots), boots };
    files::write_atomically(&file(home), &serde_json::to_vec(&stored)?)
}

fn file(home: &Path) -> PathBuf {
    state(home).join("boots.json")
}

fn checksum(boots: &Value) -> String {
    keys::digest_of([boots.to_string()])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::errand::tests::Home;
    use std::os::unix::fs::symlink;

    fn boots() -> Boots {
        Boots::default().with(Record { boot: "a".into(), ..Record::default() })
    }

    #[test]
    fn a_record_that_was_changed_or_cut_or_is_no_file_counts_as_absent() {
        let home = Home::new("boots");
        assert_eq!(read(&home.0), Boots::default());
        take_in(&home.0, boots().last().cloned().unwrap()).unwrap();
        assert_eq!(read(&home.0), boots());
        let path = file(&home.0);
        let text = fs::read_to_string(&path).unwrap();
        let broken = [
            text.replace("\"a\"", "\"b\""),
            text.replace("\"version\":1", "\"version\":2"),
            text[..text.len() / 2].to_owned(),
            String::new(),
            " ".repeat(2_000_000),
        ];
        for broken in broken {
            fs::write(&path, &broken).unwrap();
            assert_eq!(read(&home.0), Boots::default(), "{:.100}", broken);
        }
        fs::write(home.0.join("elsewhere"), &text).unwrap();
        fs::remove_file(&path).unwrap();
        symlink(home.0.join("elsewhere"), &path).unwrap();
        assert_eq!(read(&home.0), Boots::default(), "a link");
        write(&home.0, &boots()).unwrap();
        assert!(!path.is_symlink(), "what is written takes the link's place");
        assert_eq!((read(&home.0), fs::read_to_string(home.0.join("elsewhere")).unwrap()), (boots(), text));
    }

    #[test]
    fn what_a_newer_version_has_added_does_not_break_the_record() {
        let home = Home::new("boots-newer");
        fs::create_dir(state(&home.0)).unwrap();
        let mut newer = serde_json::to_value(boots()).unwrap();
        newer[0]["weather"] = "fine".into();
        let stored = Stored { version: VERSION, sha256: checksum(&newer), boots: newer };
        fs::write(file(&home.0), serde_json::to_vec_pretty(&stored).unwrap()).unwrap();
        assert_eq!(read(&home.0), boots());
    }
}
