//! A place in a log that is being written and rotated: `x.log`, and before it `x.log.1`. Blocking.
//!
//! The writer rotates by renaming `x.log` to `x.log.1` and beginning a new `x.log`; what is open stays open, so nothing
//! is lost between two looks unless the log was rotated twice.

use std::collections::VecDeque;
use std::fs::{self, File, Metadata};
use std::io::{self, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

const CHUNK: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Cursor {
    path: PathBuf,
    /// Oldest first. The last one is the one being written; empty while there is none.
    files: VecDeque<File>,
    /// Bytes left to give; `None`: whatever comes.
    left: Option<u64>,
}

impl Cursor {
    /// Stands at the beginning of what there is, or of its last `tail` lines. Without `follow` the end is fixed now.
    pub(super) fn open(path: &Path, tail: Option<u32>, follow: bool) -> io::Result<Cursor> {
        let current = open_plain(path)?;
        let rotated = open_plain(&path.with_extension("log.1"))?;
        // Rotated between the two calls: both are the same file.
        let same = matches!((&current, &rotated), (Some(a), Some(b)) if a.metadata()?.ino() == b.metadata()?.ino());
        let mut files: Vec<File> = rotated.filter(|_| !same).into_iter().chain(current).collect();
        let mut wanted = tail.map(u64::from);
        let mut total = 0;
        for file in files.iter_mut().rev() {
            let length = file.metadata()?.len();
            let from = match &mut wanted {
                Some(lines) => start_of_last_lines(file, length, lines)?,
                None => 0,
            };
            file.seek(SeekFrom::Start(from))?;
            total += length - from;
        }
        Ok(Cursor { path: path.to_owned(), files: files.into(), left: (!follow).then_some(total) })
    }

    /// The next bytes, at most 64 KiB; empty if there are none for now.
    pub(super) fn read(&mut self) -> io::Result<Vec<u8>> {
        loop {
            let Some(file) = self.files.front_mut() else {
                if !self.take_up_new_file()? {
                    return Ok(Vec::new());
                }
                continue;
            };
            let limit = self.left.unwrap_or(u64::MAX).min(CHUNK as u64);
            let mut bytes = Vec::new();
            Read::by_ref(file).take(limit).read_to_end(&mut bytes)?;
            if !bytes.is_empty() || limit == 0 {
                self.left = self.left.map(|left| left - bytes.len() as u64);
                return Ok(bytes);
            }
            if self.files.len() > 1 {
                self.files.pop_front();
            } else if !self.take_up_new_file()? {
                return Ok(Vec::new());
            }
        }
    }

    /// True if there is more to read: another file at the path, or the same one cut and written anew.
    fn take_up_new_file(&mut self) -> io::Result<bool> {
        if self.left.is_some() {
            return Ok(false);
        }
        let Some(current) = open_plain(&self.path)? else { return Ok(false) };
        let now = current.metadata()?;
        let Some(last) = self.files.back_mut() else {
            self.files.push_back(current);
            return Ok(now.len() > 0);
        };
        if !same_file(&last.metadata()?, &now) {
            // The old one is read once more before it is left: its last lines may have come since.
            self.files.push_back(current);
            return Ok(true);
        }
        if now.len() < last.stream_position()? {
            last.seek(SeekFrom::Start(0))?;
            return Ok(now.len() > 0);
        }
        Ok(false)
    }
}

/// `None` if there is nothing. A link, a folder or a pipe in this place is an error: nobody but an intruder put it there.
fn open_plain(path: &Path) -> io::Result<Option<File>> {
    let opened = fs::symlink_metadata(path).and_then(|seen| {
        let foreign = || io::Error::new(io::ErrorKind::InvalidInput, "not a plain file");
        let file = if seen.is_file() { File::open(path)? } else { return Err(foreign()) };
        if same_file(&seen, &file.metadata()?) { Ok(file) } else { Err(foreign()) }
    });
    match opened {
        Ok(file) => Ok(Some(file)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

/// Where the last `lines` lines begin; what was found is taken off `lines`. A last line without its end counts.
fn start_of_last_lines(file: &File, length: u64, lines: &mut u64) -> io::Result<u64> {
    let mut block = vec![0; CHUNK];
    let mut end = length;
    while end > 0 && *lines > 0 {
        let start = end.saturating_sub(CHUNK as u64);
        let part = &mut block[..(end - start) as usize];
        file.read_exact_at(part, start)?;
        for (at, _) in part.iter().enumerate().rev().filter(|(_, byte)| **byte == b'\n') {
            let after = start + at as u64 + 1;
            // The file's last byte ends its last line; any other line end begins a line that was counted.
            if after < length {
                *lines -= 1;
                if *lines == 0 {
                    return Ok(after);
                }
            }
        }
        end = start;
    }
    if *lines == 0 {
        return Ok(length);
    }
    *lines -= u64::from(length > 0);
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    struct Folder(PathBuf);

    impl Folder {
        fn new(test: &str) -> Folder {
            let path = std::env::temp_dir().join(format!("space-agent-log-{test}-{}", std::process::id()));
            let _ = fs::remove_dir_all(&path);
            fs::create_dir(&path).unwrap();
            Folder(path)
        }

        fn log(&self) -> PathBuf {
            self.0.join("x.log")
        }

        fn append(&self, text: &str) {
            let mut file = File::options().create(true).append(true).open(self.log()).unwrap();
            file.write_all(text.as_bytes()).unwrap();
        }

        fn rotate(&self) {
            fs::rename(self.log(), self.0.join("x.log.1")).unwrap();
        }
    }

    impl Drop for Folder {
        fn drop(&mut self) {
            let _ = fs::remove_dir_all(&self.0);
        }
    }

    fn read_all(cursor: &mut Cursor) -> String {
        let mut all = Vec::new();
        loop {
            let bytes = cursor.read().unwrap();
            if bytes.is_empty() {
                return String::from_utf8(all).unwrap();
            }
            all.extend(bytes);
        }
    }

    #[test]
    fn the_last_lines_reach_into_the_rotated_file() {
        let folder = Folder::new("tail");
        folder.append("one\ntwo\nthree\n");
        folder.rotate();
        folder.append("four\nfive\nunfinished");
        for (tail, expected) in [
            (None, "one\ntwo\nthree\nfour\nfive\nunfinished"),
            (Some(0), ""),
            (Some(1), "unfinished"),
            (Some(2), "five\nunfinished"),
            (Some(3), "four\nfive\nunfinished"),
            (Some(4), "three\nfour\nfive\nunfinished"),
            (Some(6), "one\ntwo\nthree\nfour\nfive\nunfinished"),
            (Some(u32::MAX), "one\ntwo\nthree\nfour\nfive\nunfinished"),
        ] {
            let mut cursor = Cursor::open(&folder.log(), tail, false).unwrap();
            assert_eq!(read_all(&mut cursor), expected, "{tail:?}");
        }
    }

    #[test]
    fn lines_longer_than_a_block_are_counted_once() {
        let folder = Folder::new("long");
        let line = "x".repeat(CHUNK * 2 + 17);
        folder.append(&format!("first\n{line}\nlast\n"));
        let mut cursor = Cursor::open(&folder.log(), Some(2), false).unwrap();
        assert_eq!(read_all(&mut cursor), format!("{line}\nlast\n"));
    }

    #[test]
    fn without_following_the_end_is_fixed_at_the_beginning() {
        let folder = Folder::new("fixed");
        folder.append("one\n");
        let mut cursor = Cursor::open(&folder.log(), None, false).unwrap();
        folder.append("two\n");
        assert_eq!(read_all(&mut cursor), "one\n");
        folder.rotate();
        folder.append("three\n");
        assert_eq!(read_all(&mut cursor), "");
    }

    #[test]
    fn a_follower_loses_nothing_when_the_log_is_rotated() {
        let folder = Folder::new("rotate");
        let mut cursor = Cursor::open(&folder.log(), None, true).unwrap();
        assert_eq!(read_all(&mut cursor), "");
        folder.append("one\n");
        assert_eq!(read_all(&mut cursor), "one\n");
        folder.append("two\n");
        folder.rotate();
        folder.append("three\n");
        assert_eq!(read_all(&mut cursor), "two\nthree\n");
        File::create(folder.log()).unwrap();
        folder.append("4\n");
        assert_eq!(read_all(&mut cursor), "4\n");
        assert_eq!(read_all(&mut cursor), "");
    }

    #[test]
    fn a_link_or_a_folder_is_not_followed() {
        let folder = Folder::new("link");
        std::os::unix::fs::symlink("/etc/passwd", folder.log()).unwrap();
        assert_eq!(Cursor::open(&folder.log(), None, false).unwrap_err().kind(), io::ErrorKind::InvalidInput);
        fs::remove_file(folder.log()).unwrap();
        fs::create_dir(folder.log()).unwrap();
        assert!(Cursor::open(&folder.log(), None, false).is_err());
    }
}
