//! Where this program is: the path at which an upgrade puts the next one.

use nix::libc;
use std::ffi::{CStr, OsStr};
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

/// What this process itself runs, whatever has become of its file.
pub const OWN: &CStr = c"/proc/self/exe";

/// What the kernel appends to the name of a file that is gone.
const GONE: &[u8] = b" (deleted)";

/// The absolute path of this program. As it was called, if that still leads to it, so that a link that an upgrade points
/// elsewhere is followed again; else what the kernel says, also of a file that has been replaced meanwhile. Ask early.
pub fn path() -> io::Result<PathBuf> {
    match called().filter(|path| is_this(path)) {
        Some(path) => Ok(path),
        None => Ok(before_it_was_gone(std::env::current_exe()?)),
    }
}

/// The path that this program was executed by.
fn called() -> Option<PathBuf> {
    // SAFETY: only reads what the kernel has told this process at its start.
    let name = unsafe { libc::getauxval(libc::AT_EXECFN) } as *const libc::c_char;
    if name.is_null() {
        return None;
    }
    // SAFETY: the kernel puts a string there, which stays as long as the process.
    let name = unsafe { CStr::from_ptr(name) };
    std::path::absolute(OsStr::from_bytes(name.to_bytes())).ok()
}

fn is_this(path: &Path) -> bool {
    let identity = |path: &Path| std::fs::metadata(path).ok().map(|file| (file.dev(), file.ino()));
    identity(path).is_some_and(|file| Some(file) == identity(Path::new(OsStr::from_bytes(OWN.to_bytes()))))
}

fn before_it_was_gone(path: PathBuf) -> PathBuf {
    match path.as_os_str().as_bytes().strip_suffix(GONE) {
        Some(before) if !path.exists() => PathBuf::from(OsStr::from_bytes(before)),
        _ => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_knows_where_it_is_and_where_it_was() {
        assert!(is_this(&path().unwrap()));
        for (told, is) in [("/no/agent (deleted)", "/no/agent"), ("/no/agent", "/no/agent"), ("/bin/sh", "/bin/sh")] {
            assert_eq!(before_it_was_gone(told.into()), Path::new(is));
        }
    }
}
