//! The boot record and the repositories, as the hall asks for them: blocking, each bounded, in the home only by errand.

use super::place::Place;
use crate::errand::Errands;
use crate::model::now::Timestamp;
use crate::model::record::{Boots, LOG, Record};
use crate::model::status::Status;
use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Who does this space's errands.
pub(super) fn errands(place: &Place) -> Errands {
    Errands { binary: place.binary.clone(), account: place.account.clone(), home: place.home.clone() }
}

/// What is known of earlier runs; `None` if it cannot be read. Blocks 2 s at most.
pub(super) fn read(place: &Place) -> Option<Boots> {
    let read = errands(place).boots();
    read.inspect_err(|error| tracing::warn!(%error, "cannot read the boot record")).ok()
}

/// What is to be kept of this run, with the ends of its logs. Blocks for a few small files. `code`: the exit code, at the
/// end.
fn of(place: &Place, status: &Status, now: Timestamp, code: Option<u8>) -> Record {
    Record::of(status, now, code, tails(&place.logs, status))
}

/// Takes what is to be kept of this run into the home. Blocks 2 s at most, and a little for the logs.
pub(super) fn keep(place: &Place, status: &Status, now: Timestamp, code: Option<u8>) {
    let kept = errands(place).keep(&of(place, status, now, code));
    if let Err(error) = kept {
        tracing::warn!(%error, "the boot record cannot be written");
    }
}

/// What the user has not committed or pushed, one sentence each. Blocks until `within` is over at most.
pub(super) fn look(place: &Place, folders: &[PathBuf], within: Duration) -> Vec<String> {
    errands(place).repositories(folders, within)
}

/// The end of each log; one that cannot be read is left out.
fn tails(logs: &Path, status: &Status) -> BTreeMap<String, String> {
    let steps = status.steps.iter().map(|step| format!("steps/{}", step.name));
    let apps = status.apps.iter().map(|app| format!("apps/{}", app.name));
    steps.chain(apps).filter_map(|name| Some((name.clone(), tail(&logs.join(format!("{name}.log"))).ok()?))).collect()
}

/// The log, and what was put aside before it if it has just begun.
fn tail(log: &Path) -> io::Result<String> {
    let mut end = last_bytes(log, LOG as u64)?;
    let room = (LOG as u64).saturating_sub(end.len() as u64);
    if let Ok(mut before) = last_bytes(&log.with_extension("log.1"), room) {
        before.append(&mut end);
        end = before;
    }
    Ok(String::from_utf8_lossy(&end).into_owned())
}

fn last_bytes(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    file.seek(SeekFrom::Start(length.saturating_sub(most)))?;
    let mut bytes = Vec::new();
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn the_end_of_a_log_reaches_into_the_file_before_it() {
        let folder = std::env::temp_dir().join(format!("space-agent-record-tail-{}", std::process::id()));
        fs::create_dir(&folder).unwrap();
        let log = folder.join("deps.log");
        assert!(tail(&log).is_err());
        fs::write(&log, "new\n").unwrap();
        assert_eq!(tail(&log).unwrap(), "new\n");
        fs::write(folder.join("deps.log.1"), "old\n".repeat(LOG)).unwrap();
        let end = tail(&log).unwrap();
        assert!(end.len() == LOG && end.ends_with("old\nnew\n"), "{}", end.len());
        fs::write(&log, "\u{e4}".repeat(LOG)).unwrap();
        assert_eq!(tail(&log).unwrap().len(), LOG);
        fs::remove_dir_all(&folder).unwrap();
    }
}
