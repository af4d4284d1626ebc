//! An advisory lock on a file: held as long as any copy of its descriptor is open.

use nix::fcntl::{Flock, FlockArg};
use std::fs::{DirBuilder, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::Path;
use std::time::Duration;

/// Takes the lock, waiting for at most `wait`; `None` if somebody else holds it. Blocking.
pub fn take(path: &Path, wait: Duration) -> io::Result<Option<OwnedFd>> {
    const PAUSE: Duration = Duration::from_millis(50);
    let mut waited = Duration::ZERO;
    loop {
        // Opened anew each time: its last holder may have removed the file, and a lock on that is nobody's.
        let file = match OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(path) {
            // Its last holder has removed the folder too.
            Err(error) if error.kind() == io::ErrorKind::NotFound && waited < wait => {
                path.parent().map_or(Ok(()), |folder| DirBuilder::new().recursive(true).mode(0o755).create(folder))?;
                waited += PAUSE;
                continue;
            }
            opened => opened?,
        };
        // A descriptor of the same open file that outlives the guard below keeps the lock.
        let kept = OwnedFd::from(file.try_clone()?);
        match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
            Ok(guard) if is_at(&guard, path) => {
                // The guard would unlock on drop, also for `kept`: let it live as long as the process.
                std::mem::forget(guard);
                return Ok(Some(kept));
            }
            Ok(_) => continue,
            Err((_, errno)) if errno != nix::errno::Errno::EWOULDBLOCK => return Err(errno.into()),
            Err(_) if waited >= wait => return Ok(None),
            Err(_) => {}
        }
        super::pause(PAUSE);
        waited += PAUSE;
    }
}

fn is_at(file: &File, path: &Path) -> bool {
    let (Ok(own), Ok(there)) = (file.metadata(), std::fs::metadata(path)) else { return false };
    (own.dev(), own.ino()) == (there.dev(), there.ino())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lock_is_held_once_and_one_on_a_removed_file_is_nobodys() {
        let path = std::env::temp_dir().join(format!("space-agent-lock-{}", std::process::id()));
        let first = take(&path, Duration::ZERO).unwrap().unwrap();
        assert!(take(&path, Duration::from_millis(60)).unwrap().is_none());
        std::fs::remove_file(&path).unwrap();
        let second = take(&path, Duration::ZERO).unwrap();
        assert!(second.is_some(), "the file was removed: its lock is nobody's");
        drop((first, second));
        std::fs::remove_file(&path).unwrap();
    }
}
