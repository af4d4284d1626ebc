//! Files and folders that others must not be able to exchange, files that somebody else may have put there, and files
//! that must be on the disk before something else happens. Where programs are.
//!
//! What is made or handed over here is made by name in a folder that only this process's user can write to, and from
//! then on meant by its descriptor: a link that somebody places in between is refused and not followed.

use nix::fcntl::OFlag;
use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Path, PathBuf};

/// Makes the folder, or takes one that is there if it is this process's user's own, and gives it the mode, whatever the
/// umask.
pub fn own_folder(path: &Path, mode: u32) -> io::Result<()> {
    match DirBuilder::new().mode(0o700).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    let folder = open_folder(path)?;
    if folder.metadata()?.uid() != nix::unistd::geteuid().as_raw() {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "it belongs to another user"));
    }
    folder.set_permissions(Permissions::from_mode(mode))
}

/// Removes the folder with all that is in it, or the link in its place; what links lead to stays. Absent is fine.
pub fn remove_folder(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Makes the folder the account's, which may then do in it what it likes.
pub fn hand_over_folder(path: &Path, uid: u32, gid: u32) -> io::Result<()> {
    hand_over(&open_folder(path)?, uid, gid)
}

/// Makes an open file the account's; one that is already (the agent runs as the account) stays as it is.
pub fn hand_over(file: &File, uid: u32, gid: u32) -> io::Result<()> {
    if file.metadata()?.uid() == uid { Ok(()) } else { fchown(file, Some(uid), Some(gid)) }
}

/// Never through a link in the last component.
fn open_folder(path: &Path) -> io::Result<File> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_DIRECTORY;
    OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)
}

/// Writes a file that is not there yet (a link is something that is there), with the mode, whatever the umask.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> io::Result<File> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(mode))?;
    Ok(file)
}

/// The content of a regular file of at most `limit` bytes. Follows no link in the last component and never waits for
/// a named pipe. The folders above must be out of the other's reach.
pub fn read_untrusted(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, format!("larger than {limit} bytes")));
    }
    Ok(content)
}

/// Writes a file so that it is the old one or the new one, whatever happens, and after this the new one. The new content
/// goes to a file beside it, whose name only this process uses.
pub fn write_atomically(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = path.as_os_str().to_owned();
    new.push(".new");
    let mut file = File::create(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    fs::rename(&new, path)?;
    File::open(path.parent().unwrap_or(Path::new("/")))?.sync_all()
}

/// Where PATH (absolute folders only) says that a program may be.
pub fn on_path(program: &str, path: Option<&impl AsRef<OsStr>>) -> Vec<PathBuf> {
    let folders = path.into_iter().flat_map(std::env::split_paths);
    folders.filter(|folder| folder.is_absolute()).map(|folder| folder.join(program)).collect()
}

/// Writes everything of the file system that holds `path` to its disk: after a power cut, what was written before this
/// call is there.
pub fn sync_filesystem(path: &Path) -> io::Result<()> {
    Ok(nix::unistd::syncfs(File::open(path)?)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn programs_are_looked_for_in_absolute_folders_only() {
        let expected = ["/usr/bin/git", "/bin/git"].map(PathBuf::from);
        assert_eq!(on_path("git", Some(&"/usr/bin:relative::/bin")), expected);
        assert!(on_path("git", None::<&String>).is_empty());
    }
}
