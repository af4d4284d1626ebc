//! The log files: appended to, rotated one by one, and capped all together. Blocking.
//!
//! A file that has reached its limit is renamed to `<name>.log.1`. When all files together would pass theirs, the oldest
//! are dropped: first what an earlier boot left (`.log.old`), then what was rotated (`.log.1`); then the largest log is
//! cut to its last quarter. Each log says what was dropped of it.

use std::collections::{BTreeMap, HashMap};
use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

/// Files that are kept open.
const OPEN: usize = 64;
/// Bytes of the line that tells what was dropped.
const LONGEST_NOTE: u64 = 64;

const MODE: u32 = 0o640;

/// In bytes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Of one file; it may be passed by what is written at once.
    pub(super) file: u64,
    /// Of all files together.
    pub(super) total: u64,
}

#[derive(Debug)]
pub(super) struct Files {
    folder: PathBuf,
    /// Those that hold logs.
    folders: Vec<PathBuf>,
    limits: Limits,
    /// Those that were written since the agent began.
    logs: HashMap<String, Log>,
    /// Bytes of each file, whatever wrote it.
    sizes: BTreeMap<PathBuf, u64>,
}

#[derive(Debug, Default)]
struct Log {
    file: Option<File>,
    /// Bytes that were dropped and not told of.
    dropped: u64,
    /// The last line has no end yet.
    unfinished: bool,
}

impl Files {
    pub(super) fn new(folder: PathBuf, folders: Vec<PathBuf>, limits: Limits) -> io::Result<Files> {
        let sizes = sizes(&folders)?;
        Ok(Files { folder, folders, limits, logs: HashMap::new(), sizes })
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}.log"))
    }

    pub(super) fn append(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let written = self.write(name, bytes);
        if written.is_err() {
            // The next attempt opens whatever is there then.
            self.log(name).file = None;
        }
        written
    }

    fn write(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let needed = bytes.len() as u64 + LONGEST_NOTE;
        if self.sizes.values().sum::<u64>() + needed > self.limits.total {
            self.make_room(needed)?;
        }
        self.open(name)?;
        self.tell_dropped(name)?;
        let log = self.log(name);
        let Some(file) = &mut log.file else { return Ok(()) };
        file.write_all(bytes)?;
        log.unfinished = bytes.last().is_some_and(|byte| *byte != b'\n');
        let (path, length) = (self.path(name), self.measure(name)?);
        if length >= self.limits.file { self.rotate(name, &path, length) } else { Ok(()) }
    }

    /// In the log itself, which is open.
    fn tell_dropped(&mut self, name: &str) -> io::Result<()> {
        let log = self.log(name);
        if let Some(file) = log.file.as_mut().filter(|_| log.dropped > 0) {
            file.write_all(note(log.dropped, log.unfinished).as_bytes())?;
            (log.dropped, log.unfinished) = (0, false);
        }
        Ok(())
    }

    /// How long an open log is.
    fn measure(&mut self, name: &str) -> io::Result<u64> {
        let path = self.path(name);
        let Some(file) = &self.log(name).file else { return Ok(0) };
        let length = file.metadata()?.len();
        self.sizes.insert(path, length);
        Ok(length)
    }

    fn log(&mut self, name: &str) -> &mut Log {
        self.logs.entry(name.to_owned()).or_default()
    }

    /// What an agent before left unfinished when it was killed is not gone on with.
    fn open(&mut self, name: &str) -> io::Result<()> {
        let first = !self.logs.contains_key(name);
        if self.log(name).file.is_some() {
            return Ok(());
        }
        if self.logs.values().filter(|log| log.file.is_some()).count() >= OPEN {
            self.logs.values_mut().for_each(|log| log.file = None);
        }
        let mut file = OpenOptions::new().create(true).append(true).read(true).mode(MODE).open(self.path(name))?;
        if first && is_unfinished(&mut file)? {
            file.write_all(b"\n")?;
        }
        self.log(name).file = Some(file);
        Ok(())
    }

    fn rotate(&mut self, name: &str, path: &Path, length: u64) -> io::Result<()> {
        let rotated = rotated(path);
        fs::rename(path, &rotated)?;
        self.sizes.remove(path);
        let lost = self.sizes.insert(rotated, length).unwrap_or(0);
        let log = self.log(name);
        log.file = None;
        log.dropped += lost;
        Ok(())
    }

    /// Room for so many bytes, and for some more, so that it isn't made for each line anew.
    fn make_room(&mut self, bytes: u64) -> io::Result<()> {
        self.sizes = sizes(&self.folders)?;
        let most = self.limits.total.saturating_sub(bytes + self.limits.total / 64);
        for extension in ["old", "1"] {
            for path in self.oldest_first(extension) {
                if self.sizes.values().sum::<u64>() > most {
                    self.drop_file(&path)?;
                }
            }
        }
        while self.sizes.values().sum::<u64>() > most {
            let Some(largest) = self.sizes.iter().max_by_key(|(_, size)| **size).map(|(path, _)| path.clone()) else {
                break;
            };
            self.cut(&largest)?;
        }
        Ok(())
    }

    fn oldest_first(&self, extension: &str) -> Vec<PathBuf> {
        let of = |path: &&PathBuf| path.extension().is_some_and(|own| own == extension);
        let mut paths: Vec<(Option<SystemTime>, PathBuf)> =
            self.sizes.keys().filter(of).map(|path| (written_at(path), path.clone())).collect();
        paths.sort();
        paths.into_iter().map(|(_, path)| path).collect()
    }

    fn drop_file(&mut self, path: &Path) -> io::Result<()> {
        if let Err(error) = fs::remove_file(path)
            && error.kind() != io::ErrorKind::NotFound
        {
            return Err(error);
        }
        let size = self.sizes.remove(path).unwrap_or(0);
        // An earlier boot's log is no part of this one's.
        if path.extension().is_some_and(|extension| extension == "1")
            && let Some(name) = self.name(&path.with_extension(""))
        {
            self.open(&name)?;
            self.log(&name).dropped += size;
            self.tell_dropped(&name)?;
            self.measure(&name)?;
        }
        Ok(())
    }

    /// The last quarter stays, as the file that is rotated; the log goes on in a new one. Who follows it misses nothing.
    fn cut(&mut self, path: &Path) -> io::Result<()> {
        let tail = last_quarter(path)?;
        let size = self.sizes.remove(path).unwrap_or(0);
        let unfinished = self.name(path).and_then(|name| self.logs.get_mut(&name)).is_some_and(|log| {
            log.file = None;
            log.unfinished
        });
        fs::remove_file(path)?;
        if tail.is_empty() || path.extension().is_none_or(|extension| extension != "log") {
            return Ok(());
        }
        let mut kept = note(size - tail.len() as u64, false).into_bytes();
        kept.extend(&tail);
        kept.extend(unfinished.then_some(b'\n'));
        let mut file = OpenOptions::new().create_new(true).write(true).mode(MODE).open(rotated(path))?;
        file.write_all(&kept)?;
        self.sizes.insert(rotated(path), kept.len() as u64);
        Ok(())
    }

    /// As [`append`](Files::append) is told it.
    fn name(&self, path: &Path) -> Option<String> {
        let name = path.strip_prefix(&self.folder).ok()?.to_str()?;
        Some(name.strip_suffix(".log").unwrap_or(name).to_owned())
    }
}

fn rotated(path: &Path) -> PathBuf {
    path.with_extension("log.1")
}

/// `None`, and so before all others, if that is not known.
fn written_at(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|metadata| metadata.modified()).ok()
}

fn sizes(folders: &[PathBuf]) -> io::Result<BTreeMap<PathBuf, u64>> {
    let mut sizes = BTreeMap::new();
    for folder in folders {
        for entry in fs::read_dir(folder)?.flatten() {
            if let Ok(metadata) = entry.metadata()
                && metadata.is_file()
            {
                sizes.insert(entry.path(), metadata.len());
            }
        }
    }
    Ok(sizes)
}

fn is_unfinished(file: &mut File) -> io::Result<bool> {
    if !file.metadata()?.is_file() || file.seek(SeekFrom::End(0))? == 0 {
        return Ok(false);
    }
    file.seek(SeekFrom::End(-1))?;
    let mut last = [0];
    file.read_exact(&mut last)?;
    Ok(last != *b"\n")
}

/// Whole lines; nothing of a file that is too small to be worth it.
fn last_quarter(path: &Path) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let length = file.metadata()?.len();
    if length < 4096 {
        return Ok(Vec::new());
    }
    file.seek(SeekFrom::Start(length - length / 4))?;
    let mut tail = Vec::new();
    file.take(length / 4).read_to_end(&mut tail)?;
    let line = tail.iter().position(|byte| *byte == b'\n').map_or(0, |end| end + 1);
    let line = if line < tail.len() { line } else { 0 };
    Ok(tail.split_off(line))
}

/// The line that tells of it. It ends the line before, if that is unfinished.
fn note(bytes: u64, unfinished: bool) -> String {
    let end = if unfinished { "\n" } else { "" };
    match bytes {
        1_000_000.. => format!("{end}… {} MB of this log were dropped\n", bytes / 1_000_000),
        _ => format!("{end}… {} kB of this log were dropped\n", bytes.div_ceil(1000)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Place(PathBuf);

    impl Place {
        fn new(test: &str) -> Place {
            let path = std::env::temp_dir().join(format!("space-agent-log-files-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir_all(path.join("apps")).unwrap();
            Place(path)
        }

        fn files(&self, file: u64, total: u64) -> Files {
            Files::new(self.0.clone(), vec![self.0.join("apps")], Limits { file, total }).unwrap()
        }

        fn read(&self, name: &str) -> String {
            fs::read_to_string(self.0.join("apps").join(name)).unwrap_or_else(|_| "none".to_owned())
        }

        fn write(&self, name: &str, size: usize) {
            fs::write(self.0.join("apps").join(name), "123456789\n".repeat(size / 10)).unwrap();
        }
    }

    impl Drop for Place {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    #[test]
    fn a_log_is_rotated_and_says_what_was_dropped_of_it() {
        let place = Place::new("rotated");
        let mut files = place.files(3000, 1 << 20);
        for letter in ["a", "b", "c"] {
            files.append("apps/x", format!("{}\n", letter.repeat(2999)).as_bytes()).unwrap();
        }
        files.append("apps/x", b"last\n").unwrap();
        assert_eq!(place.read("x.log"), "… 3 kB of this log were dropped\nlast\n");
        assert!(place.read("x.log.1").starts_with("… 3 kB of this log were dropped\nccc"));
    }

    #[test]
    fn what_an_earlier_boot_left_goes_first_then_what_was_rotated_then_most_of_the_largest() {
        let place = Place::new("order");
        for name in ["x.log.old", "x.log.1", "y.log.1"] {
            place.write(name, 10_000);
            // The order of their times: the file system's clock ticks.
            let before = written_at(&place.0.join("apps").join(name));
            while {
                place.write("tick", 0);
                written_at(&place.0.join("apps/tick")) == before
            } {}
        }
        place.write("y.log", 40_000);
        let mut files = place.files(1 << 20, 72_000);
        let there = |name: &str| place.0.join("apps").join(name).exists();
        files.append("apps/z", &[b'z'; 5000]).unwrap();
        assert_eq!(["x.log.old", "x.log.1", "y.log.1", "y.log"].map(there), [false, true, true, true]);
        files.append("apps/z", &[b'z'; 10_000]).unwrap();
        assert_eq!(["x.log.1", "y.log.1", "y.log"].map(there), [false, true, true]);
        files.append("apps/x", b"x\n").unwrap();
        assert_eq!(place.read("x.log"), "… 10 kB of this log were dropped\nx\n");
        files.append("apps/z", &[b'z'; 20_000]).unwrap();
        assert_eq!(["y.log.1", "y.log"].map(there), [true, false]);
        let kept = place.read("y.log.1");
        assert!(kept.starts_with("… 31 kB of this log were dropped\n123456789\n"), "{kept}");
        assert!(kept.ends_with("\n123456789\n… 10 kB of this log were dropped\n"), "{kept}");
        assert!(kept.len() < 10_200, "{kept}");
        files.append("apps/y", b"on\n").unwrap();
        assert_eq!(place.read("y.log"), "on\n");
    }

    #[test]
    fn an_agent_that_comes_after_one_that_was_killed_begins_a_new_line() {
        let place = Place::new("killed");
        place.files(1000, 10_000).append("apps/x", b"half a li").unwrap();
        let mut files = place.files(1000, 10_000);
        files.append("apps/x", b"par").unwrap();
        files.append("apps/x", b"tial\n").unwrap();
        assert_eq!(place.read("x.log"), "half a li\npartial\n");
    }
}
