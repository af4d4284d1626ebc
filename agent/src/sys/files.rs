//! Files and folders that others must not be able to exchange, files that somebody else may have put there, and files
//! that must be on the disk before something else happens. Where programs are.
//!
//! What is made or handed over here is made by name in a folder that only this process's user can write to, and from
//! then on meant by its descriptor: a link that somebody places in between is refused and not followed.

use crate::model::child::Account;
use nix::fcntl::OFlag;
use nix::sys::statvfs::{FsFlags, statvfs};
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::fs::{self, DirBuilder, File, Metadata, OpenOptions, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown};
use std::path::{Component, Path, PathBuf};

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
    read_file(path, limit, OFlag::O_NOFOLLOW)
}

/// As [`read_untrusted`], of somebody who may also place links.
pub fn read_regular(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    read_file(path, limit, OFlag::empty())
}

fn read_file(path: &Path, limit: u64, flags: OFlag) -> io::Result<Vec<u8>> {
    let flags = flags | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
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
    // The owner's alone: it may hold what was said in a document or a log.
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
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

/// Could this account execute the file: may it search every folder on the way, links included, and execute what is at the
/// end? By the mode bits alone, as somebody who sees more (root) can look at them; other means to grant rights (ACLs) are
/// not known here. The path is absolute. Blocks for a few `stat`s.
pub fn executable_by(path: &Path, account: &Account) -> bool {
    followed(path, account).is_some_and(|file| file.is_file() && may_execute(&file, account))
}

/// Could this account be in the folder? As [`executable_by`].
pub fn enterable_by(path: &Path, account: &Account) -> bool {
    followed(path, account).is_some_and(|folder| folder.is_dir() && may_execute(&folder, account))
}

/// Could this account make files in the folder, if its disk takes any? As [`executable_by`].
pub fn writable_by(path: &Path, account: &Account) -> bool {
    let may_write = |folder: &Metadata| {
        account.uid == 0 || class_bits(folder.mode(), (folder.uid(), folder.gid()), account) & 0o2 != 0
    };
    followed(path, account).is_some_and(|folder| folder.is_dir() && may_execute(&folder, account) && may_write(&folder))
}

/// Could this account read the file, or let itself? As [`executable_by`].
pub fn readable_by(path: &Path, account: &Account) -> bool {
    let may_read = |file: &Metadata| {
        let owner = (file.uid(), file.gid());
        account.uid == 0 || file.uid() == account.uid || class_bits(file.mode(), owner, account) & 0o4 != 0
    };
    followed(path, account).is_some_and(|file| may_read(&file))
}

/// What is at the end of the path, if the account can get there.
fn followed(path: &Path, account: &Account) -> Option<Metadata> {
    let (mut at, mut links) = (PathBuf::from("/"), 0);
    let mut to_go: Vec<OsString> = parts(path);
    while let Some(part) = to_go.pop() {
        let searchable = fs::symlink_metadata(&at).is_ok_and(|folder| folder.is_dir() && may_execute(&folder, account));
        if !searchable {
            return None;
        }
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        match fs::read_link(&next) {
            Ok(target) if links < LINKS => {
                links += 1;
                to_go.extend(parts(&target));
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
            }
            Ok(_) => return None,
            // No link, or not there.
            Err(_) => at = next,
        }
    }
    fs::symlink_metadata(&at).ok()
}

/// As many as the kernel follows.
const LINKS: u32 = 40;

/// The names in a path, the last first.
fn parts(path: &Path) -> Vec<OsString> {
    let names = path.components().rev().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    names.map(|part| part.as_os_str().to_owned()).collect()
}

fn may_execute(about: &Metadata, account: &Account) -> bool {
    execute_bit(about.mode(), (about.uid(), about.gid()), account)
}

/// `owner`: uid and gid.
fn execute_bit(mode: u32, owner: (u32, u32), account: &Account) -> bool {
    if account.uid == 0 { mode & 0o111 != 0 } else { class_bits(mode, owner, account) & 0o1 != 0 }
}

/// The first class that fits decides, also if a later one would allow more (path_resolution(7)).
fn class_bits(mode: u32, owner: (u32, u32), account: &Account) -> u32 {
    match owner {
        (uid, _) if uid == account.uid => mode >> 6,
        (_, gid) if gid == account.gid || account.groups.contains(&gid) => mode >> 3,
        _ => mode,
    }
}

/// Why a disk takes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refuses {
    ReadOnly,
    Full,
    /// It holds as many files as it can.
    FullOfFiles,
}

impl fmt::Display for Refuses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Refuses::ReadOnly => "it is mounted read-only",
            Refuses::Full => "its disk is full",
            Refuses::FullOfFiles => "its disk holds as many files as it can",
        })
    }
}

/// What can be said against the disk of a folder that somebody is to write to.
pub fn disk_refuses(folder: &Path) -> io::Result<Option<Refuses>> {
    /// Settings and histories need some room; what is less is none.
    const ROOM: u64 = 256 * 1024;
    let disk = statvfs(folder)?;
    let room = disk.blocks_available().saturating_mul(disk.fragment_size());
    Ok(if disk.flags().contains(FsFlags::ST_RDONLY) {
        Some(Refuses::ReadOnly)
    } else if disk.blocks() > 0 && room < ROOM {
        Some(Refuses::Full)
    } else if disk.files() > 0 && disk.files_available() == 0 {
        Some(Refuses::FullOfFiles)
    } else {
        None
    })
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

    fn account(uid: u32, gid: u32, groups: &[u32]) -> Account {
        let (home, shell) = (PathBuf::from("/"), PathBuf::from("/bin/sh"));
        Account { name: "alice".into(), uid, gid, groups: groups.to_vec(), home, shell }
    }

    #[test]
    fn the_first_class_that_fits_decides_who_may_execute() {
        for (mode, owner, who, expected) in [
            (0o700, (5, 6), account(5, 9, &[]), true),
            (0o077, (5, 6), account(5, 6, &[6]), false),
            (0o010, (5, 6), account(7, 6, &[]), true),
            (0o010, (5, 6), account(7, 8, &[9, 6]), true),
            (0o101, (5, 6), account(7, 8, &[6]), false),
            (0o110, (5, 6), account(7, 8, &[9]), false),
            (0o001, (5, 6), account(7, 8, &[9]), true),
            (0o666, (5, 6), account(0, 0, &[]), false),
            (0o010, (5, 6), account(0, 0, &[]), true),
        ] {
            assert_eq!(execute_bit(mode, owner, &who), expected, "{mode:o} {owner:?} {who:?}");
        }
    }

    #[test]
    fn a_program_counts_only_if_the_whole_way_to_it_is_open() {
        let top = std::env::temp_dir().join(format!("space-agent-test-reach-{}", std::process::id()));
        let (open, closed) = (top.join("open"), top.join("closed"));
        for (folder, mode) in [(&top, 0o755), (&open, 0o755), (&closed, 0o700)] {
            fs::create_dir(folder).unwrap();
            fs::set_permissions(folder, Permissions::from_mode(mode)).unwrap();
        }
        for (file, mode) in [(open.join("all"), 0o755), (open.join("own"), 0o700), (closed.join("all"), 0o755)] {
            write_new(&file, b"", mode).unwrap();
        }
        let link = |target: &str, name: &str| std::os::unix::fs::symlink(target, open.join(name)).unwrap();
        link("all", "to-all");
        link("../open/./all", "around");
        link("../closed/all", "into-closed");
        link(closed.join("back").to_str().unwrap(), "through-closed");
        std::os::unix::fs::symlink("../open/all", closed.join("back")).unwrap();
        link("loop", "loop");
        link("missing", "nowhere");
        let stranger = account(64_321, 64_322, &[]);
        for (name, expected) in [
            ("open/all", true),
            ("open/to-all", true),
            ("open/around", true),
            ("open/../open/all", true),
            ("open/own", false),
            ("open/missing", false),
            ("open", false),
            ("open/all/x", false),
            ("closed/all", false),
            ("closed/../open/all", false),
            ("open/into-closed", false),
            ("open/through-closed", false),
            ("open/loop", false),
            ("open/nowhere", false),
        ] {
            assert_eq!(executable_by(&top.join(name), &stranger), expected, "{name}");
        }
        let about = fs::metadata(&top).unwrap();
        let owner = account(about.uid(), about.gid(), &[]);
        assert!(executable_by(&open.join("through-closed"), &owner) && executable_by(&open.join("own"), &owner));
        fs::remove_dir_all(&top).unwrap();
    }
}
