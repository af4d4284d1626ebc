//! What a finished step leaves in the volume's state: from what the environment was made.
//!
//! Written atomically with a checksum; a broken one counts as absent, and then pip runs once more.

use super::interpreter::Interpreter;
use crate::model::now::Timestamp;
use crate::sys::{files, keys};
use serde::{Deserialize, Serialize};
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Records are small; whatever is larger is not one.
const LIMIT: u64 = 64 * 1024;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Record {
    /// SHA-256 over the inputs and the interpreter.
    pub fingerprint: String,
    /// The id in the environment's stamp.
    pub environment: String,
    pub interpreter: Interpreter,
}

#[derive(Serialize, Deserialize)]
struct Stored {
    sha256: String,
    record: Record,
}

impl Record {
    /// The record, and when it was written.
    pub(super) fn read(path: &Path) -> Option<(Record, Timestamp)> {
        let about = fs::metadata(path).ok().filter(|about| about.len() <= LIMIT)?;
        let stored: Stored = serde_json::from_slice(&fs::read(path).ok()?).ok()?;
        let at = Timestamp(u64::try_from(about.mtime() * 1000 + about.mtime_nsec() / 1_000_000).ok()?);
        (stored.sha256 == stored.record.checksum()).then_some((stored.record, at))
    }

    pub(super) fn write(&self, path: &Path) -> io::Result<()> {
        fs::create_dir_all(path.parent().unwrap_or(Path::new("/")))?;
        let stored = Stored { sha256: self.checksum(), record: self.clone() };
        files::write_atomically(path, &serde_json::to_vec(&stored)?)
    }

    fn checksum(&self) -> String {
        keys::digest_of([serde_json::to_string(self).expect("a record is plain strings and numbers")])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::setup::tests::Folder;

    #[test]
    fn a_record_that_was_changed_or_cut_counts_as_absent() {
        let folder = Folder::new("record");
        let path = folder.path().join("state/steps/deps.json");
        let record = Record { fingerprint: "f".into(), environment: "e".into(), interpreter: Interpreter::sample() };
        assert_eq!(Record::read(&path), None);
        record.write(&path).unwrap();
        assert_eq!(Record::read(&path).unwrap().0, record);
        let text = fs::read_to_string(&path).unwrap();
        for broken in [text.replace("\"f\"", "\"g\""), text[..text.len() / 2].to_owned(), String::new()] {
            fs::write(&path, broken).unwrap();
            assert_eq!(Record::read(&path), None);
        }
    }
}
