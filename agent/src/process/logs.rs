//! Log files of steps and apps: written on a thread of their own, so that a slow disk stops no loop.
//!
//! `<folder>/<name>.log` (a name is `steps/…`, `apps/…` or `front-door/…`), rotated and capped (see [`files`]). A new boot begins a new
//! file; what the boot before wrote last is in `<name>.log.old`. What cannot be written is lost, and that is told: at most
//! once in a [`PAUSE`] for each log, and how much it was when it works again.

mod files;

use crate::model::now::Monotonic;
use crate::sys::clock;
use files::{Files, Limits};
use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::DirBuilderExt;
use std::path::Path;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;
use tokio::sync::mpsc;

const LIMITS: Limits = Limits { file: 4 << 20, total: 64 << 20 };
/// Between two warnings about one log.
const PAUSE: Duration = Duration::from_secs(60);
const FOLDERS: [&str; 3] = ["steps", "apps", "front-door"];
/// Chunks that may wait for the disk: at most 64 kB each, and a line more.
const WAITING: usize = 64;

/// A cheap handle to the writing thread.
#[derive(Debug, Clone)]
pub struct Logs(mpsc::Sender<Chunk>);

/// The writing thread; it ends when the last [`Logs`] is dropped.
#[derive(Debug)]
pub struct Writer(std::sync::mpsc::Receiver<()>);

impl Writer {
    /// True once everything is written; false if the disk took longer than `wait`.
    pub fn finish(self, wait: Duration) -> bool {
        // The thread never sends: the channel ends with it.
        !matches!(self.0.recv_timeout(wait), Err(RecvTimeoutError::Timeout))
    }
}

#[derive(Debug)]
struct Chunk {
    name: String,
    bytes: Vec<u8>,
}

impl Logs {
    /// Makes the folder, puts the files of an earlier boot aside if this is a new one, and starts the thread, which ends
    /// when the last handle is dropped.
    pub fn open(folder: &Path, new_boot: bool) -> io::Result<(Logs, Writer)> {
        Logs::limited(folder, new_boot, LIMITS)
    }

    fn limited(folder: &Path, new_boot: bool, limits: Limits) -> io::Result<(Logs, Writer)> {
        let folders = FOLDERS.map(|name| folder.join(name));
        for folder in &folders {
            fs::DirBuilder::new().recursive(true).mode(0o750).create(folder)?;
            if new_boot {
                put_aside(folder)?;
            }
        }
        let files = Files::new(folder.to_owned(), folders.to_vec(), limits)?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let (running, ended) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("logs".into()).spawn(move || {
            write(files, receiver);
            drop(running);
        })?;
        Ok((Logs(sender), Writer(ended)))
    }

    /// Waits while the disk is behind: the pipe fills, and the writer of the output waits too.
    pub async fn append(&self, name: &str, bytes: &[u8]) {
        // The thread is gone only if it panicked; then output is lost and nothing else.
        let _ = self.0.send(Chunk { name: name.to_owned(), bytes: bytes.to_owned() }).await;
    }

    /// As [`Logs::append`], on a thread that may wait.
    pub fn append_blocking(&self, name: &str, bytes: &[u8]) {
        let _ = self.0.blocking_send(Chunk { name: name.to_owned(), bytes: bytes.to_owned() });
    }
}

fn put_aside(folder: &Path) -> io::Result<()> {
    for entry in fs::read_dir(folder)?.flatten() {
        let path = entry.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => fs::rename(&path, path.with_extension("log.old"))?,
            Some("1") => fs::remove_file(&path)?,
            _ => {}
        }
    }
    Ok(())
}

fn write(mut files: Files, mut chunks: mpsc::Receiver<Chunk>) {
    let mut losses: HashMap<String, Loss> = HashMap::new();
    while let Some(Chunk { name, bytes }) = chunks.blocking_recv() {
        let log = files.path(&name);
        match files.append(&name, &bytes) {
            Ok(()) => {
                if let Some(lost) = losses.get_mut(&name).and_then(|loss| loss.over(clock::monotonic())) {
                    tracing::warn!(log = %log.display(), lost, "the log can be written again; this many bytes are lost");
                }
            }
            Err(error) => {
                if losses.entry(name).or_default().more(bytes.len(), clock::monotonic()) {
                    tracing::warn!(log = %log.display(), %error, "cannot write to the log; output is lost until it can be");
                }
            }
        }
    }
}

/// What one log has lost, and what of that has been told.
#[derive(Debug, Default)]
struct Loss {
    /// Bytes since it was last told how many.
    lost: u64,
    warned: Option<Monotonic>,
    /// A warning stands whose end has not been told.
    open: bool,
}

impl Loss {
    /// Output was lost; true: it is time to say so.
    fn more(&mut self, bytes: usize, now: Monotonic) -> bool {
        self.lost += bytes as u64;
        let due = self.due(now);
        if due {
            self.warned = Some(now);
            self.open = true;
        }
        due
    }

    /// Output was written; how much was lost before, if it is time to say so. A disk that is full again and again is told
    /// of as seldom as one that stays so.
    fn over(&mut self, now: Monotonic) -> Option<u64> {
        if self.lost == 0 || !(self.open || self.due(now)) {
            return None;
        }
        self.open = false;
        Some(std::mem::take(&mut self.lost))
    }

    fn due(&self, now: Monotonic) -> bool {
        self.warned.is_none_or(|warned| now.since(warned) >= PAUSE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_log_is_capped_and_a_new_boot_begins_a_new_file() {
        let folder = std::env::temp_dir().join(format!("space-agent-logs-{}", std::process::id()));
        let (logs, thread) = Logs::open(&folder, true).unwrap();
        for _ in 0..200 {
            logs.append("steps/deps", &[b'x'; 65_536]).await;
        }
        drop(logs);
        assert!(thread.finish(Duration::from_secs(60)));
        let total = size(&folder);
        assert!(total <= 2 * LIMITS.file + 2 * 65_536, "{total}");
        let (logs, thread) = Logs::open(&folder, true).unwrap();
        logs.append("steps/deps", b"new").await;
        drop(logs);
        assert!(thread.finish(Duration::from_secs(60)));
        assert_eq!(fs::read(folder.join("steps/deps.log")).unwrap(), b"new");
        fs::remove_dir_all(&folder).unwrap();
    }

    /// Of all files.
    fn size(folder: &Path) -> u64 {
        let folders = FOLDERS.map(|name| fs::read_dir(folder.join(name)).unwrap());
        folders.into_iter().flatten().map(|entry| entry.unwrap().metadata().unwrap().len()).sum()
    }

    #[tokio::test]
    async fn the_logs_of_many_steps_stay_below_the_cap_through_boots_and_restarts_of_the_agent() {
        let folder = std::env::temp_dir().join(format!("space-agent-logs-many-{}", std::process::id()));
        let limits = Limits { file: 16 << 10, total: 1 << 20 };
        for (round, new_boot) in [true, true, false].into_iter().enumerate() {
            let (logs, thread) = Logs::limited(&folder, new_boot, limits).unwrap();
            for step in 0..200 {
                let lines = format!("round {round} of step {step}\n").repeat(700);
                for part in lines.as_bytes().chunks(4096) {
                    logs.append(&format!("steps/s{step}"), part).await;
                }
            }
            drop(logs);
            assert!(thread.finish(Duration::from_secs(60)));
            assert!(size(&folder) <= limits.total, "{}", size(&folder));
            for step in [0, 100, 199] {
                let end = format!("round {round} of step {step}\n");
                let files = ["log.1", "log"].map(|end| folder.join(format!("steps/s{step}.{end}")));
                let text: String = files.iter().filter_map(|path| fs::read_to_string(path).ok()).collect();
                assert!(text.contains(&end) || text.contains(" of this log were dropped\n"), "step {step}: {text}");
            }
            let last = fs::read_to_string(folder.join("steps/s199.log")).unwrap();
            assert!(last.ends_with(&format!("round {round} of step 199\n")), "{last}");
        }
        fs::remove_dir_all(&folder).unwrap();
    }

    /// Seconds, and bytes that were lost then or none; what is said.
    fn check(happens: &[(u64, usize)], expected: &[&str]) {
        let mut loss = Loss::default();
        let said = happens.iter().filter_map(|(second, bytes)| {
            let now = Monotonic(second * 1000);
            match bytes {
                0 => loss.over(now).map(|lost| format!("{second}: {lost} lost")),
                bytes => loss.more(*bytes, now).then(|| format!("{second}: full")),
            }
        });
        assert_eq!(said.collect::<Vec<_>>(), expected, "{happens:?}");
    }

    #[test]
    fn a_log_that_cannot_be_written_is_told_once_a_minute_and_its_loss_when_it_can_again() {
        check(&[(0, 0), (1, 0)], &[]);
        check(
            &[(0, 10), (1, 10), (59, 10), (60, 10), (61, 10), (62, 0), (63, 0)],
            &["0: full", "60: full", "62: 50 lost"],
        );
        // On and off: one warning and one end in a minute.
        check(
            &[(0, 10), (1, 0), (2, 10), (3, 0), (4, 10), (5, 0), (60, 10), (61, 0), (62, 0)],
            &["0: full", "1: 10 lost", "60: full", "61: 30 lost"],
        );
        check(&[(0, 10), (1, 0), (2, 10), (3, 0), (70, 0), (71, 0)], &["0: full", "1: 10 lost", "70: 10 lost"]);
    }

    #[tokio::test]
    async fn a_full_disk_stops_nobody() {
        let folder = std::env::temp_dir().join(format!("space-agent-logs-full-{}", std::process::id()));
        let (logs, thread) = Logs::open(&folder, true).unwrap();
        std::os::unix::fs::symlink("/dev/full", folder.join("apps/default.log")).unwrap();
        for _ in 0..200 {
            logs.append("apps/default", &[b'x'; 16_384]).await;
        }
        fs::remove_file(folder.join("apps/default.log")).unwrap();
        logs.append("apps/other", b"y").await;
        drop(logs);
        assert!(thread.finish(Duration::from_secs(60)));
        assert_eq!(fs::read(folder.join("apps/other.log")).unwrap(), b"y");
        fs::remove_dir_all(&folder).unwrap();
    }
}
