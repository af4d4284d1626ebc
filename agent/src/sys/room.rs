//! How much room a file system has left, and whether this process may write to a place. Blocking: a file system that
//! hangs is waited for.

use nix::fcntl::{AT_FDCWD, AtFlags};
use nix::sys::statvfs::statvfs;
use nix::unistd::{AccessFlags, faccessat};
use std::io;
use std::path::Path;

/// What is left for this process's user on a file system.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    pub bytes: u64,
    /// Files that can still be made; `None`: the file system sets no number.
    pub files: Option<u64>,
}

pub fn room(path: &Path) -> io::Result<Room> {
    let stat = statvfs(path)?;
    let files = (stat.files() > 0).then(|| stat.files_available());
    Ok(Room { bytes: stat.blocks_available().saturating_mul(stat.fragment_size()), files })
}

/// May this process, as it is now, write to the file or make something in the folder?
pub fn may_write(path: &Path) -> bool {
    faccessat(AT_FDCWD, path, AccessFlags::W_OK, AtFlags::AT_EACCESS).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_temporary_folder_has_room_and_what_is_not_there_has_none() {
        let room = room(&std::env::temp_dir()).unwrap();
        assert!(room.bytes > 0 && room.files != Some(0), "{room:?}");
        assert!(super::room(Path::new("/nonexistent/x")).is_err());
        assert!(may_write(&std::env::temp_dir()) && !may_write(Path::new("/nonexistent/x")));
    }
}
